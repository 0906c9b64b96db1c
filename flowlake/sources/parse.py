"""Response bytes to columns, and columns to frames, without a Python dict per row.

An endpoint's rows are declared once as a `RowSpec`: JSON path -> column and type. From the declaration come the typed
decoders (msgspec), the column extraction and the drift counter. Decoding has three steps, each entered only when the
one before failed: exact (types fit, no unknown field), tolerant (unknown fields are counted), row by row (rows whose
types do not fit are rejected with the reason and the others stay). Measured on a 250-row chain page of 252 kB:
json.loads 1.9 ms, orjson.loads 0.8 ms (both before any column exists), polars' JSON decoder 0.9 ms, this 0.5 ms,
columns included.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from functools import cache
from operator import attrgetter
from typing import Annotated, Any

import msgspec
import polars as pl

from flowlake.schemas import UTC_TIME

Count = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1, title="count")]
"""A whole number that fits the column it goes to."""

Instant = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1, title="instant")]
"""A Unix time of unknown unit: nanoseconds, microseconds or milliseconds."""

_POLARS_TYPES: dict[Any, pl.DataType | type[pl.DataType]] = {
    str: pl.String,
    float: pl.Float64,
    Count: pl.Int64,
    date: pl.Date,
    Instant: pl.Int64,
}


class MalformedBody(ValueError):
    """The body is not JSON, or ends early."""


class UnexpectedShape(ValueError):
    """The body is JSON, but not the envelope this endpoint documents."""


@dataclass(frozen=True)
class Field:
    """One JSON value of a row: where it is (at most two levels, 'day.open'), the column it fills, its type.

    A field without a column is known but unused; it only keeps the drift counter quiet. A required field that is absent
    makes the row a rejected one.
    """

    path: str
    column: str = ""
    type: Any = float
    required: bool = False


@dataclass(frozen=True)
class RowSpec:
    """The rows of one endpoint: fields, the envelope key that holds them, and whether that key may be absent."""

    name: str
    fields: tuple[Field, ...]
    results: str = "results"
    may_lack_results: bool = False

    @property
    def schema(self) -> dict[str, pl.DataType | type[pl.DataType]]:
        """Column name -> polars type of the columns the fields fill; instants are still integers."""
        return {each.column: _POLARS_TYPES[each.type] for each in self.fields if each.column}

    @property
    def instants(self) -> list[str]:
        """Columns that hold Unix times of unknown unit."""
        return [each.column for each in self.fields if each.column and each.type is Instant]


@dataclass(frozen=True)
class RejectedRow:
    """A row whose values do not have the declared types: the reason, the row as sent, and its ticker if readable."""

    reason: str
    row: str
    ticker: str | None


@dataclass(frozen=True)
class Page:
    """One decoded page: columns of equal length, what was rejected, and the envelope's facts."""

    columns: dict[str, list[Any]]
    rows: int
    next_url: str | None
    request_id: str | None
    rejected: tuple[RejectedRow, ...] = ()
    unknown_fields: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class _Decoders:
    exact: msgspec.json.Decoder[Any]
    tolerant: msgspec.json.Decoder[Any]
    raw: msgspec.json.Decoder[Any]
    row: msgspec.json.Decoder[Any]
    extract: Callable[[list[Any]], dict[str, list[Any]]]
    known: frozenset[str]
    known_parts: frozenset[str]


def _struct(name: str, fields: Iterable[tuple[str, Any, bool]], *, exact: bool) -> type[msgspec.Struct]:
    # Attributes are numbered because JSON names (`T`, `class`, `P` beside `p`) need not be usable Python names.
    declared: list[Any] = []
    rename: dict[str, str] = {}
    for number, (json_name, kind, required) in enumerate(sorted(fields, key=lambda each: not each[2])):
        attribute = f"f{number}"
        rename[attribute] = json_name
        declared.append((attribute, kind) if required else (attribute, Any if kind is object else kind | None, None))
    return msgspec.defstruct(name, declared, rename=rename, gc=False, forbid_unknown_fields=exact)


