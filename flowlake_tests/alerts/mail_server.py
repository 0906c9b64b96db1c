"""A real SMTP server on the loopback that can be taken down, brought back, and told what to answer."""

from __future__ import annotations

import socket
import ssl
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any, cast

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword

USER, PASSWORD = "watcher", "s3cret-pass"


class MailServer:
    """Keeps the mails it takes; `answers` are replies to DATA, used up one by one before it takes mails again."""

    def __init__(self, *, tls: ssl.SSLContext | None = None, auth: bool = False) -> None:
        self.mails: list[EmailMessage] = []
        self.answers: list[str] = []
        self.refused_recipients: set[str] = set()
        self._options: dict[str, Any] = {"tls_context": tls, "require_starttls": tls is not None}
        if auth:
            self._options |= {
                "authenticator": _authenticate,
                "auth_required": True,
                "auth_require_tls": tls is not None,
            }
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self._controller: Controller | None = None

    def start(self) -> None:
        """Listen, on the same port as before."""
        options = {"hostname": "127.0.0.1", "port": self.port, **self._options}
        self._controller = Controller(self, **options)
        self._controller.start()

    def stop(self) -> None:
        """Be unreachable."""
        if self._controller is not None:
            self._controller.stop(no_assert=True)
            self._controller = None

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, options: Any) -> str:  # noqa: N802
        if address in self.refused_recipients:
            return "550 no such mailbox"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
        if self.answers:
            answer = self.answers.pop(0)
            if not answer.startswith("2"):
                return answer
        self.mails.append(cast(EmailMessage, message_from_bytes(envelope.content, policy=policy.default)))
        return "250 taken"

    def ids(self) -> list[str]:
        """Message-IDs in the order of arrival."""
        return [mail["Message-ID"] for mail in self.mails]


def _authenticate(server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
    known = isinstance(data, LoginPassword) and (data.login, data.password) == (USER.encode(), PASSWORD.encode())
    return AuthResult(success=known, handled=False)
