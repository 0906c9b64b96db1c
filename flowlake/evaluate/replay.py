"""Detection of disturbed sessions: inject a set of episodes, and judge their underlyings as the pipeline would have.

Only the injected underlyings' baselines are recomputed, from their disturbed past; everybody else's stand, and so does
the null, which is that of the undisturbed sessions. What a side is compared with as its own past is disturbed too.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date

import polars as pl

from flowlake.detect import baselines, expectation
from flowlake.detect.pipeline import detect_session
from flowlake.evaluate import inject, rivals
from flowlake.evaluate.hosts import Hosts, Progress


@dataclass(frozen=True)
class Replayed:
    """What became of the episodes, by episode and session."""

    statistics: pl.DataFrame
    """TICKER_STATISTICS of the injected underlyings, with episode_id."""
    rivals: pl.DataFrame
    """Scores of the simple rules: episode_id, session, underlying, one column per rule."""
    prints: pl.DataFrame
    """What was injected: see `inject.prints`."""
    annotations: pl.DataFrame
    """episode_id, session, annotations, direction of the injected underlyings that became scored events."""


def replay(hosts: Hosts, plans: pl.DataFrame, progress: Progress | None = None, label: str = "episodes") -> Replayed:
    """Inject `plans` (one part of `plan.passes`: one episode per underlying at a time) and detect their sessions."""
    trades = _trades(hosts, plans)
    live = plans.join(trades.select("episode_id").unique(), on="episode_id", how="semi")
    days = list(range(int(live["first"].min()), int(live["last"].max()) + 1))  # pyright: ignore[reportArgumentType]
    disturbed: dict[date, pl.DataFrame] = {}
    parts: list[Replayed] = []
    for done, number in enumerate(days):
        now = live.filter(pl.col("first") <= number, pl.col("last") >= number)
        if now.height:
            parts.append(_session(hosts, number, now, trades, disturbed, [part.statistics for part in parts]))
        if progress is not None:
            progress(label, done + 1, len(days))
    return Replayed(
        pl.concat(part.statistics for part in parts),
        pl.concat(part.rivals for part in parts),
        trades,
        pl.concat(part.annotations for part in parts),
    )


def join(parts: Iterable[Replayed]) -> Replayed:
    """Several replays as one."""
    parts = list(parts)
    return Replayed(
        *(
            pl.concat(getattr(part, name) for part in parts)
            for name in ("statistics", "rivals", "prints", "annotations")
        )
    )


def _trades(hosts: Hosts, plans: pl.DataFrame) -> pl.DataFrame:
    """Prints of all plans, contracts chosen from the chain of each plan's first session."""
    spans = plans.select(
        "episode_id",
        span=pl.Series(
            [
                (hosts.sessions[last] - hosts.sessions[first]).days
                for first, last in plans.select("first", "last").iter_rows()
            ],
            dtype=pl.Int32,
        ),
    )
    parts = []
    for (first,), group in plans.group_by("first", maintain_order=True):
        chain = _of(hosts.chain(hosts.sessions[first]), group["underlying"]).collect()  # pyright: ignore[reportArgumentType]
        parts.append(inject.prints(group, inject.choose_contracts(group, chain, spans)))
    return pl.concat(parts).sort("episode_id", "number", "contract_id")


def _session(
    hosts: Hosts,
    number: int,
    live: pl.DataFrame,
    trades: pl.DataFrame,
    disturbed: dict[date, pl.DataFrame],
    earlier: list[pl.DataFrame],
) -> Replayed:
    day, clean, names = hosts.sessions[number], hosts.clean(hosts.sessions[number]), live["underlying"]
    own = trades.join(live.select("episode_id"), on="episode_id", how="semi")
    chain = hosts.chain(day).collect()
    touched = inject.inject(
        _hide_new_interest(chain.filter(pl.col("underlying").is_in(names.implode())), live, own),
        own.filter(pl.col("number") == number).join(
            clean.ticker_baselines.select("underlying", mean_volume=pl.col("volume_mean_20").fill_null(0.0)),
            on="underlying",
        ),
        own.filter(pl.col("number") < number),
        _drift(live, number),
    )
    trailing = _disturbed_past(hosts, day, live, own, disturbed)
    disturbed[day] = touched.join(live.select("underlying", "episode_id"), on="underlying")
    actions = hosts.known_actions(day)
    contract = baselines.contract_baselines(day, touched, trailing, actions)
    ticker = baselines.ticker_baselines(day, touched, trailing, actions)
    found = detect_session(
        day,
        _spliced(chain, touched, names),
        _spliced(clean.contract_baselines, contract, names),
        _spliced(clean.ticker_baselines, ticker, names),
        hosts.trailing(hosts.bins, day),
        hosts.trailing(hosts.statistics, day),
        own_history=_own_history(hosts, day, live, earlier),
    )
    hosted = live.select("underlying", "episode_id")
    simple = rivals.scores(expectation.lines(touched, contract, ticker), ticker, hosts.option_stock_history(day))
    events = found.scored_events.select("underlying", "session", "annotations", "direction")
    return Replayed(
        found.ticker_statistics.join(hosted, on="underlying").sort("underlying", "right"),
        simple.join(hosted, on="underlying").with_columns(session=pl.lit(day)).sort("underlying"),
        trades.clear(),
        events.join(hosted, on="underlying").drop("underlying").sort("episode_id"),
    )


