import asyncio
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import httpx
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from flowlake.calendar import session_close
from flowlake.sandbox.plans import Plan
from flowlake.sandbox.server import SandboxServer
from flowlake.schemas.market import CORPORATE_ACTIONS, RAW_OPTION_BARS, RAW_STOCK_SNAPSHOTS
from flowlake.sources.chains import Chunk, Progress, chain_path
from flowlake.sources.errors import (
    AuthError,
    CircuitOpen,
    NotEntitled,
    NotReplayable,
    PaginationLoop,
    SnapshotGone,
    Unreachable,
)
from flowlake.sources.polygon import BlockingPolygonClient, _monthly_expiration_week
from flowlake_tests.sandbox.tiny_market import SESSIONS, SPOTS, TinyMarket
from flowlake_tests.sources.helpers import (
    KEY,
    NOW,
    JumpingClock,
    Script,
    answers,
    api_settings,
    chain_row,
    error,
    ok,
    secret,
)

SESSION = date(2026, 6, 17)
"""The session of the tests' clock, an hour closed; also one of the tiny market's."""

MARKET = TinyMarket(strikes=5)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[BlockingPolygonClient]:
    with SandboxServer(MARKET, keys=(KEY,)) as server:
        settings = api_settings(base_url=server.base_url, replay=True)
        with BlockingPolygonClient(settings, secret(), timing=JumpingClock().timing) as client:
            yield client


def scripted(script: Script, clock: JumpingClock | None = None, **changes: Any) -> BlockingPolygonClient:
    timing = (clock or JumpingClock()).timing
    return BlockingPolygonClient(api_settings(**changes), secret(), timing=timing, http=script.transport)


def test_stocks_of_a_past_session_are_those_of_the_market(sandbox: BlockingPolygonClient):
    stocks = sandbox.fetch_stocks(SESSION)
    assert stocks.schema == RAW_STOCK_SNAPSHOTS.schema
    expected = MARKET.stocks(session_close(SESSION))
    same = [name for name in expected.columns if name != "updated_at"]
    assert_frame_equal(stocks.select(same), expected.select(same).filter(pl.col("ticker") != "SPX"))
    assert set(stocks["origin"]) == {"simulated"}
    assert set(stocks["available_at"]) == {session_close(SESSION) + timedelta(minutes=15)}


def test_the_moment_asked_for_is_the_moment_shown(sandbox: BlockingPolygonClient):
    first = sandbox.fetch_chains(SESSIONS[0], ["F"]).frame
    last = sandbox.fetch_chains(SESSIONS[-1], ["F"], as_of=session_close(SESSIONS[-1])).frame
    assert first["open_interest"].sum() < last["open_interest"].sum()
    assert set(last["session"]) == {SESSIONS[-1]}


def test_an_index_is_priced_by_its_value(sandbox: BlockingPolygonClient):
    assert sandbox.fetch_chains(SESSION, ["SPX"]).frame["underlying_price"].null_count() == 0


def test_progress_counts_every_underlying_once(sandbox: BlockingPolygonClient):
    seen: list[Progress] = []
    sandbox.fetch_chains(SESSION, [*SPOTS, "F"], on_progress=seen.append)
    assert [each.done for each in seen] == list(range(1, len(SPOTS) + 1))
    assert {each.total for each in seen} == {len(SPOTS)}
    assert seen[-1].rows == MARKET.contracts(SESSION).height


def test_no_underlyings_give_empty_frames(sandbox: BlockingPolygonClient):
    taken = sandbox.fetch_chains(SESSION, [])
    assert (taken.frame.height, taken.coverage.height, taken.stats.requests) == (0, 0, 0)


def test_every_underlying_with_options_is_listed(sandbox: BlockingPolygonClient):
    assert sandbox.list_underlyings(SESSION) == sorted(SPOTS)


def test_contracts_are_those_listed_then(sandbox: BlockingPolygonClient):
    listed = sandbox.list_contracts(SESSION)
    assert_frame_equal(listed, MARKET.contracts(SESSION).select(listed.columns), check_dtypes=False)
    of_two = sandbox.list_contracts(SESSION, underlyings=["F", "SPX"])
    assert_frame_equal(of_two, listed.filter(pl.col("underlying").is_in(["F", "SPX"])))


