"""Who is listed: fictional companies and funds, with the size, risk and calendar everything else follows from."""

from __future__ import annotations

import numpy as np
import polars as pl

from flowlake.sandbox.simulator.config import SimulatorConfig

SECTORS = (
    "Technology",
    "Communication",
    "Consumer Discretionary",
    "Consumer Staples",
    "Health Care",
    "Financials",
    "Industrials",
    "Energy",
    "Materials",
    "Utilities",
    "Real Estate",
)

MEDIAN_OPTION_VOLUME = 260.0
LOG_VOLUME_SPREAD = 2.35
"""Contracts a day per optionable name are close to log-normal over four decades; most names barely trade."""

# Anchors of the market: ticker, name, type, price, contracts a day in a full-size market, beta.
_ANCHORS = (
    ("SPX", "Simulated 500 Index", "INDEX", 6_900.0, 2.6e6, 1.0),
    ("SPY", "Simulated 500 Trust", "ETF", 690.0, 6.0e6, 1.0),
    ("QQQ", "Simulated 100 Trust", "ETF", 600.0, 4.0e6, 1.2),
    ("IWM", "Simulated 2000 Fund", "ETF", 240.0, 9.0e5, 1.1),
)
_FULL_SIZE = 6_000
_TIER_EDGES = (150.0, 1_000.0, 5_000.0, 50_000.0)
"""Contracts a day at which a name gains more expirations and strikes; see `listings`."""

_STEMS = (
    "Al",
    "Bor",
    "Cor",
    "Del",
    "Ever",
    "Fen",
    "Gal",
    "Hal",
    "Ion",
    "Jun",
    "Kel",
    "Lum",
    "Mar",
    "Nor",
    "Or",
    "Pell",
)
_TAILS = (
    "vane",
    "mont",
    "tex",
    "dyne",
    "field",
    "via",
    "stone",
    "ware",
    "quest",
    "gen",
    "crest",
    "port",
    "lis",
    "mere",
)
_KINDS = ("Systems", "Holdings", "Therapeutics", "Energy", "Bancorp", "Industries", "Brands", "Networks", "Materials")


def build_universe(config: SimulatorConfig) -> pl.DataFrame:
    """One row per underlying, sorted by ticker; the row number is the underlying's id everywhere in the simulator.

    Columns: ticker, name, type ('CS', 'ETF', 'INDEX'), primary_exchange, cik, market_cap (USD, null for index and
    funds), sector (index into `SECTORS`), beta, price (first close of the history), own_volatility and long_volatility
    (annualised decimal), option_volume (mean contracts a day), tier (0 illiquid .. 4, 5 for the anchors),
    share_volume (mean shares a day), dividend_yield (annual decimal), dividend_offset (session
    modulo 63 of the ex-day, -1 for none), earnings_offset (session modulo 63 of the
    release, -1 for none), earnings_move (standard deviation of the overnight log return).
    """
    rng = config.stream("universe")
    n = config.underlyings - len(_ANCHORS)
    # Stratified quantiles: a market of 30 names spans the same range of sizes as one of 6,000.
    quantile = (np.arange(n) + rng.uniform(0.05, 0.95, n)) / n
    size = _normal_quantile(quantile)
    volume = MEDIAN_OPTION_VOLUME * np.exp(LOG_VOLUME_SPREAD * size)
    market_cap = np.exp(np.log(1.5e9) + 1.7 * (0.85 * size + 0.53 * rng.standard_normal(n)))
    price = np.clip(np.exp(3.3 + 0.75 * (0.6 * size + 0.8 * rng.standard_normal(n))), 2.2, 1_200.0)
    is_fund = rng.random(n) < 0.10
    own = np.clip(0.42 * np.exp(-0.18 * size + 0.30 * rng.standard_normal(n)), 0.14, 1.3)
    own[is_fund] = rng.uniform(0.04, 0.25, int(is_fund.sum()))
    beta = np.clip(1.0 + 0.35 * rng.standard_normal(n), 0.2, 2.2)
    pays = (rng.random(n) < 0.35 + 0.1 * np.clip(size, -2, 2)) & (own < 0.5)
    names = _names(rng, n)
    ex_days = rng.integers(0, 63, n).astype(np.int16)
    companies = pl.DataFrame(
        {
            "ticker": _tickers(rng, n),
            "name": [f"{name} Fund" if fund else name for name, fund in zip(names, is_fund, strict=True)],
            "type": np.where(is_fund, "ETF", "CS"),
            "primary_exchange": np.where(rng.random(n) < 0.55, "XNAS", "XNYS"),
            "cik": [f"{number:010d}" for number in 9_000_000 + np.arange(n)],
            "market_cap": np.round(market_cap, -5),
            "sector": rng.integers(0, len(SECTORS), n).astype(np.int16),
            "beta": beta,
            "price": np.round(price, 2),
            "own_volatility": own,
            "option_volume": volume,
            "tier": np.searchsorted(_TIER_EDGES, volume, side="right").astype(np.int16),
            "share_volume": 25.0 * volume**0.75 * 500.0 / np.sqrt(price),
            "dividend_yield": np.where(pays, rng.uniform(0.005, 0.045, n), 0.0),
            "dividend_offset": np.where(pays, ex_days, -1),
            "earnings_offset": np.where(is_fund, -1, rng.integers(0, 63, n)).astype(np.int16),
            "earnings_move": np.clip(0.055 * np.exp(0.4 * rng.standard_normal(n)) * (own / 0.4) ** 0.5, 0.02, 0.25),
        }
    )
    merged = pl.concat([companies, _anchors(config)], how="diagonal_relaxed").sort("ticker")
    return merged.with_columns(
        pl.when(pl.col("type") == "CS").then("market_cap").alias("market_cap"),
        long_volatility=(
            0.16**2 * pl.col("beta") ** 2 + 0.10**2 * (pl.col("type") == "CS") + pl.col("own_volatility") ** 2
        )
        .sqrt()
        .alias("long_volatility"),
    )


