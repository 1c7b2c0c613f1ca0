"""A form as a page shows it, and what a person typed into one. Pure."""

import hashlib
import re
import secrets
from collections.abc import Mapping, Sequence

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from receiver.client.schemas import NewTask, WaitFor
from receiver.core.errors import RequestRefused
from receiver.providers.declarations import Draws, Model
from receiver.providers.parameters import UNLIKELY, NumberParam
from receiver.web.pages.going_on.form_errors import describe_refusal
from receiver.web.pages.going_on.forms import (
    EXACT,
    Control,
    Field,
    ReadForm,
    Typed,
    build_fields,
    choose_text,
    collect_typed,
    read_decimal,
)
from receiver.web.pages.going_on.stage import describe_new_part
from receiver.web.pages.page import Form

NOBODY = "Choose at least one: nobody would be told."
KEY_LEAST = 16
_KEY = re.compile(rf"[0-9a-f]{{{KEY_LEAST},64}}")
_YES = "1"
_BESIDE = ("imageNo", "label", "target")  # fields that no declaration has, or that stand apart


class Typing(Struct, frozen=True, kw_only=True):
    """What a person typed into a form, or what a form begins with. `targets` None: all that want the task."""

    typed: Typed = {}
    label: str = ""
    targets: Sequence[str] | None = None
    anyway: bool = False
    allow_permutations: bool = False
    poll_only: bool = False
    key: str = ""


class Faults(Struct, frozen=True, kw_only=True):
    """What is wrong with what was typed: by field, and in general. The rest says what a person may allow."""

    fields: Mapping[str, str] = {}
    general: tuple[str, ...] = ()
    is_unlikely: bool = False
    multiplies: bool = False
    is_unreachable: bool = False

    def __bool__(self) -> bool:
        return bool(self.fields or self.general)


class TargetBox(Struct, frozen=True):
    """Somebody who may be told."""

    name: str
    chosen: bool


class Permit(Struct, frozen=True):
    """Something that a person may allow, once it was refused."""

    name: str
    label: str
    hint: str
    chosen: bool


class FormView(Struct, frozen=True, kw_only=True):
    """A form. `hidden` are fields that nobody sees; `summary` is each fault, with the field that it is about.

    The number of a picture stands after `button`. Without script it stays when another one is chosen, so `plain_button`
    is there instead.
    """

    action: str
    button: str
    plain_button: str = ""
    fields: tuple[Field, ...]
    label: str = ""
    targets: tuple[TargetBox, ...] = ()
    permits: tuple[Permit, ...] = ()
    hidden: tuple[tuple[str, str], ...] = ()
    cost: str = ""  # what it may cost, and how long it may take
    notes: tuple[str, ...] = ()  # amber: true, and no error
    summary: tuple[tuple[str, str], ...] = ()
    errors: Mapping[str, str] = {}
    new_part: str = ""  # how much of the new picture is new
    draws: Draws = Draws.WHOLE


def read_typing(model: Model | None, form: Form, known: Sequence[str], before: Sequence[str] | None = None) -> Typing:
    """What a form holds. `known` are all targets, `before` those of the task that it goes on from."""
    typed = collect_typed(model, lambda name: _find(form, name)) if model is not None else {}
    targets = before
    if form.one("told"):
        chosen = form.all("target")
        targets = None if before is None and set(chosen) == set(known) else chosen
    return Typing(
        typed=typed,
        label=form.one("label").strip(),
        targets=targets,
        anyway=form.one("anyway") == _YES,
        allow_permutations=form.one("allow_permutations") == _YES,
        poll_only=form.one("poll_only") == _YES,
        key=form.one("key"),
    )


def build_form(
    model: Model | None,
    typing: Typing,
    faults: Faults,
    known: Sequence[str],
    *,
    action: str,
    button: str,
    plain_button: str = "",
    without: Sequence[str] = (),
    brief: bool = True,
    hidden: Sequence[tuple[str, str]] = (),
    cost: str = "",
    notes: Sequence[str] = (),
) -> FormView:
    """The form of a model, filled with what was typed."""
    fields = tuple[Field, ...]()
    if model is not None:
        fields = build_fields(model, typing.typed, errors=faults.fields, without=without, brief=brief)
    chosen = known if typing.targets is None else typing.targets
    return FormView(
        action=action,
        button=button,
        plain_button=plain_button,
        fields=fields,
        label=typing.label,
        targets=tuple(TargetBox(name, name in chosen) for name in known),
        permits=_permits(typing, faults),
        hidden=(*hidden, ("key", typing.key or new_key())),
        cost=cost,
        notes=tuple(notes),
        summary=_summarise(fields, faults),
        errors=faults.fields,
        new_part=_describe_new_part(model, typing.typed),
        draws=Draws.WHOLE if model is None else model.draws,
    )


