from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path

import httpx
import pytest

from flowlake.sandbox.edgar import BLOCK_PAGE, EdgarArchive, EdgarServer, Issuer, Manners, synthetic_archive
from flowlake.settings import EdgarSettings
from flowlake.sources.edgar import Blocked, Clock, EdgarClient, NoContact, SharedPace
from flowlake.sources.errors import ConnectionLost, NotFound, ServerError, UnexpectedAnswer

AGENT = "Flowlake Tests ops@flowlake.test"
ISSUERS = [Issuer("0000000101", "ACME", "Acme Corp", 20.0), Issuer("0000000202", "ZED.B", "Zed Inc", 50.0)]
FIRST, LAST = date(2026, 3, 2), date(2026, 3, 6)
NIGHT = datetime(2026, 3, 7, 5, tzinfo=UTC)


class FakeTime:
    """A clock that only moves when somebody sleeps."""

    def __init__(self) -> None:
        self.moment = 1_000.0
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.moment += seconds

    @property
    def clock(self) -> Clock:
        return Clock(now=lambda: self.moment, sleep=self.sleep)


@pytest.fixture
def time() -> FakeTime:
    return FakeTime()


@pytest.fixture
def ask(tmp_path: Path, time: FakeTime) -> Callable[..., EdgarClient]:
    """A client whose server is a function from request to response."""

    def make(handler: Callable[[httpx.Request], httpx.Response], **changes: object) -> EdgarClient:
        settings = EdgarSettings(user_agent=AGENT).model_copy(update=changes)
        pace = SharedPace(tmp_path / "pace", settings.requests_per_second, time.clock)
        return EdgarClient(settings, pace, transport=httpx.MockTransport(handler), clock=time.clock)

    return make


@pytest.mark.parametrize("agent", [None, "", "python-httpx/0.28", "Acme noreply@acme.test", "Me me@example.com"])
def test_without_a_contact_no_client_is_made(tmp_path, agent):
    with pytest.raises(NoContact, match="FLOWLAKE_EDGAR__USER_AGENT"):
        EdgarClient(EdgarSettings(user_agent=agent), SharedPace(tmp_path / "pace", 8))


def test_every_request_says_who_asks(ask):
    seen: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers["user-agent"])
        return httpx.Response(200, content=b"{}")

    ask(answer).company_tickers()
    assert seen == [AGENT]


def test_processes_that_share_a_file_share_the_pace(tmp_path, time):
    first, second = (SharedPace(tmp_path / "pace", 10, time.clock) for _ in range(2))
    for _ in range(5):
        first.take()
        second.take()
    assert time.moment - 1_000.0 == pytest.approx(0.9)


def test_a_clock_that_was_set_back_does_not_stop_everybody(tmp_path, time):
    pace = SharedPace(tmp_path / "pace", 10, time.clock)
    pace.take()
    time.moment -= 3600
    pace.take()
    assert sum(time.slept) < 1


@pytest.mark.parametrize("status", [200, 403, 429])
def test_the_block_page_is_recognised_whatever_its_status_and_nothing_is_sent_for_ten_minutes(ask, time, status):
    sent: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        sent.append(str(request.url))
        return httpx.Response(status, content=BLOCK_PAGE)

    client = ask(answer)
    with pytest.raises(Blocked):
        client.company_tickers()
    time.moment += 599
    with pytest.raises(Blocked, match="none is sent"):
        client.company_tickers()
    assert len(sent) == 1
    time.moment += 2
    with pytest.raises(Blocked):
        client.company_tickers()
    assert len(sent) == 2


def test_a_block_stops_the_other_processes_too(ask):
    with pytest.raises(Blocked):
        ask(lambda _: httpx.Response(403, content=BLOCK_PAGE)).company_tickers()
    with pytest.raises(Blocked):
        ask(lambda _: pytest.fail("a request was sent while blocked")).company_tickers()


def test_retry_after_is_obeyed(ask, time):
    client = ask(lambda _: httpx.Response(429, headers={"Retry-After": "30"}))
    with pytest.raises(Blocked) as blocked:
        client.company_tickers()
    assert blocked.value.retry_after == 30
    time.moment += 31
    assert client._pace.blocked_for() == 0


@pytest.mark.real_data
def test_the_sec_s_real_block_page_is_recognised(ask, shared_data):
    page = (shared_data / "sec/sec_block_page/undeclared_automated_tool.html").read_bytes()
    with pytest.raises(Blocked):
        ask(lambda _: httpx.Response(403, content=page)).company_tickers()


def test_a_server_error_is_tried_again_with_growing_pauses(ask, time):
    answers = iter([httpx.Response(503), httpx.Response(502), httpx.Response(200, content=b"{}")])
    ask(lambda _: next(answers), backoff_seconds=1.0).company_tickers()
    assert [pause for pause in time.slept if pause >= 1] == [1.0, 2.0]


def test_a_server_that_keeps_failing_is_reported_with_the_number_of_tries(ask):
    with pytest.raises(ServerError, match="after 4 attempts"):
        ask(lambda _: httpx.Response(500)).company_tickers()


def test_a_broken_connection_is_tried_again(ask):
    def answer(_: httpx.Request) -> httpx.Response:
        raise httpx.ReadError("reset")

    with pytest.raises(ConnectionLost):
        ask(answer).company_tickers()


def test_an_answer_beyond_the_limit_is_not_read_to_its_end(ask):
    with pytest.raises(UnexpectedAnswer, match="larger"):
        ask(lambda _: httpx.Response(200, content=bytes(2000)), max_body_bytes=1000).company_tickers()


def test_redirects_are_not_followed(ask):
    with pytest.raises(UnexpectedAnswer):
        ask(lambda _: httpx.Response(302, headers={"Location": "http://127.0.0.1:9/"})).company_tickers()


