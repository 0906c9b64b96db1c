"""Detection tables: baselines, calibration, anomalies, scored events and what came of them."""

from __future__ import annotations

import polars as pl

from flowlake.schemas.base import UTC_TIME, Column, Table
from flowlake.schemas.market import AVAILABLE_AT, ORIGIN, SESSION
from flowlake.schemas.options import CONTRACT_ID

WINDOWS = (20, 60)
"""Trailing windows of every baseline, in sessions."""

OWN = (
    "liquidity_surge",
    "region_share",
    "region_surprise",
    "region_leader",
    "volume_oi_ratio",
    "build",
    "leading_build",
    "opened_share",
    "excess_share",
    "call_put_tilt",
    "leading_iv_change",
)
"""Evidence that is also judged against the same side's own trailing sessions (`{name}_own`)."""

FACTOR = pl.Struct({"factor": pl.String, "value": pl.Float64, "contribution": pl.Float64, "text": pl.String})
"""One piece of evidence: its measured value, what it adds to the log-likelihood ratio, and a plain sentence."""

LINE = pl.Struct(
    {
        "contract_id": pl.Int32,
        "contract": pl.String,
        "expiration": pl.Date,
        "strike": pl.Float64,
        "right": pl.String,
        "volume": pl.Int32,
        "open_interest": pl.Int32,
        "expected": pl.Float64,
        "p_value": pl.Float64,
        "price": pl.Float64,
        "delta": pl.Float64,
        "implied_volatility": pl.Float64,
        "dte": pl.Int16,
        "premium_usd": pl.Float64,
    }
)
"""One contract of an event, for people: what traded against what was expected."""

UNDERLYING = Column("underlying", pl.String, "Underlying ticker.")
EVENT_ID = Column("event_id", pl.String, "Stable id of the event: hash of session and underlying.")
EVENT_TIME = Column("event_time", UTC_TIME, "Close of the session whose trading is described.")


def _volume_columns(window: int) -> tuple[Column, ...]:
    """Statistics of daily volume over the trailing `window` sessions in which the contract was listed."""

    def column(name: str, dtype: type[pl.DataType], text: str, unit: str = "contracts", null: bool = True) -> Column:
        return Column(f"volume_{name}_{window}", dtype, f"{text} (trailing {window} sessions).", unit, null)

    return (
        column("n", pl.Int16, "Sessions with a volume, zeros included", "sessions", null=False),
        column("zero_days", pl.Int16, "Sessions without a trade", "sessions", null=False),
        column("mean", pl.Float64, "Mean daily volume"),
        column("std", pl.Float64, "Sample standard deviation of daily volume"),
        column("median", pl.Float64, "Median daily volume"),
        column("mad", pl.Float64, "Median absolute deviation of daily volume"),
        column("max", pl.Int32, "Largest daily volume"),
    )


def _open_interest_columns(window: int) -> tuple[Column, ...]:
    """Statistics of daily open-interest changes whose both ends lie in the trailing `window` sessions."""

    def column(name: str, dtype: type[pl.DataType], text: str, unit: str = "contracts", null: bool = True) -> Column:
        return Column(f"oi_change_{name}_{window}", dtype, f"{text} (trailing {window} sessions).", unit, null)

    return (
        column("n", pl.Int16, "Open-interest changes known", "changes", null=False),
        column("mean", pl.Float64, "Mean change"),
        column("std", pl.Float64, "Sample standard deviation of changes"),
        column("median", pl.Float64, "Median change"),
        column("mad", pl.Float64, "Median absolute deviation of changes"),
        column("max", pl.Int32, "Largest change"),
        column("opened_mean", pl.Float64, "Mean of the rises, a fall counting as zero"),
    )


