"""Ownership filings (SEC Forms 3, 4, 5) and congressional disclosures.

Tables that hold what was filed are partitioned by filing date: the New York date of EDGAR's acceptance, which need not
be a trading session. What is derived from them for use beside market data is partitioned by session.
"""

from __future__ import annotations

import polars as pl

from flowlake.schemas.base import UTC_TIME, Column, Table
from flowlake.schemas.market import ORIGIN, SESSION

FOOTNOTE_LINKS = pl.List(pl.Struct({"field": pl.String, "id": pl.String}))
"""Which footnote hangs on which cell of a row."""

SIGNATURES = pl.List(pl.Struct({"name": pl.String, "signed_on": pl.Date}))

FILED_ON = Column("filed_on", pl.Date, "New York date of the acceptance; the partition.")
ACCESSION = Column("accession", pl.String, "EDGAR accession number, e.g. '0000320193-23-000017'.")
EVENT_TIME = Column("event_time", UTC_TIME, "Start of the New York day the fact is about.", nullable=True)
AVAILABLE_AT = Column("available_at", UTC_TIME, "EDGAR's acceptance: nothing of the filing was public before.")
ISSUER_CIK = Column("issuer_cik", pl.String, "Issuer, ten digits.")
ROW = Column("row_number", pl.Int32, "1-based position in its table of the form, holdings counted.")
FORM_TABLE = Column("form_table", pl.String, "'nonderivative' (Table I) or 'derivative' (Table II).")
LINKS = Column("footnotes", FOOTNOTE_LINKS, "Cell -> footnote id, by cell.")

_SECURITY = (
    Column("security_title", pl.String, "Title of the security.", nullable=True),
    Column("conversion_or_exercise_price", pl.Float64, "Strike of a derivative.", "USD per share", nullable=True),
)
_UNDERLYING = (
    Column("exercise_date", pl.Date, "First exercisable (derivatives).", nullable=True),
    Column("expiration_date", pl.Date, "Expiration (derivatives).", nullable=True),
    Column("underlying_title", pl.String, "Underlying security (derivatives).", nullable=True),
    Column("underlying_shares", pl.Float64, "Underlying shares (derivatives).", "shares", nullable=True),
    Column("underlying_value", pl.Float64, "Underlying value (derivatives).", "USD", nullable=True),
)
_AFTERWARDS = (
    Column("shares_owned_following", pl.Float64, "Held after the transaction.", "shares", nullable=True),
    Column("value_owned_following", pl.Float64, "Value held after the transaction.", "USD", nullable=True),
    Column("direct_indirect", pl.String, "'D' direct or 'I' indirect ownership.", nullable=True),
    Column("nature_of_ownership", pl.String, "Nature of indirect ownership.", nullable=True),
)

