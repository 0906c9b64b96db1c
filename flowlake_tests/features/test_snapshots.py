"""Frozen snapshots: nothing of the future in them, the same facts give the same id, any id gives back its bytes."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from flowlake import calendar, snapshots
from flowlake.features.definitions import FEATURE_NAMES
from flowlake.features.snapshots import (
    Facts,
    MissingValues,
    content_sha256,
    cross_section,
    sequence_arrays,
    sequences,
)
from flowlake.lake import Lake, connect
from flowlake.lake.paths import UNPARTITIONED
from flowlake_tests.features.small import AS_OF, NAMES, SESSIONS, facts


@pytest.fixture(scope="module")
def known() -> Facts:
    return facts()


def garbled(frame: pl.DataFrame | None) -> pl.DataFrame | None:
    """Every number of what was known at or after AS_OF replaced, every text turned round; keys of joins stay."""
    assert frame is not None
    late = pl.col("available_at") >= AS_OF
    numbers = pl.selectors.numeric()
    texts = pl.selectors.by_name("member", "transaction_class", "basis", require_all=False)
    return frame.with_columns(
        pl.when(late).then(-numbers - 7).otherwise(numbers).name.keep(),
        pl.when(late).then(texts.str.reverse()).otherwise(texts).name.keep(),
    )


def truncated(frame: pl.DataFrame | None) -> pl.DataFrame | None:
    return frame.filter(pl.col("available_at") < AS_OF) if frame is not None else None


def changed(known: Facts, how) -> Facts:
    features = how(known.features)
    return Facts(features, how(known.stocks), how(known.insiders), how(known.congress))


VIEWS = {
    "cross_section": cross_section,
    "sequence": sequences,
    "filled sequence": lambda known, at: sequences(known, at, missing=MissingValues("forward_fill", 3)),
}


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("how", [garbled, truncated])
def test_the_future_garbled_or_cut_off_changes_no_byte(view: str, how, known: Facts, tmp_path: Path):
    before, after = VIEWS[view](known, AS_OF), VIEWS[view](changed(known, how), AS_OF)
    assert after.snapshot_id == before.snapshot_id
    for name, snapshot in (("before", before), ("after", after)):
        snapshot.frame.write_parquet(tmp_path / name)
    assert (tmp_path / "before").read_bytes() == (tmp_path / "after").read_bytes()


@pytest.mark.parametrize("view", VIEWS)
def test_the_past_garbled_does_change_it(view: str, known: Facts):
    past = pl.when(pl.col("available_at") < AS_OF).then(pl.col("option_volume") + 1).otherwise(pl.col("option_volume"))
    other = replace(known, features=known.features.with_columns(option_volume=past))
    assert VIEWS[view](other, AS_OF).snapshot_id != VIEWS[view](known, AS_OF).snapshot_id


def test_a_cross_section_is_the_newest_of_everything_known_strictly_before(known: Facts):
    frame = cross_section(known, AS_OF).frame
    newest = SESSIONS[-4]
    assert frame["underlying"].to_list() == list(NAMES)
    assert set(frame["session"]) == set(frame["last_close_session"]) == {newest}
    mine = known.features.filter(pl.col("session") == newest).sort("underlying")
    own = [name for name in FEATURE_NAMES if not name.startswith(("insider_", "congress_"))]
    assert_frame_equal(frame.select(own), mine.select(own))
    assert known.insiders is not None
    signals = known.insiders.filter(pl.col("session") == newest).sort("ticker")
    assert frame["insider_buyers"].to_list() == [*signals["buyers"], 0]


def test_congress_is_counted_to_the_moment(known: Facts):
    """Known: disclosures of the days up to two before AS_OF's, those of the 90 days; numbers 0 to 31 alternate."""
    frame = cross_section(known, AS_OF).frame.filter(pl.col("underlying") == "A")
    assert known.congress is not None
    counted = known.congress.filter(pl.col("available_at") < AS_OF)
    bought = pl.col("transaction_class") == "purchase"
    assert frame["congress_purchases_90"].to_list() == [counted.filter(bought).height]
    assert frame["congress_sales_90"].to_list() == [counted.filter(~bought).height]
    middle = (pl.col("amount_low") + pl.col("amount_high")) / 2
    net = counted.select(middle.filter(bought).sum() - middle.filter(~bought).sum()).item()
    assert frame["congress_net_usd_90"].to_list() == pytest.approx([net])


def test_one_moment_earlier_the_session_is_not_known(known: Facts):
    moment = known.features.filter(pl.col("session") == SESSIONS[-4])["available_at"].max()
    assert isinstance(moment, datetime)
    assert set(cross_section(known, moment).frame["session"]) == {SESSIONS[-5]}
    assert set(cross_section(known, moment + timedelta(microseconds=1)).frame["session"]) == {SESSIONS[-4]}


