"""What a model is: its parameters, what of an earlier task it can go on from, and what it makes.

One declaration makes the options of `receiver submit`, the schema of the API, the columns of a batch's file, the forms
of the pages and the checks of the sandbox.
"""

from collections.abc import Callable, Collection, Mapping
from enum import StrEnum
from typing import Any

import msgspec
from msgspec import Struct

from receiver.core.errors import RequestRefused
from receiver.providers.parameters import INVALID, Documented, ModelParam, TextParam, UrlParam, unlikely

EXTRA_MOST = 64_000  # bytes of undeclared parameters as JSON
DEPTH_MOST = 64  # levels of these; whoever reads our JSON may not read any number


class JobFeed(Struct, frozen=True):
    """The parameters that an earlier task fills: its job's id in `job`, and in `place` which of its pictures, if the
    model takes one of them only."""

    job: str
    place: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The parameters that are filled."""
        return (self.job,) if self.place is None else (self.job, self.place)


class UrlFeed(Struct, frozen=True):
    """The parameter `url`, which the address of an earlier task's picture fills."""

    url: str

    @property
    def names(self) -> tuple[str, ...]:
        """The parameters that are filled."""
        return (self.url,)


class Draws(StrEnum):
    """What a model does with the frame of the picture that it goes on from."""

    GROW = "grow"  # the picture stays in the middle, and the frame grows around it
    SHIFT = "shift"  # the frame grows in one direction
    WHOLE = "whole"  # the frame stays as it is


class Model(Struct, frozen=True, kw_only=True):
    """One of the provider's models: its parameters, what they may be together, and what it makes.

    `any_of`: at least one of these must be given; `together`: all of these or none. `is_open`: parameters that are not
    declared are sent unchecked, because nobody documents what it takes. `is_presumed`: its name is not on a page of its
    own, so the provider may not know it (which costs nothing). `find_hints` gives sentences about parameters that are
    allowed and look wrong. `verb` is what a person does to a picture with it, if the page of a task offers that, and
    `draws` how it is drawn there.
    """

    name: str
    summary: str  # what it does, in a line
    fields: tuple[ModelParam, ...]
    callback: UrlParam = UrlParam(name="callback")  # not one of the fields: only we set it
    any_of: tuple[str, ...] = ()
    together: tuple[str, ...] = ()
    feed: JobFeed | UrlFeed | None = None
    makes: int = 4
    media: str = "image"
    is_open: bool = False
    is_presumed: bool = False
    operation: str | None = None  # its number within the provider's codes, if that is known
    verb: str | None = None
    draws: Draws = Draws.WHOLE
    find_hints: Callable[[Mapping[str, Any]], tuple[str, ...]] = lambda params: ()

    @property
    def failed_code(self) -> str:
        """The code with which its tasks fail; a made up one if its operation is not known."""
        return f"004{self.operation or '000'}098"

    @property
    def unavailable_code(self) -> str:
        """The code with which it is unavailable, likewise."""
        return f"004{self.operation or '000'}099"

    @property
    def takes_one_picture(self) -> bool:
        """Whether it goes on from one of the pictures of an earlier task, and not from all of that."""
        return isinstance(self.feed, UrlFeed) or (self.feed is not None and self.feed.place is not None)

    def find_param(self, name: str) -> ModelParam | None:
        """The declared parameter of this name."""
        return next((field for field in self.fields if field.name == name), None)

    @property
    def prompt_param(self) -> str | None:
        """The parameter in which it takes a prompt, if it takes one."""
        return next((field.name for field in self.fields if isinstance(field, TextParam) and field.prompt), None)

    def prompt_of(self, params: Mapping[str, Any]) -> str | None:
        """The prompt in these parameters, if there is one."""
        text = params.get(self.prompt_param) if self.prompt_param else None
        return text if isinstance(text, str) else None

    def describe_params(self, *, fed: bool = False, anyway: bool = False) -> dict[str, object]:
        """What `parse_params` takes, as JSON Schema. Null is as good as absent."""
        filled = self.feed.names if fed and self.feed else ()
        required = [
            field.name
            for field in self.fields
            if field.required and field.name not in filled and not field.is_unlimited(anyway=anyway)
        ]

        def describe(field: ModelParam) -> dict[str, object]:
            if field.name in filled:
                return {"type": "null"}
            described = field.describe_value(anyway=anyway)
            return described if field.name in required else {"anyOf": [described, {"type": "null"}]}

        described: dict[str, object] = {
            "type": "object",
            "properties": {field.name: describe(field) for field in self.fields},
            "required": required,
            "additionalProperties": self.is_open,
        }
        conditions = []
        if self.any_of and not fed:
            conditions.append([_describe_given(it) for it in self.any_of])
        if self.together and not fed:
            none: dict[str, object] = {"properties": {it: {"type": "null"} for it in self.together}}
            conditions.append([_describe_given(*self.together), none])
        if conditions:
            described["allOf"] = [{"anyOf": it} for it in conditions]
        return described

    def parse_params(self, params: Mapping[str, object], *, anyway: bool = False, fed: bool = False) -> dict[str, Any]:
        """The declared fields of `params` in declared order and canonical form, then what an open model is given else.

        `fed`: what an earlier task fills is left out. Raises `RequestRefused` for the first fault: missing fields
        before invalid ones, each in declared order.
        """
        filled: Collection[str] = self.feed.names if fed and self.feed else ()
        given = [field for field in self.fields if not field.is_absent(params.get(field.name))]
        for field in self.fields:
            if field.required and field not in given and field.name not in filled:
                _refuse_missing(field, anyway=anyway)
        self._check_groups({field.name for field in given} | set(filled))
        parsed = {field.name: field.parse_value(params[field.name], anyway=anyway) for field in given}
        return parsed | (self._read_undeclared(params) if self.is_open else {})

    def _check_groups(self, given: set[str]) -> None:
        if self.any_of and not given.intersection(self.any_of):
            raise RequestRefused(422, INVALID, f"one of {' and '.join(self.any_of)} must be given", self.any_of[0])
        missing = [it for it in self.together if it not in given]
        if missing and len(missing) < len(self.together):
            problem = f"{missing[0]} is missing: {' and '.join(self.together)} are given together"
            raise RequestRefused(422, INVALID, problem, missing[0])

    def _read_undeclared(self, params: Mapping[str, object]) -> dict[str, object]:
        declared = {field.name for field in self.fields}
        others = {name: it for name, it in sorted(params.items()) if name not in declared and it is not None}
        return {name: it for name, it in check_undeclared(others, self.name).items() if it is not None}  # NaN is null


