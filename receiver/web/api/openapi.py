"""The OpenAPI 3.1 document of the API, made from its table of operations and the types that the table names."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from receiver import __version__
from receiver.client.batch_schemas import BATCH_NAME_PATTERN
from receiver.client.schemas import KEY_MOST, ProblemView
from receiver.providers.declarations import Model
from receiver.providers.models import MODEL_PATTERN, MODELS
from receiver.tokens import REF_PATTERN
from receiver.web.api.operations import Operation

BASE = "/api/v1"
_PERMUTATIONS = "Braces with a comma in a prompt, as in {a,b}, are refused unless `allow_permutations`: each is billed."
_SCHEMA_REF = "#/components/schemas/{name}"
_COMMON_STATUSES = (401, 500, 503)
_BODY_STATUSES = (400, 408, 413, 422)
_STATUS_TEXTS = {
    400: "Not JSON.",
    401: "No API token, or a wrong one.",
    404: "Not found.",
    408: "The body came too slowly.",
    409: "The present state does not allow it.",
    413: "The body is too large.",
    422: "It cannot be accepted; `field` names what is wrong.",
    500: "A fault of the service's; see its log.",
    503: "Nothing was stored; try again after `Retry-After` seconds.",
}
_REFUSAL_HEADERS = {
    401: {"WWW-Authenticate": {"required": True, "schema": {"type": "string", "pattern": "^Bearer"}}},
    503: {"Retry-After": {"required": True, "schema": {"type": "string", "pattern": "^[0-9]+$"}}},
}
_NULL = {"type": "null"}
_OF_ROWS = ("line", "row_key")  # of a new task, only within a batch
_PATH_PARAMETERS = {
    "ref": {"type": "string", "format": "uuid", "pattern": f"^{REF_PATTERN}$"},
    "id": {"type": "integer", "minimum": 1},
    "name": {"type": "string", "minLength": 1, "maxLength": 200, "pattern": BATCH_NAME_PATTERN},
}


def build_document(operations: Sequence[Operation], targets: Sequence[str]) -> dict[str, Any]:
    """The whole document, ready to be encoded. `targets` are the names of those that this service has."""
    named = [kind for it in operations for kind in (it.body, it.answer) if kind is not None]
    _, components = msgspec.json.schema_components([*named, ProblemView], ref_template=_SCHEMA_REF)
    paths: dict[str, Any] = {}
    for operation in operations:
        queries, more = _list_parameters(operation)
        components |= more
        paths.setdefault(BASE + operation.path, {})[operation.method.lower()] = _describe_operation(operation, queries)
    components["TargetName"] = _describe_targets(targets)
    components["NewTask"] = _by_model(components["NewTask"])
    components["WaitFor"] = _with_one_parent(components["WaitFor"])
    components["RedriveRequest"] = _with_targets_of_old(components["RedriveRequest"])
    components["DiscardRequest"] = _with_some_named(components["DiscardRequest"])
    paths[f"{BASE}/notices/discard"]["post"]["requestBody"]["required"] = True
    if len(targets) != 1:  # else it may be left out
        components["TargetTestRequest"] = _with_target_required(components["TargetTestRequest"])
        paths[f"{BASE}/notices/test"]["post"]["requestBody"]["required"] = True
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


def _describe_targets(names: Sequence[str]) -> dict[str, Any]:
    known: dict[str, Any] = {"enum": list(names)} if names else {"not": {}}
    return {"title": "TargetName", "description": "The name of a target of this service.", "type": "string", **known}


def _by_model(new_task: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of a new task, with the parameters of each model."""
    whole = {name: value for name, value in new_task.items() if name in ("title", "description")}
    rest = {name: value for name, value in new_task.items() if name not in whole}
    fields = {name: it for name, it in rest["properties"].items() if name not in _OF_ROWS}
    rest = {**rest, "properties": fields, "required": ["model"]}
    return {**whole, "oneOf": [*(_of_model(rest, it) for it in MODELS.values()), _of_no_model(rest)]}


def _of_model(new_task: Mapping[str, Any], model: Model) -> dict[str, Any]:
    """A new task of a declared model."""
    params = {"type": "object", "description": _PERMUTATIONS, "properties": {model.callback.name: False}}
    properties = {**new_task["properties"], "model": {"const": model.name}, "params": params}
    return {**new_task, "title": model.name, "properties": properties, "anyOf": list(_list_cases(model))}


