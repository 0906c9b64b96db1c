"""Insider filings: every Form 3, 4 and 5 by filing date, what they say about trades, and signals by session."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta

import dagster as dg
import polars as pl

from flowlake import calendar
from flowlake.defs.intake import FilingsFailed, Intake, missing_from_lake, take_in_day, take_in_quarter
from flowlake.defs.quality import table_checks
from flowlake.defs.resources import LakeResource
from flowlake.defs.session_asset import OWNERS, Frames, Step, declared_metadata, preview, session_asset
from flowlake.insiders.congress import Chamber, merge_disclosures, normalise_disclosures
from flowlake.insiders.prices import MARKET, STALE_DAYS
from flowlake.insiders.signals import Windows, event_insiders, insider_signals
from flowlake.insiders.tables import FILING_TABLES
from flowlake.insiders.trades import build_trades
from flowlake.lake import Lake
from flowlake.lake.paths import UNPARTITIONED
from flowlake.schemas.insiders import CONGRESS_TRADES, EVENT_INSIDERS, INSIDER_FILINGS, INSIDER_SIGNALS, INSIDER_TRADES
from flowlake.settings import get_settings
from flowlake.sources.congress import fetch_disclosures
from flowlake.sources.edgar import Blocked, EdgarClient, SharedPace
from flowlake.sources.errors import Retryable

GROUP = "insiders"
API = "edgar_api"
HISTORY_DAYS = 4 * 366
"""What regularity needs: three calendar years before the trade's own."""
EVENT_DAYS = 90
"""How far back an event looks for insider transactions."""

FILING_DAYS = dg.DailyPartitionsDefinition(
    start_date=get_settings().edgar.first_day, timezone=calendar.NEW_YORK.key, end_offset=1
)
"""Filing dates: every calendar day, because EDGAR accepts filings on days on which the exchange is closed."""

_EARLIER_FILINGS = dg.TimeWindowPartitionMapping(
    start_offset=-HISTORY_DAYS, end_offset=0, allow_nonexistent_upstream_partitions=True
)


class NoDisclosureLists(ValueError):
    """No address of a list of congressional disclosures is configured."""


def edgar_client() -> EdgarClient:
    """A client of the configured EDGAR whose pace and blocks every process on this lake shares."""
    settings = get_settings()
    pace = SharedPace(settings.data_dir / ".edgar-pace", settings.edgar.requests_per_second)
    return EdgarClient(settings.edgar, pace)


def origin() -> str:
    """Where filings come from: the SEC itself, or a sandbox."""
    return "vendor" if get_settings().edgar.base_url.startswith("https://www.sec.gov") else "simulated"


@dg.asset(
    name=INSIDER_FILINGS.name,
    partitions_def=FILING_DAYS,
    backfill_policy=dg.BackfillPolicy.single_run(),
    group_name=GROUP,
    owners=OWNERS,
    kinds={"sec", "parquet"},
    pool=API,
    description=f"{INSIDER_FILINGS.description}\n\nAlso writes owners, transactions, holdings, footnotes, quarantine "
    "and the day's index. Filings in the lake are not fetched again: an interrupted run goes on where it was.",
    metadata=declared_metadata(INSIDER_FILINGS),
)
def insider_filings(context: dg.AssetExecutionContext, lake: LakeResource) -> None:
    """Take in the filings of each day of the run, from the day's index or, before it is published, from the feed."""
    store, days = lake.open(), sorted(context.partition_keys)
    failed: dict[str, str] = {}
    with _passing_faults(), edgar_client() as client:
        tickers = client.company_tickers()
        for number, key in enumerate(days, start=1):
            done = take_in_day(
                store,
                client,
                date.fromisoformat(key),
                run_id=context.run_id,
                now=datetime.now(UTC),
                origin=origin(),
                tickers=tickers,
                progress=lambda so_far, key=key: _tell(context, key, so_far),
            )
            failed |= done.failed
            facts = {"dagster/row_count": store.rows(INSIDER_FILINGS.name, key), **done.as_metadata()}
            context.add_asset_metadata(facts, partition_key=key)
            context.log.info(f"filings of {key} ({number} of {len(days)}): {done.as_metadata()}")
    if failed:
        path, reason = next(iter(failed.items()))
        raise FilingsFailed(
            f"{len(failed)} filings could not be read, e.g. {path}: {reason}. The others are in the lake; "
            "materialise the same days again to fetch what is missing"
        )


