"""A record of a batch's file as a task to submit, or what is wrong with it. Pure."""

import functools
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from receiver.cli.batch.columns import EXTRA, PLACES, RESERVED, WAYS, Column, fold_name, param_name, resolve_columns
from receiver.cli.batch.read_file import Fault, Record
from receiver.cli.batch.refusal_text import explain_refusal, respell_names
from receiver.cli.submit.picture_numbers import parse_numbers
from receiver.client.batch_schemas import PRIORITIES
from receiver.client.schemas import KEY_MOST, LABEL_MOST, STEP_NAME_HOW, NewTask, WaitFor, is_step_name
from receiver.core.errors import RequestRefused
from receiver.providers import models
from receiver.providers.parameters import INVALID, Documented, ModelParam
from receiver.tokens import is_ref

_T = TypeVar("_T")

_YES = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}
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

    @property
    def after(self) -> str | None:
        """The name of the row that it goes on from, if it goes on from one."""
        wait = self.task.wait_for
        return wait.name if isinstance(wait, WaitFor) else None


class RowDefaults(Struct, frozen=True):
    """What holds for each row that does not say otherwise."""

    model: str | None = None
    values: dict[str, Any] = {}


class CheckFlags(Struct, frozen=True):
    """How a row's parameters are checked."""

    allow_permutations: bool
    anyway: bool
    fed: bool


class OwnColumns(Struct, frozen=True):
    """What a row says besides its model and its parameters, and besides what it goes on from."""

    label: str | None
    targets: tuple[str, ...] | None
    poll_only: bool
    key: str | None
    priority: str | None
    extras: dict[str, Any]


class _Wrong(Exception):
    """What is wrong with a row, a text for each fault. It says which column."""


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
        if columns[0].name in ("key", "priority", "name", "after") or columns[0].extra:
            raise ValueError(f"--set {pair}: this cannot be the same for all rows")
        values[columns[0].name] = value.strip()
    return RowDefaults(model, values)


def resolve_field(name: str) -> Column:
    """The column that `--field` names. Raises ValueError, with a sentence, if there is none."""
    columns, faults = resolve_columns([name])
    if faults or not columns[0].name:
        raise ValueError(f"--field {name}: {faults[0] if faults else 'the name is missing'}")
    return columns[0]


def build_row(record: Record, defaults: RowDefaults) -> Row | list[Fault]:
    """The row, checked as the service checks it; or all that is wrong with it."""
    given, faults = {**defaults.values, **record.values}, list[str]()

    def read(make: Callable[..., _T], *args: Any) -> _T | None:
        """What `make` reads; None if that is wrong, which is noted."""
        try:
            return make(*args)
        except _Wrong as wrong:
            faults.extend(wrong.args)
            return None

    model = read(_read_model, given.get("model"), defaults.model)
    allowed = read(_read_flag, "allow_permutations", given.get("allow_permutations"))
    anyway = read(_read_flag, "anyway", given.get("anyway"))
    wait_for = read(_read_wait, given)
    name = read(_read_name, "name", given.get("name"))
    fed = any(given.get(it) is not None for it in WAYS)
    flags = CheckFlags(allowed is not False, bool(anyway), fed)
    canonical = b"{}" if model is None else read(_check_params, model, record.values, defaults.values, flags)
    own, wrong = read_own_columns(given)
    faults += wrong
    if faults or model is None or canonical is None:
        return [Fault(record.line, text) for text in dict.fromkeys(faults)]
    task = NewTask(
        model=model,
        params=msgspec.json.decode(canonical),
        label=own.label,
        targets=own.targets,
        poll_only=own.poll_only,
        allow_permutations=bool(allowed),
        anyway=bool(anyway),
        wait_for=wait_for,
        name=name,
        line=record.line,
    )
    return Row(record.line, task, canonical, own.key, own.extras, own.priority)


def read_own_columns(given: Mapping[str, Any]) -> tuple[OwnColumns, list[str]]:
    """What a row says of itself, and what is wrong with that."""
    faults = list[str]()

    def read(make: Callable[..., _T], *args: Any) -> _T | None:
        try:
            return make(*args)
        except _Wrong as wrong:
            faults.extend(wrong.args)
            return None

    own = OwnColumns(
        label=read(_read_text, "label", given.get("label"), LABEL_MOST),
        targets=read(_read_targets, given.get("target")),
        poll_only=bool(read(_read_flag, "poll_only", given.get("poll_only"))),
        key=read(_read_text, "key", given.get("key"), KEY_MOST),
        priority=read(_read_priority, given.get("priority")),
        extras=read(_read_extras, given) or {},
    )
    return own, faults


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


def _check_params(model: str, own: Mapping[str, Any], shared: Mapping[str, Any], flags: CheckFlags) -> bytes:
    """The canonical parameters of a row's `own` values, and of those that are `shared` by all."""
    params, faults = _read_params(model, own, fed=flags.fed)
    if shared:
        others, wrong = _read_params(model, shared, fed=flags.fed)
        params, faults = {**others, **params}, wrong + faults
    try:
        canonical = models.check_params(
            model, params, allow_permutations=flags.allow_permutations, anyway=flags.anyway, fed=flags.fed
        )
    except RequestRefused as refused:
        unread = {text.partition(":")[0] for text in faults}
        names = _names_used(model, {**shared, **own})
        faults += [
            respell_names(explain_refusal(it.code, it.problem, it.field, it.remedy, params.get(it.field or "")), names)
            for it in _find_refusals(model, params, refused, flags)
            if it.field not in unread
        ]
    else:
        if not faults:
            return canonical
    raise _Wrong(*faults)


