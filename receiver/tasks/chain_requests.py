"""New tasks that go on from others: what each goes on from is found, whether it may is judged, and one is made for each
picture that was asked for.

All that a call asks for is known before anything is stored: so a chain has its whole size, and its price, from the
beginning, and nothing is created while a result is being taken in.
"""

import hashlib
from collections import Counter
from collections.abc import Collection, Mapping, Sequence

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from receiver.client.schemas import LABEL_MOST, NewTask, WaitFor
from receiver.core.chains import CHAIN_MOST, CHILDREN_MOST, DEPTH_MOST, PARENT_FAILED, is_over
from receiver.core.errors import RequestRefused
from receiver.core.types import HoldReason, Image, Task, TaskOrigin, TaskState
from receiver.providers.declarations import JobFeed, Model
from receiver.providers.models import MODELS
from receiver.providers.vtrix.follow_rules import Answer, Traits, derive_traits, judge_follow
from receiver.tokens import is_ref, new_ref

_FIELD = "wait_for"
_IMAGE_FIELD = "wait_for.image_no"
_UNKNOWN_PARENT = "{name} was not submitted from here, so nobody checks whether {model} can follow it"
_UNCONFIRMED = (
    "no poll has confirmed that {name} completed, so what goes on from it waits; "
    + "`receiver tasks release {ref}` lets it go"
)
_DOUBTED = "no poll has confirmed that {name} failed: what goes on from it waits, in case its result still comes"
_LOST = "{name} is lost: what goes on from it waits, in case its result still comes"


class Origin(Struct, frozen=True):
    """A task that another one goes on from, and by which pictures it was itself multiplied, for labels."""

    task: Task
    path: tuple[int, ...] = ()


class Planned(Struct, frozen=True):
    """The tasks that are made of one item, one for each picture, and sentences about them."""

    tasks: tuple[Origin, ...]
    warnings: tuple[str, ...] = ()


class ChainLedger:
    """The tasks that new ones may go on from, with what a call has added to their chains so far."""

    def __init__(
        self, tasks: Mapping[str, Task], images: Mapping[str, tuple[Image, ...]], sizes: Mapping[str, int]
    ) -> None:
        self._stored = dict(tasks)
        self._images = images
        self._sizes = dict(sizes)  # by root
        self._held: dict[str, int] = {}  # added to each parent: children
        self._picks: dict[str, int] = {}  # and of these, those that need a pick
        self._roots: dict[str, str] = {}  # of tasks that had no chain until now

    def copy(self) -> "ChainLedger":
        """The same, to be changed and perhaps thrown away."""
        other = ChainLedger(self._stored, self._images, self._sizes)
        other._held, other._picks, other._roots = dict(self._held), dict(self._picks), dict(self._roots)
        return other

    def find(self, ref: str) -> Task | None:
        """A stored task that something may go on from."""
        return self._stored.get(ref)

    def images(self, task: Task) -> tuple[Image, ...] | None:
        """The pictures that a task has certainly come with; None if it is not known yet."""
        certain = task.state is TaskState.COMPLETED and task.confirmed
        return self._images.get(task.ref, ()) if certain else None

    def as_changed(self, task: Task) -> Task:
        """A task with what this call has hung on it."""
        if task.ref not in self._held:
            return task
        return replace(
            task,
            root=task.root or self._roots.get(task.ref),
            children=task.children + self._held[task.ref],
            picks=task.picks + self._picks[task.ref],
        )

    @property
    def changed(self) -> list[tuple[Task, Task]]:
        """The stored tasks that are the first of a chain now: as read, and as changed."""
        found = [(self._stored[ref], root) for ref, root in self._roots.items() if ref in self._stored]
        return [(task, replace(task, root=root)) for task, root in found]

    @property
    def over(self) -> list[str]:
        """The stored tasks that have ended already, and whose new children are to be told so."""
        return sorted(ref for ref in self._held if ref in self._stored and is_over(self._stored[ref]))

    def hang(self, child: Task, parent: Task) -> Task:
        """The child with its place in the chain of `parent`. Raises RequestRefused if that has no room."""
        root = parent.root or parent.ref
        size, held = self._sizes.get(root, 1), parent.children + self._held.get(parent.ref, 0)
        for count, most, what in (
            (parent.depth + 1, DEPTH_MOST - 1, f"a chain may have {DEPTH_MOST} steps"),
            (held, CHILDREN_MOST - 1, f"{CHILDREN_MOST} tasks may wait for one, and as many wait for {_name(parent)}"),
            (size, CHAIN_MOST - 1, f"a chain may have {CHAIN_MOST} tasks, and that of {_name(parent)} has as many"),
        ):
            if count > most:
                remedy = "submit a task of its own, with the jobId of the picture that it goes on from"
                raise RequestRefused(422, "chain_too_large", what, _FIELD, remedy=remedy)
        if parent.root is None:
            self._roots[parent.ref] = root
        self._sizes[root] = size + 1
        self._held[parent.ref] = self._held.get(parent.ref, 0) + 1
        needs_pick = child.parent_image is None
        self._picks[parent.ref] = self._picks.get(parent.ref, 0) + needs_pick
        ended = parent.state is TaskState.COMPLETED and parent.confirmed
        return replace(
            child,
            root=root,
            parent=parent.ref,
            depth=parent.depth + 1,
            prompt=child.prompt or parent.prompt,  # what its pictures come from, for messages
            held_by=HoldReason.PICK if ended and needs_pick else HoldReason.PARENT,
            due_at=None,
        )


