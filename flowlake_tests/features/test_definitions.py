"""Every feature is declared once; columns, table and page follow from the declaration."""

from __future__ import annotations

from pathlib import Path

import pytest

from flowlake.features.definitions import FEATURE_NAMES, feature, feature_definitions, features_page
from flowlake.schemas import TABLES
from flowlake.schemas.feature_list import FEATURES
from flowlake.schemas.features import INTRADAY_FLOW_FEATURES, OPTIONS_FLOW_FEATURES

DOCS = Path(__file__).parents[2] / "docs" / "features.md"
TESTS = Path(__file__).parent


def test_names_are_unique():
    assert len(set(FEATURE_NAMES)) == len(FEATURE_NAMES)


@pytest.mark.parametrize("table", [OPTIONS_FLOW_FEATURES, INTRADAY_FLOW_FEATURES])
def test_the_tables_have_exactly_the_declared_features(table):
    others = {"session", "snapshot", "underlying", "spot", "basis", "event_time", "available_at", "origin"}
    assert tuple(name for name in table.schema if name not in others) == FEATURE_NAMES
    assert all(column.nullable for column in table.columns if column.name in FEATURE_NAMES)


@pytest.mark.parametrize("each", FEATURES, ids=FEATURE_NAMES)
def test_a_definition_says_everything(each):
    assert each.formula and each.source and each.known_at and each.inputs and each.missing
    assert each.window >= 1
    tables = {text.split(":")[0] for text in each.inputs}
    assert tables <= set(TABLES), tables - set(TABLES)


@pytest.mark.parametrize("each", FEATURES, ids=FEATURE_NAMES)
def test_inputs_name_columns_their_tables_have(each):
    for text in each.inputs:
        table, named = text.split(": ")
        assert set(named.split(", ")) <= set(TABLES[table].schema), text


@pytest.mark.parametrize("name", FEATURE_NAMES)
def test_every_feature_is_named_in_a_test(name: str):
    sources = [path.read_text() for path in TESTS.glob("test_*.py") if path.name != Path(__file__).name]
    assert any(f'"{name}"' in source or f"{name}=" in source for source in sources)


def test_the_definitions_table_has_a_row_for_every_feature():
    table = feature_definitions()
    assert table["feature"].to_list() == list(FEATURE_NAMES)
    assert table["definition_version"].n_unique() == 1


def test_an_unknown_feature_is_answered_with_close_names():
    with pytest.raises(KeyError, match="put_call_ratio"):
        feature("put_cal_ratio")


def test_the_page_is_what_the_code_says():
    assert DOCS.read_text() == features_page(), "run: python -m flowlake.features.definitions > docs/features.md"
