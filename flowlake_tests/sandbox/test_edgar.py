from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import msgspec
import polars as pl
import pytest

from flowlake.calendar import session_close
from flowlake.insiders.amendments import amended
from flowlake.insiders.bulk import read_data_set
from flowlake.insiders.edgar_index import ownership_filings, parse_current, parse_index
from flowlake.insiders.symbols import COMPANY_TICKERS
from flowlake.insiders.tables import Filed, read, to_frames
from flowlake.sandbox.edgar import EdgarArchive, Issuer, issuers_of, recorded_archive, synthetic_archive
from flowlake.sandbox.simulator import SimulatorConfig, simulate

ISSUERS = [Issuer("0000000101", "ACME", "Acme Corp", 20.0)]
DAY = date(2026, 3, 4)
NIGHT = datetime(2026, 3, 5, 5, tzinfo=UTC)


def _archive() -> EdgarArchive:
    return EdgarArchive(synthetic_archive(ISSUERS, DAY, DAY, filings_per_day=60), ISSUERS)


def test_the_same_arguments_give_the_same_bytes():
    assert [each.content for each in _archive().filings] == [each.content for each in _archive().filings]


def test_every_synthetic_filing_is_read_back_with_its_accession_and_time():
    for filing in _archive().filings:
        found = read(filing.content, "simulated")
        assert isinstance(found, Filed)
        assert (found.accession, found.accepted_at) == (filing.accession, filing.accepted_at)
        assert found.document.problems == ()


def test_a_filing_does_not_exist_before_it_was_accepted():
    archive = _archive()
    filing = archive.filings[30]
    before = filing.accepted_at - timedelta(seconds=1)
    assert archive.submission(before, filing.accession) is None
    assert filing.accession not in set(parse_current(archive.current(before, "4", 0, 100))["accession"])
    assert archive.submission(filing.accepted_at, filing.accession) == filing.content


def test_the_index_of_a_day_appears_at_night():
    archive = _archive()
    assert archive.daily_index(NIGHT - timedelta(hours=4), DAY) is None
    content = archive.daily_index(NIGHT, DAY)
    assert content is not None
    assert ownership_filings(parse_index(content)).height == 60


def test_the_feed_matches_forms_by_prefix_and_lists_every_party():
    archive = _archive()
    entries = parse_current(archive.current(NIGHT, "4", 0, 1000))
    assert entries.height == sum(len(filing.parties) for filing in archive.filings)
    assert parse_current(archive.current(NIGHT, "3", 0, 100)).is_empty()


def test_some_filings_amend_one_of_the_days_before():
    filings = synthetic_archive(ISSUERS, date(2026, 3, 2), date(2026, 3, 13), filings_per_day=40)
    tables = to_frames([read(each.content, "simulated") for each in filings], pl.DataFrame(schema=COMPANY_TICKERS))
    amendments = tables["insider_filings"].filter("is_amendment")
    assert 0 < amendments.height < len(filings) / 10
    assert set(amended(tables["insider_filings"])["amended_by"]) == set(amendments["accession"])


def test_the_data_set_of_a_quarter_says_what_the_submissions_say():
    archive = _archive()
    content = archive.bulk(datetime(2026, 4, 1, 12, tzinfo=UTC), 2026, 1)
    assert content is not None
    in_bulk = {each.accession: each.document for each in read_data_set(content, "simulated")}
    assert len(in_bulk) == 60
    for filing in archive.filings:
        found = read(filing.content, "simulated")
        assert isinstance(found, Filed)
        # The set has no schema version.
        assert msgspec.structs.replace(found.document, schema_version=None) == in_bulk[filing.accession]


def test_the_data_set_appears_after_its_quarter():
    assert _archive().bulk(datetime(2026, 3, 31, 12, tzinfo=UTC), 2026, 1) is None


def test_the_companies_of_a_sandbox_market_file_under_their_tickers_and_prices():
    session = date(2026, 5, 28)
    market = simulate(SimulatorConfig(underlyings=20, sessions=3, first_session=date(2026, 5, 26), seed=5))
    issuers = issuers_of(market, session)
    closes = dict(market.stocks(session_close(session)).select("ticker", "close").iter_rows())
    assert len(issuers) > 2
    assert all(issuer.price == closes[issuer.ticker] for issuer in issuers)
    filing = synthetic_archive(issuers, session, session, filings_per_day=1)[0]
    assert read(filing.content, "simulated").accession == filing.accession


@pytest.mark.real_data
def test_real_filings_can_be_served(shared_data: Path):
    filings = recorded_archive(shared_data / "sec")
    assert len(filings) > 400
    for filing in filings:
        found = read(filing.content, "recorded")
        assert isinstance(found, Filed)
        assert (found.accession, found.accepted_at) == (filing.accession, filing.accepted_at)
