"""What people do about alerts through the API: written into the ledger, and by nobody else's page."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from flowlake.alerts import ledger
from flowlake.lake import Lake
from flowlake.serve.server import LakeServer
from flowlake_tests import small_lake
from flowlake_tests.serve.conftest import settings_for
from flowlake_tests.small_lake import SESSIONS

JSON = {"Content-Type": "application/json"}
ALERT = small_lake.alerts(SESSIONS[-1])["alert_id"][0]
ACKNOWLEDGE = f"/api/v1/alerts/{ALERT}/acknowledge"


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    lake = Lake.open(tmp_path_factory.mktemp("alerts") / "data")
    with lake.commit("test") as tx:
        for session in SESSIONS:
            tx.replace("alerts", session.isoformat(), small_lake.alerts(session))
    lake.publish(None, "test")
    return lake


@pytest.fixture(scope="module")
def client(lake: Lake, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    with (
        LakeServer(settings_for(lake, tmp_path_factory.mktemp("reports"))) as server,
        httpx.Client(base_url=server.base_url) as opened,
    ):
        yield opened


def alert(client: httpx.Client, name: str = ALERT) -> dict:
    (found,) = [row for row in client.get("/api/v1/alerts").json()["data"] if row["alert_id"] == name]
    return found


def test_an_alert_is_acknowledged_and_shown_so_at_once(client: httpx.Client, lake: Lake):
    before = client.get("/api/v1/alerts?status=new")
    answer = client.post(ACKNOWLEDGE, json={"by": "  Ada ", "note": "known merger"})
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    assert alert(client)["status"] == "acknowledged"
    assert client.get("/api/v1/alerts?status=new").headers["etag"] != before.headers["etag"]
    (action,) = ledger.actions(lake).to_dicts()
    assert action["action_id"] == answer.json()["action_id"]
    assert (action["by"], action["note"], action["via"]) == ("Ada", "known merger", "api")


def test_an_alert_is_snoozed_and_woken(client: httpx.Client):
    other = small_lake.alerts(SESSIONS[0])["alert_id"][0]
    until = (datetime.now(UTC) + timedelta(hours=4)).isoformat()
    assert client.post(f"/api/v1/alerts/{other}/snooze", json={"by": "Ada", "until": until}).status_code == 200
    assert alert(client, other)["status"] == "snoozed"
    assert client.post(f"/api/v1/alerts/{other}/unsnooze", json={"by": "Ada"}).status_code == 200
    assert alert(client, other)["status"] == "new"


@pytest.mark.parametrize(
    ("name", "body", "parameter"),
    [
        ("acknowledge", "{}", "by"),
        ("acknowledge", '{"by": ""}', "by"),
        ("acknowledge", '{"by": "Ada", "admin": true}', "admin"),
        ("acknowledge", "not json", "body"),
        ("acknowledge", '{"by": "' + "A" * 200 + '"}', "by"),
        ("snooze", '{"by": "Ada"}', "until"),
        ("snooze", '{"by": "Ada", "until": "2030-01-01T00:00:00"}', "until"),
        ("snooze", '{"by": "Ada", "until": "2020-01-01T00:00:00Z"}', "until"),
    ],
)
def test_a_body_that_does_not_fit_is_refused_by_name(client: httpx.Client, name: str, body: str, parameter: str):
    answer = client.post(f"/api/v1/alerts/{ALERT}/{name}", content=body, headers=JSON)
    assert answer.status_code == 400
    assert answer.json()["parameter"] == parameter


def test_an_unknown_alert_is_not_found(client: httpx.Client):
    answer = client.post(f"/api/v1/alerts/{'0' * 16}/acknowledge", json={"by": "Ada"})
    assert answer.status_code == 404
    assert answer.json()["parameter"] == "alert_id"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://127.0.0.1:1"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
    ],
)
def test_a_page_of_another_site_changes_nothing(client: httpx.Client, lake: Lake, headers: dict, status: int):
    before = ledger.actions(lake).height
    answer = client.post(ACKNOWLEDGE, content='{"by": "Mallory"}', headers=JSON | headers)
    assert answer.status_code == status
    assert ledger.actions(lake).height == before


def test_this_servers_own_pages_may(client: httpx.Client):
    own = str(client.base_url).rstrip("/")
    headers = JSON | {"Origin": own, "Sec-Fetch-Site": "same-origin"}
    assert client.post(ACKNOWLEDGE, content='{"by": "market page"}', headers=headers).status_code == 200


def test_a_body_that_is_too_long_is_refused(client: httpx.Client):
    answer = client.post(ACKNOWLEDGE, json={"by": "Ada", "note": "x" * 20_000})
    assert answer.status_code == 413
    assert answer.headers["content-type"] == "application/problem+json"


def test_reading_an_action_is_not_a_way_to_do_it(client: httpx.Client):
    answer = client.get(ACKNOWLEDGE)
    assert answer.status_code == 405
    assert "POST" in answer.headers["allow"]
    assert client.options(ACKNOWLEDGE).headers["allow"] == "OPTIONS, POST"


def test_the_actions_are_in_the_document(client: httpx.Client):
    document = client.get("/api/v1/openapi.json").json()
    snooze = document["paths"]["/api/v1/alerts/{alert_id}/snooze"]["post"]
    assert set(snooze["requestBody"]["content"]["application/json"]["schema"]["required"]) == {"by", "until"}
    assert {"403", "413", "415"} <= set(snooze["responses"])
