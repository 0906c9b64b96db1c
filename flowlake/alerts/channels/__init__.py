"""The ways a message reaches people. Every channel has a name, `send(message)` and `check()`."""

from __future__ import annotations

from flowlake.alerts.channels.base import Channel, ChannelDown, ChannelError, NotConfigured, Rejected, Unaccepted
from flowlake.alerts.channels.build import configured, open_channels

__all__ = [
    "Channel",
    "ChannelDown",
    "ChannelError",
    "NotConfigured",
    "Rejected",
    "Unaccepted",
    "configured",
    "open_channels",
]