CONTRACT_BASELINES = Table(
    name="contract_baselines",
    description="What was normal for each contract of this session's chain, from sessions strictly before it.",
    columns=(
        SESSION,
        CONTRACT_ID,
        UNDERLYING,
        *(column for window in WINDOWS for column in _volume_columns(window)),
        *(column for window in WINDOWS for column in _open_interest_columns(window)),
        Column(
            "profile_volume_mean",
            pl.Float64,
            "Mean daily volume over 20 sessions of the chain's contracts that stood where this one stands today "
            "(side, |delta|, days to expiration).",
            "contracts",
            nullable=True,
        ),
        Column("profile_n", pl.Int32, "Contract-sessions behind profile_volume_mean.", "rows"),
        Column(
            "listing_age", pl.Int16, "Sessions from the first one that listed the contract to this one.", "sessions"
        ),
        Column("listed_before_window", pl.Boolean, "listing_age is a lower bound: the oldest session read listed it."),
        Column("previous_volume", pl.Int32, "Volume of the session before.", "contracts", nullable=True),
        Column(
            "previous_open_interest",
            pl.Int32,
            "Open interest at the start of the session before; null where no change may be computed.",
            "contracts",
            nullable=True,
        ),
        Column("volume_sum_5", pl.Int32, "Volume of the five sessions before.", "contracts"),
        Column(
            "open_interest_5",
            pl.Int32,
            "Open interest at the start of the fifth session before; 0 if unlisted, null if no change may be computed.",
            "contracts",
            nullable=True,
        ),
        Column("previous_price", pl.Float64, "Price at the session before.", "USD per share", nullable=True),
        Column("previous_implied_volatility", pl.Float32, "IV at the session before, decimal.", nullable=True),
        AVAILABLE_AT,
        ORIGIN,
    ),
    key=("contract_id",),
    sort=("contract_id",),
    known_at="close of the session before; available_at is that of this session's chain, which names the contracts",
)


def _ticker_columns(window: int) -> tuple[Column, ...]:
    def column(name: str, dtype: type[pl.DataType], text: str, unit: str, null: bool = True) -> Column:
        return Column(f"{name}_{window}", dtype, f"{text} (trailing {window} sessions).", unit, null)

    return (
        column("n", pl.Int16, "Sessions with a chain", "sessions", null=False),
        column("volume_mean", pl.Float64, "Mean daily option volume", "contracts"),
        column("volume_std", pl.Float64, "Sample standard deviation of daily option volume", "contracts"),
        column("volume_median", pl.Float64, "Median daily option volume", "contracts"),
        column("volume_mad", pl.Float64, "Median absolute deviation of daily option volume", "contracts"),
        column("volume_max", pl.Float64, "Largest daily option volume", "contracts"),
        column("call_volume_mean", pl.Float64, "Mean daily call volume", "contracts"),
        column("put_volume_mean", pl.Float64, "Mean daily put volume", "contracts"),
        column("premium_mean_usd", pl.Float64, "Mean daily premium traded", "USD"),
    )


TICKER_BASELINES = Table(
    name="ticker_baselines",
    description="What was normal for each underlying's whole chain, from sessions strictly before this one.",
    columns=(
        SESSION,
        UNDERLYING,
        *(column for window in WINDOWS for column in _ticker_columns(window)),
        Column("previous_spot", pl.Float64, "Spot at the session before, split-adjusted.", "USD per share", True),
        Column("return_n", pl.Int16, "Daily returns known over 20 sessions.", "returns"),
        Column("return_std", pl.Float64, "Standard deviation of daily log returns over 20 sessions.", "", True),
        Column(
            "sessions_since_split",
            pl.Int16,
            "Sessions since the latest split; 0 on the day.",
            "sessions",
            nullable=True,
        ),
        AVAILABLE_AT,
        ORIGIN,
    ),
    key=("underlying",),
    sort=("underlying",),
    known_at="close of the session before; available_at is that of this session's chain, which names the underlyings",
)

CALIBRATION_BINS = Table(
    name="calibration_bins",
    description="Histogram of a session's contract statistics by bucket: the empirical null of later sessions.",
    columns=(
        SESSION,
        Column("statistic", pl.String, "'volume' or 'open_interest'."),
        Column("bucket", pl.Int16, "|delta| x days to expiration x activity; see `flowlake.detect.buckets`."),
        Column("bin", pl.Int16, "floor(signed root deviance / bin width); 0 holds everything not above expectation."),
        Column("contracts", pl.Int32, "Contracts in the bin.", "contracts"),
        AVAILABLE_AT,
        ORIGIN,
    ),
    key=("statistic", "bucket", "bin"),
    sort=("statistic", "bucket", "bin"),
    known_at="available_at of the chain",
)

