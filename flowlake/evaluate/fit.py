"""Fit the score's curves on injected episodes in the earlier half of the recorded sessions: `model.json`.

    python -m flowlake.evaluate.fit --recording ../shared/data --output OUT [--write FILE] [--cross-validate]

One logistic regression tells sides of injected episodes from undisturbed sides and from decoys. Its inputs are, per
factor, how much of -ln u lies in each segment between `model.KNOTS`, with weights held at 0 or above: rising curves
that share what correlated factors say, instead of counting it once per factor. A curve is what all sizes of option
market have in common plus what the host's group adds. What only speaks against (look-alikes) enters with its value and
a weight at or below 0. The fit is repeated with most of the weight on what it ranks high: an episode too small to be
seen, and a side that nobody would look at, say little about where the line between alarms and the rest should run. No
episode, session or decoy of the later half is seen.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl

from flowlake.detect import model, scoring
from flowlake.detect.model import Model
from flowlake.evaluate import hosts, judge, plan, replay
from flowlake.evaluate.hosts import Hosts, Progress

RIDGE = 10.0
LASSO = 1.0
INFORMED_WEIGHT, DECOY_WEIGHT = 750.0, 2_240.0
"""What all informed episodes weigh together, and all decoys; an undisturbed side weighs 1."""

FOCUS_QUANTILE, FOCUS_WIDTH, FOCUS_ROUNDS = 0.9, 0.3, 2
FOCUS_FLOOR = {"informed": 0.05, "others": 0.2}
"""Rows are weighed anew `FOCUS_ROUNDS` times by a logistic step of this width in nats where their score passes this
quantile of the undisturbed; far below it the share of the weight in `FOCUS_FLOOR` remains."""

PUT_NATS = -0.7
"""Puts: 33 of 37 public cases bought calls, undisturbed sides are half and half; a third of that log odds is used, so
that a case in puts can still be seen. Set, not fitted: the generator's share of calls is itself an assumption."""

HELD_FIXED = {"is_put": PUT_NATS}


@dataclass(frozen=True)
class Fit:
    """What is fitted on: sessions by number among the hosts' (from, to), undisturbed sides from, seed, episodes."""

    first: int = 15
    last: int = 27
    quiet_from: int = 12
    seed: int = 20260701
    sizes: plan.Sizes = field(
        default_factory=lambda: plan.Sizes(informed=2_500, quiet=2_000, camouflage=100, decoys=1_400, dose=0)
    )


@dataclass(frozen=True)
class Evidence:
    """What the curves are fitted to, and what it is compared with, all within the sessions of the fit."""

    plans: pl.DataFrame
    injected: pl.DataFrame
    """`judge.evidence` of the episodes' sessions."""
    clean: pl.DataFrame
    """`judge.evidence` of all undisturbed sessions up to the fit's last."""
    quiet_from: date
    judged_from: date
    injected_rules: pl.DataFrame
    clean_rules: pl.DataFrame
    about: dict[str, object]

    @property
    def quiet(self) -> pl.DataFrame:
        """The undisturbed sides of the fit."""
        return self.clean.filter(pl.col("session") >= self.quiet_from)


def gather(placed: Hosts, able: pl.DataFrame, wanted: Fit, progress: Progress | None = None) -> Evidence:
    """Draw episodes on `able` (eligible host rows) within the fit's sessions and replay them."""
    rows = able.filter(pl.col("number").is_between(wanted.first, wanted.last))
    plans = plan.draw(np.random.default_rng(wanted.seed), rows, wanted.sizes)
    parts = plan.passes(plans)
    replayed = replay.join(
        replay.replay(placed, part, progress, f"episodes to fit on, part {n + 1} of {len(parts)}")
        for n, part in enumerate(parts)
    )
    until = pl.col("session") <= placed.sessions[wanted.last]
    about = {
        "origin": placed.origin,
        "sessions": [str(placed.sessions[wanted.quiet_from]), str(placed.sessions[wanted.last])],
        "episodes": plans.height,
        "seed": wanted.seed,
        "sizes": asdict(wanted.sizes),
        "ridge": RIDGE,
        "lasso": LASSO,
        "weights": [INFORMED_WEIGHT, DECOY_WEIGHT],
        "focus": [FOCUS_QUANTILE, FOCUS_WIDTH, FOCUS_ROUNDS, FOCUS_FLOOR],
        "fixed": HELD_FIXED,
    }
    return Evidence(
        plans,
        judge.evidence(replayed.statistics, placed.statistics, placed.trailing),
        judge.evidence(placed.statistics.filter(until), placed.statistics, placed.trailing),
        placed.sessions[wanted.quiet_from],
        placed.sessions[wanted.first],
        replayed.rivals,
        placed.rivals.filter(until),
        about,
    )


