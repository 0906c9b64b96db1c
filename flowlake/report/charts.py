"""Inline SVG pictures, coloured by the page's CSS so that one drawing serves dark, light and print."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import polars as pl
from markupsafe import Markup, escape

_WIDTH, _WIDE = 720, 1040
_LABEL = 96
_BAND = 74
_MAX_EXPIRATIONS = 5
_MAX_STRIKES = 41
_TALLEST = 0.95


@dataclass(frozen=True)
class Factor:
    """One factor of a score: its name, its share of the log-likelihood ratio, and the reason in words."""

    name: str
    contribution: float
    text: str


def factor_bars(factors: Sequence[Factor]) -> Markup:
    """Horizontal bars of signed contributions (natural log units), largest first; a bar's title is its reason."""
    shown = sorted(factors, key=lambda factor: -abs(factor.contribution))
    if not shown:
        return Markup("")
    row, top = 22, 4
    scale = max(abs(factor.contribution) for factor in shown) or 1.0
    middle, reach = 300, 330
    parts = [f'<line class="axis" x1="{middle}" x2="{middle}" y1="0" y2="{top + row * len(shown)}"/>']
    for number, factor in enumerate(shown):
        y = top + row * number
        width = reach * abs(factor.contribution) / scale
        x = middle if factor.contribution >= 0 else middle - min(width, middle - 190)
        width = width if factor.contribution >= 0 else min(width, middle - 190)
        kind = "up" if factor.contribution >= 0 else "down"
        parts.append(
            f'<g><title>{escape(factor.text)}</title><text class="label" x="180" y="{y + 14}" text-anchor="end">'
            f'{escape(factor.name.replace("_", " "))}</text><rect class="{kind}" x="{x:.1f}" y="{y + 3}" '
            f'width="{max(width, 0.5):.1f}" height="14" rx="2"/><text class="value" x="{middle + reach + 8}" '
            f'y="{y + 14}">{factor.contribution:+.2f}</text></g>'
        )
    reasons = "; ".join(f"{factor.name.replace('_', ' ')} {factor.contribution:+.2f}" for factor in shown)
    return svg("factors", _WIDTH, top + row * len(shown) + 4, "What the score is made of", reasons, parts)


def chain_picture(chain: pl.DataFrame, spot: float | None, marked: set[str]) -> Markup:
    """Volume against open interest over strikes, one band per expiration: calls above the line, puts below.

    `chain` has expiration, strike, right, volume, open_interest, contract of one underlying; bars are on a square-root
    scale so that a busy line does not hide its neighbours; contracts in `marked` stand out.
    """
    window = _busy_window(chain, spot, marked)
    if window.is_empty():
        return Markup('<p class="quiet">No contract of this chain traded.</p>')
    expirations = window["expiration"].unique().sort().to_list()
    strikes = window["strike"].unique().sort().to_list()
    column = (_WIDE - _LABEL - 8) / max(len(strikes), 1)
    at = {strike: _LABEL + column * (number + 0.5) for number, strike in enumerate(strikes)}
    # One old position must not flatten the day: the tallest open interest is cut off at the band's edge.
    usual = pl.col("open_interest").fill_null(0).quantile(_TALLEST)
    peak = float(window.select(pl.max_horizontal(pl.col("volume").max(), usual)).item() or 1)
    height = _BAND * len(expirations) + 30
    parts: list[str] = []
    for number, expiration in enumerate(expirations):
        middle = _BAND * number + _BAND / 2
        parts.append(f'<text class="label" x="4" y="{middle + 4}">{expiration:%d %b %Y}</text>')
        parts.append(f'<line class="axis" x1="{_LABEL}" x2="{_WIDE - 4}" y1="{middle}" y2="{middle}"/>')
        band = window.filter(pl.col("expiration") == expiration)
        for row in band.iter_rows(named=True):
            parts.append(_bars(row, at[row["strike"]], column, middle, peak, row["contract"] in marked))
    parts += _strike_axis(strikes, at, _BAND * len(expirations) + 16, spot)
    title = "Volume (filled) against open interest (outlined) by strike and expiration"
    traded = window.filter(pl.col("volume") > 0).sort("volume", descending=True).head(3)
    busiest = "; ".join(f"{row['contract']} traded {row['volume']:,}" for row in traded.iter_rows(named=True))
    return svg("chain", _WIDE, height, title, f"Busiest: {busiest}" if busiest else "Nothing traded", parts)


