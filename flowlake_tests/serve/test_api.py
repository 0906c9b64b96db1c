"""The API over real HTTP on loopback: what is asked is what comes, in every format, page by page."""

from __future__ import annotations

import gzip
import io
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import polars as pl
import pytest
from jsonschema import Draft202012Validator

from flowlake.lake import Lake
from flowlake.serve.endpoints import listings
from flowlake.serve.openapi import row_schema
from flowlake.serve.queries import Listing
from flowlake.serve.server import LakeServer
from flowlake_tests import small_lake
from flowlake_tests.serve.conftest import settings_for
from flowlake_tests.small_lake import SESSIONS, chain, event_id

CONTRACT = "O:ABC260619C00100000"
NEEDED = {"chains": {"underlying": "ABC"}, "intraday_chains": {"underlying": "ABC"}}
ARROW = "application/vnd.apache.arrow.stream"


def path_of(listing: Listing) -> str:
    return listing.path.format(contract=CONTRACT)


def rows_of(client: httpx.Client, path: str, **parameters: Any) -> list[dict]:
    answer = client.get(path, params=parameters)
    assert answer.status_code == 200, answer.text
    return answer.json()["data"]


def test_health_says_how_new_the_lake_is(client: httpx.Client):
    answer = client.get("/api/v1/health")
    assert answer.status_code == 200
    assert answer.json()["newest_session"] == SESSIONS[-1].isoformat()


def test_events_come_newest_session_first_and_by_rank(client: httpx.Client):
    rows = rows_of(client, "/api/v1/events")
    assert [(row["session"], row["rank"]) for row in rows] == [
        (session.isoformat(), rank) for session in SESSIONS[::-1] for rank in (1, 2)
    ]


def test_sessions_say_what_they_hold(client: httpx.Client):
    newest, *_ = rows_of(client, "/api/v1/sessions")
    assert newest["session"] == SESSIONS[-1].isoformat()
    assert (newest["contracts"], newest["events"]) == (64, 2)


@pytest.mark.parametrize(
    ("parameters", "count"),
    [
        ({"underlying": "ABC"}, 3),
        ({"session": "newest"}, 2),
        ({"session": SESSIONS[0].isoformat(), "underlying": "XYZ"}, 1),
        ({"from": SESSIONS[1].isoformat()}, 4),
        ({"to": SESSIONS[1].isoformat()}, 4),
        ({"from": SESSIONS[1].isoformat(), "to": SESSIONS[1].isoformat()}, 2),
        ({"min_score": "9"}, 3),
        ({"min_score": "9.01"}, 0),
        ({"conviction": "HIGH,EXTREME"}, 3),
        ({"conviction": "LOW"}, 0),
        ({"direction": "bearish"}, 0),
        ({"status": "confirmed"}, 2),
        ({"status": "provisional"}, 2),
        ({"status": "confirmed,withdrawn"}, 4),
        ({"underlying": "NONE"}, 0),
    ],
)
def test_filters_keep_what_they_say(client: httpx.Client, parameters: dict, count: int):
    assert len(rows_of(client, "/api/v1/events", **parameters)) == count


def test_a_chain_is_that_of_the_newest_session_and_can_be_narrowed(client: httpx.Client):
    whole = rows_of(client, "/api/v1/chains", underlying="XYZ")
    assert {row["session"] for row in whole} == {SESSIONS[-1].isoformat()}
    assert len(whole) == 32
    calls = rows_of(client, "/api/v1/chains", underlying="XYZ", right="C", expiration="2026-06-19")
    assert [row["strike"] for row in calls] == list(small_lake.STRIKES)
    busy = rows_of(client, "/api/v1/chains", underlying="XYZ", min_volume=60)
    assert 0 < len(busy) < 32
    assert all(row["volume"] >= 60 for row in busy)


