"""A record of a batch's file as a task to submit, or what is wrong with it. Pure."""

import functools
import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from receiver.cli.batch.columns import EXTRA, RESERVED, Column, param_name, resolve_columns
from receiver.cli.batch.read_file import Fault, Record
from receiver.client.batch_schemas import PRIORITIES
from receiver.client.schemas import KEY_MOST, LABEL_MOST, NewTask
from receiver.core.errors import RequestRefused
from receiver.providers import models
from receiver.providers.parameters import INVALID, ModelParam

_YES = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}
_VALUE_MOST = 40  # characters of a wrong value that is shown
_EXTRA_MOST = 64_000  # characters of all columns of the user's own in a row


class Row(Struct, frozen=True):
    """A row to submit: its task, the canonical parameters, and what stays with the command: the user's own key and
    columns, and the priority that it asks for."""

    line: int
    task: NewTask
    params: bytes
    key: str | None = None
    extras: dict[str, Any] = {}
    priority: str | None = None


class RowDefaults(Struct, frozen=True):
    """What holds for each row that does not say otherwise."""

    model: str | None = None
    values: dict[str, Any] = {}


class _Wrong(Exception):
    """What is wrong with a row. The text says which column."""


def read_defaults(model: str | None, pairs: Sequence[str]) -> RowDefaults:
    """What `--model` and `--set NAME=VALUE` say. Raises ValueError, with a sentence, if it cannot be right."""
    if model is not None:
        try:
            model = models.find_model(models.full_model_name(model)).name
        except RequestRefused as refused:
            raise ValueError(str(refused)) from None
    values: dict[str, Any] = {}
    for pair in pairs:
        name, given, value = pair.partition("=")
        if not given:
            raise ValueError(f"--set {pair}: write NAME=VALUE")
        columns, faults = resolve_columns([name])
        if faults or not columns[0].name:
            raise ValueError(f"--set {pair}: {faults[0] if faults else 'the name is missing'}")
        if columns[0].name in ("key", "priority") or columns[0].extra:
            raise ValueError(f"--set {pair}: this cannot be the same for all rows")
        values[columns[0].name] = value.strip()
    return RowDefaults(model, values)


def resolve_field(name: str) -> Column:
    """The column that `--field` names. Raises ValueError, with a sentence, if there is none."""
    columns, faults = resolve_columns([name])
    if faults or not columns[0].name:
        raise ValueError(f"--field {name}: {faults[0] if faults else 'the name is missing'}")
    return columns[0]


def build_row(record: Record, defaults: RowDefaults) -> Row | Fault:
    """The row, checked as the service checks it; or the first thing that is wrong with it."""
    try:
        return _build_row(record.line, record.values, defaults)
    except _Wrong as wrong:
        return Fault(record.line, str(wrong))


def _build_row(line: int, values: Mapping[str, Any], defaults: RowDefaults) -> Row:
    given = {**defaults.values, **values}
    model = _read_model(given.get("model"), defaults.model)
    allowed = _read_flag("allow_permutations", given.get("allow_permutations"))
    params = _read_params(model, values)
    if defaults.values:
        params = {**_read_params(model, defaults.values), **params}
    try:
        canonical = models.check_params(model, params, allow_permutations=allowed)
    except RequestRefused as refused:
        value = params.get(refused.field or "")
        raise _Wrong(explain_refusal(refused.code, refused.problem, refused.field, refused.remedy, value)) from None
    extras = {name: value for name, value in given.items() if _is_extra(name)}
    if extras and len(msgspec.json.encode(extras)) > _EXTRA_MOST:
        raise _Wrong(f"its columns that begin with {EXTRA} are longer than {_EXTRA_MOST:,} characters together")
    task = NewTask(
        model=model,
        params=msgspec.json.decode(canonical),
        label=_read_text("label", given.get("label"), LABEL_MOST),
        targets=_read_targets(given.get("target")),
        poll_only=_read_flag("poll_only", given.get("poll_only")),
        allow_permutations=allowed,
        line=line,
    )
    key, priority = _read_text("key", given.get("key"), KEY_MOST), given.get("priority")
    if priority is not None and priority not in PRIORITIES:
        raise _Wrong(f"priority: it must be {', '.join(PRIORITIES[:-1])} or {PRIORITIES[-1]}")
    return Row(line, task, canonical, key, extras, priority)