def test_grouped_bars_are_those_of_the_session(sandbox: BlockingPolygonClient):
    bars = sandbox.fetch_grouped_daily(SESSION)
    expected = MARKET.stock_bars(SESSION, SESSION)
    expected = expected.filter(pl.col("ticker") != "SPX")
    assert_frame_equal(bars.select("ticker", "close", "volume"), expected.select("ticker", "close", "volume"))


def test_option_bars_are_those_of_contracts_that_traded(sandbox: BlockingPolygonClient):
    listed = sandbox.list_contracts(SESSION, underlyings=["F"])
    taken = sandbox.fetch_option_bars(SESSION, listed.select("underlying", "contract").rows())
    assert taken.frame.schema == RAW_OPTION_BARS.schema
    assert taken.failed == {}
    expected = MARKET.option_bars(SESSION).filter(pl.col("contract").is_in(listed["contract"].to_list()))
    assert 0 < expected.height < listed.height
    names = ["contract", "open", "close", "volume"]
    assert_frame_equal(taken.frame.select(names), expected.select(names))


def test_market_status_and_holidays_are_read(sandbox: BlockingPolygonClient):
    assert sandbox.market_status().server_time.tzinfo is UTC
    holidays = sandbox.market_holidays()
    assert (date(2026, 7, 3), "NYSE") in holidays.select("day", "exchange").rows()


def test_a_probe_tells_what_the_plan_has():
    with SandboxServer(MARKET, keys=(KEY,), plan=Plan.STARTER) as server:
        settings = api_settings(base_url=server.base_url, replay=True)
        with BlockingPolygonClient(settings, secret(), timing=JumpingClock().timing) as client:
            found = {each.name: each.status for each in client.probe("AAPL", as_of=session_close(SESSION))}
    assert found["option chain snapshot"] == found["Greeks"] == found["open interest"] == "ok"
    assert found["quotes"] == found["trades"] == "absent"


def test_a_plan_without_snapshots_is_named_and_not_reported_as_an_empty_market():
    with SandboxServer(MARKET, keys=(KEY,), plan=Plan.BASIC, requests_per_minute=None) as server:
        settings = api_settings(base_url=server.base_url, replay=True)
        with BlockingPolygonClient(settings, secret(), timing=JumpingClock().timing) as client:
            with pytest.raises(NotEntitled, match="does not include these data"):
                client.fetch_chains(SESSION, list(SPOTS))
            found = {each.name: each.status for each in client.probe("AAPL", as_of=session_close(SESSION))}
            assert found["option chain snapshot"] == "not_entitled"
            assert found["option contracts reference"] == "ok"


def test_a_refused_key_ends_the_pass_at_once():
    script = answers(error(401, status="ERROR", error="Unknown API Key"))
    with scripted(script, concurrency=1) as client, pytest.raises(AuthError, match="MASSIVE_API_KEY"):
        client.fetch_chains(SESSION, [f"T{n}" for n in range(50)])
    assert len(script.requests) == 1


def test_one_underlying_outside_the_plan_does_not_end_the_pass():
    def answer(request: httpx.Request, number: int) -> httpx.Response:
        return error(403, message="not entitled") if "/SPX" in request.url.path else ok([chain_row()])

    with scripted(Script(answer)) as client:
        taken = client.fetch_chains(SESSION, ["F", "SPX"])
    assert dict(taken.coverage.select("underlying", "status").rows()) == {"F": "complete", "SPX": "not_entitled"}


def test_a_plan_that_refuses_one_after_another_is_not_asked_for_thousands():
    script = answers(error(403, message="not entitled"))
    with scripted(script, concurrency=2) as client, pytest.raises(NotEntitled):
        client.fetch_chains(SESSION, [f"T{n}" for n in range(1000)])
    assert len(script.requests) < 20


def test_no_network_is_an_error_and_not_an_empty_market():
    with (
        scripted(answers(httpx.ConnectError("refused"))) as client,
        pytest.raises(Unreachable, match="check the network"),
    ):
        client.fetch_chains(SESSION, [f"T{n}" for n in range(200)])


