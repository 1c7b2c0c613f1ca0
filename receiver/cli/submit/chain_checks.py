"""Whether a step may go on from another one, how many tasks it becomes, and what its pictures will be. Pure.

The service checks the same, once more. Here it is known before anything is sent, for a whole file at once.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from msgspec import Struct

from receiver.cli.batch.refusal_text import explain_refusal, respell_names
from receiver.cli.submit.picture_numbers import ALL, ImageNumbers
from receiver.client.schemas import NewTask, WaitFor
from receiver.core.chains import CHAIN_MOST, CHILDREN_MOST, DEPTH_MOST
from receiver.core.errors import RequestRefused
from receiver.providers import models
from receiver.providers.declarations import JobFeed, Model, UrlFeed
from receiver.providers.parameters import UNLIKELY
from receiver.providers.vtrix.follow_rules import Answer, Traits, derive_traits, judge_follow

AddText = Callable[[str], None]
_MADE_USUALLY = 4  # pictures, of a task that is not known here
_ANYWAY = "“anyway” submits it all the same"


class KnownStep(Struct):
    """What is known of a step, for those that go on from it."""

    name: str
    count: int = 1  # tasks that it becomes
    depth: int = 1
    traits: Traits | None = None
    makes: int | None = None
    children: int = 0  # of each of these tasks


def check_step(
    task: NewTask,
    parent: KnownStep | None,
    add_fault: AddText,
    add_hint: AddText,
    *,
    readable: bool = True,
    numbered: bool = True,
    names: Mapping[str, str] = MappingProxyType({}),
) -> KnownStep:
    """Check a step that goes on from `parent`, if that is known here. Tells what is wrong, and what may be.

    Its parameters are checked only if they were all `readable`: else something is missing that is not. So is it if the
    step is not `numbered`: what was given for its pictures could not be read. `names` are those that the file has for
    parameters, by their names on the wire.
    """
    model = models.find_model(task.model)
    numbers: Any = task.wait_for.image_no if isinstance(task.wait_for, WaitFor) else None
    if task.wait_for is not None and numbered:
        _check_numbers(model, numbers, parent, add_fault, anyway=task.anyway)
    if readable:
        _check_params(task, model, lambda it: add_fault(respell_names(it, names)), add_hint)
    traits = _judge(task, model, parent, add_fault, add_hint)
    each = _tasks_each(numbers, parent)
    name = task.name or ""
    if parent is None:
        return KnownStep(name, each, 1, traits, model.makes)
    before, parent.children = parent.children, parent.children + each
    if before <= CHILDREN_MOST < parent.children:
        add_fault(f"{parent.children} tasks would wait for each {parent.name}, and only {CHILDREN_MOST} may")
    if parent.depth == DEPTH_MOST:
        add_fault(f"it is the {DEPTH_MOST + 1}th in a row, and a chain may have {DEPTH_MOST}")
    return KnownStep(name, parent.count * each, parent.depth + 1, traits, model.makes)


def check_total(count: int) -> str | None:
    """Why a chain cannot have so many tasks."""
    return f"it makes {count:,} tasks, and a chain may have {CHAIN_MOST}" if count > CHAIN_MOST else None


def _check_numbers(
    model: Model, numbers: ImageNumbers | None, parent: KnownStep | None, add_fault: AddText, *, anyway: bool
) -> None:
    feed = model.feed
    if feed is None:
        return add_fault(f"{_short(model)} cannot go on from another task: it takes no picture")
    if not (isinstance(feed, UrlFeed) or feed.place is not None):
        if numbers is not None:
            add_fault("image_no: it goes on from the whole task, not from one of its pictures; leave it out")
        return None
    makes = parent.makes if parent is not None else None
    if numbers is None and parent is not None and makes != 1:
        add_fault("image_no: from which picture does it go on? 0 to 3, several as in [0, 2], all, or pick")
    most = max(numbers if isinstance(numbers, tuple) else (numbers,) if isinstance(numbers, int) else (0,))
    if parent is not None and makes is not None and most >= makes and not anyway:
        pictures = "one picture" if makes == 1 else f"{makes} pictures"
        return add_fault(f"image_no: there will be no picture {most}: {parent.name} makes {pictures}, counted from 0")
    place = model.find_param(feed.place or "") if isinstance(feed, JobFeed) else None
    if place is not None:
        try:
            place.parse_value(most, anyway=anyway)
        except RequestRefused as refused:
            text = explain_refusal(refused.code, refused.problem, refused.field, refused.remedy, most)
            add_fault(respell_names(text, {place.name: "image_no"}))
    return None


def _check_params(task: NewTask, model: Model, add_fault: AddText, add_hint: AddText) -> None:
    fed = task.wait_for is not None
    allowed = task.allow_permutations
    try:
        models.check_params(model.name, task.params, allow_permutations=allowed, anyway=task.anyway, fed=fed)
    except RequestRefused as refused:
        value = task.params.get(refused.field or "")
        remedy = _ANYWAY if refused.code == UNLIKELY else refused.remedy
        if not fed and model.feed is not None and refused.field in model.feed.names and value is None:
            remedy = "or say what it goes on from, with after"
        return add_fault(explain_refusal(refused.code, refused.problem, refused.field, remedy, value))
    for hint in models.param_hints(model.name, task.params):
        add_hint(hint)
    return None


def _judge(
    task: NewTask, model: Model, parent: KnownStep | None, add_fault: AddText, add_hint: AddText
) -> Traits | None:
    """What the step's pictures will be; tells if its model does not take what it goes on from."""
    source = parent.traits if parent is not None else None
    if parent is not None and source is not None and model.feed is not None:
        ruling = judge_follow(source, model.name)
        if ruling.answer is Answer.UNLIKELY and not task.anyway:
            add_fault(f"{_short(model)} probably cannot follow {parent.name}: {ruling.text}; {_ANYWAY}")
        elif ruling.answer is not Answer.OK:
            add_hint(f"{_short(model)} may not be able to follow {parent.name}: {ruling.text}")
    if task.wait_for is not None and source is None:
        return None  # of a task that is not known here
    return derive_traits(model.name, task.params, source)


def _tasks_each(numbers: ImageNumbers | None, parent: KnownStep | None) -> int:
    if isinstance(numbers, tuple):
        return len(numbers)
    if numbers == ALL:
        return (parent.makes if parent is not None else None) or _MADE_USUALLY
    return 1


def _short(model: Model) -> str:
    return models.short_model_name(model.name)


def explain_unknown_param(model: Model, key: str, known: Mapping[str, str]) -> str:
    """`outpaint has no 'promt' (did you mean prompt?)`. `known` are the spellings of what it has, folded."""
    from difflib import get_close_matches  # only for a name that is wrong

    near = get_close_matches(key[:64].lower(), known, n=1)
    more = f" (did you mean {known[near[0]]}?)" if near else f"; it takes {', '.join(dict.fromkeys(known.values()))}"
    return f"{_short(model)} has no {key[:64]!a}{more}"
