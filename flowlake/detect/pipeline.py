"""One session's detection from its chain, its baselines and what trailing sessions recorded: frames in, tables out."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date

import polars as pl

from flowlake import schemas
from flowlake.detect import (
    context,
    expectation,
    lookalikes,
    low_volume,
    multi_strike,
    null,
    open_interest,
    scoring,
    sides,
    volume,
)
from flowlake.detect.panel import FutureData

ALGORITHMS = {
    "anomalies_volume": volume,
    "anomalies_open_interest": open_interest,
    "anomalies_multi_strike": multi_strike,
    "anomalies_low_volume": low_volume,
}
"""The algorithms by the table they write; each offers `statistic(lines)` and `anomalies(lines, sides)`."""

CALIBRATION_SESSIONS = 60
"""Trailing sessions of CALIBRATION_BINS and TICKER_STATISTICS that make up the null."""


@dataclass(frozen=True)
class Detection:
    """What one session's detection writes, table by table."""

    calibration_bins: pl.DataFrame
    ticker_statistics: pl.DataFrame
    anomalies_volume: pl.DataFrame
    anomalies_open_interest: pl.DataFrame
    anomalies_multi_strike: pl.DataFrame
    anomalies_low_volume: pl.DataFrame
    scored_events: pl.DataFrame

    def tables(self) -> dict[str, pl.DataFrame]:
        """Frames by the name of the lake table they belong to."""
        return dict(vars(self))


def detect_session(
    session: date,
    chains: pl.DataFrame,
    contract_baselines: pl.DataFrame,
    ticker_baselines: pl.DataFrame,
    trailing_bins: pl.DataFrame,
    trailing_statistics: pl.DataFrame,
    *,
    known: pl.DataFrame | None = None,
    own_history: pl.DataFrame | None = None,
) -> Detection:
    """Run the four same-day algorithms and the score on `session`.

    `chains`, `contract_baselines`, `ticker_baselines` are the session's partitions of those tables; `trailing_bins` and
    `trailing_statistics` those of `calibration_bins` and `ticker_statistics` over the `CALIBRATION_SESSIONS` sessions
    before it (empty frames at the start of a lake). A row of `session` or later in them raises `FutureData`. With no
    history nothing is flagged and nothing fails: baselines need 5 sessions, p-values one session more, ranks another.
    `known` (context.KNOWN_SCHEMA: underlying, annotation) are reasons for activity that were public by the session's
    close; each lowers its underlying's evidence by `context.lowering`, shown among the event's factors.
    `own_history` (TICKER_STATISTICS, earlier sessions) is what a side's evidence is compared with as its own past,
    where that is not `trailing_statistics`.
    """
    lines = expectation.lines(chains, contract_baselines, ticker_baselines)
    return detect_lines(
        session, lines, chains, trailing_bins, trailing_statistics, known=known, own_history=own_history
    )


def detect_lines(
    session: date,
    lines: pl.DataFrame,
    chains: pl.DataFrame,
    trailing_bins: pl.DataFrame,
    trailing_statistics: pl.DataFrame,
    *,
    smallest_factor: float = expectation.SMALLEST_FACTOR,
    unmeasured: Collection[str] = (),
    known: pl.DataFrame | None = None,
    own_history: pl.DataFrame | None = None,
) -> Detection:
    """`detect_session` from `lines` on (as `expectation.lines` returns them).

    The rest-of-chain factor is held above `smallest_factor`; columns of `sides.EVIDENCE` in `unmeasured` do not count.
    """
    for trailing in (trailing_bins, trailing_statistics, own_history):
        _require_past(trailing, session)
    usual = ("volume", "volume_mean_20", "volume_n_20", "volume", "profile_volume_mean")
    lines = expectation.expect(lines, *usual, smallest_factor=smallest_factor)
    lines = expectation.expect(lines, "opened", "oi_change_opened_mean_20", "oi_change_n_20", "open_interest")
    bins = pl.concat([null.histogram(lines, name) for name in ("volume", "open_interest")])
    for name in ("volume", "open_interest"):
        lines = null.line_p_values(lines, name, null.line_null(trailing_bins, name))
    lines = lookalikes.annotate(lines)
    evidence = sides.side_evidence(lines).with_columns(pl.lit(None, pl.Float64).alias(name) for name in unmeasured)
    evidence = sides.against_own(evidence, trailing_statistics if own_history is None else own_history)
    weighed = scoring.weigh(sides.compare(evidence, trailing_statistics), context.collected(known))
    found = {table: algorithm.anomalies(lines, weighed) for table, algorithm in ALGORITHMS.items()}
    anomalies = pl.concat(frame.select("underlying", "right", "algorithm") for frame in found.values())
    stamp = chains.select(
        session=pl.lit(session), available_at=pl.col("available_at").max(), origin=pl.col("origin").min()
    ).head(1)
    events = scoring.score_events(session, lines, _stamped(weighed, stamp), trailing_statistics, anomalies)
    return Detection(
        calibration_bins=_table("calibration_bins", bins, stamp),
        ticker_statistics=_table(
            "ticker_statistics", weighed.with_columns(null_n=pl.col("volume_surprise_n").cast(pl.Int32)), stamp
        ),
        scored_events=events,
        **found,
    )


def _require_past(trailing: pl.DataFrame | None, session: date) -> None:
    latest = None if trailing is None else trailing["session"].max()
    if isinstance(latest, date) and latest >= session:
        raise FutureData(f"detection of {session} may only be calibrated on earlier sessions, but was given {latest}")


def _stamped(frame: pl.DataFrame, stamp: pl.DataFrame) -> pl.DataFrame:
    """`frame` with the session, its availability and its origin on every row."""
    return frame.drop(stamp.columns, strict=False).join(stamp, how="cross", maintain_order="left")


def _table(name: str, frame: pl.DataFrame, stamp: pl.DataFrame) -> pl.DataFrame:
    table = schemas.table(name)
    return table.conform(_stamped(frame, stamp).select(list(table.schema)))
