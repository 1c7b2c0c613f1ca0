"""Ways to go on from a task's picture, as the task's page offers them: which there are, and the form of the one that is
open. Pure."""

from collections.abc import Mapping, Sequence
from urllib.parse import quote, urlencode

from msgspec import Struct
from msgspec.structs import replace

from receiver.client.schemas import AgainRequest
from receiver.core.errors import RequestRefused
from receiver.core.types import Image, Task, TaskState
from receiver.notify.messages.media_words import media_noun
from receiver.providers.declarations import Draws, Model
from receiver.providers.models import MODELS
from receiver.providers.vtrix.follow_rules import Answer, Traits, judge_follow
from receiver.tasks.again import repeat_request
from receiver.tasks.chain_requests import traits_of
from receiver.web.pages.going_on.form_view import Faults, FormView, Typing, build_form, judge_typing, scale_typed
from receiver.web.pages.going_on.forms import fed_names, place_name, read_form, write_typed
from receiver.web.pages.going_on.picks_card import PickOption
from receiver.web.pages.going_on.stage import Source, Stage, draw_stage, read_direction
from receiver.web.pages.sentences import decode_params

AGAIN = "again"
NO_JOB = "The picture’s job id is not known, so nothing can follow it."
NOTHING_ELSE = "This model allows nothing else."
_UNCONFIRMED = "Nothing has confirmed yet that this task completed, so what goes on from it waits until something does."
_ORDER = ("extend", "pan", "vary", "upscale", "remix")
_KEYS = {"extend": "x", "upscale": "u"}
_PICTURES_MOST = 100


def way_of(model: Model) -> str:
    """What the address calls a way to go on: `extend`."""
    return (model.verb or "").lower()


WAYS: Mapping[str, Model] = {
    way_of(it): it for it in sorted((it for it in MODELS.values() if it.verb), key=lambda it: _ORDER.index(way_of(it)))
}


class Tab(Struct, frozen=True):
    """A way to go on."""

    verb: str
    href: str
    current: bool = False
    key: str = ""


class Wanted(Struct, frozen=True, kw_only=True):
    """What a page is asked to show: an open form, filled, with what is wrong with it."""

    way: str = ""
    number: int | None = None
    key: str = ""  # that the open form has, unless its typing has one
    typing: Typing | None = None
    faults: Faults = Faults()
    picked: tuple[int, ...] = ()
    pick_error: str = ""


class FormContext(Struct, frozen=True):
    """What a form shows besides its fields: who can be told, what it may cost, and what is true beside it."""

    targets: Sequence[str] = ()
    cost: str = ""
    notes: tuple[str, ...] = ()


class GoOn(Struct, frozen=True, kw_only=True):
    """The card “Go on from picture 2”, or “Submit it again”. `says` stands where there is no form."""

    heading: str
    number: int | None = None
    tabs: tuple[Tab, ...] = ()
    other: str = ""  # the path of a form for any other model
    says: str = ""
    way: str = ""
    form: FormView | None = None
    radios: tuple[PickOption, ...] = ()
    others: int = 0  # pictures that cannot be chosen
    stage: Stage | None = None
    stage_alt: str = ""


def allowed_ways(task: Task, images: Sequence[Image]) -> list[str]:
    """Which ways there are to go on from a task's pictures, as far as anybody knows."""
    if any(it.type != "image" for it in images):
        return []
    traits = traits_of(task) or Traits()
    return [way for way, model in WAYS.items() if judge_follow(traits, model.name).answer is not Answer.UNLIKELY]


def can_repeat(task: Task) -> bool:
    """Whether the task's page offers to submit it again."""
    if task.state not in (TaskState.FAILED, TaskState.CANCELLED, TaskState.LOST) and not _is_of_words(task):
        return False
    try:
        repeat_request(task, AgainRequest(), ())
    except RequestRefused:
        return False
    return True


