"""The resolved definitions as text, so that every change of the graph shows in review.

`python -m flowlake_tests.defs.graph` writes it to graph.txt beside this file.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import dagster as dg

GRAPH = Path(__file__).with_name("graph.txt")


def rendered(definitions: dg.Definitions) -> str:
    """Assets with what they are made from, checks, jobs, schedules and sensors, each in name order."""
    return "\n".join(_lines(definitions)) + "\n"


def _lines(definitions: dg.Definitions) -> Iterator[str]:
    repository = definitions.get_repository_def()
    pools = {key: node.pools for key, node in _pools(repository).items()}
    for spec in sorted(definitions.resolve_all_asset_specs(), key=lambda each: each.key.to_user_string()):
        name = spec.key.to_user_string()
        partitions = type(spec.partitions_def).__name__ if spec.partitions_def else "none"
        yield f"asset {name}"
        yield f"  group {spec.group_name}; owners {', '.join(spec.owners)}; kinds {', '.join(sorted(spec.kinds))}"
        yield f"  tags {_tags(spec)}; partitions {partitions}; pools {', '.join(sorted(pools.get(name, ()))) or 'none'}"
        if spec.freshness_policy is not None:
            yield f"  freshness {_freshness(spec.freshness_policy)}"
        if spec.automation_condition is not None:
            yield f"  automation {spec.automation_condition.get_label()}"
        for dep in sorted(spec.deps, key=lambda each: each.asset_key.to_user_string()):
            yield f"  from {dep.asset_key.to_user_string()}{_mapping(dep.partition_mapping)}"
    checks = repository.asset_graph.asset_check_keys
    for key in sorted(checks, key=lambda each: (each.asset_key.to_user_string(), each.name)):
        blocking = repository.asset_graph.get(key).blocking
        yield f"check {key.asset_key.to_user_string()}: {key.name}{' (blocking)' if blocking else ''}"
    for job in sorted(repository.get_all_jobs(), key=lambda each: each.name):
        if not job.name.startswith("__"):
            yield f"job {job.name}: {', '.join(sorted(node.name for node in job.nodes))}"
    for schedule in sorted(repository.schedule_defs, key=lambda each: each.name):
        yield f"schedule {schedule.name}: {schedule.cron_schedule} {schedule.execution_timezone} -> {schedule.job_name}"
    for sensor in sorted(repository.sensor_defs, key=lambda each: each.name):
        yield f"sensor {sensor.name}: every {sensor.minimum_interval_seconds or 30} s"


def _pools(repository: dg.RepositoryDefinition) -> dict[str, dg.OpDefinition]:
    found = {}
    for key, definition in repository.assets_defs_by_key.items():
        if isinstance(definition.node_def if definition.is_executable else None, dg.OpDefinition):
            found[key.to_user_string()] = definition.op
    return found


def _tags(spec: dg.AssetSpec) -> str:
    own = {name: value for name, value in spec.tags.items() if not name.startswith("dagster/kind/")}
    return ", ".join(f"{name}={value}" for name, value in sorted(own.items()))


def _freshness(policy: dg.FreshnessPolicy) -> str:
    window = getattr(policy, "fail_window", None)
    return f"fails after {window.to_timedelta()}" if window else type(policy).__name__


def _mapping(mapping: dg.PartitionMapping | None) -> str:
    if isinstance(mapping, dg.TimeWindowPartitionMapping):
        return f" [{mapping.start_offset:+d} .. {mapping.end_offset:+d}]"
    return f" [{type(mapping).__name__}]" if mapping else ""


if __name__ == "__main__":
    from flowlake.definitions import defs

    GRAPH.write_text(rendered(defs), encoding="utf-8")
    print(f"wrote {GRAPH.name}")