def test_a_server_that_dies_in_mid_pass_is_reported_and_what_came_is_kept():
    def answer(request: httpx.Request, number: int) -> httpx.Response:
        return ok([chain_row(f"O:X{number:05d}260717C00012000")]) if number <= 3 else httpx.Response(503)

    clock = JumpingClock()
    with scripted(Script(answer), clock, concurrency=1) as client:
        taken = client.fetch_chains(SESSION, [f"T{n}" for n in range(9)])
    assert taken.stats.statuses == {"complete": 3, "failed": 6}
    assert taken.frame.height == 3
    assert client.stats.requests < 40


def test_when_the_time_budget_is_spent_the_rest_is_reported_as_failed():
    clock = JumpingClock()

    def answer(request: httpx.Request, number: int) -> httpx.Response:
        clock.seconds += 10
        return ok([chain_row(f"O:X{number:05d}260717C00012000")])

    with scripted(Script(answer), clock, concurrency=1, budget_seconds=35) as client:
        taken = client.fetch_chains(SESSION, [f"T{n}" for n in range(9)])
    assert taken.stats.statuses == {"complete": 4, "failed": 5}
    assert taken.coverage.filter(pl.col("status") == "failed")["error"].str.contains("BUDGET_SECONDS").all()


def test_of_a_contract_sent_twice_the_newest_row_stays():
    def quoted(seconds: int, oi: int) -> dict[str, Any]:
        return chain_row(last_quote={"last_updated": (1_781_726_400 + seconds) * 10**9}, open_interest=oi)

    with scripted(answers(ok([quoted(1, 100), quoted(9, 200), quoted(5, 300)]))) as client:
        taken = client.fetch_chains(SESSION, ["F"])
    assert taken.frame["open_interest"].to_list() == [200]
    assert taken.stats.duplicates == 2


def test_a_listing_longer_than_any_real_one_is_stopped():
    def answer(request: httpx.Request, number: int) -> httpx.Response:
        contract = f"O:F{number:06d}C00012000"
        return ok([chain_row(contract)], next_url=f"http://127.0.0.1:9/v3/snapshot/options/F?cursor={number}")

    with scripted(Script(answer), max_pages=5, chain_rounds=1) as client:
        taken = client.fetch_chains(SESSION, ["F"])
    assert taken.coverage["status"].to_list() == ["failed"]
    assert "more than 5 pages" in taken.coverage["error"][0]
    assert taken.frame.is_empty()


def test_a_reference_listing_that_loops_raises():
    script = answers(ok([], next_url="http://127.0.0.1:9/v3/reference/options/contracts?cursor=x"))
    with scripted(script) as client, pytest.raises(PaginationLoop):
        client.list_contracts(SESSION)
    assert len(script.requests) == 2


def test_live_rows_carry_the_time_they_were_received_and_the_time_they_describe():
    with scripted(answers(ok([chain_row()]))) as client:
        row = client.fetch_chains(SESSION, ["F"]).frame.row(0, named=True)
    assert row["fetched_at"] == row["available_at"] == NOW
    assert row["observed_at"] == NOW - timedelta(minutes=15)
    assert (row["origin"], row["timeframe"]) == ("vendor", "DELAYED")


@pytest.mark.parametrize("session", [date(2026, 6, 16), date(2026, 6, 18)])
def test_the_present_is_not_passed_off_as_another_session(session: date):
    with scripted(answers(ok([]))) as client, pytest.raises(SnapshotGone, match="backfill daily bars"):
        client.fetch_chains(session, ["F"])


def test_a_session_can_be_seen_until_the_next_one_opens():
    clock = JumpingClock(seconds=(datetime(2026, 6, 18, 12, 0, tzinfo=UTC) - NOW).total_seconds())
    with scripted(answers(ok([chain_row()])), clock) as client:
        assert client.fetch_chains(SESSION, ["F"]).frame.height == 1


def test_a_vendor_is_not_asked_for_a_past_moment():
    with scripted(answers(ok([]))) as client, pytest.raises(NotReplayable, match="FLOWLAKE_API__REPLAY"):
        client.fetch_chains(SESSION, ["F"], as_of=session_close(SESSION))


def test_a_moment_without_time_zone_is_refused():
    with scripted(answers(ok([])), replay=True) as client, pytest.raises(ValueError, match="time zone"):
        client.fetch_chains(SESSION, ["F"], as_of=datetime(2026, 6, 17, 16, 0))


