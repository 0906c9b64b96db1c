"""A whole day, faster than it is: daemon and code location as users run them, a market that fails, mail that arrives.

The sandbox market of 26 snapshots passes at 60 times its speed. The test makes things go wrong: the vendor answers 429
for a while, is dead for half an hour, a pass is killed in its middle, the mail server is down for three snapshots. In
the evening nothing may be missing that nobody explained, and everybody has every message once.

A run starts a process, which takes seconds of real time, and those are minutes of this day: on a busy machine
snapshots would be missed for no other reason than that. So it runs on a quiet one (`make day`) and skips elsewhere;
`FLOWLAKE_SIMULATED_DAY_SPEED` sets a speed and runs it anyway. What the day was like is printed.
"""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import dagster as dg
import polars as pl
import psutil
import pytest

from flowlake import calendar
from flowlake.clock import MarketClock
from flowlake.intraday.plan import due_snapshots, unexplained
from flowlake.lake import Lake
from flowlake.lake.spool import Spool
from flowlake.sandbox.faults import Fault, FaultKind, Faults
from flowlake.sandbox.server import SandboxServer
from flowlake.sandbox.simulator import SimulatorConfig, simulate
from flowlake.schemas import table
from flowlake.settings import IntradaySettings, get_settings
from flowlake_tests.alerts.mail_server import MailServer
from flowlake_tests.defs.conftest import environment

ASKED_SPEED = os.environ.get("FLOWLAKE_SIMULATED_DAY_SPEED")
SPEED = float(ASKED_SPEED or "60")
QUIET = 0.75 * (os.cpu_count() or 1)
"""Load average up to which a machine counts as quiet."""
ROOT = Path(__file__).parents[2]
FIRST, TODAY = date(2026, 5, 26), date(2026, 6, 9)
SENSORS = ("snapshot_sensor", "alert_sensor", "delivery_sensor", "notification_sensor")
DELAY = timedelta(minutes=15)
SNAPSHOTS = due_snapshots(TODAY, IntradaySettings(), DELAY)
CHAINS = "/v3/snapshot/options/"

STORM = Faults(Fault(FaultKind.RATE_LIMIT, CHAINS, first=None, probability=0.5))
DEAD = Faults(Fault(FaultKind.SERVER_ERROR, first=None))
SLOW = Faults(Fault(FaultKind.LATENCY, CHAINS, first=None, seconds=1.5))

START_SECONDS = 25.0
"""Real seconds that the daemon and its code location get before the first snapshot is due."""

SETTINGS = {
    # Of the vendor's client: small, impatient in real time, since ten minutes of market time are ten seconds.
    "FLOWLAKE_API__CONCURRENCY": "2",
    "FLOWLAKE_API__ATTEMPTS": "3",
    "FLOWLAKE_API__BACKOFF_SECONDS": "0.05",
    "FLOWLAKE_API__BREAKER_COOLDOWN_SECONDS": "0.05",
    # Starting a process takes seconds of real time, which are minutes of this day.
    "FLOWLAKE_INTRADAY__LATE_MINUTES": "14",
    "FLOWLAKE_ALERTS__SNAPSHOT_GRACE_MINUTES": "20",
    # A small market has a short history, which caps its scores.
    "FLOWLAKE_ALERTS__MIN_SCORE": "1.5",
    "FLOWLAKE_ALERTS__MIN_CONVICTION": "NONE",
    "FLOWLAKE_ALERTS__DAILY_CAP": "200",
    "FLOWLAKE_ALERTS__COOL_DOWN_MINUTES": "15",
    "FLOWLAKE_ALERTS__RETRY_SECONDS": "120",
    "FLOWLAKE_ALERTS__RETRY_CAP_SECONDS": "300",
    "FLOWLAKE_ALERTS__EMAIL__SECURITY": "none",
    "FLOWLAKE_ALERTS__EMAIL__RECIPIENTS": "watcher@example.com",
}

INSTANCE = """
run_coordinator:
  module: dagster.core.run_coordinator
  class: QueuedRunCoordinator
  config:
    dequeue_interval_seconds: 1
"""
"""Beside the instance settings users get: Dagster starts what is queued every second instead of every fifth."""


