"""The card on a task's page that asks which of its pictures others go on from. Pure."""

from collections.abc import Mapping, Sequence

from msgspec import Struct

from receiver.core.chains import needs_pick, needs_picker, order_subtree
from receiver.core.money import format_estimate, to_decimal
from receiver.core.types import Image, Task
from receiver.providers.models import MODELS, short_model_name
from receiver.tasks.pick_choice import Waiting, choose, takes_job
from receiver.web.pages.going_on.stage import Source
from receiver.web.pages.sentences import Piece, Sentence, link_task, say

_NAMED_MOST = 4
_PICTURES_MOST = 64


class PickOption(Struct, frozen=True):
    """A picture to choose."""

    number: int
    source: Source
    chosen: bool = False
    usable: bool = True


class PicksCard(Struct, frozen=True):
    """The pictures to pick from, and what is submitted then; `several`: more than one may be picked."""

    options: tuple[PickOption, ...]
    follows: Sentence
    cost: str = ""
    several: bool = False
    error: str = ""


def build_picks(
    task: Task,
    chain: Sequence[Task],
    images: Sequence[Image],
    sources: Mapping[int, Source],
    estimates: Mapping[str, int | None],
    *,
    chosen: Sequence[int] = (),
    error: str = "",
) -> PicksCard | None:
    """The card; None if nothing waits for a pick of this task's pictures, or they are not certain. Without options it
    only says what became of a pick that came too late."""
    children = [it for it in chain if it.parent == task.ref]
    waiting = [it for it in children if needs_pick(it) and it.parent_image is None]
    if not needs_picker(task) or not waiting or not images:
        return PicksCard((), (), error=error) if error else None
    first = choose(Waiting(task, children, images), [images[0].image_no])
    top = [child for child, _ in first] or waiting
    options = tuple(
        PickOption(it.image_no, sources.get(it.image_no, Source()), it.image_no in chosen)
        for it in sorted(images, key=lambda it: it.image_no)[:_PICTURES_MOST]
    )
    several = not all(map(takes_job, waiting))
    return PicksCard(options, _describe(top), describe_cost(top, chain, estimates), several, error)


def _describe(waiting: Sequence[Task]) -> Sentence:
    """What goes on: `hero, wide (extend) and big (upscale) wait for it.`"""
    pieces = list[str | Piece]()
    for at, task in enumerate(waiting[:_NAMED_MOST]):
        declared = MODELS.get(task.model or "")
        word = (declared.verb if declared is not None else None) or short_model_name(task.model or "a task")
        pieces += [", " if at else "", link_task(task), f" ({word.lower()})"]
    left = len(waiting) - _NAMED_MOST
    pieces += [f" and {left} more" if left > 0 else "", " waits" if len(waiting) == 1 else " wait", " for it."]
    return say(*pieces)


def describe_cost(waiting: Sequence[Task], chain: Sequence[Task], estimates: Mapping[str, int | None]) -> str:
    """What this may cost for one picture, as far as it is known."""
    all_ = [it for top in waiting for it in (top, *order_subtree(top.ref, chain))]
    known = [cost for it in all_ if (cost := estimates.get(it.model or "")) is not None]
    more = " or more" if len(known) < len(all_) else ""
    return f"about {format_estimate(to_decimal(sum(known)))}{more}" if known else ""
