"""Every setting of flowlake, typed, from the environment and `.env`, documented once.

A setting `api.base_url` is read from `FLOWLAKE_API__BASE_URL`. The vendor key alone also answers to the vendor's own
names, `MASSIVE_API_KEY` and `POLYGON_API_KEY`.
"""

from __future__ import annotations

import os
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import AliasChoices, BaseModel, Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from flowlake.calendar import SNAPSHOT_MINUTES


class ApiSettings(BaseModel):
    """The Polygon/Massive REST API, or the sandbox that speaks it."""

    base_url: str = Field(
        default="https://api.massive.com", description="REST base; the key is sent to this origin only."
    )
    requests_per_second: float = Field(
        default=40.0, gt=0, description="Token bucket; the vendor asks for less than 100."
    )
    concurrency: int = Field(default=16, ge=1, le=128, description="Requests in flight.")
    attempts: int = Field(default=6, ge=1, description="Tries per request before it is reported as failed.")
    backoff_seconds: float = Field(default=0.25, gt=0, description="First full-jitter back-off; doubles each try.")
    backoff_cap_seconds: float = Field(default=30.0, gt=0, description="Longest back-off of our own choosing.")
    retry_after_cap_seconds: float = Field(default=60.0, gt=0, description="Longest Retry-After that is honoured.")
    connect_timeout_seconds: float = Field(default=5.0, gt=0, description="Time allowed to connect.")
    read_timeout_seconds: float = Field(default=30.0, gt=0, description="Time allowed between bytes of an answer.")
    request_timeout_seconds: float = Field(default=120.0, gt=0, description="Time allowed for a whole answer.")
    budget_seconds: float = Field(default=3600.0, gt=0, description="Time a run of the client may take in all.")
    max_body_bytes: int = Field(default=256_000_000, gt=0, description="Largest answer read, after decompression.")
    max_pages: int = Field(default=2000, ge=1, description="Longest listing followed before it is called endless.")
    breaker_failures: int = Field(default=5, ge=1, description="Failures in a row that pause all requests.")
    breaker_trips: int = Field(default=5, ge=1, description="Such pauses in a row after which no request is sent.")
    breaker_cooldown_seconds: float = Field(default=2.0, gt=0, description="First such pause; doubles each time.")
    chain_rounds: int = Field(default=3, ge=1, description="Times an underlying is tried before it counts as failed.")
    delay_minutes: int = Field(
        default=15, ge=0, description="How old the plan's data are: a pass at T describes T - delay."
    )
    replay: bool = Field(default=False, description="The server is a sandbox that can be asked for any past session.")


class MarketSettings(BaseModel):
    """Which underlyings and sessions the pipeline works on."""

    underlyings: str = Field(default="all", description="'all' optionable underlyings, or a comma-separated list.")
    first_session: str = Field(default="2026-05-26", description="First session partition, YYYY-MM-DD.")
    min_coverage: float = Field(
        default=0.95, gt=0, le=1, description="Smallest share of underlyings a complete snapshot has."
    )
    max_bar_requests: int = Field(
        default=100_000, ge=1, description="Most contracts whose daily bars are fetched to fill one missed session."
    )
    max_quarantine: float = Field(
        default=0.02, ge=0, le=1, description="Largest share of quarantined rows a check accepts."
    )


class LakeSettings(BaseModel):
    """Where the lake lives and how long its tables are kept."""

    intraday_sessions: int = Field(default=1, ge=1, description="Sessions that intraday tables are kept.")
    daily_sessions: int = Field(
        default=60, ge=1, description="Sessions that daily tables are kept; events are permanent."
    )
    grace_hours: float = Field(
        default=72.0, ge=0, description="How long replaced files stay readable for open notebooks."
    )
    duckdb_memory_limit: str = Field(
        default="4GB", description="memory_limit of every DuckDB connection flowlake opens."
    )
    duckdb_temp_limit: str = Field(default="8GB", description="max_temp_directory_size of every DuckDB connection.")


