"""A delivery of the ledger as the message to hand over: the newest facts at the moment of sending."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import polars as pl

from flowlake.alerts import content, evidence, ledger, pictures, render
from flowlake.alerts.message import Message
from flowlake.lake import Snapshot
from flowlake.settings import Settings


def compose_delivery(snapshot: Snapshot, delivery: Mapping[str, Any], settings: Settings, now: datetime) -> Message:
    """The message of `delivery` (a row of ALERT_DELIVERIES); raises `UnknownAlert` where its subject is gone."""
    if delivery["kind"] == "digest":
        alerts = ledger.alerts(snapshot, [delivery["session"]]).to_dicts()
        return render.digest_message(delivery["session"], alerts, delivery["channel"], now)
    if delivery["kind"] == "notification":
        rows = ledger.notifications(snapshot).filter(pl.col("notification_id") == delivery["alert_id"])
        if rows.is_empty():
            raise ledger.UnknownAlert(f"the notification {delivery['alert_id']} is not in the ledger")
        row = rows.row(0, named=True) | {"revision": delivery["revision"]}
        return render.notification_message(row, delivery["channel"], now, settings.alerts.dagster_url)
    return compose_alert(snapshot, ledger.find(snapshot, delivery["alert_id"]), delivery["channel"], settings, now)


def compose_alert(
    snapshot: Snapshot, alert: Mapping[str, Any], channel: str, settings: Settings, now: datetime
) -> Message:
    """The message of an alert's newest revision; pictures only where the channel shows them."""
    found = evidence.gather(snapshot, alert)
    shown = content.build(found, settings.alerts)
    drawn = pictures.draw(shown, found) if channel == "email" else {}
    return render.alert_message(shown, alert, channel, now, drawn)
