"""American implied volatility: accuracy with dated dividends, and speed against pinned peers.

    python -m benchmarks.american [--contracts 4000]

Part 1: error in volatility points against a 2,001-step tree, quarterly cash dividends, by right, moneyness and life,
beside what European pricing on the exact forward makes of the same prices.
Part 2: continuous yield (all that the peers can do), CPU time of one thread per volatility and its 99 % error on
out-of-the-money puts and calls; the reference price is QuantLib's QdFp at high precision where it can be had.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.peers import Peers, PeerUnavailable
from flowlake.options import Status, implied_volatility
from flowlake.options.american import Contracts, Schedule, american_price, solve
from flowlake.options.engine import american_volatility_and_greeks, premiums

RATE = 0.043
FINE_STEPS = 2_001

LOAD = """
import json, sys, time
import numpy as np
data = np.load(sys.argv[1])
price, S, K, T, is_call, q, true, otm = (
    data[n] for n in ("price", "spot", "strike", "years", "is_call", "yield_", "iv", "otm"))
r = float(data["rate"])
D, F = np.exp(-r * T), S * np.exp((r - q) * T)
def report(rows, seconds, iv):
    error = np.abs(np.asarray(iv) - true[:rows])[otm[:rows]] * 100
    print(json.dumps({"us": seconds / rows * 1e6, "p99": float(np.nanquantile(error, 0.99)),
                      "failed": int(np.isnan(error).sum())}))
"""
QUANTLIB = """
import QuantLib as ql
from scipy.optimize import brentq
ql.Settings.instance().evaluationDate = today = ql.Date(14, 8, 2026)
count = ql.Actual365Fixed()
def engine(i, scheme):
    vol = ql.SimpleQuote(0.3)
    process = ql.BlackScholesMertonProcess(
        ql.QuoteHandle(ql.SimpleQuote(float(S[i]))),
        ql.YieldTermStructureHandle(ql.FlatForward(today, float(q[i]), count)),
        ql.YieldTermStructureHandle(ql.FlatForward(today, r, count)),
        ql.BlackVolTermStructureHandle(ql.BlackConstantVol(today, ql.NullCalendar(), ql.QuoteHandle(vol), count)))
    expiry = today + int(round(T[i] * 365))
    kind = ql.Option.Call if is_call[i] else ql.Option.Put
    option = ql.VanillaOption(ql.PlainVanillaPayoff(kind, float(K[i])), ql.AmericanExercise(today, expiry))
    option.setPricingEngine(ql.QdFpAmericanEngine(process, scheme))
    return option, vol
"""
QUANTLIB_PRICES = (
    LOAD
    + QUANTLIB
    + """
values = []
for i in range(len(S)):
    option, vol = engine(i, ql.QdFpAmericanEngine.accurateScheme())
    vol.setValue(float(true[i]))
    values.append(option.NPV())
np.save(sys.argv[1] + ".prices.npy", np.array(values))
print(json.dumps({"rows": len(values)}))
"""
)
QUANTLIB_SOLVE = (
    LOAD
    + QUANTLIB
    + """
rows = min(len(S), 1500)
iv = np.full(rows, np.nan)
start = time.process_time()
for i in range(rows):
    option, vol = engine(i, ql.QdFpAmericanEngine.fastScheme())
    def miss(x):
        vol.setValue(x)
        return option.NPV() - price[i]
    try:
        iv[i] = brentq(miss, 0.01, 4.0, xtol=1e-8)
    except (ValueError, RuntimeError):
        pass
report(rows, time.process_time() - start, iv)
"""
)
PYBAW = (
    LOAD
    + """
from pybaw import vectorized_baw_implied_vol
flags = np.where(is_call, "c", "p")
vectorized_baw_implied_vol(price[:10], S[:10], K[:10], D[:10], F[:10], flags[:10])
times = []
for _ in range(3):
    start = time.process_time()
    iv = vectorized_baw_implied_vol(price, S, K, D, F, flags)
    times.append(time.process_time() - start)