def test_an_underlying_that_left_is_left_out(known: Facts):
    gone = known.features.filter((pl.col("underlying") != "B") | (pl.col("session") < SESSIONS[-15]))
    assert cross_section(replace(known, features=gone), AS_OF).frame["underlying"].to_list() == ["A", "C"]


def test_what_is_not_in_the_lake_is_null(known: Facts):
    frame = cross_section(Facts(known.features), AS_OF).frame
    for name in ("last_close", "insider_buyers", "insider_is_cluster_buy", "congress_purchases_90"):
        assert frame[name].null_count() == frame.height


# --- sequences --------------------------------------------------------------------------------------------------------


def with_holes(known: Facts) -> Facts:
    """Underlying A has no rows in steps 10 to 15 of the sequence; B misses one value of `iv_30` at step 20."""
    past = [day for day in SESSIONS if day <= SESSIONS[-4]][-30:]
    features = known.features.with_columns(iv_30=pl.int_range(pl.len()).cast(pl.Float64))
    features = features.filter(~((pl.col("underlying") == "A") & pl.col("session").is_in(past[9:15])))
    hole = (pl.col("underlying") == "B") & (pl.col("session") == past[19])
    return replace(known, features=features.with_columns(iv_30=pl.when(~hole).then(pl.col("iv_30"))))


def test_a_sequence_has_thirty_sessions_for_every_underlying(known: Facts):
    frame = sequences(known, AS_OF).frame
    assert frame.height == 30 * len(NAMES)
    one = frame.filter(pl.col("underlying") == "B")
    assert one["step"].to_list() == list(range(1, 31))
    assert one["session"].to_list() == SESSIONS[1:-3][-30:]


def test_without_a_policy_what_is_missing_stays_missing_and_the_mask_says_so(known: Facts):
    frame = sequences(with_holes(known), AS_OF).frame
    at = FEATURE_NAMES.index("iv_30")
    a = frame.filter(pl.col("underlying") == "A")
    assert [step for step, value in zip(a["step"], a["iv_30"], strict=True) if value is None] == list(range(10, 16))
    observed = a["observed"].list.get(at).to_list()
    assert observed == [value is not None for value in a["iv_30"]]


def test_forward_fill_reaches_as_far_as_its_limit_and_the_mask_still_tells(known: Facts):
    frame = sequences(with_holes(known), AS_OF, missing=MissingValues("forward_fill", 4)).frame
    at = FEATURE_NAMES.index("iv_30")
    a = frame.filter(pl.col("underlying") == "A")
    assert a["iv_30"].to_list()[9:13] == [a["iv_30"][8]] * 4
    assert a["iv_30"].to_list()[13:15] == [None, None]
    assert a["observed"].list.get(at).to_list()[8:16] == [True, *[False] * 6, True]
    b = frame.filter(pl.col("underlying") == "B")
    assert b["iv_30"][19] == b["iv_30"][18]
    assert not b["observed"].list.get(at)[19]


def test_filling_never_reaches_over_from_another_underlying(known: Facts):
    late = known.features.filter((pl.col("underlying") != "B") | (pl.col("session") == SESSIONS[-4]))
    frame = sequences(replace(known, features=late), AS_OF, missing=MissingValues("forward_fill", 29)).frame
    b = frame.filter(pl.col("underlying") == "B")
    assert b["option_volume"].null_count() == 29


@pytest.mark.parametrize(("policy", "limit"), [("guess", 3), ("forward_fill", 0)])
def test_a_policy_nobody_declared_is_refused(policy: str, limit: int):
    with pytest.raises(ValueError, match=r"policy|limit"):
        MissingValues(policy, limit)  # pyright: ignore[reportArgumentType]


def test_arrays_for_a_model(known: Facts):
    frame = sequences(with_holes(known), AS_OF).frame
    names, values, mask = sequence_arrays(frame)
    assert names == list(NAMES)
    assert values.shape == mask.shape == (3, 30, len(FEATURE_NAMES))
    assert (np.isnan(values) == ~mask).all()
    assert values[1, 4, 0] == frame.filter(pl.col("underlying") == "B")["option_volume"][4]


# --- identity ---------------------------------------------------------------------------------------------------------


def test_the_id_depends_on_content_moment_and_parameters(known: Facts):
    ids = {
        cross_section(known, AS_OF).snapshot_id,
        cross_section(known, AS_OF + timedelta(seconds=1)).snapshot_id,
        cross_section(known, AS_OF, max_age_days=6).snapshot_id,
        sequences(known, AS_OF).snapshot_id,
        sequences(known, AS_OF, missing=MissingValues("forward_fill", 3)).snapshot_id,
    }
    assert len(ids) == 5


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (pl.Series("x", [1, None]), pl.Series("x", [1, 0])),
        (pl.Series("x", ["ab", "c"]), pl.Series("x", ["a", "bc"])),
        (pl.Series("x", [1.0]), pl.Series("x", [1])),
        (pl.Series("x", [1]), pl.Series("y", [1])),
        (pl.Series("x", [[True], [True, False]]), pl.Series("x", [[True, True], [False]])),
        (pl.Series("x", [True, None]), pl.Series("x", [True, False])),
    ],
)
def test_the_content_hash_tells_apart(one: pl.Series, other: pl.Series):
    assert content_sha256(one.to_frame()) != content_sha256(other.to_frame())


