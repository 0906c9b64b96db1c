"""Which rules a table's session is held to, how Dagster shows their outcomes, and how incidents are kept."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date
from typing import Any, Generic, TypeVar

import dagster as dg
import polars as pl

from flowlake import calendar
from flowlake.defs.partitions import SESSIONS
from flowlake.defs.resources import LakeResource
from flowlake.lake import Lake
from flowlake.lake.store import Snapshot
from flowlake.quality import incidents, invariants
from flowlake.quality.outcome import Outcome, Severity
from flowlake.quality.record import incident_rows, merge_incidents
from flowlake.quality.shapes import TRAILING, Profiled
from flowlake.quality.suites import SUITES, Finding, judge
from flowlake.schemas import table
from flowlake.schemas.quality import DATA_INCIDENTS
from flowlake.settings import get_settings

ROW_RULES = "row_rules"
"""The check that bundles every rule about single rows; its metadata list them, its description names the worst."""

SUITE = "suite"
"""The check that holds a published table against its trailing sessions, its value sets, patterns and pairs."""

_COMPARED = (
    "session", "underlying", "contract", "expiration", "volume", "open_interest", "last", "spot",
    "basis", "flags", "vendor_iv",
)  # fmt: skip

_INCIDENTS: Mapping[str, tuple[str, ...]] = {
    "raw_stock_snapshots": ("not_empty", "underlyings_present", "slices_present", "stale_copy"),
    "raw_option_snapshots": ("trading_day", "coverage", "quarantine_share"),
    "option_chains": (
        "not_empty",
        "open_interest_present",
        "open_interest_refreshed",
        "vendor_volatility_usable",
        "vendor_volatility_agrees",
        "underlyings_present",
        "slices_present",
        "underlyings_spelled_alike",
        "stale_copy",
        "splits_announced",
        "quarantine_share",
        "contract_known",
    ),
    "intraday_option_snapshots": ("not_empty", "coverage", "quarantine_share"),
    "intraday_chains": (
        "not_empty",
        "underlyings_present",
        "volume_not_fallen",
        "market_moves_on",
        "quarantine_share",
    ),
}
"""Rules beyond the row invariants, by table."""

_INCIDENT_TEXTS = {
    "trading_day": "the exchange opened on the day",
    "coverage": "enough of the underlyings asked for were answered",
    "quarantine_share": "few enough rows had to be left out",
    "not_empty": "there are rows at all",
    "open_interest_present": "open interest is filled in",
    "open_interest_refreshed": "open interest moves where the session before traded",
    "vendor_volatility_usable": "vendor volatilities are numbers, not placeholders",
    "vendor_volatility_agrees": "vendor volatilities near the money agree with ours",
    "underlyings_present": "names of the session before are there again",
    "slices_present": "no exchange and no page of the listing is missing as a whole",
    "underlyings_spelled_alike": "underlyings are spelled in capitals, each in one way",
    "stale_copy": "the session is not a copy of the one before",
    "splits_announced": "what looks like a split is a known corporate action",
    "contract_known": "every contract id is in contracts",
    "volume_not_fallen": "no volume is below that of a snapshot before",
    "market_moves_on": "busy underlyings traded since the snapshot before",
}

_ANY_SESSION = date(2026, 1, 2)

Found = TypeVar("Found")


class _Remembered(Generic[Found]):
    """What was found of files that never change: rules cost once a file, however many steps of a process ask."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._found: dict[tuple[object, ...], Found] = {}

    def get(self, key: tuple[object, ...]) -> Found | None:
        return self._found.get(key)

    def keep(self, key: tuple[object, ...], found: Found) -> Found:
        while len(self._found) >= self._most:
            self._found.pop(next(iter(self._found)))
        self._found[key] = found
        return found


_outcomes: _Remembered[list[Outcome]] = _Remembered(4096)
_profiles: _Remembered[Profiled] = _Remembered(256)
_findings: _Remembered[list[Finding]] = _Remembered(1024)


# --- tier 1: row invariants and incidents -----------------------------------------------------------------------------


def rules(name: str) -> dict[str, str]:
    """Every rule of table `name` and what it demands; known before any data are, as check definitions must be."""
    of_rows = {rule.name: rule.description.replace(f" {_ANY_SESSION}", "") for rule in _declared(name)}
    of_rows |= {rule.name: rule.description for rule in invariants.INVARIANTS.get(name, ())}
    return of_rows | {incident: _INCIDENT_TEXTS[incident] for incident in _INCIDENTS.get(name, ())}


