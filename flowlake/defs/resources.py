"""What assets are given from outside: the lake, the market and the folder of reports."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from pathlib import Path

import dagster as dg

from flowlake import calendar
from flowlake.clock import market_clock
from flowlake.lake import Lake
from flowlake.settings import Settings, get_settings
from flowlake.sources.polygon import BlockingPolygonClient

STOCKS_RESET = time(3, 30)
MIN_PASS_SECONDS = 10.0
"""What a pass begun at the very end of a snapshot's useful life still gets."""


class LakeResource(dg.ConfigurableResource):
    """The lake in the data folder of the settings."""

    def open(self) -> Lake:
        """The lake, its layout made if absent."""
        return Lake.open(get_settings().data_dir)


class MarketResource(dg.ConfigurableResource):
    """The market data API of the settings. The key stays in the environment and never enters run config."""

    @property
    def settings(self) -> Settings:
        """The settings of the process."""
        return get_settings()

    def client(self, until: datetime | None = None) -> BlockingPolygonClient:
        """A client of the configured API, a context manager; raises with the remedy where there is no usable key.

        After `until` (market time) it sends no more requests: what it has by then is what the pass has.
        """
        api, clock = self.settings.api, market_clock(self.settings.clock)
        if until is not None:
            left = max(clock.real_seconds(until - clock.now()), MIN_PASS_SECONDS)
            api = api.model_copy(update={"budget_seconds": min(api.budget_seconds, left)})
        return BlockingPolygonClient(api, self.settings.api_key)

    def as_of(self, session: date) -> datetime | None:
        """The moment a sandbox is asked for: when the session's last delayed quotes are in. None asks for now."""
        return calendar.session_close(session) + calendar.CLOSING_WAIT if self.settings.api.replay else None

    def stocks_are_reset(self, session: date) -> bool:
        """Whether the vendor has cleared the session's stock snapshot (03:30 New York on the morning after)."""
        if self.settings.api.replay:
            return False
        reset = datetime.combine(session + timedelta(days=1), STOCKS_RESET, calendar.NEW_YORK)
        return self.now() >= reset

    def underlyings(self, client: BlockingPolygonClient, session: date, as_of: datetime | None = None) -> list[str]:
        """The underlyings of a pass: the configured list, or all that are optionable in the session."""
        configured = self.settings.market.underlyings
        if configured.strip().lower() != "all":
            return sorted({name.strip() for name in configured.split(",") if name.strip()})
        return client.list_underlyings(session, as_of=as_of or self.as_of(session))

    def now(self) -> datetime:
        """The market's time, UTC: the wall clock, unless a simulation set another."""
        return market_clock(self.settings.clock).now()


class ReportsResource(dg.ConfigurableResource):
    """Where rendered pages go."""

    @property
    def path(self) -> Path:
        """The folder of the settings, made if absent."""
        folder = get_settings().reports_dir
        folder.mkdir(parents=True, exist_ok=True)
        return folder


def resources() -> dict[str, dg.ConfigurableResource]:
    """The resources of the code location; each reads the settings when it is used."""
    return {"lake": LakeResource(), "market": MarketResource(), "reports": ReportsResource()}
