"""What to inject: episodes of somebody who knows, decoys that only look like it, and re-enacted public cases.

A plan says who trades what, when and how much before any chain has been looked at. Distributions follow the public case
file and are then widened: sizes log-normal over 90..10,000 contracts, 3-20 % out of the money (puts 5-55 %), 2-130 days
to expiration, 1-4 strikes, 1-13 sessions, calls 87 %. End-of-day chains do not show when within the day a trade was
made, so a tranche of small lots and a single print of a day look alike here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

SMALLEST, LARGEST = 90, 10_000
TYPICAL, SPREAD = 1_100, 1.0
"""Median contracts of the case file's episodes and the standard deviation of their logarithm."""

TYPICAL_DAYS, DAYS_SPREAD = 20, 1.3
SHORTEST, LONGEST = 2, 130
"""The same of days to expiration, over the 18 cases that give an expiration; held within the protocol's limits."""

CALL_SHARE = 0.87
QUIET_VOLUME = 6_000.0
"""Option contracts a day up to which a host is quiet: almost all public cases are in such names, as most names are."""

CAMOUFLAGE_RATIO = 1.5
"""A busy day: the underlying's options traded this many times their trailing mean."""

SESSIONS_AHEAD = np.array([0.30, 0.20, 0.15, 0.10, 0.08, 0.05, 0.03, 0.03, 0.02, 0.01, 0.01, 0.01, 0.01])
"""Chance of an episode of 1, 2, ... 13 sessions."""

STRIKES = np.array([0.50, 0.25, 0.15, 0.10])

DECOYS = {
    "roll": "closes the front line and opens the same size further out",
    "spread": "equal sizes in two to four lines of one expiration",
    "hedge": "puts bought against stock",
    "event_burst": "many strikes of both sides before a scheduled release",
    "dividend_capture": "deep in-the-money calls traded and exercised around an ex-date",
    "newsletter": "many small buyers over many strikes while the stock is up",
    "new_weekly": "an expiration listed that day, traded at once",
}

PLAN_SCHEMA = pl.Schema(
    {
        "episode_id": pl.String,
        "arm": pl.String,
        "kind": pl.String,
        "underlying": pl.String,
        "first": pl.Int32,
        "last": pl.Int32,
        "right": pl.String,
        "size": pl.Int64,
        "out_of_the_money": pl.Float64,
        "dte": pl.Int32,
        "strikes": pl.Int32,
        "pacing": pl.String,
        "structure": pl.String,
        "opening_share": pl.Float64,
        "drift": pl.Float64,
    }
)
"""One row per episode. `first` and `last` are positions among the hosts' sessions; news would follow on `last` + 1."""


@dataclass(frozen=True)
class Sizes:
    """How many episodes of each arm to draw."""

    informed: int = 720
    quiet: int = 360
    camouflage: int = 180
    decoys: int = 420
    dose: int = 200

    def scaled(self, share: float) -> Sizes:
        """`share` of each arm, at least one episode of it."""
        return Sizes(**{name: max(1, round(share * count)) for name, count in vars(self).items()})


def draw(rng: np.random.Generator, hosts: pl.DataFrame, sizes: Sizes) -> pl.DataFrame:
    """Plans (PLAN_SCHEMA) on `hosts`: eligible rows with session, number, underlying, volume, mean_volume.

    Decoys are drawn from the same hosts, sizes and windows as the informed, so that only the pattern differs. Hosts are
    drawn with equal chance per activity decile of `hosts`, so that busy and quiet names count alike.
    """
    quiet = hosts.filter(pl.col("mean_volume") <= QUIET_VOLUME)
    busy = hosts.filter(pl.col("volume") >= CAMOUFLAGE_RATIO * pl.col("mean_volume"))
    parts = [
        _informed(rng, _sample(rng, hosts, sizes.informed), "informed"),
        _informed(rng, _sample(rng, quiet, sizes.quiet), "quiet"),
        _informed(rng, _sample(rng, busy, sizes.camouflage), "camouflage"),
        _decoys(rng, _sample(rng, hosts, sizes.decoys)),
        _dose(rng, _sample(rng, hosts, sizes.dose)),
    ]
    plans = pl.concat(parts)
    ids = [f"E{number:05d}" for number in range(plans.height)]
    return plans.with_columns(pl.Series("episode_id", ids, dtype=pl.String)).select(list(PLAN_SCHEMA))


def _sample(rng: np.random.Generator, hosts: pl.DataFrame, n: int) -> pl.DataFrame:
    """`n` host rows with replacement, each decile of mean volume with the same chance."""
    if hosts.is_empty() or n == 0:
        return hosts.head(0)
    ordered = hosts.sort("mean_volume", "underlying", "session")
    place = (rng.random(n) + rng.integers(0, 10, n)) / 10.0
    return ordered[np.minimum((place * ordered.height).astype(int), ordered.height - 1)]


