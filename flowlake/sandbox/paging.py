"""Lists as the vendor pages them: typed filters, sorts, limits and opaque cursors over a frame."""

from __future__ import annotations

import binascii
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Literal
from urllib.parse import parse_qsl, urlencode

import polars as pl

Params = Mapping[str, str]
"""Query parameters, the first of repeated keys."""

LimitPolicy = Literal["reject", "clamp"]
"""What happens to a `limit` above the maximum: 400, or the maximum. Which one the vendor does is not documented."""

_COMPARISONS = {"gt": pl.Expr.gt, "gte": pl.Expr.ge, "lt": pl.Expr.lt, "lte": pl.Expr.le}


class BadParameter(ValueError):
    """A query parameter that cannot be understood; the message is the vendor-style text of the 400."""


@dataclass(frozen=True)
class Listing:
    """How one endpoint lists its rows: wire names to columns, limits, and the column that identifies a row."""

    row_id: str
    filters: Mapping[str, str]
    sorts: Mapping[str, str]
    default_sort: str
    default_limit: int
    max_limit: int
    default_order: Literal["asc", "desc"] = "asc"


def select(frame: pl.DataFrame, listing: Listing, params: Params) -> pl.DataFrame:
    """Rows of `frame` that pass the filters in `params`, in the order asked for; unknown parameters are ignored."""
    wanted = [_condition(frame, listing, name, value) for name, value in params.items()]
    conditions = [condition for condition in wanted if condition is not None]
    kept = frame.filter(*conditions) if conditions else frame
    sort, order = params.get("sort") or listing.default_sort, params.get("order") or listing.default_order
    if sort not in listing.sorts:
        raise BadParameter(f"'{sort}' is not a valid value for 'sort'; use one of {', '.join(sorted(listing.sorts))}")
    if order not in ("asc", "desc"):
        raise BadParameter(f"'{order}' is not a valid value for 'order'; use 'asc' or 'desc'")
    keys = list(dict.fromkeys((listing.sorts[sort], listing.row_id)))
    return kept.sort(keys, descending=order == "desc", maintain_order=True)


def _condition(frame: pl.DataFrame, listing: Listing, name: str, value: str) -> pl.Expr | None:
    field, _, operator = name.rpartition(".") if "." in name else (name, "", "")
    if field not in listing.filters or operator not in ("", "any_of", *_COMPARISONS):
        return None
    column = listing.filters[field]
    dtype = frame.schema[column]
    if operator == "any_of":
        return pl.col(column).is_in([_parse(name, part, dtype) for part in value.split(",")])
    operand = pl.lit(_parse(name, value, dtype))
    return _COMPARISONS[operator](pl.col(column), operand) if operator else pl.col(column) == operand


def _parse(name: str, text: str, dtype: pl.DataType) -> str | float | date:
    try:
        if dtype.is_numeric():
            return float(text)
        return date.fromisoformat(text) if dtype == pl.Date else text
    except ValueError as error:
        kind = "a number" if dtype.is_numeric() else "a date (YYYY-MM-DD)"
        raise BadParameter(f"The parameter '{name}' must be {kind}, got '{text}'") from error


def page_limit(params: Params, default: int, maximum: int, policy: LimitPolicy) -> int:
    """The page size `params` ask for; raises `BadParameter` where it is no positive integer or above the maximum."""
    text = params.get("limit", str(default))
    if not text.isdecimal() or int(text) < 1:
        raise BadParameter(f"The parameter 'limit' must be a positive integer, got '{text}'")
    if int(text) > maximum and policy == "reject":
        raise BadParameter(f"The parameter 'limit' must be at most {maximum}, got {text}")
    return min(int(text), maximum)


def encode_cursor(params: Params) -> str:
    """An opaque cursor that carries `params`: base64url without padding, as the vendor's."""
    return urlsafe_b64encode(urlencode(dict(sorted(params.items()))).encode()).rstrip(b"=").decode()


def decode_cursor(cursor: str) -> dict[str, str]:
    """The parameters in `cursor`; raises `BadParameter` for anything `encode_cursor` cannot have made."""
    try:
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        # keep_blank_values: an empty filter must survive the round trip.
        params = dict(parse_qsl(urlsafe_b64decode(padded).decode(), keep_blank_values=True, strict_parsing=True))
    except (ValueError, binascii.Error) as error:
        raise BadParameter(f"The cursor '{cursor[:40]}' is not one this server issued") from error
    if encode_cursor(params) != cursor:
        raise BadParameter(f"The cursor '{cursor[:40]}' is not one this server issued")
    return params


def position_after(frame: pl.DataFrame, row_id: str, last: str) -> int:
    """Index of the row that follows the one identified by `last`; raises `BadParameter` where there is none."""
    found = frame.get_column(row_id).index_of(last)
    if found is None:
        raise BadParameter(f"The cursor points behind '{last}', which this list does not contain")
    return found + 1
