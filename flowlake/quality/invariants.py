"""Facts that hold of every row of a table, declared as SQL and evaluated in one DuckDB scan per partition.

Each rule is a SQL condition that is true for a BAD row; a null condition is not a violation. From the table's
declaration come: unique key, no nulls in required columns, finite numbers, one session per partition, a known origin,
nothing available before it was observed. `INVARIANTS` adds what a table's meaning demands.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Final

import polars as pl

from flowlake.options.chains import MAX_VENDOR_IV
from flowlake.quality.outcome import Outcome, Severity
from flowlake.schemas import Table
from flowlake.settings import get_settings

if TYPE_CHECKING:
    import duckdb

_SAMPLE_ROWS = 5
_ORIGINS = ("vendor", "recorded", "simulated")


@dataclass(frozen=True)
class Invariant:
    """One rule: `violated` is a SQL condition that is true for a bad row.

    Rules with `unique` instead say that those columns identify a row. `tolerated` is the share of bad rows that still
    passes; it is for raw tables, whose bad rows the next stage puts in quarantine.
    """

    name: str
    violated: str
    description: str
    severity: Severity = Severity.ERROR
    tolerated: float = 0.0
    unique: tuple[str, ...] = ()

    @property
    def count(self) -> str:
        """SQL aggregate that counts the violations."""
        if self.unique:
            return f"count(*) - count(DISTINCT {_tuple(self.unique)})"
        return f"count(*) FILTER (WHERE {self.violated})"

    @property
    def offenders(self) -> str:
        """SQL clause that selects the bad rows."""
        if self.unique:
            return f"QUALIFY count(*) OVER (PARTITION BY {', '.join(map(_quoted, self.unique))}) > 1"
        return f"WHERE {self.violated}"


_QUARANTINED = 0.02
"""Share of raw rows that may be impossible before the whole snapshot is suspect."""

_RAW_OPTIONS = (
    Invariant(
        "symbol_readable",
        r"NOT regexp_full_match(contract, 'O:[A-Z0-9]{1,6}[0-9]{6}[CP][0-9]{8}')",
        "contract tickers follow the OCC grammar",
        tolerated=_QUARANTINED,
    ),
    Invariant(
        "expiration_not_past",
        "expiration < session",
        "no contract has expired before the session",
        tolerated=_QUARANTINED,
    ),
    Invariant("strike_positive", "strike <= 0", "strikes are positive", tolerated=_QUARANTINED),
    Invariant(
        "counts_not_negative",
        "day_volume < 0 OR open_interest < 0",
        "volume and open interest are not negative",
        tolerated=_QUARANTINED,
    ),
    Invariant("delta_in_range", "abs(delta) > 1", "vendor deltas lie in [-1, 1]", tolerated=_QUARANTINED),
    Invariant("volatility_not_negative", "implied_volatility < 0", "vendor volatilities are not negative"),
    Invariant(
        "quote_not_crossed",
        "bid > ask AND ask > 0",
        "bids do not exceed asks",
        severity=Severity.WARN,
        tolerated=0.01,
    ),
    Invariant(
        "bar_not_from_the_future",
        "day_updated_at > available_at",
        "day bars are not newer than the moment they were received",
    ),
)

_RAW_STOCKS = (
    Invariant("prices_positive", "close <= 0 OR last_price <= 0", "prices are positive where present"),
    Invariant("high_not_below_low", "high < low", "session highs are not below lows"),
    Invariant("volume_not_negative", "volume < 0", "volume is not negative"),
    Invariant("quote_not_crossed", "bid > ask AND ask > 0", "bids do not exceed asks", Severity.WARN, tolerated=0.01),
    Invariant(
        "price_present",
        "close IS NULL AND last_price IS NULL",
        "tickers have a price",
        severity=Severity.WARN,
        tolerated=0.05,
    ),
)

_OPTION_CHAINS = (
    Invariant("expiration_not_past", "expiration < session", "no contract has expired before the session"),
    Invariant("strike_positive", "strike <= 0", "strikes are positive"),
    Invariant("right_known", "\"right\" NOT IN ('C', 'P')", "the right is 'C' or 'P'"),
    Invariant("counts_not_negative", "volume < 0 OR open_interest < 0", "volume and open interest are not negative"),
    Invariant(
        "volume_is_of_the_session",
        "volume > 0 AND last_session IS DISTINCT FROM session",
        "volume counts only from a day bar of this session",
    ),
    Invariant(
        "mid_inside_quote",
        "mid IS NOT NULL AND NOT (coalesce(bid > 0 AND bid < ask AND mid BETWEEN bid AND ask, false))",
        "a mid exists only inside a two-sided quote that is neither locked nor crossed",
    ),
    Invariant(
        "price_has_a_source",
        "(price IS NULL) <> (price_source IS NULL) OR price <= 0",
        "prices are positive and say where they come from",
    ),
    Invariant(
        "stale_price_not_used",
        "price_source = 'last' AND last_session IS DISTINCT FROM session",
        "a last price is used only if it traded in this session",
    ),
    Invariant("vendor_delta_in_range", "abs(vendor_delta) > 1", "vendor deltas lie in [-1, 1]"),
    Invariant(
        "vendor_volatility_in_range",
        f"vendor_iv <= 0 OR vendor_iv > {MAX_VENDOR_IV}",
        f"vendor volatilities lie in (0, {MAX_VENDOR_IV:g}]",
    ),
    Invariant(
        "volatility_explained",
        "(implied_volatility IS NULL) = (iv_status = 'ok') OR implied_volatility <= 0",
        "our volatility is positive where the status is ok, and absent otherwise",
    ),
    Invariant(
        "delta_has_the_right_sign",
        "(\"right\" = 'C' AND delta < -0.001) OR (\"right\" = 'P' AND delta > 0.001)",
        "call deltas are not negative and put deltas not positive, beyond rounding (0.001)",
    ),
    Invariant(
        "gamma_and_vega_not_negative",
        # Deep in the money a tree's differences cancel to rounding noise of either sign.
        "gamma < -0.001 OR vega < -0.001",
        "gamma and vega are not negative beyond rounding (0.001)",
        tolerated=0.001,
    ),
    Invariant("days_match", "dte <> date_diff('day', session, expiration)", "dte counts the days to expiration"),
    Invariant(
        "symbol_matches_columns",
        "contract <> 'O:' || root || strftime(expiration, '%y%m%d') || \"right\""
        " || lpad(CAST(CAST(round(strike * 1000) AS BIGINT) AS VARCHAR), 8, '0')",
        "the contract ticker says what the columns say",
    ),
    Invariant(
        "aggregates_know_no_open_interest",
        "basis = 'aggregates' AND open_interest IS NOT NULL",
        "sessions rebuilt from daily bars have no open interest",
    ),
)

_SIDES = Invariant("side_known", "\"right\" NOT IN ('C', 'P')", "the right is 'C' or 'P'")
_DIRECTIONS = Invariant(
    "direction_known",
    "direction NOT IN ('bullish', 'bearish', 'neutral')",
    "the direction is 'bullish', 'bearish' or 'neutral'",
)

_ANOMALIES = (
    _SIDES,
    _DIRECTIONS,
    Invariant(
        "p_values_are_shares",
        "p_value <= 0 OR p_value > 1 OR ticker_p_value <= 0 OR ticker_p_value > 1",
        "p-values lie in (0, 1]",
    ),
    Invariant("more_than_expected", "observed < expected", "an anomaly saw more than was expected"),
    Invariant("explained", "explanation = '' OR len(factors) = 0", "every anomaly says why"),
)

_SCORED_EVENTS = (
    _SIDES,
    _DIRECTIONS,
    Invariant("rank_unique", "", "every rank is given once", unique=("rank",)),
    Invariant("score_in_range", "score < 1 OR score > 10", "scores lie in 1 to 10"),
    Invariant("p_values_are_shares", "p_value <= 0 OR p_value > 1 OR q_value < 0 OR q_value > 1", "p lies in (0, 1]"),
    Invariant(
        "conviction_known",
        "conviction NOT IN ('NONE', 'LOW', 'MEDIUM', 'HIGH', 'EXTREME')",
        "the conviction is one of the five levels",
    ),
    Invariant(
        "factors_add_up",
        "abs(coalesce(list_sum(list_transform(factors, lambda x: x.contribution)), 0) - llr_total) > 1e-6",
        "the factors' contributions add up to the evidence",
    ),
)


def _baseline(window: int) -> str:
    return f"volume_n_{window} > {window} OR volume_zero_days_{window} > volume_n_{window}"


_SHARES = (
    "put_share",
    "opening_put_share",
    "short_otm_call_share",
    "short_otm_put_share",
    "new_listing_share",
    "woken_line_share",
    "iv_30_percentile_60",
    "premium_herfindahl",
    "volume_herfindahl",
    "top_line_premium_share",
    "top_line_volume_share",
    "top_expiration_premium_share",
    "opening_share",
)

_FEATURES = (
    Invariant(
        "shares_in_range",
        " OR ".join(f"{name} NOT BETWEEN 0 AND 1" for name in _SHARES),
        "shares, percentiles and concentrations lie in [0, 1]",
    ),
    Invariant(
        "sides_add_up",
        "option_volume <> call_volume + put_volume OR open_interest <> call_open_interest + put_open_interest "
        "OR oi_change <> oi_build - oi_unwinding",
        "calls and puts, and opened and closed, add up to the whole",
    ),
    Invariant("rsi_in_range", "rsi_14 NOT BETWEEN 0 AND 100", "RSI lies in 0 to 100"),
    Invariant(
        "gamma_has_its_sign",
        "call_gamma_exposure_usd < 0 OR put_gamma_exposure_usd > 0",
        "calls count as long, puts as short gamma",
    ),
)

INVARIANTS: dict[str, tuple[Invariant, ...]] = {
    "options_flow_features": _FEATURES,
    "raw_option_snapshots": _RAW_OPTIONS,
    "raw_stock_snapshots": _RAW_STOCKS,
    "option_chains": _OPTION_CHAINS,
    "contracts": (
        Invariant("contract_unique", "", "each contract ticker has one id", unique=("contract",)),
        Invariant("id_not_negative", "contract_id < 0", "contract ids are not negative"),
        Invariant("strike_positive", "strike <= 0", "strikes are positive"),
    ),
    "event_status": (
        Invariant(
            "status_known",
            "status NOT IN ('confirmed', 'withdrawn', 'unclear')",
            "the status is 'confirmed', 'withdrawn' or 'unclear'",
        ),
        Invariant(
            "unclear_says_why",
            "(status = 'unclear') <> (reason IS NOT NULL)",
            "what is unclear, and only that, says why",
        ),
        Invariant("event_is_earlier", "event_session >= session", "events are older than the morning that judges them"),
    ),
    "known_events": (
        Invariant(
            "kind_known",
            "kind NOT IN ('earnings', 'ex_dividend', 'index_rebalance', 'deal', 'split')",
            "kinds are those that lower surprise",
        ),
        Invariant(
            "announced_before_the_session_ended",
            "CAST(announced_at AT TIME ZONE 'America/New_York' AS DATE) > session",
            "nothing is used before it was announced",
        ),
    ),
    "calibration": (
        Invariant("counts_not_negative", "nominal < 0 OR observed < 0 OR judged < 0", "counts are not negative"),
        Invariant(
            "interval_holds_the_ratio",
            "ratio NOT BETWEEN ratio_low - 1e-9 AND ratio_high + 1e-9",
            "the interval contains the ratio",
        ),
        Invariant(
            "alarms_keep_their_promise",
            "activity = 'all' AND verdict IN ('too many', 'too few')",
            "over all underlyings no level raises more or fewer alarms than promised beyond its band and chance",
            severity=Severity.WARN,
        ),
    ),
    "rule_alarms": (
        Invariant("within_the_universe", "underlyings > universe", "no rule flags more underlyings than there are"),
    ),
    "corporate_actions": (
        Invariant(
            "split_has_a_factor",
            "kind = 'split' AND NOT coalesce(split_from > 0 AND split_to > 0, false)",
            "splits say how many shares become how many",
        ),
        Invariant(
            "dividend_has_an_amount",
            "kind = 'dividend' AND NOT coalesce(cash_amount >= 0, false)",
            "cash dividends have an amount",
        ),
    ),
    "iv_surface": (
        Invariant("volatility_positive", "atm_volatility <= 0", "volatilities at the forward are positive"),
        Invariant("tenor_known", "tenor_days NOT IN (7, 30, 60, 90)", "tenors are 7, 30, 60 and 90 days"),
    ),
    "contract_baselines": (
        Invariant(
            "windows_hold",
            f"{_baseline(20)} OR {_baseline(60)} OR volume_n_20 > volume_n_60",
            "no window counts more sessions than it has",
        ),
        Invariant(
            "maximum_not_below_mean",
            # A mean of a hundred equal figures may differ from them in the last bit.
            "volume_max_20 < volume_mean_20 - 1e-6 OR volume_max_60 < volume_max_20",
            "maxima are not below means, nor those of the longer window below the shorter",
        ),
    ),
    "ticker_baselines": (
        Invariant("windows_hold", "n_20 > 20 OR n_60 > 60 OR n_20 > n_60", "no window counts more than it has"),
        Invariant(
            "spread_not_negative",
            "volume_std_20 < 0 OR return_std < 0 OR volume_mad_20 < 0",
            "deviations are not negative",
        ),
    ),
    "calibration_bins": (
        Invariant("contracts_counted", "contracts <= 0", "bins hold contracts"),
        Invariant("statistic_known", "statistic NOT IN ('volume', 'open_interest')", "the statistic is known"),
    ),
    "ticker_statistics": (
        _SIDES,
        Invariant("side_within_chain", "volume < 0 OR volume > chain_volume", "a side trades no more than its chain"),
    ),
    **dict.fromkeys(
        ("anomalies_volume", "anomalies_open_interest", "anomalies_multi_strike", "anomalies_low_volume"), _ANOMALIES
    ),
    "anomalies_day_over_day": (
        _SIDES,
        Invariant("change_adds_up", "volume_change <> volume - previous_volume", "changes are differences of volumes"),
        Invariant("flagged", "len(flags) = 0", "every row says which rule it broke"),
    ),
    "scored_events": _SCORED_EVENTS,
    "event_outcomes": (
        _DIRECTIONS,
        Invariant("after_the_event", "event_session >= session", "outcomes come after their event"),
        Invariant("horizon_known", "horizon_sessions NOT IN (1, 3, 5, 10)", "horizons are 1, 3, 5 and 10 sessions"),
    ),
    "insider_filings": (
        Invariant(
            "accession_readable",
            "NOT regexp_full_match(accession, '[0-9]{10}-[0-9]{2}-[0-9]{6}')",
            "accession numbers follow EDGAR's form",
        ),
        Invariant("form_known", "form_type NOT IN ('3', '4', '5', '3/A', '4/A', '5/A')", "forms are 3, 4, 5 or /A"),
    ),
    "insider_trades": (
        Invariant("amounts_not_negative", "shares < 0 OR price <= 0 OR value_usd < 0", "amounts are not negative"),
        Invariant("known_after_the_trade", "event_time > available_at", "no trade is known before its day began"),
    ),
    "insider_signals": (
        Invariant("buyers_bought", "buyers > purchases", "there are no more buyers than purchases"),
        Invariant("values_not_negative", "purchase_value_usd < 0 OR sale_value_usd < 0", "values are not negative"),
    ),
    "event_insiders": (Invariant("counts_positive", "transactions <= 0 OR owners <= 0", "rows stand for trades"),),
    "data_incidents": (
        Invariant("severity_known", "severity NOT IN ('ERROR', 'WARN')", "the severity is 'ERROR' or 'WARN'"),
        Invariant("seen_by_now", "first_seen > session", "an incident began in its session or before"),
    ),
}
"""What each table's meaning demands, beyond what its declaration says."""

