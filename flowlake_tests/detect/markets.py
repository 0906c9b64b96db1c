"""Small seeded markets for detection tests: whole OPTION_CHAINS frames without the simulator."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date, timedelta

import numpy as np
import polars as pl

from flowlake import calendar, schemas

LAST = date(2026, 6, 30)


def chain(session: date, rows: Sequence[dict[str, object]] | pl.DataFrame, *, basis: str = "snapshot") -> pl.DataFrame:
    """An OPTION_CHAINS frame of `session`: `rows` override the defaults of a plain out-of-the-money call."""
    defaults = {
        "session": session,
        "underlying": "ABC",
        "expiration": session + timedelta(days=30),
        "strike": 100.0,
        "right": "C",
        "multiplier": 100.0,
        "exercise_style": "american",
        "is_adjusted": False,
        "volume": 0,
        "open_interest": 100,
        "price": 1.0,
        "spot": 100.0,
        "implied_volatility": 0.3,
        "iv_status": "ok",
        "delta": 0.3,
        "vega": 0.1,
        "moneyness": 1.0,
        "trading_minutes": 1,
        "flags": 0,
        "basis": basis,
        "observed_at": calendar.session_close(session),
        "available_at": calendar.session_close(session) + timedelta(minutes=15),
        "origin": "simulated",
    }
    table = schemas.table("option_chains")
    frame = pl.DataFrame(rows)
    given = [
        (pl.col(name).fill_null(value) if name in frame.columns else pl.lit(value)).alias(name)
        for name, value in defaults.items()
    ]
    filled = frame.select("contract_id", *given).with_columns(dte=(pl.col("expiration") - session).dt.total_days())
    filled = filled.with_columns(
        root=pl.col("underlying"),
        contract=pl.format("O:{}{}", "underlying", "contract_id"),
        years=pl.col("dte") / 365,
    )
    absent = [
        pl.lit(None, dtype=dtype).alias(name) for name, dtype in table.schema.items() if name not in filled.columns
    ]
    return table.conform(filled.with_columns(absent))


class Market:
    """`tickers` chains over `n` sessions ending at `LAST`: over-dispersed volumes, open interest that follows them."""

    def __init__(self, tickers: int = 30, n: int = 32, seed: int = 1) -> None:
        self.sessions = calendar.trailing_sessions(calendar.next_session(LAST), n)
        self.rng = np.random.default_rng(seed)
        self.contracts = self._contracts(tickers)
        self.chains = dict(zip(self.sessions, self._simulate(), strict=True))

    def _contracts(self, tickers: int) -> pl.DataFrame:
        expirations = [self.sessions[-1] + timedelta(days=n) for n in (10, 45)]
        rows = [
            {
                "underlying": f"T{t:02d}",
                "expiration": e,
                "strike": float(strike),
                "right": right,
                "scale": 2.0 ** (t % 8),
            }
            for t in range(tickers)
            for e in expirations
            for strike in range(80, 121, 4)
            for right in ("C", "P")
        ]
        frame = pl.DataFrame(rows).sort("underlying", "expiration", "strike", "right").with_row_index("contract_id")
        away = (pl.col("strike") / 100.0).log() * pl.when(pl.col("right") == "C").then(1.0).otherwise(-1.0)
        sign = pl.when(pl.col("right") == "C").then(1.0).otherwise(-1.0)
        delta = (0.5 - 2.2 * away).clip(0.02, 0.98)
        return frame.with_columns(delta=sign * delta, rate=pl.col("scale") * (-(away.abs()) * 8.0).exp() * 3.0)

    def _simulate(self) -> Iterable[pl.DataFrame]:
        rate = self.contracts["rate"].to_numpy()
        _, ticker = np.unique(self.contracts["underlying"].to_numpy(), return_inverse=True)
        open_interest = np.full(len(rate), 200)
        for day in self.sessions:
            busy = self.rng.lognormal(0.0, 0.4, ticker.max() + 1)[ticker]
            volume = self.rng.poisson(rate * busy * self.rng.gamma(0.5, 2.0, len(rate)))
            columns = ["contract_id", "underlying", "expiration", "strike", "right", "delta"]
            rows = self.contracts.select(columns).with_columns(
                pl.Series("volume", volume),
                pl.Series("open_interest", open_interest),
                pl.Series("implied_volatility", 0.3 + self.rng.normal(0, 0.003, len(rate))),
            )
            yield chain(day, rows)
            open_interest = open_interest + (volume * self.rng.uniform(-0.3, 0.5, len(rate))).astype(int)

    def before(self, session: date) -> dict[date, pl.LazyFrame]:
        return {day: frame.lazy() for day, frame in self.chains.items() if day < session}

    def trade(self, session: date, contract_ids: Sequence[int], contracts: int, opened: int = 0) -> None:
        """Add `contracts` to each line's volume on `session`, `opened` to its open interest from the next on."""
        hit = pl.col("contract_id").is_in(contract_ids)
        for day in self.sessions:
            traded = pl.when(hit).then(contracts if day == session else 0).otherwise(0)
            rise = pl.when(hit).then(opened if day > session else 0).otherwise(0)
            changed = self.chains[day].with_columns(pl.col("volume") + traded, pl.col("open_interest") + rise)
            self.chains[day] = schemas.table("option_chains").conform(changed)

    def lines(self, underlying: str, right: str) -> list[int]:
        """Contract ids of the out-of-the-money lines of the near expiration, from the money outwards."""
        near = self.contracts.filter(
            pl.col("underlying") == underlying,
            pl.col("right") == right,
            pl.col("expiration") == pl.col("expiration").min(),
            pl.col("delta").abs() < 0.42,
        )
        return near.sort(pl.col("delta").abs(), descending=True)["contract_id"].to_list()
