"""Chains in one call: all of one or none of it, within bounds, and once however often they are asked for."""

import asyncio
from typing import Any

import pytest
from msgspec.structs import replace

from kit.chain_requests import (
    a_lane,
    an_intake,
    ask,
    big,
    count,
    created,
    make,
    refused,
    task_of,
    wide,
)
from kit.fakes import got
from receiver.client.schemas import NewTask, WaitFor
from receiver.core.chains import CHAIN_MOST, CHILDREN_MOST, DEPTH_MOST
from receiver.core.errors import RequestRefused, StoreUnavailable
from receiver.store import Store
from receiver.tasks.chain_requests import sibling_key

pytestmark = pytest.mark.anyio


async def test_a_name_that_is_nearly_right_is_suggested(store: Store) -> None:
    _, result = await ask(store, make(name="make"), wide(wait_for=WaitFor(name="maek", image_no=0)))
    assert "did you mean make?" in str(refused(result))


async def test_items_that_hang_together_are_refused_together(store: Store) -> None:
    bad, alone, root, leaf = await ask(
        store,
        replace(wide(name="b", wait_for=WaitFor(name="a", image_no=0)), params={"scale": 99}),
        make("another"),
        make(name="a", idempotency_key="k"),
        big(wait_for=WaitFor(name="b", image_no=0)),
    )
    assert refused(bad).code == "004007005"
    assert [refused(it).code for it in (root, leaf)] == ["chain_refused"] * 2
    assert "item 1 (b) of the same chain was refused: scale" in str(refused(root))
    assert await count(store) == 1
    task_of(alone)
    [again] = await ask(store, make(name="a", idempotency_key="k"))
    assert not created(again).replayed, "a refused item uses up no key"


async def test_a_refused_chain_takes_no_room_from_others(store: Store) -> None:
    parent = task_of((await ask(store, make()))[0])
    pictures = tuple(range(4))
    bad = [
        wide(name=f"b{n}", wait_for=WaitFor(parent.ref, image_no=pictures), label="" if n == 3 else None)
        for n in range(4)
    ]
    hung = [replace(it, wait_for=replace(it.wait_for, name=None)) for it in bad if isinstance(it.wait_for, WaitFor)]
    tied = [big(wait_for=WaitFor(name=f"b{n}", image_no=0)) for n in range(4)]
    results = await ask(store, *hung, *tied)
    assert [isinstance(it, RequestRefused) for it in results] == [False, False, False, True] * 2
    assert (await got(store, parent.ref)).children == 12
    [result] = await ask(store, wide(wait_for=WaitFor(parent.ref, image_no=pictures)))
    assert len(created(result).tasks) == 4


async def test_a_circle_is_refused_with_its_names(store: Store) -> None:
    results = await ask(
        store,
        wide(name="a", wait_for=WaitFor(name="c", image_no=0)),
        wide(name="b", wait_for=WaitFor(name="a", image_no=0)),
        wide(name="c", wait_for=WaitFor(name="b", image_no=0)),
        big(wait_for=WaitFor(name="c", image_no=0)),
    )
    assert {refused(it).field for it in results} == {"wait_for"}
    assert "c → b → a → c" in str(refused(results[0]))
    [result] = await ask(store, wide(name="a", wait_for=WaitFor(name="a", image_no=0)))
    assert "a → a" in str(refused(result))
    assert await count(store) == 0


async def test_two_items_of_one_name_are_refused(store: Store) -> None:
    first, second, leaf = await ask(
        store, make(name="a"), make("other", name="a"), wide(wait_for=WaitFor(name="a", image_no=0))
    )
    assert refused(second).field == "name"
    assert [refused(it).code for it in (first, leaf)] == ["chain_refused"] * 2


@pytest.mark.parametrize("name", ["", "a b", "-a", "x" * 41, "ä", "a\n", "\na"])
async def test_a_name_has_letters_digits_and_a_few_signs(store: Store, name: str) -> None:
    [result] = await ask(store, make(name=name))
    assert refused(result).field == "name"


async def test_a_chain_is_bounded_in_depth(store: Store) -> None:
    steps = [make(name="s0")]
    steps += [
        NewTask("midjourney_variation", {"type": 0}, name=f"s{n}", wait_for=WaitFor(name=f"s{n - 1}", image_no=0))
        for n in range(1, DEPTH_MOST)
    ]
    results = await ask(store, *steps)
    last = task_of(results[-1])
    assert last.depth == DEPTH_MOST - 1
    [result] = await ask(store, big(wait_for=WaitFor(last.ref, image_no=0)))
    assert (refused(result).code, refused(result).field) == ("chain_too_large", "wait_for")


