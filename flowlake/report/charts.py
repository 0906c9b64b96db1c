"""Inline SVG pictures, coloured by the page's CSS so that one drawing serves dark, light and print."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl
from markupsafe import Markup, escape

_WIDTH = 720
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
    parts = [f'<svg class="factors" viewBox="0 0 {_WIDTH} {top + row * len(shown) + 4}" role="img">']
    parts.append(f"<title>{escape('What the score is made of')}</title>")
    parts.append(f'<line class="axis" x1="{middle}" x2="{middle}" y1="0" y2="{top + row * len(shown)}"/>')
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
    parts.append("</svg>")
    return Markup("".join(parts))


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
    column = (_WIDTH - _LABEL - 8) / max(len(strikes), 1)
    at = {strike: _LABEL + column * (number + 0.5) for number, strike in enumerate(strikes)}
    # One old position must not flatten the day: the tallest open interest is cut off at the band's edge.
    usual = pl.col("open_interest").fill_null(0).quantile(_TALLEST)
    peak = float(window.select(pl.max_horizontal(pl.col("volume").max(), usual)).item() or 1)
    height = _BAND * len(expirations) + 30
    parts = [f'<svg class="chain" viewBox="0 0 {_WIDTH} {height}" role="img">']
    parts.append("<title>Volume (filled) against open interest (outlined) by strike and expiration</title>")
    for number, expiration in enumerate(expirations):
        middle = _BAND * number + _BAND / 2
        parts.append(f'<text class="label" x="4" y="{middle + 4}">{expiration:%d %b %Y}</text>')
        parts.append(f'<line class="axis" x1="{_LABEL}" x2="{_WIDTH - 4}" y1="{middle}" y2="{middle}"/>')
        band = window.filter(pl.col("expiration") == expiration)
        for row in band.iter_rows(named=True):
            parts.append(_bars(row, at[row["strike"]], column, middle, peak, row["contract"] in marked))
    parts += _strike_axis(strikes, at, _BAND * len(expirations) + 16, spot)
    parts.append("</svg>")
    return Markup("".join(parts))


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
    height, left, right = 110, _LABEL, _WIDTH - 70
    longest = math.sqrt(surface["tenor_days"].max())  # pyright: ignore[reportArgumentType]

    def x(tenor: int) -> float:
        return left + (right - left) * math.sqrt(tenor) / longest

    def y(value: float) -> float:
        return 12 + (height - 34) * (high - value) / span

    parts = [f'<svg class="smile" viewBox="0 0 {_WIDTH} {height}" role="img">']
    parts.append("<title>Implied volatility by tenor: at the money, 25-delta put and call</title>")
    for kind, name in lines.items():
        points = [(x(t), y(v)) for t, v in zip(wings["tenor_days"], wings[name], strict=True) if v is not None]
        if len(points) > 1:
            path = " ".join(f"{px:.1f},{py:.1f}" for px, py in points)
            parts.append(f'<polyline class="{kind}" points="{path}"/>')
            label = "ATM" if kind == "atm" else f"25Δ {kind}"
            parts.append(f'<text class="tick" x="{points[-1][0] + 4:.1f}" y="{points[-1][1] + 4:.1f}">{label}</text>')
    for value in (high, low):
        parts.append(f'<text class="tick" x="{left - 6}" y="{y(value) + 4:.1f}" text-anchor="end">{value:.0%}</text>')
    for tenor in surface["tenor_days"]:
        parts.append(f'<text class="tick" x="{x(tenor):.1f}" y="{height - 4}" text-anchor="middle">{tenor} d</text>')
    parts.append("</svg>")
    return Markup("".join(parts))


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
