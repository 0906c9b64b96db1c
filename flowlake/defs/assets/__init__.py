"""The assets, a module a stage: market, chains, baselines, events, quality, published, pages."""

from __future__ import annotations

from flowlake.defs.assets.baselines import contract_baselines, ticker_baselines
from flowlake.defs.assets.chains import iv_surface, option_chains
from flowlake.defs.assets.events import anomalies_day_over_day, detection, outcomes
from flowlake.defs.assets.lifecycle import calibration, event_status, known_events, rule_alarms
from flowlake.defs.assets.market import corporate_actions, raw_option_snapshots, raw_stock_snapshots
from flowlake.defs.assets.pages import (
    archive_index,
    daily_report,
    history_page,
    market_page,
    monitor_page,
    ticker_pages,
)
from flowlake.defs.assets.published import duckdb_catalog
from flowlake.defs.assets.quality import data_docs, data_incidents

ASSETS = [
    raw_stock_snapshots,
    corporate_actions,
    raw_option_snapshots,
    option_chains,
    iv_surface,
    contract_baselines,
    ticker_baselines,
    known_events,
    detection,
    anomalies_day_over_day,
    outcomes,
    event_status,
    calibration,
    rule_alarms,
    data_incidents,
    data_docs,
    daily_report,
    duckdb_catalog,
    ticker_pages,
    market_page,
    history_page,
    monitor_page,
    archive_index,
]
"""Every asset of the code location."""
