"""One pass over many option chains: pages of each in order, chains side by side, faults contained in their chain.

A chain that fails keeps its good pages and goes on from there in a later round; one whose pagination misbehaved starts
again from nothing. Either way a contract appears once: overlapping pages are resolved to the newest row.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import partial
from itertools import chain as flatten
from typing import Any
from urllib.parse import quote

import httpx
import polars as pl

from flowlake.schemas import UTC_TIME
from flowlake.schemas.market import RAW_OPTION_SNAPSHOTS, RAW_QUARANTINE, SNAPSHOT_COVERAGE
from flowlake.settings import ApiSettings
from flowlake.sources.endpoints import CHAIN
from flowlake.sources.errors import (
    AuthError,
    BudgetSpent,
    CircuitOpen,
    NotEntitled,
    NotFound,
    PaginationFault,
    PaginationLoop,
    RequestFailed,
    SourceError,
    TooManyPages,
)
from flowlake.sources.parse import Page, decode_page, to_frame
from flowlake.sources.transport import Transport

PAGE_LIMIT = 250
_PARAMS = {"limit": str(PAGE_LIMIT), "order": "asc", "sort": "ticker"}
BATCH_ROWS = 8_192
BATCH_SECONDS = 2.0
"""A batch of chains is turned into a frame, and handed on, at so many rows or after so long."""

REFUSALS_THAT_MEAN_THE_PLAN = 16
"""So many chains refused and none served: the plan lacks snapshots, asking for the others is pointless."""

_ORIGINS = frozenset({"simulated", "recorded"})
TIMEFRAME_COLUMNS = ("quote_timeframe", "trade_timeframe", "underlying_timeframe")
"""First the plan of the options themselves, then that of their underlying."""


@dataclass(frozen=True)
class Moment:
    """When a pass looks at the market: `as_of` in a replay, else the present.

    In a replay every row gets the same, made-up times (`observed_at` = as_of, known one delay later), so that the same
    session fetched twice gives the same bytes.
    """

    as_of: datetime | None
    delay: timedelta

    @property
    def headers(self) -> dict[str, str]:
        """What tells a sandbox which moment to show."""
        return {"X-Sandbox-Clock": self.as_of.isoformat()} if self.as_of else {}

    def known(self, received: datetime) -> datetime:
        """`available_at` of what was received at `received`."""
        return (self.as_of + self.delay if self.as_of else received).astimezone(UTC)

    def observed(self, received: datetime) -> datetime:
        """`observed_at` of what was received at `received`."""
        return self.known(received) - self.delay


@dataclass(frozen=True)
class Progress:
    """How far a pass is, after one more underlying has ended."""

    done: int
    total: int
    pages: int
    rows: int
    failed: int


OnProgress = Callable[[Progress], None]


@dataclass(frozen=True)
class PassStats:
    """What a pass did and cost. Latencies are seconds per answered request."""

    underlyings: int
    statuses: Mapping[str, int]
    pages: int
    rows: int
    duplicates: int
    rejected: int
    unknown_fields: Mapping[str, int]
    requests: int
    retries: int
    rate_limited: int
    bytes: int
    seconds: float
    latency_median: float | None
    latency_p95: float | None
    fewest_in_flight: int

    def as_metadata(self) -> dict[str, object]:
        """The figures as a flat dictionary of JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class ChainPass:
    """Result of a pass: rows (RAW_OPTION_SNAPSHOTS), rows that did not fit (RAW_QUARANTINE), SNAPSHOT_COVERAGE."""

    frame: pl.DataFrame
    rejected: pl.DataFrame
    coverage: pl.DataFrame
    stats: PassStats


@dataclass(frozen=True)
class Chunk:
    """Chains of a pass that are final: rows, rows that did not fit, and coverage. What failed is in no chunk."""

    frame: pl.DataFrame
    rejected: pl.DataFrame
    coverage: pl.DataFrame


OnChunk = Callable[[Chunk], None]
"""Called as chains arrive, a few thousand rows at a time, so that a pass can put down what it has."""


_WORST_FIRST = ("failed", "not_entitled", "not_found", "complete", "empty")
"""What a chain read in parts is: half of one would look like a chain in which volume vanished."""


@dataclass
class _KeptPage:
    page: Page
    known_at: datetime
    origin: str


