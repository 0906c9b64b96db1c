"""Listings: what may be asked of a table, and how one page of the answer is read from Parquet."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import cached_property
from typing import Any, Literal
from urllib.parse import urlencode

import polars as pl

from flowlake.lake.errors import PartitionNotFound
from flowlake.lake.files import scan_table_files
from flowlake.schemas.base import Table
from flowlake.serve.formats import Format, Page
from flowlake.serve.lake_reader import State
from flowlake.serve.parameters import Parameter
from flowlake.serve.problems import Problem, bad_parameter

DEFAULT_LIMIT, MAX_LIMIT = 500, 10_000
API_VERSION = "1"

TICKER = r"[A-Za-z0-9][A-Za-z0-9.:/_-]{0,23}"
"""What an underlying or ticker may look like."""

_FIRST_CHUNK, _CHUNK_GROWTH = 1, 4


@dataclass(frozen=True)
class Filter:
    """A parameter that keeps the rows whose `column` compares so with its value."""

    parameter: Parameter
    column: str
    how: Literal["==", ">=", "<=", "in"] = "=="

    def keeps(self, value: Any) -> pl.Expr:
        """The rows to keep."""
        column = pl.col(self.column)
        match self.how:
            case ">=":
                return column >= value
            case "<=":
                return column <= value
            case "in":
                return column.is_in(list(value))
            case _:
                return column == value


@dataclass(frozen=True)
class Order:
    """A column rows are ordered by; together the columns of an order identify a row."""

    column: str
    descending: bool = False


Source = Callable[[State, Sequence[str]], pl.LazyFrame]
Reads = Callable[[State, Sequence[str]], Sequence[tuple[str, str]]]


@dataclass(frozen=True)
class Listing:
    """One endpoint that lists rows of `table`.

    `sessions` says which partitions a request may name: 'range' (session, or from and to; all by default), 'one'
    (session; the newest by default), 'snapshot' (the newest by default) or 'none'. `left_out` names columns shown
    only where `columns` asks for them. `source` gives the rows where they are not simply the table's; `reads` the
    (table, partition) pairs that decide the answer, for the ETag.
    """

    name: str
    path: str
    summary: str
    table: Table
    order: tuple[Order, ...]
    filters: tuple[Filter, ...] = ()
    sessions: Literal["range", "one", "snapshot", "none"] = "none"
    left_out: tuple[str, ...] = ()
    source: Source | None = None
    reads: Reads | None = None

    @cached_property
    def parameters(self) -> tuple[Parameter, ...]:
        """Every parameter of the endpoint, path first."""
        own = sorted((f.parameter for f in self.filters), key=lambda parameter: parameter.location != "path")
        return (*own, *_SESSION_PARAMETERS[self.sessions], *_PAGING)

    @cached_property
    def presorted(self) -> bool:
        """Whether the files, read in the order of their partitions, already are in this listing's order."""
        return self.source is None and self.order == (
            *((Order("session", self.newest_first),) if self.sessions != "snapshot" else ()),
            *(Order(column) for column in self.table.sort),
        )

    @property
    def newest_first(self) -> bool:
        """Whether later partitions come first."""
        return self.order[0].descending

    @property
    def shown(self) -> list[str]:
        """Columns of an answer that did not ask for others."""
        return [name for name in self.table.schema.names() if name not in self.left_out]


_SESSION_PARAMETERS: dict[str, tuple[Parameter, ...]] = {
    "range": (
        Parameter("session", "session", "One session: a date, or 'newest'.", example="newest"),
        Parameter("from", "date", "First session, included."),
        Parameter("to", "date", "Last session, included."),
    ),
    "one": (Parameter("session", "session", "The session: a date, or 'newest'.", default="newest"),),
    "snapshot": (
        Parameter(
            "snapshot",
            "text",
            "The snapshot: 'YYYY-MM-DD-HH:MM' New York, or 'newest'.",
            pattern=r"newest|\d{4}-\d{2}-\d{2}-\d{2}:\d{2}",
            default="newest",
        ),
    ),
    "none": (),
}

_PAGING = (
    Parameter("columns", "names", "Columns to show, separated by commas; `origin` is always among them."),
    Parameter(
        "limit",
        "integer",
        "Rows of a page.",
        default=DEFAULT_LIMIT,
        minimum=1,
        maximum=MAX_LIMIT,
    ),
    Parameter("cursor", "text", "Where the page starts: `next` of the page before, with the same filters."),
    Parameter("format", "choice", "Instead of the Accept header.", choices=("json", "csv", "arrow")),
)


