"""Raw vendor rows become option chains: one clean row per contract and session, and a reason for every row left out.

`build_chains` is pure: frames in, frames out, no clock, no files. Nothing here invents a number: what cannot be trusted
becomes null (or zero volume) and says so in `flags`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from enum import IntFlag
from functools import reduce
from operator import or_

import polars as pl

from flowlake.calendar import previous_session, require_session, session_close, sessions
from flowlake.options import forwards, symbols
from flowlake.options.pricing import price_chain
from flowlake.options.splits import splits_between
from flowlake.options.time import time_to_expiration
from flowlake.schemas.market import CHAIN_QUARANTINE, RAW_OPTION_SNAPSHOTS
from flowlake.schemas.options import CONTRACTS, OPTION_CHAINS

MAX_VENDOR_IV = 10.0
"""Vendor volatilities above 1,000 % are a solver's bound, not a market's opinion."""

_MAX_COUNT = 2**31 - 1


class Flag(IntFlag):
    """Quality flags of a chain row, the bits of `option_chains.flags` (all 16 are used)."""

    STALE_BAR = 1 << 0
    """The vendor's day bar is of an earlier session; volume is 0."""
    UNDATED_BAR = 1 << 1
    """The day bar has volume but no time, so nobody knows which session it belongs to; volume is 0."""
    DUPLICATE = 1 << 2
    """The vendor sent the contract more than once; this is the newest row."""
    CROSSED_QUOTE = 1 << 3
    """Bid at or above ask; no mid."""
    LATE_OPEN_INTEREST = 1 << 4
    """Observed after the session's day, when open interest may be the next session's already; it is null."""
    ONE_SIDED_QUOTE = 1 << 5
    """Bid or ask is missing or zero; no mid."""
    STALE_QUOTE = 1 << 6
    """The quote is of an earlier session; no mid."""
    LAST_PRICE = 1 << 7
    """`price` is the session's last trade, which may be hours older than `spot`."""
    PLACEHOLDER_IV = 1 << 8
    """The vendor's volatility was 0 or absurd; `vendor_iv` is null."""
    BAD_VENDOR_DELTA = 1 << 9
    """The vendor's delta was outside [-1, 1]; `vendor_delta` is null."""
    NO_OPEN_INTEREST = 1 << 10
    """`open_interest` is unknown: the vendor sent none, or it came too late."""
    SPOT_FROM_STOCKS = 1 << 11
    """`spot` is the stock snapshot's price, not the one beside the chain."""
    NO_SPOT = 1 << 12
    """The underlying's price is unknown."""
    ASSUMED_RATE = 1 << 13
    """`forward` and `discount` come from spot and an assumed interest rate."""
    FROM_AGGREGATES = 1 << 14
    """Rebuilt from daily bars: no open interest, no quotes, nothing of the vendor's Greeks."""
    SPLIT = 1 << 15
    """The underlying split on this session; do not compare with the session before."""


def has_flag(flag: Flag) -> pl.Expr:
    """Whether a row's `flags` contain any bit of `flag`."""
    return (pl.col("flags") & pl.lit(int(flag), pl.UInt16)) != 0


class WrongSession(ValueError):
    """Rows handed over as one session's belong to another."""


@dataclass(frozen=True)
class ChainBuild:
    """What one session's raw rows became."""

    chains: pl.DataFrame
    """Table option_chains."""
    quarantine: pl.DataFrame
    """Table chain_quarantine: raw rows no chain can contain, with the reason."""
    new_contracts: pl.DataFrame
    """Table contracts, the partition of this session: contracts first seen in it."""


def build_chains(
    raw: pl.DataFrame,
    *,
    session: date,
    known_contracts: pl.DataFrame,
    stocks: pl.DataFrame | None = None,
    actions: pl.DataFrame | None = None,
) -> ChainBuild:
    """Normalise one session's option snapshot and put our own volatility and Greeks beside the vendor's.

    Args:
        raw: Table raw_option_snapshots, rows of `session` only.
        session: The session the rows belong to.
        known_contracts: Table contracts, every contract seen so far (in any session); ids in it never change.
        stocks: Table raw_stock_snapshots of the session, for spots the chain lacks.
        actions: Table corporate_actions as known on the session, for split flags and dividends.

    Raises:
        NotASession: The exchange did not open on `session`.
        WrongSession: `raw` holds rows of another session.
    """
    return _build(raw, session, known_contracts, stocks, actions, basis="snapshot")


