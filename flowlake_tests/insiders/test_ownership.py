from __future__ import annotations

import builtins
import json
import socket
import time
from collections import Counter
from datetime import date
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowlake.insiders.ownership import FootnoteLink, Holding, OwnershipDocument, RefusedDocument, Transaction, parse
from flowlake.insiders.plans import FilingPlans
from flowlake.insiders.render import to_xml
from flowlake_tests.insiders.builders import document, documents, purchase, sale

ORDINARY = to_xml(document(purchase(), sale(2)))


def _changed(old: bytes, new: bytes, content: bytes = ORDINARY) -> OwnershipDocument:
    assert old in content
    return parse(content.replace(old, new))


def _reason(content: bytes) -> str:
    with pytest.raises(RefusedDocument) as refused:
        parse(content)
    return refused.value.reason


@given(documents())
def test_a_document_survives_being_rendered_and_read_again(original):
    assert parse(to_xml(original)) == original


def test_links_hang_on_the_cell_they_were_found_in():
    notes = (FootnoteLink("code", "F2"), FootnoteLink("price_per_share", "F1"), FootnoteLink("price_per_share", "F3"))
    assert parse(to_xml(document(purchase(footnotes=notes)))).transactions[0].footnotes == notes


def test_holdings_and_transactions_share_the_numbering_of_their_table():
    holding = Holding(form_table="nonderivative", row_number=1, shares_owned_following=7.0)
    read = parse(to_xml(document(purchase(2), holdings=(holding,))))
    assert [row.row_number for row in (*read.holdings, *read.transactions)] == [1, 2]


def test_a_utc_offset_behind_a_date_says_nothing_about_the_day():
    read = _changed(b"<value>2026-03-03</value>", b"<value>2026-03-03-05:00</value>")
    assert {row.transaction_date for row in read.transactions} == {date(2026, 3, 3)}
    assert read.problems == ()


@pytest.mark.parametrize("flag", [b"1", b"true", b"True"])
def test_flags_are_written_as_digits_or_words(flag):
    read = _changed(b"<isDirector>1</isDirector>", b"<isDirector>" + flag + b"</isDirector>")
    assert read.owners[0].is_director


@pytest.mark.parametrize("written", [b"$1,250.50", b"1250.50", b" 1250.5 "])
def test_money_signs_and_commas_do_not_hide_a_number(written):
    read = _changed(b"<value>20</value>", b"<value>" + written + b"</value>")
    assert read.transactions[0].price_per_share == 1250.5


@pytest.mark.parametrize("written", [b"twenty", b"nan", b"inf", b"1e999", b"0x10", b"1_000", b"20 USD"])
def test_what_is_no_number_becomes_null_and_is_reported(written):
    read = _changed(b"<value>20</value>", b"<value>" + written + b"</value>")
    assert read.transactions[0].price_per_share is None
    assert "transactionPricePerShare" in read.problems[0]


def test_an_impossible_date_becomes_null_and_is_reported():
    read = _changed(b"<periodOfReport>2026-03-03<", b"<periodOfReport>2026-02-30<")
    assert read.period_of_report is None
    assert "periodOfReport" in read.problems[0]


def test_a_row_without_coding_is_kept():
    row = msgspec.structs.replace(purchase(), code=None, form_type=None)
    assert parse(to_xml(document(row))).transactions == (row,)


def test_elements_outside_the_schema_are_named():
    assert _changed(b"<issuer>", b"<novelty>1</novelty><issuer>").problems == ("unknown element novelty",)


def test_xml_that_is_not_well_formed_is_recovered_and_flagged():
    read = _changed(b"<nonDerivativeTable>", b"<nonDerivativeTable ativeTable>")
    assert read.recovered
    assert len(read.transactions) == 2


def test_a_namespace_does_not_hide_the_elements():
    assert len(_changed(b"<ownershipDocument>", b'<ownershipDocument xmlns="urn:x">').transactions) == 2


