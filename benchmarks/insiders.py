"""Ownership parser against edgartools: the same rows, and the ratio of speeds.

    python benchmarks/insiders.py [--passes 7]

Reads the real documents in ../shared/data/sec/ownership_xml, or invented ones where they are absent. edgartools runs
in an environment of its own; its look-up of every owner at the SEC is stubbed, so that no request leaves the machine.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import Counter
from datetime import date
from pathlib import Path
from typing import Any

from benchmarks.peers import Peers, PeerUnavailable
from flowlake.insiders.ownership import OwnershipDocument, parse
from flowlake.insiders.submission import ownership_xml
from flowlake.insiders.symbols import COMPANY_TICKERS
from flowlake.insiders.tables import Filed, to_frames

CORPUS = Path(__file__).resolve().parents[2] / "shared/data/sec/ownership_xml"
EDGARTOOLS = Peers(("edgartools==5.62.0",))
BACKFILL_FILINGS = 5_000_000

ORACLE = r"""
import json, math, re, sys, time
from pathlib import Path
import edgar.ownership.owners as owners

class NoLookup:
    class data:
        is_company = False
    def __init__(self, *_, **__): pass

owners.Entity = NoLookup
from edgar.ownership import Ownership

def number(value):
    if value is None: return None
    text = re.sub(r"\[F\d+\]", "", str(value)).replace(",", "").replace("$", "").strip()
    try: found = float(text)
    except ValueError: return None
    return found if math.isfinite(found) else None

def rows(name, table):
    if table.transactions.data is None: return []
    return [[name, str(r["Date"])[:10], r["Code"], number(r["Shares"]), number(r["Price"])]
            for r in table.transactions.data.to_dict("records")]

files = sorted(Path(sys.argv[1]).glob("*.xml"))
texts = [f.read_text() for f in files]
parsed = [Ownership.from_xml(t) for t in texts]
times = []
for _ in range(PASSES):
    start = time.process_time()
    for t in texts: Ownership.from_xml(t)
    times.append(time.process_time() - start)
print(json.dumps({
    "ms": min(times) / len(texts) * 1e3,
    "rows": {f.name: rows("nonderivative", p.non_derivative_table) + rows("derivative", p.derivative_table)
             for f, p in zip(files, parsed)},
}))
"""

Row = list[Any]


def own_rows(document: OwnershipDocument) -> list[Row]:
    """Table, date, code, shares and price of every transaction."""
    return [
        [row.form_table, str(row.transaction_date), row.code, row.shares, row.price_per_share]
        for row in document.transactions
    ]


def differences(ours: list[Row], theirs: list[Row]) -> Counter[str]:
    """What differs between two readings of a filing, by kind."""
    found: Counter[str] = Counter()
    for form_table in ("nonderivative", "derivative"):
        left = [row for row in ours if row[0] == form_table]
        right = [row for row in theirs if row[0] == form_table]
        if len(left) != len(right):
            found[f"{form_table}: number of rows"] += 1
            continue
        for a, b in zip(left, right, strict=True):
            for position, name in enumerate(("date", "code", "shares", "price"), start=1):
                if a[position] != b[position]:
                    found[f"{form_table} {name}: ours {_shape(a[position])}, theirs {_shape(b[position])}"] += 1
    return found


def _shape(value: Any) -> str:
    return "none" if value is None else "0" if value == 0 else "a value"


def own_time(contents: list[bytes], passes: int) -> tuple[float, float]:
    """CPU milliseconds per filing: bytes to records, and bytes to all tables of the lake."""
    from datetime import UTC, datetime

    import polars as pl

    now = datetime(2026, 3, 4, tzinfo=UTC)
    parsing, tables = [], []
    for _ in range(passes):
        start = time.process_time()
        for content in contents:
            parse(content)
        parsing.append(time.process_time() - start)
        start = time.process_time()
        documents = [parse(content) for content in contents]
        filed = [Filed(str(n), now, document, "", "recorded") for n, document in enumerate(documents)]
        to_frames(filed, pl.DataFrame(schema=COMPANY_TICKERS))
        tables.append(time.process_time() - start)
    return min(parsing) / len(contents) * 1e3, min(tables) / len(contents) * 1e3


def invented(folder: Path) -> Path:
    """Invented documents for machines without the corpus."""
    from flowlake.sandbox.edgar import Issuer, synthetic_archive

    issuers = [
        Issuer(f"{cik:010d}", f"T{chr(65 + cik % 26)}", f"Invented {cik}", 20.0 + cik) for cik in range(101, 140)
    ]
    for filing in synthetic_archive(issuers, date(2026, 3, 2), date(2026, 3, 31), filings_per_day=25):
        (folder / f"{filing.accession}.xml").write_bytes(ownership_xml(filing.content))
    return folder


def main() -> None:
    """Print agreement and speeds."""
    arguments = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    arguments.add_argument("--passes", type=int, default=7)
    passes = arguments.parse_args().passes
    with tempfile.TemporaryDirectory() as scratch:
        folder = CORPUS if CORPUS.is_dir() else invented(Path(scratch))
        paths = sorted(folder.glob("*.xml"))
        contents = [path.read_bytes() for path in paths]
        documents = {path.name: parse(content) for path, content in zip(paths, contents, strict=True)}
        print(f"{len(paths)} {'real' if folder == CORPUS else 'invented'} documents")
        parse_ms, tables_ms = own_time(contents, passes)
        print(f"flowlake: {parse_ms:.3f} ms CPU per filing to typed records, {tables_ms:.3f} ms to lake tables")
        hours = BACKFILL_FILINGS * tables_ms / 3.6e6
        print(f"extrapolated: {BACKFILL_FILINGS / 1e6:.0f} million filings to lake tables in {hours:.1f} CPU hours")
        try:
            oracle: dict[str, Any] = EDGARTOOLS.run(ORACLE.replace("PASSES", str(passes)), folder)
        except PeerUnavailable as reason:
            print(f"edgartools not measured: {reason}")
            return
    print(f"edgartools 5.62.0: {oracle['ms']:.3f} ms CPU per filing, owner look-up stubbed")
    print(f"ratio: {oracle['ms'] / parse_ms:.1f}x to typed records, {oracle['ms'] / tables_ms:.1f}x to lake tables")
    found: Counter[str] = Counter()
    for name, document in documents.items():
        found += differences(own_rows(document), oracle["rows"][name])
    total = sum(len(document.transactions) for document in documents.values())
    print(f"{total} transaction rows compared on date, code, shares and price: {sum(found.values())} differences")
    for kind, count in found.most_common():
        print(f"  {count:5d}  {kind}")


if __name__ == "__main__":
    main()
