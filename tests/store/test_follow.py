"""What becomes of the tasks that wait for another one, once that has ended: in turns, each time exactly once."""

from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from kit.chains import OUTPAINT, PUBLIC, RETEXTURE, UPSCALE, ChainBench, a_child, check_counts, pictures
from kit.fakes import HOUR, MAIL, POLICY, SLACK, a_task, attention, got, notices, put
from receiver.core import chains
from receiver.core.types import Ending, HoldReason, ImageCopy, NoticeEvent, OutcomeSource, TaskState
from receiver.store import Store
from receiver.tasks import follow

pytestmark = pytest.mark.anyio


async def test_a_child_is_filled_and_queued_once_its_parent_has_completed(store: Store) -> None:
    bench = ChainBench(store)
    root = a_task()
    one, two = a_child(root, 2), a_child(root, 1, UPSCALE)
    root, one, two = await bench.plant(root, one, two)
    assert (root.children, root.picks) == (2, 0)
    assert await bench.follow_all() == 0, "the parent has not ended"
    root = await bench.end(root)
    assert root.children == 2, "nothing is released in the transaction that settles"
    assert await bench.follow_all() == 1
    root, one, two = await bench.read(root, one, two)
    assert (root.children, root.picks) == (0, 0)
    for child, params in (
        (one, {"jobId": "job of 2", "imageNo": 2, "scale": 1.5}),
        (two, {"jobId": "job of 1", "imageNo": 1, "type": 0}),
    ):
        assert (child.state, child.held_by, child.due_at) == (TaskState.QUEUED, None, bench.clock())
        assert msgspec.json.decode(child.params) == params
    assert await notices(store) == [], "a step from which others go on is silent"
    await check_counts(store)


async def test_one_that_wants_a_pick_waits_for_it_and_the_notice_says_so(store: Store) -> None:
    bench = ChainBench(store)
    root = a_task(quiet=True)
    root, pick, fixed = await bench.plant(root, a_child(root, None), a_child(root, 0))
    assert (root.children, root.picks) == (2, 1)
    await bench.end(root)
    await bench.follow_all()
    root, pick, fixed = await bench.read(root, pick, fixed)
    assert (pick.held_by, pick.due_at) == (HoldReason.PICK, None)
    assert fixed.held_by is None
    assert (root.children, root.picks) == (1, 1)
    [notice] = await notices(store)
    assert (notice.event, notice.report.picks) == (NoticeEvent.COMPLETED, 1)
    await check_counts(store)


@pytest.mark.parametrize(
    ("more", "children", "speaks"),
    [
        ({}, [], True),
        ({"ping": False}, [], False),
        ({"ping": True}, [0], True),
        ({"quiet": True}, [], False),
        ({"quiet": True, "ping": True}, [], True),
        ({"ping": False}, [None], True),
        ({}, [0], False),
    ],
)
async def test_which_completions_are_reported(
    store: Store, more: dict[str, Any], children: list[int | None], speaks: bool
) -> None:
    bench = ChainBench(store)
    root = a_task(**more)
    await bench.plant(root, *(a_child(root, it) for it in children))
    await bench.end(root)
    assert bool(await notices(store)) is speaks


async def test_a_failed_step_is_always_reported_and_a_lost_one_says_how_many_wait(store: Store) -> None:
    bench = ChainBench(store)
    one, two = a_task(ping=False), a_task(task_id="job-2")
    await bench.plant(one, a_child(one))
    await bench.plant(two, a_child(two), a_child(two))
    await bench.end(one, Ending.FAILED)
    await bench.lose(two)
    failed, lost = await notices(store)
    assert failed.event is NoticeEvent.FAILED
    assert (lost.event, lost.report.waiting) == (NoticeEvent.LOST, 2)


async def test_a_lost_parent_keeps_its_children_and_a_late_end_releases_them(store: Store) -> None:
    bench = ChainBench(store)
    root = a_task()
    root, child = await bench.plant(root, a_child(root))
    await bench.lose(root)
    assert await bench.follow_all() == 0
    assert (await got(store, child.ref)).held_by is HoldReason.PARENT
    await check_counts(store)
    await bench.end(root)
    await bench.follow_all()
    assert (await got(store, child.ref)).held_by is None


