"""An empty lake, a clock that stands still, and a real SMTP server on the loopback."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from flowlake.lake import Lake
from flowlake_tests.alerts.mail_server import MailServer
from flowlake_tests.alerts.scenes import ManualClock, Recorder, open_lake


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return open_lake(tmp_path / "data")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def mail() -> Recorder:
    return Recorder()


@pytest.fixture
def without_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Mails without pictures, for tests of everything else: drawing takes longer than all of it."""
    monkeypatch.setattr("flowlake.alerts.pictures.draw", lambda content, evidence: {})


@pytest.fixture
def mail_server() -> Iterator[MailServer]:
    server = MailServer()
    server.start()
    yield server
    server.stop()
