"""Frozen views of the feature tables at a moment, their identity, and sequences of sessions for models.

Pure: frames in, frames out. `flowlake.snapshots` keeps them.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from flowlake import __version__, calendar
from flowlake.features import asof
from flowlake.features.congress import DAYS as CONGRESS_DAYS
from flowlake.features.definitions import FEATURE_NAMES, definition_version
from flowlake.features.insiders import COUNTS

KEY = asof.KEY
SEQUENCE_LENGTH = 30
MAX_AGE_DAYS = 7
"""Days after which an underlying's newest row is too old to stand for it: it has left the market or the feed."""

_INSIDER_COLUMNS = (*COUNTS, "is_cluster_buy", "net_purchase_ratio")
_CONGRESS_COLUMNS = ("purchases", "sales", "members", "net_usd")


@dataclass(frozen=True)
class Facts:
    """What a snapshot is taken of; rows known at or after the moment may be in it and are not used.

    `features` is OPTIONS_FLOW_FEATURES, `stocks` has ticker, session, close and available_at of RAW_STOCK_SNAPSHOTS,
    `insiders` is INSIDER_SIGNALS, `congress` CONGRESS_TRADES; None is not in the lake.
    """

    features: pl.DataFrame
    stocks: pl.DataFrame | None = None
    insiders: pl.DataFrame | None = None
    congress: pl.DataFrame | None = None


@dataclass(frozen=True)
class MissingValues:
    """What stands for a value that is not known in a sequence: nothing, or the last known one up to `limit` steps on.

    The mask says which values were known themselves, whatever the policy.
    """

    policy: Literal["none", "forward_fill"] = "none"
    limit: int = 5

    def __post_init__(self) -> None:
        if self.policy not in ("none", "forward_fill"):
            raise ValueError(f"unknown missing-value policy {self.policy!r}; known: none, forward_fill")
        if self.policy == "forward_fill" and self.limit < 1:
            raise ValueError(f"forward_fill needs a limit of at least 1 step, got {self.limit}")


@dataclass(frozen=True)
class FrozenSnapshot:
    """A snapshot with its identity; equal content, moment, parameters and definitions give the equal `snapshot_id`."""

    kind: Literal["cross_section", "sequence"]
    as_of: datetime
    parameters: str
    frame: pl.DataFrame
    content_sha256: str
    snapshot_id: str


def cross_section(facts: Facts, as_of: datetime, *, max_age_days: int = MAX_AGE_DAYS) -> FrozenSnapshot:
    """What was known of every underlying strictly before `as_of`, one row each.

    The features of the newest session known (`session`, `features_available_at`), with insider and congressional
    figures as of the moment itself rather than of that session, and the newest close known (`last_close`,
    `last_close_session`). An underlying whose newest row is older than `max_age_days` is left out.
    """
    asked = asof.spine(_known(facts.features, as_of)[KEY], as_of)
    latest = asof.latest_known(asked, facts.features)
    fresh = latest.filter(pl.col("as_of") - pl.col("available_at") <= timedelta(days=max_age_days))
    asked = fresh.select(KEY, "as_of")
    frame = (
        fresh.rename({"available_at": "features_available_at"})
        .drop([name for name in FEATURE_NAMES if name.startswith(("insider_", "congress_"))])
        .join(_last_closes(asked, facts.stocks), on=KEY, how="left")
        .join(_insiders(asked, facts.insiders), on=KEY, how="left")
        .join(_congress(asked, facts.congress), on=KEY, how="left")
        .select(
            KEY,
            "as_of",
            "session",
            "features_available_at",
            "spot",
            "last_close",
            "last_close_session",
            *FEATURE_NAMES,
            "origin",
        )
        .sort(KEY)
    )
    return freeze("cross_section", as_of, {"max_age_days": max_age_days}, frame)


def sequences(
    facts: Facts,
    as_of: datetime,
    *,
    length: int = SEQUENCE_LENGTH,
    missing: MissingValues | None = None,
    max_age_days: int = MAX_AGE_DAYS,
) -> FrozenSnapshot:
    """The last `length` sessions known strictly before `as_of`, `length` rows per underlying, the oldest first.

    `step` counts from 1 to `length`; sessions are those of the calendar up to the newest one known. `observed` says of
    every feature, in the order of `FEATURE_NAMES`, whether it was known before the missing-value policy spoke.
    """
    policy = missing or MissingValues()
    past = _known(facts.features, as_of)
    fresh = past.filter(pl.lit(as_of) - pl.col("available_at") <= timedelta(days=max_age_days))
    newest = past["session"].max()
    sessions = [] if newest is None else [*calendar.trailing_sessions(newest, length - 1), newest]  # pyright: ignore[reportArgumentType]
    steps = pl.DataFrame(
        {"session": sessions, "step": range(1, len(sessions) + 1)}, schema={"session": pl.Date, "step": pl.Int16}
    )
    asked = asof.spine(fresh[KEY], as_of).join(steps, how="cross")
    columns = (KEY, "session", "available_at", *FEATURE_NAMES, "origin")
    rows = asof.known_steps(asked, facts.features.select(columns))
    observed = pl.concat_list(pl.col(name).is_not_null() for name in FEATURE_NAMES).alias("observed")
    rows = rows.with_columns(observed).sort(KEY, "step")
    if policy.policy == "forward_fill":
        rows = rows.with_columns(pl.col(FEATURE_NAMES).forward_fill(policy.limit).over(KEY))
    rows = rows.rename({"available_at": "features_available_at"})
    frame = rows.select(KEY, "as_of", "step", "session", "features_available_at", *FEATURE_NAMES, "observed", "origin")
    parameters = {"length": length, "missing": asdict(policy), "max_age_days": max_age_days}
    return freeze("sequence", as_of, parameters, frame)


