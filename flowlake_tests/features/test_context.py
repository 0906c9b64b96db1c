"""What detectors, insiders and members of Congress add to a row: counts where looked, null where not."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest

from flowlake.features.congress import congress_features
from flowlake.features.events import event_features
from flowlake.features.insiders import insider_features
from flowlake.schemas.detection import ANOMALIES_VOLUME, SCORED_EVENTS, TICKER_STATISTICS
from flowlake.schemas.insiders import CONGRESS_TRADES, INSIDER_SIGNALS
from flowlake_tests.factories import frame

BOTH = pl.DataFrame({"underlying": ["A", "B"]})
AS_OF = datetime(2026, 6, 1, 20, 20, tzinfo=UTC)


def test_anomalies_are_counted_and_the_least_probable_one_is_told():
    rows = [{"underlying": "A", "contract_id": n, "p_value": p} for n, p in enumerate((0.001, 0.00001))]
    tables = {"anomalies_volume": frame(ANOMALIES_VOLUME, rows), "anomalies_low_volume": ANOMALIES_VOLUME.empty()}
    a, b = event_features(BOTH, tables).sort("underlying").to_dicts()
    assert a["events_volume"] == 2
    assert a["surprise_volume"] == pytest.approx(5.0)
    assert b["events_volume"] == 0
    assert b["surprise_volume"] is None
    assert a["events_low_volume"] == 0
    assert a["surprise_low_volume"] is None


def test_an_algorithm_that_did_not_run_found_an_unknown_number():
    found = event_features(BOTH, {})
    names = (
        "events_volume", "events_open_interest", "events_multi_strike", "events_low_volume", "events_day_over_day",
        "surprise_open_interest", "surprise_multi_strike", "call_evidence", "put_evidence", "event_score",
        "event_direction",
    )  # fmt: skip
    assert found.select(names).null_count().row(0) == (2,) * len(names)


@pytest.mark.parametrize(("direction", "sign"), [("bullish", 1), ("bearish", -1), ("neutral", 0)])
def test_evidence_and_the_scored_event(direction: str, sign: int):
    sides = [{"underlying": "A", "right": "C", "llr_total": 4.5}, {"underlying": "A", "right": "P", "llr_total": -1.0}]
    event = [{"underlying": "A", "score": 7.5, "direction": direction}]
    tables = {"ticker_statistics": frame(TICKER_STATISTICS, sides), "scored_events": frame(SCORED_EVENTS, event)}
    found = event_features(BOTH, tables).sort("underlying").row(0, named=True)
    assert found["call_evidence"] == 4.5
    assert found["put_evidence"] == -1.0
    assert found["event_score"] == 7.5
    assert found["event_direction"] == sign


def signals(available_at: datetime = AS_OF - timedelta(minutes=20)) -> pl.DataFrame:
    row = {
        "ticker": "A",
        "buyers": 3,
        "opportunistic_buyers": 2,
        "senior_buyers": 1,
        "purchase_value_usd": 300_000.0,
        "sellers": 1,
        "sale_value_usd": 100_000.0,
        "is_cluster_buy": True,
        "net_purchase_ratio": 0.5,
        "available_at": available_at,
    }
    return frame(INSIDER_SIGNALS, [row])


def test_insider_signals_beside_the_row():
    a, b = insider_features(BOTH, signals(), AS_OF).sort("underlying").to_dicts()
    expected = {
        "insider_buyers": 3,
        "insider_opportunistic_buyers": 2,
        "insider_senior_buyers": 1,
        "insider_purchase_value_usd": 300_000.0,
        "insider_sellers": 1,
        "insider_sale_value_usd": 100_000.0,
        "insider_is_cluster_buy": True,
        "insider_net_purchase_ratio": 0.5,
    }
    assert {name: a[name] for name in expected} == expected
    assert b["insider_buyers"] == 0
    assert b["insider_is_cluster_buy"] is False
    assert b["insider_net_purchase_ratio"] is None


@pytest.mark.parametrize("known", [None, signals(AS_OF), signals(AS_OF + timedelta(seconds=1))])
def test_signals_that_are_absent_or_known_too_late_are_null(known: pl.DataFrame | None):
    assert insider_features(BOTH, known, AS_OF)["insider_buyers"].to_list() == [None, None]


def trade(kind: str, days_before: float, low: float, high: float | None, member: str = "x", ticker: str | None = "A"):
    known = AS_OF - timedelta(days=days_before)
    return {
        "ticker": ticker,
        "transaction_class": kind,
        "available_at": known,
        "disclosed_on": date(2026, 5, 1),
        "amount_low": low,
        "amount_high": high,
        "member": member,
    }


def test_congress_by_hand():
    """Bought at the middle of 1,001 to 15,000 = 8,000.5, sold for at least 50,000."""
    rows = [
        trade("purchase", 10, 1001.0, 15_000.0, "x"),
        trade("partial_sale", 20, 50_000.0, None, "y"),
        trade("exchange", 20, 1.0, 2.0, "z"),
        trade("purchase", 91, 1.0, 2.0, "w"),  # too long ago
        trade("purchase", 0, 1.0, 2.0, "w"),  # not yet public
        trade("purchase", 1, 1.0, 2.0, "w", ticker=None),
    ]
    a, b = congress_features(BOTH, frame(CONGRESS_TRADES, rows), AS_OF).sort("underlying").to_dicts()
    assert a["congress_purchases_90"] == 1
    assert a["congress_sales_90"] == 1
    assert a["congress_members_90"] == 2
    assert a["congress_net_usd_90"] == pytest.approx(8000.5 - 50_000)
    assert b["congress_purchases_90"] == 0


def test_without_a_list_of_disclosures_nothing_is_known():
    assert congress_features(BOTH, None, AS_OF)["congress_purchases_90"].to_list() == [None, None]
