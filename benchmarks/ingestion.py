"""Chain ingestion: flowlake's client against the vendor's official one (`massive`), same loopback server, same pages.

`python -m benchmarks.ingestion` simulates one session, serves it from a process of its own, lets each contender fetch
every chain into a polars frame in a fresh process, and prints rows per second, client CPU and peak memory. Both ask for
uncompressed pages, so that neither pays for the server's gzip. The official client is run as documented (one
request after the other) and with threads; the ratios are given against both. Two scenarios: no latency, where the
loopback server and CPU decide, and 100 ms per answer, nearer to the vendor over the internet, where waiting decides.
"""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass

import polars as pl

UNDERLYINGS = 400
CONCURRENCY = 16
KEY = "sandbox"

_PARTS: dict[str, tuple[str, ...]] = {
    "details": (
        "ticker",
        "contract_type",
        "exercise_style",
        "expiration_date",
        "strike_price",
        "shares_per_contract",
    ),
    "day": ("open", "high", "low", "close", "volume", "vwap", "last_updated"),
    "greeks": ("delta", "gamma", "theta", "vega"),
    "last_quote": ("bid", "ask", "bid_size", "ask_size", "last_updated"),
    "last_trade": ("price", "size", "sip_timestamp"),
    "underlying_asset": ("price", "value", "last_updated", "timeframe"),
}
"""The fields flowlake stores, as the official client names them; both contenders keep the same ones."""


@dataclass(frozen=True)
class Scenario:
    """How late the server answers, how many of its underlyings are fetched, and how often."""

    title: str
    latency_seconds: float
    underlyings: int
    repeats: int


SCENARIOS = (
    Scenario("no latency", 0.0, UNDERLYINGS, 3),
    Scenario("100 ms latency per answer", 0.1, 40, 1),
)


@dataclass(frozen=True)
class Result:
    """One run of one contender: seconds of wall clock and of its own CPU, and its peak resident memory."""

    rows: int
    checksum: float
    seconds: float
    cpu_seconds: float
    peak_mb: float


def serve(latency_seconds: float) -> None:
    """Serve one simulated session until killed; prints its base URL, session and underlyings first."""
    from flowlake.calendar import session_close
    from flowlake.sandbox.faults import Fault, FaultKind, Faults
    from flowlake.sandbox.server import SandboxServer
    from flowlake.sandbox.simulator import SimulatorConfig, simulate

    market = simulate(SimulatorConfig(underlyings=UNDERLYINGS, sessions=1, informed_episodes=0, decoys=0))
    (session,) = market.sessions()
    close = session_close(session)
    underlyings = market.chain(close)["underlying"].unique().sort().to_list()
    late = Faults(Fault(FaultKind.LATENCY, "options", first=None, seconds=latency_seconds))
    server = SandboxServer(market, keys=(KEY,), clock=close, faults=late if latency_seconds else Faults())
    server.serve(lambda url: print(json.dumps([url, session.isoformat(), underlyings]), flush=True))


def flowlake_client(url: str, session: str, underlyings: list[str]) -> pl.DataFrame:
    """Every chain with flowlake's client."""
    from datetime import date

    from pydantic import SecretStr

    from flowlake.settings import ApiSettings
    from flowlake.sources.polygon import BlockingPolygonClient

    settings = ApiSettings(base_url=url, replay=True, requests_per_second=1e6, concurrency=CONCURRENCY)
    with BlockingPolygonClient(settings, SecretStr(KEY)) as client:
        return client.fetch_chains(date.fromisoformat(session), underlyings).frame


def official_client(url: str, underlyings: list[str], threads: int) -> pl.DataFrame:
    """Every chain with the official client, its objects read into columns chain by chain."""
    from massive import RESTClient

    client = RESTClient(KEY, base=url, num_pools=threads, maxsize=threads)
    client.client.headers = {**client.client.headers, "Accept-Encoding": "identity"}

    def chain(underlying: str) -> pl.DataFrame:
        rows = list(client.list_snapshot_options_chain(underlying, params={"limit": 250}))
        columns: dict[str, list[object]] = {"underlying": [underlying] * len(rows)}
        for part, names in _PARTS.items():
            objects = [getattr(row, part) for row in rows]
            for name in names:
                columns[f"{part}.{name}"] = [getattr(each, name, None) for each in objects]
        for name in ("implied_volatility", "open_interest"):
            columns[name] = [getattr(row, name) for row in rows]
        return pl.DataFrame(columns, infer_schema_length=None, strict=False)

    if threads == 1:
        frames = [chain(underlying) for underlying in underlyings]
    else:
        with ThreadPoolExecutor(threads) as pool:
            frames = list(pool.map(chain, underlyings))
    joined = pl.concat(frames, how="diagonal_relaxed")
    return joined.rename({"details.strike_price": "strike"}).sort("underlying", "details.ticker")


