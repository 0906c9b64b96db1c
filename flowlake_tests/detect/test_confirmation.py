from __future__ import annotations

from datetime import date

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowlake import calendar, schemas
from flowlake.detect import confirmation
from flowlake.detect.confirmation import event_status, keep_earlier
from flowlake.settings import ConfirmationSettings
from flowlake_tests.detect.markets import chain
from flowlake_tests.factories import frame

SESSION = date(2026, 6, 30)
BEFORE = calendar.previous_session(SESSION)


def event(*lines: tuple[int, int, int | None], underlying: str = "ABC", **about: object) -> pl.DataFrame:
    """An event of the session before whose `lines` are (contract_id, volume, open interest at its start)."""
    contracts = [{"contract_id": i, "volume": volume, "open_interest": interest} for i, volume, interest in lines]
    row = {"session": BEFORE, "event_id": underlying, "underlying": underlying, "right": "C", "contracts": contracts}
    return frame(schemas.table("scored_events"), [row | about])


def morning(**interest: int | None) -> pl.DataFrame:
    """A chain of the session: open interest by contract, named c1, c2, ..."""
    rows = [{"contract_id": int(name[1:]), "open_interest": value} for name, value in interest.items()]
    return chain(SESSION, pl.DataFrame(rows, schema={"contract_id": pl.Int64, "open_interest": pl.Int64}))


def known(frame: pl.DataFrame, value: int | None) -> pl.DataFrame:
    return frame.with_columns(open_interest=pl.lit(value, pl.Int32))


def status(events: pl.DataFrame, chains: pl.DataFrame, **kwargs: object) -> dict:
    found = event_status(SESSION, chains, events, **kwargs)  # pyright: ignore[reportArgumentType]
    assert found.height == 1
    return found.row(0, named=True)


@pytest.mark.parametrize(
    ("now", "expected"),
    [(1_000, "confirmed"), (500, "confirmed"), (300, "unclear"), (150, "withdrawn"), (0, "withdrawn")],
)
def test_the_opened_share_of_the_volume_decides(now: int, expected: str):
    row = status(event((1, 1_000, 100)), morning(c1=now))
    assert row["status"] == expected
    assert row["oi_change"] == now - 100
    assert row["oi_confirmation"] == pytest.approx((now - 100) / 1_000)
    assert (row["reason"] is None) == (expected != "unclear")
    assert (row["session"], row["event_session"]) == (SESSION, BEFORE)


def test_all_leading_lines_count_together():
    row = status(event((1, 600, 0), (2, 400, 500)), morning(c1=600, c2=200))
    assert (row["traded"], row["oi_change"], row["status"]) == (1_000, 300, "unclear")


def test_thresholds_are_settings():
    settings = ConfirmationSettings(confirmed_share=0.2, withdrawn_share=0.15)
    assert status(event((1, 1_000, 100)), morning(c1=300), settings=settings)["status"] == "confirmed"
    with pytest.raises(ValueError, match="must be below"):
        ConfirmationSettings(confirmed_share=0.2, withdrawn_share=0.3)


def test_lines_that_expired_leave_the_event_unclear_where_they_are_most_of_it():
    mostly_gone = status(event((1, 900, 0), (2, 100, 0)), morning(c2=100))
    assert (mostly_gone["status"], mostly_gone["reason"]) == ("unclear", confirmation.UNKNOWN)
    assert mostly_gone["known_share"] == pytest.approx(0.1)
    mostly_there = status(event((1, 400, 0), (2, 600, 0)), morning(c2=600))
    assert mostly_there["status"] == "confirmed"


def test_missing_open_interest_on_either_day_is_not_a_withdrawal():
    for events, chains in (
        (event((1, 900, None)), morning(c1=900)),
        (event((1, 900, 0)), known(morning(c1=900), None)),
        (event((1, 900, 0)), morning(c1=900).with_columns(basis=pl.lit("aggregates"))),
    ):
        row = status(events, chains)
        assert (row["status"], row["reason"], row["oi_change"]) == ("unclear", confirmation.UNKNOWN, None)
        assert "says nothing" in row["explanation"]


@pytest.mark.parametrize("effective_on", [SESSION, BEFORE])
def test_a_split_makes_open_interest_incomparable(effective_on: date):
    action = {"ticker": ["ABC"], "kind": ["split"], "split_from": [1.0], "split_to": [10.0]}
    actions = pl.DataFrame({**action, "effective_on": [effective_on]})
    row = status(event((1, 1_000, 100)), morning(c1=1_100), actions=actions)
    assert (row["status"], row["reason"], row["oi_confirmation"]) == ("unclear", confirmation.SPLIT, None)


def test_an_underlying_without_a_chain_is_unclear():
    row = status(event((1, 1_000, 100), underlying="GONE"), morning(c1=1_100).with_columns(contract_id=pl.lit(7)))
    assert (row["status"], row["reason"]) == ("unclear", confirmation.NOT_LISTED)