TICKER_STATISTICS = Table(
    name="ticker_statistics",
    description="Every underlying's evidence on either side (calls, puts), quiet or not: the null of later sessions.",
    columns=(
        SESSION,
        UNDERLYING,
        Column("right", pl.String, "'C' or 'P': the side of the chain the evidence is about."),
        Column("activity", pl.Int8, "Activity class of the underlying; see `flowlake.detect.buckets`."),
        Column("volume", pl.Int64, "Volume of the side.", "contracts"),
        Column("chain_volume", pl.Int64, "Volume of the whole chain.", "contracts"),
        Column("open_interest", pl.Int64, "Open interest of the side at the start of the session.", "contracts", True),
        Column("volume_surprise", pl.Float64, "-log10 of the leading line's p-value.", "", True),
        Column("open_interest_surprise", pl.Float64, "The same for last session's opened positions.", "", True),
        Column("ladder_surprise", pl.Float64, "-log10 of the best run of unusual strikes.", "", True),
        Column("series_surprise", pl.Float64, "Low volume, high conviction: root deviance of a lone series.", "", True),
        Column("short_otm_share", pl.Float64, "Share of excess volume out of the money within 60 days.", "", True),
        Column("premium_ratio", pl.Float64, "log10 of excess premium over the chain's mean daily premium.", "", True),
        Column("volume_oi_ratio", pl.Float64, "log10 of volume over open interest of the leading line.", "", True),
        Column("dominance", pl.Float64, "log10 of the leading line's excess over the chain's mean day.", "", True),
        Column("concentration", pl.Float64, "Share of the chain's volume in the leading line.", "", True),
        Column("iv_change", pl.Float64, "IV change of the excess lines less their chain's median.", "decimal", True),
        Column(
            "iv_expansion", pl.Float64, "Median log IV change of the chain's short-dated near-money lines.", "", True
        ),
        Column("call_put_tilt", pl.Float64, "Side's share of volume less its usual share.", "", True),
        Column("liquidity_surge", pl.Float64, "log10 of chain volume over its usual.", "", True),
        Column("quietness", pl.Float64, "-|stock return| in trailing standard deviations.", "", True),
        Column("region_share", pl.Float64, "Share of the chain's volume out of the money, 2 to 130 days.", "", True),
        Column("region_excess_share", pl.Float64, "Share of the side's excess volume in that region.", "", True),
        Column("region_surprise", pl.Float64, "log10(1 + sum of -ln p over the lines of that region).", "", True),
        Column("region_leader", pl.Float64, "-log10 of the smallest p-value in that region.", "", True),
        Column("build", pl.Float64, "log10 of today's excess and five sessions' openings over a day.", "", True),
        Column("leading_build", pl.Float64, "The same of the leading line's openings alone.", "", True),
        Column("opened_share", pl.Float64, "Share of last session's volume the leading line opened.", "", True),
        Column("excess_share", pl.Float64, "Leading line's share of the side's excess volume.", "", True),
        Column("leading_iv_change", pl.Float64, "Leading line's IV change less its chain's median.", "decimal", True),
        *(
            Column(f"{name}_own", pl.Float64, f"{name} in deviations from the side's own trailing sessions.", "", True)
            for name in OWN
        ),
        Column("spread_share", pl.Float64, "Share of excess volume in lines that look like a spread.", "", True),
        Column("roll_share", pl.Float64, "Share of excess volume in lines that look like a roll.", "", True),
        Column("deep_share", pl.Float64, "Share of excess volume deep in the money (dividend trades).", "", True),
        Column("new_listing_share", pl.Float64, "Share of excess volume in contracts just listed.", "", True),
        Column("other_side", pl.Float64, "log10(1 + unusual lines on the other side of the chain).", "", True),
        Column("llr_total", pl.Float64, "Sum of capped log-likelihood ratios, where a null existed.", "nats", True),
        Column("null_n", pl.Int32, "Trailing rows the evidence was compared with.", "rows"),
        AVAILABLE_AT,
        ORIGIN,
    ),
    key=("underlying", "right"),
    sort=("underlying", "right"),
    known_at="available_at of the chain",
)

