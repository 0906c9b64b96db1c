"""Incidents: sessions that are wrong as a whole although every row looks right."""

from __future__ import annotations

from datetime import date, timedelta

import polars as pl
import pytest

from flowlake.options.chains import build_chains, build_chains_from_bars
from flowlake.quality import Severity, incidents
from flowlake.schemas.market import CHAIN_QUARANTINE, SNAPSHOT_COVERAGE
from flowlake.schemas.options import CONTRACTS
from flowlake_tests.quality.rows import CLOSE, SESSION, YESTERDAY, market, split

YESTERDAYS_SESSION = date(2026, 6, 9)


def chains(raw: pl.DataFrame, session: date = SESSION) -> pl.DataFrame:
    return build_chains(raw, session=session, known_contracts=CONTRACTS.empty()).chains


def copied(raw: pl.DataFrame) -> pl.DataFrame:
    """`raw` of the session before, relabelled as today's as a careless source does on a holiday."""
    return raw.with_columns(session=pl.lit(SESSION), day_updated_at=pl.lit(CLOSE).dt.cast_time_unit("us"))


@pytest.fixture(scope="module")
def before() -> pl.DataFrame:
    return market(10, 20, seed=1, session=YESTERDAYS_SESSION)


@pytest.fixture(scope="module")
def today() -> pl.DataFrame:
    return market(10, 20, seed=2)


def test_two_different_sessions_raise_nothing(before, today):
    for now, then in ((today, before), (chains(today), chains(before, YESTERDAYS_SESSION))):
        outcomes = incidents.compare_sessions(now, then, session=SESSION, min_coverage=0.95)
        assert [outcome.name for outcome in outcomes if not outcome.passed] == []
        assert len(outcomes) == 10


def test_a_copy_of_yesterday_blocks_in_raw_rows_and_in_chains(before):
    copy = copied(before)
    for now, then in ((copy, before), (chains(copy), chains(before, YESTERDAYS_SESSION))):
        outcome = incidents.stale_copy(now, then)
        assert outcome.blocks
        assert (outcome.violations, outcome.rows) == (200, 200)


def test_a_copy_of_part_of_the_market_warns_and_names_it(before, today):
    part = pl.col("underlying") == "U3"
    mixed = pl.concat([copied(before).filter(part), today.filter(~part)])
    outcome = incidents.stale_copy(mixed, before)
    assert (outcome.passed, outcome.severity) == (False, Severity.WARN)
    assert outcome.sample == ({"underlying": "U3", "identical": 20},)


def test_yesterdays_bars_that_say_they_are_yesterdays_are_no_copy(before):
    honest = before.with_columns(session=pl.lit(SESSION))
    assert incidents.stale_copy(honest, before).rows == 0


def test_a_handful_of_contracts_is_not_enough_to_tell_a_copy(before):
    few = before.head(incidents.COPY_MIN_CONTRACTS - 1)
    assert incidents.stale_copy(copied(few), few).passed


def test_a_closed_day_is_no_session_and_the_reason_is_named():
    outcome = incidents.trading_day(date(2026, 5, 25))
    assert outcome.blocks
    assert "Memorial Day" in outcome.description
    assert incidents.trading_day(SESSION).passed


def test_no_rows_block(today):
    assert incidents.not_empty(today.head(0)).blocks
    assert incidents.not_empty(today).passed


def test_a_missing_underlying_warns_and_too_many_block(today):
    expected = {f"U{k}" for k in range(10)}
    one_short = incidents.missing_underlyings(today.filter(pl.col("underlying") != "U4"), expected, 0.9)
    assert (one_short.passed, one_short.severity, one_short.sample) == (False, Severity.WARN, ({"underlying": "U4"},))
    assert incidents.missing_underlyings(today.head(20), expected, 0.9).blocks
    assert incidents.missing_underlyings(today, [], 0.9).passed


@pytest.mark.parametrize(("failed", "blocks"), [(0, False), (1, False), (2, True)])
def test_coverage_counts_answers_not_rows(failed, blocks):
    statuses = ["failed"] * failed + ["empty", "not_found"] + ["complete"] * (18 - failed)
    stamps = {"session": SESSION, "pages": 1, "rows": 1, "attempts": 1, "error": None}
    stamps |= {"observed_at": CLOSE, "available_at": CLOSE, "origin": "simulated"}
    rows = [{"underlying": f"U{k}", "status": status, **stamps} for k, status in enumerate(statuses)]
    outcome = incidents.coverage(pl.DataFrame(rows, schema=SNAPSHOT_COVERAGE.schema), 0.95)
    assert (outcome.blocks, outcome.violations) == (blocks, failed)


def test_a_pass_that_asked_for_nothing_is_not_covered():
    assert incidents.coverage(SNAPSHOT_COVERAGE.empty(), 0.95).blocks


