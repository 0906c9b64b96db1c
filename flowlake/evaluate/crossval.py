"""What the fit's choices are worth on underlyings it has not seen: cross-validation within the sessions of the fit.

Each fold's episodes are scored by curves fitted on the underlyings of the other folds, and ranked among all undisturbed
ticker-sessions of the fit under those curves. The choices were made on these figures, so they are optimistic; what was
not looked at while choosing is in the evaluation's held-out part.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from flowlake.detect.model import Model
from flowlake.evaluate import judge, metrics, rivals
from flowlake.evaluate.fit import FOCUS_ROUNDS, Evidence, fit_curves
from flowlake.evaluate.hosts import Progress

FOLDS = 5
SEED = 5


@dataclass(frozen=True)
class Choice:
    """One way to fit and to rank."""

    name: str
    grouped: bool = True
    focus_rounds: int = FOCUS_ROUNDS
    level: bool = True


CHOICES = (
    Choice("as packaged"),
    Choice("what the market shares not taken off", level=False),
    Choice("one curve for all sizes of option market", grouped=False),
    Choice("fitted once, all rows alike", focus_rounds=0),
    Choice("none of the three", grouped=False, focus_rounds=0, level=False),
)


def cross_validated(found: Evidence, trailing: judge.Trailing, progress: Progress | None = None) -> pl.DataFrame:
    """Recall by score and arm: name, arm, budget, caught, n, recall, low, high; the simple rules are not fitted."""
    arms = found.plans.select("episode_id", "arm")
    parts = []
    for done, choice in enumerate(CHOICES):
        parts.append(_recall(_ranks(found, trailing, choice), arms, choice.name))
        if progress is not None:
            progress("cross-validation", done + 1, len(CHOICES))
    clean = found.clean_rules.filter(pl.col("session") >= found.judged_from)
    for rule, name in rivals.RULES.items():
        if rule != "random":
            keys = ["session", "underlying", pl.col(rule).alias("score")]
            ranked = judge.ranks(found.injected_rules.select("episode_id", *keys), clean.select(keys))
            parts.append(_recall(ranked, arms, name))
    return pl.concat(parts)


def _recall(ranked: pl.DataFrame, arms: pl.DataFrame, name: str) -> pl.DataFrame:
    best = judge.best(ranked).join(arms, on="episode_id")
    return metrics.recall(best, ["arm"]).with_columns(name=pl.lit(name))


def _ranks(found: Evidence, trailing: judge.Trailing, choice: Choice) -> pl.DataFrame:
    """`judge.ranks` of every episode under the curves of the folds it is not in."""
    names = found.clean["underlying"].unique().sort()
    fold = np.random.default_rng(SEED).integers(0, FOLDS, len(names))
    parts = []
    for number in range(FOLDS):
        unseen = pl.col("underlying").is_in(names.filter(pl.Series(fold == number)).implode())
        fitted = fit_curves(
            found.injected.filter(~unseen),
            found.quiet.filter(~unseen),
            found.plans,
            found.about,
            grouped=choice.grouped,
            focus_rounds=choice.focus_rounds,
        )
        parts.append(_ranked(found, found.injected.filter(unseen), fitted, trailing, choice.level))
    return pl.concat(parts)


def _ranked(
    found: Evidence, injected: pl.DataFrame, fitted: Model, trailing: judge.Trailing, level: bool
) -> pl.DataFrame:
    parts = judge.contributions(fitted)
    totals = judge.totals(found.clean, parts)
    judged = totals.filter(pl.col("session") >= found.judged_from)
    return judge.ranks(
        judge.p_values(judge.totals(injected, parts), totals, trailing, level=level),
        judge.p_values(judged, totals, trailing, level=level),
    )


def as_markdown(recall: pl.DataFrame) -> str:
    """A table of `cross_validated`: any and quiet hosts at 10, 50 and 100 of 6,000, decoys at 50."""
    columns = [("informed", 10), ("informed", 50), ("informed", 100), ("quiet", 10), ("quiet", 50), ("quiet", 100)]
    columns.append(("decoy", 50))
    head = ["score", *(f"{arm} @{budget}" for arm, budget in columns)]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for (name,), rows in recall.group_by("name", maintain_order=True):
        share = {(row["arm"], row["budget"]): row["recall"] for row in rows.iter_rows(named=True)}
        lines.append(f"| {name} | " + " | ".join(f"{100 * share[column]:.1f} %" for column in columns) + " |")
    counts = recall.unique("arm", maintain_order=True).select("arm", "n").iter_rows()
    return "\n".join([*lines, "", "Episodes: " + ", ".join(f"{arm} {n:,}" for arm, n in counts)])
