"""Collects what a page shows from a lake snapshot, and renders it, for the Dagster assets and for `flowlake serve`.

Every function takes a `Snapshot` (`lake.published()`, `lake.snapshot()`), so a page's tables agree with each other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Protocol

import polars as pl

from flowlake.calendar import next_session
from flowlake.report.archive import ArchivePage, read_archive, render_archive
from flowlake.report.daily import DailyReport, QualityNote, render_daily
from flowlake.report.history import HistoryPage, render_history
from flowlake.report.market import MarketPage, render_market
from flowlake.report.monitor import MonitorPage, render_monitor
from flowlake.report.ticker import TickerPage, render_ticker
from flowlake.schemas import table
from flowlake.settings import MonitorSettings

DEFAULT_MONITOR = "SPX"
"""The underlying whose monitor page every page links to."""

HISTORY_SESSIONS = 60
"""Sessions that a ticker's history charts reach back."""

YEAR_SESSIONS = 252
"""Sessions of the history page."""

HEAT_SESSIONS = 20
"""Sessions of the market page's heat overview."""

INSIDER_DAYS = 200
"""Filing days that a ticker's time line reaches back."""


_DATED = ("scored_events", "event_status", "event_outcomes", "insider_trades")
_MONITOR_TABLES = ("anomalies_day_over_day", "intraday_day_over_day", "monitor_polls", "monitor_volume_bins")


class UnknownUnderlying(LookupError):
    """A page was asked for about an underlying that no published session has."""


class Reader(Protocol):
    """What a page needs of a lake snapshot."""

    def partitions(self, table: str) -> list[str]:
        """Partitions `table` has, ascending."""
        ...

    def scan(
        self, table: str, partitions: Sequence[str] | None = None, columns: Sequence[str] | None = None
    ) -> pl.LazyFrame:
        """Rows of the chosen partitions."""
        ...

    def files(self, table: str, partitions: Sequence[str] | None = None) -> list[Path]:
        """Parquet files of the chosen partitions."""
        ...


def daily_page(lake: Reader, session: date, quality: Sequence[QualityNote] = ()) -> str:
    """HTML of the daily report of `session`; `quality` is what its checks found."""
    return render_daily(collect_daily(lake, session, quality))


def ticker_page(lake: Reader, underlying: str, session: date | None = None) -> str:
    """HTML of the page of `underlying` as of `session` (default: the newest); raises `UnknownUnderlying`."""
    pages = list(collect_tickers(lake, [underlying], session))
    if not pages:
        raise UnknownUnderlying(f"no option chain of {underlying!r} in session {session or 'any published'}")
    return render_ticker(pages[0])


def market_page(lake: Reader, session: date | None = None) -> str:
    """HTML of the market page of `session` (default: the newest)."""
    return render_market(collect_market(lake, session))


def monitor_page(lake: Reader, underlying: str, thresholds: MonitorSettings) -> str:
    """HTML of the day-over-day monitor of `underlying`."""
    return render_monitor(collect_monitor(lake, underlying, thresholds))


def history_page(lake: Reader) -> str:
    """HTML of the history and pattern page."""
    return render_history(collect_history(lake))


def archive_page(folder: Path) -> str:
    """HTML of the index over the reports in `folder`."""
    return render_archive(collect_archive(folder))


def collect_daily(lake: Reader, session: date, quality: Sequence[QualityNote] = ()) -> DailyReport:
    """What the daily report of `session` shows; status and insiders are those known when this is called."""
    key = session.isoformat()
    events = _read(lake, "scored_events", [key])
    return DailyReport(
        session=session,
        events=events,
        chains=_read(lake, "option_chains", [key]),
        outcomes=_read(lake, "event_outcomes", [key]),
        surface=_read(lake, "iv_surface", [key]),
        coverage=_read(lake, "snapshot_coverage", [key]),
        quality=quality,
        quarantined=_read(lake, "raw_quarantine", [key]).height + _read(lake, "chain_quarantine", [key]).height,
        statuses=_statuses(lake, session),
        insiders=_read(lake, "event_insiders", [key]),
        incidents=_read(lake, "data_incidents", [key]),
    )