@pytest.mark.parametrize("figure", [0.0, None])
def test_open_interest_that_was_never_filled_in_blocks(today, figure):
    assert incidents.open_interest_present(today.with_columns(open_interest=pl.lit(figure))).blocks


def test_one_large_chain_without_open_interest_warns(today):
    dead = today.with_columns(open_interest=pl.when(pl.col("underlying") != "U7").then("open_interest").otherwise(0))
    assert incidents.open_interest_present(dead, large_chain=21).passed
    outcome = incidents.open_interest_present(dead, large_chain=20)
    assert (outcome.passed, outcome.severity) == (False, Severity.WARN)
    assert outcome.sample == ({"underlying": "U7", "contracts": 20},)


def test_a_session_rebuilt_from_bars_is_not_blamed_for_lacking_open_interest(today):
    bars = today.select("contract", *(pl.col(f"day_{name}").alias(name) for name in ("open", "high", "low")))
    bars = bars.with_columns(close=today["day_close"], volume=today["day_volume"], vwap=today["day_vwap"])
    context = {"known_contracts": CONTRACTS.empty(), "available_at": CLOSE, "origin": "simulated"}
    rebuilt = build_chains_from_bars(bars, today.select("contract", "underlying"), session=SESSION, **context).chains
    assert rebuilt["open_interest"].null_count() == 200
    assert incidents.open_interest_present(rebuilt).passed


def test_open_interest_observed_the_next_morning_warns_but_does_not_block(today):
    morning = CLOSE + timedelta(hours=16)
    late = chains(today.with_columns(observed_at=pl.lit(morning), available_at=pl.lit(morning)))
    outcome = incidents.open_interest_present(late)
    assert (outcome.passed, outcome.blocks, outcome.violations) == (False, False, 200)


def test_placeholder_volatilities_warn_and_absent_ones_do_not(today):
    def outcomes(iv: float | None):
        raw = today.with_columns(implied_volatility=pl.lit(iv, pl.Float64))
        return [incidents.placeholder_volatility(frame) for frame in (raw, chains(raw))]

    assert [(o.passed, o.violations) for o in outcomes(0.0)] == [(False, 200)] * 2
    assert [(o.passed, o.rows) for o in outcomes(None)] == [(True, 0)] * 2
    assert [(o.passed, o.violations) for o in outcomes(0.4)] == [(False, 200)] * 2
    assert [(o.passed, o.rows) for o in map(incidents.placeholder_volatility, (today, chains(today)))] == [
        (True, 200)
    ] * 2


def after_split(raw: pl.DataFrame, factor: float) -> pl.DataFrame:
    """`raw` as if U5 had split: price divided, and open interest multiplied as on the session after."""
    own = pl.col("underlying") == "U5"
    return raw.with_columns(
        underlying_price=pl.when(own).then(pl.col("underlying_price") / factor).otherwise("underlying_price"),
        open_interest=pl.when(own).then((pl.col("open_interest") * factor).round()).otherwise("open_interest"),
    )


@pytest.mark.parametrize("factor", [2.0, 10.0, 0.1])
def test_a_price_that_jumps_by_a_split_factor_is_suspected(before, today, factor):
    found = incidents.suspected_splits(after_split(today, factor), before)
    assert found.select("underlying", "price_factor", "sign").rows() == [("U5", pytest.approx(factor), "price")]


def test_open_interest_that_yesterdays_volume_cannot_explain_is_suspected(before, today):
    restated = after_split(today, 40.0).with_columns(underlying_price=today["underlying_price"])
    found = incidents.suspected_splits(restated, before)
    assert found.select("underlying", "price_factor", "sign").rows() == [("U5", None, "open_interest")]


def test_open_interest_that_expired_is_not_missed(before, today):
    expired = before.with_columns(
        expiration=pl.when(pl.col("strike") > 105).then(YESTERDAYS_SESSION).otherwise("expiration"), day_volume=1.0
    )
    kept = expired.filter(pl.col("strike") <= 105).with_columns(
        session=pl.lit(SESSION), underlying_price=pl.lit(100.0), open_interest=pl.col("open_interest") + 0.1
    )
    assert incidents.suspected_splits(kept, expired).is_empty()


def test_an_announced_split_raises_nothing_and_an_unannounced_one_warns(before, today):
    now = after_split(today, 10.0)
    unannounced = incidents.unannounced_splits(now, before, None, SESSION)
    assert (unannounced.passed, unannounced.severity) == (False, Severity.WARN)
    assert "U5" in unannounced.description
    for executed in (SESSION, YESTERDAY.date()):
        assert incidents.unannounced_splits(now, before, split("U5", executed, 1, 10), SESSION).passed


