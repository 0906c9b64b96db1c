from __future__ import annotations

import json
import signal
import subprocess
import sys
import textwrap
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from flowlake import calendar
from flowlake.defs import intake
from flowlake.defs.assets import insiders
from flowlake.defs.intake import known_accessions, missing_from_lake, take_in_day, take_in_quarter
from flowlake.defs.resources import LakeResource, MarketResource
from flowlake.insiders.amendments import in_force
from flowlake.insiders.edgar_index import ownership_filings, parse_index
from flowlake.insiders.symbols import COMPANY_TICKERS
from flowlake.insiders.tables import FILING_TABLES, Filed, filed_on, read
from flowlake.lake import Lake
from flowlake.sandbox.edgar import (
    EdgarArchive,
    EdgarServer,
    Issuer,
    Manners,
    archive_document,
    recorded_archive,
    synthetic_archive,
)
from flowlake.schemas import table
from flowlake.settings import EdgarSettings, get_settings
from flowlake.sources.congress import read_disclosures
from flowlake.sources.edgar import EdgarClient, SharedPace
from flowlake_tests.insiders.builders import document, owner, purchase

ISSUERS = [Issuer("0000000101", "ACME", "Acme Corp", 20.0), Issuer("0000000202", "ZED.B", "Zed Inc", 50.0)]
DAY = date(2026, 6, 3)
MORNING_AFTER = datetime(2026, 6, 4, 10, tzinfo=UTC)
AGENT = "Flowlake Tests ops@flowlake.test"
NO_MAP = pl.DataFrame(schema=COMPANY_TICKERS)


@pytest.fixture(scope="module")
def archive() -> EdgarArchive:
    return EdgarArchive(synthetic_archive(ISSUERS, date(2026, 5, 27), DAY, filings_per_day=30), ISSUERS)


@pytest.fixture
def edgar(archive: EdgarArchive) -> Iterator[EdgarServer]:
    with EdgarServer(archive, clock=MORNING_AFTER) as server:
        yield server


def client_of(server: EdgarServer, folder: Path) -> EdgarClient:
    settings = EdgarSettings(base_url=server.base_url, data_url=server.base_url, user_agent=AGENT)
    return EdgarClient(settings, SharedPace(folder / "pace", 10_000))


def take_in(store: Lake, client: EdgarClient, day: date = DAY) -> intake.Intake:
    return take_in_day(store, client, day, run_id="r", now=MORNING_AFTER, origin="simulated", tickers=NO_MAP)


def contents(store: Lake, day: date = DAY) -> dict[str, pl.DataFrame]:
    return {name: store.read(name, day.isoformat()) for name in FILING_TABLES}


def accessions(archive: EdgarArchive, day: date = DAY) -> list[str]:
    return sorted(filing.accession for filing in archive.filings if filing.filed_on == day)


def test_a_day_reconciles_to_zero_missing(edgar, archive, tmp_path):
    store = Lake.open(tmp_path / "data")
    with client_of(edgar, tmp_path) as client:
        done = take_in(store, client)
    assert (done.listed, done.read, done.failed) == (30, 30, {})
    assert sorted(contents(store)["insider_filings"]["accession"]) == accessions(archive)
    assert missing_from_lake(store, DAY).is_empty()


def test_a_second_run_fetches_no_filing_and_changes_nothing(edgar, tmp_path):
    store = Lake.open(tmp_path / "data")
    with client_of(edgar, tmp_path) as client:
        take_in(store, client)
        before = store.digests()
        asked = len(edgar.manners.paths)
        take_in(store, client)
    assert [path for path in edgar.manners.paths[asked:] if "/data/" in path] == []
    assert store.digests() == before


def test_before_the_index_is_published_the_feed_lists_the_day(archive, tmp_path):
    evening = datetime(2026, 6, 3, 22, tzinfo=UTC)
    store = Lake.open(tmp_path / "data")
    with EdgarServer(archive, clock=evening) as server, client_of(server, tmp_path) as client:
        done = take_in(store, client)
    accepted = {filing.accession for filing in archive.until(evening) if filing.filed_on == DAY}
    assert not done.index_published
    assert set(contents(store)["insider_filings"]["accession"]) == accepted
    assert 0 < len(accepted) < 30