def test_the_content_hash_does_not_depend_on_chunks(known: Facts):
    frame = known.features
    chunked = pl.concat([frame.head(50), frame.slice(50)], rechunk=False)
    assert content_sha256(chunked) == content_sha256(frame)


# --- kept in a lake ---------------------------------------------------------------------------------------------------


def kept(known: Facts) -> Facts:
    """What the lake of these tests holds: the newest sessions of the features, and the disclosures."""
    return Facts(known.features.filter(pl.col("session") >= SESSIONS[-12]), congress=known.congress)


@pytest.fixture
def lake(known: Facts, tmp_path: Path) -> Lake:
    store = Lake.open(tmp_path / "data")
    with store.commit("test") as transaction:
        for (day,), rows in kept(known).features.group_by("session"):
            transaction.replace("options_flow_features", str(day), rows)
        assert known.congress is not None
        transaction.replace("congress_trades", UNPARTITIONED, known.congress)
        transaction.publish()
    return store


def test_a_kept_snapshot_is_listed_and_gives_back_its_bytes(lake: Lake, known: Facts):
    taken = snapshots.take(lake, AS_OF)
    snapshot_id = snapshots.keep(lake, taken, "run")
    row = snapshots.listed(lake).row(0, named=True)
    assert row["snapshot_id"] == snapshot_id == cross_section(kept(known), AS_OF).snapshot_id
    assert_frame_equal(snapshots.load(lake, snapshot_id[:6]), taken.frame)
    assert content_sha256(snapshots.load(lake, snapshot_id)) == row["content_sha256"]
    assert row["newest_available_at"] < row["as_of"]
    assert row["origin"] == "simulated"


def test_the_lake_changing_afterwards_changes_no_kept_byte(lake: Lake, known: Facts):
    snapshot_id = snapshots.keep(lake, snapshots.take(lake, AS_OF), "run")
    before = snapshots.load_bytes(lake, snapshot_id)
    with lake.commit("correction") as transaction:
        newest = known.features.filter(pl.col("session") == SESSIONS[-4]).with_columns(option_volume=pl.lit(1))
        transaction.replace("options_flow_features", str(SESSIONS[-4]), newest)
    assert snapshots.load_bytes(lake, snapshot_id) == before
    assert snapshots.keep(lake, snapshots.take(lake, AS_OF), "run") != snapshot_id
    assert snapshots.listed(lake).height == 2
    assert snapshots.load_bytes(lake, snapshot_id) == before


def test_the_same_facts_are_kept_once(lake: Lake):
    ids = {snapshots.keep(lake, snapshots.take(lake, AS_OF), run) for run in ("one", "two")}
    assert len(ids) == snapshots.listed(lake).height == 1


def test_sequences_are_kept_as_well(lake: Lake):
    taken = snapshots.take_sequences(lake, AS_OF, length=6, missing=MissingValues("forward_fill", 2))
    snapshot_id = snapshots.keep(lake, taken, "run")
    assert_frame_equal(snapshots.load(lake, snapshot_id), taken.frame)
    assert snapshots.find(lake, snapshot_id)["kind"] == "sequence"


def test_a_damaged_or_unknown_snapshot_is_refused_with_the_remedy(lake: Lake):
    snapshot_id = snapshots.keep(lake, snapshots.take(lake, AS_OF), "run")
    path = lake.paths.root / str(snapshots.find(lake, snapshot_id)["path"])
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(snapshots.SnapshotDamaged, match="backup"):
        snapshots.load(lake, snapshot_id)
    with pytest.raises(snapshots.UnknownSnapshot, match="features list"):
        snapshots.load(lake, "nothing")


def test_nothing_known_is_not_kept(lake: Lake):
    with pytest.raises(ValueError, match="nothing was known"):
        snapshots.keep(lake, snapshots.take(lake, datetime(2020, 1, 2, tzinfo=UTC)), "run")


def test_the_macro_gives_analysts_the_same_gate(lake: Lake):
    with connect(lake.paths.root) as connection:
        found = connection.sql("FROM features_asof($at)", params={"at": AS_OF}).pl()
    taken = snapshots.take(lake, AS_OF).frame
    assert found["underlying"].to_list() == taken["underlying"].to_list()
    assert found["option_volume"].to_list() == taken["option_volume"].to_list()
    assert set(found["session"]) == {SESSIONS[-4]}
    assert calendar.session_open(calendar.next_session(SESSIONS[-4])) == AS_OF