WITHIN_SESSION: Final = {
    "intraday_option_snapshots": "raw_option_snapshots",
    "intraday_chains": "option_chains",
    "intraday_calibration_bins": "calibration_bins",
    "intraday_ticker_statistics": "ticker_statistics",
    "intraday_anomalies_volume": "anomalies_volume",
    "intraday_anomalies_multi_strike": "anomalies_multi_strike",
    "intraday_anomalies_low_volume": "anomalies_low_volume",
    "intraday_day_over_day": "anomalies_day_over_day",
    "intraday_scored_events": "scored_events",
    "intraday_flow_features": "options_flow_features",
}
"""Tables by snapshot whose rows mean what those of a table by session mean, and are held to the same rules."""

INVARIANTS |= {within: INVARIANTS[at_the_close] for within, at_the_close in WITHIN_SESSION.items()}


def declared(table: Table, session: date | None = None) -> tuple[Invariant, ...]:
    """The rules that follow from the declaration of `table`; `session` adds that all rows belong to that session."""
    names = table.schema.names()
    required = [column.name for column in table.columns if not column.nullable]
    floats = [name for name, dtype in table.schema.items() if dtype.is_float()]
    rules: list[Invariant] = []
    if table.key:
        rules.append(Invariant("key_unique", "", f"{_listed(table.key)} identify a row", unique=table.key))
    if required:
        nulls = " OR ".join(f"{_quoted(name)} IS NULL" for name in required)
        rules.append(Invariant("required_present", nulls, f"no nulls in {_listed(required)}"))
    if floats:
        odd = " OR ".join(f"NOT isfinite({_quoted(name)})" for name in floats)
        rules.append(Invariant("numbers_finite", odd, "no NaN and no infinity"))
    if session is not None and "session" in names:
        other = f"session <> DATE '{session.isoformat()}'"
        rules.append(Invariant("session_matches_partition", other, f"all rows are of session {session}"))
    if "origin" in names:
        unknown = f"origin NOT IN ({', '.join(map(repr, _ORIGINS))})"
        rules.append(Invariant("origin_known", unknown, f"origin is one of {_listed(_ORIGINS)}"))
    if {"observed_at", "available_at"} <= set(names):
        early = "available_at < observed_at"
        rules.append(Invariant("not_known_before_observed", early, "nothing is available before it was observed"))
    return tuple(rules)


