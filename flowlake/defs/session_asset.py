"""`session_asset`: one lake table per asset, one session (or snapshot) per partition, written as each is done."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

import dagster as dg
import polars as pl

from flowlake import calendar
from flowlake.defs.partitions import SESSIONS, SNAPSHOTS
from flowlake.defs.resources import LakeResource, MarketResource
from flowlake.intraday.plan import DueSnapshot, snapshot_of
from flowlake.lake import Lake
from flowlake.schemas import Table
from flowlake.sources.chains import Progress
from flowlake.sources.errors import CircuitOpen, Retryable

OWNERS = ["team:flowlake"]
SKIP_EXISTING = "flowlake/skip_existing"
"""Run tag: sessions already in the lake are left as they are, so that an interrupted backfill goes on where it was."""
ONLY_SUPERSEDED = "flowlake/only_superseded"
"""Run tag: of sessions in the lake only those are built whose inputs changed since, asked when their turn comes."""

PASSING_FAULTS = (Retryable, CircuitOpen)
"""Faults of the outside that the client's own retries did not outlast; the step is tried again later."""
MAX_RETRIES = 2
RETRY_SECONDS = 60

LONG_PASS = 500
"""Underlyings from which a pass takes minutes and says how far it is."""

_PREVIEW_ROWS = 5
_PREVIEW_COLUMNS = 12

Frames = Mapping[str, pl.DataFrame]
"""Lake frames by table name."""


class SessionNotOver(ValueError):
    """A session was asked for before its regular trading ended."""


class SnapshotNotDue(ValueError):
    """A snapshot was asked for before the moment it describes could be seen."""


@dataclass(frozen=True)
class Step:
    """What the function of one asset sees of one session: the lake as the run has written it so far, and the market.

    Within the session, `due` is the snapshot at hand.
    """

    session: date
    lake: Lake
    market: MarketResource
    log: Any
    run_id: str
    due: DueSnapshot | None = None

    @property
    def partition(self) -> str:
        """The partition key at hand: the snapshot's, or the session's."""
        return self.due.key if self.due else self.session.isoformat()

    @property
    def snapshot(self) -> DueSnapshot:
        """The snapshot at hand; only intraday assets have one."""
        if self.due is None:
            raise TypeError(f"the end-of-day step of {self.session} has no snapshot")
        return self.due

    def key(self, name: str) -> str:
        """The partition of table `name` that this step reads and writes."""
        return self.partition if self.lake.table(name).partitioning == "snapshot" else self.session.isoformat()

    def read(self, name: str, columns: Sequence[str] | None = None) -> pl.DataFrame:
        """Table `name` of this session or snapshot."""
        return self.lake.read(name, self.key(name), columns)

    def has(self, name: str, session: date) -> bool:
        """Whether the lake has table `name` of `session`."""
        return self.lake.has(name, session.isoformat())

    def progress(self, what: str) -> Callable[[Progress], None]:
        """A listener that logs every tenth of the way through a pass over `what`, if the pass is a long one."""
        told = 0

        def tell(progress: Progress) -> None:
            nonlocal told
            tenth = 10 * progress.done // max(progress.total, 1)
            if tenth > told and progress.total >= LONG_PASS:
                told = tenth
                self.log.info(
                    f"{self.session}: {progress.done} of {progress.total} {what}, {progress.rows:,} rows, "
                    f"{progress.failed} failed"
                )

        return tell

    def earlier(self, name: str, sessions: int) -> dict[date, pl.LazyFrame]:
        """Table `name` by session over the `sessions` sessions strictly before this one, those that the lake has."""
        days = calendar.trailing_sessions(self.session, sessions)
        present = [day for day in days if self.lake.has(name, day.isoformat())]
        return {day: self.lake.scan(name, partitions=[day.isoformat()]) for day in present}

    def trailing(self, name: str, sessions: int, columns: Sequence[str] | None = None) -> pl.LazyFrame:
        """Table `name` over the `sessions` sessions strictly before this one, those (and those snapshots) there are."""
        return self._over(name, calendar.trailing_sessions(self.session, sessions), columns)

    def through(self, name: str, sessions: int, columns: Sequence[str] | None = None) -> pl.LazyFrame:
        """Table `name` over the `sessions` sessions that end with this one, those that the lake has."""
        return self._over(name, [*calendar.trailing_sessions(self.session, sessions - 1), self.session], columns)

    def _over(self, name: str, sessions: Sequence[date], columns: Sequence[str] | None) -> pl.LazyFrame:
        days = {day.isoformat() for day in sessions}
        present = [key for key in self.lake.partitions(name) if key[:10] in days]
        return self.lake.scan(name, partitions=present, columns=columns)

    def same_time(self, name: str, sessions: int) -> pl.LazyFrame:
        """Snapshot table `name` at this time of day over the `sessions` sessions before, those that the lake has."""
        time_of_day = self.snapshot.key[10:]
        keys = [f"{day.isoformat()}{time_of_day}" for day in calendar.trailing_sessions(self.session, sessions)]
        present = [key for key in keys if self.lake.has(name, key)]
        return self.lake.scan(name, partitions=present)

    def polls_before(self, name: str) -> dict[datetime, str]:
        """The snapshots of the session before that table `name` has, with their partitions."""
        before = calendar.previous_session(self.session).isoformat()
        keys = [key for key in self.lake.partitions(name) if key.startswith(before)]
        return {calendar.snapshot_of_key(key): key for key in keys}