@pytest.mark.parametrize("name", ["", ".", "..", "A\nB", "x" * 33])
def test_what_cannot_be_a_ticker_is_not_put_into_a_path(name: str):
    with pytest.raises(ValueError, match="is not a ticker"):
        chain_path(name)


def test_a_ticker_cannot_change_the_path_it_is_put_into():
    assert chain_path("../v2/x?y#z") == "/v3/snapshot/options/..%2Fv2%2Fx%3Fy%23z"
    assert chain_path("I:SPX") == "/v3/snapshot/options/I:SPX"


def actions(splits: list[Any], dividends: list[Any]) -> Script:
    def answer(request: httpx.Request, number: int) -> httpx.Response:
        return ok(splits if request.url.path.endswith("splits") else dividends)

    return Script(answer)


def dividend(effective: str, amount: float, declared: str | None = None) -> dict[str, Any]:
    return {"ticker": "F", "ex_dividend_date": effective, "cash_amount": amount, "declaration_date": declared}


def split(effective: str) -> dict[str, Any]:
    return {"ticker": "K", "execution_date": effective, "split_from": 1, "split_to": 10}


def test_dividends_of_one_day_are_added_up():
    script = actions([], [dividend("2026-06-01", 0.25, "2026-05-01"), dividend("2026-06-01", 1.0, "2026-05-20")])
    with scripted(script) as client:
        frame = client.fetch_corporate_actions(SESSION)
    assert frame.schema == CORPORATE_ACTIONS.schema
    assert frame.select("ticker", "kind", "cash_amount", "declared_on").rows() == [
        ("F", "dividend", 1.25, date(2026, 5, 20))
    ]


def test_an_action_announced_after_the_session_was_not_known_then():
    script = actions([], [dividend("2026-07-01", 0.25, "2026-06-18"), dividend("2026-07-02", 0.25, "2026-06-17")])
    with scripted(script) as client:
        frame = client.fetch_corporate_actions(SESSION)
    assert frame["effective_on"].to_list() == [date(2026, 7, 2)]


def test_a_future_split_without_announcement_counts_only_if_the_list_was_read_in_time():
    script = actions([split("2026-06-10"), split("2026-07-01")], [])
    with scripted(script) as client:
        assert client.fetch_corporate_actions(SESSION).height == 2
        assert client.fetch_corporate_actions(date(2026, 6, 12))["effective_on"].to_list() == [date(2026, 6, 10)]


def test_failed_bars_are_reported_and_the_others_kept():
    def answer(request: httpx.Request, number: int) -> httpx.Response:
        if "BAD" in request.url.path:
            return error(400, status="ERROR", error="bad ticker")
        if "IDLE" in request.url.path:
            return httpx.Response(200, json={"status": "OK", "resultsCount": 0, "queryCount": 0})
        return ok([{"o": 1, "h": 2, "l": 1, "c": 2, "v": 5, "t": 1_781_668_800_000}])

    with scripted(Script(answer)) as client:
        taken = client.fetch_option_bars(SESSION, [("F", "O:GOOD"), ("F", "O:BAD"), ("F", "O:IDLE")])
    assert taken.frame.select("contract", "close", "volume", "vwap").rows() == [("O:GOOD", 2.0, 5.0, None)]
    assert list(taken.failed) == ["O:BAD"]


def test_bars_are_not_asked_for_without_end_when_the_server_is_down():
    script = answers(httpx.Response(500))
    with scripted(script, concurrency=1) as client, pytest.raises(CircuitOpen):
        client.fetch_option_bars(SESSION, [("F", f"O:X{n}") for n in range(500)])
    assert len(script.requests) < 40


@pytest.mark.parametrize(
    ("session", "monday"),
    [
        (date(2026, 6, 10), date(2026, 6, 15)),  # third Friday 06-19 is a holiday: expires on Thursday of that week
        (date(2026, 6, 17), date(2026, 7, 13)),
        (date(2026, 12, 31), date(2027, 1, 11)),
    ],
)
def test_the_standard_expiration_is_in_the_week_of_the_third_friday(session: date, monday: date):
    assert _monthly_expiration_week(session) == monday


