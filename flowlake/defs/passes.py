"""One intraday pass against the market: begun, resumed, noted in the log. What assets and the sensor share."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, timedelta
from typing import Any

import polars as pl

from flowlake import calendar
from flowlake.defs.session_asset import Frames, Step
from flowlake.detect import baselines
from flowlake.detect.intraday import volume_profile
from flowlake.intraday import log
from flowlake.intraday.plan import DueSnapshot, due_snapshots, expiration_cuts, names_due
from flowlake.intraday.universe import ACTIVITY_SESSIONS, build_universe
from flowlake.lake import Lake
from flowlake.lake.spool import Spool
from flowlake.schemas import table
from flowlake.schemas.intraday import SNAPSHOT_LOG
from flowlake.schemas.market import RAW_OPTION_SNAPSHOTS, RAW_QUARANTINE, SNAPSHOT_COVERAGE
from flowlake.sources.chains import PAGE_LIMIT, Chunk
from flowlake.sources.polygon import BlockingPolygonClient

_SPOOLED = {
    "frame": RAW_OPTION_SNAPSHOTS.schema,
    "rejected": RAW_QUARANTINE.schema,
    "coverage": SNAPSHOT_COVERAGE.schema,
}


BEFORE_THE_OPEN = ("universe", "intraday_corporate_actions", "volume_profile")
"""Tables by session that exist before its first pass."""

BASELINES = ("intraday_contract_baselines", "intraday_ticker_baselines")
"""Tables by session that its first snapshot makes."""

OF_SESSION = (*BEFORE_THE_OPEN, *BASELINES, "contracts", "event_status", "snapshot_log")
"""Tables by session that a snapshot brings along when it is published."""


PROFILE_SESSIONS = 20
"""Trailing sessions that say how a day's volume arrives."""

_PROFILE_COLUMNS = ("session", "underlying", "activity", "chain_volume")


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
    """Tables universe, intraday_corporate_actions and volume_profile, as known before the session's first pass."""
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
    profile = volume_profile(
        step.trailing("intraday_ticker_statistics", PROFILE_SESSIONS, [*_PROFILE_COLUMNS, "snapshot"]).collect(),
        step.trailing("ticker_statistics", PROFILE_SESSIONS, _PROFILE_COLUMNS).collect(),
        step.market.settings.intraday_detection,
    ).join(universe.select("session", "available_at", "origin").head(1), how="cross")
    return {"universe": universe, "intraday_corporate_actions": actions, "volume_profile": profile}


def ensure_universe(step: Step, client: BlockingPolygonClient) -> pl.DataFrame:
    """The session's universe, made now where nobody has made it yet."""
    key = step.session.isoformat()
    if not all(step.lake.has(name, key) for name in BEFORE_THE_OPEN):
        step.log.info(f"{step.session}: no universe yet, making it")
        with step.lake.commit(step.run_id) as transaction:
            for name, frame in before_the_open(step, client).items():
                transaction.replace(name, key, frame)
    return step.lake.read("universe", key)


def ensure_baselines(step: Step, chains: pl.DataFrame, actions: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Contract and ticker baselines of the underlyings in `chains`; made with the first snapshot that shows each.

    They depend on sessions strictly before this one and on which contracts are listed, so a day needs them once.
    """
    key = step.session.isoformat()
    held = [
        step.lake.read(name, key) if step.lake.has(name, key) else step.lake.table(name).empty() for name in BASELINES
    ]
    new = chains.join(held[1], on="underlying", how="anti", maintain_order="left")
    if new.height:
        step.log.info(f"{step.session}: baselines of {new['underlying'].n_unique()} underlyings")
        history = step.earlier("option_chains", baselines.LONGEST)
        made = (
            baselines.contract_baselines(step.session, new, history, actions),
            baselines.ticker_baselines(step.session, new, history, actions),
        )
        held = [pl.concat([before, added]) for before, added in zip(held, made, strict=True)]
        with step.lake.commit(step.run_id) as transaction:
            for name, frame in zip(BASELINES, held, strict=True):
                transaction.replace(name, key, frame)
    return held[0], held[1]


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
            cuts=large_chains(step),
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


def large_chains(step: Step) -> dict[str, list[date]]:
    """Where to part the chains that had more than `split_pages` pages in the session before.

    The pages of a chain follow one another, so that the largest alone would decide how long a pass takes.
    """
    before, most = calendar.previous_session(step.session), step.market.settings.intraday.split_pages * PAGE_LIMIT
    if not most or not step.has("option_chains", before):
        return {}
    return expiration_cuts(step.lake.scan("option_chains", before.isoformat(), ["underlying", "expiration"]), most)


def _tell(step: Step, **facts: Any) -> None:
    note(step.lake, step.snapshot, step.market.now(), committer=step.run_id, status="running", **facts)


def _put_down(spool: Spool, chunk: Chunk) -> None:
    spool.add({"frame": chunk.frame, "rejected": chunk.rejected, "coverage": chunk.coverage})


def _in_order(resumed: pl.DataFrame, fetched: pl.DataFrame) -> pl.DataFrame:
    return pl.concat([resumed, fetched]).sort(RAW_OPTION_SNAPSHOTS.sort) if resumed.height else fetched


_END_OF_DAY = {
    "raw_stock_snapshots": "intraday_stock_snapshots",
    "raw_option_snapshots": "intraday_option_snapshots",
    "raw_quarantine": "intraday_quarantine",
    "snapshot_coverage": "intraday_coverage",
}
"""End-of-day tables that the closing snapshot can fill, with its own."""


def closing_record(step: Step) -> Frames | None:
    """The end-of-day tables of `_END_OF_DAY` from the session's closing snapshot; None where that is not whole.

    The closing snapshot asks for every underlying, at the moment the end-of-day pass would: it is the same record.
    """
    settings = step.market.settings
    closing = due_snapshots(step.session, settings.intraday, timedelta(minutes=settings.api.delay_minutes))[-1]
    status = log.entry(session_log(step.lake, step.session), closing).get("status")
    if status not in ("taken", "late") or not step.lake.has("intraday_option_snapshots", closing.key):
        return None
    return {
        name: step.lake.read(within, closing.key).select(table(name).schema.names())
        for name, within in _END_OF_DAY.items()
    }


def publish(store: Lake, run_id: str, snapshot: DueSnapshot, now: datetime, min_coverage: float) -> str:
    """Show analysts every table of the snapshot at once and end its pass in the log; returns its status."""
    session = snapshot.session.isoformat()
    with store.commit(run_id, exclusive=True) as transaction:
        before = transaction.read(SNAPSHOT_LOG.name, session)
        row = log.entry(before, snapshot)
        status, reason = log.outcome(snapshot, row["started_at"] or now, row["asked"], row["answered"], min_coverage)
        noted = log.noted(before, snapshot, now=now, status=status, reason=reason, scored_at=now)
        transaction.replace(SNAPSHOT_LOG.name, session, noted)
        transaction.publish([snapshot.key])
        transaction.publish([session], OF_SESSION)
    Spool(store.paths, table("intraday_option_snapshots"), snapshot.key).clear()
    return status