@dataclass(frozen=True)
class Cadence:
    """How often an asset is made: its partitions, what a step of one sees, and whether Dagster retries faults."""

    partitions: dg.PartitionsDefinition
    step: Callable[[str, Lake, MarketResource, Any, str], Step]
    retries_faults: bool


def _end_of_day(key: str, store: Lake, market: MarketResource, log: Any, run_id: str) -> Step:
    return Step(_closed_session(key, market), store, market, log, run_id)


def _within_session(key: str, store: Lake, market: MarketResource, log: Any, run_id: str) -> Step:
    settings = market.settings
    due = snapshot_of(key, settings.intraday, timedelta(minutes=settings.api.delay_minutes))
    now = market.now()
    if now < due.due_at:
        raise SnapshotNotDue(
            f"snapshot {key} can be taken from {due.due_at:%Y-%m-%d %H:%M} UTC on (the plan's data are "
            f"{settings.api.delay_minutes} minutes old) and it is now {now:%Y-%m-%d %H:%M} UTC"
        )
    return Step(due.session, store, market, log, run_id, due)


def _before_open(key: str, store: Lake, market: MarketResource, log: Any, run_id: str) -> Step:
    session = calendar.require_session(date.fromisoformat(key))
    if session > market.now().astimezone(calendar.NEW_YORK).date():
        raise SessionNotOver(f"session {session} lies ahead; what is known before its open is not known yet")
    return Step(session, store, market, log, run_id)


END_OF_DAY = Cadence(SESSIONS, _end_of_day, retries_faults=True)
BEFORE_OPEN = Cadence(SESSIONS, _before_open, retries_faults=True)
INTRADAY = Cadence(SNAPSHOTS, _within_session, retries_faults=False)
"""A snapshot that failed is asked for again by the sensor, which knows for how long that is worth while."""

Facts = dict[str, Any]
Build = Callable[[Step], Frames]
Metadata = Callable[[Step, Frames], Facts]


def session_asset(
    main: Table,
    *,
    also: Sequence[Table] = (),
    deps: Sequence[dg.AssetDep | str] = (),
    group: str,
    kinds: set[str],
    pool: str | None = None,
    exclusive: bool = False,
    publish: bool = False,
    code_version: str = "1",
    metadata: Metadata | None = None,
    cadence: Cadence = END_OF_DAY,
    completes: bool = False,
) -> Callable[[Build], dg.AssetsDefinition]:
    """Turn `build(step) -> frames` into an asset named after `main`, partitioned by session unless `cadence` differs.

    Each session's frames (of `main` and the tables in `also`) are committed together as soon as they are built, so a
    crash loses one session, not the range. A range is one run. Row counts, a preview and what `metadata` adds are
    recorded per partition; columns and descriptions come from the table's declaration. With `exclusive` the lake's
    lock is held while a session is built, for what depends on what other runs may be writing. With `publish` analysts
    see the session at once; what belongs together with other tables is published by `duckdb_catalog` instead. What
    `completes` a partition that other assets begin is built even where sessions in the lake are to be kept.
    """

    def decorate(build: Build) -> dg.AssetsDefinition:
        @dg.asset(
            name=main.name,
            deps=deps,
            partitions_def=cadence.partitions,
            backfill_policy=dg.BackfillPolicy.single_run(),
            group_name=group,
            owners=OWNERS,
            kinds=kinds,
            description=_description(main, also, build),
            metadata=declared_metadata(main) | _written_in(build),
            code_version=code_version,
            pool=pool,
        )
        def compute(context: dg.AssetExecutionContext, lake: LakeResource, market: MarketResource) -> None:
            store, tables = lake.open(), (main, *also)
            keys = sorted(context.partition_keys) if completes else _pending(context, store, main.name)
            _build_sessions(context, store, market, build, keys, tables, (main,), cadence, exclusive, metadata, publish)

        return compute

    return decorate


