"""Which rules a table's session is held to, and how Dagster shows their outcomes."""

from collections.abc import Mapping
from datetime import date

import dagster as dg

from flowlake import calendar
from flowlake.lake import Lake
from flowlake.quality import incidents, invariants
from flowlake.quality.outcome import Outcome, Severity
from flowlake.schemas import table
from flowlake.settings import get_settings

_COMPARED = (
    "session", "underlying", "contract", "expiration", "volume", "open_interest", "last", "spot",
    "basis", "flags", "vendor_iv",
)  # fmt: skip

_INCIDENTS: Mapping[str, tuple[str, ...]] = {
    "raw_option_snapshots": ("trading_day", "coverage", "quarantine_share"),
    "option_chains": (
        "not_empty",
        "open_interest_present",
        "vendor_volatility_usable",
        "underlyings_present",
        "stale_copy",
        "splits_announced",
        "quarantine_share",
        "contract_known",
    ),
}
"""Rules beyond the row invariants, by table."""


def rule_names(name: str) -> tuple[str, ...]:
    """The names of every rule of table `name`; known before any data are, as check definitions must be."""
    session = calendar.sessions(date(2026, 1, 1), date(2026, 1, 31))[0]
    rules = [*invariants.declared(table(name), session), *invariants.INVARIANTS.get(name, ())]
    return tuple(dict.fromkeys([rule.name for rule in rules] + list(_INCIDENTS.get(name, ()))))


def session_outcomes(store: Lake, name: str, session: date) -> list[Outcome]:
    """Every rule of table `name`, evaluated on one session; a session the lake lacks is one failed rule."""
    key = session.isoformat()
    if not store.has(name, key):
        first, *others = rule_names(name)
        missing = Outcome(first, False, Severity.ERROR, 1, 0, f"session {session} of {name} is not in the lake")
        return [missing, *(_not_applicable(other) for other in others)]
    contracts = store.scan("contracts", columns=["contract_id"]).collect() if name == "option_chains" else None
    found = invariants.evaluate(table(name), store.read(name, key), session=session, contracts=contracts)
    found += _raw_incidents(store, session) if name == "raw_option_snapshots" else []
    found += _chain_incidents(store, session) if name == "option_chains" else []
    by_name = {outcome.name: outcome for outcome in found}
    return [by_name.get(rule) or _not_applicable(rule) for rule in rule_names(name)]


def _raw_incidents(store: Lake, session: date) -> list[Outcome]:
    key, market = session.isoformat(), get_settings().market
    outcomes = [incidents.trading_day(session)]
    if store.rows("raw_option_bars", key):
        return outcomes
    coverage = store.read("snapshot_coverage", key)
    quarantined = store.read("raw_quarantine", key)
    rows = store.rows("raw_option_snapshots", key)
    return [
        *outcomes,
        incidents.coverage(coverage, market.min_coverage),
        incidents.quarantine_share(rows, quarantined, market.max_quarantine),
    ]


def _chain_incidents(store: Lake, session: date) -> list[Outcome]:
    key, before = session.isoformat(), calendar.previous_session(session).isoformat()
    market = get_settings().market
    chains = store.read("option_chains", key, columns=_COMPARED)
    previous = store.read("option_chains", before, columns=_COMPARED) if store.has("option_chains", before) else None
    actions = store.read("corporate_actions", key) if store.has("corporate_actions", key) else None
    quarantined = store.read("chain_quarantine", key)
    return [
        *incidents.compare_sessions(
            chains, previous, session=session, min_coverage=market.min_coverage, actions=actions
        ),
        incidents.quarantine_share(chains.height, quarantined, market.max_quarantine),
    ]


def _not_applicable(name: str) -> Outcome:
    return Outcome(name, True, Severity.WARN, 0, 0, "not applicable to this session: nothing to compare with")


def table_checks(name: str) -> dg.AssetChecksDefinition:
    """The rules of table `name` as blocking checks of its asset: one scan a session, an evaluation a rule.

    Only rules of severity ERROR stop what is downstream; warnings are shown and let the run go on.
    """
    from flowlake.defs.partitions import SESSIONS
    from flowlake.defs.resources import LakeResource

    names = rule_names(name)

    @dg.multi_asset_check(
        name=f"{name}_checks",
        specs=[dg.AssetCheckSpec(rule, asset=name, blocking=True, partitions_def=SESSIONS) for rule in names],
    )
    def check(context: dg.AssetCheckExecutionContext, lake: LakeResource):  # noqa: ANN202
        store = lake.open()
        sessions = [date.fromisoformat(key) for key in sorted(context.partition_keys)]
        outcomes = {session: session_outcomes(store, name, session) for session in sessions}
        for at, rule in enumerate(names):
            yield check_result(name, rule, {session: found[at] for session, found in outcomes.items()})

    return check


def check_result(asset: str, rule: str, outcomes: Mapping[date, Outcome]) -> dg.AssetCheckResult:
    """One evaluation of `rule` over the sessions of a run, with what failed where."""
    failed = {session: outcome for session, outcome in outcomes.items() if not outcome.passed}
    worst = dg.AssetCheckSeverity.WARN
    if any(outcome.severity is Severity.ERROR for outcome in failed.values()):
        worst = dg.AssetCheckSeverity.ERROR
    shown = next(iter(failed.values())) if failed else next(iter(outcomes.values()))
    where = f" (failed in {len(failed)} of {len(outcomes)} sessions)" if failed and len(outcomes) > 1 else ""
    return dg.AssetCheckResult(
        asset_key=asset,
        check_name=rule,
        passed=not failed,
        severity=worst,
        description=f"{shown.description}{where}",
        metadata={
            "sessions": len(outcomes),
            "violations": sum(outcome.violations for outcome in outcomes.values()),
            "rows": sum(outcome.rows for outcome in outcomes.values()),
            **({"failures": dg.MetadataValue.md(_failures(failed))} if failed else {}),
        },
    )


def _failures(failed: Mapping[date, Outcome]) -> str:
    lines = ["| session | severity | violations | rows | sample |", "| --- | --- | --- | --- | --- |"]
    for session, outcome in failed.items():
        sample = "; ".join(_row(row) for row in outcome.sample[:3])
        lines.append(f"| {session} | {outcome.severity} | {outcome.violations} | {outcome.rows} | {sample} |")
    return "\n".join(lines)


def _row(row: Mapping[str, object]) -> str:
    return ", ".join(f"{name}={value}" for name, value in row.items()).replace("|", "\\|")