def choose_number(wanted: int | None, images: Sequence[Image]) -> int | None:
    """The picture that is meant: the wanted one if there is one, else the first that others can follow."""
    numbers = sorted(it.image_no for it in images)
    if wanted in numbers:
        return wanted
    known = sorted(it.image_no for it in images if it.job_id is not None)
    return next(iter(known or numbers), None)


def build_go_on(
    task: Task, images: Sequence[Image], sources: Mapping[int, Source], wanted: Wanted, context: FormContext
) -> GoOn | None:
    """The ways to go on from a completed task; None if it has no pictures."""
    number = choose_number(wanted.number, images)
    if task.state is not TaskState.COMPLETED or number is None:
        return None
    noun = media_noun(it.type for it in images)
    ways = allowed_ways(task, images)
    way = wanted.way if wanted.way in ways else ""
    says = NOTHING_ELSE if len(ways) == 1 else "" if ways else f"Nothing here can follow this {noun}."
    job_known = any(it.image_no == number and it.job_id is not None for it in images)
    shown = GoOn(heading=f"Go on from {noun}", number=number, says=says if job_known else NO_JOB)
    tabs = _list_tabs(task, ways if job_known or way else (), number, wanted.way)
    other = f"/new?from={task.ref}&image={number}" if len(ways) != 1 and job_known else ""
    if wanted.way == AGAIN and (again := build_again(task, wanted, context)) is not None:
        return replace(again, tabs=tabs, other=other)
    if not way:
        return replace(shown, tabs=tabs, other=other)
    model, typing = WAYS[way], wanted.typing or start_typing(task)
    radios = [_radio(it, model, sources, number) for it in _by_number(images)]
    shown_radios = tuple(it for it in radios if it.usable or it.chosen)
    form = None
    if job_known:
        unconfirmed = () if task.confirmed else (_UNCONFIRMED,)
        form = build_form(
            model,
            typing,
            wanted.faults,
            context.targets,
            action=f"/tasks/{task.ref}/go-on",
            button=f"{model.verb} {noun}",
            plain_button=f"{model.verb} the chosen {noun}" if len(shown_radios) > 1 else "",
            without=fed_names(model),
            hidden=(("do", way),),
            cost=context.cost,
            notes=(*unconfirmed, *context.notes),
        )
    return GoOn(
        heading=shown.heading,
        number=number,
        says=shown.says,
        tabs=tabs,
        other=other,
        way=way,
        form=form,
        radios=shown_radios,
        others=len(radios) - len(shown_radios),
        stage=draw_typed(model, typing, sources.get(number, Source())),
        stage_alt=f"{noun.capitalize()} {number}"
        + (" in the frame of the new one" if model.draws is not Draws.WHOLE else ""),
    )


def build_again(task: Task, wanted: Wanted, context: FormContext) -> GoOn | None:
    """The form to submit a task again; None if that is not offered."""
    if not can_repeat(task):
        return None
    model = MODELS.get(task.model or "")
    cost = f"a new task{f', {context.cost}' if context.cost else ''}"
    form = build_form(
        model,
        wanted.typing or start_repeating(task),
        wanted.faults if wanted.way == AGAIN else Faults(),
        context.targets,
        action=f"/tasks/{task.ref}/go-on",
        button="Submit it again",
        without=kept_names(task, model),
        hidden=(("do", AGAIN),),
        cost=cost,
        notes=context.notes,
    )
    return GoOn(heading="Submit it again", way=AGAIN, form=form)


def start_typing(task: Task, typed: Mapping[str, str] | None = None) -> Typing:
    """What the form of a way to go on begins with."""
    return Typing(typed=typed or {}, label=task.label or "", targets=task.targets, poll_only=task.poll_only)


