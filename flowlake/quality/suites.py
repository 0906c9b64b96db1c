"""Great Expectations suites of the published end-of-day tables: what a session should look like beside those before it.

A suite never walks millions of rows. It looks at two small frames that polars makes: `sessions`, one row a session with
its statistics beside the trailing ones, and `rows`, one row per underlying (or a small table as it is) that holds the
least favourable values of its group, so that a set, a pattern or a pair that holds there holds everywhere. Both cover
all sessions of a run at once: the fixed cost of Great Expectations is paid once a table, not once a session.

Row invariants stop a pipeline (`flowlake.quality.invariants`); suites never do. Great Expectations takes four seconds
to import and is imported only where a suite is validated.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Final, Literal

import polars as pl

from flowlake.quality.outcome import Outcome, Severity
from flowlake.quality.shapes import Distribution, Profiled, Statistic, compare
from flowlake.schemas import table

Batch = Literal["sessions", "rows"]
Level = Literal["critical", "warning", "info"]

SEVERITIES: Final[Mapping[str, Severity]] = {
    "critical": Severity.ERROR,
    "warning": Severity.WARN,
    "info": Severity.WARN,
}
"""What a failed expectation of each level is in Dagster; 'info' is shown and fails no check."""

NULL_SHIFT: Final = 0.25
"""How far the share of nulls of a column may rise above its trailing median."""
SHIFTED: Final = 0.25
"""Population stability index, beyond sampling noise, from which a distribution has changed (0.1 is alike)."""

_LISTED = 5


@dataclass(frozen=True)
class Expectation:
    """One expectation of a suite: a Great Expectations class by name, its arguments, and what a failure means."""

    name: str
    kind: str
    arguments: Mapping[str, Any]
    level: Level
    batch: Batch = "sessions"

    @property
    def expected(self) -> str:
        """What is demanded, in words."""
        given = self.arguments
        if self.kind == "ExpectColumnValuesToBeBetween":
            low, high = given.get("min_value"), given.get("max_value")
            text = (
                f"at least {low:g}" if high is None else f"at most {high:g}" if low is None else f"{low:g} to {high:g}"
            )
        elif self.kind == "ExpectColumnPairValuesAToBeGreaterThanB":
            return f"{given['column_A']} is not below {given['column_B']}"
        elif self.kind == "ExpectColumnValuesToBeInSet":
            text = "one of " + ", ".join(map(str, given["value_set"]))
        elif self.kind == "ExpectColumnValuesToMatchRegex":
            text = f"matches {given['regex']}"
        else:
            text = "unique within the session"
        share = f" in {given['mostly']:.0%} of rows" if given.get("mostly", 1.0) < 1.0 else ""
        return f"{given.get('column', 'key')} {text}{share}"


@dataclass(frozen=True)
class Suite:
    """The expectations of one table and how the two frames they look at are made from a session of it.

    `rows` makes the frame of sets, patterns and pairs; it must keep or add the column session.
    """

    table: str
    columns: tuple[str, ...]
    statistics: Mapping[str, Statistic]
    distributions: Mapping[str, Distribution]
    rows: Callable[[pl.DataFrame], pl.DataFrame]
    own: tuple[Expectation, ...]

    @property
    def expectations(self) -> tuple[Expectation, ...]:
        """Those of the table's meaning, and what follows from its declaration: shares of nulls stay as they were."""
        return (*self.own, *_stable_nulls(self.table, self.columns))

    def profile(self, session: date, frame: pl.DataFrame) -> Profiled:
        """What the suite needs to know of one session."""
        nullable = [c.name for c in table(self.table).columns if c.nullable and c.name in self.columns]
        return Profiled.of(session, frame, self.statistics, nullable, self.distributions, self.rows(frame))


@dataclass(frozen=True)
class Finding:
    """One expectation on one session: what was expected, what was seen, and whether the expectation itself broke."""

    session: date
    name: str
    passed: bool
    level: Level
    expected: str
    observed: str
    violations: int
    rows: int
    broken: bool = field(default=False)

    @property
    def outcome(self) -> Outcome:
        """The finding as the outcome of a rule; only failures of a level above 'info' fail."""
        return Outcome(
            name=f"suite: {self.name}",
            passed=self.passed or (self.level == "info" and not self.broken),
            severity=SEVERITIES[self.level],
            violations=self.violations,
            rows=self.rows,
            description=f"{self.expected}; {self.observed}",
        )


