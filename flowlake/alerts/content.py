"""What an alert says: every number with its unit and its source, in plain words. Pure: evidence in, content out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from urllib.parse import quote

import polars as pl

from flowlake import calendar
from flowlake.alerts.evidence import INSIDER_DAYS, Evidence
from flowlake.alerts.message import clean
from flowlake.settings import AlertSettings

Row = Mapping[str, Any]

DISCLAIMER = (
    "This is a statistical finding from public market data. It cannot identify traders or their reasons, most unusual "
    "activity has an innocent cause, and it never says that anyone broke the law. It is not investment advice."
)
SIMULATED = "SIMULATED DATA: this market was generated to show how the software works. No company's options did this."

CONTRACTS_SHOWN = 5
FACTORS_SHOWN = 8

SIDE = {"C": "call", "P": "put"}
SIDES = {"C": "calls", "P": "puts"}
PROFITS = {
    "bullish": "it would profit from a rise of the stock",
    "bearish": "it would profit from a fall of the stock",
    "neutral": "no direction is claimed: the lines look sold rather than bought",
}
ALGORITHMS = {
    "volume": "volume far above history and chain",
    "open_interest": "positions opened in the session before",
    "multi_strike": "neighbouring strikes unusual together",
    "low_volume": "one series took over a quiet chain",
    "day_over_day": "volume broke with the session before",
}
LOWERS = {
    "split": "a recent split changed contract sizes",
    "new listing": "contracts are newly listed and have little history",
    "index or ETF": "an index or fund, where hedging is common",
    "spread look-alike": "volumes of several lines match, as in a spread",
    "roll look-alike": "volumes of two expirations match, as when a position is rolled",
}
CLASSES = {
    "open_market_purchase": "open-market purchases",
    "planned_purchase": "purchases under a 10b5-1 plan",
    "open_market_sale": "open-market sales",
    "planned_sale": "sales under a 10b5-1 plan",
    "exercise": "exercises and conversions",
    "award": "awards",
    "tax_withholding": "shares withheld for tax",
    "issuer_disposition": "returns to the issuer",
    "derivative_trade": "trades in derivatives",
}


FACTOR_NAMES = {
    "volume_surprise": "volume surprise",
    "open_interest_surprise": "positions opened before",
    "ladder_surprise": "strikes unusual together",
    "series_surprise": "one series alone",
    "short_otm_share": "short-dated, out of money",
    "premium_ratio": "premium paid",
    "volume_oi_ratio": "volume over open interest",
    "dominance": "size against the chain",
    "concentration": "one line's share",
    "iv_change": "volatility of the lines",
    "iv_expansion": "volatility of the chain",
    "call_put_tilt": "calls against puts",
    "liquidity_surge": "volume of the chain",
    "quietness": "stock itself is quiet",
}


@dataclass(frozen=True)
class Line:
    """One contract: what traded against what was expected, price and Greeks; None where unknown."""

    name: str
    dte: int
    volume: int
    open_interest: int | None
    expected: float
    price: float | None
    implied_volatility: float | None
    delta: float | None
    gamma: float | None
    theta: float | None
    vega: float | None
    premium_usd: float | None


@dataclass(frozen=True)
class Content:
    """Everything an alert shows, escaped of nothing: renderers escape for their medium."""

    underlying: str
    session: date
    moment: str
    headline: str
    kicker: str
    score: float
    conviction: str
    direction: str
    direction_words: str
    rate_words: str
    what_changed: str | None
    volume_words: str
    reasons: Sequence[str]
    lowers: Sequence[str]
    lines: Sequence[Line]
    more_lines: int
    factors: Sequence[tuple[str, float, str]]
    llr_total: float | None
    arithmetic: Sequence[tuple[str, str]]
    risks: Sequence[tuple[str, str]]
    insiders: str
    tomorrow: Sequence[str]
    where: str
    link: str | None
    alert_id: str
    simulated: bool
    origin: str


def build(evidence: Evidence, settings: AlertSettings) -> Content:
    """The content of the alert's newest evidence."""
    alert, event = evidence.alert, evidence.event or {}
    underlying = clean(alert["underlying"], 24)
    contracts: list[Row] = list(event.get("contracts") or [])
    greeks = {row["contract"]: row for row in evidence.chain.to_dicts()}
    lead = contracts[0] if contracts else None
    page, link = _report(alert, settings)
    return Content(
        underlying=underlying,
        session=alert["session"],
        moment=_moment(alert),
        headline=_headline(alert, underlying),
        kicker=_kicker(alert),
        score=alert["score"],
        conviction=alert["conviction"],
        direction=alert["direction"],
        direction_words=PROFITS.get(alert["direction"], PROFITS["neutral"]),
        rate_words=rate_words(alert["expected_false_alarms_per_day"], event.get("universe")),
        what_changed=clean(alert["reason"], 300) if alert["revision"] > 1 else None,
        volume_words=_volume_words(event, alert),
        reasons=_reasons(event, alert),
        lowers=[LOWERS.get(note, clean(note, 80)) for note in event.get("annotations") or []],
        lines=[_line(row, greeks.get(row["contract"]), underlying) for row in contracts[:CONTRACTS_SHOWN]],
        more_lines=max(len(contracts) - CONTRACTS_SHOWN, 0),
        factors=_factors(event),
        llr_total=event.get("llr_total"),
        arithmetic=_arithmetic(lead, evidence.chain, event.get("spot"), alert["direction"]),
        risks=[*_risks(lead, greeks.get(lead["contract"]) if lead else None), _dates(evidence.known)],
        insiders=_insiders(evidence.insiders),
        tomorrow=_tomorrow(contracts, evidence.verdict, alert),
        where=page,
        link=link,
        alert_id=alert["alert_id"],
        simulated=alert["origin"] == "simulated",
        origin=alert["origin"],
    )


