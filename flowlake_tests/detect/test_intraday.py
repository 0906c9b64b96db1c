from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowlake import calendar, schemas
from flowlake.detect import intraday
from flowlake.detect.baselines import contract_baselines, ticker_baselines
from flowlake.detect.intraday import History, SnapshotDetection, detect_snapshot, expected_share, volume_profile
from flowlake.detect.panel import FutureData
from flowlake.settings import IntradayDetectionSettings
from flowlake_tests.detect.markets import Market, chain
from flowlake_tests.detect.runs import run_market

MINUTE = 90
SHARE = float(intraday.assumed_share(np.array([MINUTE]))[0])
ASSUMED = volume_profile(
    schemas.table("intraday_ticker_statistics").empty(), schemas.table("ticker_statistics").empty()
)


def at(session: date, minute: int = MINUTE) -> datetime:
    return calendar.session_open(session) + timedelta(minutes=minute)


def no_history(prefix: str = "") -> History:
    return History(*(schemas.table(f"{prefix}{name}").empty() for name in ("calibration_bins", "ticker_statistics")))


# --- how a day's volume arrives ---------------------------------------------------------------------------------------


@given(st.lists(st.floats(0, 390), min_size=2, max_size=20))
def test_the_assumed_day_runs_from_nothing_to_everything_without_falling(minutes: list[float]):
    shares = intraday.assumed_share(np.array(sorted(minutes)))
    assert ((np.diff(shares) >= 0) & (shares[1:] <= 1 + 1e-12)).all()
    assert intraday.assumed_share(np.array([0, 390])) == pytest.approx([0, 1])


def test_the_assumed_day_is_busier_at_both_ends_than_in_the_middle():
    early, middle, late = np.diff(intraday.assumed_share(np.array([0, 30, 180, 210, 360, 390])))[::2]
    assert early > late > middle


def recorded(days: int, share: float, minute: int = MINUTE, last: date = date(2026, 6, 30)):
    """Statistics of `days` sessions of a busy and a quiet underlying with `share` of the day's volume by `minute`."""
    sessions = calendar.trailing_sessions(calendar.next_session(last), days)
    rows = [
        {"session": day, "snapshot": at(day, minute), "underlying": name, "activity": activity, "chain_volume": volume}
        for day in sessions
        for name, activity, volume in (("BUSY", 3, 200_000), ("IDLE", 0, 100))
    ]
    whole = pl.DataFrame(rows, schema_overrides={"activity": pl.Int8})
    return whole.with_columns(chain_volume=pl.col("chain_volume") * share), whole.drop("snapshot")


def test_a_profile_is_assumed_until_enough_sessions_were_measured():
    settings = IntradayDetectionSettings(profile_sessions=5)
    few, many = (volume_profile(*recorded(n, 0.4), settings) for n in (4, 5))
    assert few["source"].unique().to_list() == ["assumed"]
    measured = many.filter(pl.col("source") == "measured")
    assert measured["activity"].unique().sort().to_list() == [0, 3]
    assert expected_share(many, at(date(2026, 7, 1)))["share"].to_list() == pytest.approx([0.4, SHARE, SHARE, 0.4])
    assert set(ASSUMED["source"]) == {"assumed"}


def test_a_measured_profile_never_falls_and_ends_at_one():
    early, day = recorded(6, 0.5, 60)
    late, _ = recorded(6, 0.45, 120)
    profile = volume_profile(pl.concat([early, late]), day)
    curve = profile.filter(pl.col("activity") == 3)
    assert curve["share"].to_list() == pytest.approx([0, 0.5, 0.5, 1])


def test_early_closes_do_not_bend_the_profile_and_are_stretched_to_it():
    early_close = date(2026, 11, 27)
    snapshots, days = recorded(6, 0.4, last=early_close)
    odd = pl.when(pl.col("session") == early_close).then(0.9).otherwise(0.4)
    days = days.sort("session", "underlying")
    snapshots = snapshots.sort("session", "underlying").with_columns(chain_volume=days["chain_volume"] * odd)
    assert expected_share(volume_profile(snapshots, days), at(date(2026, 11, 30)))["share"][0] == pytest.approx(0.4)
    profile = ASSUMED
    half_time = calendar.session_open(early_close) + timedelta(minutes=105)
    assert expected_share(profile, half_time).equals(expected_share(profile, at(date(2026, 7, 1), 195)))
    assert (expected_share(profile, calendar.session_close(early_close))["share"] == 1.0).all()