def between(
    column: str, low: float | None, high: float | None, level: Level, batch: Batch = "sessions", mostly: float = 1.0
) -> Expectation:
    """`column` lies in [low, high]; nulls (no trailing sessions yet) are not judged."""
    arguments = {"column": column, "min_value": low, "max_value": high, "mostly": mostly}
    return Expectation(f"{column} in range", "ExpectColumnValuesToBeBetween", arguments, level, batch)


def one_of(column: str, values: Sequence[Any], level: Level = "critical") -> Expectation:
    """Every value of `column` is one of `values`."""
    arguments = {"column": column, "value_set": list(values)}
    return Expectation(f"{column} known", "ExpectColumnValuesToBeInSet", arguments, level, "rows")


def matches(column: str, pattern: str, level: Level = "critical") -> Expectation:
    """Every value of `column` matches the regular expression `pattern` from its start."""
    arguments = {"column": column, "regex": pattern}
    return Expectation(f"{column} readable", "ExpectColumnValuesToMatchRegex", arguments, level, "rows")


def not_below(larger: str, smaller: str, level: Level = "critical") -> Expectation:
    """`larger` >= `smaller` in every row that has both."""
    arguments = {
        "column_A": larger,
        "column_B": smaller,
        "or_equal": True,
        "ignore_row_if": "either_value_is_missing",
    }
    return Expectation(
        f"{larger} not below {smaller}", "ExpectColumnPairValuesAToBeGreaterThanB", arguments, level, "rows"
    )


def _stable_nulls(name: str, columns: Sequence[str]) -> tuple[Expectation, ...]:
    nullable = [column.name for column in table(name).columns if column.nullable and column.name in columns]
    return tuple(between(f"null share of {each}, shift", None, NULL_SHIFT, "warning") for each in nullable)


# --- the tables -------------------------------------------------------------------------------------------------------

_OCC = r"^O:[A-Z]{1,6}[0-9]?[0-9]{6}[CP][0-9]{8}$"
_LOG_BINS = tuple(float(10 ** (n / 2)) for n in range(13))
_IV_BINS = (0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0, 1.5, 2.0, 3.0)
_DELTA_BINS = (0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98)
_DTE_BINS = (1.5, 7.5, 14.5, 30.5, 60.5, 90.5, 180.5, 365.5)


def _chain_rows(chains: pl.DataFrame) -> pl.DataFrame:
    """The least favourable row of every root: the most crossed quote, the extreme contracts, the odd one out."""
    gap = pl.col("ask") - pl.col("bid")
    quoted = pl.col("ask") > 0
    return chains.group_by("session", "underlying", "root").agg(
        contract_first=pl.col("contract").min(),
        contract_last=pl.col("contract").max(),
        contract_longest=pl.col("contract").sort_by(pl.col("contract").str.len_chars(), "contract").last(),
        bid=pl.col("bid").filter(quoted).sort_by(gap.filter(quoted), nulls_last=True).first(),
        ask=pl.col("ask").filter(quoted).sort_by(gap.filter(quoted), nulls_last=True).first(),
        rights=pl.col("right").unique().sort().str.join(""),
        exercise_style=pl.col("exercise_style").max(),
        basis=pl.col("basis").max(),
        origin=pl.col("origin").max(),
        spots=pl.col("spot").n_unique(),
        contracts=pl.len(),
        traded=(pl.col("volume") > 0).sum(),
        highest_call_delta=pl.col("delta").filter(pl.col("right") == "C").max(),
        lowest_put_delta=pl.col("delta").filter(pl.col("right") == "P").min(),
    )


