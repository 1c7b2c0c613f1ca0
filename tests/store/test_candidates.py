"""Who knows one callback URL can neither hide the true result, nor be believed, nor make us poll without end."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from kit.fakes import (
    HOUR,
    MINUTE,
    NOW,
    POLICY,
    SECOND,
    Clock,
    FakeProvider,
    a_task,
    attention,
    foreign,
    got,
    notices,
    put,
    says,
)
from kit.sweep_loop import NOTHING, UNKNOWN, UNREADABLE, Rig, a_sweep, heard
from receiver.core.hints import CANDIDATES_MOST, DENIED_MOST
from receiver.core.types import ConfirmMode, Ending, Image, NoticeEvent, PollReply, Task, TaskState
from receiver.store import open_store

pytestmark = pytest.mark.anyio

FAKE = (Image(0, "https://evil.example/0.png"),)
LATE = NOW + POLICY.deadline_ms
Replies = Callable[[str], PollReply]


class Registry(FakeProvider):
    """A provider that knows the tasks in `known`, and no other."""

    def __init__(self) -> None:
        super().__init__()
        self.known: dict[str, PollReply] = {}

    async def poll(self, task_id: str) -> PollReply:
        self.polled.append(task_id)
        return self.known.get(task_id, UNKNOWN)


class Scene(Rig, frozen=True, eq=False):
    """A sweep before such a provider."""

    async def until(self, at: int) -> None:
        """All that the sweep does up to that time."""
        while True:
            work = await self.sweep.claim()
            if work is not None:
                await self.sweep.carry_out(work)
                continue
            due = await self.sweep.next_due()
            if due is None or due > at:
                self.clock.now = at
                return
            self.clock.now = due

    @property
    def registry(self) -> Registry:
        assert isinstance(self.provider, Registry)
        return self.provider

    async def unsure(self, **more: Any) -> Task:
        """A task whose id we do not know."""
        task = a_task(**{"task_id": None, "unsure": True, **more})
        await put(self.store, task)
        return task

    async def fake(self, task: Task, number: int) -> None:
        await self.receive(task, says(Ending.COMPLETED, f"fake-{number}", images=FAKE))


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    store = await open_store(tmp_path / "r.db")
    provider, clock = Registry(), Clock()
    yield Scene(store, provider, clock, a_sweep(store, provider, clock))
    await store.close()


async def pictures(scene: Scene, task: Task) -> list[str]:
    return [it.url for it in (await scene.store.tasks.images_by_ref([task.ref])).get(task.ref, ())]


# -- none hides another --


@pytest.mark.parametrize("fakes", [1, 7, 8, 30])
async def test_the_true_result_is_found_behind_fakes(scene: Scene, fakes: int) -> None:
    """Beyond eight it waits for room among the kept bodies."""
    task = await scene.unsure()
    for number in range(fakes):
        await scene.fake(task, number)
    await scene.receive(task, says(Ending.COMPLETED, "true"))
    scene.registry.known["true"] = heard(says(Ending.COMPLETED, "true"))
    await scene.until(NOW + 5 * MINUTE)
    after = await got(scene.store, task.ref)
    assert (after.state, after.task_id, after.confirmed) == (TaskState.COMPLETED, "true", True)
    assert not any("evil" in url for url in await pictures(scene, task))
    assert scene.registry.polled == [*(f"fake-{number}" for number in range(fakes)), "true"], "the oldest first"


async def test_fakes_that_are_tasks_of_another_kind_give_up_their_places(scene: Scene) -> None:
    """The provider knows these ids, but by their model and time they are not this task."""
    task = await scene.unsure()
    for number in range(CANDIDATES_MOST):
        scene.registry.known[f"fake-{number}"] = heard(says(Ending.COMPLETED, f"fake-{number}", model="another"))
        await scene.fake(task, number)
    await scene.receive(task, says(Ending.COMPLETED, "true"))
    scene.registry.known["true"] = heard(says(Ending.COMPLETED, "true"))
    await scene.until(NOW + 10 * MINUTE)
    assert (await got(scene.store, task.ref)).task_id == "true"


async def test_each_candidate_has_its_turn_until_it_is_denied(scene: Scene) -> None:
    task = await scene.unsure()
    for number in range(3):
        scene.registry.known[f"fake-{number}"] = NOTHING
        await scene.receive(task, says(Ending.RUNNING, f"fake-{number}"))
    await scene.until(NOW + 10 * MINUTE)
    assert scene.registry.polled[:6] == ["fake-0", "fake-1", "fake-2"] * 2
    assert set((await got(scene.store, task.ref)).candidates) == {"fake-0", "fake-1", "fake-2"}


async def test_an_id_of_another_task_is_not_a_candidate_even_if_it_became_that_later(scene: Scene) -> None:
    task = await scene.unsure()
    await put(scene.store, a_task(task_id="other", poll_at=None))
    await scene.receive(task, says(Ending.COMPLETED, "other"))
    await scene.receive(task, says(Ending.COMPLETED, "later"))
    assert (await got(scene.store, task.ref)).candidates == ("later",)
    await put(scene.store, a_task(task_id="later", poll_at=None))
    await scene.until(NOW + MINUTE)
    assert scene.registry.polled == []


async def test_candidates_are_polled_when_the_known_id_is_denied_and_one_may_take_its_place(scene: Scene) -> None:
    """An early callback gave a wrong id, and the answer to the submission never came."""
    task = a_task(task_id="wrong", poll_at=NOW)
    await put(scene.store, task)
    await scene.receive(task, says(Ending.RUNNING, "true"))
    scene.registry.known["true"] = heard(says(Ending.RUNNING, "true", progress=0.5))
    await scene.until(NOW + MINUTE)
    after = await got(scene.store, task.ref)
    assert (after.task_id, after.progress, after.candidates) == ("true", 0.5, ())


async def test_candidates_are_left_alone_while_the_provider_knows_the_task(scene: Scene) -> None:
    task = a_task(poll_at=NOW)
    await put(scene.store, task)
    scene.registry.known["job-1"] = heard(says(Ending.RUNNING))
    await scene.fake(task, 1)
    await scene.until(NOW + HOUR)
    assert set(scene.registry.polled) == {"job-1"}


async def test_a_known_id_that_was_denied_for_a_moment_is_polled_on(scene: Scene) -> None:
    task = a_task(poll_at=NOW)
    await put(scene.store, task)
    await scene.fake(task, 1)
    await scene.until(NOW + MINUTE)
    scene.registry.known["job-1"] = heard(says(Ending.COMPLETED))
    await scene.until(NOW + 10 * MINUTE)
    after = await got(scene.store, task.ref)
    assert (after.state, after.task_id, after.confirmed) == (TaskState.COMPLETED, "job-1", True)


# -- no poll without end --


async def test_a_denied_id_is_not_taken_again(scene: Scene) -> None:
    task = await scene.unsure()
    for _ in range(5):
        await scene.fake(task, 1)
        await scene.until(scene.clock() + MINUTE)
    assert scene.registry.polled == ["fake-1"]


async def test_made_up_ids_bring_no_more_than_so_many_polls_at_once(scene: Scene) -> None:
    task = await scene.unsure()
    for number in range(3 * DENIED_MOST):
        await scene.receive(task, says(Ending.RUNNING, f"fake-{number}"))
        await scene.until(scene.clock() + SECOND)
    assert DENIED_MOST <= len(scene.registry.polled) <= DENIED_MOST + 8
    assert len((await got(scene.store, task.ref)).denied) == DENIED_MOST


async def test_made_up_ids_do_not_put_off_the_deadline(scene: Scene) -> None:
    task = await scene.unsure(place_until=None)
    number = 0
    scene.clock.now = LATE - MINUTE
    while (await got(scene.store, task.ref)).state is TaskState.WAITING:
        assert scene.clock() < LATE + HOUR
        for _ in range(4):
            number += 1
            await scene.receive(task, says(Ending.RUNNING, f"fake-{number}"))
        await scene.until(scene.clock() + SECOND)


# -- what does not fit says nothing --


async def test_a_reply_that_does_not_fit_refutes_nothing(scene: Scene) -> None:
    """Neither for the hint: a poll by the attacker's id says "running", of another task."""
    task = await scene.unsure()
    await scene.receive(task, foreign(Ending.COMPLETED))
    await scene.receive(task, says(Ending.RUNNING, "fake"))
    scene.registry.known["fake"] = heard(says(Ending.RUNNING, "fake", model="another"))
    await scene.until(NOW + POLICY.confirm_within_ms)
    after = await got(scene.store, task.ref)
    assert (after.state, after.confirmed) == (TaskState.COMPLETED, False)


