"""Public cases, re-enacted: the recorded trade, placed in a quiet host of the same size of option market.

Reads a case file (a JSON list of records with id, label, direction, contracts, trade_dates, option_series,
stock_price_at_trade, ticker_avg_daily_option_volume, derived). Where a record is silent a stated assumption stands
in, and `assumed` says so.
"""

from __future__ import annotations

import json
import re
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from flowlake.evaluate.plan import PLAN_SCHEMA

UNDETECTABLE = frozenset({"EFX-2017-B", "PFE-2021", "ATVI-2022", "BKC-2010"})
"""Too small, off exchange, or months ahead: no public data show them. Reported apart, never tuned on."""

SUSPECTED = frozenset({"litigated", "press_suspicious"})

ASSUMED_DISTANCE, ASSUMED_DAYS, ASSUMED_MARKET = 0.10, 30, 1_500.0
"""Out-of-the-money share, days to expiration and option contracts a day where a record has none."""

CASE_SCHEMA = pl.Schema(
    {
        "case_id": pl.String,
        "label": pl.String,
        "detectable": pl.Boolean,
        "right": pl.String,
        "size": pl.Int64,
        "sessions": pl.Int32,
        "out_of_the_money": pl.Float64,
        "dte": pl.Int32,
        "strikes": pl.Int32,
        "market": pl.Float64,
        "assumed": pl.List(pl.String),
    }
)


def read_cases(path: Path) -> pl.DataFrame:
    """Cases with a number of contracts, dates and a direction (CASE_SCHEMA); the rest cannot be re-enacted."""
    records = json.loads(path.read_text(encoding="utf-8"))
    rows = [row for record in records if (row := _case(record)) is not None]
    return pl.DataFrame(rows, schema=CASE_SCHEMA)


def _case(record: dict[str, Any]) -> dict[str, Any] | None:
    direction, dates = str(record.get("direction") or ""), record.get("trade_dates") or []
    if record.get("label") not in SUSPECTED or not isinstance(record.get("contracts"), int):
        return None
    if not direction.startswith(("call", "put")) or not dates or any(len(day) != 10 for day in dates):
        return None
    first, last = date.fromisoformat(dates[0]), date.fromisoformat(dates[-1])
    series = [item for item in record.get("option_series") or [] if item.get("type") == direction[:4].strip()]
    market = _number(record.get("ticker_avg_daily_option_volume"))
    known = {
        "out_of_the_money": _distance(record, series, direction),
        "dte": _days(series, first),
        "market": market if market and market >= 20 else None,
    }
    defaults = {"out_of_the_money": ASSUMED_DISTANCE, "dte": ASSUMED_DAYS, "market": ASSUMED_MARKET}
    return {
        "case_id": record["id"],
        "label": record["label"],
        "detectable": record["id"] not in UNDETECTABLE,
        "right": direction[0].upper(),
        "size": record["contracts"],
        "sessions": int(np.clip(np.busday_count(first, last) + 1, 1, 13)),
        "strikes": int(np.clip(len({item.get("strike") for item in series}), 1, 4)),
        **{name: defaults[name] if value is None else value for name, value in known.items()},
        "assumed": [name for name, value in known.items() if value is None],
    }


def _number(text: object) -> float | None:
    """The first number of at least two digits in a free text such as '1,986 calls/day (3 months)'."""
    found = re.search(r"\d[\d,]*\d(?:\.\d+)?|\d+", str(text)) if text is not None else None
    return float(found.group().replace(",", "")) if found else None


def _distance(record: dict[str, Any], series: list[dict[str, Any]], direction: str) -> float | None:
    """How far out of the money the first series was, as a positive share; null where strike or price are unknown."""
    derived = record.get("derived") or {}
    if isinstance(derived.get("otm_pct"), int | float):
        return float(np.clip(abs(derived["otm_pct"]) / 100.0, 0.0, 0.55))
    price = _number(record.get("stock_price_at_trade")) or _number(derived.get("pre_price_approx"))
    strike = next((item["strike"] for item in series if isinstance(item.get("strike"), int | float)), None)
    if not price or not strike:
        return None
    sign = 1.0 if direction.startswith("call") else -1.0
    return float(np.clip(sign * (strike / price - 1.0), 0.0, 0.55))


def _days(series: list[dict[str, Any]], first: date) -> int | None:
    """Calendar days from the first trade to the first series' expiration; a bare month means its third Friday."""
    for item in series:
        expiry = str(item.get("expiry") or "")
        if re.fullmatch(r"\d{4}-\d{2}", expiry):
            start = date.fromisoformat(f"{expiry}-01")
            expiry = start.replace(day=15 + (4 - start.weekday()) % 7).isoformat()
        if re.fullmatch(r"\d{4}-\d{2}-\d{2}", expiry):
            return int(np.clip((date.fromisoformat(expiry) - first).days, 2, 400))
    return None


def reenact(
    rng: np.random.Generator, cases: pl.DataFrame, hosts: pl.DataFrame, repeats: int, nearest: int = 12
) -> pl.DataFrame:
    """Plans (PLAN_SCHEMA with case_id) that place each case `repeats` times in hosts whose option market is nearest
    in size.

    `hosts` are eligible rows (session, number, underlying, mean_volume). Positions are opened for 80 % of the
    contracts.
    """
    names = hosts.group_by("underlying").agg(pl.col("mean_volume").median()).sort("mean_volume", "underlying")
    volumes = np.log(names["mean_volume"].to_numpy() + 1.0)
    earliest = int(hosts["number"].min())  # pyright: ignore[reportArgumentType]
    parts = []
    # A few dozen cases; each draws its own hosts.
    for number, case in enumerate(cases.sort("case_id").iter_rows(named=True)):
        alike = names[np.argsort(np.abs(volumes - np.log(case["market"] + 1.0)), kind="stable")[:nearest]]
        rows = hosts.join(alike.select("underlying"), on="underlying", how="semi").sort("underlying", "session")
        picked = rows[rng.integers(0, rows.height, repeats)]
        last = picked["number"].cast(pl.Int32)
        parts.append(
            pl.DataFrame(
                {
                    "episode_id": [f"C{number:03d}-{repeat:02d}" for repeat in range(repeats)],
                    "case_id": case["case_id"],
                    "arm": "case",
                    "kind": "informed",
                    "underlying": picked["underlying"],
                    "first": (last - case["sessions"] + 1).clip(earliest),
                    "last": last,
                    "right": case["right"],
                    "size": case["size"],
                    "out_of_the_money": case["out_of_the_money"],
                    "dte": case["dte"],
                    "strikes": case["strikes"],
                    "pacing": "uniform",
                    "structure": "ladder" if case["strikes"] > 1 else "single_leg",
                    "opening_share": 0.8,
                    "drift": 0.0,
                },
                strict=False,
            )
        )
    plans = pl.concat(parts)
    return plans.select("case_id", *(pl.col(name).cast(dtype) for name, dtype in PLAN_SCHEMA.items()))


def caught(best: pl.DataFrame, plans: pl.DataFrame, cases: pl.DataFrame, budget: int = 50) -> pl.DataFrame:
    """Per case: `repeats`, `share` of its re-enactments within `budget`, and `caught`: more than half of them were."""
    return (
        best.join(plans.select("episode_id", "case_id"), on="episode_id")
        .group_by("case_id")
        .agg(
            repeats=pl.len(),
            share=(pl.col("universe_rank") <= budget).mean(),
            median_rank=pl.col("universe_rank").median(),
        )
        .join(cases, on="case_id")
        .with_columns(caught=pl.col("share") > 0.5)
        .sort("case_id")
    )
