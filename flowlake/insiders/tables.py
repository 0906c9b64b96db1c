"""Ownership documents to the lake's tables, and merging what arrives into what is there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import msgspec
import polars as pl

from flowlake.calendar import NEW_YORK
from flowlake.insiders import symbols
from flowlake.insiders.classify import transaction_class
from flowlake.insiders.ownership import OwnershipDocument, Refusal, RefusedDocument, parse
from flowlake.insiders.plans import FilingPlans
from flowlake.insiders.roles import role
from flowlake.insiders.submission import read_submission, require_accepted
from flowlake.schemas import UTC_TIME, Table, table

FILING_TABLES = (
    "insider_filings",
    "insider_owners",
    "insider_transactions",
    "insider_holdings",
    "insider_footnotes",
    "insider_quarantine",
)
"""The tables one submission fills."""

Frames = dict[str, pl.DataFrame]


@dataclass(frozen=True)
class Filed:
    """A document with what EDGAR says about it; `accepted_at` is an aware datetime."""

    accession: str
    accepted_at: datetime
    document: OwnershipDocument
    sha256: str
    origin: str
    source: str = "submission"


@dataclass(frozen=True)
class Refused:
    """A submission that holds no readable ownership document."""

    accession: str
    form_type: str | None
    accepted_at: datetime
    reason: Refusal
    detail: str
    sha256: str
    origin: str


def read(content: bytes, origin: str) -> Filed | Refused:
    """The filing in a full submission, or why it was refused.

    Raises `MalformedSubmission` where the content is no EDGAR submission at all (that is an answer of the server, not a
    filing), and `RefusedDocument` where it has no acceptance time, because it could not be dated.
    """
    submission = read_submission(content)
    accepted_at = require_accepted(submission)
    try:
        document = parse(submission.document)
    except RefusedDocument as refusal:
        return Refused(
            submission.accession,
            submission.form_type,
            accepted_at,
            refusal.reason,
            refusal.detail,
            submission.sha256,
            origin,
        )
    return Filed(submission.accession, accepted_at, document, submission.sha256, origin)


def filed_on(accepted_at: datetime) -> date:
    """The partition of a filing: the New York date of its acceptance."""
    return accepted_at.astimezone(NEW_YORK).date()


def to_frames(filings: Iterable[Filed | Refused], tickers: pl.DataFrame) -> Frames:
    """All tables of `FILING_TABLES`; `tickers` is the SEC's map (`flowlake.insiders.symbols.COMPANY_TICKERS`)."""
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in FILING_TABLES}
    for filing in filings:
        if isinstance(filing, Refused):
            rows["insider_quarantine"].append(_refused_row(filing))
        else:
            _add(filing, rows)
    frames = {name: _frame(name, found) for name, found in rows.items()}
    frames["insider_filings"] = symbols.resolve(frames["insider_filings"], tickers)
    frames["insider_transactions"] = frames["insider_transactions"].with_columns(transaction_class=transaction_class())
    frames["insider_owners"] = with_roles(frames["insider_owners"], frames["insider_filings"])
    return {name: table(name).conform(frame) for name, frame in frames.items()}


def with_roles(owners: pl.DataFrame, filings: pl.DataFrame) -> pl.DataFrame:
    """`owners` with the canonical `role`; a title 'See Remarks' is read in the filing's remarks."""
    remarks = filings.select("accession", _remarks="remarks")
    return (
        owners.join(remarks, on="accession", how="left")
        .with_columns(role=role(pl.col("officer_title"), pl.col("other_text"), pl.col("_remarks")))
        .drop("_remarks")
    )


def merge(existing: Mapping[str, pl.DataFrame], arrived: Mapping[str, pl.DataFrame]) -> Frames:
    """One partition's tables after `arrived` came in: what is there stays, an accession read again is replaced whole.

    Idempotent, and independent of the order of arrival; a refused submission that was later read leaves the quarantine.
    """
    seen = pl.concat(
        [arrived[name]["accession"] for name in ("insider_filings", "insider_quarantine") if name in arrived]
        or [pl.Series("accession", [], pl.String)]
    )
    merged: Frames = {}
    for name in FILING_TABLES:
        declared = table(name)
        kept = existing.get(name, declared.empty()).filter(~pl.col("accession").is_in(seen.implode()))
        merged[name] = declared.conform(pl.concat([kept, arrived.get(name, declared.empty())]))
    return merged


