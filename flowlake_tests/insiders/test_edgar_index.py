from __future__ import annotations

import re
from datetime import date
from pathlib import Path

import polars as pl
import pytest

from flowlake.insiders.edgar_index import (
    MalformedIndex,
    ownership_filings,
    parse_company_tickers,
    parse_current,
    parse_index,
    parse_submissions,
)

WRAPPED = (
    b"Description: Daily Index\n \nForm Type   Company Name                 CIK\n      Date Filed  File Name\n"
    + b"-" * 80
    + b"\n4                NEWMAN PAUL  II                    1214156     20260716    "
    b"edgar/data/101/0000000101-26-000045.txt         \n"
    b"424B2            BIG BANK                           19617       20260716    "
    b"edgar/data/19617/0000019617-26-000001.txt\n"
)


def test_an_index_with_a_wrapped_header_is_read_from_the_right():
    assert parse_index(WRAPPED).row(0, named=True) == {
        "accession": "0000000101-26-000045",
        "form_type": "4",
        "cik": "0001214156",
        "name": "NEWMAN PAUL  II",
        "role": None,
        "filed_on": date(2026, 7, 16),
        "listed_at": None,
        "path": "edgar/data/101/0000000101-26-000045.txt",
    }


def test_forms_that_only_begin_like_form_4_are_not_ownership_filings():
    assert ownership_filings(parse_index(WRAPPED))["form_type"].to_list() == ["4"]


def test_a_line_that_cannot_be_read_is_an_error_and_not_a_missing_filing():
    with pytest.raises(MalformedIndex, match="1 of 3 lines"):
        parse_index(WRAPPED + b"4   something else\n")


@pytest.mark.parametrize("content", [b"", b"<html>blocked</html>", b"{}"])
@pytest.mark.parametrize("read", [parse_index, parse_current, parse_submissions, parse_company_tickers])
def test_an_answer_of_another_kind_is_refused(read, content):
    if content == b"{}" and read is parse_company_tickers:
        assert read(content).is_empty()
        return
    with pytest.raises(MalformedIndex):
        read(content)


def test_the_first_entry_of_a_cik_stays_first_and_classes_are_spelled_with_a_dot():
    content = b'{"0":{"cik_str":7,"ticker":"BRK-B","title":"B"},"1":{"cik_str":7,"ticker":"BRK-A","title":"B"}}'
    assert parse_company_tickers(content).select("cik", "ticker", "position").rows() == [
        ("0000000007", "BRK.B", 0),
        ("0000000007", "BRK.A", 1),
    ]


@pytest.mark.real_data
def test_the_complete_real_crawl_gives_every_form_4_once(shared_data: Path):
    pages = sorted((shared_data / "sec/atom/form4_prefix_2025-12-12").glob("*.atom"))
    assert len(pages) == 51
    texts = [page.read_text("iso-8859-1") for page in pages]
    found = ownership_filings(pl.concat([parse_current(text.encode("iso-8859-1")) for text in texts]))
    # The independent count: accession and form as they stand in the text of each entry.
    entries = re.findall(r'term="([^"]*)"/>\s*<id>urn:tag:sec.gov,2008:accession-number=([\d-]+)</id>', "".join(texts))
    wanted = {accession for form, accession in entries if form in ("4", "4/A")}
    assert len(entries) == 5100
    assert found["accession"].is_unique().all()
    assert set(found["accession"]) == wanted
    print(f"{len(entries)} entries, {len(wanted)} Form 4 and 4/A accessions")


@pytest.mark.real_data
def test_a_real_daily_index_gives_every_form_4_once(shared_data: Path):
    content = (shared_data / "sec/idx/form.20200318.idx").read_bytes()
    found = ownership_filings(parse_index(content)).filter(pl.col("form_type").is_in(["4", "4/A"]))
    listed = re.findall(rb"^4(?:/A)? .*?(\d{10}-\d\d-\d{6})\.txt", content, re.MULTILINE)
    assert len(listed) == 2074
    assert found.height == 991
    assert set(found["accession"]) == {accession.decode() for accession in listed}


@pytest.mark.real_data
@pytest.mark.parametrize(
    "name", ["company.20221003.idx", "master.20181231.idx", "crawler_sample.idx", "badform.idx.txt"]
)
def test_real_indexes_of_every_kind_are_read(shared_data: Path, name: str):
    content = (shared_data / "sec/idx" / name).read_bytes()
    assert parse_index(content).height == len(re.findall(rb"edgar/data/\d+/[\d-]+(?:\.txt|-index\.htm)", content))


@pytest.mark.real_data
def test_real_submissions_lists_name_their_older_pages(shared_data: Path):
    found, older = parse_submissions((shared_data / "sec/submissions/CIK0000320193.json").read_bytes())
    assert older == ["CIK0000320193-submissions-001.json"]
    assert ownership_filings(found).height == 627
