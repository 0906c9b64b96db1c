"""What explains activity without anybody knowing more: an annotation lowers the evidence of its underlying.

Whoever knows of such a reason (a calendar of earnings, an ex-dividend date, an announced deal) hands `detect_session`
one row per underlying and annotation; the score takes `lowering` of each off, and the event shows it among its factors.
Scheduled news is where uninformed volume is highest and where informed trading is rarer than before unscheduled news
(Kacperczyk and Pagnotta, Review of Financial Studies 32, 2019). The amounts are judgement: the recorded sessions have
no such calendar to fit them on.
"""

from __future__ import annotations

from collections.abc import Iterable

import polars as pl

LOWERING = {
    "known deal": 3.0,
    "deal": 3.0,
    "split": 2.0,
    "earnings": 1.5,
    "index rebalance": 1.5,
    "ex-dividend": 1.0,
}
"""Nats taken off the evidence, by how the annotation begins: 1.5 is odds of 4.5 to one. A name with an announced deal
trades on the deal; around a split lines are renumbered; before earnings everybody trades."""

KNOWN_SCHEMA = pl.Schema({"underlying": pl.String, "annotation": pl.String})
"""One known reason for activity: what `detect_session` takes as `known`."""


def lowering(annotation: str) -> float:
    """Nats that `annotation` takes off the evidence of its underlying, 0 where it only informs."""
    fitting = [beginning for beginning in LOWERING if annotation.lower().startswith(beginning)]
    return LOWERING[max(fitting, key=len)] if fitting else 0.0


def collected(known: pl.DataFrame | None) -> pl.DataFrame:
    """`known` (KNOWN_SCHEMA) by underlying: underlying, known (its annotations, sorted), context_llr (at most 0)."""
    rows = KNOWN_SCHEMA.to_frame() if known is None else known.select(list(KNOWN_SCHEMA)).unique()
    return (
        rows.sort("underlying", "annotation")
        .group_by("underlying", maintain_order=True)
        .agg(known=pl.col("annotation"))
        .with_columns(
            context_llr=pl.col("known").map_elements(lambda notes: -total_lowering(notes), return_dtype=pl.Float64)
        )
    )


def total_lowering(annotations: Iterable[str]) -> float:
    """Nats that all `annotations` of one underlying take off together."""
    return float(sum(lowering(annotation) for annotation in annotations))
