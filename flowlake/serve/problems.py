"""Errors as `application/problem+json` (RFC 9457): each names what was wrong, where, and the remedy."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

PROBLEM_JSON = "application/problem+json"

FIELDS: dict[str, str] = {
    "type": "Where this kind of problem is described.",
    "title": "The kind of problem, in words.",
    "status": "HTTP status code.",
    "detail": "What was wrong with this request.",
    "parameter": "The parameter at fault, where one is.",
    "remedy": "What to do about it, where that is known.",
}
"""Members of a problem document and what they mean."""

MEANINGS: dict[int, str] = {
    400: "A parameter is unknown, missing, repeated or does not fit.",
    401: "The token is missing or wrong.",
    403: "A page of another site may not change anything.",
    404: "There is no such thing.",
    405: "The method is not allowed here.",
    406: "No format of the Accept header is served.",
    413: "The body is too long.",
    414: "The address is too long.",
    415: "The body is not JSON.",
    421: "The Host header names another site.",
    500: "The server failed; its log says why.",
    503: "There is no lake yet, or too many requests wait.",
}
"""What each status other than success means here."""


class Problem(Exception):
    """An answer other than success; `document` is its body."""

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        parameter: str | None = None,
        remedy: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.parameter = parameter
        self.remedy = remedy
        self.headers = dict(headers or {})

    def document(self) -> dict[str, Any]:
        """The problem as a JSON object; members that say nothing are left out."""
        title = HTTPStatus(self.status).phrase
        members = {
            "type": f"/api#{title.lower().replace(' ', '-')}",
            "title": title,
            "status": self.status,
            "detail": self.detail,
            "parameter": self.parameter,
            "remedy": self.remedy,
        }
        return {name: value for name, value in members.items() if value is not None}


def bad_parameter(name: str, why: str, remedy: str) -> Problem:
    """A 400 that names the parameter; `why` never repeats what was sent in full, so hostile text does not echo."""
    return Problem(400, f"parameter {name!r} {why}", parameter=name, remedy=remedy)