_ANOMALY_COLUMNS = (
    SESSION,
    EVENT_ID,
    Column("algorithm", pl.String, "'volume', 'open_interest', 'multi_strike' or 'low_volume'."),
    UNDERLYING,
    Column("contract_id", pl.Int32, "Contract (the leading line where several)."),
    Column("contract", pl.String, "Vendor contract ticker (of the leading line where several)."),
    Column("expiration", pl.Date, "Expiration (of the leading line where several)."),
    Column("strike", pl.Float64, "Strike (of the leading line where several).", "USD per share"),
    Column("right", pl.String, "'C' or 'P'."),
    Column("direction", pl.String, "'bullish', 'bearish' or 'neutral': what the activity would profit from."),
    Column("observed", pl.Float64, "What was counted.", "contracts"),
    Column("expected", pl.Float64, "What was expected given history and the rest of the chain.", "contracts"),
    Column("statistic", pl.Float64, "How far observed is above expected (larger is more unusual)."),
    Column("p_value", pl.Float64, "Share of comparable trailing observations at least as extreme."),
    Column("ticker_p_value", pl.Float64, "The same for the whole side of the chain, which was tested first."),
    Column("null_n", pl.Int64, "Trailing observations behind p_value.", "rows"),
    Column("lines", pl.Int32, "Contracts the anomaly spans.", "contracts"),
    Column("volume", pl.Int64, "Volume of the session described.", "contracts"),
    Column("open_interest", pl.Int64, "Open interest at the start of `session`.", "contracts", nullable=True),
    Column("price", pl.Float64, "Price of the (leading) line.", "USD per share", nullable=True),
    Column("delta", pl.Float64, "Delta of the (leading) line.", nullable=True),
    Column("implied_volatility", pl.Float64, "IV of the (leading) line, annualised, decimal.", nullable=True),
    Column("dte", pl.Int16, "Calendar days to expiration of the (leading) line.", "days", nullable=True),
    Column("moneyness", pl.Float64, "strike / forward of the (leading) line.", nullable=True),
    Column("premium_usd", pl.Float64, "observed x price x multiplier.", "USD", nullable=True),
    Column("delta_notional_usd", pl.Float64, "observed x delta x spot x multiplier.", "USD", nullable=True),
    Column("vega_notional_usd", pl.Float64, "observed x vega x multiplier.", "USD per volatility point", nullable=True),
    Column("annotations", pl.List(pl.String), "What lowers surprise: 'split', 'new listing', 'spread look-alike', ..."),
    Column("factors", pl.List(FACTOR), "The numbers behind the statistic, each with a sentence."),
    Column("explanation", pl.String, "One plain sentence."),
    EVENT_TIME,
    AVAILABLE_AT,
    ORIGIN,
)


def _anomaly_table(algorithm: str, description: str) -> Table:
    return Table(
        name=f"anomalies_{algorithm}",
        description=description,
        columns=_ANOMALY_COLUMNS,
        key=("contract_id",),
        sort=("underlying", "right", "expiration", "strike", "contract_id"),
        known_at="available_at of the chain; event_time is the close of the trading described",
        retention="permanent",
    )


ANOMALIES_VOLUME = _anomaly_table("volume", "Contracts that traded far more than their history and chain explain.")
ANOMALIES_OPEN_INTEREST = _anomaly_table(
    "open_interest", "Contracts in which the previous session opened far more positions than usual, seen this morning."
)
ANOMALIES_MULTI_STRIKE = _anomaly_table(
    "multi_strike", "Neighbouring strikes or expirations on one side that are unusual together (ladders)."
)
ANOMALIES_LOW_VOLUME = _anomaly_table(
    "low_volume", "Illiquid names in which one series took over the chain: low volume, high conviction."
)