class IntradaySettings(BaseModel):
    """Snapshots within the session: how often, of whom, and how long a late one is still worth taking."""

    every_minutes: int = Field(
        default=15, description="Minutes between snapshots: 5, 6, 10, 12, 15, 20, 30 or 60 (they divide the hour)."
    )
    tier1_size: int = Field(default=500, ge=0, description="Most liquid underlyings that make up tier 1.")
    tier2_size: int = Field(default=1500, ge=0, description="Underlyings after them in tier 2; the rest is tier 3.")
    tier1_minutes: int = Field(
        default=0, ge=0, description="Minutes between snapshots of tier 1 and watched names; 0: every snapshot."
    )
    tier2_minutes: int = Field(default=0, ge=0, description="Minutes between snapshots of tier 2; 0: every snapshot.")
    tier3_minutes: int = Field(default=0, ge=0, description="Minutes between snapshots of tier 3; 0: every snapshot.")
    max_underlyings: int = Field(
        default=0, ge=0, description="Most liquid (and watched) names asked intraday; 0: all. The close asks all."
    )
    watch_lists: str = Field(
        default="", description="Names always in tier 1: 'mine=AAPL,MSFT; indices=SPX', or plain 'AAPL,MSFT'."
    )
    split_pages: int = Field(
        default=20,
        ge=0,
        description="Chains of more pages (of 250 contracts) are asked for in parts of that size at once; 0: never.",
    )
    attempts: int = Field(default=3, ge=1, description="Passes begun for one snapshot before it is given up.")
    late_minutes: float = Field(default=5.0, gt=0, description="A pass begun this long after it was due is late.")
    useful_minutes: float = Field(
        default=0.0,
        ge=0,
        description="How long a due snapshot is still taken; 0, and at most: until the next is.",
    )
    closing_useful_minutes: float = Field(
        default=120.0, gt=0, description="The same for the closing snapshot, which becomes the end-of-day record."
    )
    poll_seconds: int = Field(default=15, ge=1, description="Seconds between looks at the clock by the sensor.")

    @field_validator("every_minutes")
    @classmethod
    def _divides_the_hour(cls, value: int) -> int:
        if value not in SNAPSHOT_MINUTES:
            raise ValueError(f"must be one of {', '.join(map(str, SNAPSHOT_MINUTES))}")
        return value

    @model_validator(mode="after")
    def _tiers_fit_the_grid(self) -> IntradaySettings:
        for name in ("tier1_minutes", "tier2_minutes", "tier3_minutes"):
            if getattr(self, name) % self.every_minutes:
                raise ValueError(f"{name} must be a multiple of every_minutes ({self.every_minutes}), or 0")
        return self


class ClockSettings(BaseModel):
    """A market clock for simulations: at `start_real` the market's time was `start_market`; unset, it is the time."""

    start_real: datetime | None = Field(default=None, description="A real moment, ISO 8601 with offset.")
    start_market: datetime | None = Field(default=None, description="The market's time at that moment, with offset.")
    speed: float = Field(default=1.0, gt=0, description="Market seconds per real second.")

    @model_validator(mode="after")
    def _both_with_offset(self) -> ClockSettings:
        given = [moment for moment in (self.start_real, self.start_market) if moment is not None]
        if len(given) == 1 or any(moment.tzinfo is None for moment in given):
            raise ValueError("start_real and start_market are given together, each with its offset from UTC")
        return self


class EdgarSettings(BaseModel):
    """The SEC's EDGAR, or the sandbox that speaks it."""

    base_url: str = Field(default="https://www.sec.gov", description="Feeds, indexes and filings.")
    data_url: str = Field(default="https://data.sec.gov", description="Submissions lists.")
    user_agent: str | None = Field(
        default=None, description="'Name of your organisation contact@your.domain'; the SEC refuses anything less."
    )
    requests_per_second: float = Field(
        default=8.0, gt=0, le=10, description="Shared by all processes of this machine; the SEC allows 10 in all."
    )
    block_minutes: float = Field(default=10.0, gt=0, description="No request is sent for this long after a block.")
    attempts: int = Field(default=4, ge=1, description="Tries per request before it is reported as failed.")
    backoff_seconds: float = Field(default=0.5, ge=0, description="First back-off; doubles each try.")
    timeout_seconds: float = Field(default=30.0, gt=0, description="Time allowed to connect and between bytes.")
    max_body_bytes: int = Field(default=400_000_000, gt=0, description="Largest answer read, after decompression.")
    max_pages: int = Field(default=60, ge=1, description="Pages of the current-filings feed read at most.")
    first_day: str = Field(default="2026-05-26", description="First filing-date partition, YYYY-MM-DD.")
    cluster_buyers: int = Field(default=3, ge=2, description="Distinct buyers that make a cluster.")
    cluster_days: int = Field(default=14, ge=1, description="Calendar days a cluster spans.")
    signal_days: int = Field(default=30, ge=1, description="Calendar days insider signals look back.")