@dataclass(frozen=True)
class Query:
    """A request for one page, everything resolved: 'newest' is a session, defaults are filled in."""

    listing: Listing
    values: Mapping[str, Any]
    partitions: tuple[str, ...]
    columns: tuple[str, ...]
    after: tuple[Any, ...] | None
    format: Format

    @property
    def limit(self) -> int:
        """Rows of the page."""
        return self.values["limit"]

    @cached_property
    def filters_digest(self) -> str:
        """What a cursor belongs to: the listing and every value that chooses rows."""
        free = {"limit", "cursor", "format", "columns"}
        chosen = {name: str(value) for name, value in self.values.items() if name not in free and value is not None}
        return hashlib.sha256(repr((self.listing.name, sorted(chosen.items()))).encode()).hexdigest()[:10]


def resolve(listing: Listing, values: Mapping[str, Any], state: State, format: Format) -> Query:
    """The query that `values` ask for in `state`; raises `Problem` 400 or 404 naming the parameter."""
    values = dict(values)
    partitions = _partitions(listing, values, state)
    query = Query(listing, values, tuple(partitions), _columns(listing, values["columns"]), None, format)
    if values["cursor"] is None:
        return query
    return Query(listing, values, query.partitions, query.columns, _read_cursor(query, values["cursor"]), format)


def etag(query: Query, state: State) -> str:
    """The strong validator of the answer, without quotes: same query and same content, same tag.

    Publishing other sessions does not change it; a correction of what the query reads does.
    """
    listing = query.listing
    reads = listing.reads or (lambda state, partitions: [(listing.table.name, name) for name in partitions])
    asked = {name: str(value) for name, value in query.values.items()}
    text = repr((API_VERSION, listing.name, sorted(asked.items()), query.columns, query.format, str(listing.table)))
    return hashlib.sha256(text.encode() + state.digest(reads(state, query.partitions))).hexdigest()[:32]


def run(query: Query, state: State) -> Page:
    """Read the page: partitions in order, few at first, until it is full."""
    listing, wanted = query.listing, query.limit + 1
    keys = [order.column for order in listing.order]
    selected = list(dict.fromkeys([*query.columns, *keys]))
    found: list[pl.DataFrame] = []
    rest, size = list(query.partitions), _FIRST_CHUNK
    while rest and wanted > 0:
        chunk, rest, size = rest[:size], rest[size:], size * _CHUNK_GROWTH
        frame = _ordered(listing, _kept(query, _scan(listing, state, chunk)))
        found.append(frame.select(selected).head(wanted).collect(engine="in-memory"))
        wanted -= found[-1].height
    rows = pl.concat(found) if found else listing.table.empty().select(selected)
    more = rows.height > query.limit
    page = rows.head(query.limit)
    following = _next_link(query, page.select(keys).row(-1)) if more else None
    return Page(page.select(query.columns), following)


def _scan(listing: Listing, state: State, partitions: Sequence[str]) -> pl.LazyFrame:
    if listing.source is not None:
        return listing.source(state, partitions)
    return scan_partitions(state, listing.table, partitions)


def scan_partitions(state: State, table: Table, partitions: Sequence[str]) -> pl.LazyFrame:
    """Rows of published partitions, in the order given; those that do not exist contribute nothing."""
    entries = state.manifest.published.get(table.name, {})
    return scan_table_files([state.paths.root / entries[name].path for name in partitions if name in entries], table)


def _kept(query: Query, frame: pl.LazyFrame) -> pl.LazyFrame:
    values = query.values
    conditions = [f.keeps(v) for f in query.listing.filters if (v := values[f.parameter.name]) is not None]
    if query.after is not None:
        conditions.append(_beyond(query.listing.order, query.after))
    return frame.filter(*conditions) if conditions else frame


def _ordered(listing: Listing, frame: pl.LazyFrame) -> pl.LazyFrame:
    if listing.presorted:
        return frame
    return frame.sort([o.column for o in listing.order], descending=[o.descending for o in listing.order])


