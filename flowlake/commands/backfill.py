"""`flowlake backfill ...`: sessions of the past, from the vendor or from what the lake already holds."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table as Grid

from flowlake import calendar
from flowlake.settings import get_settings

if TYPE_CHECKING:
    from flowlake.lake import Lake
    from flowlake.runs import RunResult

app = typer.Typer(
    help="Run the end-of-day job for a range of sessions; `events`: detection again, nothing fetched; `superseded`: "
    "what a correction left behind."
)
console = Console()

END_OF_DAY = "end_of_day"
EVENTS = "events"
RESTATED = "restated"
NEEDED = ("option_chains", "corporate_actions", "contract_baselines", "ticker_baselines")
"""Tables from which the events of a session are computed."""

First = Annotated[str | None, typer.Option("--from", help="First session, YYYY-MM-DD.")]
Last = Annotated[str | None, typer.Option("--to", help="Last session, YYYY-MM-DD.")]


class NothingToRecompute(ValueError):
    """No session of the range has the chains and baselines that events are computed from."""


@app.callback(invoke_without_command=True)
def sessions(
    context: typer.Context,
    start: First = None,
    end: Last = None,
    force: Annotated[bool, typer.Option(help="Build sessions again that are in the lake.")] = False,
) -> None:
    """Run the end-of-day job for a range of sessions; what an earlier run finished is kept unless --force."""
    if context.invoked_subcommand is not None:
        if start or end or force:
            raise ValueError(
                f"options come after the command: flowlake backfill {context.invoked_subcommand} --from ..."
            )
        return
    first, last = _range(start, end)
    tell(run_range(END_OF_DAY, first, last, keep_existing=not force), first, last)


@app.command(EVENTS)
def events(start: First = None, end: Last = None) -> None:
    """Compute anomalies, scores, status, outcomes and calibration of sessions in the lake again, fetching nothing.

    For changed settings, a changed model, or an operator's list of events that grew. Baselines are kept. A session
    whose chain is missing splits the range; the same inputs give the same bytes.
    """
    from flowlake.lake import Lake

    first, last = _range(start, end)
    lake = Lake.open(get_settings().data_dir)
    found = recomputable(lake, first, last)
    held = sum(len(calendar.sessions(*stretch)) for stretch in found)
    missing = len(calendar.sessions(first, last)) - held
    if missing:
        console.print(
            f"{missing} sessions between {first} and {last} have no chain and baselines in the lake: left out"
        )
    for begin, finish in found:
        tell(run_range(EVENTS, begin, finish, keep_existing=False), begin, finish)


@app.command("superseded")
def superseded(
    dry_run: Annotated[bool, typer.Option("--list", help="Only list the tables, build nothing.")] = False,
) -> None:
    """Build again what was made from sessions that were restated since, oldest first, fetching nothing.

    Only tables whose inputs changed are built; where that gives the same bytes, nothing later is. Running it again
    finds nothing to do.
    """
    from flowlake.defs.restated import superseded_sessions
    from flowlake.lake import Lake

    lake = Lake.open(get_settings().data_dir)
    found = superseded_sessions(lake)
    if dry_run:
        grid = Grid("session", "table", "made before", box=None)
        for each in found:
            inputs = [f"{table} {session}" for table, session in each.inputs]
            grid.add_row(each.session, each.table, ", ".join(inputs[:2]) + (" ..." if len(inputs) > 2 else ""))
        console.print(grid)
        console.print(f"{len({each.session for each in found})} sessions are to be built again", highlight=False)
        return
    done = 0
    while found:
        first, last = stretches(date.fromisoformat(each.session) for each in found)[0]
        tell(run_range(RESTATED, first, last, only_superseded=True), first, last)
        done += len(calendar.sessions(first, last))
        # Sessions after these may have been made from what has just changed.
        found = superseded_sessions(lake)
        if any(date.fromisoformat(each.session) <= last for each in found):
            raise RuntimeError(f"sessions up to {last} changed while they were built; run this again")
    console.print(f"{done} sessions were built again, none is left behind", highlight=False)


def recomputable(lake: Lake, first: date, last: date) -> list[tuple[date, date]]:
    """Stretches of consecutive sessions in the range that have all of `NEEDED`: first and last session of each.

    Raises `NothingToRecompute`, with the remedy, where there is none.
    """
    days = calendar.sessions(first, last)
    found = stretches(day for day in days if all(lake.has(name, day.isoformat()) for name in NEEDED))
    if not found:
        raise NothingToRecompute(
            f"no session between {first} and {last} has {', '.join(NEEDED)} in the lake; "
            f"fetch them first: flowlake backfill --from {first} --to {last}"
        )
    return found


def stretches(days: Iterable[date]) -> list[tuple[date, date]]:
    """First and last of each run of consecutive sessions among `days`, ascending."""
    found: list[tuple[date, date]] = []
    for day in sorted(set(days)):
        if found and found[-1][1] == calendar.previous_session(day):
            found[-1] = (found[-1][0], day)
        else:
            found.append((day, day))
    return found


def run_range(
    job: str, first: date, last: date, *, keep_existing: bool = False, only_superseded: bool = False
) -> RunResult:
    """Run `job` for the sessions `first` to `last` as one run in this process; see `runs.run_sessions`."""
    from flowlake import runs

    with runs.instance(get_settings().data_dir) as instance:
        return runs.run_sessions(
            instance, job, first, last, keep_existing=keep_existing, only_superseded=only_superseded
        )


def tell(result: RunResult, first: date, last: date) -> None:
    """Print seconds per step, checks that did not pass, and fail with the cause where the run failed."""
    grid = Grid("step", "seconds", title=f"run {result.run_id[:8]}: {first} to {last}", title_justify="left")
    for step, seconds in result.seconds.items():
        grid.add_row(step, f"{seconds:.1f}")
    console.print(grid)
    passed = sum(check.passed for check in result.checks)
    console.print(f"{passed} of {len(result.checks)} checks passed")
    for check in result.checks:
        if not check.passed:
            where = f"{check.asset} {check.session} {check.name}"
            console.print(f"  {check.severity} {where}: {check.description}", highlight=False, soft_wrap=True)
    if not result.succeeded:
        causes = "; ".join(f"{step}: {error}" for step, error in result.failures.items()) or "a blocking check failed"
        raise RuntimeError(f"the run for {first} to {last} failed: {causes}")


def day(text: str) -> date:
    """A date a person typed; raises `ValueError` with the form that is meant."""
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise ValueError(f"{text!r} is not a date; write YYYY-MM-DD, for instance 2026-06-01") from error


def _range(start: str | None, end: str | None) -> tuple[date, date]:
    """First and last session, both closed and within the partitions; raises `ValueError` naming what is wrong."""
    if start is None or end is None:
        raise ValueError("say which sessions: --from YYYY-MM-DD --to YYYY-MM-DD")
    first, last = calendar.require_session(day(start)), calendar.require_session(day(end))
    earliest = date.fromisoformat(get_settings().market.first_session)
    if first > last:
        raise ValueError(f"--from {first} is after --to {last}")
    if first < earliest:
        raise ValueError(f"{first} is before the first partition {earliest}; set FLOWLAKE_MARKET__FIRST_SESSION")
    newest = calendar.latest_closed_session(datetime.now(UTC))
    if last > newest:
        raise ValueError(f"session {last} has not closed yet; the newest closed session is {newest}")
    return first, last
