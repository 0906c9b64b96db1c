"""EDGAR on the loopback: the endpoints flowlake reads, over synthetic filings or over recorded ones.

The server shows EDGAR as of a moment: filings accepted later do not exist yet. It enforces the SEC's manners (a
User-Agent with a contact, a request rate) and answers breaches with a block page as the SEC does.
"""

from __future__ import annotations

import io
import json
import re
import socket
import time
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import msgspec
import numpy as np
import polars as pl

from flowlake import calendar
from flowlake.in_thread import running
from flowlake.insiders.bulk import ROW_COLUMNS, ROW_TABLES, TABLE_NAMES
from flowlake.insiders.ownership import (
    Footnote,
    FootnoteLink,
    Holding,
    Owner,
    OwnershipDocument,
    Signature,
    Transaction,
    parse,
)
from flowlake.insiders.render import to_submission, to_xml
from flowlake.insiders.submission import ownership_xml, read_submission
from flowlake.sandbox.market import Market

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

BLOCK_PAGE = (
    b"<!DOCTYPE html><html><head><title>SEC.gov | Request Rate Threshold Exceeded</title></head>"
    b"<body><h1>Your Request Originates from an Undeclared Automated Tool</h1></body></html>"
)
_ACCESSION = re.compile(r"(\d{10}-\d{2}-\d{6})(?:\.txt|-index\.htm)")
_RULE = "-" * 141
_AMENDED = 0.02


@dataclass(frozen=True, order=True)
class ArchivedFiling:
    """One submission of the archive: its place in time, the parties it is listed under, and its bytes."""

    accepted_at: datetime
    accession: str
    form_type: str
    issuer_cik: str
    issuer_name: str
    owners: tuple[tuple[str, str], ...]
    content: bytes = field(compare=False, repr=False)

    @property
    def parties(self) -> list[tuple[str, str, str]]:
        """(CIK, name, role) of everybody the filing is listed under."""
        return [(self.issuer_cik, self.issuer_name, "Issuer"), *((cik, name, "Reporting") for cik, name in self.owners)]

    @property
    def filed_on(self) -> date:
        """New York date of the acceptance."""
        return self.accepted_at.astimezone(calendar.NEW_YORK).date()


@dataclass(frozen=True)
class Issuer:
    """A company whose insiders file."""

    cik: str
    ticker: str
    name: str
    price: float


def issuers_of(market: Market, session: date) -> list[Issuer]:
    """The companies of a sandbox market on `session`: its EDGAR then tells of the same tickers at the same prices."""
    companies = market.tickers(session).filter(pl.col("type") == "CS").drop_nulls("cik")
    prices = market.stocks(calendar.session_close(session)).select("ticker", "close").drop_nulls("close")
    named = companies.join(prices, on="ticker", how="inner").sort("ticker")
    return [
        Issuer(str(cik).zfill(10), ticker, name, price)
        for cik, ticker, name, price in named.select("cik", "ticker", "name", "close").iter_rows()
    ]


def archive_document(document: OwnershipDocument, accession: str, accepted_at: datetime) -> ArchivedFiling:
    """`document` as a submission accepted at `accepted_at` (an aware datetime)."""
    period = document.period_of_report or accepted_at.astimezone(calendar.NEW_YORK).date()
    content = to_submission(
        to_xml(document), accession=accession, form_type=document.form_type, accepted_at=accepted_at, period=period
    )
    return _archived(document, accession, accepted_at, content)


