"""One intraday pass against the market: begun, resumed, noted in the log. What assets and the sensor share."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime
from typing import Any

import polars as pl

from flowlake import calendar
from flowlake.defs.session_asset import Frames, Step
from flowlake.intraday import log
from flowlake.intraday.plan import DueSnapshot, names_due
from flowlake.intraday.universe import ACTIVITY_SESSIONS, build_universe
from flowlake.lake import Lake
from flowlake.lake.spool import Spool
from flowlake.schemas import UTC_TIME, table
from flowlake.schemas.intraday import SNAPSHOT_LOG
from flowlake.schemas.market import RAW_OPTION_SNAPSHOTS, RAW_QUARANTINE, SNAPSHOT_COVERAGE
from flowlake.sources.chains import Chunk
from flowlake.sources.polygon import BlockingPolygonClient

_SPOOLED = {
    "frame": RAW_OPTION_SNAPSHOTS.schema,
    "rejected": RAW_QUARANTINE.schema,
    "coverage": SNAPSHOT_COVERAGE.schema,
}


class NothingAnswered(RuntimeError):
    """Not one underlying of a pass was answered."""


def session_log(store: Lake, session: date) -> pl.DataFrame:
    """SNAPSHOT_LOG of `session`, empty before its first snapshot."""
    key = session.isoformat()
    return store.read(SNAPSHOT_LOG.name, key) if store.has(SNAPSHOT_LOG.name, key) else SNAPSHOT_LOG.empty()


def note(
    store: Lake, snapshot: DueSnapshot, now: datetime, *, committer: str, publish: bool = False, **facts: Any
) -> None:
    """Write `facts` (columns of SNAPSHOT_LOG) to the snapshot's row; nobody else can write between read and write."""
    key = snapshot.session.isoformat()
    with store.commit(committer, exclusive=True) as transaction:
        has = transaction.has(SNAPSHOT_LOG.name, key)
        before = transaction.read(SNAPSHOT_LOG.name, key) if has else SNAPSHOT_LOG.empty()
        transaction.replace(SNAPSHOT_LOG.name, key, log.noted(before, snapshot, now=now, **facts))
        if publish:
            transaction.publish([key], [SNAPSHOT_LOG.name])


def before_the_open(step: Step, client: BlockingPolygonClient) -> Frames:
    """Tables universe and intraday_corporate_actions of the step's session, as known before its first pass."""
    session = step.session
    replay = step.market.settings.api.replay
    as_of = calendar.session_open(session) if replay else None
    actions = client.fetch_corporate_actions(session, as_of=as_of)
    listed = step.market.underlyings(client, session, as_of=as_of)
    statistics = step.trailing("ticker_statistics", ACTIVITY_SESSIONS, ["session", "underlying", "chain_volume"])
    coverage = step.trailing(
        "snapshot_coverage", ACTIVITY_SESSIONS, ["session", "underlying", "status", "rows", "pages"]
    )
    universe = build_universe(
        session,
        listed,
        statistics.collect(),
        coverage.collect(),
        step.market.settings.intraday,
        available_at=as_of or step.market.now(),
        origin=str(actions["origin"].first() or ("simulated" if replay else "vendor")),
    )
    return {"universe": universe, "intraday_corporate_actions": actions}


def ensure_universe(step: Step, client: BlockingPolygonClient) -> pl.DataFrame:
    """The session's universe, made now where nobody has made it yet."""
    key = step.session.isoformat()
    if not (step.lake.has("universe", key) and step.lake.has("intraday_corporate_actions", key)):
        step.log.info(f"{step.session}: no universe yet, making it")
        with step.lake.commit(step.run_id) as transaction:
            for name, frame in before_the_open(step, client).items():
                transaction.replace(name, key, frame)
    return step.lake.read("universe", key)