def explain_refusal(code: str, problem: str, field: str | None, remedy: str | None = None, value: object = None) -> str:
    """A refusal as a row's fault: `scale: 'eins' must be a number from 1.1 to 2.0 (004007005)`."""
    text = problem.replace(", sent as a JSON number", "")  # how it is sent does not matter in a file
    if field:
        text = text.removeprefix(f"{field} ")
        short = isinstance(value, str | int | float) and len(str(value)) <= _VALUE_MOST
        if short and text.startswith(("must be", "should be")):
            text = f"{f'{value:g}' if isinstance(value, float) else repr(value)} {text}"
    if code.isdigit():
        text = f"{text} ({code})"
    if field:
        text = f"{field}: {text}"
    return f"{text}; {remedy}" if remedy else text


def _read_model(given: object, default: str | None) -> str:
    if given is None:
        if default is None:
            raise _Wrong("model: it is missing; add a column for it, or say --model for all rows")
        return default
    if not isinstance(given, str):
        raise _Wrong("model: it must be text")
    try:
        return models.find_model(models.full_model_name(given)).name
    except RequestRefused as refused:
        raise _Wrong(explain_refusal(INVALID, refused.problem, "model", refused.remedy)) from None


def _read_params(model: str, given: Mapping[str, Any]) -> dict[str, Any]:
    found = given.get("params", {})
    if not isinstance(found, dict):
        raise _Wrong("params: it must be a JSON object")
    params: dict[str, Any] = {**found}
    for folded, value in given.items():
        if folded in RESERVED or folded == "params" or _is_extra(folded):
            continue
        name = param_name(model, folded)
        if name is None:
            raise _Wrong(f"{folded}: {models.short_model_name(model)} has no such parameter; leave it empty")
        if name in params:
            raise _Wrong(f"{name}: it is given twice")
        params[name] = _read_value(_find_param(model, name), value) if isinstance(value, str) else value
    return params


@functools.lru_cache(maxsize=1_000)
def _find_param(model: str, name: str) -> ModelParam:
    return next(field for field in models.find_model(model).fields if field.name == name)


def _read_value(kind: ModelParam, text: str) -> object:
    """A parameter's text as the kind of value that it takes; as it is if it is no such value."""
    try:
        return kind.read_text(text)
    except ValueError as wrong:
        raise _Wrong(f"{kind.name}: {wrong}") from None


def _read_flag(name: str, given: object) -> bool:
    if given is None or isinstance(given, bool):
        return bool(given)
    found = _YES.get(str(given).lower())
    if found is None:
        raise _Wrong(f"{name}: write yes or no")
    return found


def _read_text(name: str, given: object, most: int) -> str | None:
    if given is None:
        return None
    if not isinstance(given, str):
        raise _Wrong(f"{name}: it must be text")
    if len(given) > most:
        raise _Wrong(f"{name}: it is longer than {most} characters")
    if any("\ud800" <= it <= "\udfff" for it in given):
        raise _Wrong(f"{name}: it has half a character (a lone surrogate)")
    return given


def _read_targets(given: object) -> tuple[str, ...] | None:
    if given is None:
        return None
    names = re.split(r"[\s,;]+", given.strip()) if isinstance(given, str) else given
    if not isinstance(names, list) or not names or not all(isinstance(it, str) and it for it in names):
        raise _Wrong("target: write the name of a target, or several with blanks between them")
    return tuple(names)


def _is_extra(name: str) -> bool:
    return name[:2].lower() == EXTRA