async def test_a_reply_that_does_not_fit_does_not_stand_for_the_others_at_the_deadline(scene: Scene) -> None:
    task = await scene.unsure(place_until=None)
    for name in ("fake", "true"):
        await scene.receive(task, says(Ending.RUNNING, name))
    scene.registry.known |= {"fake": heard(says(Ending.RUNNING, "fake", model="another")), "true": NOTHING}
    await scene.until(LATE + HOUR)
    assert (await got(scene.store, task.ref)).state is TaskState.WAITING, "the true one did not answer yet"
    scene.registry.known["true"] = heard(says(Ending.COMPLETED, "true"))
    await scene.until(LATE + 2 * HOUR)
    assert (await got(scene.store, task.ref)).state is TaskState.COMPLETED


@pytest.mark.parametrize("reply", [heard(says(Ending.RUNNING, "fake", model="another")), UNKNOWN, UNREADABLE])
async def test_a_task_with_nothing_but_useless_ids_is_lost_in_time(scene: Scene, reply: PollReply) -> None:
    task = await scene.unsure(place_until=None)
    scene.registry.known["fake"] = reply
    await scene.receive(task, says(Ending.RUNNING, "fake"))
    await scene.until(LATE + HOUR)
    assert (await got(scene.store, task.ref)).state is TaskState.LOST


