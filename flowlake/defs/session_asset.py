"""`session_asset`: one lake table per asset, one session per partition, written as each session is done."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import dagster as dg
import polars as pl

from flowlake import calendar
from flowlake.defs.partitions import SESSIONS
from flowlake.defs.resources import LakeResource, MarketResource
from flowlake.lake import Lake
from flowlake.schemas import Table, table

OWNERS = ["team:flowlake"]
SKIP_EXISTING = "flowlake/skip_existing"
"""Run tag: sessions already in the lake are left as they are, so that an interrupted backfill goes on where it was."""

_PREVIEW_ROWS = 5
_PREVIEW_COLUMNS = 12

Frames = Mapping[str, pl.DataFrame]
"""Lake frames by table name."""


class SessionNotOver(ValueError):
    """A session was asked for before its regular trading ended."""


@dataclass(frozen=True)
class Step:
    """What the function of one asset sees of one session: the lake as the run has written it so far, and the market."""

    session: date
    lake: Lake
    market: MarketResource
    log: Any

    @property
    def partition(self) -> str:
        """The session's partition key."""
        return self.session.isoformat()

    def read(self, name: str) -> pl.DataFrame:
        """Table `name` of this session."""
        return self.lake.read(name, self.partition)

    def read_or_empty(self, name: str) -> pl.DataFrame:
        """Table `name` of this session, without rows where the session has none."""
        return self.read(name) if self.lake.has(name, self.partition) else table(name).empty()

    def trailing(self, name: str, sessions: int, columns: Sequence[str] | None = None) -> pl.LazyFrame:
        """Table `name` over the `sessions` sessions strictly before this one, those that the lake has."""
        keys = [day.isoformat() for day in calendar.trailing_sessions(self.session, sessions)]
        present = [key for key in keys if self.lake.has(name, key)]
        return self.lake.scan(name, partitions=present, columns=columns)


def session_asset(
    main: Table,
    *,
    also: Sequence[Table] = (),
    deps: Sequence[dg.AssetDep | str] = (),
    group: str,
    kinds: set[str],
    pool: str | None = None,
    retry_policy: dg.RetryPolicy | None = None,
    code_version: str = "1",
    metadata: Callable[[Step, Frames], dict[str, Any]] | None = None,
) -> Callable[[Callable[[Step], Frames]], dg.AssetsDefinition]:
    """Turn `build(step) -> frames` into a session-partitioned asset named after `main`.

    Each session's frames (of `main` and the tables in `also`) are committed together as soon as they are built, so a
    crash loses one session, not the range. A range is one run. Row counts, a preview and what `metadata` adds are
    recorded per partition; columns and descriptions come from the table's declaration.
    """
    expected = {main.name, *(other.name for other in also)}

    def decorate(build: Callable[[Step], Frames]) -> dg.AssetsDefinition:
        @dg.asset(
            name=main.name,
            deps=deps,
            partitions_def=SESSIONS,
            backfill_policy=dg.BackfillPolicy.single_run(),
            group_name=group,
            owners=OWNERS,
            kinds=kinds,
            description=_description(main, also, build),
            metadata={"dagster/column_schema": column_schema(main), "table": main.name, "known at": main.known_at},
            code_version=code_version,
            pool=pool,
            retry_policy=retry_policy,
        )
        def compute(context: dg.AssetExecutionContext, lake: LakeResource, market: MarketResource) -> None:
            store = lake.open()
            keys = _pending(context, store, main.name)
            done: list[tuple[str, dict[str, Any]]] = []
            try:
                for number, key in enumerate(keys, start=1):
                    started = time.perf_counter()
                    step = Step(_closed_session(key, market), store, market, context.log)
                    frames = build(step)
                    if set(frames) != expected:
                        raise ValueError(f"{main.name} built {sorted(frames)}, declared {sorted(expected)}")
                    with store.commit(run_id=context.run_id) as tx:
                        for name, frame in frames.items():
                            tx.replace(name, key, frame)
                    facts = _facts(frames, main, time.perf_counter() - started) | (
                        metadata(step, frames) if metadata else {}
                    )
                    done.append((key, facts))
                    context.log.info(
                        f"{main.name} {key} ({number} of {len(keys)}): "
                        f"{frames[main.name].height:,} rows in {facts['seconds']:.1f} s"
                    )
            except BaseException:
                _record(context, main.name, done)
                raise
            for key, facts in done:
                context.add_asset_metadata(facts, partition_key=key)

        return compute

    return decorate


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


def _description(main: Table, also: Sequence[Table], build: Callable[[Step], Frames]) -> str:
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


def _facts(frames: Frames, main: Table, seconds: float) -> dict[str, Any]:
    facts: dict[str, Any] = {"dagster/row_count": frames[main.name].height, "seconds": round(seconds, 3)}
    facts |= {f"rows {name}": frame.height for name, frame in frames.items() if name != main.name}
    return facts | {"preview": preview(frames[main.name])}


def _record(context: dg.AssetExecutionContext, name: str, done: list[tuple[str, dict[str, Any]]]) -> None:
    """A failing step emits no output, but the sessions it committed are in the lake: tell Dagster so."""
    for key, facts in done:
        context.log_event(dg.AssetMaterialization(name, partition=key, metadata=facts))
