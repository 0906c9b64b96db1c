"""What every channel offers, and the ways it can fail."""

from __future__ import annotations

from typing import Protocol

from flowlake.alerts.message import Message


class ChannelError(Exception):
    """A message was not delivered; the text names the channel and the remedy, never a secret."""


class ChannelDown(ChannelError):
    """The channel cannot be used now (unreachable, refusing the login, asking for patience); later messages wait."""


class Unaccepted(ChannelError):
    """This message was not taken now and may be later; other messages may pass."""


class Rejected(ChannelError):
    """This message will never be taken."""


class NotConfigured(ChannelError):
    """A channel was asked for whose settings are missing."""


class Channel(Protocol):
    """One way to reach people. Cheap to make; opens connections only while it sends or checks."""

    @property
    def name(self) -> str:
        """Stable name, part of the ledger's key."""
        ...

    def send(self, message: Message) -> str | None:
        """Hand `message` over; returns a remark worth keeping, if any. Raises `ChannelError`."""
        ...

    def check(self) -> str:
        """Connect and log in without sending; says what works. Raises `ChannelError`."""
        ...