def surface_picture(surface: pl.DataFrame) -> Markup:
    """At-the-money volatility over tenors, with the 25-delta put and call beside it where the smile is known.

    `surface` has tenor_days, atm_volatility, risk_reversal_25 and butterfly_25 of one underlying, by tenor.
    """
    if surface.height < 2:
        return Markup("")
    wings = surface.with_columns(
        call=pl.col("atm_volatility") + pl.col("butterfly_25") + pl.col("risk_reversal_25") / 2,
        put=pl.col("atm_volatility") + pl.col("butterfly_25") - pl.col("risk_reversal_25") / 2,
    )
    lines = {"atm": "atm_volatility", "put": "put", "call": "call"}
    values = [value for name in lines.values() for value in wings[name].drop_nulls()]
    low, high = min(values), max(values)
    span = (high - low) or 0.01
    height, left, right = 110, _LABEL, _WIDE - 70
    longest = math.sqrt(surface["tenor_days"].max())  # pyright: ignore[reportArgumentType]

    def x(tenor: int) -> float:
        return left + (right - left) * math.sqrt(tenor) / longest

    def y(value: float) -> float:
        return 12 + (height - 34) * (high - value) / span

    parts: list[str] = []
    for kind, name in lines.items():
        points = [(x(t), y(v)) for t, v in zip(wings["tenor_days"], wings[name], strict=True) if v is not None]
        if len(points) > 1:
            path = " ".join(f"{px:.1f},{py:.1f}" for px, py in points)
            parts.append(f'<polyline class="line {kind}" points="{path}"/>')
            label = "ATM" if kind == "atm" else f"25Δ {kind}"
            parts.append(f'<text class="tick" x="{points[-1][0] + 4:.1f}" y="{points[-1][1] + 4:.1f}">{label}</text>')
    for value in (high, low):
        parts.append(f'<text class="tick" x="{left - 6}" y="{y(value) + 4:.1f}" text-anchor="end">{value:.0%}</text>')
    for tenor in surface["tenor_days"]:
        parts.append(f'<text class="tick" x="{x(tenor):.1f}" y="{height - 4}" text-anchor="middle">{tenor} d</text>')
    known = surface.filter(pl.col("atm_volatility").is_not_null())
    levels = "; ".join(f"{t} days {v:.1%}" for t, v in known.select("tenor_days", "atm_volatility").iter_rows())
    title = "Implied volatility by tenor: at the money, 25-delta put and call"
    return svg("smile", _WIDE, height, title, f"At the money: {levels}", parts)


def _busy_window(chain: pl.DataFrame, spot: float | None, marked: set[str]) -> pl.DataFrame:
    """The expirations that traded most (and those of marked contracts), and the strikes nearest the spot in them."""
    traded = chain.filter((pl.col("volume") > 0) | pl.col("contract").is_in(list(marked)))
    if traded.is_empty():
        return traded
    expirations = (
        traded.group_by("expiration")
        .agg(pl.col("contract").is_in(list(marked)).any().alias("marked"), pl.col("volume").sum())
        .sort("marked", "volume", "expiration", descending=[True, True, False])
        .head(_MAX_EXPIRATIONS)
    )
    shown = chain.join(expirations.select("expiration"), on="expiration", how="semi")
    centre = spot if spot is not None else shown["strike"].median()
    needed = set(shown.filter(pl.col("contract").is_in(list(marked)))["strike"].to_list())
    busy = shown.join(traded.select("strike").unique(), on="strike", how="semi")["strike"].unique()
    nearest = sorted(busy.to_list(), key=lambda strike: (strike not in needed, abs(strike - float(centre or 0))))  # pyright: ignore[reportArgumentType]
    return shown.filter(pl.col("strike").is_in(nearest[:_MAX_STRIKES])).sort("expiration", "strike", "right")


