"""The answer of one data-quality rule."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Severity(StrEnum):
    """What a broken rule means for the stages that follow."""

    ERROR = "ERROR"
    """They must not run on these rows."""
    WARN = "WARN"
    """They may run; somebody should look."""


@dataclass(frozen=True)
class Outcome:
    """One rule, evaluated on one table's partition.

    `violations` of `rows` broke it; it passed where their share is within what the rule tolerates. `sample` holds a few
    offending rows (their keys) in a stable order; `description` says what was expected and, where it failed, what was
    seen. `underlyings` names all that broke it where the rule is about underlyings, not rows.
    """

    name: str
    passed: bool
    severity: Severity
    violations: int
    rows: int
    description: str
    sample: tuple[dict[str, Any], ...] = field(default=())
    underlyings: tuple[str, ...] = field(default=())

    @property
    def blocks(self) -> bool:
        """Whether the stages that follow must not run."""
        return not self.passed and self.severity is Severity.ERROR
