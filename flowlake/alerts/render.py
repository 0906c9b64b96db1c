"""Content as messages: HTML and text for mail, short forms for push. Everything from outside is escaped here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowlake.alerts import identity
from flowlake.alerts.content import DISCLAIMER, SIMULATED, Content, local_time, money
from flowlake.alerts.message import Message, clean

if TYPE_CHECKING:
    from jinja2 import Environment

_INK, _SOFT, _LINE = "#16202c", "#566273", "#dde2e9"
_FACE = "font-family:-apple-system,'Segoe UI',Roboto,Helvetica,Arial,sans-serif"

STYLES = {
    "ink": _INK,
    "soft": _SOFT,
    "line": _LINE,
    "card": "#ffffff",
    "page": "#f3f5f8",
    "accent": "#1f5fbf",
    "levels": {"EXTREME": "#b3261e", "HIGH": "#8a5a00", "MEDIUM": "#1f5fbf", "LOW": _SOFT, "NONE": _SOFT},
    "face": _FACE,
    "p": f"margin:0 0 8px;{_FACE};font-size:15px;line-height:1.5;color:{_INK}",
    "small": f"margin:0 0 6px;{_FACE};font-size:13px;line-height:1.45;color:{_SOFT}",
    "h2": f"margin:22px 0 8px;{_FACE};font-size:12px;line-height:1.3;letter-spacing:.06em;text-transform:uppercase;"
    f"font-weight:700;color:{_SOFT}",
    "td": f"{_FACE};font-size:14px;line-height:1.4;color:{_INK};padding:6px 0;vertical-align:top;"
    f"border-top:1px solid {_LINE}",
}
"""Inline styles of the mails: many clients read nothing else."""

_PUSH_LENGTH = 900
_LISTED = 12


def alert_message(
    content: Content, alert: Mapping[str, Any], channel: str, now: datetime, pictures: Mapping[str, bytes]
) -> Message:
    """The message of the alert's newest revision."""
    tag = "[SIMULATED] " if content.simulated else ""
    subject = f"{tag}{content.conviction} {content.score:.1f} · {content.headline}"
    context = {"c": content, "pictures": pictures, "disclaimer": DISCLAIMER, "simulated": SIMULATED}
    return Message(
        message_id=identity.message_id(alert["alert_id"], alert["revision"], channel),
        thread_id=alert["thread_id"],
        subject=clean(f"{'Update: ' if alert['revision'] > 1 else ''}{subject}", 180),
        text=_render("alert.txt.j2", context),
        html=_render("alert.html.j2", context),
        title=clean(subject, 120),
        body=_short(content),
        date=now,
        link=content.link,
        reply=alert["revision"] > 1,
        urgent=content.conviction == "EXTREME",
        pictures=pictures,
    )


def notification_message(row: Mapping[str, Any], channel: str, now: datetime, dagster_url: str) -> Message:
    """The message of a notification's newest revision: what broke, what was expected and seen, what has recovered."""
    open_faults = [fault for fault in row["occurrences"] if fault["recovered_at"] is None]
    shown = (open_faults or row["occurrences"])[-_LISTED:]
    recovered = row["status"] == "recovered"
    mark = "Recovered" if recovered else row["severity"]
    context = {
        "title": row["title"],
        "recovered": recovered,
        "severity": row["severity"],
        "topic": row["topic"],
        "since": local_time(row["first_seen"]),
        "last": local_time(row["last_seen"]),
        "faults": [{**fault, "at": local_time(fault["at"])} for fault in shown],
        "more": max(len(open_faults or row["occurrences"]) - len(shown), 0),
        "open": len(open_faults),
        "total": len(row["occurrences"]),
        "link": dagster_url.rstrip("/"),
    }
    lines = [f"{fault['where']}: {fault['what']}" for fault in shown[-3:]]
    return Message(
        message_id=identity.message_id(row["notification_id"], row["revision"], channel),
        thread_id=row["thread_id"],
        subject=clean(f"flowlake {mark}: {row['title']}", 180),
        text=_render("notification.txt.j2", context),
        html=_render("notification.html.j2", context),
        title=clean(f"flowlake {mark}: {row['title']}", 120),
        body="\n".join(clean(line, 250) for line in lines),
        date=now,
        link=context["link"],
        reply=row["revision"] > 1,
        urgent=row["severity"] == "ERROR" and not recovered,
    )


def digest_message(session: date, alerts: Sequence[Mapping[str, Any]], channel: str, now: datetime) -> Message:
    """All alerts of a session in one list, sent or held, the best first, each with the reason."""
    key = identity.digest_id(session)
    simulated = any(row["origin"] == "simulated" for row in alerts)
    context = {
        "session": session,
        "alerts": [{**row, "premium": money(row["premium_usd"])} for row in alerts],
        "sent": sum(row["revision"] > 0 for row in alerts),
        "disclaimer": DISCLAIMER,
        "simulated": SIMULATED if simulated else None,
    }
    tag = "[SIMULATED] " if simulated else ""
    subject = f"{tag}flowlake digest, {session:%a %-d %b %Y}: {len(alerts)} alerts"
    best = [f"{row['underlying']} {row['score']:.1f} {row['conviction']} {row['direction']}" for row in alerts[:10]]
    return Message(
        message_id=identity.message_id(key, 1, channel),
        thread_id=identity.thread_id(key),
        subject=subject,
        text=_render("digest.txt.j2", context),
        html=_render("digest.html.j2", context),
        title=subject,
        body="\n".join(clean(line, 100) for line in best) or "Nothing reached the alert score.",
        date=now,
    )


def _short(content: Content) -> str:
    """The push form: what, how unusual, how often by chance, the leading line, and the caveat."""
    lead = content.lines[0] if content.lines else None
    parts = [content.rate_words]
    if content.what_changed:
        parts.insert(0, f"Update: {content.what_changed}.")
    if lead is not None:
        parts.append(f"{lead.name}: {lead.volume:,} traded, {lead.expected:,.0f} expected.")
    parts.append("Statistical, from public data; says nothing about who or why.")
    text = "\n".join(parts)
    return f"{SIMULATED}\n{text}"[:_PUSH_LENGTH] if content.simulated else text[:_PUSH_LENGTH]


def _render(template: str, context: Mapping[str, Any]) -> str:
    return _environment().get_template(template).render(context)


@cache
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=lambda name: bool(name) and name.endswith(".html.j2"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= STYLES
    environment.filters |= {"clean": clean, "money": money, "number": _number, "percent": _percent, "count": _count}
    return environment


def _number(value: float | None, digits: int = 2) -> str:
    return "–" if value is None else f"{value:,.{digits}f}"


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.0%}"


def _count(value: float | None) -> str:
    """Contracts: whole where many, a decimal where few."""
    if value is None:
        return "–"
    return f"{value:,.0f}" if value >= 10 or value == int(value) else f"{value:,.1f}"
