"""Which items of a call hang together, and in which order they are made."""

from typing import Any

import pytest

from receiver.client.schemas import NewTask, WaitFor
from receiver.core.errors import RequestRefused
from receiver.tasks.chain_groups import (
    awaited_name,
    group_items,
    order_group,
    refuse_circle,
    refuse_with_group,
    split_call,
    waits_for_itself,
)


def item(name: str | None = None, after: str | None = None) -> NewTask:
    return NewTask("m", name=name, wait_for=WaitFor(name=after) if after is not None else None)


def test_the_awaited_name_is_that_of_another_item() -> None:
    assert awaited_name(item("a", "b")) == "b"
    assert awaited_name(item("a")) is None
    assert awaited_name(NewTask("m", wait_for="a-ref")) is None
    assert awaited_name(NewTask("m", wait_for=WaitFor(ref="a-ref"))) is None
    assert awaited_name(None) is None


def test_one_that_names_itself_is_known() -> None:
    assert waits_for_itself(item("a", "a"))
    assert not any(waits_for_itself(it) for it in (item("a", "b"), item("a"), item(), item(after="a"), None))


@pytest.mark.parametrize(
    ("items", "groups"),
    [
        ([], []),
        ([item(), None, item("a")], [[0], [1], [2]]),
        ([item("a"), item(after="a"), item()], [[0, 1], [2]]),
        ([item(after="a"), item(), item("a")], [[0, 2], [1]]),
        ([item("a"), item("b", "a"), item("c"), item("d", "c"), item(after="b")], [[0, 1, 4], [2, 3]]),
        ([item("c"), item("b"), item("a", "b"), item("d", "c"), item(after="a"), item(after="d")],
         [[0, 3, 5], [1, 2, 4]]),
        ([item("a"), item("a")], [[0, 1]]),
        ([item(after="gone"), item(after="gone")], [[0], [1]]),
        ([item("a", "b"), item("b", "a")], [[0, 1]]),
        ([item("d"), item("c"), item("b", "c"), item("a", "d"), item("e", "b"), item(after="e"), item(after="a")],
         [[0, 3, 6], [1, 2, 4, 5]]),
    ],
)  # fmt: skip
def test_items_that_name_one_another_hang_together(items: list[NewTask | None], groups: list[list[int]]) -> None:
    assert group_items(items) == groups


def test_two_groups_that_a_third_item_joins_are_one() -> None:
    items = [item("a"), item("b"), item("c", "b"), item("b", "a")]
    assert group_items(items) == [[0, 1, 2, 3]]


@pytest.mark.parametrize(
    ("items", "ordered", "circle"),
    [
        ([item("a"), item("b", "a"), item("c", "b")], [0, 1, 2], []),
        ([item("c", "b"), item("b", "a"), item("a")], [2, 1, 0], []),
        ([item("b", "a"), item(after="a"), item("a")], [2, 0, 1], []),
        ([item("a", "gone"), item("b", "a")], [0, 1], []),
        ([item("a", "b"), item("b", "a")], [], [0, 1]),
        ([item("a"), item("c", "d"), item("d", "c"), item(after="c")], [0], [1, 2, 3]),
        ([item("a", "a")], [], [0]),
        ([item(), item()], [0, 1], []),
    ],
)
def test_each_item_comes_after_the_one_that_it_goes_on_from(
    items: list[NewTask], ordered: list[int], circle: list[int]
) -> None:
    assert order_group(range(len(items)), items) == (ordered, circle)


def test_the_order_is_that_of_a_group_alone() -> None:
    items = [item("x", "y"), item("a"), item("b", "a")]
    assert order_group([1, 2], items) == ([1, 2], [])


@pytest.mark.parametrize(
    ("items", "told"),
    [
        ([item("a", "a")], "a → a"),
        ([item("a", "b"), item("b", "a")], "b → a → b"),
        ([item("x", "a"), item("a", "b"), item("b", "c"), item("c", "a")], "a → b → c → a"),
        ([item(None, "a"), item("a", "b"), item("b", "a")], "a → b → a"),
    ],
)
def test_a_circle_is_told_with_its_names_in_order(items: list[NewTask], told: str) -> None:
    refused = refuse_circle(range(len(items)), items)
    assert (refused.status, refused.code, refused.field) == (422, "invalid_parameter", "wait_for")
    assert str(refused) == f"these wait for each other in a circle: {told}"


def test_an_item_in_order_says_which_one_is_at_fault() -> None:
    fault = RequestRefused(422, "004007005", "scale is 9", "scale")
    refused = refuse_with_group(1, item("b"), fault)
    assert (refused.status, refused.code, refused.field) == (422, "chain_refused", None)
    assert str(refused) == "item 2 (b) of the same chain was refused: scale is 9"
    assert str(refuse_with_group(0, item(), fault)).startswith("item 1 of the same chain")
    assert str(refuse_with_group(0, None, fault)).startswith("item 1 of the same chain")


def chain(name: str, *pictures: Any) -> list[NewTask]:
    """Steps that go on one from the other."""
    steps = [item(name)]
    for number, choice in enumerate(pictures):
        wait = WaitFor(name=f"{name}{number - 1}" if number else name, image_no=choice)
        steps.append(NewTask("m", name=f"{name}{number}", wait_for=wait))
    return steps


@pytest.mark.parametrize(
    ("items", "most", "parts"),
    [
        ([], 5, []),
        ([item()] * 7, 3, [[0, 1, 2], [3, 4, 5], [6]]),
        ([item()] * 6, 3, [[0, 1, 2], [3, 4, 5]]),
        ([*chain("a", 0), *chain("b", 0), *chain("c", 0)], 4, [[0, 1, 2, 3], [4, 5]]),
        ([*chain("a", "all"), *chain("b", 0)], 7, [[0, 1, 2, 3]]),
        ([*chain("a", "all"), *chain("b", 0)], 6, [[0, 1], [2, 3]]),
        ([*chain("a", (0, 1), (0, 1, 2)), item()], 9, [[0, 1, 2], [3]]),
        ([*chain("a", (0, 1), (0, 1, 2)), item()], 10, [[0, 1, 2, 3]]),
        ([item(), *chain("a", "pick", "pick")], 4, [[0, 1, 2, 3]]),
        ([*chain("a", *["all"] * 4)], 3, [[0, 1, 2, 3, 4]]),
        ([*chain("a", *["all"] * 4), *[item()] * 9], 158, [[*range(14)]]),
        ([*chain("a", *["all"] * 4), *[item()] * 9], 157, [[*range(13)], [13]]),
        ([None, item("a", "b"), item("b", "a"), item()], 1, [[0, 1, 2, 3]]),
        ([item(), item()], 1, [[0], [1]]),
        ([NewTask("m", wait_for=WaitFor(ref="r", image_no="all")), item()], 4, [[0], [1]]),
        ([NewTask("m", wait_for="r"), item()], 2, [[0, 1]]),
    ],
)
def test_a_large_call_is_stored_in_parts_and_each_chain_in_one(
    items: list[NewTask | None], most: int, parts: list[list[int]]
) -> None:
    assert split_call(items, most) == parts