def synthetic_archive(
    issuers: Sequence[Issuer], first: date, last: date, *, filings_per_day: int = 12, seed: int = 0
) -> list[ArchivedFiling]:
    """Filings of invented insiders of `issuers` for every session from `first` to `last`, in order of acceptance.

    Deterministic in its arguments. The mix follows what was measured on EDGAR: four fifths after 16:00 New York, few
    open-market purchases, most sales under plans, some joint filers, late filings and amendments.
    """
    rng = np.random.default_rng(seed)
    filings: list[ArchivedFiling] = []
    for day in calendar.sessions(first, last):
        for number in range(filings_per_day):
            issuer = issuers[int(rng.integers(len(issuers)))]
            accepted_at = _acceptance(day, rng)
            accession = f"{int(issuer.cik):010d}-{day:%y}-{(day.toordinal() % 3000) * 300 + number:06d}"
            earlier = [filing for filing in filings[-filings_per_day * 5 :] if filing.filed_on < day]
            if earlier and rng.random() < _AMENDED:
                document = _amendment(earlier[int(rng.integers(len(earlier)))], rng)
            else:
                document = _invented(issuer, day, rng)
            filings.append(archive_document(document, accession, accepted_at))
    return sorted(filings)


def recorded_archive(folder: Path) -> list[ArchivedFiling]:
    """The real filings in `folder` (`full_submission_txt` and `ownership_xml`), in order of acceptance.

    Bare XML has no acceptance time: it gets 18:00 New York of its last signature date, which is invented.
    """
    filings: dict[str, ArchivedFiling] = {}
    for path in sorted((folder / "full_submission_txt").glob("*.txt*")):
        if _ACCESSION.search(path.name) is None and not path.name.endswith(".txt"):
            continue
        content = path.read_bytes()
        if b"<ACCEPTANCE-DATETIME>" not in content[:5000]:
            continue
        submission = read_submission(content)
        if submission.accepted_at and b"ownershipDocument" in submission.document:
            document = parse(submission.document)
            filings[submission.accession] = _archived(document, submission.accession, submission.accepted_at, content)
    for path in sorted((folder / "ownership_xml").glob("*.xml")):
        if re.fullmatch(r"\d{10}-\d{2}-\d{6}", path.stem) and path.stem not in filings:
            document = parse(path.read_bytes())
            filings[path.stem] = archive_document(document, path.stem, _signed_at(document))
    return sorted(filings.values())


