"""Every feature, declared once: what it is, in which unit, by which formula, from whom, over which window, known when.

The columns of `options_flow_features`, the table `feature_definitions` and `docs/features.md` are made from this list.
In formulas V is volume, OI open interest at the START of the session, P price, M the contract multiplier, S spot,
K strike, F the forward of the expiration, IV our implied volatility, D the session and D-1 the session before it.
Sums run over the contracts of the underlying's chain. Adjusted contracts count in volumes and open interest; features
that compare strikes or volatilities leave them out.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import polars as pl

REVISED = date(2026, 11, 26)
"""When a definition below was last added or changed."""

CHAIN = "with the session's chain"
CHAIN_OF_YESTERDAY = "with the session's chain; describes the trading of the session before, which its OI confirms"
WITH_STOCKS = "with the session's chain and stock snapshot, whichever is later"
WITH_FILINGS = "before the session's chain: only filings accepted before the close"
WITH_DISCLOSURES = "before the session's chain: only disclosures public before it"

OWN = "flowlake"


@dataclass(frozen=True)
class Feature:
    """One feature. `window` is how many sessions it looks at, this one included; `inputs` are 'table: columns'."""

    name: str
    family: str
    formula: str
    unit: str
    inputs: tuple[str, ...]
    source: str = OWN
    window: int = 1
    known_at: str = CHAIN
    dtype: type[pl.DataType] = pl.Float64
    missing: str = "never"
    """When the value is null, in words."""


_CHAIN_VOLUME = ("option_chains: volume, right",)
_NO_CALLS = "no call traded"
_SHORT_HISTORY = "too few sessions in the lake"
_NO_STOCK = "no stock row of the session"


def _volumes() -> tuple[Feature, ...]:
    family, contracts = "volume", "contracts"
    price = ("option_chains: volume, price, multiplier, right",)
    normal = (
        "option_chains: volume, right",
        "ticker_baselines: volume_mean_20, call_volume_mean_20, put_volume_mean_20",
    )
    strikes = ("option_chains: volume, right, moneyness",)
    opened = ("option_chains: open_interest", "contract_baselines: previous_open_interest, previous_volume")
    johnson_so = "Johnson and So 2012, The option to stock volume ratio and future returns"
    shares = ("option_chains: volume, dte, multiplier", "raw_stock_snapshots: volume")
    untraded = "nothing traded"

    def volume(name: str, formula: str) -> Feature:
        return Feature(name, family, formula, contracts, _CHAIN_VOLUME, dtype=pl.Int64)

    def ratio(name: str, formula: str) -> Feature:
        missing = "fewer than 10 of the 20 sessions before are known, or nothing traded in them"
        return Feature(name, family, formula, "ratio", normal, window=21, missing=missing)

    return (
        volume("option_volume", "sum V"),
        volume("call_volume", "sum V over calls"),
        volume("put_volume", "sum V over puts"),
        Feature("lines_traded", family, "contracts with V > 0", contracts, ("option_chains: volume",), dtype=pl.Int32),
        Feature("call_premium_usd", family, "sum V x P x M over calls with a price", "USD", price),
        Feature("put_premium_usd", family, "sum V x P x M over puts with a price", "USD", price),
        ratio("option_volume_ratio_20", "option_volume / mean of the 20 sessions before"),
        ratio("call_volume_ratio_20", "call_volume / mean of the 20 sessions before"),
        ratio("put_volume_ratio_20", "put_volume / mean of the 20 sessions before"),
        Feature(
            "option_volume_z_60",
            family,
            "(option_volume - mean) / sample standard deviation, both of the 60 sessions before",
            "standard deviations",
            ("option_chains: volume", "ticker_baselines: volume_mean_60, volume_std_60"),
            window=61,
            missing="fewer than 20 of the 60 sessions before are known, or all alike",
        ),
        Feature("put_call_ratio", family, "put_volume / call_volume", "ratio", _CHAIN_VOLUME, missing=_NO_CALLS),
        Feature(
            "put_share",
            family,
            "put_volume / (put_volume + call_volume)",
            "share",
            _CHAIN_VOLUME,
            "Pan and Poteshman 2006, The information in option volume for future stock prices (their ratio, on all "
            "volume: who bought to open is not public)",
            missing=untraded,
        ),
        Feature(
            "otm_put_call_ratio",
            family,
            "sum V over puts with K < F / sum V over calls with K > F",
            "ratio",
            strikes,
            missing="no out-of-the-money call traded",
        ),
        Feature(
            "opening_put_call_ratio",
            family,
            "opened puts / opened calls, opened = sum min(V of D-1, max(OI of D - OI of D-1, 0))",
            "ratio",
            opened,
            window=2,
            known_at=CHAIN_OF_YESTERDAY,
            missing="no call was opened, or no open interest to compare with (a split, a missed session)",
        ),
        Feature(
            "opening_put_share",
            family,
            "opened puts / (opened puts + opened calls)",
            "share",
            opened,
            "Pan and Poteshman 2006, with opening inferred from the change of open interest",
            window=2,
            known_at=CHAIN_OF_YESTERDAY,
            missing="nothing was opened, or no open interest to compare with",
        ),
        Feature(
            "option_stock_ratio",
            family,
            "O/S = sum V x M over contracts of 5 to 48 calendar days (5 to about 35 trading days) / shares traded",
            "ratio",
            shares,
            johnson_so,
            known_at=WITH_STOCKS,
            missing=_NO_STOCK,
        ),
        Feature(
            "option_stock_ratio_change",
            family,
            "option_stock_ratio / mean of it over the 126 sessions before",
            "ratio",
            (*shares, "options_flow_features: option_stock_ratio"),
            johnson_so,
            window=127,
            known_at=WITH_STOCKS,
            missing="fewer than 20 of the sessions before are known",
        ),
        Feature(
            "short_otm_call_share",
            family,
            "sum V over calls with K > F and at most 30 days to expiration / option_volume",
            "share",
            ("option_chains: volume, right, moneyness, dte",),
            "Augustin, Brenner and Subrahmanyam 2019, Informed options trading prior to takeover announcements",
            missing=untraded,
        ),
        Feature(
            "short_otm_put_share",
            family,
            "sum V over puts with K < F and at most 30 days to expiration / option_volume",
            "share",
            ("option_chains: volume, right, moneyness, dte",),
            "Augustin, Brenner and Subrahmanyam 2019",
            missing=untraded,
        ),
        Feature(
            "new_listing_share",
            family,
            "sum V over contracts listed for at most 5 sessions / option_volume",
            "share",
            ("option_chains: volume", "contract_baselines: listing_age, listed_before_window"),
            window=6,
            missing="nothing traded, or the lake does not reach back 5 sessions",
        ),
        Feature(
            "woken_line_share",
            family,
            "sum V over contracts without a trade in the 20 sessions before / option_volume",
            "share",
            ("option_chains: volume", "contract_baselines: volume_zero_days_20, volume_n_20"),
            window=21,
            missing="nothing traded, or no contract is known for 10 of the 20 sessions before",
        ),
    )


def _volatilities() -> tuple[Feature, ...]:
    family, volatility = "volatility", "annualised, decimal"
    surface = ("iv_surface: atm_volatility",)
    absent = "the chain does not say"
    pairs = (
        "option_chains: implied_volatility, open_interest, forward, discount, spot, vega",
        "corporate_actions: cash_amount",
    )

    def level(days: int) -> Feature:
        formula = f"at-the-money IV at {days} days"
        return Feature(f"iv_{days}", family, formula, volatility, surface, missing=absent)

    def change(of: str, sessions: int, inputs: tuple[str, ...] = surface, unit: str = volatility) -> Feature:
        return Feature(
            f"{of}_change_{sessions}",
            family,
            f"{of} less {of} of {sessions} session{'s' if sessions > 1 else ''} before",
            unit,
            inputs,
            window=sessions + 1,
            missing="either end is not known",
        )

    return (
        level(7),
        level(30),
        level(90),
        change("iv_30", 1),
        change("iv_30", 5),
        Feature(
            "iv_30_percentile_60",
            family,
            "share of the 60 sessions before with iv_30 below today's",
            "share",
            ("options_flow_features: iv_30",),
            window=61,
            missing="fewer than 20 of the sessions before are known",
        ),
        Feature("iv_term_slope", family, "iv_90 - iv_30", volatility, surface, missing=absent),
        change("iv_term_slope", 1),
        change("iv_term_slope", 5),
        Feature(
            "risk_reversal_25",
            family,
            "IV of the 25-delta call less that of the 25-delta put, at 30 days",
            volatility,
            ("iv_surface: risk_reversal_25",),
            missing=absent,
        ),
        change("risk_reversal_25", 1, ("iv_surface: risk_reversal_25",)),
        Feature(
            "butterfly_25",
            family,
            "mean of the 25-delta IVs less at the money, at 30 days",
            volatility,
            ("iv_surface: butterfly_25",),
            missing=absent,
        ),
        Feature(
            "iv_spread",
            family,
            "sum w (IV call - IV put) / sum w over calls and puts matched in strike and expiration (5 to 60 days, "
            "K / F in 0.8 to 1.2), w = mean of their OI. Our IVs are to the forward F that put-call parity implies, "
            "which takes the deviation out of them; to first order discount x (F - F0) / vega puts it back, "
            "F0 = (S - declared dividends) / discount",
            volatility,
            pairs,
            "Cremers and Weinbaum 2010, Deviations from put-call parity and stock return predictability",
            missing="no matched pair with open interest and two volatilities",
        ),
        Feature(
            "iv_spread_vendor",
            family,
            "iv_spread from the vendor's volatilities as they are, F0 being the vendor's affair",
            volatility,
            ("option_chains: vendor_iv, open_interest",),
            "Cremers and Weinbaum 2010",
            missing="no matched pair with open interest and two vendor volatilities",
        ),
        Feature(
            "iv_spread_pairs",
            family,
            "pairs behind iv_spread",
            "pairs",
            pairs,
            dtype=pl.Int32,
        ),
        Feature(
            "iv_skew",
            family,
            "IV of the put with K/S in (0.80, 0.95) nearest 0.95 less IV of the call with K/S in (0.95, 1.05) nearest "
            "1; 10 to 60 days, IV in (0.03, 2), P > 0.125, OI > 0, shares traded; equally near lines are averaged",
            volatility,
            (
                "option_chains: implied_volatility, strike, spot, dte, price, open_interest",
                "raw_stock_snapshots: volume",
            ),
            "Xing, Zhang and Zhao 2010, What does the individual option volatility smirk tell us",
            known_at=WITH_STOCKS,
            missing="no such put or no such call",
        ),
        Feature(
            "variance_risk_premium",
            family,
            "iv_30 squared - realised_volatility_20 squared",
            "annualised variance",
            (*surface, "raw_stock_snapshots: close"),
            "Bollerslev, Tauchen and Zhou 2009, Expected stock returns and variance risk premia (daily closes for "
            "their five-minute returns)",
            window=21,
            known_at=WITH_STOCKS,
            missing="either is",
        ),
        Feature(
            "realised_implied_spread",
            family,
            "realised_volatility_20 - iv_30",
            volatility,
            (*surface, "raw_stock_snapshots: close"),
            "Bali and Hovakimian 2009, Volatility spreads and expected stock returns (20 daily returns)",
            window=21,
            known_at=WITH_STOCKS,
            missing="either is",
        ),
    )


def _exposures() -> tuple[Feature, ...]:
    family, usd = "exposure", "USD"
    delta = ("option_chains: volume, delta, spot, multiplier",)
    vega = ("option_chains: volume, vega, multiplier",)
    gamma = ("option_chains: open_interest, gamma, spot, multiplier",)
    solved = ("option_chains: open_interest, implied_volatility, forward, discount, years, spot, multiplier",)
    interest = ("option_chains: open_interest, strike, dte",)
    assumption = (
        "folklore; ASSUMES that dealers are long every call and short every put, which public data cannot confirm"
    )
    no_interest = "no open interest with a gamma"
    return (
        Feature("call_delta_notional_usd", family, "sum V x delta x S x M over calls", usd, delta),
        Feature("put_delta_notional_usd", family, "sum V x delta x S x M over puts (not above 0)", usd, delta),
        Feature(
            "net_delta_notional_usd",
            family,
            "call_delta_notional_usd + put_delta_notional_usd, unsigned trades",
            usd,
            delta,
        ),
        Feature("call_vega_notional_usd", family, "sum V x vega x M over calls", "USD per volatility point", vega),
        Feature("put_vega_notional_usd", family, "sum V x vega x M over puts", "USD per volatility point", vega),
        Feature(
            "call_gamma_exposure_usd",
            family,
            "sum OI x gamma x M x S^2 / 100 over calls",
            "USD of delta per 1 % move",
            gamma,
            assumption,
            missing=no_interest,
        ),
        Feature(
            "put_gamma_exposure_usd",
            family,
            "- sum OI x gamma x M x S^2 / 100 over puts",
            "USD of delta per 1 % move",
            gamma,
            assumption,
            missing=no_interest,
        ),
        Feature(
            "gamma_exposure_usd",
            family,
            "call_gamma_exposure_usd + put_gamma_exposure_usd; by strike in gamma_exposure_by_strike",
            "USD of delta per 1 % move",
            gamma,
            assumption,
            missing=no_interest,
        ),
        Feature(
            "gamma_peak_strike",
            family,
            "strike with the largest |gamma exposure|, the lowest of several",
            "USD per share",
            gamma,
            assumption,
            missing=no_interest,
        ),
        Feature(
            "zero_gamma_level",
            family,
            "price of the underlying nearest S within 25 % of it at which gamma_exposure_usd changes sign, every "
            "contract revalued (Black 1976 at its own IV, which stays with the strike), linear between steps of 1 %",
            "USD per share",
            solved,
            assumption,
            missing="no change of sign within 25 % of S",
        ),
        Feature(
            "zero_gamma_distance",
            family,
            "zero_gamma_level / S - 1",
            "share",
            solved,
            assumption,
            missing="zero_gamma_level is",
        ),
        Feature(
            "max_pain_strike",
            family,
            "listed strike X with the least sum OI x max(X - K, 0) over calls + sum OI x max(K - X, 0) over puts, in "
            "the expiration of 1 to 45 days with the most open interest (the nearest of several, the lowest strike)",
            "USD per share",
            interest,
            "folklore",
            missing="no open interest within 45 days",
        ),
        Feature(
            "max_pain_distance",
            family,
            "max_pain_strike / S - 1",
            "share",
            interest,
            "folklore",
            missing="max_pain_strike or the spot is",
        ),
        Feature(
            "max_pain_days",
            family,
            "calendar days to the expiration of max_pain_strike",
            "days",
            interest,
            "folklore",
            dtype=pl.Int16,
            missing="max_pain_strike is",
        ),
    )


def _concentrations() -> tuple[Feature, ...]:
    family = "concentration"
    premium = ("option_chains: volume, price, multiplier",)
    no_premium, untraded = "no premium traded", "nothing traded"
    herfindahl = "Herfindahl-Hirschman index"
    return (
        Feature(
            "premium_herfindahl",
            family,
            "sum over contracts of (premium / premium of the chain)^2; 1 is one line",
            "index, 0 to 1",
            premium,
            herfindahl,
            missing=no_premium,
        ),
        Feature(
            "volume_herfindahl",
            family,
            "sum over contracts of (V / option_volume)^2",
            "index, 0 to 1",
            ("option_chains: volume",),
            herfindahl,
            missing=untraded,
        ),
        Feature(
            "top_line_premium_share",
            family,
            "largest premium of one contract / premium of the chain",
            "share",
            premium,
            missing=no_premium,
        ),
        Feature(
            "top_line_volume_share",
            family,
            "largest V of one contract / option_volume",
            "share",
            ("option_chains: volume",),
            missing=untraded,
        ),
        Feature(
            "top_expiration_premium_share",
            family,
            "largest premium of one expiration / premium of the chain",
            "share",
            (*premium, "option_chains: expiration"),
            missing=no_premium,
        ),
    )


def _interest() -> tuple[Feature, ...]:
    family, contracts = "open_interest", "contracts"
    now = ("option_chains: open_interest, right",)
    both = ("option_chains: open_interest, right", "contract_baselines: previous_open_interest, previous_volume")
    absent = "the session has no open interest"
    alone = "no open interest to compare with (a split, a missed session)"

    def level(name: str, formula: str) -> Feature:
        return Feature(name, family, formula, contracts, now, dtype=pl.Int64, missing=absent)

    def change(name: str, formula: str) -> Feature:
        formula += ", over contracts with OI in both sessions"
        return Feature(
            name, family, formula, contracts, both, window=2, known_at=CHAIN_OF_YESTERDAY, dtype=pl.Int64, missing=alone
        )

    return (
        level("open_interest", "sum OI"),
        level("call_open_interest", "sum OI over calls"),
        level("put_open_interest", "sum OI over puts"),
        Feature(
            "put_call_open_interest_ratio",
            family,
            "put_open_interest / call_open_interest",
            "ratio",
            now,
            missing="no call open interest",
        ),
        change("oi_change", "sum OI of D - OI of D-1"),
        change("call_oi_change", "oi_change of calls"),
        change("put_oi_change", "oi_change of puts"),
        change("oi_build", "sum max(OI of D - OI of D-1, 0)"),
        change("oi_unwinding", "sum max(OI of D-1 - OI of D, 0)"),
        Feature(
            "oi_build_share",
            family,
            "oi_build / sum OI of D-1, over contracts with OI in both sessions",
            "share",
            both,
            window=2,
            known_at=CHAIN_OF_YESTERDAY,
            missing="nothing was open in the session before, or " + alone,
        ),
        Feature(
            "opening_share",
            family,
            "sum min(V of D-1, max(OI of D - OI of D-1, 0)) / sum V of D-1, over contracts with OI in both sessions",
            "share",
            both,
            "after Chesney, Crameri and Mancini 2015, Detecting abnormal trading activities in option markets (a "
            "change of OI close to the volume is opening trade)",
            window=2,
            known_at=CHAIN_OF_YESTERDAY,
            missing="nothing traded in the session before, or " + alone,
        ),
    )


_ALGORITHMS = ("volume", "open_interest", "multi_strike", "low_volume")


def _events() -> tuple[Feature, ...]:
    family, detector = "events", "flowlake, docs/detection.md"

    def count(algorithm: str) -> Feature:
        table = f"anomalies_{algorithm}"
        return Feature(
            f"events_{algorithm}",
            family,
            f"rows of {table}",
            "events",
            (f"{table}: contract_id",),
            detector,
            window=61,
            dtype=pl.Int32,
            missing="the algorithm did not run",
        )

    def surprise(algorithm: str) -> Feature:
        table = f"anomalies_{algorithm}"
        return Feature(
            f"surprise_{algorithm}",
            family,
            f"-log10 of the smallest p_value in {table}",
            "",
            (f"{table}: p_value",),
            detector,
            window=61,
            missing="the algorithm found nothing in the underlying",
        )

    evidence = ("ticker_statistics: llr_total",)
    event = ("scored_events: score, direction",)
    no_null = "no null to compare with yet"
    return (
        *(count(algorithm) for algorithm in (*_ALGORITHMS, "day_over_day")),
        *(surprise(algorithm) for algorithm in _ALGORITHMS),
        Feature("call_evidence", family, "llr_total of the calls", "nats", evidence, detector, 61, missing=no_null),
        Feature("put_evidence", family, "llr_total of the puts", "nats", evidence, detector, 61, missing=no_null),
        Feature(
            "event_score",
            family,
            "score of the scored event",
            "1 to 10",
            event,
            detector,
            61,
            missing="the underlying has no scored event",
        ),
        Feature(
            "event_direction",
            family,
            "1 bullish, -1 bearish, 0 neutral: what the activity of the scored event would profit from",
            "",
            event,
            detector,
            61,
            dtype=pl.Int8,
            missing="the underlying has no scored event",
        ),
    )


def _stocks() -> tuple[Feature, ...]:
    family, known, closes = (
        "stock",
        WITH_STOCKS,
        ("raw_stock_snapshots: close", "corporate_actions: split_from, split_to"),
    )
    volumes = ("raw_stock_snapshots: volume", "corporate_actions: split_from, split_to")
    annual = "annualised, decimal"

    def simple(name: str, formula: str, unit: str, column: str) -> Feature:
        return Feature(
            name, family, formula, unit, (f"raw_stock_snapshots: {column}",), known_at=known, missing=_NO_STOCK
        )

    def price_return(sessions: int) -> Feature:
        before = "D-1" if sessions == 1 else f"D-{sessions}"
        return Feature(
            f"stock_return_{sessions}",
            family,
            f"close / close of {before} - 1, adjusted for splits, dividends not added back",
            "decimal",
            closes,
            window=sessions + 1,
            known_at=known,
            missing="either close is not known",
        )

    def realised(sessions: int, least: int) -> Feature:
        return Feature(
            f"realised_volatility_{sessions}",
            family,
            f"sample standard deviation of the log returns that end in the last {sessions} sessions x sqrt(252)",
            annual,
            closes,
            window=sessions + 1,
            known_at=known,
            missing=f"fewer than {least} of the returns are known",
        )

    return (
        simple("stock_close", "close (the last price so far in an intraday snapshot)", "USD per share", "close"),
        simple("stock_volume", "shares traded", "shares", "volume"),
        simple("stock_dollar_volume", "shares traded x volume-weighted price (close where absent)", "USD", "volume"),
        simple("stock_gap", "open / close of D-1 - 1, adjusted for splits", "decimal", "open"),
        price_return(1),
        price_return(5),
        price_return(20),
        Feature(
            "stock_volume_ratio_20",
            family,
            "shares traded / mean of the 20 sessions before, adjusted for splits",
            "ratio",
            volumes,
            window=21,
            known_at=known,
            missing="fewer than 10 of the sessions before are known",
        ),
        realised(20, 15),
        realised(60, 45),
        Feature(
            "range_volatility_20",
            family,
            "sqrt(252 x mean of ln(high / low)^2 / (4 ln 2)) over the last 20 sessions",
            annual,
            ("raw_stock_snapshots: high, low",),
            "Parkinson 1980, The extreme value method for estimating the variance of the rate of return",
            window=20,
            known_at=known,
            missing="fewer than 15 of the sessions are known",
        ),
        Feature(
            "illiquidity_20",
            family,
            "mean of |daily return| / dollar volume x 10^6 over the last 20 sessions",
            "per million USD",
            (*closes, "raw_stock_snapshots: volume"),
            "Amihud 2002, Illiquidity and stock returns",
            window=21,
            known_at=known,
            missing="fewer than 15 of the returns are known",
        ),
        Feature(
            "high_252_distance",
            family,
            "close / highest close of the last 252 sessions - 1",
            "decimal",
            closes,
            "George and Hwang 2004, The 52-week high and momentum investing (closes for highs)",
            window=252,
            known_at=known,
            missing="fewer than 200 of the closes are known",
        ),
        Feature(
            "stock_sessions",
            family,
            "closes known in the last 252 sessions",
            "sessions",
            ("raw_stock_snapshots: close",),
            window=252,
            known_at=known,
            dtype=pl.Int16,
        ),
    )


def _indicators() -> tuple[Feature, ...]:
    family, closes = "indicators", ("raw_stock_snapshots: close", "corporate_actions: split_from, split_to")
    wilder, appel = "Wilder 1978, New concepts in technical trading systems", "Appel 1979, MACD"
    bollinger = "Bollinger 2001, Bollinger on Bollinger bands"

    def indicator(
        name: str, formula: str, unit: str, least: int, source: str = "field standard", reads: int = 252
    ) -> Feature:
        missing = f"fewer than {least} closes are known in the last 252 sessions"
        return Feature(name, family, formula, unit, closes, source, window=reads, known_at=WITH_STOCKS, missing=missing)

    return (
        indicator(
            "rsi_14",
            "100 - 100 / (1 + mean gain / mean loss), means by Wilder's smoothing of 14 begun with the mean of the "
            "first 14 changes; 50 where nothing moved",
            "0 to 100",
            15,
            wilder,
        ),
        indicator("macd", "EMA 12 - EMA 26 of closes, each begun with its simple mean", "USD per share", 26, appel),
        indicator("macd_signal", "EMA 9 of macd, begun with its simple mean", "USD per share", 34, appel),
        indicator("macd_histogram", "macd - macd_signal", "USD per share", 34, appel),
        indicator(
            "bollinger_percent_b",
            "(close - lower band) / (upper band - lower band), bands = mean of 20 closes -+ 2 population deviations",
            "0 to 1 inside the bands",
            20,
            bollinger,
        ),
        indicator("bollinger_bandwidth", "(upper band - lower band) / mean of 20 closes", "decimal", 20, bollinger),
        indicator("sma_20_distance", "close / mean of the last 20 closes - 1", "decimal", 20),
        indicator("sma_50_distance", "close / mean of the last 50 closes - 1", "decimal", 50),
        indicator("sma_200_distance", "close / mean of the last 200 closes - 1", "decimal", 200),
    )


def _regime() -> tuple[Feature, ...]:
    family, spy = "regime", ("raw_stock_snapshots: close", "corporate_actions: split_from, split_to")
    missing = "SPY's history is too short"
    return (
        Feature(
            "market_above_sma_200",
            family,
            "whether SPY's close is above the mean of its last 200 closes",
            "",
            spy,
            "Faber 2007, A quantitative approach to tactical asset allocation",
            window=252,
            known_at=WITH_STOCKS,
            dtype=pl.Boolean,
            missing=missing,
        ),
        Feature(
            "market_sma_200_distance",
            family,
            "sma_200_distance of SPY",
            "decimal",
            spy,
            window=252,
            known_at=WITH_STOCKS,
            missing=missing,
        ),
        Feature(
            "market_return_20",
            family,
            "stock_return_20 of SPY",
            "decimal",
            spy,
            window=21,
            known_at=WITH_STOCKS,
            missing=missing,
        ),
        Feature(
            "market_volatility_20",
            family,
            "realised_volatility_20 of SPY",
            "annualised, decimal",
            spy,
            window=21,
            known_at=WITH_STOCKS,
            missing=missing,
        ),
    )


def _insiders() -> tuple[Feature, ...]:
    family, absent = "insiders", "insider signals of the session are not in the lake"
    signals = {
        "buyers": ("distinct insiders buying in the open market", "insiders", pl.Int32),
        "opportunistic_buyers": ("buyers that are not routine traders", "insiders", pl.Int32),
        "senior_buyers": ("buyers that are chief officers, presidents or chairs", "insiders", pl.Int32),
        "purchase_value_usd": ("believable open-market purchases", "USD", pl.Float64),
        "sellers": ("distinct insiders selling outside plans", "insiders", pl.Int32),
        "sale_value_usd": ("believable open-market sales outside plans", "USD", pl.Float64),
        "is_cluster_buy": ("enough buyers within the cluster window", "", pl.Boolean),
    }
    counted = tuple(
        Feature(
            f"insider_{name}",
            family,
            f"{text}, filings of the trailing 30 days; none is 0",
            unit,
            (f"insider_signals: {name}",),
            "Cohen, Malloy and Pomorski 2012, Decoding inside information",
            window=21,
            known_at=WITH_FILINGS,
            dtype=dtype,
            missing=absent,
        )
        for name, (text, unit, dtype) in signals.items()
    )
    ratio = Feature(
        "insider_net_purchase_ratio",
        family,
        "(purchases - sales) / (purchases + sales) by value, filings of the trailing 30 days",
        "-1 to 1",
        ("insider_signals: net_purchase_ratio",),
        "Lakonishok and Lee 2001, Are insider trades informative?",
        window=21,
        known_at=WITH_FILINGS,
        missing="no believable trade, or " + absent,
    )
    return (*counted, ratio)


def _congress() -> tuple[Feature, ...]:
    family, absent = "congress", "no list of disclosures is in the lake"

    def over_90_days(name: str, formula: str, unit: str, dtype: type[pl.DataType], columns: str) -> Feature:
        return Feature(
            f"congress_{name}_90",
            family,
            f"{formula}, disclosed in the trailing 90 days; none is 0",
            unit,
            (f"congress_trades: {columns}",),
            window=63,
            known_at=WITH_DISCLOSURES,
            dtype=dtype,
            missing=absent,
        )

    return (
        over_90_days("purchases", "purchases", "transactions", pl.Int32, "transaction_class"),
        over_90_days("sales", "sales, partial ones included", "transactions", pl.Int32, "transaction_class"),
        over_90_days("members", "distinct members with a purchase or sale", "members", pl.Int32, "member"),
        over_90_days(
            "net_usd",
            "purchases less sales, each at the middle of its disclosed range (the lower bound where open)",
            "USD",
            pl.Float64,
            "amount_low, amount_high",
        ),
    )


FEATURES: tuple[Feature, ...] = (
    *_volumes(),
    *_volatilities(),
    *_exposures(),
    *_concentrations(),
    *_interest(),
    *_events(),
    *_stocks(),
    *_indicators(),
    *_regime(),
    *_insiders(),
    *_congress(),
)
"""Every feature, in the order of the columns."""