def wait_of(asked: NewTask) -> WaitFor | None:
    """What a new task waits for, however it was written. Raises RequestRefused."""
    if asked.wait_for is None:
        return None
    wait = asked.wait_for if isinstance(asked.wait_for, WaitFor) else WaitFor(ref=asked.wait_for)
    if (wait.ref is None) is (wait.name is None):
        problem = "name the task to go on from either by ref or by name"
        raise RequestRefused(422, "invalid_parameter", problem, _FIELD)
    return wait


def parent_ref(asked: NewTask) -> str | None:
    """The ref that a new task waits for, if it names one."""
    wait = asked.wait_for
    ref = wait.ref if isinstance(wait, WaitFor) else wait
    return ref if ref is not None and is_ref(ref) else None


def may_multiply(asked: NewTask) -> bool:
    """Whether more than one task may be made of this item."""
    wait = asked.wait_for
    return isinstance(wait, WaitFor) and (wait.name is not None or isinstance(wait.image_no, tuple | str))


def sibling_key(key: str, number: int) -> str:
    """The key of the further tasks that are made of one item; longer than any that a person or a program can give."""
    return hashlib.sha256(f"{key}\0{number}".encode()).hexdigest() * 4


def plan_children(base: Task, asked: NewTask, wait: WaitFor, origins: Sequence[Origin], ledger: ChainLedger) -> Planned:
    """The tasks that go on from `origins` as `asked`: of each, one for each picture. Raises RequestRefused."""
    model = _require_fed(base.model or "")
    planned, warnings = list[Origin](), list[str]()
    for origin in origins:
        parent = origin.task
        _refuse_ended(parent)
        traits, said = _judge(parent, model, asked)
        warnings += said
        choices = _choose_images(wait, model, parent, ledger.images(parent), anyway=asked.anyway)
        for image_no in choices:
            path = (*origin.path, image_no) if len(choices) > 1 and image_no is not None else origin.path
            child = replace(
                base,
                ref=base.ref if not planned else new_ref(base.created_at),
                label=_mark_label(base.label, path),
                parent_image=image_no,
                of_all=wait.image_no == "all",
                traits=traits,
                row_key=_row_key(asked, len(planned)) if base.row_key is not None else None,
            )
            planned.append(Origin(ledger.hang(child, parent), path))
    return Planned(tuple(planned), tuple(dict.fromkeys(warnings)))


def trace_origins(tasks: Sequence[Task], before: Sequence[Origin]) -> tuple[Origin, ...]:
    """The tasks that an earlier call made of one item which goes on from those `before`, as what goes on from them now
    sees them."""
    paths = {origin.task.ref: origin.path for origin in before}
    counts = Counter(task.parent for task in tasks)

    def trace(task: Task) -> Origin:
        path = paths.get(task.parent or "", ())
        if counts[task.parent] == 1 or task.parent_image is None:
            return Origin(task, path)
        return Origin(task, (*path, task.parent_image))

    return tuple(map(trace, tasks))


def unknown_parent(name: str, known: Collection[str] = ()) -> RequestRefused:
    """The refusal of a task to go on from that there is not."""
    from difflib import get_close_matches  # only for a wrong name

    shown = name[:80]
    near = next(iter(get_close_matches(shown, known)), None)
    more = f" (did you mean {near}?)" if near else ""
    return RequestRefused(404, "unknown_parent", f"there is no task {shown!r} to go on from{more}", _FIELD)


def traits_of(task: Task) -> Traits | None:
    """What the pictures of a task are, as far as that follows from its parameters; None if those are not known."""
    if task.traits is not None:
        return msgspec.json.decode(task.traits, type=Traits)
    if task.origin is not TaskOrigin.SUBMITTED or task.model is None or task.model not in MODELS:
        return None
    return derive_traits(task.model, msgspec.json.decode(task.params), None)


def _require_fed(name: str) -> Model:
    if name not in MODELS:
        problem = f"{name} is not declared here, so nobody knows what an earlier task fills of its parameters"
        raise RequestRefused(422, "invalid_parameter", problem, _FIELD, remedy="give its parameters, and no wait_for")
    return MODELS[name]


def _refuse_ended(parent: Task) -> None:
    if parent.state is TaskState.COMPLETED or not is_over(parent):
        return
    how = "was cancelled" if parent.state is TaskState.CANCELLED else "failed"
    why = f": {parent.error.message}" if parent.error is not None else ""
    remedy = f"`receiver submit again {parent.ref}` makes another one"
    raise RequestRefused(409, PARENT_FAILED, f"{_name(parent)} {how}{why}", _FIELD, remedy=remedy)


