"""Formats: the same values in JSON, CSV and Arrow, for any frame; and what clients may ask for."""

from __future__ import annotations

import gzip
import io
import json
from datetime import UTC, datetime

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowlake.serve.cache import Answer, AnswerCache
from flowlake.serve.formats import Page, accepts_gzip, encode, gzip_bytes, negotiate
from flowlake.serve.openapi import value_schema
from flowlake.serve.problems import Problem

SCHEMA = {
    "text": pl.String,
    "number": pl.Float64,
    "count": pl.Int64,
    "at": pl.Datetime("us", "UTC"),
    "day": pl.Date,
    "flag": pl.Boolean,
    "words": pl.List(pl.String),
    "pieces": pl.List(pl.Struct({"name": pl.String, "value": pl.Float64})),
}
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=12)
NUMBER = st.floats(allow_nan=False, allow_infinity=False)
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "text": st.none() | TEXT,
            "number": st.none() | NUMBER,
            "count": st.none() | st.integers(-(2**53), 2**53),
            "at": st.none() | st.datetimes(datetime(1970, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)),
            "day": st.none() | st.dates(datetime(1970, 1, 1).date(), datetime(2100, 1, 1).date()),
            "flag": st.none() | st.booleans(),
            "words": st.none() | st.lists(TEXT, max_size=3),
            "pieces": st.none() | st.lists(st.fixed_dictionaries({"name": TEXT, "value": NUMBER}), max_size=2),
        }
    ),
    max_size=5,
)


@given(rows=ROWS)
def test_any_frame_is_the_same_in_every_format(rows: list[dict]):
    frame = pl.DataFrame(rows, schema=SCHEMA)
    page = Page(frame, None)
    answer = json.loads(encode(page, "json"))
    assert answer["count"] == len(rows) == len(answer["data"])
    for got, row in zip(answer["data"], rows, strict=True):
        at = None if got["at"] is None else datetime.fromisoformat(got["at"])
        day = None if row["day"] is None else row["day"].isoformat()
        assert got | {"at": at} == row | {"day": day}
    assert pl.read_ipc_stream(io.BytesIO(encode(page, "arrow"))).equals(frame)
    table = pl.read_csv(io.BytesIO(encode(page, "csv")), infer_schema=False)
    assert table.height == len(rows)
    for name in ("words", "pieces"):
        assert [None if text is None else json.loads(text) for text in table[name]] == [row[name] for row in rows]


def test_what_json_has_no_number_for_is_null():
    frame = pl.DataFrame({"x": [float("nan"), float("inf"), 1.5]})
    assert [row["x"] for row in json.loads(encode(Page(frame, None), "json"))["data"]] == [None, None, 1.5]


def test_json_carries_the_link_to_the_next_page():
    assert json.loads(encode(Page(pl.DataFrame({"x": [1]}), "/next?a=1&b=2"), "json"))["next"] == "/next?a=1&b=2"


def test_an_absent_header_means_json_and_nonsense_is_not_acceptable():
    assert negotiate("", None) == "json"
    assert negotiate("image/png", "csv") == "csv"
    for nonsense in ("image/png", "text/csv;q=0", ";;;", "text/csv;q=much"):
        with pytest.raises(Problem) as caught:
            negotiate(nonsense, None)
        assert caught.value.status == 406


@pytest.mark.parametrize(
    ("header", "wanted"),
    [
        ("gzip", True),
        ("br, gzip;q=0.5", True),
        ("*", True),
        ("gzip;q=0", False),
        ("*;q=1, gzip;q=0", False),
        ("", False),
    ],
)
def test_gzip_only_where_the_client_allows_it(header: str, wanted: bool):
    assert accepts_gzip(header) is wanted


@given(body=st.binary(max_size=2000))
def test_gzip_gives_the_body_back_and_the_same_bytes_each_time(body: bytes):
    assert gzip.decompress(gzip_bytes(body)) == body
    assert gzip_bytes(body) == gzip_bytes(body)


@given(sizes=st.lists(st.integers(0, 60), max_size=30))
def test_the_cache_never_holds_more_than_its_room(sizes: list[int]):
    cache = AnswerCache(100)
    for number, size in enumerate(sizes):
        cache.put(str(number % 7), Answer(bytes(size), False, None))
        kept = [answer for key in range(7) if (answer := cache.get(str(key)))]
        assert sum(len(answer.body) for answer in kept) <= 100


def test_the_cache_drops_what_was_not_used_for_longest():
    cache = AnswerCache(100)
    for key in "abcd":
        cache.put(key, Answer(bytes(25), False, None))
    assert cache.get("a")
    cache.put("e", Answer(bytes(25), False, None))
    assert cache.get("b") is None
    assert cache.get("a")


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        (pl.Int32, {"type": "integer"}),
        (pl.Float32, {"type": ["number", "null"]}),
        (pl.Date, {"type": "string", "format": "date"}),
        (pl.List(pl.String), {"type": "array", "items": {"type": ["string", "null"]}}),
    ],
)
def test_types_are_described_as_they_are_written(dtype: pl.DataType, expected: dict):
    assert value_schema(dtype, nullable=False) == expected