def build_chains_from_bars(
    bars: pl.DataFrame,
    contracts: pl.DataFrame,
    *,
    session: date,
    known_contracts: pl.DataFrame,
    available_at: datetime,
    origin: str,
    stocks: pl.DataFrame | None = None,
    actions: pl.DataFrame | None = None,
) -> ChainBuild:
    """Rebuild a missed past session from daily bars: volume and last price, no open interest, no vendor Greeks.

    Every row has basis 'aggregates' and the flag `FROM_AGGREGATES`; contracts of `contracts` without a bar did not
    trade and get volume 0.

    Args:
        bars: Daily option bars of `session`: contract, open, high, low, close, volume, vwap.
        contracts: Contracts listed on `session`: contract, underlying, and where known exercise_style and
            shares_per_contract. Bars of contracts it does not list go to the quarantine: only it knows the underlying.
        session: The session to rebuild.
        known_contracts: Table contracts, every contract seen so far.
        available_at: When the bars were received; the rows were not known before.
        origin: Label of the source: 'vendor', 'recorded' or 'simulated'.
        stocks: Table raw_stock_snapshots of the session, for spots.
        actions: Table corporate_actions as known on the session.
    """
    raw = _raw_from_bars(bars, contracts, session, available_at, origin)
    return _build(raw, session, known_contracts, stocks, actions, basis="aggregates")


def _build(
    raw: pl.DataFrame,
    session: date,
    known_contracts: pl.DataFrame,
    stocks: pl.DataFrame | None,
    actions: pl.DataFrame | None,
    basis: str,
) -> ChainBuild:
    _require_session(raw, session)
    readable, quarantine = _quarantine(_read(raw), session)
    rows = _with_spot(_clean(_newest(readable), session), stocks)
    contracts = _number(rows, known_contracts, session)
    rows = rows.join(contracts.select("contract", "contract_id"), on="contract", how="left")
    priced = _price(rows, session, actions)
    chains = _flagged(priced, session, actions, basis)
    return ChainBuild(
        chains=OPTION_CHAINS.conform(chains.select(OPTION_CHAINS.schema.names())),
        quarantine=CHAIN_QUARANTINE.conform(quarantine),
        new_contracts=CONTRACTS.conform(contracts.filter(pl.col("first_session") == session)),
    )


def _require_session(raw: pl.DataFrame, session: date) -> None:
    require_session(session)
    foreign = raw.filter(pl.col("session") != session)["session"].unique().sort()
    if len(foreign):
        raise WrongSession(
            f"build_chains was asked for {session} but got rows of {', '.join(map(str, foreign.head(3)))}; "
            "pass one session's partition of raw_option_snapshots"
        )


def _read(raw: pl.DataFrame) -> pl.DataFrame:
    """Raw rows with NaN and infinities as nulls and the symbol's parts as `root`, `symbol_*`, `right`."""
    floats = pl.selectors.float()
    finite = raw.with_columns(pl.when(floats.is_finite()).then(floats))
    root, expiration, right, strike = symbols.parse_symbol("contract")
    return finite.with_columns(root, right, expiration.alias("symbol_expiration"), strike.alias("symbol_strike"))


def _reason(session: date) -> pl.Expr:
    """Why a row cannot be part of a chain, null where it can; the first rule that is broken names it."""
    disagrees = (
        (pl.col("expiration") != pl.col("symbol_expiration"))
        | ((pl.col("strike") - pl.col("symbol_strike")).abs() >= 0.0005)
        | (pl.col("contract_type").str.head(1).str.to_uppercase() != pl.col("right"))
    )
    calendar_ends = sessions(session, date.max)[-1]
    rules = (
        (pl.col("right").is_null(), "contract symbol is not readable"),
        (pl.col("underlying").is_null() | (pl.col("underlying") == ""), "underlying is not known"),
        (pl.col("symbol_strike") <= 0, "strike is not positive"),
        (pl.col("strike") <= 0, "strike is not positive"),
        (disagrees, "contract symbol disagrees with the contract's details"),
        (pl.col("symbol_expiration") < session, "contract has expired"),
        (pl.col("symbol_expiration") > calendar_ends, "expiration is beyond the exchange calendar"),
        (pl.col("shares_per_contract") <= 0, "multiplier is not positive"),
        (~pl.col("day_volume").is_between(0, _MAX_COUNT), "volume is not a count"),
        (~pl.col("open_interest").is_between(0, _MAX_COUNT), "open interest is not a count"),
    )
    return pl.coalesce(pl.when(broken).then(pl.lit(reason)) for broken, reason in rules)