INSIDER_FILINGS = Table(
    name="insider_filings",
    description="Every Form 3, 4 and 5 and amendment, one row per accession, as filed.",
    columns=(
        FILED_ON,
        ACCESSION,
        Column("form_type", pl.String, "'3', '4', '5', or with '/A' an amendment."),
        Column("is_amendment", pl.Boolean, "Whether the form amends an earlier one."),
        Column("schema_version", pl.String, "Schema of the document, X0101 to X0609.", nullable=True),
        Column("period_of_report", pl.Date, "Earliest transaction, event or year end.", nullable=True),
        Column("date_of_original_submission", pl.Date, "Filing date of what is amended.", nullable=True),
        ISSUER_CIK,
        Column("issuer_name", pl.String, "Issuer as typed.", nullable=True),
        Column("issuer_symbol", pl.String, "Trading symbol as typed.", nullable=True),
        Column("issuer_foreign_symbols", pl.List(pl.String), "Foreign trading symbols as typed."),
        Column("ticker", pl.String, "Ticker as of the filing, e.g. 'BRK.B'.", nullable=True),
        Column("ticker_quality", pl.String, "How the ticker was found: see `flowlake.insiders.symbols.Quality`."),
        Column("owner_ciks", pl.List(pl.String), "Reporting owners, sorted."),
        Column("not_subject_to_section16", pl.Boolean, "Box: no longer subject to Section 16.", nullable=True),
        Column("no_securities_owned", pl.Boolean, "Box of Form 3.", nullable=True),
        Column("form3_holdings_reported", pl.Boolean, "Box of Form 5.", nullable=True),
        Column("form4_transactions_reported", pl.Boolean, "Box of Form 5.", nullable=True),
        Column("aff10b5_one", pl.Boolean, "Box (since 2023): made under a Rule 10b5-1 plan.", nullable=True),
        Column("plan_10b5_1", pl.Boolean, "Whether box, footnotes or remarks name a Rule 10b5-1 plan."),
        Column("plan_source", pl.String, "'box', 'footnote', 'remarks' or null.", nullable=True),
        Column("plan_adopted_on", pl.Date, "Adoption date, where stated.", nullable=True),
        Column("remarks", pl.String, "Remarks as typed.", nullable=True),
        Column("signatures", SIGNATURES, "Who signed, and when."),
        Column("transactions", pl.Int32, "Rows in insider_transactions.", "rows"),
        Column("holdings", pl.Int32, "Rows in insider_holdings.", "rows"),
        Column("quality", pl.String, "'ok', or 'recovered': the XML was not well-formed."),
        Column("problems", pl.List(pl.String), "Values that could not be read, and elements outside the schema."),
        Column("source", pl.String, "'submission' (one .txt) or 'bulk' (the SEC's quarterly data set)."),
        Column("sha256", pl.String, "Hash of the document read."),
        EVENT_TIME,
        AVAILABLE_AT,
        ORIGIN,
    ),
    key=("accession",),
    sort=("available_at", "accession"),
    known_at="available_at: EDGAR's acceptance, the SGML header read as New York time",
    retention="permanent",
)

INSIDER_OWNERS = Table(
    name="insider_owners",
    description="Bridge from a filing to its reporting owners, with their relation to the issuer.",
    columns=(
        FILED_ON,
        ACCESSION,
        Column("position", pl.Int32, "1-based position in the document."),
        Column("owner_cik", pl.String, "Reporting owner, ten digits."),
        Column("owner_name", pl.String, "Name as typed (surname first for persons).", nullable=True),
        Column("street1", pl.String, "Address.", nullable=True),
        Column("street2", pl.String, "Address.", nullable=True),
        Column("city", pl.String, "Address.", nullable=True),
        Column("state", pl.String, "SEC state or country code.", nullable=True),
        Column("zip_code", pl.String, "Address.", nullable=True),
        Column("state_description", pl.String, "State or country in words.", nullable=True),
        Column("non_us_address", pl.Boolean, "Flag of the newest schemas.", nullable=True),
        Column("non_us_state_territory", pl.String, "Address.", nullable=True),
        Column("country", pl.String, "SEC country code.", nullable=True),
        Column("is_director", pl.Boolean, "Director."),
        Column("is_officer", pl.Boolean, "Officer."),
        Column("is_ten_percent_owner", pl.Boolean, "Owner of more than 10 % of a class."),
        Column("is_other", pl.Boolean, "Other relation, see other_text."),
        Column("officer_title", pl.String, "Title as typed.", nullable=True),
        Column("other_text", pl.String, "Relation as typed.", nullable=True),
        Column("role", pl.String, "Canonical role: see `flowlake.insiders.roles.ROLES`."),
        AVAILABLE_AT,
        ORIGIN,
    ),
    key=("accession", "position"),
    sort=("accession", "position"),
    known_at="available_at of the filing",
    retention="permanent",
)

