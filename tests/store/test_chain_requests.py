"""New tasks that go on from others: found, judged, and made one for each picture."""

from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from kit.chain_requests import add_pictures, ask, big, created, make, refused, task_of, wide
from kit.fakes import NOW, a_task, got, put
from receiver.client.schemas import NewTask, WaitFor
from receiver.core.types import HoldReason, TaskError, TaskOrigin, TaskState
from receiver.providers.vtrix.follow_rules import Traits
from receiver.store import Store
from receiver.tokens import new_ref

pytestmark = pytest.mark.anyio

NOBODY = new_ref(NOW, b"0123456789")  # the same in each process that collects the tests


async def test_a_chain_of_one_call_is_there_at_once(store: Store) -> None:
    results = await ask(
        store,
        big(name="big", wait_for=WaitFor(name="wide", image_no=0)),  # in any order
        make(name="make", label="hero"),
        wide(name="wide", wait_for=WaitFor(name="make", image_no=2), label="hero", ping=True),
    )
    third, first, second = [task_of(it) for it in results]
    assert [await got(store, it.ref) for it in (first, second, third)] == [first, second, third]
    assert {it.root for it in (first, second, third)} == {first.ref}
    assert [it.parent for it in (first, second, third)] == [None, first.ref, second.ref]
    assert [it.depth for it in (first, second, third)] == [0, 1, 2]
    assert [it.held_by for it in (first, second, third)] == [None, HoldReason.PARENT, HoldReason.PARENT]
    assert [it.due_at for it in (first, second, third)] == [NOW, None, None]
    assert [it.children for it in (first, second, third)] == [1, 1, 0]
    assert [it.step for it in (first, second, third)] == ["make", "wide", "big"]
    assert second.parent_image == 2
    assert second.ping is True
    assert msgspec.json.decode(second.params) == {"scale": 1.5}, "the rest is filled when the first one completes"
    assert await store.tasks.next_queued(NOW) == first


async def test_a_step_without_a_prompt_has_that_of_the_one_before_it_for_messages(store: Store) -> None:
    results = await ask(
        store,
        make(name="make"),
        wide(name="wide", wait_for=WaitFor(name="make", image_no=2)),
        big(name="big", wait_for=WaitFor(name="wide", image_no=0)),
    )
    first, second, third = [task_of(it) for it in results]
    assert first.prompt
    assert second.prompt == third.prompt == first.prompt
    assert first.prompt.encode() not in second.params + third.params
    [result] = await ask(
        store,
        NewTask(
            "midjourney_outpaint",
            {"scale": 1.5, "remixPrompt": "the sea"},
            wait_for=WaitFor(ref=first.ref, image_no=1),
        ),
    )
    assert task_of(result).prompt == "the sea"


async def test_one_task_is_made_for_each_picture(store: Store) -> None:
    [root, result] = await ask(store, make(name="a"), wide(label="L", wait_for=WaitFor(name="a", image_no="all")))
    tasks = created(result).tasks
    assert [(it.parent_image, it.label, it.of_all) for it in tasks] == [(n, f"L #{n}", True) for n in range(4)]
    assert len({it.ref for it in tasks}) == 4
    assert task_of(root).children == 4
    assert [await got(store, it.ref) for it in tasks] == list(tasks)
    [result] = await ask(store, big(wait_for=WaitFor(ref=tasks[0].ref, image_no=(3, 1))))
    assert [(it.parent_image, it.label, it.of_all) for it in created(result).tasks] == [
        (3, None, False),
        (1, None, False),
    ]


async def test_what_goes_on_from_a_multiplied_task_hangs_on_each_of_its_copies(store: Store) -> None:
    _, second, third = await ask(
        store,
        make(name="a"),
        wide(name="b", wait_for=WaitFor(name="a", image_no=(0, 2))),
        big(label="L", wait_for=WaitFor(name="b", image_no=(1, 3))),
    )
    parents = created(second).tasks
    tasks = created(third).tasks
    assert [(it.parent, it.parent_image) for it in tasks] == [(p.ref, n) for p in parents for n in (1, 3)]
    assert [it.label for it in tasks] == ["L #0.1", "L #0.3", "L #2.1", "L #2.3"]
    assert [it.children for it in parents] == [2, 2]


async def test_a_long_label_is_cut_for_its_number(store: Store) -> None:
    [_, result] = await ask(store, make(name="a"), wide(label="x" * 200, wait_for=WaitFor(name="a", image_no=(0, 1))))
    assert [it.label for it in created(result).tasks] == ["x" * 197 + " #0", "x" * 197 + " #1"]


