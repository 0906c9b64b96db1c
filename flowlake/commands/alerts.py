"""`flowlake alerts ...`: what was told to whom, and what people do about it."""

from __future__ import annotations

import getpass
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table as Grid

from flowlake import calendar
from flowlake.settings import get_settings

app = typer.Typer(no_args_is_help=True, help="What people were told, and what they did about it.")
console = Console()

AlertId = Annotated[str, typer.Argument(help="Alert id, or its first characters.")]
Note = Annotated[str | None, typer.Option(help="What you want to remember about it.")]
By = Annotated[str | None, typer.Option(help="Who does it (default: your login name).")]


class NothingDelivered(RuntimeError):
    """No channel took the message."""


@app.command("list")
def list_alerts(
    sessions: Annotated[int, typer.Option(help="Newest sessions shown.", min=1)] = 3,
    held: Annotated[bool, typer.Option(help="Also those that were not sent.")] = True,
) -> None:
    """Alerts of the newest sessions, the best first: score, where they stand, and why they were sent or held."""
    from flowlake.alerts import ledger

    lake = _lake()
    newest = [date.fromisoformat(key) for key in lake.partitions("alerts")[-sessions:]]
    rows = [row for row in ledger.alerts(lake, newest).iter_rows(named=True) if held or row["revision"]]
    if not rows:
        console.print("no alert yet; the alert sensor writes them, or `flowlake alerts send` once")
        return
    people = _people(lake)
    grid = Grid(box=None)
    for heading in ("id", "session", "underlying", "score", "conviction", "direction", "false alarms/day", "status"):
        grid.add_column(heading, no_wrap=True)
    grid.add_column("decision")
    for row in rows:
        grid.add_row(
            row["alert_id"][:8],
            str(row["session"]),
            _plain(row["underlying"], 16),
            f"{row['score']:.1f}",
            row["conviction"],
            row["direction"],
            f"{row['expected_false_alarms_per_day']:.2g}",
            _status(row, people),
            f"{row['decision']}: {_plain(row['reason'], 90)}",
        )
    console.print(grid)


@app.command()
def show(alert: AlertId) -> None:
    """One alert in full: the text that was or would be sent, its deliveries, and what people did."""
    import polars as pl

    from flowlake.alerts import compose, ledger

    lake = _lake()
    row = ledger.find(lake, alert)
    message = compose.compose_alert(lake.snapshot(), row, "console", get_settings(), _now())
    console.print(message.text, markup=False, highlight=False, soft_wrap=True)
    console.print(f"\nDecision: {row['decision']}, because {_plain(row['reason'], 300)}", highlight=False, markup=False)
    of_alert = ledger.deliveries(lake, [row["session"]]).filter(pl.col("alert_id") == row["alert_id"])
    console.print(_deliveries(of_alert.to_dicts()))
    done = ledger.actions(lake).filter(
        (pl.col("alert_id") == row["alert_id"]) | (pl.col("underlying") == row["underlying"])
    )
    for action in done.iter_rows(named=True):
        until = f" until {_when(action['until'])}" if action["until"] else ""
        note = f": {_plain(action['note'], 300)}" if action["note"] else ""
        words = f"{_when(action['available_at'])}  {action['action']}{until} by {_plain(action['by'], 60)}{note}"
        console.print(words, markup=False, highlight=False)


@app.command()
def ack(alert: AlertId, note: Note = None, by: By = None) -> None:
    """Acknowledge an alert: no further message about it."""
    from flowlake.alerts import actions

    actions.acknowledge(_lake(), alert, by=by or getpass.getuser(), note=note, now=_now())
    console.print(f"acknowledged {alert}")


@app.command()
def snooze(
    subject: Annotated[str, typer.Argument(help="Alert id, or with --underlying a ticker.")],
    hours: Annotated[float, typer.Option(help="How long nothing is said.", min=0.1)] = 24.0,
    underlying: Annotated[bool, typer.Option("--underlying", help="SUBJECT is a ticker.")] = False,
    off: Annotated[bool, typer.Option("--off", help="End the snooze instead.")] = False,
    note: Note = None,
    by: By = None,
) -> None:
    """Say nothing about an alert or an underlying for some hours; what is still news afterwards is then sent."""
    from flowlake.alerts import actions

    who, now = by or getpass.getuser(), _now()
    about: dict[str, Any] = {"underlying": subject} if underlying else {"alert_id": subject}
    if off:
        actions.unsnooze(_lake(), by=who, note=note, now=now, **about)
        console.print(f"{subject} is awake")
        return
    until = now + timedelta(hours=hours)
    actions.snooze(_lake(), until=until, by=who, note=note, now=now, **about)
    console.print(f"nothing is sent about {subject} until {_when(until)}")


