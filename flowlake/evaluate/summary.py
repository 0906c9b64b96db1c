"""The evaluation in words and tables: the same sections for the HTML report, the docs and the terminal."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from flowlake.detect import buckets
from flowlake.evaluate.plan import DECOYS
from flowlake.evaluate.rivals import RULES

OURS = "flowlake"
METHOD_NAMES = {OURS: "**flowlake**", **RULES}
BUDGETS = (10, 20, 50, 100)
ACTIVITY_NAMES = {str(number): name for number, name in enumerate(buckets.TICKER_CLASS_NAMES)}
"""Mean option contracts a day of an underlying, by its activity class."""

ARM_NAMES = {"informed": "any host", "quiet": "quiet hosts", "camouflage": "busy days"}

CALIBRATED = (0.8, 1.25)
"""Ratio of observed to promised false alarms that counts as calibrated."""

Results = Mapping[str, pl.DataFrame]


@dataclass(frozen=True)
class Section:
    """One table with its heading and what a reader must know to read it."""

    title: str
    note: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def sections(results: Results) -> list[Section]:
    """Every section the results allow, in reading order; the first says which bars hold."""
    made = (
        bars, recall, session_recall, recall_by, calibration, calibration_by, decoys, decoy_kinds, look_alikes, cases,
        case_list, doses, lead, held_out, variants, curves, aftermath,
    )  # fmt: skip
    return [section for make in made if (section := make(results)) is not None and section.rows]


def markdown(parts: Sequence[Section]) -> str:
    """`parts` as Markdown tables."""
    lines: list[str] = []
    for part in parts:
        lines += [f"## {part.title}", "", part.note, "", "| " + " | ".join(part.header) + " |"]
        lines += ["|" + "---|" * len(part.header)]
        lines += ["| " + " | ".join(row) + " |" for row in part.rows]
        lines += [""]
    return "\n".join(lines)


def share(row: Mapping[str, object], value: str = "recall") -> str:
    """'43 % [37, 49]': a proportion with its interval, from columns low and high."""
    figure, low, high = row[value], row["low"], row["high"]
    if figure is None:
        return "-"
    if low is None or high is None:
        return f"{100 * figure:.0f} %"  # pyright: ignore[reportOperatorIssue]
    return f"{100 * figure:.0f} % [{100 * low:.0f}, {100 * high:.0f}]"  # pyright: ignore[reportOperatorIssue]


def best_rival(results: Results, budget: int = 50, arm: str = "informed") -> dict:
    """The row of `recall` of the best simple rule."""
    rows = results["recall"].filter(pl.col("arm") == arm, pl.col("budget") == budget, pl.col("method") != OURS)
    return rows.sort("recall", "method", descending=[True, False]).row(0, named=True)


def our_recall(results: Results, budget: int = 50, arm: str = "informed") -> dict:
    """The row of `recall` of flowlake."""
    rows = results["recall"].filter(pl.col("arm") == arm, pl.col("budget") == budget, pl.col("method") == OURS)
    return rows.row(0, named=True)


def bars(results: Results) -> Section:
    """What was promised beside what was measured."""
    levels, by = results["calibration"], results["calibration_by"].filter(pl.col("property") == "activity")
    # A bucket with fewer than five alarms promised says nothing about a ratio of two.
    worst = by.filter(pl.col("nominal") >= 5).sort("ratio", descending=True).head(1).to_dicts()
    low = results["decoys"].filter(pl.col("conviction") == "LOW").row(0, named=True)
    allowed = low["nominal"] + 2 * (low["nominal"] * (1 - low["nominal"]) / max(low["decoys"], 1)) ** 0.5
    rows = [
        *(_calibration_bar(row) for row in levels.to_dicts()),
        (
            "no activity class above 2 (where 5 or more were promised)",
            "; ".join(f"{ACTIVITY_NAMES[row['value']]} a day, {row['conviction']}: {row['ratio']:.2f}" for row in worst)
            or "too few alarms promised",
            _holds(bool(worst) and worst[0]["ratio"] <= 2.0),
        ),
        *(_recall_bar(results, arm, label) for arm, label in (("informed", "any host"), ("quiet", "quiet hosts"))),
        (
            "decoys flagged at LOW at most the nominal rate + 2 standard errors",
            f"{low['decoys_flagged']} of {low['decoys']} ({100 * low['decoy_rate']:.0f} %), "
            f"allowed {100 * allowed:.1f} %",
            _holds(low["decoy_rate"] <= allowed),
        ),
    ]
    if "cases" in results:
        ours_cases = results["cases"].filter(pl.col("method") == OURS, pl.col("detectable"))
        caught = int(ours_cases["caught"].sum())
        rows.append(
            (
                "re-enacted detectable cases within the top 50 of 6,000, aim 80 %",
                f"{caught}/{ours_cases.height}",
                _holds(caught >= 0.8 * ours_cases.height),
            )
        )
    return Section("What was promised, and what was measured", "", ("claim", "measured", "holds"), tuple(rows))


def _calibration_bar(row: dict) -> tuple[str, str, str]:
    """One conviction level; 'undecided' where the ratio is outside the band but its interval reaches into it."""
    smallest, largest = CALIBRATED
    inside = smallest <= row["ratio"] <= largest
    reaches = row["low"] <= largest and row["high"] >= smallest
    return (
        f"false alarms at {row['conviction']} and above, observed / promised, within {smallest}-{largest}",
        f"{row['observed']} / {row['nominal']:.1f} = {row['ratio']:.2f} [{row['low']:.2f}, {row['high']:.2f}]",
        "yes" if inside else "undecided" if reaches else "**no**",
    )


def _recall_bar(results: Results, arm: str, label: str) -> tuple[str, str, str]:
    ours, rival = our_recall(results, arm=arm), best_rival(results, arm=arm)
    times = f"{ours['recall'] / rival['recall']:.2f} times" if rival["recall"] else "the rule caught none"
    return (
        f"recall at 50 of 6,000 at least twice the best simple rule's, {label}",
        f"{share(ours)} against {share(rival)} ({METHOD_NAMES[rival['method']]}), {times}, n = {ours['n']}",
        _holds(ours["recall"] >= 2 * rival["recall"] > 0),
    )


def _holds(yes: bool) -> str:
    return "yes" if yes else "**no**"


def recall(results: Results) -> Section:
    """Recall at every budget, each method, ordinary and busy days."""
    rows = []
    for arm, label in ARM_NAMES.items():
        table = results["recall"].filter(pl.col("arm") == arm)
        rows += [
            (label, METHOD_NAMES[method], *_budgets(table.filter(pl.col("method") == method)), str(_n(table, method)))
            for method in METHOD_NAMES
            if _n(table, method)
        ]
    note = (
        "Share of injected episodes that rank within the budget on any session from the first trade to the last, "
        "with Wilson's 95 % interval. The budget is that of a universe of 6,000 names: the rank is the place of the "
        "episode's score among the undisturbed ticker-sessions of all judged sessions, scaled to 6,000. Any host: "
        "every decile of option volume alike; quiet hosts: up to 6,000 contracts a day, where almost all public cases "
        "were; busy days: at least 1.5 times the host's usual volume."
    )
    return Section("Recall", note, ("hosts", "method", *(f"@{budget}" for budget in BUDGETS), "n"), tuple(rows))


def _n(table: pl.DataFrame, method: str) -> int:
    rows = table.filter(pl.col("method") == method)
    return int(rows["n"][0]) if rows.height else 0


def _budgets(table: pl.DataFrame) -> tuple[str, ...]:
    by_budget = {row["budget"]: row for row in table.to_dicts()}
    return tuple(share(by_budget[budget]) for budget in BUDGETS)


def session_recall(results: Results) -> Section:
    """Raw places among the names of the same session."""
    places = (1, 2, 5, 10)
    best = results["best"].filter(pl.col("arm") == "informed")
    rows = []
    for method, name in METHOD_NAMES.items():
        own = best.filter(pl.col("method") == method)
        rank = own["session_best"]
        within = (_percent((rank <= place).mean()) for place in places)
        rows.append((name, *within, f"{rank.median():.0f}", str(own.height)))
    names = int(best["session_names"].median() or 0)  # pyright: ignore[reportArgumentType]
    note = (
        f"The same episodes by their raw place among the about {names} names of their own session, best session "
        f"counted. 50 of 6,000 would be place {50 * names / 6000:.1f} here."
    )
    return Section("Raw places", note, ("method", *(f"first {p}" for p in places), "median", "n"), tuple(rows))


def _percent(value: object) -> str:
    return "-" if not isinstance(value, int | float) else f"{100 * value:.0f} %"


_PROPERTIES: dict[str, tuple[str, Callable[[str], str]]] = {
    "activity": ("host's contracts a day", lambda value: ACTIVITY_NAMES.get(value, value)),
    "relative_band": ("size over host's day", str),
    "size_band": ("contracts", str),
    "dte_band": ("days to expiration", str),
    "strikes": ("strikes", str),
    "length_band": ("sessions", str),
    "structure": ("structure", lambda value: value.replace("_", " ")),
    "right": ("side", lambda value: {"C": "calls", "P": "puts"}[value]),
}


def recall_by(results: Results) -> Section:
    """Recall at 50 by one property at a time, ours and the best rule's."""
    table = results["recall_by"].filter(pl.col("budget") == 50)
    rival = best_rival(results)["method"]
    rows = []
    for name, (label, spelled) in _PROPERTIES.items():
        values = table.filter(pl.col("property") == name, pl.col("value").is_not_null())
        for value in sorted(values["value"].unique(), key=_leading_number):
            pair = [values.filter(pl.col("value") == value, pl.col("method") == method) for method in (OURS, rival)]
            rows.append(
                (label, spelled(value), *(share(frame.row(0, named=True)) for frame in pair), str(pair[0]["n"][0]))
            )
    note = "Any host and quiet hosts together, 50 of 6,000."
    return Section("Where recall comes from", note, ("property", "value", "flowlake", RULES[rival], "n"), tuple(rows))


