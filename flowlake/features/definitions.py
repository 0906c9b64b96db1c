"""The definitions of all features as a table and as `docs/features.md`.

The page is made by `python -m flowlake.features.definitions > docs/features.md`, from the declarations in
`flowlake.schemas.feature_list`; a test holds it equal to the code.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import UTC, datetime, time
from functools import cache
from itertools import groupby

import polars as pl

from flowlake.schemas.feature_list import FEATURES, REVISED, Feature
from flowlake.schemas.features import FEATURE_DEFINITIONS

ORIGIN = "flowlake"

FEATURE_NAMES = tuple(feature.name for feature in FEATURES)
"""Names of all features, in the order of the columns."""

_HEAD = """# Features

One row per underlying and session in `options_flow_features`, and per snapshot in `intraday_flow_features`; the table
`feature_definitions` holds the same definitions. {count} features, definition version
`{version}` of {revised}.
Made by `python -m flowlake.features.definitions`; a test holds it equal to the code.

A feature that cannot be known (too little history, no price, a table that is not in the lake) is null, never zero.
Every row says when it was known (`available_at`): the moment the last of its inputs was. Facts that became known
later, such as a session filled in from daily bars, are not used in rows of earlier moments. An intraday row uses the
volumes so far, and the insider signals of the session before.

In formulas V is volume, OI open interest at the START of the session, P the price our volatility is solved from, M the
contract multiplier, S spot, K strike, F the forward of the expiration, IV our implied volatility, D the session and D-1
the session before it. Sums run over the contracts of the underlying's chain; contracts adjusted by a corporate action
count in volumes and open interest and are left out where strikes or volatilities are compared.

Gamma exposure, its peak and the zero-gamma level ASSUME that dealers are long every call and short every put. Public
data do not say who holds what; where the assumption is wrong, so is the sign. `gamma_exposure_by_strike` holds it by
strike.

## What was known at a moment

`flowlake features snapshot --as-of 2026-06-01T13:30:00+00:00` freezes one row per underlying: the features of the
newest session known strictly before the moment (`available_at < as_of`), insider and congressional figures as of the
moment itself, and the newest close. `--steps 30` freezes sequences of 30 sessions instead; `--fill 3` carries a value
forward over at most three steps, and the column `observed` says, feature by feature in the order below, which values
were known themselves. The same facts give the same id, whoever takes the snapshot and whenever; `flowlake features load
ID --out FILE` gives its Parquet file back byte for byte, whatever has been corrected in the lake since. `end_of_day`
keeps one per session, as of the next session's open. What arrives between that run and the open makes another snapshot,
under another id, the next time one is taken.

In SQL, `FROM features_asof(TIMESTAMPTZ '2026-06-01 13:30:00+00')` asks the feature table with the same gate.
`flowlake.snapshots.load` and `flowlake.features.snapshots.sequence_arrays` give frames and arrays in Python.
"""


@cache
def definition_version() -> str:
    """A short hash of every declaration: two snapshots with the same one mean the same by each name."""
    return hashlib.sha256("\n".join(map(repr, FEATURES)).encode()).hexdigest()[:12]


def feature(name: str) -> Feature:
    """The declaration of feature `name`; raises `KeyError` naming those that sound alike."""
    found = next((each for each in FEATURES if each.name == name), None)
    if found is None:
        import difflib

        alike = difflib.get_close_matches(name, FEATURE_NAMES, n=5)
        raise KeyError(f"there is no feature {name!r}; close names: {', '.join(alike) or 'none'}")
    return found


def feature_definitions() -> pl.DataFrame:
    """FEATURE_DEFINITIONS of this version of the code."""
    revised = datetime.combine(REVISED, time(), UTC)
    rows = [
        {
            "position": position,
            "feature": each.name,
            "family": each.family,
            "formula": each.formula,
            "unit": each.unit,
            "source": each.source,
            "window_sessions": each.window,
            "inputs": list(each.inputs),
            "known_at": each.known_at,
            "missing": each.missing,
            "dtype": str(each.dtype()),
            "definition_version": definition_version(),
            "available_at": revised,
            "origin": ORIGIN,
        }
        for position, each in enumerate(FEATURES, start=1)
    ]
    return FEATURE_DEFINITIONS.conform(pl.DataFrame(rows, schema=FEATURE_DEFINITIONS.schema))


def features_page() -> str:
    """Every feature as Markdown, a table per family."""
    head = _HEAD.format(count=len(FEATURES), version=definition_version(), revised=REVISED)
    sections = [_section(family, list(members)) for family, members in groupby(FEATURES, key=lambda each: each.family)]
    return "\n".join([head, *sections])


def _section(family: str, members: Iterable[Feature]) -> str:
    lines = [
        f"## {family.replace('_', ' ').capitalize()}\n",
        "| feature | unit | formula | null when | window | known | made from | source |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for each in members:
        made_from = "; ".join(f"`{table}`" for table in each.inputs)
        cells = (each.unit, each.formula, each.missing, str(each.window), each.known_at, made_from, each.source)
        lines.append(f"| `{each.name}` | {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(features_page(), end="")