def fit_curves(
    injected: pl.DataFrame,
    quiet: pl.DataFrame,
    plans: pl.DataFrame,
    about: dict[str, object],
    *,
    grouped: bool = True,
    focus_rounds: int = FOCUS_ROUNDS,
) -> Model:
    """The model that tells `injected` from `quiet` (both from `judge.evidence`); `plans` say what was injected.

    Informed episodes count alike, however many sessions they last, on the side they traded; decoys stand with the
    undisturbed. Not `grouped`, all sizes of option market share one curve.
    """
    judged = pl.col("volume_surprise_u").is_not_null()
    told = injected.filter(judged).join(
        plans.select("episode_id", "kind", planned="right"), on="episode_id", how="inner", maintain_order="left"
    )
    informed = told.filter(pl.col("kind") == "informed", pl.col("right") == pl.col("planned"))
    share = INFORMED_WEIGHT / max(informed["episode_id"].n_unique(), 1)
    informed = informed.with_columns(weight=share / pl.len().over("episode_id"))
    decoys = told.filter(pl.col("kind") != "informed").with_columns(weight=DECOY_WEIGHT / pl.len())
    calm = quiet.filter(judged).with_columns(weight=pl.lit(1.0))
    order = ["session", "underlying", "right"]
    groups = [informed.sort("episode_id", *order), calm.sort(order), decoys.sort("episode_id", *order)]
    curved = [factor.column for factor in scoring.FACTORS if not factor.lowers]
    lowering = [f.column for f in scoring.FACTORS if f.lowers and f.column not in HELD_FIXED]
    design = np.vstack([_design(group, curved, lowering, grouped) for group in groups])
    weight = np.concatenate([group["weight"].to_numpy() for group in groups])
    held = np.concatenate([group.select(_fixed()).to_series().to_numpy() for group in groups])
    kind = np.repeat(["informed", "calm", "decoy"], [group.height for group in groups])
    beta = _focused(design, kind, weight, held, design.shape[1] - len(lowering), focus_rounds)
    rising = beta[: len(beta) - len(lowering)].reshape(1 + len(model.GROUPS), len(curved), -1)
    slopes = np.round(rising[0] + rising[1:], 4)
    used = {
        column: tuple(tuple(map(float, row)) for row in slopes[:, number])
        for number, column in enumerate(curved)
        if slopes[:, number].any()
    }
    return Model(
        used,
        {column: tuple(offset(row) for row in rows) for column, rows in used.items()},
        {c: float(min(v, 0.0)) for c, v in zip(lowering, np.round(beta[rising.size :], 4), strict=True)} | HELD_FIXED,
        about | {"rows": {"informed": informed.height, "undisturbed": calm.height, "decoys": decoys.height}},
    )


def _design(group: pl.DataFrame, curved: Sequence[str], lowering: Sequence[str], grouped: bool) -> np.ndarray:
    """Columns: segments of each curve, for all groups of hosts; the same for each group alone; what speaks against."""
    segments = group.select(
        part.fill_null(0.0).alias(f"{column}.{number}")
        for column in curved
        for number, part in enumerate(model.segments(-pl.col(f"{column}_u").log()))
    ).to_numpy()
    size = group.select(model.group(pl.col("activity"))).to_series().to_numpy()[:, None]
    own = [segments * (size == number) * grouped for number in range(len(model.GROUPS))]
    return np.hstack([segments, *own, group.select(pl.col(lowering).fill_null(0.0)).to_numpy()])


