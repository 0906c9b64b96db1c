from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl
import pytest

from flowlake import calendar, schemas
from flowlake.detect import context, known_events
from flowlake.detect.baselines import contract_baselines, ticker_baselines
from flowlake.detect.known_events import UnreadableEvents, read_operator_events, reasons
from flowlake.detect.pipeline import detect_session
from flowlake.settings import KnownEventsSettings
from flowlake_tests.detect.markets import Market
from flowlake_tests.detect.runs import run_market
from flowlake_tests.factories import frame

SESSION = date(2026, 6, 10)
NAMES = pl.Series(["ABC", "XYZ", "ABC"])


def action(kind: str, on: date, declared_on: date | None = None) -> pl.DataFrame:
    terms = {"split_from": 1.0, "split_to": 4.0} if kind == "split" else {"cash_amount": 0.25}
    row = {"ticker": "ABC", "kind": kind, "effective_on": on, "declared_on": declared_on}
    return frame(schemas.table("corporate_actions"), [row | terms])


def operator(folder: Path, *rows: str) -> pl.DataFrame:
    path = folder / "events.csv"
    path.write_text("\n".join(["underlying,event_on,kind,announced_at,description", *rows]) + "\n")
    return read_operator_events(path)


def known(
    session: date = SESSION, *, actions: pl.DataFrame | None = None, operator: pl.DataFrame | None = None
) -> pl.DataFrame:
    events = known_events.known_events(session, actions, operator, origin="simulated")
    return events.filter(pl.col("source") != "calendar")


def told_of(
    session: date = SESSION, *, actions: pl.DataFrame | None = None, operator: pl.DataFrame | None = None
) -> list[str]:
    events = known_events.known_events(session, actions, operator, origin="simulated")
    return reasons(events, NAMES, KnownEventsSettings())["annotation"].to_list()


# --- where they come from ---------------------------------------------------------------------------------------------


def test_splits_and_dividends_come_from_the_vendors_actions():
    rows = known(actions=pl.concat([action("split", date(2026, 6, 12)), action("dividend", date(2026, 6, 11))]))
    assert rows.select("kind", "event_on", "sessions_away").rows() == [
        ("ex_dividend", date(2026, 6, 11), 1),
        ("split", date(2026, 6, 12), 2),
    ]
    assert "4.0 for 1.0" in rows["description"][1]


def test_funds_trade_at_the_third_fridays_of_quarters_and_on_russells_day():
    # 2026-06-19 is a holiday; Russell is reconstituted a second time in November from 2026 on.
    assert [day for day, _ in known_events.rebalance_days(2026)] == [
        date(2026, 3, 20),
        date(2026, 6, 18),
        date(2026, 6, 26),
        date(2026, 9, 18),
        date(2026, 11, 13),
        date(2026, 12, 18),
    ]
    assert date(2025, 11, 14) not in [day for day, _ in known_events.rebalance_days(2025)]
    assert all(calendar.is_session(day) for year in range(2010, 2030) for day, _ in known_events.rebalance_days(year))


def test_the_operators_file_tells_of_earnings_and_deals(tmp_path: Path):
    rows = known(
        operator=operator(
            tmp_path,
            "ABC,2026-06-11,earnings,2026-05-20T16:05:00-04:00,",
            "XYZ,2026-06-01,deal,2026-06-01T07:00:00-04:00,to be bought at 40 USD",
        )
    )
    assert rows.select("underlying", "kind", "description", "sessions_away").rows() == [
        ("ABC", "earnings", "earnings", 1),
        ("XYZ", "deal", "to be bought at 40 USD", -7),
    ]
    assert rows["announced_at"][0] == datetime(2026, 5, 20, 20, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ("abc,2026-06-11,earnings,2026-05-20T16:05:00-04:00,", "line 2: underlying 'abc'"),
        ("<b>,2026-06-11,earnings,2026-05-20T16:05:00-04:00,", "underlying"),
        ("ABC,11.6.2026,earnings,2026-05-20T16:05:00-04:00,", "write YYYY-MM-DD"),
        ("ABC,2026-06-11,rumour,2026-05-20T16:05:00-04:00,", "is not one of earnings"),
        ("ABC,2026-06-11,earnings,2026-05-20T16:05:00,", "with its offset"),
        ("ABC,2026-06-11,earnings,,", "with its offset"),
    ],
)
def test_a_row_that_cannot_be_used_is_named_with_the_remedy(tmp_path: Path, row: str, complaint: str):
    with pytest.raises(UnreadableEvents, match=r"events\.csv") as raised:
        operator(tmp_path, row)
    assert complaint in str(raised.value)


def test_a_missing_file_or_column_is_named(tmp_path: Path):
    with pytest.raises(UnreadableEvents, match="does not exist"):
        read_operator_events(tmp_path / "none.csv")
    (tmp_path / "few.csv").write_text("underlying,kind\nABC,earnings\n")
    with pytest.raises(UnreadableEvents, match="lacks the columns event_on, announced_at"):
        read_operator_events(tmp_path / "few.csv")


