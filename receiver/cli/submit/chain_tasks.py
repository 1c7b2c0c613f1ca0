"""The tasks of a chain, once it is known what the names in its file stand for; or everything that is wrong with them.
Pure.

The service checks the same. Here it is checked first so that all faults are known at once, and with a step's name.
"""

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

import msgspec
from msgspec import Struct

from receiver.cli.batch.columns import fold_name
from receiver.cli.batch.rows import explain_refusal
from receiver.cli.submit.chain_file import ChainFault, ChainFile, ChainStep
from receiver.cli.submit.chain_values import WrongText, replace_names
from receiver.cli.submit.option_texts import spellings
from receiver.cli.submit.picture_source import ALL, PICK, ImageNumbers, read_image_numbers
from receiver.client.schemas import LABEL_MOST, NewTask, WaitFor
from receiver.core.chains import CHAIN_MOST, CHILDREN_MOST, DEPTH_MOST
from receiver.core.errors import RequestRefused
from receiver.providers import models
from receiver.providers.declarations import JobFeed, UrlFeed
from receiver.providers.parameters import UNLIKELY, ModelParam
from receiver.providers.vtrix.follow_rules import Answer, Traits, derive_traits, judge_follow

_MADE_USUALLY = 4  # pictures, of a task that is not known here
_ANYWAY = "anyway = true at the step submits it all the same"


class ChainTasks(Struct, frozen=True):
    """The tasks of a chain by step, how many tasks each step becomes, and sentences about what may be a mistake."""

    tasks: tuple[NewTask, ...]
    counts: dict[str, int]  # by step
    hints: tuple[str, ...] = ()

    @property
    def model_counts(self) -> dict[str, int]:
        """How many tasks of each model there will be."""
        found: dict[str, int] = {}
        for task in self.tasks:
            found[task.model] = found.get(task.model, 0) + self.counts[task.name or ""]
        return found


class _Known(Struct):
    """What is known of a step, for those that go on from it."""

    count: int  # tasks that it becomes
    depth: int
    traits: Traits | None
    makes: int | None
    children: int = 0


class _Faulty(Exception):
    """What is wrong with a step."""


def fill_chain(chain: ChainFile, values: Mapping[str, Any]) -> tuple[ChainTasks, list[ChainFault]]:
    """The tasks of the chain with these values, and what is wrong with them."""
    faults: list[ChainFault] = []
    tasks: list[NewTask] = []
    hints: list[str] = []
    known: dict[str, _Known] = {}
    for step in chain.steps:
        parent = known.get(step.after or "")
        task, found = _fill_step(step, parent, values, faults, hints)
        known[step.name] = found
        if task is not None:
            tasks.append(task)
    total = sum(it.count for it in known.values())
    if total > CHAIN_MOST:
        faults.append(ChainFault(None, f"it makes {total:,} tasks, and a chain may have {CHAIN_MOST}"))
    return ChainTasks(tuple(tasks), {name: it.count for name, it in known.items()}, tuple(hints)), faults


def _fill_step(
    step: ChainStep, parent: _Known | None, values: Mapping[str, Any], faults: list[ChainFault], hints: list[str]
) -> tuple[NewTask | None, _Known]:
    """The step's task, if nothing is wrong with it, and what is known of it in any case."""

    def add_fault(text: str) -> None:
        faults.append(ChainFault(step.name, text))

    before = len(faults)
    params = _fill_params(step, values, add_fault)
    wait_for, numbers = None, None
    source = _fill_text("from", step.source, values, add_fault)
    label = _fill_text("label", step.label, values, add_fault)
    if label is not None and len(label) > LABEL_MOST:
        add_fault(f"label: it is longer than {LABEL_MOST} characters")
    if step.after is not None or step.source is not None:
        numbers = _read_numbers(step, parent, values, add_fault)
        wait_for = WaitFor(ref=source, name=step.after if step.source is None else None, image_no=numbers)
    elif step.image_no is not None:
        add_fault("image_no: this step goes on from no other one; say which with after")
    if params is not None:
        _check_params(step, params, add_fault, hints, fed=wait_for is not None)
    traits = _judge(step, params or {}, parent, add_fault, hints)
    count, depth = _count(step, parent, numbers, add_fault)
    found = _Known(count, depth, traits, step.model.makes)
    if len(faults) > before or params is None:
        return None, found
    task = NewTask(
        model=step.model.name,
        params=params,
        label=label or None,
        targets=step.targets,
        poll_only=step.poll_only,
        allow_permutations=step.allow_permutations,
        anyway=step.anyway,
        wait_for=wait_for,
        name=step.name,
        ping=step.ping,
    )
    return task, found


