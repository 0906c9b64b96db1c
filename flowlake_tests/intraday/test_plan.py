"""Which snapshot is due: one at a time, the newest, within its useful life, and every gap with its reason."""

from __future__ import annotations

from datetime import date, datetime, timedelta

import hypothesis.strategies as st
import polars as pl
import pytest
from hypothesis import given, settings

from flowlake import calendar
from flowlake.intraday import log
from flowlake.intraday.plan import (
    DueSnapshot,
    decide,
    due_snapshots,
    expiration_cuts,
    names_due,
    snapshot_of,
    unexplained,
)
from flowlake.schemas.intraday import SNAPSHOT_LOG, UNIVERSE
from flowlake.settings import IntradaySettings
from flowlake_tests.factories import frame

DAY, SHORT = date(2026, 11, 25), date(2026, 11, 27)
DELAY = timedelta(minutes=15)
SETTINGS = IntradaySettings()
SNAPSHOTS = due_snapshots(DAY, SETTINGS, DELAY)
NOTHING = SNAPSHOT_LOG.empty()


def at(clock: str) -> DueSnapshot:
    return next(each for each in SNAPSHOTS if each.key == f"{DAY}-{clock}")


def moment(clock: str, day: date = DAY) -> datetime:
    return datetime.fromisoformat(f"{day} {clock}").replace(tzinfo=calendar.NEW_YORK)


def noted(**statuses: str) -> pl.DataFrame:
    written = NOTHING
    for clock, status in statuses.items():
        snapshot = at(f"{clock[1:3]}:{clock[3:]}")
        written = log.noted(written, snapshot, now=snapshot.due_at, status=status, reason=None)
    return written


def test_a_snapshot_can_be_taken_one_delay_after_the_moment_it_describes():
    assert at("10:30").due_at == moment("10:45")
    assert at("10:30").useful_until == moment("11:00")


def test_the_closing_snapshot_waits_for_the_last_trades_because_it_becomes_the_days_record():
    closing = SNAPSHOTS[-1]
    assert closing.key == f"{DAY}-16:00"
    assert closing.due_at == moment("16:35")
    assert closing.as_of == moment("16:20")
    assert closing.useful_until == moment("18:35")


def test_an_early_close_ends_the_day_at_13_00():
    snapshots = due_snapshots(SHORT, SETTINGS, DELAY)
    assert len(snapshots) == 14
    assert snapshots[-1].closing and snapshots[-1].key == f"{SHORT}-13:00"


def test_a_holiday_has_no_snapshots():
    with pytest.raises(calendar.NotASession, match="Thanksgiving"):
        due_snapshots(date(2026, 11, 26), SETTINGS, DELAY)


def test_a_moment_off_the_grid_is_refused_with_the_grid():
    with pytest.raises(ValueError, match="every 15 minutes"):
        snapshot_of(f"{DAY}-10:35", SETTINGS, DELAY)


def test_nothing_is_due_before_the_first_delayed_moment():
    decision = decide(moment("09:59"), SNAPSHOTS, NOTHING, {}, None, SETTINGS)
    assert decision.take is None
    assert decision.says.startswith(f"{DAY}-09:45 is due at")


def test_the_newest_due_snapshot_is_taken():
    decision = decide(
        moment("10:46"), SNAPSHOTS, noted(_0945="taken", _1000="taken", _1015="taken"), {}, None, SETTINGS
    )
    assert decision.take == at("10:30")
    assert decision.skip == ()


def test_one_pass_is_in_flight_at_most():
    decision = decide(moment("10:16"), SNAPSHOTS, noted(_0945="running"), {}, at("09:45").key, SETTINGS)
    assert decision.take is None
    assert f"the pass of {DAY}-09:45 is in flight" in decision.says


def test_what_can_no_longer_be_taken_is_given_up_with_the_reason():
    decision = decide(moment("10:46"), SNAPSHOTS, noted(_0945="taken"), {}, None, SETTINGS)
    assert [snapshot.key[11:] for snapshot, _ in decision.skip] == ["10:00", "10:15"]
    assert all("no pass was begun" in reason for _, reason in decision.skip)


def test_a_gap_after_failures_says_what_failed():
    failed = log.noted(noted(), at("10:30"), now=moment("10:46"), status="failed", reason="HTTP 503")
    decision = decide(moment("11:00"), SNAPSHOTS, failed, {at("10:30").key: 2}, None, SETTINGS)
    reasons = {snapshot.key[11:]: reason for snapshot, reason in decision.skip}
    assert reasons["10:30"] == "given up after 2 passes: HTTP 503"