@dataclass
class _Chain:
    underlying: str
    first_url: httpx.URL
    next_url: httpx.URL | None = None
    pages: list[_KeptPage] = field(default_factory=list)
    seen: set[httpx.URL] = field(default_factory=set)
    contracts: set[str] = field(default_factory=set)
    attempts: int = 0
    rounds: int = 0
    page_count: int = 0
    row_count: int = 0
    origin: str = ""
    status: str = ""
    error: str | None = None
    whole: _Chain | None = None
    parts: list[_Chain] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.restart()

    def split(self, urls: Sequence[httpx.URL]) -> list[_Chain]:
        """The chain as parts that are read by themselves and end together."""
        self.parts = [_Chain(self.underlying, url, whole=self) for url in urls]
        return self.parts

    def join(self) -> None:
        """Take over what the parts are, all of which have ended: as good as the worst of them."""
        self.status = min((part.status for part in self.parts), key=_WORST_FIRST.index)
        self.error = next((part.error for part in self.parts if part.status == self.status), None)
        self.attempts = sum(part.attempts for part in self.parts)
        self.origin = max(part.origin for part in self.parts)
        self.pages = [page for part in self.parts for page in part.pages]
        self.parts = []

    def restart(self) -> None:
        """Forget everything read so far."""
        self.next_url = self.first_url
        self.pages, self.seen, self.contracts = [], set(), set()


def origin_of(reply_origin: str | None) -> str:
    """The `origin` label for an answer with this X-Data-Origin header."""
    return reply_origin if reply_origin in _ORIGINS else "vendor"


def chain_path(underlying: str) -> str:
    """Path of an underlying's chain; raises `ValueError` for what cannot be a ticker."""
    if not underlying or not underlying.isprintable() or set(underlying) <= {"."} or len(underlying) > 32:
        raise ValueError(f"{underlying!r} is not a ticker")
    return f"/v3/snapshot/options/{quote(underlying, safe=':')}"


