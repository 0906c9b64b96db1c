"""What followed the undisturbed sessions' own top events: signed abnormal returns against matched controls."""

from __future__ import annotations

import numpy as np
import polars as pl

HORIZONS = (1, 5, 10)
TOP_SHARE = 0.01
"""Events judged: p-value at most this, that is LOW conviction and above."""

CONTROLS = 3
TRIMMED = 0.05


def aftermath(
    clean: pl.DataFrame,
    tickers: pl.DataFrame,
    splits: pl.DataFrame,
    rng: np.random.Generator,
    draws: int = 2_000,
) -> dict[str, pl.DataFrame]:
    """Tables `aftermath` (one row per horizon and direction) and `aftermath_events`.

    `clean` has session, underlying, right, activity, p_value; `tickers` session, underlying, spot, previous_spot;
    `splits` underlying, effective_on. The abnormal return is the underlying's less the median of all on the same
    sessions, signed by the event's side (calls +, puts -). A control is a name of the same session and activity class
    with p above 0.2 whose return on the day is among the nearest; it takes the event's sign. Intervals resample whole
    days. Returns across a split are left out.
    """
    returns = forward_returns(tickers, splits)
    events = clean.filter(pl.col("p_value") <= TOP_SHARE).join(returns, on=["session", "underlying"])
    if events.is_empty():
        return {}
    quiet = clean.filter(pl.col("p_value") > 0.2).join(returns, on=["session", "underlying"])
    sign = pl.when(pl.col("right") == "C").then(1.0).otherwise(-1.0)
    pairs = (
        events.join(quiet, on=["session", "activity"], suffix="_control")
        .with_columns(apart=(pl.col("day_return") - pl.col("day_return_control")).abs())
        .sort("session", "underlying", "apart", "underlying_control")
        .group_by("session", "underlying", maintain_order=True)
        .head(CONTROLS)
        .group_by("session", "underlying", maintain_order=True)
        .agg(pl.col(f"abnormal_{h}_control").mean() for h in HORIZONS)
    )
    signed = events.join(pairs, on=["session", "underlying"], how="left").select(
        "session",
        "underlying",
        "right",
        "p_value",
        *((sign * pl.col(f"abnormal_{h}")).alias(f"event_{h}") for h in HORIZONS),
        *((sign * pl.col(f"abnormal_{h}_control")).alias(f"control_{h}") for h in HORIZONS),
    )
    rows = [
        _summary(signed.filter(pl.col("right").is_in(rights)), label, horizon, rng, draws)
        for label, rights in (("all", ["C", "P"]), ("bullish", ["C"]), ("bearish", ["P"]))
        for horizon in HORIZONS
    ]
    return {"aftermath": pl.DataFrame([row for row in rows if row]), "aftermath_events": signed}


def forward_returns(tickers: pl.DataFrame, splits: pl.DataFrame) -> pl.DataFrame:
    """session, underlying, day_return, and abnormal_{h}: the return over h sessions less the median of all names."""
    passed = (
        tickers.select("session", "underlying")
        .join(splits, on="underlying")
        .group_by("session", "underlying")
        .agg(terms=(pl.col("session") >= pl.col("effective_on")).sum())
    )
    ordered = (
        tickers.join(passed, on=["session", "underlying"], how="left")
        .with_columns(pl.col("terms").fill_null(0))
        .sort("underlying", "session")
    )
    log, terms = pl.col("spot").log(), pl.col("terms")
    for horizon in HORIZONS:
        # Across a split the two prices are of different shares.
        comparable = terms == terms.shift(-horizon).over("underlying")
        ahead = log.shift(-horizon).over("underlying") - log
        ordered = ordered.with_columns(pl.when(comparable).then(ahead).alias(f"ahead_{horizon}"))
    return ordered.select(
        "session",
        "underlying",
        (log - pl.col("previous_spot").log()).alias("day_return"),
        *(
            (pl.col(f"ahead_{h}") - pl.col(f"ahead_{h}").median().over("session")).alias(f"abnormal_{h}")
            for h in HORIZONS
        ),
    )


def _summary(signed: pl.DataFrame, label: str, horizon: int, rng: np.random.Generator, draws: int) -> dict | None:
    rows = signed.select("session", event=f"event_{horizon}", control=f"control_{horizon}").drop_nulls()
    if rows.height < 10:
        return None
    day = rows["session"].rank("dense").to_numpy().astype(int) - 1
    lift = (rows["event"] - rows["control"]).to_numpy()
    event = rows["event"].to_numpy()
    members = [np.flatnonzero(day == number) for number in range(day.max() + 1)]
    picked = rng.integers(0, len(members), (draws, len(members)))
    resampled = [np.concatenate([members[number] for number in row]) for row in picked]
    low, high = np.quantile([lift[row].mean() for row in resampled], [0.025, 0.975])
    trimmed_low, trimmed_high = np.quantile([_trimmed(lift[row]) for row in resampled], [0.025, 0.975])
    return {
        "direction": label, "horizon": horizon, "events": rows.height, "days": len(members),
        "event_mean": event.mean(), "control_mean": rows["control"].mean(),
        "lift": lift.mean(), "low": low, "high": high,
        "trimmed_lift": _trimmed(lift), "trimmed_low": trimmed_low, "trimmed_high": trimmed_high,
    }  # fmt: skip


def _trimmed(values: np.ndarray) -> float:
    """Mean without the `TRIMMED` share of values at either end."""
    ordered = np.sort(values)
    cut = int(TRIMMED * len(ordered))
    return float(ordered[cut : len(ordered) - cut].mean())
