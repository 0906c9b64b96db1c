"""Request parameters: one declaration reads the text, refuses what does not fit, and describes itself in OpenAPI."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Literal

from flowlake.serve.problems import Problem, bad_parameter

Kind = Literal["text", "date", "session", "integer", "number", "choice", "choices", "names"]
MAX_TEXT = 4096
"""Longest value of a parameter, in characters."""

_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,3})?")
_INTEGER = re.compile(r"[+-]?\d{1,18}")


@dataclass(frozen=True)
class Parameter:
    """One parameter of the query or the path.

    `pattern` must match a text whole; `choices` are the words of a choice (or of a comma-separated list of them);
    `minimum` and `maximum` bound numbers, both included.
    """

    name: str
    kind: Kind
    description: str
    location: Literal["query", "path"] = "query"
    required: bool = False
    default: Any = None
    pattern: str = ""
    choices: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    example: Any = None

    def read(self, text: str) -> Any:
        """The value `text` stands for; raises `Problem` 400 naming the parameter and what fits."""
        if len(text) > MAX_TEXT:
            raise bad_parameter(self.name, f"is longer than {MAX_TEXT} characters", "send a shorter value")
        value = _READERS[self.kind](self, text)
        if value is None:
            raise bad_parameter(self.name, "does not fit", f"send {self.expected()}")
        return value

    def expected(self) -> str:
        """What fits, in words."""
        words = {
            "text": f"text that matches {self.pattern}" if self.pattern else "text",
            "date": "a date YYYY-MM-DD",
            "session": "a session YYYY-MM-DD, or 'newest'",
            "integer": "a whole number",
            "number": "a number",
            "choice": f"one of {', '.join(self.choices)}",
            "choices": f"one or more of {', '.join(self.choices)}, separated by commas",
            "names": "names separated by commas",
        }[self.kind]
        if self.minimum is not None and self.maximum is not None:
            return f"{words} from {self.minimum:g} to {self.maximum:g}"
        if self.minimum is not None:
            return f"{words} of at least {self.minimum:g}"
        return words

    def json_schema(self) -> dict[str, Any]:
        """The JSON schema (2020-12) of the value."""
        return {name: value for name, value in self._schema().items() if value is not None}

    def openapi(self) -> dict[str, Any]:
        """The OpenAPI 3.1 parameter object."""
        described = {
            "name": self.name,
            "in": self.location,
            "description": self.description,
            "required": self.required or self.location == "path",
            "schema": self.json_schema(),
        }
        if self.kind in ("choices", "names"):
            described |= {"style": "form", "explode": False}
        return described

    def _schema(self) -> dict[str, Any]:
        extra = {"default": self.default, "examples": None if self.example is None else [self.example]}
        match self.kind:
            case "integer" | "number":
                whole = self.kind == "integer"
                bounds = {"minimum": _bound(self.minimum, whole), "maximum": _bound(self.maximum, whole)}
                return {"type": self.kind, **bounds, **extra}
            case "date":
                return {"type": "string", "format": "date", **extra}
            case "session":
                return {"anyOf": [{"type": "string", "format": "date"}, {"const": "newest"}], **extra}
            case "choice":
                return {"type": "string", "enum": list(self.choices), **extra}
            case "choices":
                return {"type": "array", "items": {"type": "string", "enum": list(self.choices)}, **extra}
            case "names":
                return {"type": "array", "items": {"type": "string"}, **extra}
            case _:
                return {"type": "string", "pattern": f"^(?:{self.pattern})$" if self.pattern else None, **extra}


def read_query(parameters: Sequence[Parameter], pairs: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """Values of the query's parameters, defaults filled in.

    Raises `Problem` 400 for a parameter that is unknown, repeated, missing or does not fit.
    """
    known = {parameter.name: parameter for parameter in parameters if parameter.location == "query"}
    sent: dict[str, str] = {}
    for name, text in pairs:
        if name not in known:
            told = f"{name[:40]!r}" if name.isidentifier() else "with this name"
            detail = f"there is no parameter {told}"
            raise Problem(400, detail, parameter=name[:40], remedy=f"known here: {', '.join(known) or 'none'}")
        if name in sent:
            raise bad_parameter(name, "is given twice", "give it once (lists are separated by commas)")
        sent[name] = text
    missing = [name for name, parameter in known.items() if parameter.required and name not in sent]
    if missing:
        raise bad_parameter(missing[0], "is required", f"send {known[missing[0]].expected()}")
    return {
        name: parameter.read(sent[name]) if name in sent else parameter.default for name, parameter in known.items()
    }


def read_path(parameters: Sequence[Parameter], values: Mapping[str, str]) -> dict[str, Any]:
    """Values of the path's parameters; raises `Problem` 400."""
    return {p.name: p.read(values[p.name]) for p in parameters if p.location == "path"}


def _bound(value: float | None, whole: bool) -> float | int | None:
    return int(value) if whole and value is not None else value


def _read_text(parameter: Parameter, text: str) -> str | None:
    if parameter.pattern and not re.fullmatch(parameter.pattern, text):
        return None
    return text or None


def _read_date(parameter: Parameter, text: str) -> date | None:
    if not _DATE.fullmatch(text):
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


def _read_session(parameter: Parameter, text: str) -> date | str | None:
    return "newest" if text == "newest" else _read_date(parameter, text)


def _read_number(parameter: Parameter, text: str) -> float | int | None:
    whole = parameter.kind == "integer"
    if not (_INTEGER if whole else _NUMBER).fullmatch(text):
        return None
    value = int(text) if whole else float(text)
    low = -math.inf if parameter.minimum is None else parameter.minimum
    high = math.inf if parameter.maximum is None else parameter.maximum
    return value if math.isfinite(value) and low <= value <= high else None


def _read_choice(parameter: Parameter, text: str) -> str | None:
    return text if text in parameter.choices else None


def _read_choices(parameter: Parameter, text: str) -> tuple[str, ...] | None:
    words = tuple(dict.fromkeys(text.split(",")))
    return words if set(words) <= set(parameter.choices) else None


def _read_names(parameter: Parameter, text: str) -> tuple[str, ...] | None:
    names = tuple(dict.fromkeys(text.split(",")))
    return names if all(re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,63}", name) for name in names) else None


_READERS = {
    "text": _read_text,
    "date": _read_date,
    "session": _read_session,
    "integer": _read_number,
    "number": _read_number,
    "choice": _read_choice,
    "choices": _read_choices,
    "names": _read_names,
}
