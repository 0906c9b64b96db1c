"""The API over real HTTP on loopback."""

from __future__ import annotations

import httpx

from flowlake_tests.small_lake import SESSIONS


def test_health_says_how_new_the_lake_is(client: httpx.Client):
    answer = client.get("/api/v1/health")
    assert answer.status_code == 200
    assert answer.json()["newest_session"] == SESSIONS[-1].isoformat()


def test_events_come_newest_session_first_and_by_rank(client: httpx.Client):
    rows = client.get("/api/v1/events").json()["data"]
    assert [(row["session"], row["rank"]) for row in rows] == [
        (session.isoformat(), rank) for session in SESSIONS[::-1] for rank in (1, 2)
    ]