def _leading_number(label: str) -> tuple[float, str]:
    """Sorts bands by where they start: 'up to 0.1' before '0.1-0.5' before 'over 5'; other labels by name."""
    found = re.search(r"[\d.,]*\d", label)
    if label.startswith("up to") or found is None:
        return 0.0, label
    return float(found.group().replace(",", "")) + label.startswith("over"), label


def calibration(results: Results) -> Section:
    """Alarms at each conviction, observed against promised."""
    days = {row["conviction"]: row for row in results["calibration_days"].to_dicts()}
    rows = tuple(
        (
            f"{row['conviction']} and above",
            f"{row['observed']}",
            f"{row['nominal']:.1f}",
            f"{row['ratio']:.2f}",
            f"[{row['low']:.2f}, {row['high']:.2f}]",
            f"[{days[row['conviction']]['low']:.2f}, {days[row['conviction']]['high']:.2f}]",
        )
        for row in results["calibration"].to_dicts()
    )
    about = results["calibration"].row(0, named=True)
    note = (
        f"Alarms on {about['sessions']} undisturbed sessions ({about['ticker_sessions']:,} ticker-sessions) that "
        "nobody has labelled, so some alarms may be right. Two intervals of the ratio: alarms taken as independent "
        "(exact Poisson), and whole days resampled."
    )
    header = ("conviction", "observed", "promised", "ratio", "95 %, independent", "95 %, by day")
    return Section("False alarms", note, header, rows)