report(len(S), min(times), np.asarray(iv) / np.sqrt(T))
"""
)
PEERS = Peers(("QuantLib==1.44", "pybaw==1.0.0", "scipy", "numpy"))


def dividend_market(count: int, seed: int = 21) -> tuple[Contracts, np.ndarray]:
    """7 days to 2 years, volatility 0.12-0.9, dividends of 0.6-5 % a year in quarterly cash, at least one to come."""
    rng = np.random.default_rng(seed)
    spot = np.exp(rng.uniform(np.log(20), np.log(500), count))
    years = np.exp(rng.uniform(np.log(7 / 365), np.log(2), count))
    iv = np.exp(rng.uniform(np.log(0.12), np.log(0.9), count))
    strike = spot * np.exp(rng.normal(size=count).clip(-2, 2) * iv * np.sqrt(years)).clip(0.6, 1.6)
    first_ex = rng.uniform(0.05, 0.95, count) * np.minimum(years, 0.25)
    paid = 1 + np.floor((0.98 * years - first_ex) / 0.25).clip(0).astype(np.int64)
    last = np.cumsum(paid)
    row = np.repeat(np.arange(count), paid)
    ex_years = first_ex[row] + 0.25 * (np.arange(last[-1]) - (last - paid)[row])
    cash = (spot * rng.uniform(0.006, 0.05, count) / 4)[row]
    schedule = Schedule(last - paid, last, ex_years, cash)
    escrow, _ = schedule.present_values(np.full(count, RATE))
    forward = (spot - escrow) * np.exp(RATE * years)
    is_call = rng.random(count) < 0.5
    return Contracts.of(spot, forward, strike, years, np.exp(-RATE * years), is_call, schedule), iv


def yield_market(count: int, seed: int = 22) -> dict[str, np.ndarray]:
    """7 days to 2 years in whole days (QuantLib's dates), volatility 0.12-0.9, continuous yield 0, 1.3 or 3 %."""
    rng = np.random.default_rng(seed)
    spot = np.full(count, 100.0)
    years = np.round(np.exp(rng.uniform(np.log(7), np.log(730), count))) / 365
    iv = np.exp(rng.uniform(np.log(0.12), np.log(0.9), count))
    strike = np.round(spot * np.exp(rng.normal(size=count).clip(-2, 2) * iv * np.sqrt(years)).clip(0.6, 1.6), 1)
    yield_ = rng.choice([0.0, 0.013, 0.03], count)
    is_call = (rng.random(count) < 0.4) & (yield_ > 0)
    forward = spot * np.exp((RATE - yield_) * years)
    otm = is_call == (strike >= forward)
    return {"spot": spot, "strike": strike, "years": years, "iv": iv, "yield_": yield_, "is_call": is_call, "otm": otm}


def accuracy(count: int) -> None:
    """Print part 1."""
    batch, iv = dividend_market(count)
    price = american_price(batch, iv, steps=np.full(count, FINE_STEPS, dtype=np.int64), premiums=premiums())
    seed, _ = implied_volatility(price, batch.forward, batch.strike, batch.years, batch.discount, batch.is_call)
    start = time.process_time()
    found, status, _ = american_volatility_and_greeks(price, batch, seed, threads=1)
    seconds = time.process_time() - start
    solved = status == Status.OK
    otm = batch.is_call == (batch.strike >= batch.forward)
    print(f"dated dividends, {count:,} contracts, error in volatility points against {FINE_STEPS:,} steps;")
    print(f"volatility and seven Greeks in {seconds / count * 1e6:.1f} us of CPU per contract")
    header = "".join(f"{name:>9}" for name in ("median", "99 %", "99.9 %", "max"))
    print(f"{'group':<26}{'rows':>7}{'solved':>8}{header}   European on the forward: median, 99 %")
    for right, side in (("puts", ~batch.is_call), ("calls", batch.is_call)):
        for place, there in (("OTM", otm), ("ITM", ~otm)):
            for life, alive in (("<= 60 d", batch.years <= 60 / 365), ("> 60 d", batch.years > 60 / 365)):
                group = side & there & alive
                error = np.abs(found - iv)[group & solved] * 100
                naive = np.abs(seed - iv)[group & np.isfinite(seed)] * 100
                row = "".join(f"{np.quantile(error, level):>9.4f}" for level in (0.5, 0.99, 0.999, 1.0))
                print(
                    f"{f'{right} {place} {life}':<26}{group.sum():>7}{solved[group].mean():>8.1%}{row}"
                    f"   {np.quantile(naive, 0.5):>8.3f}{np.quantile(naive, 0.99):>8.2f}"
                )


def speed(count: int) -> None:
    """Print part 2."""
    data = yield_market(count)
    years, strike, is_call, spot = data["years"], data["strike"], data["is_call"], data["spot"]
    forward, discount = spot * np.exp((RATE - data["yield_"]) * years), np.exp(-RATE * years)
    none = Schedule(np.zeros(count, np.int64), np.zeros(count, np.int64), np.empty(0), np.empty(0))
    batch = Contracts.of(spot, forward, strike, years, discount, is_call, none)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "contracts.npz"
        np.savez(path, rate=np.array(RATE), price=np.zeros(count), **data)  # pyright: ignore[reportArgumentType]
        try:
            PEERS.run(QUANTLIB_PRICES, path)
            price, reference = np.load(f"{path}.prices.npy"), "QuantLib QdFp"
        except PeerUnavailable as reason:
            steps = np.full(count, FINE_STEPS, dtype=np.int64)
            price, reference = american_price(batch, data["iv"], steps=steps, premiums=premiums()), "own 2,001 steps"
            print(f"QuantLib skipped: {reason}")
        # A price without three cents of time value says little about volatility.
        exercise = np.maximum(np.where(is_call, spot - strike, strike - spot), 0.0)
        kept = price - exercise > 0.03
        data, price = {name: value[kept] for name, value in data.items()}, price[kept]
        batch = batch.rows(np.flatnonzero(kept))
        np.savez(path, rate=np.array(RATE), price=price, **data)  # pyright: ignore[reportArgumentType]

        def work(with_greeks: bool) -> np.ndarray:
            seed, _ = implied_volatility(
                price, batch.forward, batch.strike, batch.years, batch.discount, batch.is_call, threads=1
            )
            return solve(price, batch, seed, premiums(), with_greeks=with_greeks)[0]

        print(f"\ncontinuous yield, {kept.sum():,} contracts, reference {reference}; us of CPU on one thread")
        print(f"{'method':<44}{'us':>9}{'ratio':>9}{'OTM 99 % vol points':>21}{'failed OTM':>12}")
        otm, rows = data["otm"], int(kept.sum())
        found, times = work(True), {}
        for greeks in (False, True):
            runs = []
            for _ in range(3):
                start = time.process_time()
                found = work(greeks)
                runs.append((time.process_time() - start) / rows * 1e6)
            times[greeks] = min(runs)
            error = np.abs(found - data["iv"])[otm] * 100
            name = "flowlake, volatility and seven Greeks" if greeks else "flowlake, volatility"
            print(
                f"{name:<44}{times[greeks]:>9.2f}{times[greeks] / times[False]:>9.1f}"
                f"{np.nanquantile(error, 0.99):>21.4f}{np.isnan(error).sum():>12}"
            )
        for name, script in (
            ("pybaw 1.0.0 (Barone-Adesi-Whaley)", PYBAW),
            ("QuantLib QdFp fast + brentq", QUANTLIB_SOLVE),
        ):
            try:
                row = PEERS.run(script, path)
            except PeerUnavailable as reason:
                print(f"{name:<44}  skipped: {reason}")
                continue
            print(
                f"{name:<44}{row['us']:>9.2f}{row['us'] / times[False]:>8.1f}x{row['p99']:>21.4f}{row['failed']:>12.0f}"
            )


def main() -> None:
    """Print both parts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--contracts", type=int, default=4_000)
    count = parser.parse_args().contracts
    accuracy(count)
    speed(count)


if __name__ == "__main__":
    main()
