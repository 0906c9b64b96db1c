"""`flowlake backfill ...`: sessions of the past, from the vendor or from what the lake already holds."""

from __future__ import annotations

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

app = typer.Typer(help="Run the end-of-day job for a range of sessions, or `events`: detection again, nothing fetched.")
console = Console()

END_OF_DAY = "end_of_day"
EVENTS = "events"
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
    stretches = recomputable(lake, first, last)
    held = sum(len(calendar.sessions(*stretch)) for stretch in stretches)
    missing = len(calendar.sessions(first, last)) - held
    if missing:
        console.print(
            f"{missing} sessions between {first} and {last} have no chain and baselines in the lake: left out"
        )
    for begin, finish in stretches:
        tell(run_range(EVENTS, begin, finish, keep_existing=False), begin, finish)


def recomputable(lake: Lake, first: date, last: date) -> list[tuple[date, date]]:
    """Stretches of consecutive sessions in the range that have all of `NEEDED`: first and last session of each.

    Raises `NothingToRecompute`, with the remedy, where there is none.
    """
    stretches: list[tuple[date, date]] = []
    for day in calendar.sessions(first, last):
        if not all(lake.has(name, day.isoformat()) for name in NEEDED):
            continue
        if stretches and stretches[-1][1] == calendar.previous_session(day):
            stretches[-1] = (stretches[-1][0], day)
        else:
            stretches.append((day, day))
    if not stretches:
        raise NothingToRecompute(
            f"no session between {first} and {last} has {', '.join(NEEDED)} in the lake; "
            f"fetch them first: flowlake backfill --from {first} --to {last}"
        )
    return stretches


def run_range(job: str, first: date, last: date, *, keep_existing: bool) -> RunResult:
    """Run `job` for the sessions `first` to `last` as one run in this process."""
    from flowlake import runs

    with runs.instance(get_settings().data_dir) as instance:
        return runs.run_sessions(instance, job, first, last, keep_existing=keep_existing)


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
