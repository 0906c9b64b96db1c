"""Frames as JSON, CSV or an Arrow IPC stream, and how a client says which it wants."""

from __future__ import annotations

import io
import zlib
from dataclasses import dataclass
from typing import Any, Literal

import orjson
import polars as pl

from flowlake.serve.problems import Problem

Format = Literal["json", "csv", "arrow"]

MEDIA_TYPES: dict[Format, str] = {
    "json": "application/json",
    "csv": "text/csv; charset=utf-8; header=present",
    "arrow": "application/vnd.apache.arrow.stream",
}

MIN_GZIP_BYTES = 1024
"""Smaller bodies are not worth compressing."""

_GZIP_LEVEL = 1
"""On loopback speed matters more than size: a fifth of level 6's time for a body a third larger."""

_TIMESTAMP = "%Y-%m-%dT%H:%M:%S%.fZ"


def negotiate(accept: str, asked: Format | None) -> Format:
    """The format to answer in: the parameter `format` if given, else the best the `Accept` header allows.

    Raises `Problem` 406 where the header allows none of the three.
    """
    if asked is not None:
        return asked
    if not accept.strip():
        return "json"
    ranges = [_range(part) for part in accept.split(",")]
    ranked: list[tuple[float, int, Format]] = [
        (_quality(ranges, media.split(";")[0]), -place, name) for place, (name, media) in enumerate(MEDIA_TYPES.items())
    ]
    quality, _, best = max(ranked)
    if quality > 0:
        return best
    offered = ", ".join(media.split(";")[0] for media in MEDIA_TYPES.values())
    raise Problem(406, "the Accept header allows no format served here", remedy=f"accept one of {offered}")


def accepts_gzip(header: str) -> bool:
    """Whether the `Accept-Encoding` header allows gzip."""
    ranges = [_range(part) for part in header.split(",") if part.strip()]
    named = [quality for name, quality in ranges if name == "gzip"]
    return max(named or [quality for name, quality in ranges if name == "*"], default=0.0) > 0


def gzip_bytes(body: bytes) -> bytes:
    """`body` compressed; equal bodies give equal bytes."""
    packer = zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, 31)
    return packer.compress(body) + packer.flush()


@dataclass(frozen=True)
class Page:
    """One page of a listing: its rows, and where the next page is (None on the last)."""

    rows: pl.DataFrame
    next: str | None


def encode(page: Page, format: Format) -> bytes:
    """The page in `format`; only JSON carries `next` in its body, the others in the `Link` header alone."""
    match format:
        case "json":
            head = orjson.dumps({"count": page.rows.height, "next": page.next})
            return head[:-1] + b',"data":' + rows_json(page.rows) + b"}"
        case "csv":
            return csv_ready(page.rows).write_csv().encode()
        case "arrow":
            buffer = io.BytesIO()
            page.rows.rechunk().write_ipc_stream(buffer, compat_level=pl.CompatLevel.oldest())
            return buffer.getvalue()


def rows_json(frame: pl.DataFrame) -> bytes:
    """Rows as a JSON array of objects: dates and instants in ISO 8601, NaN and infinities as null."""
    return frame.with_columns(_instants_as_text(frame)).write_json().encode()


def row_object(frame: pl.DataFrame) -> dict[str, Any]:
    """The single row of `frame` as it looks in JSON."""
    return orjson.loads(rows_json(frame))[0]


def csv_ready(frame: pl.DataFrame) -> pl.DataFrame:
    """`frame` with instants as in JSON, and lists and structures as JSON text, which CSV cannot hold otherwise."""
    nested = [name for name, dtype in frame.schema.items() if dtype.is_nested()]
    return frame.with_columns(*_instants_as_text(frame), *(_json_text(name) for name in nested))


def _instants_as_text(frame: pl.DataFrame) -> list[pl.Expr]:
    instants = [name for name, dtype in frame.schema.items() if isinstance(dtype, pl.Datetime)]
    return [pl.col(name).dt.strftime(_TIMESTAMP) for name in instants]


def _json_text(name: str) -> pl.Expr:
    # Only structures encode themselves: wrap the value in one of a single field, then take the wrapping off.
    wrapped = pl.struct(pl.col(name).alias("v")).struct.json_encode()
    text = wrapped.str.slice(len('{"v":'), wrapped.str.len_chars() - len('{"v":}'))
    return pl.when(pl.col(name).is_not_null()).then(text).alias(name)


def _range(part: str) -> tuple[str, float]:
    name, *parameters = (piece.strip().lower() for piece in part.split(";"))
    quality = next((piece[2:].strip() for piece in parameters if piece.startswith("q=")), "1")
    try:
        return name, float(quality)
    except ValueError:
        return name, 0.0


def _quality(ranges: list[tuple[str, float]], media: str) -> float:
    """How much a client wants `media`: its most specific matching range decides."""
    for pattern in (media, f"{media.split('/', maxsplit=1)[0]}/*", "*/*"):
        named = [quality for name, quality in ranges if name == pattern]
        if named:
            return max(named)
    return 0.0
