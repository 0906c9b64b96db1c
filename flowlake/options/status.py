"""Why a contract has, or has not, an implied volatility."""

from __future__ import annotations

from enum import IntEnum


class Status(IntEnum):
    """Outcome of solving one contract; a volatility is a number exactly where the status is `OK`."""

    OK = 0
    NO_PRICE = 1
    """The price is missing, not finite, zero or negative."""
    NO_FORWARD = 2
    """Forward, strike or discount factor is missing or not positive."""
    EXPIRED = 3
    """No time is left, or the time is missing."""
    BELOW_INTRINSIC = 4
    """The price is at or below the exercise value: any volatility is an upper bound of zero."""
    ABOVE_BOUND = 5
    """The price is at or above what the option can ever be worth: no volatility is large enough."""
    IMPRECISE = 6
    """The rounding of the price alone moves the volatility by more than 1e-6: it carries no information."""

    @property
    def label(self) -> str:
        """The name stored in tables, e.g. 'below_intrinsic'."""
        return self.name.lower()


LABELS: tuple[str, ...] = tuple(status.label for status in Status)
"""Table names of the statuses, in the order of their numbers."""
