"""Loads real quoted chains and vendor Greeks from `../shared/data` into the columns the pricing functions read."""

from __future__ import annotations

import json
import tarfile
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl

from flowlake import calendar
from flowlake.options import implied_forwards, price_chain, time_to_expiration
from flowlake.options.forwards import KEYS

COLUMNS = ("underlying", "root", "expiration", "strike", "right", "bid", "ask", "spot", "vendor_iv", "vendor_delta")
QUOTE_DELAY = timedelta(minutes=15)


def exchange_traded_funds(shared: Path) -> pl.DataFrame:
    """SPY, QQQ and IWM, quoted in market hours of August 2026, priced."""
    parts = []
    for folder in sorted((shared / "quotes/yahoo_aug2026_index_etfs/data").iterdir()):
        meta = json.loads((folder / "meta.json").read_text())
        if not meta["ran_during_market_hours"]:
            continue
        now = datetime.fromisoformat(meta["utc"]) - QUOTE_DELAY
        for ticker, facts in meta["tickers"].items():
            raw = pl.read_csv(folder / f"{ticker}.csv.gz")
            frame = raw.select(
                underlying=pl.lit(ticker),
                expiration=pl.col("expiry").str.to_date(),
                strike=pl.col("strike").cast(pl.Float64),
                right=pl.col("type"),
                bid=pl.col("bid").cast(pl.Float64),
                ask=pl.col("ask").cast(pl.Float64),
                spot=pl.lit(float(facts["spot_live"])),
                vendor_iv=pl.col("impliedVolatility").cast(pl.Float64),
            )
            parts.append(_priced(frame, now))
    return pl.concat(parts)


def mega_caps(shared: Path) -> pl.DataFrame:
    """Ten large stocks, end of day, from 2025-11-25 to 2025-12-05, priced."""
    parts = []
    with tarfile.open(shared / "quotes/yahoo_nov2025_10tickers/csv_out.tar.xz") as archive:
        for member in archive:
            if not member.name.endswith("_options_all_expirations_filtered.csv"):
                continue
            file = archive.extractfile(member)
            assert file is not None
            raw = pl.read_csv(file.read(), infer_schema_length=None)
            session = date.fromisoformat(raw["snap_date"][0][:10])
            frame = raw.select(
                underlying=pl.lit(Path(member.name).name.split("_")[0]),
                expiration=pl.col("expiration").str.slice(0, 10).str.to_date(),
                strike=pl.col("strike").cast(pl.Float64),
                right=pl.col("type").str.slice(0, 1).str.to_uppercase(),
                bid=pl.col("bid").cast(pl.Float64),
                ask=pl.col("ask").cast(pl.Float64),
                spot=pl.col("spot_price").cast(pl.Float64),
                vendor_iv=pl.col("impliedVolatility").cast(pl.Float64),
            )
            parts.append(_priced(frame, _close(session)))
    return pl.concat(parts)


def lean_apple(shared: Path) -> pl.DataFrame:
    """AAPL before its split of June 2014 with the Greeks of another engine; a file carries the session before it."""
    parts = []
    for path in sorted((shared / "lean/Data/option/usa/universes/aapl").glob("2014060[2-5].csv")):
        session = calendar.previous_session(datetime.strptime(path.stem, "%Y%m%d").date())
        raw = pl.read_csv(path, infer_schema_length=None).rename({"#expiry": "expiry"})
        spot = float(raw.row(0, named=True)["close"])
        placeholder = ~(pl.col("implied_volatility") > 0)
        frame = raw.slice(1).with_columns(
            pl.when(~placeholder).then(pl.col("implied_volatility", "delta").cast(pl.Float64))
        )
        frame = frame.select(
            underlying=pl.lit("AAPL"),
            expiration=pl.col("expiry").cast(pl.String).str.to_date("%Y%m%d"),
            strike=pl.col("strike").cast(pl.Float64),
            right=pl.col("right"),
            bid=pl.col("close").cast(pl.Float64),
            ask=pl.col("close").cast(pl.Float64),
            spot=pl.lit(spot),
            vendor_iv=pl.col("implied_volatility").cast(pl.Float64),
            vendor_delta=pl.col("delta").cast(pl.Float64),
        )
        parts.append(_priced(frame, _close(session), rate=0.0025))
    return pl.concat(parts)


def _close(session: date) -> datetime:
    return calendar.session_close(session if calendar.is_session(session) else calendar.previous_session(session))


def _priced(frame: pl.DataFrame, now: datetime, rate: float = 0.04) -> pl.DataFrame:
    """Forwards (American, no dividend calendar), volatility and Greeks; one quote per contract, the first."""
    session = now.astimezone(calendar.NEW_YORK).date()
    frame = frame.with_columns(root=pl.col("underlying"), exercise_style=pl.lit("american"))
    if "vendor_delta" not in frame.columns:
        frame = frame.with_columns(vendor_delta=pl.lit(None, pl.Float64))
    frame = frame.unique(["underlying", "expiration", "strike", "right"], keep="first", maintain_order=True)
    frame = frame.hstack(time_to_expiration(frame["expiration"], frame["root"], now.astimezone(UTC)))
    forwards = implied_forwards(frame, session, rate=rate).select(*KEYS, "forward", "discount", "borrow")
    frame = frame.join(forwards, on=KEYS, how="left", maintain_order="left")
    usable = (pl.col("bid") > 0) & (pl.col("ask") >= pl.col("bid"))
    frame = frame.with_columns(price=pl.when(usable).then((pl.col("bid") + pl.col("ask")) / 2))
    return price_chain(frame, session).with_columns(session=pl.lit(session))


def by_moneyness(priced: pl.DataFrame) -> pl.DataFrame:
    """Share solved and difference from the vendor by right and deviations from the forward."""
    deviation = (pl.col("strike") / pl.col("forward")).log() / (pl.col("nearest") * pl.col("years").sqrt())
    nearest = (
        pl.col("implied_volatility").sort_by((pl.col("strike") / pl.col("forward")).log().abs()).drop_nulls().first()
    )
    quoted = priced.filter(pl.col("price").is_not_null() & (pl.col("years") > 1 / 365))
    bucketed = quoted.with_columns(nearest=nearest.over("session", *KEYS)).with_columns(
        z=deviation.clip(-4, 4).round().cast(pl.Int8), gap=(pl.col("implied_volatility") - pl.col("vendor_iv")) * 100
    )
    return (
        bucketed.group_by("right", "z")
        .agg(
            rows=pl.len(),
            solved=pl.col("implied_volatility").is_not_null().mean(),
            median_gap=pl.col("gap").median(),
            typical_gap=pl.col("gap").abs().median(),
            delta_gap=(pl.col("delta") - pl.col("vendor_delta")).abs().median(),
        )
        .sort("right", "z")
    )


def call_put_gap(priced: pl.DataFrame) -> pl.DataFrame:
    """Call less put volatility at strikes within half a deviation of the forward, in volatility points."""
    near = (pl.col("strike") / pl.col("forward")).log().abs() < 0.5 * pl.col("implied_volatility") * pl.col(
        "years"
    ).sqrt()
    rows = priced.filter(near & (pl.col("years") > 2 / 365)).select(
        "session", *KEYS, "strike", "right", "implied_volatility"
    )
    call, put = (rows.filter(pl.col("right") == right).drop("right") for right in "CP")
    return call.join(put, on=["session", *KEYS, "strike"], suffix="_put").select(
        "session", *KEYS, "strike", gap=(pl.col("implied_volatility") - pl.col("implied_volatility_put")) * 100
    )
