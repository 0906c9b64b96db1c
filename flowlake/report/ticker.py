"""The page of one underlying: its chain, where it traded, its volatility surface, and what was unusual when."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

import polars as pl
from markupsafe import Markup

from flowlake.insiders.classify import PURCHASES, SALES
from flowlake.report import charts
from flowlake.report.html import About, compact, dollars, number, percent, render

LISTED_CONTRACTS = 1_200
"""Contracts of the chain table, the busiest; the heat maps hold the whole chain."""

_EXPIRATIONS = 14
_STRIKES = 32
_MONEYNESS = (0.7375, 1.2625, 0.025)
"""Lower edge, upper edge and width of the moneyness columns, centred on round numbers."""
_LEVEL_TENOR = 30


@dataclass(frozen=True)
class TickerPage:
    """Everything the page shows of `underlying` as of `session`.

    `chain` and `previous_chain` are `option_chains` rows of this session and the one before; `history` has session,
    spot, call_volume, put_volume, open_interest, usual_volume and atm_volatility; `surface` is `iv_surface` of the two
    sessions; `events`, `statuses` and `outcomes` are of this underlying; `insiders` are `insider_trades`.
    """

    underlying: str
    session: date
    chain: pl.DataFrame
    previous_chain: pl.DataFrame
    history: pl.DataFrame
    surface: pl.DataFrame
    events: pl.DataFrame
    statuses: pl.DataFrame
    outcomes: pl.DataFrame
    insiders: pl.DataFrame
    congress: pl.DataFrame

    @property
    def origin(self) -> str:
        """Where the chain came from."""
        return self.chain["origin"][0] if self.chain.height else "unknown"


def render_ticker(page: TickerPage) -> str:
    """The page of one underlying as one self-contained HTML document."""
    about = About(
        kind="ticker",
        title=f"{page.underlying}, {page.session}",
        origin=page.origin,
        session=page.session.isoformat(),
        names=[page.underlying],
        summary=f"Chain, volatility surface, events and insiders of {page.underlying}",
    )
    return render("ticker.html.j2", about, _context(page))


def _context(page: TickerPage) -> dict[str, Any]:
    marked = _marked(page)
    spot = _spot(page.chain)
    expirations = _busiest_expirations(page.chain, marked)
    rows = chain_rows(page.chain, page.previous_chain, marked)
    return {
        "underlying": page.underlying,
        "session": page.session,
        "cards": _cards(page, spot),
        "current": page.events.filter(pl.col("session") == page.session).to_dicts(),
        "volume_map": activity_map(page.chain, "volume", expirations, spot, marked),
        "interest_map": activity_map(page.chain, "open_interest", expirations, spot, marked),
        "surface_map": surface_map(page.chain, expirations),
        "change_map": surface_change_map(page.chain, page.previous_chain, expirations),
        "tenors": tenor_table(page.surface, page.session),
        "smile": charts.surface_picture(_today(page.surface, page.session)),
        "history": history_picture(page),
        "events": _event_rows(page),
        "insiders": page.insiders.sort("available_at", descending=True).head(60).to_dicts(),
        "congress": page.congress.sort("disclosed_on", descending=True).head(30).to_dicts(),
        "rows": rows.to_dicts(),
        "unlisted": page.chain.height - rows.height,
        "expirations": rows["expiration"].unique().sort().to_list(),
        "hidden_expirations": page.chain["expiration"].n_unique() - len(expirations),
    }


def _marked(page: TickerPage) -> set[str]:
    """Contracts that events of this session name."""
    today = page.events.filter(pl.col("session") == page.session)
    return {line["contract"] for lines in today["contracts"].to_list() for line in lines or []}


def _spot(chain: pl.DataFrame) -> float | None:
    return chain["spot"].drop_nulls().first() if chain.height else None  # pyright: ignore[reportReturnType]


def _cards(page: TickerPage, spot: float | None) -> list[tuple[str, str]]:
    days = page.history.sort("session").to_dicts()
    today = days[-1] if days else None
    before = days[-2] if len(days) > 1 else None
    if today is None:
        return []
    total = (today["call_volume"] or 0) + (today["put_volume"] or 0)
    usual = today["usual_volume"]
    moved = spot / before["spot"] - 1 if spot and before and before["spot"] else None
    ratio = today["put_volume"] / today["call_volume"] if today["call_volume"] else None
    level, earlier = today["atm_volatility"], before["atm_volatility"] if before else None
    shift = f" ({100 * (level - earlier):+.1f} points)" if level is not None and earlier is not None else ""
    return [
        (number(spot), f"spot in USD{f', {100 * moved:+.1f}% on the session' if moved is not None else ''}"),
        (compact(total), f"contracts traded; usual {compact(usual)}"),
        (f"{total / usual:.1f}×" if usual else "–", "usual volume"),
        (number(ratio), "puts per call"),
        (percent(level), f"{_LEVEL_TENOR}-day volatility{shift}"),
        (compact(today["open_interest"]), "open interest at the start"),
    ]


# --- the chain --------------------------------------------------------------------------------------------------------


def chain_rows(chain: pl.DataFrame, previous: pl.DataFrame, marked: set[str]) -> pl.DataFrame:
    """The busiest contracts by expiration, strike and right, with changes since the session before.

    Contracts in `marked` are always among them; `iv` is in percent and `iv_change` in percentage points.
    """
    before = previous.select(
        "contract_id", before_oi=pl.col("open_interest"), before_iv=pl.col("implied_volatility").cast(pl.Float64)
    )
    points = pl.col("implied_volatility").cast(pl.Float64) * 100
    return (
        chain.join(before, on="contract_id", how="left")
        .with_columns(
            marked=pl.col("contract").is_in(list(marked)),
            oi_change=pl.col("open_interest").cast(pl.Int64) - pl.col("before_oi").cast(pl.Int64),
            iv=points,
            iv_change=points - pl.col("before_iv") * 100,
        )
        .sort("marked", "volume", "open_interest", descending=True, nulls_last=True)
        .head(LISTED_CONTRACTS)
        .sort("expiration", "strike", "right", "contract")
        .select(
            "contract",
            "expiration",
            "dte",
            "strike",
            "right",
            "volume",
            "open_interest",
            "oi_change",
            "bid",
            "ask",
            "price",
            "iv",
            "iv_change",
            "delta",
            "marked",
        )
    )


def _busiest_expirations(chain: pl.DataFrame, marked: set[str]) -> list[date]:
    """The expirations with most volume and open interest (and those of marked contracts), in order."""
    busy = (
        chain.group_by("expiration")
        .agg(
            pl.col("contract").is_in(list(marked)).any().alias("marked"),
            (pl.col("volume").cast(pl.Int64) * 5 + pl.col("open_interest").fill_null(0)).sum().alias("activity"),
        )
        .filter((pl.col("activity") > 0) | pl.col("marked"))
        .sort("marked", "activity", "expiration", descending=[True, True, False])
        .head(_EXPIRATIONS)
    )
    return busy["expiration"].sort().to_list()


def activity_map(
    chain: pl.DataFrame, measure: str, expirations: list[date], spot: float | None, marked: set[str]
) -> Markup:
    """Heat of `measure` ('volume' or 'open_interest') over strikes and expirations, calls and puts together."""
    shown = chain.filter(pl.col("expiration").is_in(expirations))
    bins = _strike_bins(shown, marked)
    if bins is None:
        return Markup("")
    first, step, count = bins
    column = ((pl.col("strike") - first) / step + 1e-9).floor().cast(pl.Int32)
    cells = (
        shown.with_columns(column=column, amount=pl.col(measure).fill_null(0).cast(pl.Int64))
        .filter(pl.col("column").is_between(0, count - 1))
        .group_by("expiration", "column")
        .agg(
            calls=pl.col("amount").filter(pl.col("right") == "C").sum(),
            puts=pl.col("amount").filter(pl.col("right") == "P").sum(),
            marked=pl.col("contract").is_in(list(marked)).any(),
        )
        .sort("expiration", "column")
    )
    totals = (cells["calls"] + cells["puts"]).to_list()
    kind = charts.root_steps(totals)
    names = [f"{first + step * at:g}" for at in range(count)]
    row_of = {day: at for at, day in enumerate(expirations)}
    word = measure.replace("_", " ")
    drawn = [
        charts.Cell(
            row_of[cell["expiration"]],
            cell["column"],
            kind(cell["calls"] + cell["puts"]),
            f"{cell['expiration']:%d %b %Y}, strike {names[cell['column']]}: {word} {cell['calls'] + cell['puts']:,} "
            f"(calls {cell['calls']:,}, puts {cell['puts']:,})",
            cell["marked"],
        )
        for cell in cells.iter_rows(named=True)
    ]
    at = (spot - first) / step if spot is not None and first <= spot <= first + step * count else None
    peak = max(totals, default=0)
    legend = [("q0", "few"), ("q3", f"{compact(peak * (3.5 / 7) ** 2)}"), ("q6", f"{compact(peak)}")]
    if marked:
        legend.append(("blank marked", "most unusual lines of this session"))
    return charts.heat_map(
        [f"{day:%d %b %y}" for day in expirations],
        names,
        drawn,
        f"Heat map of {word} over strikes and expirations",
        _busiest(cells, names, word),
        legend,
        at,
        f"spot {number(spot)}",
    )


def _busiest(cells: pl.DataFrame, names: list[str], word: str) -> str:
    top = cells.with_columns(total=pl.col("calls") + pl.col("puts")).sort("total", descending=True).head(3)
    return f"Most {word}: " + "; ".join(
        f"{row['expiration']} strike {names[row['column']]} with {row['total']:,}" for row in top.iter_rows(named=True)
    )


def _strike_bins(chain: pl.DataFrame, marked: set[str]) -> tuple[float, float, int] | None:
    """First strike, width and number of the columns that hold nearly all volume and open interest."""
    weight = pl.col("volume").cast(pl.Int64) * 5 + pl.col("open_interest").fill_null(0)
    strikes = chain.group_by("strike").agg(weight.sum().alias("weight"), pl.col("contract").is_in(list(marked)).any())
    total = pl.col("weight").sum()
    strikes = strikes.sort("strike").with_columns(share=pl.col("weight").cum_sum() / total)
    # Both ends lose the strikes that hold next to nothing, never one that reaches into the bulk.
    bulk = (pl.col("share") >= 0.01) & (pl.col("share") - pl.col("weight") / total <= 0.99)
    core = strikes.filter(bulk | pl.col("contract"))["strike"]
    if core.is_empty():
        return None
    low, high = float(core.min()), float(core.max())  # pyright: ignore[reportArgumentType]
    gaps = core.diff().drop_nulls()
    step = float(gaps.min()) if len(gaps) else 1.0  # pyright: ignore[reportArgumentType]
    if (high - low) / step >= _STRIKES:
        step = _round_up((high - low) / (_STRIKES - 1))
        low = math.floor(low / step) * step
    return low, step, int((high - low) / step + 1e-9) + 1


def _round_up(step: float) -> float:
    """The next round number of the form 1, 2, 2.5 or 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(step))
    return next(unit * power for unit in (1, 2, 2.5, 5, 10) if unit * power >= step * (1 - 1e-9))


