"""What looks wrong with a session as a whole, mostly beside the session before: pure functions from frames to outcomes.

A row can be perfect and the session still worthless: a holiday's copy of yesterday, a chain that came back empty, open
interest that was never filled in, a split nobody announced. Frames are `option_chains` or `raw_option_snapshots`, as
long as both sides of a comparison are the same table. Severity ERROR means that the stages which follow must not run.

Thresholds are far from what 47 real sessions of 144 underlyings show: identical traded contracts 0.0-1.7 % on real
sessions and 89-91 % on copies; open interest zero in 14-19 %; vendor volatility zero in 0.2-6 %.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import date
from typing import Final

import polars as pl

from flowlake.calendar import NotASession, require_session
from flowlake.options.chains import MAX_VENDOR_IV, Flag, has_flag
from flowlake.options.splits import split_underlyings
from flowlake.quality.outcome import Outcome, Severity

COPY_ERROR: Final = 0.25
"""Share of traded contracts identical to the session before from which the session is a copy."""
COPY_WARN: Final = 0.05
"""The same share from which somebody should look: part of the market may be a copy."""
COPY_MIN_CONTRACTS: Final = 30
"""Traded contracts needed to tell a copy from chance."""
COPY_MIN_UNDERLYING: Final = 5
"""Traded contracts an underlying needs to be named as copied."""
SLICE_MIN: Final = 20
"""Names a slice of the market must have for its absence to mean more than a few odd chains."""
SLICE_PRESENT: Final = 0.5
"""Share of a slice's names below which the slice as a whole is missing."""
OI_FROZEN: Final = 0.90
"""Share of contracts traded the session before, with unchanged open interest, from which it was not refreshed."""
OI_MIN_VOLUME: Final = 50
"""Volume from which the session before should have changed a contract's open interest."""
NO_OPEN_INTEREST: Final = 0.98
"""Share of contracts with zero or no open interest from which it was never filled in."""
PLACEHOLDER_WARN: Final = 0.25
"""Share of vendor volatilities that are placeholders from which vendor Greeks are not to be used."""
VENDOR_POINTS: Final = 2.0
"""Typical difference of near-the-money volatilities, in points, beyond which the vendor solves another problem."""
DEAD_CHAIN_CONTRACTS: Final = 200
"""A chain of this many contracts without any open interest is worth a look; small ones often have none."""
FALLEN_ERROR: Final = 0.25
"""Share of contracts with less volume than a snapshot before, from which the later one is not of a later moment."""
FALLEN_WARN: Final = 0.02
"""The same share from which somebody should look: cancelled trades take volume back, but rarely."""
STANDING_WARN: Final = 0.9
"""Share of busy underlyings without one more contract traded, from which the market, or the feed, stands still."""
BUSY_VOLUME: Final = 1_000
"""Contracts by the earlier snapshot from which an underlying should have traded again by the next."""
BUSY_MIN: Final = 5
"""Busy underlyings needed to tell a standing feed from chance."""
SPLIT_FACTORS: Final = (2, 3, 4, 5, 6, 7, 8, 10, 12, 15, 20, 25, 30, 40, 50, 100)
"""New shares per old share of usual splits; reverse splits are their inverses. 3:2 is left out: stocks that move by a
third are far commoner than 3:2 splits, and open interest still gives those away."""
SPLIT_PRICE_TOLERANCE: Final = 0.15
"""How far, in log price, the stock may have moved on the day of its split."""
SPLIT_OPEN_INTEREST_RATIO: Final = 1.8
"""Change of total open interest, either way, below which no split is suspected."""


