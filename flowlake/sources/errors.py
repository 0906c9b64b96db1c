"""What can go wrong when asking a source, as types a caller can tell apart; no message ever holds a key."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

EXCERPT_CHARACTERS = 300

_SECRET_PARAMETER = re.compile(r"(?i)([?&;](?:api_?key|token|access_token)=)[^&#\s\"'<>]*")
_USERINFO = re.compile(r"(?i)(https?://)[^/@\s]*@")


def redact(text: str, secret: str = "") -> str:
    """`text` without key parameters, without `user:password@` in URLs, and without `secret` itself."""
    if secret:
        text = text.replace(secret, "[key]")
    return _USERINFO.sub(r"\1", _SECRET_PARAMETER.sub(r"\1[key]", text))


class SourceError(Exception):
    """Anything a source client raises on purpose."""


class MissingKey(SourceError):
    """No API key is configured."""

    def __init__(self) -> None:
        super().__init__(
            "no API key is configured: set MASSIVE_API_KEY (or POLYGON_API_KEY) in the environment or in .env, "
            "or start the sandbox with `flowlake sandbox serve` and point FLOWLAKE_API__BASE_URL at it"
        )


class MalformedKey(SourceError):
    """The configured API key cannot be one: it is empty or holds spaces or characters a header cannot carry."""

    def __init__(self) -> None:
        super().__init__(
            "the API key holds spaces, line breaks or non-ASCII characters: copy it again from the vendor's dashboard "
            "into MASSIVE_API_KEY, without quotes"
        )


class InvalidBaseUrl(SourceError):
    """`api.base_url` is not a URL the key may be sent to."""


class NotReplayable(SourceError):
    """A past moment was asked of a server that only knows the present."""


class SnapshotGone(SourceError):
    """A snapshot was asked for that the vendor no longer, or not yet, shows."""


class CircuitOpen(SourceError):
    """The server failed so often in a row that no further request is sent."""


class BudgetSpent(SourceError):
    """The time a run may take is over."""


@dataclass
class RequestFailed(SourceError):
    """A request that got no usable answer, with all that a support ticket needs (key redacted)."""

    message: str
    url: str
    status: int | None = None
    request_id: str | None = None
    excerpt: str = ""
    retry_after: float | None = None
    attempts: int = field(default=1, compare=False)

    def __post_init__(self) -> None:
        # A server may put the key into next_url; the URL shown in a later error must not repeat it.
        self.url = redact(self.url)

    def __str__(self) -> str:
        """One line: the message, then status, request id, URL and the start of the body."""
        facts = [
            f"HTTP {self.status}" if self.status else "",
            f"request {self.request_id}" if self.request_id else "",
            self.url,
            f"after {self.attempts} attempts" if self.attempts > 1 else "",
            f"body: {self.excerpt}" if self.excerpt else "",
        ]
        return f"{self.message} ({'; '.join(fact for fact in facts if fact)})"


class AuthError(RequestFailed):
    """401: the key is unknown. Never retried."""


class NotEntitled(RequestFailed):
    """403: the plan does not include these data. Never retried."""


class NotFound(RequestFailed):
    """404 with a JSON body: the thing asked for does not exist."""


class RouteNotFound(RequestFailed):
    """404 without a JSON body: the route does not exist (retired, or the base URL is wrong)."""


class BadRequest(RequestFailed):
    """400, 414 or another 4xx: the request itself is wrong."""


class UnexpectedAnswer(RequestFailed):
    """A redirect, or a 200 whose status or shape the API does not document."""


class PaginationFault(RequestFailed):
    """Base of the faults that following `next_url` can meet; the chain must be read again."""


class PaginationLoop(PaginationFault):
    """`next_url` leads back to a page already read, or a page repeats the one before."""


class UnsafeNextUrl(PaginationFault):
    """`next_url` leaves the configured origin; it was not followed and no key was sent."""


class TooManyPages(PaginationFault):
    """A listing is longer than any real one; it was stopped rather than cut short silently."""


class Retryable(RequestFailed):
    """Base of the failures that another try may cure."""


class RateLimited(Retryable):
    """429: all requests pause."""


class ServerError(Retryable):
    """5xx (or 408, 413, 499): the server failed."""


class Unreachable(Retryable):
    """No connection could be made."""


class ConnectionLost(Retryable):
    """The connection broke, or went silent, before the answer was complete."""


class Truncated(Retryable):
    """The body ended early or is not JSON."""