@pytest.mark.parametrize(
    ("model", "params", "image_no"),
    [
        ("midjourney_reroll", {}, 0),  # takes the whole job
        ("midjourney_diffusion", {"text": "x"}, 0),  # takes nothing: it only waits
    ],
)
async def test_no_picture_is_named_where_none_is_needed(
    store: Store, model: str, params: dict[str, Any], image_no: int
) -> None:
    parent = task_of((await ask(store, make()))[0])
    [result] = await ask(store, NewTask(model, params, wait_for=parent.ref))
    assert task_of(result).parent_image == image_no
    [result] = await ask(store, NewTask(model, params, wait_for=WaitFor(parent.ref, image_no="pick")))
    assert (refused(result).status, refused(result).field) == (422, "wait_for.image_no")


async def test_the_only_picture_need_not_be_named(store: Store) -> None:
    _, _, third = await ask(
        store,
        make(name="a"),
        big(name="b", wait_for=WaitFor(name="a", image_no=3)),
        NewTask("midjourney_remove_background", {}, wait_for=WaitFor(name="b")),
    )
    assert task_of(third).parent_image == 0
    parent = task_of((await ask(store, make()))[0])
    [result] = await ask(store, wide(wait_for=parent.ref))
    assert (refused(result).code, refused(result).field) == ("invalid_parameter", "wait_for.image_no")


async def test_one_that_a_person_picks_for_counts_as_a_pick(store: Store) -> None:
    [root, result] = await ask(store, make(name="a"), wide(wait_for=WaitFor(name="a", image_no="pick")))
    task = task_of(result)
    assert (task.parent_image, task.held_by) == (None, HoldReason.PARENT)
    assert (task_of(root).children, task_of(root).picks) == (1, 1)
    assert await got(store, task_of(root).ref) == task_of(root)


@pytest.mark.parametrize(
    ("wait", "code", "field"),
    [
        (WaitFor(image_no=4), "unlikely", "wait_for.image_no"),
        (WaitFor(image_no=()), "invalid_parameter", "wait_for.image_no"),
        (WaitFor(image_no=(1, 1)), "invalid_parameter", "wait_for.image_no"),
        (WaitFor(image_no="some"), "invalid_parameter", "wait_for.image_no"),
        (WaitFor(name="x", image_no=0), "invalid_parameter", "wait_for"),
    ],
)
async def test_a_wrong_picture_is_refused(store: Store, wait: WaitFor, code: str, field: str) -> None:
    parent = task_of((await ask(store, make()))[0])
    [result] = await ask(store, wide(wait_for=replace(wait, ref=parent.ref)))
    assert (refused(result).status, refused(result).code, refused(result).field) == (422, code, field)
    assert await got(store, parent.ref) == parent


async def test_anyway_does_not_lift_what_the_provider_itself_says_of_numbers(store: Store) -> None:
    parent = task_of((await ask(store, make()))[0])
    [result] = await ask(store, wide(anyway=True, wait_for=WaitFor(parent.ref, image_no=4)))
    assert refused(result).field == "wait_for.image_no"


async def test_what_the_earlier_task_fills_cannot_be_given_too(store: Store) -> None:
    parent = task_of((await ask(store, make()))[0])
    [result] = await ask(
        store, replace(wide(wait_for=WaitFor(parent.ref, image_no=0)), params={"jobId": "j", "scale": 1.5})
    )
    assert (refused(result).code, refused(result).field) == ("invalid_parameter", "jobId")


@pytest.mark.parametrize("wait", ["x", NOBODY, WaitFor(ref=NOBODY, image_no=0), WaitFor(name="nobody")])
async def test_an_unknown_parent_is_refused(store: Store, wait: str | WaitFor) -> None:
    [result] = await ask(store, wide(wait_for=wait))
    assert (refused(result).status, refused(result).code, refused(result).field) == (404, "unknown_parent", "wait_for")


@pytest.mark.parametrize("state", [TaskState.FAILED, TaskState.CANCELLED])
async def test_nothing_goes_on_from_a_task_that_failed(store: Store, state: TaskState) -> None:
    parent = a_task(state, error=TaskError("004007098", "moderated"))
    await put(store, parent)
    [result] = await ask(store, big(wait_for=WaitFor(parent.ref, image_no=0)))
    assert (refused(result).status, refused(result).code) == (409, "parent_failed")
    assert "moderated" in str(refused(result))


async def test_one_that_goes_on_from_a_lost_task_waits_with_a_warning(store: Store) -> None:
    parent = a_task(TaskState.LOST)
    await put(store, parent)
    [result] = await ask(store, big(wait_for=WaitFor(parent.ref, image_no=0)))
    assert task_of(result).held_by is HoldReason.PARENT
    [warning] = created(result).warnings
    assert "is lost" in warning
    assert await store.chains.next_followups(10) == []


async def test_one_that_goes_on_from_an_unconfirmed_end_waits_with_a_warning(store: Store) -> None:
    parent = a_task(TaskState.COMPLETED, confirmed=False)
    await put(store, parent)
    await add_pictures(store, parent)
    [result] = await ask(store, big(wait_for=WaitFor(parent.ref, image_no=0)))
    assert task_of(result).held_by is HoldReason.PARENT
    assert f"receiver tasks release {parent.ref}" in created(result).warnings[0]
    assert await store.chains.next_followups(10) == []


