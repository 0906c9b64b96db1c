"""Whether what analysts see is as far as it should be, and has no holes."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date

import dagster as dg

from flowlake.defs.resources import LakeResource, MarketResource
from flowlake.quality.outcome import Outcome
from flowlake.quality.timeliness import on_time, without_gaps

ASSET = "duckdb_catalog"


@dg.multi_asset_check(
    specs=[
        dg.AssetCheckSpec("published_on_time", asset=ASSET, description="The newest session that is due is published."),
        dg.AssetCheckSpec("no_session_missing", asset=ASSET, description="No session is missing between others."),
    ]
)
def timeliness_checks(lake: LakeResource, market: MarketResource) -> Iterator[dg.AssetCheckResult]:
    """Counted in trading sessions; a replayed market has no clock, so nothing of it can be late."""
    published = [date.fromisoformat(key) for key in lake.open().published().partitions("option_chains")]
    if not market.settings.api.replay:
        yield _result(on_time(published, market.now()))
    else:
        yield dg.AssetCheckResult(
            check_name="published_on_time", passed=True, description="a replayed market: nothing is due"
        )
    yield _result(without_gaps(published))


def _result(outcome: Outcome) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        check_name=outcome.name,
        passed=outcome.passed,
        severity=dg.AssetCheckSeverity(outcome.severity.value),
        description=outcome.description,
        metadata={"sessions behind": outcome.violations, "sessions published": outcome.rows},
    )