def rate_words(rate: float, universe: int | None) -> str:
    """How often as much is seen without any cause, in words: 'about 1 a week'."""
    among = f" among {universe:,} underlyings" if universe else ""
    return f"Without any cause behind it, something this unusual is expected {_often(rate)}{among} ({rate:.2g} a day)."


def _often(rate: float) -> str:
    if rate >= 1.5:
        return f"about {rate:.0f} times a day"
    days = 1 / max(rate, 1e-6)
    for longest, size, unit in ((1.4, 1, "day"), (4, 1, "trading day"), (42, 5, "week"), (252, 21, "month")):
        if days < longest:
            return _every(days / size, unit)
    return _every(days / 252, "year")


def _every(periods: float, unit: str) -> str:
    count = max(round(periods), 1)
    return f"about once a {unit}" if count == 1 else f"about once every {count:,} {unit}s"


def expected_move(chain: pl.DataFrame, expiration: date) -> tuple[float, float] | None:
    """(strike, price of the straddle) at the money of `expiration`: call plus put at the strike nearest the forward.

    None where no strike has both prices. `chain` has expiration, strike, right, price, forward and spot.
    """
    priced = chain.filter(pl.col("expiration") == expiration, pl.col("price").is_not_null(), ~pl.col("is_adjusted"))
    both = (
        priced.group_by("strike")
        .agg(pl.col("price").sum(), pl.col("right").n_unique(), pl.col("forward").first(), pl.col("spot").first())
        .filter(pl.col("right") == 2)
        .with_columns(distance=(pl.col("strike") - pl.coalesce("forward", "spot")).abs())
        .drop_nulls("distance")
        .sort("distance", "strike")
    )
    return None if both.is_empty() else (both["strike"][0], both["price"][0])


def _headline(alert: Row, underlying: str) -> str:
    verdict = alert["event_status"]
    if verdict == "confirmed":
        return f"{underlying}: yesterday's unusual {SIDES[alert['right']]} were held overnight"
    if verdict == "withdrawn":
        return f"{underlying}: yesterday's unusual {SIDES[alert['right']]} were not held"
    return f"{underlying}: unusual {SIDES[alert['right']]}, {alert['direction']}"


def _kicker(alert: Row) -> str:
    return "Update" if alert["revision"] > 1 else "Alert"


def _moment(alert: Row) -> str:
    day = f"{alert['session']:%a %-d %b %Y}"
    if alert["snapshot"] is None:
        return f"{day}, whole session"
    return f"{day}, so far at {alert['snapshot'].astimezone(calendar.NEW_YORK):%H:%M} New York"


