"""A small published lake, its server on loopback, and a client."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from flowlake.lake import Lake
from flowlake.serve.server import LakeServer
from flowlake.settings import Settings
from flowlake_tests.small_lake import fill


@pytest.fixture(scope="session")
def small_lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """Three sessions of two underlyings, published; tests that change a lake make their own."""
    lake = Lake.open(tmp_path_factory.mktemp("served") / "data")
    fill(lake)
    return lake


@pytest.fixture(scope="session")
def reports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reports folder with an index, a page in a folder, and things that must never be served."""
    folder = tmp_path_factory.mktemp("pages") / "reports"
    (folder / "assets").mkdir(parents=True)
    (folder / "index.html").write_text("<h1>reports</h1><script>steal()</script>")
    (folder / "assets" / "chart.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    (folder / ".hidden.html").write_text("hidden")
    (folder / "notes.sqlite").write_text("not a page")
    (folder.parent / "secret.html").write_text("secret")
    (folder / "link.html").symlink_to(folder.parent / "secret.html")
    return folder


def settings_for(lake: Lake, reports: Path, **serve: object) -> Settings:
    return Settings(data_dir=lake.paths.root, reports_dir=reports, serve=serve)  # pyright: ignore[reportArgumentType]


@pytest.fixture(scope="session")
def served(small_lake: Lake, reports: Path) -> Iterator[LakeServer]:
    with LakeServer(settings_for(small_lake, reports)) as server:
        yield server


@pytest.fixture(scope="session")
def client(served: LakeServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=served.base_url) as opened:
        yield opened