def test_an_event_without_leading_lines_is_unclear():
    assert status(event(), morning(c1=1_100))["reason"] == confirmation.UNTRADED


def test_every_event_whatever_its_conviction_gets_a_status():
    events = pl.concat([event((i, 100, 0), underlying=f"U{i}") for i in (1, 2, 3)])
    chains = pl.concat([morning(**{f"c{i}": 100}).with_columns(underlying=pl.lit(f"U{i}")) for i in (1, 2, 3)])
    assert event_status(SESSION, chains, events)["status"].to_list() == ["confirmed"] * 3


def test_without_events_or_without_a_chain_there_is_nothing_to_say():
    nothing = schemas.table("event_status").empty()
    assert event_status(SESSION, morning(c1=1), schemas.table("scored_events").empty()).equals(nothing)
    assert event_status(SESSION, morning(), event((1, 1, 1))).equals(nothing)


def test_only_events_of_the_session_before_are_judged_by_a_morning():
    old = event((1, 100, 0)).with_columns(session=pl.lit(calendar.previous_session(SESSION, 2)))
    with pytest.raises(ValueError, match="confirmed by the morning"):
        event_status(SESSION, morning(c1=100), old)


def test_the_status_is_known_when_the_chain_was_and_an_earlier_chain_wins():
    late = morning(c1=900)
    early = late.with_columns(available_at=pl.lit(calendar.session_open(SESSION)))
    at_open, at_close = (event_status(SESSION, chains, event((1, 1_000, 100))) for chains in (early, late))
    assert at_close["available_at"].item() == late["available_at"].item()
    assert keep_earlier(at_close, at_open).equals(at_open)
    assert keep_earlier(at_open, at_close).equals(at_open)
    changed = at_open.with_columns(oi_change=pl.lit(1, pl.Int64))
    assert keep_earlier(at_close, changed).equals(at_close)


def test_a_snapshot_without_an_underlying_does_not_unsay_what_an_earlier_one_said():
    events = pl.concat([event((i, 100, 0), underlying=f"U{i}") for i in (1, 2)])
    both = pl.concat([morning(**{f"c{i}": 100}).with_columns(underlying=pl.lit(f"U{i}")) for i in (1, 2)])
    all_seen, one_seen = (event_status(SESSION, chains, events) for chains in (both, both.head(1)))
    assert one_seen["status"].to_list() == ["confirmed", "unclear"]
    assert keep_earlier(one_seen, all_seen).equals(all_seen)
    assert keep_earlier(all_seen, one_seen)["status"].to_list() == ["confirmed", "confirmed"]


@given(
    st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 10_000), st.integers(0, 20_000)), min_size=1, max_size=8)
)
def test_the_status_follows_from_the_figures_shown(lines: list[tuple[int, int, int]]):
    events = event(*((i, volume, then) for i, (volume, then, _) in enumerate(lines)))
    row = status(events, morning(**{f"c{i}": now for i, (_, _, now) in enumerate(lines)}))
    assert row["oi_change"] == sum(now - then for _, then, now in lines)
    assert row["traded"] == sum(volume for volume, _, _ in lines)
    share = row["oi_confirmation"]
    settings = ConfirmationSettings()
    assert (row["status"] == "confirmed") == (share is not None and share >= settings.confirmed_share)
    assert (row["status"] == "withdrawn") == (share is not None and share <= settings.withdrawn_share)


@pytest.mark.real_data
@pytest.mark.slow
def test_ordinary_lines_open_a_third_of_the_time_and_stay_closed_as_often(shared_data):
    """What a status is worth: how often lines that nobody flagged reach the thresholds."""
    key = ["underlying", "expiration", "right", "strike"]
    lines = (
        pl.scan_parquet(shared_data / "option_chains" / "contracts.parquet")
        .select("date", "expiration", "right", "strike", "volume", "oi", underlying=pl.col("ticker").str.to_uppercase())
        .unique(["date", *key])
        .collect()
    )
    days = pl.DataFrame({"date": [day for day in lines["date"].unique().sort() if calendar.is_session(day)]})
    following = days.with_columns(following=pl.col("date").shift(-1)).drop_nulls()
    traded = lines.filter(pl.col("volume") >= 300).join(following, on="date")
    mornings = lines.select(*key, following="date", morning="oi")
    opened = traded.join(mornings, on=["following", *key]).select((pl.col("morning") - pl.col("oi")) / pl.col("volume"))
    share, settings = opened.to_series(), ConfirmationSettings()
    confirmed, withdrawn = (share >= settings.confirmed_share).mean(), (share <= settings.withdrawn_share).mean()
    print(f"{len(share):,} lines of 300 contracts or more: {confirmed:.0%} would confirm, {withdrawn:.0%} withdraw")
    assert confirmed == pytest.approx(1 / 3, abs=0.05)
    assert withdrawn == pytest.approx(1 / 3, abs=0.05)