def _judge(parent: Task, model: Model, asked: NewTask) -> tuple[bytes, list[str]]:
    """What the pictures of the new task will be, as JSON, and what is to be said about it. Raises RequestRefused."""
    warnings = []
    if parent.state is TaskState.LOST:
        warnings.append(_LOST.format(name=_name(parent)))
    elif parent.state.is_final and not parent.confirmed:
        text = _UNCONFIRMED if parent.state is TaskState.COMPLETED else _DOUBTED
        warnings.append(text.format(name=_name(parent), ref=parent.ref))
    source = traits_of(parent)
    if source is None:
        warnings.append(_UNKNOWN_PARENT.format(name=_name(parent), model=model.name))
    elif (ruling := judge_follow(source, model.name)).answer is not Answer.OK:
        problem = f"{model.name} probably cannot follow {_name(parent)}: {ruling.text}"
        if ruling.answer is Answer.HINT:
            problem = f"{model.name} may not be able to follow {_name(parent)}: {ruling.text}"
        elif not asked.anyway:
            remedy = "to send it all the same, submit it `anyway`"
            raise RequestRefused(422, "unlikely", problem, _FIELD, remedy=remedy)
        warnings.append(problem)
    return msgspec.json.encode(derive_traits(model.name, asked.params, source)), warnings


def _choose_images(
    wait: WaitFor, model: Model, parent: Task, images: Sequence[Image] | None, *, anyway: bool
) -> Sequence[int | None]:
    """From which pictures of `parent` to go on, None for the one that a person picks. Raises RequestRefused."""
    choice, makes = wait.image_no, _count_made(parent)
    came = None if images is None else [it.image_no for it in images]
    if not model.takes_one_picture:
        if choice is None:
            return [came[0] if came else 0]
        raise _bad_image(f"{model.name} goes on from the whole task, not from one of its pictures", "leave it out")
    if choice == "pick":
        return [None]
    expected = came if came is not None or makes is None else range(makes)
    if choice == "all":
        if expected is None:
            remedy = "name the pictures, such as [0, 1]"
            raise _bad_image(f"nobody knows how many pictures {_name(parent)} makes", remedy)
        choice = tuple(expected)
    if choice is None:
        if expected is None or len(expected) != 1:
            problem = f"image_no is missing: it says from which picture of {_name(parent)} to go on"
            raise _bad_image(problem, "give a number, several, `all`, or `pick` to pick one later")
        (choice,) = expected
    if isinstance(choice, str):
        raise _bad_image(f"image_no must be a number, several, all or pick, not {choice[:40]!r}")
    numbers = [int(it) for it in ((choice,) if isinstance(choice, int | float) else choice)]
    if not numbers or len(set(numbers)) < len(numbers):
        raise _bad_image("each picture may be named once" if numbers else f"{_name(parent)} came without a picture")
    for number in numbers:
        _check_number(number, model, parent, came, makes, anyway=anyway)
    return numbers


def _check_number(
    number: int, model: Model, parent: Task, came: Sequence[int] | None, makes: int | None, *, anyway: bool
) -> None:
    if came is not None and number not in came:
        count = f"{len(came)} picture{'' if len(came) == 1 else 's'}"
        raise _bad_image(f"picture {number} was not made: {_name(parent)} came with {count}, counted from 0")
    if came is None and makes is not None and number >= makes and not anyway:
        count = f"{makes} picture{'' if makes == 1 else 's'}"
        problem = f"there will probably be no picture {number}: {parent.model} makes {count}, counted from 0"
        remedy = "to send it all the same, submit it `anyway`"
        raise RequestRefused(422, "unlikely", problem, _IMAGE_FIELD, remedy=remedy)
    if isinstance(model.feed, JobFeed) and model.feed.place is not None:
        place = model.find_param(model.feed.place)
        if place is not None:
            try:
                place.parse_value(number, anyway=anyway)
            except RequestRefused as refused:
                raise RequestRefused(422, refused.code, refused.problem, _IMAGE_FIELD, remedy=refused.remedy) from None


def _count_made(task: Task) -> int | None:
    return MODELS[task.model].makes if task.model is not None and task.model in MODELS else None


def _mark_label(label: str | None, path: tuple[int, ...]) -> str | None:
    if label is None or not path:
        return label
    mark = f" #{'.'.join(map(str, path))}"
    return f"{label[: LABEL_MOST - len(mark)]}{mark}"


def _row_key(asked: NewTask, number: int) -> bytes:
    key = asked.row_key or ""
    return hash_row_key(key if number == 0 else sibling_key(key, number))


def hash_row_key(key: str) -> bytes:
    """The key of a batch's row as it is stored."""
    return hashlib.sha256(key.encode()).digest()


def _bad_image(problem: str, remedy: str | None = None) -> RequestRefused:
    return RequestRefused(422, "invalid_parameter", problem, _IMAGE_FIELD, remedy=remedy)


def _name(task: Task) -> str:
    """How a refusal names a task: by its step, its label or its ref."""
    return f"“{task.step}”" if task.step else task.shown_name
