"""Sessions that later sessions were made from and that changed since: which tables that leaves behind.

What is made from what is read off the asset graph, so that the next asset is covered too.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import date
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import dagster as dg

from flowlake import calendar
from flowlake.defs.partitions import SESSIONS
from flowlake.defs.product import RESTATED_GROUPS
from flowlake.lake import Lake
from flowlake.lake.superseded import MadeFrom, Reads, Superseded, roots, superseded
from flowlake.quality import timeliness
from flowlake.quality.outcome import Outcome
from flowlake.schemas import TABLES

if TYPE_CHECKING:
    from dagster._core.definitions.assets.graph.base_asset_graph import BaseAssetGraph

CHAIN: Final = "option_chains"
"""The table with which a session's end-of-day record begins: what snapshots wrote before it is not judged."""

_INPUTS: Final = frozenset({"market", *RESTATED_GROUPS})
"""Groups whose sessions count as inputs. Filings come late by nature: what is made from them reads what was known."""


@lru_cache(maxsize=1)
def made_from() -> MadeFrom:
    """What every session table that is made from others in the lake is made from."""
    from flowlake.definitions import defs

    graph = defs.resolve_asset_graph()
    found = {
        key.to_user_string(): tuple(_reads(graph, key))
        for key in graph.get_all_asset_keys()
        if _is_restated(graph, key)
    }
    return {table: reads for table, reads in sorted(found.items()) if reads}


def superseded_sessions(store: Lake, within: Collection[date] | None = None) -> list[Superseded]:
    """Sessions of tables made from superseded inputs, the oldest first, of those with a chain; only `within`, if given.

    Reads the manifest only.
    """
    files = store.manifest().head
    held = set(files.get(CHAIN, {}))
    wanted = held if within is None else held & {day.isoformat() for day in within}
    names = sorted({session for table in _session_tables() for session in files.get(table, {})})
    if not names or not wanted:
        return []
    every = calendar.sessions(date.fromisoformat(names[0]), date.fromisoformat(names[-1]))
    return superseded(files, made_from(), [day.isoformat() for day in every], wanted)


def is_up_to_date(store: Lake, tables: Collection[str], session: date) -> bool:
    """Whether the lake has all `tables` of the session, made from what their inputs are now."""
    left = {each.table for each in superseded_sessions(store, [session])}
    return all(store.has(table, session.isoformat()) and table not in left for table in tables)


def none_left_behind(store: Lake) -> Outcome:
    """The rule of that name on the lake as it is now; reads the manifest only."""
    found = superseded_sessions(store)
    left: dict[date, list[str]] = {}
    for each in found:
        left.setdefault(date.fromisoformat(each.session), []).append(each.table)
    return timeliness.none_left_behind(left, roots(found), len(store.partitions(CHAIN)))


def _session_tables() -> set[str]:
    return {table for table, reads in made_from().items() for table in (table, *(each.table for each in reads))}


def _is_restated(graph: BaseAssetGraph, key: dg.AssetKey) -> bool:
    node = graph.get(key)
    declared = TABLES.get(key.to_user_string())
    by_session = declared is not None and declared.partitioning == "session" and node.partitions_def == SESSIONS
    return by_session and node.group_name in RESTATED_GROUPS


def _reads(graph: BaseAssetGraph, key: dg.AssetKey) -> Iterator[Reads]:
    node = graph.get(key)
    for parent in sorted(node.parent_keys):
        origin = graph.get(parent)
        if origin.partitions_def != SESSIONS or origin.group_name not in _INPUTS:
            continue
        mapping = graph.get_partition_mapping(key, parent)
        window = isinstance(mapping, dg.TimeWindowPartitionMapping)
        first, last = (mapping.start_offset, mapping.end_offset) if window else (0, 0)
        # What the same step writes is written together: only earlier sessions of it are inputs.
        last = min(last, -1) if parent in node.execution_set_asset_keys else last
        if first <= last:
            yield Reads(parent.to_user_string(), first, last)
