"""What a task goes on from and what goes on from it, as one strip: before, this one, after. Pure."""

from collections.abc import Mapping, Sequence

from msgspec import Struct

from receiver.core.types import Task
from receiver.providers.models import MODELS, find_word
from receiver.providers.parameters import ChoiceParam
from receiver.web.pages.going_on.stage import Frame, Source, card_frame, read_scale
from receiver.web.pages.sentences import decode_params, task_title

SHOWN_MOST = 12
_CHOICES = ("direction", "type", "mode")


class StripTask(Struct, frozen=True, kw_only=True):
    """A task of the strip: its picture, or the frame that it waits in. Before it stands what was done to the one before
    it, if there is one: from which `picture`, and `how`. One that `branches` off begins a line, and `source` names what
    it goes on from, unless that is the task whose page it is."""

    ref: str
    title: str
    src: str = ""
    frame: Frame | None = None
    current: bool = False
    goes_on: bool = False
    branches: bool = False
    source: str = ""
    picture: str = ""
    how: str = ""


class Strip(Struct, frozen=True):
    """The strip: `is_cut` if its beginning was removed by retention, and how many tasks `more` there are."""

    tasks: tuple[StripTask, ...] = ()
    is_cut: bool = False
    more: int = 0

    @property
    def lines(self) -> list[list[StripTask]]:
        """The tasks line by line: each of several that go on from the same one begins a line."""
        found = list[list[StripTask]]()
        for it in self.tasks:
            if it.branches or not found:
                found.append([])
            found[-1].append(it)
        return found


class StripPictures(Struct, frozen=True):
    """Our copies of a task's pictures, by their numbers."""

    by_number: Mapping[int, Source] = {}

    def find(self, number: int | None) -> Source | None:
        """The picture of this number, or else the first one."""
        if number is not None and number in self.by_number:
            return self.by_number[number]
        return next(iter(self.by_number.values()), None)


def build_strip(
    task: Task, chain: Sequence[Task], pictures: Mapping[str, StripPictures], chosen: int | None = None
) -> Strip:
    """The strip of `task` within its `chain`; of a task with nothing before and after it, an empty one.

    `pictures` are those of all tasks, by their refs, and `chosen` is the one that the page of the task shows.
    """
    known = {it.ref: it for it in chain} | {task.ref: task}
    before, is_cut = _find_before(task, known)
    after = _find_after(task, chain)
    if not before and not after and not is_cut:
        return Strip()
    line = [*before, task, *after]
    next_of = {it.parent: it for it in line if it.parent is not None and it in (*before, task)}
    children = sum(it.parent == task.ref for it in after)
    shown = [
        _show(
            it,
            known.get(it.parent or ""),
            pictures,
            _shown_number(it, task, next_of, chosen),
            task.ref,
            branches=before_it is not None and (before_it.ref != it.parent or (it.parent == task.ref and children > 1)),
        )
        for before_it, it in zip([None, *line], line[:SHOWN_MOST], strict=False)
    ]
    return Strip(tuple(shown), is_cut, max(0, len(line) - SHOWN_MOST))


def describe_step(task: Task) -> tuple[str, str]:
    """From which picture a task goes on, and how: `picture 0`, `1.5 ×`."""
    declared, params = MODELS.get(task.model or ""), decode_params(task)
    picture = f"picture {task.parent_image}" if task.parent_image is not None else ""
    if declared is not None and not declared.takes_one_picture:
        picture = ""
    words = []
    for name in _CHOICES:
        word, param = find_word(task.model or "", name, params.get(name)), declared and declared.find_param(name)
        if word and isinstance(param, ChoiceParam):
            words.append(param.form_name(word).lower())
    scale = read_scale(params)
    words += [f"{scale} ×"] if scale is not None else []
    verb = (declared.verb or "").lower() if declared is not None else ""
    return picture, " ".join(words) or verb


def _find_before(task: Task, known: Mapping[str, Task]) -> tuple[list[Task], bool]:
    """The tasks before one, the first one first, and whether there were more."""
    line = list[Task]()
    while task.parent is not None:
        parent = known.get(task.parent)
        if parent is None or parent in line or len(line) >= SHOWN_MOST - 1:
            return line[::-1], parent is None
        line.append(parent)
        task = parent
    return line[::-1], False


def _find_after(task: Task, chain: Sequence[Task]) -> list[Task]:
    """All tasks after one, each right after the one that it goes on from or after its siblings."""
    children = dict[str, list[Task]]()
    for it in chain:
        if it.parent is not None:
            children.setdefault(it.parent, []).append(it)
    found, waiting, seen = list[Task](), children.get(task.ref, [])[::-1], {task.ref}
    while waiting:
        child = waiting.pop()
        if child.ref in seen:
            continue
        seen.add(child.ref)
        found.append(child)
        waiting += children.get(child.ref, [])[::-1]
    return found


def _shown_number(it: Task, task: Task, next_of: Mapping[str, Task], chosen: int | None) -> int | None:
    """Which of a task's pictures stands for it: the one that the next one goes on from."""
    if it.ref == task.ref:
        return chosen
    following = next_of.get(it.ref)
    return following.parent_image if following is not None else None


def _show(
    it: Task,
    parent: Task | None,
    pictures: Mapping[str, StripPictures],
    number: int | None,
    current: str,
    *,
    branches: bool,
) -> StripTask:
    own = pictures.get(it.ref, StripPictures()).find(number)
    source = pictures[parent.ref].find(it.parent_image) if parent is not None and parent.ref in pictures else None
    picture, how = describe_step(it)
    return StripTask(
        ref=it.ref,
        title=task_title(it),
        src=own.src if own is not None else "",
        frame=None if own is not None else card_frame(it.model, decode_params(it), source),
        current=it.ref == current,
        goes_on=it.parent is not None,
        branches=branches,
        source=task_title(parent) if branches and parent is not None and parent.ref != current else "",
        picture=picture,
        how=how,
    )
