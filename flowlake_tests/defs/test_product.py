"""What the UI shows of every asset, whoever added it, and the graph as a text that reviews see."""

from __future__ import annotations

import dagster as dg
import pytest

from flowlake.definitions import defs
from flowlake.defs.product import STAGES
from flowlake.schemas import TABLES
from flowlake.schemas.lineage import COMPUTED, MADE_FROM, sources
from flowlake_tests.defs.graph import GRAPH, rendered

SPECS = {
    spec.key.to_user_string(): spec
    for spec in sorted(defs.resolve_all_asset_specs(), key=lambda spec: spec.key.to_user_string())
}
COLUMNS = {name: frozenset(declared.schema.names()) for name, declared in TABLES.items()}


@pytest.mark.parametrize("name", SPECS)
def test_an_asset_says_who_owns_it_where_it_stands_and_what_it_is(name: str):
    spec = SPECS[name]
    assert spec.owners
    assert spec.kinds
    assert spec.description and len(spec.description) > 20
    group = spec.group_name or ""
    assert group in STAGES, "give the group its place in flowlake.defs.product.STAGES"
    assert spec.tags["stage"] == STAGES[group]


@pytest.mark.parametrize("name", [name for name in SPECS if name in TABLES])
def test_a_table_shows_columns_cadence_and_retention(name: str):
    spec = SPECS[name]
    shown = spec.metadata["dagster/column_schema"]
    assert [column.name for column in shown.columns] == TABLES[name].schema.names()
    assert {"cadence", "retention"} <= set(spec.tags)


@pytest.mark.parametrize("name", [name for name, spec in SPECS.items() if spec.partitions_def])
def test_a_range_of_partitions_is_one_run(name: str):
    definition = defs.get_repository_def().assets_defs_by_key[dg.AssetKey(name)]
    assert definition.backfill_policy == dg.BackfillPolicy.single_run()


def test_lineage_names_columns_that_exist():
    for table, columns in COMPUTED.items():
        for column, origins in columns.items():
            assert column in COLUMNS[table], f"{table}.{column}"
            for origin in origins:
                other, name = origin.split(".")
                assert name in COLUMNS[other], f"{table}.{column} from {origin}"


@pytest.mark.parametrize("name", MADE_FROM)
def test_most_columns_of_the_main_chain_say_where_they_come_from(name: str):
    found = sources(name, tuple(TABLES[name].schema.names()), COLUMNS)
    assert len(found) >= 0.3 * len(COLUMNS[name])
    assert f"{name}.session" not in found.get("session", ())


def test_volume_is_traced_to_the_bar_and_its_time():
    lineage = SPECS["option_chains"].metadata["dagster/column_lineage"]
    origins = {(dep.asset_key.to_user_string(), dep.column_name) for dep in lineage.deps_by_column["volume"]}
    assert origins == {("raw_option_snapshots", "day_volume"), ("raw_option_snapshots", "day_updated_at")}


def test_the_code_of_an_asset_is_linked_to_its_own_function():
    (reference,) = SPECS["option_chains"].metadata["dagster/code_references"].code_references
    assert reference.file_path.endswith("flowlake/defs/assets/chains.py")


def test_key_assets_say_how_old_they_may_be():
    assert {name for name, spec in SPECS.items() if spec.freshness_policy} >= {"option_chains", "scored_events"}


def test_the_graph_is_the_one_that_was_reviewed():
    assert rendered(defs) == GRAPH.read_text(encoding="utf-8"), (
        "the graph changed: look at the difference, and write it with `python -m flowlake_tests.defs.graph`"
    )
