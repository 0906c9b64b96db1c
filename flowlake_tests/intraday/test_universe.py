"""The universe of a session: the most liquid first, tiers, watch lists, and nothing that was not known."""

from __future__ import annotations

from datetime import UTC, date, datetime

import polars as pl
import pytest

from flowlake.intraday.universe import FutureActivity, build_universe, watch_lists
from flowlake.settings import IntradaySettings

DAY = date(2026, 11, 25)
KNOWN = datetime(2026, 11, 25, 14, tzinfo=UTC)
STATISTICS = pl.DataFrame(
    [
        (date(2026, 11, 23), "SPY", 900),
        (date(2026, 11, 23), "SPY", 900),
        (date(2026, 11, 24), "SPY", 1100),
        (date(2026, 11, 24), "ABC", 50),
        (date(2026, 11, 24), "XYZ", 70),
    ],
    schema={"session": pl.Date, "underlying": pl.String, "chain_volume": pl.Int64},
    orient="row",
)
COVERAGE = pl.DataFrame(
    [
        (date(2026, 11, 23), "SPY", "complete", 12_000, 48),
        (date(2026, 11, 24), "SPY", "failed", 0, 0),
        (date(2026, 11, 24), "ABC", "complete", 80, 1),
    ],
    schema={"session": pl.Date, "underlying": pl.String, "status": pl.String, "rows": pl.Int32, "pages": pl.Int32},
    orient="row",
)


def universe(listed: str = "ABC NEW SPY XYZ", **settings: object) -> pl.DataFrame:
    return build_universe(
        DAY, listed.split(), STATISTICS, COVERAGE, IntradaySettings.model_validate(settings),
        available_at=KNOWN, origin="simulated",
    )  # fmt: skip


def test_the_most_liquid_come_first_and_names_without_a_history_last():
    ranked = universe()
    assert ranked["underlying"].to_list() == ["SPY", "XYZ", "ABC", "NEW"]
    assert ranked["option_volume"].to_list() == [1000, 70, 50, None]
    assert ranked["volume_sessions"].to_list() == [2, 1, 1, 0]


def test_the_newest_whole_chain_says_how_many_requests_a_name_takes():
    assert universe().select("underlying", "contracts", "pages").row(0) == ("SPY", 12_000, 48)


def test_tiers_have_their_own_cadence():
    ranked = universe(every_minutes=5, tier1_size=1, tier2_size=2, tier2_minutes=15, tier3_minutes=60)
    assert ranked["tier"].to_list() == [1, 2, 2, 3]
    assert ranked["interval_minutes"].to_list() == [5, 15, 15, 60]


def test_a_small_plan_asks_few_names_within_the_session():
    ranked = universe(max_underlyings=2)
    assert ranked["tier"].to_list() == [1, 1, 0, 0]
    assert ranked["interval_minutes"].to_list() == [15, 15, None, None]


def test_watched_names_lead_whatever_they_trade_and_wherever_they_are_listed():
    ranked = universe(watch_lists="mine=NEW,ABC; deals=NEW,OTC", max_underlyings=1)
    assert ranked["underlying"].to_list() == ["ABC", "NEW", "OTC", "SPY", "XYZ"]
    assert ranked["tier"].to_list() == [1, 1, 1, 0, 0]
    assert ranked["watch_lists"].to_list()[1] == ["deals", "mine"]


def test_what_happened_in_the_session_itself_is_not_known_before_it():
    with pytest.raises(FutureActivity, match="2026-11-25 may only know"):
        build_universe(
            DAY, ["SPY"], STATISTICS.with_columns(session=pl.lit(DAY)), COVERAGE, IntradaySettings(),
            available_at=KNOWN, origin="simulated",
        )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "lists"),
    [
        ("", {}),
        ("AAPL, MSFT", {"watched": ["AAPL", "MSFT"]}),
        ("mine=AAPL; indices=SPX,NDX;", {"mine": ["AAPL"], "indices": ["SPX", "NDX"]}),
    ],
)
def test_watch_lists_are_written_in_one_line(text: str, lists: dict[str, list[str]]):
    assert watch_lists(text) == lists


@pytest.mark.parametrize("text", ["mine=", "=AAPL", "mine=,"])
def test_a_list_without_a_name_or_tickers_is_named(text: str):
    with pytest.raises(ValueError, match="is no list such as"):
        watch_lists(text)