def _quarantine(rows: pl.DataFrame, session: date) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The rows a chain can contain, and table chain_quarantine for the rest."""
    judged = rows.with_columns(reason=_reason(session))
    refused = judged.filter(pl.col("reason").is_not_null()).select(
        "session",
        pl.lit(OPTION_CHAINS.name).alias("table"),
        "reason",
        "underlying",
        "contract",
        pl.struct(RAW_OPTION_SNAPSHOTS.schema.names()).struct.json_encode().alias("row"),
        "observed_at",
        "available_at",
        "origin",
    )
    return judged.filter(pl.col("reason").is_null()).drop("reason"), refused


def _newest(rows: pl.DataFrame) -> pl.DataFrame:
    """One row per contract, the newest by the vendor's times, then by arrival; `repeated` marks those sent twice."""
    rows = rows.with_columns(repeated=pl.col("contract").is_duplicated())
    repeats = rows.filter("repeated")
    if repeats.is_empty():
        return rows
    newest_last = ["day_updated_at", "quote_at", "last_trade_at", "fetched_at"]
    # The remaining columns only break exact ties, so that the choice does not depend on the order of pages.
    ties = [name for name in repeats.columns if name not in newest_last]
    newest = repeats.sort([*newest_last, *ties]).unique("contract", keep="last", maintain_order=True)
    return pl.concat([rows.filter(~pl.col("repeated")), newest])


def _new_york_day(time: str) -> pl.Expr:
    return pl.col(time).dt.convert_time_zone("America/New_York").dt.date()


def _clean(rows: pl.DataFrame, session: date) -> pl.DataFrame:
    """The vendor's facts under our names, what cannot be trusted as null, and one boolean column per doubt."""
    return (
        rows.pipe(_terms).pipe(_bars, session).pipe(_quotes, session).pipe(_vendor_greeks).pipe(_choose_price, session)
    )


def _terms(rows: pl.DataFrame) -> pl.DataFrame:
    european = pl.coalesce(pl.col("exercise_style") == "european", pl.col("root").is_in(symbols.EUROPEAN_ROOTS))
    return rows.with_columns(
        expiration=pl.col("symbol_expiration"),
        strike=pl.col("symbol_strike"),
        multiplier=pl.col("shares_per_contract").fill_null(symbols.STANDARD_MULTIPLIER),
        exercise_style=pl.when(european).then(pl.lit("european")).otherwise(pl.lit("american")),
    ).with_columns(symbols.is_adjusted())


def _bars(rows: pl.DataFrame, session: date) -> pl.DataFrame:
    traded, bar_day = pl.col("day_volume") > 0, _new_york_day("day_updated_at")
    fresh = traded & (bar_day == session)
    late = _new_york_day("observed_at") > session
    return rows.with_columns(
        volume=pl.when(fresh).then(pl.col("day_volume").round()).otherwise(0),
        vwap=pl.when(fresh & (pl.col("day_vwap") > 0)).then(pl.col("day_vwap")),
        last=pl.when(pl.col("day_close") > 0).then(pl.col("day_close")),
        last_session=pl.when(traded).then(bar_day),
        open_interest=pl.when(~late).then(pl.col("open_interest").round()),
        late=late & pl.col("open_interest").is_not_null(),
        stale_bar=traded & (bar_day != session),
        undated_bar=traded & bar_day.is_null(),
    )


def _quotes(rows: pl.DataFrame, session: date) -> pl.DataFrame:
    bid, ask = pl.col("bid"), pl.col("ask")
    quoted = bid.is_not_null() | ask.is_not_null()
    two_sided = ((bid > 0) & (ask > 0)).fill_null(False)
    stale = (quoted & (_new_york_day("quote_at") != session)).fill_null(False)
    usable = two_sided & (bid < ask) & ~stale
    return rows.with_columns(
        mid=pl.when(usable).then((bid + ask) / 2),
        spread=pl.when(usable).then(ask - bid),
        crossed=two_sided & (bid >= ask),
        one_sided=quoted & ~two_sided,
        stale_quote=stale,
    )