OPTION_CHAINS = Suite(
    table="option_chains",
    columns=(
        "session",
        "underlying",
        "root",
        "contract",
        "right",
        "exercise_style",
        "volume",
        "open_interest",
        "bid",
        "ask",
        "price",
        "spot",
        "forward",
        "dte",
        "implied_volatility",
        "iv_status",
        "delta",
        "vendor_iv",
        "basis",
        "origin",
    ),
    statistics={
        "rows": Statistic(pl.len()),
        "underlyings": Statistic(pl.col("underlying").n_unique()),
        "volume": Statistic(pl.col("volume").sum()),
        "open interest": Statistic(pl.col("open_interest").sum()),
        "share traded": Statistic((pl.col("volume") > 0).mean()),
        "share with our IV": Statistic((pl.col("iv_status") == "ok").mean(), shift=True),
        "mean IV": Statistic(pl.col("implied_volatility").cast(pl.Float64).mean()),
        "IV, 5 % quantile": Statistic(pl.col("implied_volatility").cast(pl.Float64).quantile(0.05)),
        "IV, median": Statistic(pl.col("implied_volatility").cast(pl.Float64).median()),
        "IV, 95 % quantile": Statistic(pl.col("implied_volatility").cast(pl.Float64).quantile(0.95)),
        "put share of volume": Statistic(
            pl.col("volume").filter(pl.col("right") == "P").sum() / pl.col("volume").sum(), shift=True
        ),
    },
    distributions={
        "IV": Distribution(pl.col("implied_volatility"), _IV_BINS),
        "delta": Distribution(pl.col("delta").abs(), _DELTA_BINS),
        "volume": Distribution(pl.col("volume"), _LOG_BINS),
        "days to expiration": Distribution(pl.col("dte"), _DTE_BINS),
    },
    rows=_chain_rows,
    own=(
        between("rows, ratio", 0.85, 1.18, "warning"),
        between("underlyings, ratio", 0.95, 1.06, "critical"),
        between("volume, ratio", 0.33, 3.0, "warning"),
        between("open interest, ratio", 0.5, 2.0, "warning"),
        between("share traded, ratio", 0.5, 2.0, "warning"),
        # Without quotes only what traded has a price of the session: 37 to 45 % on recorded sessions.
        between("share with our IV", 0.2, None, "warning"),
        between("share with our IV, shift", -0.15, 0.15, "warning"),
        between("mean IV, ratio", 0.6, 1.67, "warning"),
        between("IV, 5 % quantile, ratio", 0.5, 2.0, "info"),
        between("IV, median, ratio", 0.6, 1.67, "warning"),
        between("IV, 95 % quantile, ratio", 0.5, 2.0, "info"),
        between("put share of volume, shift", -0.3, 0.3, "warning"),
        between("stability of IV", None, SHIFTED, "warning"),
        between("stability of delta", None, SHIFTED, "warning"),
        between("stability of volume", None, SHIFTED, "warning"),
        between("stability of days to expiration", None, 0.5, "info"),
        matches("contract_first", _OCC),
        matches("contract_last", _OCC),
        matches("contract_longest", _OCC),
        matches("underlying", r"^(?:I:)?[A-Z][A-Z0-9.\-]*$", "warning"),
        one_of("rights", ("CP", "C", "P")),
        one_of("exercise_style", ("american", "european")),
        one_of("basis", ("snapshot", "aggregates")),
        one_of("origin", ("vendor", "recorded", "simulated")),
        between("spots", 1, 1, "critical", "rows"),
        not_below("ask", "bid", "warning"),
        not_below("contracts", "traded"),
        # Trees overshoot 1 a little where a dividend makes early exercise certain.
        between("highest_call_delta", -0.001, 1.05, "warning", "rows"),
        between("lowest_put_delta", -1.05, 0.001, "warning", "rows"),
    ),
)

IV_SURFACE = Suite(
    table="iv_surface",
    columns=(
        "session",
        "underlying",
        "tenor_days",
        "atm_volatility",
        "risk_reversal_25",
        "butterfly_25",
        "smile_error",
    ),
    statistics={
        "rows": Statistic(pl.len()),
        "median 30-day volatility": Statistic(pl.col("atm_volatility").filter(pl.col("tenor_days") == 30).median()),
        "median 30-day risk reversal": Statistic(
            pl.col("risk_reversal_25").filter(pl.col("tenor_days") == 30).median(), shift=True
        ),
        "median miss of the fit": Statistic(pl.col("smile_error").median()),
    },
    distributions={"30-day volatility": Distribution(pl.col("atm_volatility"), _IV_BINS)},
    rows=lambda frame: frame,
    own=(
        between("rows, ratio", 0.85, 1.18, "warning"),
        between("median 30-day volatility, ratio", 0.6, 1.67, "warning"),
        between("median 30-day risk reversal, shift", -0.1, 0.1, "warning"),
        between("median miss of the fit, ratio", None, 3.0, "info"),
        between("stability of 30-day volatility", None, SHIFTED, "info"),
        one_of("tenor_days", (7, 30, 60, 90)),
        between("atm_volatility", 0.0, 5.0, "critical", "rows"),
        between("risk_reversal_25", -1.5, 1.5, "warning", "rows", mostly=0.99),
        between("butterfly_25", -1.0, 1.5, "warning", "rows", mostly=0.99),
    ),
)