SCORED_EVENTS = Table(
    name="scored_events",
    description="Underlyings with unusual activity, ranked; the factors' contributions add up to the evidence.",
    columns=(
        SESSION,
        EVENT_ID,
        UNDERLYING,
        Column("rank", pl.Int32, "1 is the most unusual of the session."),
        Column("score", pl.Float64, "1 to 10: 1 + 9 x min(-log10(p_value) / 5, 1)."),
        Column("conviction", pl.String, "'LOW', 'MEDIUM', 'HIGH', 'EXTREME', or 'NONE' below LOW."),
        Column("direction", pl.String, "'bullish', 'bearish' or 'neutral': what the activity would profit from."),
        Column("right", pl.String, "'C' or 'P': the side of the chain that carries the evidence."),
        Column("llr_total", pl.Float64, "Sum of the factors' contributions.", "nats"),
        Column("p_value", pl.Float64, "Calibrated share of trailing underlying-sessions at least as unusual."),
        Column("q_value", pl.Float64, "Benjamini-Hochberg: expected share of false alarms among this rank and better."),
        Column("null_n", pl.Int64, "Trailing underlying-sessions behind p_value.", "rows"),
        Column("universe", pl.Int32, "Underlyings tested in the session.", "tickers"),
        Column(
            "expected_false_alarms_per_day",
            pl.Float64,
            "p_value x universe: how many this unusual are expected without cause.",
            "events",
        ),
        Column("status", pl.String, "'provisional' at the close; 'confirmed' or 'withdrawn' by next-morning OI."),
        Column("algorithms", pl.List(pl.String), "Algorithms with an anomaly in this underlying."),
        Column("factors", pl.List(FACTOR), "Evidence; contributions sum to llr_total."),
        Column("contracts", pl.List(LINE), "Leading lines, the most prominent first."),
        Column(
            "annotations", pl.List(pl.String), "What lowers surprise: 'split', 'index or ETF', 'roll look-alike', ..."
        ),
        Column("volume", pl.Int64, "Volume of the side.", "contracts"),
        Column("expected_volume", pl.Float64, "Usual volume of the side over 20 sessions.", "contracts", nullable=True),
        Column("premium_usd", pl.Float64, "Premium of the leading lines.", "USD", nullable=True),
        Column("spot", pl.Float64, "Underlying price.", "USD per share", nullable=True),
        Column("return_std", pl.Float64, "Trailing standard deviation of daily log returns.", "", nullable=True),
        Column("model_id", pl.String, "Version and parameters of the score."),
        Column("explanation", pl.String, "Plain sentences for people."),
        EVENT_TIME,
        AVAILABLE_AT,
        ORIGIN,
    ),
    key=("underlying",),
    sort=("rank",),
    known_at="available_at of the chain",
    retention="permanent",
)

EVENT_OUTCOMES = Table(
    name="event_outcomes",
    description="What followed earlier events, in the session that made it known. Never feeds a score.",
    columns=(
        SESSION,
        EVENT_ID,
        UNDERLYING,
        Column("event_session", pl.Date, "Session of the event."),
        Column("horizon_sessions", pl.Int16, "Sessions from the event to this one: 1, 3, 5 or 10.", "sessions"),
        Column("direction", pl.String, "Direction of the event."),
        Column("conviction", pl.String, "Conviction of the event."),
        Column("spot_then", pl.Float64, "Spot at the event, split-adjusted to this session.", "USD per share", True),
        Column("spot_now", pl.Float64, "Spot at this session.", "USD per share", nullable=True),
        Column("signed_return", pl.Float64, "Return since the event, positive in the event's direction.", "", True),
        Column("z", pl.Float64, "signed_return in trailing standard deviations of that horizon.", "", True),
        Column("oi_change", pl.Int64, "Horizon 1: open-interest change of the event's lines.", "contracts", True),
        Column("oi_confirmation", pl.Float64, "Horizon 1: oi_change / volume of the event's lines.", "", True),
        EVENT_TIME,
        AVAILABLE_AT,
        ORIGIN,
    ),
    key=("event_id", "horizon_sessions"),
    sort=("event_session", "underlying", "horizon_sessions"),
    known_at="available_at of this session's chain",
    retention="permanent",
)
