"""Table declarations: complete, and strict about what enters a table."""

from __future__ import annotations

import polars as pl
import pytest

from flowlake.schemas import TABLES, SchemaMismatch, table
from flowlake_tests.factories import frame


@pytest.mark.parametrize("name", TABLES)
def test_a_declaration_is_complete_and_consistent(name: str):
    declared = table(name)
    names = [column.name for column in declared.columns]
    assert len(set(names)) == len(names)
    assert set(declared.key) <= set(names)
    assert set(declared.sort) <= set(names)
    assert declared.description and declared.known_at
    assert all(column.description for column in declared.columns)


@pytest.mark.parametrize("name", TABLES)
def test_every_table_says_when_its_rows_were_known_and_where_they_came_from(name: str):
    names = set(table(name).schema)
    assert "available_at" in names or "first_session" in names
    assert "origin" in names or "first_session" in names


def test_surplus_and_missing_columns_are_named():
    chains = table("raw_stock_snapshots")
    with pytest.raises(SchemaMismatch, match=r"missing columns \['origin'\].*surplus columns \['colour'\]"):
        chains.conform(chains.empty().drop("origin").with_columns(colour=pl.lit("red")))


def test_a_null_where_none_may_be_is_named():
    stocks = table("raw_stock_snapshots")
    rows = frame(stocks, [{"ticker": "ABC"}]).with_columns(ticker=pl.lit(None, pl.String))
    with pytest.raises(SchemaMismatch, match="ticker"):
        stocks.conform(rows)


def test_a_cast_that_would_lose_something_is_refused():
    contracts = table("contracts")
    rows = frame(contracts, [{"contract_id": 1}]).with_columns(contract_id=pl.lit(2**40))
    with pytest.raises(SchemaMismatch, match="contracts"):
        contracts.conform(rows)


def test_rows_are_put_in_the_order_of_the_table():
    stocks = table("raw_stock_snapshots")
    assert frame(stocks, [{"ticker": "B"}, {"ticker": "A"}])["ticker"].to_list() == ["A", "B"]


def test_an_unknown_table_is_refused_with_the_known_ones():
    with pytest.raises(KeyError, match="option_chains"):
        table("option_chain")