class ChainReader:
    """Reads the chains of one session once; make a new one for each pass."""

    def __init__(self, transport: Transport, settings: ApiSettings, session: date, moment: Moment) -> None:
        self._transport = transport
        self._settings = settings
        self._session = session
        self._moment = moment
        self._decode = partial(decode_page, CHAIN)
        self._slices: dict[str, pl.DataFrame] = {}
        self._rejected: list[dict[str, Any]] = []
        self._batch: list[_Chain] = []
        self._batch_rows = 0
        self._flushed_at = transport.timing.monotonic()
        self._duplicates = 0
        self._unknown: Counter[str] = Counter()
        self._ended: list[_Chain] = []
        self._totals: Counter[str] = Counter()
        self._fatal: SourceError | None = None
        self._refusal: NotEntitled | None = None
        self._last_error: SourceError | None = None
        self._on_chunk: OnChunk | None = None

    async def read(
        self,
        underlyings: Sequence[str],
        on_progress: OnProgress | None = None,
        on_chunk: OnChunk | None = None,
        cuts: Mapping[str, Sequence[date]] | None = None,
    ) -> ChainPass:
        """Read the chains of `underlyings`, begun in the order given; `on_chunk` gets those that are final meanwhile.

        A chain in `cuts` is read in parts, side by side: each part begins with an expiration given there. A chain that
        cannot be had is reported in the coverage. Raises `AuthError` for a refused key, `NotEntitled` where the plan
        serves no chain at all, and the last error where the server could not be reached for any.
        """
        transport = self._transport
        started = transport.timing.monotonic()
        before = transport.stats.totals()
        names = list(dict.fromkeys(underlyings))
        self._on_chunk = on_chunk
        pending: deque[_Chain] = deque()
        for name in names:
            try:
                urls = [
                    transport.url(chain_path(name), _PARAMS | span)
                    for span in _spans(sorted((cuts or {}).get(name, ())))
                ]
                chain = _Chain(name, urls[0])
                pending.extend(chain.split(urls) if len(urls) > 1 else [chain])
            except ValueError as error:
                self._end(_Chain(name, transport.base_url, error=str(error)), "failed", len(names), on_progress)
        for _ in range(self._settings.chain_rounds):
            pending = await self._round(pending, len(names), on_progress)
        for chain in pending:
            self._end(chain, "failed", len(names), on_progress)
        self._raise_if_hopeless()
        self._flush()
        # Each slice is one underlying in the table's order, so joining them is sorting, at half the memory of a sort.
        ordered = [self._slices.pop(name) for name in sorted(self._slices)]
        frame = pl.concat([RAW_OPTION_SNAPSHOTS.empty(), *ordered], rechunk=True)
        ordered.clear()
        requests, retries, rate_limited, size = (b - a for a, b in zip(before, transport.stats.totals(), strict=True))
        stats = PassStats(
            underlyings=len(names),
            statuses=dict(sorted(Counter(chain.status for chain in self._ended).items())),
            pages=self._totals["pages"],
            rows=frame.height,
            duplicates=self._duplicates,
            rejected=len(self._rejected),
            unknown_fields=dict(sorted(self._unknown.items())),
            requests=requests,
            retries=retries,
            rate_limited=rate_limited,
            bytes=size,
            seconds=transport.timing.monotonic() - started,
            latency_median=transport.stats.latency(0.5),
            latency_p95=transport.stats.latency(0.95),
            fewest_in_flight=transport.fewest_slots,
        )
        return ChainPass(frame, self._rejected_frame(self._rejected), self._coverage(self._ended), stats)

    async def _round(self, pending: deque[_Chain], total: int, on_progress: OnProgress | None) -> deque[_Chain]:
        again: deque[_Chain] = deque()

        async def work() -> None:
            while pending and self._fatal is None:
                chain = pending.popleft()
                if not await self._finish(chain):
                    again.append(chain)
                    continue
                self._end(chain, chain.status, total, on_progress)

        async with asyncio.TaskGroup() as workers:
            for _ in range(min(self._settings.concurrency, len(pending))):
                workers.create_task(work())
        if self._fatal is not None:
            raise self._fatal
        return again

    async def _finish(self, chain: _Chain) -> bool:
        """Read what is left of `chain`; whether its status is final."""
        try:
            while chain.next_url is not None:
                await self._next_page(chain, chain.next_url)
        except AuthError as error:
            self._fatal = error
            return False
        except NotFound as error:
            return self._settle(chain, "not_found", error)
        except NotEntitled as error:
            self._refusal = error
            self._settle(chain, "not_entitled", error)
            self._check_plan(error)
            return True
        except PaginationFault as error:
            self._last_error = error
            chain.restart()
            chain.error = str(error)
            return False
        except (RequestFailed, CircuitOpen, BudgetSpent) as error:
            # What made the circuit open says more than that it is open.
            cause = error.__cause__ if isinstance(error, CircuitOpen) else None
            self._last_error = cause if isinstance(cause, SourceError) else error
            chain.attempts += getattr(error, "attempts", 0)
            chain.error = str(error)
            return False
        chain.status = "complete" if any(kept.page.rows or kept.page.rejected for kept in chain.pages) else "empty"
        chain.error = None
        return True

    def _settle(self, chain: _Chain, status: str, error: RequestFailed) -> bool:
        chain.attempts += error.attempts
        chain.status, chain.error = status, str(error)
        chain.restart()
        return True

    def _check_plan(self, error: NotEntitled) -> None:
        refused = sum(chain.status == "not_entitled" for chain in self._ended) + 1
        if refused >= REFUSALS_THAT_MEAN_THE_PLAN and refused > len(self._ended):
            self._fatal = error

    async def _next_page(self, chain: _Chain, url: httpx.URL) -> None:
        reply = await self._transport.get(url, self._decode, self._moment.headers)
        chain.attempts += reply.attempts
        self._guard(chain, url, reply.value)
        chain.origin = origin_of(reply.origin)
        after = reply.value.next_url
        next_url = self._transport.next_page(after, url) if after else None
        if next_url is not None and (next_url in chain.seen or next_url == url):
            raise PaginationLoop("next_url leads back to a page already read", str(url))
        chain.seen.add(url)
        chain.pages.append(_KeptPage(reply.value, self._moment.known(reply.received_at), chain.origin))
        chain.next_url = next_url

    def _guard(self, chain: _Chain, url: httpx.URL, page: Page) -> None:
        if len(chain.pages) >= self._settings.max_pages:
            raise TooManyPages(f"more than {self._settings.max_pages} pages (FLOWLAKE_API__MAX_PAGES)", str(url))
        contracts = page.columns["contract"]
        if chain.pages and contracts and chain.contracts.issuperset(contracts):
            raise PaginationLoop("a page holds no contract that was not on the pages before it", str(url))
        chain.contracts.update(contracts)

    def _end(self, chain: _Chain, status: str, total: int, on_progress: OnProgress | None) -> None:
        chain.status = status
        if chain.whole is not None:
            if not all(part.status for part in chain.whole.parts):
                return
            chain = chain.whole
            chain.join()
            status = chain.status
        if status == "failed":
            # Half a chain is worse than none: it would look like a chain in which volume vanished.
            chain.restart()
        chain.page_count = len(chain.pages)
        chain.row_count = sum(kept.page.rows + len(kept.page.rejected) for kept in chain.pages)
        self._ended.append(chain)
        self._totals.update(pages=chain.page_count, rows=chain.row_count, failed=int(status == "failed"))
        self._batch.append(chain)
        self._batch_rows += chain.row_count
        is_old = self._transport.timing.monotonic() - self._flushed_at >= BATCH_SECONDS
        if self._batch_rows >= BATCH_ROWS or is_old:
            self._flush()
        if on_progress is not None:
            totals = self._totals
            on_progress(Progress(len(self._ended), total, totals["pages"], totals["rows"], totals["failed"]))

    def _raise_if_hopeless(self) -> None:
        """Raise what the pass failed of, where not a single page came: an empty market would hide it."""
        if any(chain.origin for chain in self._ended) or any(chain.status == "not_found" for chain in self._ended):
            return
        reason = self._refusal or self._last_error
        if reason is not None:
            raise reason

    def _flush(self) -> None:
        kept = [(chain.underlying, each) for chain in self._batch for each in chain.pages]
        batch, rejected = self._batch, list[dict[str, Any]]()
        for chain in batch:
            chain.restart()
        self._batch, self._batch_rows = [], 0
        self._flushed_at = self._transport.timing.monotonic()
        for underlying, each in kept:
            self._unknown.update(each.page.unknown_fields)
            rejected.extend(
                {
                    "reason": row.reason,
                    "underlying": underlying,
                    "contract": row.ticker,
                    "row": row.row,
                    "available_at": each.known_at,
                    "origin": each.origin,
                }
                for row in each.page.rejected
            )
        self._rejected.extend(rejected)
        frame = self._frame(kept)
        unique = _newest_of_each(frame)
        self._duplicates += frame.height - unique.height
        conformed = RAW_OPTION_SNAPSHOTS.conform(unique)
        start = 0
        for length, underlying in conformed["underlying"].rle().struct.unnest().iter_rows():
            self._slices[underlying] = conformed.slice(start, length)
            start += length
        final = [chain for chain in batch if chain.status != "failed"]
        if self._on_chunk is not None and final:
            self._on_chunk(Chunk(conformed, self._rejected_frame(rejected), self._coverage(final)))

    def _frame(self, kept: Sequence[tuple[str, _KeptPage]]) -> pl.DataFrame:
        columns = {
            name: list(flatten.from_iterable(each.page.columns[name] for _, each in kept)) for name in CHAIN.schema
        }
        page = pl.Series("page", [n for n, (_, each) in enumerate(kept) for _ in range(each.page.rows)], pl.UInt32)
        of_pages = pl.DataFrame(
            {
                "underlying": [underlying for underlying, _ in kept],
                "available_at": [each.known_at for _, each in kept],
                "origin": [each.origin for _, each in kept],
            },
            schema={"underlying": pl.String, "available_at": UTC_TIME, "origin": pl.String},
        )
        known = pl.col("available_at")
        return (
            to_frame(CHAIN, columns)
            .hstack(of_pages[page])
            .with_columns(
                session=pl.lit(self._session),
                fetched_at=known,
                observed_at=known - self._moment.delay,
                underlying_price=pl.coalesce("underlying_price", "underlying_value"),
                timeframe=pl.coalesce(TIMEFRAME_COLUMNS),
            )
            .select(RAW_OPTION_SNAPSHOTS.schema.names())
        )

    def _rejected_frame(self, rejected: Sequence[dict[str, Any]]) -> pl.DataFrame:
        schema = RAW_QUARANTINE.schema
        if not rejected:
            return RAW_QUARANTINE.empty()
        added = {"session": self._session, "table": RAW_OPTION_SNAPSHOTS.name}
        rows = [row | added | {"observed_at": row["available_at"] - self._moment.delay} for row in rejected]
        return RAW_QUARANTINE.conform(pl.DataFrame(rows, schema=schema))

    def _coverage(self, chains: Sequence[_Chain]) -> pl.DataFrame:
        known = self._moment.known(self._transport.timing.now())
        origin = max((chain.origin for chain in self._ended), default="") or "vendor"
        rows = [
            {
                "session": self._session,
                "underlying": chain.underlying,
                "status": chain.status,
                "pages": chain.page_count,
                "rows": chain.row_count,
                "attempts": chain.attempts,
                "error": chain.error,
                "observed_at": known - self._moment.delay,
                "available_at": known,
                "origin": chain.origin or origin,
            }
            for chain in chains
        ]
        return SNAPSHOT_COVERAGE.conform(pl.DataFrame(rows, schema=SNAPSHOT_COVERAGE.schema))


def _spans(cuts: Sequence[date]) -> list[dict[str, str]]:
    """Filters that part a chain at `cuts` (ascending): whatever expires when is in exactly one part."""
    first, last = [None, *cuts], [*cuts, None]
    return [
        ({"expiration_date.gte": begin.isoformat()} if begin else {})
        | ({"expiration_date.lt": end.isoformat()} if end else {})
        for begin, end in zip(first, last, strict=True)
    ]


def _newest_of_each(frame: pl.DataFrame) -> pl.DataFrame:
    """One row per underlying and contract: the one updated last, of equals the one on the later page."""
    key = ["underlying", "contract"]
    if frame.n_unique(key) == frame.height:
        return frame
    updated = pl.max_horizontal("day_updated_at", "quote_at", "last_trade_at", "underlying_at")
    ordered = frame.with_columns(updated=updated).sort("updated", nulls_last=False, maintain_order=True)
    return ordered.drop("updated").unique(key, keep="last", maintain_order=True)