@pytest.mark.parametrize(
    ("reason", "content"),
    [
        ("empty", b""),
        ("empty", b"  \n "),
        ("html", b"<!DOCTYPE html><html><body>SEC FORM 4</body></html>"),
        ("html", b"<html><head><title>SEC.gov | Request Rate Threshold Exceeded</title></head></html>"),
        ("not_xml", b"%PDF-1.7 binary"),
        ("not_ownership", b"<edgarSubmission/>"),
        ("encoding", b'<?xml version="1.0" encoding="EBCDIC-CP-US"?><ownershipDocument/>'),
        ("encoding", b'<?xml version="1.0" encoding="rot13"?><ownershipDocument/>'),
        ("encoding", b"\xff\xfe<\x00a"),
        ("incomplete", b"<ownershipDocument/>"),
        ("incomplete", ORDINARY.replace(b"<documentType>4<", b"<documentType>144<")),
        ("incomplete", ORDINARY.replace(b"<issuerCik>0000000101<", b"<issuerCik>../../etc<")),
        ("incomplete", ORDINARY.replace(b"rptOwnerCik>", b"x>")),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_an_ownership_document_is_refused_with_the_reason(reason, content):
    assert _reason(content) == reason


def test_a_hundred_megabytes_are_refused_unread():
    assert _reason(b"<ownershipDocument>" + bytes(100_000_000)) == "too_large"


_BOMB = b'<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;">]><ownershipDocument>&b;</ownershipDocument>'
_FILE = b'<!DOCTYPE x [<!ENTITY f SYSTEM "file:///etc/passwd">]><ownershipDocument>&f;</ownershipDocument>'
_REMOTE = b'<!DOCTYPE x SYSTEM "http://127.0.0.1:9/x.dtd"><ownershipDocument/>'


@pytest.mark.parametrize("content", [_BOMB, _FILE, _REMOTE, _FILE.decode().encode("utf-16")])
def test_entities_and_document_types_are_refused_before_anything_is_read(content):
    assert _reason(content) == "document_type"


@pytest.mark.parametrize("depth", [10_000, 400_000])
def test_deep_nesting_neither_crashes_nor_hangs(depth):
    nested = b"<a>" * depth + b"</a>" * depth
    assert len(_changed(b"<issuer>", nested + b"<issuer>").transactions) == 2


def test_windows_characters_in_a_document_that_claims_utf8_are_read():
    assert _changed(b"Acme Corp", b"Acm\xe9 Corp").issuer_name == "Acmé Corp"


@pytest.fixture
def closed_world(monkeypatch):
    """Any file opened or socket made while parsing fails the test."""

    def refuse(*_: Any, **__: Any):
        raise AssertionError("the parser reached outside")

    def arm() -> None:
        monkeypatch.setattr(builtins, "open", refuse)
        monkeypatch.setattr(socket, "socket", refuse)
        monkeypatch.setattr(socket, "getaddrinfo", refuse)

    parse(ORDINARY.replace(b"<nonDerivativeTable>", b"<nonDerivativeTable ativeTable>"))
    yield arm
    monkeypatch.undo()


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """An ordinary document with bytes cut, copied, swapped or overwritten."""
    content = bytearray(draw(st.sampled_from([ORDINARY, to_xml(draw(documents()))])))
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, max(0, len(content) - 1)))
        upto = min(len(content), at + draw(st.integers(0, 40)))
        replacement = draw(
            st.sampled_from([b"", b"<", b">", b"&", b"&x;", b"\x00", b"\xff", b"<![CDATA[", b"]]>", b"<!--", b"<?x"])
            | st.binary(max_size=8)
            | st.just(bytes(content[at:upto]) * 2)
        )
        content[at:upto] = replacement
    return bytes(content)


@given(content=mutated())
@settings(max_examples=300, deadline=None)
def test_mutated_xml_gives_a_record_or_a_refusal_and_nothing_else(content):
    try:
        read = parse(content)
    except RefusedDocument as refusal:
        assert refusal.detail
    else:
        assert read.owners


def test_mutated_xml_never_opens_a_file_or_a_socket(closed_world):
    contents = [ORDINARY[:cut] + b"&x;<" + ORDINARY[cut:] for cut in range(0, len(ORDINARY), 37)]
    closed_world()
    outcomes = Counter()
    for content in contents:
        try:
            outcomes["read"] += bool(parse(content).owners)
        except RefusedDocument:
            outcomes["refused"] += 1
    assert outcomes["read"] > 0


# Real documents.


@pytest.fixture(scope="module")
def corpus(shared_data: Path) -> dict[str, OwnershipDocument]:
    """Every real document, by file name."""
    return {path.name: parse(path.read_bytes()) for path in sorted((shared_data / "sec/ownership_xml").glob("*.xml"))}


@pytest.fixture(scope="module")
def facts(shared_data: Path) -> list[dict[str, Any]]:
    return json.loads((shared_data / "sec/expected.json").read_text())["facts"]


@pytest.mark.real_data
def test_every_real_document_is_read_without_a_problem(corpus):
    assert len(corpus) == 524
    assert [name for name, read in corpus.items() if read.problems or read.recovered] == []


@pytest.mark.real_data
def test_real_documents_survive_being_rendered_and_read_again(corpus):
    assert [name for name, read in corpus.items() if parse(to_xml(read)) != read] == []


