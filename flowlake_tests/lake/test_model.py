"""The lake behaves as two dictionaries would: one for the head, one for what is published."""

from __future__ import annotations

import tempfile
from pathlib import Path

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from flowlake.lake import Lake, connect
from flowlake_tests.lake.toys import PAIR, SESSIONS, left, right

MAKE = {"left_table": left, "right_table": right}
CHANGES = st.lists(
    st.tuples(st.sampled_from(sorted(PAIR)), st.sampled_from(SESSIONS[:3]), st.one_of(st.none(), st.integers(0, 3))),
    max_size=4,
)
"""(table, partition, version to write, or None to remove)."""


class LakeMachine(RuleBasedStateMachine):
    """Random commits, failed commits and publications against the model."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = tempfile.TemporaryDirectory(prefix="flowlake-model-")
        self.lake = Lake.open(Path(self.directory.name) / "data", tables=PAIR)
        self.head: dict[tuple[str, str], int] = {}
        self.published: dict[tuple[str, str], int] = {}

    @rule(changes=CHANGES, exclusive=st.booleans(), fails=st.booleans())
    def commit(self, changes: list[tuple[str, str, int | None]], exclusive: bool, fails: bool) -> None:
        proposed = dict(self.head)
        try:
            with self.lake.commit("run", exclusive=exclusive) as tx:
                for table, partition, version in changes:
                    if version is None:
                        tx.remove(table, partition)
                        proposed.pop((table, partition), None)
                    else:
                        tx.replace(table, partition, MAKE[table](partition, version, rows=version))
                        proposed[table, partition] = version
                    assert tx.has(table, partition) == ((table, partition) in proposed)
                if fails:
                    raise InterruptedError
        except InterruptedError:
            return
        self.head = proposed

    @rule(partitions=st.one_of(st.none(), st.lists(st.sampled_from(SESSIONS[:3]), max_size=3)))
    def publish(self, partitions: list[str] | None) -> None:
        self.lake.publish(partitions, "run")
        chosen = SESSIONS if partitions is None else partitions
        kept = {key: version for key, version in self.published.items() if key[1] not in chosen}
        taken = {key: version for key, version in self.head.items() if key[1] in chosen}
        self.published = {**kept, **taken}

    @rule()
    def reopen(self) -> None:
        self.lake = Lake.open(self.lake.paths.root, tables=PAIR)

    @invariant()
    def head_and_published_are_what_the_model_says(self) -> None:
        for snapshot, model in ((self.lake.snapshot(), self.head), (self.lake.published(), self.published)):
            found = {
                (table, partition): snapshot.rows(table, partition)
                for table in PAIR
                for partition in snapshot.partitions(table)
            }
            assert found == model
            for table in PAIR:
                rows = snapshot.scan(table).collect()
                expected = [
                    version for key, version in sorted(model.items()) if key[0] == table for _ in range(version)
                ]
                assert rows["version"].to_list() == expected

    def teardown(self) -> None:
        with connect(self.lake.paths.root) as connection:
            for table in PAIR:
                found = connection.execute(f"SELECT session::VARCHAR, version FROM {table} ORDER BY ALL").fetchall()
                model = sorted(self.published.items())
                assert found == [(key[1], n) for key, n in model if key[0] == table for _ in range(n)]
        self.directory.cleanup()


TestLakeModel = LakeMachine.TestCase
TestLakeModel.settings = settings(max_examples=12, stateful_step_count=12, deadline=None)