def test_a_killed_pass_is_begun_again_while_it_is_worth_it():
    killed = noted(_0945="taken", _1000="taken", _1015="taken", _1030="running")
    assert decide(moment("10:50"), SNAPSHOTS, killed, {at("10:30").key: 1}, None, SETTINGS).take == at("10:30")
    given_up = decide(moment("11:00"), SNAPSHOTS, killed, {at("10:30").key: 1}, None, SETTINGS)
    assert "interrupted" in given_up.skip[0][1]


def test_attempts_are_counted():
    tried = {at("10:30").key: SETTINGS.attempts}
    decision = decide(moment("10:50"), SNAPSHOTS, noted(_1030="failed"), tried, None, SETTINGS)
    assert decision.take is None
    assert "was tried 3 times" in decision.says


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(0, 600), min_size=1, max_size=80).map(sorted), st.data())
def test_whatever_happens_every_snapshot_ends_taken_or_explained(minutes: list[int], data: st.DataObject):
    written, runs = NOTHING, {}
    for minute in [*minutes, 700]:
        now = moment("09:30") + timedelta(minutes=minute)
        decision = decide(now, SNAPSHOTS, written, runs, None, SETTINGS)
        for snapshot, reason in decision.skip:
            assert reason
            written = log.noted(written, snapshot, now=now, status="skipped", reason=reason)
        if decision.take is not None:
            assert decision.take.due_at <= now < decision.take.useful_until
            runs[decision.take.key] = runs.get(decision.take.key, 0) + 1
            status = data.draw(st.sampled_from(["taken", "late", "failed", "running"]))
            written = log.noted(written, decision.take, now=now, status=status, reason=None)
        assert unexplained(now, SNAPSHOTS, written) == []
    assert written["partition"].to_list() == [each.key for each in SNAPSHOTS]


UNIVERSE_ROWS = frame(
    UNIVERSE,
    [
        {"underlying": "SPY", "rank": 1, "tier": 1, "interval_minutes": 5},
        {"underlying": "AAPL", "rank": 2, "tier": 2, "interval_minutes": 15},
        {"underlying": "ZZZ", "rank": 3, "tier": 0, "interval_minutes": None},
    ],
)


@pytest.mark.parametrize(
    ("clock", "names"),
    [("10:05", ["SPY"]), ("10:15", ["SPY", "AAPL"]), ("16:00", ["SPY", "AAPL", "ZZZ"])],
)
def test_each_tier_is_asked_at_its_own_times_and_the_close_asks_all(clock: str, names: list[str]):
    settings = IntradaySettings(every_minutes=5, tier2_minutes=15)
    assert names_due(UNIVERSE_ROWS, snapshot_of(f"{DAY}-{clock}", settings, DELAY)) == names


@pytest.mark.parametrize(
    ("started", "answered", "status"),
    [("10:46", 100, "taken"), ("10:51", 100, "late"), ("10:46", 94, "partial"), ("10:51", 94, "partial")],
)
def test_a_pass_is_judged_by_its_start_and_its_answers(started: str, answered: int, status: str):
    judged, reason = log.outcome(at("10:30"), moment(started), 100, answered, 0.95)
    assert judged == status
    assert (reason is None) == (status == "taken")


def test_what_is_noted_later_keeps_what_was_noted_before():
    first = log.noted(NOTHING, at("10:30"), now=moment("10:45"), status="running", attempts=1, asked=7)
    second = log.noted(first, at("10:30"), now=moment("10:46"), status="taken", answered=7)
    row = second.row(0, named=True)
    assert (row["status"], row["attempts"], row["asked"], row["answered"]) == ("taken", 1, 7, 7)
    assert second.height == 1


def listed(underlying: str, *contracts: int) -> pl.DataFrame:
    """So many contracts in each of the months from January on."""
    dates = [date(2026, month, 16) for month, number in enumerate(contracts, start=1) for _ in range(number)]
    return pl.DataFrame({"underlying": [underlying] * len(dates), "expiration": dates})


def test_large_chains_are_parted_between_expirations_into_parts_of_the_size_allowed():
    chains = pl.concat([listed("SPX", 60, 40, 30, 80, 10), listed("F", 50, 50)])
    assert expiration_cuts(chains.lazy(), 100) == {"SPX": [date(2026, 3, 16), date(2026, 4, 16)]}


def test_an_expiration_is_never_parted_and_no_part_is_empty():
    assert expiration_cuts(listed("SPX", 500, 500).lazy(), 100) == {"SPX": [date(2026, 2, 16)]}
    assert expiration_cuts(listed("SPX", 500).lazy(), 100) == {}
    assert expiration_cuts(listed("SPX").lazy(), 100) == {}
