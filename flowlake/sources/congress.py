"""Congressional disclosures: the lists that publish them, read from a file or an address into one shape.

The chambers publish scanned and typed reports; the lists here are the stock-watcher projects' JSON (Senate) and CSV
(House).
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from typing import Any

import httpx
import polars as pl

from flowlake.insiders.congress import DISCLOSURES, Chamber
from flowlake.sources.errors import NotFound, RequestFailed, UnexpectedAnswer, Unreachable

MAX_BYTES = 200_000_000
_MEMBER = {"house": "representative", "senate": "senator"}


class MalformedDisclosures(ValueError):
    """The content is no list of congressional disclosures."""


def read_disclosures(content: bytes, chamber: Chamber) -> pl.DataFrame:
    """Disclosures (`DISCLOSURES`) of a chamber from JSON (a list of objects) or CSV with a header.

    Raises `MalformedDisclosures` where the content is neither or lacks trade date, member or amount.
    """
    frame = _json(content) if content.lstrip()[:1] in (b"[", b"{") else _csv(content)
    member = _MEMBER[chamber]
    missing = {member, "transaction_date", "amount"} - set(frame.columns)
    if missing:
        raise MalformedDisclosures(f"the {chamber} list has no {', '.join(sorted(missing))}; it has {frame.columns}")
    named = frame.rename({member: "member"})
    return named.select(
        (pl.col(name) if name in named.columns else pl.lit(None, pl.String).alias(name)) for name in DISCLOSURES
    ).cast(DISCLOSURES)


def fetch_disclosures(url: str, chamber: Chamber, *, transport: httpx.BaseTransport | None = None) -> pl.DataFrame:
    """The list at `url`; raises a `RequestFailed` naming the address where it cannot be had."""
    try:
        with httpx.Client(transport=transport, timeout=60, follow_redirects=False) as http:
            answer = http.get(url)
    except httpx.TransportError as error:
        raise Unreachable(f"cannot read the list: {error!r}", url=url) from error
    if answer.status_code == 404:
        raise NotFound("there is no list", url=url, status=404)
    if answer.status_code != 200:
        raise RequestFailed("the list was not answered", url=url, status=answer.status_code)
    if len(answer.content) > MAX_BYTES:
        raise UnexpectedAnswer(f"the list is larger than {MAX_BYTES:,} bytes", url=url)
    return read_disclosures(answer.content, chamber)


def _json(content: bytes) -> pl.DataFrame:
    try:
        rows = json.loads(content)
    except ValueError as error:
        raise MalformedDisclosures(f"not JSON: {error}") from error
    if not isinstance(rows, list) or not all(isinstance(row, Mapping) for row in rows):
        raise MalformedDisclosures("not a list of objects")
    texts = [{name: _text(row.get(name)) for name in (*DISCLOSURES, *_MEMBER.values()) if name in row} for row in rows]
    names = sorted({name for row in texts for name in row})
    return pl.DataFrame(texts, schema=dict.fromkeys(names, pl.String))


def _csv(content: bytes) -> pl.DataFrame:
    try:
        return pl.read_csv(io.BytesIO(content), infer_schema=False)
    except pl.exceptions.PolarsError as error:
        raise MalformedDisclosures(f"not CSV: {error}") from error


def _text(value: Any) -> str | None:
    return None if value is None else str(value)
