"""What assets are given from outside: the lake, the market and the folder of reports."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import dagster as dg

from flowlake.lake import Lake
from flowlake.settings import Settings, get_settings
from flowlake.sources.polygon import PolygonClient


class LakeResource(dg.ConfigurableResource):
    """The lake at `data_dir`."""

    data_dir: str

    def open(self) -> Lake:
        """The lake, its layout made if absent."""
        return Lake.open(Path(self.data_dir))


class MarketResource(dg.ConfigurableResource):
    """The market data API of the settings. The key stays in the environment and never enters run config."""

    @property
    def settings(self) -> Settings:
        """The settings of the process."""
        return get_settings()

    def client(self) -> PolygonClient:
        """A client of the configured API; raises with the remedy where there is no usable key."""
        return PolygonClient(self.settings.api, self.settings.api_key)

    def now(self) -> datetime:
        """The wall clock, UTC."""
        return datetime.now(UTC)


class ReportsResource(dg.ConfigurableResource):
    """Where rendered pages go."""

    reports_dir: str

    @property
    def path(self) -> Path:
        """The folder, made if absent."""
        folder = Path(self.reports_dir)
        folder.mkdir(parents=True, exist_ok=True)
        return folder


def resources() -> dict[str, dg.ConfigurableResource]:
    """The resources of the code location, from the settings."""
    settings = get_settings()
    return {
        "lake": LakeResource(data_dir=str(settings.data_dir)),
        "market": MarketResource(),
        "reports": ReportsResource(reports_dir=str(settings.reports_dir)),
    }
