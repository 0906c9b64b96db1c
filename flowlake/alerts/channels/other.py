"""Any service Apprise knows, and the terminal."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable

from flowlake.alerts.channels.base import ChannelDown, NotConfigured
from flowlake.alerts.message import Message, clean


class AppriseChannel:
    """One Apprise URL. Each URL is a channel of its own, so that a retry never repeats what another one delivered."""

    def __init__(self, url: str) -> None:
        self._url = url
        scheme = clean(url.partition("://")[0], 20)
        if not scheme.isalnum():
            raise NotConfigured("apprise: FLOWLAKE_ALERTS__APPRISE_URLS holds something that is not a URL")
        self.name = f"apprise-{scheme}-{hashlib.sha256(url.encode()).hexdigest()[:6]}"

    def send(self, message: Message) -> str | None:
        """Title, body and link as plain text, in the form the service takes."""
        from apprise import NotifyFormat, NotifyType

        kind = NotifyType.WARNING if message.urgent else NotifyType.INFO
        body = f"{message.body}\n{message.link}" if message.link else message.body
        if not self._service().notify(
            body=body, title=clean(message.title), notify_type=kind, body_format=NotifyFormat.TEXT
        ):
            raise ChannelDown(f"{self.name}: the service did not take the message; `flowlake doctor` tests the URL")

    def check(self) -> str:
        """Whether Apprise understands the URL; it has no way to log in without sending."""
        service = self._service()
        return f"Apprise understands the URL ({len(service)} service); only `flowlake alerts test` shows that it works"

    def _service(self):  # noqa: ANN202
        from apprise import Apprise

        # Apprise's own log lines may show URLs, and URLs hold secrets.
        logging.getLogger("apprise").setLevel(logging.CRITICAL)
        service = Apprise()
        if not service.add(self._url):
            raise ChannelDown(f"{self.name}: Apprise does not understand this URL; see its wiki for the form")
        return service


class ConsoleChannel:
    """The terminal, or whatever takes text."""

    name = "console"

    def __init__(self, write: Callable[[str], object] = print) -> None:
        self._write = write

    def send(self, message: Message) -> str | None:
        """The plain-text form."""
        self._write(f"{clean(message.subject)}\n\n{message.text}")

    def check(self) -> str:
        """Always there."""
        return "prints to the terminal"
