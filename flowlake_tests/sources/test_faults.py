"""The client against the sandbox server's faults: no row lost or doubled, nothing hangs, the key stays home."""

import logging
from collections.abc import Callable
from datetime import timedelta

import pytest
from polars.testing import assert_frame_equal

from flowlake.calendar import session_close
from flowlake.sandbox.faults import Fault, FaultKind, Faults
from flowlake.sandbox.server import SandboxServer
from flowlake.schemas.market import RAW_OPTION_SNAPSHOTS, RAW_QUARANTINE, SNAPSHOT_COVERAGE
from flowlake.sources.chains import ChainPass
from flowlake.sources.polygon import BlockingPolygonClient
from flowlake_tests.sandbox.tiny_market import SESSIONS, SPOTS, TinyMarket
from flowlake_tests.sources.helpers import KEY, JumpingClock, api_settings, secret

SESSION = SESSIONS[2]
ROWS = 3 * 2 * 100
"""Contracts per underlying of the market below: expirations, rights, strikes; three pages."""


def fetch(
    *faults: Fault, check: Callable[[SandboxServer], None] | None = None, seed: int = 0, **changes: object
) -> ChainPass:
    server = SandboxServer(TinyMarket(strikes=100), keys=(KEY,), faults=Faults(*faults, seed=seed))
    with server:
        settings = api_settings(**{"base_url": server.base_url, "replay": True, "concurrency": 4} | changes)
        with BlockingPolygonClient(settings, secret(), timing=JumpingClock().timing) as client:
            taken = client.fetch_chains(SESSION, list(SPOTS))
        if check:
            check(server)
        assert bool(server.injected) == bool(faults), "the fault was meant to happen"
        for seen in server.requests:
            assert KEY not in seen.path + seen.query
    return taken


@pytest.fixture(scope="module")
def undisturbed() -> ChainPass:
    return fetch()


def test_an_undisturbed_pass_has_every_contract_once(undisturbed: ChainPass):
    market = TinyMarket(strikes=100).chain(session_close(SESSION))
    served = undisturbed.frame.select("underlying", "contract", "strike", "day_volume", "open_interest", "bid")
    assert_frame_equal(served, market.select(served.columns).sort("underlying", "contract"))
    assert undisturbed.frame.schema == RAW_OPTION_SNAPSHOTS.schema
    assert undisturbed.coverage.schema == SNAPSHOT_COVERAGE.schema
    assert undisturbed.rejected.schema == RAW_QUARANTINE.schema
    assert set(undisturbed.coverage["status"]) == {"complete"}
    assert undisturbed.coverage["rows"].to_list() == [ROWS] * len(SPOTS)
    assert undisturbed.coverage["pages"].to_list() == [3] * len(SPOTS)
    assert set(undisturbed.frame["origin"]) == {"simulated"}


def test_a_pass_in_replay_has_no_wall_clock_in_it(undisturbed: ChainPass):
    close = session_close(SESSION)
    for column, moment in {
        "observed_at": close,
        "available_at": close + timedelta(minutes=15),
        "fetched_at": close + timedelta(minutes=15),
    }.items():
        assert set(undisturbed.frame[column]) == {moment}


def test_the_order_in_which_requests_finish_does_not_show(undisturbed: ChainPass):
    again = fetch(concurrency=1)
    assert_frame_equal(again.frame, undisturbed.frame)
    assert_frame_equal(again.coverage, undisturbed.coverage)


PASSING = {
    "latency": [Fault(FaultKind.LATENCY, "options/F", first=2, seconds=0.02)],
    "429 with Retry-After": [Fault(FaultKind.RATE_LIMIT, "options", first=7, retry_after=2)],
    "429 without Retry-After": [Fault(FaultKind.RATE_LIMIT, "options", first=7)],
    "429 with empty body": [Fault(FaultKind.RATE_LIMIT, "options", first=7, empty_body=True)],
    "5xx burst": [Fault(FaultKind.SERVER_ERROR, "options", first=9, status=502)],
    "truncated against its length": [Fault(FaultKind.TRUNCATED, "options", page=2, first=5)],
    "truncated with matching length": [Fault(FaultKind.TRUNCATED_SILENTLY, "options", page=3, first=5)],
    "reset in mid-body": [Fault(FaultKind.RESET, "options", first=6)],
    "looping next_url, once": [Fault(FaultKind.LOOPING_NEXT_URL, "options/KLAC", first=1)],
    "page repeated, once": [Fault(FaultKind.REPEATED_PAGE, "options/F", page=3, first=1)],
    "rows overlapping": [Fault(FaultKind.OVERLAPPING_ROWS, "options", first=None)],
    "next_url to another host, once": [Fault(FaultKind.FOREIGN_NEXT_URL, "options/F", first=1)],
    "next_url with userinfo, once": [Fault(FaultKind.USERINFO_NEXT_URL, "options/F", first=1)],
    "next_url on port 443, once": [Fault(FaultKind.PORT_443_NEXT_URL, "options/F", first=1)],
    "next_url without its port, once": [Fault(FaultKind.DOWNGRADED_NEXT_URL, "options/F", first=1)],
    "empty next_url": [Fault(FaultKind.EMPTY_NEXT_URL, "options", first=None)],
    "everything at once": [
        Fault(FaultKind.RATE_LIMIT, "options", first=5, probability=0.3),
        Fault(FaultKind.SERVER_ERROR, "options", first=5, probability=0.3),
        Fault(FaultKind.RESET, "options", first=5, probability=0.3),
        Fault(FaultKind.TRUNCATED, "options", first=5, probability=0.3),
        Fault(FaultKind.OVERLAPPING_ROWS, "options", first=None, probability=0.5),
        Fault(FaultKind.REPEATED_PAGE, "options", first=2, probability=0.3),
    ],
}