async def test_a_task_holds_so_many_children_at_most(store: Store) -> None:
    results = await ask(
        store, make(name="a"), *(wide(wait_for=WaitFor(name="a", image_no=0)) for _ in range(CHILDREN_MOST))
    )
    assert task_of(results[0]).children == CHILDREN_MOST
    [result] = await ask(store, wide(wait_for=WaitFor(task_of(results[0]).ref, image_no=0)))
    assert refused(result).code == "chain_too_large"


async def test_a_chain_has_so_many_tasks_at_most(store: Store) -> None:
    asked = [make(name="a")]
    asked += [wide(name=f"b{n}", wait_for=WaitFor(name="a", image_no=0)) for n in range(3)]
    asked += [wide(wait_for=WaitFor(name=f"b{n}", image_no=0)) for n in range(3) for _ in range(CHILDREN_MOST)]
    asked += [wide(wait_for=WaitFor(name="a", image_no=0)) for _ in range(12)]
    assert len(asked) == CHAIN_MOST
    results = await ask(store, *asked)
    assert await count(store) == CHAIN_MOST
    root = task_of(results[0])
    [result] = await ask(store, wide(wait_for=WaitFor(root.ref, image_no=0)))
    assert refused(result).code == "chain_too_large"
    results = await ask(
        store, *(replace(it, params=it.params) for it in [*asked, wide(wait_for=WaitFor(name="a", image_no=0))])
    )
    assert {refused(it).code for it in results} == {"chain_too_large", "chain_refused"}


async def test_a_repeated_request_gets_all_of_its_tasks(store: Store) -> None:
    asked = [
        make(name="a", idempotency_key="A"),
        wide(name="b", wait_for=WaitFor(name="a", image_no="all"), idempotency_key="B"),
        big(wait_for=WaitFor(name="b", image_no=0), idempotency_key="C"),
    ]
    first = [created(it) for it in await ask(store, *asked)]
    again = [created(it) for it in await ask(store, *asked)]
    assert [it.replayed for it in again] == [True] * 3
    assert [[task.ref for task in it.tasks] for it in again] == [[task.ref for task in it.tasks] for it in first]
    assert await count(store) == 9


async def test_two_that_ask_at_once_make_one_chain(store: Store) -> None:
    asked = [
        make(name="a", idempotency_key="A"),
        wide(wait_for=WaitFor(name="a", image_no=(0, 1)), idempotency_key="B"),
    ]
    await asyncio.gather(*(ask(store, *asked) for _ in range(8)))
    assert await count(store) == 3


async def test_no_key_is_that_of_a_further_task(store: Store) -> None:
    await a_lane(store)
    for batch, names in ((None, ("idempotency_key",)), ("rows", ("row_key",))):

        def keyed(key: str, names: tuple[str, ...] = names, **more: Any) -> dict[str, Any]:
            return {**dict.fromkeys(names, key), **({"line": 1} if "row_key" in names else {}), **more}

        asked = [
            make(name="a", **keyed("a")),
            wide(wait_for=WaitFor(name="a", image_no=(0, 1)), **keyed("b")),
            *(make(f"{key!r}", **keyed(key)) for key in ("b#1", "b#0", "b\u00011")),
        ]
        for again in (False, True):
            results = [created(it) for it in await ask(store, *asked, batch=batch)]
            assert [it.replayed for it in results] == [again] * 5
            assert [len(it.tasks) for it in results] == [1, 2, 1, 1, 1]
            assert len({task.ref for it in results for task in it.tasks}) == 6


async def test_what_is_left_of_an_older_request_uses_a_key_up(store: Store) -> None:
    root = task_of((await ask(store, make()))[0])
    async with store.write() as tx:  # the first of its keys is deleted already
        await tx.tasks.remember_keys([(sibling_key("K", 1), b"", root.ref)], 0)
    [result] = await ask(store, wide(wait_for=WaitFor(root.ref, image_no=(0, 1)), idempotency_key="K"))
    assert refused(result).code == "idempotency_key_reused"


