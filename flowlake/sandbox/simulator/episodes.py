"""Informed episodes and the decoys that look like them, as prints to inject, with the truth of what they are.

The shape follows the public case file: sizes log-normal over 90..10,000 contracts, 3-20 % out of the money (puts
further), 1-4 strikes, 1-13 sessions, ending the session before the news.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from flowlake.sandbox.simulator.config import SimulatorConfig, ordinal
from flowlake.sandbox.simulator.listings import Listings
from flowlake.sandbox.simulator.stocks import QUARTER, NewsGap, StockPaths

DECOYS = ("roll", "hedge", "earnings_bet", "dividend_capture", "newsletter", "spread")
PACINGS = ("single", "uniform", "escalating", "split", "late")

TRUTH_SCHEMA = pl.Schema(
    {
        "episode_id": pl.String,
        "kind": pl.String,
        "informed": pl.Boolean,
        "underlying": pl.String,
        "contract": pl.String,
        "session": pl.Date,
        "contracts": pl.Int64,
        "opening_share": pl.Float64,
        "right": pl.String,
        "direction": pl.Int8,
        "out_of_the_money": pl.Float64,
        "dte": pl.Int32,
        "pacing": pl.String,
        "first_session": pl.Date,
        "last_session": pl.Date,
        "news_session": pl.Date,
        "news_return": pl.Float64,
        "decoy_note": pl.String,
    }
)
"""One row per injected print; `contracts` is its size, `opening_share` the signed share that enters open interest."""


@dataclass(frozen=True)
class Episode:
    """One planned episode: who, when, how much; contracts are chosen once the chain exists."""

    kind: str
    underlying: int
    first: int
    last: int
    news: int
    news_return: float
    direction: int
    size: int
    out_of_the_money: float
    days_to_expiration: int
    strikes: int
    pacing: str
    opening_share: float

    @property
    def informed(self) -> bool:
        """Whether the trader knew."""
        return self.kind == "informed"


@dataclass(frozen=True)
class Prints:
    """Injected trades, one row each: episode, day, contract id, size, the share of the day's volume clock in which it
    trades (start..end), its signed opening share, and the relative rise of the line's implied volatility."""

    episode: np.ndarray
    day: np.ndarray
    contract: np.ndarray
    size: np.ndarray
    start: np.ndarray
    end: np.ndarray
    opening: np.ndarray
    bump: np.ndarray


def plan_episodes(config: SimulatorConfig, universe: pl.DataFrame) -> list[Episode]:
    """Who trades what and when; needs no price, so that news can move the stock afterwards."""
    rng = config.stream("episodes")
    first_day = config.history_sessions + config.warmup()
    last_day = len(config.days()) - 1
    if last_day - first_day < 2:
        return []
    stock = (universe["type"] == "CS").to_numpy()
    volume = universe["option_volume"].to_numpy()
    free = rng.permutation(np.flatnonzero(stock & (volume > 40))).tolist()
    scheduled = {
        "earnings_bet": universe["earnings_offset"].to_numpy(),
        "dividend_capture": universe["dividend_offset"].to_numpy(),
    }
    planned: list[Episode] = []
    for kind in ["informed"] * config.informed_episodes + [DECOYS[k % len(DECOYS)] for k in range(config.decoys)]:
        # One episode per name: its truth rows then say all there is to say about the host.
        for host in free:
            last = None
            if kind in scheduled:
                last = _day_before(int(scheduled[kind][host]), first_day, last_day)
                if last is None:
                    continue
            free.remove(host)
            planned.append(_episode(rng, kind, host, first_day, last_day, last))
            break
    return planned


def _day_before(offset: int, first_day: int, last_day: int) -> int | None:
    """The day before a name's scheduled quarterly event inside the window, if there is one."""
    days = np.arange(first_day + 1, last_day + 1)
    events = days[days % QUARTER == offset]
    return int(events[0]) - 1 if len(events) else None


