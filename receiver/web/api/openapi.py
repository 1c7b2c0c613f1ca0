"""The OpenAPI 3.1 document of the API, made from its table of operations and the types that the table names."""

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from receiver import __version__
from receiver.client.schemas import ProblemView
from receiver.web.api.operations import Operation

BASE = "/api/v1"
_SCHEMA_REF = "#/components/schemas/{name}"
_COMMON_STATUSES = (401, 503)
_BODY_STATUSES = (400, 408, 413, 422)
_STATUS_TEXTS = {
    400: "Not JSON.",
    401: "No API token, or a wrong one.",
    404: "Not found.",
    408: "The body came too slowly.",
    409: "The present state does not allow it.",
    413: "The body is too large.",
    422: "It cannot be accepted; `field` names what is wrong.",
    503: "Nothing was stored; try again after `Retry-After` seconds.",
}


def build_document(operations: Sequence[Operation]) -> dict[str, Any]:
    """The whole document, ready to be encoded."""
    named = [kind for it in operations for kind in (it.body, it.answer) if kind is not None]
    _, components = msgspec.json.schema_components([*named, ProblemView], ref_template=_SCHEMA_REF)
    paths: dict[str, Any] = {}
    for operation in operations:
        queries, more = _list_parameters(operation)
        components |= more
        paths.setdefault(BASE + operation.path, {})[operation.method.lower()] = _describe_operation(operation, queries)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "receiver",
            "version": __version__,
            "description": "Submit image generations and be notified when they are done.",
        },
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _describe_operation(operation: Operation, parameters: list[dict[str, Any]]) -> dict[str, Any]:
    success: dict[str, Any] = {
        "description": operation.summary,
        "content": {operation.media: {"schema": _answer_schema(operation)}},
    }
    if operation.repeatable:
        success["headers"] = {
            "Idempotent-Replayed": {"schema": {"const": "true"}, "description": "This key had already made the task."}
        }
    statuses = {
        *_COMMON_STATUSES,
        *operation.refusals,
        *(_BODY_STATUSES if operation.body else ()),
        *((422,) if operation.query else ()),
    }
    described: dict[str, Any] = {
        "operationId": operation.operation_id,
        "summary": operation.summary,
        "parameters": parameters,
        "responses": {str(operation.status): success, **{str(it): _refusal_response(it) for it in sorted(statuses)}},
    }
    if operation.body is not None:
        schema = {"$ref": _SCHEMA_REF.format(name=operation.body.__name__)}
        described["requestBody"] = {
            "required": _is_body_required(operation.body),
            "content": {"application/json": {"schema": schema}},
        }
    return described


def _is_body_required(body: type[msgspec.Struct]) -> bool:
    return any(field.required for field in msgspec.structs.fields(body))


def _answer_schema(operation: Operation) -> dict[str, Any]:
    if operation.answer is None:
        return {"type": "object" if operation.media == "application/json" else "string"}
    (schema,), _ = msgspec.json.schema_components([operation.answer], ref_template=_SCHEMA_REF)
    return schema


def _refusal_response(status: int) -> dict[str, Any]:
    schema = {"$ref": _SCHEMA_REF.format(name="ProblemView")}
    return {"description": _STATUS_TEXTS[status], "content": {"application/json": {"schema": schema}}}


def _list_parameters(operation: Operation) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The operation's path, query and header parameters, and the components that they name."""
    parameters: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in re.findall(r"\{(\w+)\}", operation.path)
    ]
    if operation.repeatable:
        schema = {"type": "string", "minLength": 1, "maxLength": 200}
        parameters.append({"name": "Idempotency-Key", "in": "header", "schema": schema})
    if operation.query is None:
        return parameters, {}
    _, components = msgspec.json.schema_components([operation.query], ref_template=_SCHEMA_REF)
    filters = components.pop(operation.query.__name__)["properties"]
    parameters += [{"name": name, "in": "query", "schema": schema} for name, schema in filters.items()]
    return parameters, components