def start_repeating(task: Task) -> Typing:
    """What the form to submit a task again begins with: all of it, and what a person allowed before."""
    model, params = MODELS.get(task.model or ""), decode_params(task)
    typed = write_typed(model, params) if model is not None else {}
    read = None
    if model is not None:
        kept = kept_params(task, model)
        read = read_form(model, typed, without=kept_names(task, model), kept=kept, fed=_awaits(task, model))
    return Typing(
        typed=typed,
        label=task.label or "",
        targets=task.targets,
        anyway=read is not None and read.is_unlikely and bool(read.errors),
        allow_permutations=read is not None and read.multiplies,
        poll_only=task.poll_only,
    )


def read_repeat(task: Task, typing: Typing) -> tuple[AgainRequest, Faults]:
    """What is different when a task is submitted again, and what is wrong with that."""
    model = MODELS.get(task.model or "")
    if model is None:
        return AgainRequest(), Faults()
    read = read_form(
        model,
        typing.typed,
        without=kept_names(task, model),
        kept=kept_params(task, model),
        fed=_awaits(task, model),
        anyway=typing.anyway,
        allow_permutations=typing.allow_permutations,
    )
    old = decode_params(task)
    names = [it.name for it in model.fields if it.name not in kept_names(task, model)]
    changed = {name: read.params.get(name) for name in names if read.params.get(name) != old.get(name)}
    asked = AgainRequest(params=changed, anyway=typing.anyway, allow_permutations=typing.allow_permutations)
    return asked, judge_typing(typing, read)


def kept_names(task: Task, model: Model | None) -> tuple[str, ...]:
    """The parameters that a task keeps when it is submitted again: those that the task before it filled."""
    return fed_names(model) if model is not None and task.parent is not None else ()


def kept_params(task: Task, model: Model) -> dict[str, object]:
    """These with their values, and what is not declared."""
    names = {it.name for it in model.fields}.difference(kept_names(task, model))
    return {name: value for name, value in decode_params(task).items() if name not in names}


def draw_typed(model: Model, typing: Typing, source: Source) -> Stage:
    """The drawing of what a form asks for."""
    direction = None
    if model.draws is Draws.SHIFT:
        read = read_form(model, typing.typed, without=fed_names(model), fed=True, anyway=True)
        direction = read_direction(model.name, read.params)
    return draw_stage(source, model.draws, scale_typed(model, typing.typed), direction)


def way_path(ref: str, way: str, number: int | None, typed: Mapping[str, str] | None = None) -> str:
    """The address of a way to go on from a picture."""
    given = {"do": way, **({} if number is None else {"image": str(number)}), **(typed or {})}
    return f"/tasks/{ref}?{urlencode(given, quote_via=quote)}"


def _list_tabs(task: Task, ways: Sequence[str], number: int, open_way: str) -> tuple[Tab, ...]:
    shown = [(it, WAYS[it].verb or "") for it in ways] + ([(AGAIN, "Again")] if can_repeat(task) else [])
    return tuple(Tab(verb, way_path(task.ref, it, number), it == open_way, _KEYS.get(it, "")) for it, verb in shown)


def _is_of_words(task: Task) -> bool:
    """Whether a task has completed that was made of a prompt, and of no picture: who wants others submits it again."""
    model = MODELS.get(task.model or "")
    if model is None or model.prompt_param is None or task.state is not TaskState.COMPLETED or not task.confirmed:
        return False
    given = decode_params(task)
    return task.parent is None and all(given.get(it) is None for it in fed_names(model))


def _awaits(task: Task, model: Model) -> bool:
    """Whether a task never had its parameters from the one before it."""
    given = decode_params(task)
    return task.parent is not None and any(given.get(it) is None for it in fed_names(model))


def _radio(image: Image, model: Model, sources: Mapping[int, Source], chosen: int) -> PickOption:
    number = image.image_no
    place = model.find_param(place_name(model) or "")
    usable = image.job_id is not None
    if place is not None:
        try:
            place.parse_value(number)
        except RequestRefused:
            usable = False
    return PickOption(number, sources.get(number, Source()), number == chosen, usable)


def _by_number(images: Sequence[Image]) -> list[Image]:
    return sorted(images, key=lambda it: it.image_no)[:_PICTURES_MOST]
