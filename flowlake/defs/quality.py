"""Which rules a table's session is held to, and how Dagster shows their outcomes."""

from collections.abc import Mapping, Sequence
from datetime import date

import dagster as dg
import polars as pl

from flowlake import calendar
from flowlake.defs.partitions import SESSIONS
from flowlake.defs.resources import LakeResource
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
        "vendor_volatility_agrees",
        "underlyings_present",
        "stale_copy",
        "splits_announced",
        "quarantine_share",
        "contract_known",
    ),
}
"""Rules beyond the row invariants, by table."""

_INCIDENT_TEXTS = {
    "trading_day": "the exchange opened on the day",
    "coverage": "enough of the underlyings asked for were answered",
    "quarantine_share": "few enough rows had to be left out",
    "not_empty": "there are rows at all",
    "open_interest_present": "open interest is filled in",
    "vendor_volatility_usable": "vendor volatilities are numbers, not placeholders",
    "vendor_volatility_agrees": "vendor volatilities near the money agree with ours",
    "underlyings_present": "underlyings of the session before have a chain",
    "stale_copy": "the session is not a copy of the one before",
    "splits_announced": "what looks like a split is a known corporate action",
    "contract_known": "every contract id is in contracts",
}

_ANY_SESSION = date(2026, 1, 2)


def rules(name: str) -> dict[str, str]:
    """Every rule of table `name` and what it demands; known before any data are, as check definitions must be."""
    declared = [*invariants.declared(table(name), _ANY_SESSION), *invariants.INVARIANTS.get(name, ())]
    of_rows = {rule.name: rule.description.replace(f" {_ANY_SESSION}", "") for rule in declared}
    return of_rows | {incident: _INCIDENT_TEXTS[incident] for incident in _INCIDENTS.get(name, ())}


def session_outcomes(store: Lake, name: str, session: date) -> list[Outcome]:
    """Every rule of table `name`, evaluated on one session; a session the lake lacks is one failed rule."""
    key = session.isoformat()
    if not store.has(name, key):
        first, *others = rules(name)
        missing = Outcome(first, False, Severity.ERROR, 1, 0, f"session {session} of {name} is not in the lake")
        return [missing, *(_not_applicable(other) for other in others)]
    contracts = store.scan("contracts", columns=["contract_id"]).collect() if name == "option_chains" else None
    rows = store.read(name, key)
    found = invariants.evaluate(table(name), rows, session=session, contracts=contracts)
    found += _raw_incidents(store, session) if name == "raw_option_snapshots" else []
    found += _chain_incidents(store, session, rows) if name == "option_chains" else []
    by_name = {outcome.name: outcome for outcome in found}
    return [by_name.get(rule) or _not_applicable(rule) for rule in rules(name)]


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


def _chain_incidents(store: Lake, session: date, chains: pl.DataFrame) -> list[Outcome]:
    key, before = session.isoformat(), calendar.previous_session(session).isoformat()
    market = get_settings().market
    previous = store.read("option_chains", before, columns=_COMPARED) if store.has("option_chains", before) else None
    actions = store.read("corporate_actions", key) if store.has("corporate_actions", key) else None
    quarantined = store.read("chain_quarantine", key)
    return [
        incidents.vendor_agreement(chains),
        *incidents.compare_sessions(
            chains, previous, session=session, min_coverage=market.min_coverage, actions=actions
        ),
        incidents.quarantine_share(chains.height, quarantined, market.max_quarantine),
    ]


def _not_applicable(name: str) -> Outcome:
    return Outcome(name, True, Severity.WARN, 0, 0, "not applicable to this session: nothing to compare with")


def table_checks(name: str) -> dg.AssetChecksDefinition:
    """The rules of table `name` as blocking checks of its asset: one scan a session, an evaluation a rule and session.

    Only rules of severity ERROR stop what is downstream; warnings are shown and let the run go on.
    """
    specs = [
        dg.AssetCheckSpec(rule, asset=name, description=text, blocking=True, partitions_def=SESSIONS)
        for rule, text in rules(name).items()
    ]

    @dg.multi_asset_check(name=f"{name}_checks", specs=specs)
    def check(context: dg.AssetCheckExecutionContext, lake: LakeResource):  # noqa: ANN202
        store = lake.open()
        for key in sorted(context.partition_keys):
            outcomes = session_outcomes(store, name, date.fromisoformat(key))
            yield from (evaluation(name, key, outcome) for outcome in outcomes)
        # An AssetCheckResult knows one partition only; evaluations of a range are reported one by one, outputs once.
        yield from (dg.Output(None, spec.get_python_identifier()) for spec in specs)

    return check


def evaluation(asset: str, partition: str, outcome: Outcome) -> dg.AssetCheckEvaluation:
    """What Dagster shows of one rule in one session: passed or not, what was expected and seen, rows that broke it."""
    facts = {"violations": outcome.violations, "rows": outcome.rows}
    sample = {"sample": dg.MetadataValue.md(_sample(outcome.sample))} if outcome.sample else {}
    return dg.AssetCheckEvaluation(
        asset_key=dg.AssetKey(asset),
        check_name=outcome.name,
        passed=outcome.passed,
        severity=dg.AssetCheckSeverity(outcome.severity.value),
        description=outcome.description,
        metadata=facts | sample,
        blocking=True,
        partition=partition,
    )


def _sample(rows: Sequence[Mapping[str, object]]) -> str:
    """Offending rows as a Markdown table."""
    names = list(rows[0])
    lines = ["| " + " | ".join(names) + " |", "|" + " --- |" * len(names)]
    lines += ["| " + " | ".join(str(row[name]).replace("|", "\\|") for name in names) + " |" for row in rows]
    return "\n".join(lines)