async def test_a_reply_about_an_id_that_is_no_longer_the_tasks_is_ignored(scene: Scene) -> None:
    """While the candidate was polled, the answer to the submission gave the id."""
    task = await scene.unsure()
    await scene.fake(task, 1)
    work = await scene.sweep.claim()
    assert work is not None
    assert work.task_id == "fake-1"
    known = await got(scene.store, task.ref)
    async with scene.store.write() as tx:
        await tx.tasks.update([(known, replace(known, task_id="job-1", unsure=False))])
    scene.registry.known["fake-1"] = heard(says(Ending.COMPLETED, "fake-1", images=FAKE))
    await scene.sweep.carry_out(work)
    after = await got(scene.store, task.ref)
    assert (after.state, after.task_id) == (TaskState.WAITING, "job-1")


# -- which end may settle, and what is said of it --


async def settled(scene: Scene, task: Task) -> tuple[list[str], str]:
    """The pictures, and why nothing confirmed them, of a task that settles unconfirmed."""
    await scene.until(NOW + 2 * POLICY.confirm_within_ms)
    after = await got(scene.store, task.ref)
    assert (after.state, after.confirmed) == (TaskState.COMPLETED, False)
    [notice] = await notices(scene.store, event=NoticeEvent.COMPLETED)
    assert notice.report.unconfirmed is not None
    return await pictures(scene, task), notice.report.unconfirmed


async def test_an_end_that_the_provider_denied_does_not_settle_where_another_stands(scene: Scene) -> None:
    task = await scene.unsure()
    await scene.fake(task, 1)
    scene.clock.forward(MINUTE)
    await scene.receive(task, foreign(Ending.COMPLETED))
    urls, why = await settled(scene, task)
    assert not any("evil" in url for url in urls)
    assert "other callbacks" not in why, "what was denied is not worth a word"


async def test_an_end_that_was_asked_about_is_not_told_as_one_that_could_not_be(scene: Scene) -> None:
    task = await scene.unsure()
    await scene.fake(task, 1)
    _, why = await settled(scene, task)
    assert why == "the provider does not confirm the id in it, fake-1"
    assert (await got(scene.store, task.ref)).task_id is None


async def test_if_nothing_could_be_asked_that_is_told(scene: Scene) -> None:
    task = await scene.unsure()
    await scene.receive(task, foreign(Ending.COMPLETED))
    assert (await settled(scene, task))[1] == ("the provider could not be asked, because its id of the task is unknown")


async def test_of_several_ends_the_oldest_settles_and_the_others_are_told(scene: Scene) -> None:
    task = await scene.unsure()
    await scene.receive(task, foreign(Ending.COMPLETED))
    await scene.receive(task, foreign(Ending.COMPLETED, images=FAKE))
    urls, why = await settled(scene, task)
    assert not any("evil" in url for url in urls)
    assert f"other callbacks report another end, `receiver tasks show {task.ref}`" in why


async def test_an_end_that_a_poll_refuted_gives_way_to_one_that_came_later(scene: Scene) -> None:
    task = a_task(poll_at=NOW)
    await put(scene.store, task)
    scene.registry.known["job-1"] = heard(says(Ending.RUNNING))
    await scene.receive(task, foreign(Ending.COMPLETED, images=FAKE))
    await scene.until(NOW + MINUTE)
    scene.registry.known["job-1"] = NOTHING
    await scene.until(NOW + 10 * MINUTE)
    await scene.receive(task, foreign(Ending.COMPLETED))
    urls, _ = await settled(scene, task)
    assert not any("evil" in url for url in urls)


async def test_with_confirm_always_a_person_is_told_that_ends_disagree(scene: Scene) -> None:
    policy = replace(POLICY, confirm=ConfirmMode.ALWAYS)
    sweep = a_sweep(scene.store, scene.provider, scene.clock, policy)
    scene = Scene(scene.store, scene.provider, scene.clock, sweep)
    task = await scene.unsure()
    await scene.receive(task, foreign(Ending.COMPLETED), policy)
    await scene.receive(task, foreign(Ending.FAILED), policy)
    await scene.until(NOW + HOUR)
    assert f"disputed:{task.ref}" in await attention(scene.store)
    assert await scene.store.tasks.places_taken(scene.clock()) == 0, "its place is free"
