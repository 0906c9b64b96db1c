"""The channels that the settings ask for."""

from __future__ import annotations

import re
from collections.abc import Callable

from flowlake.alerts.channels.base import Channel, NotConfigured
from flowlake.settings import AlertSettings

_BETWEEN_URLS = re.compile(r"[\s,]+(?=[A-Za-z]+://)")
"""A comma inside a URL (a list of mail recipients) does not end it."""

KINDS = ("email", "pushover", "telegram", "apprise", "console")


def configured(settings: AlertSettings) -> list[str]:
    """Kinds of channel asked for; 'configured' stands for those that have their settings.

    Raises `NotConfigured` where a name is unknown.
    """
    if settings.channels.strip().lower() == "configured":
        present = {
            "email": settings.email.host,
            "pushover": settings.pushover.token,
            "telegram": settings.telegram.token,
            "apprise": _urls(settings),
        }
        return [kind for kind, value in present.items() if value]
    asked = [name.strip().lower() for name in settings.channels.split(",") if name.strip()]
    unknown = sorted(set(asked) - set(KINDS))
    if unknown:
        raise NotConfigured(f"FLOWLAKE_ALERTS__CHANNELS: unknown {', '.join(unknown)}; known are {', '.join(KINDS)}")
    return list(dict.fromkeys(asked))


def open_channels(settings: AlertSettings, write: Callable[[str], object] = print) -> dict[str, Channel]:
    """The channels by name; `write` takes what the console channel prints. Raises `NotConfigured`."""
    found: list[Channel] = []
    for kind in configured(settings):
        found += _open(kind, settings, write)
    return {channel.name: channel for channel in found}


def _open(kind: str, settings: AlertSettings, write: Callable[[str], object]) -> list[Channel]:
    if kind == "email":
        from flowlake.alerts.channels.email import EmailChannel

        return [EmailChannel(settings.email)]
    if kind in ("pushover", "telegram"):
        from flowlake.alerts.channels.push import PushoverChannel, TelegramChannel

        return [PushoverChannel(settings.pushover) if kind == "pushover" else TelegramChannel(settings.telegram)]
    from flowlake.alerts.channels.other import AppriseChannel, ConsoleChannel

    if kind == "console":
        return [ConsoleChannel(write)]
    urls = _urls(settings)
    if not urls:
        raise NotConfigured("apprise: set FLOWLAKE_ALERTS__APPRISE_URLS")
    return [AppriseChannel(url) for url in urls]


def _urls(settings: AlertSettings) -> list[str]:
    text = settings.apprise_urls.get_secret_value() if settings.apprise_urls else ""
    return [url.strip() for url in _BETWEEN_URLS.split(text) if url.strip()]
