"""The pages: the folder's files, what is rendered from the lake, and nothing else of this machine."""

from __future__ import annotations

import http.client
import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from flowlake.lake import Lake
from flowlake.serve.pages import csp_of, trusted_scripts
from flowlake.serve.server import LakeServer
from flowlake_tests import small_lake
from flowlake_tests.serve.conftest import settings_for
from flowlake_tests.small_lake import SESSIONS


def raw(server: LakeServer, target: str) -> tuple[int, bytes]:
    """A request whose target no client library has tidied."""
    connection = http.client.HTTPConnection(server.host, server.port, timeout=10)
    try:
        connection.putrequest("GET", target, skip_host=True)
        connection.putheader("Host", "127.0.0.1")
        connection.endheaders()
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def test_the_index_and_files_in_folders_are_served(client: httpx.Client):
    assert "<h1>reports</h1>" in client.get("/").text
    picture = client.get("/assets/chart.svg")
    assert picture.headers["content-type"] == "image/svg+xml"
    assert "script-src" not in picture.headers["content-security-policy"]


@pytest.mark.parametrize(
    "target",
    [
        "/../secret.html",
        "/%2e%2e/secret.html",
        "/..%2fsecret.html",
        "/assets/../../secret.html",
        "/assets/%2e%2e/%2e%2e/secret.html",
        "/..%5csecret.html",
        "//secret.html",
        "/link.html",
        "/.hidden.html",
        "/notes.sqlite",
        "/assets",
        "/assets/",
        "/index.html/",
        "/index.html%00.svg",
        "/etc/passwd",
        "/%2fetc%2fpasswd",
        "/" + "a" * 300 + ".html",
    ],
)
def test_nothing_outside_the_folder_and_nothing_but_pages(served: LakeServer, target: str):
    status, body = raw(served, target)
    assert status == 404
    assert b"secret" not in body.replace(b"secret.html", b"")
    assert b"hidden" not in body


def test_a_script_that_is_not_ours_is_not_allowed_to_run(client: httpx.Client):
    policy = client.get("/").headers["content-security-policy"]
    assert policy.startswith("default-src 'none'")
    assert "script-src" not in policy


def test_our_own_script_is_allowed_by_its_hash_and_nothing_beside_it():
    from flowlake.report.html import page_script, script_hash

    policy = csp_of(f"<script>{page_script()}</script><script>steal()</script>".encode())
    assert f"script-src '{script_hash()}';" in policy
    assert f"'{script_hash()}'" in trusted_scripts()


def test_the_api_page_names_every_parameter_and_runs_no_script(client: httpx.Client):
    page = client.get("/api")
    assert "min_score" in page.text
    assert "/api/v1/contracts/{contract}/history" in page.text
    assert "<script" not in page.text
    assert "script-src" not in page.headers["content-security-policy"]


@pytest.mark.parametrize("name", ["market.html", "history.html", "monitor-SPX.html", "ticker-ABC.html"])
def test_pages_of_the_newest_state_are_rendered_when_asked_for(client: httpx.Client, name: str):
    page = client.get(f"/{name}")
    assert page.status_code == 200
    assert "<!doctype html>" in page.text
    assert "script-src 'sha256-" in page.headers["content-security-policy"]
    assert client.get(f"/{name}", headers={"If-None-Match": page.headers["etag"]}).status_code == 304


@pytest.mark.parametrize(
    "name",
    [
        "ticker-NOPE.html",
        "ticker-_2f_.html",
        "ticker-_d800_.html",
        "ticker-_41_BC.html",
        "daily-2020-01-01.html",
        "daily-2026-13-45.html",
    ],
)
def test_pages_about_nothing_are_not_found(client: httpx.Client, name: str):
    assert client.get(f"/{name}").status_code == 404


def test_without_an_index_one_is_made(small_lake: Lake, tmp_path: Path):
    with LakeServer(settings_for(small_lake, tmp_path)) as server:
        assert httpx.get(server.base_url).status_code == 200


def test_a_rendered_page_follows_the_lake(tmp_path: Path):
    lake = Lake.open(tmp_path / "data")
    small_lake.fill(lake)
    with LakeServer(settings_for(lake, tmp_path)) as server, httpx.Client(base_url=server.base_url) as client:
        before = client.get("/ticker-ABC.html")
        assert client.get("/ticker-ABC.html").headers["etag"] == before.headers["etag"]
        newer = SESSIONS[-1].replace(day=4)
        with lake.commit("test") as tx:
            tx.replace("option_chains", newer.isoformat(), small_lake.chain(newer))
        lake.publish(None, "test")
        after = client.get("/ticker-ABC.html")
        assert after.headers["etag"] != before.headers["etag"]
        assert newer.isoformat() in after.text


# --- in a browser -----------------------------------------------------------------------------------------------------


@pytest.fixture
def alerting(tmp_path: Path) -> Iterator[LakeServer]:
    lake = Lake.open(tmp_path / "data")
    small_lake.fill(lake)
    with LakeServer(settings_for(lake, tmp_path / "reports")) as server:
        yield server


@pytest.mark.slow
def test_the_market_page_acknowledges_an_alert_under_the_policy(alerting: LakeServer):
    from playwright.sync_api import sync_playwright

    if shutil.which("chromium") is None:
        pytest.skip("no Chromium on this machine: `make browser` installs one")
    arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=arguments)
        page = browser.new_page()
        complaints: list[str] = []
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(f"{alerting.base_url}/market.html")
        page.get_by_role("button", name="Acknowledge the alert about ABC").first.click()
        page.get_by_text("acknowledged", exact=True).first.wait_for()
        browser.close()
    assert complaints == []
    rows = httpx.get(f"{alerting.base_url}/api/v1/alerts?status=acknowledged").json()["data"]
    assert [row["underlying"] for row in rows] == ["ABC"]
