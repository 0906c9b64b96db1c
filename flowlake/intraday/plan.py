"""Which snapshot is due now, which is too late to be worth taking, and whom it asks for: decisions without effects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import polars as pl

from flowlake import calendar
from flowlake.settings import IntradaySettings

FINAL = ("taken", "late", "partial", "skipped")
"""Statuses in the log after which a snapshot is not asked for again."""


@dataclass(frozen=True)
class DueSnapshot:
    """One snapshot of a session: the moment it describes, when it can be taken, until when that is worth while."""

    at: datetime
    due_at: datetime
    late_after: datetime
    useful_until: datetime
    closing: bool

    @property
    def key(self) -> str:
        """Its partition key."""
        return calendar.snapshot_key(self.at)

    @property
    def session(self) -> date:
        """Its session."""
        return date.fromisoformat(self.key[:10])

    @property
    def as_of(self) -> datetime:
        """The moment a replayed market is asked for: for the closing snapshot, when the last trades are in."""
        return self.at + calendar.CLOSING_WAIT if self.closing else self.at


@dataclass(frozen=True)
class Decision:
    """The one snapshot to take now, if any, those given up with the reason, and what to tell people."""

    take: DueSnapshot | None
    skip: tuple[tuple[DueSnapshot, str], ...]
    says: str


def due_snapshots(session: date, settings: IntradaySettings, delay: timedelta) -> list[DueSnapshot]:
    """Every snapshot of `session`, ascending, on a plan whose data are `delay` old.

    A snapshot labelled T can be taken at T + delay. The closing one waits `calendar.CLOSING_WAIT` longer, until index
    options and late prints are in, because it becomes the end-of-day record.
    """
    times = calendar.snapshot_times(session, settings.every_minutes)
    useful, step = timedelta(minutes=settings.useful_minutes), timedelta(minutes=settings.every_minutes)
    snapshots: list[DueSnapshot] = []
    for at in times:
        closing = at == times[-1]
        due = at + delay + (calendar.CLOSING_WAIT if closing else timedelta(0))
        # Once the next one is due, the market no longer shows what this one was to describe.
        ends = due + (timedelta(minutes=settings.closing_useful_minutes) if closing else min(useful or step, step))
        snapshots.append(DueSnapshot(at, due, due + timedelta(minutes=settings.late_minutes), ends, closing))
    return snapshots


def snapshot_of(key: str, settings: IntradaySettings, delay: timedelta) -> DueSnapshot:
    """The snapshot of a partition key; raises `ValueError` where the grid of the settings has none there."""
    at = calendar.snapshot_of_key(key)
    for snapshot in due_snapshots(date.fromisoformat(key[:10]), settings, delay):
        if snapshot.at == at:
            return snapshot
    raise ValueError(f"{key} is not on the grid of one snapshot every {settings.every_minutes} minutes")


def decide(
    now: datetime,
    snapshots: Sequence[DueSnapshot],
    log: pl.DataFrame,
    runs: Mapping[str, int],
    in_flight: str | None,
    settings: IntradaySettings,
) -> Decision:
    """What to do at `now`: `log` is the session's SNAPSHOT_LOG, `runs` counts the runs begun for each partition key.

    At most one pass is in flight (`in_flight` names its partition): the market is asked for the present, so two
    passes at once would describe the same moment twice. The newest snapshot that is due is taken; one whose useful
    life has ended is given up with the reason, which the log keeps.
    """
    statuses = dict(log.select("partition", "status").iter_rows())
    reasons = dict(log.select("partition", "reason").iter_rows())
    due = [each for each in snapshots if each.due_at <= now]
    open_ = [each for each in due if statuses.get(each.key) not in FINAL and each.key != in_flight]
    spent = [each for each in open_ if each.useful_until <= now]
    alive = [each for each in open_ if each.useful_until > now]
    skip = tuple((each, _why(each, statuses, reasons, runs)) for each in spent)
    if in_flight is not None:
        return Decision(None, skip, f"the pass of {in_flight} is in flight")
    if not alive:
        return Decision(None, skip, _waiting(now, snapshots))
    newest = alive[-1]
    if runs.get(newest.key, 0) >= settings.attempts:
        return Decision(None, skip, f"{newest.key} was tried {settings.attempts} times")
    return Decision(newest, skip, f"{newest.key} is due since {newest.due_at:%H:%M:%S} UTC")


def _why(
    snapshot: DueSnapshot,
    statuses: Mapping[str, str],
    reasons: Mapping[str, str | None],
    runs: Mapping[str, int],
) -> str:
    status, tried = statuses.get(snapshot.key), runs.get(snapshot.key, 0)
    if status == "running":
        return f"its pass was interrupted and not finished within its useful life ({tried} passes begun)"
    if status == "failed":
        return f"given up after {tried} passes: {reasons.get(snapshot.key) or 'no reason recorded'}"
    if tried:
        return f"{tried} runs were asked for and none began a pass within its useful life"
    return "no pass was begun within its useful life: another was in flight, or automation was off or down"


def _waiting(now: datetime, snapshots: Sequence[DueSnapshot]) -> str:
    coming = [each for each in snapshots if each.due_at > now]
    if not coming:
        return "every snapshot of the session has been dealt with"
    return f"{coming[0].key} is due at {coming[0].due_at:%H:%M:%S} UTC"


def unexplained(now: datetime, snapshots: Sequence[DueSnapshot], log: pl.DataFrame) -> list[DueSnapshot]:
    """Snapshots whose useful life has ended at `now` without the log saying what became of them."""
    statuses = dict(log.select("partition", "status").iter_rows())
    return [each for each in snapshots if each.useful_until <= now and statuses.get(each.key) not in FINAL]


def names_due(universe: pl.DataFrame, snapshot: DueSnapshot) -> list[str]:
    """Underlyings of UNIVERSE to ask for at `snapshot`, the most liquid first; the closing snapshot asks for all."""
    local = snapshot.at.astimezone(calendar.NEW_YORK)
    minute = local.hour * 60 + local.minute
    due = pl.lit(True) if snapshot.closing else (pl.lit(minute) % pl.col("interval_minutes") == 0).fill_null(False)
    return universe.filter(due).sort("rank")["underlying"].to_list()


def expiration_cuts(contracts: pl.LazyFrame, most: int) -> dict[str, list[date]]:
    """Where to part chains of more than `most` contracts: the first expirations of the parts after the first, by name.

    `contracts` holds underlying and expiration of a chain seen before. Parts hold up to `most` contracts of it, one
    expiration at least; what has been listed since falls into one of them.
    """
    counts = contracts.group_by("underlying", "expiration").len()
    large = counts.filter(pl.col("len").sum().over("underlying") > most).sort("underlying", "expiration").collect()
    cuts: dict[str, list[date]] = {}
    held: dict[str, int] = {}
    for underlying, expiration, number in large.iter_rows():
        if underlying in held and held[underlying] + number > most:
            cuts.setdefault(underlying, []).append(expiration)
            held[underlying] = 0
        held[underlying] = held.get(underlying, 0) + number
    return cuts