def observed(frame: pl.DataFrame) -> pl.DataFrame:
    """The facts incidents look at, from either table.

    Columns: session, underlying, contract, expiration, volume (claimed for the session), open_interest, last, spot.
    Of raw rows, volume counts where the day bar is of the row's session.
    """
    columns = ("session", "underlying", "contract", "expiration", "volume", "open_interest", "last", "spot")
    if "day_volume" not in frame.columns:
        return frame.select(columns)
    of_session = pl.col("day_updated_at").dt.convert_time_zone("America/New_York").dt.date() == pl.col("session")
    return frame.with_columns(
        volume=pl.when(of_session).then(pl.col("day_volume")).otherwise(0),
        last=pl.col("day_close"),
        spot=pl.col("underlying_price"),
    ).select(columns)


def trading_day(session: date) -> Outcome:
    """Whether the exchange opened on `session`: rows labelled with a closed day are a copy of something (ERROR)."""
    description = f"{session} is a trading session"
    try:
        require_session(session)
    except NotASession as error:
        return Outcome("trading_day", False, Severity.ERROR, 1, 1, f"{description}; but {error}")
    return Outcome("trading_day", True, Severity.ERROR, 0, 1, description)


def not_empty(current: pl.DataFrame) -> Outcome:
    """Whether there is any row (ERROR where there is none)."""
    empty = current.is_empty()
    return Outcome("not_empty", not empty, Severity.ERROR, int(empty), current.height, "the session has rows")


def stale_copy(current: pl.DataFrame, previous: pl.DataFrame) -> Outcome:
    """Whether `current` repeats `previous`: same volume, last price and open interest in contracts that traded.

    ERROR from `COPY_ERROR` of them on, WARN from `COPY_WARN`; passes where fewer than `COPY_MIN_CONTRACTS` contracts
    traded in both sessions. The sample names the underlyings with the most repeated contracts.
    """
    facts = ["contract", "volume", "last", "open_interest"]
    traded = observed(current).filter(pl.col("volume") > 0)
    before = observed(previous).filter(pl.col("volume") > 0).select(facts)
    both = traded.join(before, on="contract", how="semi")
    repeated = both.join(before, on=facts, how="semi", nulls_equal=True)
    per_underlying = _copied_underlyings(both, repeated)
    share = repeated.height / both.height if both.height else 0.0
    severity = Severity.ERROR if share >= COPY_ERROR else Severity.WARN
    return Outcome(
        "stale_copy",
        passed=share < COPY_WARN or both.height < COPY_MIN_CONTRACTS,
        severity=severity,
        violations=repeated.height,
        rows=both.height,
        description="contracts that traded in both sessions differ in volume, last price or open interest; "
        f"{share:.1%} of {both.height:,} are identical (copy from {COPY_ERROR:.0%} on)",
        sample=_largest(repeated.group_by("underlying").agg(identical=pl.len()), "identical"),
        underlyings=() if severity is Severity.ERROR else per_underlying,
    )


def _copied_underlyings(both: pl.DataFrame, repeated: pl.DataFrame) -> tuple[str, ...]:
    """Underlyings most of whose contracts are repeated, in name order."""
    counts = both.group_by("underlying").len("traded").join(repeated.group_by("underlying").len(), on="underlying")
    copied = counts.filter(pl.col("len") >= 0.5 * pl.col("traded"), pl.col("traded") >= COPY_MIN_UNDERLYING)
    return tuple(copied["underlying"].sort())


def stale_stocks(current: pl.DataFrame, previous: pl.DataFrame) -> Outcome:
    """Whether stock snapshots repeat those of the session before: same close and volume in tickers that traded.

    Severities as for `stale_copy`.
    """
    facts = ["ticker", "close", "volume"]
    traded = current.filter(pl.col("volume") > 0).select(facts)
    before = previous.filter(pl.col("volume") > 0).select(facts)
    both = traded.join(before, on="ticker", how="semi")
    repeated = both.join(before, on=facts, how="semi")
    share = repeated.height / both.height if both.height else 0.0
    return Outcome(
        "stale_copy",
        passed=share < COPY_WARN or both.height < COPY_MIN_CONTRACTS,
        severity=Severity.ERROR if share >= COPY_ERROR else Severity.WARN,
        violations=repeated.height,
        rows=both.height,
        description="tickers that traded in both sessions differ in close or volume; "
        f"{share:.1%} of {both.height:,} are identical (copy from {COPY_ERROR:.0%} on)",
        sample=tuple(repeated.sort("ticker").head(5).to_dicts()),
    )