# --- a part of a day --------------------------------------------------------------------------------------------------


def test_what_is_usual_shrinks_with_the_day_but_the_dispersion_stays():
    lines = pl.DataFrame(
        {
            "volume_mean_20": [10.0],
            "volume_std_20": [60.0**0.5],
            "profile_volume_mean": [8.0],
            "ticker_volume_mean": [50.0],
            "ticker_day_mean": [50.0],
            "ticker_call_mean": [30.0],
            "ticker_put_mean": [20.0],
            "ticker_premium_mean": [1e4],
        }
    )
    shares = pl.DataFrame({"activity": [0], "share": [0.25]}, schema_overrides={"activity": pl.Int8})
    row = intraday.rescaled(lines, shares).row(0, named=True)
    assert (row["volume_mean_20"], row["ticker_volume_mean"], row["ticker_day_mean"]) == (2.5, 12.5, 50.0)
    dispersion = row["volume_mean_20"] ** 2 / (row["volume_std_20"] ** 2 - row["volume_mean_20"])
    assert dispersion == pytest.approx(10.0**2 / (60.0 - 10.0))


class Day:
    """A market in which every line trades its part of a day by `MINUTE`, and maybe a bet on a quiet underlying."""

    def __init__(self) -> None:
        self.market = Market(tickers=24, n=26, seed=5)
        self.rng = np.random.default_rng(2)
        self.whole = run_market(self.market)
        self.found: dict[date, SnapshotDetection] = {}
        self.profile = ASSUMED

    def so_far(self, session: date, bet: int = 0) -> pl.DataFrame:
        full = self.market.chains[session]
        traded = pl.Series("volume", self.rng.binomial(full["volume"].to_numpy(), SHARE))
        line = (
            (pl.col("underlying") == "T01")
            & (pl.col("strike") == 108)
            & (pl.col("right") == "C")
            & (pl.col("dte") < 60)
        )
        frame = full.with_columns(traded.cast(pl.Int32))
        first = frame.filter(line)["contract_id"].max()
        return frame.with_columns(
            volume=pl.col("volume") + pl.when(pl.col("contract_id") == first).then(bet).otherwise(0)
        )

    def history(self, session: date) -> History:
        earlier = [found for day, found in self.found.items() if day < session]
        return History(
            pl.concat([no_history("intraday_").bins, *(one.intraday_calibration_bins for one in earlier)]),
            pl.concat([no_history("intraday_").statistics, *(one.intraday_ticker_statistics for one in earlier)]),
        )

    def detect(self, session: date, *, bet: int = 0, history: History | None = None, same: int = 10):
        chains, before = self.so_far(session, bet), self.market.before(session)
        return detect_snapshot(
            at(session),
            chains,
            contract_baselines(session, chains, before),
            ticker_baselines(session, chains, before),
            self.profile,
            history or self.history(session),
            History(
                self.whole.trailing("calibration_bins", session), self.whole.trailing("ticker_statistics", session)
            ),
            IntradayDetectionSettings(same_time_sessions=same),
        )


@pytest.fixture(scope="module")
def day() -> Day:
    day = Day()
    for session in day.market.sessions[5:-1]:
        day.found[session] = day.detect(session)
    return day


def test_events_come_from_whole_days_until_the_time_of_day_has_a_history(day: Day):
    sessions = day.market.sessions
    early, late = (day.found[session].intraday_scored_events for session in (sessions[10], sessions[-2]))
    for events, from_days in ((early, True), (late, False)):
        assert events.height > 0
        assert events["annotations"].list.contains(intraday.WHOLE_DAY_NOTE).all() == from_days
        assert events["explanation"].str.contains("compared with whole days").all() == from_days
        assert events["explanation"].str.contains("Counted up to 11:00 New York").all()


def test_against_whole_days_alarms_are_rarer_than_promised(day: Day):
    shown = [found.intraday_scored_events for session, found in day.found.items() if session <= day.market.sessions[15]]
    events = pl.concat(shown)
    judged = sum(events.group_by("session").agg(pl.col("universe").first())["universe"].to_list())
    assert judged > 150
    assert events.filter(pl.col("p_value") <= 0.05).height <= 0.05 * judged


def test_against_the_same_time_alarms_come_as_often_as_promised(day: Day):
    events = pl.concat(
        found.intraday_scored_events for session, found in day.found.items() if session > day.market.sessions[17]
    )
    judged = sum(events.group_by("session").agg(pl.col("universe").first())["universe"].to_list())
    nominal = 0.2 * judged
    assert abs(events.filter(pl.col("p_value") <= 0.2).height - nominal) <= 3 * nominal**0.5 + 1


