"""What was known at a moment: DuckDB's as-of joins with a strict gate, `available_at < as_of`.

The newest session known wins, not the newest arrival: a session filled in late must not hide a later one. Rows of
`facts` have `underlying`, `session` and `available_at`; (underlying, session) is unique.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import polars as pl

from flowlake.schemas import UTC_TIME

if TYPE_CHECKING:
    import duckdb

KEY = "underlying"

_AS_OF = """
WITH arrived AS (
    SELECT *, max(session) OVER (
        PARTITION BY underlying ORDER BY available_at RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
    ) AS newest_session
    FROM facts
    WHERE available_at < (SELECT max(as_of) FROM spine)
),
newest AS (SELECT * EXCLUDE (newest_session) FROM arrived WHERE session = newest_session)
SELECT spine.*, newest.* EXCLUDE (underlying)
FROM spine ASOF LEFT JOIN newest ON spine.underlying = newest.underlying AND spine.as_of > newest.available_at
ORDER BY spine.underlying, spine.as_of
"""

_STEPS = """
SELECT spine.*, facts.* EXCLUDE (underlying, session)
FROM spine LEFT JOIN facts
    ON spine.underlying = facts.underlying AND spine.session = facts.session AND facts.available_at < spine.as_of
ORDER BY spine.underlying, spine.as_of, spine.session
"""

_DISCLOSED = """
SELECT
    spine.underlying,
    spine.as_of,
    count(*) FILTER (WHERE bought)::INTEGER AS purchases,
    count(*) FILTER (WHERE NOT bought)::INTEGER AS sales,
    count(DISTINCT member)::INTEGER AS members,
    coalesce(sum(CASE WHEN bought THEN cents ELSE -cents END), 0)::DOUBLE / 100 AS net_usd
FROM spine LEFT JOIN (
    SELECT
        ticker, available_at, member, transaction_class = 'purchase' AS bought,
        coalesce(round((amount_low + coalesce(amount_high, amount_low)) * 50), 0)::BIGINT AS cents
    FROM trades
    WHERE transaction_class IN ('purchase', 'sale', 'partial_sale')
) AS disclosed
    ON spine.underlying = disclosed.ticker
    AND disclosed.available_at < spine.as_of
    AND disclosed.available_at >= spine.as_of - to_days($days)
GROUP BY ALL
ORDER BY ALL
"""


def spine(underlyings: pl.Series, as_of: datetime) -> pl.DataFrame:
    """One row per underlying, all asked for at `as_of` (an aware datetime)."""
    if as_of.tzinfo is None:
        raise ValueError(f"as_of must say its time zone, got {as_of!r}: write e.g. 2026-06-01T13:30:00+00:00")
    names = underlyings.unique().sort().alias(KEY)
    return pl.DataFrame({KEY: names}).with_columns(as_of=pl.lit(as_of).cast(UTC_TIME))


def latest_known(asked: pl.DataFrame, facts: pl.DataFrame) -> pl.DataFrame:
    """`asked` (underlying, as_of) with the row of `facts` of the newest session known strictly before, else nulls.

    Sorted by underlying and as_of.
    """
    return _query(_AS_OF, spine=asked, facts=facts)


def known_steps(asked: pl.DataFrame, facts: pl.DataFrame) -> pl.DataFrame:
    """`asked` (underlying, as_of, session) with the row of `facts` of that session, if known strictly before as_of."""
    return _query(_STEPS, spine=asked, facts=facts)


def disclosed(asked: pl.DataFrame, trades: pl.DataFrame, days: int) -> pl.DataFrame:
    """`asked` with purchases, sales, members and net_usd of CONGRESS_TRADES disclosed in the `days` strictly before."""
    return _query(_DISCLOSED, {"days": days}, spine=asked, trades=trades)


def _query(sql: str, parameters: dict[str, int] | None = None, **tables: pl.DataFrame) -> pl.DataFrame:
    import duckdb

    with duckdb.connect(":memory:", config={"memory_limit": "4GB"}) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        for name, frame in tables.items():
            _register(connection, name, frame)
        return connection.sql(sql, params=parameters).pl()


def _register(connection: duckdb.DuckDBPyConnection, name: str, frame: pl.DataFrame) -> None:
    connection.register(name, frame.to_arrow())
