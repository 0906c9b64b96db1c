"""Pages made when somebody asks for them, from the newest published state, under the names the reports folder uses."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable

from flowlake.report import build
from flowlake.report.build import Reader, UnknownUnderlying
from flowlake.report.html import name_in_file
from flowlake.settings import MonitorSettings

KEPT = 64
"""Pages kept as they are until the lake shows something newer."""


def page_on_request(lake: Reader, file: str, thresholds: MonitorSettings) -> str | None:
    """HTML of the page that is called `file` in the reports folder; None where it is no page of this lake.

    Daily reports are not made here: they show what the checks of their run found, which only the run knows.
    """
    if file == "market.html":
        return build.market_page(lake)
    if file == "history.html":
        return build.history_page(lake)
    if (name := name_in_file("monitor", file)) is not None:
        return build.monitor_page(lake, name, thresholds)
    if (name := name_in_file("ticker", file)) is not None:
        try:
            return build.ticker_page(lake, name)
        except UnknownUnderlying:
            return None
    return None


class LivePages:
    """Makes pages of `newest()`, a version and its snapshot, and keeps those asked for last; safe from many threads."""

    def __init__(self, newest: Callable[[], tuple[int, Reader]], thresholds: MonitorSettings) -> None:
        self._newest = newest
        self._thresholds = thresholds
        self._kept: OrderedDict[str, tuple[int, str | None]] = OrderedDict()
        self._lock = threading.Lock()

    def __call__(self, file: str) -> str | None:
        """The page called `file`, None where there is none."""
        version, lake = self._newest()
        with self._lock:
            kept = self._kept.get(file)
        if kept is not None and kept[0] == version:
            return kept[1]
        html = page_on_request(lake, file, self._thresholds)
        if html is None:
            return None  # not kept: anybody can think of names
        with self._lock:
            self._kept[file] = (version, html)
            self._kept.move_to_end(file)
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return html
