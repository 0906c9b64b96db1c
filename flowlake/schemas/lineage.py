"""Where the columns of the main chain of tables come from, beside their declarations.

A column inherits from the column of the same name in the tables it is made from; what is computed names its sources
here. Dagster shows both as column lineage.
"""

from __future__ import annotations

from collections.abc import Mapping

from flowlake.schemas.feature_list import FEATURES

MADE_FROM: Mapping[str, tuple[str, ...]] = {
    "contracts": ("raw_option_snapshots",),
    "option_chains": ("raw_option_snapshots", "contracts"),
    "iv_surface": ("option_chains",),
    "contract_baselines": ("option_chains",),
    "ticker_baselines": ("option_chains",),
    "calibration_bins": ("option_chains",),
    "ticker_statistics": ("option_chains",),
    "anomalies_volume": ("option_chains",),
    "anomalies_open_interest": ("option_chains",),
    "anomalies_multi_strike": ("option_chains",),
    "anomalies_low_volume": ("option_chains",),
    "anomalies_day_over_day": ("option_chains",),
    "scored_events": ("ticker_statistics",),
    "event_outcomes": ("scored_events",),
    "insider_trades": ("insider_transactions", "insider_filings"),
    "event_insiders": ("insider_trades",),
}
"""Tables whose columns of the same name are inherited, the nearest first."""

_PRICE = ("raw_option_snapshots.bid", "raw_option_snapshots.ask", "raw_option_snapshots.day_close")
_SOLVED = ("option_chains.price", "option_chains.forward", "option_chains.discount", "option_chains.years")
_SPOT = ("raw_option_snapshots.underlying_price", "raw_stock_snapshots.close")
_VOLUME = ("option_chains.volume", "contract_baselines.volume_mean_20", "contract_baselines.profile_volume_mean")
_OPENED = ("option_chains.open_interest", "contract_baselines.previous_open_interest", "corporate_actions.split_to")
_NULL = ("calibration_bins.contracts", "ticker_statistics.volume_surprise")


def _of_features() -> dict[str, tuple[str, ...]]:
    """The inputs that the declaration of each feature names."""
    return {
        each.name: tuple(
            f"{table}.{column}"
            for table, named in (text.split(": ") for text in each.inputs)
            for column in named.split(", ")
        )
        for each in FEATURES
    }


