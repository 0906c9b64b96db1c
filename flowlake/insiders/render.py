"""Typed records back to ownership XML and submissions: the sandbox's filings, and the proof that nothing is lost."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date, datetime
from typing import Any
from xml.sax.saxutils import escape, quoteattr

from flowlake.calendar import NEW_YORK
from flowlake.insiders.ownership import (
    DOCUMENT_CELLS,
    FOREIGN_SYMBOL,
    GROUP_LINKS,
    ISSUER_CELLS,
    OWNER_GROUPS,
    ROW_CELLS,
    ROW_GROUPS,
    TABLES,
    Cells,
    FootnoteLink,
    Holding,
    OwnershipDocument,
    Transaction,
)

_BEFORE_TABLES = tuple(tag for tag in DOCUMENT_CELLS if tag not in ("remarks", "aff10b5One"))


def to_xml(document: OwnershipDocument) -> bytes:
    """The document as ownership XML, UTF-8. `parse(to_xml(d))` equals `d` but for `recovered` and `problems`."""
    parts = ['<?xml version="1.0"?>\n<ownershipDocument>\n']
    parts += [_plain_cell(tag, getattr(document, DOCUMENT_CELLS[tag][0])) for tag in _BEFORE_TABLES]
    parts.append("<issuer>")
    parts += [_plain_cell(tag, getattr(document, field)) for tag, (field, _) in ISSUER_CELLS.items()]
    parts += [_plain_cell(FOREIGN_SYMBOL, symbol) for symbol in document.issuer_foreign_symbols]
    parts.append("</issuer>\n")
    for owner in document.owners:
        parts.append("<reportingOwner>")
        for group, cells in OWNER_GROUPS.items():
            parts += [f"<{group}>", *(_plain_cell(tag, getattr(owner, cells[tag][0])) for tag in cells), f"</{group}>"]
        parts.append("</reportingOwner>\n")
    parts.append(_plain_cell("aff10b5One", document.aff10b5_one))
    parts += [_table(document, name) for name in TABLES]
    if document.footnotes:
        notes = (f"<footnote id={quoteattr(n.footnote_id)}>{escape(n.text)}</footnote>" for n in document.footnotes)
        parts += ["<footnotes>", *notes, "</footnotes>\n"]
    parts.append(_plain_cell("remarks", document.remarks))
    for signature in document.signatures:
        name, day = _plain_cell("signatureName", signature.name), _plain_cell("signatureDate", signature.signed_on)
        parts.append(f"<ownerSignature>{name}{day}</ownerSignature>\n")
    parts.append("</ownershipDocument>\n")
    return "".join(parts).encode()


def to_submission(document: bytes, *, accession: str, form_type: str, accepted_at: datetime, period: date) -> bytes:
    """`document` inside a full submission with the header EDGAR puts around it; `accepted_at` is an aware datetime."""
    local = accepted_at.astimezone(NEW_YORK)
    header = (
        f"<SEC-DOCUMENT>{accession}.txt : {local:%Y%m%d}\n"
        f"<SEC-HEADER>{accession}.hdr.sgml : {local:%Y%m%d}\n"
        f"<ACCEPTANCE-DATETIME>{local:%Y%m%d%H%M%S}\n"
        f"ACCESSION NUMBER:\t\t{accession}\n"
        f"CONFORMED SUBMISSION TYPE:\t{form_type}\n"
        "PUBLIC DOCUMENT COUNT:\t\t1\n"
        f"CONFORMED PERIOD OF REPORT:\t{period:%Y%m%d}\n"
        f"FILED AS OF DATE:\t\t{local:%Y%m%d}\n"
        "</SEC-HEADER>\n"
        f"<DOCUMENT>\n<TYPE>{form_type}\n<SEQUENCE>1\n<FILENAME>ownership.xml\n<TEXT>\n<XML>\n"
    )
    return header.encode() + document + b"</XML>\n</TEXT>\n</DOCUMENT>\n</SEC-DOCUMENT>\n"


def _table(document: OwnershipDocument, name: str) -> str:
    form_table, transaction_tag, holding_tag = TABLES[name]
    rows: list[tuple[int, str, Holding]] = [
        (row.row_number, transaction_tag if isinstance(row, Transaction) else holding_tag, row)
        for row in (*document.transactions, *document.holdings)
        if row.form_table == form_table
    ]
    if not rows:
        return ""
    lines = [f"<{tag}>{_row(row)}</{tag}>\n" for _, tag, row in sorted(rows, key=lambda each: each[0])]
    return f"<{name}>\n{''.join(lines)}</{name}>\n"


def _row(row: Holding) -> str:
    whole_row = "".join(_links(row.footnotes, "row"))
    cells = _cells(row, ROW_CELLS)
    groups = (f"<{group}>{_group(row, group, fields)}</{group}>" for group, fields in ROW_GROUPS.items())
    return whole_row + "".join(cells) + "".join(groups)


def _group(row: Holding, group: str, cells: Cells) -> str:
    if group in GROUP_LINKS:
        plain = (_plain_cell(tag, getattr(row, field, None)) for tag, (field, _) in cells.items())
        return "".join(plain) + "".join(_links(row.footnotes, GROUP_LINKS[group]))
    return "".join(_links(row.footnotes, group)) + "".join(_cells(row, cells))


def _cells(row: Holding, cells: Cells) -> Iterable[str]:
    for tag, (field, _) in cells.items():
        value = getattr(row, field, None)
        links = "".join(_links(row.footnotes, field))
        if value is not None or links:
            yield f"<{tag}>{_plain_cell('value', value)}{links}</{tag}>"


def _links(links: Sequence[FootnoteLink], field: str) -> Iterable[str]:
    return (f"<footnoteId id={quoteattr(link.id)}/>" for link in links if link.field == field)


def _plain_cell(tag: str, value: Any) -> str:
    if value is None:
        return ""
    return f"<{tag}>{_as_text(value)}</{tag}>"


def _as_text(value: Any) -> str:
    if isinstance(value, bool):
        return "1" if value else "0"
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, float):
        return f"{value:.0f}" if value.is_integer() and abs(value) < 1e15 else repr(value)
    return escape(str(value))
