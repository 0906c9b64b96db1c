"""What was normal before this session: per contract and per underlying, from sessions strictly before it.

Nothing is carried from day to day, so a backfill or a correction needs no repair: each session is recomputed from the
chains that precede it.
"""

from __future__ import annotations

from datetime import date

import numpy as np
import polars as pl

from flowlake import calendar, schemas
from flowlake.detect import buckets
from flowlake.detect.panel import (
    ABSENT,
    FutureData,
    Ints,
    Panel,
    Trailing,
    changes,
    load_panel,
    summarise,
    trailing_window,
)
from flowlake.detect.splits import incomparable_sessions, rescaled
from flowlake.options.splits import known_splits
from flowlake.schemas.detection import WINDOWS

LONGEST = max(WINDOWS)
RECENT = 5
"""Sessions over which a position is built: most public cases took at most these many."""

_LARGEST = int(np.iinfo(np.int32).max)

IDENTITY = ("contract_id", "underlying", "available_at", "origin")
STANDING = ("dte", "delta", "vendor_delta")
"""Where a contract stands on the day, for its profile."""

PROFILE_CELLS = 2 * buckets.PROFILE_DELTA_CLASSES * buckets.PROFILE_DTE_CLASSES
"""Places in a chain: side, |delta| class, days-to-expiration class."""

__all__ = ["FutureData", "contract_baselines", "ticker_baselines"]


def contract_baselines(
    session: date, chains: pl.DataFrame, trailing: Trailing, actions: pl.DataFrame | None = None
) -> pl.DataFrame:
    """CONTRACT_BASELINES of `session`: exact statistics of each contract of `chains` over 20 and 60 trailing sessions.

    `trailing` maps earlier sessions to their option chains (contract_id, underlying, right, dte, delta, vendor_delta,
    volume, open_interest, price, implied_volatility, basis); up to 60 are read, a later session raises `FutureData`.
    Windows count calendar sessions, so a session that is missing shortens n instead of reaching further back.
    Open-interest changes across a split in `actions` (CORPORATE_ACTIONS) are left out.
    """
    today = chains.select(*IDENTITY, "right", *STANDING).sort("contract_id")
    panel = load_panel(today["contract_id"].to_numpy(), trailing, session, LONGEST)
    oi_changes = _comparable_changes(panel, today["underlying"], known_splits(actions))
    columns: dict[str, np.ndarray] = {}
    for window in WINDOWS:
        volume = summarise(panel.volume[-window:])
        # A change needs both ends inside the window, hence one row fewer.
        oi_change = summarise(oi_changes[1 - window :])
        for name in ("n", "zero_days", "mean", "std", "median", "mad", "max"):
            columns[f"volume_{name}_{window}"] = volume[name]
        for name in ("n", "mean", "std", "median", "mad", "max", "opened_mean"):
            columns[f"oi_change_{name}_{window}"] = oi_change[name]
    age, before_window = _listing_age(panel)
    columns["listing_age"], columns["listed_before_window"] = age, before_window
    columns["previous_volume"] = _last_row(panel.volume, panel, session)
    columns["volume_sum_5"] = _recent_volume(panel)
    columns["open_interest_5"] = _earlier_interest(panel)
    columns["previous_open_interest"] = _last_row(panel.open_interest, panel, session)
    parts = [today.select(IDENTITY), pl.DataFrame(columns), _profile(today, trailing, session)]
    frame = pl.concat(parts, how="horizontal")
    frame = frame.join(_previous_prices(trailing, session), on="contract_id", how="left", maintain_order="left")
    frame = _hide_split_interest(frame, session, known_splits(actions))
    floats = pl.selectors.float()
    whole = [c.name for c in schemas.table("contract_baselines").columns if c.dtype == pl.Int32 and c.nullable]
    frame = frame.with_columns(floats.fill_nan(None), pl.col(whole).replace(ABSENT, None), session=pl.lit(session))
    return schemas.table("contract_baselines").conform(frame.select(list(schemas.table("contract_baselines").schema)))


def _profile(today: pl.DataFrame, trailing: Trailing, session: date) -> pl.DataFrame:
    """Mean volume per contract of each chain by side, |delta| and days to expiration as they were on the day.

    A contract's own history was written when it was longer-dated and elsewhere on the smile; this says what trades
    where it stands now. One row per row of `today`: profile_volume_mean (null without any such contract), profile_n.
    """
    underlyings = pl.Enum(today["underlying"].unique().sort())
    cell = _profile_cell(underlyings).alias("cell")
    cells = len(underlyings.categories) * PROFILE_CELLS
    # Whole contracts add up exactly in any order, so the result does not depend on it.
    volume, n = np.zeros(cells), np.zeros(cells, dtype=np.int64)
    for day in trailing_window(trailing, session, min(WINDOWS)):
        if day in trailing:
            chain = trailing[day].select(cell, pl.col("volume").fill_null(0)).drop_nulls("cell").collect()
            at = chain["cell"].to_numpy()
            volume += np.bincount(at, weights=chain["volume"].to_numpy(), minlength=cells)
            n += np.bincount(at, minlength=cells)
    own = today.select(cell)["cell"].to_numpy()
    with np.errstate(invalid="ignore"):
        mean = (volume / n)[own]
    return pl.DataFrame({"profile_volume_mean": mean, "profile_n": n[own].astype(np.int32)})


