"""Processes of the test that analysts' queries run while a backfill writes: `python -m flowlake_tests.sql.analysts`."""

from __future__ import annotations

import json
import sys
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl

from flowlake import calendar
from flowlake.lake import Lake
from flowlake_tests import small_lake

SESSIONS = calendar.sessions(date(2026, 6, 1), date(2026, 8, 31))
CONTRACTS = 64
STATES = 6

QUERIES = (
    "SELECT session, contracts, events FROM market_history()",
    "SELECT session, count(*), min(volume), max(volume) FROM option_chains WHERE contract_id = 0 GROUP BY session",
    "SELECT session, count(*), min(volume_mean_20), max(volume_mean_20) FROM contract_baselines GROUP BY session",
    "SELECT session, event_id FROM latest_events()",
    "SELECT session, volume, score FROM ticker_history('ABC')",
    "SELECT session, volume FROM contract_history('O:ABC260619C00080000')",
    "SELECT e.session, count(*) FROM scored_events e JOIN option_chains c USING (session, underlying) GROUP BY ALL",
    "SELECT contract, volume, times_usual FROM top_volume((SELECT max(session) FROM scored_events)) LIMIT 10",
    "SELECT table_name, max(\"partition\"), count(*) FROM lake_partitions GROUP BY ALL",
    "SELECT conviction, count(*) FROM scored_events GROUP BY conviction",
)  # fmt: skip


def backfill(data_dir: Path, stop: Path) -> None:
    """Write session after session, table by table, and publish each when it is complete; then correct them again."""
    lake = Lake.open(data_dir)
    version = 0
    while not stop.exists():
        version += 1
        for session in SESSIONS:
            if stop.exists():
                break
            key = session.isoformat()
            with lake.commit("backfill") as tx:
                tx.replace("option_chains", key, small_lake.chain(session, volume=1000 * version))
            with lake.commit("backfill") as tx:
                usual = small_lake.baselines(session).with_columns(volume_mean_20=pl.lit(float(version)))
                tx.replace("contract_baselines", key, usual)
            with lake.commit("backfill") as tx:
                tx.replace("scored_events", key, small_lake.events(session))
            lake.publish([key], "backfill")


def ask(data_dir: Path, queries: int) -> None:
    """Ask at least `queries` questions, ten on each connection, and until several states of the lake were seen.

    Prints what was wrong with the answers as JSON.
    """
    import duckdb

    import flowlake

    seen: dict[str, Any] = {"queries": 0, "errors": [], "partial": 0, "states": 0}
    states: set[tuple] = set()
    while seen["queries"] < queries or (len(states) < STATES and seen["queries"] < 20 * queries):
        try:
            with flowlake.open(data_dir) as connection:
                answers = []
                for query in QUERIES:
                    answers.append(connection.execute(query).fetchall())
                    seen["queries"] += 1
        except (duckdb.Error, OSError) as error:
            seen["errors"].append(repr(error))
            seen["queries"] += 1
            continue
        seen["partial"] += not _is_whole(answers)
        states.add(tuple(answers[2]))
    seen["states"] = len(states)
    print(json.dumps(seen))


def _is_whole(answers: list[list[tuple]]) -> bool:
    """Whether every table shows the same sessions, each of them complete and of one version."""
    history, chains, baselines, _, ticker, contract, joined, *_ = (sorted(answer) for answer in answers)
    versions = [(session, low // 1000) for session, rows, low, high in chains if rows == 1 and low == high]
    usual = [(session, int(low)) for session, rows, low, high in baselines if rows == CONTRACTS and low == high]
    sessions = [(session, CONTRACTS, 2) for session, _ in versions]
    return (
        versions == usual
        and history == sessions
        and [row[0] for row in ticker] == [row[0] for row in contract] == [row[0] for row in versions]
        and all(score == 9.0 for _, _, score in ticker)
        and joined == [(session, CONTRACTS) for session, _ in versions]
    )


if __name__ == "__main__":
    role, data_dir, last = sys.argv[1:]
    if role == "backfill":
        backfill(Path(data_dir), Path(last))
    else:
        ask(Path(data_dir), int(last))
