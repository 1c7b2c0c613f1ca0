"""Tasks that go on from another one as a whole, such as a reroll: which of its pictures came does not matter."""

import msgspec
import pytest
from msgspec.structs import replace

from kit.chain_requests import an_intake, ask, make, refused, task_of
from kit.chains import ChainBench, a_child, pictures
from kit.fakes import a_task
from receiver.client.schemas import AgainRequest, NewTask, WaitFor
from receiver.core.types import HoldReason, Image, Task, TaskState
from receiver.store import Store
from receiver.tasks.again import repeat_chain

pytestmark = pytest.mark.anyio
REROLL = "midjourney_reroll"
WITHOUT_JOB = replace(pictures()[0], job_id=None)


def a_reroll(parent: Task) -> Task:
    return replace(a_child(parent), model=REROLL, params=b"{}")


@pytest.mark.parametrize(
    ("came", "number"), [(pictures(), 0), (pictures()[2:], 2), ((WITHOUT_JOB, *pictures()[1:]), 1)]
)
async def test_any_picture_that_came_will_do(store: Store, came: tuple[Image, ...], number: int) -> None:
    bench = ChainBench(store)
    root, child = await bench.plant(parent := a_task(), a_reroll(parent))
    await bench.end(root, images=came)
    await bench.follow_all()
    [child] = await bench.read(child)
    assert (child.state, child.held_by, child.parent_image) == (TaskState.QUEUED, None, number)
    assert msgspec.json.decode(child.params) == {"jobId": f"job of {number}"}


@pytest.mark.parametrize("came", [(), (WITHOUT_JOB,)])
async def test_without_a_job_a_person_is_asked(store: Store, came: tuple[Image, ...]) -> None:
    bench = ChainBench(store)
    root, child = await bench.plant(parent := a_task(), a_reroll(parent))
    await bench.end(root, images=came)
    await bench.follow_all()
    [child] = await bench.read(child)
    assert child.held_by is HoldReason.PICK


@pytest.mark.parametrize("asked", [NewTask(REROLL, {}), NewTask("midjourney_diffusion", {"text": "x"})])
async def test_none_of_its_pictures_is_named_and_it_is_submitted_again_in_the_same_way(
    store: Store, asked: NewTask
) -> None:
    root = task_of((await ask(store, make()))[0])
    for image_no in (0, 3, 63):
        [result] = await ask(store, replace(asked, wait_for=WaitFor(root.ref, image_no=image_no)))
        assert (refused(result).status, refused(result).field) == (422, "wait_for.image_no")
        assert "leave it out" in str(refused(result))
    child = task_of((await ask(store, replace(asked, wait_for=root.ref)))[0])
    await an_intake(store).cancel_task(child.ref)
    new, _ = await an_intake(store).submit_again(child.ref, AgainRequest(), None)
    if asked.model == REROLL:
        assert (new.parent, new.parent_image) == (root.ref, 0)
    chain = await store.chains.tasks_of(root.ref, 64)
    made = repeat_chain(root, chain, AgainRequest(with_children=True), (), None)
    assert {it.asked.wait_for.image_no for it in made if isinstance(it.asked.wait_for, WaitFor)} == {None}
    again, _ = await an_intake(store).submit_again(root.ref, AgainRequest(with_children=True), None)
    assert (again.children, again.ref == root.ref) == (len(made) - 1, False)