class CongressSettings(BaseModel):
    """Where lists of congressional disclosures are read."""

    house_url: str | None = Field(default=None, description="CSV or JSON of House disclosures (stock-watcher shape).")
    senate_url: str | None = Field(default=None, description="JSON of Senate disclosures (stock-watcher shape).")


class MonitorSettings(BaseModel):
    """The day-over-day monitor: which contracts it watches and when it flags one."""

    enabled: bool = Field(default=True, description="Master switch.")
    underlyings: str = Field(default="SPX", description="Comma-separated underlyings, or 'all'.")
    min_dte: int = Field(default=7, ge=0, description="Fewest calendar days to expiration.")
    max_dte: int = Field(default=45, ge=0, description="Most calendar days to expiration.")
    volume_floor: int = Field(default=100, ge=0, description="Contracts a line must exceed to be looked at.")
    premium_floor: float = Field(default=100_000.0, ge=0, description="Premium in USD a line must exceed.")
    delta: int = Field(default=200, ge=0, description="'delta': volume rose by more than this many contracts.")
    multiplier: float = Field(default=5.0, gt=1, description="'multiplier': volume exceeds this multiple of before.")
    dormancy: int = Field(default=100, ge=0, description="'dormancy': nothing before, more than this now.")
    oi_surge: int = Field(default=500, ge=0, description="'oi_surge': open interest rose by more contracts than this")
    oi_surge_share: float = Field(default=0.5, ge=0, description="... and by more than this share of itself.")
    max_breach: bool = Field(default=True, description="'max_breach': volume exceeds every day of 20 sessions.")
    percentile_sessions: int = Field(default=30, ge=1, description="Trailing sessions behind a percentile.")
    percentile_minimum: int = Field(default=200, ge=1, description="Fewest observations a percentile is made of.")
    weight_percentile: float = Field(default=0.35, ge=0, description="Weight of the percentile in the composite.")
    weight_volume: float = Field(default=0.25, ge=0, description="Weight of the rise over the session before.")
    weight_open_interest: float = Field(default=0.2, ge=0, description="Weight of the rise of open interest.")
    weight_breach: float = Field(default=0.2, ge=0, description="Weight of the rise over the 20-session maximum.")
    aligned_minutes: int = Field(
        default=60, ge=0, description="A poll of the session before counts as the same time within this."
    )
    store: bool = Field(default=True, description="Keep flags in the lake; without it they are only logged.")

    def watched(self, traded: list[str] | None = None) -> list[str]:
        """The underlyings to look at; `traded` stands for 'all'."""
        if self.underlyings.strip().lower() == "all":
            return traded or []
        return sorted({name.strip() for name in self.underlyings.split(",") if name.strip()})


class EmailSettings(BaseModel):
    """Alerts by mail: the SMTP server that takes them, and who gets them."""

    host: str | None = Field(default=None, description="SMTP server; empty switches mail off.")
    port: int = Field(default=587, ge=1, le=65535, description="587 for STARTTLS, 465 for TLS from the start.")
    security: Literal["starttls", "ssl", "none"] = Field(
        default="starttls", description="'starttls', 'ssl' (TLS from the start), or 'none' (a local relay only)."
    )
    username: str | None = Field(default=None, description="Login; empty sends without one.")
    password: SecretStr | None = Field(default=None, description="Password or app password of the login.")
    sender: str = Field(default="flowlake <flowlake@localhost>", description="From address.")
    recipients: str = Field(default="", description="Comma-separated addresses.")
    timeout_seconds: float = Field(default=20.0, gt=0, description="Time allowed for each answer of the server.")