def _bars(row: dict, x: float, column: float, middle: float, peak: float, marked: bool) -> str:
    reach = _BAND / 2 - 4
    up = row["right"] == "C"
    volume, interest = (
        reach * min(1.0, math.sqrt(count / peak)) for count in (row["volume"], row["open_interest"] or 0)
    )
    title = (
        f"{row['contract']}: volume {row['volume']:,}, "
        f"open interest {'unknown' if row['open_interest'] is None else format(row['open_interest'], ',')}"
    )
    wide, narrow = min(column * 0.86, 15.0), min(column * 0.5, 8.0)
    kind = ("call" if up else "put") + (" marked" if marked else "")
    parts = [f"<g><title>{escape(title)}</title>"]
    if interest >= 0.5:
        parts.append(_rect("oi", x - wide / 2, middle - interest if up else middle, wide, interest))
    if volume >= 0.5:
        parts.append(_rect(kind, x - narrow / 2, middle - volume if up else middle, narrow, volume))
    parts.append("</g>")
    return "".join(parts)


def _rect(kind: str, x: float, y: float, width: float, height: float) -> str:
    return f'<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"/>'


def _strike_axis(strikes: list[float], at: dict[float, float], y: float, spot: float | None) -> list[str]:
    every = max(1, math.ceil(len(strikes) / 12))
    parts = [
        f'<text class="tick" x="{at[strike]:.1f}" y="{y}" text-anchor="middle">{strike:g}</text>'
        for strike in strikes[::every]
    ]
    if spot is None or len(strikes) < 2 or not strikes[0] <= spot <= strikes[-1]:
        return parts
    right = next(number for number, strike in enumerate(strikes) if strike >= spot)
    left = max(right - 1, 0)
    gap = strikes[right] - strikes[left]
    share = (spot - strikes[left]) / gap if gap else 0.0
    x = at[strikes[left]] + share * (at[strikes[right]] - at[strikes[left]])
    title = f"<title>spot {spot:g}</title>"
    parts.append(f'<line class="spot" x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{y - 12}">{title}</line>')
    return parts


def svg(kind: str, width: float, height: float, title: str, description: str, parts: Sequence[str]) -> Markup:
    """A picture with what a screen reader says instead of it."""
    head = f'<svg class="{kind}" viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{escape(title)}">'
    said = f"<title>{escape(title)}</title><desc>{escape(description)}</desc>"
    return Markup("".join([head, said, *parts, "</svg>"]))


# --- heat maps --------------------------------------------------------------------------------------------------------

_STEPS = 7
_CELL_HEIGHT = 22


@dataclass(frozen=True)
class Cell:
    """One cell of a heat map: where, its colour class, what is said of it, and whether it stands out."""

    row: int
    column: int
    kind: str
    title: str
    marked: bool = False


def root_steps(values: Sequence[float]) -> Callable[[float], str]:
    """Colour classes q0 to q6 on a square-root scale up to the largest of `values`; nothing has no colour."""
    peak = math.sqrt(max((value for value in values if value > 0), default=1.0))

    def step(value: float) -> str:
        return "blank" if value <= 0 else f"q{min(_STEPS - 1, int(_STEPS * math.sqrt(value) / peak))}"

    return step


def even_steps(low: float, high: float) -> Callable[[float], str]:
    """Colour classes q0 to q6 in equal steps from `low` to `high`."""
    span = (high - low) or 1.0
    return lambda value: f"q{max(0, min(_STEPS - 1, int(_STEPS * (value - low) / span)))}"


def change_steps(reach: float) -> Callable[[float], str]:
    """Colour classes d3 (fell by `reach` or more) over q0 (hardly moved) to u3 (rose by `reach` or more)."""

    def step(value: float) -> str:
        size = min(3, int(4 * abs(value) / reach)) if reach else 0
        return "q0" if size == 0 else f"{'u' if value > 0 else 'd'}{size}"

    return step


