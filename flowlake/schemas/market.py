"""Raw market tables: what the vendor said, flattened, nothing corrected."""

from __future__ import annotations

import polars as pl

from flowlake.schemas.base import UTC_TIME, Column, Table

SESSION = Column("session", pl.Date, "Trading session the row belongs to (New York date).")
ORIGIN = Column("origin", pl.String, "Where the data came from: 'vendor', 'recorded' or 'simulated'.")
OBSERVED_AT = Column("observed_at", UTC_TIME, "Market time the snapshot describes (wall time less the vendor's delay).")
AVAILABLE_AT = Column("available_at", UTC_TIME, "When the row was known to us; features use only rows known before.")

RAW_STOCK_SNAPSHOTS = Table(
    name="raw_stock_snapshots",
    description="Full-market stock snapshot at the end of the session, one row per ticker.",
    columns=(
        SESSION,
        Column("ticker", pl.String, "Vendor ticker, case-sensitive."),
        Column("open", pl.Float64, "Session open.", "USD per share", nullable=True),
        Column("high", pl.Float64, "Session high.", "USD per share", nullable=True),
        Column("low", pl.Float64, "Session low.", "USD per share", nullable=True),
        Column("close", pl.Float64, "Last regular price of the session.", "USD per share", nullable=True),
        Column("volume", pl.Float64, "Shares traded.", "shares", nullable=True),
        Column("vwap", pl.Float64, "Volume-weighted average price.", "USD per share", nullable=True),
        Column("previous_close", pl.Float64, "Close of the session before.", "USD per share", nullable=True),
        Column("last_price", pl.Float64, "Last trade (plans with trades).", "USD per share", nullable=True),
        Column("bid", pl.Float64, "Best bid (plans with quotes).", "USD per share", nullable=True),
        Column("ask", pl.Float64, "Best ask (plans with quotes).", "USD per share", nullable=True),
        Column("updated_at", UTC_TIME, "Vendor's time of the row.", nullable=True),
        OBSERVED_AT,
        AVAILABLE_AT,
        ORIGIN,
    ),
    key=("ticker",),
    sort=("ticker",),
    known_at="available_at: when the snapshot was received",
    # Small, and averages of 200 sessions and a year's high need more than the daily tables are kept.
    retention="permanent",
)

RAW_OPTION_SNAPSHOTS = Table(
    name="raw_option_snapshots",
    description="Option-chain snapshot of every active contract at the end of the session, as the vendor sent it.",
    columns=(
        SESSION,
        Column("underlying", pl.String, "Underlying ticker the chain was asked for."),
        Column("contract", pl.String, "Vendor contract ticker, 'O:' + OCC symbol."),
        Column("contract_type", pl.String, "'call', 'put' or 'other'.", nullable=True),
        Column("exercise_style", pl.String, "'american', 'european' or 'bermudan'.", nullable=True),
        Column("expiration", pl.Date, "Expiration date.", nullable=True),
        Column("strike", pl.Float64, "Strike price.", "USD per share", nullable=True),
        Column("shares_per_contract", pl.Float64, "Deliverable multiplier, usually 100.", "shares", nullable=True),
        Column("day_open", pl.Float64, "Open of the most recent day bar.", "USD per share", nullable=True),
        Column("day_high", pl.Float64, "High of the most recent day bar.", "USD per share", nullable=True),
        Column("day_low", pl.Float64, "Low of the most recent day bar.", "USD per share", nullable=True),
        Column("day_close", pl.Float64, "Close of the most recent day bar.", "USD per share", nullable=True),
        Column(
            "day_volume",
            pl.Float64,
            "Contracts of the most recent day bar, which may be old.",
            "contracts",
            True,
        ),
        Column("day_vwap", pl.Float64, "VWAP of the most recent day bar.", "USD per share", nullable=True),
        Column(
            "day_updated_at",
            UTC_TIME,
            "Time of the most recent day bar; its New York date is its session.",
            "",
            True,
        ),
        Column(
            "open_interest",
            pl.Float64,
            "Open interest at the START of the session.",
            "contracts",
            nullable=True,
        ),
        Column("implied_volatility", pl.Float64, "Vendor IV, annualised, decimal.", nullable=True),
        Column("delta", pl.Float64, "Vendor delta.", nullable=True),
        Column("gamma", pl.Float64, "Vendor gamma.", "per USD", nullable=True),
        Column("theta", pl.Float64, "Vendor theta.", "USD per calendar day", nullable=True),
        Column("vega", pl.Float64, "Vendor vega.", "USD per volatility point", nullable=True),
        Column("bid", pl.Float64, "Best bid (plans with quotes).", "USD per share", nullable=True),
        Column("ask", pl.Float64, "Best ask (plans with quotes).", "USD per share", nullable=True),
        Column("bid_size", pl.Float64, "Contracts at the bid.", "contracts", nullable=True),
        Column("ask_size", pl.Float64, "Contracts at the ask.", "contracts", nullable=True),
        Column("quote_at", UTC_TIME, "Time of the quote.", nullable=True),
        Column("last_price", pl.Float64, "Last trade (plans with trades).", "USD per share", nullable=True),
        Column("last_size", pl.Float64, "Size of the last trade.", "contracts", nullable=True),
        Column("last_trade_at", UTC_TIME, "Time of the last trade.", nullable=True),
        Column(
            "underlying_price",
            pl.Float64,
            "Price (or index value) of the underlying beside the row.",
            "USD",
            True,
        ),
        Column("underlying_at", UTC_TIME, "Time of the underlying's price.", nullable=True),
        Column("timeframe", pl.String, "'REAL-TIME' or 'DELAYED'.", nullable=True),
        Column("fetched_at", UTC_TIME, "When the page that carried the row was received."),
        OBSERVED_AT,
        AVAILABLE_AT,
        ORIGIN,
    ),
    # Overlapping pages can repeat a contract; option_chains keeps the newest, so the raw table has no unique key.
    key=(),
    sort=("underlying", "contract"),
    known_at="available_at: when the page was received",
)

