"""EDGAR's lists of filings as frames: the getcurrent feed, daily and full indexes, submissions, the ticker map.

Every list names a filing once per role (issuer, each owner); `ownership_filings` reduces it to Forms 3, 4 and 5, each
once.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any
from xml.etree import ElementTree

import polars as pl

from flowlake.insiders.ownership import FORM_TYPES
from flowlake.insiders.symbols import COMPANY_TICKERS, normalise
from flowlake.schemas import UTC_TIME

INDEX = pl.Schema(
    {
        "accession": pl.String,
        "form_type": pl.String,
        "cik": pl.String,
        "name": pl.String,
        "role": pl.String,
        "filed_on": pl.Date,
        "listed_at": UTC_TIME,
        "path": pl.String,
    }
)
"""One row per filing and role: `role` ('issuer', 'reporting') and `listed_at` (UTC) only where the feed says them;
`path` is the submission's place below Archives/."""

_ATOM = "{http://www.w3.org/2005/Atom}"
_TITLE = re.compile(r"^(?P<form>.+?) - (?P<name>.*) \((?P<cik>\d{1,10})\) \((?P<role>[A-Za-z ]+)\)$", re.DOTALL)
_LINK = re.compile(r"/Archives/(edgar/data/\d{1,10}/\d{18})/(\d{10}-\d{2}-\d{6})-index\.html?$")
_FILED = re.compile(r"Filed:</b>\s*(\d{4}-\d{2}-\d{2})")
_PATH = r"edgar/data/\d{1,10}/(?:\d{18}/)?\d{10}-\d{2}-\d{6}"
_FIXED_LINE = re.compile(
    rf"^(?P<left>.+?)\s{{2,}}(?P<cik>\d{{1,10}})\s+(?P<date>\d{{8}}|\d{{4}}-\d{{2}}-\d{{2}})\s+"
    rf"(?:https?://[^/\s]+/Archives/)?(?P<path>{_PATH})(?:\.txt|-index\.html?)\s*$"
)
_FORM_LEFT = re.compile(r"^(?P<form>\S+(?: \S+)*?)\s{2,}(?P<name>.*)$")
_NAME_LEFT = re.compile(r"^(?P<name>.*?)\s{2,}(?P<form>\S+(?: \S+)*)$")
SUBMISSION_PATH = re.compile(rf"{_PATH}\.txt")
"""What the path of a submission looks like; nothing else is ever requested."""


class MalformedIndex(ValueError):
    """The answer is no list of filings of the kind that was asked for."""


def parse_current(content: bytes) -> pl.DataFrame:
    """One page of the getcurrent Atom feed (`INDEX`), in feed order."""
    text = content.decode("iso-8859-1")
    if "<!DOCTYPE" in text or "<feed" not in text[:2000]:
        raise MalformedIndex("the answer is not an Atom feed")
    try:
        feed = ElementTree.fromstring(re.sub(r"^\s*<\?xml[^>]*\?>", "", text))
    except ElementTree.ParseError as error:
        raise MalformedIndex(f"the feed is not well-formed: {error}") from error
    return pl.DataFrame([_entry(entry) for entry in feed.iter(f"{_ATOM}entry")], schema=INDEX, orient="row")


def _entry(entry: ElementTree.Element) -> dict[str, Any]:
    title = _TITLE.match(entry.findtext(f"{_ATOM}title", "").strip())
    link = entry.find(f"{_ATOM}link")
    place = _LINK.search(link.get("href", "")) if link is not None else None
    filed = _FILED.search(entry.findtext(f"{_ATOM}summary", ""))
    category = entry.find(f"{_ATOM}category")
    if title is None or place is None or filed is None or category is None:
        raise MalformedIndex(f"an entry of the feed lacks title, link, date or form: {entry.findtext(f'{_ATOM}title')}")
    updated = datetime.fromisoformat(entry.findtext(f"{_ATOM}updated", ""))
    return {
        "accession": place.group(2),
        "form_type": category.get("term"),
        "cik": title["cik"].zfill(10),
        "name": title["name"],
        "role": title["role"].lower(),
        "filed_on": date.fromisoformat(filed.group(1)),
        "listed_at": updated.astimezone(UTC),
        "path": f"{place.group(1)}/{place.group(2)}.txt",
    }