def judge_typing(typing: Typing, read: ReadForm, known: Sequence[str] = ()) -> Faults:
    """What is wrong with a form, as far as that can be said before it is sent."""
    fields = dict(read.errors)
    general = tuple(text for text in (fields.pop("", ""),) if text)
    faults = Faults(fields=fields, general=general, is_unlikely=read.is_unlikely, multiplies=read.multiplies)
    return check_targets(faults, typing, known)


def check_targets(faults: Faults, typing: Typing, known: Sequence[str]) -> Faults:
    """The same, with what is wrong with who is told."""
    if not known or typing.targets is None or typing.targets:
        return faults
    return replace(faults, fields={**faults.fields, "target": NOBODY})


def judge_refusal(refused: RequestRefused, model: Model | None) -> Faults:
    """What is wrong with a form whose request was refused."""
    name, text = describe_refusal(refused, model)
    if refused.field in ("label", "targets"):
        name = refused.field.removesuffix("s")
    return Faults(
        fields={name: text} if name else {},
        general=() if name else (text,),
        is_unlikely=refused.code == UNLIKELY,
        is_unreachable=refused.code == "unreachable",
    )


def derive_key(given: str, *asked: object) -> str:
    """The Idempotency-Key of what a form asks for: that form sent twice makes one task, and changed it makes another
    one. A form without a key makes one each time."""
    if not is_key(given):
        given = new_key()
    content = msgspec.json.encode(asked, order="sorted")
    return f"page-{hashlib.sha256(given.encode() + content).hexdigest()}"


def is_key(text: str) -> bool:
    """Whether a form may have this key."""
    return _KEY.fullmatch(text) is not None


def new_key() -> str:
    """A key for a form that is shown."""
    return secrets.token_hex(KEY_LEAST)


def scale_typed(model: Model, typed: Typed) -> float | None:
    """The scale that a form draws, if its model has one."""
    field = next((it for it in build_fields(model, typed) if it.name == "scale"), None)
    param = model.find_param("scale")
    if field is None or param is None:
        return None
    found = read_decimal(choose_text(param, typed) or field.value)
    found = read_decimal(field.slid) if found is None else found
    if found is None or not isinstance(param, NumberParam):
        return found
    return min(max(found, float(param.least)), float(param.most))


def _describe_new_part(model: Model | None, typed: Typed) -> str:
    if model is None or model.draws is Draws.WHOLE:
        return ""
    return describe_new_part(model.draws, scale_typed(model, typed))


def _permits(typing: Typing, faults: Faults) -> tuple[Permit, ...]:
    found = list[Permit]()
    if faults.multiplies or typing.allow_permutations:
        label = "Allow several generations"
        found.append(Permit("allow_permutations", label, "each is paid for", typing.allow_permutations))
    if faults.is_unlikely or typing.anyway:
        found.append(Permit("anyway", "Send it all the same", "it may fail", typing.anyway))
    if faults.is_unreachable or typing.poll_only:
        label = "Ask for the result, and wait for no callback"
        found.append(Permit("poll_only", label, "it takes a little longer", typing.poll_only))
    return tuple(found)


def _summarise(fields: Sequence[Field], faults: Faults) -> tuple[tuple[str, str], ...]:
    """Each fault in the order of the form, with the name of the control that it is about."""
    controls = {it.name: it.name + EXACT if it.control is Control.SLIDER else it.name for it in fields}
    controls |= {it: it for it in _BESIDE}
    order = list(controls)
    named = sorted(faults.fields.items(), key=lambda it: order.index(it[0]) if it[0] in order else len(order))
    return (*(("", text) for text in faults.general), *((controls.get(name, ""), text) for name, text in named))


def _find(form: Form, name: str) -> str | None:
    return next((value for key, value in form.fields if key == name), None)


def build_request(model: Model, params: Mapping[str, object], typing: Typing, wait_for: WaitFor | None) -> NewTask:
    """The task that a form asks for."""
    return NewTask(
        model=model.name,
        params=dict(params),
        label=typing.label or None,
        targets=None if typing.targets is None else tuple(typing.targets),
        poll_only=typing.poll_only,
        allow_permutations=typing.allow_permutations,
        anyway=typing.anyway,
        wait_for=wait_for,
    )
