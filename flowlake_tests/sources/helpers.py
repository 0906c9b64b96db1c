"""Clocks that jump instead of waiting, and servers made of a function."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import orjson
from pydantic import SecretStr

from flowlake.settings import ApiSettings
from flowlake.sources.ratelimit import Timing

KEY = "k3y-never-shown-0123456789"
NOW = datetime(2026, 6, 17, 21, 0, tzinfo=UTC)
"""An hour after the close of the session 2026-06-17."""


@dataclass
class JumpingClock:
    """Time passes only in `sleep`, at once; what was slept is remembered."""

    seconds: float = 0.0
    slept: list[float] = field(default_factory=list)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.seconds += seconds
        await asyncio.sleep(0)

    @property
    def timing(self) -> Timing:
        return Timing(
            now=lambda: NOW + timedelta(seconds=self.seconds),
            monotonic=lambda: self.seconds,
            sleep=self.sleep,
            uniform=lambda low, high: high,
        )


def api_settings(**changes: Any) -> ApiSettings:
    """Settings for tests: no limit that would matter, unless the test says so."""
    return ApiSettings(**({"base_url": "http://127.0.0.1:9", "requests_per_second": 1e6} | changes))


def secret(text: str = KEY) -> SecretStr:
    return SecretStr(text)


class Script:
    """An httpx transport that answers from a function and remembers the requests."""

    def __init__(self, answer: Callable[[httpx.Request, int], httpx.Response]) -> None:
        self.requests: list[httpx.Request] = []
        self._answer = answer

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        return self._answer(request, len(self.requests))

    @property
    def transport(self) -> httpx.MockTransport:
        return httpx.MockTransport(self)


def answers(*responses: httpx.Response | Exception) -> Script:
    """A script of fixed answers; the last one repeats."""

    def answer(request: httpx.Request, number: int) -> httpx.Response:
        chosen = responses[min(number, len(responses)) - 1]
        if isinstance(chosen, Exception):
            raise chosen
        return httpx.Response(chosen.status_code, headers=chosen.headers, content=chosen.content)

    return Script(answer)


def ok(results: list[Any], **envelope: Any) -> httpx.Response:
    return httpx.Response(
        200, content=orjson.dumps({"status": "OK", "request_id": "r1", "results": results} | envelope)
    )


def error(code: int, **fields: Any) -> httpx.Response:
    return httpx.Response(code, content=orjson.dumps({"request_id": "req-42"} | fields))


def chain_row(contract: str = "O:F260717C00012000", **changes: Any) -> dict[str, Any]:
    """A row of the chain snapshot with every field flowlake reads."""
    row: dict[str, Any] = {
        "break_even_price": 12.5,
        "day": {
            "open": 0.4,
            "high": 0.6,
            "low": 0.4,
            "close": 0.5,
            "volume": 7,
            "vwap": 0.51,
            "last_updated": 1_781_668_800_000_000_123,
        },
        "details": {
            "ticker": contract,
            "contract_type": "call",
            "exercise_style": "american",
            "expiration_date": "2026-07-17",
            "strike_price": 12,
            "shares_per_contract": 100,
        },
        "greeks": {"delta": 0.5, "gamma": -3e-10, "theta": -0.01, "vega": 0.02},
        "implied_volatility": 0.4,
        "last_quote": {
            "bid": 0.49,
            "ask": 0.51,
            "bid_size": 3,
            "ask_size": 4,
            "last_updated": 1_781_726_399_000_000_000,
        },
        "last_trade": {"price": 0.5, "size": 1, "sip_timestamp": 1_781_726_398_000_000_000},
        "open_interest": 1234,
        "underlying_asset": {
            "price": 12.1,
            "ticker": "F",
            "timeframe": "DELAYED",
            "last_updated": 1_781_726_400_000_000_000,
        },
    }
    return row | changes