def _declared(name: str) -> tuple[invariants.Invariant, ...]:
    return invariants.declared(table(name), _ANY_SESSION)


def session_outcomes(store: Lake, name: str, session: date) -> list[Outcome]:
    """Every rule of table `name`, evaluated on one session; a session the lake lacks is one failed rule."""
    return outcomes_of(store, name, session.isoformat())


def outcomes_of(store: Lake, name: str, partition: str) -> list[Outcome]:
    """Every rule of table `name`, evaluated on a partition, whose key starts with a date."""
    snapshot = store.snapshot()
    if not snapshot.has(name, partition):
        first, *others = rules(name)
        missing = Outcome(first, False, Severity.ERROR, 1, 0, f"{partition} of {name} is not in the lake")
        return [missing, *(_not_applicable(other) for other in others)]
    day = date.fromisoformat(partition[:10])
    market = get_settings().market
    key = (*_files(snapshot, name, partition, day), market.min_coverage, market.max_quarantine)
    return _outcomes.get(key) or _outcomes.keep(key, _evaluated(snapshot, name, partition, day))


_READS: Mapping[str, tuple[str, ...]] = {
    "raw_stock_snapshots": ("raw_stock_snapshots",),
    "raw_option_snapshots": ("raw_option_bars", "snapshot_coverage", "raw_quarantine"),
    "option_chains": ("option_chains", "corporate_actions", "chain_quarantine"),
    "intraday_option_snapshots": ("intraday_coverage", "intraday_quarantine"),
    "intraday_chains": ("intraday_chains", "intraday_coverage", "intraday_chain_quarantine"),
}
"""Tables whose partitions of this and the session (or snapshot) before are read beside the table's own."""


def _files(snapshot: Snapshot, name: str, partition: str, day: date) -> tuple[object, ...]:
    around = [partition, day.isoformat(), _before(day), _snapshot_before(snapshot, name, partition) or partition]
    others = [path for other in _READS.get(name, ()) for path in snapshot.files(other, around)]
    numbered = snapshot.files("contracts") if name == "option_chains" else []
    return (name, partition, *snapshot.files(name, partition), *others, *numbered)


def _before(day: date) -> str:
    return calendar.previous_session(day).isoformat()


def _snapshot_before(snapshot: Snapshot, name: str, partition: str) -> str | None:
    """The newest earlier snapshot of the same session that table `name` has."""
    if table(name).partitioning != "snapshot":
        return None
    return max((key for key in snapshot.partitions(name) if partition[:10] < key < partition), default=None)


def _evaluated(snapshot: Snapshot, name: str, partition: str, day: date) -> list[Outcome]:
    contracts = snapshot.scan("contracts", columns=["contract_id"]).collect() if name == "option_chains" else None
    rows = snapshot.read(name, partition)
    session = day if calendar.is_session(day) else None
    found = invariants.evaluate(table(name), rows, session=session, contracts=contracts)
    incidents_of = {
        "raw_stock_snapshots": _stock_incidents,
        "raw_option_snapshots": _raw_incidents,
        "option_chains": _chain_incidents,
    }.get(name)
    found += incidents_of(snapshot, day, rows) if incidents_of else []
    found += _SNAPSHOT_INCIDENTS[name](snapshot, partition, rows) if name in _SNAPSHOT_INCIDENTS else []
    by_name = {outcome.name: outcome for outcome in found}
    return [by_name.get(rule) or _not_applicable(rule) for rule in rules(name)]


def _stock_incidents(snapshot: Snapshot, session: date, stocks: pl.DataFrame) -> list[Outcome]:
    outcomes = [incidents.not_empty(stocks)]
    if not snapshot.has("raw_stock_snapshots", _before(session)):
        return outcomes
    previous = snapshot.read("raw_stock_snapshots", _before(session), columns=["ticker", "close", "volume"])
    expected = previous.filter(pl.col("volume") > 0)["ticker"].unique().to_list()
    present = stocks.select(underlying="ticker")
    return [
        *outcomes,
        incidents.missing_underlyings(present, expected, get_settings().market.min_coverage),
        incidents.missing_slices(present["underlying"].unique().to_list(), expected),
        incidents.stale_stocks(stocks, previous),
    ]