def test_a_contracts_history_is_its_sessions_oldest_first(client: httpx.Client):
    rows = rows_of(client, f"/api/v1/contracts/{CONTRACT}/history")
    assert [row["session"] for row in rows] == [session.isoformat() for session in SESSIONS]
    assert {row["contract"] for row in rows} == {CONTRACT}


def test_an_event_comes_with_its_factors_and_what_became_of_it(client: httpx.Client):
    event = client.get(f"/api/v1/events/{event_id(SESSIONS[0], 'ABC')}").json()
    assert event["factors"][0]["text"] == 'a "text", <b>é</b>'
    assert event["status"] == "confirmed"
    assert [outcome["signed_return"] for outcome in event["outcomes"]] == [0.01]
    assert event["insiders"] == []


def test_an_unknown_event_is_not_found(client: httpx.Client):
    answer = client.get("/api/v1/events/0123456789abcdef")
    assert answer.status_code == 404
    assert answer.json()["parameter"] == "event_id"


def test_chosen_columns_always_bring_the_origin(client: httpx.Client):
    (row, *_) = rows_of(client, "/api/v1/events", columns="score,underlying")
    assert list(row) == ["score", "underlying", "origin"]
    (row, *_) = rows_of(client, "/api/v1/events", columns="factors")
    assert row["factors"]


# --- pages ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("listing", listings(), ids=lambda listing: listing.name)
@pytest.mark.parametrize("limit", [1, 3])
def test_following_next_gives_every_row_once_and_in_order(client: httpx.Client, listing: Listing, limit: int):
    parameters = NEEDED.get(listing.name, {})
    whole = rows_of(client, path_of(listing), **parameters, limit=25, columns=",".join(listing.table.key))
    link: str | None = str(
        httpx.URL(path_of(listing)).copy_merge_params(
            parameters | {"limit": limit, "columns": ",".join(listing.table.key)}
        )
    )
    seen: list[dict] = []
    while link and len(seen) < len(whole):
        answer = client.get(link)
        page = answer.json()
        assert len(page["data"]) == page["count"] <= limit
        assert (answer.links.get("next", {}).get("url")) == page["next"]
        seen += page["data"]
        link = page["next"]
    assert seen[: len(whole)] == whole


def test_a_cursor_keeps_its_place_when_sessions_are_added(tmp_path: Path):
    lake = Lake.open(tmp_path / "data")
    small_lake.fill(lake)
    with LakeServer(settings_for(lake, tmp_path)) as server, httpx.Client(base_url=server.base_url) as client:
        first = client.get("/api/v1/events?limit=3&columns=session,rank").json()
        newer = SESSIONS[-1].replace(day=4)
        with lake.commit("test") as tx:
            tx.replace("scored_events", newer.isoformat(), small_lake.events(newer))
        lake.publish(None, "test")
        rest = client.get(first["next"]).json()
        assert rest["next"] is None
        assert [(row["session"], row["rank"]) for row in first["data"] + rest["data"]] == [
            (session.isoformat(), rank) for session in SESSIONS[::-1] for rank in (1, 2)
        ]
        assert len(rows_of(client, "/api/v1/events")) == 8


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"min_score": "2"}, "other filters"),
        ({"cursor": "AAAA"}, "not one this API made"),
        ({"cursor": "!!!"}, "not one this API made"),
        ({"cursor": "W10"}, "not one this API made"),
    ],
)
def test_a_cursor_that_does_not_fit_is_refused(client: httpx.Client, change: dict, words: str):
    link = httpx.URL(client.get("/api/v1/events?limit=1").json()["next"])
    answer = client.get(link.copy_merge_params(change))
    assert answer.status_code == 400
    assert answer.json()["parameter"] == "cursor"
    assert words in answer.json()["detail"]


