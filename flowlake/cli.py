"""flowlake: statistically unusual options activity, found, explained and measured.

What people do outside the Dagster UI.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
from rich.console import Console
from rich.table import Table as Grid

from flowlake import calendar, services
from flowlake.commands import alerts, automation, backfill, features, intraday
from flowlake.settings import SANDBOX_ENV, get_settings

if TYPE_CHECKING:
    from flowlake.sandbox.market import Market

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
sandbox = typer.Typer(no_args_is_help=True, help="The local market that speaks the vendor's API.")
app.add_typer(sandbox, name="sandbox")
app.add_typer(intraday.app, name="intraday")
app.add_typer(automation.app, name="automation")
app.add_typer(alerts.app, name="alerts")
app.add_typer(features.app, name="features")
app.add_typer(backfill.app, name="backfill")

console = Console()

Port = Annotated[int, typer.Option(help="Port of the Dagster UI on 127.0.0.1.", min=1, max=65535)]
Day = Annotated[str, typer.Option(help="Session, YYYY-MM-DD.")]


def main() -> None:
    """Entry point: errors a person can put right become one line on standard error and exit code 1."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    # As an exception, so that the sandbox and the UI that a command started are stopped with it.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        logging.getLogger("flowlake").setLevel(get_settings().log_level)
        app()
    except Exception as error:
        if not _is_for_people(error):
            raise
        logging.getLogger("flowlake").debug("traceback of the error below", exc_info=error)
        fail(str(error))


def _is_for_people(error: Exception) -> bool:
    """Whether the message says what to do: flowlake's own errors, bad values, and what the system refuses."""
    ours = type(error).__module__.startswith("flowlake.")
    return ours or isinstance(error, ValueError | OSError | LookupError | RuntimeError)


def fail(message: str) -> NoReturn:
    """Print `message` to standard error and exit with 1."""
    Console(stderr=True).print(f"[bold red]flowlake:[/] {message}", highlight=False, soft_wrap=True)
    raise SystemExit(1)


# --- the sandbox ------------------------------------------------------------------------------------------------------