def _attributes(struct: type[msgspec.Struct]) -> dict[str, str]:
    return dict(zip(struct.__struct_encode_fields__, struct.__struct_fields__, strict=True))


def _row_struct(spec: RowSpec, *, exact: bool) -> tuple[type[msgspec.Struct], dict[str, type[msgspec.Struct]]]:
    top: list[tuple[str, Any, bool]] = []
    nested: dict[str, list[Field]] = {}
    for each in spec.fields:
        head, dot, _ = each.path.partition(".")
        if dot:
            nested.setdefault(head, []).append(each)
        else:
            top.append((head, each.type, each.required))
    parts: dict[str, type[msgspec.Struct]] = {}
    for head, members in nested.items():
        leaves = [(each.path.partition(".")[2], each.type, each.required) for each in members]
        parts[head] = _struct(f"{spec.name}_{head}", leaves, exact=exact)
        top.append((head, parts[head], any(each.required for each in members)))
    return _struct(spec.name, top, exact=exact), parts


def _page_struct(spec: RowSpec, rows: Any) -> type[msgspec.Struct]:
    fields = [
        ("status", str | None, None),
        ("request_id", str | int | None, None),
        ("next_url", str | None, None),
        ("rows", list[rows] | None, None),
    ]
    return msgspec.defstruct(f"{spec.name}_page", fields, rename={"rows": spec.results}, gc=False)


def _extractor(
    spec: RowSpec, row: type[msgspec.Struct], parts: Mapping[str, type[msgspec.Struct]]
) -> Callable[[list[Any]], dict[str, list[Any]]]:
    names = _attributes(row)
    top: list[tuple[str, Callable[[Any], Any]]] = []
    nested: dict[str, list[tuple[str, Callable[[Any], Any]]]] = {}
    for each in spec.fields:
        if not each.column:
            continue
        head, dot, leaf = each.path.partition(".")
        if dot:
            nested.setdefault(head, []).append((each.column, attrgetter(_attributes(parts[head])[leaf])))
        else:
            top.append((each.column, attrgetter(names[head])))
    # An absent optional part reads as a part whose every member is absent.
    absent = {
        head: None if any(each.required for each in spec.fields if each.path.startswith(f"{head}.")) else parts[head]()
        for head in nested
    }
    getters = [(attrgetter(names[head]), absent[head], columns) for head, columns in nested.items()]

    def extract(rows: list[Any]) -> dict[str, list[Any]]:
        columns = {column: list(map(get, rows)) for column, get in top}
        for get_part, empty, members in getters:
            present = [part if part is not None else empty for part in map(get_part, rows)]
            for column, get in members:
                columns[column] = list(map(get, present))
        return columns

    return extract


@cache
def _decoders(spec: RowSpec) -> _Decoders:
    # One row type serves both decoders' extraction: the order of attributes is the same in each.
    exact_row, parts = _row_struct(spec, exact=True)
    tolerant_row, _ = _row_struct(spec, exact=False)
    return _Decoders(
        exact=msgspec.json.Decoder(_page_struct(spec, exact_row)),
        tolerant=msgspec.json.Decoder(_page_struct(spec, tolerant_row)),
        raw=msgspec.json.Decoder(_page_struct(spec, msgspec.Raw)),
        row=msgspec.json.Decoder(tolerant_row),
        extract=_extractor(spec, exact_row, parts),
        known=frozenset(each.path for each in spec.fields),
        known_parts=frozenset(each.path.partition(".")[0] for each in spec.fields if "." in each.path),
    )