INSIDER_TRANSACTIONS = Table(
    name="insider_transactions",
    description="Every transaction row of both tables of the form, as filed; values once per row, however many owners.",
    columns=(
        FILED_ON,
        ACCESSION,
        FORM_TABLE,
        ROW,
        *_SECURITY,
        Column("transaction_date", pl.Date, "Trade date.", nullable=True),
        Column("deemed_execution_date", pl.Date, "Deemed execution date.", nullable=True),
        Column("form_type", pl.String, "Form the row belongs on.", nullable=True),
        Column("code", pl.String, "Transaction code: P purchase, S sale, M exercise, F tax, ...", nullable=True),
        Column("equity_swap", pl.Boolean, "Equity swap involved.", nullable=True),
        Column("timeliness", pl.String, "'E' early, 'L' late, else null.", nullable=True),
        Column("shares", pl.Float64, "Securities transacted.", "shares", nullable=True),
        Column("total_value", pl.Float64, "Total value, filed instead of shares.", "USD", nullable=True),
        Column("price_per_share", pl.Float64, "As typed; 0 is no price.", "USD per share", nullable=True),
        Column("acquired_disposed", pl.String, "'A' or 'D'.", nullable=True),
        *_UNDERLYING,
        *_AFTERWARDS,
        LINKS,
        ISSUER_CIK,
        Column("transaction_class", pl.String, "See `flowlake.insiders.classify.CLASSES`."),
        Column("plan_10b5_1", pl.Boolean, "Whether this row is under a Rule 10b5-1 plan."),
        Column("plan_source", pl.String, "'footnote' of this row, 'remarks', 'box' or null.", nullable=True),
        EVENT_TIME,
        AVAILABLE_AT,
        ORIGIN,
    ),
    key=("accession", "form_table", "row_number"),
    sort=("accession", "form_table", "row_number"),
    known_at="available_at of the filing",
    retention="permanent",
)

INSIDER_HOLDINGS = Table(
    name="insider_holdings",
    description="Every holding row of both tables of the form, as filed.",
    columns=(
        FILED_ON,
        ACCESSION,
        FORM_TABLE,
        ROW,
        *_SECURITY,
        Column("form_type", pl.String, "Form the row belongs on.", nullable=True),
        *_UNDERLYING,
        *_AFTERWARDS,
        LINKS,
        ISSUER_CIK,
        AVAILABLE_AT,
        ORIGIN,
    ),
    key=("accession", "form_table", "row_number"),
    sort=("accession", "form_table", "row_number"),
    known_at="available_at of the filing",
    retention="permanent",
)

INSIDER_FOOTNOTES = Table(
    name="insider_footnotes",
    description="Footnotes of the filings, as typed.",
    columns=(
        FILED_ON,
        ACCESSION,
        Column("position", pl.Int32, "1-based position in the document."),
        Column("footnote_id", pl.String, "Id that cells refer to, e.g. 'F1'."),
        Column("text", pl.String, "Text as typed."),
        AVAILABLE_AT,
        ORIGIN,
    ),
    key=("accession", "position"),
    sort=("accession", "position"),
    known_at="available_at of the filing",
    retention="permanent",
)

INSIDER_QUARANTINE = Table(
    name="insider_quarantine",
    description="Submissions listed by EDGAR that hold no readable ownership document, with the reason.",
    columns=(
        FILED_ON,
        ACCESSION,
        Column("form_type", pl.String, "Form by the index.", nullable=True),
        Column("reason", pl.String, "Why it was refused: see `flowlake.insiders.ownership.Refusal`."),
        Column("detail", pl.String, "The reason in words."),
        Column("sha256", pl.String, "Hash of what was received."),
        AVAILABLE_AT,
        ORIGIN,
    ),
    key=("accession",),
    sort=("accession",),
    known_at="available_at of the filing",
    retention="permanent",
)

INSIDER_INDEX = Table(
    name="insider_index",
    description="What EDGAR's daily index says was filed: the list the filings are reconciled against.",
    columns=(
        FILED_ON,
        ACCESSION,
        Column("form_type", pl.String, "Form by the index."),
        Column("path", pl.String, "Path of the submission below Archives/."),
        AVAILABLE_AT,
        ORIGIN,
    ),
    key=("accession",),
    sort=("accession",),
    known_at="available_at: when the index was read",
    retention="permanent",
)

