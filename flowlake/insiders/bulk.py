"""The SEC's quarterly insider transactions data sets: a zip of tables for a quarter, read into the same records.

Source: SEC, "Insider Transactions Data Sets", readme and metadata of 2025q2. The sets give filing dates without times:
a filing counts as known at 22:00 New York of its filing date, the latest moment that still has this date.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections import defaultdict
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime
from typing import Any

import polars as pl

from flowlake.calendar import NEW_YORK
from flowlake.insiders.ownership import (
    FORM_TYPES,
    Footnote,
    FootnoteLink,
    FormTable,
    Holding,
    Owner,
    OwnershipDocument,
    Signature,
    Transaction,
)
from flowlake.insiders.tables import Filed

MAX_TABLE_BYTES = 1_000_000_000
_LATEST_HOUR = 22

ROW_COLUMNS: dict[str, tuple[str, ...]] = {
    "security_title": ("SECURITY_TITLE",),
    "conversion_or_exercise_price": ("CONV_EXERCISE_PRICE",),
    "transaction_date": ("TRANS_DATE",),
    "deemed_execution_date": ("DEEMED_EXECUTION_DATE",),
    "form_type": ("TRANS_FORM_TYPE",),
    "code": ("TRANS_CODE",),
    "equity_swap": ("EQUITY_SWAP_INVOLVED",),
    "timeliness": ("TRANS_TIMELINESS",),
    "shares": ("TRANS_SHARES",),
    "total_value": ("TRANS_TOTAL_VALUE",),
    "price_per_share": ("TRANS_PRICEPERSHARE",),
    "acquired_disposed": ("TRANS_ACQUIRED_DISP_CD",),
    # Misspelt in DERIV_TRANS, spelt right in DERIV_HOLDING.
    "exercise_date": ("EXCERCISE_DATE", "EXERCISE_DATE"),
    "expiration_date": ("EXPIRATION_DATE",),
    "underlying_title": ("UNDLYNG_SEC_TITLE",),
    "underlying_shares": ("UNDLYNG_SEC_SHARES",),
    "underlying_value": ("UNDLYNG_SEC_VALUE",),
    "shares_owned_following": ("SHRS_OWND_FOLWNG_TRANS",),
    "value_owned_following": ("VALU_OWND_FOLWNG_TRANS",),
    "direct_indirect": ("DIRECT_INDIRECT_OWNERSHIP",),
    "nature_of_ownership": ("NATURE_OF_OWNERSHIP",),
}
"""Record field -> column of the data set, in its spellings."""
_DATES = {"transaction_date", "deemed_execution_date", "exercise_date", "expiration_date"}
_NUMBERS = {
    "conversion_or_exercise_price",
    "shares",
    "total_value",
    "price_per_share",
    "underlying_shares",
    "underlying_value",
    "shares_owned_following",
    "value_owned_following",
}
ROW_TABLES: tuple[tuple[str, FormTable, type[Holding], str], ...] = (
    ("NONDERIV_TRANS", "nonderivative", Transaction, "NONDERIV_TRANS_SK"),
    ("NONDERIV_HOLDING", "nonderivative", Holding, "NONDERIV_HOLDING_SK"),
    ("DERIV_TRANS", "derivative", Transaction, "DERIV_TRANS_SK"),
    ("DERIV_HOLDING", "derivative", Holding, "DERIV_HOLDING_SK"),
)
TABLE_NAMES = ("SUBMISSION", "REPORTINGOWNER", "FOOTNOTES", "OWNER_SIGNATURE", *(name for name, *_ in ROW_TABLES))


class MalformedDataSet(ValueError):
    """The archive is no insider transactions data set."""


def read_data_set(content: bytes, origin: str) -> Iterator[Filed]:
    """The filings of a quarter's data set, by filing date and accession.

    Rows are numbered by the set's own row keys, transactions before holdings: the set does not say how the form mixed
    them. Raises `MalformedDataSet` where a table or a column that identifies its rows is missing.
    """
    tables = {name: _table(content, name) for name in TABLE_NAMES}
    digest = hashlib.sha256(content).hexdigest()
    owners = _grouped(tables["REPORTINGOWNER"], _owner)
    notes = _grouped(tables["FOOTNOTES"], _footnote)
    signatures = _grouped(tables["OWNER_SIGNATURE"], _signature)
    transactions, holdings = _rows(tables)
    for row in tables["SUBMISSION"].iter_rows(named=True):
        accession, filed = row["ACCESSION_NUMBER"], _date(row["FILING_DATE"])
        if filed is None or row["DOCUMENT_TYPE"] not in FORM_TYPES or not owners.get(accession):
            raise MalformedDataSet(f"submission {accession} has no filing date, form or owner")
        document = OwnershipDocument(
            form_type=row["DOCUMENT_TYPE"],
            issuer_cik=row["ISSUERCIK"].zfill(10),
            issuer_name=row["ISSUERNAME"],
            issuer_symbol=row["ISSUERTRADINGSYMBOL"],
            owners=tuple(owners[accession]),
            period_of_report=_date(row["PERIOD_OF_REPORT"]),
            date_of_original_submission=_date(row["DATE_OF_ORIG_SUB"]),
            not_subject_to_section16=_flag(row["NOT_SUBJECT_SEC16"]),
            no_securities_owned=_flag(row["NO_SECURITIES_OWNED"]),
            form3_holdings_reported=_flag(row["FORM3_HOLDINGS_REPORTED"]),
            form4_transactions_reported=_flag(row["FORM4_TRANS_REPORTED"]),
            aff10b5_one=_flag(row.get("AFF10B5ONE")),
            transactions=tuple(transactions.get(accession, ())),
            holdings=tuple(holdings.get(accession, ())),
            footnotes=tuple(notes.get(accession, ())),
            remarks=row["REMARKS"],
            signatures=tuple(signatures.get(accession, ())),
        )
        accepted_at = datetime(filed.year, filed.month, filed.day, _LATEST_HOUR, tzinfo=NEW_YORK).astimezone(UTC)
        yield Filed(accession, accepted_at, document, digest, origin, "bulk")


def _table(content: bytes, name: str) -> pl.DataFrame:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            member = archive.getinfo(f"{name}.tsv")
            # Only this name is read, into memory: nothing of the archive's own paths is used.
            if member.file_size > MAX_TABLE_BYTES:
                raise MalformedDataSet(f"{name}.tsv would take {member.file_size:,} bytes")
            text = archive.read(member)
    except (zipfile.BadZipFile, KeyError) as error:
        raise MalformedDataSet(f"no readable {name}.tsv in the archive: {error}") from error
    frame = pl.read_csv(text, separator="\t", infer_schema=False, quote_char=None, truncate_ragged_lines=True)
    if "ACCESSION_NUMBER" not in frame.columns:
        raise MalformedDataSet(f"{name}.tsv has no ACCESSION_NUMBER; it has {frame.columns[:5]}")
    cleaned = frame.with_columns(pl.all().str.strip_chars().replace("", None))
    order = [column for column in cleaned.columns if column.endswith("_SK")]
    by = [pl.col("ACCESSION_NUMBER"), *(pl.col(column).cast(pl.Int64) for column in order)]
    return cleaned.sort(by, maintain_order=True)


def _grouped(frame: pl.DataFrame, make: Any) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = defaultdict(list)
    for row in frame.iter_rows(named=True):
        found[row["ACCESSION_NUMBER"]].append(make(row))
    return found


def _rows(tables: Mapping[str, pl.DataFrame]) -> tuple[dict[str, list[Transaction]], dict[str, list[Holding]]]:
    transactions: dict[str, list[Transaction]] = defaultdict(list)
    holdings: dict[str, list[Holding]] = defaultdict(list)
    numbers: dict[tuple[str, str], int] = defaultdict(int)
    for name, form_table, record, _ in ROW_TABLES:
        columns = _columns_of(tables[name], record)
        for row in tables[name].iter_rows(named=True):
            accession = row["ACCESSION_NUMBER"]
            numbers[accession, form_table] += 1
            made = record(
                form_table=form_table,
                row_number=numbers[accession, form_table],
                footnotes=tuple(_links(row, columns)),
                **{field: _value(field, row[column]) for field, column in columns.items()},
            )
            if isinstance(made, Transaction):
                transactions[accession].append(made)
            else:
                holdings[accession].append(made)
    return transactions, holdings


def _columns_of(frame: pl.DataFrame, record: type[Holding]) -> dict[str, str]:
    """Field of `record` -> the column that holds it in this table of this quarter."""
    found: dict[str, str] = {}
    for field, names in ROW_COLUMNS.items():
        column = next((name for name in names if name in frame.columns), None)
        if column and field in record.__struct_fields__:
            found[field] = column
    return dict(sorted(found.items()))


def _links(row: Mapping[str, str | None], columns: Mapping[str, str]) -> Iterator[FootnoteLink]:
    for field, column in columns.items():
        for note in (row.get(f"{column}_FN") or "").split(","):
            if note.strip():
                yield FootnoteLink(field, note.strip())


def _value(field: str, text: str | None) -> Any:
    if text is None:
        return None
    if field in _DATES:
        return _date(text)
    if field in _NUMBERS:
        return float(text)
    return _flag(text) if field == "equity_swap" else text


def _owner(row: Mapping[str, str | None]) -> Owner:
    relations = {part.strip().upper() for part in (row["RPTOWNER_RELATIONSHIP"] or "").split(",")}
    return Owner(
        owner_cik=(row["RPTOWNERCIK"] or "").zfill(10),
        owner_name=row["RPTOWNERNAME"],
        street1=row["RPTOWNER_STREET1"],
        street2=row["RPTOWNER_STREET2"],
        city=row["RPTOWNER_CITY"],
        state=row["RPTOWNER_STATE"],
        zip_code=row["RPTOWNER_ZIPCODE"],
        state_description=row["RPTOWNER_STATE_DESC"],
        is_director="DIRECTOR" in relations,
        is_officer="OFFICER" in relations,
        is_ten_percent_owner="TENPERCENTOWNER" in relations,
        is_other="OTHER" in relations,
        officer_title=row["RPTOWNER_TITLE"],
        other_text=row["RPTOWNER_TXT"],
    )


def _footnote(row: Mapping[str, str | None]) -> Footnote:
    return Footnote(row["FOOTNOTE_ID"] or "", row["FOOTNOTE_TXT"] or "")


def _signature(row: Mapping[str, str | None]) -> Signature:
    return Signature(row["OWNERSIGNATURENAME"], _date(row["OWNERSIGNATUREDATE"]))


def _date(text: str | None) -> date | None:
    """'15-MAY-2023'; impossible dates, of which old sets have some, are null."""
    if text is None:
        return None
    try:
        return datetime.strptime(text.title(), "%d-%b-%Y").date()
    except ValueError:
        return None


def _flag(text: str | None) -> bool | None:
    return None if text is None else text.lower() in {"1", "true", "y", "yes"}
