"""`flowlake automation`: switch everything that runs by itself on or off."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table as Grid

from flowlake.settings import get_settings

if TYPE_CHECKING:
    from flowlake.automation import Instigator

app = typer.Typer(no_args_is_help=True, help="Everything that runs by itself: schedules and sensors, one switch.")
console = Console()

Names = Annotated[list[str] | None, typer.Argument(help="Schedules and sensors (default: all).")]


@app.command("on")
def switch_on(names: Names = None) -> None:
    """Start every schedule and sensor, or those named. They run while `flowlake run` (or a Dagster daemon) does."""
    from flowlake import automation

    _show(automation.switch(get_settings().data_dir, on=True, names=names or ()))


@app.command("off")
def switch_off(names: Names = None) -> None:
    """Stop every schedule and sensor, or those named. A run under way goes on."""
    from flowlake import automation

    _show(automation.switch(get_settings().data_dir, on=False, names=names or ()))


@app.command("status")
def status() -> None:
    """What is on and what is off."""
    from flowlake import automation

    _show(automation.statuses(get_settings().data_dir))


def _show(instigators: list[Instigator]) -> None:
    grid = Grid("", "name", "kind", "when", box=None)
    for each in instigators:
        grid.add_row("[green]on[/]" if each.on else "off", each.name, each.kind, each.when)
    console.print(grid)
    console.print(f"{sum(each.on for each in instigators)} of {len(instigators)} are on", highlight=False)
