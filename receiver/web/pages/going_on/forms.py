"""Forms made from a model's declaration and from nothing else, and what came back in them as parameters. Pure.

A field is checked by the parameter that the API checks too, so there is one truth. What somebody typed is kept as it
is, right or wrong. A number has a slider and a field for the exact value; without a script both are sent, and then the
one counts that was moved away from what the page had drawn, and the exact one if both were.
"""

import math
import re
from collections.abc import Callable, Collection, Mapping
from enum import StrEnum

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from receiver.core.errors import RequestRefused
from receiver.providers.declarations import JobFeed, Model
from receiver.providers.geometry import MaskParam, PlaceParam, SizeParam
from receiver.providers.models import check_params
from receiver.providers.parameters import (
    UNLIKELY,
    ChoiceParam,
    Documented,
    IntegerParam,
    ModelParam,
    NumberParam,
    TextParam,
    UrlParam,
)
from receiver.web.pages.going_on.form_errors import (
    curl,
    describe_fault,
    describe_missing,
    describe_multiplied,
    describe_refusal,
)

SLIDER_STEP = 0.05
EXACT_STEP = 0.01
RADIOS_MOST = 10  # values of a whole number that are shown as buttons
EXACT = "-exact"  # the field for the exact value of a number, after its name
DRAWN = "-drawn"  # the value that the page had drawn
DEFAULT = "Default"  # the choice to send nothing


class Control(StrEnum):
    """The kinds of fields."""

    SLIDER = "slider"  # with a field for the exact value
    NUMBER = "number"
    RADIOS = "radios"
    AREA = "area"  # text of several lines
    TEXT = "text"
    URL = "url"


class Option(Struct, frozen=True):
    """One of several values."""

    value: str
    name: str
    chosen: bool = False


class Field(Struct, frozen=True, kw_only=True):
    """One field of a form, filled. `value` is as typed; of a slider it is the exact one, and `slid` the step nearest to
    that."""

    name: str
    label: str
    control: Control
    value: str = ""
    options: tuple[Option, ...] = ()
    least: float = 0
    most: float = 0
    slid: str = ""
    ticks: tuple[str, ...] = ()
    hint: str = ""
    required: bool = False
    maxlength: int | None = None
    error: str = ""


class ReadForm(Struct, frozen=True):
    """What a form says: parameters, and what is wrong, by the field; `""` is none in particular.

    `is_unlikely`: only the upstream refuses it, so it can be sent anyway. `multiplies`: it makes several generations,
    which can be allowed.
    """

    params: Mapping[str, object]
    errors: Mapping[str, str] = {}
    is_unlikely: bool = False
    multiplies: bool = False


Typed = Mapping[str, str]
"""What fields of a form hold, by their names."""


def fed_names(model: Model) -> tuple[str, ...]:
    """The parameters that an earlier task's picture fills."""
    return model.feed.names if model.feed is not None else ()


def place_name(model: Model) -> str | None:
    """The parameter that says which picture of an earlier task it is, if it takes that."""
    return model.feed.place if isinstance(model.feed, JobFeed) else None


def collect_typed(model: Model, find: Callable[[str], str | None]) -> dict[str, str]:
    """What was typed for a model's fields. `find` gives the value of a field; None if it was not sent."""
    names = [field.name for field in model.fields]
    names += [field.name + more for field in model.fields if isinstance(field, NumberParam) for more in (EXACT, DRAWN)]
    return {name: value for name in names if (value := find(name)) is not None}


def write_typed(model: Model, params: Mapping[str, object]) -> dict[str, str]:
    """Parameters as somebody would have typed them."""
    return {
        field.name: _write_value(field, params[field.name])
        for field in model.fields
        if params.get(field.name) is not None
    }


def build_fields(
    model: Model,
    typed: Typed,
    *,
    errors: Mapping[str, str] | None = None,
    without: Collection[str] = (),
    brief: bool = False,
) -> tuple[Field, ...]:
    """The fields of a model in declared order, `without` some, filled with what was `typed`.

    `brief`: a field has a hint only if that explains its choices.
    """
    return tuple(
        _build_field(field, typed, (errors or {}).get(field.name, ""), brief=brief)
        for field in model.fields
        if field.name not in without
    )


def read_form(
    model: Model,
    typed: Typed,
    *,
    without: Collection[str] = (),
    kept: Mapping[str, object] | None = None,
    fed: bool = False,
    anyway: bool = False,
    allow_permutations: bool = False,
) -> ReadForm:
    """The parameters that a form asks for, and what is wrong with each.

    `without` are fields that the form has not: an earlier task fills them (`fed`), or they are `kept` as they were.
    What is wrong with all of it together is said only if each field is right by itself.
    """
    params, errors, unlikely = dict[str, object](), dict[str, str](), list[bool]()
    for field in model.fields:
        if field.name in without:
            continue
        text = choose_text(field, typed)
        if not text or field.is_absent(text):
            if field.required and not (anyway and field.documented is Documented.UPSTREAM):
                errors[field.name] = describe_missing(field)
                unlikely.append(field.documented is Documented.UPSTREAM)
            continue
        try:
            params[field.name] = field.parse_value(field.read_text(text), anyway=anyway)
        except ValueError as error:  # nearly right, with a sentence of its own
            errors[field.name] = f"{str(error)[:1].upper()}{str(error)[1:]}."
            unlikely.append(False)
        except RequestRefused as refused:
            errors[field.name] = describe_fault(field, text, refused)
            unlikely.append(refused.code == UNLIKELY)
    if errors:
        return ReadForm(params, errors, is_unlikely=all(unlikely))
    whole = {**(kept or {}), **params}
    try:
        check_params(model.name, whole, anyway=anyway, allow_permutations=True, fed=fed)
    except RequestRefused as refused:
        name, text = describe_refusal(refused, model)
        return ReadForm(params, {name: text}, is_unlikely=refused.code == UNLIKELY)
    try:
        check_params(model.name, whole, anyway=anyway, allow_permutations=allow_permutations, fed=fed)
    except RequestRefused:
        prompt = model.prompt_of(whole) or ""
        return ReadForm(params, {model.prompt_param or "": describe_multiplied(prompt)}, multiplies=True)
    return ReadForm(params)


