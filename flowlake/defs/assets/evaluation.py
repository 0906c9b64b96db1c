"""Evaluation: how often detection is right and how often it cries wolf, measured on request."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import polars as pl

from flowlake.defs.resources import LakeResource, ReportsResource
from flowlake.defs.session_asset import OWNERS, column_schema, preview
from flowlake.lake import UNPARTITIONED
from flowlake.schemas import Table
from flowlake.schemas.evaluation import EVALUATION_FALSE_ALARMS, EVALUATION_RECALL
from flowlake.settings import get_settings

GROUP = "evaluation"
REPORT = "evaluation_report"
PAGE = "evaluation.html"


def _spec(table: Table) -> dg.AssetSpec:
    return dg.AssetSpec(
        table.name,
        group_name=GROUP,
        owners=OWNERS,
        kinds={"polars", "parquet"},
        description=table.description,
        metadata={"dagster/column_schema": column_schema(table), "table": table.name, "known at": table.known_at},
    )


@dg.multi_asset(
    name="evaluation",
    specs=[
        _spec(EVALUATION_RECALL),
        _spec(EVALUATION_FALSE_ALARMS),
        dg.AssetSpec(
            REPORT,
            group_name=GROUP,
            owners=OWNERS,
            kinds={"jinja", "html"},
            description="The evaluation as one HTML page: curves, every table with its n and interval, every bar.",
        ),
    ],
)
def evaluation(
    context: dg.AssetExecutionContext, lake: LakeResource, reports: ReportsResource
) -> Iterator[dg.MaterializeResult]:
    """What `flowlake evaluate` does, on simulated hosts unless a recording is configured; the lake is not read."""
    from flowlake.evaluate import Options, run
    from flowlake.evaluate.plan import Sizes

    settings = get_settings().evaluation
    folder = get_settings().data_dir / "evaluation"
    results = run(
        folder,
        settings.seed,
        "recorded" if settings.recording else "simulated",
        recording=settings.recording,
        case_file=settings.cases,
        options=Options(sizes=Sizes().scaled(settings.episodes_share)),
        progress=lambda what, done, total: _tell(context, what, done, total),
    )
    page = reports.path / PAGE
    _replace(page, (folder / PAGE).read_text(encoding="utf-8"))
    about = results["about"].select("origin", "model_id", "seed", available_at=pl.lit(datetime.now(UTC)))
    store = lake.open()
    frames = {
        table: table.conform(results[name].join(about, how="cross").select(list(table.schema)).sort(table.sort))
        for table, name in ((EVALUATION_RECALL, "recall"), (EVALUATION_FALSE_ALARMS, "calibration"))
    }
    with store.commit(context.run_id) as transaction:
        for table, frame in frames.items():
            transaction.replace(table.name, UNPARTITIONED, frame)
        transaction.publish([], [table.name for table in frames])
    for table, frame in frames.items():
        shown = {"dagster/row_count": frame.height, "preview": preview(frame)}
        yield dg.MaterializeResult(asset_key=table.name, metadata=shown)
    yield dg.MaterializeResult(asset_key=REPORT, metadata={"page": dg.MetadataValue.path(str(page.resolve()))})


def _tell(context: dg.AssetExecutionContext, what: str, done: int, total: int) -> None:
    if done == total or done % 10 == 0:
        context.log.info(f"{what}: {done} of {total}")


def _replace(path: Path, text: str) -> None:
    """Write `text` so that a reader sees the old page or the new one."""
    beside = path.with_name(f".{path.name}.partial")
    beside.write_text(text, encoding="utf-8")
    beside.replace(path)


ASSETS = [evaluation]
evaluate = dg.define_asset_job(
    "evaluate",
    selection=dg.AssetSelection.groups(GROUP),
    description="Measure detection: injected episodes, decoys and false alarms, beside seven simple rules.",
)