def take(step: Step, check_origin: Callable[[Step, pl.DataFrame], pl.DataFrame]) -> Frames:
    """The pass of the step's snapshot: intraday_{stock_snapshots,option_snapshots,quarantine,coverage}.

    Chains are put down as they arrive, under the partition's name, so that a pass that follows a crash fetches the
    rest only. Raises `PassInFlight` where another process is at one, `NothingAnswered` where no underlying was.
    """
    snapshot, market = step.snapshot, step.market
    spool = Spool(step.lake.paths, table("intraday_option_snapshots"), snapshot.key)
    with spool.held(), market.client(until=snapshot.useful_until) as client:
        earlier = log.entry(session_log(step.lake, step.session), snapshot)
        _tell(step, started_at=market.now(), attempts=earlier["attempts"] + 1, run_id=step.run_id, reason=None)
        asked = names_due(ensure_universe(step, client), snapshot)
        before = spool.read(_SPOOLED)
        missing = [name for name in asked if name not in set(before["coverage"]["underlying"])]
        if len(missing) < len(asked):
            step.log.info(f"{snapshot.key}: {len(asked) - len(missing)} of {len(asked)} underlyings are in the spool")
        as_of = snapshot.as_of if market.settings.api.replay else None
        stocks = check_origin(step, client.fetch_stocks(step.session, as_of=as_of))
        taken = client.fetch_chains(
            step.session,
            missing,
            as_of=as_of,
            on_progress=step.progress("underlyings"),
            on_chunk=lambda chunk: _put_down(spool, chunk),
        )
        step.log.info(f"{snapshot.key} pass: {taken.stats.as_metadata()}")
        coverage = pl.concat([before["coverage"], taken.coverage])
        answered = coverage.filter(pl.col("status") != "failed")
        _tell(
            step,
            finished_at=market.now(),
            asked=len(asked),
            answered=answered.height,
            resumed=len(asked) - len(missing),
            requests=earlier["requests"] + client.stats.requests,
            rate_limited=earlier["rate_limited"] + client.stats.rate_limited,
            rows=before["frame"].height + taken.frame.height,
            network_seconds=taken.stats.seconds,
            origin=answered["origin"].first(),
        )
        if asked and answered.is_empty():
            reason = coverage["error"].drop_nulls().first()
            raise NothingAnswered(f"none of {len(asked)} underlyings was answered: {reason}")
        return {
            "intraday_stock_snapshots": stocks,
            "intraday_option_snapshots": check_origin(step, _in_order(before["frame"], taken.frame)),
            "intraday_quarantine": pl.concat([before["rejected"], taken.rejected]),
            "intraday_coverage": coverage,
        }


def _tell(step: Step, **facts: Any) -> None:
    note(step.lake, step.snapshot, step.market.now(), committer=step.run_id, status="running", **facts)


def _put_down(spool: Spool, chunk: Chunk) -> None:
    spool.add({"frame": chunk.frame, "rejected": chunk.rejected, "coverage": chunk.coverage})


def _in_order(resumed: pl.DataFrame, fetched: pl.DataFrame) -> pl.DataFrame:
    return pl.concat([resumed, fetched]).sort(RAW_OPTION_SNAPSHOTS.sort) if resumed.height else fetched


def finish(store: Lake, run_id: str, snapshot: DueSnapshot, now: datetime, min_coverage: float) -> str:
    """Say in the log that the snapshot is scored and published, and how good it is; returns its status."""
    row = log.entry(session_log(store, snapshot.session), snapshot)
    status, reason = log.outcome(snapshot, row["started_at"] or now, row["asked"], row["answered"], min_coverage)
    note(store, snapshot, now, committer=run_id, publish=True, status=status, reason=reason, scored_at=now)
    Spool(store.paths, table("intraday_option_snapshots"), snapshot.key).clear()
    return status


def at_moment(frame: pl.DataFrame, snapshot: DueSnapshot) -> pl.DataFrame:
    """`frame` with `event_time` as the snapshot: what is described is the trading so far."""
    return frame.with_columns(event_time=pl.lit(snapshot.at, UTC_TIME))


def end_of_day_record(store: Lake, snapshot: DueSnapshot, name: str, table_name: str) -> pl.DataFrame:
    """Intraday table `name` of the closing snapshot in the columns of the end-of-day table `table_name`."""
    return store.read(name, snapshot.key).select(table(table_name).schema.names())