def _ticker_baseline_rows(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.select(
        "session", "underlying", "n_20", "n_60", "volume_median_20", "volume_max_20", "volume_max_60",
        "volume_std_20", "return_std",
    )  # fmt: skip


TICKER_BASELINES = Suite(
    table="ticker_baselines",
    columns=(
        "session",
        "underlying",
        "n_20",
        "n_60",
        "volume_median_20",
        "volume_max_20",
        "volume_max_60",
        "volume_std_20",
        "return_std",
        "previous_spot",
    ),
    statistics={
        "rows": Statistic(pl.len()),
        "median daily volume": Statistic(pl.col("volume_median_20").median()),
        "median deviation of returns": Statistic(pl.col("return_std").median()),
    },
    distributions={"daily volume": Distribution(pl.col("volume_median_20"), _LOG_BINS)},
    rows=_ticker_baseline_rows,
    own=(
        between("rows, ratio", 0.95, 1.06, "warning"),
        between("median daily volume, ratio", 0.5, 2.0, "warning"),
        between("median deviation of returns, ratio", 0.4, 2.5, "info"),
        between("stability of daily volume", None, SHIFTED, "warning"),
        between("n_20", 0, 20, "critical", "rows"),
        between("n_60", 0, 60, "critical", "rows"),
        between("volume_std_20", 0, None, "critical", "rows"),
        between("return_std", 0, 1.0, "warning", "rows", mostly=0.99),
        not_below("volume_max_20", "volume_median_20"),
        not_below("volume_max_60", "volume_max_20"),
    ),
)

CONTRACT_BASELINES = Suite(
    table="contract_baselines",
    columns=(
        "session",
        "underlying",
        "volume_n_20",
        "volume_zero_days_20",
        "volume_mean_20",
        "volume_max_20",
        "volume_max_60",
        "oi_change_n_20",
        "previous_volume",
        "previous_open_interest",
    ),
    statistics={
        "rows": Statistic(pl.len()),
        "mean daily volume": Statistic(pl.col("volume_mean_20").mean()),
        "share of days without a trade": Statistic(
            pl.col("volume_zero_days_20").sum() / pl.col("volume_n_20").sum(), shift=True
        ),
    },
    distributions={"daily volume": Distribution(pl.col("volume_mean_20"), _LOG_BINS)},
    rows=lambda frame: frame.group_by("session", "underlying").agg(
        sessions_listed=pl.col("volume_n_20").max(),
        least_traded_days=(pl.col("volume_n_20") - pl.col("volume_zero_days_20")).min(),
        mean_of_the_busiest=pl.col("volume_mean_20").max(),
        max_of_the_busiest=pl.col("volume_max_20").max(),
        longer_max=pl.col("volume_max_60").max(),
        changes_known=pl.col("oi_change_n_20").max(),
    ),
    own=(
        between("rows, ratio", 0.85, 1.18, "warning"),
        between("mean daily volume, ratio", 0.5, 2.0, "warning"),
        between("share of days without a trade, shift", -0.1, 0.1, "warning"),
        between("stability of daily volume", None, SHIFTED, "warning"),
        between("sessions_listed", 0, 20, "critical", "rows"),
        between("least_traded_days", 0, None, "critical", "rows"),
        between("changes_known", 0, 19, "critical", "rows"),
        not_below("max_of_the_busiest", "mean_of_the_busiest"),
        not_below("longer_max", "max_of_the_busiest"),
    ),
)

SCORED_EVENTS = Suite(
    table="scored_events",
    columns=(
        "session", "event_id", "underlying", "rank", "score", "conviction", "direction", "right", "llr_total",
        "p_value", "q_value", "universe", "expected_false_alarms_per_day", "status", "volume", "expected_volume",
        "factors", "explanation",
    ),
    statistics={
        "events": Statistic(pl.len()),
        "universe": Statistic(pl.col("universe").max()),
        "events of HIGH or EXTREME per 1,000 underlyings": Statistic(
            1000 * pl.col("conviction").is_in(["HIGH", "EXTREME"]).sum() / pl.col("universe").max()
        ),
        "mean score": Statistic(pl.col("score").mean(), shift=True),
    },
    distributions={},
    rows=lambda events: events.with_columns(
        unexplained=(
            pl.col("factors").list.eval(pl.element().struct.field("contribution")).list.sum() - pl.col("llr_total")
        ).abs(),
        explained_with=pl.col("explanation").str.len_chars(),
        # Equal figures may differ in the last bit.
        q_value=pl.col("q_value") + 1e-9,
    ).drop("factors", "explanation"),
    own=(
        between("universe, ratio", 0.9, 1.1, "warning"),
        between("events, ratio", 0.2, 5.0, "info"),
        between("mean score, shift", -1.5, 1.5, "info"),
        # Conviction HIGH allows 5 + 1 false alarms a day over 6,000 underlyings; far more is a fault of the data.
        between("events of HIGH or EXTREME per 1,000 underlyings", None, 100, "warning"),
        Expectation("event_id unique", "ExpectCompoundColumnsToBeUnique",
                    {"column_list": ["session", "event_id"]}, "critical", "rows"),
        Expectation("rank unique", "ExpectCompoundColumnsToBeUnique",
                    {"column_list": ["session", "rank"]}, "critical", "rows"),
        matches("event_id", r"^[0-9a-f]{8,}$"),
        one_of("conviction", ("NONE", "LOW", "MEDIUM", "HIGH", "EXTREME")),
        one_of("direction", ("bullish", "bearish", "neutral")),
        one_of("right", ("C", "P")),
        one_of("status", ("provisional", "confirmed", "withdrawn")),
        between("score", 1.0, 10.0, "critical", "rows"),
        between("p_value", 0.0, 1.0, "critical", "rows"),
        between("unexplained", None, 1e-6, "critical", "rows"),
        between("explained_with", 20, None, "warning", "rows"),
        not_below("q_value", "p_value", "warning"),
    ),
)  # fmt: skip

EVENT_OUTCOMES = Suite(
    table="event_outcomes",
    columns=("session", "event_id", "horizon_sessions", "direction", "spot_then", "spot_now", "signed_return", "z"),
    statistics={
        "outcomes": Statistic(pl.len()),
        "median z": Statistic(pl.col("z").median()),
    },
    distributions={},
    rows=lambda outcomes: outcomes,
    own=(
        between("outcomes, ratio", 0.1, 10.0, "info"),
        between("median z", -2.0, 2.0, "info"),
        one_of("horizon_sessions", (1, 3, 5, 10)),
        one_of("direction", ("bullish", "bearish", "neutral")),
        between("signed_return", -1.5, 1.5, "warning", "rows", mostly=0.99),
        between("z", -25, 25, "warning", "rows", mostly=0.99),
        between("spot_now", 0.0, None, "critical", "rows"),
    ),
)

SUITES: Mapping[str, Suite] = {
    suite.table: suite
    for suite in (OPTION_CHAINS, IV_SURFACE, CONTRACT_BASELINES, TICKER_BASELINES, SCORED_EVENTS, EVENT_OUTCOMES)
}
"""Every suite by the table it is about."""


# --- validation -------------------------------------------------------------------------------------------------------


def judge(suite: Suite, profiles: Sequence[Profiled], sessions: Sequence[date]) -> dict[date, list[Finding]]:
    """Every expectation of `suite` on each of `sessions`, whose profiles and those of trailing sessions are given.

    Raises nothing for bad data. An expectation that itself could not be evaluated is a failed finding that says so.
    """
    compared = compare(sorted(profiles, key=lambda profiled: profiled.session))
    wanted = [profiled for profiled in profiles if profiled.session in set(sessions)]
    frames = {
        "sessions": compared.filter(pl.col("session").is_in(list(sessions))),
        "rows": pl.concat([profiled.rows for profiled in wanted]) if wanted else pl.DataFrame(),
    }
    found: dict[date, list[Finding]] = {session: [] for session in sessions}
    for batch, frame in frames.items():
        expectations = [each for each in suite.expectations if each.batch == batch]
        if not frame.is_empty():
            for expectation, result in _validated(suite.table, batch, frame, expectations):
                for finding in _findings(expectation, result, frame, sessions):
                    found[finding.session].append(finding)
    return found


def _validated(
    name: str, batch: str, frame: pl.DataFrame, expectations: Sequence[Expectation]
) -> list[tuple[Expectation, Any]]:
    """The results of Great Expectations, in declared order."""
    import logging

    logging.getLogger("great_expectations").setLevel(logging.ERROR)
    import great_expectations as gx
    import great_expectations.expectations as classes

    # Gives itself a level of its own when it is imported, to tell of temporary directories.
    logging.getLogger("great_expectations.data_context.types.base").setLevel(logging.ERROR)
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}  # pyright: ignore[reportAttributeAccessIssue]
    asset = context.data_sources.add_pandas(name).add_dataframe_asset(batch)
    definition = asset.add_batch_definition_whole_dataframe("all")
    pandas_frame = frame.with_columns(pl.col("session").cast(pl.String)).to_pandas()
    suite = gx.ExpectationSuite(
        name=name,
        expectations=[
            getattr(classes, each.kind)(**each.arguments, severity=each.level, meta={"number": number})
            for number, each in enumerate(expectations)
        ],
    )
    answers = definition.get_batch({"dataframe": pandas_frame}).validate(
        suite,
        result_format={
            "result_format": "COMPLETE",
            "unexpected_index_column_names": ["session"],
            "return_unexpected_index_query": False,
        },
    )
    by_number = {answer.expectation_config.meta["number"]: answer for answer in answers.results}  # pyright: ignore
    return [(each, by_number[number]) for number, each in enumerate(expectations)]