# --- the surface ------------------------------------------------------------------------------------------------------


def moneyness_grid(chain: pl.DataFrame) -> pl.DataFrame:
    """Median volatility of out-of-the-money contracts by expiration and moneyness column: expiration, column, iv."""
    low, high, step = _MONEYNESS
    out = (pl.col("right") == "P") == (pl.col("moneyness") < 1)
    return (
        chain.filter(out, pl.col("implied_volatility").is_not_null(), pl.col("moneyness").is_between(low, high - 1e-9))
        .with_columns(column=((pl.col("moneyness") - low) / step + 1e-9).floor().cast(pl.Int32))
        .group_by("expiration", "column")
        .agg(iv=pl.col("implied_volatility").cast(pl.Float64).median())
        .sort("expiration", "column")
    )


def surface_map(chain: pl.DataFrame, expirations: list[date]) -> Markup:
    """Heat of implied volatility over moneyness and expirations."""
    grid = moneyness_grid(chain).filter(pl.col("expiration").is_in(expirations))
    if grid.is_empty():
        return Markup("")
    low, high = grid["iv"].quantile(0.05) or 0.0, grid["iv"].quantile(0.95) or 1.0
    legend = [("q0", f"{low:.0%} or less"), ("q3", f"{(low + high) / 2:.0%}"), ("q6", f"{high:.0%} or more")]
    return _moneyness_map(
        grid, expirations, charts.even_steps(low, high), lambda iv: f"{iv:.1%}", "Implied volatility", legend
    )