class PushoverSettings(BaseModel):
    """Alerts by Pushover."""

    base_url: str = Field(default="https://api.pushover.net", description="API base.")
    token: SecretStr | None = Field(default=None, description="Application token; empty switches Pushover off.")
    user: SecretStr | None = Field(default=None, description="User or group key.")


class TelegramSettings(BaseModel):
    """Alerts by a Telegram bot."""

    base_url: str = Field(default="https://api.telegram.org", description="API base.")
    token: SecretStr | None = Field(default=None, description="Bot token; empty switches Telegram off.")
    chat_id: str | None = Field(default=None, description="Chat, group or channel the bot writes to.")


class AlertSettings(BaseModel):
    """Which events become messages, when, and through which channels."""

    enabled: bool = Field(default=True, description="Master switch: off decides and sends nothing.")
    channels: str = Field(
        default="configured",
        description="Comma-separated 'email', 'pushover', 'telegram', 'apprise', 'console'; 'configured' is all of "
        "the first four that have their settings.",
    )
    min_score: float = Field(default=7.0, ge=1, le=10, description="Smallest score of an alert.")
    min_conviction: Literal["NONE", "LOW", "MEDIUM", "HIGH", "EXTREME"] = Field(
        default="LOW", description="Smallest conviction that is sent; below, an alert is recorded and held."
    )
    daily_cap: int = Field(default=20, ge=0, description="Most alerts a session; updates of them do not count.")
    reserve: int = Field(
        default=5, ge=0, description="Places of the cap kept for EXTREME, so that a loud morning cannot use them up."
    )
    max_updates: int = Field(default=4, ge=0, description="Most updates of one alert; its confirmation comes on top.")
    update_step: float = Field(default=0.5, gt=0, description="Rise of the score that is worth an update.")
    cool_down_minutes: float = Field(default=60.0, ge=0, description="Least time between messages about one alert.")
    quiet_hours: str = Field(
        default="", description="New York times without messages, '22:00-07:00'; what comes up then is sent after."
    )
    quiet_except_extreme: bool = Field(default=True, description="EXTREME is sent in quiet hours all the same.")
    digest_at: str = Field(
        default="", description="New York time of a digest of the session's alerts, '16:45'; empty sends none."
    )
    watch: str = Field(default="", description="Comma-separated underlyings to be told of; empty is all.")
    ignore: str = Field(default="", description="Comma-separated underlyings never to be told of.")
    max_age_sessions: int = Field(
        default=1, ge=1, description="Sessions an event stays news: a backfill of last month sends nothing."
    )
    expire_sessions: int = Field(default=5, ge=1, description="Sessions after which an alert counts as expired.")
    notify: bool = Field(default=True, description="Tell of failed checks and runs, and late snapshots.")
    notify_severity: Literal["WARN", "ERROR"] = Field(
        default="ERROR", description="Smallest severity of a failed check that is told."
    )
    notify_cool_down_minutes: float = Field(
        default=60.0, ge=0, description="Least time between messages about one broken thing; its recovery is told."
    )
    snapshot_grace_minutes: float = Field(
        default=12.0,
        ge=0,
        description="Time from when a snapshot could be taken to when it must be scored; a pass over the whole market "
        "takes about 5 minutes.",
    )
    retry_seconds: float = Field(default=30.0, gt=0, description="First pause before a failed message; doubles.")
    retry_cap_seconds: float = Field(default=900.0, gt=0, description="Longest such pause.")
    give_up_hours: float = Field(
        default=24.0, gt=0, description="Age at which a message that cannot be delivered becomes a dead letter."
    )
    report_url: str = Field(
        default="", description="Where the reports folder is served, for links; empty names the file instead."
    )
    dagster_url: str = Field(default="http://127.0.0.1:3000", description="The Dagster UI, for links.")
    email: EmailSettings = Field(default_factory=EmailSettings)
    pushover: PushoverSettings = Field(default_factory=PushoverSettings)
    telegram: TelegramSettings = Field(default_factory=TelegramSettings)
    apprise_urls: SecretStr | None = Field(
        default=None, description="Comma-separated Apprise URLs (Slack, Discord, ntfy, ... see the Apprise wiki)."
    )


