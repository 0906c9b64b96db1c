"""Ownership documents (SEC Forms 3, 4 and 5, schemas X0101 to X0609): bytes to typed records, every field kept.

Source: EDGAR Ownership XML Technical Specification. Field names are those of the tables in `flowlake.schemas.insiders`,
so that a record is a row. Documents come from anybody: nothing outside the bytes is ever opened, no entity is expanded,
and what cannot be an ownership document is refused with a reason. Values that cannot be read become null and are listed
in `problems`; they are never guessed.
"""

from __future__ import annotations

import codecs
import math
import re
from collections.abc import Iterable
from datetime import date
from typing import Any, Literal
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import msgspec

MAX_BYTES = 8_000_000
"""The largest real document measured has 90 kB; EDGAR itself refuses ownership documents of this size."""

FormTable = Literal["nonderivative", "derivative"]
Refusal = Literal["empty", "too_large", "encoding", "html", "document_type", "not_xml", "not_ownership", "incomplete"]
"""Why a document was refused."""

FORM_TYPES = frozenset({"3", "3/A", "4", "4/A", "5", "5/A"})

_ENCODINGS = frozenset({"utf-8", "ascii", "iso8859-1", "cp1252", "utf-16", "utf-16-le", "utf-16-be"})
_BYTE_ORDER_MARKS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
_DECLARATION = re.compile(r"""^\s*<\?xml\b[^>]{0,200}\?>""")
_DECLARED_ENCODING = re.compile(rb"""^\s*<\?xml\b[^>]{0,200}?\bencoding\s*=\s*["']([A-Za-z0-9._-]{1,40})["']""")
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d{1,3})?")
_CIK = re.compile(r"\d{1,10}")
_SURROGATE_OR_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_TRUE, _FALSE = frozenset({"1", "true", "y", "yes"}), frozenset({"0", "false", "n", "no"})


