"""Run detection over every session of a test market, as the pipeline's partitions would."""

from __future__ import annotations

from datetime import date
from typing import Protocol

import polars as pl

from flowlake import schemas
from flowlake.detect.baselines import contract_baselines, ticker_baselines
from flowlake.detect.pipeline import Detection, detect_session
from flowlake_tests.detect.markets import Market


class Sessions(Protocol):
    """Chains by session, and those before one."""

    chains: dict[date, pl.DataFrame]

    def before(self, session: date) -> dict[date, pl.LazyFrame]: ...


class Run:
    """Detections of consecutive sessions, each calibrated on those before it."""

    def __init__(self) -> None:
        self.detections: dict[date, Detection] = {}

    def trailing(self, table: str, session: date) -> pl.DataFrame:
        frames = [getattr(found, table) for day, found in self.detections.items() if day < session]
        return pl.concat([schemas.table(table).empty(), *frames])

    def add(self, market: Sessions, session: date, actions: pl.DataFrame | None = None) -> Detection:
        chains, before = market.chains[session], market.before(session)
        self.detections[session] = detect_session(
            session,
            chains,
            contract_baselines(session, chains, before, actions),
            ticker_baselines(session, chains, before, actions),
            self.trailing("calibration_bins", session),
            self.trailing("ticker_statistics", session),
        )
        return self.detections[session]


def run_market(market: Market) -> Run:
    run = Run()
    for session in market.sessions:
        run.add(market, session)
    return run
