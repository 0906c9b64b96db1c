"""EDGAR full submissions (`<accession>.txt`): the SGML header and the ownership document inside.

The header is the only place with the acceptance time, which is New York time without saying so. The submissions API's
'Z' times are not trusted: a third of those measured in 2025 are Eastern.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from datetime import UTC, date, datetime

from flowlake.calendar import NEW_YORK
from flowlake.insiders.ownership import RefusedDocument

_HEADER_BYTES = 200_000
_ACCESSION = re.compile(rb"(?:ACCESSION NUMBER:\s*|<ACCESSION-NUMBER>\s*)(\d{10}-\d{2}-\d{6})")
_ACCEPTED = re.compile(rb"<ACCEPTANCE-DATETIME>\s*(\d{14})")
_FORM = re.compile(rb"(?:CONFORMED SUBMISSION TYPE:\s*|<TYPE>\s*)([^\s<]{1,20})")
_FILED = re.compile(rb"(?:FILED AS OF DATE:\s*|<FILING-DATE>\s*)(\d{8})")
_XML = re.compile(rb"<XML>\s*(.*?)\s*</XML>", re.DOTALL | re.IGNORECASE)


class MalformedSubmission(ValueError):
    """The file is no EDGAR submission: the header lacks what every submission has."""


@dataclass(frozen=True)
class Submission:
    """A submission: header facts, and the ownership XML as received.

    `accepted_at` is UTC; submissions of the dissemination flavour (PDS) have none, and it is then None.
    """

    accession: str
    form_type: str
    accepted_at: datetime | None
    filed_on: date
    document: bytes
    sha256: str


def read_submission(content: bytes) -> Submission:
    """The submission in `content`.

    Raises `MalformedSubmission` where accession, form or filing date are missing. A submission without an XML document
    has an empty `document`, which the parser refuses with the reason.
    """
    header = content[:_HEADER_BYTES].partition(b"<DOCUMENT>")[0]
    accession, form, filed = (pattern.search(header) for pattern in (_ACCESSION, _FORM, _FILED))
    if accession is None or form is None or filed is None:
        raise MalformedSubmission("no EDGAR submission header (accession number, form type, filing date) in the file")
    accepted = _ACCEPTED.search(header)
    try:
        return Submission(
            accession=accession.group(1).decode(),
            form_type=form.group(1).decode("ascii", "replace"),
            accepted_at=new_york_time(accepted.group(1).decode()) if accepted else None,
            filed_on=datetime.strptime(filed.group(1).decode(), "%Y%m%d").date(),
            document=ownership_xml(content),
            sha256=hashlib.sha256(content).hexdigest(),
        )
    except ValueError as error:
        raise MalformedSubmission(f"unreadable submission header: {error}") from error


def new_york_time(stamp: str) -> datetime:
    """'YYYYMMDDhhmmss' in New York as UTC; in the hour that the clock repeats, the later reading (nothing early)."""
    naive = datetime.strptime(stamp, "%Y%m%d%H%M%S")
    return naive.replace(tzinfo=NEW_YORK, fold=1).astimezone(UTC)


def ownership_xml(content: bytes) -> bytes:
    """The ownership XML inside a submission, or `content` itself where it is bare XML; empty where there is none."""
    documents = _XML.findall(content)
    for document in documents:
        if b"ownershipDocument" in document:
            return document
    if documents:
        return documents[0]
    return content if content.lstrip().startswith((b"<?xml", b"<ownershipDocument")) else b""


def require_accepted(submission: Submission) -> datetime:
    """The acceptance time; raises `RefusedDocument` where there is none, because the filing could not be dated."""
    if submission.accepted_at is None:
        raise RefusedDocument("incomplete", "the submission has no acceptance time")
    return submission.accepted_at