def calibration_by(results: Results) -> Section:
    """The same by activity class, weekday and side."""
    table = results["calibration_by"].filter(pl.col("conviction").is_in(["MEDIUM", "LOW"]))
    rows = tuple(
        (
            str(row["property"]),
            ACTIVITY_NAMES.get(row["value"], "-") if row["property"] == "activity" else str(row["value"]),
            str(row["conviction"]),
            f"{row['observed']}",
            f"{row['nominal']:.1f}",
            f"{row['ratio']:.2f} [{row['low']:.2f}, {row['high']:.2f}]",
        )
        for row in table.filter(pl.col("property") != "side").sort("property", "conviction", "value").to_dicts()
    )
    note = "Exact Poisson intervals; a class with few promised alarms says little."
    return Section(
        "False alarms by class and weekday", note, ("by", "value", "conviction", "observed", "promised", "ratio"), rows
    )


def decoys(results: Results) -> Section:
    """How decoys fare at each conviction."""
    rows = tuple(
        (
            row["conviction"],
            f"{row['episodes_flagged']}/{row['episodes']}",
            f"{row['decoys_flagged']}/{row['decoys']}",
            f"{100 * row['undisturbed_rate']:.2f} %",
            f"{100 * row['nominal']:.2f} %",
            share(row, "decoy_share"),
        )
        for row in results["decoys"].to_dicts()
    )
    note = (
        "Decoys come from the same hosts and sizes as episodes and are errors when flagged. They are unusual trading "
        "by construction, only not informed: no figure of a chain tells a hedge from a bet."
    )
    header = (
        "conviction",
        "episodes flagged",
        "decoys flagged",
        "undisturbed flagged",
        "nominal",
        "decoys among flagged",
    )
    return Section("Decoys", note, header, rows)


