"""Invariants: what must hold of every row, counted in one scan."""

from __future__ import annotations

from datetime import date, timedelta

import polars as pl
import pytest

from flowlake.options.chains import build_chains
from flowlake.quality import INVARIANTS, Outcome, Severity, evaluate
from flowlake.schemas import TABLES
from flowlake.schemas.base import Column, Table
from flowlake.schemas.market import CORPORATE_ACTIONS, RAW_OPTION_SNAPSHOTS, RAW_STOCK_SNAPSHOTS
from flowlake.schemas.options import CONTRACTS, OPTION_CHAINS
from flowlake_tests.quality.rows import SESSION, market, raw_options, raw_stocks, split


def failed(outcomes: list[Outcome]) -> dict[str, int]:
    return {outcome.name: outcome.violations for outcome in outcomes if not outcome.passed}


@pytest.fixture(scope="module")
def built():
    return build_chains(market(3, 5), session=SESSION, known_contracts=CONTRACTS.empty())


def broken_by(table: Table, frame: pl.DataFrame, **changes) -> dict[str, int]:
    """What fails when the first row of `frame` is changed."""
    first = frame.with_row_index("_row").with_columns(
        pl.when(pl.col("_row") == 0).then(pl.lit(value, frame.schema[name])).otherwise(pl.col(name)).alias(name)
        for name, value in changes.items()
    )
    return failed(evaluate(table, first.drop("_row"), session=SESSION))


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_the_rules_of_every_table_run_on_an_empty_partition_and_pass(table):
    outcomes = evaluate(table, table.empty(), session=SESSION)
    assert failed(outcomes) == {}
    assert len({outcome.name for outcome in outcomes}) == len(outcomes) > 0


def test_every_table_with_rules_exists():
    assert set(INVARIANTS) <= set(TABLES)


def test_sound_rows_break_nothing(built):
    for table, frame in (
        (RAW_OPTION_SNAPSHOTS, market(3, 5)),
        (RAW_STOCK_SNAPSHOTS, raw_stocks(A=1.0, B=2.0)),
        (OPTION_CHAINS, built.chains),
        (CONTRACTS, built.new_contracts),
        (CORPORATE_ACTIONS, split("A", SESSION, 1, 2)),
    ):
        assert failed(evaluate(table, frame, session=SESSION, contracts=built.new_contracts)) == {}, table.name


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"expiration": date(2026, 6, 9)}, "expiration_not_past"),
        ({"strike": -1.0}, "strike_positive"),
        ({"right": "X"}, "right_known"),
        ({"volume": -1}, "counts_not_negative"),
        ({"open_interest": -1}, "counts_not_negative"),
        ({"last_session": date(2026, 6, 9)}, "volume_is_of_the_session"),
        ({"last_session": None}, "volume_is_of_the_session"),
        ({"bid": 11.0, "ask": 10.0}, "mid_inside_quote"),
        ({"bid": None}, "mid_inside_quote"),
        ({"price": -1.0}, "price_has_a_source"),
        ({"price_source": None}, "price_has_a_source"),
        ({"vendor_delta": -1.01}, "vendor_delta_in_range"),
        ({"vendor_iv": 0.0}, "vendor_volatility_in_range"),
        ({"vendor_iv": 11.0}, "vendor_volatility_in_range"),
        ({"iv_status": "no_price"}, "volatility_explained"),
        ({"implied_volatility": None}, "volatility_explained"),
        ({"delta": -0.5}, "delta_has_the_right_sign"),
        ({"vega": -0.1}, "gamma_and_vega_not_negative"),
        ({"dte": 3}, "days_match"),
        ({"root": "U9"}, "symbol_matches_columns"),
        ({"basis": "aggregates"}, "aggregates_know_no_open_interest"),
        ({"session": date(2026, 6, 9)}, "session_matches_partition"),
        ({"origin": "guessed"}, "origin_known"),
        ({"spot": float("nan")}, "numbers_finite"),
        ({"underlying": None}, "required_present"),
        ({"contract_id": 3}, "key_unique"),
    ],
)
def test_a_broken_chain_row_is_counted_by_its_rule(built, changes, rule):
    assert broken_by(OPTION_CHAINS, built.chains, **changes).get(rule) == 1


