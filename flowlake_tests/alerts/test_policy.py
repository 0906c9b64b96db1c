"""Which events become messages: the cap keeps the best, silence is kept, and nothing is told twice."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from flowlake import calendar
from flowlake.alerts import policy
from flowlake.schemas import table
from flowlake.settings import AlertSettings
from flowlake_tests.alerts.scenes import NOW, SESSION, at, event
from flowlake_tests.factories import frame

NOBODY = policy.Standing()


def rules(**more: Any) -> AlertSettings:
    return AlertSettings(**({"reserve": 0, "channels": "console"} | more))


def found(*events: dict[str, Any], min_score: float = 7.0) -> pl.DataFrame:
    rows = frame(table("scored_events"), list(events))
    return policy.candidates(rows, "scored_events", min_score, [])


def alerts(*events: dict[str, Any], now: datetime = NOW) -> dict[str, policy.Row]:
    return policy.update({}, found(*events), now)


def look(
    held: dict[str, policy.Row], chosen: AlertSettings, now: datetime = NOW, people: policy.Standing = NOBODY
) -> tuple[dict[str, policy.Row], list[str]]:
    """Ask the rules once; returns the ledger afterwards and the underlyings raised, in order."""
    decisions = policy.decide(held.values(), people, chosen, now, list(held.values()))
    return held | {row["alert_id"]: row for row in decisions.alerts}, [row["underlying"] for row in decisions.raised]


def only(held: dict[str, policy.Row]) -> policy.Row:
    assert len(held) == 1
    return next(iter(held.values()))


def with_evidence(held: dict[str, policy.Row], now: datetime, **changed: Any) -> dict[str, policy.Row]:
    """The same event, seen again with other facts at `now`."""
    facts: dict[str, Any] = {"available_at": now} | changed
    rows = frame(table("scored_events"), [event(**facts)])
    known = [row["event_id"] for row in held.values()]
    return policy.update(held, policy.candidates(rows, "scored_events", 7.0, known), now)


# --- which events -----------------------------------------------------------------------------------------------------


def test_an_event_below_the_alert_score_is_no_alert():
    assert found(event(score=6.9)).is_empty()


def test_an_event_at_the_alert_score_is_sent_with_the_reason():
    held, raised = look(alerts(event(score=7.0)), rules())
    assert raised == ["ABC"]
    assert only(held)["decision"] == "send"
    assert "number 1 of at most 20" in only(held)["reason"]


def test_conviction_below_the_wanted_is_recorded_and_held():
    held, raised = look(alerts(event(score=7.2)), rules(min_conviction="EXTREME"))
    assert raised == []
    assert only(held)["decision"] == "hold"
    assert "HIGH is below EXTREME" in only(held)["reason"]


def test_a_backfill_of_last_month_tells_nobody():
    old = date(2026, 5, 4)
    held, raised = look(alerts(event(session=old)), rules())
    assert raised == []
    assert "no longer news" in only(held)["reason"]


def test_the_session_before_is_news_until_the_next_one_closes():
    friday = date(2026, 5, 29)
    morning = look(alerts(event(session=friday)), rules(), now=at(8, 5, date(2026, 6, 1)))
    evening = look(alerts(event(session=friday)), rules(), now=at(16, 5, date(2026, 6, 1)))
    assert (morning[1], evening[1]) == (["ABC"], [])


def test_watch_and_ignore_lists_hold():
    two = alerts(event("ABC"), event("XYZ", score=9.0))
    assert look(two, rules(watch="ABC, DEF"))[1] == ["ABC"]
    assert look(two, rules(ignore="ABC"))[1] == ["XYZ"]


def test_the_newest_of_several_snapshots_counts_and_the_oldest_says_since_when():
    first, second = NOW - timedelta(minutes=30), NOW - timedelta(minutes=15)
    rows = found(event(score=7.1, available_at=first), event(score=7.9, available_at=second))
    assert rows.height == 1
    assert (rows["score"][0], rows["first_seen"][0]) == (7.9, first)


# --- the cap ----------------------------------------------------------------------------------------------------------


def test_the_best_come_first_and_the_rest_are_held_with_the_reason():
    held, raised = look(alerts(*(event(f"T{n}", score=7.0 + n / 10) for n in range(6))), rules(daily_cap=2))
    assert raised == ["T5", "T4"]
    assert sum("used up" in row["reason"] for row in held.values()) == 4


def test_places_kept_for_extreme_are_given_to_extreme_only():
    loud = [event(f"H{n}", score=7.5) for n in range(4)]
    held, raised = look(alerts(*loud), rules(daily_cap=3, reserve=1))
    assert len(raised) == 2
    held = policy.update(held, found(event("X", score=8.0), event("Y", score=8.1)), NOW)
    assert look(held, rules(daily_cap=3, reserve=1))[1] == ["Y"]


SCORES = st.lists(st.floats(7.0, 10.0).map(lambda score: round(score, 2)), min_size=1, max_size=40)


@hypothesis_settings(max_examples=30, deadline=None)
@given(looks=st.lists(SCORES, min_size=1, max_size=4), cap=st.integers(0, 25), reserve=st.integers(0, 8))
def test_the_cap_is_never_exceeded_and_within_a_look_the_best_are_kept(
    looks: list[list[float]], cap: int, reserve: int
):
    chosen, held, number = rules(daily_cap=cap, reserve=reserve), {}, 0
    for scores in looks:
        new = [event(f"T{number + n}", score=score) for n, score in enumerate(scores)]
        number += len(scores)
        held, raised = look(policy.update(held, found(*new), NOW), chosen)
        sent = [row for row in held.values() if row["underlying"] in raised]
        left = [row for row in held.values() if row["revision"] == 0]
        assert sum(row["revision"] > 0 for row in held.values()) <= cap
        for lost in left:
            assert all(row["score"] >= lost["score"] for row in sent)
    again, raised = look(held, chosen)
    assert raised == []
    assert again == held


@hypothesis_settings(max_examples=25, deadline=None)
@given(
    scores=st.lists(st.floats(7.0, 10.0), min_size=1, max_size=10),
    silent=st.sets(st.integers(0, 9), max_size=10),
    acknowledged=st.sets(st.integers(0, 9), max_size=10),
)
def test_what_is_snoozed_or_acknowledged_is_never_sent(scores: list[float], silent: set[int], acknowledged: set[int]):
    held = alerts(*(event(f"T{n}", score=score) for n, score in enumerate(scores)))
    by_name = {row["underlying"]: row["alert_id"] for row in held.values()}
    people = policy.Standing(
        frozenset(by_name[f"T{n}"] for n in acknowledged if f"T{n}" in by_name),
        {f"T{n}": NOW + timedelta(hours=1) for n in silent},
    )
    after, raised = look(held, rules(), people=people)
    assert not {f"T{n}" for n in silent | acknowledged} & set(raised)
    assert set(raised) == {f"T{n}" for n in range(len(scores))} - {f"T{n}" for n in silent | acknowledged}
    woken, later = look(
        after, rules(), now=NOW + timedelta(hours=1, minutes=1), people=policy.Standing(people.acknowledged)
    )
    assert set(later) == {f"T{n}" for n in silent - acknowledged if n < len(scores)}
    assert all(row["revision"] <= 1 for row in woken.values())


# --- updates ----------------------------------------------------------------------------------------------------------


def test_an_event_that_grew_is_told_again_in_its_thread_after_the_cool_down():
    held, _ = look(alerts(event(score=7.2)), rules())
    soon, late = NOW + timedelta(minutes=15), NOW + timedelta(minutes=61)
    held, raised = look(with_evidence(held, soon, score=8.4), rules(), now=soon)
    assert raised == []
    assert "cools down until" in only(held)["reason"]
    held, raised = look(held, rules(), now=late)
    assert raised == ["ABC"]
    assert only(held)["revision"] == 2
    assert only(held)["status"] == "updated"
    assert "HIGH to EXTREME" in only(held)["reason"]


def test_an_event_that_did_not_change_is_never_told_again():
    held, _ = look(alerts(event(score=8.0)), rules())
    for minutes in (15, 120, 240):
        now = NOW + timedelta(minutes=minutes)
        held, raised = look(with_evidence(held, now, score=8.1), rules(), now=now)
        assert raised == []


def test_updates_of_one_alert_are_limited():
    held, raised = look(alerts(event(score=7.0)), rules(max_updates=1))
    for hour, score in ((2, 8.0), (4, 9.0)):
        now = NOW + timedelta(hours=hour)
        held, raised = look(with_evidence(held, now, score=score), rules(max_updates=1), now=now)
    assert raised == []
    assert only(held)["revision"] == 2
    assert "used up" in only(held)["reason"]


def verdict(status: str, now: datetime) -> pl.DataFrame:
    row = event()
    return pl.DataFrame([{"event_id": row["event_id"], "status": status, "available_at": now, "origin": "simulated"}])


@pytest.mark.parametrize("hour", [10, 20])
def test_what_open_interest_says_next_morning_is_told_whatever_the_cool_down(hour: int):
    held, _ = look(alerts(event(score=8.0)), rules(max_updates=0, cool_down_minutes=10_000))
    now = at(hour, 0, date(2026, 6, 2))
    held, raised = look(policy.settle_status(held, verdict("confirmed", now)), rules(max_updates=0), now=now)
    assert raised == ["ABC"]
    assert "confirmed" in only(held)["reason"]
    assert look(held, rules(), now=now)[1] == []


def test_an_event_withdrawn_before_it_was_sent_is_not_sent():
    held = policy.settle_status(alerts(event(score=8.0)), verdict("withdrawn", NOW))
    held, raised = look(held, rules())
    assert raised == []
    assert "withdrawn" in only(held)["reason"]


def test_an_unclear_verdict_is_not_worth_a_message():
    held, _ = look(alerts(event(score=8.0)), rules())
    assert look(policy.settle_status(held, verdict("unclear", NOW)), rules())[1] == []


def test_older_evidence_never_overwrites_newer():
    held = alerts(event(score=8.0))
    assert only(with_evidence(held, NOW - timedelta(hours=3), score=7.1))["score"] == 8.0


def test_simulated_and_real_events_are_different_alerts():
    real, simulated = alerts(event(origin="vendor")), alerts(event())
    assert set(real) != set(simulated)


# --- people and time --------------------------------------------------------------------------------------------------


def action(kind: str, minutes: int, **more: Any) -> dict[str, Any]:
    done = NOW + timedelta(minutes=minutes)
    return {"action_id": f"{kind}{minutes}", "action": kind, "available_at": done, "by": "me", **more}


def test_the_newest_word_about_a_subject_counts():
    until = NOW + timedelta(hours=5)
    done = frame(
        table("alert_actions"),
        [
            action("snooze", 0, underlying="ABC", until=until),
            action("unsnooze", 2, underlying="ABC"),
            action("snooze", 1, underlying="XYZ", until=until),
            action("acknowledge", 1, alert_id="a1"),
        ],
    )
    people = policy.standing(done, NOW + timedelta(minutes=3))
    assert dict(people.snoozed) == {"XYZ": until}
    assert people.acknowledged == {"a1"}
    assert not policy.standing(done, until).snoozed


def test_where_an_alert_stands():
    held, _ = look(alerts(event(score=8.0)), rules())
    row = only(held)
    assert policy.status_of(row, NOBODY, rules(), NOW) == "new"
    asleep = policy.Standing(snoozed={"ABC": NOW + timedelta(hours=1)})
    assert policy.status_of(row, asleep, rules(), NOW) == "snoozed"
    assert policy.status_of(row, policy.Standing(frozenset({row["alert_id"]})), rules(), NOW) == "acknowledged"
    later = calendar.session_close(calendar.next_session(SESSION, 5))
    assert policy.status_of(row, NOBODY, rules(expire_sessions=5), later) == "expired"


def test_quiet_hours_put_off_until_they_end_and_extreme_passes():
    night = at(23, 30)
    held, raised = look(alerts(event(score=7.5)), rules(quiet_hours="22:00-07:00"), now=night)
    assert raised == ["ABC"]
    assert only(held)["decision"] == "defer"
    assert policy.quiet_until(only(held), rules(quiet_hours="22:00-07:00"), night) == at(7, 0, date(2026, 6, 2))
    assert only(look(alerts(event(score=9.0)), rules(quiet_hours="22:00-07:00"), now=night)[0])["decision"] == "send"


@hypothesis_settings(max_examples=50, deadline=None)
@given(start=st.times(), end=st.times(), minute=st.integers(0, 3 * 24 * 60))
def test_quiet_hours_end_when_they_say_and_not_later_than_a_day(start: time, end: time, minute: int):
    start, end = start.replace(second=0, microsecond=0), end.replace(second=0, microsecond=0)
    now = at(0) + timedelta(minutes=minute)
    row = {"conviction": "HIGH"}
    until = policy.quiet_until(row, rules(quiet_hours=f"{start:%H:%M}-{end:%H:%M}"), now)
    if until is None:
        return
    assert now < until <= now + timedelta(days=1)
    assert until.astimezone(calendar.NEW_YORK).time() == end
    assert policy.quiet_until(row, rules(quiet_hours=f"{start:%H:%M}-{end:%H:%M}"), until) is None


@pytest.mark.parametrize("text", ["22:00", "22-07", "25:00-07:00", "a-b"])
def test_quiet_hours_that_are_none_are_named(text: str):
    with pytest.raises(ValueError, match="22:00-07:00"):
        policy.quiet_span(text)


def test_a_digest_is_due_once_its_time_has_come_on_a_session():
    chosen = rules(digest_at="16:45")
    assert policy.digest_due(chosen, at(16, 44)) is None
    assert policy.digest_due(chosen, at(16, 45)) == SESSION
    assert policy.digest_due(chosen, at(18, 0, date(2026, 6, 6))) is None
    assert policy.digest_due(rules(), at(20)) is None


def test_pauses_double_up_to_the_longest():
    chosen = rules(retry_seconds=30, retry_cap_seconds=200)
    assert [policy.backoff(n, chosen).total_seconds() for n in (1, 2, 3, 4, 50)] == [30, 60, 120, 200, 200]
