"""The fit on evidence whose distribution is known."""

from __future__ import annotations

from datetime import date

import numpy as np
import polars as pl

from flowlake.detect import scoring, sides
from flowlake.evaluate import fit

TELLING, COPY = "build_own", "leading_build_own"


def evidence(rng: np.random.Generator, n: int, kind: str, strength: float, spread: float) -> pl.DataFrame:
    """`n` sides: u of the telling factor is Beta(strength, 1), its copy says the same, the rest say nothing."""
    telling = rng.random(n) ** (1.0 / strength)
    shares = {f"{f.column}_u": rng.random(n) for f in scoring.FACTORS if not f.lowers}
    shares |= {f"{TELLING}_u": telling, f"{COPY}_u": telling}
    looks = {name: np.zeros(n) for name in sides.LOOKS} | {"spread_share": rng.random(n) < spread}
    return pl.DataFrame(
        {
            "episode_id": [f"{kind}{i:05d}" for i in range(n)],
            "session": date(2026, 6, 12),
            "underlying": "T",
            "right": "C",
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

    def reach(column: str) -> float:
        curve = fitted.curve(column, pl.col("u"))
        return pl.DataFrame({"u": [0.001]}).select(curve.cast(pl.Float64)).to_series()[0] - fitted.offsets.get(
            column, 0.0
        )

    others = [f.column for f in scoring.FACTORS if not f.lowers and f.column not in (TELLING, COPY)]
    assert reach(TELLING) + reach(COPY) > 1.5
    assert abs(reach(TELLING) - reach(COPY)) < 0.3
    assert max(map(reach, others)) < 0.5
    assert fitted.lowering["spread_share"] < -1.0
    assert fitted.lowering["is_put"] == fit.PUT_NATS
