"""`flowlake serve` under load: event and chain queries of a full-size session from a second process on loopback.

The load generator asks for a different underlying each time, so that answers come from Parquet and not from the cache;
a last row shows what the cache does. Latency at a fixed rate is counted from the moment a request was due, so that a
slow answer also shows in the requests behind it. The alternatives answer the same requests with the same JSON encoder,
through DuckDB: with one pooled connection, and with a connection of its own for each request.

`python -m benchmarks.serve [--underlyings 6000] [--contracts 250] [--seconds 10]`
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import polars as pl
import psutil

from flowlake.lake import Lake
from flowlake.schemas import Table, table

SESSIONS = (date(2026, 6, 1), date(2026, 6, 2), date(2026, 6, 3))
RATE = 200
CONNECTIONS = 8
KNOWN = {"available_at": datetime(2026, 6, 3, 21, 35, tzinfo=UTC), "origin": "simulated"}


# --- the lake ---------------------------------------------------------------------------------------------------------


def build_lake(folder: Path, underlyings: int, contracts: int) -> list[str]:
    """A published lake of three sessions, the newest in full; returns its underlyings."""
    lake = Lake.open(folder)
    names = [f"U{number:05d}" for number in range(underlyings)]
    for session in SESSIONS:
        listed = names if session == SESSIONS[-1] else names[: underlyings // 10]
        with lake.commit("benchmark") as tx:
            tx.replace("option_chains", session.isoformat(), chains(session, listed, contracts))
            tx.replace("scored_events", session.isoformat(), events(session, listed[: underlyings // 2]))
    lake.publish(None, "benchmark")
    return names


def chains(session: date, names: Sequence[str], contracts: int) -> pl.DataFrame:
    """`contracts` lines of each underlying: ten expirations, strikes, both rights."""
    rows = len(names) * contracts
    rng = np.random.default_rng(session.toordinal())
    line = np.tile(np.arange(contracts), len(names))
    underlying = np.repeat(np.array(names), contracts)
    expirations = np.array([np.datetime64("2026-06-19") + 28 * number for number in range(10)])
    frame = pl.DataFrame(
        {
            "session": pl.repeat(session, rows, eager=True),
            "contract_id": np.arange(rows, dtype=np.int32),
            "underlying": underlying,
            "expiration": expirations[line % 10],
            "strike": 50.0 + 2.5 * (line // 20),
            "right": np.where(line // 10 % 2 == 0, "C", "P"),
            "volume": rng.poisson(3.0, rows),
            "open_interest": rng.poisson(80.0, rows),
        }
        | {name: rng.random(rows) for name in ("bid", "ask", "mid", "price", "delta", "gamma", "implied_volatility")}
    )
    contract = pl.format("O:{}260619C{}", "underlying", pl.col("contract_id").cast(pl.String).str.zfill(8))
    return complete(table("option_chains"), frame.with_columns(contract=contract, **_known()))


def events(session: date, names: Sequence[str]) -> pl.DataFrame:
    """An event of each underlying, with ten factors and three lines, as the pipeline writes them."""
    factor = {"factor": "volume_surprise", "value": 1.5, "contribution": 0.5, "text": "traded 40 times its usual"}
    line = {"contract_id": 1, "contract": "O:U00001260619C00100000", "strike": 100.0, "right": "C", "volume": 500}
    count = len(names)
    frame = pl.DataFrame(
        {
            "session": [session] * count,
            "event_id": [f"{session.toordinal():06x}{number:010x}" for number in range(count)],
            "underlying": names,
            "rank": range(1, count + 1),
            "score": np.linspace(10.0, 1.0, count),
            "conviction": ["HIGH" if number < 20 else "NONE" for number in range(count)],
            "status": ["provisional"] * count,
            "algorithms": [["volume", "multi_strike"]] * count,
            "factors": [[factor] * 10] * count,
            "contracts": [[line] * 3] * count,
            "explanation": ["calls are statistically unusual: traded 40 times their usual"] * count,
        }
    )
    return complete(table("scored_events"), frame.with_columns(**_known()))


def complete(declared: Table, frame: pl.DataFrame) -> pl.DataFrame:
    """`frame` with plain values in the columns it lacks."""
    plain = {pl.String: "x", pl.Boolean: False, pl.Date: SESSIONS[0]}

    def value(column: str, dtype: pl.DataType | type[pl.DataType]) -> pl.Expr:
        if isinstance(dtype, pl.Datetime):
            return pl.lit(KNOWN["available_at"]).alias(column)
        if isinstance(dtype, pl.List | pl.Struct):
            return pl.lit(None, dtype).alias(column) if isinstance(dtype, pl.Struct) else _empty(column, dtype)
        return pl.lit(plain.get(dtype, 0), dtype).alias(column)  # pyright: ignore[reportArgumentType, reportCallIssue]

    missing = [
        pl.lit(None, column.dtype).alias(column.name) if column.nullable else value(column.name, column.dtype)
        for column in declared.columns
        if column.name not in frame.columns
    ]
    wide = frame.with_columns(missing)
    return wide.with_columns(pl.col(c.name).cast(c.dtype, strict=False) for c in declared.columns)


def _empty(column: str, dtype: pl.DataType) -> pl.Expr:
    return pl.lit(pl.Series([[]], dtype=dtype)).first().alias(column)


def _known() -> dict[str, pl.Expr]:
    return {name: pl.lit(value) for name, value in KNOWN.items()}


# --- the servers ------------------------------------------------------------------------------------------------------


def serve_flowlake(data_dir: Path) -> None:
    """`flowlake serve`, as it is."""
    from flowlake.serve.server import LakeServer
    from flowlake.settings import Settings

    settings = Settings(data_dir=data_dir, reports_dir=data_dir / "reports")
    LakeServer(settings).serve(on_ready=lambda url: print(url, flush=True))


def serve_duckdb(data_dir: Path, pooled: bool) -> None:
    """The same two endpoints over DuckDB, in the same web server."""
    import socket

    import uvicorn
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

    import flowlake
    from flowlake.serve.formats import rows_json

    shared = flowlake.connect(data_dir)
    left_out = "EXCLUDE (factors, contracts)"
    local = threading.local()

    def ask(query: str, values: list[str]) -> bytes:
        if not pooled:
            with flowlake.connect(data_dir) as own:
                return rows_json(own.sql(query, params=values).pl())
        if not hasattr(local, "cursor"):
            local.cursor = shared.cursor()
            local.cursor.execute("USE flowlake")
        return rows_json(local.cursor.sql(query, params=values).pl())

    def answer(request: Request) -> Response:
        if request.url.path.endswith("/events"):
            newest = "session = (SELECT max(session) FROM scored_events)"
            body = ask(
                f"SELECT * {left_out} FROM scored_events WHERE {newest} AND score >= ? ORDER BY rank LIMIT 50",
                [request.query_params["min_score"]],
            )
        else:
            newest = "session = (SELECT max(session) FROM option_chains)"
            body = ask(
                f"SELECT * FROM option_chains WHERE {newest} AND underlying = ? "
                'ORDER BY expiration, strike, "right", contract LIMIT 500',
                [request.query_params["underlying"]],
            )
        return Response(body, media_type="application/json")

    app = Starlette(routes=[Route(f"/api/v1/{name}", answer) for name in ("events", "chains")])
    listening = socket.create_server(("127.0.0.1", 0), backlog=1024)
    print(f"http://127.0.0.1:{listening.getsockname()[1]}", flush=True)
    config = uvicorn.Config(app, log_config=None, access_log=False, lifespan="off")
    uvicorn.Server(config).run([listening])


# --- the load ---------------------------------------------------------------------------------------------------------


@dataclass
class Measured:
    """What a run of the load generator saw; latencies in milliseconds, and the server's CPU time."""

    latencies: np.ndarray
    seconds: float
    bytes: int
    cpu_seconds: float = 0.0

    @property
    def rate(self) -> float:
        """Answers a second."""
        return len(self.latencies) / self.seconds

    def quantile(self, q: float) -> float:
        """A quantile of the latency, in milliseconds."""
        return float(np.quantile(self.latencies, q))