def choose_text(field: ModelParam, typed: Typed) -> str:
    """Which of the texts counts that were typed for a field; empty if none was."""
    if isinstance(field, TextParam) and field.prompt:
        return typed.get(field.name, "")
    text = typed.get(field.name, "").strip()
    if not isinstance(field, NumberParam) or not _has_slider(field):
        return text
    exact = typed.get(field.name + EXACT, "").strip()
    if not exact or not text:
        return exact or text
    drawn = read_decimal(typed.get(field.name + DRAWN, ""))
    is_moved = drawn is not None and read_decimal(text) != snap(field, drawn)
    return text if is_moved and read_decimal(exact) == drawn else exact


def snap(field: NumberParam, value: float) -> float:
    """The value on the slider that is nearest to `value`."""
    inside = min(max(value, field.least), field.most)
    return round(min(field.least + round((inside - field.least) / SLIDER_STEP) * SLIDER_STEP, field.most), 4)


def middle(field: NumberParam) -> float:
    """The value that a slider begins with: the middle, on a whole tenth."""
    return math.floor((field.least + field.most) * 5 + 1e-9) / 10


def read_decimal(text: str) -> float | None:
    """A number as a form sends it; None if it is none."""
    text = text.strip()
    return float(text) if re.fullmatch(r"[-+]?[0-9]{1,30}(\.[0-9]{1,30})?", text) else None


def _build_field(field: ModelParam, typed: Typed, error: str, *, brief: bool) -> Field:
    value = typed.get(field.name, "")
    built = Field(
        name=field.name,
        label=field.form_title,
        control=Control.TEXT,
        value=value,
        required=field.required,
        hint="" if brief and not _explains_choices(field) else _describe_field(field),
        error=error,
    )
    match field:
        case ChoiceParam():
            return replace(built, control=Control.RADIOS, options=_choice_options(field, value))
        case IntegerParam() if field.most - field.least < RADIOS_MOST:
            return replace(built, control=Control.RADIOS, options=_number_options(field, value))
        case NumberParam() if _has_slider(field):
            return _make_slider(built, field, typed)
        case IntegerParam() | NumberParam():
            return replace(built, control=Control.NUMBER, least=field.least, most=field.most)
        case UrlParam():
            return replace(built, control=Control.URL, maxlength=field.most)
        case TextParam():
            return replace(built, control=Control.AREA if field.prompt else Control.TEXT, maxlength=field.most)
        case MaskParam():
            return replace(built, control=Control.AREA)
    return built


def _make_slider(built: Field, field: NumberParam, typed: Typed) -> Field:
    value = choose_text(field, typed) or str(middle(field))
    number = read_decimal(value)
    return replace(
        built,
        control=Control.SLIDER,
        value=value,
        least=field.least,
        most=field.most,
        slid=str(snap(field, middle(field) if number is None else number)),
        ticks=(str(float(field.least)), str(middle(field)), str(float(field.most))),
    )


def _choice_options(field: ChoiceParam, value: str) -> tuple[Option, ...]:
    named = field.find_word(field.read_text(value)) or field.aliases.get(value, value)
    options = [(word, field.form_name(word)) for word in field.form_words]
    return _mark_chosen(options, named, required=field.required)


def _number_options(field: IntegerParam, value: str) -> tuple[Option, ...]:
    options = [(str(number), str(number)) for number in range(field.least, field.most + 1)]
    return _mark_chosen(options, value, required=field.required)


def _mark_chosen(options: list[tuple[str, str]], chosen: str, *, required: bool) -> tuple[Option, ...]:
    """With the first one chosen if none is; a value that is sent anyway is one more."""
    if not required:
        options.insert(0, ("", DEFAULT))
    if chosen not in dict(options):
        options += [(chosen, chosen)] if chosen else []
    chosen = chosen or options[0][0]
    return tuple(Option(value, name, value == chosen) for value, name in options)


def _write_value(field: ModelParam, value: object) -> str:
    match field, value:
        case ChoiceParam(), _:
            return field.find_word(value) or str(value)
        case SizeParam(), {"width": int(width), "height": int(height), **rest} if not rest:
            return f"{width}x{height}"
        case PlaceParam(), {"width": int(width), "height": int(height), "x": int(x), "y": int(y), **rest} if not rest:
            return f"{width}x{height}{x:+}{y:+}"
        case MaskParam(), {"url": str(url), **rest} if not rest:
            return url
        case NumberParam(), int() | float():
            return str(float(value))
        case _, str():
            return value
    return msgspec.json.encode(value).decode()


def _has_slider(field: ModelParam) -> bool:
    """Whether a number always has a value: what may be left out has no slider, which has no place for that."""
    return isinstance(field, NumberParam) and field.required


def _explains_choices(field: ModelParam) -> bool:
    return isinstance(field, ChoiceParam) and any(word in field.help for word in field.words)


def _describe_field(field: ModelParam) -> str:
    text = curl(field.help)
    sentence = f"{text[:1].upper()}{text[1:]}." if text else ""
    return f"{sentence} Written as {field.metavar}." if isinstance(field, SizeParam | PlaceParam) else sentence
