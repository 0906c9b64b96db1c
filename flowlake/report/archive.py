"""The index over all reports in a folder, newest first, searched in the browser. Pages describe themselves."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from flowlake.report.html import About, render

INDEX = "index.html"

KINDS = {
    "market": "Market",
    "daily": "Daily report",
    "monitor": "Monitor",
    "history": "History",
    "ticker": "Ticker",
    "data_docs": "Data quality",
    "evaluation": "Evaluation",
    "other": "Other",
}
"""Kinds of pages with the words for them, in the order of the page where sessions are equal."""

_HEAD = 65_536
"""Bytes of a page that are read to learn what it is."""


@dataclass(frozen=True)
class Entry:
    """One page of the archive."""

    file: str
    kind: str
    title: str
    origin: str
    session: str
    names: Sequence[str]
    summary: str
    kilobytes: float


@dataclass(frozen=True)
class ArchivePage:
    """Everything the index shows."""

    entries: Sequence[Entry]


def render_archive(page: ArchivePage) -> str:
    """The index as one self-contained HTML document."""
    origins = {entry.origin for entry in page.entries} - {"unknown"}
    about = About(
        kind="archive",
        title="Reports",
        origin=origins.pop() if len(origins) == 1 else "unknown",
        session=max((entry.session for entry in page.entries), default=""),
        summary=f"{len(page.entries)} pages",
    )
    order = {kind: at for at, kind in enumerate(KINDS)}
    entries = sorted(page.entries, key=lambda entry: (order.get(entry.kind, len(order)), entry.file))
    entries.sort(key=lambda entry: entry.session, reverse=True)
    present = {entry.kind for entry in entries}
    context: dict[str, Any] = {
        "entries": entries,
        "kinds": [(kind, name) for kind, name in KINDS.items() if kind in present],
        "kind_names": KINDS,
        "sessions": sorted({entry.session for entry in entries if entry.session}, reverse=True),
    }
    return render("archive.html.j2", about, context)


def read_archive(folder: Path) -> list[Entry]:
    """Every HTML page of `folder` and of its direct subfolders' index pages, the index itself left out."""
    pages = [path for path in folder.glob("*.html") if path.name != INDEX and not path.name.startswith(".")]
    pages += folder.glob(f"*/{INDEX}")
    return [_entry(folder, path) for path in sorted(pages)]


def _entry(folder: Path, path: Path) -> Entry:
    with path.open("rb") as opened:
        head = opened.read(_HEAD).decode("utf-8", errors="replace")
    found = _Head()
    found.feed(head)
    about = found.about
    return Entry(
        file=path.relative_to(folder).as_posix(),
        kind=str(about.get("kind", "other")),
        title=str(about.get("title") or found.title.strip() or path.stem),
        origin=str(about.get("origin", "unknown")),
        session=str(about.get("session", "")),
        names=[str(name) for name in about.get("names", ())],
        summary=str(about.get("summary", "")),
        kilobytes=path.stat().st_size / 1000,
    )


class _Head(HTMLParser):
    """Reads a page's title and what it says of itself."""

    def __init__(self) -> None:
        super().__init__()
        self.about: dict[str, Any] = {}
        self.title = ""
        self._in_title = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        said = dict(attrs)
        self._in_title = tag == "title"
        if tag != "meta" or said.get("name") != "flowlake:page":
            return
        try:
            about = json.loads(said.get("content") or "{}")
        except ValueError:
            return  # a page that somebody else wrote: it is listed by its file name
        self.about = about if isinstance(about, dict) else {}

    def handle_data(self, data: str) -> None:
        if self._in_title:
            self.title += data

    def handle_endtag(self, tag: str) -> None:
        self._in_title = False