def collect_tickers(lake: Reader, underlyings: Sequence[str], session: date | None = None) -> Iterator[TickerPage]:
    """What the pages of `underlyings` show as of `session` (default: the newest), names without a chain left out."""
    keys = _until(lake, "option_chains", session)
    if not keys or not underlyings:
        return
    recent = keys[-HISTORY_SESSIONS:]
    chains = _of(lake, "option_chains", keys[-2:], underlyings)
    history = _histories(lake, underlyings, recent)
    surfaces = _of(lake, "iv_surface", keys[-2:], underlyings)
    known = {name: _until(lake, name, session) for name in _DATED}
    events = _of(lake, "scored_events", known["scored_events"], underlyings)
    statuses = _of(lake, "event_status", known["event_status"], underlyings)
    outcomes = _of(lake, "event_outcomes", known["event_outcomes"], underlyings)
    insiders = _of(lake, "insider_trades", known["insider_trades"][-INSIDER_DAYS:], underlyings, "ticker")
    congress = _of(lake, "congress_trades", None, underlyings, "ticker")
    if session is not None:
        congress = congress.filter(pl.col("disclosed_on") <= session)
    today = date.fromisoformat(keys[-1])
    for name in underlyings:
        mine = pl.col("underlying") == name
        chain = chains.filter(mine, pl.col("session") == today)
        if chain.is_empty():
            continue
        yield TickerPage(
            underlying=name,
            session=today,
            chain=chain,
            previous_chain=chains.filter(mine, pl.col("session") < today),
            history=history.filter(mine),
            surface=surfaces.filter(mine),
            events=events.filter(mine),
            statuses=statuses.filter(mine),
            outcomes=outcomes.filter(mine),
            insiders=insiders.filter(pl.col("ticker") == name),
            congress=congress.filter(pl.col("ticker") == name),
        )


def _until(lake: Reader, name: str, session: date | None) -> list[str]:
    """Partitions of `name` up to `session`: the page of an earlier session shows nothing that came later."""
    return [key for key in lake.partitions(name) if session is None or key <= session.isoformat()]


def _histories(lake: Reader, underlyings: Sequence[str], keys: list[str]) -> pl.DataFrame:
    """Per underlying and session: spot, call_volume, put_volume, open_interest, usual_volume, atm_volatility."""
    wanted = pl.col("underlying").is_in(list(underlyings))
    columns = ["session", "underlying", "right", "volume", "open_interest", "spot"]
    volume = pl.col("volume").cast(pl.Int64)
    totals = (
        lake.scan("option_chains", keys, columns)
        .filter(wanted)
        .group_by("session", "underlying")
        .agg(
            spot=pl.col("spot").drop_nulls().first(),
            call_volume=volume.filter(pl.col("right") == "C").sum(),
            put_volume=volume.filter(pl.col("right") == "P").sum(),
            open_interest=pl.col("open_interest").cast(pl.Int64).sum(),
        )
    )
    usual = (
        lake.scan("ticker_baselines", keys, ["session", "underlying", "volume_mean_20"])
        .filter(wanted)
        .rename({"volume_mean_20": "usual_volume"})
    )
    level = (
        lake.scan("iv_surface", keys, ["session", "underlying", "tenor_days", "atm_volatility"])
        .filter(wanted, pl.col("tenor_days") == 30)
        .drop("tenor_days")
    )
    on = ["session", "underlying"]
    return totals.join(usual, on=on, how="left").join(level, on=on, how="left").sort("underlying", "session").collect()


def collect_market(lake: Reader, session: date | None = None) -> MarketPage:
    """What the market page shows of `session` (default: the newest scored one)."""
    keys = _until(lake, "scored_events", session)
    if not keys:
        newest = None
        events = table("scored_events").empty()
    else:
        newest = date.fromisoformat(keys[-1])
        events = _read(lake, "scored_events", keys[-1:])
    intraday = _newest_snapshots(lake, "intraday_scored_events", newest)
    recent_columns = ["session", "underlying", "score", "conviction", "expected_false_alarms_per_day"]
    return MarketPage(
        session=newest,
        events=events,
        recent=lake.scan("scored_events", keys[-HEAT_SESSIONS:], recent_columns).collect(),
        intraday=intraday,
        statuses=_statuses(lake, newest),
        alerts=_alerts(lake, newest, intraday),
    )


def _statuses(lake: Reader, session: date | None) -> pl.DataFrame:
    """What is known of the events of `session` (told by the next one) and of the session before (told by this one)."""
    keys = [] if session is None else [session.isoformat(), next_session(session).isoformat()]
    return _read(lake, "event_status", keys)