def sequence_arrays(frame: pl.DataFrame) -> tuple[list[str], npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """A sequence snapshot for a model: underlyings, values and mask of shape (underlyings, steps, features).

    Features are in the order of `FEATURE_NAMES`; what is not known is NaN, true is 1.
    """
    names = frame[KEY].unique(maintain_order=True).to_list()
    shape = (len(names), frame.height // max(len(names), 1), len(FEATURE_NAMES))
    values = frame.select(pl.col(FEATURE_NAMES).cast(pl.Float64).fill_null(float("nan"))).to_numpy().reshape(shape)
    return names, values, frame["observed"].explode().to_numpy().astype(np.bool_).reshape(shape)


def freeze(
    kind: Literal["cross_section", "sequence"], as_of: datetime, parameters: dict[str, object], frame: pl.DataFrame
) -> FrozenSnapshot:
    """`frame` with its identity."""
    text = json.dumps(parameters, sort_keys=True)
    content = content_sha256(frame)
    identity = "\n".join([content, kind, as_of.isoformat(), text, definition_version(), __version__])
    return FrozenSnapshot(kind, as_of, text, frame, content, hashlib.sha256(identity.encode()).hexdigest()[:20])


def content_sha256(frame: pl.DataFrame) -> str:
    """Hash of names, types, row order and values; the same whichever library version stores the frame."""
    digest = hashlib.sha256()
    for series in frame.iter_columns():
        digest.update(f"{series.name}|{series.dtype}|{len(series)}|".encode())
        _update(digest, series)
    return digest.hexdigest()


def _update(digest: hashlib._Hash, series: pl.Series) -> None:
    digest.update(np.packbits(series.is_not_null().to_numpy()).tobytes())
    if isinstance(series.dtype, pl.List):
        digest.update(series.list.len().fill_null(0).to_numpy().astype("<u4").tobytes())
        series = series.explode(empty_as_null=False, keep_nulls=False)
        digest.update(np.packbits(series.is_not_null().to_numpy()).tobytes())
    if series.dtype == pl.String:
        texts = [text.encode() for text in series.fill_null("")]
        digest.update(np.array([len(text) for text in texts], dtype="<u4").tobytes())
        digest.update(b"".join(texts))
        return
    numbers = series.cast(pl.UInt8) if series.dtype == pl.Boolean else series.to_physical()
    values = numbers.fill_null(0).to_numpy()
    digest.update(np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<")).tobytes())


def _known(features: pl.DataFrame, as_of: datetime) -> pl.DataFrame:
    return features.filter(pl.col("available_at") < as_of).select(KEY, "session", "available_at")


def _last_closes(asked: pl.DataFrame, stocks: pl.DataFrame | None) -> pl.DataFrame:
    if stocks is None:
        return pl.DataFrame(schema={KEY: pl.String, "last_close": pl.Float64, "last_close_session": pl.Date})
    closes = stocks.drop_nulls("close").rename({"ticker": KEY}).select(KEY, "session", "close", "available_at")
    latest = asof.latest_known(asked, closes)
    return latest.select(KEY, last_close="close", last_close_session="session")


def _insiders(asked: pl.DataFrame, signals: pl.DataFrame | None) -> pl.DataFrame:
    """Signals of the newest session known; an underlying without a row in it had no trades."""
    empty = {"purchase_value_usd": pl.Float64, "sale_value_usd": pl.Float64, "is_cluster_buy": pl.Boolean}
    schema = {name: empty.get(name, pl.Int32) for name in _INSIDER_COLUMNS} | {"net_purchase_ratio": pl.Float64}
    renamed = [pl.col(name).cast(dtype).alias(f"insider_{name}") for name, dtype in schema.items()]
    known = pl.DataFrame() if signals is None else signals.filter(pl.col("available_at") < _moment(asked))
    if signals is None or known.is_empty():
        return pl.DataFrame(schema={KEY: pl.String, **schema}).select(KEY, *renamed)
    newest = known.filter(pl.col("session") == pl.col("session").max()).rename({"ticker": KEY})
    latest = asof.latest_known(asked, newest.select(KEY, "session", "available_at", *_INSIDER_COLUMNS))
    filled = latest.with_columns(pl.col(COUNTS).fill_null(0), pl.col("is_cluster_buy").fill_null(False))
    return filled.select(KEY, *renamed)


def _congress(asked: pl.DataFrame, trades: pl.DataFrame | None) -> pl.DataFrame:
    schema = {"purchases": pl.Int32, "sales": pl.Int32, "members": pl.Int32, "net_usd": pl.Float64}
    renamed = [pl.col(name).cast(dtype).alias(f"congress_{name}_{CONGRESS_DAYS}") for name, dtype in schema.items()]
    if trades is None:
        return pl.DataFrame(schema={KEY: pl.String, **schema}).select(KEY, *renamed)
    return asof.disclosed(asked, trades, CONGRESS_DAYS).select(KEY, *renamed)


def _moment(asked: pl.DataFrame) -> pl.Expr:
    return pl.lit(asked["as_of"].max()).cast(pl.Datetime("us", "UTC"))