def _beyond(order: Sequence[Order], after: Sequence[Any]) -> pl.Expr:
    """Rows that come strictly after the row with the values `after`."""
    steps: list[pl.Expr] = []
    for place, (one, value) in enumerate(zip(order, after, strict=True)):
        column = pl.col(one.column)
        equal = [pl.col(o.column) == v for o, v in zip(order[:place], after[:place], strict=True)]
        steps.append(pl.all_horizontal(*equal, column < value if one.descending else column > value))
    return pl.any_horizontal(*steps)


def _partitions(listing: Listing, values: dict[str, Any], state: State) -> list[str]:
    """Partitions to read, in order; replaces 'newest' in `values` by what it is."""
    name = listing.table.name
    if listing.sessions == "none":
        return ["all"]
    if listing.sessions == "snapshot":
        return _one(state, name, "snapshot", values)
    if listing.sessions == "one" or values["session"] is not None:
        for other in ("from", "to"):
            if values.get(other) is not None:
                raise bad_parameter(other, "cannot go with 'session'", "send either session, or from and to")
        return _one(state, name, "session", values)
    first, last = values["from"], values["to"]
    if first is not None and last is not None and first > last:
        raise bad_parameter("from", "is later than 'to'", "exchange them")
    names = [
        key
        for key in state.partitions(name)
        if (first is None or key >= first.isoformat()) and (last is None or key <= last.isoformat())
    ]
    return names[::-1] if listing.newest_first else names


def _one(state: State, table: str, parameter: str, values: dict[str, Any]) -> list[str]:
    asked = values[parameter]
    if asked == "newest":
        newest = state.newest(table)
        if newest is None:
            return []
        values[parameter] = date.fromisoformat(newest) if parameter == "session" else newest
        return [newest]
    key = asked.isoformat() if isinstance(asked, date) else asked
    try:
        state.snapshot.entry(table, key)
    except PartitionNotFound as error:
        raise Problem(
            404,
            str(error).split(";")[0],
            parameter=parameter,
            remedy="ask for one that /api/v1/sessions lists, or for 'newest'",
        ) from error
    return [key]


def _columns(listing: Listing, asked: tuple[str, ...] | None) -> tuple[str, ...]:
    if asked is None:
        return tuple(listing.shown)
    known = listing.table.schema.names()
    unknown = [name for name in asked if name not in known]
    if unknown:
        raise bad_parameter("columns", f"names no column of this listing: {unknown[0]}", f"known: {', '.join(known)}")
    # Where data came from is never left out: simulated and real rows must not be mistaken for each other.
    return tuple(dict.fromkeys([*asked, *(["origin"] if "origin" in known else [])]))


def _next_link(query: Query, last: Sequence[Any]) -> str:
    path_names = {p.name for p in query.listing.parameters if p.location == "path"}
    path = query.listing.path.format(**{name: query.values[name] for name in path_names})
    values = {**query.values, "cursor": _write_cursor(query, last), "format": None}
    pairs = [(name, _text(value)) for name, value in values.items() if value is not None and name not in path_names]
    return f"{path}?{urlencode(pairs)}"


def _text(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(value)
    return value.isoformat() if isinstance(value, date) else str(value)


def _write_cursor(query: Query, last: Sequence[Any]) -> str:
    values = [value.isoformat() if isinstance(value, date | datetime) else value for value in last]
    text = json.dumps([query.filters_digest, *values], separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _read_cursor(query: Query, text: str) -> tuple[Any, ...]:
    wrong = bad_parameter("cursor", "is not one this API made", "follow `next` of the page before, or leave it out")
    try:
        stored = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        digest, *values = stored
    except (ValueError, TypeError) as error:
        raise wrong from error
    if digest != query.filters_digest:
        raise bad_parameter("cursor", "belongs to other filters", "keep the filters of the page it came from")
    order = query.listing.order
    if len(values) != len(order):
        raise wrong
    schema = query.listing.table.schema
    return tuple(_typed(value, schema[o.column], wrong) for value, o in zip(values, order, strict=True))


def _typed(value: Any, dtype: pl.DataType, wrong: Problem) -> Any:
    try:
        if dtype == pl.Date:
            return date.fromisoformat(value)
        if isinstance(dtype, pl.Datetime):
            return datetime.fromisoformat(value)
    except (ValueError, TypeError) as error:
        raise wrong from error
    fits = isinstance(value, str) if dtype == pl.String else isinstance(value, int | float)
    if not fits:
        raise wrong
    return value
