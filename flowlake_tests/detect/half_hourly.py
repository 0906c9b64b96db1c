"""The real half-hourly chains of 2020-12-17 (and one poll of 2020-12-31) as frames of INTRADAY_CHAINS."""

from __future__ import annotations

import tarfile
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from flowlake import calendar
from flowlake.schemas import UTC_TIME, table

_ARCHIVE = "quotes/yahoo_dec2020_intraday/csv.tar.xz"


def polls(shared: Path) -> dict[datetime, pl.DataFrame]:
    """Chains by the moment they were read (UTC). Yahoo shows an older session's volume until a contract trades."""
    raw: dict[datetime, pl.DataFrame] = {}
    with tarfile.open(shared / _ARCHIVE) as archive:
        for member in archive:
            if not member.name.endswith(".csv"):
                continue
            moment = datetime.strptime(Path(member.name).stem, "%m_%d_%y-%H:%M").replace(tzinfo=UTC)
            file = archive.extractfile(member)
            assert file is not None
            raw[moment] = pl.read_csv(file.read(), infer_schema_length=None)
    symbols = pl.concat([frame.select("contractSymbol") for frame in raw.values()]).unique().sort("contractSymbol")
    ids = symbols.with_row_index("contract_id")
    return {moment: _chains(raw[moment].join(ids, on="contractSymbol"), moment) for moment in sorted(raw)}


def _chains(raw: pl.DataFrame, moment: datetime) -> pl.DataFrame:
    session = moment.astimezone(calendar.NEW_YORK).date()
    traded = pl.col("lastTradeDate").str.to_datetime().dt.date() == session
    quoted = (pl.col("bid") > 0) & (pl.col("ask") > 0)
    known = raw.select(
        session=pl.lit(session),
        snapshot=pl.lit(moment).cast(UTC_TIME),
        contract_id=pl.col("contract_id").cast(pl.Int32),
        contract=pl.lit("O:") + pl.col("contractSymbol"),
        underlying=pl.col("ticker"),
        expiration=pl.col("expiration").str.to_date(),
        strike=pl.col("strike").cast(pl.Float64),
        right=pl.col("optType").str.to_uppercase(),
        multiplier=pl.lit(100.0),
        volume=pl.when(traded).then(pl.col("volume")).otherwise(0).fill_null(0).cast(pl.Int32),
        open_interest=pl.col("openInterest").cast(pl.Int32),
        price=pl.when(quoted).then((pl.col("bid") + pl.col("ask")) / 2).otherwise(pl.col("lastPrice")),
        dte=(pl.col("expiration").str.to_date() - session).dt.total_days().cast(pl.Int16),
        spot=pl.col("currentPriceDay").cast(pl.Float64),
        available_at=pl.lit(moment).cast(UTC_TIME),
        origin=pl.lit("recorded"),
    ).unique("contract_id", keep="first", maintain_order=True)
    declared = table("intraday_chains")
    absent = [
        pl.lit(None, column.dtype).alias(column.name) for column in declared.columns if column.name not in known.columns
    ]
    return known.with_columns(absent).select(declared.schema.names())