CONTENDERS: dict[str, Callable[[str, str, list[str]], pl.DataFrame]] = {
    "flowlake": flowlake_client,
    "massive": lambda url, session, underlyings: official_client(url, underlyings, 1),
    f"massive, {CONCURRENCY} threads": lambda url, session, underlyings: official_client(url, underlyings, CONCURRENCY),
}


def contend(name: str, url: str, session: str, underlyings: list[str]) -> Result:
    """Run one contender in this process."""
    # Imports and first connections are not what is compared.
    CONTENDERS[name](url, session, underlyings[:1])
    started, cpu = time.perf_counter(), time.process_time()
    frame = CONTENDERS[name](url, session, underlyings)
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    checksum = float(frame.select(pl.col("strike").sum() + pl.col("open_interest").sum()).item())
    return Result(frame.height, checksum, seconds, cpu, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def main() -> None:
    """Run every contender in every scenario, alternating, and print medians and ratios."""
    for scenario in SCENARIOS:
        report(scenario, measure(scenario))


def measure(scenario: Scenario) -> dict[str, list[Result]]:
    """Results of every contender in `scenario`."""
    this = [sys.executable, "-m", "benchmarks.ingestion"]
    server = subprocess.Popen([*this, "serve", str(scenario.latency_seconds)], stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None, "asked for above"
        url, session, underlyings = json.loads(server.stdout.readline())
        names = json.dumps(underlyings[: scenario.underlyings])

        def run(name: str) -> Result:
            arguments = [*this, "contend", name, url, session, names]
            done = subprocess.run(arguments, check=True, stdout=subprocess.PIPE, text=True)
            return Result(**json.loads(done.stdout))

        # The first pass makes the server render its pages; it then answers everybody from its cache.
        run("flowlake")
        runs: dict[str, list[Result]] = {name: [] for name in CONTENDERS}
        for _ in range(scenario.repeats):
            for name in CONTENDERS:
                runs[name].append(run(name))
        return runs
    finally:
        server.terminate()
        server.wait()


def report(scenario: Scenario, runs: dict[str, list[Result]]) -> None:
    """Print medians per contender, and how each compares with flowlake."""
    first = runs["flowlake"][0]
    for name, results in runs.items():
        for result in results:
            if result.rows != first.rows or abs(result.checksum - first.checksum) > 1e-6 * abs(first.checksum):
                raise SystemExit(f"{name} ingested other rows than flowlake: {result} against {first}")
    medians = {name: median(results) for name, results in runs.items()}
    ours = medians["flowlake"]
    print(f"\n{scenario.title}: {first.rows:,} rows, {scenario.repeats} runs each, medians")
    print(f"{'client':<22}{'rows/s':>10}{'wall s':>8}{'CPU s':>8}{'peak MB':>9}   flowlake is")
    for name, result in medians.items():
        compared = (
            f"   {result.seconds / ours.seconds:.1f}x as fast, {result.cpu_seconds / ours.cpu_seconds:.1f}x less CPU, "
            f"{ours.peak_mb / result.peak_mb:.0%} of the memory"
        )
        print(
            f"{name:<22}{result.rows / result.seconds:>10,.0f}{result.seconds:>8.2f}{result.cpu_seconds:>8.2f}"
            f"{result.peak_mb:>9.0f}{'' if name == 'flowlake' else compared}"
        )
    idle = max(0.0, 1 - ours.cpu_seconds / ours.seconds)
    limit = "the server, its latency or the rest of the machine" if idle > 0.25 else "its own CPU"
    print(f"flowlake's client was idle {idle:.0%} of the time; its limit was {limit}")


def median(results: list[Result]) -> Result:
    """Medians of the measurements of equal runs."""
    names = ("seconds", "cpu_seconds", "peak_mb")
    middle = {name: statistics.median(getattr(each, name) for each in results) for name in names}
    return Result(results[0].rows, results[0].checksum, **middle)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["serve", latency]:
            serve(float(latency))
        case ["contend", name, url, session, names]:
            print(json.dumps(asdict(contend(name, url, session, json.loads(names)))))
        case _:
            main()