def _anchors(config: SimulatorConfig) -> pl.DataFrame:
    # In a small market the anchors shrink with it, or SPX alone would be most of a 60-name demo.
    scale = np.sqrt(config.underlyings / _FULL_SIZE)
    n = len(_ANCHORS)
    return pl.DataFrame(
        {
            "ticker": [a[0] for a in _ANCHORS],
            "name": [a[1] for a in _ANCHORS],
            "type": [a[2] for a in _ANCHORS],
            "primary_exchange": [None if a[2] == "INDEX" else "ARCX" for a in _ANCHORS],
            "cik": [None if a[2] == "INDEX" else f"{9_900_000 + k:010d}" for k, a in enumerate(_ANCHORS)],
            "market_cap": [None] * n,
            "sector": np.full(n, -1, np.int16),
            "beta": [a[5] for a in _ANCHORS],
            "price": [a[3] for a in _ANCHORS],
            # SPX and SPY follow the market factor alone, so the fund tracks the index.
            "own_volatility": [0.0, 0.0, 0.04, 0.06],
            "option_volume": [a[4] * scale for a in _ANCHORS],
            "tier": np.full(n, 5, np.int16),
            "share_volume": [0.0, 7e7, 5e7, 3e7],
            "dividend_yield": [0.0, 0.012, 0.006, 0.011],
            "dividend_offset": np.array([-1, 14, 15, 16], np.int16),
            "earnings_offset": np.full(n, -1, np.int16),
            "earnings_move": np.zeros(n),
        },
        schema_overrides={"market_cap": pl.Float64},
    )


def _tickers(rng: np.random.Generator, n: int) -> list[str]:
    reserved = {anchor[0] for anchor in _ANCHORS}
    codes = rng.choice(26**4, size=n + len(reserved), replace=False)
    letters = ["".join(chr(65 + code // 26**k % 26) for k in range(4)) for code in codes.tolist()]
    return [ticker for ticker in letters if ticker not in reserved][:n]


def _names(rng: np.random.Generator, n: int) -> list[str]:
    stems, tails, kinds = (rng.integers(0, len(words), n).tolist() for words in (_STEMS, _TAILS, _KINDS))
    return [f"{_STEMS[a]}{_TAILS[b]} {_KINDS[c]}" for a, b, c in zip(stems, tails, kinds, strict=True)]


def _normal_quantile(p: np.ndarray) -> np.ndarray:
    from scipy.special import ndtri

    return ndtri(p)