def heat_map(
    rows: Sequence[str],
    columns: Sequence[str],
    cells: Sequence[Cell],
    title: str,
    description: str,
    legend: Sequence[tuple[str, str]],
    line_at: float | None = None,
    line_name: str = "",
) -> Markup:
    """A grid of coloured cells; `line_at` (in columns) draws a dashed line, `legend` pairs classes with their text."""
    if not rows or not columns or not cells:
        return Markup("")
    width = (_WIDE - _LABEL - 8) / len(columns)
    base = _CELL_HEIGHT * len(rows)
    parts = [
        f'<text class="tick" x="{_LABEL - 6}" y="{_CELL_HEIGHT * at + 15}" text-anchor="end">{escape(name)}</text>'
        for at, name in enumerate(rows)
    ]
    # Marked cells last, so that no neighbour covers their outline.
    parts += [_heat_cell(cell, width) for cell in sorted(cells, key=lambda cell: cell.marked)]
    every = max(1, math.ceil(len(columns) / 14))
    parts += [
        f'<text class="tick" x="{_LABEL + width * (at + 0.5):.1f}" y="{base + 15}" text-anchor="middle">'
        f"{escape(columns[at])}</text>"
        for at in range(0, len(columns), every)
    ]
    if line_at is not None:
        x = _LABEL + width * line_at
        said = f"<title>{escape(line_name)}</title>"
        parts.append(f'<line class="spot" x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{base}">{said}</line>')
    parts += _legend(legend, base + 26)
    return svg("heat", _WIDE, base + 48, title, description, parts)


def _heat_cell(cell: Cell, width: float) -> str:
    x, y = _LABEL + width * cell.column, _CELL_HEIGHT * cell.row
    kind = f"{cell.kind} marked" if cell.marked else cell.kind
    inset = 1.5 if cell.marked else 0.5
    return (
        f'<rect class="{kind}" x="{x + inset:.1f}" y="{y + inset:.1f}" width="{max(width - 2 * inset, 0.5):.1f}" '
        f'height="{_CELL_HEIGHT - 2 * inset:g}"><title>{escape(cell.title)}</title></rect>'
    )


def _legend(entries: Sequence[tuple[str, str]], y: float) -> list[str]:
    parts, x = [], float(_LABEL)
    for kind, text in entries:
        parts.append(f'<rect class="{kind}" x="{x:.1f}" y="{y}" width="14" height="12"/>')
        parts.append(f'<text class="tick" x="{x + 18:.1f}" y="{y + 10}">{escape(text)}</text>')
        x += 30 + 6.2 * len(text)
    return parts


# --- charts over sessions ---------------------------------------------------------------------------------------------

_PANEL = 92
_EDGE = 64


@dataclass(frozen=True)
class Series:
    """One series of a panel: its name, a value per day (None where unknown), drawn as 'line' or stacked 'bars'."""

    name: str
    values: Sequence[float | None]
    kind: str = "line"
    shape: str = "line"


@dataclass(frozen=True)
class Panel:
    """One strip of a chart: a name, its series, how values are written, and whether the axis starts at zero."""

    name: str
    series: Sequence[Series]
    write: Callable[[float], str]
    from_zero: bool = False


@dataclass(frozen=True)
class Mark:
    """Something that happened on a day: drawn in the time line above the panels."""

    day: date
    lane: int
    kind: str
    shape: str
    title: str


def day_month(day: date) -> str:
    """A day as an axis shows it."""
    return f"{day:%-d %b}"


def time_panels(
    days: Sequence[Any],
    panels: Sequence[Panel],
    title: str,
    description: str,
    marks: Sequence[Mark] = (),
    lanes: Sequence[str] = (),
    write_day: Callable[[Any], str] = day_month,
) -> Markup:
    """Strips over one axis of sessions (or moments), with a time line of `marks` in named `lanes` above them."""
    shown = [panel for panel in panels if any(v is not None for s in panel.series for v in s.values)]
    if not days or not (shown or marks):
        return Markup("")
    top = 24 * len(lanes)
    height = top + _PANEL * len(shown) + 22
    axis = _Days(days, _EDGE, _WIDE - 12, write_day)
    parts = [
        f'<text class="tick" x="{_EDGE - 8}" y="{24 * at + 16}" text-anchor="end">{escape(name)}</text>'
        f'<line class="axis" x1="{_EDGE}" x2="{_WIDE - 12}" y1="{24 * at + 12}" y2="{24 * at + 12}"/>'
        for at, name in enumerate(lanes)
    ]
    for mark in marks:
        x = axis.at(mark.day)
        if x is not None:
            parts.append(_mark(mark, x, 24 * mark.lane + 12))
            parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{height - 20}"/>')
    for number, panel in enumerate(shown):
        parts += _panel(panel, axis, top + _PANEL * number)
    parts += axis.ticks(height - 6)
    return svg("panels", _WIDE, height, title, description, parts)


