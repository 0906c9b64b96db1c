"""The pages: made of the newest state, or files of the reports folder; and the human page of the API.

Pages that show the newest state (market, monitor, history, tickers) are made when asked for. Daily reports are the
files the pipeline wrote, which also tell what that day's checks found; one that was not written is made without that.
Nothing outside the folder is ever read.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path

from flowlake.serve.operations import Operation
from flowlake.serve.problems import MEANINGS, Problem
from flowlake.serve.queries import Listing

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
_NEWEST = re.compile(r"(market|history|(monitor|ticker)-[A-Za-z0-9_]{1,64})\.html")
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


class PageFolder:
    """The rendered pages below one folder; those that `live` can make are made of the newest state instead."""

    def __init__(self, folder: Path, live: Callable[[str], str | None] | None = None) -> None:
        self.folder = folder.absolute()
        self._live = live

    def read(self, name: str) -> PageFile:
        """The page `name` ('' is the index); raises `Problem` 404 for everything that is no page."""
        name = name or _INDEX
        path = self._path(name)
        # A page of the newest state that the lake cannot make (any more) is shown as it was written.
        made = self._made(name) if path is None or _NEWEST.fullmatch(name) else None
        if made is not None:
            return page_file(made.encode())
        if path is None:
            raise Problem(404, "there is no such page", remedy="/ lists the pages; /api describes the API")
        return page_file(path.read_bytes(), path.suffix)

    def _made(self, name: str) -> str | None:
        if name == _INDEX:
            from flowlake.report.build import archive_page

            return archive_page(self.folder)
        return self._live(name) if self._live and _NEWEST.fullmatch(name) else None

    def _path(self, name: str) -> Path | None:
        parts = name.split("/")
        if not all(_PART.fullmatch(part) for part in parts):
            return None
        path = self.folder.joinpath(*parts)
        root = self.folder.resolve()
        inside = path.resolve().is_relative_to(root)
        return path if inside and path.suffix in _MEDIA_TYPES and path.is_file() else None


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
