"""`flowlake features ...`: what a feature means, what a ticker's are, and frozen snapshots of all of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table as Grid

from flowlake.settings import get_settings

app = typer.Typer(no_args_is_help=True, help="Features: definitions, values, and frozen snapshots.")
console = Console()

SnapshotId = Annotated[str, typer.Argument(help="Snapshot id, or its first characters.")]


@app.command("list")
def list_snapshots() -> None:
    """Snapshots kept, the oldest moment first."""
    from flowlake import snapshots

    index = snapshots.listed(_lake())
    if index.is_empty():
        console.print("no snapshot yet; `flowlake features snapshot` takes one")
        return
    headings = ("snapshot_id", "kind", "as_of", "newest_session", "underlyings", "rows", "origin")
    grid = Grid(box=None)
    for heading in headings:
        whole = 20 if heading in ("snapshot_id", "as_of") else None
        grid.add_column(heading.replace("_", " "), no_wrap=True, min_width=whole)
    for row in index.iter_rows(named=True):
        grid.add_row(*(_text(row[heading]) for heading in headings))
    console.print(grid)


@app.command("show")
def show(
    name: Annotated[str, typer.Argument(help="A feature, a ticker, or the beginning of a snapshot id.")],
    session: Annotated[
        str | None, typer.Option(help="Session of a ticker's row, YYYY-MM-DD (default: newest).")
    ] = None,
) -> None:
    """Of a feature its definition; of a ticker every feature's value with its unit; of a snapshot what is in it."""
    from flowlake import snapshots
    from flowlake.features.definitions import FEATURE_NAMES, feature

    if name in FEATURE_NAMES:
        _print_pairs({field: value for field, value in vars(feature(name)).items() if value != ""})
        return
    lake = _lake()
    index = snapshots.listed(lake)
    if any(key.startswith(name) for key in index["snapshot_id"]):
        _print_pairs(snapshots.find(lake, name))
        return
    _show_ticker(lake, name, session)


@app.command("snapshot")
def take_snapshot(
    as_of: Annotated[
        str | None, typer.Option(help="Moment with time zone, e.g. 2026-06-01T13:30:00+00:00 (default: now).")
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Take sequences of this many sessions instead.", min=1)] = None,
    fill: Annotated[
        int, typer.Option(help="Sequences: carry a value forward over at most this many steps.", min=0)
    ] = 0,
) -> None:
    """Freeze what was known strictly before a moment, and keep it. The same facts give the same id."""
    from flowlake import snapshots
    from flowlake.features.snapshots import MissingValues

    moment, lake = _moment(as_of), _lake()
    if steps is None:
        taken = snapshots.take(lake, moment)
    else:
        missing = MissingValues("forward_fill", fill) if fill else MissingValues()
        taken = snapshots.take_sequences(lake, moment, length=steps, missing=missing)
    snapshot_id = snapshots.keep(lake, taken, "flowlake features snapshot")
    console.print(f"{snapshot_id}  {taken.frame.height:,} rows known before {moment:%Y-%m-%d %H:%M:%S} UTC")


@app.command("load")
def load_snapshot(
    snapshot_id: SnapshotId,
    out: Annotated[Path | None, typer.Option(help="Write the snapshot's Parquet file here, byte for byte.")] = None,
) -> None:
    """Give a snapshot back: its bytes into a file, or a look at its first rows."""
    from flowlake import snapshots

    lake = _lake()
    if out is not None:
        content = snapshots.load_bytes(lake, snapshot_id)
        out.write_bytes(content)
        console.print(f"{len(content):,} bytes written to {out}")
        return
    console.print(str(snapshots.load(lake, snapshot_id)), highlight=False, markup=False)


def _show_ticker(lake: Any, ticker: str, session: str | None) -> None:
    import polars as pl

    from flowlake.schemas.feature_list import FEATURES
    from flowlake.schemas.features import OPTIONS_FLOW_FEATURES

    partitions = lake.partitions(OPTIONS_FLOW_FEATURES.name)
    if not partitions:
        raise LookupError("there are no features yet: run `flowlake demo` or the end_of_day job")
    day = session or partitions[-1]
    row = lake.read(OPTIONS_FLOW_FEATURES.name, day).filter(pl.col("underlying") == ticker.upper())
    if row.is_empty():
        raise LookupError(
            f"{ticker!r} is no feature (see docs/features.md), no snapshot, and no underlying of session {day}"
        )
    values = row.row(0, named=True)
    grid = Grid("feature", "value", "unit", box=None, title=f"{ticker.upper()} {day}, {values['origin']} data")
    for each in FEATURES:
        grid.add_row(each.name, _text(values[each.name]), each.unit)
    console.print(grid)
    console.print(f"known at {_text(values['available_at'])}; an empty value is not known, not zero")


def _moment(text: str | None) -> datetime:
    if text is None:
        return datetime.now(UTC)
    moment = datetime.fromisoformat(text)
    if moment.utcoffset() is None:
        raise ValueError(f"{text!r} does not say its time zone: write e.g. {text}+00:00, or -04:00 for New York summer")
    if moment > datetime.now(UTC) + timedelta(days=1):
        raise ValueError(f"{text} lies ahead: what will be known then is not known yet")
    return moment.astimezone(UTC)


def _print_pairs(pairs: dict[str, Any]) -> None:
    grid = Grid("", "", box=None, show_header=False)
    for field, value in pairs.items():
        grid.add_row(field.replace("_", " "), _text(value))
    console.print(grid)


def _text(value: Any) -> str:
    match value:
        case None:
            return ""
        case datetime():
            return f"{value:%Y-%m-%d %H:%M:%S} UTC"
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:,.6g}"
        case int():
            return f"{value:,}"
        case tuple() | list():
            return escape("; ".join(map(str, value)))
        case type():
            return value.__name__
        case _:
            return escape(str(value))


def _lake() -> Any:
    from flowlake.lake import Lake

    return Lake.open(get_settings().data_dir)
