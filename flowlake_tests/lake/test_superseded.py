"""What was made from inputs that changed since, told from the manifest: here `right_table` from `left_table`."""

from __future__ import annotations

import json

import pytest

from flowlake.lake import Lake
from flowlake.lake.superseded import Reads, Superseded, roots, superseded
from flowlake_tests.lake.toys import SESSIONS, TOYS, left, right

MADE_FROM = {"right_table": [Reads("left_table", -2, 0), Reads("right_table", -1, -1)]}
A, B, C, D, E = SESSIONS[:5]


def put(lake: Lake, session: str, version: int) -> None:
    with lake.commit("input") as tx:
        tx.replace("left_table", session, left(session, version))


def make(lake: Lake, session: str, version: int) -> None:
    with lake.commit("made") as tx:
        tx.replace("right_table", session, right(session, version))


def found(lake: Lake) -> list[Superseded]:
    return superseded(lake.manifest().head, MADE_FROM, SESSIONS)


@pytest.fixture
def grown(lake: Lake) -> Lake:
    """Five sessions, each made after its inputs, as a lake grows day by day."""
    for session in (A, B, C, D, E):
        put(lake, session, 1)
        make(lake, session, 1)
    return lake


def test_a_lake_that_grew_day_by_day_has_nothing_superseded(grown: Lake):
    assert found(grown) == []


def test_a_restated_session_supersedes_what_looks_back_at_it_and_nothing_before_or_beyond(grown: Lake):
    put(grown, B, 2)
    assert [(each.table, each.session) for each in found(grown)] == [("right_table", day) for day in (B, C, D)]
    assert {each.inputs for each in found(grown)} == {(("left_table", B),)}
    assert roots(found(grown)) == [("left_table", B)]


def test_a_session_made_again_hands_on_what_changed(grown: Lake):
    put(grown, B, 2)
    make(grown, B, 2)
    assert [each.session for each in found(grown)] == [C, D]
    assert ("right_table", B) in found(grown)[0].inputs
    make(grown, C, 2)
    make(grown, D, 2)
    assert [(each.session, each.inputs) for each in found(grown)] == [(E, (("right_table", D),))]


def test_a_session_made_again_to_the_same_bytes_is_up_to_date_and_supersedes_nothing(grown: Lake):
    put(grown, B, 2)
    catalog = grown.manifest().catalog
    for session in (B, C, D):
        make(grown, session, 1)
    assert found(grown) == []
    assert grown.manifest().catalog == catalog, "analysts see what they saw"


def test_an_input_put_again_with_the_same_bytes_supersedes_nothing(grown: Lake):
    put(grown, B, 1)
    assert found(grown) == []


def test_making_again_without_need_is_noted_once(grown: Lake):
    put(grown, E, 2)
    make(grown, A, 1)
    number = grown.manifest().number
    make(grown, A, 1)
    assert grown.manifest().number == number


def test_an_input_that_came_late_supersedes_and_one_that_is_gone_does_not(grown: Lake):
    with grown.commit("retention") as tx:
        tx.remove("left_table", B)
    assert found(grown) == []
    put(grown, B, 1)
    assert [each.session for each in found(grown)] == [B, C, D]


def test_inputs_that_change_while_a_session_is_made_count_as_changed_after(lake: Lake):
    put(lake, A, 1)
    with lake.commit("made") as tx:
        put(lake, A, 2)
        tx.replace("right_table", A, right(A, 1))
    assert [each.session for each in found(lake)] == [A]


def test_what_one_commit_writes_together_is_told_apart_from_its_inputs(lake: Lake):
    with lake.commit("both") as tx:
        tx.replace("left_table", A, left(A, 1))
        tx.replace("right_table", A, right(A, 1))
    assert superseded(lake.manifest().head, {"right_table": [Reads("left_table", -2, -1)]}, SESSIONS) == []


def test_a_manifest_written_before_this_was_recorded_is_up_to_date_until_something_changes(grown: Lake):
    path = grown.paths.manifest(grown.manifest().number)
    raw = json.loads(path.read_text())
    raw["schema_version"] = 1
    for files in (raw["head"], raw["published"]):
        for entries in files.values():
            for entry in entries.values():
                del entry["since"], entry["read_at"]
    path.write_text(json.dumps(raw))
    older = Lake.open(grown.paths.root, tables=TOYS)
    assert found(older) == []
    put(older, C, 2)
    assert [each.session for each in found(older)] == [C, D, E]
