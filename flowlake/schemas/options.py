"""Normalised option chains and the contract dimension."""

from __future__ import annotations

import polars as pl

from flowlake.schemas.base import Column, Table
from flowlake.schemas.market import AVAILABLE_AT, OBSERVED_AT, ORIGIN, SESSION

CONTRACT_ID = Column("contract_id", pl.Int32, "Dense integer id of the contract in `contracts`.")

CONTRACTS = Table(
    name="contracts",
    description="Contract dimension: every contract ever seen, in the partition of the session that first saw it.",
    columns=(
        CONTRACT_ID,
        Column("contract", pl.String, "Vendor contract ticker, 'O:' + OCC symbol."),
        Column("underlying", pl.String, "Underlying ticker."),
        Column("root", pl.String, "OCC root, e.g. 'SPXW' or 'AAPL1'."),
        Column("expiration", pl.Date, "Expiration date."),
        Column("strike", pl.Float64, "Strike price.", "USD per share"),
        Column("right", pl.String, "'C' or 'P'."),
        Column("first_session", pl.Date, "Session in which the contract was first seen."),
    ),
    key=("contract_id",),
    sort=("contract_id",),
    known_at="first_session",
    retention="permanent",
)

OPTION_CHAINS = Table(
    name="option_chains",
    description="One row per contract and session: cleaned vendor facts beside our own implied volatility and Greeks.",
    columns=(
        SESSION,
        CONTRACT_ID,
        Column("underlying", pl.String, "Underlying ticker."),
        Column("contract", pl.String, "Vendor contract ticker, 'O:' + OCC symbol."),
        Column(
            "root",
            pl.String,
            "OCC root; differs from the underlying for index weeklies and adjusted contracts.",
        ),
        Column("expiration", pl.Date, "Expiration date."),
        Column("strike", pl.Float64, "Strike price.", "USD per share"),
        Column("right", pl.String, "'C' or 'P'."),
        Column("multiplier", pl.Float64, "Shares a contract delivers.", "shares"),
        Column("exercise_style", pl.String, "'american' or 'european'."),
        Column(
            "is_adjusted",
            pl.Boolean,
            "Deliverable changed by a corporate action (numbered root or odd multiplier).",
        ),
        Column(
            "volume",
            pl.Int32,
            "Contracts traded in THIS session (0 where the vendor's bar is older).",
            "contracts",
        ),
        Column(
            "open_interest",
            pl.Int32,
            "Open interest at the START of the session.",
            "contracts",
            nullable=True,
        ),
        Column(
            "last",
            pl.Float64,
            "Close of the most recent day bar, of whichever session.",
            "USD per share",
            True,
        ),
        Column("last_session", pl.Date, "Session of `last`.", nullable=True),
        Column("vwap", pl.Float64, "VWAP of this session's trades.", "USD per share", nullable=True),
        Column("bid", pl.Float64, "Best bid.", "USD per share", nullable=True),
        Column("ask", pl.Float64, "Best ask.", "USD per share", nullable=True),
        Column("mid", pl.Float64, "(bid + ask) / 2 where the quote is usable.", "USD per share", nullable=True),
        Column("spread", pl.Float64, "ask - bid where the quote is usable.", "USD per share", nullable=True),
        Column(
            "price",
            pl.Float64,
            "Price our volatility is solved from: mid, else last if it traded in this session.",
            "USD per share",
            nullable=True,
        ),
        Column("price_source", pl.String, "'mid', 'last' or null.", nullable=True),
        Column("spot", pl.Float64, "Underlying price, one per underlying and session.", "USD per share", nullable=True),
        Column(
            "forward",
            pl.Float64,
            "Forward of the underlying for this expiration.",
            "USD per share",
            nullable=True,
        ),
        Column("discount", pl.Float64, "Discount factor to the expiration.", nullable=True),
        Column(
            "forward_source",
            pl.String,
            "'parity' (the chain's own quotes) or 'carry' (spot at an assumed rate, less known dividends).",
            "",
            True,
        ),
        Column("dte", pl.Int16, "Calendar days to expiration.", "days"),
        Column("years", pl.Float64, "Calendar minutes to settlement / 525,600; not above 0 once settled.", "years"),
        Column("trading_minutes", pl.Int32, "Regular-session minutes to settlement.", "minutes"),
        Column(
            "moneyness",
            pl.Float64,
            "strike / forward (strike / spot where there is no forward; null for adjusted contracts).",
            nullable=True,
        ),
        Column("implied_volatility", pl.Float32, "Ours, annualised, decimal.", nullable=True),
        Column("iv_status", pl.String, "'ok' or why there is no volatility: 'no_price', 'below_intrinsic', ..."),
        Column("delta", pl.Float32, "Ours, to spot.", nullable=True),
        Column("gamma", pl.Float32, "Ours.", "per USD", nullable=True),
        Column("theta", pl.Float32, "Ours.", "USD per calendar day", nullable=True),
        Column("vega", pl.Float32, "Ours.", "USD per volatility point", nullable=True),
        Column("rho", pl.Float32, "Ours.", "USD per percentage point of rate", nullable=True),
        Column(
            "vendor_iv",
            pl.Float32,
            "Vendor IV, decimal; null where the vendor sent none or a placeholder.",
            "",
            True,
        ),
        Column("vendor_delta", pl.Float32, "Vendor delta.", nullable=True),
        Column("vendor_gamma", pl.Float32, "Vendor gamma.", nullable=True),
        Column("vendor_theta", pl.Float32, "Vendor theta.", "USD per calendar day", nullable=True),
        Column("vendor_vega", pl.Float32, "Vendor vega.", "USD per volatility point", nullable=True),
        Column("flags", pl.UInt16, "Quality flags, a bit set; names and bits in `flowlake.options.chains.Flag`."),
        Column(
            "basis",
            pl.String,
            "'snapshot', or 'aggregates' for a session rebuilt from daily bars without OI.",
        ),
        OBSERVED_AT,
        AVAILABLE_AT,
        ORIGIN,
    ),
    key=("contract_id",),
    sort=("underlying", "expiration", "strike", "right", "contract"),
    known_at="available_at of the raw row",
)

IV_SURFACE = Table(
    name="iv_surface",
    description="Implied-volatility surface of each underlying at fixed tenors, fitted to our own volatilities.",
    columns=(
        SESSION,
        Column("underlying", pl.String, "Underlying ticker."),
        Column("tenor_days", pl.Int16, "Calendar days to expiration: 7, 30, 60 or 90.", "days"),
        Column("atm_volatility", pl.Float64, "Volatility at the forward, annualised, decimal.", nullable=True),
        Column("risk_reversal_25", pl.Float64, "25-delta call volatility less 25-delta put volatility.", nullable=True),
        Column("butterfly_25", pl.Float64, "Mean of the 25-delta volatilities less at the money.", nullable=True),
        Column("term_slope", pl.Float64, "Change of at-the-money volatility per year of maturity.", "per year", True),
        Column("smile_error", pl.Float64, "Weighted RMS miss of the fit.", "volatility", nullable=True),
        Column("strikes_used", pl.Int32, "Contracts behind the fit.", "contracts", nullable=True),
        AVAILABLE_AT,
        ORIGIN,
    ),
    key=("underlying", "tenor_days"),
    sort=("underlying", "tenor_days"),
    known_at="available_at of the chain",
)
