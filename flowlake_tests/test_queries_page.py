"""docs/queries.md: every block of SQL on it runs, and the ten questions get rows."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

import flowlake
from flowlake.lake import Lake
from flowlake_tests import small_lake

PAGE = (Path(__file__).parents[1] / "docs" / "queries.md").read_text()
BLOCKS = re.findall(r"```sql\n(.*?)```", PAGE, re.DOTALL)
QUESTIONS = re.findall(r"^## (\d+)\. .*?```sql\n(.*?)```", PAGE, re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def connection(tmp_path_factory: pytest.TempPathFactory) -> Iterator[duckdb.DuckDBPyConnection]:
    lake = Lake.open(tmp_path_factory.mktemp("queries") / "data")
    small_lake.fill(lake)
    with flowlake.open(lake.paths.root) as opened:
        opened.execute(BLOCKS[0])
        yield opened


def test_there_are_ten_questions():
    assert [int(number) for number, _ in QUESTIONS] == list(range(1, 11))


@pytest.mark.parametrize(("number", "query"), QUESTIONS, ids=[number for number, _ in QUESTIONS])
def test_a_question_gets_an_answer(connection: duckdb.DuckDBPyConnection, number: str, query: str):
    assert connection.sql(query.rstrip().rstrip(";")).pl().height > 0


@pytest.mark.parametrize("query", BLOCKS[-3:])
def test_the_lake_describes_itself(connection: duckdb.DuckDBPyConnection, query: str):
    described = connection.sql(query.rstrip().rstrip(";")).pl()
    assert described.height > 0
    assert described["comment"].null_count() == 0
