"""Stage 1, the market as the vendor sends it: stocks, corporate actions, option chains."""

from __future__ import annotations

from typing import Any

import polars as pl

from flowlake.defs import passes
from flowlake.defs.session_asset import Frames, Step, session_asset
from flowlake.schemas.market import (
    CORPORATE_ACTIONS,
    RAW_OPTION_BARS,
    RAW_OPTION_SNAPSHOTS,
    RAW_QUARANTINE,
    RAW_STOCK_SNAPSHOTS,
    SNAPSHOT_COVERAGE,
)
from flowlake.sources.errors import SnapshotGone
from flowlake.sources.history import session_bars, stocks_of_past_session

API = "polygon_api"
KINDS = {"polygon", "parquet"}


class MixedOrigins(ValueError):
    """Simulated and real data would meet in one lake."""


def same_origin(step: Step, frame: pl.DataFrame) -> pl.DataFrame:
    """`frame`, if it comes from where the rest of the lake does."""
    held = step.trailing("raw_stock_snapshots", 60, ["origin"]).select(pl.col("origin").unique()).collect()
    foreign = set(frame["origin"].unique()) - set(held["origin"])
    if held.height and foreign:
        raise MixedOrigins(
            f"the lake in {step.lake.paths.root} holds {', '.join(sorted(held['origin']))} data and session "
            f"{step.session} would add {', '.join(sorted(foreign))} data; set FLOWLAKE_DATA_DIR to another folder"
        )
    return frame


@session_asset(RAW_STOCK_SNAPSHOTS, group="market", kinds=KINDS, pool=API)
def raw_stock_snapshots(step: Step) -> Frames:
    """The closing intraday snapshot where there is a whole one, else the vendor is asked.

    A session whose snapshot was missed, or cleared overnight, is filled from the vendor's daily bars.
    """
    if closing := passes.closing_record(step):
        return {"raw_stock_snapshots": same_origin(step, closing["raw_stock_snapshots"])}
    with step.market.client() as client:
        if step.market.stocks_are_reset(step.session):
            stocks = stocks_of_past_session(client, step.session)
        else:
            stocks = client.fetch_stocks(step.session, as_of=step.market.as_of(step.session))
    return {"raw_stock_snapshots": same_origin(step, stocks)}


@session_asset(CORPORATE_ACTIONS, group="market", kinds=KINDS, pool=API)
def corporate_actions(step: Step) -> Frames:
    """Only what had been announced by the session, so that a rebuild sees what was known then."""
    with step.market.client() as client:
        actions = client.fetch_corporate_actions(step.session, as_of=step.market.as_of(step.session))
    return {"corporate_actions": actions}


def _pass_figures(step: Step, frames: Frames) -> dict[str, Any]:
    statuses = frames["snapshot_coverage"].group_by("status").len().sort("status")
    return {f"underlyings {status}": count for status, count in statuses.iter_rows()}


@session_asset(
    RAW_OPTION_SNAPSHOTS,
    also=(RAW_QUARANTINE, SNAPSHOT_COVERAGE, RAW_OPTION_BARS),
    group="market",
    kinds=KINDS,
    pool=API,
    metadata=_pass_figures,
)
def raw_option_snapshots(step: Step) -> Frames:
    """The closing intraday snapshot where there is a whole one, else one pass over every optionable underlying.

    The vendor has no history of snapshots: for a past session whose pass was missed, daily bars of the contracts then
    listed are fetched instead (volume and close, no open interest).
    """
    if closing := passes.closing_record(step):
        step.log.info(f"{step.session}: the closing snapshot becomes the end-of-day record")
        frames = {name: frame for name, frame in closing.items() if name != "raw_stock_snapshots"}
        return frames | {"raw_option_bars": RAW_OPTION_BARS.empty()}
    with step.market.client() as client:
        underlyings = step.market.underlyings(client, step.session)
        try:
            taken = client.fetch_chains(
                step.session,
                underlyings,
                as_of=step.market.as_of(step.session),
                on_progress=step.progress("underlyings"),
            )
        except SnapshotGone as gone:
            step.log.warning(f"{gone}; falling back to daily bars")
            bars, coverage = session_bars(client, step.session, underlyings, step.market.settings.market)
            return {
                "raw_option_snapshots": RAW_OPTION_SNAPSHOTS.empty(),
                "raw_quarantine": RAW_QUARANTINE.empty(),
                "snapshot_coverage": coverage,
                "raw_option_bars": bars,
            }
    step.log.info(f"{step.session} pass: {taken.stats.as_metadata()}")
    return {
        "raw_option_snapshots": same_origin(step, taken.frame),
        "raw_quarantine": taken.rejected,
        "snapshot_coverage": taken.coverage,
        "raw_option_bars": RAW_OPTION_BARS.empty(),
    }
