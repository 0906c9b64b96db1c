"""Stage 2, option chains: the vendor's rows cleaned, numbered, and priced by us."""

from __future__ import annotations

from typing import Any

import dagster as dg
import polars as pl

from flowlake.defs.session_asset import Frames, Step, session_asset
from flowlake.options import implied_surface
from flowlake.options.chains import build_chains, build_chains_from_bars
from flowlake.schemas.market import CHAIN_QUARANTINE
from flowlake.schemas.options import CONTRACTS, IV_SURFACE, OPTION_CHAINS


def _solved(step: Step, frames: Frames) -> dict[str, Any]:
    chains = frames["option_chains"]
    if chains.is_empty():
        return {}
    put_volume = pl.col("volume").filter(pl.col("right") == "P").sum()
    figures = chains.select(
        (pl.col("iv_status") == "ok").mean().round(4).alias("share with our IV"),
        pl.col("implied_volatility").cast(pl.Float64).median().round(4).alias("median IV"),
        (pl.col("volume") > 0).sum().alias("contracts traded"),
        pl.col("volume").sum().alias("volume"),
        pl.col("open_interest").sum().alias("open interest"),
        (put_volume / pl.col("volume").sum()).round(4).alias("put share of volume"),
        pl.col("underlying").n_unique().alias("underlyings"),
    )
    return {name: value for name, value in figures.row(0, named=True).items() if value is not None}


def _typical(step: Step, frames: Frames) -> dict[str, Any]:
    surface = frames["iv_surface"].filter(pl.col("tenor_days") == 30)
    median = surface["atm_volatility"].median()
    return {} if median is None else {"median 30-day volatility": round(float(median), 4)}  # pyright: ignore


@session_asset(
    OPTION_CHAINS,
    also=(CONTRACTS, CHAIN_QUARANTINE),
    deps=[
        dg.AssetDep("raw_option_snapshots"),
        dg.AssetDep("raw_stock_snapshots"),
        dg.AssetDep("corporate_actions"),
    ],
    group="chains",
    kinds={"polars", "parquet"},
    pool="contract_ids",
    exclusive=True,
    metadata=_solved,
)
def option_chains(step: Step) -> Frames:
    """Contract ids are assigned under the lake's lock, so that two runs never number two contracts alike."""
    known = step.lake.scan("contracts").collect()
    stocks, actions = step.read("raw_stock_snapshots"), step.read("corporate_actions")
    bars = step.read("raw_option_bars")
    if bars.height:
        build = build_chains_from_bars(
            bars,
            _listed(known, bars, step),
            session=step.session,
            known_contracts=known,
            available_at=bars["available_at"].max(),  # pyright: ignore[reportArgumentType]
            origin=bars["origin"][0],
            stocks=stocks,
            actions=actions,
        )
    else:
        raw = step.read("raw_option_snapshots")
        build = build_chains(raw, session=step.session, known_contracts=known, stocks=stocks, actions=actions)
    return {"option_chains": build.chains, "contracts": build.new_contracts, "chain_quarantine": build.quarantine}


@session_asset(IV_SURFACE, deps=["option_chains"], group="chains", kinds={"numpy", "parquet"}, metadata=_typical)
def iv_surface(step: Step) -> Frames:
    """At-the-money volatility, 25-delta risk reversal and butterfly, and term slope at 7, 30, 60 and 90 days."""
    chains = step.read("option_chains")
    known = chains.group_by("underlying").agg(pl.col("available_at").max(), pl.col("origin").first())
    surface = implied_surface(chains).with_columns(session=pl.lit(step.session))
    return {"iv_surface": surface.join(known, on="underlying", how="left").select(IV_SURFACE.schema.names())}


def _listed(known: pl.DataFrame, bars: pl.DataFrame, step: Step) -> pl.DataFrame:
    """Contracts listed in a past session as far as we know: those seen by then and alive, and those that traded."""
    alive = known.filter((pl.col("first_session") <= step.session) & (pl.col("expiration") >= step.session))
    columns = ["contract", "underlying"]
    return pl.concat([alive.select(columns), bars.select(columns)]).unique("contract", maintain_order=True)
