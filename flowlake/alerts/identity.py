"""Names that are the same whoever computes them and however often: alert ids, notification ids, Message-IDs."""

from __future__ import annotations

import hashlib
from datetime import date

MAIL_DOMAIN = "alerts.flowlake.invalid"
"""Right side of every Message-ID; a reserved name (RFC 2606), so that it can never be somebody's."""


def alert_id(event_id: str, origin: str) -> str:
    """The id of the alert about an event; simulated and real events never share one."""
    return _digest("alert", event_id, origin)


def notification_id(topic: str, first_seen: str) -> str:
    """The id of the notification that a topic broke at `first_seen`."""
    return _digest("notification", topic, first_seen)


def digest_id(session: date) -> str:
    """The id of the digest of a session."""
    return _digest("digest", session.isoformat())


def message_id(subject_id: str, revision: int, channel: str) -> str:
    """The Message-ID of a revision on a channel: the same on every attempt, so that a mail client drops a repeat."""
    return f"<{subject_id}.{revision}.{channel}@{MAIL_DOMAIN}>"


def thread_id(subject_id: str) -> str:
    """The Message-ID every later message about the subject refers to: that of its first mail."""
    return message_id(subject_id, 1, "email")


def _digest(*parts: str) -> str:
    return hashlib.sha256("|".join(parts).encode()).hexdigest()[:16]
