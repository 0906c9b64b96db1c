"""All families of one session or snapshot put together: frames in, OPTIONS_FLOW_FEATURES out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import reduce

import polars as pl

from flowlake import calendar
from flowlake.features.concentration import concentration_features
from flowlake.features.congress import congress_features
from flowlake.features.events import event_features
from flowlake.features.exposure import exposure_features, gamma_by_strike
from flowlake.features.indicators import indicator_features
from flowlake.features.insiders import insider_features
from flowlake.features.lines import chain_lines
from flowlake.features.open_interest import open_interest_features
from flowlake.features.regime import BENCHMARK, regime_features
from flowlake.features.stock import STOCKS, stock_features, stock_panel
from flowlake.features.sums import KEY
from flowlake.features.volatility import parity_features, percentile, premium_features, smirk, surface_features
from flowlake.features.volume import volume_features
from flowlake.schemas import UTC_TIME, Table
from flowlake.schemas.features import GAMMA_EXPOSURE_BY_STRIKE, OPTIONS_FLOW_FEATURES
from flowlake.schemas.options import IV_SURFACE

HISTORY_SESSIONS = 126
"""Trailing sessions of the feature table itself that changes and percentiles look at."""
PERCENTILE_SESSIONS = 60
HISTORY = pl.Schema(
    {
        "session": pl.Date,
        KEY: pl.String,
        "option_stock_ratio": pl.Float64,
        "iv_30": pl.Float64,
        "available_at": UTC_TIME,
    }
)
"""What is read of trailing rows of the feature table."""


@dataclass(frozen=True)
class FlowInputs:
    """What the features of one moment are made from, by the tables' own names; what is None is not in the lake.

    `chains`, `surface`, `found` (anomalies_*, scored_events, ticker_statistics by name), the baselines and `insiders`
    are of the session or snapshot described. `stocks` (STOCKS) holds the session and up to 251 before it,
    `earlier_surfaces` the five sessions before, `history` (HISTORY) the 126 before. Rows of these three that became
    known after the described moment are not used.
    """

    session: date
    event_time: datetime
    chains: pl.DataFrame
    surface: pl.DataFrame
    earlier_surfaces: pl.DataFrame = field(default_factory=IV_SURFACE.empty)
    contract_baselines: pl.DataFrame | None = None
    ticker_baselines: pl.DataFrame | None = None
    stocks: pl.DataFrame = field(default_factory=STOCKS.to_frame)
    actions: pl.DataFrame | None = None
    history: pl.DataFrame = field(default_factory=HISTORY.to_frame)
    found: Mapping[str, pl.DataFrame] = field(default_factory=dict)
    insiders: pl.DataFrame | None = None
    congress: pl.DataFrame | None = None

    @property
    def known_at(self) -> datetime:
        """When the last input of the described session itself became known: `available_at` of every row."""
        today = self.stocks.filter(pl.col("session") == self.session)
        frames = [self.chains, self.surface, today, *self.found.values()]
        moments = [frame["available_at"].max() for frame in frames if frame.height]
        return max(moment for moment in moments if isinstance(moment, datetime))


def flow_features(inputs: FlowInputs, table: Table = OPTIONS_FLOW_FEATURES) -> dict[str, pl.DataFrame]:
    """`table` (OPTIONS_FLOW_FEATURES or INTRADAY_FLOW_FEATURES) and GAMMA_EXPOSURE_BY_STRIKE of one moment, by name.

    One row per underlying of the chain. Everything in a row was known at its `available_at`.
    """
    if inputs.chains.is_empty():
        return {table.name: table.empty(), GAMMA_EXPOSURE_BY_STRIKE.name: GAMMA_EXPOSURE_BY_STRIKE.empty()}
    known_at = inputs.known_at
    lines = chain_lines(inputs.chains, inputs.contract_baselines)
    by_strike = gamma_by_strike(lines)
    base = _base(inputs, known_at)
    parts = [*_stock_parts(inputs, known_at, base), *_chain_parts(inputs, known_at, lines, by_strike)]
    parts += [
        event_features(base, inputs.found),
        insider_features(base, inputs.insiders, known_at),
        congress_features(base, inputs.congress, known_at),
    ]
    wanted = set(table.schema)
    stock, indicators = parts[:2]
    joined = reduce(lambda left, right: _joined(left, right, wanted), parts, base)
    joined = joined.join(regime_features(stock, indicators), how="cross")
    joined = joined.join(premium_features(joined, joined), on=KEY, how="left")
    features = table.conform(joined.select(list(table.schema)))
    stamp = base.select(KEY, "available_at", "origin").with_columns(session=pl.lit(inputs.session))
    strikes = by_strike.join(stamp, on=KEY, how="left").select(list(GAMMA_EXPOSURE_BY_STRIKE.schema))
    return {table.name: features, GAMMA_EXPOSURE_BY_STRIKE.name: GAMMA_EXPOSURE_BY_STRIKE.conform(strikes)}


def _joined(left: pl.DataFrame, right: pl.DataFrame, wanted: set[str]) -> pl.DataFrame:
    names = [name for name in right.columns if name in wanted and name not in left.columns]
    return left.join(right.select(KEY, *names), on=KEY, how="left")


def _base(inputs: FlowInputs, known_at: datetime) -> pl.DataFrame:
    snapshot = [pl.col("snapshot").first()] if "snapshot" in inputs.chains.columns else []
    return inputs.chains.group_by(KEY).agg(
        *snapshot,
        pl.col("spot", "basis", "origin").first(),
        session=pl.lit(inputs.session),
        event_time=pl.lit(inputs.event_time).cast(UTC_TIME),
        available_at=pl.lit(known_at).cast(UTC_TIME),
    )


def _stock_parts(inputs: FlowInputs, known_at: datetime, base: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    stocks = inputs.stocks.filter(pl.col("available_at") <= known_at)
    tickers = pl.concat([base[KEY], pl.Series(KEY, [BENCHMARK])])
    panel = stock_panel(stocks, tickers, inputs.session, inputs.actions)
    return stock_features(panel), indicator_features(panel)


def _chain_parts(
    inputs: FlowInputs, known_at: datetime, lines: pl.DataFrame, by_strike: pl.DataFrame
) -> list[pl.DataFrame]:
    shares = (
        inputs.stocks.filter(pl.col("session") == inputs.session)
        .select(pl.col("ticker").alias(KEY), stock_volume="volume")
        .unique(KEY, keep="first", maintain_order=True)
    )
    past = inputs.history.filter(pl.col("available_at") <= known_at)
    earlier = inputs.earlier_surfaces.filter(pl.col("available_at") <= known_at)
    levels = surface_features(inputs.surface, earlier, inputs.session)
    recent = pl.col("session") >= calendar.previous_session(inputs.session, PERCENTILE_SESSIONS)
    return [
        volume_features(lines, inputs.ticker_baselines, shares, past),
        concentration_features(lines),
        open_interest_features(lines),
        levels,
        percentile(levels, past.filter(recent)),
        parity_features(lines, inputs.actions, inputs.session),
        smirk(lines, shares),
        exposure_features(lines, by_strike),
    ]