async def test_one_that_goes_on_from_a_failure_that_nothing_confirms_waits_with_a_warning(store: Store) -> None:
    parent = a_task(TaskState.FAILED, confirmed=False, error=TaskError("004007098", "moderated"))
    await put(store, parent)
    [result] = await ask(store, big(wait_for=WaitFor(parent.ref, image_no=0)))
    assert task_of(result).held_by is HoldReason.PARENT
    [warning] = created(result).warnings
    assert warning.startswith("no poll has confirmed that ")
    assert await store.chains.next_followups(10) == []
    now = await got(store, parent.ref)
    assert now.children == 1
    async with store.write() as tx:
        await tx.tasks.update([(now, replace(now, confirmed=True))])
    assert await store.chains.next_followups(10) == [parent.ref]


async def test_one_that_goes_on_from_a_completed_task_is_told_so_at_once(store: Store) -> None:
    parent = a_task(TaskState.COMPLETED)
    await put(store, parent)
    await add_pictures(store, parent, "a", "b")
    [result] = await ask(store, big(wait_for=WaitFor(parent.ref, image_no="all")))
    assert [it.parent_image for it in created(result).tasks] == [0, 1], "as many as there are"
    assert await store.chains.next_followups(10) == [parent.ref]
    assert (await got(store, parent.ref)).root == parent.ref
    assert [it.ref for it in await store.chains.tasks_of(parent.ref, 10)] == sorted(
        [parent.ref, *(it.ref for it in created(result).tasks)]
    )
    [result] = await ask(store, big(wait_for=WaitFor(parent.ref, image_no=2)))
    assert "picture 2 was not made" in str(refused(result))


async def test_a_pick_of_a_completed_task_is_open_at_once(store: Store) -> None:
    parent = a_task(TaskState.COMPLETED)
    await put(store, parent)
    await add_pictures(store, parent, "a", "b")
    [result] = await ask(store, wide(wait_for=WaitFor(parent.ref, image_no="pick")))
    assert task_of(result).held_by is HoldReason.PICK
    assert (await got(store, parent.ref)).picks == 1


async def test_what_probably_cannot_follow_is_refused_unless_it_is_wanted_anyway(store: Store) -> None:
    parent = task_of((await ask(store, make("x --v 8.1")))[0])
    [result] = await ask(store, wide(wait_for=WaitFor(parent.ref, image_no=0)))
    assert (refused(result).status, refused(result).code, refused(result).field) == (422, "unlikely", "wait_for")
    [result] = await ask(store, wide(anyway=True, wait_for=WaitFor(parent.ref, image_no=0)))
    assert any("8.1" in it for it in created(result).warnings)


async def test_what_a_task_is_follows_from_those_before_it(store: Store) -> None:
    _, second, third = await ask(
        store,
        make("x --draft", name="a"),
        NewTask("midjourney_enhance", {}, name="b", wait_for=WaitFor(name="a", image_no=0)),
        big(wait_for=WaitFor(name="b", image_no=0)),
    )
    traits = task_of(third).traits
    assert traits is not None
    assert msgspec.json.decode(traits, type=Traits).upscaled
    [again] = await ask(store, big(wait_for=WaitFor(task_of(third).ref)))
    assert refused(again).code == "unlikely"
    assert "enlarged already" in str(refused(again))
    task_of(second)


async def test_of_a_task_from_elsewhere_one_sentence_is_said(store: Store) -> None:
    parent = a_task(TaskState.WAITING, origin=TaskOrigin.MINTED, model=None)
    await put(store, parent)
    [result] = await ask(store, wide(wait_for=WaitFor(parent.ref, image_no=3)))
    assert len(created(result).warnings) == 1
    [result] = await ask(store, wide(wait_for=WaitFor(parent.ref, image_no="all")))
    assert "nobody knows how many" in str(refused(result))


async def test_a_model_that_is_not_declared_is_made_anyway_and_goes_on_from_nothing(store: Store) -> None:
    undeclared = NewTask("midjourney_blend", {"urls": ["https://a.example"]}, anyway=True)
    first, second = await ask(store, undeclared, replace(undeclared, anyway=False))
    assert "not a model that receiver knows" in created(first).warnings[0]
    assert refused(second).code == "unknown_model"
    [result] = await ask(store, replace(undeclared, wait_for=task_of(first).ref))
    assert refused(result).field == "wait_for"
    [result] = await ask(store, big(wait_for=WaitFor(task_of(first).ref, image_no=0)))
    assert "nobody checks" in created(result).warnings[0]


async def test_what_nobody_documents_is_made_with_a_warning(store: Store) -> None:
    [result] = await ask(store, NewTask("midjourney_V8.1_t2i", {"text": "x", "style": "raw"}))
    assert any("style" in it for it in created(result).warnings)
    assert created((await ask(store, make()))[0]).warnings == ()