def _of(chain: pl.LazyFrame, names: pl.Series) -> pl.LazyFrame:
    return chain.filter(pl.col("underlying").is_in(names.unique().implode()))


def _spliced(whole: pl.DataFrame, part: pl.DataFrame, names: pl.Series) -> pl.DataFrame:
    rest = whole.filter(~pl.col("underlying").is_in(names.implode()))
    return pl.concat([rest, part.select(whole.columns)])


def _own_history(hosts: Hosts, day: date, live: pl.DataFrame, earlier: list[pl.DataFrame]) -> pl.DataFrame:
    """What the live episodes' sides showed before: undisturbed, but for the same episode's own earlier sessions."""
    undisturbed = hosts.trailing(hosts.statistics, day)
    if not earlier:
        return undisturbed
    same = pl.concat(earlier).join(live.select("episode_id"), on="episode_id", how="semi")
    rest = undisturbed.join(same, on=["session", "underlying"], how="anti")
    return pl.concat([rest, same.select(rest.columns)])


def _drift(live: pl.DataFrame, number: int) -> pl.DataFrame:
    elapsed = (number - pl.col("first") + 1) / (pl.col("last") - pl.col("first") + 1)
    return live.select("underlying", moved=pl.col("drift") * elapsed)


def _hide_new_interest(chain: pl.DataFrame, live: pl.DataFrame, own: pl.DataFrame) -> pl.DataFrame:
    """An expiration that was listed only today starts without open interest."""
    new = _new_expirations(live, own)
    if new.is_empty():
        return chain
    fresh = chain.join(new, on=["underlying", "expiration"], how="semi").select("contract_id", fresh=True)
    marked = chain.join(fresh, on="contract_id", how="left", maintain_order="left")
    return marked.with_columns(
        open_interest=pl.when(pl.col("fresh")).then(0).otherwise(pl.col("open_interest")).cast(pl.Int32)
    ).drop("fresh")


def _new_expirations(live: pl.DataFrame, own: pl.DataFrame) -> pl.DataFrame:
    weekly = live.filter(pl.col("kind") == "new_weekly").select("episode_id")
    return own.join(weekly, on="episode_id", how="semi").select("underlying", "expiration").unique()


def _disturbed_past(
    hosts: Hosts, day: date, live: pl.DataFrame, own: pl.DataFrame, disturbed: dict[date, pl.DataFrame]
) -> dict[date, pl.LazyFrame]:
    """Trailing chains of the live episodes' underlyings, as these episodes have left them."""
    new = _new_expirations(live, own).lazy()
    hidden = not new.collect().is_empty()
    trailing: dict[date, pl.LazyFrame] = {}
    for earlier, chain in hosts.trailing_chains(day).items():
        past = _of(chain, live["underlying"])
        if earlier in disturbed:
            # Only what the same episode did: an earlier one on the same underlying is another experiment.
            marked = disturbed[earlier].join(live.select("episode_id"), on="episode_id", how="semi").drop("episode_id")
            columns = list(past.collect_schema())
            rest = past.filter(~pl.col("underlying").is_in(marked["underlying"].unique().implode()))
            past = pl.concat([rest.select(columns), marked.lazy().select(columns)])
        if hidden:
            past = past.join(new, on=["underlying", "expiration"], how="anti")
        trailing[earlier] = past
    return trailing