def test_nothing_is_known_before_it_was_observed(built):
    early = built.chains.with_columns(available_at=pl.col("observed_at") - timedelta(seconds=1))
    assert failed(evaluate(OPTION_CHAINS, early)) == {"not_known_before_observed": 15}


def test_an_unknown_contract_id_is_counted_only_against_the_dimension(built):
    known = built.new_contracts.filter(pl.col("contract_id") != 4)
    assert failed(evaluate(OPTION_CHAINS, built.chains, contracts=known)) == {"contract_known": 1}
    assert "contract_known" not in {o.name for o in evaluate(OPTION_CHAINS, built.chains)}


def test_one_contract_with_two_ids_is_found(built):
    twice = pl.concat([built.new_contracts, built.new_contracts.head(1).with_columns(contract_id=pl.lit(99, pl.Int32))])
    assert failed(evaluate(CONTRACTS, twice)) == {"contract_unique": 1}


def test_raw_tables_tolerate_what_the_next_stage_quarantines_up_to_a_share():
    sound, expired = {}, {"contract": "O:AAPL260609C00200000", "expiration": date(2026, 6, 9)}

    def outcome(bad: int) -> Outcome:
        rows = raw_options(*([sound] * (100 - bad) + [expired] * bad))
        return next(o for o in evaluate(RAW_OPTION_SNAPSHOTS, rows) if o.name == "expiration_not_past")

    assert (outcome(2).passed, outcome(2).violations) == (True, 2)
    assert (outcome(3).passed, outcome(3).severity) == (False, Severity.ERROR)


def test_a_duplicate_ticker_and_a_crossed_stock_quote_are_found():
    stocks = pl.concat([raw_stocks(A=1.0, B=2.0), raw_stocks(A=1.5).with_columns(bid=pl.lit(2.0), ask=pl.lit(1.0))])
    assert failed(evaluate(RAW_STOCK_SNAPSHOTS, stocks)) == {"key_unique": 1, "quote_not_crossed": 1}


def test_the_sample_shows_the_keys_of_offenders_in_order(built):
    negative = built.chains.with_columns(volume=pl.lit(-1, pl.Int32)).reverse()
    outcome = next(o for o in evaluate(OPTION_CHAINS, negative) if o.name == "counts_not_negative")
    assert outcome.sample == tuple({"contract_id": k} for k in range(5))
    assert outcome.rows == outcome.violations == 15


def test_the_rules_read_files_as_they_read_frames(built, tmp_path):
    halves = [built.chains.head(7), built.chains.tail(9)]
    files = [tmp_path / f"{k}.parquet" for k in range(2)]
    for frame, file in zip(halves, files, strict=True):
        frame.write_parquet(file)
    assert evaluate(OPTION_CHAINS, files, session=SESSION) == evaluate(
        OPTION_CHAINS, pl.concat(halves), session=SESSION
    )
    assert failed(evaluate(OPTION_CHAINS, files)) == {"key_unique": 1}


def test_a_table_of_several_key_columns_is_checked_on_all_of_them():
    columns = (Column("a", pl.Int32, ""), Column("b", pl.String, ""))
    table = Table("pairs", "", columns, key=("a", "b"), sort=("a", "b"), known_at="", partitioning="none")
    frame = pl.DataFrame({"a": [1, 1, 2, 2], "b": ["x", "y", "x", "x"]}, schema=table.schema)
    (outcome,) = (o for o in evaluate(table, frame) if o.name == "key_unique")
    assert (outcome.violations, outcome.sample) == (1, ({"a": 2, "b": "x"}, {"a": 2, "b": "x"}))
