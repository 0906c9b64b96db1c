"""Whether what analysts see is as far as it should be, has no holes, and agrees with what it was made from."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta

import dagster as dg

from flowlake import calendar
from flowlake.defs.passes import session_log
from flowlake.defs.resources import LakeResource, MarketResource
from flowlake.defs.restated import none_left_behind
from flowlake.intraday.plan import due_snapshots
from flowlake.quality.outcome import Outcome
from flowlake.quality.timeliness import on_time, snapshots_on_time, without_gaps

ASSET = "duckdb_catalog"

_TAKEN = ("taken", "late", "partial")
"""Statuses in the log of a snapshot that analysts see."""


@dg.multi_asset_check(
    specs=[
        dg.AssetCheckSpec("published_on_time", asset=ASSET, description="The newest session that is due is published."),
        dg.AssetCheckSpec("no_session_missing", asset=ASSET, description="No session is missing between others."),
        dg.AssetCheckSpec(
            "none_left_behind", asset=ASSET, description="No session was made from what was restated since."
        ),
    ]
)
def timeliness_checks(lake: LakeResource, market: MarketResource) -> Iterator[dg.AssetCheckResult]:
    """Counted in trading sessions; a replayed market has no clock, so nothing of it can be late."""
    store = lake.open()
    published = [date.fromisoformat(key) for key in store.published().partitions("option_chains")]
    if not market.settings.api.replay:
        yield _result(on_time(published, market.now()))
    else:
        yield dg.AssetCheckResult(
            check_name="published_on_time", passed=True, description="a replayed market: nothing is due"
        )
    yield _result(without_gaps(published))
    yield _result(none_left_behind(store), "sessions left behind", "sessions")


def _result(
    outcome: Outcome, violations: str = "sessions behind", rows: str = "sessions published"
) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        check_name=outcome.name,
        passed=outcome.passed,
        severity=dg.AssetCheckSeverity(outcome.severity.value),
        description=outcome.description,
        metadata={violations: outcome.violations, rows: outcome.rows},
    )


@dg.multi_asset_check(
    name="intraday_timeliness",
    specs=[
        dg.AssetCheckSpec(
            "snapshots_on_time",
            asset="intraday_catalog",
            description="The newest snapshot that is due is taken; counted in the hours of the exchange.",
        )
    ],
)
def snapshots_on_time_check(lake: LakeResource, market: MarketResource) -> Iterator[dg.AssetCheckResult]:
    """Of the newest two sessions: from the open on, the closing snapshot of the session before is the newest due."""
    now, settings, store = market.now(), market.settings, lake.open()
    sessions = calendar.trailing_sessions(now.astimezone(calendar.NEW_YORK).date() + timedelta(days=1), 2)
    delay = timedelta(minutes=settings.api.delay_minutes)
    due = [each for session in sessions for each in due_snapshots(session, settings.intraday, delay)]
    logs = [session_log(store, session) for session in sessions]
    taken = {
        partition
        for log in logs
        for partition, status in log.select("partition", "status").iter_rows()
        if status in _TAKEN
    }
    outcome = snapshots_on_time(
        [(each.key, each.useful_until) for each in due], taken, now, used=any(log.height for log in logs)
    )
    yield _result(outcome, "snapshots behind", "snapshots due")
