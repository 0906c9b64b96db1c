"""The fitted parameters: curves that rise, a file that is refused when it is not what was fitted."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowlake.detect import model, scoring
from flowlake.evaluate import fit

ABOUT = {"sessions": ["2026-06-12", "2026-07-03"]}


STEEP = (0.1, 0.4, 0.2, 0.0)


def made(thin: tuple[float, ...] = STEEP, busy: tuple[float, ...] = (0.0, 0.1, 0.1, 0.0)) -> model.Model:
    rows = (thin, STEEP, busy)
    offsets = {"build_own": tuple(fit.offset(row) for row in rows)}
    return model.Model({"build_own": rows}, offsets, {"spread_share": -1.0}, ABOUT)


def test_the_packaged_model_says_what_it_was_fitted_on():
    packaged = model.load()
    assert packaged.window[0] < packaged.window[1]
    assert packaged.fitted_on["episodes"] > 100
    columns = {factor.column for factor in scoring.FACTORS}
    assert set(packaged.slopes) | set(packaged.lowering) <= columns


def test_what_is_saved_is_what_is_loaded(tmp_path: Path):
    model.save(made(), tmp_path / "model.json")
    assert model.load(tmp_path / "model.json") == made()


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        (lambda raw: raw["slopes"].update(build_own=[[0.1]] * 3), "knots"),
        (lambda raw: raw["slopes"].update(build_own=[STEEP, STEEP]), "per group"),
        (lambda raw: raw["slopes"].update(build_own=[STEEP, [0.1, -0.4, 0.2, 0.0], STEEP]), "falls"),
        (lambda raw: raw["lowering"].update(spread_share=1.0), "raises"),
        (lambda raw: raw["offsets"].update(build_own=[0.0] * 3), "digest"),
        (lambda raw: raw["offsets"].clear(), "same factors"),
        (lambda raw: raw.pop("fitted_on"), "fitted_on"),
    ],
)
def test_a_file_that_was_tampered_with_is_refused(tmp_path: Path, change, wrong: str):
    path = tmp_path / "model.json"
    model.save(made(), path)
    raw = json.loads(path.read_text())
    change(raw)
    path.write_text(json.dumps(raw))
    with pytest.raises(model.ModelUnusable, match=wrong):
        model.load(path)


def test_a_missing_file_is_named(tmp_path: Path):
    with pytest.raises(model.ModelUnusable, match=r"none\.json"):
        model.load(tmp_path / "none.json")


@given(st.lists(st.floats(0, 2), min_size=4, max_size=4))
def test_a_curve_rises_with_surprise_and_stays_within_the_cap(slopes: list[float]):
    u = pl.DataFrame({"u": [1.0, 0.5, 0.1, 0.01, 1e-3, 1e-9, None]})
    parts = u.select(made(tuple(slopes)).curve("build_own", pl.col("u"), pl.lit(0))).to_series().to_list()
    assert parts[:6] == sorted(parts[:6])
    assert max(map(abs, parts)) <= model.CAP
    assert parts[6] == 0.0


@pytest.mark.parametrize("activity", [0, 1, 2, 3])
def test_a_curve_is_a_ratio_of_densities(activity: int):
    u = pl.DataFrame({"u": (np.arange(100_000) + 0.5) / 100_000})
    ratio = u.select(made().curve("build_own", pl.col("u"), pl.lit(activity)).exp()).to_series()
    assert ratio.mean() == pytest.approx(1.0, abs=0.01)


def test_the_two_busiest_classes_share_a_curve_and_the_others_have_their_own():
    rows = pl.DataFrame({"u": [0.01] * 4, "activity": [0, 1, 2, 3]})
    thin, quiet, busy, busiest = rows.select(made((0.9,) * 4).curve("build_own", pl.col("u"), pl.col("activity")))[:, 0]
    assert thin > quiet > busy == busiest


def test_another_parameter_is_another_model():
    assert scoring.model_id(made()) != scoring.model_id(made((0.1, 0.4, 0.2, 0.1)))
