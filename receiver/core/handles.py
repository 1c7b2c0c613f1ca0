"""What a person types for a task instead of its whole ref, and patterns of labels. Pure.

A handle is a label, that of a chain with the name of a step, or the beginning or the end of a ref. All tasks of a
minute share the first eight characters of their refs, so the end is what tells them apart.
"""

from collections.abc import Iterable

from receiver.core.types import Task

PART_LEAST = 6  # characters of a ref
LOOKED_MOST = 10_000  # among so many tasks, the newest, an end or a pattern is looked for
SHOWN = 8  # characters of a ref's end that are shown in place of it: one in four billion
_REF_LENGTH = 36
_REF_CHARACTERS = frozenset("0123456789abcdef-")


def ref_part(handle: str) -> str | None:
    """The handle as the beginning or end of a ref; None if it can be neither. A person may have copied an ellipsis."""
    part = handle.strip().strip("….").lower()
    return part if PART_LEAST <= len(part) <= _REF_LENGTH and _REF_CHARACTERS.issuperset(part) else None


def step_part(handle: str) -> tuple[str, str] | None:
    """The handle as the label of a chain and the name of its step, which has no slash; None if it cannot be that."""
    label, _, step = handle.rpartition("/")
    return (label, step) if label and step else None


def keep_first_steps(tasks: Iterable[Task], label: str) -> list[Task]:
    """The tasks, but of those of a chain that have this label only the first, in the order in which they came."""
    tasks = list(tasks)
    firsts: dict[str, Task] = {}  # by the root of their chain
    for task in tasks:
        if task.root is not None and task.label == label:
            firsts[task.root] = min(firsts.get(task.root, task), task, key=lambda it: (it.depth, it.ref))
    return [it for it in tasks if it.root is None or it.label != label or firsts[it.root] is it]


def shorten_ref(ref: str) -> str:
    """A ref by its end, as a handle."""
    return f"…{ref[-SHOWN:]}"


def is_pattern(label: str) -> bool:
    """Whether a filter of labels has an asterisk, which stands for any characters, or none."""
    return "*" in label


def matches_pattern(pattern: str, label: str | None) -> bool:
    """Whether the whole label fits the pattern. Takes time in proportion to both, whatever they are."""
    if label is None or "*" not in pattern:
        return label == pattern
    first, *middle, last = pattern.split("*")
    if len(label) < len(first) + len(last) or not (label.startswith(first) and label.endswith(last)):
        return False
    at, end = len(first), len(label) - len(last)
    for piece in middle:
        found = label.find(piece, at, end)
        if found < 0:
            return False
        at = found + len(piece)
    return True
