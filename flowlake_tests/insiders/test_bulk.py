from __future__ import annotations

import io
import zipfile
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from flowlake.insiders.bulk import MalformedDataSet, read_data_set
from flowlake.insiders.ownership import FootnoteLink
from flowlake_tests.insiders.builders import frames

A = "0000000101-26-000001"
_SUBMISSION = {
    "ACCESSION_NUMBER": A, "FILING_DATE": "04-MAR-2026", "PERIOD_OF_REPORT": "03-MAR-2026", "DATE_OF_ORIG_SUB": "",
    "NO_SECURITIES_OWNED": "", "NOT_SUBJECT_SEC16": "0", "FORM3_HOLDINGS_REPORTED": "", "FORM4_TRANS_REPORTED": "",
    "DOCUMENT_TYPE": "4", "ISSUERCIK": "0000000101", "ISSUERNAME": "Acme Corp", "ISSUERTRADINGSYMBOL": "ACME",
    "REMARKS": "", "AFF10B5ONE": "1",
}  # fmt: skip
_OWNER = {
    "ACCESSION_NUMBER": A, "RPTOWNERCIK": "9001", "RPTOWNERNAME": "Owner", "RPTOWNER_RELATIONSHIP": "Director,Officer",
    "RPTOWNER_TITLE": "CFO", "RPTOWNER_TXT": "", "RPTOWNER_STREET1": "", "RPTOWNER_STREET2": "", "RPTOWNER_CITY": "",
    "RPTOWNER_STATE": "", "RPTOWNER_ZIPCODE": "", "RPTOWNER_STATE_DESC": "",
}  # fmt: skip
_TRADE = {
    "ACCESSION_NUMBER": A, "NONDERIV_TRANS_SK": "2", "SECURITY_TITLE": "Common Stock", "TRANS_DATE": "03-MAR-2026",
    "TRANS_FORM_TYPE": "4", "TRANS_CODE": "S", "EQUITY_SWAP_INVOLVED": "0", "TRANS_SHARES": "10.5",
    "TRANS_PRICEPERSHARE": "20.25", "TRANS_PRICEPERSHARE_FN": "F1,F2", "TRANS_ACQUIRED_DISP_CD": "D",
}  # fmt: skip
_HOLDING = {"ACCESSION_NUMBER": A, "NONDERIV_HOLDING_SK": "9", "SHRS_OWND_FOLWNG_TRANS": "7.0"}
_DERIVATIVE = {"ACCESSION_NUMBER": A, "DERIV_TRANS_SK": "4", "EXCERCISE_DATE": "01-JAN-2027", "TRANS_CODE": "M"}
_OPTION = {"ACCESSION_NUMBER": A, "DERIV_HOLDING_SK": "5", "EXERCISE_DATE": "01-JAN-2028"}


def archive(**changes: list[dict[str, Any]]) -> bytes:
    tables = {
        "SUBMISSION": [_SUBMISSION],
        "REPORTINGOWNER": [_OWNER],
        "NONDERIV_TRANS": [_TRADE, _TRADE | {"NONDERIV_TRANS_SK": "1", "TRANS_SHARES": "1"}],
        "NONDERIV_HOLDING": [_HOLDING],
        "DERIV_TRANS": [_DERIVATIVE],
        "DERIV_HOLDING": [_OPTION],
        "FOOTNOTES": [{"ACCESSION_NUMBER": A, "FOOTNOTE_ID": "F1", "FOOTNOTE_TXT": 'Said "so", at 5%'}],
        "OWNER_SIGNATURE": [
            {"ACCESSION_NUMBER": A, "OWNERSIGNATURENAME": "/s/ O", "OWNERSIGNATUREDATE": "04-MAR-2026"}
        ],
    } | changes
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as target:
        for name, rows in tables.items():
            lines = ["\t".join(rows[0]), *("\t".join(row.values()) for row in rows)]
            target.writestr(f"{name}.tsv", "\n".join(lines) + "\n")
    return content.getvalue()


def test_a_data_set_gives_the_same_records_as_the_documents():
    (filed,) = read_data_set(archive(), "simulated")
    document = filed.document
    assert (filed.accession, filed.source) == (A, "bulk")
    assert (document.issuer_symbol, document.aff10b5_one, document.owners[0].is_officer) == ("ACME", True, True)
    assert document.owners[0].owner_cik == "0000009001"
    assert [row.shares for row in document.transactions if row.form_table == "nonderivative"] == [1.0, 10.5]
    assert document.transactions[1].footnotes == (
        FootnoteLink("price_per_share", "F1"),
        FootnoteLink("price_per_share", "F2"),
    )
    assert document.footnotes[0].text == 'Said "so", at 5%'


def test_rows_are_numbered_through_transactions_and_holdings_of_a_table():
    (filed,) = read_data_set(archive(), "simulated")
    rows = [*filed.document.transactions, *filed.document.holdings]
    assert sorted((row.form_table, row.row_number) for row in rows) == [
        ("derivative", 1),
        ("derivative", 2),
        ("nonderivative", 1),
        ("nonderivative", 2),
        ("nonderivative", 3),
    ]


def test_both_spellings_of_the_exercise_date_are_read():
    (filed,) = read_data_set(archive(), "simulated")
    assert [row.exercise_date for row in filed.document.transactions][-1] == date(2027, 1, 1)
    assert filed.document.holdings[-1].exercise_date == date(2028, 1, 1)


def test_without_a_time_a_filing_counts_as_known_at_the_end_of_its_day():
    (filed,) = read_data_set(archive(), "simulated")
    assert filed.accepted_at == datetime(2026, 3, 5, 3, tzinfo=UTC)


def test_a_data_set_fills_the_lake_s_tables():
    tables = frames(*read_data_set(archive(), "simulated"))
    assert tables["insider_filings"]["ticker_quality"].to_list() == ["confirmed"]
    assert tables["insider_transactions"].height == 3
    assert tables["insider_owners"]["role"].to_list() == ["cfo"]


@pytest.mark.parametrize(
    "content",
    [b"no zip", archive(SUBMISSION=[{"X": "1"}]), archive(REPORTINGOWNER=[_OWNER | {"ACCESSION_NUMBER": "other"}])],
)
def test_another_archive_is_refused(content):
    with pytest.raises(MalformedDataSet):
        list(read_data_set(content, "simulated"))


@pytest.mark.real_data
def test_real_holdings_of_two_decades_are_read(shared_data: Path):
    lines = (shared_data / "sec/form345/2025q2_DERIV_HOLDING.tsv").read_text().splitlines()
    names = lines[0].split("\t")
    rows = [dict(zip(names, line.split("\t"), strict=True)) for line in lines[1:301]]
    accessions = sorted({row["ACCESSION_NUMBER"] for row in rows})
    content = archive(
        DERIV_HOLDING=rows,
        SUBMISSION=[_SUBMISSION | {"ACCESSION_NUMBER": each} for each in accessions],
        REPORTINGOWNER=[_OWNER | {"ACCESSION_NUMBER": each} for each in accessions],
    )
    filings = list(read_data_set(content, "recorded"))
    assert sum(len([h for h in each.document.holdings if h.form_table == "derivative"]) for each in filings) == 300
