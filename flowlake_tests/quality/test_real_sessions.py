"""The rules on 47 real sessions: quiet where the data are good, loud on copies, empty chains and splits."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from pathlib import Path

import polars as pl
import pytest

from flowlake.calendar import NEW_YORK, is_session
from flowlake.options.chains import build_chains
from flowlake.options.symbols import build_symbol, occ_root
from flowlake.quality import Severity, evaluate, incidents
from flowlake.schemas.market import CORPORATE_ACTIONS, RAW_OPTION_SNAPSHOTS
from flowlake.schemas.options import CONTRACTS, OPTION_CHAINS

pytestmark = pytest.mark.real_data

HOLIDAY_COPIES = (date(2026, 6, 19), date(2026, 7, 3))
SPLITS = {"KLAC": (date(2026, 6, 12), 1, 10), "CRWD": (date(2026, 7, 2), 1, 4), "SOXS": (date(2026, 7, 15), 10, 1)}
"""Public facts: execution date, old shares, new shares."""
MIN_COVERAGE = 0.95


def underlyings(shared_data: Path, day: date) -> pl.DataFrame:
    """Every underlying that was asked for on `day`, empty chains included: underlying, underlying_price."""
    header = pl.read_parquet(shared_data / "option_chains" / "underlyings.parquet")
    # The source spells some tickers in lower case.
    asked = header.filter(pl.col("date") == day.isoformat()).with_columns(pl.col("ticker").str.to_uppercase())
    return asked.select(underlying="ticker", underlying_price="spot").sort("underlying")


def raw_session(shared_data: Path, day: date) -> pl.DataFrame:
    """The real chains of `day` as raw_option_snapshots, every bar claimed for `day` as the source claims it."""
    at = datetime.combine(day, time(16), NEW_YORK).astimezone(UTC)
    rows = (
        pl.scan_parquet(shared_data / "option_chains" / "contracts.parquet")
        .filter(pl.col("date") == day)
        .with_columns(pl.col("ticker").str.to_uppercase(), pl.col("strike", "price", "delta", "iv").cast(pl.Float64))
        .collect()
        .with_columns(underlying="ticker", root=occ_root("ticker"))
        .with_columns(build_symbol())
        .join(underlyings(shared_data, day), on="underlying", how="left")
        .with_columns(
            session="date",
            contract_type=pl.when(pl.col("right") == "C").then(pl.lit("call")).otherwise(pl.lit("put")),
            day_close="price",
            day_volume=pl.col("volume").cast(pl.Float64),
            day_updated_at=pl.when(pl.col("volume") > 0).then(pl.lit(at)),
            open_interest=pl.col("oi").cast(pl.Float64),
            implied_volatility=pl.col("iv") / 100,
            origin=pl.lit("recorded"),
            **dict.fromkeys(("fetched_at", "observed_at", "available_at"), pl.lit(at)),
        )
    )
    absent = [pl.lit(None).alias(name) for name in RAW_OPTION_SNAPSHOTS.schema if name not in rows.columns]
    return RAW_OPTION_SNAPSHOTS.conform(rows.select(*(set(RAW_OPTION_SNAPSHOTS.schema) & set(rows.columns)), *absent))


def actions_known() -> pl.DataFrame:
    known = datetime(2026, 5, 1, tzinfo=UTC)
    rows = [
        {"session": day, "ticker": ticker, "kind": "split", "effective_on": day, "split_from": old, "split_to": new}
        | {"available_at": known, "origin": "recorded"}
        for ticker, (day, old, new) in SPLITS.items()
    ]
    return pl.DataFrame(rows, schema=CORPORATE_ACTIONS.schema)


@pytest.mark.slow
def test_copies_block_and_real_sessions_do_not(shared_data, capsys):
    scan = pl.scan_parquet(shared_data / "option_chains" / "contracts.parquet")
    days = scan.select(pl.col("date").unique().sort()).collect()["date"].to_list()
    previous: pl.DataFrame | None = None
    blocked: dict[date, set[str]] = {}
    warned: dict[date, set[str]] = {}
    suspected: dict[str, set[date]] = {}
    lines = [f"{'date':12}{'rows':>9}{'identical':>11}{'OI = 0':>8}  not passed"]
    for day in days:
        raw = raw_session(shared_data, day)
        outcomes = {
            outcome.name: outcome
            for outcome in incidents.compare_sessions(raw, previous, session=day, min_coverage=MIN_COVERAGE)
        }
        blocked[day] = {outcome.name for outcome in outcomes.values() if outcome.blocks}
        warned[day] = {outcome.name for outcome in outcomes.values() if not outcome.passed} - blocked[day]
        copy = outcomes.get("stale_copy")
        share = f"{copy.violations / copy.rows:.2%}" if copy else "-"
        dead = (raw["open_interest"] == 0).mean()
        lines.append(
            f"{day!s:12}{raw.height:9,}{share:>11}{dead:8.1%}  {', '.join(sorted(blocked[day] | warned[day]))}"
        )
        if previous is not None and is_session(day):
            for row in incidents.suspected_splits(raw, previous).iter_rows(named=True):
                suspected.setdefault(row["underlying"], set()).add(day)
        previous = raw if is_session(day) else previous
    with capsys.disabled():
        print("", *lines, f"suspected splits: {suspected}", sep="\n")

    for copy_day in HOLIDAY_COPIES:
        assert {"stale_copy", "trading_day"} <= blocked[copy_day]
    # The copy of 2026-05-25 opens the data, so there is no session before it to compare with; the calendar refuses it.
    assert blocked[date(2026, 5, 25)] == {"trading_day"}
    assert {day: names for day, names in blocked.items() if is_session(day) and names} == {}
    assert sum(is_session(day) for day in days) == 47
    for ticker, (day, _, _) in SPLITS.items():
        assert day in suspected[ticker]
    assert set(suspected) - set(SPLITS) <= {"HON"}, "only a spin-off, which also renames contracts, looks like a split"


def test_a_real_session_is_clean_and_its_rebuild_identical(shared_data):
    day = date(2026, 6, 12)
    raw = raw_session(shared_data, day)
    built = build_chains(raw, session=day, known_contracts=CONTRACTS.empty(), actions=actions_known())
    again = build_chains(raw.reverse(), session=day, known_contracts=built.new_contracts, actions=actions_known())
    assert again.chains.equals(built.chains)
    assert built.chains.height + built.quarantine.height == raw.height
    for table, frame in ((RAW_OPTION_SNAPSHOTS, raw), (OPTION_CHAINS, built.chains), (CONTRACTS, built.new_contracts)):
        outcomes = evaluate(table, frame, session=day, contracts=built.new_contracts)
        assert [outcome for outcome in outcomes if not outcome.passed] == [], table.name
    solved = built.chains.filter((pl.col("iv_status") == "ok") & pl.col("vendor_delta").is_not_null())
    assert solved.height > 80_000
    assert solved.filter((pl.col("delta") - pl.col("vendor_delta")).abs() < 0.05).height > 0.8 * solved.height


def test_empty_chains_are_named(shared_data):
    day = date(2026, 5, 26)
    asked = underlyings(shared_data, day)["underlying"].to_list()
    outcome = incidents.missing_underlyings(raw_session(shared_data, day), asked, MIN_COVERAGE)
    assert not outcome.passed
    assert [row["underlying"] for row in outcome.sample] == ["BEKE", "BIDU", "NIO", "TCOM", "TME"]
    assert (outcome.violations, outcome.rows, outcome.severity) == (7, 146, Severity.WARN)


@pytest.mark.parametrize("ticker", SPLITS)
def test_a_known_split_raises_no_suspicion(shared_data, ticker):
    day, _, _ = SPLITS[ticker]
    before = max(d for d in (day.replace(day=day.day - k) for k in range(1, 5) if day.day > k) if is_session(d))
    now, then = raw_session(shared_data, day), raw_session(shared_data, before)
    assert ticker in incidents.suspected_splits(now, then)["underlying"]
    outcome = incidents.unannounced_splits(now, then, actions_known(), day)
    assert ticker not in {row["underlying"] for row in outcome.sample}