def _informed(rng: np.random.Generator, hosts: pl.DataFrame, arm: str) -> pl.DataFrame:
    n = hosts.height
    call = rng.random(n) < CALL_SHARE
    sessions = 1 + rng.choice(len(SESSIONS_AHEAD), n, p=SESSIONS_AHEAD)
    strikes = 1 + rng.choice(len(STRIKES), n, p=STRIKES)
    single = rng.choice(["single_leg", "risk_reversal", "vertical"], n, p=[0.88, 0.05, 0.07])
    return _plans(
        hosts,
        arm=arm,
        kind="informed",
        sessions=sessions,
        right=np.where(call, "C", "P"),
        size=_sizes(rng, n),
        out_of_the_money=np.where(call, rng.uniform(0.03, 0.20, n), _put_distance(rng, n)),
        dte=_days(rng, n),
        strikes=strikes,
        pacing=rng.choice(["uniform", "escalating"], n),
        structure=np.where(strikes > 1, "ladder", single),
        # The hard tail: somebody who also sells part of it again the same day.
        opening_share=np.where(rng.random(n) < 0.08, 0.4, rng.uniform(0.6, 1.0, n)),
        drift=rng.uniform(0.0, 0.02, n) * np.where(call, 1.0, -1.0),
    )


def _decoys(rng: np.random.Generator, hosts: pl.DataFrame) -> pl.DataFrame:
    n = hosts.height
    kind = np.array(list(DECOYS))[np.arange(n) % len(DECOYS)]
    put = kind == "hedge"
    return _plans(
        hosts,
        arm="decoy",
        kind=kind,
        sessions=np.ones(n, dtype=int),
        right=np.where(put, "P", "C"),
        size=_sizes(rng, n),
        out_of_the_money=np.where(put, rng.uniform(0.03, 0.12, n), rng.uniform(0.03, 0.20, n)),
        dte=np.where(put, rng.integers(30, 91, n), np.where(kind == "new_weekly", 8, _days(rng, n))),
        strikes=rng.integers(2, 5, n),
        pacing=np.full(n, "uniform"),
        structure=kind,
        opening_share=rng.uniform(0.6, 1.0, n),
        drift=np.where(kind == "newsletter", 0.03, 0.0),
    )


def _dose(rng: np.random.Generator, hosts: pl.DataFrame) -> pl.DataFrame:
    """One line, one session, sizes spread evenly in logarithms far beyond the case file: for dose and response."""
    n = hosts.height
    return _plans(
        hosts,
        arm="dose",
        kind="informed",
        sessions=np.ones(n, dtype=int),
        right=np.full(n, "C"),
        size=np.round(np.exp(rng.uniform(np.log(50), np.log(50_000), n))).astype(int),
        out_of_the_money=np.full(n, 0.10),
        dte=np.full(n, 30),
        strikes=np.ones(n, dtype=int),
        pacing=np.full(n, "uniform"),
        structure=np.full(n, "single_leg"),
        opening_share=np.full(n, 0.8),
        drift=np.zeros(n),
    )


def _plans(
    hosts: pl.DataFrame, *, arm: str, kind: str | np.ndarray, sessions: np.ndarray, **columns: np.ndarray
) -> pl.DataFrame:
    """Plan rows on `hosts`, whose `number` is the last session; windows that would start too early are shortened."""
    earliest = 0 if hosts.is_empty() else int(hosts["number"].min())  # pyright: ignore[reportArgumentType]
    frame = hosts.select("underlying", last=pl.col("number").cast(pl.Int32)).with_columns(
        *(pl.Series(name, values) for name, values in columns.items()),
        first=(pl.col("last") - pl.Series(np.asarray(sessions, dtype=np.int32)) + 1).clip(earliest),
        arm=pl.lit(arm),
        kind=pl.lit(kind) if isinstance(kind, str) else pl.Series(kind),
        episode_id=pl.lit(""),
    )
    return frame.select(pl.col(name).cast(dtype) for name, dtype in PLAN_SCHEMA.items())


def _sizes(rng: np.random.Generator, n: int) -> np.ndarray:
    return np.clip(np.round(np.exp(rng.normal(np.log(TYPICAL), SPREAD, n))), SMALLEST, LARGEST).astype(int)


def _days(rng: np.random.Generator, n: int) -> np.ndarray:
    days = np.exp(rng.normal(np.log(TYPICAL_DAYS), DAYS_SPREAD, n))
    return np.clip(np.round(days), SHORTEST, LONGEST).astype(int)


def _put_distance(rng: np.random.Generator, n: int) -> np.ndarray:
    return np.clip(np.exp(rng.normal(np.log(0.10), 0.6, n)), 0.05, 0.55)


def passes(plans: pl.DataFrame, share: float = 0.5) -> list[pl.DataFrame]:
    """`plans` split so that within a part no underlying hosts two episodes at once.

    At most `share` of the plans' underlyings are busy on any session of a part, so that what is estimated over the
    whole market (dispersion) stays that of undisturbed chains.
    """
    most = max(1, int(share * plans["underlying"].n_unique()))
    taken: list[dict[int, set[str]]] = []
    assigned: list[int] = []
    # First fit over some hundred plans; where one goes depends on those placed before it.
    for underlying, first, last in plans.select("underlying", "first", "last").iter_rows():
        window = range(first, last + 1)
        part = next((n for n, used in enumerate(taken) if _free(used, underlying, window, most)), len(taken))
        if part == len(taken):
            taken.append({})
        for day in window:
            taken[part].setdefault(day, set()).add(underlying)
        assigned.append(part)
    labelled = plans.with_columns(part=pl.Series(assigned, dtype=pl.Int32))
    return [labelled.filter(pl.col("part") == number).drop("part") for number in range(len(taken))]


def _free(used: dict[int, set[str]], underlying: str, window: range, most: int) -> bool:
    return all(underlying not in used.get(day, ()) and len(used.get(day, ())) < most for day in window)
