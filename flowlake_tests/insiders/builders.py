"""Synthetic ownership documents for tests: an ordinary one to vary, and Hypothesis strategies for all of them."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import polars as pl
from hypothesis import strategies as st

from flowlake.insiders.ownership import (
    FORM_TYPES,
    Footnote,
    FootnoteLink,
    Holding,
    Owner,
    OwnershipDocument,
    Signature,
    Transaction,
)
from flowlake.insiders.symbols import COMPANY_TICKERS
from flowlake.insiders.tables import Filed, Frames, to_frames

ACCEPTED = datetime(2026, 3, 4, 22, 5, tzinfo=UTC)
TICKERS = pl.DataFrame(
    {
        "cik": ["0000000101", "0000000101", "0000000202"],
        "ticker": ["ACME", "ACME.PD", "ZED.B"],
        "name": ["Acme", "Acme", "Zed"],
        "position": [0, 1, 2],
    },
    schema=COMPANY_TICKERS,
)


def owner(cik: int = 9001, **changes: Any) -> Owner:
    return Owner(**{"owner_cik": f"{cik:010d}", "owner_name": f"Owner {cik}", "is_director": True} | changes)


def purchase(row: int = 1, **changes: Any) -> Transaction:
    values: dict[str, Any] = {
        "form_table": "nonderivative",
        "row_number": row,
        "security_title": "Common Stock",
        "transaction_date": date(2026, 3, 3),
        "form_type": "4",
        "code": "P",
        "shares": 1000.0,
        "price_per_share": 20.0,
        "acquired_disposed": "A",
        "shares_owned_following": 5000.0,
        "direct_indirect": "D",
    }
    return Transaction(**values | changes)


def sale(row: int = 1, **changes: Any) -> Transaction:
    return purchase(row, **{"code": "S", "acquired_disposed": "D"} | changes)


def document(*rows: Transaction, **changes: Any) -> OwnershipDocument:
    values: dict[str, Any] = {
        "form_type": "4",
        "schema_version": "X0609",
        "period_of_report": date(2026, 3, 3),
        "issuer_cik": "0000000101",
        "issuer_name": "Acme Corp",
        "issuer_symbol": "ACME",
        "owners": (owner(),),
        "transactions": rows,
        "signatures": (Signature("/s/ Owner", date(2026, 3, 4)),),
    }
    return OwnershipDocument(**values | changes)


def filed(number: int, filing: OwnershipDocument, accepted_at: datetime = ACCEPTED) -> Filed:
    return Filed(f"0000000101-26-{number:06d}", accepted_at, filing, f"sha{number}", "simulated")


def frames(*filings: Filed) -> Frames:
    return to_frames(filings, TICKERS)


_XML_CHARACTERS = st.characters(
    codec="utf-8", exclude_categories=("Cs", "Cc"), exclude_characters="\ufffe\uffff\u0085\u2028"
)
texts = st.text(_XML_CHARACTERS, min_size=1, max_size=30).map(str.strip).filter(bool)
optional_texts = st.none() | texts
dates = st.dates(date(1990, 1, 1), date(2035, 12, 31))
numbers = st.none() | st.floats(0, 1e12, allow_nan=False) | st.integers(0, 10**9).map(float)
flags = st.none() | st.booleans()
ciks = st.integers(1, 10**10 - 1).map(lambda n: f"{n:010d}")
note_ids = st.sampled_from(["F1", "F2", "F3"])
codes = st.none() | st.sampled_from(list("PSMFAGCJDXEHILWZUKO"))

_HOLDING_VALUES: dict[str, st.SearchStrategy[Any]] = {
    "security_title": optional_texts,
    "conversion_or_exercise_price": numbers,
    "form_type": st.sampled_from([None, "3", "4", "5"]),
    "exercise_date": st.none() | dates,
    "expiration_date": st.none() | dates,
    "underlying_title": optional_texts,
    "underlying_shares": numbers,
    "underlying_value": numbers,
    "shares_owned_following": numbers,
    "value_owned_following": numbers,
    "direct_indirect": st.sampled_from([None, "D", "I"]),
    "nature_of_ownership": optional_texts,
}
_TRANSACTION_VALUES: dict[str, st.SearchStrategy[Any]] = {
    "transaction_date": st.none() | dates,
    "deemed_execution_date": st.none() | dates,
    "code": codes,
    "equity_swap": flags,
    "timeliness": st.sampled_from([None, "E", "L"]),
    "shares": numbers,
    "total_value": numbers,
    "price_per_share": numbers,
    "acquired_disposed": st.sampled_from([None, "A", "D"]),
}


@st.composite
def _rows(draw: st.DrawFn) -> tuple[tuple[Transaction, ...], tuple[Holding, ...]]:
    transactions: list[Transaction] = []
    holdings: list[Holding] = []
    for form_table in ("nonderivative", "derivative"):
        for number in range(1, draw(st.integers(0, 3)) + 1):
            is_transaction = draw(st.booleans())
            fields = _HOLDING_VALUES | (_TRANSACTION_VALUES if is_transaction else {})
            values = {name: draw(strategy) for name, strategy in fields.items()}
            linkable = sorted(fields.keys() - ({"form_type", "equity_swap"} if is_transaction else {"form_type"}))
            links = draw(st.lists(st.builds(FootnoteLink, field=st.sampled_from(linkable), id=note_ids), max_size=3))
            values |= {"form_table": form_table, "row_number": number}
            values["footnotes"] = tuple(sorted(links, key=lambda link: link.field))
            if is_transaction:
                transactions.append(Transaction(**values))
            else:
                holdings.append(Holding(**values))
    return tuple(transactions), tuple(holdings)


owners = st.builds(
    Owner,
    owner_cik=ciks,
    owner_name=optional_texts,
    street1=optional_texts,
    state=optional_texts,
    country=optional_texts,
    non_us_address=flags,
    is_director=st.booleans(),
    is_officer=st.booleans(),
    is_ten_percent_owner=st.booleans(),
    is_other=st.booleans(),
    officer_title=optional_texts,
    other_text=optional_texts,
)


@st.composite
def documents(draw: st.DrawFn) -> OwnershipDocument:
    """Any document the schema allows, and some it does not."""
    transactions, holdings = draw(_rows())
    return OwnershipDocument(
        form_type=draw(st.sampled_from(sorted(FORM_TYPES))),
        issuer_cik=draw(ciks),
        owners=tuple(draw(st.lists(owners, min_size=1, max_size=3))),
        schema_version=draw(st.sampled_from(["X0101", "X0306", "X0609"])),
        period_of_report=draw(st.none() | dates),
        date_of_original_submission=draw(st.none() | dates),
        not_subject_to_section16=draw(flags),
        no_securities_owned=draw(flags),
        form3_holdings_reported=draw(flags),
        form4_transactions_reported=draw(flags),
        aff10b5_one=draw(flags),
        issuer_name=draw(optional_texts),
        issuer_symbol=draw(optional_texts),
        issuer_foreign_symbols=tuple(draw(st.lists(texts, max_size=2))),
        transactions=transactions,
        holdings=holdings,
        footnotes=tuple(draw(st.lists(st.builds(Footnote, footnote_id=note_ids, text=texts), max_size=3))),
        remarks=draw(optional_texts),
        signatures=tuple(draw(st.lists(st.builds(Signature, name=optional_texts, signed_on=st.none() | dates)))),
    )