def _list_cases(model: Model) -> Iterator[dict[str, Any]]:
    """What a model takes: with an earlier task that fills a part of it or without, anyway or not."""
    alone: list[tuple[bool, dict[str, Any], list[str]]] = [(False, {"wait_for": _NULL}, [])]
    waits = [*alone, (True, {"wait_for": {"not": _NULL}}, ["wait_for"])] if model.feed else [(False, {}, [])]
    for fed, properties, required in waits:
        cautious, anyway = (model.describe_params(fed=fed, anyway=it) for it in (False, True))
        if cautious == anyway:
            yield _with_params({**properties, "params": cautious}, required)
            continue
        yield _with_params({**properties, "anyway": {"const": False}, "params": cautious}, required)
        yield _with_params({**properties, "anyway": {"const": True}, "params": anyway}, [*required, "anyway"])


def _with_params(properties: dict[str, Any], required: list[str]) -> dict[str, Any]:
    """These properties, of which the parameters may be left out if none of them is needed."""
    params = properties["params"]
    needed = ["params"] if params["required"] or "allOf" in params else []
    return {"properties": properties, "required": [*required, *needed]}


def _of_no_model(new_task: Mapping[str, Any]) -> dict[str, Any]:
    """A new task of a model that is not declared here: it is sent `anyway`, unchecked."""
    changed = {
        "model": {"type": "string", "pattern": MODEL_PATTERN, "not": {"enum": list(MODELS)}},
        "params": {"type": "object", "properties": {"callback": False}},
        "anyway": {"const": True},
        "wait_for": _NULL,
    }
    described = {**new_task, "title": "another model", "properties": {**new_task["properties"], **changed}}
    return {**described, "required": [*new_task["required"], "anyway"]}


def _with_one_parent(wait_for: Mapping[str, Any]) -> dict[str, Any]:
    """A task to go on from is named either by its ref or by its name."""
    either = (("ref", "name"), ("name", "ref"))
    cases = [{"properties": {it: {"not": _NULL}, other: _NULL}, "required": [it]} for it, other in either]
    return {**wait_for, "oneOf": cases}


def _with_targets_of_old(redrive: Mapping[str, Any]) -> dict[str, Any]:
    """Notices of any former target can be sent `to` another; without `to`, it is one of those that there are."""
    to, target = redrive["properties"]["to"]["anyOf"][0], {"$ref": _SCHEMA_REF.format(name="TargetName")}
    of_known = {"properties": {"target": {"anyOf": [target, {"type": "null"}]}}}
    return {**redrive, "anyOf": [{"properties": {"to": to}, "required": ["to"]}, of_known]}


def _with_some_named(discard: Mapping[str, Any]) -> dict[str, Any]:
    """Without a target or ids, nothing says which notices are meant."""
    either = [{"properties": {it: {"not": {"type": "null"}}}, "required": [it]} for it in ("target", "ids")]
    return {**discard, "anyOf": either}


def _with_target_required(test: Mapping[str, Any]) -> dict[str, Any]:
    target = {"$ref": _SCHEMA_REF.format(name="TargetName")}
    return {**test, "properties": {**test["properties"], "target": target}, "required": ["target"]}


def _is_body_required(body: type[msgspec.Struct]) -> bool:
    return any(field.required for field in msgspec.structs.fields(body))


def _answer_schema(operation: Operation) -> dict[str, Any]:
    if operation.answer is None:
        return {"type": "object" if operation.media == "application/json" else "string"}
    (schema,), _ = msgspec.json.schema_components([operation.answer], ref_template=_SCHEMA_REF)
    return schema


def _refusal_response(status: int) -> dict[str, Any]:
    schema = {"$ref": _SCHEMA_REF.format(name="ProblemView")}
    described = {"description": _STATUS_TEXTS[status], "content": {"application/json": {"schema": schema}}}
    return described | ({"headers": _REFUSAL_HEADERS[status]} if status in _REFUSAL_HEADERS else {})


def _list_parameters(operation: Operation) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The operation's path, query and header parameters, and the components that they name."""
    parameters: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": _PATH_PARAMETERS[name]}
        for name in re.findall(r"\{(\w+)\}", operation.path)
    ]
    if operation.repeatable:
        schema = {"type": "string", "minLength": 1, "maxLength": KEY_MOST}
        parameters.append({"name": "Idempotency-Key", "in": "header", "schema": schema})
    if operation.query is None:
        return parameters, {}
    _, components = msgspec.json.schema_components([operation.query], ref_template=_SCHEMA_REF)
    filters = components.pop(operation.query.__name__)["properties"]
    parameters += [{"name": name, "in": "query", "schema": _without_null(it)} for name, it in filters.items()]
    return parameters, components


def _without_null(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """The schema of a value that can be left out, but has no null: a query's."""
    return next((it for it in schema.get("anyOf", ()) if it != {"type": "null"}), schema)