class EdgarArchive:
    """EDGAR's answers over a list of filings, as of a moment."""

    def __init__(self, filings: Iterable[ArchivedFiling], issuers: Sequence[Issuer] = ()) -> None:
        self.filings = sorted(filings)
        self.issuers = list(issuers)
        self._by_accession = {filing.accession: filing for filing in self.filings}

    def until(self, now: datetime) -> list[ArchivedFiling]:
        """What was accepted by `now`."""
        return [filing for filing in self.filings if filing.accepted_at <= now]

    def current(self, now: datetime, form: str, start: int, count: int) -> bytes:
        """A page of the getcurrent feed: newest first, once per party, form matched by prefix as EDGAR does."""
        entries = [
            (filing, party)
            for filing in reversed(self.until(now))
            if filing.form_type.startswith(form)
            for party in filing.parties
        ]
        stamp = now.astimezone(calendar.NEW_YORK).isoformat(timespec="seconds")
        body = "".join(_atom_entry(filing, party) for filing, party in entries[start : start + count])
        return (
            '<?xml version="1.0" encoding="ISO-8859-1" ?>\n<feed xmlns="http://www.w3.org/2005/Atom">\n'
            f"<title>Latest Filings</title>\n<updated>{stamp}</updated>\n{body}</feed>\n"
        ).encode("iso-8859-1", "xmlcharrefreplace")

    def daily_index(self, now: datetime, day: date) -> bytes | None:
        """The form index of `day`, published at 22:00 New York; None before, and where nothing was filed."""
        published = datetime(day.year, day.month, day.day, 22, tzinfo=calendar.NEW_YORK)
        filings = [filing for filing in self.until(now) if filing.filed_on == day]
        if now < published or not filings:
            return None
        head = f"Form Type   {'Company Name':<62}CIK         Date Filed  File Name\n{_RULE}\n"
        rows = (
            (filing.form_type, name, cik, filing.accession) for filing in filings for cik, name, _ in filing.parties
        )
        lines = (
            f"{form:<12}{name[:60]:<62}{int(cik):<12}{day:%Y%m%d}    edgar/data/{int(cik)}/{accession}.txt         "
            for form, name, cik, accession in sorted(rows)
        )
        return (f"Description:           Daily Index\n \n{head}" + "\n".join(lines) + "\n").encode()

    def full_index(self, now: datetime, year: int, quarter: int) -> bytes:
        """The master index of a quarter."""
        lines = [
            f"{int(cik)}|{name}|{filing.form_type}|{filing.filed_on}|edgar/data/{int(cik)}/{filing.accession}.txt"
            for filing in self.until(now)
            if (filing.filed_on.year, (filing.filed_on.month - 1) // 3 + 1) == (year, quarter)
            for cik, name, _ in filing.parties
        ]
        head = f"Description: Master Index\n\nCIK|Company Name|Form Type|Date Filed|Filename\n{_RULE}\n"
        return (head + "\n".join(sorted(lines)) + "\n").encode()

    def submission(self, now: datetime, accession: str) -> bytes | None:
        """The submission, None where there is none yet."""
        filing = self._by_accession.get(accession)
        return filing.content if filing and filing.accepted_at <= now else None

    def submissions(self, now: datetime, cik: str) -> bytes | None:
        """The submissions list of a party, None where nobody has this CIK."""
        mine = [filing for filing in reversed(self.until(now)) if cik in {party[0] for party in filing.parties}]
        if not mine:
            return None
        recent = {
            "accessionNumber": [filing.accession for filing in mine],
            "filingDate": [filing.filed_on.isoformat() for filing in mine],
            "form": [filing.form_type for filing in mine],
        }
        return json.dumps({"cik": str(int(cik)), "filings": {"recent": recent, "files": []}}).encode()

    def bulk(self, now: datetime, year: int, quarter: int) -> bytes | None:
        """The data set of a quarter, published once the quarter is over; None before."""
        over = date(year + quarter // 4, quarter % 4 * 3 + 1, 1)
        if now.astimezone(calendar.NEW_YORK).date() < over:
            return None
        in_quarter = [
            each for each in self.filings if (each.filed_on.year, (each.filed_on.month - 1) // 3 + 1) == (year, quarter)
        ]
        return _data_set(in_quarter)

    def company_tickers(self) -> bytes:
        """The ticker map."""
        rows = [
            {"cik_str": int(each.cik), "ticker": each.ticker.replace(".", "-"), "title": each.name}
            for each in self.issuers
        ]
        return json.dumps({str(number): row for number, row in enumerate(rows)}).encode()


@dataclass
class Manners:
    """What the server demands, and what it saw."""

    requests_per_second: float | None = None
    block_seconds: float = 600.0
    paths: list[str] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    _blocked_until: float = 0.0

    def refuses(self, request: Request) -> bool:
        """Whether the request is answered with the block page: no contact in the User-Agent, or too fast."""
        now = time.monotonic()
        self.paths.append(str(request.url.path))
        self.times.append(now)
        if "@" not in request.headers.get("user-agent", ""):
            return True
        if self.requests_per_second and sum(now - seen < 1 for seen in self.times) > self.requests_per_second:
            self._blocked_until = now + self.block_seconds
        return now < self._blocked_until


def edgar_app(
    archive: EdgarArchive,
    clock: Callable[[], datetime],
    manners: Manners | None = None,
    recorded: Mapping[str, bytes] | None = None,
) -> Starlette:
    """EDGAR's endpoints over `archive` as of `clock()`; `recorded` answers by path (and query) win over it."""
    from starlette.applications import Starlette
    from starlette.responses import Response
    from starlette.routing import Route

    rules, fixed = manners or Manners(), recorded or {}
    denied = b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>"

    def answer(request: Request) -> Response:
        if rules.refuses(request):
            return Response(BLOCK_PAGE, 403, media_type="text/html")
        query = f"?{request.url.query}" if request.url.query else ""
        body = fixed.get(f"{request.url.path}{query}")
        if body is None:
            body = _answer(archive, clock(), request)
        return Response(denied, 403, media_type="application/xml") if body is None else Response(body)

    return Starlette(routes=[Route("/{path:path}", answer)])


class EdgarServer:
    """Serves an EDGAR sandbox on 127.0.0.1 and a free port, in a thread, while the context lasts."""

    def __init__(
        self,
        archive: EdgarArchive,
        *,
        clock: Callable[[], datetime] | datetime,
        manners: Manners | None = None,
        recorded: Mapping[str, bytes] | None = None,
    ) -> None:
        self.manners = manners or Manners()
        now = clock if callable(clock) else lambda: clock
        self._app = edgar_app(archive, now, self.manners, recorded)
        self._running = ExitStack()
        self.base_url = ""

    def __enter__(self) -> Self:
        import uvicorn

        listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        self.base_url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        server = uvicorn.Server(uvicorn.Config(self._app, log_config=None, access_log=False, lifespan="off"))
        self._running.enter_context(running(server, listening, "EDGAR sandbox"))
        return self

    def __exit__(self, *_: object) -> None:
        self._running.close()


def _answer(archive: EdgarArchive, now: datetime, request: Request) -> bytes | None:
    path, query = request.url.path, request.query_params
    if path == "/cgi-bin/browse-edgar":
        count = min(int(query.get("count", "40")), 100)
        return archive.current(now, query.get("type", ""), int(query.get("start", "0")), count)
    if path == "/files/company_tickers.json":
        return archive.company_tickers()
    if found := re.fullmatch(r"/Archives/edgar/daily-index/\d{4}/QTR\d/form\.(\d{8})\.idx", path):
        return archive.daily_index(now, datetime.strptime(found.group(1), "%Y%m%d").date())
    if found := re.fullmatch(r"/Archives/edgar/full-index/(\d{4})/QTR(\d)/master\.idx", path):
        return archive.full_index(now, int(found.group(1)), int(found.group(2)))
    if found := re.fullmatch(r"/submissions/CIK(\d{10})\.json", path):
        return archive.submissions(now, found.group(1))
    if found := re.fullmatch(
        r"/files/structureddata/data/insider-transactions-data-sets/(\d{4})q(\d)_form345\.zip", path
    ):
        return archive.bulk(now, int(found.group(1)), int(found.group(2)))
    if path.startswith("/Archives/edgar/data/") and (found := _ACCESSION.search(path)):
        return archive.submission(now, found.group(1))
    return None


def _data_set(filings: Sequence[ArchivedFiling]) -> bytes:
    """The SEC's tables over `filings`, zipped."""
    tables: dict[str, list[dict[str, Any]]] = {name: [] for name in TABLE_NAMES}
    for filing in filings:
        document = parse(ownership_xml(filing.content))
        key = {"ACCESSION_NUMBER": filing.accession}
        tables["SUBMISSION"].append(key | _submission_row(filing, document))
        tables["REPORTINGOWNER"] += [key | _owner_row(owner) for owner in document.owners]
        tables["FOOTNOTES"] += [
            key | {"FOOTNOTE_ID": n.footnote_id, "FOOTNOTE_TXT": n.text} for n in document.footnotes
        ]
        tables["OWNER_SIGNATURE"] += [
            key | {"OWNERSIGNATURENAME": each.name, "OWNERSIGNATUREDATE": each.signed_on}
            for each in document.signatures
        ]
        for name, form_table, record, row_key in ROW_TABLES:
            rows = [
                row
                for row in (*document.transactions, *document.holdings)
                if type(row) is record and row.form_table == form_table
            ]
            tables[name] += [key | {row_key: len(tables[name]) + n} | _cells(row) for n, row in enumerate(rows, 1)]
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as target:
        for name, rows in tables.items():
            columns = list(dict.fromkeys(column for row in rows for column in row)) or ["ACCESSION_NUMBER"]
            lines = ["\t".join(columns), *("\t".join(_tsv(row.get(column)) for column in columns) for row in rows)]
            target.writestr(zipfile.ZipInfo(f"{name}.tsv", (2020, 1, 1, 0, 0, 0)), "\n".join(lines) + "\n")
    return content.getvalue()


def _submission_row(filing: ArchivedFiling, document: OwnershipDocument) -> dict[str, Any]:
    return {
        "FILING_DATE": filing.filed_on,
        "PERIOD_OF_REPORT": document.period_of_report,
        "DATE_OF_ORIG_SUB": document.date_of_original_submission,
        "NO_SECURITIES_OWNED": document.no_securities_owned,
        "NOT_SUBJECT_SEC16": document.not_subject_to_section16,
        "FORM3_HOLDINGS_REPORTED": document.form3_holdings_reported,
        "FORM4_TRANS_REPORTED": document.form4_transactions_reported,
        "DOCUMENT_TYPE": document.form_type,
        "ISSUERCIK": document.issuer_cik,
        "ISSUERNAME": document.issuer_name,
        "ISSUERTRADINGSYMBOL": document.issuer_symbol,
        "REMARKS": document.remarks,
        "AFF10B5ONE": document.aff10b5_one,
    }


def _owner_row(owner: Owner) -> dict[str, Any]:
    boxes = {
        "DIRECTOR": owner.is_director,
        "OFFICER": owner.is_officer,
        "TENPERCENTOWNER": owner.is_ten_percent_owner,
        "OTHER": owner.is_other,
    }
    return {
        "RPTOWNERCIK": owner.owner_cik,
        "RPTOWNERNAME": owner.owner_name,
        "RPTOWNER_RELATIONSHIP": ",".join(name.title() for name, ticked in boxes.items() if ticked),
        "RPTOWNER_TITLE": owner.officer_title,
        "RPTOWNER_TXT": owner.other_text,
        "RPTOWNER_STREET1": owner.street1,
        "RPTOWNER_STREET2": owner.street2,
        "RPTOWNER_CITY": owner.city,
        "RPTOWNER_STATE": owner.state,
        "RPTOWNER_ZIPCODE": owner.zip_code,
        "RPTOWNER_STATE_DESC": owner.state_description,
    }


def _cells(row: Holding) -> dict[str, Any]:
    cells: dict[str, Any] = {}
    for name, (column, *_) in ROW_COLUMNS.items():
        if name in type(row).__struct_fields__:
            cells[column] = getattr(row, name)
            cells[f"{column}_FN"] = ",".join(link.id for link in row.footnotes if link.field == name)
    return cells


def _tsv(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "1" if value else "0"
    if isinstance(value, date):
        return f"{value:%d-%b-%Y}".upper()
    return " ".join(str(value).split())


def _atom_entry(filing: ArchivedFiling, party: tuple[str, str, str]) -> str:
    cik, name, role = party
    folder = f"/Archives/edgar/data/{int(cik)}/{filing.accession.replace('-', '')}"
    updated = filing.accepted_at.astimezone(calendar.NEW_YORK).isoformat(timespec="seconds")
    return (
        f"<entry>\n<title>{escape(f'{filing.form_type} - {name} ({cik}) ({role})')}</title>\n"
        f'<link rel="alternate" type="text/html" href="https://www.sec.gov{folder}/{filing.accession}-index.htm"/>\n'
        f'<summary type="html">\n &lt;b&gt;Filed:&lt;/b&gt; {filing.filed_on} &lt;b&gt;AccNo:&lt;/b&gt; '
        f"{filing.accession} &lt;b&gt;Size:&lt;/b&gt; 8 KB\n</summary>\n<updated>{updated}</updated>\n"
        f'<category scheme="https://www.sec.gov/" label="form type" term="{filing.form_type}"/>\n'
        f"<id>urn:tag:sec.gov,2008:accession-number={filing.accession}</id>\n</entry>\n"
    )


def _archived(document: OwnershipDocument, accession: str, accepted_at: datetime, content: bytes) -> ArchivedFiling:
    return ArchivedFiling(
        accepted_at=accepted_at,
        accession=accession,
        form_type=document.form_type,
        issuer_cik=document.issuer_cik,
        issuer_name=document.issuer_name or "",
        owners=tuple((owner.owner_cik, owner.owner_name or "") for owner in document.owners),
        content=content,
    )


def _signed_at(document: OwnershipDocument) -> datetime:
    days = [signature.signed_on for signature in document.signatures if signature.signed_on]
    day = max(days) if days else document.period_of_report
    if day is None:
        raise ValueError("the document has neither a signature date nor a period")
    return datetime(day.year, day.month, day.day, 18, tzinfo=calendar.NEW_YORK).astimezone(UTC)


def _acceptance(day: date, rng: np.random.Generator) -> datetime:
    """A moment of the day: four fifths between 16:00 and 21:59 New York, the rest from 06:00."""
    minute = int(rng.integers(16 * 60, 22 * 60)) if rng.random() < 0.8 else int(rng.integers(6 * 60, 16 * 60))
    midnight = datetime(day.year, day.month, day.day, tzinfo=calendar.NEW_YORK)
    return (midnight + timedelta(minutes=minute, seconds=int(rng.integers(60)))).astimezone(UTC)


_ROLES: tuple[dict[str, Any], ...] = (
    {"is_director": True},
    {"is_officer": True, "officer_title": "Chief Executive Officer"},
    {"is_officer": True, "officer_title": "Chief Financial Officer"},
    {"is_officer": True, "officer_title": "See Remarks"},
    {"is_ten_percent_owner": True},
)
_KINDS = ("S", "S", "S", "F", "M", "A", "P", "G")


def _invented(issuer: Issuer, day: date, rng: np.random.Generator) -> OwnershipDocument:
    position = int(rng.integers(len(_ROLES)))
    traded = calendar.previous_session(day, 1 if rng.random() < 0.95 else 6)
    code = _KINDS[int(rng.integers(len(_KINDS)))]
    planned = code == "S" and rng.random() < 0.6
    shares = float(rng.integers(1, 200) * 100)
    price = {"P": issuer.price, "S": issuer.price, "F": issuer.price}.get(code, 0.0)
    acquired = code in ("P", "M", "A")
    owners = [_invented_owner(issuer, position)]
    if rng.random() < 0.08:
        owners.append(_invented_owner(issuer, (position + 1) % len(_ROLES)))
    row = Transaction(
        form_table="nonderivative",
        row_number=1,
        security_title="Common Stock",
        transaction_date=traded,
        form_type="4",
        code=code,
        equity_swap=False,
        shares=shares,
        price_per_share=round(price * (1 + 0.01 * float(rng.normal())), 4),
        acquired_disposed="A" if acquired else "D",
        shares_owned_following=float(rng.integers(1, 5000) * 100),
        direct_indirect="D",
        footnotes=(FootnoteLink("code", "F1"),) if planned else (),
    )
    adopted = f"{calendar.previous_session(day, 120):%B %d, %Y}"
    return OwnershipDocument(
        form_type="4",
        schema_version="X0609",
        period_of_report=traded,
        issuer_cik=issuer.cik,
        issuer_name=issuer.name,
        issuer_symbol=issuer.ticker,
        owners=tuple(owners),
        aff10b5_one=planned,
        transactions=(row,),
        footnotes=(Footnote("F1", f"Sold under a Rule 10b5-1 trading plan adopted on {adopted}."),) if planned else (),
        remarks="Chief Operating Officer" if position == 3 else None,
        signatures=(Signature("/s/ Invented Insider", day),),
    )


def _amendment(original: ArchivedFiling, rng: np.random.Generator) -> OwnershipDocument:
    """The original again with the number of shares corrected."""
    document = parse(ownership_xml(original.content))
    rows = tuple(
        msgspec.structs.replace(row, shares=float(rng.integers(1, 200) * 100)) for row in document.transactions
    )
    base = document.form_type.removesuffix("/A")
    # An amendment of an amendment still names the first original.
    first = document.date_of_original_submission or original.filed_on
    return msgspec.structs.replace(
        document, form_type=f"{base}/A", date_of_original_submission=first, transactions=rows
    )


def _invented_owner(issuer: Issuer, position: int) -> Owner:
    cik = f"{7_000_000_000 + int(issuer.cik) * 10 + position:010d}"
    return Owner(owner_cik=cik, owner_name=f"Invented Insider {position + 1} of {issuer.ticker}", **_ROLES[position])