def check_undeclared(params: Mapping[str, object], model: str) -> dict[str, object]:
    """Parameters of which nobody says what they may be, as JSON has them: any that can be stored. Raises
    `RequestRefused`."""
    try:
        size = len(text := msgspec.json.encode(params))
        decoded: dict[str, object] = msgspec.json.decode(text)
    except (msgspec.MsgspecError, UnicodeEncodeError, RecursionError, OverflowError) as error:
        raise RequestRefused(422, INVALID, f"the parameters of {model} cannot be sent as JSON", "params") from error
    if size > EXTRA_MOST or b"\\u0000" in text:
        problem = f"the parameters of {model} must be at most {EXTRA_MOST:,} bytes long, without NUL characters"
        raise RequestRefused(422, INVALID, problem, "params")
    if _is_deep(decoded):
        problem = f"the parameters of {model} must not be nested more than {DEPTH_MOST} levels deep"
        raise RequestRefused(422, INVALID, problem, "params")
    return decoded


def _is_deep(value: object) -> bool:
    level: list[Any] = [value]
    for _ in range(DEPTH_MOST):
        inside = (it for each in level for it in (each.values() if isinstance(each, dict) else each))
        level = [it for it in inside if isinstance(it, dict | list)]
    return bool(level)


def _describe_given(*names: str) -> dict[str, object]:
    """An object that has all of these, none of them null."""
    return {"required": list(names), "properties": {name: {"not": {"type": "null"}} for name in names}}


def _refuse_missing(field: ModelParam, *, anyway: bool) -> None:
    if field.documented is not Documented.UPSTREAM:
        raise field.missing_error()
    if not anyway:
        raise unlikely(f"{field.name} is missing", field.name)