def missing_underlyings(current: pl.DataFrame, expected: Collection[str], min_coverage: float) -> Outcome:
    """Whether every underlying of `expected` (asked for, or seen in trailing sessions) has a chain with rows.

    ERROR where less than `min_coverage` of them has one, WARN where any is missing.
    """
    wanted = pl.DataFrame({"underlying": sorted(set(expected))}, schema={"underlying": pl.String})
    missing = wanted.join(current.select("underlying"), on="underlying", how="anti").sort("underlying")
    covered = 1.0 - missing.height / wanted.height if wanted.height else 1.0
    return Outcome(
        "underlyings_present",
        passed=missing.is_empty(),
        severity=Severity.ERROR if covered < min_coverage else Severity.WARN,
        violations=missing.height,
        rows=wanted.height,
        description=f"expected underlyings have a chain; {covered:.1%} of {wanted.height:,} do "
        f"(at least {min_coverage:.1%} required)",
        sample=tuple(missing.head(5).to_dicts()),
        underlyings=tuple(missing["underlying"]),
    )


def missing_slices(
    present: Collection[str], expected: Collection[str], slices: Mapping[str, str] | None = None
) -> Outcome:
    """Whether no slice of the market is missing as a whole: an exchange, or a page of an alphabetical listing (ERROR).

    `slices` says which slice (exchange) a name belongs to; without it, slices are the names' first letters, which
    is how a lost page shows. Only slices of `SLICE_MIN` expected names are judged.
    """
    wanted = pl.DataFrame({"name": sorted(set(expected))}, schema={"name": pl.String})
    slice_of = pl.col("name").str.slice(0, 1)
    if slices is not None:
        slice_of = pl.col("name").replace_strict(dict(slices), default=None, return_dtype=pl.String)
    counts = (
        wanted.with_columns(slice=slice_of, here=pl.col("name").is_in(list(present)))
        .drop_nulls("slice")
        .group_by("slice")
        .agg(expected=pl.len(), present=pl.col("here").sum())
        .sort("slice")
    )
    judged = counts.filter(pl.col("expected") >= SLICE_MIN)
    absent = judged.filter(pl.col("present") < SLICE_PRESENT * pl.col("expected"))
    names = ", ".join(f"{row['slice']} ({row['present']} of {row['expected']})" for row in absent.to_dicts())
    kind = "first letters" if slices is None else "exchanges"
    return Outcome(
        "slices_present",
        passed=absent.is_empty(),
        severity=Severity.ERROR,
        violations=int((absent["expected"] - absent["present"]).sum()),
        rows=wanted.height,
        description=f"no exchange and no page of the listing is missing as a whole; {judged.height} {kind} with "
        f"{SLICE_MIN} names or more were judged" + (f", missing: {names}" if names else ""),
        sample=tuple(absent.head(5).to_dicts()),
    )


def spelling(current: pl.DataFrame) -> Outcome:
    """Whether underlyings are spelled as the exchanges list options on them: in capitals, each in one way (WARN).

    Two spellings of one underlying split its chain and its history in two.
    """
    names = current.select("underlying").unique().sort("underlying")
    odd = names.filter(pl.col("underlying") != pl.col("underlying").str.to_uppercase())
    return Outcome(
        "underlyings_spelled_alike",
        passed=odd.is_empty(),
        severity=Severity.WARN,
        violations=odd.height,
        rows=names.height,
        description=f"underlyings are spelled in capitals; {odd.height:,} of {names.height:,} are not",
        sample=tuple(odd.head(5).to_dicts()),
        underlyings=tuple(odd["underlying"]),
    )


