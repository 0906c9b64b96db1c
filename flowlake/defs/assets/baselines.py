"""Stage 3, baselines: what was normal for each contract and underlying, from sessions strictly before."""

from __future__ import annotations

import dagster as dg

from flowlake.defs.partitions import through_today
from flowlake.defs.session_asset import Frames, Step, session_asset
from flowlake.detect import baselines
from flowlake.schemas.detection import CONTRACT_BASELINES, TICKER_BASELINES

_DEPS = [
    dg.AssetDep("option_chains", partition_mapping=through_today(baselines.LONGEST)),
    dg.AssetDep("corporate_actions"),
]


@session_asset(CONTRACT_BASELINES, deps=_DEPS, group="baselines", kinds={"numpy", "parquet"})
def contract_baselines(step: Step) -> Frames:
    """Exact over 20 and 60 sessions; recomputed for each session, so corrections of the past need no repair."""
    history = step.earlier("option_chains", baselines.LONGEST)
    chains, actions = step.read("option_chains"), step.read("corporate_actions")
    return {"contract_baselines": baselines.contract_baselines(step.session, chains, history, actions)}


@session_asset(TICKER_BASELINES, deps=_DEPS, group="baselines", kinds={"polars", "parquet"})
def ticker_baselines(step: Step) -> Frames:
    """Whole chains, restated across splits."""
    history = step.earlier("option_chains", baselines.LONGEST)
    chains, actions = step.read("option_chains"), step.read("corporate_actions")
    return {"ticker_baselines": baselines.ticker_baselines(step.session, chains, history, actions)}
