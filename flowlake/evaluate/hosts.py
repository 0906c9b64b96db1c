"""Hosts: real or simulated sessions in which episodes are placed, with the detection of each as it was.

The only module of the package that reads files. Chains and the undisturbed detection are kept as Parquet under a
fingerprint of the market and of the code that made them, so that neither an older market nor an older detector is
ever mistaken for this one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from datetime import date, timedelta
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from flowlake import calendar, schemas
from flowlake.detect import __file__ as detect_package
from flowlake.detect import baselines, expectation
from flowlake.detect.pipeline import CALIBRATION_SESSIONS, detect_session
from flowlake.evaluate import rivals
from flowlake.options import chains as chain_building
from flowlake.schemas.market import CORPORATE_ACTIONS, RAW_OPTION_SNAPSHOTS
from flowlake.schemas.options import CONTRACTS

if TYPE_CHECKING:
    from flowlake.sandbox.market import Market

Progress = Callable[[str, int, int], None]
"""Called as (what is being done, steps done, steps in all)."""

MIN_STOCK_HISTORY_DAYS = 30
CHAIN_COLUMNS = tuple(
    name
    for name in schemas.table("option_chains").schema
    if not name.startswith(("vendor_g", "vendor_t", "vendor_v")) and name not in ("theta", "rho", "iv_status", "vwap")
)


@dataclass(frozen=True)
class Clean:
    """One session as it was: its baselines and what detection recorded, before anything is injected."""

    contract_baselines: pl.DataFrame
    ticker_baselines: pl.DataFrame
    calibration_bins: pl.DataFrame
    ticker_statistics: pl.DataFrame
    scored_events: pl.DataFrame
    rivals: pl.DataFrame


class Hosts:
    """A market's sessions on disk under `folder`, built once by `build_hosts`."""

    def __init__(self, folder: Path, origin: str, sessions: tuple[date, ...]) -> None:
        self.folder = folder
        self.origin = origin
        self.sessions = sessions
        self.clean = lru_cache(maxsize=2)(self._clean)

    def chain(self, session: date) -> pl.LazyFrame:
        """OPTION_CHAINS of `session`, without the columns detection does not read."""
        return pl.scan_parquet(self.folder / "chains" / f"{session}.parquet")

    def trailing_chains(self, session: date) -> dict[date, pl.LazyFrame]:
        """The chains of all earlier sessions."""
        return {day: self.chain(day) for day in self.sessions if day < session}

    @cached_property
    def stocks(self) -> pl.DataFrame:
        """Daily closes and volumes: session, ticker, close, volume."""
        return pl.read_parquet(self.folder / "stocks.parquet")

    @cached_property
    def actions(self) -> pl.DataFrame:
        """CORPORATE_ACTIONS as known on the last session."""
        return pl.read_parquet(self.folder / "actions.parquet")

    def known_actions(self, session: date) -> pl.DataFrame:
        """What of `actions` had been declared by `session`."""
        return self.actions.filter(pl.coalesce("declared_on", "effective_on") <= session)

    @cached_property
    def statistics(self) -> pl.DataFrame:
        """TICKER_STATISTICS of all sessions, undisturbed."""
        return pl.concat(self.clean(day).ticker_statistics for day in self.sessions)

    @cached_property
    def rivals(self) -> pl.DataFrame:
        """Scores of the simple rules on all sessions, undisturbed: session, underlying, one column per rule."""
        return pl.concat(self.clean(day).rivals.with_columns(session=pl.lit(day)) for day in self.sessions)

    @cached_property
    def bins(self) -> pl.DataFrame:
        """CALIBRATION_BINS of all sessions, undisturbed."""
        return pl.concat(self.clean(day).calibration_bins for day in self.sessions)

    @cached_property
    def tickers(self) -> pl.DataFrame:
        """Per session and underlying: spot, volume, mean_volume and mean_n (20 sessions), previous_spot, return_std."""
        parts = []
        for day in self.sessions:
            totals = self.chain(day).group_by("underlying").agg(pl.col("spot").max(), pl.col("volume").sum()).collect()
            usual = self.clean(day).ticker_baselines.select(
                "underlying", "return_std", "previous_spot", mean_volume="volume_mean_20", mean_n="n_20"
            )
            parts.append(totals.join(usual, on="underlying", how="left").with_columns(session=pl.lit(day)))
        return pl.concat(parts).sort("session", "underlying")

    def trailing(self, frame: pl.DataFrame, session: date) -> pl.DataFrame:
        """Rows of `frame` from the calibration window before `session`."""
        start = calendar.previous_session(session, CALIBRATION_SESSIONS)
        return frame.filter((pl.col("session") >= start) & (pl.col("session") < session))

    def option_stock_history(self, session: date) -> pl.DataFrame:
        """Per underlying: usual_ratio, the trailing mean of option over stock volume, and stock_volume of today."""
        earlier = self.rivals_inputs.filter(pl.col("session") < session)
        ratio = pl.col("mid_term_volume") / pl.col("stock_volume")
        usual = earlier.group_by("underlying").agg(usual_ratio=ratio.mean(), sessions=ratio.count())
        today = self.rivals_inputs.filter(pl.col("session") == session).select("underlying", "stock_volume")
        return today.join(usual.filter(pl.col("sessions") >= 5), on="underlying", how="left").drop("sessions")

    @cached_property
    def rivals_inputs(self) -> pl.DataFrame:
        """Per session and underlying: option volume of Johnson and So's expirations, and stock volume."""
        parts = [
            rivals.mid_term_volume(self.chain(day)).collect().with_columns(session=pl.lit(day)) for day in self.sessions
        ]
        volume = self.stocks.filter(pl.col("volume") > 0).select(
            "session", underlying="ticker", stock_volume=pl.col("volume").cast(pl.Float64)
        )
        return pl.concat(parts).join(volume, on=["session", "underlying"], how="left").sort("session", "underlying")

    def _clean(self, session: date) -> Clean:
        folder = self.folder / f"clean-{_code_fingerprint()}" / str(session)
        return Clean(**{f.name: pl.read_parquet(folder / f"{f.name}.parquet") for f in fields(Clean)})


