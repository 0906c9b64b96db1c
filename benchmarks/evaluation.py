"""Recall and false alarms of detection beside seven simple rules, on simulated hosts by default (about a minute).

`python -m benchmarks.evaluation --recorded ../shared/data --cases cases.json` runs the full evaluation on real sessions
(a quarter of an hour on two cores) and prints the tables of docs/evaluation.md.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from flowlake.evaluate import Options, run, summary
from flowlake.evaluate.plan import Sizes

SMALL = Options(sizes=Sizes(informed=60, quiet=20, camouflage=20, decoys=70, dose=60))


def main() -> int:
    """Run it, print every section, say how long it took."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--recorded", type=Path, help="folder of recorded sessions (default: simulated hosts)")
    options.add_argument("--cases", type=Path, help="JSON of public cases to re-enact")
    options.add_argument("--output", type=Path, help="folder to keep tables and hosts in (default: a temporary one)")
    options.add_argument("--seed", type=int, default=1)
    asked = options.parse_args()
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="flowlake-evaluation-") as scratch:
        results = run(
            asked.output or Path(scratch),
            asked.seed,
            "recorded" if asked.recorded else "simulated",
            recording=asked.recorded,
            case_file=asked.cases,
            options=None if asked.recorded else SMALL,
            progress=_tell if sys.stderr.isatty() else None,
        )
    print(summary.markdown(summary.sections(results)))
    print(f"{results['plans'].height:,} episodes in {(time.monotonic() - started) / 60:.1f} minutes")
    return 0


def _tell(what: str, done: int, total: int) -> None:
    print(f"\r{what}: {done} of {total}   ", end="" if done < total else "\n", file=sys.stderr, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
