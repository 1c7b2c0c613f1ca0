"""An operation of the API as data, and how one is run: the request is decoded into its types first.

The routes and the OpenAPI document are made from the same table, so they cannot drift. Raised here: RequestRefused with
400 if the body is not JSON, 408 or 413 if it is too slow or too large, 422 with the field if a type does not fit.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable, Sequence
from enum import StrEnum
from typing import Any, TypeVar, get_args, get_type_hints

import msgspec
from msgspec import Struct
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.routing import Route
from starlette.types import ASGIApp

from receiver.core.errors import RequestRefused
from receiver.web.responses import json_response

BODY_MOST = 1024 * 1024  # bytes
_ERROR_PATH = re.compile(r" - at `\$\.?(.*)`$")
_ERROR_FIELD = re.compile(r"field `(.*?)`")

Kind = TypeVar("Kind", bound=Struct)


class ApiRequest(Struct, frozen=True, eq=False):
    """A decoded request: `query` and `body` have the operation's types."""

    path: dict[str, str]
    query: Any
    body: Any
    key: str | None  # its Idempotency-Key


class Operation(Struct, frozen=True, kw_only=True, eq=False):
    """One call. `run` returns a view to encode, or a whole ASGI answer. `refusals` are the statuses it may have besides
    those that every call has."""

    method: str
    path: str
    summary: str
    run: Callable[..., Awaitable[object]]
    query: type[Struct] | None = None
    body: type[Struct] | None = None
    answer: Any = None  # a type; None where `media` says enough
    media: str = "application/json"
    status: int = 200
    refusals: tuple[int, ...] = ()
    repeatable: bool = False  # takes an Idempotency-Key

    @property
    def operation_id(self) -> str:
        """Its `operationId` in the document."""
        return self.run.__name__


def build_routes(operations: Iterable[Operation], room: object, timeout_s: float) -> list[Route]:
    """One route for each path. Every `run` is given `room`; a body has `timeout_s` seconds to arrive."""
    by_path: dict[str, dict[str, Operation]] = {}
    for operation in operations:
        by_path.setdefault(operation.path, {})[operation.method] = operation
    return [_build_route(path, methods, room, timeout_s) for path, methods in by_path.items()]


def _build_route(path: str, methods: dict[str, Operation], room: object, timeout_s: float) -> Route:
    async def run_operation(request: Request) -> ASGIApp:
        operation = methods.get("GET" if request.method == "HEAD" else request.method)
        if operation is None:
            raise HTTPException(405, headers={"Allow": ", ".join([*methods, "HEAD"] if "GET" in methods else methods)})
        result = await operation.run(room, await _decode_request(operation, request, timeout_s))
        return result if callable(result) else json_response(result, operation.status)

    route = Route(path, run_operation)
    route.methods = None  # any: else another path that fits, such as one with a {ref}, would get those it does not have
    return route


async def _decode_request(operation: Operation, request: Request, timeout_s: float) -> ApiRequest:
    return ApiRequest(
        path=request.path_params,
        query=operation.query and _decode_query(operation.query, request.query_params.multi_items()),
        body=operation.body and decode_body(operation.body, await read_body(request, timeout_s) or b"{}"),
        key=request.headers.get("idempotency-key"),
    )


async def read_body(request: Request, timeout_s: float, most: int = BODY_MOST) -> bytes:
    """A whole body. Raises RequestRefused: 408 if it is too slow, 413 if it is larger than `most` bytes."""
    body = bytearray()
    try:
        async with asyncio.timeout(timeout_s):
            async for chunk in request.stream():
                body += chunk
                if len(body) > most:
                    raise RequestRefused(413, "too_large", f"the body is larger than {most} bytes")
    except TimeoutError:
        raise RequestRefused(408, "too_slow", f"the body did not arrive within {timeout_s:g} s") from None
    except ClientDisconnect:
        raise RequestRefused(400, "incomplete", "the connection ended before the body was complete") from None
    return bytes(body)


def _decode_query(kind: type[Struct], pairs: Sequence[tuple[str, str]]) -> Struct:
    given = dict(pairs)
    for name, text in given.items():
        if "\0" in name or "\0" in text:
            raise RequestRefused(
                422, "invalid_parameter", "a query parameter contains a NUL", name.replace("\0", "")[:80]
            )
    try:
        query = msgspec.convert(given, kind, strict=False)
    except msgspec.ValidationError as error:
        raise _invalid_parameter(kind, error) from None
    names = [name for name, _ in pairs]
    for name in given:
        if names.count(name) > 1:
            raise RequestRefused(422, "invalid_parameter", "a query parameter is given more than once", name)
        if getattr(query, name) is None:  # msgspec reads the word `null` as none: it would list everything
            choices = _list_choices(kind, name)
            raise RequestRefused(422, "invalid_parameter", f"null is not a value{choices}", name)
    return query


def decode_body(kind: type[Kind], body: bytes | msgspec.Raw) -> Kind:
    """`body` as `kind`. Raises RequestRefused: 400 if it is not JSON, 422 if it does not fit the type."""
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as error:
        raise _invalid_parameter(kind, error) from None
    except (ValueError, RecursionError) as error:
        raise RequestRefused(400, "invalid_json", f"the body is not JSON: {str(error)[:200]}") from None


def _invalid_parameter(kind: type[Struct], error: msgspec.ValidationError) -> RequestRefused:
    """msgspec's message with the field that is wrong and, for an unknown enum value, the known ones."""
    text = str(error)
    place = _ERROR_PATH.search(text)
    named = _ERROR_FIELD.search(text)
    field = ".".join(it[1] for it in (place, named) if it is not None and it[1])[:80] or None
    message = _ERROR_PATH.sub("", text)[:200]
    if text.startswith("Invalid enum value"):
        message += _list_choices(kind, field)
    return RequestRefused(422, "invalid_parameter", message, field)


def _list_choices(kind: type[Struct], field: str | None) -> str:
    values = _enum_values(kind, field)
    return f"; it must be one of {', '.join(values)}" if values else ""


def _enum_values(kind: type[Struct], field: str | None) -> list[str]:
    choices = get_args(get_type_hints(kind).get(field or ""))
    return [word.value for it in choices if isinstance(it, type) and issubclass(it, StrEnum) for word in it]