def _raw_incidents(snapshot: Snapshot, session: date, raw: pl.DataFrame) -> list[Outcome]:
    key, market = session.isoformat(), get_settings().market
    outcomes = [incidents.trading_day(session)]
    if snapshot.has("raw_option_bars", key) and snapshot.rows("raw_option_bars", key):
        return outcomes
    coverage = snapshot.read("snapshot_coverage", key)
    quarantined = snapshot.read("raw_quarantine", key)
    return [
        *outcomes,
        incidents.coverage(coverage, market.min_coverage),
        incidents.quarantine_share(raw.height, quarantined, market.max_quarantine),
    ]


def _chain_incidents(snapshot: Snapshot, session: date, chains: pl.DataFrame) -> list[Outcome]:
    key, before, market = session.isoformat(), _before(session), get_settings().market
    has_before, has_actions = snapshot.has("option_chains", before), snapshot.has("corporate_actions", key)
    previous = snapshot.read("option_chains", before, columns=_COMPARED) if has_before else None
    actions = snapshot.read("corporate_actions", key) if has_actions else None
    return [
        incidents.vendor_agreement(chains),
        *incidents.compare_sessions(
            chains, previous, session=session, min_coverage=market.min_coverage, actions=actions
        ),
        incidents.quarantine_share(chains.height, snapshot.read("chain_quarantine", key), market.max_quarantine),
    ]


def _intraday_raw_incidents(snapshot: Snapshot, key: str, raw: pl.DataFrame) -> list[Outcome]:
    market = get_settings().market
    answered = incidents.coverage(snapshot.read("intraday_coverage", key), market.min_coverage)
    return [
        incidents.not_empty(raw),
        # A snapshot with too few answers is kept as partial, and the next one asks again: it is told and stops nothing.
        replace(answered, severity=Severity.WARN),
        incidents.quarantine_share(raw.height, snapshot.read("intraday_quarantine", key), market.max_quarantine),
    ]


def _intraday_chain_incidents(snapshot: Snapshot, key: str, chains: pl.DataFrame) -> list[Outcome]:
    market, name = get_settings().market, "intraday_chains"
    before = _snapshot_before(snapshot, name, key)
    earlier = snapshot.read(name, before, columns=["contract_id", "underlying", "volume"]) if before else None
    answered = snapshot.read("intraday_coverage", key).filter(~pl.col("status").is_in(["failed", "not_entitled"]))
    return [
        *incidents.compare_snapshots(
            chains, earlier, answered["underlying"].to_list(), min_coverage=market.min_coverage
        ),
        incidents.quarantine_share(
            chains.height, snapshot.read("intraday_chain_quarantine", key), market.max_quarantine
        ),
    ]


_SNAPSHOT_INCIDENTS: Mapping[str, Callable[[Snapshot, str, pl.DataFrame], list[Outcome]]] = {
    "intraday_option_snapshots": _intraday_raw_incidents,
    "intraday_chains": _intraday_chain_incidents,
}
"""Rules beyond the row invariants of tables by snapshot."""


def _not_applicable(name: str) -> Outcome:
    return Outcome(name, True, Severity.WARN, 0, 0, "not applicable to this session: nothing to compare with")


def table_checks(
    name: str, partitions: dg.PartitionsDefinition = SESSIONS, *, record: bool = True
) -> dg.AssetChecksDefinition:
    """The rules of table `name` as blocking checks of its asset: one scan a partition, an evaluation a rule.

    Rules about rows are one check (each evaluation costs Dagster more than the rule), a rule about the session as a
    whole is a check each. Only rules of severity ERROR stop what is downstream; warnings are shown and let the run go
    on. What blocks is written to `data_incidents` at once, because nothing that would write it later will run; `record`
    is off for snapshots, whose log says why each was not taken. Partition keys start with a date.
    """
    bundled = {rule.name for rule in (*_declared(name), *invariants.INVARIANTS.get(name, ()))}
    texts = {ROW_RULES: f"every row is sound: {', '.join(sorted(bundled))}"}
    texts |= {rule: text for rule, text in rules(name).items() if rule not in bundled}
    specs = [
        dg.AssetCheckSpec(rule, asset=name, description=text, blocking=True, partitions_def=partitions)
        for rule, text in texts.items()
    ]

    @dg.multi_asset_check(name=f"{name}_checks", specs=specs)
    def check(context: dg.AssetCheckExecutionContext, lake: LakeResource):  # noqa: ANN202
        store = lake.open()
        for key in sorted(context.partition_keys):
            outcomes = outcomes_of(store, name, key)
            if record and any(outcome.blocks for outcome in outcomes):
                record_incidents(
                    store, context.op_execution_context.run_id, date.fromisoformat(key[:10]), {name: outcomes}
                )
            yield bundle(name, key, [outcome for outcome in outcomes if outcome.name in bundled])
            yield from (evaluation(name, key, outcome) for outcome in outcomes if outcome.name not in bundled)
        # An AssetCheckResult knows one partition only; evaluations of a range are reported one by one, outputs once.
        yield from (dg.Output(None, spec.get_python_identifier()) for spec in specs)

    return check