def _vendor_greeks(rows: pl.DataFrame) -> pl.DataFrame:
    iv, delta = pl.col("implied_volatility"), pl.col("delta")
    credible_iv, credible_delta = iv.is_between(0, MAX_VENDOR_IV, closed="right"), delta.is_between(-1, 1)
    return rows.with_columns(
        vendor_iv=pl.when(credible_iv).then(iv),
        vendor_delta=pl.when(credible_delta).then(delta),
        vendor_gamma=pl.col("gamma"),
        vendor_theta=pl.col("theta"),
        vendor_vega=pl.col("vega"),
        placeholder_iv=~credible_iv,
        bad_delta=~credible_delta,
    ).drop("implied_volatility", "delta", "gamma", "theta", "vega")


def _choose_price(rows: pl.DataFrame, session: date) -> pl.DataFrame:
    """The mid where there is one, else the last trade if it is of this session."""
    traded_today = (pl.col("last_session") == session) & pl.col("last").is_not_null()
    source = pl.when(pl.col("mid").is_not_null()).then(pl.lit("mid")).when(traded_today).then(pl.lit("last"))
    return rows.with_columns(price_source=source).with_columns(
        price=pl.when(pl.col("price_source") == "last").then(pl.col("last")).otherwise(pl.col("mid"))
    )


def _with_spot(rows: pl.DataFrame, stocks: pl.DataFrame | None) -> pl.DataFrame:
    """One `spot` per underlying: the newest price beside its chain, else the stock snapshot's close."""
    beside = (
        rows.filter(pl.col("underlying_price") > 0)
        .group_by("underlying")
        .agg(pl.col("underlying_price").sort_by("underlying_at", "fetched_at", "underlying_price").last())
    )
    known = rows.select("underlying").unique().join(beside, on="underlying", how="left")
    if stocks is None:
        closes = pl.DataFrame(schema={"underlying": pl.String, "stock_price": pl.Float64})
    else:
        price = pl.coalesce(pl.when(pl.col(name) > 0).then(pl.col(name)) for name in ("close", "last_price"))
        closes = (
            stocks.select(underlying="ticker", stock_price=price)
            .sort("underlying", "stock_price")
            .unique("underlying", keep="last", maintain_order=True)
        )
    spots = known.join(closes, on="underlying", how="left").select(
        "underlying",
        spot=pl.coalesce("underlying_price", "stock_price"),
        from_stocks=pl.col("underlying_price").is_null() & pl.col("stock_price").is_not_null(),
    )
    return rows.join(spots, on="underlying", how="left")


def _number(rows: pl.DataFrame, known: pl.DataFrame, session: date) -> pl.DataFrame:
    """Table contracts for everything in `rows` and everything first seen in `session`.

    Known ids stay; new contracts are numbered from the largest known id on, in the order of the chains on disk, so a
    re-run gives the same ids whatever the order of pages was.
    """
    columns = CONTRACTS.schema.names()
    seen = known.select(columns).join(rows.select("contract"), on="contract", how="semi")
    earlier_run = known.select(columns).filter(pl.col("first_session") == session)
    listed = pl.lit(session).alias("first_session")
    new = (
        rows.join(known.select("contract"), on="contract", how="anti")
        .select("contract", "underlying", "root", "expiration", "strike", "right", listed)
        .sort("underlying", "expiration", "strike", "right", "contract")
    )
    highest = known["contract_id"].max()
    start = 0 if highest is None else int(highest) + 1  # pyright: ignore[reportArgumentType]
    numbered = new.with_columns(contract_id=pl.int_range(pl.len(), dtype=pl.Int32) + start).select(columns)
    kept = pl.concat([seen, earlier_run]).unique("contract_id", keep="any")
    return pl.concat([kept, numbered])