class Inbox(MailServer):
    """A mail server that remembers when each mail came."""

    def __init__(self) -> None:
        super().__init__()
        self.arrived: dict[str, datetime] = {}

    async def handle_DATA(self, server, session, envelope) -> str:  # noqa: N802
        answer = await super().handle_DATA(server, session, envelope)
        self.arrived.setdefault(self.ids()[-1], datetime.now(UTC))
        return answer


@dataclass
class Day:
    """What happened: the lake and the inbox in the evening, the clock, and when which fault was on."""

    lake: Lake
    inbox: Inbox
    clock: MarketClock
    server: SandboxServer
    ended: datetime
    killed: list[str] = field(default_factory=list)
    refused: int = 0

    @property
    def log(self) -> pl.DataFrame:
        """The log of snapshots."""
        return self.lake.read("snapshot_log", TODAY.isoformat())


@dataclass(frozen=True)
class Window:
    """A fault between two moments of the day (New York)."""

    start: str
    end: str

    def holds(self, now: datetime) -> bool:
        """Whether it is on."""
        return self.start <= f"{now.astimezone(calendar.NEW_YORK):%H:%M}" < self.end


RATE_LIMITED, OUTAGE, MAIL_DOWN = Window("10:55", "11:20"), Window("13:00", "13:30"), Window("10:20", "11:05")
KILLS = (Window("12:00", "12:44"), Window("16:35", "18:00"))
"""A pass is killed at noon, and the closing one, which has two hours to be taken again."""


def pipeline(server: SandboxServer, folder: Path, inbox: Inbox) -> dict[str, str]:
    """The settings of the day: eight underlyings, those that trade unusually among them."""
    truth = server.market.truth().filter(pl.col("session") == TODAY, "informed")  # pyright: ignore[reportAttributeAccessIssue]
    sizes = server.market.contracts(TODAY).group_by("underlying").len().sort("len", "underlying")
    hosts = [name for name in sizes["underlying"] if name in set(truth["underlying"])][:2]
    names = sorted({*hosts, *sizes["underlying"].head(8 - len(hosts))})
    mail = {
        "FLOWLAKE_ALERTS__EMAIL__HOST": "127.0.0.1",
        "FLOWLAKE_ALERTS__EMAIL__PORT": str(inbox.port),
    }
    return environment(server, ",".join(names), folder) | SETTINGS | mail


def history(folder: Path) -> None:
    """The sessions before, at their end, without what is only shown: what was normal."""
    from flowlake.definitions import defs
    from flowlake.runs import instance

    before = calendar.previous_session(TODAY)
    stages = dg.AssetSelection.groups("market", "chains", "baselines", "events").without_checks()
    job = dg.define_asset_job("history", selection=stages)
    with instance(folder / "data") as opened:
        result = (
            dg.Definitions.merge(defs, dg.Definitions(jobs=[job]))
            .resolve_job_def("history")
            .execute_in_process(
                instance=opened,
                tags={
                    "dagster/asset_partition_range_start": FIRST.isoformat(),
                    "dagster/asset_partition_range_end": before.isoformat(),
                },
                run_config={"loggers": {"plain": {"config": {"log_level": "WARNING"}}}},
            )
        )
    assert result.success


def start_daemon(folder: Path) -> tuple[subprocess.Popen[bytes], MarketClock]:
    """The Dagster daemon with its code location, everything of this day switched on; the clock starts meanwhile."""
    from flowlake import automation
    from flowlake.runs import dagster_home

    automation.switch(folder / "data", on=True, names=SENSORS)
    home = dagster_home(folder / "data")
    with (home / "dagster.yaml").open("a") as file:
        file.write(INSTANCE)
    start = datetime.now(UTC)
    opening = SNAPSHOTS[0].due_at - timedelta(seconds=START_SECONDS * SPEED)
    clock = MarketClock(start, opening, SPEED)
    environ = os.environ | {
        "DAGSTER_HOME": str(home),
        "PYTHONPATH": str(ROOT),
        "FLOWLAKE_CLOCK__START_REAL": start.isoformat(),
        "FLOWLAKE_CLOCK__START_MARKET": opening.isoformat(),
        "FLOWLAKE_CLOCK__SPEED": str(SPEED),
    }
    command = [sys.executable, "-W", "ignore", "-m", "dagster._daemon", "run", "-w", str(ROOT / "workspace.yaml")]
    output = (folder / "daemon.log").open("wb")
    return subprocess.Popen(command, env=environ, cwd=folder, stdout=output, stderr=subprocess.STDOUT), clock


