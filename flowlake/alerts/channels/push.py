"""Push messages over HTTP: Pushover and Telegram."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from html import escape
from typing import Any

import httpx

from flowlake.alerts.channels.base import ChannelDown, NotConfigured, Rejected
from flowlake.alerts.message import Message, clean
from flowlake.settings import PushoverSettings, TelegramSettings

_TIMEOUT_SECONDS = 15.0
_SAID = 200
_PUSHOVER_TITLE, _PUSHOVER_BODY = 250, 1024
_TELEGRAM_TEXT = 4096

# Telegram wants the token in the address, and httpx logs addresses.
for _name in ("httpx", "httpcore"):
    logging.getLogger(_name).setLevel(logging.WARNING)


class PushoverChannel:
    """Pushover's message API."""

    name = "pushover"

    def __init__(self, settings: PushoverSettings) -> None:
        if not settings.token or not settings.user:
            raise NotConfigured("pushover: set FLOWLAKE_ALERTS__PUSHOVER__TOKEN and FLOWLAKE_ALERTS__PUSHOVER__USER")
        self._base = settings.base_url.rstrip("/")
        self._login = {"token": settings.token.get_secret_value(), "user": settings.user.get_secret_value()}

    def send(self, message: Message) -> str | None:
        """Title, body and link; urgent messages pass the phone's quiet hours."""
        form: dict[str, Any] = {
            **self._login,
            "title": clean(message.title, _PUSHOVER_TITLE),
            "message": message.body[:_PUSHOVER_BODY],
            "priority": 1 if message.urgent else 0,
            "timestamp": int(message.date.timestamp()),
        }
        if message.link:
            form |= {"url": message.link[:512], "url_title": "Report"}
        self._call("/1/messages.json", form)

    def check(self) -> str:
        """Let Pushover validate token and user."""
        self._call("/1/users/validate.json", self._login)
        return "Pushover accepts the application token and the user key"

    def _call(self, path: str, form: Mapping[str, Any]) -> None:
        answer = _post("pushover", f"{self._base}{path}", data=form)
        if answer.status_code < 400:
            return
        said = clean("; ".join(map(str, _json(answer).get("errors", []))) or answer.reason_phrase, _SAID)
        about_login = any(word in said for word in ("token", "user"))
        raise _refusal("pushover", answer, said, about_login, "check FLOWLAKE_ALERTS__PUSHOVER__TOKEN and __USER")


class TelegramChannel:
    """A Telegram bot that writes to one chat."""

    name = "telegram"

    def __init__(self, settings: TelegramSettings) -> None:
        if not settings.token or not settings.chat_id:
            raise NotConfigured("telegram: set FLOWLAKE_ALERTS__TELEGRAM__TOKEN and FLOWLAKE_ALERTS__TELEGRAM__CHAT_ID")
        self._base = f"{settings.base_url.rstrip('/')}/bot{settings.token.get_secret_value()}"
        self._chat = settings.chat_id

    def send(self, message: Message) -> str | None:
        """Title in bold, body and link as one text; silent unless urgent."""
        title, body = escape(clean(message.title)), escape(message.body[:3000])
        link = f'\n<a href="{escape(message.link)}">Report</a>' if message.link else ""
        self._call(
            "sendMessage",
            {
                "chat_id": self._chat,
                "text": f"<b>{title}</b>\n{body}{link}"[:_TELEGRAM_TEXT],
                "parse_mode": "HTML",
                "disable_notification": not message.urgent,
                "link_preview_options": {"is_disabled": True},
            },
        )

    def check(self) -> str:
        """Ask Telegram who the bot is and whether it sees the chat."""
        bot = self._call("getMe", {}).get("username", "?")
        self._call("getChat", {"chat_id": self._chat})
        return f"Telegram knows the bot @{clean(bot, 40)}, and the bot sees its chat"

    def _call(self, method: str, payload: Mapping[str, Any]) -> dict[str, Any]:
        answer = _post("telegram", f"{self._base}/{method}", json=payload)
        content = _json(answer)
        if answer.status_code < 400 and content.get("ok"):
            return content.get("result") or {}
        said = clean(content.get("description") or answer.reason_phrase, _SAID)
        about_login = answer.status_code in (401, 403, 404) or "chat" in said.lower()
        raise _refusal("telegram", answer, said, about_login, "check FLOWLAKE_ALERTS__TELEGRAM__TOKEN and __CHAT_ID")


def _post(channel: str, url: str, **content: Any) -> httpx.Response:
    try:
        with httpx.Client(timeout=_TIMEOUT_SECONDS, follow_redirects=False) as client:
            return client.post(url, **content)
    except httpx.HTTPError as error:
        # The error's own text may hold the address, and so the token.
        raise ChannelDown(f"{channel}: {httpx.URL(url).host} cannot be reached ({type(error).__name__})") from None


def _json(answer: httpx.Response) -> dict[str, Any]:
    try:
        content = answer.json()
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def _refusal(channel: str, answer: httpx.Response, said: str, about_login: bool, remedy: str) -> ChannelDown | Rejected:
    text = f"{channel}: answered {answer.status_code} {said}"
    if answer.status_code == 429 or answer.status_code >= 500:
        return ChannelDown(text)
    return ChannelDown(f"{text}; {remedy}") if about_login else Rejected(text)