@pytest.mark.parametrize("same", [10, 99])
def test_a_bet_of_the_morning_leads_its_snapshot_either_way(day: Day, same: int):
    session = day.market.sessions[-1]
    events = day.detect(session, bet=600, same=same).intraday_scored_events
    leader = events.row(0, named=True)
    assert leader["underlying"] == "T01"
    assert leader["contracts"][0]["volume"] >= 600
    total = sum(part["contribution"] for part in leader["factors"])
    assert total == pytest.approx(leader["llr_total"], abs=1e-9)
    assert "open_interest_surprise" not in [part["factor"] for part in leader["factors"]]


def test_an_event_keeps_one_id_through_the_day_and_at_the_close(day: Day):
    session = day.market.sessions[-2]
    now, close = day.found[session].intraday_scored_events, day.whole.detections[session].scored_events
    both = now.join(close, on="underlying", suffix="_close")
    assert both.height > 0
    assert (both["event_id"] == both["event_id_close"]).all()


def test_the_null_rows_are_of_the_same_time_even_where_events_are_not(day: Day):
    session = day.market.sessions[-1]
    days, same = (day.detect(session, same=same) for same in (99, 10))
    for name in ("intraday_calibration_bins", "intraday_ticker_statistics"):
        mine, other = days.tables()[name], same.tables()[name]
        assert mine.height > 0
        assert set(mine["snapshot"]) == set(other["snapshot"]) == {at(session)}
    assert days.intraday_ticker_statistics["open_interest_surprise"].is_null().all()
    assert days.intraday_ticker_statistics["llr_total"].is_not_null().all()


def test_every_table_of_a_snapshot_is_declared(day: Day):
    for name, frame in day.found[day.market.sessions[-2]].tables().items():
        assert frame.schema == schemas.table(name).schema


def test_the_same_inputs_give_the_same_rows(day: Day):
    session = day.market.sessions[-1]
    state = day.rng.bit_generator.state
    first = day.detect(session, bet=50)
    day.rng.bit_generator.state = state
    again = day.detect(session, bet=50)
    assert all(frame.equals(again.tables()[name]) for name, frame in first.tables().items())


def test_a_snapshot_is_never_judged_by_its_own_day(day: Day):
    session = day.market.sessions[-2]
    with pytest.raises(FutureData):
        day.detect(session, history=day.history(day.market.sessions[-1]))


def test_without_any_history_nothing_is_flagged_and_nothing_fails():
    session = date(2026, 6, 30)
    chains = chain(session, [{"contract_id": 1, "volume": 10_000}])
    found = detect_snapshot(
        datetime(2026, 6, 30, 14, 30, tzinfo=UTC),
        chains,
        contract_baselines(session, chains, {}),
        ticker_baselines(session, chains, {}),
        ASSUMED,
        no_history("intraday_"),
        no_history(),
    )
    assert found.intraday_scored_events.is_empty()


# --- the assumption beside a real day ---------------------------------------------------------------------------------

REAL_DAY = date(2020, 12, 17)


def _half_hours(shared_data) -> pl.DataFrame:
    """Volume so far by underlying and minute of 2020-12-17: the files' UTC times less the vendor's 15 minutes."""
    import io
    import tarfile

    parts = []
    with tarfile.open(shared_data / "quotes" / "yahoo_dec2020_intraday" / "csv.tar.xz") as archive:
        for member in archive:
            name = member.name.rsplit("/", 1)[-1]
            content = archive.extractfile(member)
            if content is None or not name.startswith("12_17_20-") or name == "12_17_20-14:30.csv":
                continue
            taken = datetime.strptime(name, "12_17_20-%H:%M.csv").replace(
                year=2020, month=12, day=17, tzinfo=UTC
            ) - timedelta(minutes=15)
            rows = pl.read_csv(io.BytesIO(content.read()), infer_schema=False)
            # The volume of a line that has not traded today is still that of an earlier day.
            today = rows.filter(pl.col("lastTradeDate").str.starts_with(REAL_DAY.isoformat()))
            volume = pl.col("volume").cast(pl.Float64, strict=False).sum()
            parts.append(today.group_by(underlying="ticker").agg(chain_volume=volume).with_columns(snapshot=taken))
    return pl.concat(parts).with_columns(snapshot=pl.col("snapshot").cast(schemas.UTC_TIME))