# --- nothing before it was announced ----------------------------------------------------------------------------------


def test_an_event_counts_only_once_it_was_announced(tmp_path: Path):
    deal = operator(tmp_path, "ABC,2026-06-11,deal,2026-06-10T16:30:00-04:00,")
    assert known(SESSION, operator=deal).is_empty()
    assert known(calendar.next_session(SESSION), operator=deal).height == 1
    assert told_of(SESSION, operator=deal) == []
    assert told_of(calendar.next_session(SESSION), operator=deal) == ["deal on 2026-06-11"]


def test_within_a_session_only_what_was_announced_by_then_counts(tmp_path: Path):
    deal = operator(tmp_path, "ABC,2026-06-10,deal,2026-06-10T11:00:00-04:00,")
    for hour, height in ((14, 0), (15, 1), (16, 1)):
        by = datetime(2026, 6, 10, hour, tzinfo=UTC)
        found = known_events.known_events(SESSION, operator=deal, origin="simulated", by=by)
        assert found.filter(pl.col("kind") == "deal").height == height


def test_an_action_declared_later_is_not_known_yet():
    split = action("split", date(2026, 6, 12), declared_on=date(2026, 6, 11))
    assert known(SESSION, actions=split).is_empty()
    # Declared on the day, at an hour nobody tells: not used before the day is over.
    assert known(date(2026, 6, 11), actions=split).is_empty()
    assert known(date(2026, 6, 12), actions=split).height == 1


def test_two_sources_of_one_event_count_once_as_first_announced(tmp_path: Path):
    both = operator(
        tmp_path,
        "ABC,2026-06-12,earnings,2026-06-02T09:00:00-04:00,late",
        "ABC,2026-06-12,earnings,2026-05-02T09:00:00-04:00,early",
    )
    assert known(operator=both)["description"].to_list() == ["early"]


# --- what they explain ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "on", "explains"),
    [
        ("dividend", date(2026, 6, 11), True),
        ("dividend", date(2026, 6, 9), False),
        ("dividend", date(2026, 6, 30), False),
        ("split", date(2026, 6, 1), True),
        ("split", date(2026, 5, 1), False),
    ],
)
def test_only_near_events_explain_activity(kind: str, on: date, explains: bool):
    assert bool(told_of(actions=action(kind, on))) == explains


def test_every_annotation_lowers_the_score(tmp_path: Path):
    told = told_of(
        actions=pl.concat([action("split", date(2026, 6, 12)), action("dividend", date(2026, 6, 11))]),
        operator=operator(
            tmp_path,
            "ABC,2026-06-12,earnings,2026-05-20T16:05:00-04:00,",
            "ABC,2026-06-01,deal,2026-06-01T07:00:00-04:00,",
        ),
    )
    assert told == ["deal on 2026-06-01", "earnings on 2026-06-12", "ex-dividend on 2026-06-11", "split on 2026-06-12"]
    assert all(context.lowering(text) > 0 for text in told)


def test_a_rebalance_concerns_every_underlying_on_its_day():
    rebalance = date(2026, 6, 18)
    events = known_events.known_events(rebalance, origin="simulated")
    told = reasons(events, NAMES, KnownEventsSettings())
    assert told.rows() == [(name, "index rebalance on 2026-06-18") for name in ("ABC", "XYZ")]
    assert context.lowering(told["annotation"][0]) > 0
    assert told_of(date(2026, 6, 17)) == []


def test_contributions_still_add_up_with_everything_that_is_known(tmp_path: Path):
    market = Market(tickers=8, n=14, seed=3)
    session, run = market.sessions[-1], run_market(market)
    calendar_of = operator(
        tmp_path,
        f"T01,{session},earnings,2026-05-20T16:05:00-04:00,",
        f"T01,{session},deal,2026-06-01T07:00:00-04:00,",
    )
    known_today = known_events.known_events(session, operator=calendar_of, origin="simulated")
    chains, before = market.chains[session], market.before(session)
    inputs = (
        session,
        chains,
        contract_baselines(session, chains, before),
        ticker_baselines(session, chains, before),
        run.trailing("calibration_bins", session),
        run.trailing("ticker_statistics", session),
    )
    told = reasons(known_today, chains["underlying"], KnownEventsSettings())
    plain, lowered = (detect_session(*inputs, known=reason).scored_events for reason in (None, told))
    totals = lowered["factors"].list.eval(pl.element().struct.field("contribution")).list.sum()
    assert (totals - lowered["llr_total"]).abs().max() == pytest.approx(0.0, abs=1e-9)
    of_one = pl.col("underlying") == "T01"
    fell = plain.filter(of_one)["llr_total"].item() - lowered.filter(of_one)["llr_total"].item()
    assert fell == pytest.approx(context.lowering("earnings") + context.lowering("deal"))
    assert plain.filter(~of_one)["llr_total"].sort().to_list() == lowered.filter(~of_one)["llr_total"].sort().to_list()