def _alerts(lake: Reader, session: date | None, intraday: pl.DataFrame) -> pl.DataFrame:
    """The ledger's rows about the sessions on the market page."""
    days = {session, *intraday["session"].unique().to_list()} - {None}
    return _read(lake, "alerts", sorted(str(day) for day in days))


def _newest_snapshots(lake: Reader, name: str, after: date | None) -> pl.DataFrame:
    """The snapshots of the newest session that has any, empty where that session has closed and is published."""
    keys = lake.partitions(name)
    newest = keys[-1][:10] if keys else ""
    if not newest or (after is not None and newest < after.isoformat()):
        return table(name).empty()
    return _read(lake, name, [key for key in keys if key.startswith(newest)])


def collect_monitor(lake: Reader, underlying: str, thresholds: MonitorSettings) -> MonitorPage:
    """What the monitor page of `underlying` shows: the newest session with polls, and the days before."""
    keys = lake.partitions("anomalies_day_over_day")[-HISTORY_SESSIONS:]
    mine = pl.col("underlying") == underlying
    chain_keys = lake.partitions("option_chains")[-1:]
    watched = pl.col("dte").is_between(thresholds.min_dte, thresholds.max_dte)
    chain_columns = [
        "session", "contract", "underlying", "expiration", "dte", "strike", "right", "volume", "open_interest",
        "price", "delta", "implied_volatility", "origin",
    ]  # fmt: skip
    return MonitorPage(
        underlying=underlying,
        thresholds=thresholds,
        flagged=_newest_snapshots(lake, "intraday_day_over_day", None).filter(mine),
        polls=_newest_snapshots(lake, "monitor_polls", None).filter(mine),
        daily=lake.scan("anomalies_day_over_day", keys).filter(mine).collect(),
        sessions=[date.fromisoformat(key) for key in keys],
        chain=lake.scan("option_chains", chain_keys, chain_columns).filter(mine, watched).collect(),
        lake_bytes=sum(path.stat().st_size for name in _MONITOR_TABLES for path in lake.files(name)),
    )


def collect_history(lake: Reader) -> HistoryPage:
    """What the history page shows: events, outcomes and statuses of a year of sessions, and the newest calibration."""

    def year(name: str, columns: Sequence[str]) -> pl.DataFrame:
        return lake.scan(name, lake.partitions(name)[-YEAR_SESSIONS:], columns).collect()

    columns = ["session", "event_id", "underlying", "score", "conviction", "direction", "universe", "origin"]
    return HistoryPage(
        events=year("scored_events", columns),
        outcomes=year("event_outcomes", ["event_id", "horizon_sessions", "signed_return", "z"]),
        statuses=year("event_status", ["event_id", "conviction", "status"]),
        calibration=_read(lake, "calibration", lake.partitions("calibration")[-1:]),
        rules=year("rule_alarms", ["session", "rule", "kind", "description", "underlyings", "universe"]),
    )


def collect_archive(folder: Path) -> ArchivePage:
    """What the index shows: every page in `folder`."""
    return ArchivePage(read_archive(folder))


def current_underlyings(lake: Reader, sessions: Sequence[date], most: int, follow: int = 10) -> list[str]:
    """Underlyings whose page a run of `sessions` changes: at most `most`, the newest and highest events first.

    Those with an event at LOW or above in these sessions, and in the `follow` sessions up to the newest one, since
    what followed those events is still being learnt.
    """
    scored = lake.partitions("scored_events")
    keys = sorted({day.isoformat() for day in sessions} | set(scored[-follow - 1 :]))
    found = lake.scan("scored_events", keys, ["session", "underlying", "score", "conviction"]).collect()
    order = ("session", "score", "underlying")
    named = found.filter(pl.col("conviction") != "NONE").sort(order, descending=[True, True, False])
    return named["underlying"].unique(maintain_order=True).head(most).to_list()


def monitored(thresholds: MonitorSettings) -> list[str]:
    """Underlyings that get a monitor page: those watched by name, and SPX, which every page links to."""
    return sorted({DEFAULT_MONITOR, *thresholds.watched()})


def _read(lake: Reader, name: str, keys: Sequence[str] | None) -> pl.DataFrame:
    """Table `name` of the partitions there are."""
    return lake.scan(name, keys).collect()


def _of(
    lake: Reader, name: str, keys: Sequence[str] | None, underlyings: Sequence[str], column: str = "underlying"
) -> pl.DataFrame:
    return lake.scan(name, keys).filter(pl.col(column).is_in(list(underlyings))).collect()