# --- formats ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/events?columns=session,event_id,rank,score,algorithms,factors,contracts,available_at",
        "/api/v1/chains?underlying=ABC",
        "/api/v1/sessions",
        "/api/v1/columns?table=option_chains",
        "/api/v1/events?min_score=10",
    ],
)
def test_csv_and_arrow_hold_the_same_rows_as_json(client: httpx.Client, path: str):
    expected = client.get(path).json()["data"]
    arrow = pl.read_ipc_stream(io.BytesIO(client.get(path, headers={"Accept": ARROW}).content))
    single = [name for name, dtype in arrow.schema.items() if dtype == pl.Float32]
    assert [as_json(row) for row in arrow.to_dicts()] == [as_single(row, single) for row in expected]
    text = client.get(path, headers={"Accept": "text/csv"}).text
    table = pl.read_csv(io.StringIO(text), infer_schema=False)
    assert table.columns == arrow.columns
    for row, wanted in zip(table.to_dicts(), expected, strict=True):
        assert {name: from_csv(row[name], value) for name, value in wanted.items()} == wanted


def as_json(row: dict) -> Any:
    return json.loads(json.dumps(row, default=lambda value: value.isoformat().replace("+00:00", "Z")))


def as_single(row: dict, names: list[str]) -> dict:
    """JSON writes a number of single precision as short as identifies it; Python reads it in double precision."""
    return row | {name: None if row[name] is None else float(np.float32(row[name])) for name in names}


def from_csv(text: str | None, like: Any) -> Any:
    if like is None or isinstance(like, str):
        return text
    assert text is not None
    return json.loads(text)


def test_the_parameter_wins_over_the_header(client: httpx.Client):
    answer = client.get("/api/v1/sessions?format=csv", headers={"Accept": "application/json"})
    assert answer.headers["content-type"].startswith("text/csv")
    assert 'filename="sessions.csv"' in answer.headers["content-disposition"]


@pytest.mark.parametrize(
    ("accept", "media"),
    [
        ("*/*", "application/json"),
        ("text/html,application/xhtml+xml,*/*;q=0.8", "application/json"),
        ("text/csv;q=0.4, application/json;q=0.3", "text/csv"),
        ("application/json;q=0, */*", "text/csv"),
        ("text/*", "text/csv"),
        (f"{ARROW}, text/csv;q=0.9", ARROW),
    ],
)
def test_the_accept_header_is_read_as_rfc_9110_says(client: httpx.Client, accept: str, media: str):
    assert client.get("/api/v1/sessions", headers={"Accept": accept}).headers["content-type"].startswith(media)


def test_a_format_nobody_serves_is_not_acceptable(client: httpx.Client):
    answer = client.get("/api/v1/sessions", headers={"Accept": "image/png"})
    assert answer.status_code == 406
    assert "text/csv" in answer.json()["remedy"]


def test_a_large_answer_is_compressed_where_the_client_can_read_that(client: httpx.Client):
    path = "/api/v1/chains?underlying=ABC"
    plain = client.get(path, headers={"Accept-Encoding": "identity"})
    packed = client.get(path, headers={"Accept-Encoding": "gzip"})
    assert "content-encoding" not in plain.headers
    assert packed.headers["content-encoding"] == "gzip"
    assert int(packed.headers["content-length"]) < int(plain.headers["content-length"]) / 3
    assert packed.content == plain.content
    assert packed.headers["etag"] != plain.headers["etag"]
    assert "Accept-Encoding" in packed.headers["vary"]
    with client.stream("GET", path, headers={"Accept-Encoding": "gzip"}) as raw:
        assert gzip.decompress(b"".join(raw.iter_raw())) == plain.content


# --- validators -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/api/v1/events", "/api/v1/chains?underlying=ABC", "/api/v1/health", "/api", "/"])
@pytest.mark.parametrize("encoding", ["identity", "gzip"])
def test_what_has_not_changed_is_not_sent_again(client: httpx.Client, path: str, encoding: str):
    first = client.get(path, headers={"Accept-Encoding": encoding})
    again = client.get(path, headers={"Accept-Encoding": encoding, "If-None-Match": f'"x", {first.headers["etag"]}'})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"].replace("-gzip", "") == first.headers["etag"].replace("-gzip", "")
    assert again.headers["cache-control"] == "private, no-cache"
    other = client.get(path, headers={"If-None-Match": '"something else"'})
    assert other.status_code == 200


