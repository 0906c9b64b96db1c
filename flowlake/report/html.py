"""What every page shares: the Jinja2 environment, formats for people, file names, and what a page says of itself."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup, escape

from flowlake.calendar import NEW_YORK

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATES = Path(__file__).parent / "templates"

ORIGIN_NOTES = {
    "simulated": "Every price, trade and event on this page was generated. It shows how the software works, not what "
    "any company's options did.",
    "recorded": "Recorded sessions replayed through the pipeline.",
    "vendor": "Vendor data, delayed as the subscription provides.",
}
"""What a page says about where its data came from, by `origin`."""

_PLAIN_NAME = re.compile(r"[A-Za-z0-9]")
_SPELLED = re.compile(r"_([0-9a-f]+)_")


@dataclass(frozen=True)
class About:
    """What a page says of itself, for people in its head and for the archive: kind, session, names it is about."""

    kind: str
    title: str
    origin: str = "unknown"
    session: str = ""
    names: Sequence[str] = ()
    summary: str = ""

    @property
    def origin_note(self) -> str:
        """Where the data came from, in words."""
        return ORIGIN_NOTES.get(self.origin, "")

    @property
    def json(self) -> str:
        """The same for programs; the template escapes it into an attribute."""
        return json.dumps(asdict(self), ensure_ascii=True, sort_keys=True)


def render(template: str, about: About, context: Mapping[str, Any]) -> str:
    """The page as one self-contained HTML document: styles, pictures and script inline, nothing fetched."""
    shared = {"about": about, "script": page_script(), "script_hash": script_hash()}
    return environment().get_template(template).render(shared | dict(context))


@cache
def environment() -> Environment:
    """The Jinja2 environment of all pages: everything is escaped, an unknown name is an error."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    shared = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    shared.filters |= {
        "compact": compact,
        "dollars": dollars,
        "percent": percent,
        "number": number,
        "signed": signed,
        "words": words,
        "counted": counted,
        "ticker_file": ticker_file,
        "monitor_file": monitor_file,
        "clock": clock,
        "cell": cell,
    }
    return shared


@cache
def page_script() -> Markup:
    """The one script of all pages."""
    return Markup((TEMPLATES / "page.js").read_text(encoding="utf-8"))


@cache
def script_hash() -> str:
    """The script's hash as the Content-Security-Policy wants it: a browser runs this script and no other."""
    return "sha256-" + base64.b64encode(hashlib.sha256(page_script().encode()).digest()).decode()


def ticker_file(underlying: str) -> str:
    """File name of the page of `underlying`; anything but letters and digits is spelled as its code points."""
    return f"ticker-{_file_part(underlying)}.html"


def monitor_file(underlying: str) -> str:
    """File name of the monitor page of `underlying`."""
    return f"monitor-{_file_part(underlying)}.html"


def _file_part(name: str) -> str:
    plain = "".join(char if _PLAIN_NAME.fullmatch(char) else f"_{ord(char):x}_" for char in name)
    return plain if len(plain) <= 64 else hashlib.sha256(name.encode()).hexdigest()[:32]


def name_in_file(kind: str, file: str) -> str | None:
    """The name that `file` ('ticker-AAPL.html') was made for; None where it is no such file, or the name too long."""
    found = re.fullmatch(rf"{kind}-((?:[A-Za-z0-9]|_[0-9a-f]+_)+)\.html", file)
    if found is None:
        return None
    try:
        name = _SPELLED.sub(lambda part: chr(int(part[1], 16)), found[1])
        name.encode()
    except (ValueError, OverflowError):
        return None  # no such code point, or half of one
    return name if f"{kind}-{_file_part(name)}.html" == file else None


def replace_file(path: Path, text: str) -> bool:
    """Write `text` so that a reader sees the old page or the new one; False where the page already said so."""
    data = text.encode("utf-8")
    if path.exists() and path.read_bytes() == data:
        return False
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(data)
    temporary.replace(path)
    return True


def counted(count: int, noun: str) -> str:
    """A count with its noun: '1 event', '2 events'."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def compact(value: float | None) -> str:
    """A large number for people: 1234567 as '1.2M'; a dash where unknown."""
    if value is None:
        return "–"
    for size, suffix in ((1e9, "B"), (1e6, "M"), (1e3, "K")):
        if abs(value) >= size:
            return f"{value / size:.1f}{suffix}"
    return f"{value:,.0f}"


def dollars(value: float | None) -> str:
    """An amount of money, shortened; a dash where unknown."""
    return "–" if value is None else f"${compact(value)}"


def percent(value: float | None, digits: int = 1) -> str:
    """A share as a percentage; a dash where unknown."""
    return "–" if value is None else f"{100 * value:.{digits}f}%"


def number(value: float | None, digits: int = 2) -> str:
    """A plain number; a dash where unknown."""
    return "–" if value is None else f"{value:,.{digits}f}"


def signed(value: float | None, digits: int = 0) -> str:
    """A change, with its sign; a dash where unknown."""
    return "–" if value is None else f"{value:+,.{digits}f}"


def words(name: str | None) -> str:
    """A name of the program as words: 'multi_strike' as 'multi strike'."""
    return "–" if name is None else name.replace("_", " ")


def clock(moment: datetime | None) -> str:
    """A moment as New York reads it: '15:30'; a dash where unknown."""
    return "–" if moment is None else f"{moment.astimezone(NEW_YORK):%H:%M}"


def cell(value: object, text: str, kind: str = "n") -> Markup:
    """A table cell that sorts by `value` and shows `text`; unknown values sort last."""
    known = "" if value is None else f"{value:.10g}" if isinstance(value, float) else str(value)
    return Markup('<td class="{}" data-v="{}">{}</td>').format(kind, known, escape(text))


def newest(days: Sequence[date]) -> date | None:
    """The latest of `days`, None where there is none."""
    return max(days, default=None)
