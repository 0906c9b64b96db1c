"""The page of one underlying: pictures of its chain, its events with what followed, the chain as a table."""

from __future__ import annotations

import polars as pl
import pytest

from flowlake.report import ticker as ticker_module
from flowlake.report.ticker import activity_map, chain_rows, moneyness_grid, render_ticker, tenor_table
from flowlake.schemas import table
from flowlake_tests.factories import SESSION
from flowlake_tests.report.examples import HOSTILE, Tags, ticker


def test_the_page_shows_history_heat_surface_events_insiders_and_chain():
    html = render_ticker(ticker())
    tags = Tags(html)
    assert tags.count("svg", "heat") == 4
    assert tags.count("svg", "panels") == 1
    assert tags.count("svg", "smile") == 1
    assert "confirmed" in html
    assert "+3.1%" in html, "what followed the event"
    assert "open market purchase" in html
    assert tags.count("tr") > 54


def test_an_underlying_without_events_or_filings_says_so():
    html = render_ticker(ticker(0))
    assert "No session judged this underlying unusual" in html
    assert "No filing about ABC is in the lake" in html


def test_a_quiet_chain_has_no_heat_and_says_so():
    silent = ticker().chain.with_columns(volume=pl.lit(0, pl.Int32), open_interest=pl.lit(0, pl.Int32))
    html = render_ticker(ticker(0, chain=silent.with_columns(implied_volatility=pl.lit(None, pl.Float32))))
    assert "No contract of this chain traded or was open" in html
    assert "Change since the session before" not in html


def test_changes_are_against_the_session_before():
    page = ticker()
    rows = chain_rows(page.chain, page.previous_chain, set())
    assert rows.height == page.chain.height
    assert rows["iv_change"].to_list() == pytest.approx([2.0] * rows.height, abs=1e-4)
    assert set(rows["oi_change"]) == {0}


def test_contracts_of_an_event_are_listed_however_quiet(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(ticker_module, "LISTED_CONTRACTS", 3)
    page = ticker()
    quiet = page.chain.sort("volume")["contract"][0]
    rows = chain_rows(page.chain, page.previous_chain, {quiet})
    assert rows.height == 3
    assert rows.filter("marked")["contract"].to_list() == [quiet]


def test_the_heat_map_counts_every_contract_once():
    page = ticker()
    expirations = page.chain["expiration"].unique().sort().to_list()
    drawn = activity_map(page.chain, "volume", expirations, 100.0, set())
    assert "volume 1,600 (calls 800, puts 800)" in drawn, "the busiest strike of an expiration"
    assert drawn.count("<rect") == 3 * 8 + 3, "3 expirations x 8 strikes (the first holds nothing), and the legend"


def test_wide_chains_are_drawn_in_round_columns():
    page = ticker()
    wide = page.chain.with_columns(strike=pl.col("strike") * 7.3 + pl.int_range(pl.len()) * 13.7)
    drawn = activity_map(wide, "open_interest", wide["expiration"].unique().sort().to_list(), 700.0, set())
    assert 0 < drawn.count("<rect") <= 32 * 3 + 3


def test_the_surface_is_made_of_contracts_out_of_the_money():
    grid = moneyness_grid(ticker().chain)
    assert grid.height == 3 * 9
    inside = ticker().chain.filter((pl.col("right") == "C") == (pl.col("moneyness") < 1))
    assert moneyness_grid(inside).is_empty()


def test_tenors_show_how_far_they_moved():
    page = ticker()
    moved = page.surface.with_columns(
        atm_volatility=pl.when(pl.col("session") == SESSION)
        .then(pl.col("atm_volatility") + 0.05)
        .otherwise("atm_volatility")
    )
    assert [row["atm_volatility_change"] for row in tenor_table(moved, SESSION)] == pytest.approx([0.05] * 4)


def test_a_first_session_has_nothing_to_compare_with():
    page = ticker(
        previous_chain=table("option_chains").empty(), surface=ticker().surface.filter(pl.col("session") == SESSION)
    )
    html = render_ticker(page)
    assert Tags(html).count("svg", "heat") == 3
    assert "Change since the session before" not in html


def test_hostile_names_are_shown_and_never_run():
    tags = Tags(render_ticker(ticker(2, HOSTILE)))
    assert tags.count("script") == 1
    assert not [attrs for _, attrs in tags.seen for name in attrs if name.startswith("on")]
