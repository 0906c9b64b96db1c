"""The pages: rendered from the newest published lake, or read from the reports folder, and from nowhere else.

Pages that show the newest state (market, monitor, history, tickers) are rendered when asked for and kept until the
lake changes. Daily reports are the files the pipeline wrote, which also tell what that day's checks found; one that
was not written is rendered without that.
"""

from __future__ import annotations

import base64
import hashlib
import re
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from functools import cache
from importlib import resources
from pathlib import Path

from flowlake.serve.lake_reader import LakeReader, State
from flowlake.serve.operations import Operation
from flowlake.serve.problems import MEANINGS, Problem
from flowlake.serve.queries import Listing
from flowlake.settings import MonitorSettings

_MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".txt": "text/plain; charset=utf-8",
    ".csv": "text/csv; charset=utf-8",
}
_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._ -]{0,127}")
_INDEX = "index.html"
_LIVE = re.compile(r"(market|history|(monitor|ticker)-[A-Za-z0-9_]{1,64})\.html")
_RENDERED = re.compile(rf"{_LIVE.pattern}|daily-\d{{4}}-\d{{2}}-\d{{2}}\.html|index\.html")
_MOST_KEPT = 32
_SCRIPT = re.compile(rb"<script>(.*?)</script>", re.DOTALL)

_STRICT = "default-src 'none'; style-src 'unsafe-inline'; img-src 'self' data:; font-src data:; connect-src 'self'; "
_CLOSED = "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"


@dataclass(frozen=True)
class PageFile:
    """A page as it is sent."""

    body: bytes
    media_type: str
    tag: str
    csp: str


def page_file(body: bytes, suffix: str = ".html") -> PageFile:
    """`body` with what its answer says about it."""
    csp = csp_of(body) if suffix == ".html" else _STRICT + _CLOSED
    return PageFile(body, _MEDIA_TYPES[suffix], hashlib.sha256(body).hexdigest()[:32], csp)


def csp_of(html: bytes) -> str:
    """The Content-Security-Policy of a page: of its scripts only flowlake's own, known by their hash, may run."""
    trusted = {_script_hash(script) for script in _SCRIPT.findall(html)} & trusted_scripts()
    scripts = f"script-src {' '.join(sorted(trusted))}; " if trusted else ""
    return f"{_STRICT}{scripts}{_CLOSED}"


class Pages:
    """The pages of one lake and one reports folder; safe to use from many threads."""

    def __init__(self, folder: Path, reader: LakeReader, monitor: MonitorSettings) -> None:
        self.folder = folder.absolute()
        self._reader = reader
        self._monitor = monitor
        self._kept: OrderedDict[str, tuple[int, PageFile]] = OrderedDict()
        # One page is rendered at a time: whoever waited for the same page finds it kept.
        self._rendering = threading.Lock()

    def read(self, name: str) -> PageFile:
        """The page `name` ('' is the index); raises `Problem` 404 for everything that is no page."""
        name = name or _INDEX
        path = self._path(name)
        if path is not None and not _LIVE.fullmatch(name):
            return page_file(path.read_bytes(), path.suffix)
        return self._rendered(name)

    def _rendered(self, name: str) -> PageFile:
        if not _RENDERED.fullmatch(name):
            raise _no_page()
        with self._rendering:
            state = self._reader.state()
            version, page = self._kept.get(name, (None, None))
            if page is None or version != state.version or name == _INDEX:
                page = page_file(self._render(name, state).encode())
                self._kept[name] = (state.version, page)
            self._kept.move_to_end(name)
            while len(self._kept) > _MOST_KEPT:
                self._kept.popitem(last=False)
            return page

    def _render(self, name: str, state: State) -> str:
        from flowlake.report import build
        from flowlake.report.html import monitor_file

        if name == _INDEX:
            return build.archive_page(self.folder)
        if name == "market.html":
            return build.market_page(state.snapshot)
        if name == "history.html":
            return build.history_page(state.snapshot)
        if name.startswith("daily-"):
            return self._daily(name.removeprefix("daily-").removesuffix(".html"), state)
        if name.startswith("monitor-"):
            watched = {monitor_file(one): one for one in build.monitored(self._monitor)}
            if name not in watched:
                raise _no_page()
            return build.monitor_page(state.snapshot, watched[name], self._monitor)
        return _ticker(name, state)

    @staticmethod
    def _daily(session: str, state: State) -> str:
        from flowlake.report import build

        if not state.snapshot.has("scored_events", session):
            raise _no_page()
        return build.daily_page(state.snapshot, date.fromisoformat(session))

    def _path(self, name: str) -> Path | None:
        parts = name.split("/")
        if not all(_PART.fullmatch(part) for part in parts):
            return None
        path = self.folder.joinpath(*parts)
        root = self.folder.resolve()
        inside = path.resolve().is_relative_to(root)
        return path if inside and path.suffix in _MEDIA_TYPES and path.is_file() else None


def _ticker(name: str, state: State) -> str:
    from flowlake.report import build
    from flowlake.report.html import ticker_file

    spelled = name.removeprefix("ticker-").removesuffix(".html")
    underlying = re.sub(r"_([0-9a-f]{1,5})_", lambda code: chr(int(code[1], 16)), spelled)
    if ticker_file(underlying) != name or not underlying.isprintable():
        raise _no_page()
    try:
        return build.ticker_page(state.snapshot, underlying)
    except build.UnknownUnderlying as error:
        raise _no_page() from error


def _no_page() -> Problem:
    return Problem(404, "there is no such page", remedy="/ lists the pages; /api describes the API")


@cache
def trusted_scripts() -> frozenset[str]:
    """CSP hashes of the scripts flowlake's templates put into pages, as they stand there."""
    folder = resources.files("flowlake.report") / "templates"
    texts = [entry.read_bytes() for entry in folder.iterdir() if entry.name.endswith(".js")]
    # A template includes a file without the newline at its end.
    return frozenset(_script_hash(variant) for text in texts for variant in {text, text.rstrip(b"\n")})


def api_page(listings: Sequence[Listing], operations: Sequence[Operation]) -> bytes:
    """The human page at /api: every endpoint with its parameters, and what the answers mean."""
    from jinja2 import Environment, PackageLoader

    environment = Environment(
        loader=PackageLoader("flowlake.serve", "templates"), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.get_template("api.html.j2")
    problems = [(Problem(status, "").document()["type"].partition("#")[2], says) for status, says in MEANINGS.items()]
    return template.render(listings=listings, operations=operations, problems=problems).encode()


def _script_hash(script: bytes) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(script).digest()).decode()}'"