def build_hosts(
    market: Market, folder: Path, *, sessions: int | None = None, progress: Progress | None = None
) -> Hosts:
    """The last `sessions` sessions of `market` (all by default) as hosts under `folder`; what is there is kept."""
    days = tuple(market.sessions()[-(sessions or 0) :])
    key = hashlib.sha256(repr((market.origin, days, _code_fingerprint("options/*.py"))).encode()).hexdigest()[:12]
    hosts = Hosts(folder / f"{market.origin}-{key}", market.origin, days)
    if not (hosts.folder / "actions.parquet").is_file():
        _write_chains(market, hosts, progress)
    _write_clean(hosts, progress)
    return hosts


def _write_chains(market: Market, hosts: Hosts, progress: Progress | None) -> None:
    (hosts.folder / "chains").mkdir(parents=True, exist_ok=True)
    actions = _actions(market, hosts.sessions[-1])
    known = CONTRACTS.empty()
    for done, day in enumerate(hosts.sessions):
        raw = _raw_snapshot(market, day)
        usable = actions.filter(pl.coalesce("declared_on", "effective_on") <= day)
        built = chain_building.build_chains(raw, session=day, known_contracts=known, actions=usable)
        known = pl.concat([known, built.new_contracts])
        _write(built.chains.select(CHAIN_COLUMNS), hosts.folder / "chains" / f"{day}.parquet")
        _report(progress, "chains", done + 1, len(hosts.sessions))
    bars = market.stock_bars(calendar.previous_session(hosts.sessions[0], MIN_STOCK_HISTORY_DAYS), hosts.sessions[-1])
    _write(bars.select("session", "ticker", "close", "volume"), hosts.folder / "stocks.parquet")
    # Written last: its presence says that everything before it is complete.
    _write(actions, hosts.folder / "actions.parquet")


def _raw_snapshot(market: Market, session: date) -> pl.DataFrame:
    seen = calendar.session_close(session) + timedelta(minutes=20)
    chain = market.chain(seen).with_columns(
        session=pl.lit(session),
        fetched_at=pl.lit(seen),
        observed_at=pl.lit(seen),
        available_at=pl.lit(seen),
        origin=pl.lit(market.origin),
        timeframe=pl.lit("delayed"),
    )
    return RAW_OPTION_SNAPSHOTS.conform(chain.select(list(RAW_OPTION_SNAPSHOTS.schema)))


def _actions(market: Market, session: date) -> pl.DataFrame:
    closed = calendar.session_close(session)
    stamps = {"session": pl.lit(session), "available_at": pl.lit(closed), "origin": pl.lit(market.origin)}
    # A market that does not say when a split was announced is taken to know it from its execution on.
    splits = market.splits(session).select(
        "ticker", "split_from", "split_to", kind=pl.lit("split"), effective_on="execution_date",
        declared_on="execution_date",
    )  # fmt: skip
    dividends = market.dividends(session).select(
        "ticker", "cash_amount", kind=pl.lit("dividend"), effective_on="ex_dividend_date",
        declared_on="declaration_date",
    )  # fmt: skip
    rows = pl.concat([splits, dividends], how="diagonal").with_columns(**stamps)
    absent = [pl.lit(None).alias(name) for name in CORPORATE_ACTIONS.schema if name not in rows.columns]
    rows = rows.with_columns(absent).unique(list(CORPORATE_ACTIONS.key), keep="first", maintain_order=True)
    return CORPORATE_ACTIONS.conform(rows.select(list(CORPORATE_ACTIONS.schema)))


