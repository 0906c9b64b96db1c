from __future__ import annotations

import json
from datetime import UTC, date, datetime
from typing import Any

import httpx
import polars as pl
import pytest

from flowlake.insiders.congress import merge_disclosures, normalise_disclosures
from flowlake.sources.congress import MalformedDisclosures, fetch_disclosures, read_disclosures
from flowlake.sources.errors import NotFound

SEEN = datetime(2026, 3, 6, 15, tzinfo=UTC)
ROW = {
    "disclosure_date": "03/04/2026",
    "transaction_date": "2026-02-10",
    "owner": "joint",
    "ticker": "acme",
    "asset_description": 'Acme Corp <div class="x">Rate</div>',
    "type": "sale_partial",
    "amount": "$1,001 - $15,000",
    "representative": "Hon. Jane Member",
    "district": "XX01",
    "ptr_link": "https://disclosures.test/ptr-pdfs/2026/20099999.pdf",
}


def house(*changes: dict[str, Any]) -> pl.DataFrame:
    rows = [ROW | change for change in changes or ({},)]
    return normalise_disclosures(read_disclosures(json.dumps(rows).encode(), "house"), "house", SEEN, "simulated")


def only(**changes: Any) -> dict[str, Any]:
    return house(changes).row(0, named=True)


def test_a_disclosure_is_normalised():
    found = only()
    assert {name: found[name] for name in ("member", "owner", "ticker", "asset", "transaction_class")} == {
        "member": "Jane Member",
        "owner": "joint",
        "ticker": "ACME",
        "asset": "Acme Corp Rate",
        "transaction_class": "partial_sale",
    }
    assert (found["amount_low"], found["amount_high"]) == (1_001.0, 15_000.0)
    assert found["disclosure_id"] == "20099999"


def test_it_is_known_from_the_end_of_the_disclosure_day_and_not_from_the_trade():
    found = only()
    assert found["available_at"] == datetime(2026, 3, 5, 5, tzinfo=UTC)
    assert found["transaction_date"] == date(2026, 2, 10)


def test_without_a_disclosure_date_it_is_known_from_when_it_was_seen():
    found = only(disclosure_date=None)
    assert (found["available_at"], found["known_by"]) == (SEEN, "observation")


def test_a_disclosure_date_in_the_future_is_not_believed():
    assert only(disclosure_date="12/31/2027")["known_by"] == "observation"


@pytest.mark.parametrize("typed", ["0021-08-02", "0201-06-22", "20221-01-01", "2026-09-09", "soon"])
def test_an_impossible_trade_date_is_null_and_reported(typed):
    found = only(transaction_date=typed)
    assert found["transaction_date"] is None
    assert typed in found["problems"][0]


@pytest.mark.parametrize(
    ("typed", "low", "high"),
    [
        ("$1,001 -", 1_001.0, 15_000.0),
        ("$1,000,000 +", 1_000_000.0, None),
        ("Over $50,000,000", 50_000_000.0, None),
        ("Unknown", None, None),
    ],
)
def test_amounts_stay_ranges_and_open_ends_stay_open(typed, low, high):
    found = only(amount=typed)
    assert (found["amount_low"], found["amount_high"]) == (low, high)


@pytest.mark.parametrize(
    ("typed", "ticker", "quality"),
    [
        ("BRK-B", "BRK.B", "ok"),
        ("brk.b", "BRK.B", "ok"),
        ("--", None, "absent"),
        ("N/A", None, "absent"),
        ("BTC-USD", None, "unlisted_form"),
        ("3V64.TI", None, "unlisted_form"),
    ],
)
def test_tickers_are_spelled_one_way(typed, ticker, quality):
    found = only(ticker=typed)
    assert (found["ticker"], found["ticker_quality"]) == (ticker, quality)


def test_repeated_rows_are_one_and_rows_of_another_owner_are_not():
    assert house({}, {}, {"owner": "self"}).height == 2


def test_reading_the_list_again_later_changes_nothing_that_was_known():
    first = house({"disclosure_date": None})
    raw = read_disclosures(json.dumps([ROW | {"disclosure_date": None}, ROW | {"ticker": "NEW"}]).encode(), "house")
    later = normalise_disclosures(raw, "house", datetime(2026, 4, 1, tzinfo=UTC), "simulated")
    merged = merge_disclosures(first, later)
    assert merged.filter(pl.col("ticker") == "ACME")["available_at"].to_list() == [SEEN]
    assert merged.height == 2
    assert merge_disclosures(merged, later).equals(merged)


@pytest.mark.parametrize("content", [b"<html></html>", b"{}", b"[1]", b'[{"ticker": "A"}]', b""])
def test_what_is_no_list_of_disclosures_is_refused(content):
    with pytest.raises(MalformedDisclosures):
        read_disclosures(content, "senate")


def test_a_missing_list_names_its_address():
    with pytest.raises(NotFound, match=r"http://lists\.test/house"):
        fetch_disclosures(
            "http://lists.test/house", "house", transport=httpx.MockTransport(lambda _: httpx.Response(404))
        )


@pytest.mark.real_data
def test_real_disclosures_of_both_chambers_are_read(shared_data):
    house_rows = read_disclosures((shared_data / "sec/house/all_transactions.csv").read_bytes(), "house")
    senate_rows = read_disclosures((shared_data / "sec/senate/all_transactions.json").read_bytes(), "senate")
    house_found = normalise_disclosures(house_rows, "house", SEEN, "recorded")
    senate_found = normalise_disclosures(senate_rows, "senate", SEEN, "recorded")
    assert (house_rows.height, senate_rows.height) == (14_274, 8_350)
    assert house_found["known_by"].unique().to_list() == ["disclosure_date"]
    assert senate_found["known_by"].unique().to_list() == ["observation"]
    assert house_found.filter(pl.col("transaction_class") == "unknown").is_empty()
    assert (house_found["available_at"].dt.date() > house_found["transaction_date"]).drop_nulls().all()
    assert house_found["transaction_date"].null_count() < 20
    assert house_found["amount_low"].null_count() == 0
    quality = pl.concat([house_found, senate_found])["ticker_quality"].value_counts().sort("ticker_quality")
    print(house_found.height, senate_found.height, dict(quality.iter_rows()))