class QualitySettings(BaseModel):
    """Data quality beyond the row invariants, which are always on."""

    suites: bool = Field(
        default=True, description="Hold published tables against Great Expectations suites; never stops a run."
    )


class ConfirmationSettings(BaseModel):
    """When the next morning's open interest confirms or withdraws an event."""

    confirmed_share: float = Field(
        default=0.4, gt=0, le=1, description="Opened share of the leading lines' volume from which it is confirmed."
    )
    withdrawn_share: float = Field(
        default=0.1, ge=-1, lt=1, description="Opened share up to which it is withdrawn; in between it is unclear."
    )
    min_known_share: float = Field(
        default=0.5, ge=0, le=1, description="Least share of that volume whose open interest must be known."
    )

    @model_validator(mode="after")
    def _ordered(self) -> ConfirmationSettings:
        if self.withdrawn_share >= self.confirmed_share:
            raise ValueError(
                f"withdrawn_share {self.withdrawn_share} must be below confirmed_share {self.confirmed_share}"
            )
        return self


class CalibrationSettings(BaseModel):
    """How promised and observed alarms are compared."""

    sessions: int = Field(default=60, ge=1, description="Sessions counted, the newest included.")
    lowest_ratio: float = Field(default=0.8, gt=0, lt=1, description="Observed / promised below which a check warns.")
    highest_ratio: float = Field(default=1.25, gt=1, description="Observed / promised above which a check warns.")


class IntradayDetectionSettings(BaseModel):
    """When a snapshot is judged by snapshots of the same time of day."""

    same_time_sessions: int = Field(
        default=10, ge=2, description="Earlier sessions with a snapshot at that time before they are the null."
    )
    profile_sessions: int = Field(
        default=5, ge=1, description="Sessions from which the volume profile of a day is measured, not assumed."
    )


class RuleSettings(BaseModel):
    """Plain thresholds of the earlier system, kept for comparison; they feed no score."""

    z_score: float = Field(default=3.0, gt=0, description="20-session z-score of a contract's volume.")
    volume_oi: float = Field(default=1.25, gt=0, description="Volume over open interest of a contract.")
    volume_floor: int = Field(default=100, ge=0, description="Contracts a line must trade for any rule.")
    volume_oi_volume: int = Field(default=500, ge=0, description="Contracts a line must exceed for volume_oi.")
    open_interest_floor: int = Field(default=100, ge=0, description="Open interest a line must exceed for volume_oi.")
    price_floor: float = Field(default=0.10, ge=0, description="USD per share a line must exceed for volume_oi.")
    premium_floor: float = Field(default=100_000.0, ge=0, description="Premium in USD of the fixed floors.")


class KnownEventsSettings(BaseModel):
    """Earnings, deals and other scheduled events, and how near they explain activity."""

    operator_csv: Path | None = Field(
        default=None,
        description="CSV with underlying, event_on, kind (earnings or deal), announced_at, and optionally description.",
    )
    earnings_sessions: int = Field(default=5, ge=0, description="Sessions around earnings that are annotated.")
    ex_dividend_sessions: int = Field(default=2, ge=0, description="Sessions up to an ex-dividend day.")
    rebalance_sessions: int = Field(default=0, ge=0, description="Sessions up to an index rebalance; 0: the day.")
    split_sessions: int = Field(default=10, ge=0, description="Sessions around a split that are annotated.")
    deal_sessions: int = Field(default=60, ge=0, description="Sessions after a deal was announced.")


class ReportSettings(BaseModel):
    """The pages written by the end-of-day job; `flowlake serve` renders any page on request."""

    ticker_pages: int = Field(
        default=200, ge=0, description="Most ticker pages written per run, the newest and highest events first."
    )
    follow_sessions: int = Field(
        default=10, ge=0, description="Sessions that the page of an underlying is kept up to date after its event."
    )