def _volume_words(event: Row, alert: Row) -> str:
    side = SIDES[alert["right"]]
    volume, usual, premium = event.get("volume"), event.get("expected_volume"), alert["premium_usd"]
    if volume is None:
        return ""
    words = f"{volume:,} {side} traded"
    if usual:
        words += f", {volume / usual:.1f} times the usual {usual:,.0f} of a whole session"
    if premium:
        words += f"; the leading lines cost {money(premium)} in premium"
    return f"{words}."


def _reasons(event: Row, alert: Row) -> list[str]:
    texts = [f["text"] for f in event.get("factors") or [] if f["contribution"] > 0][:4]
    found = [_sentence(clean(text, 160)) for text in texts]
    algorithms: list[str] = list(event.get("algorithms") or [])
    seen = [ALGORITHMS.get(name, clean(name, 60).replace("_", " ")) for name in algorithms]
    if seen:
        found.append(f"Seen by: {', '.join(seen)}.")
    return found or [clean(alert["explanation"], 400)]


def _factors(event: Row) -> list[tuple[str, float, str]]:
    parts = sorted(event.get("factors") or [], key=lambda part: -abs(part["contribution"]))
    return [
        (
            FACTOR_NAMES.get(part["factor"], clean(part["factor"], 30).replace("_", " ")),
            part["contribution"],
            clean(part["text"], 120),
        )
        for part in parts[:FACTORS_SHOWN]
    ]


def _line(row: Row, greeks: Row | None, underlying: str) -> Line:
    known = greeks or {}
    return Line(
        name=f"{underlying} {row['expiration']:%-d %b %Y} {row['strike']:g} {SIDE[row['right']]}",
        dte=row["dte"],
        volume=row["volume"],
        open_interest=row["open_interest"],
        expected=row["expected"],
        price=row["price"],
        implied_volatility=row["implied_volatility"],
        delta=row["delta"],
        gamma=known.get("gamma"),
        theta=known.get("theta"),
        vega=known.get("vega"),
        premium_usd=row["premium_usd"],
    )


def _arithmetic(lead: Row | None, chain: pl.DataFrame, spot: float | None, direction: str) -> list[tuple[str, str]]:
    """What the leading line needs, and what the options say the stock may do. Arithmetic, not a forecast."""
    if lead is None or not lead["price"] or not spot:
        return []
    up = lead["right"] == "C"
    even = lead["strike"] + lead["price"] if up else lead["strike"] - lead["price"]
    facts = [
        ("Stock price", f"${spot:,.2f}"),
        (
            "Break-even at expiration",
            f"${even:,.2f}, a move of {even / spot - 1:+.1%} by {lead['expiration']:%-d %b %Y} "
            f"(strike {'+' if up else '−'} price)",
        ),
    ]
    straddle = expected_move(chain, lead["expiration"])
    if straddle is None:
        return [*facts, ("Move the options imply", "unknown: no at-the-money strike has both prices")]
    strike, price = straddle
    facts.append(
        (
            "Move the options imply",
            f"±{price / spot:.1%} by then: call + put at strike {strike:g} cost ${price:,.2f}, over the stock price",
        )
    )
    if direction != "neutral":
        facts.append(_if_it_moves(lead, spot + price if up else spot - price))
    return facts


def _if_it_moves(lead: Row, there: float) -> tuple[str, str]:
    """What the leading line would be worth at expiration, were the stock `there`."""
    worth = max(there - lead["strike"] if lead["right"] == "C" else lead["strike"] - there, 0.0)
    gain = worth / lead["price"] - 1.0
    change = f"{abs(gain):.0%} {'more' if gain >= 0 else 'less'} than it costs now"
    said = f"worth ${worth:,.2f}, {change}" if worth else "worth nothing: that move is not enough"
    return f"If the stock were at ${there:,.2f} then", f"{said}. Arithmetic, not a forecast"


