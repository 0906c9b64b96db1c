"""The page of an evaluation: curves, every table with its intervals, and what may not be concluded from it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl
from markupsafe import Markup, escape

from flowlake.evaluate import summary
from flowlake.report.charts import svg
from flowlake.report.html import About, render

_WIDTH, _HEIGHT = 720, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 190, 14, 44


@dataclass(frozen=True)
class Line:
    """One curve: its name, its points, a band (low, high) per point if known, and whether it is the one to look at."""

    name: str
    points: Sequence[tuple[float, float]]
    band: Sequence[tuple[float, float]] = ()
    marked: bool = False


def render_evaluation(results: Mapping[str, pl.DataFrame], origin: str) -> str:
    """The evaluation as one self-contained HTML document: styles and pictures inline, no network."""
    parts = summary.sections(results)
    pictures = {
        "Recall": recall_picture(results),
        "False alarms": quantile_picture(results),
        "Smallest trade seen": dose_picture(results),
    }
    facts = results["about"].row(0, named=True)
    about = About(
        kind="evaluation",
        title="Evaluation",
        origin=origin,
        session=str(facts["last_session"]),
        summary="How often it is right, and how often it cries wolf",
    )
    context = {"facts": facts, "sections": [(part, pictures.get(part.title)) for part in parts]}
    return render("evaluation.html.j2", about, context)


def recall_picture(results: Mapping[str, pl.DataFrame]) -> Markup:
    """Recall over the budget of alerts a day, one curve per method."""
    table = results["recall"].filter(pl.col("arm") == "informed").sort("budget")
    lines = []
    for method in summary.METHOD_NAMES:
        rows = table.filter(pl.col("method") == method)
        points = list(rows.select("budget", "recall").iter_rows())
        ours = method == summary.OURS
        band = list(rows.select("low", "high").iter_rows()) if ours else ()
        lines.append(Line(method, points, band, ours))
    return curves(lines, "alerts a day over 6,000 names", "recall", log_x=True, ticks=summary.BUDGETS)


def quantile_picture(results: Mapping[str, pl.DataFrame]) -> Markup:
    """P-values of undisturbed sessions against the uniform, both logarithmic: on the diagonal they are honest."""
    rows = results["quantiles"].select(pl.col("expected").log10(), pl.col("observed").clip(1e-6).log10())
    seen = Line("observed", sorted((-x, -y) for x, y in rows.iter_rows()), marked=True)
    top = max((x for x, _ in seen.points), default=1.0)
    ideal = Line("promised", [(0.0, 0.0), (top, top)])
    return curves([ideal, seen], "-log10 of p if uniform", "-log10 of p")


def dose_picture(results: Mapping[str, pl.DataFrame]) -> Markup:
    """Share caught over the size of the trade, one curve per activity class of the host."""
    bands = pl.col("size").log10().mul(2).floor()
    grouped = (
        results["dose"]
        .with_columns(band=bands)
        .group_by("activity", "band")
        .agg(size=pl.col("size").log10().mean(), caught=(pl.col("universe_rank") <= 50).mean(), n=pl.len())
        .filter(pl.col("n") >= 3)
        .sort("activity", "band")
    )
    lines = [
        Line(
            summary.ACTIVITY_NAMES.get(str(label), "all"),
            [(10**size, caught) for size, caught in frame.select("size", "caught").iter_rows()],
        )
        for (label,), frame in grouped.group_by("activity", maintain_order=True)
    ]
    return curves(lines, "contracts traded", "share within 50", log_x=True, ticks=(100, 1_000, 10_000))


@dataclass(frozen=True)
class _Plot:
    """The area of a picture: the x values at its edges (as drawn, that is in decades if `log_x`), and the largest y."""

    low: float
    high: float
    top: float
    log_x: bool

    @property
    def right(self) -> int:
        return _WIDTH - _RIGHT

    @property
    def base(self) -> int:
        return _HEIGHT - _BOTTOM

    def across(self, x: float) -> float:
        drawn = math.log10(x) if self.log_x else x
        return _LEFT + (drawn - self.low) / (self.high - self.low) * (self.right - _LEFT)

    def up(self, y: float) -> float:
        return self.base - y / self.top * (self.base - _TOP)

    def path(self, points: Sequence[tuple[float, float]]) -> str:
        return " ".join(f"{self.across(x):.1f},{self.up(y):.1f}" for x, y in points)


def curves(
    lines: Sequence[Line], x_name: str, y_name: str, *, log_x: bool = False, ticks: Sequence[float] = ()
) -> Markup:
    """`lines` as one SVG; the y axis starts at 0, the x axis is logarithmic if `log_x` is set."""
    lines = [line for line in lines if line.points]
    if not lines:
        return Markup("")
    xs = [math.log10(x) if log_x else x for line in lines for x, _ in line.points]
    ys = [y for line in lines for y in (*(y for _, y in line.points), *(high for _, high in line.band))]
    plot = _Plot(min(xs), max(*xs, min(xs) + 1e-9), max(*ys, 1e-9), log_x)
    parts = _axes(plot, x_name, y_name, ticks)
    for number, line in enumerate(lines):
        if line.band:
            upper = [(x, high) for (x, _), (_, high) in zip(line.points, line.band, strict=True)]
            lower = [(x, low) for (x, _), (low, _) in zip(line.points, line.band, strict=True)]
            parts.append(f'<polygon class="band" points="{plot.path([*upper, *reversed(lower)])}"/>')
        kind = "curve marked-curve" if line.marked else f"curve curve{number % 4}"
        title = f"<title>{escape(line.name)}</title>"
        parts.append(f'<polyline class="{kind}" points="{plot.path(line.points)}">{title}</polyline>')
    parts += _names([(plot.up(line.points[-1][1]), line.name, line.marked) for line in lines])
    said = "; ".join(_said(line) for line in lines)
    return svg("curves", _WIDTH, _HEIGHT, f"{y_name} over {x_name}", said, parts)


def _said(line: Line) -> str:
    """A curve in words: its ends."""
    (x, y), (last_x, last_y) = line.points[0], line.points[-1]
    return f"{line.name.replace('_', ' ').replace('*', '')}: {y:.2g} at {x:,.3g}, {last_y:.2g} at {last_x:,.3g}"


def _axes(plot: _Plot, x_name: str, y_name: str, ticks: Sequence[float]) -> list[str]:
    base, right, middle = plot.base, plot.right, (_LEFT + plot.right) / 2
    even = [plot.low + (plot.high - plot.low) * step / 4 for step in range(5)]
    inside = [x for x in ticks or even if _LEFT - 1 <= plot.across(x) <= right + 1]
    parts = [f'<line class="axis" x1="{_LEFT}" x2="{right}" y1="{base}" y2="{base}"/>']
    for x in inside:
        spelled = f"{x:,.0f}" if plot.log_x else f"{x:.1f}"
        parts.append(
            f'<text class="tick" x="{plot.across(x):.1f}" y="{base + 16}" text-anchor="middle">{spelled}</text>'
        )
    for step in range(5):
        y = plot.top * step / 4
        height = f"{plot.up(y):.1f}"
        parts.append(f'<line class="axis" x1="{_LEFT}" x2="{right}" y1="{height}" y2="{height}"/>')
        parts.append(f'<text class="tick" x="{_LEFT - 6}" y="{height}" text-anchor="end">{y:.2g}</text>')
    parts.append(f'<text class="label" x="{middle}" y="{_HEIGHT - 6}" text-anchor="middle">{escape(x_name)}</text>')
    parts.append(f'<text class="label" x="{_LEFT}" y="{_TOP - 3}">{escape(y_name)}</text>')
    return parts


def _names(ends: list[tuple[float, str, bool]]) -> list[str]:
    """Names beside the curves' ends, moved apart so that none covers another."""
    parts, last = [], -99.0
    for y, name, marked in sorted(ends):
        last = max(y, last + 14)
        weight = ' font-weight="700"' if marked else ""
        label = escape(name.replace("_", " "))
        parts.append(f'<text class="label" x="{_WIDTH - _RIGHT + 8}" y="{last + 4:.1f}"{weight}>{label}</text>')
    return parts