def test_what_the_feed_missed_the_index_brings(archive, tmp_path):
    store = Lake.open(tmp_path / "data")
    for moment in (datetime(2026, 6, 3, 20, 30, tzinfo=UTC), MORNING_AFTER):
        with EdgarServer(archive, clock=moment) as server, client_of(server, tmp_path) as client:
            take_in(store, client)
    assert known_accessions(store, DAY) >= set(accessions(archive))


def test_a_day_without_filings_is_an_empty_partition(edgar, tmp_path):
    store = Lake.open(tmp_path / "data")
    with client_of(edgar, tmp_path) as client:
        take_in(store, client, date(2026, 5, 31))
    assert store.rows("insider_filings", "2026-05-31") == 0


class Killed(BaseException):
    """Stands for a kill: nothing may catch it."""


@pytest.mark.parametrize("after", [0, 4, 5, 13, 30])
def test_a_run_killed_anywhere_and_run_again_neither_repeats_nor_loses(edgar, tmp_path, monkeypatch, after):
    monkeypatch.setattr(intake, "COMMIT_EVERY", 5)
    whole, interrupted = Lake.open(tmp_path / "whole"), Lake.open(tmp_path / "interrupted")
    with client_of(edgar, tmp_path) as client:
        take_in(whole, client)
        fetch = client.filings

        def dying(paths: list[str]) -> Iterator:
            for number, answer in enumerate(fetch(paths)):
                if number == after:
                    raise Killed
                yield answer
            raise Killed

        monkeypatch.setattr(client, "filings", dying)
        with pytest.raises(Killed):
            take_in(interrupted, client)
        monkeypatch.setattr(client, "filings", fetch)
        done = take_in(interrupted, client)
    assert done.read == 30 - min(after // 5 * 5, 30)
    for name, frame in contents(whole).items():
        assert contents(interrupted)[name].equals(frame), name


@pytest.mark.slow
def test_a_process_killed_while_it_writes_leaves_a_lake_that_the_next_run_completes(edgar, archive, tmp_path):
    program = textwrap.dedent(
        f"""
        from pathlib import Path
        from flowlake.defs import intake
        from flowlake.lake import Lake
        from flowlake_tests.defs.test_insiders import EdgarServer, client_of, take_in
        class Server: base_url = {edgar.base_url!r}
        intake.COMMIT_EVERY = 3
        inner = intake.commit_filings
        def told(*arguments):
            inner(*arguments)
            print("committed", flush=True)
        intake.commit_filings = told
        folder = Path({str(tmp_path)!r})
        with client_of(Server, folder) as client:
            take_in(Lake.open(folder / "data"), client)
        """
    )
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for _ in range(4):
        assert process.stdout.readline() == "committed\n"
    process.send_signal(signal.SIGKILL)
    assert process.wait(timeout=30) == -signal.SIGKILL
    process.stdout.close()
    store = Lake.open(tmp_path / "data")
    assert 12 <= store.rows("insider_filings", DAY.isoformat()) < 30
    with client_of(edgar, tmp_path) as client:
        take_in(store, client)
    assert sorted(contents(store)["insider_filings"]["accession"]) == accessions(archive)


def test_a_submission_without_an_ownership_document_is_quarantined_once_with_the_reason(archive, tmp_path):
    bad = archive.filings[-1]
    path = f"/Archives/edgar/data/{int(min(party[0] for party in bad.parties))}/{bad.accession}.txt"
    html = bad.content.replace(b"<ownershipDocument>", b"<html>")
    recorded = {f"/Archives/edgar/data/{int(cik)}/{bad.accession}.txt": html for cik, _, _ in bad.parties}
    assert path in recorded
    store = Lake.open(tmp_path / "data")
    with EdgarServer(archive, clock=MORNING_AFTER, recorded=recorded) as server, client_of(server, tmp_path) as client:
        assert take_in(store, client).refused == 1
        assert take_in(store, client).refused == 0
    quarantine = contents(store)["insider_quarantine"]
    assert quarantine.select("accession", "reason").rows() == [(bad.accession, "html")]
    assert missing_from_lake(store, DAY).is_empty()


def test_a_filing_that_fails_is_reported_and_the_others_are_kept(archive, tmp_path):
    bad = archive.filings[-1]
    recorded = {f"/Archives/edgar/data/{int(cik)}/{bad.accession}.txt": b"gateway says no" for cik, _, _ in bad.parties}
    store = Lake.open(tmp_path / "data")
    with EdgarServer(archive, clock=MORNING_AFTER, recorded=recorded) as server, client_of(server, tmp_path) as client:
        done = take_in(store, client)
    assert len(done.failed) == 1
    assert done.read == 29
    assert missing_from_lake(store, DAY)["accession"].to_list() == [bad.accession]


def test_a_quarter_from_bulk_keeps_what_was_read_with_its_minute_and_can_be_repeated(archive, tmp_path):
    store = Lake.open(tmp_path / "data")
    after_quarter = datetime(2026, 7, 2, tzinfo=UTC)
    with EdgarServer(archive, clock=after_quarter) as server, client_of(server, tmp_path) as client:
        take_in(store, client)
        before = contents(store)
        for expected in (len(archive.filings) - 30, 0):
            added = take_in_quarter(store, client, 2026, 2, run_id="q", origin="simulated", tickers=NO_MAP)
            assert sum(added.values()) == expected
    assert all(contents(store)[name].equals(frame) for name, frame in before.items())
    assert store.scan("insider_filings").collect().height == len(archive.filings)


def test_an_amendment_read_before_its_original_gives_the_same_lake(tmp_path):
    first = datetime(2026, 6, 3, 21, tzinfo=UTC)
    original = archive_document(document(purchase(), owners=(owner(),)), "0000000101-26-000001", first)
    amended = archive_document(document(purchase(shares=5.0), form_type="4/A"), "0000000101-26-000002", MORNING_AFTER)
    filings = [read(each.content, "simulated") for each in (original, amended)]
    assert all(isinstance(each, Filed) for each in filings)
    stores = [Lake.open(tmp_path / name) for name in ("forwards", "backwards")]
    for store, order in zip(stores, (filings, filings[::-1]), strict=True):
        for filing in order:
            intake.commit_filings(store, [filing], NO_MAP, "r")
    for moment in (first, MORNING_AFTER):
        one, other = (contents(store, filed_on(moment)) for store in stores)
        assert all(one[name].equals(other[name]) for name in FILING_TABLES)


# Dagster.


@pytest.fixture
def configured(edgar: EdgarServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    for name, value in {
        "FLOWLAKE_DATA_DIR": str(tmp_path / "data"),
        "FLOWLAKE_EDGAR__BASE_URL": edgar.base_url,
        "FLOWLAKE_EDGAR__DATA_URL": edgar.base_url,
        "FLOWLAKE_EDGAR__USER_AGENT": AGENT,
        "FLOWLAKE_EDGAR__REQUESTS_PER_SECOND": "10",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(insiders, "SharedPace", lambda path, _: SharedPace(path, 10_000))
    get_settings.cache_clear()
    yield tmp_path / "data"
    get_settings.cache_clear()


RESOURCES = {"lake": LakeResource(), "market": MarketResource()}


def materialise(*assets: object, first: date, last: date) -> dg.ExecuteInProcessResult:
    tags = {"dagster/asset_partition_range_start": str(first), "dagster/asset_partition_range_end": str(last)}
    return dg.materialize(assets, resources=RESOURCES, tags=tags)  # type: ignore[arg-type]


def test_a_range_of_days_to_trades_and_signals(configured, archive):
    first = date(2026, 5, 27)
    result = materialise(
        insiders.insider_filings, insiders.insider_filings_reconciled, insiders.insider_trades, first=first, last=DAY
    )
    assert result.success
    assert [each.passed for each in result.get_asset_check_evaluations()] == [True]
    store = Lake.open(configured)
    assert store.rows("insider_filings", "2026-05-30") == 0
    trades = store.scan("insider_trades").collect()
    assert trades["ticker"].null_count() == 0
    assert materialise(insiders.signals, first=DAY, last=DAY).success
    found = store.read("insider_signals", DAY.isoformat())
    close = calendar.session_close(DAY)
    before = trades.filter((pl.col("available_at") < close) & pl.col("transaction_class").str.contains("purchase|sale"))
    assert set(found["ticker"]) == set(before["ticker"])
    assert (found["event_time"] < close).all()


def _any_row(name: str, **values: object) -> pl.DataFrame:
    """A row of table `name` with the given values, and something of the right type elsewhere."""
    fillers = {pl.String: "", pl.Boolean: False, pl.Date: DAY, pl.Datetime: MORNING_AFTER, pl.List: []}
    row = {
        column: values.get(column, next((v for kind, v in fillers.items() if dtype.is_(kind) or dtype == kind), 0))
        for column, dtype in table(name).schema.items()
    }
    return table(name).conform(pl.DataFrame([row], schema=table(name).schema))


def test_a_scored_event_is_shown_with_what_insiders_had_filed_by_then(configured):
    assert materialise(insiders.insider_filings, insiders.insider_trades, first=date(2026, 5, 27), last=DAY).success
    store = Lake.open(configured)
    found_at = datetime(2026, 6, 3, 20, 15, tzinfo=UTC)
    event = _any_row("scored_events", session=DAY, event_id="e1", underlying="ACME", available_at=found_at)
    with store.commit("r") as transaction:
        transaction.replace("scored_events", DAY.isoformat(), event)
    assert materialise(insiders.event_context, first=DAY, last=DAY).success
    beside = store.read("event_insiders", DAY.isoformat())
    filings = store.scan("insider_filings").collect().filter(pl.col("ticker") == "ACME")
    assert 0 < filings.filter(pl.col("available_at") < found_at).height < filings.height
    standing = in_force(store.scan("insider_transactions").collect(), filings, found_at)
    assert beside["transactions"].sum() == standing.join(filings, on="accession", how="semi").height
    assert (beside["newest_known_at"] < found_at).all()


def test_congressional_lists_are_read_into_one_table_and_again_without_change(configured, monkeypatch):
    content = json.dumps([{
        "disclosure_date": "03/04/2026", "transaction_date": "2026-02-10", "owner": "self", "ticker": "ACME",
        "type": "purchase", "amount": "$1,001 - $15,000", "representative": "Hon. Jane Member", "ptr_link": "x/1.pdf",
    }]).encode()  # fmt: skip
    monkeypatch.setenv("FLOWLAKE_CONGRESS__HOUSE_URL", "http://lists.test/house")
    monkeypatch.setattr(insiders, "fetch_disclosures", lambda _, chamber: read_disclosures(content, chamber))
    get_settings.cache_clear()
    for _ in range(2):
        assert dg.materialize([insiders.congress_trades], resources=RESOURCES).success
    assert Lake.open(configured).read("congress_trades", "all").height == 1


def test_without_a_list_the_congressional_asset_says_what_to_set(configured):
    with pytest.raises(insiders.NoDisclosureLists, match="FLOWLAKE_CONGRESS__HOUSE_URL"):
        dg.materialize([insiders.congress_trades], resources=RESOURCES)


@pytest.mark.real_data
def test_a_real_daily_index_reconciles_to_zero_missing(shared_data, tmp_path):
    day = date(2020, 3, 18)
    content = (shared_data / "sec/idx/form.20200318.idx").read_bytes()
    listed = ownership_filings(parse_index(content))
    # The real submissions of that day are not at hand: invented ones stand in under the real accession numbers.
    accepted_at = datetime(2020, 3, 18, 20, tzinfo=UTC)
    archive = EdgarArchive(archive_document(document(purchase()), each, accepted_at) for each in listed["accession"])
    recorded = {"/Archives/edgar/daily-index/2020/QTR1/form.20200318.idx": content}
    store = Lake.open(tmp_path / "data")
    with EdgarServer(archive, clock=MORNING_AFTER, recorded=recorded) as server, client_of(server, tmp_path) as client:
        done = take_in(store, client, day)
    assert (done.listed, done.read) == (1036, 1036)
    assert missing_from_lake(store, day).is_empty()


@pytest.mark.real_data
def test_real_filings_served_by_the_sandbox_reach_the_lake(shared_data, tmp_path):
    archive = EdgarArchive(recorded_archive(shared_data / "sec"))
    days = Counter(filing.filed_on for filing in archive.filings)
    busiest, count = max(days.items(), key=lambda item: (item[1], item[0]))
    store = Lake.open(tmp_path / "data")
    with EdgarServer(archive, clock=datetime(2026, 11, 1, tzinfo=UTC)) as server, client_of(server, tmp_path) as client:
        assert take_in(store, client, busiest).read == count
    assert missing_from_lake(store, busiest).is_empty()


def test_without_a_contact_the_sensor_says_what_to_set():
    skipped = insiders.due(datetime(2026, 6, 3, 21, tzinfo=UTC), None)
    assert isinstance(skipped, dg.SkipReason)
    assert "FLOWLAKE_EDGAR__USER_AGENT" in str(skipped.skip_message)


@pytest.mark.parametrize(
    ("local", "slot"),
    [
        ((6, 3), "06:00"),
        ((15, 59), "15:00"),
        ((16, 9), "16:00"),
        ((16, 31), "16:30"),
        ((22, 5), "22:00"),
    ],
)
def test_the_sensor_runs_hourly_and_every_ten_minutes_after_the_close(local, slot):
    request = insiders.due(datetime(2026, 6, 3, *local, tzinfo=calendar.NEW_YORK), AGENT)
    assert isinstance(request, dg.RunRequest)
    assert (request.run_key, request.partition_key) == (f"2026-06-03T{slot}", "2026-06-03")


@pytest.mark.parametrize("moment", [(2026, 6, 3, 4), (2026, 6, 3, 23), (2026, 6, 6, 12)])
def test_at_night_and_on_weekends_the_sensor_sleeps(moment):
    assert isinstance(insiders.due(datetime(*moment, tzinfo=calendar.NEW_YORK), AGENT), dg.SkipReason)


def test_the_reconciliation_takes_the_day_before():
    context = dg.build_schedule_context(scheduled_execution_time=datetime(2026, 6, 6, 6, tzinfo=calendar.NEW_YORK))
    request = insiders.insider_reconciliation_schedule(context)
    assert isinstance(request, dg.RunRequest)
    assert request.partition_key == "2026-06-05"


@pytest.mark.parametrize(("day", "key"), [(date(2026, 6, 8), "2026-06-05"), (date(2026, 6, 19), None)])
def test_signals_follow_on_the_next_session_and_rest_on_holidays(day, key):
    moment = datetime(day.year, day.month, day.day, 8, 40, tzinfo=calendar.NEW_YORK)
    request = insiders.insider_session_schedule(dg.build_schedule_context(scheduled_execution_time=moment))
    assert (request.partition_key if isinstance(request, dg.RunRequest) else None) == key


def test_a_block_is_tried_again_when_it_is_over(archive, tmp_path, monkeypatch):
    with EdgarServer(archive, clock=MORNING_AFTER, manners=Manners(requests_per_second=0.5)) as server:
        monkeypatch.setenv("FLOWLAKE_DATA_DIR", str(tmp_path / "data"))
        monkeypatch.setenv("FLOWLAKE_EDGAR__BASE_URL", server.base_url)
        monkeypatch.setenv("FLOWLAKE_EDGAR__USER_AGENT", AGENT)
        get_settings.cache_clear()
        with pytest.raises(dg.RetryRequested) as asked, insiders._passing_faults(), insiders.edgar_client() as client:
            client.company_tickers()
    get_settings.cache_clear()
    assert asked.value.seconds_to_wait == pytest.approx(605)


def test_everything_loads_beside_the_session_assets():
    dg.Definitions.validate_loadable(
        dg.Definitions(
            assets=[*insiders.ASSETS, dg.AssetSpec("scored_events")],
            asset_checks=insiders.CHECKS,
            jobs=insiders.JOBS,
            sensors=insiders.SENSORS,
            schedules=insiders.SCHEDULES,
            resources=RESOURCES,
        )
    )


def test_days_around_a_filing_are_searched_for_it(tmp_path):
    late = archive_document(document(purchase()), "0000000101-26-000009", MORNING_AFTER + timedelta(days=1))
    store = Lake.open(tmp_path)
    intake.commit_filings(store, [read(late.content, "simulated")], NO_MAP, "r")
    assert known_accessions(store, DAY) == {"0000000101-26-000009"}
