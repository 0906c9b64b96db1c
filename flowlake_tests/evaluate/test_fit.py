"""The fit on evidence whose distribution is known."""

from __future__ import annotations

from datetime import date

import numpy as np
import polars as pl

from flowlake.detect import scoring, sides
from flowlake.detect.model import Model
from flowlake.evaluate import fit

TELLING, COPY = "build_own", "leading_build_own"


def evidence(
    rng: np.random.Generator, n: int, kind: str, strength: float, spread: float, activity: int = 0
) -> pl.DataFrame:
    """`n` sides: u of the telling factor is Beta(strength, 1), its copy says the same, the rest say nothing."""
    telling = rng.random(n) ** (1.0 / strength)
    shares = {f"{f.column}_u": rng.random(n) for f in scoring.FACTORS if not f.lowers}
    shares |= {f"{TELLING}_u": telling, f"{COPY}_u": telling}
    looks = {name: np.zeros(n) for name in sides.LOOKS} | {"spread_share": rng.random(n) < spread}
    return pl.DataFrame(
        {
            "episode_id": [f"{kind}{activity}{i:05d}" for i in range(n)],
            "session": date(2026, 6, 12),
            "underlying": "T",
            "right": "C",
            "activity": activity,
        }
        | {"is_put": np.zeros(n)}
        | shares
        | {name: np.asarray(values, dtype=float) for name, values in looks.items()}
    )


def test_the_fit_finds_what_tells_shares_it_between_copies_and_leaves_the_rest():
    rng = np.random.default_rng(8)
    informed, decoys = evidence(rng, 600, "i", 0.3, 0.05), evidence(rng, 300, "d", 0.3, 0.9)
    quiet = evidence(rng, 4_000, "q", 1.0, 0.05)
    plans = pl.DataFrame(
        {
            "episode_id": [*informed["episode_id"], *decoys["episode_id"]],
            "kind": ["informed"] * 600 + ["spread"] * 300,
            "right": "C",
        }
    )
    fitted = fit.fit_curves(pl.concat([informed, decoys]), quiet, plans, {"sessions": ["2026-06-12", "2026-06-12"]})

    others = [f.column for f in scoring.FACTORS if not f.lowers and f.column not in (TELLING, COPY)]
    assert reach(fitted, TELLING) + reach(fitted, COPY) > 1.5
    assert abs(reach(fitted, TELLING) - reach(fitted, COPY)) < 0.3
    assert np.mean([reach(fitted, column) for column in others]) < 0.2
    assert fitted.lowering["spread_share"] < -1.0
    assert fitted.lowering["is_put"] == fit.PUT_NATS


def test_what_tells_in_one_size_of_market_alone_weighs_there():
    rng = np.random.default_rng(9)
    thin, busy = evidence(rng, 400, "i", 0.3, 0.0), evidence(rng, 400, "i", 1.0, 0.0, activity=3)
    quiet = [evidence(rng, 2_000, "q", 1.0, 0.0), evidence(rng, 2_000, "q", 1.0, 0.0, activity=3)]
    plans = pl.DataFrame({"episode_id": [*thin["episode_id"], *busy["episode_id"]], "kind": "informed", "right": "C"})
    fitted = fit.fit_curves(
        pl.concat([thin, busy]), pl.concat(quiet), plans, {"sessions": ["2026-06-12", "2026-06-12"]}
    )
    assert reach(fitted, TELLING) > reach(fitted, TELLING, activity=3) + 0.5


def test_episodes_too_small_to_be_seen_hardly_move_the_curves():
    rng = np.random.default_rng(10)
    seen, unseen = evidence(rng, 300, "i", 0.2, 0.0), evidence(rng, 1_200, "u", 1.0, 0.0)
    quiet = evidence(rng, 4_000, "q", 1.0, 0.0)
    plans = pl.DataFrame({"episode_id": [*seen["episode_id"], *unseen["episode_id"]], "kind": "informed", "right": "C"})
    about: dict[str, object] = {"sessions": ["2026-06-12", "2026-06-12"]}
    focused = fit.fit_curves(pl.concat([seen, unseen]), quiet, plans, about)
    plain = fit.fit_curves(pl.concat([seen, unseen]), quiet, plans, about, focus_rounds=0)
    assert reach(focused, TELLING) + reach(focused, COPY) > reach(plain, TELLING) + reach(plain, COPY)


def reach(fitted: Model, column: str, activity: int = 0) -> float:
    """Nats between the curve's start and where one side in a hundred is as extreme."""
    if column not in fitted.slopes:
        return 0.0
    curve = fitted.curve(column, pl.col("u"), pl.lit(activity))
    at, start = pl.DataFrame({"u": [0.01, 1.0]}).select(curve).to_series()
    return at - start