def session_assets(
    name: str,
    assets: Mapping[Table, Sequence[dg.AssetDep | str]],
    *,
    group: str,
    kinds: set[str],
    code_version: str = "1",
    metadata: Metadata | None = None,
    cadence: Cadence = END_OF_DAY,
) -> Callable[[Build], dg.AssetsDefinition]:
    """Turn `build(step) -> frames` into one step that makes several session-partitioned assets from one scan.

    `assets` maps each table to what it is made from; otherwise as `session_asset`.
    """

    def decorate(build: Build) -> dg.AssetsDefinition:
        specs = [
            dg.AssetSpec(
                table.name,
                deps=deps,
                group_name=group,
                owners=OWNERS,
                kinds=kinds,
                description=table.description,
                metadata=declared_metadata(table) | _written_in(build),
                code_version=code_version,
            )
            for table, deps in assets.items()
        ]

        @dg.multi_asset(
            name=name,
            specs=specs,
            partitions_def=cadence.partitions,
            backfill_policy=dg.BackfillPolicy.single_run(),
        )
        def compute(
            context: dg.AssetExecutionContext, lake: LakeResource, market: MarketResource
        ) -> Iterator[dg.MaterializeResult]:
            store, tables = lake.open(), tuple(assets)
            keys = _pending(context, store, tables[-1].name)
            _build_sessions(context, store, market, build, keys, tables, tables, cadence, False, metadata)
            yield from (dg.MaterializeResult(asset_key=table.name) for table in assets)

        return compute

    return decorate


def _build_sessions(
    context: dg.AssetExecutionContext,
    store: Lake,
    market: MarketResource,
    build: Build,
    keys: Sequence[str],
    tables: tuple[Table, ...],
    assets: tuple[Table, ...],
    cadence: Cadence,
    exclusive: bool,
    metadata: Metadata | None,
    publish: bool = False,
) -> None:
    """Build and commit the sessions `keys` in order; `tables` are written, those in `assets` are recorded."""
    main = assets[-1].name
    recorded: list[tuple[str, str, Facts]] = []
    kept: list[str] = []
    try:
        for number, key in enumerate(keys, start=1):
            started = time.perf_counter()
            step = cadence.step(key, store, market, context.log, context.run_id)
            if context.run.tags.get(ONLY_SUPERSEDED) == "true" and _is_up_to_date(store, assets, step):
                kept.append(key)
                continue
            with store.commit(context.run_id, exclusive=exclusive) as transaction:
                frames = build(step)
                if set(frames) != {table.name for table in tables}:
                    raise ValueError(
                        f"{main} built {sorted(frames)}, declared {sorted(table.name for table in tables)}"
                    )
                for name, frame in frames.items():
                    transaction.replace(name, step.key(name), _of_snapshot(step, name, frame))
                if publish:
                    transaction.publish({step.key(name) for name in frames}, frames)
            seconds = time.perf_counter() - started
            extra = metadata(step, frames) if metadata else {}
            if len(assets) == 1:
                extra |= {f"rows {name}": frame.height for name, frame in frames.items() if name != main}
            recorded += [(asset.name, key, _facts(frames[asset.name], seconds) | extra) for asset in assets]
            context.log.info(f"{main} {key} ({number} of {len(keys)}): {frames[main].height:,} rows in {seconds:.1f} s")
    except BaseException as error:
        # A failing step emits no output, but the sessions it committed are in the lake: tell Dagster so.
        for name, key, facts in recorded:
            context.log_event(dg.AssetMaterialization(name, partition=key, metadata=facts))
        if cadence.retries_faults and isinstance(error, PASSING_FAULTS):
            raise dg.RetryRequested(max_retries=MAX_RETRIES, seconds_to_wait=RETRY_SECONDS) from error
        raise
    if kept:
        context.log.info(
            f"{main}: what {len(kept)} of {len(keys)} sessions were made from did not change; they are kept"
        )
    for name, key, facts in recorded:
        context.add_asset_metadata(facts, asset_key=name, partition_key=key)


