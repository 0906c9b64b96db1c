"""What can go wrong between a client and the vendor, on purpose: declared, seeded, counted.

A `Fault` says what happens, to which requests and how often. Chance is a hash of the seed, the request and how often
it was asked before, so concurrency does not change who is hit.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from urllib.parse import urlsplit, urlunsplit

from flowlake.sandbox.api import Page


class FaultKind(StrEnum):
    """The ways in which the vendor, or the way to it, has been seen to fail."""

    LATENCY = "latency"
    """The answer comes `seconds` late."""
    RATE_LIMIT = "rate_limit"
    """429, with `retry_after` seconds if set, with an empty body if `empty_body`."""
    SERVER_ERROR = "server_error"
    """`status` (503 unless said) with an HTML body."""
    MISSING_UNDERLYING = "missing_underlying"
    """404 with the vendor's JSON body."""
    TRUNCATED = "truncated"
    """Half of the body under the full content length, then the connection closes in good order."""
    TRUNCATED_SILENTLY = "truncated_silently"
    """Half of the body under a content length that agrees with it: broken JSON is the only sign."""
    RESET = "reset"
    """Half of the body, then a TCP reset."""
    LOOPING_NEXT_URL = "looping_next_url"
    """From page 2 on: `next_url` is the page's own URL."""
    REPEATED_PAGE = "repeated_page"
    """From page 2 on: the rows of the page before, again."""
    OVERLAPPING_ROWS = "overlapping_rows"
    """From page 2 on: begins with the last `rows` rows of the page before."""
    FOREIGN_NEXT_URL = "foreign_next_url"
    """`next_url` on another host: `url`'s scheme, host and port."""
    USERINFO_NEXT_URL = "userinfo_next_url"
    """`next_url` whose true host is `url`'s: the right one stands before an '@'."""
    PORT_443_NEXT_URL = "port_443_next_url"
    """`next_url` as `https://<host>:443/...`, which is another origin than this server's."""
    DOWNGRADED_NEXT_URL = "downgraded_next_url"
    """`next_url` as `http://<host>/...` without a port."""
    EMPTY_NEXT_URL = "empty_next_url"
    """On the last page: `next_url` is an empty string instead of absent."""
    POISONED_ROW = "poisoned_row"
    """One row more than there is, a copy of the page's first with values of wrong types."""


_FAILS_OUTRIGHT = {FaultKind.RATE_LIMIT, FaultKind.SERVER_ERROR, FaultKind.MISSING_UNDERLYING}
_CUTS = {FaultKind.TRUNCATED, FaultKind.TRUNCATED_SILENTLY, FaultKind.RESET}
_ENDS_REQUEST = _FAILS_OUTRIGHT | _CUTS
_NEEDS_PAGE_BEFORE = {FaultKind.LOOPING_NEXT_URL, FaultKind.REPEATED_PAGE, FaultKind.OVERLAPPING_ROWS}
_NEEDS_NEXT_PAGE = {
    FaultKind.FOREIGN_NEXT_URL,
    FaultKind.USERINFO_NEXT_URL,
    FaultKind.PORT_443_NEXT_URL,
    FaultKind.DOWNGRADED_NEXT_URL,
}


@dataclass(frozen=True)
class Fault:
    """One thing that goes wrong: with the `first` requests (None: always) whose path matches the regular expression
    `path`, on `page` (None: any) of their list, each with `probability`. The other fields belong to single kinds."""

    kind: FaultKind
    path: str = ""
    page: int | None = None
    first: int | None = 1
    probability: float = 1.0
    seconds: float = 0.05
    status: int = 503
    retry_after: int | None = None
    empty_body: bool = False
    rows: int = 3
    url: str = "http://elsewhere.invalid"

    def fits(self, path: str, page: Page) -> bool:
        """Whether this fault can happen to `page` of `path`, leaving chance and count aside."""
        if not re.search(self.path, path) or self.page not in (None, page.number):
            return False
        if self.kind in _NEEDS_PAGE_BEFORE:
            return page.number > 1
        if self.kind in _NEEDS_NEXT_PAGE:
            return page.next_url is not None
        if self.kind is FaultKind.EMPTY_NEXT_URL:
            return page.next_url is None and page.paged
        return self.kind is not FaultKind.POISONED_ROW or bool(page.rows)

    @property
    def fails_outright(self) -> bool:
        """Whether the answer is an error instead of the page."""
        return self.kind in _FAILS_OUTRIGHT

    @property
    def cuts(self) -> bool:
        """Whether the page's bytes do not all arrive."""
        return self.kind in _CUTS


