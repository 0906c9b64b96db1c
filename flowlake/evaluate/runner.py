"""The whole evaluation, reproducible from a seed: `run` writes every table as Parquet and returns them."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl

from flowlake.detect import model, scoring
from flowlake.evaluate import aftermath, cases, hosts, judge, metrics, plan, replay, rivals
from flowlake.evaluate.hosts import Hosts, Progress

OURS = "flowlake"
EMBARGO = 3
"""Sessions between what parameters were fitted on and what they are judged on; 47 sessions leave no room for 20."""


@dataclass(frozen=True)
class Options:
    """How large an evaluation is."""

    seed: int = 1
    warmup: int = 15
    sizes: plan.Sizes = field(default_factory=plan.Sizes)
    case_repeats: int = 6


RELATIVE_BANDS = {"a": "up to 0.1", "b": "0.1-0.5", "c": "0.5-1", "d": "1-5", "e": "over 5"}
"""Size of an episode over its host's mean daily option volume."""

Results = dict[str, pl.DataFrame]
"""Tables by name; see `run`."""


def run(
    output_dir: Path | str,
    seed: int = 1,
    hosts: Literal["recorded", "simulated"] = "recorded",
    *,
    recording: Path | None = None,
    case_file: Path | None = None,
    options: Options | None = None,
    progress: Progress | None = None,
) -> Results:
    """Evaluate detection on `hosts` and write every table to `output_dir`, with the report and a lock file.

    Args:
        output_dir: Folder for `tables/*.parquet`, `lock.json`, `evaluation.html`, and the cached hosts.
        seed: Everything drawn comes from it.
        hosts: 'recorded' (real sessions in `recording`) or 'simulated' (no claim about any market).
        recording: Folder of recorded sessions; see `flowlake.sandbox.recorded`.
        case_file: JSON of public cases; without it none is re-enacted.
        options: Sizes; `seed` overrides its seed.
        progress: Called as (what, done, total).

    Raises:
        RecordingMissing: `hosts` is 'recorded' and `recording` is not a recording.
    """
    options = replace(options or Options(), seed=seed)
    folder = Path(output_dir)
    placed = _hosts(hosts, recording, folder / "hosts", progress)
    known = cases.read_cases(case_file) if case_file else None
    results = evaluate(placed, options, known, progress)
    _write(folder, results, placed, options)
    return results


def _hosts(kind: str, recording: Path | None, folder: Path, progress: Progress | None) -> Hosts:
    if kind == "recorded":
        from flowlake.sandbox.recorded import RecordedMarket

        return hosts.build_hosts(RecordedMarket(recording or Path()), folder, progress=progress)
    from flowlake.sandbox.simulator import SimulatorConfig, simulate

    quiet = SimulatorConfig(underlyings=60, sessions=40, informed_episodes=0, decoys=0)
    return hosts.build_hosts(simulate(quiet), folder, progress=progress)


