"""Processes that `flowlake demo` and `flowlake run` start: the sandbox market and the Dagster UI, on 127.0.0.1."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import date
from pathlib import Path

from flowlake.runs import dagster_home
from flowlake.settings import SANDBOX_ENV, get_settings

LOOPBACK = "127.0.0.1"
SANDBOX_KEY = "sandbox"
_VENDOR_KEYS = ("MASSIVE_API_KEY", "POLYGON_API_KEY")
_START_SECONDS = 120
WORKSPACE = Path(__file__).parents[1] / "workspace.yaml"


class PortInUse(OSError):
    """A port that is to be listened on is taken."""


class ServiceFailed(RuntimeError):
    """A child process stopped before it was ready."""


def require_free_port(port: int) -> None:
    """Raise `PortInUse`, with the remedy, if something listens on `port` of 127.0.0.1."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError as error:
            raise PortInUse(
                f"port {port} on {LOOPBACK} is in use; "
                f"stop the program that holds it or choose another, for instance PORT={port + 1}"
            ) from error


@contextmanager
def sandbox(options: Sequence[str]) -> Iterator[str]:
    """Run `flowlake sandbox serve` with `options` on a free port; yields its base URL and stops it afterwards.

    Raises `ServiceFailed` with what the process printed if it ends before it listens.
    """
    command = [sys.executable, "-m", "flowlake.cli", "sandbox", "serve", "--port", "0", *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        yield _wait_until_ready(process)
    finally:
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_ready(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None, "stdout is a pipe"
    watchdog = threading.Timer(_START_SECONDS, process.kill)
    # An interrupt while it starts must not leave the program waiting for it.
    watchdog.daemon = True
    printed: list[str] = []
    try:
        watchdog.start()
        for line in process.stdout:
            printed.append(line)
            if ", on http://" in line:
                _drain(process)
                return line.rsplit(", on ", 1)[1].strip()
    finally:
        watchdog.cancel()
    raise ServiceFailed("the sandbox market did not start:\n" + "".join(printed[-20:]))


def _drain(process: subprocess.Popen[str]) -> None:
    """Keep reading what the child prints, so that a full pipe never stops it."""
    stream = process.stdout
    assert stream is not None, "stdout is a pipe"
    threading.Thread(target=lambda: [None for _ in stream], daemon=True).start()


@dataclass(frozen=True)
class DemoPlan:
    """The simulated market of a demo."""

    underlyings: int
    sessions: int
    seed: int
    last: date

    def options(self, data_dir: Path) -> list[str]:
        """Arguments of `flowlake sandbox serve`; the truth goes beside the lake, where no asset reads."""
        market = ["--underlyings", str(self.underlyings), "--sessions", str(self.sessions), "--seed", str(self.seed)]
        return [*market, "--last", self.last.isoformat(), "--truth", str(data_dir / ".sandbox" / "truth.parquet")]


def demo_plan(data_dir: Path, asked: DemoPlan) -> DemoPlan:
    """The market of the demo in `data_dir`: `asked` in an empty one, else the one that is there.

    A later day would otherwise simulate another market into the same lake. Raises `ValueError` where the sizes differ.
    """
    file = data_dir / ".sandbox" / "demo.json"
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(asdict(asked) | {"last": asked.last.isoformat()}))
        return asked
    stored = json.loads(file.read_text())
    there = DemoPlan(**(stored | {"last": date.fromisoformat(stored["last"])}))
    if replace(there, last=asked.last) != asked:
        raise ValueError(
            f"{data_dir} holds a demo of {there.underlyings} underlyings, {there.sessions} sessions, "
            f"seed {there.seed}; run `make clean` for another, or ask for the same"
        )
    return there


def use_sandbox(data_dir: Path, base_url: str, first_session: date) -> None:
    """Point this process, its children and later commands on `data_dir` at the sandbox, never with a vendor key."""
    values = {
        "FLOWLAKE_API_KEY": SANDBOX_KEY,
        "FLOWLAKE_API__BASE_URL": base_url,
        "FLOWLAKE_API__REPLAY": "true",
        "FLOWLAKE_API__REQUESTS_PER_SECOND": "100000",
        "FLOWLAKE_MARKET__FIRST_SESSION": first_session.isoformat(),
    }
    data_dir.mkdir(parents=True, exist_ok=True)
    (data_dir / SANDBOX_ENV).write_text("".join(f"{name}={value}\n" for name, value in values.items()))
    for name in _VENDOR_KEYS:
        os.environ.pop(name, None)
    os.environ.update(values)
    get_settings.cache_clear()


def dagster_ui(data_dir: Path, port: int) -> None:
    """Serve the Dagster UI and daemon on 127.0.0.1 until interrupted."""
    environment = os.environ | {"DAGSTER_HOME": str(dagster_home(data_dir))}
    code = ["-w", str(WORKSPACE)] if WORKSPACE.exists() else ["-m", "flowlake.definitions"]
    command = [sys.executable, "-W", "ignore", "-m", "dagster", "dev", *code, "-h", LOOPBACK, "-p", str(port)]
    process = subprocess.Popen(command, env=environment)
    try:
        process.wait()
    except KeyboardInterrupt:
        process.wait(timeout=30)
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(timeout=30)
