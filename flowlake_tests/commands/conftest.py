"""A real SMTP server for the commands that send."""

from flowlake_tests.alerts.conftest import mail_server

__all__ = ["mail_server"]