def _findings(expectation: Expectation, answer: Any, frame: pl.DataFrame, sessions: Sequence[date]) -> list[Finding]:
    """The answer for all sessions taken apart, a finding for each session that has rows."""
    counts = dict(frame.group_by("session").len().iter_rows())
    broken = _exception(answer)
    mostly = expectation.arguments.get("mostly", 1.0)
    offenders: dict[str, list[dict[str, Any]]] = {}
    for row in answer.result.get("unexpected_index_list") or ():
        offenders.setdefault(row["session"], []).append(row)
    found = []
    for session in sessions:
        if session not in counts:
            continue
        bad, rows = offenders.get(session.isoformat(), []), counts[session]
        found.append(
            Finding(
                session=session,
                name=expectation.name,
                passed=not broken and len(bad) <= (1.0 - mostly) * rows,
                level=expectation.level,
                expected=expectation.expected,
                observed=broken or _observed(expectation, frame, session, bad, rows),
                violations=len(bad),
                rows=rows,
                broken=bool(broken),
            )
        )
    return found


def _observed(
    expectation: Expectation, frame: pl.DataFrame, session: date, bad: Sequence[Mapping[str, Any]], rows: int
) -> str:
    if expectation.batch == "sessions":
        value = frame.filter(pl.col("session") == session)[expectation.arguments["column"]][0]
        return "not enough trailing sessions" if value is None else f"seen: {value:.4g}"
    if not bad:
        return f"holds in all {rows:,} rows"
    values = {", ".join(f"{k} {_short(v)}" for k, v in sorted(row.items()) if k != "session") for row in bad}
    return f"{len(bad):,} of {rows:,} rows do not, e.g. " + "; ".join(sorted(values)[:_LISTED])


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _exception(answer: Any) -> str:
    """Why the expectation could not be evaluated, or an empty text."""
    info = answer.exception_info or {}
    candidates = [info] if "raised_exception" in info else list(info.values())
    for each in candidates:
        if each.get("raised_exception"):
            return f"the expectation could not be evaluated: {each.get('exception_message')}"
    return ""
