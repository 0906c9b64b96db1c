"""The rows of the lake that the server's tests ask for."""

from __future__ import annotations

from datetime import UTC, date, datetime, time

import polars as pl

from flowlake.lake import Lake
from flowlake.schemas import table
from flowlake_tests.factories import frame

SESSIONS = (date(2026, 6, 1), date(2026, 6, 2), date(2026, 6, 3))
UNDERLYINGS = ("ABC", "XYZ")
STRIKES = tuple(float(strike) for strike in range(80, 120, 5))
CONVICTIONS = ("HIGH", "NONE")


def fill(lake: Lake) -> None:
    """Commit and publish all sessions."""
    with lake.commit("test") as tx:
        for session in SESSIONS:
            tx.replace("option_chains", session.isoformat(), chain(session))
            tx.replace("scored_events", session.isoformat(), events(session))
            tx.replace("insider_signals", session.isoformat(), signals(session))
    lake.publish(None, "test")


def chain(session: date, volume: int = 10) -> pl.DataFrame:
    """Two underlyings, two expirations, eight strikes, both rights."""
    rows = []
    for underlying in UNDERLYINGS:
        for expiration in (date(2026, 6, 19), date(2026, 7, 17)):
            for strike in STRIKES:
                for right in "CP":
                    rows.append(
                        {
                            "session": session,
                            "contract_id": len(rows),
                            "underlying": underlying,
                            "contract": contract(underlying, expiration, strike, right),
                            "root": underlying,
                            "expiration": expiration,
                            "strike": strike,
                            "right": right,
                            "volume": volume + len(rows),
                            "delta": 0.1 + 0.2 / 3,
                            "available_at": moment(session),
                            "origin": "simulated",
                        }
                    )
    return frame(table("option_chains"), rows)


def contract(underlying: str, expiration: date, strike: float, right: str) -> str:
    return f"O:{underlying}{expiration:%y%m%d}{right}{int(strike * 1000):08d}"


def events(session: date) -> pl.DataFrame:
    """One HIGH event of ABC, one below LOW of XYZ."""
    rows = [
        {
            "session": session,
            "event_id": event_id(session, underlying),
            "underlying": underlying,
            "rank": rank,
            "score": 9.0 - 4 * (rank - 1),
            "conviction": CONVICTIONS[rank - 1],
            "direction": "bullish",
            "right": "C",
            "status": "provisional",
            "algorithms": ["volume", "multi_strike"],
            "factors": [{"factor": "volume_surprise", "value": 9.0, "contribution": 3.0, "text": 'a "text", <b>é</b>'}],
            "contracts": [{"contract_id": 1, "contract": "O:ABC260619C00100000", "expiration": date(2026, 6, 19)}],
            "event_time": moment(session),
            "available_at": moment(session),
            "origin": "simulated",
        }
        for rank, underlying in enumerate(UNDERLYINGS, start=1)
    ]
    return frame(table("scored_events"), rows)


def event_id(session: date, underlying: str) -> str:
    return f"{session:%Y%m%d}{underlying.encode().hex()}".ljust(16, "0")


def signals(session: date) -> pl.DataFrame:
    """A cluster of buyers of ABC."""
    row = {"session": session, "ticker": "ABC", "buyers": 3, "purchase_value_usd": 1e6, "is_cluster_buy": True}
    return frame(table("insider_signals"), [row | {"available_at": moment(session), "origin": "simulated"}])


def moment(session: date) -> datetime:
    return datetime.combine(session, time(21, 35), UTC)