@dataclass(frozen=True)
class Faults:
    """Everything that goes wrong on one server, and the seed of chance."""

    faults: tuple[Fault, ...] = ()
    seed: int = 0

    def __init__(self, *faults: Fault, seed: int = 0) -> None:
        object.__setattr__(self, "faults", faults)
        object.__setattr__(self, "seed", seed)


@dataclass(frozen=True)
class Injected:
    """One fault that happened."""

    kind: FaultKind
    path: str
    page: int


class Injector:
    """Decides which faults a request meets, and remembers them in `injected`."""

    def __init__(self, faults: Faults) -> None:
        self.injected: list[Injected] = []
        self._faults = faults
        self._happened: Counter[Fault] = Counter()
        self._asked: Counter[str] = Counter()

    def replace(self, faults: Faults) -> None:
        """From now on `faults` happen instead; what happened so far stays in `injected`."""
        self._faults = faults

    def pick(self, path: str, query: str, page: Page) -> list[Fault]:
        """The faults of this request, in the order declared; one that ends the request is the last."""
        if not self._faults.faults:
            return []
        attempt = self._asked[f"{path}?{query}"]
        self._asked[f"{path}?{query}"] += 1
        picked: list[Fault] = []
        for number, fault in enumerate(self._faults.faults):
            spent = fault.first is not None and self._happened[fault] >= fault.first
            if spent or not fault.fits(path, page):
                continue
            if _chance(self._faults.seed, number, path, query, attempt) >= fault.probability:
                continue
            self._happened[fault] += 1
            self.injected.append(Injected(fault.kind, path, page.number))
            picked.append(fault)
            if fault.kind in _ENDS_REQUEST:
                break
        return picked


def alter(page: Page, faults: Iterable[Fault], url: str) -> Page:
    """`page`, asked for at `url`, with the faults of content applied; the others leave it as it is."""
    for fault in faults:
        page = _alter(page, fault, url)
    return page


def _alter(page: Page, fault: Fault, url: str) -> Page:
    rows, following = page.rows or [], page.next_url or ""
    match fault.kind:
        case FaultKind.LOOPING_NEXT_URL:
            return replace(page, next_url=url)
        case FaultKind.REPEATED_PAGE:
            return replace(page, rows=page.previous())
        case FaultKind.OVERLAPPING_ROWS:
            return replace(page, rows=page.previous()[-fault.rows :] + rows)
        case FaultKind.POISONED_ROW:
            return replace(page, rows=[rows[0], _poisoned(rows[0]), *rows[1:]])
        case FaultKind.EMPTY_NEXT_URL:
            return replace(page, next_url="")
        case FaultKind.FOREIGN_NEXT_URL:
            elsewhere = urlsplit(fault.url)
            return replace(page, next_url=_moved(following, elsewhere.scheme, elsewhere.netloc))
        case FaultKind.USERINFO_NEXT_URL:
            elsewhere = urlsplit(fault.url)
            here = urlsplit(following).netloc
            return replace(page, next_url=_moved(following, elsewhere.scheme, f"{here}@{elsewhere.netloc}"))
        case FaultKind.PORT_443_NEXT_URL:
            return replace(page, next_url=_moved(following, "https", f"{urlsplit(following).hostname}:443"))
        case FaultKind.DOWNGRADED_NEXT_URL:
            return replace(page, next_url=_moved(following, "http", str(urlsplit(following).hostname)))
        case _:
            return page


def _moved(url: str, scheme: str, netloc: str) -> str:
    return urlunsplit(urlsplit(url)._replace(scheme=scheme, netloc=netloc))


def _poisoned(row: str) -> str:
    """The same fields with values no schema expects: numbers become words, words numbers, objects lists."""
    poison = {
        int: "not a number",
        float: "not a number",
        str: 17,
        dict: ["not", "an", "object"],
        list: 0,
        bool: "maybe",
    }
    fields = json.loads(row)
    wrong = {name: poison[type(value)] for name, value in fields.items()}
    # The row must still be recognisable as one of this list, or dropping it would be the only choice.
    if "details" in fields:
        wrong["details"] = fields["details"] | {"strike_price": "not a number"}
    return json.dumps(wrong)


def _chance(seed: int, number: int, path: str, query: str, attempt: int) -> float:
    drawn = hashlib.blake2b(f"{seed}|{number}|{path}?{query}|{attempt}".encode(), digest_size=8).digest()
    return int.from_bytes(drawn, "big") / 2**64
