"""Hosts small enough for every run: a simulated market without episodes of its own."""

from __future__ import annotations

import pytest

from flowlake.evaluate import hosts
from flowlake.sandbox.simulator import SimulatorConfig, simulate

SMALL = SimulatorConfig(underlyings=20, sessions=16, informed_episodes=0, decoys=0, history_sessions=40, seed=3)


@pytest.fixture(scope="session")
def small_hosts(tmp_path_factory: pytest.TempPathFactory) -> hosts.Hosts:
    """Sixteen simulated sessions of twenty names, detected once for all tests."""
    return hosts.build_hosts(simulate(SMALL), tmp_path_factory.mktemp("hosts"))