def open_interest_refreshed(current: pl.DataFrame, previous: pl.DataFrame) -> Outcome:
    """Whether open interest moved where it had to (WARN from `OI_FROZEN` unchanged on).

    Compared are contracts in which `OI_MIN_VOLUME` or more traded in the session before: some of that opens or closes
    positions. Figures that did not move are yesterday's, and no position would be seen to open.
    """
    before = observed(previous).filter(pl.col("volume") >= OI_MIN_VOLUME, pl.col("open_interest") > 0)
    both = observed(current).join(before.select("contract", before="open_interest"), on="contract")
    unchanged = both.filter(pl.col("open_interest") == pl.col("before"))
    share = unchanged.height / both.height if both.height else 0.0
    frozen = share >= OI_FROZEN and both.height >= COPY_MIN_CONTRACTS
    return Outcome(
        "open_interest_refreshed",
        passed=not frozen,
        severity=Severity.WARN,
        violations=unchanged.height if frozen else 0,
        rows=both.height,
        description=f"open interest moves where the session before traded; it is unchanged in {share:.1%} of "
        f"{both.height:,} such contracts (not refreshed from {OI_FROZEN:.0%} on)",
        sample=_largest(unchanged.group_by("underlying").agg(unchanged=pl.len()), "unchanged") if frozen else (),
    )


def coverage(passes: pl.DataFrame, min_coverage: float) -> Outcome:
    """Whether the chain pass (table snapshot_coverage) was answered for enough of its underlyings (ERROR).

    'complete', 'empty' and 'not_found' are answers; 'failed' and 'not_entitled' are not.
    """
    unanswered = passes.filter(pl.col("status").is_in(["failed", "not_entitled"])).sort("underlying")
    answered = 1.0 - unanswered.height / passes.height if passes.height else 0.0
    return Outcome(
        "coverage",
        passed=answered >= min_coverage,
        severity=Severity.ERROR,
        violations=unanswered.height,
        rows=passes.height,
        description=f"underlyings were answered; {answered:.1%} of {passes.height:,} were "
        f"(at least {min_coverage:.1%} required); materialise the session again to retry the others",
        sample=tuple(unanswered.select("underlying", "status", "error").head(5).to_dicts()),
    )


def open_interest_present(current: pl.DataFrame, *, large_chain: int = DEAD_CHAIN_CONTRACTS) -> Outcome:
    """Whether open interest was filled in at all (ERROR), and whether no large chain lacks it entirely (WARN).

    A chain is large from `large_chain` contracts on.
    Sessions rebuilt from daily bars have none by nature and pass; rows observed too late to know it are a WARN.
    """
    late = 0
    if "flags" in current.columns:
        late = current.filter(has_flag(Flag.LATE_OPEN_INTEREST)).height
        current = current.filter(~has_flag(Flag.FROM_AGGREGATES | Flag.LATE_OPEN_INTEREST))
    absent = (pl.col("open_interest").fill_null(0) == 0).alias("absent")
    chains = current.group_by("underlying").agg(contracts=pl.len(), absent=absent.sum())
    absences = int(chains["absent"].sum())
    share = absences / current.height if current.height else 0.0
    dead = chains.filter((pl.col("absent") == pl.col("contracts")) & (pl.col("contracts") >= large_chain))
    unfilled = share >= NO_OPEN_INTEREST
    return Outcome(
        "open_interest_present",
        passed=not unfilled and dead.is_empty() and not late,
        severity=Severity.ERROR if unfilled else Severity.WARN,
        violations=absences if unfilled else int(dead["contracts"].sum()) + late,
        rows=current.height + late,
        description=f"open interest is filled in; it is zero or missing in {share:.1%} of {current.height:,} contracts "
        f"(never filled in from {NO_OPEN_INTEREST:.0%} on), entirely in {dead.height:,} large chains, "
        f"and unknown in {late:,} that were observed after the session's day",
        sample=_largest(dead.select("underlying", "contracts"), "contracts"),
        underlyings=() if unfilled else tuple(dead["underlying"].sort()),
    )


