"""`flowlake alerts`: what a person sees and does at a terminal, and what the doctor says about channels."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from flowlake.alerts import ledger
from flowlake.cli import app
from flowlake.doctor import examine
from flowlake.lake import Lake
from flowlake.settings import get_settings
from flowlake_tests.alerts.mail_server import MailServer
from flowlake_tests.alerts.scenes import NOW, event, full_scene, open_lake, put_events, settings

pytestmark = pytest.mark.usefixtures("without_pictures")


@pytest.fixture
def lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lake]:
    """A lake with one event, at a terminal 200 wide, at the time of the scenes."""
    monkeypatch.setenv("FLOWLAKE_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("FLOWLAKE_ALERTS__CHANNELS", "console")
    monkeypatch.setattr("flowlake.commands.alerts._now", lambda: NOW)
    monkeypatch.setattr("flowlake.clock.MarketClock.now", lambda self: NOW)
    monkeypatch.setattr("flowlake.commands.alerts.console.width", 220, raising=False)
    get_settings.cache_clear()
    store = open_lake(tmp_path / "data")
    monkeypatch.setattr("flowlake.commands.alerts._lake", lambda: store)
    full_scene(store)
    yield store
    get_settings.cache_clear()


def flowlake(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["alerts", *arguments], catch_exceptions=True)


def test_from_sending_to_acknowledging(lake: Lake):
    assert "no alert yet" in flowlake("list").output
    sent = flowlake("send")
    assert "ABC: unusual calls, bullish" in sent.output
    assert "1 raised, 1 sent" in sent.output
    assert "0 raised, 0 sent" in flowlake("send").output
    listed = flowlake("list").output
    found = re.search(r"^\s*([0-9a-f]{8})\s.*ABC.*new", listed, re.MULTILINE)
    assert found, listed
    shown = flowlake("show", found[1]).output
    assert "Without any cause behind it" in shown
    assert "number 1 of at most 20" in shown
    assert flowlake("ack", found[1], "--by", "ann", "--note", "looked at it").exit_code == 0
    assert "acknowledged" in flowlake("list").output
    assert "acknowledge by ann: looked at it" in flowlake("show", found[1]).output


def test_snoozing_an_underlying_and_waking_it(lake: Lake):
    assert "until" in flowlake("snooze", "ABC", "--underlying", "--hours", "2").output
    assert "0 raised" in flowlake("send").output
    assert "snoozed" in flowlake("list").output
    assert "awake" in flowlake("snooze", "ABC", "--underlying", "--off").output
    assert ledger.actions(lake)["action"].to_list() == ["snooze", "unsnooze"]


def test_dead_letters_are_shown_and_tried_again(lake: Lake, mail_server: MailServer, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("FLOWLAKE_ALERTS__CHANNELS", "email")
    monkeypatch.setenv("FLOWLAKE_ALERTS__EMAIL__HOST", "127.0.0.1")
    monkeypatch.setenv("FLOWLAKE_ALERTS__EMAIL__PORT", str(mail_server.port))
    monkeypatch.setenv("FLOWLAKE_ALERTS__EMAIL__SECURITY", "none")
    monkeypatch.setenv("FLOWLAKE_ALERTS__EMAIL__RECIPIENTS", "a@example.com")
    get_settings.cache_clear()
    assert "every message was delivered" in flowlake("dead-letters").output
    mail_server.answers = ["554 never"]
    assert "1 dead" in flowlake("send").output
    assert "554 never" in flowlake("dead-letters").output
    assert "1 message due again" in flowlake("retry").output
    assert "1 sent" in flowlake("send").output
    assert len(mail_server.mails) == 1


def test_a_sample_goes_through_each_channel(lake: Lake):
    assert "[TEST]" in flowlake("test").output
    refused = flowlake("test", "--channel", "email")
    assert "not configured" in str(refused.exception)


def test_without_a_channel_the_settings_are_named(lake: Lake, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("FLOWLAKE_ALERTS__CHANNELS", "configured")
    get_settings.cache_clear()
    assert "FLOWLAKE_ALERTS__EMAIL__HOST" in str(flowlake("test").exception)


def test_an_unknown_alert_is_refused_with_the_remedy(lake: Lake):
    assert "alerts list" in str(flowlake("show", "ffff").exception)


def test_names_from_outside_do_not_act_on_the_terminal(lake: Lake):
    put_events(lake, event("[bold]A\x1b[31mB\u202e"))
    flowlake("send")
    listed = flowlake("list").output
    assert "[bold]A" in listed
    assert not {"\x1b", "\u202e"} & set(listed)


def test_the_doctor_logs_in_to_every_channel_and_sends_only_when_told(tmp_path: Path, mail_server: MailServer):
    mail = {"host": "127.0.0.1", "port": mail_server.port, "security": "none", "recipients": "a@example.com"}
    chosen = settings(tmp_path, email=mail)
    found = {finding.what: finding for finding in examine(chosen, NOW)}
    assert found["alerts by email"].ok
    assert "no encryption" in found["alerts by email"].says
    assert mail_server.mails == []
    examine(chosen, NOW + timedelta(minutes=1), send=True)
    assert "[TEST]" in mail_server.mails[0]["Subject"]
    mail_server.stop()
    down = {finding.what: finding for finding in examine(chosen, NOW)}
    assert not down["alerts by email"].ok
    assert "nobody is told this way" in down["alerts by email"].says


def test_the_doctor_says_that_nobody_is_told(tmp_path: Path):
    found = {finding.what: finding for finding in examine(settings(tmp_path), NOW)}
    assert found["alerts"].ok
    assert "nobody is told" in found["alerts"].says