def _episode(
    rng: np.random.Generator, kind: str, host: int, first_day: int, last_day: int, last: int | None
) -> Episode:
    informed = kind == "informed"
    length = int(np.clip(rng.geometric(0.35), 1, min(13, last_day - first_day)))
    if not informed:
        length = 1
    last = int(rng.integers(first_day + length - 1, last_day)) if last is None else last
    direction = -1 if kind == "hedge" else 1 if kind != "informed" or rng.random() < 0.87 else -1
    size = float(np.clip(np.exp(rng.normal(np.log(1_100), 1.0)), 90, 10_000))
    moved = float(np.clip(rng.normal(0.27, 0.10), 0.08, 0.6))
    news_return = {"informed": direction * moved, "newsletter": 0.06}.get(kind, 0.0)
    otm = rng.uniform(0.03, 0.20) if direction > 0 else rng.uniform(0.05, 0.30)
    return Episode(
        kind=kind,
        underlying=host,
        first=last - length + 1,
        last=last,
        news=last + 1 if informed else last,
        news_return=news_return,
        direction=direction,
        size=round(size),
        out_of_the_money=float(otm),
        days_to_expiration=int(np.clip(np.exp(rng.normal(np.log(25), 0.7)), 2, 130)),
        strikes=int(rng.choice([1, 2, 3, 4], p=[0.5, 0.25, 0.15, 0.10])),
        pacing=str(rng.choice(PACINGS)),
        opening_share=float(rng.uniform(0.6, 1.0)) if rng.random() > 0.08 else 0.4,
    )


def news_gaps(episodes: list[Episode]) -> list[NewsGap]:
    """The overnight moves the episodes' news will cause."""
    return [NewsGap(e.underlying, e.news, float(np.log1p(e.news_return))) for e in episodes if e.news_return]


def choose_prints(
    config: SimulatorConfig, universe: pl.DataFrame, paths: StockPaths, listings: Listings, episodes: list[Episode]
) -> Prints:
    """Turn every plan into prints on contracts that are listed on its first day."""
    rng = config.stream("prints")
    volume = universe["option_volume"].to_numpy()
    rows: list[tuple[int, int, int, int, float, float, float, float]] = []
    for number, episode in enumerate(episodes):
        lines = _lines(listings, paths, episode, config)
        for contract, share, opening in lines:
            rows += _pace(rng, number, episode, contract, max(1, round(episode.size * share)), opening, volume)
    columns = list(zip(*rows, strict=True)) if rows else [[] for _ in range(8)]
    kinds = (np.int64, np.int64, np.int64, np.int64, float, float, float, float)
    return Prints(*(np.array(column, kind) for column, kind in zip(columns, kinds, strict=True)))


def _lines(
    listings: Listings, paths: StockPaths, episode: Episode, config: SimulatorConfig
) -> list[tuple[int, float, float]]:
    """Contracts an episode trades: (id, share of its size, signed opening share)."""
    days = config.days()
    today, until = ordinal(days[episode.first]), ordinal(days[episode.last])
    mine = np.flatnonzero(
        (listings.underlying == episode.underlying)
        & (listings.listed <= episode.first)
        & (listings.removed > episode.last)
        & (listings.shares == 100.0)
    )
    expires = listings.expires[mine]
    usable = mine[expires > until]
    if not len(usable):
        return []
    spot = float(paths.close[episode.first, episode.underlying])
    terms = np.unique(listings.expires[usable])
    near = terms[np.argmin(np.abs(terms - today - episode.days_to_expiration))]
    later = terms[terms > near]
    put = int(episode.direction < 0)

    def line(expiry: int, target: float, right: int, rank: int = 0) -> int | None:
        ids = usable[(listings.expires[usable] == expiry) & (listings.right[usable] == right)]
        order = ids[np.argsort(np.abs(listings.strike[ids] - target), kind="stable")]
        return int(order[rank]) if rank < len(order) else None

    target = spot * (1 + episode.direction * episode.out_of_the_money)
    match episode.kind:
        case "roll":
            strike_line = line(int(near), target, put)
            far = line(int(later[0]), target, put) if len(later) else None
            picked = [(strike_line, 1.0, -0.9), (far, 1.0, 0.95)]
        case "spread":
            picked = [(line(int(near), target, put, rank), 1.0, 0.9) for rank in range(3)]
        case "dividend_capture":
            deep = spot * 0.75
            picked = [(line(int(near), deep, 0, rank), 2.0, -0.3) for rank in range(3)]
        case "newsletter":
            picked = [(line(int(near), spot * 1.05, 0, rank), 0.15, 0.35) for rank in range(8)]
        case "earnings_bet":
            picked = [(line(int(near), spot * 1.03, 0, rank), 0.5, 0.6) for rank in range(2)]
        case _:
            weights = np.array([0.5, 0.25, 0.15, 0.10])[: episode.strikes]
            weights = weights / weights.sum()
            picked = [
                (line(int(near), target, put, rank), float(weight), episode.opening_share)
                for rank, weight in enumerate(weights)
            ]
    return [(contract, share, opening) for contract, share, opening in picked if contract is not None]