@dataclass(frozen=True)
class _Days:
    """The shared axis: one slot per session; what happened between sessions belongs to the one before."""

    days: Sequence[Any]
    left: float
    right: float
    write: Callable[[Any], str]

    @property
    def slot(self) -> float:
        return (self.right - self.left) / len(self.days)

    def middle(self, number: int) -> float:
        return self.left + self.slot * (number + 0.5)

    def at(self, day: date) -> float | None:
        earlier = [number for number, known in enumerate(self.days) if known <= day]
        return self.middle(earlier[-1]) if earlier else None

    def ticks(self, y: float) -> list[str]:
        every = max(1, math.ceil(len(self.days) / 9))
        last = len(self.days) - 1
        return [
            f'<text class="tick" x="{self.middle(at):.1f}" y="{y}" text-anchor="middle">'
            f"{escape(self.write(self.days[at]))}</text>"
            for at in range(last % every, last + 1, every)
        ]


def _panel(panel: Panel, axis: _Days, top: float) -> list[str]:
    totals = [
        sum(series.values[at] or 0.0 for series in panel.series if series.shape == "bars")
        for at in range(len(axis.days))
    ]
    lines = [v for series in panel.series if series.shape == "line" for v in series.values if v is not None]
    high = max([*totals, *lines])
    low = 0.0 if panel.from_zero or any(totals) else min(lines)
    span = (high - low) or abs(high) or 1.0
    base, reach = top + _PANEL - 12, _PANEL - 32

    def up(value: float) -> float:
        return base - reach * (value - low) / span

    parts = [f'<text class="label strong" x="{_EDGE}" y="{top + 12}">{escape(panel.name)}</text>']
    parts += _names_of(panel, top + 12)
    for value in (low, high):
        y = up(value)
        parts.append(f'<line class="axis" x1="{axis.left}" x2="{axis.right}" y1="{y:.1f}" y2="{y:.1f}"/>')
        text = escape(panel.write(value))
        parts.append(f'<text class="tick" x="{_EDGE - 8}" y="{y + 4:.1f}" text-anchor="end">{text}</text>')
    below = [0.0] * len(axis.days)
    for series in panel.series:
        if series.shape == "bars":
            parts += _stack(series, axis, panel.write, below, up)
        else:
            parts += _line(series, axis, up)
    return parts


def _names_of(panel: Panel, y: float) -> list[str]:
    """The names of a panel's series beside its title, each with a swatch, where there are several."""
    if len(panel.series) < 2:
        return []
    parts, x = [], _EDGE + 14 + 7.2 * len(panel.name)
    for series in panel.series:
        if series.shape == "line":
            parts.append(f'<line class="line {series.kind}" x1="{x:.1f}" x2="{x + 14:.1f}" y1="{y - 4}" y2="{y - 4}"/>')
        else:
            parts.append(f'<rect class="{series.kind}" x="{x:.1f}" y="{y - 9}" width="10" height="9"/>')
        parts.append(f'<text class="tick" x="{x + 18:.1f}" y="{y}">{escape(series.name)}</text>')
        x += 32 + 6.2 * len(series.name)
    return parts


def _stack(
    series: Series, axis: _Days, write: Callable[[float], str], below: list[float], up: Callable[[float], float]
) -> list[str]:
    parts, wide = [], min(axis.slot * 0.72, 26)
    for at, value in enumerate(series.values):
        if not value:
            continue
        y0, y1 = up(below[at]), up(below[at] + value)
        below[at] += value
        said = f"<title>{escape(axis.write(axis.days[at]))}: {escape(series.name)} {escape(write(value))}</title>"
        x = axis.middle(at) - wide / 2
        parts.append(
            f'<rect class="{series.kind}" x="{x:.1f}" y="{y1:.1f}" width="{wide:.1f}" '
            f'height="{max(y0 - y1, 0.4):.1f}">{said}</rect>'
        )
    return parts