@pytest.mark.parametrize("ending", [Ending.FAILED, Ending.CANCELLED])
async def test_a_whole_tree_goes_with_the_task_that_failed(store: Store, ending: Ending) -> None:
    bench = ChainBench(store)
    root = a_task(label="make")
    wide = a_child(root)
    big, other = a_child(wide), a_child(wide, None)
    last = a_child(big)
    root, *below = await bench.plant(root, wide, big, other, last)
    await bench.end(root, ending)
    assert await bench.follow_all() == 3, "a turn for each step"
    for task in await bench.read(*below):
        assert (task.state, task.settled_by, task.settled_at) == (
            TaskState.CANCELLED,
            OutcomeSource.PARENT,
            bench.clock(),
        )
        assert task.error is not None
        assert task.error.code == chains.PARENT_FAILED
        how = "was cancelled" if ending is Ending.CANCELLED else "failed"
        assert task.error.message == f"“make”, which it goes on from, {how}: generation failed"
    assert len(await notices(store)) == 1, "one notice for all of it"
    await check_counts(store)


async def test_a_person_who_cancels_is_not_notified_of_what_goes_with_it(store: Store) -> None:
    bench = ChainBench(store)
    root = a_task(TaskState.QUEUED)
    child = a_child(root)
    root, child, last = await bench.plant(root, child, a_child(child))
    await bench.withdraw(root)
    await bench.follow_all()
    child, last = await bench.read(child, last)
    assert child.state is last.state is TaskState.CANCELLED
    assert await notices(store) == []


async def test_only_targets_that_did_not_hear_of_the_failure_hear_of_what_goes_with_it(store: Store) -> None:
    bench = ChainBench(store, replace(POLICY, targets=(SLACK, MAIL)))
    root = a_task(targets=("slack",))
    child = a_child(root, targets=("slack",))
    below = a_child(child, targets=("slack", "mail"))
    last = a_child(below, targets=("mail",))
    await bench.plant(root, child, below, last)
    await bench.end(root, Ending.FAILED)
    await bench.follow_all()
    told = [(it.target, it.ref) for it in await notices(store)]
    assert told == [("slack", root.ref), ("mail", below.ref)]


async def test_of_a_quiet_parent_nothing_was_heard_so_a_loud_child_is_reported(store: Store) -> None:
    bench = ChainBench(store)
    root = a_task(quiet=True)
    child = a_child(root, quiet=True)
    last = a_child(child)
    await bench.plant(root, child, last)
    await bench.end(root, Ending.FAILED)
    await bench.follow_all()
    assert [it.ref for it in await notices(store)] == [last.ref]


async def test_of_a_task_for_each_picture_the_surplus_is_cancelled_and_says_why(store: Store) -> None:
    bench = ChainBench(store)
    root = a_task(label="make")
    root, *all_ = await bench.plant(root, *(a_child(root, no, of_all=True) for no in range(4)))
    below = a_child(all_[3])
    await put(store, below)
    await bench.end(root, images=pictures(3))
    await bench.follow_all()
    *three, surplus, last = await bench.read(*all_, below)
    assert [it.held_by for it in three] == [None] * 3
    assert surplus.state is last.state is TaskState.CANCELLED
    assert surplus.error is not None
    assert surplus.error.message == "“make” came with 3 pictures only"
    assert last.error == surplus.error
    assert [it.ref for it in await notices(store)] == [surplus.ref]
    assert await attention(store) == []
    await check_counts(store)