def surface_change_map(chain: pl.DataFrame, previous: pl.DataFrame, expirations: list[date]) -> Markup:
    """Heat of the change of implied volatility since the session before, at equal moneyness and expiration."""
    before = moneyness_grid(previous).rename({"iv": "before"})
    grid = (
        moneyness_grid(chain)
        .join(before, on=["expiration", "column"])
        .with_columns(iv=pl.col("iv") - pl.col("before"))
        .filter(pl.col("expiration").is_in(expirations))
        .sort("expiration", "column")
    )
    if grid.is_empty():
        return Markup("")
    reach = max(grid["iv"].abs().quantile(0.95) or 0.0, 0.02)
    points = f"{100 * reach:.0f} points"
    legend = [("d3", f"fell {points}"), ("q0", "hardly moved"), ("u3", f"rose {points}")]
    return _moneyness_map(
        grid,
        expirations,
        charts.change_steps(reach * 4 / 3),
        lambda iv: f"{100 * iv:+.1f} points",
        "Change of implied volatility since the session before",
        legend,
    )


def _moneyness_map(
    grid: pl.DataFrame,
    expirations: list[date],
    kind: Callable[[float], str],
    write: Callable[[float], str],
    title: str,
    legend: list[tuple[str, str]],
) -> Markup:
    low, high, step = _MONEYNESS
    names = [f"{100 * (low + step * (at + 0.5)):g}%" for at in range(round((high - low) / step))]
    row_of = {day: at for at, day in enumerate(expirations)}
    cells = [
        charts.Cell(
            row_of[day], column, kind(iv), f"{day:%d %b %Y}, strike {names[column]} of the forward: {write(iv)}"
        )
        for day, column, iv in grid.select("expiration", "column", "iv").iter_rows()
    ]
    lowest, highest = grid.sort("iv").row(0, named=True), grid.sort("iv").row(-1, named=True)
    said = " and ".join(
        f"{write(row['iv'])} at {names[row['column']]} of the forward, {row['expiration']}" for row in (lowest, highest)
    )
    labels = [f"{day:%d %b %y}" for day in expirations]
    return charts.heat_map(labels, names, cells, title, f"Between {said}", legend, (1 - low) / step, "at the forward")


