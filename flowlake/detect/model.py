"""The fitted parameters of the score: curves of log-likelihood ratio per factor and size of option market, with what
they were fitted on.

`model.json` is written by `flowlake.evaluate.fit` and read once, when a score is first asked for.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import polars as pl

from flowlake.detect import buckets

PACKAGED = Path(__file__).with_name("model.json")

CAP = 3.0
"""Largest contribution of one factor, in nats."""

KNOTS = (0.0, 1.0, 2.5, 4.5, 6.5)
"""Values of -ln u between which a curve is straight; beyond the last one it is level."""

GROUPS = (*buckets.TICKER_CLASS_NAMES[:2], "over 10,000")
"""Option contracts a day of the underlying: a trade shows in other ways in a chain that hardly trades than in one that
trades blocks every day, so each group of activity classes (`buckets.ticker_class`) has curves of its own."""


class ModelUnusable(ValueError):
    """The file of fitted parameters is missing, not of the expected form, or not what it was when it was fitted."""


@dataclass(frozen=True)
class Model:
    """Fitted parameters of the score.

    Attributes:
        slopes: Per factor and group, nats per unit of -ln u between neighbouring `KNOTS`; none is negative.
        offsets: Per factor and group, what is added so that the ratio is 1 on average where nothing happened.
        lowering: Per factor that only speaks against, nats per unit of its value, at or below 0.
        fitted_on: What the fit has seen: sessions, episodes, seed, configuration.
    """

    slopes: Mapping[str, tuple[tuple[float, ...], ...]]
    offsets: Mapping[str, tuple[float, ...]]
    lowering: Mapping[str, float]
    fitted_on: Mapping[str, Any]

    def curve(self, column: str, u: pl.Expr, activity: pl.Expr) -> pl.Expr:
        """Log-likelihood ratio of `u` for factor `column` in a chain of class `activity`, within `CAP`.

        0 where u is null or no curve was fitted.
        """
        if column not in self.slopes:
            return u.fill_null(1.0) * 0.0
        ratio = pl.lit(0.0)
        for number, (slopes, offset) in enumerate(zip(self.slopes[column], self.offsets[column], strict=True)):
            parts = (slope * part for slope, part in zip(slopes, segments(-u.log()), strict=True))
            ratio = pl.when(group(activity) == number).then(pl.sum_horizontal(*parts) + offset).otherwise(ratio)
        return pl.when(u.is_not_null()).then(ratio.clip(-CAP, CAP)).otherwise(0.0)

    def identity(self, other_parameters: Mapping[str, Any]) -> str:
        """'llr-3-', a hash over every parameter (these and `other_parameters`), and the sessions of the fit."""
        parameters = {
            "slopes": dict(self.slopes), "offsets": dict(self.offsets), "lowering": dict(self.lowering),
            "cap": CAP, "knots": KNOTS, "groups": GROUPS, **other_parameters,
        }  # fmt: skip
        key = hashlib.sha256(json.dumps(parameters, sort_keys=True).encode()).hexdigest()[:8]
        return f"llr-3-{key} fitted {self.window[0]}..{self.window[1]}"

    @property
    def window(self) -> tuple[date, date]:
        """First and last session the fit has seen."""
        first, last = self.fitted_on["sessions"]
        return date.fromisoformat(first), date.fromisoformat(last)


def group(activity: pl.Expr) -> pl.Expr:
    """Number in `GROUPS` of an activity class: the two busiest classes share one."""
    return activity.clip(upper_bound=len(GROUPS) - 1)


def segments(surprise: pl.Expr) -> list[pl.Expr]:
    """How much of `surprise` (-ln u) lies between each pair of neighbouring `KNOTS`."""
    return [(surprise - low).clip(0.0, high - low) for low, high in pairwise(KNOTS)]


@lru_cache(maxsize=4)
def load(path: Path = PACKAGED) -> Model:
    """The model in `path`, checked; raises `ModelUnusable` naming the file and what is wrong with it."""
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        made = Model(
            {name: tuple(tuple(map(float, row)) for row in rows) for name, rows in raw["slopes"].items()},
            {name: tuple(map(float, values)) for name, values in raw["offsets"].items()},
            {name: float(value) for name, value in raw["lowering"].items()},
            raw["fitted_on"],
        )
        first, last = made.window
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelUnusable(f"{path} cannot be read as fitted parameters ({error}); fit them again") from error
    rows = [row for curves in made.slopes.values() for row in curves]
    sizes = [len(values) for values in (*made.slopes.values(), *made.offsets.values())]
    _require(all(size == len(GROUPS) for size in sizes), path, "it does not have a curve and an offset per group")
    _require(all(len(row) == len(KNOTS) - 1 for row in rows), path, "slopes do not fit the knots")
    _require(min((slope for row in rows for slope in row), default=0.0) >= 0.0, path, "a curve falls")
    _require(set(made.offsets) == set(made.slopes), path, "offsets and slopes are not of the same factors")
    _require(max(made.lowering.values(), default=0.0) <= 0.0, path, "a lowering factor raises the score")
    _require(first <= last, path, "its training window ends before it begins")
    _require(raw.get("digest") == digest(made), path, "its digest is not that of its parameters")
    return made


def digest(made: Model) -> str:
    """A hash of parameters and of what they were fitted on, kept beside them."""
    return hashlib.sha256(json.dumps(_content(made), sort_keys=True).encode()).hexdigest()[:16]


def save(made: Model, path: Path) -> None:
    """Write `made` as `load` reads it."""
    content = _content(made) | {"digest": digest(made)}
    path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _content(made: Model) -> dict[str, Any]:
    return {
        "slopes": dict(made.slopes), "offsets": dict(made.offsets), "lowering": dict(made.lowering),
        "fitted_on": dict(made.fitted_on),
    }  # fmt: skip


def _require(holds: bool, path: Path, wrong: str) -> None:
    if not holds:
        raise ModelUnusable(f"{path}: {wrong}; fit the parameters again")
