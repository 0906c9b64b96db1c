"""Rule 10b5-1 trading plans: what the box, the footnotes and the remarks of a filing say.

The box (since 2023) speaks for the whole filing and is sometimes wrong: six Apple filings of 2023 leave it unticked
while a footnote names a plan adopted earlier. A footnote speaks for the rows it hangs on. Both are kept, with the
source.
"""

from __future__ import annotations

import re
from datetime import date, datetime
from typing import Literal, NamedTuple

from flowlake.insiders.ownership import Holding, OwnershipDocument

PlanSource = Literal["box", "footnote", "remarks"]

_HYPHEN = "[-\u2010\u2011\u2012\u2013\u2014\u2212 ]?"
_MENTION = re.compile(rf"10b{_HYPHEN}5{_HYPHEN}1(?!\d)|10b5 plan", re.IGNORECASE)
_DENIAL = re.compile(
    rf"\b(?:not|neither)\b[^.;]{{0,80}}?(?:pursuant to|under|in accordance with|part of)[^.;]{{0,60}}?10b{_HYPHEN}5",
    re.IGNORECASE,
)
_MONTHS = "January|February|March|April|May|June|July|August|September|October|November|December"
_DATE = rf"((?:{_MONTHS})\s+\d{{1,2}},?\s+\d{{4}}|\d{{1,2}}/\d{{1,2}}/\d{{4}}|\d{{4}}-\d{{2}}-\d{{2}})"
_ADOPTED = re.compile(
    rf"(?:adopted|entered into|dated|established)\b[^.;]{{0,100}}?(?:\b(?:on|as of|dated|dated as of)\b)?\s*{_DATE}",
    re.IGNORECASE,
)
_DATE_FORMATS = ("%B %d, %Y", "%B %d %Y", "%m/%d/%Y", "%Y-%m-%d")


class Plan(NamedTuple):
    """Whether a plan is named, by what, and when it was adopted."""

    is_planned: bool
    source: PlanSource | None
    adopted_on: date | None


NO_PLAN = Plan(False, None, None)


def names_plan(text: str | None) -> bool:
    """Whether `text` says that something was done under a Rule 10b5-1 plan (and does not deny it)."""
    return bool(text and _MENTION.search(text) and not _DENIAL.search(text))


def adoption_date(text: str | None) -> date | None:
    """The date on which `text` says a plan was adopted, None where it says none."""
    found = _ADOPTED.search(text or "")
    if found is None:
        return None
    stated = " ".join(found.group(1).split())
    for form in _DATE_FORMATS:
        try:
            return datetime.strptime(stated, form).date()
        except ValueError:
            continue
    return None


class FilingPlans:
    """The plan of a filing and of each of its rows."""

    def __init__(self, document: OwnershipDocument) -> None:
        self._planned = {note.footnote_id: note.text for note in document.footnotes if names_plan(note.text)}
        self._remarks = document.remarks if names_plan(document.remarks) else None
        self._box = document.aff10b5_one is True
        rows = (*document.transactions, *document.holdings)
        linked = {link.id for row in rows for link in row.footnotes}
        # A plan footnote that hangs on no cell speaks for the filing, as the remarks do.
        loose = [text for note, text in self._planned.items() if note not in linked]
        self._loose = loose[0] if loose else None
        self._rows_are_marked = any(link.id in self._planned for row in document.transactions for link in row.footnotes)

    @property
    def filing(self) -> Plan:
        """The filing's plan; text wins over the box as source because it can carry a date."""
        texts = list(self._planned.values())
        if texts:
            return Plan(True, "footnote", _first_date(texts))
        if self._remarks:
            return Plan(True, "remarks", adoption_date(self._remarks))
        return Plan(True, "box", None) if self._box else NO_PLAN

    def row(self, row: Holding) -> Plan:
        """The plan of one row: its own footnotes, then the remarks, then the box where no footnote marks any row."""
        texts = [self._planned[link.id] for link in row.footnotes if link.id in self._planned]
        if texts:
            return Plan(True, "footnote", _first_date(texts))
        if self._remarks or self._loose:
            return Plan(True, "remarks" if self._remarks else "footnote", adoption_date(self._remarks or self._loose))
        if self._box and not self._rows_are_marked:
            return Plan(True, "box", None)
        return NO_PLAN


def _first_date(texts: list[str]) -> date | None:
    return next((found for text in texts if (found := adoption_date(text))), None)
