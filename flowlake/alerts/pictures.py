"""Pictures of an alert as PNG: mail clients show no SVG. White cards, readable in light and dark mail alike."""

from __future__ import annotations

import io
from collections.abc import Sequence
from datetime import date
from typing import TYPE_CHECKING, Any

import polars as pl

from flowlake.alerts.content import Content
from flowlake.alerts.evidence import Evidence

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_INK, _SOFT, _LINE = "#16202c", "#566273", "#dde2e9"
_UP, _DOWN, _CALL, _PUT, _MARK = "#1f5fbf", "#8d97a6", "#157f6b", "#b3434d", "#b36b00"
_WIDTH, _DPI = 4.9, 190
_STRIKES = 21
_FONT: Any = {"font.family": "sans-serif", "font.size": 9, "text.color": _INK, "axes.edgecolor": _LINE}


def draw(content: Content, evidence: Evidence) -> dict[str, bytes]:
    """PNG by content id: 'factors' and 'activity', each only where there is something to show."""
    pictures: dict[str, bytes] = {}
    if content.factors:
        pictures["factors"] = factor_bars(content.factors)
    volume = evidence.event["volume"] if evidence.event else None
    strikes = _strikes(evidence)
    if volume is not None and (evidence.history.height or strikes.height):
        pictures["activity"] = activity(evidence, volume, strikes)
    return pictures


def factor_bars(factors: Sequence[tuple[str, float, str]]) -> bytes:
    """What each factor adds to the evidence, the largest first."""
    with _style():
        figure, (axes,) = _figure(0.5 + 0.24 * len(factors), 1)
        figure.suptitle("What the score is made of", x=0.01, ha="left", size=9.5, weight="bold")
        names = [name for name, _, _ in factors]
        values = [value for _, value, _ in factors]
        places = range(len(factors), 0, -1)
        axes.barh(list(places), values, height=0.62, color=[_UP if value >= 0 else _DOWN for value in values])
        reach = max(*map(abs, values), 0.1)
        for place, value in zip(places, values, strict=True):
            # Beside a bar to the left there is only the factor's name.
            axes.text(max(value, 0.0) + 0.02 * reach, place, f"{value:+.2f}", va="center", color=_SOFT, size=8.5)
        axes.set_yticks(list(places), names)
        axes.set_xlim(min(min(values) * 1.25, 0.0) - 0.02 * reach, max(*values, 0.1) * 1.18)
        axes.axvline(0, color=_LINE, lw=1)
        axes.set_xticks([])
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0)
        return _png(figure)


def activity(evidence: Evidence, volume: int, strikes: pl.DataFrame) -> bytes:
    """Above: volume of the side against its last sessions. Below: the busiest expiration, strike by strike."""
    panels = (evidence.history.height > 0) + (strikes.height > 0)
    with _style():
        figure, drawn = _figure(1.75 * panels, panels)
        axes = iter(drawn)
        if evidence.history.height:
            _draw_history(next(axes), evidence, volume)
        if strikes.height:
            _draw_strikes(next(axes), strikes, evidence)
        return _png(figure)


def _draw_history(axes: Axes, evidence: Evidence, volume: int) -> None:
    before: list[int] = evidence.history["volume"].to_list()
    days: list[date] = evidence.history["session"].to_list()
    side = "calls" if evidence.alert["right"] == "C" else "puts"
    axes.bar(range(len(before)), before, color=_DOWN, width=0.72)
    axes.bar([len(before)], [volume], color=_UP, width=0.72)
    usual = sum(before) / len(before)
    axes.axhline(usual, color=_MARK, lw=1, ls=(0, (4, 3)))
    axes.text(len(before), volume, f"{volume:,}", ha="center", va="bottom", size=8, weight="bold", color=_UP)
    axes.set_ylim(0, max(volume, *before, 1) * 1.16)
    axes.set_xticks([0, len(before)], [f"{days[0]:%-d %b}", f"{evidence.alert['session']:%-d %b}"])
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.set_title(
        f"Volume of {side}: {len(before)} sessions before (mean {usual:,.0f}), and this",
        loc="left",
        size=9,
        weight="bold",
    )
    _plain(axes)


def _draw_strikes(axes: Axes, strikes: pl.DataFrame, evidence: Evidence) -> None:
    marked = {row["contract"] for row in (evidence.event or {}).get("contracts") or []}
    labels = strikes["strike"].unique().sort().to_list()
    at = {strike: place for place, strike in enumerate(labels)}
    for right, colour, sign in (("C", _CALL, 1), ("P", _PUT, -1)):
        part = strikes.filter(pl.col("right") == right)
        places = [at[strike] for strike in part["strike"]]
        edges = [_MARK if name in marked else colour for name in part["contract"]]
        axes.bar(places, [sign * n for n in part["open_interest"].fill_null(0)], width=0.8, color="none",
                 edgecolor="#9aa7b8", lw=0.7)  # fmt: skip
        axes.bar(places, [sign * n for n in part["volume"]], width=0.46, color=colour, edgecolor=edges, lw=1.4)
    tallest = max(int(strikes["volume"].max() or 1), int(strikes["open_interest"].quantile(0.9) or 1), 1)  # pyright: ignore[reportArgumentType]
    deepest = strikes.filter(pl.col("right") == "P").select(pl.max_horizontal("volume", "open_interest").max()).item()
    axes.set_ylim(-min(float(deepest or 0), tallest) * 1.15 - tallest * 0.04, tallest * 1.15)
    axes.axhline(0, color=_INK, lw=0.8)
    step = max(1, len(labels) // 8)
    axes.set_xticks(range(0, len(labels), step), [f"{strike:g}" for strike in labels[::step]])
    axes.yaxis.set_major_formatter(lambda value, _: f"{abs(value):,.0f}")
    expiration: date = strikes["expiration"][0]
    axes.set_title(
        f"{expiration:%-d %b %Y}: calls up, puts down, outline open interest",
        loc="left", size=9, weight="bold",
    )  # fmt: skip
    _plain(axes)


def _strikes(evidence: Evidence) -> pl.DataFrame:
    """The leading line's expiration: the strikes nearest the stock price, those of the event first."""
    contracts = (evidence.event or {}).get("contracts") or []
    if not contracts or evidence.chain.is_empty():
        return evidence.chain.clear()
    of_event = {row["strike"] for row in contracts}
    rows = evidence.chain.filter(pl.col("expiration") == contracts[0]["expiration"], ~pl.col("is_adjusted"))
    busy = rows.filter((pl.col("volume") > 0) | (pl.col("open_interest").fill_null(0) > 0))
    spot = (evidence.event or {}).get("spot") or contracts[0]["strike"]
    near = sorted(set(busy["strike"]) | of_event, key=lambda strike: (strike not in of_event, abs(strike - spot)))
    return rows.filter(pl.col("strike").is_in(near[:_STRIKES])).sort("strike", "right")


def _style() -> Any:
    import matplotlib as mpl

    return mpl.rc_context(_FONT)


def _figure(height: float, panels: int) -> tuple[Figure, list[Axes]]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # Not through pyplot: sensors draw in threads, and pyplot keeps one global figure list.
    figure = Figure(figsize=(_WIDTH, height), facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    return figure, list(figure.subplots(panels, 1, squeeze=False)[:, 0])


def _plain(axes: Axes) -> None:
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(length=0, labelsize=8, labelcolor=_SOFT)
    axes.grid(axis="y", color=_LINE, lw=0.6)
    axes.set_axisbelow(True)


def _png(figure: Figure) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=_DPI, metadata={"Software": None})
    return file.getvalue()
