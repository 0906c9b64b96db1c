"""Everything of the API that is not a listing: health, the catalog, one event, and what people do about alerts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import polars as pl
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from flowlake import __version__
from flowlake.schemas import TABLES, Table, table
from flowlake.serve.endpoints import PREFIX, events_with_status
from flowlake.serve.formats import row_object, rows_json
from flowlake.serve.lake_reader import LakeReader, State
from flowlake.serve.parameters import Parameter
from flowlake.serve.problems import Problem
from flowlake.serve.queries import scan_partitions

_CHUNK = 16
"""Sessions looked through at once for an event; the newest come first."""

_EVENT_ID = Parameter(
    "event_id", "text", "Id of the event.", location="path", pattern="[0-9a-f]{16}", example="44958eb3f8b36362"
)
_ALERT_ID = Parameter("alert_id", "text", "Id of the alert.", location="path", pattern="[0-9a-f]{8,64}")


@dataclass(frozen=True)
class Call:
    """A request to an operation: the lake, one state of it, the parameters, and the body where there is one."""

    reader: LakeReader
    state: State
    values: Mapping[str, Any]
    body: Any


@dataclass(frozen=True)
class Operation:
    """One endpoint that answers with one JSON object; `answer` and `body` are JSON schemas."""

    name: str
    method: Literal["GET", "POST"]
    path: str
    summary: str
    handle: Callable[[Call], dict[str, Any]]
    answer: dict[str, Any]
    parameters: tuple[Parameter, ...] = ()
    body_model: type[BaseModel] | None = None
    errors: tuple[str, ...] = ("400", "401", "421", "503")

    @property
    def body(self) -> dict[str, Any] | None:
        """The JSON schema of the body."""
        return None if self.body_model is None else self.body_model.model_json_schema()


class Acknowledgement(BaseModel):
    """Who has seen the alert."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)

    by: str = Field(min_length=1, max_length=100, description="Who, as they call themselves.")
    note: str | None = Field(default=None, max_length=500, description="Anything worth keeping.")


class Snooze(Acknowledgement):
    """Who wants to hear nothing more about the alert for a while."""

    until: AwareDatetime = Field(description="End of the silence, with its offset from UTC.")


def operations(tables: Mapping[str, Table] = TABLES) -> tuple[Operation, ...]:
    """Every operation served; those about alerts where the lake has their table."""
    return (*_READING, *(_ALERTS if "alerts" in tables else ()))


def health(call: Call) -> dict[str, Any]:
    """Whether the lake can be read, and how new it is."""
    state = call.state
    return {
        "status": "ok",
        "version": __version__,
        "catalog": state.version,
        "newest_session": state.newest("scored_events"),
    }


def catalog(call: Call) -> dict[str, Any]:
    """The published state."""
    manifest = call.state.manifest
    return {
        "catalog": call.state.version,
        "manifest": manifest.number,
        "created_at": manifest.created_at.astimezone(UTC).isoformat(),
        "schema_version": manifest.schema_version,
        "tables": {name: len(partitions) for name, partitions in sorted(manifest.published.items())},
    }


def event(call: Call) -> dict[str, Any]:
    """One event with its factors and lines, what is known of it since, and insiders' trades before it."""
    wanted, state = call.values["event_id"], call.state
    sessions = state.partitions("scored_events")[::-1]
    for start in range(0, len(sessions), _CHUNK):
        chunk = sessions[start : start + _CHUNK]
        ids = scan_partitions(state, table("scored_events"), chunk).filter(pl.col("event_id") == wanted)
        session = ids.select("session").collect(engine="in-memory")
        if session.height:
            return _whole_event(state, wanted, session.item().isoformat())
    raise Problem(404, "no published event has this id", parameter="event_id", remedy=f"{PREFIX}/events lists them")


def _whole_event(state: State, event_id: str, session: str) -> dict[str, Any]:
    found = events_with_status(state, [session]).filter(pl.col("event_id") == event_id)
    extra = {
        name: _rows_of(state, of_table, event_id, session)
        for name, of_table in _EVENT_EXTRAS.items()
        if of_table in state.tables
    }
    return row_object(found.collect(engine="in-memory")) | extra


_EVENT_EXTRAS = {"outcomes": "event_outcomes", "statuses": "event_status", "insiders": "event_insiders"}