@pytest.mark.parametrize("path", ["http://127.0.0.1/x.txt", "edgar/data/../../etc/passwd.txt", "edgar/data/1/x.txt"])
def test_only_paths_of_submissions_are_fetched(ask, path):
    with pytest.raises(ValueError, match="no path of an EDGAR submission"):
        ask(lambda _: pytest.fail("a request was sent")).filing(path)


def test_a_day_without_an_index_is_none_and_not_an_error(ask):
    denied = b"<Error><Code>AccessDenied</Code></Error>"
    assert ask(lambda _: httpx.Response(403, content=denied)).daily_index(date(2026, 12, 25)) is None


# Against the sandbox over HTTP.


@pytest.fixture(scope="module")
def archive() -> EdgarArchive:
    return EdgarArchive(synthetic_archive(ISSUERS, FIRST, LAST, filings_per_day=40), ISSUERS)


@pytest.fixture
def edgar(archive: EdgarArchive):
    with EdgarServer(archive, clock=NIGHT) as server:
        yield server


def _client(server: EdgarServer, tmp_path: Path, **changes: object) -> EdgarClient:
    settings = EdgarSettings(base_url=server.base_url, data_url=server.base_url, user_agent=AGENT, **changes)  # type: ignore[arg-type]
    return EdgarClient(settings, SharedPace(tmp_path / "pace", 10_000))


def test_a_crawl_of_the_feed_finds_every_filing_once(edgar, archive, tmp_path):
    with _client(edgar, tmp_path) as client:
        found = client.current()
    assert found["accession"].to_list() == sorted(filing.accession for filing in archive.filings)


def test_a_crawl_stops_at_the_first_page_of_known_filings(edgar, archive, tmp_path):
    known = frozenset(filing.accession for filing in archive.filings[:-10])
    with _client(edgar, tmp_path) as client:
        found = client.current(known)
    assert set(found["accession"]) == {filing.accession for filing in archive.filings[-10:]}
    assert len(edgar.manners.paths) == 2


def test_a_crawl_of_today_does_not_read_on_into_the_days_before(edgar, archive, tmp_path):
    today = {filing.accession for filing in archive.filings if filing.filed_on == LAST}
    with _client(edgar, tmp_path) as client:
        found = client.current(since=LAST)
    assert set(found["accession"]) >= today
    entries = sum(len(filing.parties) for filing in archive.filings if filing.filed_on == LAST)
    assert len(edgar.manners.paths) == entries // 100 + 2


def test_indexes_feed_and_lists_agree(edgar, archive, tmp_path):
    with _client(edgar, tmp_path) as client:
        daily = client.daily_index(LAST)
        quarter = client.full_index(2026, 1)
        mine = client.submissions(ISSUERS[0].cik)
    assert daily is not None
    assert set(daily["accession"]) == {filing.accession for filing in archive.filings if filing.filed_on == LAST}
    assert set(quarter["accession"]) == {filing.accession for filing in archive.filings}
    assert set(mine["accession"]) == {each.accession for each in archive.filings if each.issuer_cik == ISSUERS[0].cik}


def test_submissions_arrive_in_order_and_failures_in_their_place(edgar, archive, tmp_path):
    with _client(edgar, tmp_path) as client:
        paths = client.full_index(2026, 1)["path"].head(10).to_list()
        paths.insert(3, "edgar/data/101/0000000101-26-999999.txt")
        answers = list(client.filings(paths))
    assert [path for path, _ in answers] == paths
    assert isinstance(answers[3][1], NotFound)
    assert all(isinstance(content, bytes) for at, (_, content) in enumerate(answers) if at != 3)


def test_who_stops_reading_stops_the_fetching(edgar, archive, tmp_path):
    with _client(edgar, tmp_path) as client:
        paths = client.full_index(2026, 1)["path"].to_list()
        answers = client.filings(paths)
        next(answers)
        answers.close()  # type: ignore[attr-defined]
        assert len(edgar.manners.paths) < len(paths) / 2


def test_a_client_that_keeps_the_pace_is_not_blocked(archive, tmp_path):
    with EdgarServer(archive, clock=NIGHT, manners=Manners(requests_per_second=20)) as server:
        settings = EdgarSettings(base_url=server.base_url, user_agent=AGENT)
        with EdgarClient(settings, SharedPace(tmp_path / "pace", 18)) as client:
            paths = client.full_index(2026, 1)["path"].head(25).to_list()
            assert all(isinstance(content, bytes) for _, content in client.filings(paths))


def test_a_block_ends_the_reading_of_many_submissions(archive, tmp_path):
    with EdgarServer(archive, clock=NIGHT, manners=Manners(requests_per_second=5)) as server:
        settings = EdgarSettings(base_url=server.base_url, user_agent=AGENT)
        with EdgarClient(settings, SharedPace(tmp_path / "pace", 10_000)) as client:
            paths = client.full_index(2026, 1)["path"].to_list()
            with pytest.raises(Blocked):
                list(client.filings(paths))
        assert len(server.manners.paths) < 20


@pytest.mark.real_data
def test_the_real_crawl_over_http_gives_every_form_4_once(shared_data, tmp_path):
    folder = shared_data / "sec/atom/form4_prefix_2025-12-12"
    feed = "/cgi-bin/browse-edgar?action=getcurrent&type=4&owner=include&count=100&start={}&output=atom"
    pages = {feed.format(int(page.stem.split("_")[1])): page.read_bytes() for page in folder.glob("start_*.atom")}
    with EdgarServer(EdgarArchive([]), clock=NIGHT, recorded=pages) as server, _client(server, tmp_path) as client:
        found = client.current()
    assert found.height == 1579
    assert found["accession"].is_unique().all()
    assert len(server.manners.paths) >= 51