@app.command()
def send(
    seconds: Annotated[float, typer.Option(help="Longest time spent on sending.", min=1)] = 300.0,
) -> None:
    """Decide and send once, as the alert sensor does; needs no Dagster."""
    from flowlake.alerts.channels import open_channels
    from flowlake.alerts.dispatch import dispatch
    from flowlake.clock import market_clock

    settings = get_settings()
    channels = open_channels(settings.alerts)
    report = dispatch(_lake(), settings, channels, market_clock().now, budget_seconds=seconds)
    told = f"channels {', '.join(channels)}" if channels else "no channel is configured (see docs/alerts.md)"
    console.print(f"{report}; {told}", markup=False, highlight=False)


@app.command()
def test(
    channel: Annotated[str | None, typer.Option(help="Only this channel.")] = None,
) -> None:
    """Send a sample, marked as a test, through each configured channel, and say what each answered."""
    from flowlake.alerts.channels import ChannelError
    from flowlake.alerts.sample import sample_message

    failed = 0
    for name, opened in _channels(channel).items():
        try:
            remark = opened.send(sample_message(get_settings(), name, _now()))
            console.print(f"[green]ok[/]  {name}: took the sample{f' ({remark})' if remark else ''}", highlight=False)
        except ChannelError as error:
            failed += 1
            console.print(f"[bold red]!![/]  {name}: {_plain(error, 400)}", highlight=False)
    if failed:
        raise SystemExit(1)


@app.command("dead-letters")
def dead_letters() -> None:
    """Messages that were given up, and those still waiting for another try, with what the channel said last."""
    import polars as pl

    from flowlake.alerts import ledger

    rows = ledger.deliveries(_lake()).filter(pl.col("status").is_in(["dead", *ledger.OPEN]))
    if rows.is_empty():
        console.print("every message was delivered")
        return
    console.print(_deliveries(rows.to_dicts()))
    dead = rows.filter(pl.col("status") == "dead").height
    if dead:
        console.print(f"{dead} dead; `flowlake alerts retry` makes them due again")


@app.command()
def retry(
    alert: Annotated[str | None, typer.Argument(help="Alert id or its first characters (default: all).")] = None,
) -> None:
    """Make dead letters due again now; the delivery sensor or `flowlake alerts send` then sends them."""
    from flowlake.alerts import dispatch

    count = dispatch.retry(_lake(), _now(), alert)
    console.print(f"{count} message{'' if count == 1 else 's'} due again")


def _channels(only: str | None) -> Mapping[str, Any]:
    from flowlake.alerts.channels import NotConfigured, open_channels

    found = open_channels(get_settings().alerts)
    if not found:
        raise NotConfigured(
            "no channel is configured: set FLOWLAKE_ALERTS__EMAIL__HOST and __RECIPIENTS, or another channel of "
            "docs/alerts.md"
        )
    if only is not None and only not in found:
        raise NotConfigured(f"channel {only!r} is not configured; configured are {', '.join(found)}")
    return found if only is None else {only: found[only]}


def _deliveries(rows: list[dict[str, Any]]) -> Grid:
    grid = Grid(box=None)
    for heading in ("id", "rev", "channel", "status", "tries", "next try", "sent", "after", "last error"):
        grid.add_column(heading, no_wrap=heading != "last error")
    for row in rows:
        grid.add_row(
            row["alert_id"][:8],
            str(row["revision"]),
            row["channel"],
            row["status"],
            str(row["attempts"]),
            _when(row["next_attempt_at"]),
            _when(row["sent_at"]),
            "" if row["latency_seconds"] is None else f"{row['latency_seconds']:.0f} s",
            _plain(row["last_error"] or "", 120),
        )
    return grid


def _status(row: Mapping[str, Any], people: Any) -> str:
    from flowlake.alerts import policy

    return policy.status_of(row, people, get_settings().alerts, _now())


def _people(lake: Any) -> Any:
    from flowlake.alerts import ledger, policy

    return policy.standing(ledger.actions(lake), _now())


def _lake() -> Any:
    from flowlake.lake import Lake

    return Lake.open(get_settings().data_dir)


def _now() -> datetime:
    from flowlake.clock import market_clock

    return market_clock().now().astimezone(UTC)


def _when(moment: datetime | None) -> str:
    return "" if moment is None else f"{moment.astimezone(calendar.NEW_YORK):%d %b %H:%M}"


def _plain(text: object, limit: int) -> str:
    """Text from outside, one line, nothing a terminal or rich would act on."""
    from rich.markup import escape

    from flowlake.alerts.message import clean

    return escape(clean(text, limit))