@pytest.mark.parametrize(
    ("images", "why", "remedy"),
    [
        (pictures(1), "picture 2 did not come", "Run `receiver tasks pick {one} N` with the number of a picture"),
        ((), "picture 2 did not come", "and likewise for each of the others: {two} (picture 2)."),
        (pictures(4, job_id=None), "picture 2 came without a jobId", "`receiver tasks pick {root} 2 --job-id ID`"),
        (pictures(4, job_id="provider_task_id"), "picture 2 does not do: ", "`receiver tasks pick {one} N`"),
    ],
)
async def test_what_cannot_be_filled_waits_for_a_person_who_is_told_once(
    store: Store, images: tuple[Any, ...], why: str, remedy: str
) -> None:
    bench = ChainBench(store)
    root = a_task(label="make")
    root, one, two = await bench.plant(root, a_child(root, 2), a_child(root, 2, UPSCALE))
    await bench.end(root, images=images)
    await bench.follow_all()
    root, one, two = await bench.read(root, one, two)
    assert one.held_by is two.held_by is HoldReason.PICK
    assert (one.why or "").startswith(why)
    assert (root.children, root.picks) == (2, 2)
    [notice] = await notices(store, event=NoticeEvent.ATTENTION)
    text = notice.report.text or ""
    assert f"“make” has completed, but {why}" in text
    assert remedy.format(root=root.ref, one=one.ref, two=two.ref) in text
    await check_counts(store)


async def test_an_unconfirmed_end_releases_nobody_and_a_person_is_asked(store: Store) -> None:
    bench = ChainBench(store)
    root = a_task(label="make")
    root, child = await bench.plant(root, a_child(root))
    root = await bench.end(root, unconfirmed="nothing confirms it")
    assert await bench.follow_all() == 0
    assert (await got(store, child.ref)).held_by is HoldReason.PARENT
    [notice] = await notices(store)
    assert f"`receiver tasks release {root.ref}`" in (notice.report.text or "")
    await check_counts(store)


async def test_an_end_that_is_confirmed_later_is_followed_and_its_picks_are_asked_for_then(store: Store) -> None:
    bench = ChainBench(store)
    root = a_task()
    root, pick, fixed = await bench.plant(root, a_child(root, None), a_child(root, 0))
    root = await bench.end(root, unconfirmed="nothing confirms it")
    asked = len(await notices(store))
    async with store.write() as tx:
        await tx.tasks.update([(root, replace(root, confirmed=True))])
    await bench.follow_all()
    pick, fixed = await bench.read(pick, fixed)
    assert (pick.held_by, fixed.held_by) == (HoldReason.PICK, None)
    assert len(await notices(store)) == asked, "that is what the decision does which confirms it"


async def test_a_refused_task_that_is_open_again_is_not_followed(store: Store) -> None:
    """A gateway may refuse what the provider takes, and a callback says so before the children were told."""
    bench = ChainBench(store)
    root = a_task(TaskState.SUBMITTING)
    root, child = await bench.plant(root, a_child(root))
    ended = replace(root, state=TaskState.FAILED, settled_by=OutcomeSource.ANSWER, settled_at=bench.clock())
    async with store.write() as tx:
        await tx.tasks.update([(root, ended)])
        await tx.tasks.update([(ended, replace(ended, state=TaskState.WAITING, settled_by=None, settled_at=None))])
    assert await store.chains.next_followups(10) == []
    assert (await got(store, child.ref)).held_by is HoldReason.PARENT


# -- a picture's address --


async def copied(store: Store, ref: str, file: str | None = "1.png") -> None:
    async with store.write() as tx:
        await tx.copies.upsert([(ref, ImageCopy(1, file=file))])


@pytest.mark.parametrize(
    ("later_ms", "public", "file", "address", "why"),
    [
        (HOUR - 1, False, None, "https://pics.example/1.png", None),
        (HOUR, True, "1.png", PUBLIC, None),
        (HOUR, False, "1.png", None, "PUBLIC_URL cannot be reached from outside"),
        (HOUR, True, None, None, "there is no copy of it here"),
    ],
)
async def test_a_picture_is_given_by_the_providers_link_while_that_works_and_then_by_ours(
    store: Store, later_ms: int, public: bool, file: str | None, address: str | None, why: str | None
) -> None:
    bench = ChainBench(store, public=public)
    root = a_task()
    root, child = await bench.plant(root, a_child(root, 1, RETEXTURE))
    await copied(store, root.ref, file)
    await bench.end(root)
    bench.clock.forward(later_ms)
    await bench.follow_all()
    child = await got(store, child.ref)
    if address is not None:
        assert msgspec.json.decode(child.params)["imgUrl"].startswith(address)
        assert child.held_by is None
    else:
        assert child.held_by is HoldReason.PICK
        assert why is not None
        assert why in (child.why or "")
        await bench.picks.pick(child.ref, [1])
        assert b"https://pics.example/1.png" in (await got(store, child.ref)).params, "a person tries the old link"