def placeholder_volatility(current: pl.DataFrame) -> Outcome:
    """Whether the vendor's volatilities are numbers rather than placeholders (WARN from `PLACEHOLDER_WARN` on).

    Zeros, what no option can have, and one figure repeated over and over are placeholders. Passes where the vendor
    sends none at all, as lower plans do.
    """
    if "vendor_iv" in current.columns:
        figure, placeholder = pl.col("vendor_iv"), has_flag(Flag.PLACEHOLDER_IV)
    else:
        figure = pl.col("implied_volatility")
        placeholder = ~pl.col("implied_volatility").is_between(0, MAX_VENDOR_IV, closed="right")
    rows, violations = current.select(
        (figure.is_not_null() | placeholder).sum(), placeholder.sum().alias("placeholders")
    ).row(0)
    usable = current.filter(figure.is_not_null() & ~placeholder).select(figure).to_series()
    repeated = int(usable.unique_counts().max() or 0) if usable.len() >= COPY_MIN_CONTRACTS else 0  # pyright: ignore
    repeated = repeated if repeated >= PLACEHOLDER_WARN * rows else 0
    violations += repeated
    share = violations / rows if rows else 0.0
    return Outcome(
        "vendor_volatility_usable",
        passed=share < PLACEHOLDER_WARN,
        severity=Severity.WARN,
        violations=violations,
        rows=rows,
        description=f"vendor volatilities are not placeholders; {share:.1%} of {rows:,} are"
        + (f", {repeated:,} of them one and the same figure" if repeated else ""),
    )


def vendor_agreement(current: pl.DataFrame) -> Outcome:
    """Whether the vendor's volatilities near the money are those we solve (WARN where they typically are not).

    `current` is option_chains. Compared are rows within two deviations of the forward whose own price is a mid; the
    sample shows every bucket. The vendor may rightly differ in the wings, by its rates, dividends and exercise model.
    """
    from flowlake.options import vendor_differences

    buckets = vendor_differences(current.filter(pl.col("price_source") == "mid"))
    near = buckets.filter(pl.col("deviations").abs() <= 2)
    rows = int(near["rows"].sum())
    typical = float((near["typical_points"] * near["rows"]).sum()) / rows if rows else 0.0
    return Outcome(
        "vendor_volatility_agrees",
        passed=typical <= VENDOR_POINTS,
        severity=Severity.WARN,
        violations=0 if typical <= VENDOR_POINTS else rows,
        rows=rows,
        description=f"vendor volatilities near the money agree with ours; they typically differ by {typical:.2f} "
        f"volatility points in {rows:,} rows (at most {VENDOR_POINTS:g} expected)",
        sample=tuple(buckets.with_columns(pl.selectors.float().round(3)).to_dicts()) if rows else (),
    )


def suspected_splits(current: pl.DataFrame, previous: pl.DataFrame) -> pl.DataFrame:
    """Underlyings that look as if they had split since `previous`, whatever was announced.

    Two signs: 'price', the spot changed by nearly a usual split factor; 'open_interest', the open interest of the
    contracts still alive changed by more than the volume of the session before could have opened or closed, and by
    `SPLIT_OPEN_INTEREST_RATIO` or more. The price shows on the execution date, open interest on the session after.

    Columns: underlying, spot_before, spot, price_factor (nearest usual split factor, null where the price is not a
    sign), open_interest_before, open_interest, sign; sorted by underlying.
    """
    now, before = observed(current), observed(previous)
    if now.is_empty() or before.is_empty():
        return _split_signs(now.head(0), before.head(0))
    alive = before.filter(pl.col("expiration") >= now["session"].max())
    return _split_signs(now, alive)