def evaluate(
    table: Table,
    data: pl.DataFrame | Sequence[Path | str],
    *,
    session: date | None = None,
    contracts: pl.DataFrame | None = None,
) -> list[Outcome]:
    """Evaluate every rule of `table` on `data` in one scan; rules that fail cost one more scan each for their sample.

    Args:
        table: The table's declaration.
        data: Its rows, or the Parquet files that hold them.
        session: The partition's session; adds the rule that all rows belong to it.
        contracts: Table contracts, all of it; adds the rule that every `contract_id` is known.

    Returns:
        One outcome per rule, in declared order. Without rows every rule passes: emptiness is an incident, not a
        broken row.
    """
    rules = [*declared(table, session), *INVARIANTS.get(table.name, ())]
    with _connect() as connection:
        _attach(connection, "checked", data)
        if contracts is not None and "contract_id" in table.schema:
            _attach(connection, "known_contracts", contracts.select("contract_id"))
            unknown = "contract_id NOT IN (SELECT contract_id FROM known_contracts)"
            rules.append(Invariant("contract_known", unknown, "every contract id is in contracts"))
        counts = ", ".join(rule.count for rule in rules)
        ((rows, *violations),) = connection.sql(f"SELECT count(*), {counts} FROM checked").fetchall()
        shown = _quoted_list(table.key or table.sort)
        return [_outcome(connection, rule, bad, rows, shown) for rule, bad in zip(rules, violations, strict=True)]