@dg.asset_check(asset=INSIDER_FILINGS.name, partitions_def=FILING_DAYS, blocking=False)
def insider_filings_reconciled(context: dg.AssetCheckExecutionContext, lake: LakeResource) -> dg.AssetCheckResult:
    """Every filing that EDGAR's index of the day lists is in the lake or in quarantine with a reason."""
    store = lake.open()
    keys = [key for key in sorted(context.partition_keys) if store.has("insider_index", key)]
    absent = {key: missing_from_lake(store, date.fromisoformat(key)) for key in keys}
    total = sum(frame.height for frame in absent.values())
    listed = sum(store.rows("insider_index", key) for key in keys)
    examples = [row for frame in absent.values() for row in frame["accession"].head(5)]
    return dg.AssetCheckResult(
        passed=total == 0,
        severity=dg.AssetCheckSeverity.ERROR,
        description=f"{total} of {listed} listed filings are missing over {len(keys)} days with an index",
        metadata={"missing": total, "listed": listed, "days with an index": len(keys), "examples": ", ".join(examples)},
    )


@dg.asset(
    name=INSIDER_TRADES.name,
    deps=[dg.AssetDep(INSIDER_FILINGS.name, partition_mapping=_EARLIER_FILINGS)],
    partitions_def=FILING_DAYS,
    backfill_policy=dg.BackfillPolicy.single_run(),
    group_name=GROUP,
    owners=OWNERS,
    kinds={"polars", "parquet"},
    description=INSIDER_TRADES.description,
    metadata=declared_metadata(INSIDER_TRADES),
)
def insider_trades(context: dg.AssetExecutionContext, lake: LakeResource) -> None:
    """Trades of each day of the run, beside the history of their insiders and the market's prices.

    Analysts see them, and the filings they come from, minutes after they were filed: they wait for no session.
    """
    store, keys = lake.open(), sorted(context.partition_keys)
    first, last = date.fromisoformat(keys[0]), date.fromisoformat(keys[-1])
    history = _filings_between(store, first - timedelta(days=HISTORY_DAYS), last)
    trades = build_trades(
        history["insider_transactions"],
        history["insider_filings"],
        history["insider_owners"],
        _market(store, first - timedelta(days=STALE_DAYS + 30), last),
        arrived=lambda filed: filed.is_between(first, last),
    )
    with store.commit(context.run_id) as transaction:
        for key in keys:
            transaction.replace(INSIDER_TRADES.name, key, trades.filter(pl.col("filed_on") == date.fromisoformat(key)))
        transaction.publish(keys, [*FILING_TABLES, "insider_index", INSIDER_TRADES.name])
    for key in keys:
        rows = trades.filter(pl.col("filed_on") == date.fromisoformat(key))
        facts = {"dagster/row_count": rows.height, "preview": preview(rows)}
        context.add_asset_metadata(facts, partition_key=key)


@session_asset(
    INSIDER_SIGNALS,
    deps=[
        dg.AssetDep(
            INSIDER_TRADES.name,
            partition_mapping=dg.TimeWindowPartitionMapping(
                start_offset=-60, allow_nonexistent_upstream_partitions=True
            ),
        )
    ],
    group=GROUP,
    kinds={"polars", "parquet"},
    publish=True,
)
def signals(step: Step) -> Frames:
    """What insiders were known to do at the close; filings accepted later belong to the next session."""
    return {INSIDER_SIGNALS.name: signals_of(step.lake, step.session)}


def signals_of(store: Lake, session: date) -> pl.DataFrame:
    """`insider_signals` of `session` from the trades the lake holds."""
    edgar = get_settings().edgar
    windows = Windows(edgar.signal_days, edgar.cluster_days, edgar.cluster_buyers)
    known = _filings_between(store, session - timedelta(days=edgar.signal_days + 2), session)
    trades, transactions = known[INSIDER_TRADES.name], known["insider_transactions"]
    return insider_signals(trades, transactions, known[INSIDER_FILINGS.name], session, windows)