def _split_signs(now: pl.DataFrame, before: pl.DataFrame) -> pl.DataFrame:
    totals = (pl.col("spot").max(), pl.col("open_interest").sum().cast(pl.Int64), pl.col("volume").sum())
    sides = (
        now.group_by("underlying")
        .agg(totals)
        .join(before.group_by("underlying").agg(totals), on="underlying", suffix="_before")
    )
    factors = [factor for split in SPLIT_FACTORS for factor in (split, 1.0 / split)]
    ratio = pl.col("spot_before") / pl.col("spot")
    distance = pl.concat_list((ratio / factor).log().abs() for factor in factors)
    nearest = pl.lit(pl.Series(factors, dtype=pl.Float64)).implode().list.get(distance.list.arg_min())
    change = (pl.col("open_interest") - pl.col("open_interest_before")).abs()
    larger, smaller = (f("open_interest", "open_interest_before") for f in (pl.max_horizontal, pl.min_horizontal))
    return (
        sides.with_columns(
            price_factor=pl.when(distance.list.min() < SPLIT_PRICE_TOLERANCE).then(nearest),
            impossible=(change > pl.col("volume_before"))
            & (larger >= SPLIT_OPEN_INTEREST_RATIO * smaller)
            & (smaller > 0),
        )
        .filter(pl.col("price_factor").is_not_null() | pl.col("impossible"))
        .with_columns(
            sign=pl.when(pl.col("price_factor").is_not_null()).then(pl.lit("price")).otherwise(pl.lit("open_interest"))
        )
        .select("underlying", "spot_before", "spot", "price_factor", "open_interest_before", "open_interest", "sign")
        .sort("underlying")
    )


def unannounced_splits(
    current: pl.DataFrame, previous: pl.DataFrame, actions: pl.DataFrame | None, session: date
) -> Outcome:
    """Whether every suspected split is in `actions`, the corporate actions known on `session` (WARN).

    An unannounced one makes false open-interest alarms in its underlying; the rest of the market is not affected.
    """
    suspected = suspected_splits(current, previous)
    announced = split_underlyings(actions, session).select(underlying="ticker")
    unknown = suspected.join(announced, on="underlying", how="anti").sort("underlying")
    names = ", ".join(unknown["underlying"].head(5))
    return Outcome(
        "splits_announced",
        passed=unknown.is_empty(),
        severity=Severity.WARN,
        violations=unknown.height,
        rows=current["underlying"].n_unique(),
        description="jumps in price or open interest that look like splits are known corporate actions"
        + (f"; not so for {names}: compare nothing across this session there" if names else ""),
        sample=tuple(unknown.head(5).to_dicts()),
        underlyings=tuple(unknown["underlying"]),
    )


def quarantine_share(kept: int, quarantined: pl.DataFrame, max_quarantine: float) -> Outcome:
    """Whether the share of rows that had to be left out is tolerable (ERROR); `kept` rows were not.

    `quarantined` is table raw_quarantine or chain_quarantine; the sample counts its commonest reasons.
    """
    rows = kept + quarantined.height
    share = quarantined.height / rows if rows else 0.0
    return Outcome(
        "quarantine_share",
        passed=share <= max_quarantine,
        severity=Severity.ERROR,
        violations=quarantined.height,
        rows=rows,
        description=f"rows fit their table; {share:.2%} of {rows:,} do not (at most {max_quarantine:.1%} accepted)",
        sample=_largest(quarantined.group_by("reason").agg(count=pl.len()), "count"),
    )