def _is_up_to_date(store: Lake, assets: Sequence[Table], step: Step) -> bool:
    """Whether the inputs of the session are still those it was made from; the run itself may have changed them."""
    # Reads the graph that this module helps to define.
    from flowlake.defs.restated import is_up_to_date

    return is_up_to_date(store, [table.name for table in assets], step.session)


def _of_snapshot(step: Step, name: str, frame: pl.DataFrame) -> pl.DataFrame:
    """`frame` with the moment of its snapshot, where table `name` has one per snapshot."""
    if step.due is None or step.lake.table(name).partitioning != "snapshot":
        return frame
    return frame.with_columns(snapshot=pl.lit(step.due.at))


def column_schema(declared: Table) -> dg.TableSchema:
    """The declaration of a table as Dagster shows it: types, meaning with unit, nullability."""
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                column.name,
                str(column.dtype),
                description=f"{column.description} [{column.unit}]" if column.unit else column.description,
                constraints=dg.TableColumnConstraints(nullable=column.nullable),
            )
            for column in declared.columns
        ]
    )


def preview(frame: pl.DataFrame) -> dg.MarkdownMetadataValue:
    """The first rows and columns of `frame` as a Markdown table."""
    head = frame.select(frame.columns[:_PREVIEW_COLUMNS]).head(_PREVIEW_ROWS)
    lines = ["| " + " | ".join(head.columns) + " |", "|" + " --- |" * head.width]
    lines += ["| " + " | ".join(str(value).replace("|", "\\|") for value in row) + " |" for row in head.iter_rows()]
    return dg.MetadataValue.md("\n".join(lines))


def declared_metadata(declared: Table) -> Facts:
    """What an asset says about its table before any run: columns with their meaning, and when facts are known."""
    return {"dagster/column_schema": column_schema(declared), "table": declared.name, "known at": declared.known_at}


def _written_in(build: Build) -> Facts:
    """Where the function of an asset is written, for the UI's link to the code."""
    code = build.__code__
    reference = dg.LocalFileCodeReference(file_path=code.co_filename, line_number=code.co_firstlineno)
    return {"dagster/code_references": dg.CodeReferencesMetadataValue(code_references=[reference])}


def _description(main: Table, also: Sequence[Table], build: Build) -> str:
    parts = [main.description, (build.__doc__ or "").strip()]
    parts += [f"Also writes `{other.name}`: {other.description}" for other in also]
    return "\n\n".join(part for part in parts if part)


def _closed_session(key: str, market: MarketResource) -> date:
    """The session of a partition key; a session that is still trading has no end-of-day record yet."""
    session = calendar.require_session(date.fromisoformat(key))
    now = market.now()
    if calendar.session_close(session) > now:
        raise SessionNotOver(
            f"session {session} closes at {calendar.session_close(session):%Y-%m-%d %H:%M} UTC and it is now "
            f"{now:%Y-%m-%d %H:%M} UTC; materialise it after the close, or choose "
            f"{calendar.latest_closed_session(now)} or earlier"
        )
    return session


def _pending(context: dg.AssetExecutionContext, store: Lake, name: str) -> list[str]:
    """The partitions of this run in order, less those to be left as they are."""
    keys = sorted(context.partition_keys)
    if context.run.tags.get(SKIP_EXISTING) != "true":
        return keys
    pending = [key for key in keys if not store.has(name, key)]
    if len(pending) < len(keys):
        context.log.info(f"{name}: {len(keys) - len(pending)} of {len(keys)} sessions are in the lake and are kept")
    return pending


def _facts(frame: pl.DataFrame, seconds: float) -> Facts:
    return {"dagster/row_count": frame.height, "seconds": round(seconds, 3), "preview": preview(frame)}