_TRADE_FACTS = (
    ACCESSION,
    FORM_TABLE,
    ROW,
    Column("ticker", pl.String, "Ticker as of the filing.", nullable=True),
    ISSUER_CIK,
    Column("owner_cik", pl.String, "First reporting owner."),
    Column("role", pl.String, "Most senior role among the owners of the filing."),
    Column("transaction_class", pl.String, "See `flowlake.insiders.classify.CLASSES`."),
    Column("transaction_date", pl.Date, "Trade date.", nullable=True),
    Column("shares", pl.Float64, "Shares.", "shares", nullable=True),
    Column("price", pl.Float64, "Price that survived the market check.", "USD per share", nullable=True),
    Column("value_usd", pl.Float64, "shares x price; null where the price is not believable.", "USD", nullable=True),
)

INSIDER_TRADES = Table(
    name="insider_trades",
    description="Open-market trades of insiders, cleaned and put into context as known at acceptance.",
    columns=(
        FILED_ON,
        *_TRADE_FACTS,
        Column("price_quality", pl.String, "See `flowlake.insiders.prices.PRICE_QUALITIES`."),
        Column("market_price", pl.Float64, "Close the price was compared with.", "USD per share", nullable=True),
        Column("volume_share", pl.Float64, "shares / market volume of that session.", nullable=True),
        Column("holding_change", pl.Float64, "shares / shares held before; null where unknown.", nullable=True),
        Column("is_chain_repeat", pl.Boolean, "The same block was already reported by another entity of the chain."),
        Column("days_late", pl.Int32, "Business days beyond the two allowed; 0 where in time.", "business days", True),
        Column("regularity", pl.String, "'routine', 'opportunistic' or 'unclassified' (Cohen, Malloy, Pomorski 2012)."),
        Column("other_buyers", pl.Int32, "Other insiders' purchases known in the 30 days before.", "insiders"),
        Column("days_since_purchase", pl.Int32, "Since this owner's last purchase, if known.", "days", True),
        Column("history_days", pl.Int32, "How long this owner is known at this issuer.", "days"),
        EVENT_TIME,
        AVAILABLE_AT,
        ORIGIN,
    ),
    key=("accession", "form_table", "row_number"),
    sort=("available_at", "accession", "form_table", "row_number"),
    known_at="available_at of the filing; every figure uses only what was known then",
    retention="permanent",
)

INSIDER_SIGNALS = Table(
    name="insider_signals",
    description="Insider activity per ticker as known at the close of the session, over the trailing 30 days.",
    columns=(
        SESSION,
        Column("ticker", pl.String, "Ticker."),
        Column("purchases", pl.Int32, "Open-market purchase rows.", "rows"),
        Column("buyers", pl.Int32, "Distinct insiders buying; chains and joint filers count once.", "insiders"),
        Column("opportunistic_buyers", pl.Int32, "Buyers that are not routine traders.", "insiders"),
        Column("senior_buyers", pl.Int32, "Buyers that are chief officers, presidents or chairs.", "insiders"),
        Column("purchase_value_usd", pl.Float64, "Believable purchases.", "USD"),
        Column("sales", pl.Int32, "Open-market sale rows, planned ones apart.", "rows"),
        Column("sellers", pl.Int32, "Distinct insiders selling outside plans.", "insiders"),
        Column("sale_value_usd", pl.Float64, "Believable sales outside plans.", "USD"),
        Column("planned_sales", pl.Int32, "Sale rows under Rule 10b5-1 plans.", "rows"),
        Column("planned_sale_value_usd", pl.Float64, "Sales under plans.", "USD"),
        Column("net_purchase_ratio", pl.Float64, "(purchases - sales) / (purchases + sales) by value.", nullable=True),
        Column("is_cluster_buy", pl.Boolean, "At least the configured number of buyers within the cluster window."),
        Column("cluster_buyers", pl.Int32, "Distinct buyers within the cluster window.", "insiders"),
        Column("first_purchase_in_years", pl.Boolean, "A buyer known for three years had not bought in them."),
        Column("largest_holding_change", pl.Float64, "Largest share of holdings added by a purchase.", nullable=True),
        Column("largest_volume_share", pl.Float64, "Largest purchase against that day's volume.", nullable=True),
        Column("late_filings", pl.Int32, "Filings with a late row.", "filings"),
        EVENT_TIME,
        AVAILABLE_AT,
        ORIGIN,
    ),
    key=("ticker",),
    sort=("ticker",),
    known_at="available_at: the close of the session; only filings accepted before it count",
    retention="permanent",
)