class RefusedDocument(ValueError):
    """The bytes hold no readable ownership document; `reason` is one of `Refusal`."""

    def __init__(self, reason: Refusal, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason: Refusal = reason
        self.detail = detail


class FootnoteLink(msgspec.Struct, frozen=True, gc=False):
    """A footnote hanging on a cell: the record's field and the footnote's id."""

    field: str
    id: str


class Footnote(msgspec.Struct, frozen=True, gc=False):
    """A footnote as typed."""

    footnote_id: str
    text: str


class Signature(msgspec.Struct, frozen=True, gc=False):
    """Who signed, and when."""

    name: str | None = None
    signed_on: date | None = None


class Owner(msgspec.Struct, frozen=True, gc=False):
    """A reporting owner and its relation to the issuer."""

    owner_cik: str
    owner_name: str | None = None
    street1: str | None = None
    street2: str | None = None
    city: str | None = None
    state: str | None = None
    zip_code: str | None = None
    state_description: str | None = None
    non_us_address: bool | None = None
    non_us_state_territory: str | None = None
    country: str | None = None
    is_director: bool = False
    is_officer: bool = False
    is_ten_percent_owner: bool = False
    is_other: bool = False
    officer_title: str | None = None
    other_text: str | None = None


class Holding(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A holding row; fields that only one table of the form has are null in the other."""

    form_table: FormTable
    row_number: int
    security_title: str | None = None
    conversion_or_exercise_price: float | None = None
    form_type: str | None = None
    exercise_date: date | None = None
    expiration_date: date | None = None
    underlying_title: str | None = None
    underlying_shares: float | None = None
    underlying_value: float | None = None
    shares_owned_following: float | None = None
    value_owned_following: float | None = None
    direct_indirect: str | None = None
    nature_of_ownership: str | None = None
    footnotes: tuple[FootnoteLink, ...] = ()


class Transaction(Holding, frozen=True, kw_only=True, gc=False):
    """A transaction row: a holding row and how it came about."""

    transaction_date: date | None = None
    deemed_execution_date: date | None = None
    code: str | None = None
    equity_swap: bool | None = None
    timeliness: str | None = None
    shares: float | None = None
    total_value: float | None = None
    price_per_share: float | None = None
    acquired_disposed: str | None = None


class OwnershipDocument(msgspec.Struct, frozen=True, kw_only=True):
    """A Form 3, 4 or 5 or an amendment."""

    form_type: str
    issuer_cik: str
    owners: tuple[Owner, ...]
    schema_version: str | None = None
    period_of_report: date | None = None
    date_of_original_submission: date | None = None
    not_subject_to_section16: bool | None = None
    no_securities_owned: bool | None = None
    form3_holdings_reported: bool | None = None
    form4_transactions_reported: bool | None = None
    aff10b5_one: bool | None = None
    issuer_name: str | None = None
    issuer_symbol: str | None = None
    issuer_foreign_symbols: tuple[str, ...] = ()
    transactions: tuple[Transaction, ...] = ()
    holdings: tuple[Holding, ...] = ()
    footnotes: tuple[Footnote, ...] = ()
    remarks: str | None = None
    signatures: tuple[Signature, ...] = ()
    recovered: bool = False
    problems: tuple[str, ...] = ()


Kind = Literal["text", "number", "date", "flag", "code"]
Cells = dict[str, tuple[str, Kind]]
"""XML element -> (record field, how its text is read)."""

DOCUMENT_CELLS: Cells = {
    "schemaVersion": ("schema_version", "text"),
    "documentType": ("form_type", "text"),
    "periodOfReport": ("period_of_report", "date"),
    "dateOfOriginalSubmission": ("date_of_original_submission", "date"),
    "notSubjectToSection16": ("not_subject_to_section16", "flag"),
    "noSecuritiesOwned": ("no_securities_owned", "flag"),
    "form3HoldingsReported": ("form3_holdings_reported", "flag"),
    "form4TransactionsReported": ("form4_transactions_reported", "flag"),
    "aff10b5One": ("aff10b5_one", "flag"),
    "remarks": ("remarks", "text"),
}
ISSUER_CELLS: Cells = {
    "issuerCik": ("issuer_cik", "text"),
    "issuerName": ("issuer_name", "text"),
    "issuerTradingSymbol": ("issuer_symbol", "text"),
}
FOREIGN_SYMBOL = "issuerForeignTradingSymbol"
OWNER_GROUPS: dict[str, Cells] = {
    "reportingOwnerId": {"rptOwnerCik": ("owner_cik", "text"), "rptOwnerName": ("owner_name", "text")},
    "reportingOwnerAddress": {
        "rptOwnerStreet1": ("street1", "text"),
        "rptOwnerStreet2": ("street2", "text"),
        "rptOwnerCity": ("city", "text"),
        "rptOwnerState": ("state", "text"),
        "rptOwnerZipCode": ("zip_code", "text"),
        "rptOwnerStateDescription": ("state_description", "text"),
        "rptOwnerNonUSAddressFlag": ("non_us_address", "flag"),
        "rptOwnerNonUSStateTerritory": ("non_us_state_territory", "text"),
        "rptOwnerCountry": ("country", "text"),
    },
    "reportingOwnerRelationship": {
        "isDirector": ("is_director", "flag"),
        "isOfficer": ("is_officer", "flag"),
        "isTenPercentOwner": ("is_ten_percent_owner", "flag"),
        "isOther": ("is_other", "flag"),
        "officerTitle": ("officer_title", "text"),
        "otherText": ("other_text", "text"),
    },
}
ROW_CELLS: Cells = {
    "securityTitle": ("security_title", "text"),
    "conversionOrExercisePrice": ("conversion_or_exercise_price", "number"),
    "transactionDate": ("transaction_date", "date"),
    "deemedExecutionDate": ("deemed_execution_date", "date"),
    "transactionTimeliness": ("timeliness", "code"),
    "exerciseDate": ("exercise_date", "date"),
    "expirationDate": ("expiration_date", "date"),
}
ROW_GROUPS: dict[str, Cells] = {
    "transactionCoding": {
        "transactionFormType": ("form_type", "text"),
        "transactionCode": ("code", "code"),
        "equitySwapInvolved": ("equity_swap", "flag"),
    },
    "transactionAmounts": {
        "transactionShares": ("shares", "number"),
        "transactionTotalValue": ("total_value", "number"),
        "transactionPricePerShare": ("price_per_share", "number"),
        "transactionAcquiredDisposedCode": ("acquired_disposed", "code"),
    },
    "underlyingSecurity": {
        "underlyingSecurityTitle": ("underlying_title", "text"),
        "underlyingSecurityShares": ("underlying_shares", "number"),
        "underlyingSecurityValue": ("underlying_value", "number"),
    },
    "postTransactionAmounts": {
        "sharesOwnedFollowingTransaction": ("shares_owned_following", "number"),
        "valueOwnedFollowingTransaction": ("value_owned_following", "number"),
    },
    "ownershipNature": {
        "directOrIndirectOwnership": ("direct_indirect", "code"),
        "natureOfOwnership": ("nature_of_ownership", "text"),
    },
}
GROUP_LINKS = {"transactionCoding": "code"}
"""Groups whose footnotes hang on the group itself -> the field they are linked to."""

TABLES: dict[str, tuple[FormTable, str, str]] = {
    "nonDerivativeTable": ("nonderivative", "nonDerivativeTransaction", "nonDerivativeHolding"),
    "derivativeTable": ("derivative", "derivativeTransaction", "derivativeHolding"),
}
_HOLDING_FIELDS = frozenset(Holding.__struct_fields__)


def parse(content: bytes, *, max_bytes: int = MAX_BYTES) -> OwnershipDocument:
    """The record of one ownership XML document.

    Not well-formed XML is read as far as it can be and marked `recovered`. Raises `RefusedDocument` where the content
    is empty, larger than `max_bytes`, in an unusable encoding, HTML, declares a document type (entities), is no XML, is
    not an ownership document, or lacks form type, issuer or owner.
    """
    root, recovered = _root(_decoded(content, max_bytes))
    return _Reader(recovered).document(root)


def _decoded(content: bytes, max_bytes: int) -> str:
    if len(content) > max_bytes:
        raise RefusedDocument("too_large", f"{len(content):,} bytes, at most {max_bytes:,} are read")
    if not content.strip():
        raise RefusedDocument("empty", "no content")
    encoding = _encoding(content)
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        # Filing agents declare UTF-8 and send Windows-1252; every byte of the latter means something.
        if encoding not in {"utf-8", "ascii"}:
            raise RefusedDocument("encoding", f"not {encoding}: {error.reason} at byte {error.start}") from error
        text = content.decode("cp1252", errors="replace")
    text = text.lstrip("\ufeff")
    head = text[:2000].lstrip().lower()
    if head.startswith(("<!doctype html", "<html")) or "<html" in head:
        raise RefusedDocument("html", "an HTML page (a rendered form or an error page) instead of the XML document")
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise RefusedDocument("document_type", "declares a document type or entities, which no ownership document does")
    return _DECLARATION.sub("", text, count=1).strip()


def _encoding(content: bytes) -> str:
    for mark, encoding in _BYTE_ORDER_MARKS:
        if content.startswith(mark):
            return encoding
    declared = _DECLARED_ENCODING.match(content[:300])
    if declared is None:
        return "utf-8"
    name = declared.group(1).decode("ascii")
    try:
        encoding = codecs.lookup(name).name
    except LookupError as error:
        raise RefusedDocument("encoding", f"unknown encoding {name!r}") from error
    if encoding not in _ENCODINGS:
        raise RefusedDocument("encoding", f"encoding {name!r} is not used by EDGAR")
    # The declaration itself was readable as ASCII, so the document cannot be UTF-16 without a byte order mark.
    return "utf-8" if encoding.startswith("utf-16") else encoding


def _root(text: str) -> tuple[Element, bool]:
    recovered = False
    try:
        root = ElementTree.fromstring(text)
    except (ElementTree.ParseError, ValueError):
        root, recovered = _recovered_root(text), True
    if "}" in root.tag:
        for element in root.iter():
            element.tag = element.tag.rpartition("}")[2]
    if root.tag != "ownershipDocument":
        reason: Refusal = "html" if root.tag.lower() in {"html", "body", "p", "table"} else "not_ownership"
        raise RefusedDocument(reason, f"the root element is <{root.tag[:60]}>, not <ownershipDocument>")
    return root, recovered


def _recovered_root(text: str) -> Element:
    """libxml2's reading of XML that is not well-formed; entities and network stay off."""
    from lxml import etree  # pyright: ignore[reportAttributeAccessIssue]

    parser = etree.XMLParser(
        recover=True,
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        huge_tree=False,
        remove_comments=True,
        remove_pis=True,
        encoding="utf-8",
    )
    try:
        root = etree.fromstring(_SURROGATE_OR_CONTROL.sub("\ufffd", text).encode(), parser)
    except (etree.XMLSyntaxError, ValueError) as error:
        raise RefusedDocument("not_xml", str(error)[:200]) from error
    if root is None:
        raise RefusedDocument("not_xml", "no element could be read")
    etree.strip_elements(root, etree.Entity, with_tail=False)
    try:
        return ElementTree.fromstring(etree.tostring(root, encoding="unicode"))
    except ElementTree.ParseError as error:
        raise RefusedDocument("not_xml", f"what could be recovered is no XML either: {error}") from error


def _text(element: Element) -> str | None:
    text = element.text
    if text is None:
        return None
    return text.strip() or None


class _Reader:
    """One document's walk; collects what could not be read."""

    def __init__(self, recovered: bool) -> None:
        self.recovered = recovered
        self.problems: list[str] = []

    def document(self, root: Element) -> OwnershipDocument:
        values: dict[str, Any] = {}
        owners: list[Owner] = []
        signatures: list[Signature] = []
        footnotes: list[Footnote] = []
        foreign: list[str] = []
        transactions: list[Transaction] = []
        holdings: list[Holding] = []
        for child in root:
            tag = child.tag
            if tag in DOCUMENT_CELLS:
                self._assign(values, DOCUMENT_CELLS[tag], child, tag)
            elif tag == "issuer":
                self._issuer(child, values, foreign)
            elif tag == "reportingOwner":
                owners.append(self._owner(child))
            elif tag in TABLES:
                self._table(child, tag, transactions, holdings)
            elif tag == "footnotes":
                footnotes.extend(self._footnotes(child))
            elif tag == "ownerSignature":
                signatures.append(self._signature(child))
            else:
                self._unknown(tag)
        self._require(values, owners)
        return OwnershipDocument(
            **values,
            owners=tuple(owners),
            issuer_foreign_symbols=tuple(foreign),
            transactions=tuple(transactions),
            holdings=tuple(holdings),
            footnotes=tuple(footnotes),
            signatures=tuple(signatures),
            recovered=self.recovered,
            problems=tuple(self.problems),
        )

    def _require(self, values: dict[str, Any], owners: list[Owner]) -> None:
        form = values.get("form_type")
        if form not in FORM_TYPES:
            raise RefusedDocument("incomplete", f"documentType is {str(form)[:20]!r}, not 3, 4 or 5")
        cik = values.get("issuer_cik")
        if cik is None or not _CIK.fullmatch(cik):
            raise RefusedDocument("incomplete", f"issuerCik is {str(cik)[:20]!r}")
        values["issuer_cik"] = cik.zfill(10)
        if not owners:
            raise RefusedDocument("incomplete", "no reportingOwner")

    def _issuer(self, issuer: Element, values: dict[str, Any], foreign: list[str]) -> None:
        for child in issuer:
            tag = child.tag
            if tag in ISSUER_CELLS:
                self._assign(values, ISSUER_CELLS[tag], child, tag)
            elif tag == FOREIGN_SYMBOL:
                symbol = _text(child)
                if symbol:
                    foreign.append(symbol)
            else:
                self._unknown(f"issuer/{tag}")

    def _owner(self, owner: Element) -> Owner:
        values: dict[str, Any] = {}
        for group in owner:
            name = group.tag
            cells = OWNER_GROUPS.get(name)
            if cells is None:
                self._unknown(f"reportingOwner/{name}")
                continue
            for child in group:
                tag = child.tag
                if tag in cells:
                    self._assign(values, cells[tag], child, tag)
                else:
                    self._unknown(f"{name}/{tag}")
        cik = values.get("owner_cik")
        if cik is None or not _CIK.fullmatch(cik):
            raise RefusedDocument("incomplete", f"rptOwnerCik is {str(cik)[:20]!r}")
        for flag in ("is_director", "is_officer", "is_ten_percent_owner", "is_other"):
            values[flag] = bool(values.get(flag))
        return Owner(**{**values, "owner_cik": cik.zfill(10)})

    def _footnotes(self, element: Element) -> Iterable[Footnote]:
        for child in element:
            if child.tag == "footnote":
                yield Footnote(footnote_id=child.get("id") or "", text="".join(child.itertext()).strip())
            else:
                self._unknown(f"footnotes/{child.tag}")

    def _signature(self, element: Element) -> Signature:
        values: dict[str, Any] = {}
        for child in element:
            tag = child.tag
            if tag == "signatureName":
                values["name"] = _text(child)
            elif tag == "signatureDate":
                values["signed_on"] = self._date(_text(child), tag)
            else:
                self._unknown(f"ownerSignature/{tag}")
        return Signature(**values)

    def _table(self, table: Element, name: str, transactions: list[Transaction], holdings: list[Holding]) -> None:
        form_table, transaction_tag, holding_tag = TABLES[name]
        number = 0
        for child in table:
            tag = child.tag
            if tag not in (transaction_tag, holding_tag):
                self._unknown(f"{name}/{tag}")
                continue
            number += 1
            values = self._row(child)
            if tag == transaction_tag:
                transactions.append(Transaction(form_table=form_table, row_number=number, **values))
                continue
            for surplus in values.keys() - _HOLDING_FIELDS:
                self._unknown(f"{tag}: {surplus}={values.pop(surplus)}")
            holdings.append(Holding(form_table=form_table, row_number=number, **values))

    def _row(self, row: Element) -> dict[str, Any]:
        values: dict[str, Any] = {}
        links: list[FootnoteLink] = []
        for child in row:
            tag = child.tag
            if tag in ROW_CELLS:
                self._cell(values, links, ROW_CELLS[tag], child, tag)
            elif tag in ROW_GROUPS:
                cells = ROW_GROUPS[tag]
                for cell in child:
                    cell_tag = cell.tag
                    if cell_tag in cells:
                        self._cell(values, links, cells[cell_tag], cell, cell_tag)
                    elif cell_tag == "footnoteId":
                        links.append(FootnoteLink(GROUP_LINKS.get(tag, tag), cell.get("id") or ""))
                    else:
                        self._unknown(f"{tag}/{cell_tag}")
            elif tag == "footnoteId":
                links.append(FootnoteLink("row", child.get("id") or ""))
            else:
                self._unknown(f"row/{tag}")
        # Cells come in any order; the order of one cell's own footnotes is kept.
        values["footnotes"] = tuple(sorted(links, key=lambda link: link.field))
        return values

    def _cell(
        self, values: dict[str, Any], links: list[FootnoteLink], target: tuple[str, Kind], cell: Element, tag: str
    ) -> None:
        text = cell.text
        for child in cell:
            if child.tag == "value":
                text = child.text
            elif child.tag == "footnoteId":
                links.append(FootnoteLink(target[0], child.get("id") or ""))
            else:
                self._unknown(f"{tag}/{child.tag}")
        if text:
            self._take(values, target, text, tag)

    def _assign(self, values: dict[str, Any], target: tuple[str, Kind], element: Element, tag: str) -> None:
        if element.text:
            self._take(values, target, element.text, tag)

    def _take(self, values: dict[str, Any], target: tuple[str, Kind], raw: str, tag: str) -> None:
        text = raw.strip()
        if not text:
            return
        field, kind = target
        value = text if kind == "text" else self._read(kind, text, tag)
        if values.setdefault(field, value) != value:
            self.problems.append(f"{tag} appears twice; the first is kept")

    def _read(self, kind: Kind, text: str, tag: str) -> Any:
        if kind == "number":
            return self._number(text, tag)
        if kind == "date":
            return self._date(text, tag)
        if kind == "code":
            return text.upper()
        lowered = text.lower()
        if lowered in _TRUE:
            return True
        if lowered in _FALSE:
            return False
        return self._unreadable(tag, text)

    def _number(self, text: str, tag: str) -> float | None:
        if not _NUMBER.fullmatch(text):
            text = text.replace(",", "").removeprefix("$").strip()
            if not _NUMBER.fullmatch(text):
                return self._unreadable(tag, text)
        value = float(text)
        return value if math.isfinite(value) else self._unreadable(tag, text)

    def _date(self, text: str | None, tag: str) -> date | None:
        """The date; agents append a UTC offset ('2024-07-19-05:00'), which says nothing about the day."""
        if text is None:
            return None
        try:
            return date.fromisoformat(text[:10])
        except ValueError:
            return self._unreadable(tag, text)

    def _unreadable(self, tag: str, text: str) -> None:
        self.problems.append(f"{tag}: cannot read {text[:60]!r}")

    def _unknown(self, path: str) -> None:
        self.problems.append(f"unknown element {path[:120]}")
