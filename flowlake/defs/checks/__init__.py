"""Asset checks between the stages: the rules of `flowlake.quality`, blocking where they must be."""

from __future__ import annotations

from flowlake.defs.quality import table_checks

CHECKED_TABLES = (
    "raw_stock_snapshots",
    "raw_option_snapshots",
    "corporate_actions",
    "option_chains",
    "iv_surface",
    "contract_baselines",
    "ticker_baselines",
    "scored_events",
    "event_outcomes",
    "event_status",
    "known_events",
    "calibration",
    "rule_alarms",
)
"""Tables whose session is checked before what is downstream may run."""

CHECKS = [table_checks(name) for name in CHECKED_TABLES]
