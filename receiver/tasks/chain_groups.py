"""Which items of a call hang together, because one goes on from another by name, and in which order they are made.
Pure.

Items that hang together are accepted or refused together: a chain is there whole or not at all.
"""

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Raw, Struct

from receiver.client.schemas import NewTask, WaitFor, is_step_name
from receiver.core.chains import CHAIN_MOST
from receiver.core.errors import RequestRefused

_ALL = 4  # pictures that a task usually makes


class UnreadableItem(RequestRefused):
    """An item that is no task, with its name and the one that it goes on from, as far as those can be read: what hangs
    together with it is refused, too."""

    def __init__(self, refused: RequestRefused, raw: Raw) -> None:
        super().__init__(refused.status, refused.code, refused.problem, refused.field, remedy=refused.remedy)
        links = _decode(raw, _Links) or _Links()
        self.name = _read_name(links.name)
        waits = _decode(links.wait_for, _Links)
        self.awaited = _read_name(waits.name) if waits is not None else None


class _Links(Struct, frozen=True):
    name: Raw = Raw(b"null")
    wait_for: Raw = Raw(b"null")


def _decode(raw: Raw, kind: type[Any]) -> Any:
    try:
        return msgspec.json.decode(raw, type=kind)
    except (ValueError, RecursionError):
        return None


def _read_name(raw: Raw) -> str | None:
    """The name; None if it cannot be one, since whatever has it or names it is refused anyway."""
    name = _decode(raw, str)
    return name if isinstance(name, str) and is_step_name(name) else None


def links_of(item: NewTask | RequestRefused) -> NewTask | None:
    """How an item that is refused by itself hangs together with others, as a request without a key; None if it does
    not."""
    if isinstance(item, NewTask):
        name, awaited = item.name, awaited_name(item)
    elif isinstance(item, UnreadableItem):
        name, awaited = item.name, item.awaited
    else:
        return None
    return NewTask("", name=name, wait_for=None if awaited is None else WaitFor(name=awaited))


def awaited_name(asked: NewTask | None) -> str | None:
    """The name of the item that this one goes on from, if it names one."""
    wait = asked.wait_for if asked is not None else None
    return wait.name if isinstance(wait, WaitFor) else None


def waits_for_itself(asked: NewTask | None) -> bool:
    """Whether the item names itself as the one that it goes on from."""
    return asked is not None and asked.name is not None and awaited_name(asked) == asked.name


def group_items(items: Sequence[NewTask | None]) -> list[list[int]]:
    """The items that hang together, by place; most are alone. Two of one name hang together too: one is at fault."""
    named: dict[str, int] = {}
    above = list(range(len(items)))  # a union-find: each points towards the first of its group

    def first_of(place: int) -> int:
        while above[place] != place:
            above[place] = place = above[above[place]]
        return place

    def unite(one: int, other: int) -> None:
        low, high = sorted((first_of(one), first_of(other)))
        above[high] = low

    for place, asked in enumerate(items):
        if asked is not None and asked.name is not None:
            unite(named.setdefault(asked.name, place), place)
    for place, asked in enumerate(items):
        if (name := awaited_name(asked)) in named:
            unite(named[name or ""], place)
    groups: dict[int, list[int]] = {}
    for place in range(len(items)):
        groups.setdefault(first_of(place), []).append(place)
    return list(groups.values())


def order_group(group: Sequence[int], items: Sequence[NewTask | None]) -> tuple[list[int], list[int]]:
    """The items of a group, each after the one that it goes on from; and those that go round in a circle."""
    names = {asked.name for place in group if (asked := items[place]) is not None and asked.name is not None}
    ordered, waiting, made = list[int](), list(group), set[str | None]()
    while waiting:
        ready = [it for it in waiting if (name := awaited_name(items[it])) not in names or name in made]
        if not ready:
            break
        ordered += ready
        made |= {asked.name for it in ready if (asked := items[it]) is not None}
        waiting = [it for it in waiting if it not in ready]
    return ordered, waiting


def split_call(items: Sequence[NewTask | None], most: int) -> list[list[int]]:
    """The items by place, in parts of which each makes `most` tasks or so. What hangs together stays together."""
    parts, size = list[list[int]](), 0
    for group in group_items(items):
        tasks = _count_tasks(group, items)
        if not parts or size + tasks > most:
            parts.append([])
            size = 0
        parts[-1] += group
        size += tasks
    return parts


def _count_tasks(group: Sequence[int], items: Sequence[NewTask | None]) -> int:
    """How many tasks a group makes, as far as it says itself."""
    copies: dict[str | None, int] = {}
    total = 0
    for place in order_group(group, items)[0]:
        asked = items[place]
        if asked is None:
            continue
        choice = asked.wait_for.image_no if isinstance(asked.wait_for, WaitFor) else None
        pictures = len(choice) if isinstance(choice, tuple) else _ALL if choice == "all" else 1
        count = min(CHAIN_MOST, copies.get(awaited_name(asked), 1) * pictures)
        total += count
        if asked.name is not None:
            copies[asked.name] = count
    return total


def refuse_circle(circle: Sequence[int], items: Sequence[NewTask | None]) -> RequestRefused:
    """The refusal of items of which each goes on from another one of them."""
    awaited = {asked.name: awaited_name(asked) for it in circle if (asked := items[it]) is not None}
    name, walked = awaited_name(items[circle[0]]) or "", list[str]()
    while name not in walked:
        walked.append(name)
        name = awaited[name] or ""
    told = " → ".join([*walked[walked.index(name) :], name])
    return RequestRefused(422, "invalid_parameter", f"these wait for each other in a circle: {told}", "wait_for")


def refuse_with_group(place: int, asked: NewTask | None, fault: RequestRefused) -> RequestRefused:
    """The refusal of an item that is in order, because the one at `place` of the call, of the same chain, is not."""
    name = f" ({asked.name})" if asked is not None and asked.name else ""
    problem = f"item {place + 1}{name} of the same chain was refused: {fault.problem}"
    return RequestRefused(422, "chain_refused", problem)