@session_asset(
    EVENT_INSIDERS,
    deps=[
        dg.AssetDep("scored_events"),
        dg.AssetDep(
            INSIDER_TRADES.name,
            partition_mapping=dg.TimeWindowPartitionMapping(
                start_offset=-EVENT_DAYS, allow_nonexistent_upstream_partitions=True
            ),
        ),
    ],
    group=GROUP,
    kinds={"polars", "parquet"},
    publish=True,
)
def event_context(step: Step) -> Frames:
    """Beside every event of the session: the transactions of its ticker known when it was found."""
    events = step.read("scored_events").rename({"underlying": "ticker"})
    known = _filings_between(step.lake, step.session - timedelta(days=EVENT_DAYS), step.session + timedelta(days=1))
    found = event_insiders(
        events,
        known["insider_transactions"],
        known[INSIDER_FILINGS.name],
        known[INSIDER_TRADES.name],
        days=EVENT_DAYS,
    )
    return {EVENT_INSIDERS.name: found}


@dg.asset(
    name=CONGRESS_TRADES.name,
    group_name=GROUP,
    owners=OWNERS,
    kinds={"congress", "parquet"},
    description=CONGRESS_TRADES.description,
    metadata=declared_metadata(CONGRESS_TRADES),
)
def congress_trades(context: dg.AssetExecutionContext, lake: LakeResource) -> dg.MaterializeResult:
    """Read the configured lists; what was seen before keeps the date on which it became known."""
    settings = get_settings().congress
    lists: tuple[tuple[Chamber, str | None], ...] = (("house", settings.house_url), ("senate", settings.senate_url))
    if not any(url for _, url in lists):
        raise NoDisclosureLists(
            "no list of congressional disclosures is configured: set FLOWLAKE_CONGRESS__HOUSE_URL or "
            "FLOWLAKE_CONGRESS__SENATE_URL to the address of a stock-watcher list"
        )
    now = datetime.now(UTC)
    read = [
        normalise_disclosures(fetch_disclosures(url, chamber), chamber, now, "vendor") for chamber, url in lists if url
    ]
    store = lake.open()
    with store.commit(context.run_id, exclusive=True) as transaction:
        has = transaction.has(CONGRESS_TRADES.name, UNPARTITIONED)
        held = transaction.read(CONGRESS_TRADES.name, UNPARTITIONED) if has else CONGRESS_TRADES.empty()
        merged = merge_disclosures(held, pl.concat(read))
        transaction.replace(CONGRESS_TRADES.name, UNPARTITIONED, merged)
        transaction.publish([], [CONGRESS_TRADES.name])
    return dg.MaterializeResult(
        metadata={"dagster/row_count": merged.height, "new": merged.height - held.height, "preview": preview(merged)}
    )


insider_intake = dg.define_asset_job(
    "insider_intake",
    selection=dg.AssetSelection.assets(insider_filings, insider_trades),
    description="The filings of a day and what they say about trades.",
)


class QuarterConfig(dg.Config):
    """Which quarter's data set is read."""

    year: int
    quarter: int


@dg.op(pool=API)
def read_bulk_quarter(context: dg.OpExecutionContext, config: QuarterConfig, lake: LakeResource) -> None:
    """Take in the SEC's data set of a quarter; filings in the lake stay, so that a run can be repeated."""
    store = lake.open()
    with _passing_faults(), edgar_client() as client:
        added = take_in_quarter(
            store,
            client,
            config.year,
            config.quarter,
            run_id=context.run_id,
            origin=origin(),
            tickers=client.company_tickers(),
            progress=lambda day, count: context.log.info(f"{day}: {count} filings added"),
        )
    for day, count in added.items():
        facts = {"dagster/row_count": store.rows(INSIDER_FILINGS.name, day.isoformat()), "added from bulk": count}
        context.log_event(dg.AssetMaterialization(INSIDER_FILINGS.name, partition=day.isoformat(), metadata=facts))
    context.log.info(f"{sum(added.values()):,} filings of {config.year} quarter {config.quarter} added")


@dg.job(description="Backfill of a past quarter from the SEC's insider transactions data set: one request per quarter.")
def insider_bulk_backfill() -> None:
    """One op: see `read_bulk_quarter`."""
    read_bulk_quarter()


insider_session = dg.define_asset_job(
    "insider_session",
    selection=dg.AssetSelection.assets(signals, event_context),
    description="Insider signals of a session, and the insider transactions beside its scored events.",
)

_OPENS, _CLOSES = 6, 22
_BUSY_FROM = 16


