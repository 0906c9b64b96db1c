"""Algorithm 3, coordinated strikes: neighbouring lines on one side that are mildly unusual together (a ladder).

A run is at least two adjacent listed strikes of one expiration, or one strike in adjacent expirations, at or out of the
money, each with p <= 0.05. Their p-values combine by Fisher's method; each is held at 1e-4 or more, so that a
run needs several lines and cannot live off one. The lift of the whole chain is already in what was expected.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from flowlake.detect import findings

STATISTIC = "ladder_surprise"

LARGEST_P = 0.05
SMALLEST_P = 1e-4
LARGEST_DELTA = 0.55
MIN_VOLUME = 20
MIN_RUN_VOLUME = 100
"""Contracts below which a line, and a whole run, do not count."""


def statistic(lines: pl.DataFrame) -> pl.DataFrame:
    """Per underlying and right: `ladder_surprise`, -log10 of Fisher's combined p over the best run; 0 without one."""
    judged = lines.group_by("underlying", "right", maintain_order=True).agg(
        judged=pl.col("volume_p").is_not_null().any()
    )
    best = best_runs(lines).select("underlying", "right", pl.col("run_statistic").alias(STATISTIC))
    return judged.join(best, on=["underlying", "right"], how="left", maintain_order="left").select(
        "underlying", "right", pl.when("judged").then(pl.col(STATISTIC).fill_null(0.0)).alias(STATISTIC)
    )


def anomalies(lines: pl.DataFrame, sides: pl.DataFrame) -> pl.DataFrame:
    """ANOMALIES_MULTI_STRIKE rows: one per flagged side, naming the leading line of its best run."""
    runs = best_runs(lines)
    flagged = findings.flagged_sides(sides, STATISTIC).join(runs, on=["underlying", "right"], how="inner")
    rows = flagged.join(lines, on=["underlying", "right", "contract_id"], how="inner").with_columns(
        observed=pl.col("run_volume").cast(pl.Float64),
        expected=pl.col("run_expected"),
        statistic=pl.col("run_statistic"),
        p_value=pl.col("ticker_p_value"),
        lines=pl.col("run_lines"),
        volume=pl.col("run_volume"),
        null_n=pl.col("ticker_null_n"),
    )
    return findings.anomaly_rows(rows, "multi_strike", _explain)


def best_runs(lines: pl.DataFrame) -> pl.DataFrame:
    """The strongest run per underlying and right.

    Columns: underlying, right, run_statistic, run_lines, run_volume, run_expected, run_premium_usd, strikes,
    expirations, equal_sizes (the look of a spread), contract_id of its largest line.
    """
    candidates = lines.select(
        *("contract_id", "underlying", "right", "root", "expiration", "strike"),
        *("volume", "volume_p", "volume_expected", "price", "multiplier"),
        unusual=(pl.col("volume_p") <= LARGEST_P)
        & (pl.col("volume") >= MIN_VOLUME)
        & (pl.col("delta").abs().fill_null(0.0) <= LARGEST_DELTA),
    )
    along_strikes = _runs(candidates, ["underlying", "right", "root", "expiration"], "strike")
    along_expirations = _runs(candidates, ["underlying", "right", "root", "strike"], "expiration")
    runs = pl.concat([along_strikes, along_expirations])
    return runs.sort(
        "underlying", "right", "run_statistic", "contract_id", descending=[False, False, True, False]
    ).unique(["underlying", "right"], keep="first", maintain_order=True)


def _runs(candidates: pl.DataFrame, series: list[str], along: str) -> pl.DataFrame:
    """Runs of unusual lines that are neighbours in their series, ordered by `along`."""
    columns = [*dict.fromkeys(["underlying", "right", *series, along, "strike", "expiration"]), "contract_id"]
    # Few series hold two unusual lines; the others cannot hold a run and need not be sorted.
    several = candidates.filter("unusual").group_by(series).len().filter(pl.col("len") >= 2)
    ordered = (
        candidates.select(*columns, "unusual", "volume", "volume_p", "volume_expected", "price", "multiplier")
        .join(several, on=series, how="semi")
        .sort(*series, along, "contract_id")
    )
    members = (
        ordered.with_columns(run=pl.struct(*series, "unusual").rle_id())
        .filter("unusual")
        .with_columns(surprise=-pl.col("volume_p").clip(SMALLEST_P, 1.0).log())
    )
    premium = pl.col("volume") * pl.col("price").fill_null(0.0) * pl.col("multiplier")
    spread_like = (pl.col("volume").max() - pl.col("volume").min()) <= 0.02 * pl.col("volume").max()
    runs = (
        members.group_by("run", maintain_order=True)
        .agg(
            pl.col("underlying").first(),
            pl.col("right").first(),
            pl.col("surprise").sum(),
            pl.len().cast(pl.Int32).alias("run_lines"),
            pl.col("volume").sum().cast(pl.Int64).alias("run_volume"),
            pl.col("volume_expected").sum().alias("run_expected"),
            premium.sum().alias("run_premium_usd"),
            pl.col("strike").sort().unique(maintain_order=True).alias("strikes"),
            pl.col("expiration").sort().unique(maintain_order=True).alias("expirations"),
            spread_like.alias("equal_sizes"),
            pl.col("contract_id").get(pl.col("volume").arg_max()),
        )
        .filter(pl.col("run_lines") >= 2, pl.col("run_volume") >= MIN_RUN_VOLUME)
        .drop("run")
    )
    statistic = fisher(runs["surprise"].to_numpy(), runs["run_lines"].to_numpy())
    return runs.drop("surprise").with_columns(run_statistic=pl.Series(statistic, dtype=pl.Float64))


def fisher(surprise: np.ndarray, lines: np.ndarray) -> np.ndarray:
    """-log10 of Fisher's combined p-value of `lines` tests whose -ln p sum to `surprise` (chi-square, 2 x lines dof).

    For even degrees of freedom the survival function is exp(-y) sum_{i < k} y^i / i! (the Poisson-gamma identity).
    """
    terms = np.arange(int(lines.max(initial=1)))
    log_factorial = np.concatenate([[0.0], np.cumsum(np.log(terms[1:]))])
    with np.errstate(divide="ignore"):
        logs = terms[None, :] * np.log(surprise)[:, None] - log_factorial[None, :]
    logs = np.where(terms[None, :] < lines[:, None], logs, -np.inf)
    return (surprise - np.logaddexp.reduce(logs, axis=1)) / np.log(10.0)


def _explain(row: findings.Row) -> str:
    strikes, expirations = row["strikes"], row["expirations"]
    where = (
        f"{len(strikes)} neighbouring strikes ({strikes[0]:g} to {strikes[-1]:g}) of {expirations[0]:%-d %b %Y}"
        if len(strikes) > 1
        else f"strike {strikes[0]:g} in {len(expirations)} expirations to {expirations[-1]:%-d %b %Y}"
    )
    look = " Equal sizes look like a spread." if row["equal_sizes"] else ""
    return (
        f"{row['underlying']} {findings.SIDE[row['right']]}s: {where} traded {row['observed']:,.0f} contracts together "
        f"where about {row['expected']:,.0f} were expected. Comparable chains show such a run "
        f"{findings.frequency(row['p_value'])}.{look}"
    )