def _risks(lead: Row | None, greeks: Row | None) -> list[tuple[str, str]]:
    if lead is None or not lead["price"]:
        return []
    known = greeks or {}
    size = known.get("multiplier") or 100.0
    facts = [("Most a buyer can lose", f"the whole premium: ${lead['price'] * size:,.0f} a contract")]
    if known.get("theta") is not None:
        daily = abs(known["theta"]) * size
        facts.append(
            ("Time decay", f"about ${daily:,.2f} a day and contract ({daily / size / lead['price']:.1%} a day)")
        )
    if known.get("spread") is not None and known.get("mid"):
        facts.append(("Bid-ask spread", f"${known['spread']:,.2f}, {known['spread'] / known['mid']:.0%} of the price"))
    if lead["delta"] is not None:
        facts.append(
            ("Delta", f"{lead['delta']:+.2f}: ends in the money roughly {abs(lead['delta']) * 100:.0f} times in 100")
        )
    return facts


def _dates(known: pl.DataFrame | None) -> tuple[str, str]:
    """What is scheduled: earnings, a dividend or a deal explain much that looks informed."""
    if known is None or known.is_empty():
        return "Earnings and other dates", "none known to flowlake; look them up before reading anything into this"
    ahead = known.sort("event_on", "kind").head(4).iter_rows(named=True)
    listed = "; ".join(f"{row['event_on']:%-d %b}: {clean(row['description'], 80)}" for row in ahead)
    return "Earnings and other dates", f"{listed}. Activity before a known date is less surprising"


def _insiders(rows: pl.DataFrame | None) -> str:
    if rows is None:
        return f"Insider filings (SEC Forms 3, 4, 5) of the last {INSIDER_DAYS} days have not been looked up yet."
    if rows.is_empty():
        return f"No insider transaction of the last {INSIDER_DAYS} days is known in the filings that the lake holds."
    parts = [
        f"{CLASSES.get(row['transaction_class'], row['transaction_class'].replace('_', ' '))}: "
        f"{row['transactions']} by {row['owners']} insider(s), {money(row['value_usd'])}"
        for row in rows.sort("value_usd", descending=True).iter_rows(named=True)
    ]
    return f"Known filings of the last {INSIDER_DAYS} days: {'; '.join(parts)}."


def _tomorrow(contracts: Sequence[Row], verdict: Row | None, alert: Row) -> list[str]:
    if verdict is not None:
        return [_sentence(clean(verdict["explanation"], 300))]
    if alert["event_status"] in ("confirmed", "withdrawn"):
        return [f"Next-morning open interest {alert['event_status']} it."]
    traded = sum(row["volume"] for row in contracts)
    when = f"{calendar.next_session(alert['session']):%a %-d %b}"
    if not traded:
        return [f"Open interest on the morning of {when} will show whether positions were opened and held."]
    return [
        f"Would confirm: on the morning of {when} the open interest of these lines is up by a large part of the "
        f"{traded:,} contracts traded. Positions were then opened and held.",
        "Would refute: it is little changed or down. They were then closed the same day, or closed older positions.",
        "flowlake looks by itself; a clear answer comes in this thread.",
    ]


def _report(alert: Row, settings: AlertSettings) -> tuple[str, str | None]:
    page = f"daily-{alert['session'].isoformat()}.html"
    anchor = f"#event-{alert['rank']}" if alert["snapshot"] is None else ""
    if not settings.report_url:
        return f"reports/{page} on the machine that runs flowlake", None
    return page, f"{settings.report_url.rstrip('/')}/{quote(page)}{anchor}"


def money(value: float | None) -> str:
    """'$1.2M'; a dash where unknown."""
    if value is None:
        return "–"
    for size, suffix in ((1e9, "B"), (1e6, "M"), (1e3, "K")):
        if abs(value) >= size:
            return f"${value / size:.1f}{suffix}"
    return f"${value:,.0f}"


def local_time(moment: datetime) -> str:
    """'Fri 20 Nov 2026, 10:15 New York'."""
    return f"{moment.astimezone(calendar.NEW_YORK):%a %-d %b %Y, %H:%M} New York"


def _sentence(text: str) -> str:
    stripped = text.strip().rstrip(".")
    return f"{stripped[:1].upper()}{stripped[1:]}." if stripped else ""