def bundle(asset: str, partition: str, outcomes: Sequence[Outcome]) -> dg.AssetCheckEvaluation:
    """The rules about rows as one evaluation: as bad as the worst of them, each of them in the metadata."""
    failed = [outcome for outcome in outcomes if not outcome.passed]
    worst = next((outcome for outcome in failed if outcome.blocks), failed[0] if failed else None)
    listed = [
        {"rule": o.name, "holds": "yes" if o.passed else "NO", "violations": o.violations, "meaning": o.description}
        for o in outcomes
    ]
    sample = {"sample": dg.MetadataValue.md(markdown(worst.sample))} if worst and worst.sample else {}
    return dg.AssetCheckEvaluation(
        asset_key=dg.AssetKey(asset),
        check_name=ROW_RULES,
        passed=not failed,
        severity=dg.AssetCheckSeverity(worst.severity.value if worst else Severity.ERROR.value),
        description=_broken(worst) if worst else f"all {len(outcomes)} rules hold",
        metadata={
            "violations": sum(outcome.violations for outcome in failed),
            "rows": max((outcome.rows for outcome in outcomes), default=0),
            "rules": dg.MetadataValue.md(markdown(listed)),
            **sample,
        },
        blocking=True,
        partition=partition,
    )


def _broken(outcome: Outcome) -> str:
    return f"{outcome.name}: {outcome.violations:,} of {outcome.rows:,} rows break it ({outcome.description})"


def evaluation(asset: str, partition: str, outcome: Outcome) -> dg.AssetCheckEvaluation:
    """What Dagster shows of one rule in one session: passed or not, what was expected and seen, rows that broke it."""
    facts = {"violations": outcome.violations, "rows": outcome.rows}
    sample = {"sample": dg.MetadataValue.md(markdown(outcome.sample))} if outcome.sample else {}
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


def markdown(rows: Sequence[Mapping[str, object]]) -> str:
    """Rows as a Markdown table."""
    names = list(rows[0])
    lines = ["| " + " | ".join(names) + " |", "|" + " --- |" * len(names)]
    lines += ["| " + " | ".join(str(row[name]).replace("|", "\\|") for name in names) + " |" for row in rows]
    return "\n".join(lines)


# --- tier 2: suites ---------------------------------------------------------------------------------------------------


def suite_findings(store: Lake, name: str, sessions: Iterable[date]) -> dict[date, list[Finding]]:
    """Every expectation of the suite of table `name` on those of `sessions` that the lake has, in one go."""
    snapshot, suite = store.snapshot(), SUITES[name]
    held = set(snapshot.partitions(name))
    wanted = [session for session in sorted(sessions) if session.isoformat() in held]
    if not wanted or not get_settings().quality.suites:
        return {}
    trailing = {day for session in wanted for day in calendar.trailing_sessions(session, TRAILING)}
    days = [day for day in sorted(trailing | set(wanted)) if day.isoformat() in held]
    files = {day: snapshot.files(name, day.isoformat())[0] for day in days}
    keys = {
        session: (name, session, *[files[day] for day in days if day <= session][-TRAILING - 1 :]) for session in wanted
    }
    unknown = [session for session in wanted if _findings.get(keys[session]) is None]
    if unknown:
        profiles = [_profile(snapshot, name, day, (name, files[day])) for day in days]
        for session, found in judge(suite, profiles, unknown).items():
            _findings.keep(keys[session], found)
    return {session: _findings.get(keys[session]) or [] for session in wanted}


def _profile(snapshot: Snapshot, name: str, day: date, key: tuple[object, ...]) -> Profiled:
    known = _profiles.get(key)
    if known is not None:
        return known
    suite = SUITES[name]
    return _profiles.keep(key, suite.profile(day, snapshot.read(name, day.isoformat(), columns=suite.columns)))


