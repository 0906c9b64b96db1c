"""Data quality: what must hold of one table (`invariants`), what looks odd beside the session before (`incidents`)."""

from __future__ import annotations

from flowlake.quality.invariants import INVARIANTS, Invariant, evaluate
from flowlake.quality.outcome import Outcome, Severity

__all__ = ["INVARIANTS", "Invariant", "Outcome", "Severity", "evaluate"]