async def test_the_label_of_a_further_step_says_from_which_pictures_it_goes_on(store: Store) -> None:
    await a_lane(store)
    asked = [
        make(name="a", line=1, row_key="A"),
        wide(name="b", line=1, row_key="B", wait_for=WaitFor(name="a", image_no=(2, 3)), label="b"),
        wide(name="c", line=1, row_key="C", wait_for=WaitFor(name="b", image_no=(1, 0)), label="c"),
        wide(name="one", line=1, row_key="O", wait_for=WaitFor(name="b", image_no=(3,)), label="one"),
    ]
    steps = [
        big(line=1, row_key=f"L{it}", wait_for=WaitFor(name=it, image_no=1), label="L") for it in ("b", "c", "one")
    ]
    labels = [["L #2", "L #3"], ["L #2.1", "L #2.0", "L #3.1", "L #3.0"], ["L #2", "L #3"]]
    first = [created(it) for it in await ask(store, *asked, batch="rows")]
    assert [it.replayed for it in first] == [False] * 4
    results = await ask(store, *asked, *steps, batch="rows")
    assert [created(it).replayed for it in results] == [True] * 4 + [False] * 3
    assert [[it.label for it in created(each).tasks] for each in results[4:]] == labels
    for each, before in zip(results[4:], results[1:4], strict=True):
        assert [it.parent for it in created(each).tasks] == [it.ref for it in created(before).tasks]


async def test_rows_of_a_batch_form_chains_too_and_are_made_once(store: Store) -> None:
    await a_lane(store)
    asked = [
        make(name="a", line=2, row_key="A"),
        wide(name="b", line=2, row_key="B", wait_for=WaitFor(name="a", image_no=(0, 1))),
        big(line=2, row_key="C", wait_for=WaitFor(name="b", image_no="pick")),
    ]
    first = [created(it) for it in await ask(store, *asked, batch="rows")]
    tasks = [task for it in first for task in it.tasks]
    assert len({it.row_key for it in tasks}) == len(tasks) == 5
    again = [created(it) for it in await ask(store, *asked, batch="rows")]
    assert [[it.ref for it in each.tasks] for each in again] == [[it.ref for it in each.tasks] for each in first]
    assert all(it.replayed for it in again)
    more = big(line=3, row_key="D", wait_for=WaitFor(name="b", image_no=2))
    _, _, new = await ask(store, *asked[:2], more, batch="rows")
    assert [it.parent for it in created(new).tasks] == [it.ref for it in first[1].tasks], "on each of the known copies"


async def test_a_repeat_whose_first_task_failed_since_says_so_only_of_what_is_new(store: Store) -> None:
    await a_lane(store)
    root = make(name="a", line=2, row_key="A")
    task = task_of((await ask(store, root, batch="rows"))[0])
    await an_intake(store).cancel_task(task.ref)
    first, second = await ask(
        store, root, wide(line=2, row_key="B", wait_for=WaitFor(name="a", image_no=0)), batch="rows"
    )
    assert created(first).replayed
    assert refused(second).code == "parent_failed"


async def test_a_large_call_is_stored_in_parts_and_what_is_stored_is_answered(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever is told that nothing was stored may ask again without a key, and pay twice."""
    monkeypatch.setattr("receiver.tasks.new_tasks.TURN", 5)
    asked = [make(name="a"), wide(wait_for=WaitFor(name="a", image_no="all")), make("b"), make("c", name="c")]
    wrong = replace(wide(wait_for=WaitFor(name="c", image_no=0)), params={"scale": 9})
    *results, root, leaf = await ask(store, *asked, wrong)
    assert sum(len(created(it).tasks) for it in results) == await count(store) == 6
    assert "item 5 of the same chain" in str(refused(root))
    assert refused(leaf).code == "004007005"
    write, left = store.write, [1]

    def full(*given: Any) -> Any:
        left[0] -= 1
        if left[0] < 0:
            raise StoreUnavailable("the disk is full")
        return write(*given)

    monkeypatch.setattr(store, "write", full)
    *first, second = await ask(store, *asked[:3])
    assert [created(it).replayed for it in first] == [False, False]
    assert (refused(second).status, refused(second).code) == (503, "unavailable")
    with pytest.raises(StoreUnavailable):
        await ask(store, *asked[:3])
    assert await count(store) == 11


async def test_a_dry_run_stores_nothing_and_says_the_same(store: Store) -> None:
    asked = [make(name="a"), wide(wait_for=WaitFor(name="a", image_no="all"))]
    results = await ask(store, *asked, dry_run=True)
    assert [created(it).task for it in results] == [None, None]
    [_, result] = await ask(
        store, make("x --v 8.1", name="a"), wide(wait_for=WaitFor(name="a", image_no=0)), dry_run=True
    )
    assert refused(result).code == "unlikely"
    assert await count(store) == 0
