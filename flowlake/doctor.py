"""`flowlake doctor`: what works here and what does not, in words."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

from flowlake import calendar
from flowlake.settings import SANDBOX_ENV, Settings

_NEEDED_GB = 10.0
_MAX_SKEW_SECONDS = 30.0
_NEEDED = frozenset({"option chain snapshot", "stock snapshot"})
_WITHOUT = {
    "option chain snapshot": "no option chains, so nothing works; the plan needs snapshots",
    "stock snapshot": "no stock prices, so no moneyness and no forwards",
    "quotes": "volatilities come from last prices and most untraded contracts have none",
    "trades": "no last trades; day bars still give volume",
    "open interest": "no open-interest alarms and no confirmation",
    "underlying price": "spot comes from the stock snapshot",
}


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at: whether it is well, and what that means."""

    what: str
    ok: bool
    says: str


def examine(settings: Settings, now: datetime, *, send: bool = False) -> list[Finding]:
    """Look at settings, key, API and plan, clock, disk, lake and alerts; a part that fails never hides the others.

    Channels are connected to and logged in; with `send`, each also gets a sample marked as a test.
    """
    parts: list[tuple[str, Callable[[], list[Finding]]]] = [
        ("mode", lambda: [_mode(settings)]),
        ("calendar", lambda: [_today(now)]),
        ("disk", lambda: [_disk(settings.data_dir)]),
        ("lake", lambda: [_lake(settings)]),
        ("restated sessions", lambda: _restated(settings)),
        ("API", lambda: _api(settings, now)),
        ("alerts", lambda: _alerts(settings, now, send)),
    ]
    findings: list[Finding] = []
    for name, look in parts:
        try:
            findings += look()
        except Exception as error:
            findings.append(Finding(name, ok=False, says=str(error)))
    return findings


def _mode(settings: Settings) -> Finding:
    simulated = (settings.data_dir / SANDBOX_ENV).exists()
    where = f"{settings.api.base_url}, data in {settings.data_dir}"
    return Finding("mode", ok=True, says=f"{'the demo market' if simulated else 'the configured API'} at {where}")


def _today(now: datetime) -> Finding:
    today = now.astimezone(calendar.NEW_YORK).date()
    newest = calendar.latest_closed_session(now)
    kind = "a session" if calendar.is_session(today) else "no session"
    return Finding("calendar", ok=True, says=f"{today} is {kind} in New York; the newest closed session is {newest}")


def _disk(data_dir: Path) -> Finding:
    folder = next(path for path in (data_dir.absolute(), *data_dir.absolute().parents) if path.exists())
    free = shutil.disk_usage(folder).free / 1e9
    says = f"{free:.0f} GB free under {data_dir}"
    if free < _NEEDED_GB:
        return Finding("disk", ok=False, says=f"{says}; 60 sessions of the whole market need about {_NEEDED_GB:.0f} GB")
    return Finding("disk", ok=True, says=says)


def _lake(settings: Settings) -> Finding:
    from flowlake.lake import Lake

    lake = Lake.open(settings.data_dir)
    sessions = lake.partitions("option_chains")
    if not sessions:
        return Finding("lake", ok=True, says="empty; fill it with `flowlake demo` or `flowlake backfill`")
    last = date.fromisoformat(sessions[-1])
    return Finding("lake", ok=True, says=f"{len(sessions)} sessions of option chains, the newest {last}")


def _restated(settings: Settings) -> list[Finding]:
    """Tables left behind by a correction; told from the manifest, no data are read."""
    from flowlake.lake import Lake

    lake = Lake.open(settings.data_dir)
    if not lake.partitions("option_chains"):
        return []
    # Loads the asset graph, which says what is made from what: two seconds that an empty lake need not wait for.
    from flowlake.defs.restated import none_left_behind

    outcome = none_left_behind(lake)
    return [Finding("restated sessions", ok=outcome.passed, says=outcome.description)]


def _api(settings: Settings, now: datetime) -> list[Finding]:
    from flowlake.sources.polygon import BlockingPolygonClient

    with BlockingPolygonClient(settings.api, settings.api_key) as client:
        status = client.market_status()
        capabilities = client.probe()
    findings = [Finding("API", ok=True, says=f"{settings.api.base_url} answers; the market is {status.market}")]
    # A sandbox shows the time of its market, not of its machine.
    if not settings.api.replay:
        skew = abs((status.server_time - now).total_seconds())
        findings.append(Finding("clock", skew <= _MAX_SKEW_SECONDS, f"{skew:.0f} s from the vendor's clock"))
    return findings + [_capability(part.name, part.status, part.detail) for part in capabilities]


def _alerts(settings: Settings, now: datetime, send: bool) -> list[Finding]:
    from flowlake.alerts.channels import ChannelError, open_channels
    from flowlake.alerts.policy import quiet_span

    rules = settings.alerts
    if rules.quiet_hours:
        quiet_span(rules.quiet_hours)
    channels = open_channels(rules)
    if not rules.enabled or not channels:
        why = "switched off" if not rules.enabled else "no channel is configured: events are recorded, nobody is told"
        return [Finding("alerts", ok=True, says=why)]
    findings = [
        Finding("alerts", ok=True, says=f"from score {rules.min_score:g}, at most {rules.daily_cap} a session, through "
                f"{', '.join(channels)}")
    ]  # fmt: skip
    for name, channel in channels.items():
        try:
            says = channel.check()
            if send:
                from flowlake.alerts.sample import sample_message

                channel.send(sample_message(settings, name, now))
                says += "; it took a sample"
            findings.append(Finding(f"alerts by {name}", ok=True, says=says))
        except ChannelError as error:
            findings.append(Finding(f"alerts by {name}", ok=False, says=f"{error}; nobody is told this way"))
    return findings


def _capability(name: str, status: str, detail: str) -> Finding:
    """What a plan lacks is only a fault where the pipeline cannot do without it."""
    consequence = _WITHOUT.get(name, "")
    if status == "ok" or not consequence:
        return Finding(name, ok=status != "failed", says=f"{status.replace('_', ' ')} ({detail})")
    needed = name in _NEEDED
    return Finding(name, ok=not needed, says=f"{status.replace('_', ' ')}: {consequence} ({detail})")