async def get(path: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> int:
    """One request on an open connection; the bytes of its body. Raises where the answer is not 200."""
    writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    length = int(head.split("content-length:", 1)[1].split("\r\n", 1)[0])
    body = await reader.readexactly(length)
    if " 200 " not in head.split("\r\n", 1)[0]:
        raise RuntimeError(f"{path}: {head.splitlines()[0]} {body[:200]!r}")
    return len(body)


async def load(url: str, path: Callable[[int], str], seconds: float, rate: float | None) -> Measured:
    """Ask for `path(0)`, `path(1)`, ... on several connections, at `rate` a second or (None) as fast as it answers."""
    host, port = url.removeprefix("http://").split(":")
    latencies: list[float] = []
    sizes: list[int] = []
    number = 0
    started = time.perf_counter()

    async def work() -> None:
        nonlocal number
        reader, writer = await asyncio.open_connection(host, int(port))
        while (now := time.perf_counter()) < started + seconds:
            mine, number = number, number + 1
            due = now
            if rate is not None:
                due = started + mine / rate
                await asyncio.sleep(max(0.0, due - now))
            sizes.append(await get(path(mine), reader, writer))
            latencies.append(1000 * (time.perf_counter() - due))
        writer.close()

    await asyncio.gather(*(work() for _ in range(CONNECTIONS)))
    return Measured(np.array(latencies), time.perf_counter() - started, sum(sizes))


def paths(names: Sequence[str]) -> Callable[[int], str]:
    """Event and chain queries in turn, each different from those before."""
    order = np.random.default_rng(5).permutation(len(names))

    def path(number: int) -> str:
        if number % 2:
            return f"/api/v1/events?session=newest&limit=50&min_score={1 + 8 * (number % 100_000) / 100_000:.5f}"
        return f"/api/v1/chains?limit=500&underlying={names[order[number // 2 % len(names)]]}"

    return path


def measure(kind: str, data_dir: Path, path: Callable[[int], str], seconds: float, rate: float | None) -> Measured:
    """Start the server `kind` in a process of its own, warm it up, and load it from this one."""
    command = [sys.executable, "-m", "benchmarks.serve", "--server", kind, str(data_dir)]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None, "stdout is a pipe"
        url = server.stdout.readline().strip()
        asyncio.run(load(url, lambda number: path(number + 1_000_000), 1.5, None))
        before = cpu_seconds(server.pid)
        measured = asyncio.run(load(url, path, seconds, rate))
        return replace(measured, cpu_seconds=cpu_seconds(server.pid) - before)
    finally:
        server.terminate()
        server.wait()


def cpu_seconds(process: int) -> float:
    """CPU time of all threads of a process, user and system."""
    times = psutil.Process(process).cpu_times()
    return times.user + times.system


def main() -> None:
    """Print the table."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--underlyings", type=int, default=6000)
    options.add_argument("--contracts", type=int, default=250)
    options.add_argument("--seconds", type=float, default=10.0)
    options.add_argument("--server", nargs=2, metavar=("KIND", "DATA"), help=argparse.SUPPRESS)
    asked = options.parse_args()
    if asked.server:
        kind, folder = asked.server
        if kind == "flowlake":
            serve_flowlake(Path(folder))
        else:
            serve_duckdb(Path(folder), pooled=kind == "pooled")
        return
    with tempfile.TemporaryDirectory(prefix="flowlake-bench-") as folder:
        started = time.perf_counter()
        names = build_lake(Path(folder), asked.underlyings, asked.contracts)
        rows = asked.underlyings * asked.contracts
        took = time.perf_counter() - started
        print(f"lake: newest session of {rows:,} contracts, two smaller ones, built in {took:.0f} s")
        _table(Path(folder), paths(names), asked.seconds)


def _table(folder: Path, path: Callable[[int], str], seconds: float) -> None:
    print(f"{CONNECTIONS} connections from a second process, half events (50 rows), half chains (250 rows)\n")
    print(f"{'':58} {'req/s':>7} {'p50 ms':>8} {'p99 ms':>8} {'CPU ms':>8} {'kB each':>8}")
    at_rate = measure("flowlake", folder, path, seconds, RATE)
    _row(f"flowlake serve, {RATE} requests/s asked", at_rate)
    full = measure("flowlake", folder, path, seconds, None)
    _row("flowlake serve, as fast as it answers", full)
    pooled = measure("pooled", folder, path, seconds, None)
    _row("DuckDB, one pooled connection", pooled)
    fresh = measure("connect", folder, path, seconds, None)
    _row("DuckDB, a connection per request", fresh)
    cached = measure("flowlake", folder, lambda number: path(number % 20), seconds, None)
    _row("flowlake serve, the same 20 questions (cache)", cached)
    print(f"\nflowlake answers {full.rate / fresh.rate:.1f} times as many requests as a DuckDB connection per request")
    print(f"and {full.rate / pooled.rate:.1f} times as many as a pooled DuckDB connection.")
    print("CPU ms is the server's own CPU time per answer: what a busy machine does not change.")
    holds = at_rate.rate > 0.98 * RATE and at_rate.quantile(0.99) < 100
    print(f"bar (200 requests/s with p99 below 100 ms): {'holds' if holds else 'MISSED'}")


def _row(what: str, measured: Measured) -> None:
    answers = len(measured.latencies)
    latency = f"{measured.quantile(0.5):8.1f} {measured.quantile(0.99):8.1f}"
    cost = f"{1000 * measured.cpu_seconds / answers:8.1f} {measured.bytes / answers / 1000:8.1f}"
    print(f"{what:58} {measured.rate:7.0f} {latency} {cost}", flush=True)


if __name__ == "__main__":
    main()