@sandbox.command("serve")
def sandbox_serve(
    port: Annotated[int, typer.Option(help="Port on 127.0.0.1; 0 takes any free one.")] = 8900,
    recorded: Annotated[Path | None, typer.Option(help="Serve the recorded sessions of this folder instead.")] = None,
    underlyings: Annotated[int, typer.Option(help="Simulated underlyings.", min=20, max=6000)] = 60,
    sessions: Annotated[int, typer.Option(help="Simulated sessions, the last one included.", min=2)] = 30,
    last: Annotated[str | None, typer.Option(help="Last simulated session, YYYY-MM-DD (default: newest).")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the simulation.")] = 7,
    plan: Annotated[str, typer.Option(help="basic, starter, developer or advanced.")] = "advanced",
    truth: Annotated[Path | None, typer.Option(help="Write the simulated episodes to this Parquet file.")] = None,
) -> None:
    """Serve a market on 127.0.0.1 until interrupted. Its key is `sandbox`."""
    from flowlake.sandbox.plans import Plan
    from flowlake.sandbox.server import SandboxServer

    if plan.upper() not in Plan.__members__:
        raise ValueError(f"--plan {plan!r} is not one of {', '.join(Plan.__members__).lower()}")
    market = _market(recorded, underlyings, sessions, last, seed, truth)
    days = market.sessions()
    server = SandboxServer(
        market, keys=(services.SANDBOX_KEY,), plan=Plan[plan.upper()], host=services.LOOPBACK, port=port
    )
    text = f"{market.origin} market, {len(days)} sessions from {days[0]} to {days[-1]}"
    server.serve(on_ready=lambda url: print(f"{text}, on {url}", flush=True))


def _market(
    recorded: Path | None, underlyings: int, sessions: int, last: str | None, seed: int, truth: Path | None
) -> Market:
    if recorded:
        from flowlake.sandbox.recorded import RecordedMarket

        return RecordedMarket(recorded)
    from flowlake.sandbox.simulator import SimulatorConfig, simulate

    end = date.fromisoformat(last) if last else calendar.latest_closed_session(datetime.now(UTC))
    market = simulate(SimulatorConfig(underlyings=underlyings, sessions=sessions, last_session=end, seed=seed))
    if truth:
        market.write_truth(truth)
    return market


# --- the main job -----------------------------------------------------------------------------------------------------


@app.command()
def demo(
    serve: Annotated[bool, typer.Option(help="Serve the Dagster UI afterwards.")] = True,
    port: Port = 3000,
    underlyings: Annotated[int, typer.Option(help="Simulated underlyings.", min=20, max=6000)] = 60,
    sessions: Annotated[int, typer.Option(help="Simulated sessions.", min=22)] = 30,
    seed: Annotated[int, typer.Option(help="Seed of the simulation.")] = 7,
) -> None:
    """Simulate a market, run the pipeline on it end to end, write the reports, then serve the Dagster UI."""
    data_dir = get_settings().data_dir
    if serve:
        services.require_free_port(port)
    newest = calendar.latest_closed_session(datetime.now(UTC))
    plan = services.demo_plan(data_dir, services.DemoPlan(underlyings, sessions, seed, newest))
    first, last = calendar.previous_session(plan.last, plan.sessions - 1), plan.last
    started = time.monotonic()
    console.print(f"Starting a simulated market of {plan.underlyings} underlyings, {first} to {last} ...")
    with services.sandbox(plan.options(data_dir)) as base_url:
        services.use_sandbox(data_dir, base_url, first)
        result = backfill.run_range(backfill.END_OF_DAY, first, last, keep_existing=True)
        backfill.tell(result, first, last)
        console.print(f"\nDone in {time.monotonic() - started:.0f} s.")
        for what, page in where_to_look(get_settings().reports_dir):
            console.print(f"  {what:8} {page}", highlight=False, soft_wrap=True)
        console.print(f"  DuckDB   {data_dir / 'flowlake.duckdb'}   (python: flowlake.open())", highlight=False)
        console.print("  pages    flowlake serve   (and the API, on http://127.0.0.1:8700)", highlight=False)
        if serve:
            console.print(f"  Dagster  http://{services.LOOPBACK}:{port}   (stop with Ctrl-C)", highlight=False)
            services.dagster_ui(data_dir, port)
        else:
            console.print("  Dagster  make demo   (serves the UI on these data)", highlight=False)


@app.command()
def run(port: Port = 3000) -> None:
    """Serve the Dagster UI and run its schedules against the real API (needs MASSIVE_API_KEY or POLYGON_API_KEY)."""
    from flowlake import services
    from flowlake.sources.transport import checked_key

    settings = get_settings()
    if (settings.data_dir / SANDBOX_ENV).exists():
        raise ValueError(
            f"{settings.data_dir} holds the demo's simulated market; run `make clean`, "
            "or set FLOWLAKE_DATA_DIR to another folder for real data"
        )
    checked_key(settings.api_key)
    services.require_free_port(port)
    console.print(
        f"Dagster on http://{services.LOOPBACK}:{port} (stop with Ctrl-C); schedules are switched on in its UI."
    )
    services.dagster_ui(settings.data_dir, port)


def where_to_look(reports_dir: Path) -> list[tuple[str, Path]]:
    """The pages to open first, those that exist: the index, which leads to all others, and the newest daily report."""
    pages = [("start at", reports_dir / "index.html")]
    pages += [("report", page) for page in sorted(reports_dir.glob("daily-*.html"))[-1:]]
    return [(what, page) for what, page in pages if page.exists()]


# --- measuring it -----------------------------------------------------------------------------------------------------


@app.command()
def evaluate(
    output: Annotated[Path, typer.Option(help="Folder for tables, report and cached hosts.")] = Path("data/evaluation"),
    hosts: Annotated[str, typer.Option(help="'simulated', or 'recorded' (real sessions).")] = "simulated",
    recording: Annotated[Path | None, typer.Option(help="Folder of recorded sessions, for --hosts recorded.")] = None,
    cases: Annotated[Path | None, typer.Option(help="JSON of public cases to re-enact.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of everything drawn.")] = 1,
) -> None:
    """Measure detection: injected episodes, decoys, public cases and false alarms, beside seven simple rules."""
    from flowlake.evaluate import run as run_evaluation
    from flowlake.evaluate import summary

    if hosts not in ("recorded", "simulated"):
        raise ValueError(f"--hosts is 'recorded' or 'simulated', not {hosts!r}")
    if hosts == "recorded" and recording is None:
        raise ValueError("--hosts recorded needs --recording FOLDER with option_chains/ and stocks/")
    with console.status("Preparing hosts ...") as shown:
        results = run_evaluation(
            output,
            seed,
            "recorded" if hosts == "recorded" else "simulated",
            recording=recording,
            case_file=cases,
            progress=lambda what, done, total: shown.update(f"{what}: {done} of {total}"),
        )
    console.print(summary.markdown(summary.sections(results)), highlight=False, soft_wrap=True, markup=False)
    console.print(f"Report: {output / 'evaluation.html'}")


@app.command()
def serve(
    host: Annotated[str, typer.Option(help="Address to listen on; any but loopback needs a token.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 takes any free one.", min=0, max=65535)] = 8700,
    token_env: Annotated[
        str, typer.Option(help="Environment variable that holds the token.")
    ] = "FLOWLAKE_SERVE__TOKEN",
) -> None:
    """Serve the reports and the read-only API (/api) until interrupted."""
    from pydantic import SecretStr

    from flowlake.serve.auth import TOKEN_VARIABLE
    from flowlake.serve.server import LakeServer

    settings = get_settings()
    given = os.environ.get(token_env)
    token = settings.serve.token if token_env == TOKEN_VARIABLE else SecretStr(given) if given else None
    server = LakeServer(settings, host=host, port=port, token=token, token_variable=token_env)
    who = "anybody on this machine" if server.door.token is None else f"whoever shows the token in {token_env}"
    server.serve(
        on_ready=lambda url: print(f"Reports on {url}/, API on {url}/api, for {who} (stop with Ctrl-C)", flush=True)
    )


# --- looking after it -------------------------------------------------------------------------------------------------


@app.command()
def status() -> None:
    """What the lake holds: sessions, rows and size per table, what analysts see, and which sessions are missing."""
    from flowlake.lake import Lake

    settings = get_settings()
    lake = Lake.open(settings.data_dir)
    manifest = lake.manifest()
    grid = Grid(box=None)
    grid.add_column("table", no_wrap=True)
    grid.add_column("newest", no_wrap=True)
    for heading in ("partitions", "published", "rows", "MB"):
        grid.add_column(heading, justify="right", no_wrap=True)
    for name in sorted(lake.tables):
        entries = manifest.head.get(name, {})
        if not entries:
            continue
        rows, size = (sum(values) for values in zip(*((e.rows, e.bytes) for e in entries.values()), strict=True))
        shown = len(manifest.published.get(name, {}))
        grid.add_row(name, max(entries), str(len(entries)), str(shown), f"{rows:,}", f"{size / 1e6:,.1f}")
    console.print(grid)
    held = lake.partitions("scored_events")
    if not held:
        console.print("no session has been scored yet; start with `flowlake demo` or `flowlake backfill`")
        return
    first, last = date.fromisoformat(held[0]), calendar.latest_closed_session(datetime.now(UTC))
    missing = [day for day in calendar.sessions(first, last) if day.isoformat() not in set(held)]
    console.print(f"{len(held)} sessions scored, {len(missing)} missing between {first} and {last}")
    if missing:
        console.print(f"fill them with: flowlake backfill --from {missing[0]} --to {missing[-1]}")


@app.command()
def retention(
    apply: Annotated[bool, typer.Option(help="Delete; without it, only show what would be deleted.")] = False,
) -> None:
    """Show, or with --apply delete, what is older than the retention settings allow."""
    from flowlake.lake import Lake, apply_retention, plan_retention

    settings = get_settings()
    lake = Lake.open(settings.data_dir)
    plan = plan_retention(lake, calendar.latest_closed_session(datetime.now(UTC)), settings.lake)
    grid = Grid("action", "table", "partition", "files", "MB", "why")
    for row in plan.iter_rows(named=True):
        size = f"{row['bytes'] / 1e6:.2f}"
        grid.add_row(row["action"], row["table"], row["partition"], str(row["files"]), size, row["reason"])
    console.print(grid)
    if not apply:
        console.print(f"{plan.height} entries would be deleted; run with --apply to delete them")
        return
    apply_retention(lake, plan, run_id="command line")
    console.print(f"{plan.height} entries deleted")


@app.command()
def doctor(
    send: Annotated[bool, typer.Option(help="Also send a sample through every alert channel.")] = False,
) -> None:
    """Check key, plan, clock, disk, lake and alert channels, and say what will and what will not work."""
    from flowlake.doctor import examine

    findings = examine(get_settings(), now=datetime.now(UTC), send=send)
    for finding in findings:
        mark = "[green]ok[/]" if finding.ok else "[bold red]!![/]"
        console.print(f"{mark:>4}  {finding.what}: {finding.says}", highlight=False)
    if not all(finding.ok for finding in findings):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