# -- turns --


async def test_the_children_of_many_parents_share_a_turn_and_those_of_one_may_need_several(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow, "TURN_S", 3600.0)
    monkeypatch.setattr(follow, "CHILDREN_MOST", 5)
    bench = ChainBench(store)
    parents = [a_task(task_id=f"job {no}") for no in range(7)]
    children = [a_child(it) for it in parents for _ in range(3)]
    await put(store, *parents, *children)
    for it in parents:
        await bench.end(it)
    turns = await bench.follow_all()
    assert 5 <= turns <= 12
    assert {it.held_by for it in await bench.read(*children)} == {None}
    await check_counts(store)


async def test_a_turn_that_took_long_makes_the_next_one_small(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow, "TURN_S", 0.0)
    bench = ChainBench(store)
    root = a_task()
    root, *children = await bench.plant(root, *(a_child(root) for _ in range(59)))
    await bench.end(root)
    # 32, then 16, then 8, then 3 of 4
    assert await bench.follow_all() == 4
    assert {it.held_by for it in await bench.read(*children)} == {None}


async def test_no_turn_writes_more_rows_than_it_may(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each child that is cancelled may have a notice for every target."""
    monkeypatch.setattr(follow, "TURN_S", 3600.0)
    targets = tuple(replace(SLACK, name=f"slack {no}") for no in range(40))
    bench = ChainBench(store, replace(POLICY, targets=targets))
    root = a_task(quiet=True)
    root, *children = await bench.plant(root, *(a_child(root) for _ in range(16)))
    await bench.end(root, Ending.FAILED)
    assert await bench.follow_all() == 4
    assert {it.state for it in await bench.read(*children)} == {TaskState.CANCELLED}
    assert len(await notices(store)) == 640
    await check_counts(store)


async def test_one_parent_that_cannot_be_followed_does_not_hold_up_the_others(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    bench = ChainBench(store)
    parents = [a_task(task_id=f"job {no}") for no in range(3)]
    children = [a_child(it) for it in parents]
    await put(store, *parents, *children)
    for it in parents:
        await bench.end(it)
    decide = chains.follow

    def broken(child: Any, parent: Any, *rest: Any) -> Any:
        if parent.ref == parents[1].ref:
            raise ValueError("nobody thought of that")
        return decide(child, parent, *rest)

    monkeypatch.setattr(follow, "follow", broken)
    for _ in range(8):
        if await bench.follow.claim() != "follow":
            due = await bench.follow.next_due()
            assert due is not None
            bench.clock.now = due
    assert [it.held_by for it in await bench.read(*children)] == [None, HoldReason.PARENT, None]
    assert "could not be told" in caplog.text
    monkeypatch.setattr(follow, "follow", decide)
    bench.clock.forward(HOUR)
    await bench.follow_all()
    assert (await got(store, children[1].ref)).held_by is None


async def test_what_was_followed_is_not_followed_again(store: Store) -> None:
    bench = ChainBench(store)
    root = a_task()
    root, child = await bench.plant(root, a_child(root))
    await bench.end(root)
    await bench.follow_all()
    before = await got(store, child.ref)
    async with store.write() as tx:
        await tx.chains.add_followups([root.ref])
    bench.clock.forward(HOUR)
    await bench.follow_all()
    assert await got(store, child.ref) == before


async def test_a_child_that_was_called_or_cancelled_no_longer_counts(store: Store) -> None:
    bench = ChainBench(store)
    root = a_task()
    root, one, two = await bench.plant(root, a_child(root), a_child(root, None, OUTPAINT))
    await bench.withdraw(two)
    assert ((await got(store, root.ref)).children, (await got(store, root.ref)).picks) == (1, 0)
    await bench.end(one)  # somebody submitted it elsewhere
    assert (await got(store, root.ref)).children == 0
    await bench.end(root)
    assert await bench.follow_all() == 0
    await check_counts(store)