class ServeSettings(BaseModel):
    """`flowlake serve`: pages and the read-only API over HTTP."""

    token: SecretStr | None = Field(
        default=None, description="What clients must show; needed on any address but loopback. 16 characters or more."
    )
    hosts: str = Field(
        default="", description="Further names the server is reached by (comma-separated), as behind a proxy."
    )
    threads: int = Field(default=4, ge=1, le=64, description="Queries that run at once.")
    cache_mb: int = Field(default=64, ge=1, description="Memory for answers given before, in MB.")

    def names(self) -> frozenset[str]:
        """The further names, lower case."""
        return frozenset(name.strip().lower() for name in self.hosts.split(",") if name.strip())


class EvaluationSettings(BaseModel):
    """How detection is measured by the `evaluation` assets."""

    recording: Path | None = Field(
        default=None, description="Folder of recorded sessions to place episodes in; unset, simulated ones are used."
    )
    cases: Path | None = Field(default=None, description="JSON of public cases to re-enact.")
    seed: int = Field(default=1, ge=0, description="Seed of everything drawn.")
    episodes_share: float = Field(
        default=1.0, gt=0, le=1, description="Share of the protocol's number of episodes; less is quicker and rougher."
    )


class Settings(BaseSettings):
    """All settings. `Settings()` reads the environment and `.env` of the working directory."""

    model_config = SettingsConfigDict(
        env_prefix="FLOWLAKE_",
        env_nested_delimiter="__",
        env_file=".env",
        extra="ignore",
        populate_by_name=True,
    )

    data_dir: Path = Field(default=Path("data"), description="Root of the lake; holds flowlake.duckdb.")
    reports_dir: Path = Field(default=Path("reports"), description="Where rendered HTML goes.")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        default="INFO", description="Verbosity of flowlake's logs."
    )
    api_key: SecretStr | None = Field(
        default=None,
        validation_alias=AliasChoices("MASSIVE_API_KEY", "POLYGON_API_KEY", "FLOWLAKE_API_KEY"),
        description="Vendor key. Only ever sent in the Authorization header to api.base_url.",
    )
    api: ApiSettings = Field(default_factory=ApiSettings)
    market: MarketSettings = Field(default_factory=MarketSettings)
    lake: LakeSettings = Field(default_factory=LakeSettings)
    intraday: IntradaySettings = Field(default_factory=IntradaySettings)
    clock: ClockSettings = Field(default_factory=ClockSettings)
    monitor: MonitorSettings = Field(default_factory=MonitorSettings)
    quality: QualitySettings = Field(default_factory=QualitySettings)
    report: ReportSettings = Field(default_factory=ReportSettings)
    confirmation: ConfirmationSettings = Field(default_factory=ConfirmationSettings)
    calibration: CalibrationSettings = Field(default_factory=CalibrationSettings)
    intraday_detection: IntradayDetectionSettings = Field(default_factory=IntradayDetectionSettings)
    rules: RuleSettings = Field(default_factory=RuleSettings)
    known_events: KnownEventsSettings = Field(default_factory=KnownEventsSettings)
    evaluation: EvaluationSettings = Field(default_factory=EvaluationSettings)
    edgar: EdgarSettings = Field(default_factory=EdgarSettings)
    congress: CongressSettings = Field(default_factory=CongressSettings)
    alerts: AlertSettings = Field(default_factory=AlertSettings)
    serve: ServeSettings = Field(default_factory=ServeSettings)


SANDBOX_ENV = "sandbox.env"
"""File in the data folder by which `flowlake demo` tells later commands to use its simulated market."""


@cache
def get_settings() -> Settings:
    """The process's settings, read once: environment first, then `.env`, then the demo's `sandbox.env`."""
    sandbox = Path(os.environ.get("FLOWLAKE_DATA_DIR", "data")) / SANDBOX_ENV
    return Settings(_env_file=(sandbox, ".env"))  # pyright: ignore[reportCallIssue]
