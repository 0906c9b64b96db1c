"""Asset checks between the stages: the rules of `flowlake.quality`, blocking where they must be, and suites beside."""

from __future__ import annotations

from flowlake.defs.checks.timeliness import snapshots_on_time_check, timeliness_checks
from flowlake.defs.partitions import SNAPSHOTS
from flowlake.defs.quality import suite_check, table_checks
from flowlake.quality.invariants import WITHIN_SESSION
from flowlake.quality.suites import SUITES

CHECKED_TABLES = (
    "raw_stock_snapshots",
    "raw_option_snapshots",
    "corporate_actions",
    "option_chains",
    "iv_surface",
    "contract_baselines",
    "ticker_baselines",
    "calibration_bins",
    "ticker_statistics",
    "anomalies_volume",
    "anomalies_open_interest",
    "anomalies_multi_strike",
    "anomalies_low_volume",
    "anomalies_day_over_day",
    "scored_events",
    "event_outcomes",
    "event_status",
    "known_events",
    "calibration",
    "rule_alarms",
    "options_flow_features",
    "gamma_exposure_by_strike",
)
"""Tables whose session is checked before what is downstream may run; a new table needs a line here."""

ALSO_CHECKED = ("insider_signals", "event_insiders")
"""Session tables checked the same way that the end-of-day run does not make."""

CHECKED_SNAPSHOTS = tuple(WITHIN_SESSION)
"""Tables whose snapshot is checked before what is downstream may run."""

CHECKS = [
    *(table_checks(name) for name in (*CHECKED_TABLES, *ALSO_CHECKED)),
    *(table_checks(name, SNAPSHOTS, record=False) for name in CHECKED_SNAPSHOTS),
    *(suite_check(name) for name in SUITES),
    timeliness_checks,
    snapshots_on_time_check,
]
"""Every check of session tables; those of filing dates are beside their assets."""
