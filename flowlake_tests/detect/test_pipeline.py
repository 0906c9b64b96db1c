from __future__ import annotations

from datetime import date

import numpy as np
import polars as pl
import pytest

from flowlake import schemas
from flowlake.detect import model, scoring
from flowlake.detect.baselines import FutureData, contract_baselines, ticker_baselines
from flowlake.detect.pipeline import Detection, detect_session
from flowlake_tests.detect.markets import Market
from flowlake_tests.detect.runs import Run, run_market

TABLES = tuple(Detection.__dataclass_fields__)


@pytest.fixture(scope="module")
def history() -> tuple[Market, Run]:
    market = Market(seed=2)
    line = market.lines("T09", "C")[1]
    market.trade(market.sessions[-2], [line], 1_500, 1_400)
    market.trade(market.sessions[-1], [line], 4_000, 0)
    return market, run_market(market)


def test_every_table_conforms_and_the_first_session_is_silent(history):
    market, run = history
    for found in run.detections.values():
        for name, frame in found.tables().items():
            assert schemas.table(name).conform(frame).equals(frame), name
    first = run.detections[market.sessions[0]]
    assert all(getattr(first, name).is_empty() for name in TABLES)


def test_sessions_without_enough_history_raise_nothing(history):
    market, run = history
    for session in market.sessions[:6]:
        assert run.detections[session].scored_events.is_empty()
        assert run.detections[session].anomalies_volume.is_empty()


def test_an_episode_of_two_sessions_is_ranked_first_and_explained(history):
    market, run = history
    top = run.detections[market.sessions[-1]].scored_events.row(0, named=True)
    assert (top["underlying"], top["rank"], top["right"], top["direction"]) == ("T09", 1, "C", "bullish")
    assert {"volume", "open_interest"} <= set(top["algorithms"])
    assert top["conviction"] != "NONE"
    assert top["contracts"][0]["contract_id"] == market.lines("T09", "C")[1]
    assert "statistically unusual" in top["explanation"]
    assert top["model_id"] == scoring.model_id()


def test_contributions_add_up_to_the_score_for_every_event(history):
    events = pl.concat(found.scored_events for found in history[1].detections.values())
    assert events.height > 50
    for event in events.iter_rows(named=True):
        parts = [part["contribution"] for part in event["factors"]]
        assert sum(parts) == pytest.approx(event["llr_total"], abs=1e-9)
        assert max(map(abs, parts)) <= scoring.CAP
        assert event["score"] == pytest.approx(1 + 9 * min(-np.log10(event["p_value"]) / 5, 1))


def test_false_alarms_come_at_their_nominal_rate_where_nothing_happens():
    market = Market(tickers=40, n=36, seed=3)
    run = run_market(market)
    events = pl.concat(run.detections[day].scored_events for day in market.sessions[12:])
    judged = 40 * len(market.sessions[12:])
    for level in (0.05, 0.01):
        alarms, expected = events.filter(pl.col("p_value") <= level).height, level * judged
        assert abs(alarms - expected) < 4 * np.sqrt(expected), level
    assert (events["conviction"] == "EXTREME").sum() <= 3


def test_the_same_session_in_any_row_order_gives_the_same_bytes(history):
    market, run = history
    session = market.sessions[-1]
    shuffled = Market.__new__(Market)
    shuffled.sessions = market.sessions
    shuffled.chains = {
        day: frame.sample(fraction=1.0, shuffle=True, seed=n) for n, (day, frame) in enumerate(market.chains.items())
    }
    again = Run()
    again.detections = {day: found for day, found in run.detections.items() if day < session}
    found = again.add(shuffled, session)
    for name in TABLES:
        before, after = getattr(run.detections[session], name), getattr(found, name)
        assert before.equals(after), name
        assert before.serialize() == after.serialize(), name


def test_a_garbled_future_changes_nothing(history):
    market, run = history
    session = market.sessions[-4]
    garbled = Market.__new__(Market)
    garbled.sessions = market.sessions
    garbled.chains = {
        day: frame if day <= session else frame.with_columns(volume=pl.lit(1_000_000, dtype=pl.Int32), spot=pl.lit(1.0))
        for day, frame in market.chains.items()
    }
    again = Run()
    again.detections = dict(run.detections)
    before = run.detections[session]
    found = again.add(garbled, session)
    for name in TABLES:
        assert getattr(before, name).equals(getattr(found, name)), name


@pytest.mark.parametrize("table", ["calibration_bins", "ticker_statistics"])
def test_calibration_on_the_session_itself_is_refused(history, table):
    market, run = history
    session, before = market.sessions[-1], market.before(market.sessions[-1])
    chains = market.chains[session]
    trailing = {name: run.trailing(name, session) for name in ("calibration_bins", "ticker_statistics")}
    trailing[table] = getattr(run.detections[session], table)
    with pytest.raises(FutureData):
        detect_session(
            session,
            chains,
            contract_baselines(session, chains, before),
            ticker_baselines(session, chains, before),
            trailing["calibration_bins"],
            trailing["ticker_statistics"],
        )


def test_an_empty_chain_gives_empty_tables(history):
    market, run = history
    session, before = market.sessions[-1], market.before(market.sessions[-1])
    nothing = schemas.table("option_chains").empty()
    found = detect_session(
        session,
        nothing,
        contract_baselines(session, nothing, before),
        ticker_baselines(session, nothing, before),
        run.trailing("calibration_bins", session),
        run.trailing("ticker_statistics", session),
    )
    assert all(getattr(found, name).is_empty() for name in TABLES)