@pytest.mark.parametrize("name", PASSING)
def test_a_fault_that_passes_leaves_the_same_rows_as_no_fault(name: str, undisturbed: ChainPass):
    taken = fetch(*PASSING[name])
    assert_frame_equal(taken.frame, undisturbed.frame)
    assert set(taken.coverage["status"]) == {"complete"}


LASTING = {
    "always looping": Fault(FaultKind.LOOPING_NEXT_URL, "options/F", first=None),
    "always repeating": Fault(FaultKind.REPEATED_PAGE, "options/F", first=None),
    "always off-origin": Fault(FaultKind.FOREIGN_NEXT_URL, "options/F", first=None),
    "always failing": Fault(FaultKind.SERVER_ERROR, "options/F", first=None),
    "always cut": Fault(FaultKind.TRUNCATED_SILENTLY, "options/F", page=2, first=None),
    "always reset": Fault(FaultKind.RESET, "options/F", page=3, first=None),
}


@pytest.mark.parametrize("name", LASTING)
def test_a_lasting_fault_costs_its_chain_and_no_other(name: str, undisturbed: ChainPass):
    taken = fetch(LASTING[name], breaker_trips=100)
    assert_frame_equal(taken.frame, undisturbed.frame.filter(undisturbed.frame["underlying"] != "F"))
    failed = taken.coverage.filter(taken.coverage["underlying"] == "F").row(0, named=True)
    assert (failed["status"], failed["rows"]) == ("failed", 0)
    assert failed["error"]
    assert KEY not in failed["error"]
    assert set(taken.coverage.filter(taken.coverage["underlying"] != "F")["status"]) == {"complete"}


def test_a_missing_underlying_is_reported_as_not_found(undisturbed: ChainPass):
    taken = fetch(Fault(FaultKind.MISSING_UNDERLYING, "options/ZZZ", first=None))
    assert dict(taken.coverage.select("underlying", "status").rows())["ZZZ"] == "not_found"
    assert_frame_equal(taken.frame, undisturbed.frame.filter(undisturbed.frame["underlying"] != "ZZZ"))


def test_a_poisoned_row_goes_to_quarantine_and_the_page_stays(undisturbed: ChainPass):
    taken = fetch(Fault(FaultKind.POISONED_ROW, "options/(F|ZZZ)", first=None))
    assert_frame_equal(taken.frame, undisturbed.frame)
    assert taken.rejected["underlying"].unique().sort().to_list() == ["F", "ZZZ"]
    assert taken.rejected.height == taken.stats.rejected == 6
    assert taken.rejected["contract"].null_count() == 0
    assert taken.rejected["reason"].str.contains(r"^Expected .* at `\$").all()


def test_overlapping_rows_are_counted(undisturbed: ChainPass):
    taken = fetch(Fault(FaultKind.OVERLAPPING_ROWS, "options", first=None, rows=3))
    assert taken.stats.duplicates == 3 * 2 * len(SPOTS)


def test_a_chain_that_broke_goes_on_from_its_last_good_page():
    pages: list[int] = []

    def count(server: SandboxServer) -> None:
        pages.append(sum("options/F" in seen.path and "cursor" not in seen.query for seen in server.requests))

    fetch(Fault(FaultKind.SERVER_ERROR, "options/F", page=3, first=8), check=count, attempts=4, breaker_failures=100)
    assert pages == [1]


def test_the_key_appears_in_no_log_whatever_goes_wrong(caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.DEBUG)
    for name in ("httpx", "httpcore", "asyncio", "flowlake"):
        caplog.set_level(logging.DEBUG, logger=name)
    fetch(
        Fault(FaultKind.RATE_LIMIT, "options", first=3),
        Fault(FaultKind.RESET, "options", first=3),
        Fault(FaultKind.FOREIGN_NEXT_URL, "options/F", first=None),
    )
    assert "httpcore" in caplog.text
    assert KEY not in caplog.text


def test_the_key_never_leaves_its_origin():
    elsewhere = SandboxServer(TinyMarket(strikes=1))
    with elsewhere:
        for kind in (FaultKind.FOREIGN_NEXT_URL, FaultKind.USERINFO_NEXT_URL):
            taken = fetch(Fault(kind, "options/F", first=None, url=elsewhere.base_url))
            assert "next_url leaves" in taken.coverage.filter(taken.coverage["status"] == "failed")["error"][0]
        assert elsewhere.request_count == 0
