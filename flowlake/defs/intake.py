"""Filings from EDGAR into the lake: what is listed and not yet there, in small commits.

Nothing here depends on what an earlier run remembered: the lake itself says which filings are missing. A run that is
killed anywhere is simply run again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from itertools import groupby, islice

import polars as pl

from flowlake.calendar import NEW_YORK
from flowlake.insiders.bulk import read_data_set
from flowlake.insiders.ownership import RefusedDocument
from flowlake.insiders.submission import MalformedSubmission
from flowlake.insiders.tables import FILING_TABLES, Filed, Refused, by_filing_date, filed_on, merge, read, to_frames
from flowlake.lake import Lake
from flowlake.schemas import table
from flowlake.sources.edgar import EdgarClient
from flowlake.sources.errors import RequestFailed

COMMIT_EVERY = 200
"""Filings per commit: at the SEC's pace about half a minute of work."""

BULK_COMMIT = 2_000
"""Filings per commit of a bulk data set: about a busy day."""

FEED_FORMS = ("3", "4", "5")
_AROUND = 4
"""Days around a filing date in which a filing's acceptance may lie (weekends, late evenings)."""


@dataclass
class Intake:
    """What one day's intake did."""

    listed: int = 0
    known: int = 0
    read: int = 0
    refused: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    index_published: bool = False

    def as_metadata(self) -> dict[str, int | bool]:
        """The figures for Dagster."""
        return {
            "listed": self.listed,
            "already in the lake": self.known,
            "read": self.read,
            "quarantined": self.refused,
            "failed": len(self.failed),
            "index published": self.index_published,
        }


class FilingsFailed(RuntimeError):
    """Some filings could not be had; the others are in the lake. Run the day again."""


def take_in_day(
    store: Lake,
    client: EdgarClient,
    day: date,
    *,
    run_id: str,
    now: datetime,
    origin: str,
    tickers: pl.DataFrame,
    progress: Callable[[Intake], None] = lambda _: None,
) -> Intake:
    """Bring the Forms 3, 4 and 5 filed on `day` into the lake.

    The day's index lists them once EDGAR has published it (it is kept as `insider_index`); before, the current-filings
    feed does. Filings in the lake are not fetched again.
    """
    done = Intake()
    index = client.daily_index(day)
    if index is not None:
        done.index_published = True
        _keep_index(store, index, day, run_id=run_id, now=now, origin=origin)
        listed = index
    else:
        listed = _from_feed(client, known_accessions(store, day), day)
    known = known_accessions(store, day)
    missing = listed.filter(~pl.col("accession").is_in(sorted(known)))
    done.listed, done.known = listed.height, listed.height - missing.height
    for batch in _batches(client.filings(missing["path"].to_list()), COMMIT_EVERY):
        _take_in(store, batch, tickers, origin, run_id, done)
        progress(done)
    _ensure_partition(store, day, run_id)
    return done


def take_in_quarter(
    store: Lake,
    client: EdgarClient,
    year: int,
    quarter: int,
    *,
    run_id: str,
    origin: str,
    tickers: pl.DataFrame,
    progress: Callable[[date, int], None] = lambda _day, _count: None,
) -> dict[date, int]:
    """Bring a quarter of the SEC's bulk data sets into the lake, a day per commit; returns filings added by day.

    What the lake has already stays: a filing read from its own submission knows its minute of acceptance, a bulk one
    only its day.
    """
    added: dict[date, int] = {}
    filings = sorted(
        read_data_set(client.bulk(year, quarter), origin), key=lambda each: (each.accepted_at, each.accession)
    )
    for day, of_day in groupby(filings, key=lambda each: filed_on(each.accepted_at)):
        known = known_accessions(store, day)
        new = [filing for filing in of_day if filing.accession not in known]
        for start in range(0, len(new), BULK_COMMIT):
            commit_filings(store, new[start : start + BULK_COMMIT], tickers, run_id)
        added[day] = len(new)
        progress(day, len(new))
    return added


def known_accessions(store: Lake, day: date) -> frozenset[str]:
    """Accessions around `day` that the lake has, read or quarantined."""
    around = [(day + timedelta(days=n)).isoformat() for n in range(-_AROUND, _AROUND + 1)]
    snapshot = store.snapshot()
    found = [
        snapshot.scan(name, around, ["accession"]).collect()["accession"]
        for name in ("insider_filings", "insider_quarantine")
    ]
    return frozenset(pl.concat(found))


def missing_from_lake(store: Lake, day: date) -> pl.DataFrame:
    """Filings that EDGAR's index of `day` lists and the lake does not have."""
    listed = store.read("insider_index", day.isoformat())
    return listed.filter(~pl.col("accession").is_in(sorted(known_accessions(store, day))))


def _from_feed(client: EdgarClient, known: frozenset[str], day: date) -> pl.DataFrame:
    pages = pl.concat([client.current(known, form, since=day) for form in FEED_FORMS])
    return pages.filter(pl.col("filed_on") == day).sort("accession")


def _batches(
    answers: Iterator[tuple[str, bytes | RequestFailed]], size: int
) -> Iterator[list[tuple[str, bytes | RequestFailed]]]:
    while batch := list(islice(answers, size)):
        yield batch


def _take_in(
    store: Lake,
    batch: Sequence[tuple[str, bytes | RequestFailed]],
    tickers: pl.DataFrame,
    origin: str,
    run_id: str,
    done: Intake,
) -> None:
    filings: list[Filed | Refused] = []
    for path, answer in batch:
        if isinstance(answer, RequestFailed):
            done.failed[path] = str(answer)
            continue
        try:
            filings.append(read(answer, origin))
        except (MalformedSubmission, RefusedDocument) as error:
            done.failed[path] = str(error)
    done.read += sum(isinstance(filing, Filed) for filing in filings)
    done.refused += sum(isinstance(filing, Refused) for filing in filings)
    commit_filings(store, filings, tickers, run_id)


def commit_filings(store: Lake, filings: Sequence[Filed | Refused], tickers: pl.DataFrame, run_id: str) -> None:
    """Merge `filings` into their partitions, all tables together; nobody else can write between reading and writing."""
    days = by_filing_date(to_frames(filings, tickers))
    if not days:
        return
    with store.commit(run_id, exclusive=True) as transaction:
        for day, arrived in days.items():
            key = day.isoformat()
            existing = {name: transaction.read(name, key) for name in FILING_TABLES if transaction.has(name, key)}
            for name, frame in merge(existing, arrived).items():
                transaction.replace(name, key, frame)


def _ensure_partition(store: Lake, day: date, run_id: str) -> None:
    """A day without filings (a holiday) is a partition without rows, not a missing one."""
    key = day.isoformat()
    with store.commit(run_id, exclusive=True) as transaction:
        for name in FILING_TABLES:
            if not transaction.has(name, key):
                transaction.replace(name, key, table(name).empty())


def _keep_index(store: Lake, index: pl.DataFrame, day: date, *, run_id: str, now: datetime, origin: str) -> None:
    rows = index.select(
        "filed_on",
        "accession",
        "form_type",
        "path",
        available_at=pl.lit(now.astimezone(NEW_YORK)).dt.convert_time_zone("UTC"),
        origin=pl.lit(origin),
    )
    with store.commit(run_id) as transaction:
        transaction.replace("insider_index", day.isoformat(), rows)