def _pace(
    rng: np.random.Generator,
    number: int,
    episode: Episode,
    contract: int,
    size: int,
    opening: float,
    volume: np.ndarray,
) -> list[tuple[int, int, int, int, float, float, float, float]]:
    """Spread `size` contracts over the sessions of the episode and the hours of each."""
    days = np.arange(episode.first, episode.last + 1)
    weights = np.arange(1, len(days) + 1) if episode.pacing == "escalating" else np.ones(len(days))
    sizes = np.diff(np.round(size * np.cumsum(weights / weights.sum())), prepend=0).astype(int)
    bump = min(0.02 * np.sqrt(episode.size / volume[episode.underlying]), 0.15) if episode.informed else 0.0
    rows = []
    for day, part in zip(days.tolist(), sizes.tolist(), strict=True):
        if not part:
            continue
        start = float(rng.uniform(0.05, 0.9))
        match episode.pacing:
            case "single":
                begin, end = start, start
            case "late":
                begin, end = 0.72, 0.98
            case _:
                begin, end = 0.05, 0.95
        rows.append((number, day, contract, part, begin, end, opening, bump))
    return rows


def truth_table(
    config: SimulatorConfig,
    universe: pl.DataFrame,
    paths: StockPaths,
    listings: Listings,
    symbols: np.ndarray,
    episodes: list[Episode],
    prints: Prints,
) -> pl.DataFrame:
    """Every injected print with the episode it belongs to; columns of `TRUTH_SCHEMA`, sorted."""
    days, tickers = config.days(), universe["ticker"].to_list()
    rows = []
    for row in range(len(prints.day)):
        number, day, contract = int(prints.episode[row]), int(prints.day[row]), int(prints.contract[row])
        episode = episodes[number]
        spot = paths.close[day, episode.underlying]
        has_news = bool(episode.news_return)
        rows.append(
            {
                "episode_id": f"E{number:04d}",
                "kind": episode.kind,
                "informed": episode.informed,
                "underlying": tickers[episode.underlying],
                "contract": str(symbols[row]),
                "session": days[day],
                "contracts": int(prints.size[row]),
                "opening_share": float(prints.opening[row]),
                "right": "CP"[int(listings.right[contract])],
                "direction": episode.direction,
                "out_of_the_money": float(abs(listings.strike[contract] / spot - 1)),
                "dte": int(listings.expires[contract]) - ordinal(days[day]),
                "pacing": episode.pacing,
                "first_session": days[episode.first],
                "last_session": days[episode.last],
                "news_session": days[episode.news] if has_news else None,
                "news_return": episode.news_return if has_news else None,
                "decoy_note": None if episode.informed else _NOTES[episode.kind],
            }
        )
    return pl.DataFrame(rows, schema=TRUTH_SCHEMA).sort("episode_id", "session", "contract")


_NOTES = {
    "roll": "closes the front line and opens the same size further out",
    "hedge": "puts bought against stock",
    "earnings_bet": "calls before a scheduled release",
    "dividend_capture": "deep in-the-money calls traded before the ex-date and exercised",
    "newsletter": "many small buyers over many strikes while the stock is already up",
    "spread": "equal sizes in three lines of one expiration",
}