def compare_sessions(
    current: pl.DataFrame,
    previous: pl.DataFrame | None,
    *,
    session: date,
    min_coverage: float,
    actions: pl.DataFrame | None = None,
    expected: Collection[str] | None = None,
) -> list[Outcome]:
    """Every incident that can be told from `current` (rows of `session`) and `previous` (the session before, if any).

    `expected` underlyings default to those of `previous`. The thresholds of coverage and quarantine, which need their
    own tables, are `coverage` and `quarantine_share`.
    """
    outcomes = [
        trading_day(session),
        not_empty(current),
        open_interest_present(current),
        placeholder_volatility(current),
        spelling(current),
    ]
    if expected is None and previous is not None:
        expected = previous["underlying"].unique().to_list()
    if expected is not None:
        outcomes.append(missing_underlyings(current, expected, min_coverage))
        outcomes.append(missing_slices(current["underlying"].unique().to_list(), expected))
    if previous is not None:
        outcomes.append(stale_copy(current, previous))
        outcomes.append(open_interest_refreshed(current, previous))
        outcomes.append(unannounced_splits(current, previous, actions, session))
    return outcomes


def compare_snapshots(
    current: pl.DataFrame,
    earlier: pl.DataFrame | None,
    answered: Collection[str],
    *,
    min_coverage: float,
) -> list[Outcome]:
    """Every incident that can be told from `current` (chains of a snapshot) and `earlier`, one of the same session.

    `answered` underlyings are those that this pass was answered for: a name whose turn it is not is not missing.
    """
    outcomes = [not_empty(current)]
    if earlier is None:
        return outcomes
    before = earlier.filter(pl.col("underlying").is_in(list(answered)))
    return [
        *outcomes,
        missing_underlyings(current, before["underlying"].unique().to_list(), min_coverage),
        volume_not_fallen(current, before),
        market_moves_on(current, before),
    ]


def volume_not_fallen(current: pl.DataFrame, earlier: pl.DataFrame) -> Outcome:
    """Whether volume, which counts up through a session, is nowhere below that of the `earlier` snapshot.

    ERROR from `FALLEN_ERROR` of the contracts traded by then on (the snapshot is of another moment than it says),
    WARN from `FALLEN_WARN`.
    """
    before = earlier.filter(pl.col("volume") > 0).select("contract_id", before="volume")
    both = current.select("contract_id", "underlying", "contract", "volume").join(before, on="contract_id")
    fallen = both.filter(pl.col("volume") < pl.col("before"))
    share = fallen.height / both.height if both.height else 0.0
    return Outcome(
        "volume_not_fallen",
        passed=share < FALLEN_WARN,
        severity=Severity.ERROR if share >= FALLEN_ERROR else Severity.WARN,
        violations=fallen.height,
        rows=both.height,
        description=f"volume counts up through the session; {share:.1%} of {both.height:,} contracts have less than at "
        f"the snapshot before (another moment from {FALLEN_ERROR:.0%} on)",
        sample=tuple(fallen.sort("contract").select("contract", "before", "volume").head(5).to_dicts()),
    )


def market_moves_on(current: pl.DataFrame, earlier: pl.DataFrame) -> Outcome:
    """Whether busy underlyings traded since the `earlier` snapshot (WARN: a halt of the market looks the same)."""
    traded = [
        frame.group_by("underlying").agg(pl.col("volume").sum().alias(name))
        for frame, name in ((earlier, "before"), (current, "now"))
    ]
    busy = traded[0].filter(pl.col("before") >= BUSY_VOLUME).join(traded[1], on="underlying")
    standing = busy.filter(pl.col("now") == pl.col("before")).sort("underlying")
    share = standing.height / busy.height if busy.height else 0.0
    return Outcome(
        "market_moves_on",
        passed=share < STANDING_WARN or busy.height < BUSY_MIN,
        severity=Severity.WARN,
        violations=standing.height,
        rows=busy.height,
        description=f"busy underlyings trade between snapshots; {share:.1%} of {busy.height:,} did not "
        f"(the feed or the market stands still from {STANDING_WARN:.0%} on)",
        sample=tuple(standing.head(5).to_dicts()),
    )


def _largest(counts: pl.DataFrame, by: str) -> tuple[dict[str, object], ...]:
    """The five largest groups, ties in name order."""
    name = next(column for column in counts.columns if column != by)
    return tuple(counts.sort([by, name], descending=[True, False]).head(5).to_dicts())
