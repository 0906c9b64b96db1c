"""Who is let in: tokens, Host headers, and pages of other sites."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from flowlake.lake import Lake
from flowlake.serve.auth import Door, TokenRequired, host_name, is_loopback
from flowlake.serve.problems import Problem
from flowlake.serve.server import LakeServer
from flowlake_tests.serve.conftest import settings_for
from flowlake_tests.test_cli import flowlake, said

TOKEN = "correct horse battery staple"


@pytest.fixture(scope="module")
def guarded(small_lake: Lake, reports: Path) -> Iterator[LakeServer]:
    with LakeServer(settings_for(small_lake, reports), token=SecretStr(TOKEN)) as server:
        yield server


@pytest.fixture(scope="module")
def stranger(guarded: LakeServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=guarded.base_url) as client:
        yield client


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "lake.example.org"])
def test_an_address_others_can_reach_needs_a_token(host: str):
    with pytest.raises(TokenRequired, match="FLOWLAKE_SERVE__TOKEN"):
        Door.for_address(host, None)
    with pytest.raises(TokenRequired, match="shorter than 16"):
        Door.for_address(host, SecretStr("short"))
    assert Door.for_address(host, SecretStr(TOKEN)).token is not None


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.8.0.1"])
def test_loopback_needs_none(host: str):
    assert is_loopback(host)
    assert Door.for_address(host, None).token is None


def test_a_further_name_means_a_proxy_and_so_a_token():
    with pytest.raises(TokenRequired, match=r"lake\.example\.org"):
        Door.for_address("127.0.0.1", None, {"lake.example.org"})


def test_an_address_that_is_not_ours_is_named_with_the_remedy(small_lake: Lake, reports: Path):
    server = LakeServer(settings_for(small_lake, reports), host="192.0.2.1", token=SecretStr(TOKEN))
    with pytest.raises(OSError, match=r"192\.0\.2\.1.*127\.0\.0\.1"):
        server.serve()


def test_the_command_refuses_and_says_what_to_do(tmp_path: Path):
    message = said(flowlake("serve", "--host", "0.0.0.0", folder=tmp_path))
    assert "FLOWLAKE_SERVE__TOKEN" in message
    assert "127.0.0.1" in message
    message = said(flowlake("serve", "--host", "0.0.0.0", "--token-env", "MY_TOKEN", folder=tmp_path))
    assert "MY_TOKEN" in message


@pytest.mark.parametrize("path", ["/", "/api/v1/health", "/api/v1/events", "/nothing"])
@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "Bearer",
        "Bearer wrong",
        f"Bearer {TOKEN}x",
        f"Basic {base64.b64encode(b'user:wrong').decode()}",
        "Basic !!!",
        f"Digest {TOKEN}",
        f"Bearer {'é' * 20}",
    ],
)
def test_without_the_token_nothing_is_told(stranger: httpx.Client, path: str, authorization: str | None):
    headers = {} if authorization is None else {"Authorization": authorization.encode()}
    answer = stranger.get(path, headers=headers)  # pyright: ignore[reportArgumentType]
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Basic")
    assert answer.json()["parameter"] == "Authorization"
    assert TOKEN not in answer.text


@pytest.mark.parametrize("scheme", ["Bearer", "Basic"])
def test_the_token_opens_everything(guarded: LakeServer, scheme: str):
    value = TOKEN if scheme == "Bearer" else base64.b64encode(f"anybody:{TOKEN}".encode()).decode()
    with httpx.Client(base_url=guarded.base_url, headers={"Authorization": f"{scheme} {value}"}) as client:
        assert client.get("/api/v1/health").status_code == 200
        assert client.get("/").status_code == 200
        document = client.get("/api/v1/openapi.json").json()
    assert {"bearer": []} in document["security"]


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "", "10.0.0.1"])
def test_a_name_that_was_pointed_at_loopback_is_refused(client: httpx.Client, host: str):
    answer = client.get("/api/v1/events", headers={"Host": host})
    assert answer.status_code in (400, 421)  # without a Host the server itself refuses
    assert "ABC" not in answer.text


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8700", "127.0.0.1:1", "[::1]:8700"])
def test_loopback_names_are_answered(client: httpx.Client, host: str):
    assert client.get("/api/v1/health", headers={"Host": host}).status_code == 200


def test_a_server_behind_a_proxy_answers_to_its_name(small_lake: Lake, reports: Path):
    settings = settings_for(small_lake, reports, hosts="lake.example.org")
    headers = {"Host": "lake.example.org", "Authorization": f"Bearer {TOKEN}"}
    with LakeServer(settings, token=SecretStr(TOKEN)) as server:
        assert httpx.get(f"{server.base_url}/api/v1/health", headers=headers).status_code == 200
        assert httpx.get(f"{server.base_url}/api/v1/health", headers={**headers, "Host": "x.y"}).status_code == 421


def test_the_token_is_never_shown():
    door = Door.for_address("0.0.0.0", SecretStr(TOKEN))
    assert TOKEN not in repr(door)
    with pytest.raises(Problem) as caught:
        door.check_token("Bearer wrong")
    assert TOKEN not in str(caught.value.document())


@pytest.mark.parametrize(
    ("header", "name"),
    [("a:1", "a"), ("A", "a"), ("[::1]:80", "[::1]"), ("[::1]", "[::1]"), ("", ""), ("a:b:c", "a:b")],
)
def test_the_name_in_a_host_header(header: str, name: str):
    assert host_name(header) == name