def _fill_params(step: ChainStep, values: Mapping[str, Any], add_fault: Any) -> dict[str, Any] | None:
    names, found = spellings(step.model), dict[str, Any]()
    good = True
    for key, value in step.params.items():
        param = names.get(fold_name(key))
        name = param.name if param is not None else key
        if param is None and not step.model.is_open:
            add_fault(f"params: {models.short_model_name(step.model.name)} has no {key[:64]!a}{_suggest(key, names)}")
            good = False
            continue
        try:
            filled = replace_names(value, values)
            if isinstance(filled, str) and param is not None:
                filled = param.read_text(filled.strip()) if filled.strip() else None
        except (WrongText, ValueError) as wrong:
            add_fault(f"{key}: {wrong}")
            good = False
            continue
        if name in found:
            add_fault(f"{key}: it is given twice")
        if filled is not None:
            found[name] = filled
    return found if good else None


def _suggest(key: str, names: Mapping[str, ModelParam]) -> str:
    spelt = {folded: "prompt" if folded == "prompt" else it.name for folded, it in names.items()}
    if near := get_close_matches(fold_name(key[:64]), spelt, n=1):
        return f" (did you mean {spelt[near[0]]}?)"
    return f"; it takes {', '.join(dict.fromkeys(spelt.values()))}"


def _fill_text(key: str, text: str | None, values: Mapping[str, Any], add_fault: Any) -> str | None:
    if text is None:
        return None
    try:
        filled = replace_names(text, values)
    except WrongText as wrong:
        add_fault(f"{key}: {wrong}")
        return None
    if key == "from" and not (filled and str(filled).strip()):
        add_fault("from: it is empty")
    return None if filled is None else str(filled).strip()


def _read_numbers(
    step: ChainStep, parent: _Known | None, values: Mapping[str, Any], add_fault: Any
) -> ImageNumbers | None:
    """From which pictures the step goes on; None if it does not matter, or cannot be read."""
    feed = step.model.feed
    if feed is None:
        short = models.short_model_name(step.model.name)
        add_fault(f"{short} cannot go on from another task: it takes no picture")
        return None
    takes_one = isinstance(feed, UrlFeed) or feed.place is not None
    try:
        numbers = _parse_numbers(replace_names(step.image_no, values))
    except (WrongText, ValueError) as wrong:
        add_fault(f"image_no: {wrong}")
        return None
    if not takes_one:
        if numbers is not None:
            add_fault("image_no: it goes on from the whole task, not from one of its pictures; leave it out")
        return None
    makes = parent.makes if parent is not None else None
    if numbers is None and parent is not None and makes != 1:
        add_fault("image_no: from which picture does it go on? 0 to 3, several as in [0, 2], all, or pick")
    most = max(numbers if isinstance(numbers, tuple) else (numbers,) if isinstance(numbers, int) else (0,))
    if makes is not None and most >= makes and not step.anyway:
        pictures = "one picture" if makes == 1 else f"{makes} pictures"
        add_fault(f"image_no: there will be no picture {most}: {step.after} makes {pictures}, counted from 0")
    _check_place(step, most, add_fault)
    return numbers


