"""European implied volatility and Greeks: flowlake against pinned peers, one thread, one run, the same contracts.

    python benchmarks/greeks.py [--contracts 1000000]

Times are CPU time of one thread, best of three; flowlake computes the volatility and seven Greeks in one call, the
peers the volatility and their five. Slow peers run on the first rows only. Errors are against the volatility that made
the price, on out-of-the-money rows; prices are computed by flowlake's NumPy path, which the tests hold to 40 digits.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peers import Peers, PeerUnavailable
from flowlake.options import black_price, volatility_and_greeks

RATE = 0.043

LOAD = """
import json, sys, time
import numpy as np
data = np.load(sys.argv[1])
price, S, K, T, is_call, q, true = (data[n] for n in ("price", "spot", "strike", "years", "is_call", "yield_", "iv"))
r = float(data["rate"])
otm = is_call == (K >= data["forward"])
def best(work, repeats):
    times = []
    for _ in range(repeats):
        start = time.process_time(); answer = work(); times.append(time.process_time() - start)
    return min(times), answer
def report(rows, seconds, iv):
    error = np.abs(np.asarray(iv) - true[:rows])[otm[:rows]]
    print(json.dumps({"ns": seconds / rows * 1e9, "rows": rows, "worst": float(np.nanmax(error)),
                      "failed": int(np.isnan(error).sum())}))
"""

PEERS: dict[str, tuple[Peers, str]] = {
    "py_vollib_vectorized 0.1.1": (
        Peers(("py_vollib_vectorized==0.1.1", "py_lets_be_rational==1.0.1", "py_vollib==1.0.1", "setuptools<81")),
        """
from py_vollib_vectorized import get_all_greeks, vectorized_implied_volatility
flag = np.where(is_call, "c", "p")
def work(n=len(price)):
    cut = slice(0, n)
    iv = vectorized_implied_volatility(price[cut], S[cut], K[cut], T[cut], r, flag[cut], q[cut],
                                       model="black_scholes_merton", on_error="ignore", return_as="numpy")
    get_all_greeks(flag[cut], S[cut], K[cut], T[cut], r, iv, q[cut], model="black_scholes_merton", return_as="dict")
    return iv
work(1000)
seconds, iv = best(work, 3)
report(len(price), seconds, iv)
""",
    ),
    "pyvolr 0.1.7": (
        Peers(("pyvolr==0.1.7", "numpy")),
        """
from pyvolr import bs
flag = np.where(is_call, 1, -1).astype(np.int8)
def work():
    iv = bs.implied_vol(price, flag, S, K, T, r, q, on_error="ignore")
    bs.greeks(flag, S, K, T, r, iv, q)
    return iv
work()
seconds, iv = best(work, 3)
report(len(price), seconds, iv)
""",
    ),
    "QuantLib 1.44": (
        Peers(("QuantLib==1.44", "numpy")),
        """
import QuantLib as ql
rows = min(len(price), 20000)
F, D = data["forward"], np.exp(-r * T)
def work():
    iv = np.full(rows, np.nan)
    for i in range(rows):
        kind = ql.Option.Call if is_call[i] else ql.Option.Put
        try:
            s = ql.blackFormulaImpliedStdDevLiRS(kind, float(K[i]), float(F[i]), float(price[i]), float(D[i]))
        except RuntimeError:
            continue
        iv[i] = s / T[i] ** 0.5
        c = ql.BlackCalculator(ql.PlainVanillaPayoff(kind, float(K[i])), float(F[i]), s, float(D[i]))
        spot, years = float(S[i]), float(T[i])
        c.delta(spot); c.gamma(spot); c.theta(spot, years); c.vega(years); c.rho(years)
    return iv