def run_workers(daemon: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """Processes of runs under way."""
    children = psutil.Process(daemon.pid).children(recursive=True)
    return [child for child in children if "spawn_main" in " ".join(_command(child))]


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:
        return []


def kill_pass(day: Day, daemon: subprocess.Popen[bytes]) -> bool:
    """Kill the pass under way once a part of it is in the spool; whether that happened."""
    store = day.lake
    running = (
        day.log.filter(pl.col("status") == "running")["partition"] if store.has("snapshot_log", str(TODAY)) else []
    )
    for key in running:
        if Spool(store.paths, table("intraday_option_snapshots"), key).chunks():
            for worker in run_workers(daemon):
                worker.send_signal(signal.SIGKILL)
            day.killed.append(key)
            return True
    return False


def live_through(day: Day, daemon: subprocess.Popen[bytes]) -> None:
    """Let the day pass, with its faults, until the closing snapshot is dealt with and the mail has gone out."""
    kills = list(KILLS)
    mail_is_up = True
    while (now := day.clock.now()) < day.ended:
        assert daemon.poll() is None, "the daemon ended before the day did"
        if kills and kills[0].holds(now):
            faults = SLOW
            if kill_pass(day, daemon):
                kills.pop(0)
        elif RATE_LIMITED.holds(now):
            faults = STORM
        else:
            faults = DEAD if OUTAGE.holds(now) else Faults()
        day.server.inject(faults)
        if MAIL_DOWN.holds(now) == mail_is_up:
            mail_is_up = not mail_is_up
            (day.inbox.start if mail_is_up else day.inbox.stop)()
        if kills and now > day.ended - timedelta(minutes=50):
            kills.clear()
        if is_over(day, now):
            return
        time.sleep(0.1)


def is_over(day: Day, now: datetime) -> bool:
    """Whether every snapshot has been dealt with and no message waits."""
    if now < SNAPSHOTS[-1].due_at or unexplained(SNAPSHOTS[-1].useful_until, SNAPSHOTS, day.log):
        return False
    return day.lake.scan("alert_deliveries").filter(pl.col("status").is_in(["pending", "failed"])).collect().is_empty()


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Day]:
    load = os.getloadavg()[0]
    if ASKED_SPEED is None and load > QUIET:
        pytest.skip(f"a day at {SPEED:g}x needs a quiet machine; the load is {load:.1f} on {os.cpu_count()} cores")
    folder = tmp_path_factory.mktemp("day")
    sessions = len(calendar.sessions(FIRST, TODAY))
    market = simulate(SimulatorConfig(underlyings=20, sessions=sessions, first_session=FIRST, seed=11))
    inbox = Inbox()
    with pytest.MonkeyPatch.context() as patch, SandboxServer(market) as server:
        for name in ("MASSIVE_API_KEY", "POLYGON_API_KEY"):
            patch.delenv(name, raising=False)
        for name, value in pipeline(server, folder, inbox).items():
            patch.setenv(name, value)
        get_settings.cache_clear()
        history(folder)
        inbox.start()
        daemon, clock = start_daemon(folder)
        lived = Day(Lake.open(folder / "data"), inbox, clock, server, SNAPSHOTS[-1].useful_until)
        try:
            live_through(lived, daemon)
        finally:
            daemon.terminate()
            daemon.wait(timeout=60)
            inbox.stop()
        lived.ended = clock.now()
        describe(lived)
        yield lived
    get_settings.cache_clear()