def decode_page(spec: RowSpec, body: bytes) -> Page:
    """The rows of `body` as columns.

    Raises `MalformedBody` where the body is not complete JSON and `UnexpectedShape` where the envelope is not the
    documented one (a status other than OK or DELAYED, no results where there must be some).
    """
    decoders = _decoders(spec)
    try:
        envelope = decoders.exact.decode(body)
    except msgspec.ValidationError:
        return _decode_leniently(spec, decoders, body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MalformedBody(str(error)) from error
    return _page(spec, envelope, decoders.extract(_rows(spec, envelope)))


def _decode_leniently(spec: RowSpec, decoders: _Decoders, body: bytes) -> Page:
    try:
        envelope = decoders.raw.decode(body)
    except msgspec.ValidationError as error:
        raise UnexpectedShape(str(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        # The first fault met was a field; that the body is cut only shows further on.
        raise MalformedBody(str(error)) from error
    raw_rows = _rows(spec, envelope)
    unknown: Counter[str] = Counter()
    for raw in raw_rows:
        unknown.update(_unknown_fields(decoders, raw))
    try:
        return _page(spec, envelope, decoders.extract(_rows(spec, decoders.tolerant.decode(body))), unknown=unknown)
    except msgspec.ValidationError:
        pass  # At least one row does not fit; the next lines find out which.
    kept: list[Any] = []
    rejected: list[RejectedRow] = []
    for raw in raw_rows:
        try:
            kept.append(decoders.row.decode(raw))
        except msgspec.MsgspecError as error:
            rejected.append(RejectedRow(str(error), bytes(raw).decode(errors="replace"), _ticker(raw)))
    return _page(spec, envelope, decoders.extract(kept), tuple(rejected), unknown)


def _rows(spec: RowSpec, envelope: Any) -> list[Any]:
    if envelope.status not in ("OK", "DELAYED"):
        raise UnexpectedShape(f"status {envelope.status!r} instead of 'OK' or 'DELAYED'")
    if envelope.rows is None and not spec.may_lack_results:
        raise UnexpectedShape(f"the answer has no {spec.results!r}")
    return envelope.rows or []


def _page(
    spec: RowSpec,
    envelope: Any,
    columns: dict[str, list[Any]],
    rejected: tuple[RejectedRow, ...] = (),
    unknown: Mapping[str, int] | None = None,
) -> Page:
    return Page(
        columns=columns,
        rows=len(next(iter(columns.values()))),
        next_url=envelope.next_url or None,
        request_id=None if envelope.request_id is None else str(envelope.request_id),
        rejected=rejected,
        unknown_fields=dict(unknown or {}),
    )


def _loads(raw: msgspec.Raw) -> Any:
    try:
        return msgspec.json.decode(raw)
    except msgspec.DecodeError:
        return None


def _unknown_fields(decoders: _Decoders, raw: msgspec.Raw) -> list[str]:
    row = _loads(raw)
    if not isinstance(row, dict):
        return []
    paths: list[str] = []
    for name, value in row.items():
        if name in decoders.known_parts:
            paths.extend(f"{name}.{member}" for member in (value if isinstance(value, dict) else ()))
        else:
            paths.append(name)
    return [path for path in paths if path not in decoders.known]


def _ticker(raw: msgspec.Raw) -> str | None:
    row = _loads(raw)
    if not isinstance(row, dict):
        return None
    details = row.get("details")
    ticker = (details if isinstance(details, dict) else row).get("ticker")
    return ticker if isinstance(ticker, str) else None


def to_frame(spec: RowSpec, columns: Mapping[str, list[Any]]) -> pl.DataFrame:
    """Columns as a frame, Unix times as UTC instants (0 and absent become null)."""
    frame = pl.DataFrame({name: columns.get(name, []) for name in spec.schema}, schema=spec.schema, strict=True)
    return frame.with_columns(unix_time(column) for column in spec.instants)


def unix_time(column: str) -> pl.Expr:
    """A Unix time of unknown unit as a UTC instant: the magnitude tells nano-, micro- and milliseconds apart."""
    value = pl.col(column)
    microseconds = (
        pl.when(value > 10**17)
        .then(value // 1000)
        .when(value > 10**14)
        .then(value)
        .when(value > 10**11)
        .then(value * 1000)
        .otherwise(None)
    )
    return microseconds.cast(UTC_TIME).alias(column)