def test_a_tag_outlives_other_sessions_and_dies_with_a_correction(tmp_path: Path):
    lake = Lake.open(tmp_path / "data")
    small_lake.fill(lake)
    path = f"/api/v1/chains?underlying=ABC&session={SESSIONS[0]}"
    with LakeServer(settings_for(lake, tmp_path)) as server, httpx.Client(base_url=server.base_url) as client:
        before = client.get(path)
        with lake.commit("test") as tx:
            tx.replace("option_chains", SESSIONS[2].isoformat(), chain(SESSIONS[2], volume=99))
        lake.publish(None, "test")
        other = client.get(path)
        assert other.headers["etag"] == before.headers["etag"]
        assert int(other.headers["x-flowlake-catalog"]) > int(before.headers["x-flowlake-catalog"])
        with lake.commit("test") as tx:
            tx.replace("option_chains", SESSIONS[0].isoformat(), chain(SESSIONS[0], volume=99))
        assert client.get(path).headers["etag"] == before.headers["etag"], "not published yet"
        lake.publish(None, "test")
        corrected = client.get(path, headers={"If-None-Match": before.headers["etag"]})
        assert corrected.status_code == 200
        assert corrected.json()["data"][0]["volume"] == 99


# --- methods ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/api/v1/events", "/api/v1/health", "/api/v1/openapi.json", "/api", "/"])
def test_head_says_what_get_would_without_sending_it(client: httpx.Client, path: str):
    got, head = client.get(path), client.head(path)
    assert (head.status_code, head.content) == (200, b"")
    for name in ("etag", "content-length", "content-type"):
        assert head.headers[name] == got.headers[name]


def test_options_names_the_methods_and_grants_other_sites_nothing(client: httpx.Client):
    asked = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    answer = client.options("/api/v1/events", headers=asked)
    assert answer.status_code == 204
    assert answer.headers["allow"] == "GET, HEAD, OPTIONS"
    assert not [name for name in answer.headers if name.startswith("access-control")]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_nothing_but_alerts_can_be_changed(client: httpx.Client, method: str):
    answer = client.request(method, "/api/v1/events")
    assert answer.status_code == 405
    assert "GET" in answer.headers["allow"]
    assert answer.headers["content-type"] == "application/problem+json"


# --- hostile requests -------------------------------------------------------------------------------------------------

HOSTILE = [
    "'; DROP TABLE scored_events; --",
    "' OR '1'='1",
    "../../etc/passwd",
    "..%2f..%2fetc%2fpasswd",
    "<script>alert(1)</script>",
    "\u202eABC",
    "A" * 3000,
    "NaN",
    "1e999",
    "-1",
    "\x00",
    "$(id)",
    "{{7*7}}",
]


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize(
    "parameter",
    ["underlying", "session", "from", "min_score", "conviction", "status", "limit", "cursor", "columns", "format"],
)
def test_hostile_parameters_are_refused_by_name_and_not_repeated(client: httpx.Client, parameter: str, text: str):
    answer = client.get("/api/v1/events", params={parameter: text})
    if answer.status_code == 200:  # a harmless ticker, such as 'NaN'
        assert parameter == "underlying"
        assert answer.json()["data"] == []
        return
    assert answer.status_code == 400
    problem = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    assert problem["parameter"] == parameter
    assert problem["remedy"]
    assert "<script>" not in answer.text
    assert "DROP" not in answer.text