def by_filing_date(frames: Mapping[str, pl.DataFrame]) -> dict[date, Frames]:
    """The tables split into partitions; every partition has every table, empty where it has no rows."""
    days: set[date] = set()
    for frame in frames.values():
        days.update(frame["filed_on"].unique())
    return {
        day: {name: frame.filter(pl.col("filed_on") == day) for name, frame in frames.items()} for day in sorted(days)
    }


def _frame(name: str, rows: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
    declared: Table = table(name)
    frame = pl.DataFrame(rows, schema=declared.schema, orient="row") if rows else declared.empty()
    if "event_time" not in declared.schema:
        return frame
    day = "transaction_date" if "transaction_date" in declared.schema else "period_of_report"
    return frame.with_columns(event_time=start_of_day(pl.col(day)))


def start_of_day(day: pl.Expr) -> pl.Expr:
    """Midnight in New York as UTC."""
    midnight = day.cast(pl.Datetime("us")).dt.replace_time_zone(NEW_YORK.key, non_existent="null", ambiguous="earliest")
    return midnight.dt.convert_time_zone("UTC").cast(UTC_TIME)


def _add(filing: Filed, rows: dict[str, list[dict[str, Any]]]) -> None:
    document = filing.document
    stamp = {
        "filed_on": filed_on(filing.accepted_at),
        "accession": filing.accession,
        "available_at": filing.accepted_at,
        "origin": filing.origin,
    }
    plans = FilingPlans(document)
    rows["insider_filings"].append(_filing_row(filing, plans) | stamp)
    for position, owner in enumerate(document.owners, start=1):
        rows["insider_owners"].append(_plain(owner) | stamp | {"position": position})
    issued = stamp | {"issuer_cik": document.issuer_cik}
    for transaction in document.transactions:
        plan = plans.row(transaction)
        planned = {"plan_10b5_1": plan.is_planned, "plan_source": plan.source}
        rows["insider_transactions"].append(_plain(transaction) | issued | planned)
    for holding in document.holdings:
        rows["insider_holdings"].append(_plain(holding) | issued)
    for position, note in enumerate(document.footnotes, start=1):
        rows["insider_footnotes"].append(_plain(note) | stamp | {"position": position})


def _filing_row(filing: Filed, plans: FilingPlans) -> dict[str, Any]:
    document, plan = filing.document, plans.filing
    values = _plain(document)
    return {name: values[name] for name in _DOCUMENT_COLUMNS} | {
        "is_amendment": document.form_type.endswith("/A"),
        "owner_ciks": sorted({owner.owner_cik for owner in document.owners}),
        "plan_10b5_1": plan.is_planned,
        "plan_source": plan.source,
        "plan_adopted_on": plan.adopted_on,
        "transactions": len(document.transactions),
        "holdings": len(document.holdings),
        "quality": "recovered" if document.recovered else "ok",
        "problems": list(document.problems),
        "source": filing.source,
        "sha256": filing.sha256,
    }


def _refused_row(refused: Refused) -> dict[str, Any]:
    return {
        "filed_on": filed_on(refused.accepted_at),
        "accession": refused.accession,
        "form_type": refused.form_type,
        "reason": refused.reason,
        "detail": refused.detail,
        "sha256": refused.sha256,
        "available_at": refused.accepted_at,
        "origin": refused.origin,
    }


def _plain(record: msgspec.Struct) -> dict[str, Any]:
    return msgspec.to_builtins(record, builtin_types=(date,))


_DOCUMENT_COLUMNS = tuple(
    name
    for name in OwnershipDocument.__struct_fields__
    if name in table("insider_filings").schema and name not in ("transactions", "holdings", "problems")
)
