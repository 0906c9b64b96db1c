"""A real SMTP server for the commands that send."""

from flowlake_tests.alerts.conftest import mail_server, without_pictures

__all__ = ["mail_server", "without_pictures"]
