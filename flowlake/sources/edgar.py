"""EDGAR over HTTP: feeds, indexes, submissions and bulk data, within the SEC's access rules.

The SEC allows 10 requests a second per user over all machines, demands a User-Agent that says who asks, and blocks for
ten minutes who does not comply. The pace and a block are therefore shared by every process of the machine through one
small file; after a block nobody sends anything until it is over.
"""

from __future__ import annotations

import fcntl
import os
import re
import struct
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Self

import httpx
import polars as pl

from flowlake.insiders import edgar_index
from flowlake.settings import EdgarSettings
from flowlake.sources.errors import (
    BadRequest,
    ConnectionLost,
    NotFound,
    RequestFailed,
    Retryable,
    ServerError,
    SourceError,
    UnexpectedAnswer,
    Unreachable,
)

PAGE_SIZE = 100
_FETCHERS = 4
_CONTACT = re.compile(r"[^\s@]+@[^\s@]+\.[A-Za-z]{2,}")
_PLACEHOLDER = re.compile(r"example\.(?:com|org|net)|noreply|no-reply|your\.?(?:domain|company|email)", re.IGNORECASE)
_BLOCK_PAGE = (b"Undeclared Automated Tool", b"Request Rate Threshold Exceeded")
_STATE = struct.Struct("<dd")


class NoContact(SourceError):
    """`edgar.user_agent` does not say who asks."""

    def __init__(self) -> None:
        super().__init__(
            "EDGAR needs a User-Agent with a contact address: set FLOWLAKE_EDGAR__USER_AGENT to "
            "'Name of your organisation contact@your.domain' (a real address; the SEC refuses placeholders)"
        )


class Blocked(RequestFailed):
    """The SEC blocks this address for a while; nothing is sent until then, by any process."""


@dataclass(frozen=True)
class Clock:
    """Time and sleep, so that tests can replace them."""

    now: Callable[[], float] = time.time
    sleep: Callable[[float], None] = time.sleep


class SharedPace:
    """A request pace and a block shared by all processes that use the same file.

    The file holds two numbers: when the next request may go, and until when requests are blocked (Unix times). A crash
    while it is locked releases the lock and at worst wastes one turn.
    """

    def __init__(self, path: Path, per_second: float, clock: Clock | None = None) -> None:
        self._path = path
        self._interval = 1.0 / per_second
        self._clock = clock or Clock()

    def take(self) -> None:
        """Wait for this process's turn."""
        with self._locked() as file:
            turn, blocked_until = self._read(file)
            now = self._clock.now()
            # A clock that was set back must not stop everybody until it has caught up.
            turn = max(now, turn if turn - now < 60 else now)
            self._write(file, turn + self._interval, blocked_until)
        if turn > now:
            self._clock.sleep(turn - now)

    def block(self, seconds: float) -> None:
        """Let no process send anything for `seconds`."""
        with self._locked() as file:
            turn, blocked_until = self._read(file)
            self._write(file, turn, max(blocked_until, self._clock.now() + seconds))

    def blocked_for(self) -> float:
        """Seconds until requests may be sent again; 0 where there is no block."""
        with self._locked() as file:
            return max(0.0, self._read(file)[1] - self._clock.now())

    def _locked(self) -> _LockedFile:
        return _LockedFile(self._path)

    @staticmethod
    def _read(descriptor: int) -> tuple[float, float]:
        content = os.pread(descriptor, _STATE.size, 0)
        return _STATE.unpack(content) if len(content) == _STATE.size else (0.0, 0.0)

    @staticmethod
    def _write(descriptor: int, turn: float, blocked_until: float) -> None:
        os.pwrite(descriptor, _STATE.pack(turn, blocked_until), 0)