def _line(series: Series, axis: _Days, up: Callable[[float], float]) -> list[str]:
    """The series as lines, broken where a value is unknown; a lone value is a dot."""
    parts: list[str] = []
    run: list[str] = []
    for at, value in [*enumerate(series.values), (-1, None)]:
        if value is not None:
            run.append(f"{axis.middle(at):.1f},{up(value):.1f}")
            continue
        if len(run) > 1:
            parts.append(f'<polyline class="line {series.kind}" points="{" ".join(run)}"/>')
        elif run:
            x, y = run[0].split(",")
            parts.append(f'<circle class="dot" cx="{x}" cy="{y}" r="2"/>')
        run = []
    return parts


def _mark(mark: Mark, x: float, y: float) -> str:
    shapes: Mapping[str, str] = {
        "circle": f'<circle class="{mark.kind}" cx="{x:.1f}" cy="{y}" r="6">',
        "up": f'<path class="{mark.kind}" d="M{x:.1f} {y - 6}l6 11h-12z">',
        "down": f'<path class="{mark.kind}" d="M{x:.1f} {y + 6}l6 -11h-12z">',
    }
    tag = "circle" if mark.shape == "circle" else "path"
    return f"{shapes[mark.shape]}<title>{escape(mark.title)}</title></{tag}>"


# --- intervals --------------------------------------------------------------------------------------------------------


_NARROW, _NAMES, _NOTES = 620, 130, 160


@dataclass(frozen=True)
class Interval:
    """One line of an interval chart: a name, the estimate with its bounds, what was promised, and a note."""

    name: str
    value: float | None
    low: float | None
    high: float | None
    nominal: float | None
    note: str


def interval_chart(
    rows: Sequence[Interval],
    title: str,
    write: Callable[[float], str],
    *,
    zero: float | None = None,
    top: float = math.inf,
) -> Markup:
    """Estimates as dots with whiskers, one line each; a bold tick is what was promised; `zero` draws a line.

    What lies beyond `top` is drawn at the edge, so that one uncertain line does not flatten the others.
    """
    known = [value for row in rows for value in (row.value, row.low, row.high, row.nominal, zero) if value is not None]
    if not rows or not known:
        return Markup("")
    low, high = min(known), min(max(known), top)
    span = (high - low) or 1.0
    left, right, step = _NAMES, _NARROW - _NOTES, 26

    def x(value: float) -> float:
        return left + (right - left) * (min(value, high) - low) / span

    base = step * len(rows)
    parts = [
        f'<text class="tick" x="{x(value):.1f}" y="{base + 16}" text-anchor="middle">{escape(write(value))}</text>'
        for value in round_ticks(low, high)
    ]
    if zero is not None:
        parts.append(f'<line class="spot" x1="{x(zero):.1f}" x2="{x(zero):.1f}" y1="0" y2="{base}"/>')
    for at, row in enumerate(rows):
        parts += _interval(row, step * at + step / 2, x, right)
    said = "; ".join(f"{row.name}: {write(row.value)}, {row.note}" for row in rows if row.value is not None)
    return svg("intervals", _NARROW, base + 24, title, said, parts)


def _interval(row: Interval, y: float, x: Callable[[float], float], right: float) -> list[str]:
    parts = [
        f'<text class="label" x="{_NAMES - 12}" y="{y + 4}" text-anchor="end">{escape(row.name)}</text>',
        f'<line class="grid" x1="{_NAMES}" x2="{right}" y1="{y}" y2="{y}"/>',
        f'<text class="tick" x="{right + 12}" y="{y + 4}">{escape(row.note)}</text>',
    ]
    if row.low is not None and row.high is not None:
        parts.append(f'<line class="whisker" x1="{x(row.low):.1f}" x2="{x(row.high):.1f}" y1="{y}" y2="{y}"/>')
    if row.nominal is not None:
        at = x(row.nominal)
        parts.append(f'<line class="nominal" x1="{at:.1f}" x2="{at:.1f}" y1="{y - 8}" y2="{y + 8}"/>')
    if row.value is not None:
        parts.append(f'<circle class="dot" cx="{x(row.value):.1f}" cy="{y}" r="4"/>')
    return parts


def round_ticks(low: float, high: float) -> list[float]:
    """Three to six round numbers within `low` and `high`, zero among them where it lies between."""
    if not low < high:
        return [low]
    raw = (high - low) / 4
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(unit * power for unit in (1, 2, 2.5, 5, 10) if unit * power >= raw * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [step * at for at in range(first, last + 1)]