def _check_place(step: ChainStep, number: int, add_fault: Any) -> None:
    feed = step.model.feed
    place = feed.place if isinstance(feed, JobFeed) else None
    param = step.model.find_param(place) if place else None
    if param is None:
        return
    try:
        param.parse_value(number, anyway=step.anyway)
    except RequestRefused as refused:
        add_fault(explain_refusal(refused.code, refused.problem, refused.field, refused.remedy, number))


def _parse_numbers(value: Any) -> ImageNumbers | None:
    if value is None or value == "":
        return None
    if isinstance(value, str):
        return read_image_numbers(value)
    numbers = value if isinstance(value, list) else [value]
    if not numbers or not all(isinstance(it, int) and not isinstance(it, bool) for it in numbers):
        raise ValueError(f"write a number, several as in [0, 2], {ALL!r} or {PICK!r}")
    return read_image_numbers(",".join(map(str, numbers)))


def _check_params(step: ChainStep, params: Mapping[str, Any], add_fault: Any, hints: list[str], *, fed: bool) -> None:
    model = step.model
    allowed = step.allow_permutations
    try:
        models.check_params(model.name, params, allow_permutations=allowed, anyway=step.anyway, fed=fed)
    except RequestRefused as refused:
        value = params.get(refused.field or "")
        remedy = _ANYWAY if refused.code == UNLIKELY else refused.remedy
        if not fed and model.feed is not None and refused.field in model.feed.names and value is None:
            remedy = "or say which step it goes on from, with after"
        add_fault(explain_refusal(refused.code, refused.problem, refused.field, remedy, value))
        return
    hints += [f"step {step.name}: {hint}" for hint in models.param_hints(model.name, params)]


def _judge(
    step: ChainStep, params: Mapping[str, Any], parent: _Known | None, add_fault: Any, hints: list[str]
) -> Traits | None:
    """What the step's pictures will be; tells if its model does not take what it goes on from."""
    source = parent.traits if parent is not None else None
    if source is not None and step.model.feed is not None:
        ruling = judge_follow(source, step.model.name)
        short = models.short_model_name(step.model.name)
        if ruling.answer is Answer.UNLIKELY and not step.anyway:
            add_fault(f"{short} probably cannot follow {step.after}: {ruling.text}; {_ANYWAY}")
        elif ruling.answer is not Answer.OK:
            hints.append(f"step {step.name}: {short} may not be able to follow {step.after}: {ruling.text}")
    if step.source is not None or (step.after is not None and source is None):
        return None  # of a task that is not known here
    return derive_traits(step.model.name, params, source)


def _count(step: ChainStep, parent: _Known | None, numbers: ImageNumbers | None, add_fault: Any) -> tuple[int, int]:
    """How many tasks the step becomes, and how deep it is in the chain."""
    each = _tasks_each(numbers, parent)
    if parent is None:
        return each, 1
    parent.children += each
    if parent.children - each <= CHILDREN_MOST < parent.children:
        add_fault(f"{parent.children} tasks would wait for each {step.after}, and only {CHILDREN_MOST} may")
    if parent.depth + 1 == DEPTH_MOST + 1:
        add_fault(f"it is the {DEPTH_MOST + 1}th in a row, and a chain may have {DEPTH_MOST}")
    return parent.count * each, parent.depth + 1


def _tasks_each(numbers: ImageNumbers | None, parent: _Known | None) -> int:
    if isinstance(numbers, tuple):
        return len(numbers)
    if numbers == ALL:
        return (parent.makes if parent is not None else None) or _MADE_USUALLY
    return 1


def encode_task(task: NewTask) -> bytes:
    """A step in canonical form: the same step is the same bytes, whatever its label and targets are."""
    kept = (task.model, task.params, task.wait_for, task.name, task.allow_permutations, task.anyway)
    return msgspec.json.encode(kept, order="sorted")