@pytest.mark.real_data
def test_real_documents_agree_with_the_index_of_the_corpus(corpus, shared_data):
    for entry in json.loads((shared_data / "sec/ownership_xml/INDEX.json").read_text()):
        read = corpus[entry["file"]]
        counts = Counter((row.form_table, isinstance(row, Transaction)) for row in (*read.transactions, *read.holdings))
        assert {
            "schema": read.schema_version,
            "form": read.form_type,
            "period": str(read.period_of_report),
            "issuer_cik": read.issuer_cik,
            "ticker": read.issuer_symbol,
            "owners": len(read.owners),
            "nd_t": counts["nonderivative", True],
            "nd_h": counts["nonderivative", False],
            "d_t": counts["derivative", True],
            "d_h": counts["derivative", False],
            "footnotes": len(read.footnotes),
            "codes": sorted({row.code for row in read.transactions if row.code}),
        } == {
            "schema": entry["schema"],
            "form": entry["form"],
            "period": entry["period"][:10],
            "issuer_cik": entry["issuer_cik"],
            "ticker": entry["ticker"],
            **{key: entry[key] for key in ("owners", "nd_t", "nd_h", "d_t", "d_h", "footnotes")},
            "codes": sorted(entry["codes"]),
        }, entry["file"]


@pytest.mark.slow
@pytest.mark.real_data
def test_twenty_thousand_mutants_of_real_documents_are_read_or_refused(shared_data):
    rng = np.random.default_rng(20260304)
    seeds = [path.read_bytes() for path in sorted((shared_data / "sec/ownership_xml").glob("*.xml"))]
    scraps = [
        b"",
        b"<",
        b">",
        b"&",
        b"&x;",
        b"\x00",
        b"\xff\xfe",
        b"<![CDATA[",
        b"]]>",
        b"<!--",
        b"</value>",
        b"<a>" * 50,
    ]
    outcomes: Counter[str] = Counter()
    slowest = 0.0
    for number in range(20_000):
        content = bytearray(seeds[number % len(seeds)])
        for _ in range(int(rng.integers(1, 8))):
            at = int(rng.integers(len(content)))
            upto = at + int(rng.integers(0, 60))
            content[at:upto] = scraps[int(rng.integers(len(scraps)))] + bytes(rng.bytes(int(rng.integers(0, 4))))
        started = time.process_time()
        try:
            outcomes["recovered" if parse(bytes(content)).recovered else "read"] += 1
        except RefusedDocument as refusal:
            outcomes[refusal.reason] += 1
        slowest = max(slowest, time.process_time() - started)
    print(dict(outcomes), f"slowest {slowest * 1e3:.0f} ms CPU")
    assert outcomes["recovered"] > 1000
    assert sum(outcomes.values()) == 20_000


def _row_facts(read: OwnershipDocument, row: Transaction) -> dict[str, Any]:
    """A row under the names the oracle uses."""
    plan = FilingPlans(read).row(row)
    return {
        "securityTitle": row.security_title,
        "transactionDate": str(row.transaction_date),
        "transactionCode": row.code,
        "shares": row.shares,
        "pricePerShare": row.price_per_share,
        "acquiredDisposed": row.acquired_disposed,
        "sharesOwnedFollowing": row.shares_owned_following,
        "directIndirect": row.direct_indirect,
        "equitySwapInvolved": bool(row.equity_swap),
        "is10b51Plan": plan.is_planned,
        "plan10b51AdoptionDate": str(plan.adopted_on) if plan.adopted_on else None,
        "footnotes": sorted({link.id for link in row.footnotes}),
        "exercisePrice": row.conversion_or_exercise_price,
        "exerciseDate": str(row.exercise_date) if row.exercise_date else None,
        "expirationDate": str(row.expiration_date) if row.expiration_date else None,
        "underlyingTitle": row.underlying_title,
        "underlyingShares": row.underlying_shares,
    }


def _owner_facts(read: OwnershipDocument, position: int) -> dict[str, Any]:
    found = read.owners[position]
    return {
        "cik": found.owner_cik,
        "name": found.owner_name,
        "isDirector": found.is_director,
        "isOfficer": found.is_officer,
        "isTenPercentOwner": found.is_ten_percent_owner,
        "isOther": found.is_other,
        "officerTitle": found.officer_title,
        "otherText": found.other_text,
    }


def _expect_rows(read: OwnershipDocument, rows: list[Transaction], expected: list[dict[str, Any]] | None) -> None:
    assert len(rows) == len(expected or [])
    for row, stated in zip(rows, expected or [], strict=True):
        wanted = stated | ({"footnotes": sorted(set(stated["footnotes"] or []))} if "footnotes" in stated else {})
        assert {name: value for name, value in _row_facts(read, row).items() if name in wanted} == wanted


