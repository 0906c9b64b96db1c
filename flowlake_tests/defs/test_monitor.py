"""The monitor's flags are stored, or only logged where the operator prefers that."""

from __future__ import annotations

import logging

import pytest

from flowlake.defs.assets.events import kept_flags
from flowlake.schemas import table
from flowlake.settings import MonitorSettings
from flowlake_tests.factories import frame

FLAGS = frame(table("anomalies_day_over_day"), [{"contract_id": 1, "explanation": "SPX 5000 call traded 900"}])


def test_flags_are_stored_by_default():
    assert kept_flags(FLAGS, MonitorSettings(), logging.getLogger()).equals(FLAGS)


def test_flags_that_are_not_stored_are_logged(caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.INFO):
        kept = kept_flags(FLAGS, MonitorSettings(store=False), logging.getLogger())
    assert kept.is_empty() and kept.schema == FLAGS.schema
    assert "SPX 5000 call traded 900" in caplog.text
