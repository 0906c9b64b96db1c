"""The daily page: complete for any number of events, safe with any text, honest about where data came from."""

from __future__ import annotations

import re
from datetime import date
from html.parser import HTMLParser
from typing import Any

import polars as pl
import pytest

from flowlake.report.daily import DailyReport, QualityNote, conviction_counts, render_daily
from flowlake.report.html import compact
from flowlake.schemas import table
from flowlake_tests.factories import SESSION, frame

HOSTILE = "<script>alert(1)</script>\"'&\u202eABC" + "W" * 200


class Tags(HTMLParser):
    """Counts elements and fails on nothing: enough to see what a browser would build."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def count(self, tag: str, kind: str | None = None) -> int:
        return sum(
            1 for name, attrs in self.seen if name == tag and (kind is None or kind in (attrs.get("class") or ""))
        )


def event(rank: int, underlying: str = "ABC", **more: object) -> dict:
    contract = f"O:{underlying}260619C00100000"
    return {
        "rank": rank,
        "underlying": f"{underlying}{rank}" if rank > 1 else underlying,
        "event_id": f"e{rank}",
        "score": 8.5,
        "conviction": "HIGH",
        "direction": "bullish",
        "right": "C",
        "llr_total": 3.5,
        "p_value": 1e-4,
        "q_value": 0.01,
        "universe": 6000,
        "expected_false_alarms_per_day": 0.6,
        "status": "provisional",
        "algorithms": ["volume", "multi_strike"],
        "factors": [
            {"factor": "volume_surprise", "value": 9.0, "contribution": 3.0, "text": "traded 40 times its usual"},
            {"factor": "quietness", "value": -0.2, "contribution": 0.5, "text": "the stock hardly moved"},
        ],
        "contracts": [
            {
                "contract_id": 1,
                "contract": contract,
                "expiration": date(2026, 6, 19),
                "strike": 100.0,
                "right": "C",
                "volume": 4000,
                "open_interest": 250,
                "expected": 12.5,
                "p_value": 1e-5,
                "price": 0.85,
                "delta": 0.22,
                "implied_volatility": 0.41,
                "dte": 18,
                "premium_usd": 340_000.0,
            }
        ],
        "annotations": [],
        "volume": 4200,
        "explanation": "One call line traded far above its history.",
        **more,
    }


def chain_row(underlying: str, strike: float, right: str, volume: int, open_interest: int | None) -> dict:
    return {
        "underlying": underlying,
        "contract": f"O:{underlying}260619{right}{round(strike * 1000):08d}",
        "expiration": date(2026, 6, 19),
        "strike": strike,
        "right": right,
        "multiplier": 100.0,
        "volume": volume,
        "open_interest": open_interest,
        "price": 1.0,
        "origin": "simulated",
    }


def surface_row(underlying: str, days: int) -> dict:
    skew = {"risk_reversal_25": -0.03, "butterfly_25": 0.01}
    return {"underlying": underlying, "tenor_days": days, "atm_volatility": 0.6 - days / 300, **skew}


def report(events: list[dict], underlying: str = "ABC", **more: Any) -> DailyReport:
    chain = [
        chain_row(underlying, 95.0, "P", 10, 500),
        chain_row(underlying, 100.0, "C", 4000, 250),
        chain_row(underlying, 105.0, "C", 0, None),
    ]
    chain = [row | {"contract_id": number} for number, row in enumerate(chain)]
    fields: dict[str, Any] = {
        "session": SESSION,
        "events": frame(table("scored_events"), events),
        "chains": frame(table("option_chains"), chain),
        "outcomes": table("event_outcomes").empty(),
        "surface": frame(table("iv_surface"), [surface_row(underlying, days) for days in (7, 30, 60, 90)]),
        "coverage": frame(table("snapshot_coverage"), [{"underlying": underlying, "status": "complete"}]),
        "quality": [QualityNote("option_chains", "bid_not_above_ask", True, "ERROR", "bid <= ask", 0)],
        "quarantined": 0,
    }
    return DailyReport(**(fields | more))


def test_an_empty_day_says_that_nothing_was_unusual():
    html = render_daily(report([]))
    assert "Nothing stood out" in html
    assert Tags(html).count("article") == 0


def test_a_day_without_conviction_says_so_and_shows_the_least_ordinary():
    html = render_daily(report([event(1, conviction="NONE")]))
    assert "Nothing reached LOW conviction" in html
    assert "below LOW" in html
    assert Tags(html).count("article") == 1


def test_an_event_shows_its_factors_its_contracts_and_its_chain():
    html = render_daily(report([event(1)]))
    tags = Tags(html)
    assert tags.count("article") == 1
    assert tags.count("svg", "factors") == 1
    assert tags.count("svg", "chain") == 1
    assert tags.count("svg", "smile") == 1
    assert tags.count("polyline") == 3
    assert "+3.00" in html
    assert "add up to 3.50" in html
    assert "volume 4,000, open interest 250" in html


def test_five_hundred_events_stay_one_page_a_browser_can_open():
    html = render_daily(report([event(rank) for rank in range(1, 501)]))
    assert Tags(html).count("article") == 500
    assert len(html) < 10_000_000


def test_events_far_below_low_conviction_are_left_to_the_table():
    html = render_daily(report([event(1), event(40, conviction="NONE")]))
    assert Tags(html).count("article") == 1
    assert "1 less unusual underlyings are in the table scored_events" in html


def test_hostile_text_is_shown_and_never_run():
    hostile = event(1, underlying=HOSTILE, explanation=HOSTILE, annotations=[HOSTILE])
    html = render_daily(report([hostile], underlying=HOSTILE))
    tags = Tags(html)
    assert tags.count("script") == 1, "the page's own, which its policy names by hash"
    assert not [attrs for _, attrs in tags.seen for name in attrs if name.startswith("on")]
    assert "&lt;script&gt;" in html


def test_the_page_needs_nothing_from_anywhere_else():
    tags = Tags(render_daily(report([event(1)])))
    assert [attrs for _, attrs in tags.seen if attrs.get("src")] == []
    assert tags.count("link") == 0
    links = {str(attrs["href"]) for _, attrs in tags.seen if "href" in attrs}
    assert all(re.fullmatch(r"#[\w-]+|[\w.-]+\.html(#[\w-]+)?", link) for link in links), links


def test_simulated_data_are_labelled():
    assert "Simulated market" in render_daily(report([]))


def test_a_failed_check_is_named_with_what_it_demands():
    note = QualityNote("option_chains", "keys_unique", False, "ERROR", "one row per contract", 12)
    html = render_daily(report([], quality=[note]))
    assert "failed" in html
    assert "one row per contract" in html


def test_conviction_budgets_shrink_with_the_universe():
    small = frame(table("scored_events"), [event(1, universe=600)])
    expected = {row["level"]: row["expected"] for row in conviction_counts(small)}
    assert expected == {"EXTREME": pytest.approx(0.1), "HIGH": 0.5, "MEDIUM": 2.0, "LOW": 6.0}


@pytest.mark.parametrize(
    ("value", "text"), [(None, "–"), (0, "0"), (999, "999"), (1234, "1.2K"), (2.5e6, "2.5M"), (-3e9, "-3.0B")]
)
def test_large_numbers_are_shortened(value: float | None, text: str):
    assert compact(value) == text


def test_a_chain_in_which_nothing_traded_has_no_picture():
    quiet = report([event(1, contracts=[])])
    silent = quiet.chains.with_columns(volume=pl.lit(0, pl.Int32))
    html = render_daily(report([event(1, contracts=[])], chains=silent))
    assert "No contract of this chain traded" in html
