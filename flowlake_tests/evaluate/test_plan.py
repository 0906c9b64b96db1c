"""What is drawn to be injected."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from flowlake.evaluate import plan

SIZES = plan.Sizes(informed=200, quiet=40, camouflage=60, decoys=140, dose=100)


def hosts(names: int = 30, sessions: int = 25) -> pl.DataFrame:
    rows = [
        {
            "session": date(2026, 6, 1) + timedelta(days=number),
            "number": number,
            "underlying": f"T{name:02d}",
            "volume": 1_000 * (name + 1) * (2 if number % 5 == 0 else 1),
            "mean_volume": 1_000.0 * (name + 1),
        }
        for number in range(10, sessions + 10)
        for name in range(names)
    ]
    return pl.DataFrame(rows)


def drawn(seed: int = 1) -> pl.DataFrame:
    return plan.draw(np.random.default_rng(seed), hosts(), SIZES)


def test_the_same_seed_draws_the_same_plans_and_another_seed_others():
    assert drawn(1).equals(drawn(1))
    assert not drawn(1).equals(drawn(2))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31))
def test_episodes_keep_to_the_shape_of_the_case_file(seed: int):
    informed = drawn(seed).filter(pl.col("arm").is_in(["informed", "camouflage"]))
    assert informed["size"].is_between(plan.SMALLEST, plan.LARGEST).all()
    assert informed["strikes"].is_between(1, 4).all()
    assert informed["dte"].is_between(2, 130).all()
    assert (informed["last"] - informed["first"]).is_between(0, 12).all()
    assert (informed["first"] >= 10).all()
    calls, puts = (informed.filter(right=right)["out_of_the_money"] for right in "CP")
    assert calls.is_between(0.03, 0.20).all()
    assert puts.is_between(0.05, 0.55).all()
    assert 0.75 < (informed["right"] == "C").mean() < 0.97  # pyright: ignore[reportOperatorIssue]


def test_there_are_as_many_decoys_of_every_kind():
    decoys = drawn().filter(arm="decoy")
    assert dict(decoys["kind"].value_counts().iter_rows()) == dict.fromkeys(plan.DECOYS, 20)


def test_camouflaged_episodes_end_on_busy_days():
    busy = hosts().filter(pl.col("volume") > 1.5 * pl.col("mean_volume")).select("underlying", last="number")
    camouflaged = drawn().filter(arm="camouflage")
    assert camouflaged.height == SIZES.camouflage
    assert (
        camouflaged.with_columns(pl.col("last").cast(busy["last"].dtype))
        .join(busy, on=["underlying", "last"], how="anti")
        .is_empty()
    )


def test_busy_and_quiet_hosts_are_drawn_alike():
    decile = drawn(3).filter(arm="informed")["underlying"].str.slice(1).cast(pl.Int32) // 3
    assert decile.value_counts()["count"].is_between(8, 35).all()


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31))
def test_no_underlying_hosts_two_episodes_of_a_part_at_once(seed: int):
    plans = drawn(seed)
    parts = plan.passes(plans, share=0.5)
    assert sum(part.height for part in parts) == plans.height
    for part in parts:
        live = part.with_columns(day=pl.int_ranges("first", pl.col("last") + 1)).explode("day")
        assert not live.select("underlying", "day").is_duplicated().any()
        assert live.group_by("day").len()["len"].max() <= 15  # pyright: ignore[reportOperatorIssue]
