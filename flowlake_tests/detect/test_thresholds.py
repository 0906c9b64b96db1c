from __future__ import annotations

from datetime import date

import polars as pl
import pytest

from flowlake import schemas
from flowlake.detect import thresholds
from flowlake.settings import RuleSettings
from flowlake_tests.detect.markets import chain
from flowlake_tests.factories import frame

SESSION = date(2026, 6, 30)


def line(**about: object) -> pl.DataFrame:
    plain = {"contract_id": 1, "volume": 600, "open_interest": 400, "price": 0.5}
    return chain(SESSION, [plain | about])


def usual(mean: float | None = 500.0, std: float | None = 100.0, largest: int | None = 900) -> pl.DataFrame:
    row = {"contract_id": 1, "volume_mean_20": mean, "volume_std_20": std, "volume_max_60": largest}
    return frame(schemas.table("contract_baselines"), [row])


def broken(chains: pl.DataFrame, baselines: pl.DataFrame, **settings: float) -> list[str]:
    found = thresholds.flagged(chains, baselines, RuleSettings(**settings))  # pyright: ignore[reportArgumentType]
    return found["rules"].item().to_list() if found.height else []


def test_each_rule_says_what_it_says():
    assert broken(line(), usual()) == ["volume_oi"]
    assert broken(line(volume=800, open_interest=4_000), usual()) == ["z_score"]
    assert broken(line(volume=901, open_interest=4_000), usual(900.0)) == ["record_volume"]
    assert broken(line(open_interest=4_000, price=2.0), usual()) == ["floors"]
    assert broken(line(volume=2_000, price=2.0), usual()) == ["z_score", "volume_oi", "floors", "record_volume"]


@pytest.mark.parametrize(
    ("about", "settings"),
    [
        ({"price": 0.1}, {}),
        ({"volume": 500}, {}),
        ({"open_interest": 100}, {}),
        ({}, {"volume_oi": 1.6}),
        ({}, {"volume_floor": 601}),
    ],
)
def test_volume_over_open_interest_needs_all_its_floors(about: dict, settings: dict):
    assert "volume_oi" not in broken(line(**about), usual(), **settings)


def test_what_is_not_known_breaks_no_rule():
    unknown = line(volume=5_000, open_interest=None, price=None).with_columns(
        open_interest=pl.lit(None, pl.Int32), price=pl.lit(None, pl.Float64)
    )
    assert broken(unknown, usual(None, None, None)) == []
    assert broken(unknown, usual().clear()) == []


def test_adjusted_contracts_are_left_out():
    assert broken(line(is_adjusted=True), usual()) == []


def test_the_rules_stand_beside_our_levels():
    events = frame(
        schemas.table("scored_events"),
        [{"underlying": name, "conviction": level} for name, level in (("ABC", "HIGH"), ("X", "LOW"), ("Y", "NONE"))],
    )
    rows = thresholds.rule_alarms(line(), usual(), events, RuleSettings())
    assert rows.select("rule", "kind", "contracts", "underlyings").rows() == [
        ("EXTREME", "conviction", None, 0),
        ("HIGH", "conviction", None, 1),
        ("LOW", "conviction", None, 2),
        ("MEDIUM", "conviction", None, 1),
        ("floors", "threshold", 0, 0),
        ("record_volume", "threshold", 0, 0),
        ("volume_oi", "threshold", 1, 1),
        ("z_score", "threshold", 0, 0),
    ]
    assert rows["universe"].unique().to_list() == [1]
    assert "1.25 times open interest" in rows.filter(pl.col("rule") == "volume_oi")["description"].item()


def test_without_a_chain_there_is_nothing_to_compare():
    events = schemas.table("scored_events").empty()
    assert thresholds.rule_alarms(line().clear(), usual(), events, RuleSettings()).is_empty()