def decoy_kinds(results: Results) -> Section:
    """Recall at 50 of each kind of decoy: lower is better."""
    table = results["recall_by_kind"].filter(pl.col("budget") == 50)
    rival = best_rival(results)["method"]
    rows = []
    for kind, text in DECOYS.items():
        pair = [table.filter(pl.col("kind") == kind, pl.col("method") == method) for method in (OURS, rival)]
        if all(frame.height for frame in pair):
            rows.append(
                (kind.replace("_", " "), text, *(share(f.row(0, named=True)) for f in pair), str(pair[0]["n"][0]))
            )
    note = "Share within 50 of 6,000; every one of these is an error."
    return Section("Decoys by kind", note, ("kind", "what it is", "flowlake", RULES[rival], "n"), tuple(rows))


def look_alikes(results: Results) -> Section:
    """How often an event of a kind says what may explain it away."""
    rows = tuple(
        (row["kind"].replace("_", " "), str(row["events"]), str(row["spread_or_roll"]), str(row["new_listing"]))
        for row in results["look_alikes"].to_dicts()
    )
    note = "Events written for injected underlyings, and how many carry an annotation that lowers surprise."
    return Section("Look-alikes recognised", note, ("kind", "events", "spread or roll", "new listing"), rows)


def cases(results: Results) -> Section | None:
    """Re-enacted cases caught by each method, detectable and undetectable apart."""
    if "cases" not in results:
        return None
    rows = []
    for method, name in METHOD_NAMES.items():
        own = results["cases"].filter(pl.col("method") == method)
        seen, hidden = own.filter(pl.col("detectable")), own.filter(~pl.col("detectable"))
        low, high = _wilson(int(seen["caught"].sum()), seen.height)
        rows.append(
            (
                name,
                f"{seen['caught'].sum()}/{seen.height} [{100 * low:.0f}, {100 * high:.0f}] %",
                _percent(seen["share"].mean()),
                f"{hidden['caught'].sum()}/{hidden.height}",
            )
        )
    note = (
        "A case counts as caught where more than half of its re-enactments, each in another quiet host of about the "
        "same option volume, rank within 50 of 6,000. The cases are prosecuted or newsworthy ones: an upper bound."
    )
    return Section(
        "Public cases, re-enacted", note, ("method", "caught", "mean share", "undetectable set"), tuple(rows)
    )


def _wilson(hits: int, n: int) -> tuple[float, float]:
    from flowlake.evaluate.metrics import wilson

    low, high = wilson(pl.col("hits"), pl.col("n"))
    row = pl.DataFrame({"hits": [hits], "n": [max(n, 1)]}).select(low=low, high=high)
    return row.row(0)


def case_list(results: Results) -> Section | None:
    """Each case, its size and what became of it."""
    if "cases" not in results:
        return None
    rows = tuple(
        (
            row["case_id"],
            f"{row['size']:,}",
            f"{row['market']:,.0f}",
            f"{100 * row['share']:.0f} %",
            f"{row['median_rank']:,.0f}",
            ", ".join(row["assumed"]).replace("_", " ") or "-",
            "" if row["detectable"] else "undetectable",
        )
        for row in results["cases"].filter(pl.col("method") == OURS).to_dicts()
    )
    header = ("case", "contracts", "option contracts a day", "within 50", "median rank", "assumed", "")
    return Section("Case by case", "Ranks among 6,000, best session of each re-enactment.", header, rows)


def doses(results: Results) -> Section:
    """The size caught half the time, by activity class."""
    rows = tuple(
        (
            ACTIVITY_NAMES.get(str(row["activity"]), "all"),
            f"{row['caught']}/{row['n']}",
            "-" if row["half_size"] is None else f"{row['half_size']:,.0f}",
            "-" if row["low"] is None else f"[{row['low']:,.0f}, {row['high']:,.0f}]",
        )
        for row in results["half_detection"].to_dicts()
    )
    note = (
        "One out-of-the-money call line, one session, 50 to 50,000 contracts: the size at which half are within 50 of "
        "6,000, from a logistic curve in log size with a bootstrap interval."
    )
    return Section(
        "Smallest trade seen", note, ("host's contracts a day", "caught", "half-detection size", "95 %"), rows
    )