def _short_facts(read: OwnershipDocument, row: Transaction) -> dict[str, Any]:
    return {
        "ticker": read.issuer_symbol,
        "title": row.security_title,
        "date": str(row.transaction_date),
        "code": row.code,
        "shares": row.shares,
        "ad": row.acquired_disposed,
        "price": row.price_per_share,
        "post_shares": row.shares_owned_following,
        "di": row.direct_indirect,
        "strike": row.conversion_or_exercise_price,
        "underlying_shares": row.underlying_shares,
        "ex_date": row.exercise_date,
        "ex_date_fn": next((link.id for link in row.footnotes if link.field == "exercise_date"), None),
    }


def _agree(read: OwnershipDocument, fact: dict[str, Any]) -> set[str]:
    """Assert everything `fact` states; the names of the statements understood."""
    common = [row for row in read.transactions if row.form_table == "nonderivative"]
    derivative = [row for row in read.transactions if row.form_table == "derivative"]
    holdings = {
        kind: [row for row in read.holdings if row.form_table == kind] for kind in ("nonderivative", "derivative")
    }
    stated = {
        "schema": read.schema_version,
        "form": read.form_type,
        "period": str(read.period_of_report),
        "issuer_cik": read.issuer_cik,
        "owner_cik": read.owners[0].owner_cik,
        "is_director": read.owners[0].is_director,
        "footnote_count": len(read.footnotes),
        "remarks": read.remarks,
        "nd_holdings": len(holdings["nonderivative"]),
        "d_holdings": len(holdings["derivative"]),
        "d_transactions": len(derivative),
        "no_securities": read.no_securities_owned,
        "has10b51": FilingPlans(read).filing.is_planned,
        "market_trades": sum(row.code in ("P", "S") for row in common),
        "exercised_nd": sum(row.code == "M" for row in common),
        "exercised_shares": sum(row.shares or 0 for row in common if row.code == "M"),
        "first_nd_date": str(common[0].transaction_date) if common else None,
        "nd_holding_shares": holdings["nonderivative"][0].shares_owned_following if holdings["nonderivative"] else None,
        "di": next((row.direct_indirect for row in (*read.holdings, *read.transactions)), None),
        "first_d": [derivative[0].security_title, derivative[0].shares] if derivative else None,
    }
    for name in stated.keys() & fact.keys():
        if not isinstance(fact[name], dict):
            assert stated[name] == fact[name], name
    if isinstance(fact.get("issuer"), dict):
        issuer = {"cik": read.issuer_cik, "name": read.issuer_name, "ticker": read.issuer_symbol}
        assert fact["issuer"] == issuer
    elif "issuer" in fact:
        assert fact["issuer"] == read.issuer_name
    for position, wanted in enumerate(fact["owners"] if isinstance(fact.get("owners"), list) else []):
        if isinstance(wanted, str):
            assert wanted in {each.owner_cik for each in read.owners}
        else:
            assert _owner_facts(read, position).items() >= wanted.items()
    if isinstance(fact.get("owners"), int):
        assert fact["owners"] == len(read.owners)
    if "transactions" in fact:
        _expect_rows(read, common, fact["transactions"])
        _expect_rows(read, derivative, fact["derivatives"])
    for row, wanted in zip(common, fact.get("nd_rows", []), strict=False):
        assert _short_facts(read, row).items() >= wanted.items()
    for name, rows in (("first_nd", common), ("first_d", derivative)):
        if isinstance(fact.get(name), dict):
            assert _short_facts(read, rows[0]).items() >= fact[name].items()
    if "first_d_holding" in fact:
        first = holdings["derivative"][0]
        assert fact["first_d_holding"] == {
            "title": first.security_title,
            "underlying_shares": first.underlying_shares,
            "exercise_price": first.conversion_or_exercise_price,
            "exercise_price_fn": next(each.id for each in first.footnotes if "price" in each.field),
            "di": first.direct_indirect,
        }
    composite = {"issuer", "owners", "transactions", "derivatives", "nd_rows", "first_nd", "first_d_holding"}
    return stated.keys() | composite | {"source", "accession", "xml", "note"}


@pytest.mark.real_data
def test_real_documents_agree_with_every_fact_other_projects_assert(corpus, facts):
    assert len(facts) == 16
    for fact in facts:
        understood = _agree(corpus[fact["xml"]], fact)
        assert fact.keys() <= understood, fact["xml"]
