"""OCC symbols: read from the right, built back, adjusted series recognised."""

from __future__ import annotations

from datetime import date

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowlake.options.symbols import build_symbol, is_adjusted, occ_root, parse_symbols

roots = st.from_regex(r"[A-Z][A-Z0-9]{0,5}", fullmatch=True)
expirations = st.dates(date(2000, 1, 1), date(2099, 12, 31))
thousandths = st.integers(1, 99_999_999)


def parsed(symbol: str) -> tuple[str | None, date | None, str | None, float | None]:
    return parse_symbols(pl.DataFrame({"contract": [symbol]})).select("root", "expiration", "right", "strike").row(0)


@pytest.mark.parametrize(
    ("symbol", "meaning"),
    [
        ("O:AAPL251219C00200000", ("AAPL", date(2025, 12, 19), "C", 200.0)),
        ("O:EVRI240119C00002500", ("EVRI", date(2024, 1, 19), "C", 2.5)),
        ("O:BRKB260116P00127505", ("BRKB", date(2026, 1, 16), "P", 127.505)),
        ("O:SPXW251208C06840000", ("SPXW", date(2025, 12, 8), "C", 6840.0)),
        ("O:K1250117C00050000", ("K1", date(2025, 1, 17), "C", 50.0)),
        ("O:SOXS1270115C00001000", ("SOXS1", date(2027, 1, 15), "C", 1.0)),
    ],
)
def test_published_examples_are_read(symbol, meaning):
    assert parsed(symbol) == meaning


@pytest.mark.parametrize(
    "symbol",
    [
        "O:AAPL211022C000150000",  # the vendor's own documentation bug: nine strike digits read as root AAPL21102, ...
        "AAPL251219C00200000",
        "O:AAPL251319C00200000",
        "O:AAPL250230P00200000",
        "O:aapl251219C00200000",
        "O:AAPL251219X00200000",
        "O:TOOLONGX251219C00200000",
        "O:AAPL251219C٠٠٢٠٠٠٠٠",
        "O:",
        "",
    ],
)
def test_what_is_no_symbol_is_null_and_never_an_error(symbol):
    assert parsed(symbol) == (None, None, None, None)


@given(st.lists(st.tuples(roots, expirations, st.sampled_from("CP"), thousandths), min_size=1, max_size=20))
def test_a_built_symbol_reads_back_as_its_parts(rows):
    frame = pl.DataFrame(rows, schema=["root", "expiration", "right", "thousandths"], orient="row")
    frame = frame.with_columns(strike=pl.col("thousandths") / 1000.0)
    back = parse_symbols(frame.select(build_symbol()))
    assert back.select("root", "expiration", "right", "strike").equals(
        frame.select("root", "expiration", "right", "strike")
    )


@given(st.lists(st.text(max_size=30), max_size=20))
def test_no_text_makes_the_parser_fail(texts):
    back = parse_symbols(pl.DataFrame({"contract": texts}, schema={"contract": pl.String}))
    read = back.drop_nulls()
    assert read.select(build_symbol())["contract"].to_list() == read["contract"].to_list()


@pytest.mark.parametrize("strike", [0.0, -5.0, 100_000.0, float("nan"), None])
def test_a_strike_that_eight_digits_cannot_carry_has_no_symbol(strike):
    frame = pl.DataFrame(
        {"root": ["A"], "expiration": [date(2026, 1, 2)], "right": ["C"], "strike": [strike]},
        schema_overrides={"strike": pl.Float64},
    )
    assert frame.select(build_symbol()).item() is None


@pytest.mark.parametrize(
    ("root", "underlying", "multiplier", "adjusted"),
    [
        ("AAPL", "AAPL", 100.0, False),
        ("AAPL1", "AAPL", 100.0, True),
        ("AAPL", "AAPL", 150.0, True),
        ("BRKB", "BRK.B", 100.0, False),
        ("SPXW", "SPX", 100.0, False),
        ("SPXW", "I:SPX", 100.0, False),
        ("NDXP", "NDX", 100.0, False),
        ("RUTW", "RUT", 100.0, False),
        ("VIXW", "VIX", 100.0, False),
        ("XEO", "OEX", 100.0, False),
        ("SPXW", "NDX", 100.0, True),
        ("META", "FB", 100.0, True),
        ("SIM7", "SIM7", 100.0, False),
    ],
)
def test_an_adjusted_contract_has_an_odd_multiplier_or_a_foreign_root(root, underlying, multiplier, adjusted):
    frame = pl.DataFrame({"root": [root], "underlying": [underlying], "multiplier": [multiplier]})
    assert frame.select(is_adjusted()).item() is adjusted


def test_the_root_of_an_underlying_has_no_punctuation():
    frame = pl.DataFrame({"underlying": ["BRK.B", "I:SPX", "BF/A", "Abt"]})
    assert frame.select(occ_root())["underlying"].to_list() == ["BRKB", "SPX", "BFA", "ABT"]