def _outcome(connection: duckdb.DuckDBPyConnection, rule: Invariant, bad: int, rows: int, shown: str) -> Outcome:
    passed = bad <= rule.tolerated * rows
    sample: tuple[dict[str, object], ...] = ()
    if bad:
        query = f"SELECT {shown} FROM checked {rule.offenders} ORDER BY {shown} LIMIT {_SAMPLE_ROWS}"
        sample = tuple(connection.sql(query).pl().to_dicts())
    return Outcome(rule.name, passed, rule.severity, bad, rows, rule.description, sample)


def _connect() -> duckdb.DuckDBPyConnection:
    import duckdb

    lake = get_settings().lake
    limits: dict[str, str | bool | int | float | list[str]] = {
        "memory_limit": lake.duckdb_memory_limit,
        "max_temp_directory_size": lake.duckdb_temp_limit,
    }
    return duckdb.connect(config=limits)


def _attach(connection: duckdb.DuckDBPyConnection, name: str, data: pl.DataFrame | Sequence[Path | str]) -> None:
    if isinstance(data, pl.DataFrame):
        connection.register(name, data.to_arrow())
        return
    connection.read_parquet([str(path) for path in data]).create_view(name)


def _quoted(name: str) -> str:
    return f'"{name}"'


def _quoted_list(names: Sequence[str]) -> str:
    return ", ".join(map(_quoted, names)) or "*"


def _tuple(names: Sequence[str]) -> str:
    return _quoted(names[0]) if len(names) == 1 else f"({_quoted_list(names)})"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names)
