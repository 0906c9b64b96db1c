"""`flowlake features`: what people see, take, and get back."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

from flowlake import snapshots
from flowlake.commands.features import app
from flowlake.lake import Lake
from flowlake.settings import get_settings
from flowlake_tests.features.small import AS_OF, SESSIONS, facts


@pytest.fixture
def lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lake]:
    monkeypatch.setenv("FLOWLAKE_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("COLUMNS", "220")
    get_settings.cache_clear()
    store = Lake.open(tmp_path / "data")
    with store.commit("test") as transaction:
        for day in SESSIONS[-6:]:
            rows = facts().features.filter(pl.col("session") == day)
            transaction.replace("options_flow_features", day.isoformat(), rows)
    yield store
    get_settings.cache_clear()


def say(*arguments: str) -> str:
    result = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_a_snapshot_is_taken_listed_shown_and_given_back(lake: Lake, tmp_path: Path):
    taken = say("snapshot", "--as-of", AS_OF.isoformat())
    snapshot_id = taken.split()[0]
    assert snapshot_id in say("list")
    assert "cross_section" in say("show", snapshot_id[:8])
    out = tmp_path / "out.parquet"
    say("load", snapshot_id[:8], "--out", str(out))
    row = snapshots.find(lake, snapshot_id)
    assert hashlib.sha256(out.read_bytes()).hexdigest() == row["file_sha256"]
    assert pl.read_parquet(out).height == 3
    assert "shape: (3, " in say("load", snapshot_id)


def test_sequences_are_taken_with_their_policy(lake: Lake):
    say("snapshot", "--as-of", AS_OF.isoformat(), "--steps", "3", "--fill", "2")
    row = snapshots.listed(lake).row(0, named=True)
    assert row["kind"] == "sequence"
    assert '"policy": "forward_fill"' in row["parameters"]
    assert row["rows"] == 9


def test_a_feature_is_explained(lake: Lake):
    explained = say("show", "iv_spread")
    assert "Cremers and Weinbaum" in explained
    assert "annualised" in explained


def test_a_ticker_is_shown_with_units_and_where_the_data_come_from(lake: Lake):
    shown = say("show", "a", "--session", SESSIONS[-6].isoformat())
    assert "put_call_ratio" in shown
    assert "simulated data" in shown


def test_before_the_first_snapshot_the_list_says_how_to_take_one(lake: Lake):
    assert "flowlake features snapshot" in say("list")


@pytest.mark.parametrize(
    ("arguments", "remedy"),
    [
        (["show", "nothing-of-the-kind"], "docs/features.md"),
        (["snapshot", "--as-of", "2026-07-01T13:30:00"], "time zone"),
        (["snapshot", "--as-of", "2999-01-01T00:00:00+00:00"], "lies ahead"),
        (["snapshot", "--as-of", "2020-01-02T00:00:00+00:00"], "materialise"),
        (["load", "zzz"], "features list"),
    ],
)
def test_what_cannot_be_done_is_refused_with_the_remedy(lake: Lake, arguments: list[str], remedy: str):
    with pytest.raises((ValueError, LookupError), match=remedy):
        CliRunner().invoke(app, arguments, catch_exceptions=False)
