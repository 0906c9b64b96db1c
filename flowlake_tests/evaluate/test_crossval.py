"""Cross-validation on evidence whose distribution is known."""

from __future__ import annotations

from datetime import date

import numpy as np
import polars as pl
import pytest

from flowlake.evaluate import crossval, rivals
from flowlake.evaluate.fit import Evidence
from flowlake_tests.evaluate.test_fit import evidence

DAYS = [date(2026, 6, day) for day in (8, 9, 10, 11, 12)]
NAMES = [f"N{number:03d}" for number in range(100)]


@pytest.fixture(scope="module")
def found() -> Evidence:
    """100 names over five sessions, the last two judged, with one factor that tells; the rules know nothing."""
    rng = np.random.default_rng(3)
    clean = pl.concat(
        evidence(rng, len(NAMES), "q", 1.0, 0.0)
        .drop("episode_id")
        .with_columns(session=pl.lit(day), underlying=pl.Series(NAMES))
        for day in DAYS
    )
    injected = evidence(rng, len(NAMES), "i", 0.1, 0.0).with_columns(
        session=pl.lit(DAYS[-1]), underlying=pl.Series(NAMES)
    )
    plans = injected.select("episode_id", "underlying", "right", kind=pl.lit("informed"), arm=pl.lit("informed"))

    def rules(rows: pl.DataFrame) -> pl.DataFrame:
        keys = [name for name in ("episode_id", "session", "underlying") if name in rows.columns]
        return rows.select(keys).with_columns(pl.Series(rule, rng.random(rows.height)) for rule in rivals.RULES)

    about: dict[str, object] = {"sessions": [str(DAYS[2]), str(DAYS[4])]}
    return Evidence(plans, injected, clean, DAYS[2], DAYS[3], rules(injected), rules(clean), about)


def test_what_the_fit_has_learnt_on_other_names_finds_more_than_rules_that_know_nothing(found: Evidence):
    def trailing(frame: pl.DataFrame, session: date) -> pl.DataFrame:
        return frame.filter(pl.col("session") < session)

    recall = crossval.cross_validated(found, trailing).filter(budget=100)
    by_name = dict(recall.select("name", "recall").iter_rows())
    assert recall["n"].unique().to_list() == [len(NAMES)]
    assert set(by_name) == {choice.name for choice in crossval.CHOICES} | set(rivals.RULES.values()) - {
        rivals.RULES["random"]
    }
    assert by_name["as packaged"] > 0.2
    assert max(by_name[rivals.RULES[rule]] for rule in rivals.RULES if rule != "random") < 0.15


def test_no_underlying_is_scored_by_curves_that_have_seen_it(found: Evidence, monkeypatch: pytest.MonkeyPatch):
    pairs = []
    fit_curves = crossval.fit_curves

    def watched(injected: pl.DataFrame, quiet: pl.DataFrame, *others, **more):
        pairs.append({*injected["underlying"], *quiet["underlying"]})
        return fit_curves(injected, quiet, *others, **more)

    def ranked(found: Evidence, injected: pl.DataFrame, *others) -> pl.DataFrame:
        assert not pairs[-1] & {*injected["underlying"]}
        return injected.select("episode_id")

    monkeypatch.setattr(crossval, "fit_curves", watched)
    monkeypatch.setattr(crossval, "_ranked", ranked)
    ranks = crossval._ranks(found, lambda frame, session: frame, crossval.CHOICES[0])
    assert ranks.height == len(NAMES)


def test_the_table_has_a_line_for_each_score():
    rows = [
        {"name": name, "arm": arm, "budget": budget, "caught": 1, "n": 10, "recall": 0.1, "low": 0.0, "high": 0.3}
        for name in ("ours", "a rule")
        for arm in ("informed", "quiet", "decoy")
        for budget in (10, 20, 50, 100)
    ]
    lines = crossval.as_markdown(pl.DataFrame(rows)).splitlines()
    assert lines[2].startswith("| ours | 10.0 %")
    assert lines[-1] == "Episodes: informed 10, quiet 10, decoy 10"