@pytest.mark.parametrize(
    ("path", "parameter"),
    [
        ("/api/v1/events?limit=0", "limit"),
        ("/api/v1/events?limit=10001", "limit"),
        ("/api/v1/events?limit=999999999999999999999", "limit"),
        ("/api/v1/events?limit=1&limit=2", "limit"),
        ("/api/v1/events?unknown=1", "unknown"),
        ("/api/v1/events?session=2026-13-01", "session"),
        ("/api/v1/events?session=2026-06-01&from=2026-06-01", "from"),
        ("/api/v1/events?from=2026-06-02&to=2026-06-01", "from"),
        ("/api/v1/events?columns=score,secret", "columns"),
        ("/api/v1/chains", "underlying"),
        ("/api/v1/contracts/ABC/history", "contract"),
        ("/api/v1/events/'%20OR%201=1", "event_id"),
        ("/api/v1/intraday/chains?underlying=ABC&snapshot=2026-06-01", "snapshot"),
    ],
)
def test_what_does_not_fit_is_a_400_that_names_the_parameter_and_the_remedy(
    client: httpx.Client, path: str, parameter: str
):
    answer = client.get(path)
    assert answer.status_code == 400
    assert answer.json()["parameter"] == parameter
    assert answer.json()["remedy"]


def test_a_session_the_lake_does_not_have_is_not_found_and_its_neighbours_are_named(client: httpx.Client):
    answer = client.get("/api/v1/chains?underlying=ABC&session=2026-06-05")
    assert answer.status_code == 404
    assert SESSIONS[-1].isoformat() in answer.json()["detail"]


def test_an_address_that_is_too_long_is_refused(client: httpx.Client):
    assert client.get("/api/v1/events", params={"underlying": "A" * 9000}).status_code == 414


def test_every_answer_carries_the_security_headers(client: httpx.Client):
    for path in ("/api/v1/events", "/api/v1/events?limit=x", "/nothing", "/api", "/"):
        headers = client.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert headers["content-security-policy"].startswith("default-src 'none'")
        assert "server" not in headers


