"""A small published lake with a few rows in every table that the server, the macros and the example queries read."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from itertools import pairwise

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
            tx.replace("contract_baselines", session.isoformat(), baselines(session))
            tx.replace("iv_surface", session.isoformat(), surface(session))
            tx.replace("insider_signals", session.isoformat(), signals(session))
            tx.replace("options_flow_features", session.isoformat(), features(session))
            tx.replace("calibration", session.isoformat(), calibration(session))
            tx.replace("rule_alarms", session.isoformat(), rule_alarms(session))
            tx.replace("alerts", session.isoformat(), alerts(session))
        for before, session in pairwise(SESSIONS):
            tx.replace("event_status", session.isoformat(), statuses(before, session))
            tx.replace("event_outcomes", session.isoformat(), outcomes(before, session))
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
                            "open_interest": 100 * session.day + len(rows),
                            "price": 2.5,
                            "multiplier": 100.0,
                            "spot": 100.0,
                            "delta": 0.1 + 0.2 / 3,
                            **known(session),
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
            **known(session),
        }
        for rank, underlying in enumerate(UNDERLYINGS, start=1)
    ]
    return frame(table("scored_events"), rows)


def event_id(session: date, underlying: str) -> str:
    return f"{session:%Y%m%d}{underlying.encode().hex()}".ljust(16, "0")


def baselines(session: date) -> pl.DataFrame:
    """Four contracts a day is usual for all."""
    rows = [
        {"session": session, "contract_id": number, "volume_n_20": 20, "volume_mean_20": 4.0, **known(session)}
        for number in range(chain(session).height)
    ]
    return frame(table("contract_baselines"), rows)


def surface(session: date) -> pl.DataFrame:
    rows = [
        {"session": session, "underlying": name, "tenor_days": days, "atm_volatility": 0.3, **known(session)}
        for name in UNDERLYINGS
        for days in (7, 30)
    ]
    return frame(table("iv_surface"), rows)


def statuses(before: date, session: date) -> pl.DataFrame:
    """What `session` made known about the events of the session before: ABC held, XYZ did not."""
    rows = [
        {
            "session": session,
            "event_id": event_id(before, name),
            "underlying": name,
            "event_session": before,
            "status": status,
            **known(session),
        }
        for name, status in zip(UNDERLYINGS, ("confirmed", "withdrawn"), strict=True)
    ]
    return frame(table("event_status"), rows)


def outcomes(before: date, session: date) -> pl.DataFrame:
    rows = [
        {
            "session": session,
            "event_id": event_id(before, name),
            "underlying": name,
            "event_session": before,
            "horizon_sessions": 1,
            "direction": "bullish",
            "conviction": conviction,
            "signed_return": 0.01,
            "z": 0.5,
            **known(session),
        }
        for name, conviction in zip(UNDERLYINGS, CONVICTIONS, strict=True)
    ]
    return frame(table("event_outcomes"), rows)


def calibration(session: date) -> pl.DataFrame:
    rows = [
        {
            "session": session,
            "level": level,
            "activity": "all",
            "nominal": nominal,
            "observed": 2,
            "ratio": 2 / nominal,
            "verdict": "holds",
            **known(session),
        }
        for level, nominal in (("EXTREME", 1.0), ("HIGH", 5.0), ("MEDIUM", 20.0), ("LOW", 60.0))
    ]
    return frame(table("calibration"), rows)


def rule_alarms(session: date) -> pl.DataFrame:
    """A loud plain rule beside a calibrated level."""
    rows = [
        {"rule": "z_score", "kind": "threshold", "contracts": 9, "underlyings": 2},
        {"rule": "LOW", "kind": "conviction", "underlyings": 1},
    ]
    return frame(table("rule_alarms"), [row | {"session": session, "universe": 2, **known(session)} for row in rows])


def features(session: date) -> pl.DataFrame:
    return frame(
        table("options_flow_features"), [{"session": session, "underlying": n, **known(session)} for n in UNDERLYINGS]
    )


def alerts(session: date) -> pl.DataFrame:
    """One open alert, about ABC."""
    row = {
        "session": session,
        "alert_id": event_id(session, "ABC")[::-1],
        "event_id": event_id(session, "ABC"),
        "underlying": "ABC",
        "score": 9.0,
        "conviction": "HIGH",
        "status": "new",
        "revision": 1,
    }
    return frame(table("alerts"), [row | known(session)])


def signals(session: date) -> pl.DataFrame:
    """A cluster of buyers of ABC."""
    row = {"session": session, "ticker": "ABC", "buyers": 3, "purchase_value_usd": 1e6, "is_cluster_buy": True}
    return frame(table("insider_signals"), [row | known(session)])


def known(session: date) -> dict[str, object]:
    """The columns every table has."""
    return {"available_at": moment(session), "origin": "simulated"}


def moment(session: date) -> datetime:
    return datetime.combine(session, time(21, 35), UTC)