COMPUTED: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "options_flow_features": _of_features(),
    "option_chains": {
        "contract_id": ("contracts.contract_id",),
        "root": ("raw_option_snapshots.contract",),
        "right": ("raw_option_snapshots.contract", "raw_option_snapshots.contract_type"),
        "multiplier": ("raw_option_snapshots.shares_per_contract",),
        "is_adjusted": ("raw_option_snapshots.contract", "raw_option_snapshots.shares_per_contract"),
        "volume": ("raw_option_snapshots.day_volume", "raw_option_snapshots.day_updated_at"),
        "last": ("raw_option_snapshots.day_close",),
        "last_session": ("raw_option_snapshots.day_updated_at",),
        "vwap": ("raw_option_snapshots.day_vwap", "raw_option_snapshots.day_updated_at"),
        "mid": ("raw_option_snapshots.bid", "raw_option_snapshots.ask"),
        "spread": ("raw_option_snapshots.bid", "raw_option_snapshots.ask"),
        "price": _PRICE,
        "price_source": _PRICE,
        "spot": _SPOT,
        "forward": (*_PRICE, *_SPOT, "corporate_actions.cash_amount"),
        "discount": _PRICE,
        "dte": ("raw_option_snapshots.expiration",),
        "years": ("raw_option_snapshots.expiration",),
        "moneyness": ("raw_option_snapshots.strike", *_SPOT),
        "implied_volatility": _SOLVED,
        "delta": ("option_chains.implied_volatility", *_SOLVED),
        "gamma": ("option_chains.implied_volatility", *_SOLVED),
        "theta": ("option_chains.implied_volatility", *_SOLVED),
        "vega": ("option_chains.implied_volatility", *_SOLVED),
        "rho": ("option_chains.implied_volatility", *_SOLVED),
        "vendor_iv": ("raw_option_snapshots.implied_volatility",),
        "vendor_delta": ("raw_option_snapshots.delta",),
        "vendor_gamma": ("raw_option_snapshots.gamma",),
        "vendor_theta": ("raw_option_snapshots.theta",),
        "vendor_vega": ("raw_option_snapshots.vega",),
    },
    "iv_surface": {
        "atm_volatility": ("option_chains.implied_volatility", "option_chains.moneyness", "option_chains.years"),
        "risk_reversal_25": ("option_chains.implied_volatility", "option_chains.delta"),
        "butterfly_25": ("option_chains.implied_volatility", "option_chains.delta"),
        "term_slope": ("option_chains.implied_volatility", "option_chains.years"),
    },
    "contract_baselines": {
        **{
            f"volume_{name}_{window}": ("option_chains.volume",)
            for name in ("n", "zero_days", "mean", "std", "median", "mad", "max")
            for window in (20, 60)
        },
        **{
            f"oi_change_{name}_{window}": ("option_chains.open_interest", "corporate_actions.split_to")
            for name in ("n", "mean", "std", "median", "mad", "max", "opened_mean")
            for window in (20, 60)
        },
        "profile_volume_mean": ("option_chains.volume", "option_chains.delta", "option_chains.dte"),
        "previous_volume": ("option_chains.volume",),
        "previous_open_interest": ("option_chains.open_interest",),
        "previous_price": ("option_chains.price",),
        "previous_implied_volatility": ("option_chains.implied_volatility",),
    },
    "ticker_baselines": {
        **{
            f"volume_{name}_{window}": ("option_chains.volume",)
            for name in ("mean", "std", "median", "mad", "max")
            for window in (20, 60)
        },
        **{f"call_volume_mean_{w}": ("option_chains.volume", "option_chains.right") for w in (20, 60)},
        **{f"put_volume_mean_{w}": ("option_chains.volume", "option_chains.right") for w in (20, 60)},
        **{f"premium_mean_usd_{w}": ("option_chains.volume", "option_chains.price") for w in (20, 60)},
        "previous_spot": ("option_chains.spot", "corporate_actions.split_to"),
        "return_std": ("option_chains.spot",),
        "sessions_since_split": ("corporate_actions.effective_on",),
    },
    "ticker_statistics": {
        "volume": ("option_chains.volume",),
        "chain_volume": ("option_chains.volume",),
        "volume_surprise": _VOLUME,
        "open_interest_surprise": _OPENED,
        "ladder_surprise": _VOLUME,
        "series_surprise": _VOLUME,
        "premium_ratio": ("option_chains.price", "ticker_baselines.premium_mean_usd_20"),
        "iv_change": ("option_chains.implied_volatility", "contract_baselines.previous_implied_volatility"),
        "liquidity_surge": ("option_chains.volume", "ticker_baselines.volume_mean_20"),
        "quietness": ("option_chains.spot", "ticker_baselines.previous_spot", "ticker_baselines.return_std"),
    },
    "anomalies_volume": {"observed": ("option_chains.volume",), "expected": _VOLUME, "p_value": (*_VOLUME, *_NULL)},
    "anomalies_open_interest": {"observed": _OPENED, "expected": _OPENED, "p_value": (*_OPENED, *_NULL)},
    "anomalies_multi_strike": {
        "observed": ("option_chains.volume",),
        "expected": _VOLUME,
        "p_value": (*_VOLUME, *_NULL),
    },
    "anomalies_low_volume": {"observed": ("option_chains.volume",), "expected": _VOLUME, "p_value": (*_VOLUME, *_NULL)},
    "anomalies_day_over_day": {
        "previous_volume": ("contract_baselines.previous_volume",),
        "volume_change": ("option_chains.volume", "contract_baselines.previous_volume"),
        "premium_usd": ("option_chains.volume", "option_chains.price", "option_chains.multiplier"),
    },
    "scored_events": {
        "llr_total": ("ticker_statistics.llr_total",),
        "p_value": ("ticker_statistics.llr_total",),
        "score": ("ticker_statistics.llr_total",),
        "conviction": ("ticker_statistics.llr_total",),
        "algorithms": (
            "anomalies_volume.algorithm",
            "anomalies_open_interest.algorithm",
            "anomalies_multi_strike.algorithm",
            "anomalies_low_volume.algorithm",
        ),
        "contracts": ("anomalies_volume.contract", "anomalies_multi_strike.contract"),
    },
    "event_outcomes": {
        "spot_then": ("scored_events.spot", "corporate_actions.split_to"),
        "spot_now": ("option_chains.spot",),
        "signed_return": ("scored_events.spot", "option_chains.spot", "scored_events.direction"),
        "z": ("scored_events.spot", "option_chains.spot", "scored_events.return_std"),
        "oi_change": ("option_chains.open_interest",),
    },
}
"""Computed columns and what they are computed from, as 'table.column'."""


def sources(table: str, columns: tuple[str, ...], schemas: Mapping[str, frozenset[str]]) -> dict[str, tuple[str, ...]]:
    """What each of `columns` of `table` comes from, as 'table.column'; `schemas` holds the columns of every table."""
    computed = COMPUTED.get(table, {})
    inherited = {
        column: (f"{parent}.{column}",)
        for parent in reversed(MADE_FROM.get(table, ()))
        for column in columns
        if column in schemas[parent]
    }
    return {column: found for column in columns if (found := computed.get(column) or inherited.get(column))}
