"""A task once more with all that goes on from it: a chain that failed at its beginning, and one that ran."""

from collections.abc import Sequence

import pytest
from msgspec.structs import replace

from kit.chain_requests import an_intake, ask, big, count, make, refused, task_of, wide
from kit.fakes import NOW
from receiver.client.schemas import AgainRequest, NewTask, WaitFor
from receiver.core.chains import copy_subtree, pick
from receiver.core.errors import RequestRefused
from receiver.core.types import HoldReason, OutcomeSource, Task, TaskState
from receiver.store import Store
from receiver.tasks.again import repeat_chain
from receiver.tokens import new_ref

pytestmark = pytest.mark.anyio
WITH_CHILDREN = AgainRequest(with_children=True)


async def a_chain(store: Store) -> tuple[Task, Task, Task]:
    """A picture, one that a person picks of it and widens, and that enlarged."""
    results = await ask(
        store,
        make(name="make", label="hero"),
        wide(name="wide", wait_for=WaitFor(name="make", image_no="pick"), label="hero", ping=True),
        big(name="big", wait_for=WaitFor(name="wide", image_no=1)),
    )
    first, second, third = [task_of(it) for it in results]
    return first, second, third


async def end(store: Store, failed: Task | None, *cancelled: Task) -> None:
    """End these tasks, as if the first one had failed and the others with it."""
    ended = [] if failed is None else [(failed, TaskState.FAILED)]
    ended += [(it, TaskState.CANCELLED) for it in cancelled]
    async with store.write() as tx:
        there = await tx.tasks.get([task.ref for task, _ in ended])
        end = {"held_by": None, "due_at": None, "settled_at": 9, "settled_by": OutcomeSource.PARENT}
        await tx.tasks.update([(there[it.ref], replace(there[it.ref], state=state, **end)) for it, state in ended])


async def test_a_chain_that_failed_at_its_beginning_is_made_once_more(store: Store) -> None:
    first, second, third = await a_chain(store)
    await end(store, first, second, third)
    intake = an_intake(store)
    new, replayed = await intake.submit_again(first.ref, replace(WITH_CHILDREN, prompt="a sea"), "k")
    assert (new.again_of, new.prompt, new.step, new.children, replayed) == (first.ref, "a sea", "make", 1, False)
    chain = sorted(await store.chains.tasks_of(new.ref, 64), key=lambda it: it.depth)
    assert [(it.step, it.again_of, it.label, it.ping, it.parent_image) for it in chain] == [
        ("make", first.ref, "hero", None, None),
        ("wide", second.ref, "hero", True, None),
        ("big", third.ref, None, None, 1),
    ]
    assert [it.held_by for it in chain] == [None, HoldReason.PARENT, HoldReason.PARENT]
    assert [it.params for it in chain[1:]] == [second.params, third.params]
    again, replayed = await intake.submit_again(first.ref, replace(WITH_CHILDREN, prompt="a sea"), "k")
    assert (again, replayed, await count(store)) == (new, True, 6)


async def test_without_children_only_the_task_itself_is_made(store: Store) -> None:
    first, *_ = await a_chain(store)
    new, _ = await an_intake(store).submit_again(first.ref, AgainRequest(), None)
    assert (new.children, new.root, await count(store)) == (0, None, 4)


async def test_from_the_middle_only_what_follows_is_made_and_it_waits_for_the_same_task(store: Store) -> None:
    first, second, third = await a_chain(store)
    await end(store, None, second, third)
    new, _ = await an_intake(store).submit_again(second.ref, WITH_CHILDREN, None)
    assert (new.parent, new.root, new.held_by, new.parent_image) == (first.ref, first.ref, HoldReason.PARENT, None)
    assert await count(store) == 5


async def test_one_whose_parent_failed_says_so(store: Store) -> None:
    first, second, third = await a_chain(store)
    await end(store, first, second, third)
    for asked in (AgainRequest(), WITH_CHILDREN):
        with pytest.raises(RequestRefused) as caught:
            await an_intake(store).submit_again(second.ref, asked, None)
        assert (caught.value.status, caught.value.code) == (409, "parent_failed")
    assert await count(store) == 3


async def test_what_is_wrong_with_one_makes_none(store: Store) -> None:
    first, *_ = await a_chain(store)
    with pytest.raises(RequestRefused) as caught:
        await an_intake(store).submit_again(first.ref, replace(WITH_CHILDREN, prompt="a sea --v 8.1"), None)
    assert (caught.value.code, "midjourney_outpaint probably cannot follow" in str(caught.value)) == ("unlikely", True)
    assert await count(store) == 3
    [result] = await ask(store, NewTask("midjourney_outpaint", {"scale": 9}))
    assert refused(result)


