from __future__ import annotations

import polars as pl
import pytest

from flowlake.detect import context, scoring
from flowlake.detect.baselines import contract_baselines, ticker_baselines
from flowlake.detect.pipeline import detect_session
from flowlake_tests.detect.markets import Market
from flowlake_tests.detect.runs import run_market


@pytest.mark.parametrize(
    ("annotation", "nats"),
    [("earnings in 3 sessions", 1.5), ("Known deal since May 4", 3.0), ("ex-dividend tomorrow", 1.0), ("sunny", 0.0)],
)
def test_an_annotation_is_weighed_by_how_it_begins(annotation: str, nats: float):
    assert context.lowering(annotation) == nats


def test_no_annotation_weighs_more_than_a_factor_may():
    assert max(context.LOWERING.values()) <= scoring.CAP


def test_repeated_reasons_count_once_and_nothing_is_known_of_nobody():
    known = pl.DataFrame({"underlying": ["A", "A", "A"], "annotation": ["earnings", "earnings", "ex-dividend"]})
    assert context.collected(known).to_dicts() == [
        {"underlying": "A", "known": ["earnings", "ex-dividend"], "context_llr": -2.5}
    ]
    assert context.collected(None).is_empty()


def test_a_known_reason_lowers_the_event_by_what_it_shows():
    market = Market(seed=2)
    session, line = market.sessions[-1], market.lines("T09", "C")[1]
    market.trade(session, [line], 4_000, 0)
    run = run_market(market)
    before = market.before(session)
    inputs = (
        session,
        market.chains[session],
        contract_baselines(session, market.chains[session], before),
        ticker_baselines(session, market.chains[session], before),
        run.trailing("calibration_bins", session),
        run.trailing("ticker_statistics", session),
    )
    known = pl.DataFrame({"underlying": ["T09"], "annotation": ["earnings in 2 sessions"]})
    plain, lowered = (
        detect_session(*inputs, known=reasons).scored_events.filter(underlying="T09").row(0, named=True)
        for reasons in (None, known)
    )
    assert lowered["llr_total"] == pytest.approx(plain["llr_total"] - 1.5)
    assert lowered["p_value"] >= plain["p_value"]
    assert "earnings in 2 sessions" in lowered["annotations"]
    assert lowered["factors"][-1]["contribution"] == -1.5
    assert sum(part["contribution"] for part in lowered["factors"]) == pytest.approx(lowered["llr_total"])
