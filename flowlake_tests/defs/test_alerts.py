"""The sensors that tell people, evaluated as the daemon does, on runs of a small code location."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from flowlake.alerts import ledger
from flowlake.defs import alerts as sensors
from flowlake.defs.alerts import SENSORS, alert_sensor, delivery_sensor, notification_sensor
from flowlake.defs.resources import LakeResource
from flowlake.lake import Lake
from flowlake.settings import get_settings
from flowlake_tests.alerts.scenes import SESSION, Recorder, at, event, open_lake, put_events


class SmallLake(LakeResource):
    """The lake of the settings, with the tables alerts use."""

    def open(self) -> Lake:
        return open_lake(get_settings().data_dir)


class State:
    """What the small code location does next time."""

    passes = True
    fails = False


@dg.asset(group_name="market")
def toy() -> None:
    if State.fails:
        raise ValueError("the vendor answered nonsense")


@dg.asset_check(asset=toy, description="at least 95 % of underlyings answered")
def coverage() -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        passed=State.passes,
        severity=dg.AssetCheckSeverity.ERROR,
        description="12 of 20 answered",
        metadata={"violations": 8},
    )


TOYS = dg.Definitions(assets=[toy], asset_checks=[coverage], jobs=[dg.define_asset_job("toys", [toy])])


@pytest.fixture
def mail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Recorder]:
    """A lake of its own, one channel, and a market clock at 16:30 after the session of the scenes."""
    recorder = Recorder()
    monkeypatch.setenv("FLOWLAKE_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("FLOWLAKE_ALERTS__RETRY_SECONDS", "0.0000001")
    monkeypatch.setenv("FLOWLAKE_ALERTS__RESERVE", "0")
    monkeypatch.setenv("FLOWLAKE_CLOCK__START_REAL", "2020-01-01T00:00:00Z")
    monkeypatch.setenv("FLOWLAKE_CLOCK__START_MARKET", at(16, 30).isoformat())
    monkeypatch.setenv("FLOWLAKE_CLOCK__SPEED", "0.00001")
    monkeypatch.setattr("flowlake.alerts.pictures.draw", lambda content, evidence: {})
    monkeypatch.setattr(sensors, "channels", lambda settings, write: {"email": recorder})
    State.passes, State.fails = True, False
    get_settings.cache_clear()
    yield recorder
    get_settings.cache_clear()


def evaluate(sensor: Any, instance: dg.DagsterInstance, cursor: str | None = None) -> Any:
    context = dg.build_sensor_context(
        instance=instance, cursor=cursor, definitions=TOYS, resources={"lake": SmallLake()}
    )
    return sensor(context)


def run(instance: dg.DagsterInstance) -> dg.ExecuteInProcessResult:
    return TOYS.resolve_job_def("toys").execute_in_process(instance=instance, raise_on_error=False)


def test_every_sensor_starts_stopped_and_says_what_it_does():
    for sensor in SENSORS:
        assert sensor.default_status == dg.DefaultSensorStatus.STOPPED
        assert sensor.description


def test_scored_events_go_out_once_and_the_cursor_remembers_them(mail: Recorder, instance: dg.DagsterInstance):
    put_events(SmallLake().open(), event())
    first = evaluate(alert_sensor, instance)
    assert "1 sent" in first.skip_reason.skip_message
    assert [each.asset_key.to_user_string() for each in first.asset_events] == ["alerts", "alert_deliveries"]
    assert list(json.loads(first.cursor)) == [f"scored_events/{SESSION}"]
    second = evaluate(alert_sensor, instance, first.cursor)
    assert "0 raised" in second.skip_reason.skip_message
    assert second.cursor == first.cursor
    assert second.asset_events == []
    assert len(mail.sent) == 1


def test_a_message_left_behind_is_delivered_by_the_other_sensor(mail: Recorder, instance: dg.DagsterInstance):
    from flowlake.alerts.channels import ChannelDown

    put_events(SmallLake().open(), event())
    mail.fails = ChannelDown("email: unreachable")
    assert "unreachable" in evaluate(alert_sensor, instance).skip_reason.skip_message
    mail.fails = None
    for _ in range(3):
        evaluate(delivery_sensor, instance)
    assert len(mail.sent) == 1


def test_a_failed_check_is_told_with_what_was_expected_and_seen_and_its_recovery_too(
    mail: Recorder, instance: dg.DagsterInstance
):
    State.passes = False
    run(instance)
    told = evaluate(notification_sensor, instance)
    assert "1 runs looked at; 1 raised, 1 sent" in told.skip_reason.skip_message
    text = mail.sent[0].text
    for words in ("ERROR", "toy: fails coverage", "at least 95 % of underlyings", "12 of 20 answered; violations 8",
                  "http://127.0.0.1:3000/assets/toy?view=checks"):  # fmt: skip
        assert words in text
    again = evaluate(notification_sensor, instance, told.cursor)
    assert "0 raised" in again.skip_reason.skip_message
    State.passes = True
    run(instance)
    evaluate(notification_sensor, instance, again.cursor)
    assert [m.reply for m in mail.sent] == [False, True]
    assert "works again" in mail.sent[1].subject


def test_a_failed_run_is_told_with_its_cause_and_a_link(mail: Recorder, instance: dg.DagsterInstance):
    State.fails = True
    failed = run(instance)
    evaluate(notification_sensor, instance)
    text = mail.sent[0].text
    assert f"run {failed.run_id[:8]} of toys: failed" in text
    assert "toy: ValueError: the vendor answered nonsense" in text
    assert f"http://127.0.0.1:3000/runs/{failed.run_id}" in text
    State.fails = False
    run(instance)
    evaluate(notification_sensor, instance)
    assert ledger.notifications(SmallLake().open())["status"].to_list() == ["recovered"]


def test_a_look_without_a_cursor_repeats_nothing(mail: Recorder, instance: dg.DagsterInstance):
    State.passes = False
    run(instance)
    for _ in range(3):
        evaluate(notification_sensor, instance)
    assert len(mail.sent) == 1