def _price(rows: pl.DataFrame, session: date, actions: pl.DataFrame | None) -> pl.DataFrame:
    """`rows` with time to expiration, forward, discount, moneyness, and our volatility and Greeks.

    Adjusted contracts get no forward, hence no volatility: what they deliver is not in the chain, so the underlying's
    price says nothing about their strike.
    """
    # A snapshot taken after the close (or the next morning) still shows prices made before it.
    quoted_at = rows["observed_at"].clip(upper_bound=session_close(session))
    times = time_to_expiration(rows["expiration"], rows["root"], quoted_at).drop("dte")
    rows = rows.hstack(times).with_columns(dte=(pl.col("expiration") - session).dt.total_days())
    dividends = None if actions is None else actions.filter(pl.col("kind") == "dividend")
    parity_quotes = rows.filter(~pl.col("is_adjusted")).with_columns(
        pl.when(pl.col("mid").is_not_null()).then(pl.col("bid", "ask"))
    )
    curve = forwards.implied_forwards(parity_quotes, session, dividends=dividends)
    terms = ("forward", "discount", "forward_source")
    rows = rows.join(curve.select(*forwards.KEYS, *terms), on=forwards.KEYS, how="left", maintain_order="left")
    rows = rows.with_columns(pl.when(~pl.col("is_adjusted")).then(pl.col(terms))).with_columns(
        moneyness=pl.when(~pl.col("is_adjusted")).then(pl.col("strike") / pl.coalesce("forward", "spot")),
        assumed_rate=pl.col("forward_source") == "carry",
    )
    return price_chain(rows, session, dividends=dividends)


def _flagged(rows: pl.DataFrame, session: date, actions: pl.DataFrame | None, basis: str) -> pl.DataFrame:
    """`rows` with the columns flags and basis."""
    split = splits_between(actions, previous_session(session), session)["ticker"].implode()
    doubts = {
        Flag.STALE_BAR: pl.col("stale_bar"),
        Flag.UNDATED_BAR: pl.col("undated_bar"),
        Flag.DUPLICATE: pl.col("repeated"),
        Flag.CROSSED_QUOTE: pl.col("crossed"),
        Flag.LATE_OPEN_INTEREST: pl.col("late"),
        Flag.ONE_SIDED_QUOTE: pl.col("one_sided"),
        Flag.STALE_QUOTE: pl.col("stale_quote"),
        Flag.LAST_PRICE: pl.col("price_source") == "last",
        Flag.PLACEHOLDER_IV: pl.col("placeholder_iv"),
        Flag.BAD_VENDOR_DELTA: pl.col("bad_delta"),
        Flag.NO_OPEN_INTEREST: pl.col("open_interest").is_null(),
        Flag.SPOT_FROM_STOCKS: pl.col("from_stocks"),
        Flag.NO_SPOT: pl.col("spot").is_null(),
        Flag.ASSUMED_RATE: pl.col("assumed_rate"),
        Flag.FROM_AGGREGATES: pl.lit(basis == "aggregates"),
        Flag.SPLIT: pl.col("underlying").is_in(split),
    }
    bits = (pl.when(doubt).then(int(flag)).otherwise(0).cast(pl.UInt16) for flag, doubt in doubts.items())
    return rows.with_columns(flags=reduce(or_, bits), basis=pl.lit(basis))


def _raw_from_bars(
    bars: pl.DataFrame, contracts: pl.DataFrame, session: date, available_at: datetime, origin: str
) -> pl.DataFrame:
    """Daily bars in the shape of raw_option_snapshots; listed contracts without a bar have no day bar."""
    closed = session_close(session)
    optional = [name for name in ("exercise_style", "shares_per_contract") if name in contracts.columns]
    known = contracts.select("contract", "underlying", *optional)
    listed = known.sort(known.columns).unique("contract", keep="last", maintain_order=True)
    bar = {f"day_{name}": pl.col(name) for name in ("open", "high", "low", "close", "volume", "vwap")}
    traded = bars.select("contract", day_updated_at=pl.lit(closed), **bar)
    rows = listed.join(traded, on="contract", how="full", coalesce=True).with_columns(
        session=pl.lit(session),
        fetched_at=pl.lit(available_at),
        observed_at=pl.lit(closed),
        available_at=pl.lit(available_at),
        origin=pl.lit(origin),
    )
    schema = RAW_OPTION_SNAPSHOTS.schema
    return rows.select(
        (pl.col(name) if name in rows.columns else pl.lit(None)).cast(dtype).alias(name)
        for name, dtype in schema.items()
    )