def test_a_fault_of_ours_is_told_without_anything_internal(
    small_lake: Lake, reports: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    def fail(*_: object) -> None:
        raise RuntimeError("secret /internal/path")

    with LakeServer(settings_for(small_lake, reports)) as server, httpx.Client(base_url=server.base_url) as client:
        monkeypatch.setattr("flowlake.serve.app.run", fail)
        answer = client.get("/api/v1/events")
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert "secret" not in answer.text
    assert "secret" in caplog.text


# --- the OpenAPI document ---------------------------------------------------------------------------------------------


@pytest.fixture
def document(client: httpx.Client) -> dict:
    return client.get("/api/v1/openapi.json").json()


def resolved(document: dict, schema: dict) -> Draft202012Validator:
    return Draft202012Validator(
        {**schema, "components": document["components"]}, format_checker=Draft202012Validator.FORMAT_CHECKER
    )


CALLS = {listing.path: path_of(listing) + "?underlying=ABC" * (listing.name in NEEDED) for listing in listings()} | {
    "/api/v1/health": "/api/v1/health",
    "/api/v1/catalog": "/api/v1/catalog",
    "/api/v1/events/{event_id}": f"/api/v1/events/{event_id(SESSIONS[0], 'ABC')}",
}


@pytest.mark.parametrize("path", CALLS)
def test_answers_are_what_the_document_says(client: httpx.Client, document: dict, path: str):
    answers = document["paths"][path]["get"]["responses"]["200"]["content"]
    body = client.get(CALLS[path]).json()
    resolved(document, answers["application/json"]["schema"]).validate(body)


def test_problems_are_what_the_document_says(client: httpx.Client, document: dict):
    for path in ("/api/v1/events?limit=x", "/api/v1/chains", "/nothing", "/api/v1/events/0123456789abcdef"):
        resolved(document, document["components"]["schemas"]["Problem"]).validate(client.get(path).json())


def test_the_document_covers_the_api_and_hangs_together(document: dict):
    assert document["openapi"] == "3.1.0"
    assert set(CALLS) <= set(document["paths"])
    operations = [one for path in document["paths"].values() for one in path.values()]
    assert len({one["operationId"] for one in operations}) == len(operations)
    for path, methods in document["paths"].items():
        for one in methods.values():
            named = {p["name"] for p in one["parameters"] if p["in"] == "path"}
            assert named == {part[1:-1] for part in path.split("/") if part.startswith("{")}
            for parameter in one["parameters"]:
                Draft202012Validator.check_schema(parameter["schema"])
    for reference in references(document):
        part: Any = document
        for name in reference.removeprefix("#/").split("/"):
            part = part[name]


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if "$ref" in node:
            yield node["$ref"]
        for value in node.values():
            yield from references(value)
    if isinstance(node, list):
        for value in node:
            yield from references(value)


def test_rows_of_every_listing_have_a_valid_schema():
    for listing in listings():
        Draft202012Validator.check_schema(row_schema(listing.table))


def test_no_listing_is_ordered_by_a_column_that_may_be_null():
    for listing in listings():
        nullable = {column.name for column in listing.table.columns if column.nullable}
        assert not nullable & {order.column for order in listing.order}, listing.name


# --- while the lake changes -------------------------------------------------------------------------------------------


def test_each_answer_is_one_state_while_sessions_are_published(tmp_path: Path):
    lake = Lake.open(tmp_path / "data")
    small_lake.fill(lake)
    stop = threading.Event()

    def publish() -> None:
        for version in range(4):
            with lake.commit("test") as tx:
                for session in SESSIONS:
                    tx.replace("option_chains", session.isoformat(), chain(session, volume=1000 * version))
            lake.publish(None, "test")
        stop.set()

    with LakeServer(settings_for(lake, tmp_path)) as server, httpx.Client(base_url=server.base_url) as client:
        writer = threading.Thread(target=publish)
        writer.start()
        versions: set[int] = set()
        while not stop.wait(0.02):
            rows = rows_of(client, f"/api/v1/contracts/{CONTRACT}/history", columns="session,volume")
            assert len(rows) == len(SESSIONS)
            assert len({row["volume"] for row in rows}) == 1, "sessions of one publication were seen apart"
            versions.add(rows[0]["volume"] // 1000)
        writer.join()
        assert rows_of(client, "/api/v1/chains", underlying="ABC", columns="volume")[0]["volume"] == 3000
    assert len(versions) > 1


def test_a_folder_without_a_lake_is_unavailable_and_nothing_is_made_in_it(tmp_path: Path):
    settings = settings_for(Lake.open(tmp_path / "other"), tmp_path).model_copy(update={"data_dir": tmp_path / "none"})
    with LakeServer(settings) as server, httpx.Client(base_url=server.base_url) as client:
        answer = client.get("/api/v1/health")
        assert answer.status_code == 503
        assert "flowlake demo" in answer.json()["remedy"]
    assert not (tmp_path / "none").exists()


def test_a_lake_without_sessions_answers_with_nothing(tmp_path: Path):
    lake = Lake.open(tmp_path / "data")
    with LakeServer(settings_for(lake, tmp_path)) as server, httpx.Client(base_url=server.base_url) as client:
        for listing in listings():
            if listing.name in ("tables", "columns"):
                continue
            assert rows_of(client, path_of(listing), **NEEDED.get(listing.name, {})) == [], listing.name


def test_pages_of_any_underlying_are_made_when_asked_for(client: httpx.Client):
    answer = client.get("/ticker-ABC.html")
    assert answer.status_code == 200
    assert "Options on" in answer.text
    assert "script-src 'sha256-" in answer.headers["content-security-policy"]
    assert client.get("/ticker-NOPE.html").status_code == 404
    assert client.get("/market.html").status_code == 200