def _write_clean(hosts: Hosts, progress: Progress | None) -> None:
    bins, statistics = schemas.table("calibration_bins").empty(), schemas.table("ticker_statistics").empty()
    for done, day in enumerate(hosts.sessions):
        folder = hosts.folder / f"clean-{_code_fingerprint()}" / str(day)
        if not (folder / "rivals.parquet").is_file():
            folder.mkdir(parents=True, exist_ok=True)
            clean = _detect_clean(hosts, day, hosts.trailing(bins, day), hosts.trailing(statistics, day))
            for field in fields(Clean):
                _write(getattr(clean, field.name), folder / f"{field.name}.parquet")
        bins = pl.concat([bins, pl.read_parquet(folder / "calibration_bins.parquet")])
        statistics = pl.concat([statistics, pl.read_parquet(folder / "ticker_statistics.parquet")])
        _report(progress, "undisturbed detection", done + 1, len(hosts.sessions))


def _detect_clean(hosts: Hosts, day: date, bins: pl.DataFrame, statistics: pl.DataFrame) -> Clean:
    chain, history, actions = hosts.chain(day).collect(), hosts.trailing_chains(day), hosts.known_actions(day)
    contract = baselines.contract_baselines(day, chain, history, actions)
    ticker = baselines.ticker_baselines(day, chain, history, actions)
    found = detect_session(day, chain, contract, ticker, bins, statistics)
    lines = expectation.lines(chain, contract, ticker)
    return Clean(
        contract,
        ticker,
        found.calibration_bins,
        found.ticker_statistics,
        found.scored_events,
        rivals.scores(lines, ticker, hosts.option_stock_history(day)),
    )


def _write(frame: pl.DataFrame, path: Path) -> None:
    """Whole or not at all: an interrupted run leaves no half a file behind."""
    beside = path.with_suffix(".partial")
    frame.write_parquet(beside, compression="zstd")
    beside.replace(path)


def _report(progress: Progress | None, what: str, done: int, total: int) -> None:
    if progress is not None:
        progress(what, done, total)


@lru_cache(maxsize=4)
def _code_fingerprint(*sources: str) -> str:
    """A hash of the modules that match `sources` (by default those the undisturbed detection consists of)."""
    root = Path(detect_package).parents[1]
    digest = hashlib.sha256()
    for pattern in sources or ("detect/*.py", "detect/*.json", "options/*.py", "evaluate/rivals.py"):
        for path in sorted(root.glob(pattern)):
            digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def jumps(tickers: pl.DataFrame, sigmas: float = 4.0, smallest: float = 0.08) -> pl.DataFrame:
    """Price shocks: session, underlying where the close moved `sigmas` trailing deviations and at least `smallest`."""
    moved = (pl.col("spot") / pl.col("previous_spot")).log().abs()
    shock = (moved >= smallest) & (moved >= sigmas * pl.col("return_std").fill_null(0.0))
    return tickers.filter(shock).select("session", "underlying")


def eligible(
    tickers: pl.DataFrame, splits: pl.DataFrame, sessions: Mapping[date, int], *, warmup: int, apart: int = 7
) -> pl.DataFrame:
    """Ticker-sessions that may host an episode: rows of `tickers` past `warmup` sessions, with a baseline, and at least
    `apart` sessions from every price shock and split (`splits`: underlying, effective_on) of the same underlying.

    Earnings dates are not part of the recording, so earnings days are excluded only where they moved the price.
    """
    numbers = pl.DataFrame({"session": list(sessions), "number": list(sessions.values())})
    shocks = jumps(tickers).join(numbers, on="session").select("underlying", shock="number")
    dated = splits.join(numbers, left_on="effective_on", right_on="session").select("underlying", shock="number")
    troubled = pl.concat([shocks, dated.select(shocks.columns)])
    rows = tickers.join(numbers, on="session").filter(pl.col("number") >= warmup, pl.col("mean_n") >= warmup // 2)
    near = (
        rows.select("session", "underlying", "number")
        .join(troubled, on="underlying")
        .filter((pl.col("number") - pl.col("shock")).abs() <= apart)
    )
    return rows.join(near, on=["session", "underlying"], how="anti").sort("session", "underlying")