def lead(results: Results) -> Section:
    """Sessions between first alert and news."""
    table = results["lead"]
    total = int(table["episodes"].sum() or 0)
    rows = tuple(
        (str(row["lead_sessions"]), str(row["episodes"]), f"{100 * row['episodes'] / max(total, 1):.0f} %")
        for row in table.to_dicts()
    )
    note = (
        "Episodes caught within 50, by sessions from the first alert (at a close) to the news, taken to come in the "
        "session after the last trade."
    )
    return Section("Lead time", note, ("sessions ahead", "episodes", "share"), rows)


def variants(results: Results) -> Section:
    """Ablations and parameter changes."""
    table = results["variants"].filter(pl.col("budget") == 50)
    rows = tuple(
        (row["variant"].replace("_", " "), share(row), f"{row['same_list']:.2f}", str(row["n"]))
        for row in table.to_dicts()
    )
    note = (
        "Recall at 50 with one factor left out, or with all curves (or look-alikes) moved by 20 %; overlap is the "
        "mean Jaccard index of the undisturbed sessions' daily top 5 % with today's."
    )
    return Section("Ablations and stability", note, ("variant", "recall at 50", "overlap", "n"), rows)


def held_out(results: Results) -> Section | None:
    """The same on sessions the fit has not seen."""
    if "held_out" not in results:
        return None
    table = results["held_out"]
    rows = [
        (
            label,
            METHOD_NAMES[method],
            *_budgets(table.filter(arm=arm, method=method)),
            str(_n(table.filter(arm=arm), method)),
        )
        for arm, label in (*ARM_NAMES.items(), ("decoy", "decoys (errors)"))
        for method in METHOD_NAMES
        if _n(table.filter(arm=arm), method)
    ]
    levels = results["held_out_calibration"].to_dicts()
    alarms = "; ".join(
        f"{row['conviction']} {row['observed']} against {row['nominal']:.1f} = {row['ratio']:.2f} "
        f"[{row['low']:.2f}, {row['high']:.2f}]"
        for row in levels
    )
    low = results["held_out_decoys"].filter(conviction="LOW").row(0, named=True)
    note = (
        f"The {table['sessions'][0]} sessions after an embargo, of which the fit of the curves has seen nothing; ranks "
        f"are among their undisturbed ticker-sessions alone. False alarms there, observed against promised: {alarms}. "
        f"Decoys flagged at LOW: {low['decoys_flagged']} of {low['decoys']}."
    )
    return Section("Held out", note, ("hosts", "method", *(f"@{budget}" for budget in BUDGETS), "n"), tuple(rows))


def curves(results: Results) -> Section:
    """What each factor adds."""
    weighing = pl.any_horizontal(pl.col("^at_.*|per_unit$").fill_null(0.0).round(2) != 0.0)
    rows = tuple(
        (
            row["factor"].replace("_", " "),
            row["group"] or "all",
            *(
                "-" if row[name] is None else f"{row[name]:+.2f}"
                for name in ("at_50", "at_10", "at_1", "at_01", "per_unit")
            ),
        )
        for row in results["curves"].filter(weighing).to_dicts()
    )
    note = (
        "Nats added where a share u of comparable sides is at least as extreme, by the host's contracts a day; factors "
        "that only speak against are multiplied by their value. Fitted together: what is not listed says nothing that "
        "others do not say."
    )
    header = ("factor", "contracts a day", "u = 50 %", "10 %", "1 %", "0.1 %", "per unit of value")
    return Section("Weight of factors", note, header, rows)


def aftermath(results: Results) -> Section | None:
    """What followed the undisturbed sessions' own events."""
    if "aftermath" not in results:
        return None
    rows = tuple(
        (
            row["direction"],
            str(row["horizon"]),
            f"{100 * row['event_mean']:+.2f} %",
            f"{100 * row['lift']:+.2f} % [{100 * row['low']:+.2f}, {100 * row['high']:+.2f}]",
            f"{100 * row['trimmed_lift']:+.2f} % [{100 * row['trimmed_low']:+.2f}, {100 * row['trimmed_high']:+.2f}]",
            f"{row['events']} on {row['days']} days",
        )
        for row in results["aftermath"].to_dicts()
    )
    note = (
        "Returns after events of LOW conviction and above, less the median of all names, signed by the side that "
        "traded, and their lift over quiet names of the same session, class and nearest return of the day. Intervals "
        "resample whole days; horizons overlap. An interval that contains 0 shows nothing."
    )
    header = ("direction", "sessions", "signed abnormal return", "lift over controls", "trimmed 5 %", "events")
    return Section("What followed", note, header, rows)
