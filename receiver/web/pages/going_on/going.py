"""Reads what the page of a task offers to go on with: the forms, the picks that wait, and the chain."""

from collections.abc import Sequence

from msgspec import Struct
from msgspec.structs import replace

from receiver.core.chains import CHAIN_MOST
from receiver.core.types import Image, Task, TaskState
from receiver.providers.declarations import Model
from receiver.service.wiring import ServiceParts
from receiver.web.api.chains import usual_costs
from receiver.web.pages.going_on.chain_strip import Strip, StripPictures, build_strip
from receiver.web.pages.going_on.form_context import read_context
from receiver.web.pages.going_on.form_view import is_key
from receiver.web.pages.going_on.forms import collect_typed, place_name
from receiver.web.pages.going_on.go_on import (
    AGAIN,
    WAYS,
    GoOn,
    Wanted,
    build_again,
    build_go_on,
    can_repeat,
    choose_number,
    start_repeating,
    start_typing,
)
from receiver.web.pages.going_on.picks_card import PicksCard, build_picks
from receiver.web.pages.going_on.sources import read_sources, sources_of
from receiver.web.pages.page import PageRequest
from receiver.web.pages.task.pictures import LookedPicture


class Going(Struct, frozen=True, kw_only=True):
    """What a task's page offers to go on with, and its chain."""

    go_on: GoOn | None = None
    picks: PicksCard | None = None
    strip: Strip = Strip()


async def read_going(
    parts: ServiceParts, task: Task, images: Sequence[Image], pictures: Sequence[LookedPicture], wanted: Wanted
) -> Going:
    """What the page of a task offers to go on with, and its chain."""
    chain = await parts.store.chains.tasks_of(task.root, CHAIN_MOST) if task.root is not None else [task]
    sources = sources_of(pictures)
    estimates = await usual_costs(parts, chain) if task.picks else {}
    go_on = await _read_go_on(parts, task, images, pictures, wanted)
    strip = Strip()
    if len(chain) > 1 or task.parent is not None:
        found = await read_sources(parts, [it.ref for it in chain])
        chosen = go_on.number if go_on is not None and go_on.number is not None else None
        chosen = choose_number(wanted.number, images) if chosen is None else chosen
        strip = build_strip(task, chain, {ref: StripPictures(some) for ref, some in found.items()}, chosen)
    return Going(
        go_on=go_on,
        picks=build_picks(task, chain, images, sources, estimates, chosen=wanted.picked, error=wanted.pick_error),
        strip=strip,
    )


def read_wanted(asked: PageRequest, task: Task) -> Wanted:
    """What the address of a task's page asks for. Nonsense asks for nothing."""
    way, given = asked.query("do"), asked.query("key")
    key = given if is_key(given) else ""
    model = WAYS.get(way)
    if model is None:
        return Wanted(way=way if way == AGAIN else "", number=read_number(asked.query("image")), key=key)
    place = asked.query(place_name(model) or "")
    typed = collect_typed(model, asked.http.query_params.get)
    typing = replace(start_typing(task, typed), key=key)
    return Wanted(way=way, number=read_number(place or asked.query("image")), typing=typing)


def read_number(text: str) -> int | None:
    """The number of a picture; None if it is none."""
    text = text.strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 5 else None


async def _read_go_on(
    parts: ServiceParts, task: Task, images: Sequence[Image], pictures: Sequence[LookedPicture], wanted: Wanted
) -> GoOn | None:
    is_completed = task.state is TaskState.COMPLETED
    repeats = can_repeat(task) and (wanted.way == AGAIN or not is_completed)
    if not is_completed and not repeats:
        return None
    typing = wanted.typing
    if typing is None:
        typing = replace(start_repeating(task) if repeats else start_typing(task), key=wanted.key)
    if parts.intake.unreachable is not None and not wanted.faults:
        typing = replace(typing, poll_only=True)
    wanted = replace(wanted, typing=typing)
    if repeats and not is_completed:
        return build_again(task, wanted, await read_context(parts, task.model))
    context = await read_context(parts, task.model if repeats else _name(WAYS.get(wanted.way)))
    return build_go_on(task, images, sources_of(pictures), wanted, context)


def _name(model: Model | None) -> str | None:
    return model.name if model is not None else None
