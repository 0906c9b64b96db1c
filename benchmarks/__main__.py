"""`make bench`: every benchmark in turn, each a ratio against a named alternative measured in the same run."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

NOT_BENCHMARKS = {"__init__", "__main__", "real_sessions"}


def names() -> list[str]:
    """The benchmarks of this folder; `real_sessions` has its own command, `make real`."""
    return sorted(path.stem for path in Path(__file__).parent.glob("*.py") if path.stem not in NOT_BENCHMARKS)


def main() -> int:
    """Run the benchmarks asked for, or all; 1 if one fails."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("benchmark", nargs="*", help=f"any of {', '.join(names())} (default: all)")
    asked = options.parse_args().benchmark or names()
    failed = []
    for name in asked:
        print(f"\n=== {name} ===", flush=True)
        if subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], check=False).returncode:
            failed.append(name)
    if failed:
        print(f"\nfailed: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
