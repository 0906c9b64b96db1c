"""The ledger and the mail that leaves: nothing lost, nothing told twice, whatever fails and whenever it dies."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from flowlake import calendar
from flowlake.alerts import actions, dispatch, ledger, notices
from flowlake.alerts.channels import ChannelDown, Rejected, Unaccepted, open_channels
from flowlake.alerts.message import Message
from flowlake.lake import Lake
from flowlake.settings import Settings
from flowlake_tests.alerts.mail_server import MailServer
from flowlake_tests.alerts.scenes import (
    NOW,
    SESSION,
    ManualClock,
    Recorder,
    at,
    event,
    fill,
    full_scene,
    open_lake,
    put_events,
    put_snapshot,
    settings,
)

pytestmark = pytest.mark.usefixtures("without_pictures")


def send(lake: Lake, clock: ManualClock, *channels: Any, seen: Any = None, **chosen: Any) -> dispatch.Report:
    chosen = {"reserve": 0} | chosen
    named = {channel.name: channel for channel in channels}
    return dispatch.dispatch(lake, settings(lake.paths.root, **chosen), named, clock, seen=seen)


def statuses(lake: Lake) -> dict[tuple[str, int, str], str]:
    names = {row["alert_id"]: row["underlying"] for row in ledger.alerts(lake).iter_rows(named=True)}
    return {
        (names.get(row["alert_id"], row["kind"]), row["revision"], row["channel"]): row["status"]
        for row in ledger.deliveries(lake).iter_rows(named=True)
    }


# --- once, and only once ----------------------------------------------------------------------------------------------


def test_an_event_becomes_one_alert_and_one_message(lake: Lake, clock: ManualClock, mail: Recorder):
    full_scene(lake)
    report = send(lake, clock, mail)
    assert (report.raised, report.sent) == (1, 1)
    row = ledger.deliveries(lake).row(0, named=True)
    assert (row["status"], row["attempts"], row["latency_seconds"]) == ("sent", 1, 600.0)
    assert mail.sent[0].message_id == row["message_id"]
    assert lake.published().has("alerts", SESSION.isoformat()), "analysts see the ledger"
    assert lake.published().has("alert_deliveries", SESSION.isoformat())


def test_looking_again_sends_nothing_with_or_without_a_memory(lake: Lake, clock: ManualClock, mail: Recorder):
    full_scene(lake)
    report = send(lake, clock, mail)
    before = lake.digests()
    for seen in (report.seen, None, {}):
        clock.forward(minutes=1)
        assert send(lake, clock, mail, seen=seen).raised == 0
    assert len(mail.sent) == 1
    assert lake.digests() == before


def test_what_has_been_read_is_not_read_again_until_it_changes(lake: Lake, clock: ManualClock, mail: Recorder):
    put_events(lake, event())
    seen = send(lake, clock, mail).seen
    assert list(seen) == [f"scored_events/{SESSION}"]
    put_events(lake, event(), event("XYZ", rank=2))
    assert send(lake, clock, mail, seen=seen).raised == 1
    assert {m.title.split(": ")[0].split(" ")[-1] for m in mail.sent} == {"ABC", "XYZ"}


def test_what_is_not_known_yet_waits_and_is_not_forgotten(lake: Lake, clock: ManualClock, mail: Recorder):
    put_events(lake, event(available_at=NOW + timedelta(minutes=5)))
    report = send(lake, clock, mail)
    assert (report.raised, report.seen) == (0, {})
    clock.forward(minutes=6)
    assert send(lake, clock, mail, seen=report.seen).sent == 1


def test_several_channels_each_get_it_once(lake: Lake, clock: ManualClock):
    full_scene(lake)
    channels = Recorder("email"), Recorder("telegram")
    send(lake, clock, *channels)
    send(lake, clock, *channels)
    assert [len(channel.sent) for channel in channels] == [1, 1]


def test_a_snapshot_and_the_end_of_day_are_one_alert_with_updates_in_its_thread(lake: Lake, mail: Recorder):
    clock = ManualClock(at(10, 20))
    put_snapshot(lake, at(10, 0), event(score=7.2))
    send(lake, clock, mail)
    clock.now = at(11, 20)
    put_snapshot(lake, at(11, 0), event(score=7.3))
    send(lake, clock, mail)
    clock.now = NOW
    put_events(lake, event(score=9.1))
    send(lake, clock, mail)
    first, second = mail.sent
    assert second.reply
    assert second.thread_id == first.message_id
    assert first.message_id != second.message_id
    alert = ledger.alerts(lake).row(0, named=True)
    assert (alert["revision"], alert["source"], alert["snapshot"], alert["status"]) == (
        2,
        "scored_events",
        None,
        "updated",
    )
    assert alert["first_seen"] == at(10, 16)


def test_latency_is_counted_from_when_the_snapshot_was_known(lake: Lake, mail: Recorder):
    put_snapshot(lake, at(10, 0), event())
    send(lake, ManualClock(at(10, 17)), mail)
    assert ledger.deliveries(lake)["latency_seconds"].to_list() == [60.0]


def test_what_is_told_the_next_morning_comes_in_the_same_thread(lake: Lake, clock: ManualClock, mail: Recorder):
    full_scene(lake)
    send(lake, clock, mail)
    clock.now = at(9, 50, date(2026, 6, 2))
    said = {
        "session": date(2026, 6, 2),
        "event_id": event()["event_id"],
        "underlying": "ABC",
        "status": "confirmed",
        "explanation": "Open interest rose by 3,900.",
        "available_at": clock.now,
        "origin": "simulated",
    }
    fill(lake, {("event_status", "2026-06-02"): [said]})
    send(lake, clock, mail)
    assert "held overnight" in mail.sent[1].subject
    assert "Open interest rose by 3,900." in mail.sent[1].text
    assert mail.sent[1].thread_id == mail.sent[0].message_id


# --- failing channels -------------------------------------------------------------------------------------------------


def test_a_channel_that_is_down_is_tried_once_a_look_and_caught_up_later(
    lake: Lake, clock: ManualClock, mail: Recorder
):
    put_events(lake, *(event(f"T{n}", rank=n + 1, score=8.0 + n / 10) for n in range(3)))
    mail.fails = ChannelDown("email: unreachable")
    report = send(lake, clock, mail)
    assert (report.failed, report.sent) == (1, 0)
    assert ledger.deliveries(lake)["attempts"].sum() == 1, "one attempt shows that the server is down"
    clock.forward(seconds=5)
    assert send(lake, clock, mail).failed == 0, "not before its time"
    mail.fails = None
    clock.forward(seconds=31)
    assert dispatch.redeliver(lake, settings(lake.paths.root), {"email": mail}, clock).sent == 3
    assert set(statuses(lake).values()) == {"sent"}


def test_a_dead_channel_does_not_hold_up_the_others(lake: Lake, clock: ManualClock):
    put_events(lake, event())
    broken, working = Recorder("email"), Recorder("telegram")
    broken.fails = ChannelDown("email: unreachable")
    send(lake, clock, broken, working)
    assert statuses(lake) == {("ABC", 1, "email"): "failed", ("ABC", 1, "telegram"): "sent"}


def test_a_message_refused_for_good_is_a_dead_letter_and_can_be_tried_again(
    lake: Lake, clock: ManualClock, mail: Recorder
):
    put_events(lake, event())
    mail.fails = Rejected("email: answered 554 no")
    assert send(lake, clock, mail).dead == 1
    clock.forward(hours=3)
    assert send(lake, clock, mail).sent == 0
    mail.fails = None
    assert dispatch.retry(lake, clock()) == 1
    assert send(lake, clock, mail).sent == 1
    with pytest.raises(ledger.UnknownAlert):
        dispatch.retry(lake, clock(), "nobody")


def test_a_message_nobody_takes_is_given_up_when_it_is_too_old(lake: Lake, clock: ManualClock, mail: Recorder):
    put_events(lake, event())
    mail.fails = Unaccepted("email: answered 451 later")
    for _ in range(20):
        if statuses(lake) == {("ABC", 1, "email"): "dead"}:
            break
        send(lake, clock, mail, give_up_hours=2)
        clock.forward(minutes=15)
    assert timedelta(hours=2) <= clock() - NOW <= timedelta(hours=2, minutes=30)
    assert "451" in ledger.deliveries(lake)["last_error"][0]


def test_a_message_that_cannot_be_made_is_recorded_and_the_others_leave(
    lake: Lake, clock: ManualClock, mail: Recorder, monkeypatch: pytest.MonkeyPatch
):
    from flowlake.alerts import compose

    def make(snapshot: Any, delivery: Any, *rest: Any) -> Message:
        if ledger.find(snapshot, delivery["alert_id"])["underlying"] == "BAD":
            raise ZeroDivisionError("a bug")
        return compose_delivery(snapshot, delivery, *rest)

    compose_delivery = compose.compose_delivery
    monkeypatch.setattr(compose, "compose_delivery", make)
    put_events(lake, event("BAD", score=9.0), event("GOOD", rank=2))
    send(lake, clock, mail)
    assert statuses(lake) == {("BAD", 1, "email"): "failed", ("GOOD", 1, "email"): "sent"}
    assert "ZeroDivisionError" in str(ledger.deliveries(lake)["last_error"].to_list())


def test_an_update_overtakes_an_alert_that_could_not_be_sent(lake: Lake, mail: Recorder):
    clock = ManualClock(at(10, 20))
    put_snapshot(lake, at(10, 0), event(score=7.2))
    mail.fails = ChannelDown("email: unreachable")
    send(lake, clock, mail)
    clock.now = at(11, 50)
    put_snapshot(lake, at(11, 30), event(score=9.0))
    mail.fails = None
    send(lake, clock, mail)
    assert statuses(lake) == {("ABC", 1, "email"): "superseded", ("ABC", 2, "email"): "sent"}
    assert "9.0" in mail.sent[0].subject
    assert len(mail.sent) == 1


def test_mail_that_was_down_for_three_snapshots_loses_nothing_and_repeats_nothing(lake: Lake, mail_server: MailServer):
    chosen = {"email": _smtp(mail_server.port), "channels": "email", "reserve": 0}
    clock = ManualClock(at(10, 0))
    mail_server.stop()
    for number in range(6):
        clock.now = at(10, 17) + timedelta(minutes=15 * number)
        if number == 3:
            mail_server.start()
        seen_so_far = [event(f"T{n}", rank=n + 1, score=7.5 + n / 10) for n in range(number + 1)]
        put_snapshot(lake, at(10, 0) + timedelta(minutes=15 * number), *seen_so_far)
        configured = settings(lake.paths.root, **chosen)
        dispatch.dispatch(lake, configured, open_channels(configured.alerts), clock)
    clock.forward(minutes=15)
    configured = settings(lake.paths.root, **chosen)
    dispatch.redeliver(lake, configured, open_channels(configured.alerts), clock)
    sent = {row["message_id"] for row in ledger.deliveries(lake).iter_rows(named=True) if row["status"] == "sent"}
    assert set(statuses(lake).values()) == {"sent"}
    assert sorted(mail_server.ids()) == sorted(sent)
    assert len(sent) == 6


# --- people -----------------------------------------------------------------------------------------------------------


def test_an_acknowledged_alert_is_not_told_again(lake: Lake, mail: Recorder):
    clock = ManualClock(at(10, 20))
    put_snapshot(lake, at(10, 0), event(score=7.2))
    send(lake, clock, mail)
    alert = ledger.alerts(lake)["alert_id"][0]
    actions.acknowledge(lake, alert[:6], by="me", note="seen", now=clock())
    assert ledger.alerts(lake)["status"].to_list() == ["acknowledged"]
    clock.now = at(12, 20)
    put_snapshot(lake, at(12, 0), event(score=9.5))
    send(lake, clock, mail)
    assert len(mail.sent) == 1
    assert ledger.alerts(lake)["status"].to_list() == ["acknowledged"]
    done = ledger.actions(lake).row(0, named=True)
    assert (done["by"], done["note"], done["alert_id"], done["via"]) == ("me", "seen", alert, "cli")


def test_a_snoozed_underlying_is_silent_until_the_snooze_ends(lake: Lake, clock: ManualClock, mail: Recorder):
    actions.snooze(lake, underlying="ABC", until=NOW + timedelta(hours=1), by="me", now=NOW - timedelta(hours=1))
    put_events(lake, event())
    seen = send(lake, clock, mail).seen
    assert ledger.alerts(lake)["status"].to_list() == ["snoozed"]
    clock.forward(hours=2)
    assert send(lake, clock, mail, seen=seen).sent == 1


def test_a_snooze_can_be_ended(lake: Lake, clock: ManualClock, mail: Recorder):
    actions.snooze(lake, underlying="ABC", until=NOW + timedelta(days=3), by="me", now=NOW)
    actions.unsnooze(lake, underlying="ABC", by="me", now=NOW + timedelta(seconds=1))
    put_events(lake, event())
    clock.forward(minutes=1)
    assert send(lake, clock, mail).sent == 1


def test_actions_that_make_no_sense_are_refused(lake: Lake):
    with pytest.raises(ledger.UnknownAlert, match="alerts list"):
        actions.acknowledge(lake, "abc", by="me", now=NOW)
    with pytest.raises(ValueError, match="after now"):
        actions.snooze(lake, underlying="ABC", until=NOW, by="me", now=NOW)
    with pytest.raises(ValueError, match="either"):
        actions.snooze(lake, until=NOW + timedelta(hours=1), by="me", now=NOW)
    with pytest.raises(ValueError, match="who"):
        actions.unsnooze(lake, underlying="ABC", by=" ", now=NOW)
    assert ledger.actions(lake).is_empty()


def test_quiet_hours_send_in_the_morning(lake: Lake, mail: Recorder):
    clock = ManualClock(at(23, 0))
    put_events(lake, event(score=7.5))
    send(lake, clock, mail, quiet_hours="22:00-07:00")
    assert mail.sent == []
    clock.now = at(7, 1, date(2026, 6, 2))
    assert dispatch.redeliver(lake, settings(lake.paths.root), {"email": mail}, clock).sent == 1


def test_the_digest_is_sent_once_and_lists_what_was_held(lake: Lake, clock: ManualClock, mail: Recorder):
    put_events(lake, event("ABC", score=9.0), event("XYZ", rank=2, score=7.6))
    for _ in range(3):
        send(lake, clock, mail, daily_cap=1, digest_at="16:15")
        clock.forward(minutes=1)
    alert, digest = mail.sent
    assert "ABC" in alert.subject
    assert "2 alerts" in digest.subject
    assert "XYZ" in digest.text
    assert "used up" in digest.text


def test_the_master_switch_is_off(lake: Lake, clock: ManualClock, mail: Recorder):
    put_events(lake, event())
    assert "switched off" in str(send(lake, clock, mail, enabled=False))
    assert ledger.alerts(lake).is_empty()


def test_without_a_channel_alerts_are_recorded_and_say_so(lake: Lake, clock: ManualClock):
    put_events(lake, event())
    send(lake, clock)
    assert "no channel is configured" in ledger.alerts(lake)["reason"][0]
    assert ledger.deliveries(lake).is_empty()


# --- dying and competing ----------------------------------------------------------------------------------------------


def _smtp(port: int) -> dict[str, Any]:
    return {"host": "127.0.0.1", "port": port, "security": "none", "recipients": "a@example.com", "timeout_seconds": 5}


class _Killed:
    """A channel whose process is killed in the middle: right before, or right after the server took the mail."""

    def __init__(self, inner: Any, when: str) -> None:
        self.name, self._inner, self._when = inner.name, inner, when

    def send(self, message: Message) -> str | None:
        if self._when == "after":
            self._inner.send(message)
        os.kill(os.getpid(), signal.SIGKILL)
        return None

    def check(self) -> str:
        return self._inner.check()


def _dispatch(folder: str, port: int, killed: str | None, now: datetime) -> None:
    lake = open_lake(Path(folder))
    configured: Settings = settings(folder, email=_smtp(port), channels="email", reserve=0)
    channels = open_channels(configured.alerts)
    if killed:
        channels = {"email": _Killed(channels["email"], killed)}
    dispatch.dispatch(lake, configured, channels, lambda: now, budget_seconds=60)


def run(*arguments: Any) -> Any:
    process = multiprocessing.get_context("spawn").Process(target=_dispatch, args=arguments)
    process.start()
    return process


@pytest.mark.parametrize(("when", "received"), [pytest.param("before", 1, marks=pytest.mark.slow), ("after", 2)])
def test_a_dispatcher_killed_while_sending_loses_nothing_and_leaves_one_row(
    when: str, received: int, lake: Lake, mail_server: MailServer
):
    put_events(lake, event())
    killed = run(str(lake.paths.root), mail_server.port, when, NOW)
    killed.join(60)
    assert killed.exitcode == -signal.SIGKILL
    left = ledger.deliveries(lake).row(0, named=True)
    assert (left["status"], left["attempts"]) == ("pending", 1), "the intent was written before"
    _dispatch(str(lake.paths.root), mail_server.port, None, NOW)
    rows = ledger.deliveries(lake)
    assert (rows.height, rows["status"][0], rows["attempts"][0]) == (1, "sent", 2)
    assert len(mail_server.mails) == received
    assert len(set(mail_server.ids())) == 1, "a mail client drops a repeat with the same Message-ID"


def test_two_dispatchers_at_once_write_one_row_and_send_one_mail_each(lake: Lake, mail_server: MailServer):
    put_events(lake, *(event(f"T{n}", rank=n + 1, score=8.0 + n / 10) for n in range(3)))
    # The lock is one of open files, so threads keep each other out as processes do.
    with ThreadPoolExecutor(2) as pool:
        both = [pool.submit(_dispatch, str(lake.paths.root), mail_server.port, None, NOW) for _ in range(2)]
    assert [each.result() for each in both] == [None, None]
    assert ledger.deliveries(lake).height == 3
    assert set(statuses(lake).values()) == {"sent"}
    assert len(mail_server.ids()) == len(set(mail_server.ids())) == 3


def test_a_dispatcher_that_finds_another_at_work_says_so(lake: Lake, clock: ManualClock, mail: Recorder):
    from flowlake.lake.locking import exclusive_lock

    put_events(lake, event())
    with exclusive_lock(lake.paths.root / ".alerts.lock", 1):
        report = dispatch.dispatch(lake, settings(lake.paths.root), {"email": mail}, clock, budget_seconds=0.05)
    assert "another dispatcher" in str(report)
    assert mail.sent == []


def test_a_look_stops_when_its_time_is_used_up_and_the_next_goes_on(lake: Lake, clock: ManualClock):
    class Slow(Recorder):
        def send(self, message: Message) -> str | None:
            time.sleep(0.05)
            return super().send(message)

    slow = Slow()
    put_events(lake, *(event(f"T{n}", rank=n + 1) for n in range(3)))
    report = dispatch.dispatch(lake, settings(lake.paths.root, reserve=0), {"email": slow}, clock, budget_seconds=0.04)
    assert report.sent <= 1
    for _ in range(3):
        dispatch.redeliver(lake, settings(lake.paths.root), {"email": slow}, clock)
    assert sorted(m.message_id for m in slow.sent) == sorted(ledger.deliveries(lake)["message_id"])


# --- operations -------------------------------------------------------------------------------------------------------


def fault(minute: int = 0, **more: Any) -> notices.Fault:
    facts: dict[str, Any] = {
        "topic": "market data",
        "key": "check:option_chains:coverage",
        "where": "option_chains 2026-06-01",
    }
    return notices.Fault(
        **(facts | {"at": NOW + timedelta(minutes=minute), "severity": "ERROR", "what": "fails coverage"} | more)
    )


def tell(lake: Lake, clock: ManualClock, mail: Recorder, faults: Any = (), recoveries: Any = ()) -> dispatch.Report:
    return dispatch.notify(lake, settings(lake.paths.root), {"email": mail}, clock, faults, recoveries)


def test_a_fault_is_one_message_and_its_recovery_another_in_the_thread(lake: Lake, clock: ManualClock, mail: Recorder):
    for _ in range(3):
        tell(lake, clock, mail, [fault(), fault(where="option_chains 2026-06-02")])
        clock.forward(minutes=1)
    tell(lake, clock, mail, [], [notices.Recovery("market data", fault().key, clock())])
    broke, mended = mail.sent
    assert "ERROR" in broke.subject
    assert "option_chains 2026-06-02" in broke.text
    assert "works again" in mended.subject
    assert mended.thread_id == broke.message_id
    assert ledger.notifications(lake)["status"].to_list() == ["recovered"]
    assert ledger.deliveries(lake).filter(pl.col("kind") == "notification").height == 2


def test_a_notification_waits_for_its_channel_like_an_alert(lake: Lake, clock: ManualClock, mail: Recorder):
    mail.fails = ChannelDown("email: unreachable")
    tell(lake, clock, mail, [fault()])
    mail.fails = None
    clock.forward(minutes=1)
    assert dispatch.redeliver(lake, settings(lake.paths.root), {"email": mail}, clock).sent == 1
    assert calendar.is_session(ledger.deliveries(lake)["session"][0])


def test_a_lake_that_is_busy_is_waited_for_only_so_long_and_nothing_is_lost(
    lake: Lake, clock: ManualClock, mail: Recorder
):
    from flowlake.lake.locking import exclusive_lock

    put_events(lake, event())
    with exclusive_lock(lake.paths.lock, 1):
        report = dispatch.dispatch(lake, settings(lake.paths.root), {"email": mail}, clock, budget_seconds=0.2)
    assert "the lake is busy" in str(report)
    assert (report.seen, mail.sent) == ({}, [])
    assert send(lake, clock, mail, seen=report.seen).sent == 1