EVENT_INSIDERS = Table(
    name="event_insiders",
    description="For every scored event, the insider transactions of its ticker known at that moment, by class.",
    columns=(
        SESSION,
        Column("event_id", pl.String, "The scored event."),
        Column("ticker", pl.String, "Ticker of the event."),
        Column("transaction_class", pl.String, "See `flowlake.insiders.classify.CLASSES`."),
        Column("transactions", pl.Int32, "Rows, chain repeats and superseded rows left out.", "rows"),
        Column("owners", pl.Int32, "Distinct insiders.", "insiders"),
        Column("shares", pl.Float64, "Shares.", "shares"),
        Column("value_usd", pl.Float64, "Believable value.", "USD"),
        Column("newest_transaction", pl.Date, "Newest trade date.", nullable=True),
        Column("newest_known_at", UTC_TIME, "When the newest of them became known."),
        AVAILABLE_AT,
        ORIGIN,
    ),
    key=("event_id", "transaction_class"),
    sort=("event_id", "transaction_class"),
    known_at="available_at of the event; only filings accepted before it count",
    retention="permanent",
)

CONGRESS_TRADES = Table(
    name="congress_trades",
    description="Transactions disclosed by members of the House and the Senate, amounts kept as ranges.",
    columns=(
        Column("disclosed_on", pl.Date, "Disclosure date; where the source has none, the day it was first seen."),
        Column("chamber", pl.String, "'house' or 'senate'."),
        Column("disclosure_id", pl.String, "Last part of the disclosure's link."),
        Column("row_number", pl.Int32, "1-based position among equal rows' disclosure."),
        Column("member", pl.String, "Member's name without honorific."),
        Column("district", pl.String, "District (House).", nullable=True),
        Column("owner", pl.String, "'self', 'spouse', 'joint', 'dependent' or 'unknown'."),
        Column("ticker", pl.String, "Normalised ticker, e.g. 'BRK.B'.", nullable=True),
        Column("ticker_quality", pl.String, "'ok', 'absent' or 'unlisted_form' (fund, coin or foreign symbol)."),
        Column("asset", pl.String, "Asset as described, markup removed.", nullable=True),
        Column("asset_type", pl.String, "Asset type (Senate).", nullable=True),
        Column("transaction_class", pl.String, "'purchase', 'sale', 'partial_sale', 'exchange' or 'unknown'."),
        Column("transaction_date", pl.Date, "Trade date; null where the year is impossible.", nullable=True),
        Column("amount_low", pl.Float64, "Lower bound of the amount.", "USD", nullable=True),
        Column("amount_high", pl.Float64, "Upper bound; null where open.", "USD", nullable=True),
        Column("amount_text", pl.String, "Amount as disclosed."),
        Column("link", pl.String, "The disclosure.", nullable=True),
        Column("known_by", pl.String, "'disclosure_date', or 'observation' where the source has no disclosure date."),
        Column("problems", pl.List(pl.String), "Values that could not be read."),
        EVENT_TIME,
        Column("available_at", UTC_TIME, "End of the disclosure day in New York, or when it was first seen."),
        ORIGIN,
    ),
    key=("chamber", "disclosure_id", "row_number"),
    sort=("disclosed_on", "chamber", "disclosure_id", "row_number"),
    known_at="available_at: end of the disclosure day; never the trade date",
    partitioning="none",
    retention="permanent",
)