def suite_check(name: str) -> dg.AssetChecksDefinition:
    """The suite of table `name` as one check that stops nothing; its metadata list every expectation."""

    spec = dg.AssetCheckSpec(
        SUITE,
        asset=name,
        blocking=False,
        partitions_def=SESSIONS,
        description=f"Great Expectations: {len(SUITES[name].expectations)} expectations beside trailing sessions, "
        "value sets, patterns and pairs; warns, never stops a run.",
    )

    @dg.multi_asset_check(name=f"{name}_suite", specs=[spec])
    def check(context: dg.AssetCheckExecutionContext, lake: LakeResource):  # noqa: ANN202
        sessions = [date.fromisoformat(key) for key in sorted(context.partition_keys)]
        found = suite_findings(lake.open(), name, sessions)
        for session in sessions:
            yield suite_evaluation(name, session, found.get(session, []))
        yield dg.Output(None, spec.get_python_identifier())

    return check


def suite_evaluation(asset: str, session: date, findings: Sequence[Finding]) -> dg.AssetCheckEvaluation:
    """What Dagster shows of a suite on one session: the worst failure first, then everything that was expected."""
    failed = [finding for finding in findings if not finding.outcome.passed]
    errors = [finding for finding in failed if finding.outcome.severity is Severity.ERROR]
    listed = [
        {
            "expectation": finding.name,
            "holds": "yes" if finding.passed else "NO",
            "severity": finding.level,
            "expected": finding.expected,
            "observed": finding.observed,
        }
        for finding in sorted(findings, key=lambda each: each.passed)
    ]
    text = "; ".join(f"{finding.name}: {finding.observed}" for finding in failed[:3])
    nothing = "suites are switched off (FLOWLAKE_QUALITY__SUITES)" if not get_settings().quality.suites else "no rows"
    return dg.AssetCheckEvaluation(
        asset_key=dg.AssetKey(asset),
        check_name=SUITE,
        passed=not failed,
        severity=dg.AssetCheckSeverity.ERROR if errors else dg.AssetCheckSeverity.WARN,
        description=text or (f"all {len(findings)} expectations hold or only inform" if findings else nothing),
        metadata={
            "expectations": len(findings),
            "failed": len(failed),
            **({"results": dg.MetadataValue.md(markdown(listed))} if listed else {}),
        },
        blocking=False,
        partition=session.isoformat(),
    )


# --- incidents --------------------------------------------------------------------------------------------------------


def record_incidents(
    store: Lake, run_id: str, session: date, outcomes: Mapping[str, Sequence[Outcome]], *, publish: bool = True
) -> pl.DataFrame:
    """Bring the session's `data_incidents` up to date with the `outcomes` of each table; returns all its rows.

    The lock is held while rows are read and written, so that two checks never lose each other's. Evaluating the same
    data again changes nothing.
    """
    key, name = session.isoformat(), DATA_INCIDENTS.name
    with store.commit(run_id, exclusive=True) as transaction:
        found = [_incidents(transaction.snapshot, session, each, list(of)) for each, of in outcomes.items()]
        evaluated = {(each, outcome.name) for each, of in outcomes.items() for outcome in of}
        held = transaction.read(name, key) if transaction.has(name, key) else None
        before = transaction.read(name, _before(session)) if transaction.has(name, _before(session)) else None
        rows = merge_incidents(pl.concat([DATA_INCIDENTS.empty(), *found]), held, before, evaluated)
        transaction.replace(name, key, rows)
        if publish:
            transaction.publish([key], [name])
    return rows


def _incidents(snapshot: Snapshot, session: date, name: str, outcomes: list[Outcome]) -> pl.DataFrame:
    if all(outcome.passed for outcome in outcomes):
        return DATA_INCIDENTS.empty()
    key = session.isoformat()
    columns = [column for column in ("available_at", "origin") if column in table(name).schema]
    facts: dict[str, Any] = {"available_at": None, "origin": None}
    if snapshot.has(name, key) and len(columns) == 2:
        facts = snapshot.scan(name, key, columns).select(pl.all().max()).collect().row(0, named=True)
    return incident_rows(
        session,
        name,
        outcomes,
        available_at=facts["available_at"] or calendar.session_close(session),
        origin=facts["origin"] or _origin(snapshot, key),
    )


def _origin(snapshot: Snapshot, key: str) -> str:
    """Where the session's data came from, by the stock snapshot; a table without rows cannot say."""
    if not snapshot.has("raw_stock_snapshots", key):
        return "vendor"
    stocks = snapshot.scan("raw_stock_snapshots", key, ["origin"]).select(pl.col("origin").max()).collect()
    return stocks.item() or "vendor"
