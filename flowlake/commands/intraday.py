"""`flowlake intraday`: take a snapshot by hand, and what became of those that were due."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table as Grid

from flowlake import calendar
from flowlake.settings import get_settings

app = typer.Typer(no_args_is_help=True, help="Snapshots within the session.")
console = Console()


@app.command("run")
def run(
    at: Annotated[str | None, typer.Option(help="Snapshot, 'YYYY-MM-DD-HH:MM' New York (default: newest due).")] = None,
    force: Annotated[bool, typer.Option(help="Take it again although it is in the lake.")] = False,
) -> None:
    """Take one snapshot now, from the vendor's chains to published events."""
    from flowlake import runs
    from flowlake.clock import market_clock
    from flowlake.intraday.plan import due_snapshots, snapshot_of

    settings = get_settings()
    delay = timedelta(minutes=settings.api.delay_minutes)
    now = market_clock().now()
    if at is not None:
        snapshot = snapshot_of(at, settings.intraday, delay)
    else:
        session = _session(now)
        due = [each for each in due_snapshots(session, settings.intraday, delay) if each.due_at <= now]
        if not due:
            raise ValueError(f"no snapshot of session {session} is due yet; give one with --at {session}-HH:MM")
        snapshot = due[-1]
    with runs.instance(settings.data_dir) as instance:
        result = runs.run_snapshot(instance, snapshot.key, keep_existing=not force)
    if not result.succeeded:
        causes = "; ".join(f"{step}: {error}" for step, error in result.failures.items())
        raise RuntimeError(f"the pass of {snapshot.key} failed: {causes}")
    console.print(f"snapshot {snapshot.key} is in the lake ({sum(result.seconds.values()):.1f} s)", highlight=False)


@app.command("status")
def status(
    session: Annotated[str | None, typer.Option(help="Session, YYYY-MM-DD (default: today's or the newest).")] = None,
) -> None:
    """What became of every snapshot that was due, and what is due next."""
    from flowlake.clock import market_clock
    from flowlake.defs.passes import session_log
    from flowlake.intraday.plan import due_snapshots, unexplained
    from flowlake.lake import Lake

    settings = get_settings()
    now = market_clock().now()
    day = date.fromisoformat(session) if session else _session(now)
    lake = Lake.open(settings.data_dir)
    log = session_log(lake, day)
    rows = {row["partition"]: row for row in log.iter_rows(named=True)}
    snapshots = due_snapshots(day, settings.intraday, timedelta(minutes=settings.api.delay_minutes))
    grid = Grid("snapshot", "due", "status", "answered", "requests", "429", "seconds", "scored after", "why", box=None)
    for each in snapshots:
        row = rows.get(each.key)
        due = f"{each.due_at.astimezone(calendar.NEW_YORK):%H:%M}"
        if row is None:
            grid.add_row(each.key, due, "due" if each.due_at <= now else "", "", "", "", "", "", "")
            continue
        scored = row["scored_at"]
        after = "" if scored is None else f"{(scored - each.due_at).total_seconds():.0f} s"
        network = "" if row["network_seconds"] is None else f"{row['network_seconds']:.1f}"
        grid.add_row(
            each.key, due, row["status"], f"{row['answered']}/{row['asked']}", str(row["requests"]),
            str(row["rate_limited"]), network, after, row["reason"] or "",
        )  # fmt: skip
    console.print(grid)
    gaps = unexplained(now, snapshots, log)
    console.print(
        f"{log.height} of {len(snapshots)} snapshots of {day} are in the log, {len(gaps)} gaps without explanation",
        highlight=False,
    )


def _session(now: datetime) -> date:
    day = now.astimezone(calendar.NEW_YORK).date()
    return day if calendar.is_session(day) else calendar.previous_session(day)
