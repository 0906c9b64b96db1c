"""Plain thresholds of the earlier system: z-scores, volume over open interest, fixed floors. They feed no score.

They stay because people know them, and because their number of alarms a day shows what calibration is for.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from flowlake import schemas
from flowlake.detect.scoring import CONVICTIONS
from flowlake.settings import RuleSettings

CHAIN_COLUMNS = (
    "session", "contract_id", "underlying", "contract", "volume", "open_interest", "price", "multiplier", "is_adjusted",
    "available_at", "origin",
)  # fmt: skip
BASELINE_COLUMNS = ("contract_id", "volume_mean_20", "volume_std_20", "volume_max_60")
"""What the rules read of OPTION_CHAINS and CONTRACT_BASELINES."""


@dataclass(frozen=True)
class Rule:
    """One rule: its name, what it says with the thresholds of the settings, and the condition on a contract."""

    name: str
    description: str
    flags: pl.Expr


def rules(settings: RuleSettings) -> tuple[Rule, ...]:
    """The rules with the thresholds of `settings`, as conditions on OPTION_CHAINS joined with CONTRACT_BASELINES."""
    traded = pl.col("volume") >= settings.volume_floor
    z_score = (pl.col("volume") - pl.col("volume_mean_20")) / pl.col("volume_std_20")
    ratio = pl.col("volume") / pl.col("open_interest")
    premium = pl.col("volume") * pl.col("price") * pl.col("multiplier")
    return (
        Rule(
            "z_score",
            f"volume at least {settings.z_score:g} standard deviations above its mean of 20 sessions, "
            f"{settings.volume_floor:,} contracts or more",
            traded & (pl.col("volume_std_20") > 0) & (z_score >= settings.z_score),
        ),
        Rule(
            "volume_oi",
            f"volume at least {settings.volume_oi:g} times open interest, more than {settings.volume_oi_volume:,} "
            f"contracts on more than {settings.open_interest_floor:,} open, above {settings.price_floor:g} USD",
            traded
            & (pl.col("volume") > settings.volume_oi_volume)
            & (pl.col("open_interest") > settings.open_interest_floor)
            & (pl.col("price") > settings.price_floor)
            & (ratio >= settings.volume_oi),
        ),
        Rule(
            "floors",
            f"{settings.volume_floor:,} contracts and {settings.premium_floor:,.0f} USD of premium or more",
            traded & (premium >= settings.premium_floor),
        ),
        Rule(
            "record_volume",
            f"more volume than on any of 60 sessions, {settings.volume_floor:,} contracts or more",
            traded & (pl.col("volume") > pl.col("volume_max_60")),
        ),
    )


def flagged(chains: pl.DataFrame, contract_baselines: pl.DataFrame, settings: RuleSettings) -> pl.DataFrame:
    """Contracts that break a rule: contract_id, underlying, contract, volume and the list `rules`, by contract_id.

    What a rule cannot know (no baseline, no open interest, no price) does not break it; adjusted contracts are left
    out, as everywhere in detection.
    """
    history = contract_baselines.select(BASELINE_COLUMNS)
    lines = chains.filter(~pl.col("is_adjusted")).join(history, on="contract_id", how="left")
    named = [pl.when(rule.flags.fill_null(False)).then(pl.lit(rule.name)) for rule in rules(settings)]
    broken = lines.select(
        "contract_id", "underlying", "contract", "volume", rules=pl.concat_list(named).list.drop_nulls()
    )
    return broken.filter(pl.col("rules").list.len() > 0).sort("contract_id")


def rule_alarms(
    chains: pl.DataFrame, contract_baselines: pl.DataFrame, events: pl.DataFrame, settings: RuleSettings
) -> pl.DataFrame:
    """RULE_ALARMS of a session: how many contracts and underlyings each rule flags, beside our levels in `events`.

    `chains` is OPTION_CHAINS (`CHAIN_COLUMNS`), `contract_baselines` CONTRACT_BASELINES (`BASELINE_COLUMNS`), `events`
    SCORED_EVENTS of the session.
    """
    table = schemas.table("rule_alarms")
    if chains.is_empty():
        return table.empty()
    found = flagged(chains, contract_baselines, settings).select("underlying", rule="rules").explode("rule")
    counts = found.group_by("rule").agg(contracts=pl.len(), underlyings=pl.col("underlying").n_unique())
    known = pl.DataFrame([{"rule": rule.name, "description": rule.description} for rule in rules(settings)])
    plain = known.join(counts, on="rule", how="left").select(
        "rule", "description", pl.col("contracts", "underlyings").fill_null(0).cast(pl.Int32), kind=pl.lit("threshold")
    )
    ours = pl.DataFrame(
        [
            {
                "rule": level,
                "description": f"{level} and above: at most {alarms:g} false alarms a day among 6,000 underlyings",
                "underlyings": events.filter(
                    pl.col("conviction").is_in([name for name, _ in CONVICTIONS[: place + 1]])
                ).height,
            }
            for place, (level, alarms) in enumerate(CONVICTIONS)
        ]
    ).with_columns(pl.col("underlyings").cast(pl.Int32), kind=pl.lit("conviction"))
    stamp = chains.select(
        pl.col("session").first(),
        pl.col("available_at").max(),
        pl.col("origin").min(),
        universe=pl.col("underlying").n_unique(),
    )
    return table.conform(pl.concat([plain, ours], how="diagonal").join(stamp, how="cross").select(table.schema.names()))