class _LockedFile:
    """A file descriptor under an exclusive lock, made if absent."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> int:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        return self._descriptor

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)


class EdgarClient:
    """EDGAR's endpoints. Use as a context manager; raises `NoContact` on construction without a usable User-Agent."""

    def __init__(
        self,
        settings: EdgarSettings,
        pace: SharedPace,
        *,
        transport: httpx.BaseTransport | None = None,
        clock: Clock | None = None,
    ) -> None:
        agent = (settings.user_agent or "").strip()
        if not _CONTACT.search(agent) or _PLACEHOLDER.search(agent):
            raise NoContact
        self._settings = settings
        self._pace = pace
        self._clock = clock or Clock()
        self._http = httpx.Client(
            headers={"User-Agent": agent, "Accept-Encoding": "gzip, deflate"},
            timeout=settings.timeout_seconds,
            transport=transport,
            follow_redirects=False,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def current(self, known: frozenset[str] = frozenset(), form: str = "4", since: date | None = None) -> pl.DataFrame:
        """Ownership filings of the getcurrent feed that are not in `known`, each once, by accession.

        Pages are read until one holds nothing but known filings or nothing filed on or after `since`, the feed ends, or
        `max_pages` is reached. New filings push entries to later pages while the feed is read, so entries repeat but
        none is skipped.
        """
        pages: list[pl.DataFrame] = []
        start = 0
        for _ in range(self._settings.max_pages):
            content = self._get(self._settings.base_url, "/cgi-bin/browse-edgar", _feed(form, start))
            page = edgar_index.parse_current(content)
            pages.append(page)
            owned = edgar_index.ownership_filings(page)
            all_known = owned.height > 0 and owned["accession"].is_in(sorted(known)).all()
            all_old = since is not None and (page["filed_on"] < since).all()
            if page.height < PAGE_SIZE or all_known or all_old:
                break
            start += PAGE_SIZE
        filings = edgar_index.ownership_filings(pl.concat(pages))
        return filings.filter(~pl.col("accession").is_in(sorted(known)))

    def daily_index(self, day: date) -> pl.DataFrame | None:
        """Ownership filings of a day's index, each once; None where EDGAR has no index for that day (yet)."""
        path = f"/Archives/edgar/daily-index/{day:%Y}/QTR{_quarter(day)}/form.{day:%Y%m%d}.idx"
        content = self._get_or_none(self._settings.base_url, path)
        return None if content is None else edgar_index.ownership_filings(edgar_index.parse_index(content))

    def full_index(self, year: int, quarter: int) -> pl.DataFrame:
        """Ownership filings of a quarter's index, each once."""
        content = self._get(self._settings.base_url, f"/Archives/edgar/full-index/{year}/QTR{quarter}/master.idx")
        return edgar_index.ownership_filings(edgar_index.parse_index(content))

    def submissions(self, cik: str) -> pl.DataFrame:
        """All ownership filings of a company or person, older pages included, each once."""
        number = int(cik)
        recent, older = edgar_index.parse_submissions(
            self._get(self._settings.data_url, f"/submissions/CIK{number:010d}.json")
        )
        lists = [recent]
        for name in older:
            if not re.fullmatch(r"CIK\d{10}-submissions-\d{3}\.json", name):
                raise UnexpectedAnswer("an older page of the submissions has an unexpected name", url=name[:100])
            lists.append(edgar_index.parse_submissions(self._get(self._settings.data_url, f"/submissions/{name}"))[0])
        return edgar_index.ownership_filings(
            pl.concat(lists).with_columns(
                cik=pl.lit(f"{number:010d}"),
                path=pl.format("edgar/data/{}/{}.txt", pl.lit(str(number)), pl.col("accession")),
            )
        )

    def filing(self, path: str) -> bytes:
        """The full submission at `path` ('edgar/data/...txt'), as received."""
        if not edgar_index.SUBMISSION_PATH.fullmatch(path):
            raise ValueError(f"{path[:200]!r} is no path of an EDGAR submission")
        return self._get(self._settings.base_url, f"/Archives/{path}")

    def filings(self, paths: list[str]) -> Iterator[tuple[str, bytes | RequestFailed]]:
        """Several submissions in order, a few in flight; what failed for good is yielded as the failure.

        A block ends the whole reading: `Blocked` is raised. Who stops iterating stops the fetching.
        """
        pool = ThreadPoolExecutor(_FETCHERS)
        try:
            yield from zip(paths, pool.map(self._filing_or_failure, paths), strict=True)
        finally:
            pool.shutdown(cancel_futures=True)

    def company_tickers(self) -> pl.DataFrame:
        """The SEC's CIK-to-ticker map."""
        return edgar_index.parse_company_tickers(self._get(self._settings.base_url, "/files/company_tickers.json"))

    def bulk(self, year: int, quarter: int) -> bytes:
        """The quarter's insider transactions data set, a zip archive; published after the quarter's end."""
        name = f"{year}q{quarter}_form345.zip"
        return self._get(self._settings.base_url, f"/files/structureddata/data/insider-transactions-data-sets/{name}")

    def _filing_or_failure(self, path: str) -> bytes | RequestFailed:
        try:
            return self.filing(path)
        except Blocked:
            raise
        except RequestFailed as failure:
            return failure

    def _get_or_none(self, base: str, path: str) -> bytes | None:
        try:
            return self._get(base, path)
        except NotFound:
            return None

    def _get(self, base: str, path: str, params: dict[str, str] | None = None) -> bytes:
        url = base.rstrip("/") + path
        for attempt in range(1, self._settings.attempts + 1):
            try:
                return self._once(url, params)
            except Retryable as failure:
                failure.attempts = attempt
                if attempt == self._settings.attempts:
                    raise
                self._clock.sleep(self._settings.backoff_seconds * 2 ** (attempt - 1))
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _once(self, url: str, params: dict[str, str] | None) -> bytes:
        self._refuse_while_blocked(url)
        self._pace.take()
        self._refuse_while_blocked(url)
        try:
            with self._http.stream("GET", url, params=params) as answer:
                body = self._body(answer, url)
        except httpx.ConnectError as error:
            raise Unreachable(f"cannot connect: {error}", url=url) from error
        except httpx.TransportError as error:
            raise ConnectionLost(f"the connection broke: {error!r}", url=url) from error
        self._judge(answer, body, url)
        return body

    def _body(self, answer: httpx.Response, url: str) -> bytes:
        parts: list[bytes] = []
        size = 0
        for part in answer.iter_bytes():
            size += len(part)
            if size > self._settings.max_body_bytes:
                limit = f"{self._settings.max_body_bytes:,} bytes"
                raise UnexpectedAnswer(f"the answer is larger than {limit}", url=url, status=answer.status_code)
            parts.append(part)
        return b"".join(parts)

    def _judge(self, answer: httpx.Response, body: bytes, url: str) -> None:
        status = answer.status_code
        # The page comes with 403, 429 and also with 200; what it says counts.
        is_block_page = b"<html" in body[:2000].lower() and any(mark in body for mark in _BLOCK_PAGE)
        if is_block_page or status == 429:
            wait = _retry_after(answer) or self._settings.block_minutes * 60
            self._pace.block(wait)
            raise Blocked(
                f"the SEC blocks requests; none is sent for {wait / 60:.0f} minutes. Check edgar.user_agent "
                "and that all machines together stay below 10 requests a second",
                url=url,
                status=status,
                retry_after=wait,
            )
        if status == 200:
            return
        # The archive answers 403 (access denied, XML) for what does not exist, e.g. the index of a holiday.
        if status in (403, 404):
            raise NotFound("EDGAR has nothing at this address", url=url, status=status)
        if status >= 500 or status == 408:
            raise ServerError("EDGAR failed", url=url, status=status)
        if status >= 400:
            raise BadRequest("EDGAR refuses the request", url=url, status=status)
        raise UnexpectedAnswer("a redirect or an undocumented answer", url=url, status=status)

    def _refuse_while_blocked(self, url: str) -> None:
        wait = self._pace.blocked_for()
        if wait > 0:
            raise Blocked(f"the SEC blocked requests; none is sent for another {wait:.0f} s", url=url, retry_after=wait)


def _feed(form: str, start: int) -> dict[str, str]:
    return {
        "action": "getcurrent",
        "type": form,
        "owner": "include",
        "count": str(PAGE_SIZE),
        "start": str(start),
        "output": "atom",
    }


def _quarter(day: date) -> int:
    return (day.month - 1) // 3 + 1


def _retry_after(answer: httpx.Response) -> float | None:
    text = answer.headers.get("Retry-After", "")
    return float(text) if text.isdigit() and int(text) > 0 else None
