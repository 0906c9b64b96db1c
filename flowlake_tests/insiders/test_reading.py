"""Symbols, roles, plans, classes, submissions and tables."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

import msgspec
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowlake.insiders import symbols
from flowlake.insiders.classify import CLASSES, transaction_class
from flowlake.insiders.edgar_index import parse_company_tickers
from flowlake.insiders.ownership import Footnote, FootnoteLink, Holding, OwnershipDocument, Transaction, parse
from flowlake.insiders.plans import FilingPlans, adoption_date, names_plan
from flowlake.insiders.render import to_submission, to_xml
from flowlake.insiders.roles import ROLES
from flowlake.insiders.submission import MalformedSubmission, new_york_time, ownership_xml, read_submission
from flowlake.insiders.tables import FILING_TABLES, Filed, Refused, by_filing_date, merge, read, to_frames
from flowlake.schemas import table
from flowlake_tests.insiders.builders import (
    ACCEPTED,
    TICKERS,
    document,
    documents,
    filed,
    frames,
    owner,
    purchase,
    sale,
)

# Symbols.


def symbols_in(text: str | None) -> list[str]:
    return pl.select(symbols.candidates(pl.lit(text, pl.String)).alias("found"))["found"].to_list()[0]


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        ("AAPL", ["AAPL"]),
        ("brk/b", ["BRK.B"]),
        ("BRK-B", ["BRK.B"]),
        ("BRK.A", ["BRK.A"]),
        ("NYSE: X", ["X"]),
        ("(NYSE:X)", ["X"]),
        ("Nasdaq GS: ABCD", ["ABCD"]),
        (" aapl ", ["AAPL"]),
        ("GOOG, GOOGL", ["GOOG", "GOOGL"]),
        ("GOOG/GOOGL", ["GOOG", "GOOGL"]),
        ("BRK.A and BRK.B", ["BRK.A", "BRK.B"]),
        ('"ACME"', ["ACME"]),
        ("(N/A)", []),
        ("n/a", []),
        ("NONE", []),
        ("--", []),
        ("2330.TW", []),
        ("", []),
        (None, []),
    ],
)
def test_symbols_as_people_type_them(typed, found):
    assert symbols_in(typed) == found


@given(st.text(max_size=40))
def test_whatever_is_typed_only_symbols_come_out(typed):
    assert all(part.isascii() and part.replace(".", "").isupper() for part in symbols_in(typed))


def resolved(cik: str, typed: str | None) -> tuple[str | None, str]:
    filings = pl.DataFrame(
        {"issuer_cik": [cik], "issuer_symbol": [typed]}, schema={"issuer_cik": pl.String, "issuer_symbol": pl.String}
    )
    return symbols.resolve(filings, TICKERS).select("ticker", "ticker_quality").row(0)


@pytest.mark.parametrize(
    ("cik", "typed", "expected"),
    [
        ("0000000101", "ACME", ("ACME", "confirmed")),
        ("0000000101", "OLD", ("OLD", "renamed")),
        ("0000000999", "GONE", ("GONE", "unmapped")),
        ("0000000101", "N/A", ("ACME", "from_map")),
        ("0000000999", None, (None, "none")),
        ("0000000101", "ACME-PD, ACME", ("ACME", "confirmed")),
        ("0000000202", "ZED/B", ("ZED.B", "confirmed")),
    ],
)
def test_a_ticker_is_the_filing_s_own_symbol_and_else_the_first_of_the_map(cik, typed, expected):
    assert resolved(cik, typed) == expected


# Roles.


@pytest.mark.parametrize(
    ("title", "role"),
    [
        ("Chief Executive Officer", "ceo"),
        ("President & CEO", "ceo"),
        ("CEO, President", "ceo"),
        ("Principal Executive Officer", "ceo"),
        ("CEO Web Services", "chief_officer"),
        ("Former CEO", "officer"),
        ("EVP & CFO", "cfo"),
        ("COO", "coo"),
        ("Executive Vice President", "vice_president"),
        ("SVP, Operations", "vice_president"),
        ("President", "president"),
        ("Executive Chairman", "chair"),
        ("SVP, GC and Secretary", "general_counsel"),
        ("Chief Accounting Officer", "chief_officer"),
        ("Controller", "officer"),
        (None, "officer"),
    ],
)
def test_titles_become_roles(title, role):
    who = owner(is_officer=True, officer_title=title)
    assert frames(filed(1, document(owners=(who,))))["insider_owners"]["role"].to_list() == [role]


def test_a_title_that_points_to_the_remarks_is_read_there():
    who = owner(is_officer=True, officer_title="See Remarks")
    tables = frames(filed(1, document(owners=(who,), remarks="Chief Financial Officer")))
    assert tables["insider_owners"]["role"].to_list() == ["cfo"]


def test_boxes_decide_where_there_is_no_title():
    who = (owner(1), owner(2, is_director=False, is_ten_percent_owner=True), owner(3, is_director=False))
    assert frames(filed(1, document(owners=who)))["insider_owners"]["role"].to_list() == [
        "director",
        "ten_percent_owner",
        "other",
    ]


@given(st.text(max_size=60), st.booleans())
@settings(max_examples=50)
def test_any_title_has_a_known_role(title, is_officer):
    who = owner(is_officer=is_officer, officer_title=title)
    assert frames(filed(1, document(owners=(who,))))["insider_owners"]["role"][0] in ROLES


# Plans.


@pytest.mark.parametrize(
    "text",
    [
        "Sold pursuant to a Rule 10b5-1 trading plan.",
        "under a 10b5‑1 plan",
        "a 10b-5-1 plan",
        "10B51 plan",
        "a 10b5 plan",
    ],
)
def test_spellings_of_the_rule_are_recognised(text):
    assert names_plan(text)


@pytest.mark.parametrize(
    "text",
    [
        "Rule 10b-5 of the Act",
        "These sales were not made pursuant to a Rule 10b5-1 plan.",
        "10b5-10",
        None,
        "",
    ],
)
def test_other_rules_and_denials_are_not_plans(text):
    assert not names_plan(text)


@pytest.mark.parametrize(
    ("text", "day"),
    [
        ("plan adopted by the reporting person on February 7, 2025.", date(2025, 2, 7)),
        ("plan adopted on 11/10/2025", date(2025, 11, 10)),
        ("trading plan dated March 13, 2025", date(2025, 3, 13)),
        ("plan adopted by the holder.", None),
        ("adopted on February 31, 2025", None),
    ],
)
def test_the_adoption_date_is_read(text, day):
    assert adoption_date(text) == day


PLAN = Footnote("F1", "Sold under a Rule 10b5-1 plan adopted on February 7, 2025.")
MARKED = (FootnoteLink("code", "F1"),)


def test_a_footnote_speaks_for_the_rows_it_hangs_on():
    plans = FilingPlans(read_ := document(sale(footnotes=MARKED), sale(2), footnotes=(PLAN,), aff10b5_one=True))
    assert [plans.row(row).source for row in read_.transactions] == ["footnote", None]


def test_an_unticked_box_does_not_silence_a_footnote():
    plans = FilingPlans(document(sale(footnotes=MARKED), footnotes=(PLAN,), aff10b5_one=False))
    assert plans.filing == (True, "footnote", date(2025, 2, 7))


def test_a_ticked_box_alone_speaks_for_every_row():
    plans = FilingPlans(read_ := document(sale(), aff10b5_one=True))
    assert plans.row(read_.transactions[0]).source == "box"


def test_remarks_speak_for_every_row():
    plans = FilingPlans(read_ := document(sale(), remarks="Made under a 10b5-1 plan"))
    assert plans.row(read_.transactions[0]).source == "remarks"


# Classes.


def class_of(**changes: object) -> str:
    values = {"code": "P", "acquired_disposed": "A", "plan_10b5_1": False, "form_table": "nonderivative"}
    types = {"equity_swap": pl.Boolean, "code": pl.String}
    row = pl.DataFrame([values | {"equity_swap": None} | changes], schema_overrides=types)
    return row.select(transaction_class()).item()


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "open_market_purchase"),
        ({"plan_10b5_1": True}, "planned_purchase"),
        ({"code": "S", "acquired_disposed": "D"}, "open_market_sale"),
        ({"code": "S", "acquired_disposed": "D", "plan_10b5_1": True}, "planned_sale"),
        ({"acquired_disposed": "D"}, "inconsistent"),
        ({"code": "S"}, "inconsistent"),
        ({"form_table": "derivative"}, "derivative_trade"),
        ({"equity_swap": True}, "derivative_trade"),
        ({"code": "M"}, "exercise"),
        ({"code": "F", "acquired_disposed": "D"}, "tax_withholding"),
        ({"code": "G", "acquired_disposed": "D"}, "gift"),
        ({"code": "A"}, "award"),
        ({"code": "J"}, "other"),
        ({"code": None}, "other"),
    ],
)
def test_a_row_has_one_class(changes, expected):
    assert class_of(**changes) == expected


@given(documents())
@settings(max_examples=40, deadline=None)
def test_any_document_fills_the_tables_and_every_class_is_known(filing):
    tables = frames(filed(1, filing))
    assert set(tables["insider_transactions"]["transaction_class"]) <= set(CLASSES)
    assert tables["insider_transactions"].height == len(filing.transactions)
    assert tables["insider_holdings"].height == len(filing.holdings)


# Tables.


def rebuilt(tables: dict[str, pl.DataFrame]) -> OwnershipDocument:
    """The document that the rows of one filing describe."""
    filing = tables["insider_filings"].row(0, named=True)
    names = set(OwnershipDocument.__struct_fields__) & filing.keys() - {"transactions", "holdings"}
    parts = {
        "transactions": (tables["insider_transactions"], Transaction),
        "holdings": (tables["insider_holdings"], Holding),
        "owners": (tables["insider_owners"].sort("position"), None),
        "footnotes": (tables["insider_footnotes"].sort("position"), Footnote),
    }
    from flowlake.insiders.ownership import Owner

    values = {name: filing[name] for name in names} | {"recovered": filing["quality"] == "recovered"}
    for name, (frame, record) in parts.items():
        kind = record or Owner
        rows = frame.select(kind.__struct_fields__).to_dicts()
        values[name] = [msgspec.to_builtins(row, builtin_types=(date,)) for row in rows]
    return msgspec.convert(values, OwnershipDocument, strict=False, builtin_types=(date,))


def _by_table(filing: OwnershipDocument) -> OwnershipDocument:
    order = {"derivative": 0, "nonderivative": 1}
    return msgspec.structs.replace(
        filing,
        transactions=tuple(sorted(filing.transactions, key=lambda row: (order[row.form_table], row.row_number))),
        holdings=tuple(sorted(filing.holdings, key=lambda row: (order[row.form_table], row.row_number))),
    )


@given(documents())
@settings(max_examples=40, deadline=None)
def test_the_rows_of_a_document_hold_all_of_it(filing):
    assert rebuilt(frames(filed(1, filing))) == _by_table(filing)
    assert parse(to_xml(rebuilt(frames(filed(1, filing))))) == filing


@pytest.mark.real_data
def test_the_rows_of_every_real_document_hold_all_of_it(shared_data: Path):
    for path in sorted((shared_data / "sec/ownership_xml").glob("*.xml"))[::8]:
        filing = parse(path.read_bytes())
        assert rebuilt(frames(filed(1, filing))) == _by_table(filing), path.name


def test_the_order_of_the_tables_in_a_document_plays_no_part():
    content = to_xml(document(purchase(), Transaction(form_table="derivative", row_number=1, code="M")))
    start, derivative = content.index(b"<nonDerivativeTable>"), content.index(b"<derivativeTable>")
    end = content.index(b"</derivativeTable>") + len(b"</derivativeTable>\n")
    swapped = content[:start] + content[derivative:end] + content[start:derivative] + content[end:]
    one, other = (frames(filed(1, parse(each))) for each in (content, swapped))
    assert all(one[name].equals(other[name]) for name in FILING_TABLES)


def test_values_are_counted_once_however_many_owners_a_filing_has():
    tables = frames(filed(1, document(purchase(), owners=tuple(owner(n) for n in range(1, 9)))))
    assert (tables["insider_transactions"].height, tables["insider_owners"].height) == (1, 8)


def test_what_was_filed_is_available_from_its_acceptance_and_not_from_its_trade():
    tables = frames(filed(1, document(purchase(transaction_date=date(2020, 1, 2)))))
    for name in ("insider_filings", "insider_owners", "insider_transactions"):
        assert tables[name]["available_at"].to_list() == [ACCEPTED], name


def test_partitions_are_new_york_dates_of_the_acceptance():
    late = datetime(2026, 3, 5, 2, 30, tzinfo=UTC)
    assert list(by_filing_date(frames(filed(1, document(purchase()), late)))) == [date(2026, 3, 4)]


def test_merging_the_same_filings_again_changes_nothing():
    tables = frames(*(filed(n, document(purchase())) for n in (1, 2, 3)))
    merged = merge(merge({}, tables), frames(filed(2, document(purchase()))))
    assert all(merged[name].equals(tables[name]) for name in FILING_TABLES)


def test_a_filing_that_could_be_read_later_leaves_the_quarantine():
    refused = Refused("0000000101-26-000001", "4", ACCEPTED, "html", "a page", "x", "simulated")
    merged = merge(merge({}, to_frames([refused], TICKERS)), frames(filed(1, document(purchase()))))
    assert (merged["insider_quarantine"].height, merged["insider_filings"].height) == (0, 1)


def test_no_filings_are_empty_tables_of_the_declared_columns():
    for name, frame in to_frames([], TICKERS).items():
        assert frame.schema == table(name).schema


# Submissions.

SUBMISSION = to_submission(
    to_xml(document(purchase())),
    accession="0000000101-26-000001",
    form_type="4",
    accepted_at=ACCEPTED,
    period=date(2026, 3, 3),
)


def test_the_acceptance_time_of_the_header_is_new_york_time():
    assert new_york_time("20260304170500") == ACCEPTED
    assert new_york_time("20260704170500") == datetime(2026, 7, 4, 21, 5, tzinfo=UTC)


def test_in_the_hour_that_the_clock_repeats_nothing_is_known_early():
    assert new_york_time("20261101013000") == datetime(2026, 11, 1, 6, 30, tzinfo=UTC)


def test_a_submission_is_read_with_what_its_header_says():
    found = read(SUBMISSION, "simulated")
    assert isinstance(found, Filed)
    assert (found.accession, found.accepted_at) == ("0000000101-26-000001", ACCEPTED)


def test_a_submission_without_xml_is_refused_and_not_lost():
    found = read(SUBMISSION[: SUBMISSION.index(b"<XML>")], "simulated")
    assert isinstance(found, Refused)
    assert (found.reason, found.accepted_at) == ("empty", ACCEPTED)


@pytest.mark.parametrize("content", [b"", b"<html></html>", b"ACCESSION NUMBER: 1"])
def test_what_is_no_submission_is_no_filing(content):
    with pytest.raises(MalformedSubmission):
        read(content, "simulated")


@pytest.mark.real_data
def test_real_submissions_of_both_flavours_are_read(shared_data: Path):
    accepted = 0
    for path in sorted((shared_data / "sec/full_submission_txt").glob("0*")):
        found = read_submission(path.read_bytes())
        assert found.accession == path.name[:20]
        accepted += found.accepted_at is not None
        assert ownership_xml(path.read_bytes()) == b"" or parse(found.document).problems == ()
    assert accepted == 34


@pytest.mark.real_data
def test_real_documents_resolve_and_their_plans_are_found(shared_data: Path):
    content = (shared_data / "sec/company_tickers/company_tickers.json").read_bytes()
    paths = sorted((shared_data / "sec/ownership_xml").glob("*.xml"))
    filings = [Filed(path.stem, ACCEPTED, parse(path.read_bytes()), "", "recorded") for path in paths]
    found = to_frames(filings, parse_company_tickers(content))["insider_filings"]
    assert found["ticker"].null_count() == 0
    assert found.filter(pl.col("issuer_symbol") == "FB")["ticker_quality"].unique().to_list() == ["renamed"]
    # Six filings whose footnote names a plan while the box is not ticked.
    unticked = found.filter(~pl.col("aff10b5_one") & pl.col("plan_10b5_1"))["issuer_symbol"]
    assert sorted(unticked) == ["AAPL"] * 5 + ["TSLA"]
