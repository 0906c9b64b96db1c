"""The rules on 47 real sessions: quiet where the data are good, loud on copies, empty chains and splits."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from pathlib import Path

import polars as pl
import pytest

from flowlake import calendar
from flowlake.calendar import NEW_YORK, is_session
from flowlake.options.chains import build_chains
from flowlake.options.symbols import build_symbol, occ_root
from flowlake.quality import Outcome, Severity, evaluate, incidents
from flowlake.quality.suites import OPTION_CHAINS as OPTION_CHAINS_SUITE
from flowlake.quality.suites import judge
from flowlake.schemas.market import CORPORATE_ACTIONS, RAW_OPTION_SNAPSHOTS
from flowlake.schemas.options import CONTRACTS, OPTION_CHAINS

pytestmark = pytest.mark.real_data

HOLIDAY_COPIES = (date(2026, 6, 19), date(2026, 7, 3))
SPLITS = {"KLAC": (date(2026, 6, 12), 1, 10), "CRWD": (date(2026, 7, 2), 1, 4), "SOXS": (date(2026, 7, 15), 10, 1)}
"""Public facts: execution date, old shares, new shares."""
MIN_COVERAGE = 0.95
EXPIRED = "expiration_not_past"
SPELLING = "underlyings_spelled_alike"


def _spelled(as_sent: bool) -> pl.Expr:
    """The source spells some tickers in lower case."""
    return pl.col("ticker") if as_sent else pl.col("ticker").str.to_uppercase()


def underlyings(shared_data: Path, day: date, *, as_sent: bool = False) -> pl.DataFrame:
    """Every underlying that was asked for on `day`, empty chains included: underlying, underlying_price."""
    header = pl.read_parquet(shared_data / "option_chains" / "underlyings.parquet")
    asked = header.filter(pl.col("date") == day.isoformat()).with_columns(_spelled(as_sent))
    return asked.select(underlying="ticker", underlying_price="spot").sort("underlying")


def raw_session(shared_data: Path, day: date, *, as_sent: bool = False) -> pl.DataFrame:
    """The real chains of `day` as raw_option_snapshots, every bar claimed for `day` as the source claims it.

    Tickers are put in capitals, or left as the source sent them.
    """
    at = datetime.combine(day, time(16), NEW_YORK).astimezone(UTC)
    rows = (
        pl.scan_parquet(shared_data / "option_chains" / "contracts.parquet")
        .filter(pl.col("date") == day)
        .with_columns(_spelled(as_sent), pl.col("strike", "price", "delta", "iv").cast(pl.Float64))
        .collect()
        .with_columns(underlying="ticker", root=occ_root("ticker"))
        .with_columns(build_symbol())
        .join(underlyings(shared_data, day, as_sent=as_sent), on="underlying", how="left")
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
def test_every_incident_of_the_recorded_sessions_is_caught_by_name_and_no_good_session_is_blocked(shared_data, capsys):
    scan = pl.scan_parquet(shared_data / "option_chains" / "contracts.parquet")
    days = scan.select(pl.col("date").unique().sort()).collect()["date"].to_list()
    previous: pl.DataFrame | None = None
    caught: dict[date, dict[str, Outcome]] = {}
    suspected: dict[str, set[date]] = {}
    for day in days:
        raw = raw_session(shared_data, day, as_sent=True)
        asked = underlyings(shared_data, day, as_sent=True)["underlying"].to_list()
        outcomes = [
            *evaluate(RAW_OPTION_SNAPSHOTS, raw, session=day),
            *incidents.compare_sessions(raw, previous, session=day, min_coverage=MIN_COVERAGE, expected=asked),
        ]
        # Rules about rows tolerate a few bad ones; an incident is any row that broke one.
        caught[day] = {
            o.name: o for o in outcomes if not o.passed or (o.violations and o.name == "expiration_not_past")
        }
        if previous is not None and is_session(day):
            for row in incidents.suspected_splits(raw, previous).iter_rows(named=True):
                suspected.setdefault(row["underlying"], set()).add(day)
        previous = raw if is_session(day) else previous
    blocked = {day: {o.name for o in found.values() if o.blocks} for day, found in caught.items()}

    with capsys.disabled():
        print("", f"{'date':12}{'':9}{'named check':28}{'rows':>9}  seen", sep="\n")
        for day, found in caught.items():
            label = "" if is_session(day) else "holiday"
            for name, outcome in sorted(found.items()):
                names = ", ".join(outcome.underlyings[:4]) or outcome.description.split("; ")[-1][:70]
                mark = "BLOCKS" if outcome.blocks else "warns"
                print(f"{day!s:12}{label:9}{name:28}{outcome.violations:9,}  {mark}: {names}")
        print(f"suspected splits: { {name: sorted(map(str, when)) for name, when in suspected.items()} }")

    for copy_day in HOLIDAY_COPIES:
        assert {"stale_copy", "trading_day"} <= blocked[copy_day]
    # The copy of 2026-05-25 opens the data, so there is no session before it to compare with; the calendar refuses it.
    assert blocked[date(2026, 5, 25)] == {"trading_day"}
    assert {day: names for day, names in blocked.items() if is_session(day) and names} == {}
    assert sum(is_session(day) for day in days) == 47
    for ticker, (day, _, _) in SPLITS.items():
        assert ticker in caught[day]["splits_announced"].underlyings
    assert set(suspected) - set(SPLITS) <= {"HON"}, "only a spin-off, which also renames contracts, looks like a split"
    for day in (date(2026, 5, 25), date(2026, 5, 26)):
        assert caught[day]["underlyings_present"].underlyings, "chains that came back empty"
    assert any(EXPIRED in found for found in caught.values()), "rows of expired contracts"
    spelled = {
        name for found in caught.values() for o in found.values() if o.name == SPELLING for name in o.underlyings
    }
    assert {"Abt", "hood"} <= spelled


def test_placeholder_volatilities_of_a_real_session_are_counted_and_a_vendor_that_sends_only_them_warns(shared_data):
    raw = raw_session(shared_data, date(2026, 6, 12))
    zeros = int((raw["implied_volatility"] == 0).sum())
    outcome = incidents.placeholder_volatility(raw)
    assert outcome.passed
    assert outcome.violations >= zeros > 1_000
    for figure in (0.0, 1e-5):
        sent = raw.with_columns(implied_volatility=pl.lit(figure))
        assert not incidents.placeholder_volatility(sent).passed


@pytest.mark.parametrize(
    ("what", "rule", "blocks"),
    [
        ("open interest all zero", "open_interest_present", True),
        ("open interest of yesterday", "open_interest_refreshed", False),
    ],
)
def test_what_the_recorded_sessions_lack_is_caught_when_done_to_one(shared_data, what: str, rule: str, blocks: bool):
    before, day = date(2026, 6, 11), date(2026, 6, 12)
    previous, raw = raw_session(shared_data, before), raw_session(shared_data, day)
    if what == "open interest all zero":
        raw = raw.with_columns(open_interest=pl.lit(0.0))
    else:
        then = previous.select("contract", then="open_interest")
        raw = raw.join(then, on="contract", how="left").with_columns(open_interest=pl.coalesce("then", "open_interest"))
        raw = raw.drop("then")
    outcomes = incidents.compare_sessions(raw, previous, session=day, min_coverage=MIN_COVERAGE)
    outcome = next(o for o in outcomes if o.name == rule)
    assert (outcome.passed, outcome.blocks) == (False, blocks), outcome.description


@pytest.fixture(scope="module")
def listed(shared_data: Path) -> pl.DataFrame:
    """Tickers and exchanges of two consecutive real sessions."""
    stocks = pl.scan_parquet(shared_data / "stocks" / "daily.parquet")
    days = pl.col("session_date").is_in([date(2026, 6, 11), date(2026, 6, 12)])
    return stocks.filter(days, pl.col("volume") > 0).collect()


def test_no_slice_of_the_real_stock_market_is_missing_from_one_session_to_the_next(listed: pl.DataFrame):
    before, now = (each["symbol"].to_list() for each in listed.partition_by("session_date", maintain_order=True))
    exchanges = dict(listed.select("symbol", "exch").unique("symbol").iter_rows())
    for slices in (None, exchanges):
        outcome = incidents.missing_slices(now, before, slices)
        assert outcome.passed, outcome.description
        assert outcome.rows > 5_000


@pytest.mark.parametrize("exchange", ["nyse", "nasdaq"])
def test_an_exchange_missing_from_the_real_stock_market_is_named(listed: pl.DataFrame, exchange: str):
    exchanges = dict(listed.select("symbol", "exch").unique("symbol").iter_rows())
    left = [name for name, of in exchanges.items() if of != exchange]
    outcome = incidents.missing_slices(left, list(exchanges), exchanges)
    assert outcome.blocks
    assert [row["slice"] for row in outcome.sample] == [exchange]
    without_reference = incidents.missing_underlyings(pl.DataFrame({"underlying": left}), list(exchanges), MIN_COVERAGE)
    assert without_reference.blocks, "also where nobody says which exchange lists what"


def test_a_lost_page_of_the_real_listing_is_named(listed: pl.DataFrame):
    names = sorted(listed["symbol"].unique())
    lost = [name for name in names if not "G" <= name < "J"]
    outcome = incidents.missing_slices(lost, names)
    assert outcome.blocks
    assert [row["slice"] for row in outcome.sample] == ["G", "H", "I"]


@pytest.mark.slow
def test_real_sessions_satisfy_their_suite_and_spoiled_ones_do_not(shared_data, capsys):
    days = calendar.sessions(date(2026, 6, 8), date(2026, 6, 18))
    profiles, known, chains = [], CONTRACTS.empty(), pl.DataFrame()
    for day in days:
        built = build_chains(raw_session(shared_data, day), session=day, known_contracts=known, actions=actions_known())
        known = pl.concat([known, built.new_contracts])
        profiles.append(OPTION_CHAINS_SUITE.profile(day, built.chains))
        chains = built.chains
    good = judge(OPTION_CHAINS_SUITE, profiles, days)
    spoiled = chains.with_columns(
        implied_volatility=pl.col("implied_volatility") * 2.5,
        open_interest=pl.col("open_interest") * 9,
        origin=pl.lit("guessed"),
    ).filter(pl.col("underlying").rank("dense") % 3 != 0)
    bad = judge(OPTION_CHAINS_SUITE, [*profiles[:-1], OPTION_CHAINS_SUITE.profile(days[-1], spoiled)], days[-1:])
    failed = {finding.name for finding in bad[days[-1]] if not finding.passed}
    with capsys.disabled():
        for finding in good[days[-1]]:
            print(f"{'' if finding.passed else 'FAILS':6}{finding.level:9}{finding.expected:60}{finding.observed[:70]}")
    assert [(f.name, f.observed) for found in good.values() for f in found if not f.outcome.passed] == []
    assert {
        "rows, ratio in range",
        "mean IV, ratio in range",
        "open interest, ratio in range",
        "origin known",
    } <= failed


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