def test_every_call_has_a_time_budget_of_its_own():
    clock = JumpingClock()
    with scripted(answers(ok([])), clock, budget_seconds=60) as client:
        client.list_contracts(SESSION)
        clock.seconds += 3600
        assert client.list_contracts(SESSION).is_empty()


def test_a_name_that_cannot_be_a_ticker_is_reported_and_the_others_are_read():
    with scripted(answers(ok([chain_row()]))) as client:
        taken = client.fetch_chains(SESSION, ["F", ".."])
    assert dict(taken.coverage.select("underlying", "status").rows()) == {"F": "complete", "..": "failed"}


def test_a_key_the_server_puts_into_next_url_is_not_repeated_in_the_coverage():
    url = f"http://127.0.0.1:9/v3/snapshot/options/F?cursor=x&apiKey={KEY}"
    with scripted(answers(ok([chain_row()], next_url=url))) as client:
        taken = client.fetch_chains(SESSION, ["F"])
    assert taken.coverage["status"].to_list() == ["failed"]
    assert KEY not in taken.coverage["error"][0]


def test_a_chain_asked_for_in_parts_is_the_same_chain(sandbox: BlockingPolygonClient):
    whole = sandbox.fetch_chains(SESSION, ["SPX", "F"])
    dates = whole.frame.filter(underlying="SPX")["expiration"].unique().sort().to_list()
    asked = sandbox.stats.requests
    parts = sandbox.fetch_chains(SESSION, ["SPX", "F"], cuts={"SPX": dates[1:], "nobody": dates})
    assert_frame_equal(parts.frame, whole.frame)
    same = ["underlying", "status", "rows", "error"]
    assert_frame_equal(parts.coverage.select(same), whole.coverage.select(same))
    assert sandbox.stats.requests - asked == len(dates) + 1


def test_parts_of_a_chain_are_read_side_by_side_and_put_down_together():
    under_way, most = set[str](), 0

    async def answer(request: httpx.Request) -> httpx.Response:
        nonlocal most
        under_way.add(str(request.url))
        most = max(most, len(under_way))
        await asyncio.sleep(0.01)
        under_way.discard(str(request.url))
        first = request.url.params.get("expiration_date.gte", "2026-01-01")
        return ok([chain_row(f"O:SPX{first[2:4]}{first[5:7]}{first[8:]}C00012000")])

    chunks: list[Chunk] = []
    cuts = {"SPX": [date(2026, 7, 17), date(2026, 8, 21)]}
    client = BlockingPolygonClient(
        api_settings(), secret(), timing=JumpingClock().timing, http=httpx.MockTransport(answer)
    )
    with client:
        taken = client.fetch_chains(SESSION, ["SPX"], cuts=cuts, on_chunk=chunks.append)
    assert most == 3
    assert [chunk.frame.height for chunk in chunks] == [3]
    assert taken.coverage.select("underlying", "status", "pages", "rows").rows() == [("SPX", "complete", 3, 3)]


def test_a_chain_of_which_one_part_cannot_be_had_is_failed_as_a_whole_and_the_others_are_kept():
    def answer(request: httpx.Request, number: int) -> httpx.Response:
        lost = request.url.params.get("expiration_date.gte") == "2026-08-21"
        return httpx.Response(500) if lost else ok([chain_row(f"O:X{number:05d}260717C00012000")])

    with scripted(Script(answer)) as client:
        taken = client.fetch_chains(SESSION, ["SPX", "F"], cuts={"SPX": [date(2026, 7, 17), date(2026, 8, 21)]})
    assert dict(taken.coverage.select("underlying", "status").iter_rows()) == {"SPX": "failed", "F": "complete"}
    assert set(taken.frame["underlying"]) == {"F"}


def test_a_part_that_failed_once_is_asked_for_again_and_the_others_are_not():
    lost = iter([httpx.Response(400)])

    def answer(request: httpx.Request, number: int) -> httpx.Response:
        if "expiration_date.gte" in request.url.params and (failed := next(lost, None)):
            return failed
        return ok([chain_row(f"O:X{number:05d}260717C00012000")])

    script = Script(answer)
    with scripted(script) as client:
        taken = client.fetch_chains(SESSION, ["SPX"], cuts={"SPX": [date(2026, 7, 17)]})
    assert taken.coverage["status"].to_list() == ["complete"]
    assert len(script.requests) == 3
