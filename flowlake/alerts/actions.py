"""What people do about alerts, from whichever surface: acknowledge, snooze, wake again. Who, when and why is kept."""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta
from typing import Any

from flowlake.alerts import ledger
from flowlake.lake import Lake, Transaction
from flowlake.schemas.alerts import ALERT_ACTIONS, ALERTS

_NOTE_LENGTH = 500
_NAME_LENGTH = 100


def acknowledge(lake: Lake, alert_id: str, *, by: str, now: datetime, note: str | None = None, via: str = "cli") -> str:
    """Mark an alert as seen: no more messages about it. Returns the action's id; raises `UnknownAlert`."""
    return _act(lake, "acknowledge", alert_id=alert_id, by=by, now=now, note=note, via=via)


def snooze(
    lake: Lake,
    *,
    until: datetime,
    by: str,
    now: datetime,
    alert_id: str | None = None,
    underlying: str | None = None,
    note: str | None = None,
    via: str = "cli",
) -> str:
    """Send nothing about one alert, or about one underlying, before `until` (an aware datetime).

    What comes up meanwhile is recorded and, if it is still news then, sent afterwards. Returns the action's id; raises
    `UnknownAlert`, or `ValueError` where `until` is not after `now` or not exactly one subject is named.
    """
    if until <= now:
        raise ValueError(f"a snooze must end after now ({now:%Y-%m-%d %H:%M} UTC), not at {until:%Y-%m-%d %H:%M} UTC")
    return _act(
        lake, "snooze", alert_id=alert_id, underlying=underlying, until=until, by=by, now=now, note=note, via=via
    )


def unsnooze(
    lake: Lake,
    *,
    by: str,
    now: datetime,
    alert_id: str | None = None,
    underlying: str | None = None,
    note: str | None = None,
    via: str = "cli",
) -> str:
    """End a snooze now. Returns the action's id; raises `UnknownAlert`, or `ValueError` unless one subject is named."""
    return _act(lake, "unsnooze", alert_id=alert_id, underlying=underlying, by=by, now=now, note=note, via=via)


def _act(
    lake: Lake,
    action: str,
    *,
    by: str,
    now: datetime,
    note: str | None,
    via: str,
    alert_id: str | None = None,
    underlying: str | None = None,
    until: datetime | None = None,
) -> str:
    if (alert_id is None) == (underlying is None):
        raise ValueError("name either an alert or an underlying")
    if not by.strip():
        raise ValueError("say who does it: `by` is empty")
    action_id = uuid.uuid4().hex
    with ledger.changes(lake, publish=True) as transaction:
        row: dict[str, Any] = {
            "action_id": action_id,
            "action": action,
            "alert_id": None if alert_id is None else ledger.find(transaction, alert_id)["alert_id"],
            "underlying": underlying,
            "until": until,
            "by": by.strip()[:_NAME_LENGTH],
            "note": note.strip()[:_NOTE_LENGTH] if note else None,
            "via": via,
            "available_at": _after(transaction, now),
            "origin": "person",
        }
        ledger.put(transaction, ALERT_ACTIONS.name, [row])
        if row["alert_id"]:
            _show(transaction, row, now)
    return action_id


def _after(transaction: Transaction, now: datetime) -> datetime:
    """`now`, or as little later as keeps actions of one instant in the order in which they were done."""
    taken = set(ledger.actions(transaction)["available_at"])
    while now in taken:
        now += timedelta(microseconds=1)
    return now


def _show(transaction: Transaction, action: dict[str, Any], now: datetime) -> None:
    """Let the alert's own row show what was done at once; the policy says the same at its next look."""
    alert = ledger.find(transaction, action["alert_id"])
    woken = "updated" if alert["revision"] > 1 else "new"
    status = {"acknowledge": "acknowledged", "snooze": "snoozed", "unsnooze": woken}[action["action"]]
    ledger.put(transaction, ALERTS.name, [alert | {"status": status, "available_at": now}])