def describe(day: Day) -> None:
    """Print what the day was like."""
    minutes = (day.ended - SNAPSHOTS[0].due_at).total_seconds() / 60
    print(f"\n{minutes:.0f} market minutes at {SPEED:g}x, {day.server.request_count} requests")
    print("snapshots:", dict(Counter(day.log["status"])), "killed:", day.killed)
    print("faults:", dict(Counter(each.kind.value for each in day.server.injected)))
    for row in day.log.filter(pl.col("reason").is_not_null()).iter_rows(named=True):
        print(f"  {row['partition']} {row['status']} (attempts {row['attempts']}): {row['reason']}")
    deliveries = day.lake.scan("alert_deliveries").collect()
    print("deliveries:", dict(Counter(deliveries.select(pl.concat_str("kind", pl.lit(" "), "status")).to_series())))
    waits = sorted(inbox_seconds(day))
    if waits:
        print(
            f"scored to inbox, real seconds: median {statistics.median(waits):.1f}, longest {waits[-1]:.1f} "
            f"({len(waits)} mails)"
        )


def inbox_seconds(day: Day) -> list[float]:
    """Real seconds from a snapshot's scoring to the arrival of each alert that mail was up for."""
    alerts = day.lake.scan("alert_deliveries").filter(pl.col("kind") == "alert", pl.col("status") == "sent").collect()
    scored = [(at, day.clock) for at in day.log["scored_at"].drop_nulls()]
    waits: list[float] = []
    for message, created in alerts.select("message_id", "created_at").iter_rows():
        before = [at for at, _ in scored if at <= created]
        if before and not MAIL_DOWN.holds(created):
            seen = day.clock.market(day.inbox.arrived[message])
            waits.append(day.clock.real_seconds(seen - max(before)))
    return waits


pytestmark = pytest.mark.slow


def test_no_gap_is_unexplained(day: Day):
    assert day.log["partition"].to_list() == [each.key for each in SNAPSHOTS]
    assert unexplained(SNAPSHOTS[-1].useful_until, SNAPSHOTS, day.log) == []
    without_reason = day.log.filter(~pl.col("status").is_in(["taken"]), pl.col("reason").is_null())
    assert without_reason.is_empty()


def test_what_the_log_calls_taken_is_in_the_lake_and_published(day: Day):
    there = day.log.filter(pl.col("status").is_in(["taken", "late", "partial"]))["partition"].to_list()
    for name in ("intraday_chains", "intraday_scored_events"):
        assert set(there) <= set(day.lake.published().partitions(name)), name


def test_every_fault_happened(day: Day):
    happened = Counter(each.kind for each in day.server.injected)
    assert happened[FaultKind.RATE_LIMIT] and happened[FaultKind.SERVER_ERROR]
    assert len(day.killed) == len(KILLS)


def test_the_closing_pass_went_on_where_it_was_killed(day: Day):
    row = day.log.filter(pl.col("partition") == SNAPSHOTS[-1].key).row(0, named=True)
    assert row["status"] in ("taken", "late")
    assert row["attempts"] >= 2
    assert 0 < row["resumed"] < row["asked"]


def test_nobody_got_a_message_twice_and_nobody_missed_one(day: Day):
    deliveries = day.lake.scan("alert_deliveries").collect()
    assert set(deliveries["status"]) <= {"sent", "superseded"}
    sent = deliveries.filter(pl.col("status") == "sent")
    assert sent.filter(pl.col("kind") == "alert").height > 0
    assert sorted(day.inbox.ids()) == sorted(sent["message_id"])


def test_every_event_that_deserved_an_alert_has_exactly_one(day: Day):
    events = day.lake.scan("intraday_scored_events").collect()
    due = set(events.filter(pl.col("score") >= get_settings().alerts.min_score)["event_id"])
    alerts = day.lake.scan("alerts").filter(pl.col("session") == TODAY).collect()
    assert due == set(alerts["event_id"])
    assert alerts["event_id"].n_unique() == alerts.height


def test_mail_that_was_refused_arrived_later(day: Day):
    deliveries = day.lake.scan("alert_deliveries").collect()
    tried_again = deliveries.filter(pl.col("status") == "sent", pl.col("attempts") > 1)
    assert tried_again.height > 0