def evaluate(
    placed: Hosts, options: Options, known_cases: pl.DataFrame | None = None, progress: Progress | None = None
) -> Results:
    """Every table of the evaluation of detection on `placed`; a name says what it holds, a column says its unit."""
    streams = {
        name: np.random.default_rng([options.seed, *name.encode()])
        for name in ("episodes", "cases", "random", "bootstrap")
    }
    numbers = {day: number for number, day in enumerate(placed.sessions)}
    warmup = min(options.warmup, len(numbers) // 2)
    able, splits = eligible_hosts(placed, warmup)
    plans = plan.draw(streams["episodes"], able, options.sizes)
    enacted = None
    if known_cases is not None and options.case_repeats:
        enacted = cases.reenact(streams["cases"], known_cases, able, options.case_repeats)
        plans = pl.concat([plans, enacted.select(plans.columns)])
    parts = plan.passes(plans)
    replayed = replay.join(
        replay.replay(placed, part, progress, f"injected sessions, part {number + 1} of {len(parts)}")
        for number, part in enumerate(parts)
    )
    plans = plans.join(replayed.statistics.select("episode_id").unique(), on="episode_id", how="semi")
    plans = _described(plans, placed)
    field = _Field(placed, replayed, warmup)
    by_method = {OURS: judge.ranks(*field.ours()), **field.simple(streams["random"])}
    ranked = pl.concat(
        frame.select(
            pl.lit(method).alias("method"), "episode_id", "session", "universe_rank", "session_rank", "session_names"
        )
        for method, frame in by_method.items()
    )
    best = _best(ranked, plans)
    clean = field.clean_totals()
    results: Results = {
        "about": _about(placed, clean, plans, options, warmup),
        "plans": plans,
        "prints": replayed.prints,
        "ranks": ranked,
        "best": best,
        "recall": metrics.recall(best.filter(pl.col("arm") != "dose"), ["method", "arm"]),
        "recall_by": _recall_by(best),
        "recall_by_kind": metrics.recall(best.filter(pl.col("arm") == "decoy"), ["method", "kind"]),
        "calibration": metrics.calibration(clean),
        "calibration_days": metrics.clustered_ratios(clean, streams["bootstrap"]),
        "calibration_by": _calibration_by(clean),
        "quantiles": metrics.quantiles(clean),
        "half_detection": metrics.half_detection(
            best.filter(pl.col("arm") == "dose", pl.col("method") == OURS), streams["bootstrap"]
        ),
        "dose": best.filter(pl.col("arm") == "dose", pl.col("method") == OURS),
        "lead": metrics.lead_times(
            by_method[OURS].join(plans.filter(pl.col("arm") == "informed"), on="episode_id", how="semi"),
            plans,
            pl.DataFrame({"session": list(numbers), "number": list(numbers.values())}),
        ),
        "decoys": _decoys(field.ours()[0], clean, plans),
        "look_alikes": _look_alikes(replayed, plans),
        **_variants(field, plans),
        **_held_out(field, plans, placed, warmup, streams["random"]),
        "curves": _curves(),
        **aftermath.aftermath(clean, placed.tickers, splits, streams["bootstrap"]),
    }
    if enacted is not None and known_cases is not None:
        results["cases"] = pl.concat(
            cases.caught(_best_of(best, method), enacted, known_cases).with_columns(method=pl.lit(method))
            for method in by_method
        )
    return results


def eligible_hosts(placed: Hosts, warmup: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Ticker-sessions that may host an episode (see `hosts.eligible`), and the splits among them."""
    numbers = {day: number for number, day in enumerate(placed.sessions)}
    splits = placed.actions.filter(pl.col("kind") == "split").select(underlying="ticker", effective_on="effective_on")
    return hosts.eligible(placed.tickers, splits, numbers, warmup=warmup), splits


def _about(placed: Hosts, clean: pl.DataFrame, plans: pl.DataFrame, options: Options, warmup: int) -> pl.DataFrame:
    """One row: what was evaluated, on what."""
    return pl.DataFrame(
        {
            "origin": [placed.origin],
            "seed": [options.seed],
            "model_id": [scoring.model_id()],
            "sessions": [len(placed.sessions)],
            "first_session": [placed.sessions[0]],
            "last_session": [placed.sessions[-1]],
            "judged_sessions": [len(placed.sessions) - warmup],
            "underlyings": [clean["underlying"].n_unique()],
            "ticker_sessions": [clean.height],
            "episodes": [plans.height],
        }
    )


class _Field:
    """Undisturbed and injected evidence side by side, for any weights."""

    def __init__(self, placed: Hosts, replayed: replay.Replayed, warmup: int) -> None:
        self.trailing = placed.trailing
        self.judged = pl.col("session").is_in(list(placed.sessions[warmup:]))
        self.clean = judge.evidence(placed.statistics, placed.statistics, placed.trailing)
        self.injected = judge.evidence(replayed.statistics, placed.statistics, placed.trailing)
        self._rivals = (replayed.rivals, placed.rivals.filter(self.judged))

    def ours(self, parts: list[pl.Expr] | None = None) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Injected and undisturbed underlyings with p_value and score under a score made of `parts`."""
        clean = judge.totals(self.clean, parts)
        return (
            judge.p_values(judge.totals(self.injected, parts), clean, self.trailing),
            judge.p_values(clean, clean, self.trailing).filter(self.judged),
        )

    def clean_totals(self) -> pl.DataFrame:
        """Undisturbed underlyings: session, underlying, activity, right, total, p_value, score."""
        return self.ours()[1]

    def simple(self, rng: np.random.Generator, among: pl.Expr | None = None) -> dict[str, pl.DataFrame]:
        """Ranks under each of the seven simple rules, on and among the sessions of `among` (all judged by default)."""
        injected, clean = (frame.filter(pl.lit(True) if among is None else among) for frame in self._rivals)
        keys = ["episode_id", "session", "underlying"]
        ranked = {
            rule: judge.ranks(injected.select(*keys, score=rule), clean.select(*keys[1:], score=rule))
            for rule in rivals.RULES
            if rule != "random"
        }
        # Within an activity class every name has the same chance, so the classes need not be told apart.
        drawn = judge.random_scores(injected.select(keys), rng), judge.random_scores(clean.select(keys[1:]), rng)
        return {**ranked, "random": judge.ranks(*drawn)}


def _described(plans: pl.DataFrame, placed: Hosts) -> pl.DataFrame:
    """`plans` with what they are split by: class and mean volume of the host, bands of size, dte and length."""
    from flowlake.detect import buckets

    numbers = pl.DataFrame(
        {"session": placed.sessions, "first": range(len(placed.sessions))}, schema_overrides={"first": pl.Int32}
    )
    usual = placed.tickers.join(numbers, on="session").select("underlying", "first", "mean_volume")
    length = pl.col("last") - pl.col("first") + 1
    return plans.join(usual, on=["underlying", "first"], how="left").with_columns(
        activity=buckets.ticker_class(pl.col("mean_volume")),
        size_band=pl.col("size")
        .cut([300, 1_000, 3_000], labels=["90-300", "301-1,000", "1,001-3,000", "3,001-10,000"])
        .cast(pl.String),
        relative_band=(pl.col("size") / pl.col("mean_volume").clip(1.0))
        .cut([0.1, 0.5, 1.0, 5.0], labels=["a", "b", "c", "d", "e"])
        .cast(pl.String)
        .replace_strict(RELATIVE_BANDS),
        dte_band=pl.col("dte").cut([14, 45], labels=["2-14", "15-45", "46-130"]).cast(pl.String),
        length_band=pl.when(length == 1)
        .then(pl.lit("1"))
        .when(length <= 3)
        .then(pl.lit("2-3"))
        .otherwise(pl.lit("4-13")),
    )


def _best(ranked: pl.DataFrame, plans: pl.DataFrame) -> pl.DataFrame:
    """Per method and episode its best place, with what the episode was."""
    first = (
        ranked.with_columns(session_best=pl.col("session_rank").min().over("method", "episode_id"))
        .sort("method", "episode_id", "universe_rank", "session")
        .unique(["method", "episode_id"], keep="first", maintain_order=True)
    )
    return first.join(plans, on="episode_id", how="inner", maintain_order="left")


def _best_of(best: pl.DataFrame, method: str) -> pl.DataFrame:
    return best.filter(pl.col("method") == method)


def _recall_by(best: pl.DataFrame) -> pl.DataFrame:
    """Recall of informed episodes by one property at a time: method, property, value, and as `metrics.recall`."""
    informed = best.filter(pl.col("arm").is_in(["informed", "quiet"]))
    parts = [
        metrics.recall(informed.with_columns(value=pl.col(name).cast(pl.String)), ["method", "value"]).with_columns(
            property=pl.lit(name)
        )
        for name in (
            "activity",
            "relative_band",
            "size_band",
            "dte_band",
            "strikes",
            "length_band",
            "structure",
            "right",
        )
    ]
    return pl.concat(parts)


def _calibration_by(clean: pl.DataFrame) -> pl.DataFrame:
    weekday = pl.col("session").dt.strftime("%a")
    # Monthly options expire on the third Friday: its week holds the 15th to 21st of the month's Fridays.
    friday = pl.col("session") + pl.duration(days=(5 - pl.col("session").dt.weekday()))
    expiration = pl.when(friday.dt.day().is_between(15, 21)).then(pl.lit("monthly")).otherwise(pl.lit("other"))
    parts = [
        metrics.calibration(clean.with_columns(value=value.cast(pl.String)), ["value"]).with_columns(
            property=pl.lit(name)
        )
        for name, value in (
            ("activity", pl.col("activity")),
            ("weekday", weekday),
            ("expiration week", expiration),
            ("side", pl.col("right")),
        )
    ]
    return pl.concat(parts)


def _decoys(injected: pl.DataFrame, clean: pl.DataFrame, plans: pl.DataFrame) -> pl.DataFrame:
    """Per conviction: alarms among episodes, decoys and undisturbed names, and the share of decoys among alarms."""
    arms = plans.filter(pl.col("arm").is_in(["informed", "decoy"])).select("episode_id", "arm")
    smallest = injected.join(arms, on="episode_id").group_by("episode_id", "arm").agg(pl.col("p_value").min())
    rows = []
    for name, alarms in scoring.CONVICTIONS:
        level = alarms / scoring.FULL_UNIVERSE
        counts = {
            arm: (frame["p_value"] <= level).sum() for (arm,), frame in smallest.group_by("arm", maintain_order=True)
        }
        totals = {arm: frame.height for (arm,), frame in smallest.group_by("arm", maintain_order=True)}
        rows.append(
            {
                "conviction": name,
                "nominal": level,
                "episodes_flagged": counts.get("informed", 0),
                "episodes": totals.get("informed", 0),
                "decoys_flagged": counts.get("decoy", 0),
                "decoys": totals.get("decoy", 0),
                "undisturbed_rate": (clean["p_value"] <= level).mean(),
            }
        )
    found = pl.col("episodes_flagged") + pl.col("decoys_flagged")
    low, high = metrics.wilson(pl.col("decoys_flagged"), found)
    return pl.DataFrame(rows).with_columns(
        decoy_rate=pl.col("decoys_flagged") / pl.col("decoys"),
        decoy_share=pl.when(found > 0).then(pl.col("decoys_flagged") / found),
        low=low,
        high=high,
    )


def _look_alikes(replayed: replay.Replayed, plans: pl.DataFrame) -> pl.DataFrame:
    """Per kind: how many events were written, and how many of them carry an annotation that lowers surprise."""
    kinds = plans.filter(pl.col("arm").is_in(["informed", "decoy"])).select("episode_id", "kind")
    return (
        replayed.annotations.join(kinds, on="episode_id")
        .group_by("kind")
        .agg(
            events=pl.len(),
            spread_or_roll=pl.col("annotations").list.eval(pl.element().str.contains("look-alike")).list.any().sum(),
            new_listing=pl.col("annotations").list.contains("new listing").sum(),
            bullish=(pl.col("direction") == "bullish").mean(),
        )
        .sort("kind")
    )


def _variants(field: _Field, plans: pl.DataFrame) -> Results:
    """One-factor ablations, and the score with all its parameters 20 % up or down."""
    factors, fitted = scoring.FACTORS, model.load()
    weighing = [f for f in factors if f.column in fitted.slopes or fitted.lowering.get(f.column)]
    changed = {
        "as it is": judge.contributions(),
        **{f"without {f.column}": judge.contributions(fitted, [g for g in factors if g != f]) for f in weighing},
        "curves -20 %": judge.contributions(_scaled(fitted, 0.8, 1.0)),
        "curves +20 %": judge.contributions(_scaled(fitted, 1.2, 1.0)),
        "look-alikes -20 %": judge.contributions(_scaled(fitted, 1.0, 0.8)),
        "look-alikes +20 %": judge.contributions(_scaled(fitted, 1.0, 1.2)),
    }
    today = field.clean_totals()
    informed = plans.filter(pl.col("arm") == "informed").select("episode_id")
    rows = []
    for label, parts in changed.items():
        injected, clean = field.ours(parts)
        best = judge.best(judge.ranks(injected, clean)).join(informed, on="episode_id")
        same = metrics.jaccard(today, clean)
        rows.append(metrics.recall(best).with_columns(variant=pl.lit(label), same_list=pl.lit(same)))
    return {"variants": pl.concat(rows)}


def _scaled(fitted: model.Model, curves: float, lowering: float) -> model.Model:
    return replace(
        fitted,
        slopes={
            name: tuple(tuple(curves * slope for slope in row) for row in rows) for name, rows in fitted.slopes.items()
        },
        offsets={name: tuple(curves * value for value in values) for name, values in fitted.offsets.items()},
        lowering={name: lowering * value for name, value in fitted.lowering.items()},
    )


def held_out_from(sessions: tuple[date, ...], warmup: int) -> int:
    """Number of the first session that is `EMBARGO` sessions past all the packaged model was fitted on."""
    last = model.load().window[1]
    return max(warmup, sum(day <= last for day in sessions) + EMBARGO)


def _held_out(field: _Field, plans: pl.DataFrame, placed: Hosts, warmup: int, rng: np.random.Generator) -> Results:
    """Recall and false alarms on sessions of which the fitted parameters have seen nothing, beside the simple rules.

    Ranks are among the undisturbed ticker-sessions of those sessions alone.
    """
    border = held_out_from(placed.sessions, warmup)
    unseen = pl.col("session").is_in(list(placed.sessions[border:]))
    test = plans.filter(pl.col("first") >= border, pl.col("arm") != "dose").select("episode_id", "arm")
    if test.height < 10:
        return {}
    injected, clean = (frame.filter(unseen) for frame in field.ours())
    by_method = {OURS: judge.ranks(injected, clean), **field.simple(rng, unseen)}
    rows = [
        metrics.recall(judge.best(ranked).join(test, on="episode_id"), ["arm"]).with_columns(method=pl.lit(method))
        for method, ranked in by_method.items()
    ]
    decoys = _decoys(injected, clean, plans.join(test, on="episode_id", how="semi"))
    return {
        "held_out": pl.concat(rows).with_columns(sessions=pl.lit(len(placed.sessions) - border)),
        "held_out_calibration": metrics.calibration(clean),
        "held_out_decoys": decoys,
    }


def _curves() -> pl.DataFrame:
    """What each factor adds, in nats, at several shares of sides as extreme and per group; or per unit, if it only
    lowers (then without a group)."""
    fitted = model.load()
    shares = pl.DataFrame({"u": [0.5, 0.1, 0.01, 0.001]})
    rows = []
    for factor in scoring.FACTORS:
        if factor.lowers:
            rows.append({"factor": factor.column, "per_unit": fitted.lowering.get(factor.column, 0.0)})
            continue
        for number, group in enumerate(model.GROUPS):
            curve = fitted.curve(factor.column, pl.col("u"), pl.lit(number)).cast(pl.Float64)
            nats = dict(zip(("at_50", "at_10", "at_1", "at_01"), shares.select(nats=curve)["nats"], strict=True))
            rows.append({"factor": factor.column, "group": group, **nats})
    names = ("at_50", "at_10", "at_1", "at_01", "per_unit")
    return pl.DataFrame(rows, schema={"factor": pl.String, "group": pl.String, **dict.fromkeys(names, pl.Float64)})


def _write(folder: Path, results: Results, placed: Hosts, options: Options) -> None:
    from flowlake.report.evaluation import render_evaluation

    tables = folder / "tables"
    tables.mkdir(parents=True, exist_ok=True)
    for name, frame in results.items():
        frame.write_parquet(tables / f"{name}.parquet")
    (folder / "lock.json").write_text(json.dumps(lock(results, placed, options), indent=2, sort_keys=True) + "\n")
    (folder / "evaluation.html").write_text(render_evaluation(results, placed.origin), encoding="utf-8")


def lock(results: Results, placed: Hosts, options: Options) -> dict[str, object]:
    """What was fitted and judged on what: model, seed, sessions, sizes, and a hash of every table."""
    warmup = min(options.warmup, len(placed.sessions) // 2)
    border = held_out_from(placed.sessions, warmup)
    digest = {
        name: hashlib.sha256(frame.write_ipc(None).getvalue()).hexdigest()[:16]
        for name, frame in sorted(results.items())
    }
    return {
        "model_id": scoring.model_id(),
        "seed": options.seed,
        "origin": placed.origin,
        "sessions": [str(placed.sessions[0]), str(placed.sessions[-1]), len(placed.sessions)],
        "judged_from": str(placed.sessions[warmup]),
        "fitted_on": dict(model.load().fitted_on),
        "held_out_from": str(placed.sessions[border]) if border < len(placed.sessions) else None,
        "episodes": results["plans"].height,
        "tables": digest,
    }