def test_a_quiet_side_is_recorded_as_well_as_a_loud_one(history):
    market, run = history
    statistics = run.detections[market.sessions[-1]].ticker_statistics
    assert statistics.height == 2 * market.contracts["underlying"].n_unique()
    assert statistics["llr_total"].null_count() == 0


def test_benjamini_hochberg_gives_the_textbook_q_values():
    p_values = np.array([0.001, 0.01, 0.02, 0.5, 0.9])
    assert scoring.benjamini_hochberg(p_values).tolist() == pytest.approx([0.005, 0.025, 1 / 30, 0.625, 0.9])


def test_every_event_says_which_model_scored_it_and_what_it_was_fitted_on(history):
    event = history[1].detections[history[0].sessions[-1]].scored_events.row(0, named=True)
    first, last = model.load().window
    assert event["model_id"].startswith("llr-3-")
    assert event["model_id"].endswith(f"fitted {first}..{last}")


def test_what_looks_like_a_spread_lowers_the_event_by_what_it_shows(history):
    market, _ = history
    alone, spread = Market(seed=2), Market(seed=2)
    lines = market.lines("T09", "C")[1:3]
    alone.trade(alone.sessions[-1], lines[:1], 4_000, 0)
    spread.trade(spread.sessions[-1], lines, 4_000, 0)
    parts = {}
    for name, traded in (("alone", alone), ("spread", spread)):
        events = run_market(traded).detections[traded.sessions[-1]].scored_events.filter(underlying="T09")
        parts[name] = {part["factor"]: part["contribution"] for part in events.row(0, named=True)["factors"]}
    assert "spread_share" not in parts["alone"]
    assert -scoring.CAP <= parts["spread"]["spread_share"] < 0


def test_what_only_speaks_against_never_raises():
    frame = pl.DataFrame({"spread_share": [None, 0.0, 0.5, 1.0]})
    factor = next(factor for factor in scoring.FACTORS if factor.column == "spread_share")
    parts = frame.select(factor.contribution(model.load())).to_series().to_list()
    assert parts[:2] == [0.0, 0.0]
    assert parts[3] < parts[2] < 0


def totals(values: np.ndarray, activity: np.ndarray | int, session: int = 1) -> pl.DataFrame:
    names = [f"N{number:05d}" for number in range(len(values))]
    return pl.DataFrame({"session": date(2026, 6, session), "underlying": names, "activity": activity, "total": values})


def test_a_class_with_heavier_totals_gets_part_of_its_excess_of_alarms():
    rng = np.random.default_rng(5)
    values = np.concatenate([rng.normal(2.0, 1.0, 6_000), rng.normal(0.0, 1.0, 6_000)])
    both = totals(values, np.repeat([0, 3], 6_000))
    p_value, n = scoring.total_p_values(both, both, both)
    alarms = p_value <= 0.01
    assert alarms.mean() == pytest.approx(0.01, abs=0.001)
    assert 0.01 < alarms[:6_000].mean() < 0.02
    assert (n == 12_000).all()


def test_a_day_on_which_all_names_are_unusual_has_no_more_alarms_than_another():
    rng = np.random.default_rng(6)
    past = pl.concat(totals(rng.normal(0.0, 1.0, 2_000), 0, day) for day in range(1, 11))
    today = totals(rng.normal(1.0, 1.0, 2_000), 0, 20)
    p_value, _ = scoring.total_p_values(today, past, today)
    assert (p_value <= 0.01).mean() == pytest.approx(0.01, abs=0.006)
    left, _ = scoring.total_p_values(today, past, None)
    assert (left <= 0.01).mean() > 0.03


def test_what_one_name_shows_on_an_ordinary_day_is_not_taken_from_it():
    rng = np.random.default_rng(7)
    past = pl.concat(totals(rng.normal(0.0, 1.0, 500), 0, day) for day in range(1, 11))
    market = totals(np.append(rng.normal(0.0, 1.0, 499), 8.0), 0, 20)
    p_value, _ = scoring.total_p_values(market.tail(1), past, market)
    assert p_value[0] < 1e-3


def test_a_snapshot_of_a_part_of_the_market_is_compared_with_the_usual_level_of_that_part():
    rng = np.random.default_rng(8)
    higher = np.append(np.full(100, 2.0), np.zeros(1_900))
    past = pl.concat(totals(rng.normal(higher, 1.0), 0, day) for day in range(1, 11))
    part = totals(rng.normal(higher, 1.0), 0, 20).head(100)
    p_value, _ = scoring.total_p_values(part, past, part)
    alone, _ = scoring.total_p_values(part, past, None)
    assert np.median(p_value) < 2.0 * np.median(alone) < 0.1


def test_no_history_at_all_is_no_null():
    today = totals(np.ones(3), 0)
    p_value, n = scoring.total_p_values(today, today.clear(), today)
    assert len(p_value) == 3
    assert (n == 0).all()


def test_logarithmic_factors_are_said_in_plain_numbers():
    said = {factor.column: factor.say(2.0) for factor in scoring.FACTORS}
    assert said["volume_surprise"].endswith("1 time in 100")
    assert said["dominance"] == "leading line's excess is 100.00 times the chain's usual day"
    assert next(f for f in scoring.FACTORS if f.column == "ladder_surprise").say(40.0).endswith("1,000,000,000 case")