def tenor_table(surface: pl.DataFrame, session: date) -> list[dict[str, Any]]:
    """Volatility by tenor now and the change since the session before, in decimals."""
    measures = ["atm_volatility", "risk_reversal_25", "butterfly_25"]
    before = surface.filter(pl.col("session") < session).select("tenor_days", pl.col(measures).name.suffix("_before"))
    return (
        _today(surface, session)
        .join(before, on="tenor_days", how="left")
        .with_columns((pl.col(name) - pl.col(f"{name}_before")).alias(f"{name}_change") for name in measures)
        .sort("tenor_days")
        .to_dicts()
    )


def _today(surface: pl.DataFrame, session: date) -> pl.DataFrame:
    return surface.filter(pl.col("session") == session, pl.col("atm_volatility").is_not_null()).sort("tenor_days")


# --- over time --------------------------------------------------------------------------------------------------------


def history_picture(page: TickerPage) -> Markup:
    """Time line of events and insiders over spot, volume against its usual, put/call ratio and volatility level."""
    history = page.history.sort("session")
    days = history["session"].to_list()
    calls, puts = history["call_volume"].to_list(), history["put_volume"].to_list()
    ratio = [put / call if call else None for call, put in zip(calls, puts, strict=True)]
    panels = [
        charts.Panel("Spot (USD)", [charts.Series("spot", history["spot"].to_list())], number),
        charts.Panel(
            "Contracts traded",
            [
                charts.Series("calls", calls, "call", "bars"),
                charts.Series("puts", puts, "put", "bars"),
                charts.Series("usual", history["usual_volume"].to_list(), "usual"),
            ],
            compact,
            from_zero=True,
        ),
        charts.Panel("Puts per call", [charts.Series("ratio", ratio)], number, from_zero=True),
        charts.Panel(
            f"At-the-money volatility, {_LEVEL_TENOR} days",
            [charts.Series("volatility", history["atm_volatility"].to_list())],
            percent,
        ),
    ]
    lanes, marks = _time_line(page)
    said = f"{len(days)} sessions to {page.session}; {sum(mark.lane == 0 for mark in marks)} events"
    return charts.time_panels(days, panels, f"History of {page.underlying}", said, marks, lanes)


def _time_line(page: TickerPage) -> tuple[list[str], list[charts.Mark]]:
    events = [
        charts.Mark(
            row["session"],
            0,
            row["conviction"],
            "circle",
            f"{row['session']}: {row['conviction']} conviction, score {row['score']:.1f}, {row['direction']}",
        )
        for row in page.events.filter(pl.col("conviction") != "NONE").iter_rows(named=True)
    ]
    trades = [mark for row in page.insiders.iter_rows(named=True) if (mark := _insider_mark(row))]
    return ["events", *(["insiders"] if trades else [])], events + trades


def _insider_mark(row: Mapping[str, Any]) -> charts.Mark | None:
    bought, sold = row["transaction_class"] in PURCHASES, row["transaction_class"] in SALES
    if not (bought or sold) or row["is_chain_repeat"]:
        return None
    title = f"{row['filed_on']}: {row['role']} {'bought' if bought else 'sold'} {dollars(row['value_usd'])}"
    return charts.Mark(row["filed_on"], 1, "bought" if bought else "sold", "up" if bought else "down", title)


def _event_rows(page: TickerPage) -> list[dict[str, Any]]:
    """Events of this underlying, newest first, with their status and what followed by horizon."""
    status = by_event(page.statuses)
    after: dict[str, dict[int, float | None]] = {}
    for row in page.outcomes.iter_rows(named=True):
        after.setdefault(row["event_id"], {})[row["horizon_sessions"]] = row["signed_return"]
    listed = page.events.filter((pl.col("conviction") != "NONE") | (pl.col("session") == page.session))
    return [
        row | {"confirmation": status.get(row["event_id"]), "after": after.get(row["event_id"], {})}
        for row in listed.sort("session", descending=True).head(60).to_dicts()
    ]


def by_event(statuses: pl.DataFrame) -> dict[str, dict[str, Any]]:
    """The newest status of each event."""
    return {row["event_id"]: row for row in statuses.sort("available_at").to_dicts()}
