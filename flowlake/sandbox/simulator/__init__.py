"""A seeded whole market: stocks, options, quotes, volume and open interest, with injected episodes and decoys."""

from __future__ import annotations

from flowlake.sandbox.simulator.config import BadSimulatorConfig, SimulatorConfig
from flowlake.sandbox.simulator.market import Simulator, simulate

__all__ = ["BadSimulatorConfig", "Simulator", "SimulatorConfig", "simulate"]