@pytest.mark.real_data
@pytest.mark.slow
def test_the_assumed_day_is_near_a_real_one(shared_data):
    opened = calendar.session_open(REAL_DAY)
    volumes = _half_hours(shared_data).with_columns(
        minute=(pl.col("snapshot") - opened).dt.total_minutes().cast(pl.Int64)
    )
    last = volumes.select(pl.col("minute").max()).item()
    assert (volumes["underlying"].n_unique(), last) == (7, 345)
    final = pl.col("chain_volume").filter(pl.col("minute") == last).first().over("underlying")
    seen = volumes.with_columns(share=pl.col("chain_volume") / final).group_by("minute").agg(pl.col("share").median())
    seen = seen.sort("minute")
    assumed = intraday.assumed_share(seen["minute"].to_numpy()) / intraday.assumed_share(np.array([last]))
    for minute, real, guess in zip(seen["minute"], seen["share"], assumed, strict=True):
        print(f"minute {minute}: median share {real:.2f}, assumed {guess:.2f}, even {minute / last:.2f}")
    error, even = (abs(seen["share"].to_numpy() - curve) for curve in (assumed, seen["minute"].to_numpy() / last))
    print(f"largest error {error.max():.3f}, of an even day {even.max():.3f}")
    assert error.max() <= 0.06
    assert error.mean() <= even.mean() / 2


@pytest.mark.real_data
@pytest.mark.slow
def test_a_profile_measured_on_a_real_day_interpolates_it(shared_data):
    volumes = _half_hours(shared_data).with_columns(session=pl.lit(REAL_DAY), activity=pl.lit(3, dtype=pl.Int8))
    whole = volumes.sort("snapshot").group_by("underlying").last().drop("snapshot")
    profile = volume_profile(volumes, whole, IntradayDetectionSettings(profile_sessions=1))
    at_11 = expected_share(profile, at(REAL_DAY, 90)).filter(pl.col("activity") == 3)["share"].item()
    at_10_45 = volumes.filter(pl.col("snapshot") == at(REAL_DAY, 75)).select(pl.col("chain_volume").sum()).item()
    assert at_10_45 / whole.select(pl.col("chain_volume").sum()).item() < at_11 < 0.6


# --- one snapshot, and all of a day's ---------------------------------------------------------------------------------


@pytest.mark.slow
def test_over_a_days_snapshots_more_underlyings_cross_a_level_than_at_one_of_them():
    """What the rate of one snapshot means for a day: printed, because no formula gives it."""
    market, rng, level = Market(tickers=40, n=26, seed=9), np.random.default_rng(4), 0.05
    minutes = (30, 90, 150, 210, 270, 330, 390)
    reached = intraday.assumed_share(np.array(minutes))
    settings = IntradayDetectionSettings(same_time_sessions=5)
    bins = {minute: [no_history("intraday_").bins] for minute in minutes}
    statistics = {minute: [no_history("intraday_").statistics] for minute in minutes}
    single, union, days = 0, 0, 0
    for session in market.sessions[5:]:
        full, before = market.chains[session], market.before(session)
        baselines = contract_baselines(session, full, before), ticker_baselines(session, full, before)
        left, so_far, past, crossed = full["volume"].to_numpy(), np.zeros(full.height, dtype=np.int64), 0.0, []
        found = None
        for minute, share in zip(minutes, reached, strict=True):
            now = rng.binomial(left, min((share - past) / (1.0 - past), 1.0))
            left, so_far, past = left - now, so_far + now, share
            chains = full.with_columns(pl.Series("volume", so_far, dtype=pl.Int32))
            history = History(pl.concat(bins[minute]), pl.concat(statistics[minute]))
            found = detect_snapshot(at(session, minute), chains, *baselines, ASSUMED, history, no_history(), settings)
            bins[minute].append(found.intraday_calibration_bins)
            statistics[minute].append(found.intraday_ticker_statistics)
            crossed.append(found.intraday_scored_events.filter(pl.col("p_value") <= level)["underlying"].to_list())
        if found is not None and found.intraday_scored_events.height:
            days += 1
            single += sum(map(len, crossed))
            union += len(set().union(*crossed))
    mean = single / len(minutes)
    print(
        f"{days} sessions, {len(minutes)} snapshots each: {mean / days:.2f} of 40 a snapshot, {union / days:.2f} a day"
    )
    print(f"crossed by {mean:.0f} at one snapshot, by {union} at some snapshot of the day: {union / mean:.1f} times")
    assert days >= 10
    assert 1.0 < union / mean < len(minutes)