RAW_OPTION_BARS = Table(
    name="raw_option_bars",
    description="Daily bars of contracts that traded, for a past session whose snapshot was missed; no open interest.",
    columns=(
        SESSION,
        Column("underlying", pl.String, "Underlying ticker."),
        Column("contract", pl.String, "Vendor contract ticker, 'O:' + OCC symbol."),
        Column("open", pl.Float64, "First price.", "USD per share"),
        Column("high", pl.Float64, "Highest price.", "USD per share"),
        Column("low", pl.Float64, "Lowest price.", "USD per share"),
        Column("close", pl.Float64, "Last price.", "USD per share"),
        Column("volume", pl.Float64, "Contracts traded.", "contracts"),
        Column("vwap", pl.Float64, "Volume-weighted average price.", "USD per share", nullable=True),
        Column("transactions", pl.Int64, "Trades.", "trades", nullable=True),
        OBSERVED_AT,
        AVAILABLE_AT,
        ORIGIN,
    ),
    key=("contract",),
    sort=("underlying", "contract"),
    known_at="available_at: when the bars were received, long after the session",
)

_QUARANTINE_COLUMNS = (
    SESSION,
    Column("table", pl.String, "Table the row was meant for."),
    Column("reason", pl.String, "Rule the row broke, e.g. 'strike is not positive'."),
    Column("underlying", pl.String, "Underlying, where it could be read.", nullable=True),
    Column("contract", pl.String, "Contract, where it could be read.", nullable=True),
    Column("row", pl.String, "The row as JSON."),
    OBSERVED_AT,
    AVAILABLE_AT,
    ORIGIN,
)

RAW_QUARANTINE = Table(
    name="raw_quarantine",
    description="Rows the vendor sent that do not fit their declared types, with the reason.",
    columns=_QUARANTINE_COLUMNS,
    key=(),
    sort=("table", "underlying", "contract", "reason", "row"),
    known_at="available_at: when the row was received",
)

CHAIN_QUARANTINE = Table(
    name="chain_quarantine",
    description="Raw option rows no chain can contain (unreadable symbol, expired, impossible), with the reason.",
    columns=_QUARANTINE_COLUMNS,
    key=(),
    sort=("table", "underlying", "contract", "reason", "row"),
    known_at="available_at of the raw row",
)

SNAPSHOT_COVERAGE = Table(
    name="snapshot_coverage",
    description="What each end-of-day chain pass asked for and got, one row per underlying.",
    columns=(
        SESSION,
        Column("underlying", pl.String, "Underlying asked for."),
        Column("status", pl.String, "'complete', 'empty', 'not_found', 'not_entitled' or 'failed'."),
        Column("pages", pl.Int32, "Pages received.", "pages"),
        Column("rows", pl.Int32, "Rows received.", "rows"),
        Column("attempts", pl.Int32, "Requests sent, retries included.", "requests"),
        Column("error", pl.String, "Last error, keys redacted.", nullable=True),
        OBSERVED_AT,
        AVAILABLE_AT,
        ORIGIN,
    ),
    key=("underlying",),
    sort=("underlying",),
    known_at="available_at: when the pass ended",
)

CORPORATE_ACTIONS = Table(
    name="corporate_actions",
    description="Splits and cash dividends as known on the session, one row per ticker, kind and effective date.",
    columns=(
        SESSION,
        Column("ticker", pl.String, "Ticker the action applies to."),
        Column("kind", pl.String, "'split' or 'dividend'."),
        Column("effective_on", pl.Date, "Execution date of a split, ex-date of a dividend."),
        Column("split_from", pl.Float64, "Old shares.", "shares", nullable=True),
        Column("split_to", pl.Float64, "New shares.", "shares", nullable=True),
        Column("cash_amount", pl.Float64, "Dividend.", "USD per share", nullable=True),
        Column("declared_on", pl.Date, "When it was announced, if the vendor says.", nullable=True),
        AVAILABLE_AT,
        ORIGIN,
    ),
    key=("ticker", "kind", "effective_on"),
    sort=("ticker", "kind", "effective_on"),
    known_at="available_at: when the vendor's list was read; only actions declared by then appear",
)