def _profile_cell(underlyings: pl.Enum) -> pl.Expr:
    """Number of the contract's underlying, side, |delta| class and days-to-expiration class; null for other names."""
    name = pl.col("underlying").cast(underlyings, strict=False).to_physical().cast(pl.Int32)
    side = name * 2 + (pl.col("right") == "P")
    delta = buckets.delta_class(pl.coalesce("delta", "vendor_delta"), buckets.PROFILE_DELTA_EDGES)
    days = buckets.dte_class(pl.col("dte"), buckets.PROFILE_DTE_EDGES)
    return (side * buckets.PROFILE_DELTA_CLASSES + delta) * buckets.PROFILE_DTE_CLASSES + days


def _comparable_changes(panel: Panel, underlyings: pl.Series, splits: pl.DataFrame) -> Ints:
    result = changes(panel.open_interest)
    # A handful of splits fall into any 60 sessions; everything else stays vectorised.
    for underlying, effective_on in splits.select("underlying", "effective_on").iter_rows():
        rows = [row for row, day in enumerate(panel.sessions) if day in incomparable_sessions(effective_on)]
        if rows:
            columns = np.flatnonzero((underlyings == underlying).to_numpy())
            result[np.asarray(rows)[:, None], columns] = ABSENT
    return result


def _recent_volume(panel: Panel) -> Ints:
    """Volume of the `RECENT` sessions before, whatever of them is known."""
    recent = panel.volume[-RECENT:]
    return np.where(recent == ABSENT, 0, recent).sum(axis=0, dtype=np.int64).clip(max=_LARGEST).astype(np.int32)


def _earlier_interest(panel: Panel) -> Ints:
    """Open interest `RECENT` sessions ago: 0 where the contract was not listed yet, `ABSENT` where it is unknown."""
    if len(panel.sessions) < RECENT:
        return np.full(panel.volume.shape[1], ABSENT, dtype=np.int32)
    interest, volume = panel.open_interest[-RECENT], panel.volume[-RECENT]
    unlisted = (volume == ABSENT) & bool((interest != ABSENT).any())
    return np.where(interest != ABSENT, interest, np.where(unlisted, 0, ABSENT)).astype(np.int32)


def _hide_split_interest(frame: pl.DataFrame, session: date, splits: pl.DataFrame) -> pl.DataFrame:
    """Without an earlier open interest there is no change, hence no alarm, on a split session or across it."""
    hidden = [
        underlying
        for underlying, effective_on in splits.select("underlying", "effective_on").iter_rows()
        if session in incomparable_sessions(effective_on)
    ]
    recent = {session, *calendar.trailing_sessions(session, RECENT)}
    renumbered = [
        underlying
        for underlying, effective_on in splits.select("underlying", "effective_on").iter_rows()
        if recent & set(incomparable_sessions(effective_on))
    ]
    return frame.with_columns(
        previous_open_interest=pl.when(~pl.col("underlying").is_in(hidden)).then(pl.col("previous_open_interest")),
        open_interest_5=pl.when(~pl.col("underlying").is_in(renumbered)).then(pl.col("open_interest_5")),
    )


def _listing_age(panel: Panel) -> tuple[np.ndarray, np.ndarray]:
    """Sessions since the first listing in the panel, and whether the oldest loaded session already listed it."""
    unlisted = len(panel.sessions)
    first = np.full(panel.volume.shape[1], unlisted, dtype=np.int16)
    for row in reversed(range(unlisted)):
        np.putmask(first, panel.volume[row] != ABSENT, row)
    return unlisted - first, first == first.min(initial=unlisted)


def _last_row(values: Ints, panel: Panel, session: date) -> Ints:
    if panel.sessions and panel.sessions[-1] == calendar.previous_session(session):
        return values[-1]
    return np.full(values.shape[1], ABSENT, dtype=np.int32)


def _previous_prices(trailing: Trailing, session: date) -> pl.DataFrame:
    columns = {"contract_id": pl.Int32, "previous_price": pl.Float64, "previous_implied_volatility": pl.Float32}
    chain = trailing.get(calendar.previous_session(session))
    if chain is None:
        return pl.DataFrame(schema=columns)
    return chain.select(
        "contract_id", previous_price="price", previous_implied_volatility="implied_volatility"
    ).collect()


