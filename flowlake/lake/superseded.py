"""Which partitions were made from inputs that have changed since: told from the manifest alone, no data are read."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from flowlake.lake.manifest import FileEntry, FileMap


@dataclass(frozen=True)
class Reads:
    """Sessions of `table` that one session is made from, by distance: -60 to -1 are the 60 before it, 0 is itself."""

    table: str
    first: int = 0
    last: int = 0


MadeFrom = Mapping[str, Collection[Reads]]
"""Table -> what its sessions are made from."""


@dataclass(frozen=True)
class Superseded:
    """A session of a table, and those of its inputs, as (table, session), that changed after it was made."""

    table: str
    session: str
    inputs: tuple[tuple[str, str], ...]


def superseded(
    files: FileMap, made_from: MadeFrom, sessions: Sequence[str], within: Collection[str] | None = None
) -> list[Superseded]:
    """Sessions in `files` that were made from superseded inputs, the oldest first; only those `within`, if given.

    An input counts where its content changed, or first came, after the making began; built again to the same bytes it
    does not, and one that is gone (retention) does not either. `sessions` are all there may be, ascending.
    """
    places = {session: place for place, session in enumerate(sessions)}
    changed = {
        table: [entry.since if (entry := held.get(session)) else 0 for session in sessions]
        for table, held in files.items()
    }
    found = [
        Superseded(table, session, newer)
        for table, reads in made_from.items()
        for session, entry in files.get(table, {}).items()
        if session in places and (within is None or session in within)
        if (newer := tuple(_newer(entry, places[session], reads, changed, sessions)))
    ]
    return sorted(found, key=lambda each: (each.session, each.table))


def roots(found: Sequence[Superseded]) -> list[tuple[str, str]]:
    """The inputs that `found` begin with: those that are not superseded themselves, as (table, session)."""
    stale = {(each.table, each.session) for each in found}
    return sorted({origin for each in found for origin in each.inputs} - stale, key=lambda each: (each[1], each[0]))


def _newer(
    entry: FileEntry, place: int, reads: Collection[Reads], changed: Mapping[str, list[int]], sessions: Sequence[str]
) -> Iterator[tuple[str, str]]:
    for each in reads:
        first, last = max(place + each.first, 0), place + each.last
        window = changed.get(each.table, [])[first : max(last + 1, 0)]
        if max(window, default=0) > entry.read_at:
            for offset, since in enumerate(window):
                if since > entry.read_at:
                    yield each.table, sessions[first + offset]
