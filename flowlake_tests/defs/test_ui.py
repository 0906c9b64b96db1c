"""The web server in a headless browser: pages load without script errors, groups and a failed check are visible."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from typing import TYPE_CHECKING

import dagster as dg
import pytest

from flowlake.defs.product import STAGES
from flowlake.defs.quality import evaluation
from flowlake.quality.outcome import Outcome, Severity
from flowlake.runs import dagster_home
from flowlake_tests.report.browsing import chromium

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.slow

PATIENCE_MS = 120_000


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as opened:
        yield opened


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a web server over an instance in which one check of option_chains failed."""
    home = dagster_home(tmp_path_factory.mktemp("ui"))
    copied = Outcome("stale_copy", False, Severity.ERROR, 90, 100, "sessions differ; 90.0% of 100 are identical")
    with dg.DagsterInstance.from_config(str(home)) as instance:
        instance.report_runless_asset_event(dg.AssetMaterialization("option_chains", partition="2026-06-10"))
        instance.report_runless_asset_event(evaluation("option_chains", "2026-06-10", copied))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-W", "ignore", "-m", "dagster_webserver", "-m", "flowlake.definitions"]
    process = subprocess.Popen(
        [*command, "-h", "127.0.0.1", "-p", str(port)],
        env=os.environ | {"DAGSTER_HOME": str(home)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait_for(f"http://127.0.0.1:{port}/server_info", process)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(timeout=30)


def _wait_for(address: str, process: subprocess.Popen) -> None:
    for _ in range(240):
        assert process.poll() is None, "the web server ended before it served"
        try:
            urllib.request.urlopen(address, timeout=5).read()
        except OSError:
            time.sleep(0.5)
        else:
            return
    pytest.fail(f"{address} did not answer")


def test_groups_an_asset_and_its_failed_check_are_shown_without_script_errors(browser: Browser, served: str):
    errors: list[str] = []
    page = browser.new_page(viewport={"width": 1400, "height": 900})
    page.set_default_timeout(PATIENCE_MS)
    page.on("pageerror", lambda error: errors.append(str(error)))

    page.goto(f"{served}/asset-groups", wait_until="domcontentloaded")
    for group in ("market", "chains", "baselines", "events", "quality", "published"):
        assert group in STAGES
        page.get_by_text(group, exact=True).first.wait_for()

    page.goto(f"{served}/assets/option_chains", wait_until="domcontentloaded")
    page.get_by_text("Open interest at the START of the session").first.wait_for()
    page.get_by_text("stage: 2-chains").first.wait_for()

    page.goto(f"{served}/assets/option_chains?view=checks&checkDetail=stale_copy", wait_until="domcontentloaded")
    page.get_by_text("90.0% of 100 are identical").first.wait_for()
    page.get_by_text("Failed", exact=True).first.wait_for()
    assert errors == []