def test_an_empty_session_suspects_no_split(before, today):
    assert incidents.suspected_splits(today.head(0), before).is_empty()
    assert incidents.suspected_splits(today, before.head(0)).is_empty()


@pytest.mark.parametrize(("kept", "passed"), [(98, True), (97, False)])
def test_too_many_rows_in_quarantine_block(kept, passed):
    stamps = {"session": SESSION, "table": "option_chains", "underlying": None, "contract": None, "row": "{}"}
    stamps |= {"observed_at": CLOSE, "available_at": CLOSE, "origin": "simulated"}
    rows = [{"reason": reason, **stamps} for reason in ("expired", "expired")]
    outcome = incidents.quarantine_share(kept, pl.DataFrame(rows, schema=CHAIN_QUARANTINE.schema), 0.02)
    assert (outcome.passed, outcome.blocks) == (passed, not passed)
    assert outcome.sample == ({"reason": "expired", "count": 2},)


def _priced(difference: float) -> pl.DataFrame:
    """Near-the-money rows whose vendor volatility is `difference` above ours."""
    rows = 40
    return pl.DataFrame(
        {
            "right": ["C", "P"] * (rows // 2),
            "strike": [95.0 + n / 4 for n in range(rows)],
            "forward": [100.0] * rows,
            "years": [0.25] * rows,
            "implied_volatility": [0.40] * rows,
            "delta": [0.5] * rows,
            "vendor_iv": [0.40 + difference] * rows,
            "vendor_delta": [0.5] * rows,
            "price_source": ["mid"] * rows,
        }
    )


@pytest.mark.parametrize(("difference", "agrees"), [(0.001, True), (0.019, True), (0.03, False), (-0.05, False)])
def test_a_vendor_that_solves_another_problem_is_a_warning(difference: float, agrees: bool):
    outcome = incidents.vendor_agreement(_priced(difference))
    assert outcome.passed == agrees
    assert not outcome.blocks
    assert outcome.rows == 40


def test_without_quotes_there_is_nothing_to_agree_on():
    assert incidents.vendor_agreement(_priced(0.3).with_columns(price_source=pl.lit("last"))).passed


# --- snapshots of one session ----------------------------------------------------------------------------------------


def snapshot(*volumes: int, underlying: str = "AAA") -> pl.DataFrame:
    return pl.DataFrame(
        {
            "contract_id": range(len(volumes)),
            "underlying": [underlying] * len(volumes),
            "contract": [f"{underlying}{number}" for number in range(len(volumes))],
            "volume": volumes,
        }
    )


def test_volume_counts_up_through_a_session():
    earlier = snapshot(*range(1, 101))
    assert incidents.volume_not_fallen(snapshot(*range(1, 102)), earlier).passed
    one_cancelled = snapshot(*range(1, 100), 5)
    assert incidents.volume_not_fallen(one_cancelled, earlier).passed, "trades are cancelled, now and then"
    many = incidents.volume_not_fallen(snapshot(*range(100)), earlier)
    assert (many.passed, many.severity, many.violations, many.rows) == (False, Severity.ERROR, 100, 100)
    assert many.sample[0] == {"contract": "AAA0", "before": 1, "volume": 0}
    few = incidents.volume_not_fallen(snapshot(*[0] * 5, *range(6, 101)), earlier)
    assert (few.passed, few.severity) == (False, Severity.WARN)


def test_a_feed_that_stands_still_is_told_and_stops_nothing():
    earlier = pl.concat([snapshot(2_000, 10, underlying=f"U{number}") for number in range(6)])
    standing = incidents.market_moves_on(earlier, earlier)
    assert (standing.passed, standing.severity, standing.violations) == (False, Severity.WARN, 6)
    moved = earlier.with_columns(pl.when(pl.col("underlying") == "U1").then(pl.col("volume") + 1).otherwise("volume"))
    assert incidents.market_moves_on(moved, earlier).passed
    assert incidents.market_moves_on(earlier.head(4), earlier.head(4)).passed, "two busy names may both be quiet"


def test_only_underlyings_that_were_asked_for_are_missed_in_a_snapshot():
    earlier = pl.concat([snapshot(1, underlying="AAA"), snapshot(1, underlying="BBB")])
    outcomes = incidents.compare_snapshots(snapshot(2), earlier, ["AAA"], min_coverage=0.9)
    assert [outcome.name for outcome in outcomes if not outcome.passed] == []
    outcomes = incidents.compare_snapshots(snapshot(2), earlier, ["AAA", "BBB"], min_coverage=0.9)
    (missing,) = (outcome for outcome in outcomes if not outcome.passed)
    assert (missing.name, missing.blocks, missing.underlyings) == ("underlyings_present", True, ("BBB",))
    (empty,) = incidents.compare_snapshots(snapshot(), None, [], min_coverage=0.9)
    assert (empty.name, empty.blocks) == ("not_empty", True)