def _rows_of(state: State, name: str, event_id: str, session: str) -> list[dict[str, Any]]:
    import orjson

    later = [key for key in state.partitions(name) if key >= session or key == "all"]
    rows = scan_partitions(state, state.tables[name], later).filter(pl.col("event_id") == event_id)
    return orjson.loads(rows_json(rows.collect(engine="in-memory")))


def acknowledge(call: Call) -> dict[str, Any]:
    """Mark an alert as seen."""
    from flowlake.alerts import actions

    return _act(call, actions.acknowledge)


def snooze(call: Call) -> dict[str, Any]:
    """Hear nothing more about an alert for a while."""
    from flowlake.alerts import actions

    return _act(call, actions.snooze, until=call.body.until)


def unsnooze(call: Call) -> dict[str, Any]:
    """End the silence about an alert."""
    from flowlake.alerts import actions

    return _act(call, actions.unsnooze)


def _act(call: Call, action: Callable[..., str], **more: Any) -> dict[str, Any]:
    from flowlake.alerts.ledger import UnknownAlert
    from flowlake.lake import Lake

    who = {"alert_id": call.values["alert_id"], "by": call.body.by, "note": call.body.note, "via": "api"}
    try:
        action_id = action(Lake.open(call.reader.paths.root), **who, **more, now=datetime.now(UTC))
    except UnknownAlert as error:
        remedy = f"{PREFIX}/alerts lists them"
        raise Problem(404, "no alert has this id", parameter="alert_id", remedy=remedy) from error
    except ValueError as error:
        raise Problem(400, str(error), parameter="until" if more else "by") from error
    return {"action_id": action_id, "catalog": call.reader.state().version}


def _object(**properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _event_schema() -> dict[str, Any]:
    extras = {
        name: {"type": "array", "items": {"type": "object"}, "description": TABLES[of_table].description}
        for name, of_table in _EVENT_EXTRAS.items()
        if of_table in TABLES
    }
    declared = table("scored_events")
    row = {"$ref": f"#/components/schemas/{declared.name}"}
    # A row allows no further members, so the row's own come one by one.
    properties = {name: {"$ref": f"{row['$ref']}/properties/{name}"} for name in declared.schema.names()}
    return _object(**properties, **extras)


_TEXT, _WHOLE = {"type": "string"}, {"type": "integer"}

_READING = (
    Operation(
        "health",
        "GET",
        f"{PREFIX}/health",
        "Whether the lake can be read, and how new it is",
        health,
        _object(status={"const": "ok"}, version=_TEXT, catalog=_WHOLE, newest_session={"type": ["string", "null"]}),
    ),
    Operation(
        "catalog",
        "GET",
        f"{PREFIX}/catalog",
        "The published state: its version, when it was made, partitions per table",
        catalog,
        _object(
            catalog=_WHOLE,
            manifest=_WHOLE,
            created_at={"type": "string", "format": "date-time"},
            schema_version=_WHOLE,
            tables={"type": "object", "additionalProperties": _WHOLE},
        ),
    ),
    Operation(
        "event",
        "GET",
        f"{PREFIX}/events/{{event_id}}",
        "One event: factors, lines, newest status, outcomes, insiders",
        event,
        _event_schema(),
        parameters=(_EVENT_ID,),
        errors=("400", "401", "404", "421", "503"),
    ),
)

_DONE = _object(action_id=_TEXT, catalog=_WHOLE)
_CHANGING_ERRORS = ("400", "401", "403", "404", "413", "415", "421", "503")


def _about_an_alert(
    name: str, summary: str, handle: Callable[[Call], dict[str, Any]], body: type[BaseModel]
) -> Operation:
    path = f"{PREFIX}/alerts/{{alert_id}}/{name}"
    return Operation(name, "POST", path, summary, handle, _DONE, (_ALERT_ID,), body, _CHANGING_ERRORS)


_ALERTS = (
    _about_an_alert("acknowledge", "Mark an alert as seen: no more messages about it", acknowledge, Acknowledgement),
    _about_an_alert("snooze", "Send nothing about an alert before a moment", snooze, Snooze),
    _about_an_alert("unsnooze", "End a snooze now", unsnooze, Acknowledgement),
)
