"""The OpenAPI 3.1 document, made from the declarations that read parameters and shape answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import polars as pl

from flowlake import __version__
from flowlake.schemas.base import Table
from flowlake.serve.formats import MEDIA_TYPES
from flowlake.serve.operations import Operation
from flowlake.serve.problems import FIELDS, MEANINGS, PROBLEM_JSON
from flowlake.serve.queries import Listing

if TYPE_CHECKING:
    from polars._typing import PolarsDataType

_ABOUT = (
    "Read-only access to what the lake has published. Events are statistically unusual activity in public data; "
    "they identify nobody and assert nothing about anybody. `origin` says of every row whether it is simulated, "
    "recorded or from the vendor. Answers carry an ETag: send it back in If-None-Match and get 304 while nothing "
    "you asked for has changed. Follow `next` for further pages."
)


def document(listings: Sequence[Listing], operations: Sequence[Operation], *, needs_token: bool) -> dict[str, Any]:
    """The OpenAPI document of `listings` and `operations`."""
    paths: dict[str, dict[str, Any]] = {}
    for listing in listings:
        paths.setdefault(listing.path, {})["get"] = _listing(listing)
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation)
    tables = {listing.table.name: listing.table for listing in listings}
    schemes = {"bearer": {"type": "http", "scheme": "bearer"}, "basic": {"type": "http", "scheme": "basic"}}
    components: dict[str, Any] = {
        "schemas": {"Problem": _problem_schema(), **{name: row_schema(table) for name, table in tables.items()}},
        "securitySchemes": schemes,
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": "flowlake", "version": __version__, "description": _ABOUT},
        "security": [{name: []} for name in schemes] if needs_token else [],
        "paths": dict(sorted(paths.items())),
        "components": components,
    }


def row_schema(table: Table) -> dict[str, Any]:
    """A row of `table` as JSON; which columns it has is the request's choice."""
    properties = {}
    for column in table.columns:
        unit = f" [{column.unit}]" if column.unit else ""
        properties[column.name] = {
            **value_schema(column.dtype, nullable=column.nullable),
            "description": column.description + unit,
        }
    return {
        "type": "object",
        "description": f"{table.description} Known at: {table.known_at}.",
        "properties": properties,
        "additionalProperties": False,
    }


def value_schema(dtype: PolarsDataType, *, nullable: bool) -> dict[str, Any]:
    """The JSON schema (2020-12) of a value of `dtype`. Numbers may be null: JSON has no NaN."""
    kind = dtype if isinstance(dtype, pl.DataType) else dtype()
    if isinstance(kind, pl.List):
        return _or_null({"type": "array", "items": value_schema(kind.inner, nullable=True)}, nullable)
    if isinstance(kind, pl.Struct):
        fields = {field.name: value_schema(field.dtype, nullable=True) for field in kind.fields}
        return _or_null({"type": "object", "properties": fields, "additionalProperties": False}, nullable)
    if isinstance(kind, pl.Datetime):
        return _or_null({"type": "string", "format": "date-time"}, nullable)
    if kind == pl.Date:
        return _or_null({"type": "string", "format": "date"}, nullable)
    if kind == pl.Boolean:
        return _or_null({"type": "boolean"}, nullable)
    if kind.is_integer():
        return _or_null({"type": "integer"}, nullable)
    if kind.is_float():
        return _or_null({"type": "number"}, True)
    return _or_null({"type": "string"}, nullable)


def _or_null(schema: dict[str, Any], nullable: bool) -> dict[str, Any]:
    return {**schema, "type": [schema["type"], "null"]} if nullable else schema


def _listing(listing: Listing) -> dict[str, Any]:
    page = {
        "type": "object",
        "properties": {
            "count": {"type": "integer", "description": "Rows of this page."},
            "next": {"type": ["string", "null"], "description": "The page after this one; null on the last."},
            "data": {"type": "array", "items": {"$ref": f"#/components/schemas/{listing.table.name}"}},
        },
        "required": ["count", "next", "data"],
        "additionalProperties": False,
    }
    content: dict[str, Any] = {MEDIA_TYPES["json"]: {"schema": page}}
    content["text/csv"] = {"schema": {"type": "string"}}
    content[MEDIA_TYPES["arrow"]] = {"schema": {"type": "string", "contentEncoding": "binary"}}
    headers = {
        "ETag": {"schema": {"type": "string"}, "description": "Changes when, and only when, the answer does."},
        "Link": {"schema": {"type": "string"}, "description": 'The next page, rel="next".'},
        "X-Flowlake-Catalog": {"schema": {"type": "integer"}, "description": "Catalog version that was read."},
    }
    left_out = f" Without `columns`, {', '.join(listing.left_out)} are left out." if listing.left_out else ""
    return {
        "operationId": listing.name,
        "summary": listing.summary,
        "description": f"{listing.table.description}{left_out}",
        "parameters": [parameter.openapi() for parameter in listing.parameters],
        "responses": {
            "200": {"description": "A page of rows.", "headers": headers, "content": content},
            "304": {"description": "Nothing has changed since the ETag sent in If-None-Match."},
            **_errors("400", "401", "404", "406", "421", "503"),
        },
    }


def _operation(operation: Operation) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "parameters": [parameter.openapi() for parameter in operation.parameters],
        "responses": {
            "200": {"description": operation.summary, "content": {"application/json": {"schema": operation.answer}}},
            **_errors(*operation.errors),
        },
    }
    if operation.body is not None:
        described["requestBody"] = {"required": True, "content": {"application/json": {"schema": operation.body}}}
    return described


def _errors(*statuses: str) -> dict[str, Any]:
    content = {PROBLEM_JSON: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {status: {"description": MEANINGS[int(status)], "content": content} for status in statuses}


def _problem_schema() -> dict[str, Any]:
    properties = {
        name: {"type": "integer" if name == "status" else "string", "description": meaning}
        for name, meaning in FIELDS.items()
    }
    return {
        "type": "object",
        "properties": properties,
        "required": ["type", "title", "status", "detail"],
        "additionalProperties": False,
    }
