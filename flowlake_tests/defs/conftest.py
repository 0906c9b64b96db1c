"""A small simulated market behind a loopback server, and the pipeline pointed at it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path

import dagster as dg
import pytest

from flowlake import calendar
from flowlake.sandbox.server import SandboxServer
from flowlake.sandbox.simulator import SimulatorConfig, simulate
from flowlake.settings import get_settings

FIRST = date(2026, 5, 26)
SESSIONS = calendar.sessions(FIRST, date(2026, 6, 9))
"""Enough for baselines (5), p-values (1 more) and ranks (1 more), with a few judged sessions after."""

UNDERLYINGS = 8


@pytest.fixture(scope="session")
def market_server() -> Iterator[SandboxServer]:
    market = simulate(SimulatorConfig(underlyings=20, sessions=len(SESSIONS), first_session=FIRST, seed=11))
    with SandboxServer(market) as server:
        yield server


@pytest.fixture(scope="session")
def small_underlyings(market_server: SandboxServer) -> str:
    """The underlyings with the smallest chains, so that the pipeline runs in seconds."""
    listed = market_server.market.contracts(SESSIONS[-1]).group_by("underlying").len().sort("len", "underlying")
    return ",".join(sorted(listed["underlying"].head(UNDERLYINGS)))


def environment(server: SandboxServer, underlyings: str, folder: Path) -> dict[str, str]:
    """The environment that points flowlake at `server` and at a lake in `folder`."""
    return {
        "FLOWLAKE_API_KEY": "sandbox",
        "FLOWLAKE_API__BASE_URL": server.base_url,
        "FLOWLAKE_API__REPLAY": "true",
        "FLOWLAKE_API__REQUESTS_PER_SECOND": "100000",
        "FLOWLAKE_MARKET__UNDERLYINGS": underlyings,
        "FLOWLAKE_DATA_DIR": str(folder / "data"),
        "FLOWLAKE_REPORTS_DIR": str(folder / "reports"),
        # Great Expectations takes seconds to import in every process; its own tests switch it on.
        "FLOWLAKE_QUALITY__SUITES": "false",
    }


@pytest.fixture
def pipeline(
    market_server: SandboxServer, small_underlyings: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """Settings that point the pipeline at the small market and an empty lake in the folder yielded."""
    for name in ("MASSIVE_API_KEY", "POLYGON_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment(market_server, small_underlyings, tmp_path).items():
        monkeypatch.setenv(name, value)
    get_settings.cache_clear()
    yield tmp_path
    get_settings.cache_clear()


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as opened:
        yield opened