def _names_used(model: str, given: Mapping[str, Any]) -> dict[str, str]:
    """What the parameters of the model are called in a file with these columns, by their names on the wire."""
    fields = models.find_model(model).fields
    return {it.name: it.name if fold_name(it.name) in given else it.file_name for it in fields}


def _find_refusals(
    model: str, params: Mapping[str, Any], first: RequestRefused, flags: CheckFlags
) -> list[RequestRefused]:
    """What is wrong with each parameter, by itself, where `first` is wrong with all of them."""
    found, declared = {first.field: first}, models.find_model(model)
    filled = declared.feed.names if flags.fed and declared.feed else ()
    for field in declared.fields:
        try:
            if not field.is_absent(value := params.get(field.name)):
                field.parse_value(value, anyway=flags.anyway)
            elif field.name in filled:
                continue
            elif field.required and field.documented is not Documented.UPSTREAM:
                raise field.missing_error()
        except RequestRefused as refused:
            found.setdefault(field.name, refused)
    return list(found.values())


def _read_params(model: str, given: Mapping[str, Any], *, fed: bool) -> tuple[dict[str, Any], list[str]]:
    """The parameters among these values, and what is wrong with those that cannot be read. `fed`: an earlier task fills
    some, and the columns that say from which of its pictures are none of them."""
    found, faults = given.get("params", {}), list[str]()
    if not isinstance(found, dict):
        raise _Wrong("params: it must be a JSON object")
    params: dict[str, Any] = {**found}
    for folded, value in given.items():
        if folded in RESERVED or folded == "params" or _is_extra(folded) or (fed and folded in PLACES):
            continue
        name = param_name(model, folded)
        if name is None:
            faults.append(f"{folded}: {models.short_model_name(model)} has no such parameter; leave it empty")
        elif name in params:
            faults.append(f"{name}: it is given twice")
        elif isinstance(value, str):
            try:
                params[name] = _find_param(model, name).read_text(value)
            except ValueError as wrong:
                faults.append(f"{name}: {wrong}")
        else:
            params[name] = value
    return params, faults


@functools.lru_cache(maxsize=1_000)
def _find_param(model: str, name: str) -> ModelParam:
    return next(field for field in models.find_model(model).fields if field.name == name)


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


def _read_name(column: str, given: object) -> str | None:
    if given is None:
        return None
    if not isinstance(given, str) or not is_step_name(given):
        raise _Wrong(f"{column}: {str(given)[:60]!a} cannot be a row's name: {STEP_NAME_HOW}")
    return given


def _read_wait(given: Mapping[str, Any]) -> WaitFor | None:
    """What the row goes on from: the row that `after` names, or the task `from`; from JSON, `wait_for` as the API has
    it."""
    ways = {name: given[name] for name in WAYS if given.get(name) is not None}
    if not ways:
        return None
    if len(ways) > 1:
        raise _Wrong(f"{' and '.join(ways)}: give one of them")
    [(way, it)] = ways.items()
    numbers = next((given[place] for place in PLACES if given.get(place) is not None), None)
    if isinstance(it, dict) and way == "wait_for":
        if not it.keys() <= {"ref", "name", "image_no"} or ("ref" in it) is ("name" in it):
            raise _Wrong("wait_for: it must have ref or name, and may have image_no")
        numbers = it.get("image_no", numbers)
        way, it = ("after", it["name"]) if "name" in it else ("from", it["ref"])
    try:
        image_no = parse_numbers(numbers)
    except ValueError as wrong:
        raise _Wrong(f"image_no: {wrong}") from None
    if way == "after":
        return WaitFor(name=_read_name("after", it), image_no=image_no)
    if not isinstance(it, str) or not is_ref(it):
        raise _Wrong(f"{way}: {str(it)[:60]!a} is not the whole ref of a task, as `receiver tasks list` prints it")
    return WaitFor(ref=it, image_no=image_no)


def _read_targets(given: object) -> tuple[str, ...] | None:
    if given is None:
        return None
    names = re.split(r"[\s,;]+", given.strip()) if isinstance(given, str) else given
    if not isinstance(names, list) or not names or not all(isinstance(it, str) and it for it in names):
        raise _Wrong("target: write the name of a target, or several with blanks between them")
    return tuple(names)


def _read_priority(given: object) -> str | None:
    if given is None or given in PRIORITIES:
        return given if isinstance(given, str) else None
    raise _Wrong(f"priority: it must be {', '.join(PRIORITIES[:-1])} or {PRIORITIES[-1]}")


def _read_extras(given: Mapping[str, Any]) -> dict[str, Any]:
    extras = {name: value for name, value in given.items() if _is_extra(name)}
    if extras and len(msgspec.json.encode(extras)) > _EXTRA_MOST:
        raise _Wrong(f"its columns that begin with {EXTRA} are longer than {_EXTRA_MOST:,} characters together")
    return extras


def _is_extra(name: str) -> bool:
    return name[:2].lower() == EXTRA
