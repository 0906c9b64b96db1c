"""Mail over SMTP: STARTTLS, TLS or a local relay; HTML with inline pictures beside plain text."""

from __future__ import annotations

import smtplib
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, getaddresses
from typing import cast

from flowlake.alerts.channels.base import ChannelDown, NotConfigured, Rejected, Unaccepted
from flowlake.alerts.message import Message, clean
from flowlake.settings import EmailSettings

_PERMANENT = 500
_SAID = 300


class EmailChannel:
    """The SMTP server of the settings. `context` replaces the system's trust in certificates (a private authority)."""

    name = "email"

    def __init__(self, settings: EmailSettings, context: ssl.SSLContext | None = None) -> None:
        self._settings = settings
        self._context = context
        self._recipients = [address for _, address in getaddresses([settings.recipients]) if address]
        if not settings.host:
            raise NotConfigured("email: set FLOWLAKE_ALERTS__EMAIL__HOST to your SMTP server")
        if not self._recipients:
            raise NotConfigured("email: set FLOWLAKE_ALERTS__EMAIL__RECIPIENTS to the addresses that get alerts")

    def send(self, message: Message) -> str | None:
        """One mail to all recipients; an address the server refuses is remarked, the others have it."""
        mail = to_mail(message, self._settings)
        with self._session() as server:
            try:
                refused = server.send_message(mail, self._sender(), self._recipients)
            except smtplib.SMTPRecipientsRefused as error:
                code, text = next(iter(error.recipients.values()))
                raise self._refusal(code, text) from error
            except (smtplib.SMTPSenderRefused, smtplib.SMTPDataError) as error:
                raise self._refusal(error.smtp_code, error.smtp_error) from error
        return f"refused for {', '.join(sorted(refused))}" if refused else None

    def check(self) -> str:
        """Connect, secure the connection and log in; nothing is sent."""
        with self._session() as server:
            server.noop()
        login = f"logged in as {self._settings.username}" if self._settings.username else "no login"
        how = {"starttls": "STARTTLS", "ssl": "TLS", "none": "no encryption"}[self._settings.security]
        return f"{self._where()} answers, {how}, {login}; mail goes to {len(self._recipients)} address(es)"

    @contextmanager
    def _session(self) -> Iterator[smtplib.SMTP]:
        try:
            server = self._connect()
        except smtplib.SMTPAuthenticationError as error:
            # The server's text may repeat what was sent; the code is enough.
            raise ChannelDown(
                f"email: {self._where()} refused the login ({error.smtp_code}); check "
                "FLOWLAKE_ALERTS__EMAIL__USERNAME and __PASSWORD (many providers want an app password)"
            ) from error
        except (OSError, smtplib.SMTPException) as error:
            raise ChannelDown(f"email: {self._where()} cannot be used: {clean(error, _SAID)}") from error
        try:
            yield server
        except (smtplib.SMTPServerDisconnected, OSError) as error:
            raise ChannelDown(f"email: {self._where()} broke off: {clean(error, _SAID)}") from error
        finally:
            _quit(server)

    def _connect(self) -> smtplib.SMTP:
        chosen, context = self._settings, self._context or ssl.create_default_context()
        host = cast(str, chosen.host)
        if chosen.security == "ssl":
            server = smtplib.SMTP_SSL(host, chosen.port, timeout=chosen.timeout_seconds, context=context)
        else:
            server = smtplib.SMTP(host, chosen.port, timeout=chosen.timeout_seconds)
        try:
            if chosen.security == "starttls":
                server.starttls(context=context)
            if chosen.username:
                password = chosen.password.get_secret_value() if chosen.password else ""
                server.login(chosen.username, password)
        except BaseException:
            _quit(server)
            raise
        return server

    def _refusal(self, code: int, text: bytes | str) -> Unaccepted | Rejected:
        said = clean(text.decode(errors="replace") if isinstance(text, bytes) else text, _SAID)
        kind = Rejected if code >= _PERMANENT else Unaccepted
        return kind(f"email: {self._where()} answered {code} {said}")

    def _sender(self) -> str:
        return getaddresses([self._settings.sender])[0][1]

    def _where(self) -> str:
        return f"{self._settings.host}:{self._settings.port}"


def to_mail(message: Message, settings: EmailSettings) -> EmailMessage:
    """`message` as a mail: plain text, beside it HTML with its pictures inside."""
    mail = EmailMessage(policy=SMTP)
    mail["Subject"] = clean(message.subject)
    mail["From"] = _addresses(settings.sender)
    mail["To"] = _addresses(settings.recipients)
    mail["Date"] = format_datetime(message.date)
    mail["Message-ID"] = message.message_id
    if message.reply:
        mail["In-Reply-To"] = message.thread_id
        mail["References"] = message.thread_id
    mail["Auto-Submitted"] = "auto-generated"
    mail["X-Auto-Response-Suppress"] = "All"
    mail.set_content(message.text)
    mail.add_alternative(message.html, subtype="html")
    page = cast(list[EmailMessage], mail.get_payload())[1]
    for name, png in message.pictures.items():
        page.add_related(png, "image", "png", cid=f"<{name}>", filename=f"{name}.png", disposition="inline")
    return mail


def _addresses(text: str) -> list[Address]:
    return [Address(clean(name), addr_spec=address) for name, address in getaddresses([text]) if address]


def _quit(server: smtplib.SMTP) -> None:
    """Say goodbye; a server that is gone already needs none."""
    try:
        server.quit()
    except (smtplib.SMTPException, OSError):
        server.close()