def _focused(
    design: np.ndarray, kind: np.ndarray, weight: np.ndarray, held: np.ndarray, rising: int, rounds: int
) -> np.ndarray:
    """Weights of the regression, fitted again where the line between alarms and the rest runs."""
    marks = (kind == "informed").astype(float)
    floor = np.where(kind == "informed", FOCUS_FLOOR["informed"], FOCUS_FLOOR["others"])
    beta = logistic(design, marks, weight, held, rising)
    for _ in range(rounds):
        score = design @ beta + held
        above = (score - np.quantile(score[kind == "calm"], FOCUS_QUANTILE)) / FOCUS_WIDTH
        near = 1.0 / (1.0 + np.exp(-np.clip(above, -30.0, 30.0)))
        beta = logistic(design, marks, weight * (floor + (1.0 - floor) * near), held, rising)
    return beta


def _fixed() -> pl.Expr:
    return pl.sum_horizontal(pl.col(column) * nats for column, nats in HELD_FIXED.items())


def logistic(design: np.ndarray, marks: np.ndarray, weight: np.ndarray, held: np.ndarray, rising: int) -> np.ndarray:
    """Weights of a penalised logistic regression with `held` as given part of the log odds.

    The first `rising` weights are held at or above 0, the others at or below.
    """
    from scipy.optimize import minimize

    def loss(beta: np.ndarray) -> tuple[float, np.ndarray]:
        odds = np.clip(design @ beta[1:] + beta[0] + held, -30.0, 30.0)
        chance = 1.0 / (1.0 + np.exp(-odds))
        residual = weight * (chance - marks)
        value = float(np.sum(weight * (np.logaddexp(0.0, odds) - marks * odds)))
        penalty = 0.5 * RIDGE * float(beta[1:] @ beta[1:]) + LASSO * float(np.abs(beta[1:]).sum())
        slope = design.T @ residual + RIDGE * beta[1:] + LASSO * np.sign(beta[1:])
        return value + penalty, np.concatenate([[residual.sum()], slope])

    bounds = [(None, None)] + [(0.0, None)] * rising + [(None, 0.0)] * (design.shape[1] - rising)
    start = np.zeros(design.shape[1] + 1)
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 500})
    return found.x[1:]


def offset(slopes: Sequence[float]) -> float:
    """-ln of the mean of e^curve where -ln u is exponential (nothing happened): makes it a ratio of densities."""
    surprise = (np.arange(20_000) + 0.5) / 1_000.0
    density = np.exp(-surprise) / np.exp(-surprise).sum()
    curve = sum(
        slope * np.clip(surprise - low, 0.0, high - low)
        for slope, low, high in zip(slopes, model.KNOTS, model.KNOTS[1:], strict=False)
    )
    return round(float(-np.log((density * np.exp(curve)).sum())), 4)


def main() -> int:
    """Fit on a recording and print what every factor got."""
    from flowlake.evaluate import crossval
    from flowlake.evaluate.runner import eligible_hosts
    from flowlake.sandbox.recorded import RecordedMarket

    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--recording", type=Path, required=True, help="folder of recorded sessions")
    options.add_argument(
        "--output", type=Path, required=True, help="folder of cached hosts, that of `flowlake evaluate`"
    )
    options.add_argument("--write", type=Path, help="where to write the fitted parameters")
    options.add_argument(
        "--cross-validate", action="store_true", help="print recall on underlyings that each of five fits has not seen"
    )
    asked = options.parse_args()
    placed = hosts.build_hosts(RecordedMarket(asked.recording), asked.output / "hosts", progress=_tell)
    wanted = Fit()
    found = gather(placed, eligible_hosts(placed, wanted.first)[0], wanted, _tell)
    fitted = fit_curves(found.injected, found.quiet, found.plans, found.about)
    for column, rows in fitted.slopes.items():
        for group, slopes, shift in zip(model.GROUPS, rows, fitted.offsets[column], strict=True):
            print(f"{column:28} {group:14} {' '.join(f'{slope:6.3f}' for slope in slopes)}  offset {shift:+.3f}")
    for column, nats in fitted.lowering.items():
        print(f"{column:28} {nats:+.3f} per unit")
    print(f"{fitted.fitted_on['rows']} -> {scoring.model_id(fitted)}")
    if asked.write:
        model.save(fitted, asked.write)
    if asked.cross_validate:
        print(crossval.as_markdown(crossval.cross_validated(found, placed.trailing, progress=_tell)))
    return 0


def _tell(what: str, done: int, total: int) -> None:
    print(f"\r{what}: {done} of {total}   ", end="" if done < total else "\n", file=sys.stderr, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