@dg.sensor(job=insider_intake, minimum_interval_seconds=600, default_status=dg.DefaultSensorStatus.STOPPED)
def insider_filings_sensor(context: dg.SensorEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    """Hourly while EDGAR accepts filings; every 10 minutes after 16:00 New York, when four fifths of them arrive."""
    return due(datetime.now(UTC), get_settings().edgar.user_agent)


def due(now: datetime, user_agent: str | None) -> dg.RunRequest | dg.SkipReason:
    """What the sensor asks for at `now` (an aware datetime); the run key names the slot, so no slot runs twice."""
    local = now.astimezone(calendar.NEW_YORK)
    if not user_agent:
        return dg.SkipReason("FLOWLAKE_EDGAR__USER_AGENT is not set; EDGAR refuses callers without a contact")
    # A last look after 22:00 takes what was accepted in the final minutes.
    if local.weekday() >= 5 or not _OPENS <= local.hour <= _CLOSES:
        return dg.SkipReason(f"EDGAR accepts no filings at {local:%A %H:%M} New York")
    minute = local.minute // 10 * 10 if local.hour >= _BUSY_FROM else 0
    day = local.date().isoformat()
    return dg.RunRequest(run_key=f"{day}T{local.hour:02d}:{minute:02d}", partition_key=day)


@dg.schedule(job=insider_intake, cron_schedule="0 6 * * 2-6", execution_timezone=calendar.NEW_YORK.key)
def insider_reconciliation_schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
    """06:00 after every weekday: the day before against its published index; what the feed missed is fetched."""
    day = context.scheduled_execution_time.astimezone(calendar.NEW_YORK).date() - timedelta(days=1)
    return dg.RunRequest(partition_key=day.isoformat())


@dg.schedule(job=insider_session, cron_schedule="40 8 * * 1-5", execution_timezone=calendar.NEW_YORK.key)
def insider_session_schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    """08:40 on every session, after the events of the session before are scored and its filings reconciled."""
    day = context.scheduled_execution_time.astimezone(calendar.NEW_YORK).date()
    if not calendar.is_session(day):
        return dg.SkipReason(f"{day} is not a trading session; the next one settles the session before it")
    return dg.RunRequest(partition_key=calendar.previous_session(day).isoformat())


def _tell(context: dg.AssetExecutionContext, key: str, done: Intake) -> None:
    taken = done.known + done.read + done.refused + len(done.failed)
    context.log.info(f"{key}: {taken} of {done.listed} filings")


@contextmanager
def _passing_faults() -> Iterator[None]:
    """Turn a block, or a fault that outlasted the client's retries, into a later retry of the step."""
    try:
        yield
    except Blocked as error:
        raise dg.RetryRequested(max_retries=2, seconds_to_wait=(error.retry_after or 600) + 5) from error
    except Retryable as error:
        raise dg.RetryRequested(max_retries=2, seconds_to_wait=60) from error


def _days(first: date, last: date) -> Iterator[str]:
    return ((first + timedelta(days=n)).isoformat() for n in range((last - first).days + 1))


def _filings_between(store: Lake, first: date, last: date) -> dict[str, pl.DataFrame]:
    """The filing tables over a range of filing dates, from one state of the lake."""
    snapshot, keys = store.snapshot(), list(_days(first, last))
    names = (INSIDER_FILINGS.name, "insider_owners", "insider_transactions", INSIDER_TRADES.name)
    return {name: snapshot.scan(name, keys).collect() for name in names}


def _market(store: Lake, first: date, last: date) -> pl.DataFrame:
    """Closes and volumes of the sessions between, from the stock snapshots."""
    return (
        store.scan("raw_stock_snapshots", list(_days(first, last)), ["session", "ticker", "close", "volume"])
        .drop_nulls("close")
        .unique(["session", "ticker"], keep="first", maintain_order=True)
        .collect()
        .match_to_schema(MARKET)
    )


ASSETS = [insider_filings, insider_trades, signals, event_context, congress_trades]
CHECKS = [
    insider_filings_reconciled,
    *(table_checks(name, FILING_DAYS) for name in (INSIDER_FILINGS.name, INSIDER_TRADES.name)),
]
JOBS = [insider_intake, insider_session, insider_bulk_backfill]
SENSORS = [insider_filings_sensor]
SCHEDULES = [insider_reconciliation_schedule, insider_session_schedule]
