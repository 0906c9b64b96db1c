"""Public cases, read and re-enacted."""

from __future__ import annotations

import json
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from flowlake.evaluate import cases


def record(**changes: Any) -> dict[str, Any]:
    """An invented case in the file's shape."""
    return {
        "id": "XYZ-2030",
        "label": "litigated",
        "direction": "call",
        "contracts": 900,
        "trade_dates": ["2030-03-04", "2030-03-06"],
        "option_series": [{"type": "call", "strike": 22, "expiry": "2030-04-19"}],
        "stock_price_at_trade": 20.0,
        "ticker_avg_daily_option_volume": "1,250 calls/day",
        "derived": None,
        **changes,
    }


def read(tmp_path: Path, *records: dict[str, Any]) -> pl.DataFrame:
    path = tmp_path / "cases.json"
    path.write_text(json.dumps(records), encoding="utf-8")
    return cases.read_cases(path)


def test_a_full_record_needs_no_assumption(tmp_path: Path):
    row = read(tmp_path, record()).row(0, named=True)
    assert (row["right"], row["size"], row["sessions"], row["dte"], row["market"]) == ("C", 900, 3, 46, 1_250.0)
    assert row["out_of_the_money"] == pytest.approx(0.10)
    assert row["assumed"] == []


def test_what_a_record_does_not_say_is_assumed_and_named(tmp_path: Path):
    silent = record(option_series=None, ticker_avg_daily_option_volume=None, stock_price_at_trade=None)
    row = read(tmp_path, silent).row(0, named=True)
    assert row["assumed"] == ["out_of_the_money", "dte", "market"]
    assert (row["dte"], row["market"]) == (cases.ASSUMED_DAYS, cases.ASSUMED_MARKET)


def test_a_month_of_expiry_means_its_third_friday(tmp_path: Path):
    monthly = record(option_series=[{"type": "call", "strike": 22, "expiry": "2030-04"}])
    assert read(tmp_path, monthly)["dte"][0] == (date(2030, 4, 19) - date(2030, 3, 4)).days


@pytest.mark.parametrize(
    "unusable",
    [
        {"contracts": None},
        {"label": "unresolved_control"},
        {"trade_dates": []},
        {"trade_dates": ["2030-03"]},
        {"direction": None},
    ],
)
def test_records_without_size_dates_or_direction_and_controls_are_left_out(tmp_path: Path, unusable: dict[str, Any]):
    assert read(tmp_path, record(**unusable)).is_empty()


def test_cases_are_placed_in_hosts_of_their_size(tmp_path: Path):
    hosts = pl.DataFrame(
        [
            {
                "session": date(2026, 6, 1) + timedelta(days=day),
                "number": 10 + day,
                "underlying": f"T{name}",
                "mean_volume": 10.0**name,
            }
            for day in range(8)
            for name in range(1, 7)
        ]
    )
    known = read(tmp_path, record(), record(id="ABC-2031", ticker_avg_daily_option_volume="100,000 a day"))
    plans = cases.reenact(np.random.default_rng(1), known, hosts, repeats=6, nearest=1)
    assert dict(plans.select("case_id", "underlying").unique().iter_rows()) == {"XYZ-2030": "T3", "ABC-2031": "T5"}
    assert plans.height == 12
    assert (plans["first"] >= 10).all()
    assert plans["episode_id"].is_unique().all()


def test_a_case_is_caught_when_most_of_its_reenactments_are(tmp_path: Path):
    known = read(tmp_path, record(), record(id="ABC-2031"))
    plans = pl.DataFrame({"episode_id": list("abcdef"), "case_id": ["XYZ-2030"] * 3 + ["ABC-2031"] * 3})
    best = pl.DataFrame({"episode_id": list("abcdef"), "universe_rank": [1.0, 50.0, 900.0, 1.0, 51.0, 900.0]})
    table = cases.caught(best, plans, known)
    assert dict(table.select("case_id", "caught").iter_rows()) == {"XYZ-2030": True, "ABC-2031": False}


@pytest.mark.real_data
def test_every_public_case_of_the_library_is_read_without_surprise(shared_data: Path):
    library = shared_data.parent / "reference" / "insider_cases.json"
    known = cases.read_cases(library)
    assert known.height >= 15
    assert known["size"].min() > 0  # pyright: ignore[reportOperatorIssue]
    assert known["dte"].is_between(2, 400).all()
    assert known["out_of_the_money"].is_between(0.0, 0.55).all()