def parse_index(content: bytes) -> pl.DataFrame:
    """A daily or full index (`INDEX`), of the form, company, crawler or master kind.

    Lines are read from the right, because the widths of the columns, the header (which newer files wrap over two lines)
    and the spelling of dates vary. Raises `MalformedIndex` where the header is missing or a line cannot be read.
    """
    text = content.decode("iso-8859-1")
    head, rule, body = text.partition("\n-----")
    if not rule or ("File" not in head and "URL" not in head):
        raise MalformedIndex("the answer has no header of an EDGAR index")
    lines = [line for line in body.split("\n")[1:] if line.strip()]
    read = _pipe_line if "|" in head else _fixed_line(head)
    rows = [read(line) for line in lines]
    unreadable = [line for line, row in zip(lines, rows, strict=True) if row is None]
    if unreadable:
        raise MalformedIndex(f"{len(unreadable)} of {len(lines)} lines cannot be read, e.g. {unreadable[0][:150]!r}")
    return pl.DataFrame(rows, schema=INDEX, orient="row")


def _pipe_line(line: str) -> dict[str, Any] | None:
    parts = line.rstrip().split("|")
    if len(parts) != 5 or not parts[0].isdigit():
        return None
    return _index_row(parts[2], parts[1], parts[0], parts[3], parts[4].removesuffix(".txt"))


def _fixed_line(head: str) -> Any:
    left_pattern = _FORM_LEFT if head.rfind("Form Type") < head.rfind("Company Name") else _NAME_LEFT

    def read(line: str) -> dict[str, Any] | None:
        found = _FIXED_LINE.match(line)
        left = left_pattern.match(found["left"]) if found else None
        if found is None or left is None:
            return None
        return _index_row(left["form"], left["name"], found["cik"], found["date"], found["path"])

    return read


def _index_row(form: str, name: str, cik: str, filed: str, path: str) -> dict[str, Any]:
    return {
        "accession": path.rsplit("/", 1)[1],
        "form_type": form.strip(),
        "cik": cik.zfill(10),
        "name": name.strip(),
        "role": None,
        "filed_on": date.fromisoformat(filed),
        "listed_at": None,
        "path": f"{path}.txt",
    }


def parse_submissions(content: bytes) -> tuple[pl.DataFrame, list[str]]:
    """A company's or person's filings (`INDEX`) from data.sec.gov, and the names of the older pages.

    The acceptance times of this list are not used: some are New York time marked as UTC.
    """
    try:
        answer = json.loads(content)
        cik = str(answer["cik"]).zfill(10) if "cik" in answer else None
        listed = answer["filings"]["recent"] if "filings" in answer else answer
        older = [page["name"] for page in answer.get("filings", {}).get("files", [])]
        columns = [listed[name] for name in ("accessionNumber", "form", "filingDate")]
    except (KeyError, TypeError, ValueError) as error:
        raise MalformedIndex(f"not a submissions list: {error!r}") from error
    rows = [
        {
            "accession": accession,
            "form_type": form,
            "cik": cik,
            "name": answer.get("name"),
            "filed_on": date.fromisoformat(filed),
            # The path with the accession's own prefix works whoever filed; the company's CIK is the usual one.
            "path": f"edgar/data/{int(cik or accession[:10])}/{accession}.txt",
        }
        for accession, form, filed in zip(*columns, strict=True)
    ]
    return pl.DataFrame(rows, schema=INDEX, orient="row"), older


def parse_company_tickers(content: bytes) -> pl.DataFrame:
    """The SEC's CIK-to-ticker map (`COMPANY_TICKERS`), in file order: an issuer's first entry is its common stock."""
    try:
        answer: Mapping[str, Mapping[str, Any]] = json.loads(content)
        rows = [
            {"cik": str(row["cik_str"]).zfill(10), "ticker": row["ticker"], "name": row["title"], "position": position}
            for position, row in enumerate(answer.values())
        ]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise MalformedIndex(f"not the ticker map: {error!r}") from error
    return pl.DataFrame(rows, schema=COMPANY_TICKERS, orient="row").with_columns(normalise(pl.col("ticker")))


def ownership_filings(index: pl.DataFrame) -> pl.DataFrame:
    """Forms 3, 4, 5 and amendments of `index`, each accession once, by accession.

    A feed asked for type 4 matches the prefix ('424B2', '497K', '40-APP'), so the form is compared as a whole. Of the
    paths of a filing the first by name is taken: all lead to the same document.
    """
    return (
        index.filter(pl.col("form_type").is_in(sorted(FORM_TYPES)))
        .sort("accession", "path", "listed_at", nulls_last=True)
        .unique("accession", keep="first", maintain_order=True)
    )