seconds, iv = best(work, 2)
report(rows, seconds, iv)
""",
    ),
}
TARGETS = {"py_vollib_vectorized 0.1.1": 40, "pyvolr 0.1.7": 12, "QuantLib 1.44": 200}


def contracts(count: int, seed: int = 11) -> dict[str, Any]:
    """Spots 5-600, moneyness 0.5-2, half a day to 2.5 years, volatility 0.08-2.5, half calls, 40 % with a yield."""
    rng = np.random.default_rng(seed)
    spot = np.exp(rng.uniform(np.log(5), np.log(600), count))
    years = np.exp(rng.normal(np.log(34 / 365), 1.3, count)).clip(0.5 / 365, 2.5)
    iv = np.exp(rng.normal(np.log(0.39), 0.5, count)).clip(0.08, 2.5)
    moneyness = np.exp((rng.normal(size=count) * 1.2).clip(-3, 3) * iv * np.sqrt(years)).clip(0.5, 2)
    yield_ = np.where(rng.random(count) < 0.4, rng.uniform(0.003, 0.05, count), 0.0)
    discount = np.exp(-RATE * years)
    forward = spot * np.exp((RATE - yield_) * years)
    inputs = {"forward": forward, "strike": spot * moneyness, "years": years, "discount": discount}
    inputs["is_call"] = rng.random(count) < 0.5
    price = black_price(iv, **inputs)
    return {"price": price, **inputs, "spot": spot, "iv": iv, "yield_": yield_, "rate": np.array(RATE)}


def best(work: Callable[[], object], repeats: int = 3, clock: Callable[[], float] = time.process_time) -> float:
    """Shortest of several runs, seconds."""
    times = []
    for _ in range(repeats):
        start = clock()
        work()
        times.append(clock() - start)
    return min(times)


def start_up_seconds() -> float:
    """Import and first answer of a new process, seconds (the kernel is in the on-disk cache after the first)."""
    code = (
        "import time; t = time.perf_counter(); from flowlake.options import implied_volatility; "
        "implied_volatility(12.0, 110.0, 100.0, 0.25, 1.0, True); print(time.perf_counter() - t)"
    )
    return float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--contracts", type=int, default=1_000_000)
    count = parser.parse_args().contracts
    data = contracts(count)
    names = ("price", "forward", "strike", "years", "discount", "is_call", "spot")
    arguments: dict[str, Any] = {name: data[name] for name in names}

    volatility_and_greeks(**arguments)
    ours = best(lambda: volatility_and_greeks(**arguments, threads=1), 5) / count * 1e9
    wall = best(lambda: volatility_and_greeks(**arguments), 5, time.perf_counter) / count * 1e9
    slow = min(count, 100_000)
    some: dict[str, Any] = {name: value[:slow] for name, value in arguments.items()}
    plain = best(lambda: volatility_and_greeks(**some, engine="numpy")) / slow * 1e9
    volatility, _, _ = volatility_and_greeks(**arguments)
    otm = data["is_call"] == (data["strike"] >= data["forward"])
    error = np.abs(volatility - data["iv"])[otm]
    print(f"{count:,} contracts, volatility + Greeks, ns of CPU per contract on one thread")
    print(f"{'library':<30}{'ns':>10}{'ratio':>9}{'target':>9}{'worst OTM error':>18}{'failed OTM':>12}")
    print(
        f"{'flowlake (compiled)':<30}{ours:>10.1f}{1:>9.1f}{'':>9}{np.nanmax(error):>18.1e}{np.isnan(error).sum():>12}"
    )
    print(f"{'flowlake (all threads, wall)':<30}{wall:>10.1f}")
    print(f"{'flowlake (NumPy alone)':<30}{plain:>10.1f}{plain / ours:>9.1f}")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "contracts.npz"
        np.savez(path, **data)
        for name, (peers, script) in PEERS.items():
            try:
                row = peers.run(LOAD + script, path)
            except PeerUnavailable as reason:
                print(f"{name:<30}  skipped: {reason}")
                continue
            ratio = row["ns"] / ours
            print(
                f"{name:<30}{row['ns']:>10.1f}{ratio:>8.1f}x{TARGETS[name]:>8}x{row['worst']:>18.1e}{row['failed']:>12.0f}"
            )
    print(f"start of a new process to its first answer, kernel cached on disk: {start_up_seconds():.2f} s")


if __name__ == "__main__":
    main()