def ticker_baselines(
    session: date, chains: pl.DataFrame, trailing: Trailing, actions: pl.DataFrame | None = None
) -> pl.DataFrame:
    """TICKER_BASELINES of `session`: what each underlying of `chains` traded over the trailing 20 and 60 sessions.

    `trailing` as for `contract_baselines` (underlying, right, volume, price, multiplier, spot). Sessions before a split
    in `actions` are restated: contracts times the ratio, prices divided by it. Returns are close to close, in logs.
    """
    days = [day for day in trailing_window(trailing, session, LONGEST) if day in trailing]
    totals = pl.collect_all([_daily_totals(trailing[day]).with_columns(session=pl.lit(day)) for day in days])
    splits = known_splits(actions)
    tickers = chains.group_by("underlying").agg(pl.col("available_at").max(), pl.col("origin").first())
    history = pl.concat(totals) if totals else _no_totals()
    history = rescaled(history, splits, session).with_columns(
        pl.col("volume", "call_volume", "put_volume") * pl.col("ratio"), spot=pl.col("spot") / pl.col("ratio")
    )
    frame = tickers
    for window in WINDOWS:
        start = calendar.previous_session(session, window)
        frame = frame.join(_ticker_window(history, start, window), on="underlying", how="left")
    previous = history.filter(pl.col("session") == calendar.previous_session(session))
    frame = (
        frame.join(previous.select("underlying", previous_spot="spot"), on="underlying", how="left")
        .join(_return_statistics(history, session), on="underlying", how="left")
        .join(_latest_split(splits, session), on="underlying", how="left")
        .with_columns(pl.col("^n_\\d+$", "return_n").fill_null(0), session=pl.lit(session))
    )
    return schemas.table("ticker_baselines").conform(frame.select(list(schemas.table("ticker_baselines").schema)))


def _daily_totals(chain: pl.LazyFrame) -> pl.LazyFrame:
    """Volume, premium and spot of each underlying.

    Chains lie sorted by underlying: runs of equal names are added up first, which costs a fraction of hashing the name
    of every contract and is as right in any other order.
    """
    volume, right = pl.col("volume").cast(pl.Int64), pl.col("right")
    # Whole cents add up exactly in any order, so the sum does not depend on how the work is split.
    cents = pl.col("volume") * pl.col("price").fill_null(0.0) * pl.col("multiplier") * 100.0
    runs = (
        chain.select(
            "underlying",
            "spot",
            run=pl.col("underlying").rle_id().set_sorted(),
            volume=volume,
            call_volume=pl.when(right == "C").then(volume),
            put_volume=pl.when(right == "P").then(volume),
            cents=cents.round().cast(pl.Int64),
        )
        .group_by("run")
        .agg(
            pl.col("underlying").first(),
            pl.col("volume", "call_volume", "put_volume", "cents").sum(),
            pl.col("spot").max(),
        )
    )
    return runs.group_by("underlying").agg(
        pl.col("volume", "call_volume", "put_volume").sum().cast(pl.Float64),
        premium_usd=pl.col("cents").sum() / 100.0,
        spot=pl.col("spot").max(),
    )


def _no_totals() -> pl.DataFrame:
    numbers = dict.fromkeys(("volume", "call_volume", "put_volume", "premium_usd", "spot"), pl.Float64)
    return pl.DataFrame(schema={"underlying": pl.String, **numbers, "session": pl.Date})


def _ticker_window(history: pl.DataFrame, start: date, window: int) -> pl.DataFrame:
    volume = pl.col("volume")
    return (
        history.filter(pl.col("session") >= start)
        .sort("underlying", "session")
        .group_by("underlying", maintain_order=True)
        .agg(
            pl.len().alias("n"),
            volume.mean().alias("volume_mean"),
            volume.std().alias("volume_std"),
            volume.median().alias("volume_median"),
            (volume - volume.median()).abs().median().alias("volume_mad"),
            volume.max().alias("volume_max"),
            pl.col("call_volume").mean().alias("call_volume_mean"),
            pl.col("put_volume").mean().alias("put_volume_mean"),
            pl.col("premium_usd").mean().alias("premium_mean_usd"),
        )
        .rename(lambda name: name if name == "underlying" else f"{name}_{window}")
    )


def _return_statistics(history: pl.DataFrame, session: date, window: int = 20) -> pl.DataFrame:
    """Daily log returns whose later end lies in the trailing `window` sessions."""
    returns = (
        history.filter(pl.col("spot") > 0)
        .sort("underlying", "session")
        .with_columns(log_return=pl.col("spot").log().diff().over("underlying"))
        .filter(pl.col("session") >= calendar.previous_session(session, window), pl.col("log_return").is_not_null())
    )
    return returns.group_by("underlying").agg(return_n=pl.len(), return_std=pl.col("log_return").std())


def _latest_split(splits: pl.DataFrame, session: date) -> pl.DataFrame:
    """Sessions since the latest split within the longest window; 0 on the effective session."""
    days = [*calendar.trailing_sessions(session, LONGEST), session]
    latest = splits.filter(pl.col("effective_on").is_between(days[0], session)).group_by("underlying")
    since = pl.col("effective_on").map_elements(lambda day: sum(day < later for later in days), return_dtype=pl.Int16)
    return latest.agg(pl.col("effective_on").max()).select("underlying", sessions_since_split=since)