def repeated(chain: Sequence[Task], asked: AgainRequest = WITH_CHILDREN) -> list[NewTask]:
    return [it.asked for it in repeat_chain(chain[0], chain, asked, (), "k")]


def picked_for(task: Task, *numbers: int, at: int = 1_000) -> list[Task]:
    """What it is once a person has picked these pictures for it, and it was submitted."""
    if not numbers:
        return [task]
    now = NOW + at
    copies = [copy_subtree(task, [], lambda: new_ref(now), f"#{number}", now)[0] for number in numbers[1:]]
    picked = [pick(it, number, it.params, "link", now) for it, number in zip([task, *copies], numbers, strict=True)]
    return [replace(it, state=TaskState.WAITING, due_at=None, submitted_at=now + 10) for it in picked]


async def test_a_step_for_which_several_pictures_were_picked_is_picked_for_once_more(store: Store) -> None:
    first, second, third = await a_chain(store)
    picked = picked_for(second, 0, 3, 1)
    made = repeated([first, *picked, third, replace(third, ref=new_ref(NOW), parent=picked[1].ref)])
    assert [(it.name, it.wait_for) for it in made[1:]] == [
        ("wide", WaitFor(name="make", image_no="pick")),
        ("big", WaitFor(name="wide", image_no=1)),
    ]


@pytest.mark.parametrize("labels", [("hero", "hero 2"), ("hero", "hero"), (None, None), ("hero", None)])
@pytest.mark.parametrize("later", [0, 2_000])
@pytest.mark.parametrize("numbers", [(), (0,), (0, 3)])
async def test_two_that_were_submitted_one_by_one_are_both_made(
    store: Store, labels: tuple[str | None, ...], later: int, numbers: tuple[int, ...]
) -> None:
    root = task_of((await ask(store, make(label="hero")))[0])
    asked = [wide(label=label, wait_for=WaitFor(root.ref, image_no="pick")) for label in labels]
    one, two = [task_of(it) for it in await ask(store, *asked)]
    two = replace(two, created_at=two.created_at + later, turn=two.turn if later else one.turn)
    chain = [root, *picked_for(one, *numbers), *picked_for(two, *numbers, at=later + 1_000)]
    made = repeated(chain)[1:]
    assert sorted(str(it.label) for it in made) == sorted(map(str, labels))
    assert [it.wait_for for it in made] == [WaitFor(name="hero", image_no="pick")] * 2


async def test_several_tasks_of_one_step_get_names_of_their_own_and_keys_that_fit(store: Store) -> None:
    results = await ask(store, make(name="a"), wide(name="b", wait_for=WaitFor(name="a", image_no="all")))
    root = task_of(results[0])
    chain = await store.chains.tasks_of(root.ref, 64)
    made = [it.asked for it in repeat_chain(root, chain, WITH_CHILDREN, (), "k" * 200)]
    assert [it.name for it in made] == ["a", "b", "b.2", "b.3", "b.4"]
    assert {it.wait_for.image_no for it in made[1:] if isinstance(it.wait_for, WaitFor)} == {0, 1, 2, 3}
    assert made[0].idempotency_key == "k" * 200
    assert len({it.idempotency_key for it in made}) == 5
    assert all(len(it.idempotency_key or "") <= 200 for it in made)


async def test_another_label_is_that_of_all_that_had_the_same(store: Store) -> None:
    chain = await a_chain(store)
    assert [it.label for it in repeated(chain, replace(WITH_CHILDREN, label="red"))] == ["red", "red", None]


@pytest.mark.parametrize(
    ("label", "expected", "step"),
    [
        ("hero", "red", "hero"),
        ("hero wide", "red wide", "hero-wide"),
        ("wide (2)", "red wide (2)", "wide-2"),
        (None, None, "outpaint"),
        ("×" * 200, f"red {'×' * 196}", "outpaint"),
    ],
)
async def test_what_goes_on_is_called_after_the_new_first_one(
    store: Store, label: str | None, expected: str | None, step: str
) -> None:
    """The tree of the new chain names its tasks as the old one did; and their labels are not those of earlier ones."""
    root = task_of((await ask(store, make(label="hero")))[0])
    await ask(store, wide(label=label, wait_for=WaitFor(root.ref, image_no=0)))
    chain = await store.chains.tasks_of(root.ref, 64)
    made = repeated([root, *(it for it in chain if it.ref != root.ref)], replace(WITH_CHILDREN, label="red"))[1]
    assert (made.label, made.name) == (expected, "hero.2" if step == "hero" else step)
    assert repeated([root, *chain])[1].label == label


async def test_what_a_person_allowed_stays_allowed_unless_other_pictures_come(store: Store) -> None:
    chain = await a_chain(store)
    assert [it.anyway for it in repeated(chain)] == [True, True, True]
    assert [it.anyway for it in repeated(chain, replace(WITH_CHILDREN, prompt="x"))] == [False, False, False]
