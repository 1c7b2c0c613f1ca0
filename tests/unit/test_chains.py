"""What becomes of a task once the one that it goes on from has ended, or a person has picked; to the corner."""

from typing import Any

import pytest
from msgspec.structs import replace

from kit.chains import OUTPAINT, UPSCALE, a_child, pictures
from kit.fakes import MAIL, NOW, POLICY, SECOND, SLACK, a_task
from receiver.core import chains
from receiver.core.chain_notices import cancelled_notices
from receiver.core.chains import Missing
from receiver.core.types import HoldReason, Image, NoticeEvent, OutcomeSource, Task, TaskError, TaskState

LATER = NOW + SECOND
DONE = a_task(TaskState.COMPLETED, label="make")
FAILED = a_task(TaskState.FAILED, label="make", error=TaskError("004007098", "generation failed"))


def fill(child: Task, image: Image) -> bytes | Missing:
    return f"{child.ref} from {image.image_no}".encode()


def fill_nothing(child: Task, image: Image) -> bytes | Missing:
    return Missing(f"picture {image.image_no} came without a jobId")


def test_a_child_of_a_completed_task_is_due_with_all_its_parameters() -> None:
    child = a_child(DONE, 1, why="said before")
    followed = chains.follow(child, DONE, pictures(2), fill, LATER)
    expected = replace(child, held_by=None, due_at=LATER, params=f"{child.ref} from 1".encode(), why=None)
    assert followed == chains.Followed(expected)


def test_without_a_number_it_waits_for_a_pick_whatever_came() -> None:
    child = a_child(DONE, None)
    for images in (pictures(4), ()):
        followed = chains.follow(child, DONE, images, fill_nothing, LATER)
        assert followed == chains.Followed(replace(child, held_by=HoldReason.PICK))


@pytest.mark.parametrize(
    ("images", "filler", "missing"),
    [
        (pictures(1), fill, "picture 1 did not come"),
        (pictures(4), fill_nothing, "picture 1 came without a jobId"),
    ],
)
def test_what_is_missing_is_said_and_a_person_may_pick_another(
    images: tuple[Image, ...], filler: chains.FillParams, missing: str
) -> None:
    child = a_child(DONE, 1)
    followed = chains.follow(child, DONE, images, filler, LATER)
    assert followed == chains.Followed(replace(child, held_by=HoldReason.PICK, why=missing), missing)


@pytest.mark.parametrize(("count", "came"), [(0, "0 pictures"), (1, "1 picture"), (2, "2 pictures")])
def test_of_one_for_each_picture_the_surplus_is_cancelled(count: int, came: str) -> None:
    child = a_child(DONE, 2, of_all=True)
    followed = chains.follow(child, DONE, pictures(count), fill, LATER)
    assert followed.missing is None
    assert followed.task.state is TaskState.CANCELLED
    assert followed.task.error == TaskError(chains.PARENT_FAILED, f"“make” came with {came} only")
    without_job = chains.follow(a_child(DONE, 0, of_all=True), DONE, pictures(1), fill_nothing, LATER)
    assert without_job.task.held_by is HoldReason.PICK, "it did come"


@pytest.mark.parametrize(
    ("parent", "message"),
    [
        (FAILED, "“make”, which it goes on from, failed: generation failed"),
        (replace(FAILED, error=None, label=None), f"{FAILED.ref}, which it goes on from, failed"),
        (a_task(TaskState.CANCELLED, label="make"), "“make”, which it goes on from, was cancelled"),
        (
            a_task(
                TaskState.CANCELLED, settled_by=OutcomeSource.PARENT, error=TaskError("parent_failed", "it began so")
            ),
            "it began so",
        ),
    ],
)
def test_a_child_goes_with_a_task_that_did_not_complete_and_says_what_began_it(parent: Task, message: str) -> None:
    child = a_child(parent)
    gone = chains.follow(child, parent, pictures(4), fill, LATER).task
    assert gone == replace(
        child,
        state=TaskState.CANCELLED,
        held_by=None,
        settled_at=LATER,
        settled_by=OutcomeSource.PARENT,
        error=TaskError(chains.PARENT_FAILED, message),
    )


def test_a_pick_says_who_picked_what() -> None:
    child = a_child(DONE, None, held_by=HoldReason.PICK, why=chains.NOT_PICKED)
    picked = chains.pick(child, 3, b"{}", "link", LATER)
    assert picked == replace(
        child, held_by=None, due_at=LATER, params=b"{}", parent_image=3, picked_by="link", why=None
    )


# -- who waits --


@pytest.mark.parametrize(
    ("task", "held", "picks"),
    [
        (a_child(DONE, 0), True, False),
        (a_child(DONE, None), True, True),
        (a_child(DONE, 0, held_by=HoldReason.PICK), True, True),
        (a_child(DONE, None, held_by=HoldReason.PICK), True, True),
        (a_child(DONE, None, held_by=None), False, False),
        (a_child(DONE, None, held_by=HoldReason.PAUSE), False, False),
        (a_child(DONE, None, state=TaskState.CANCELLED), False, False),
    ],
)
def test_who_is_held_and_who_needs_a_pick(task: Task, held: bool, picks: bool) -> None:
    assert (chains.is_held(task), chains.needs_pick(task)) == (held, picks)


def test_held_children_are_counted_by_parent_from_before_to_after() -> None:
    one, two, other = a_child(DONE, 0), a_child(DONE, None), a_child(FAILED, 0)
    alone = a_task(TaskState.QUEUED, held_by=HoldReason.PERSON)
    assert chains.count_held([(None, alone), (None, one), (None, two), (None, other)]) == {
        DONE.ref: (2, 1),
        FAILED.ref: (1, 0),
    }
    missing = replace(one, held_by=HoldReason.PICK)
    assert chains.count_held([(one, missing)]) == {DONE.ref: (0, 1)}
    assert chains.count_held([(missing, replace(one, held_by=None))]) == {DONE.ref: (-1, -1)}
    assert chains.count_held([(one, replace(one, label="x"))]) == {}
    assert chains.count_held([(one, missing), (two, replace(two, held_by=None))]) == {DONE.ref: (-1, 0)}


@pytest.mark.parametrize(
    ("task", "over", "asks", "reports"),
    [
        (replace(DONE), True, False, True),
        (replace(DONE, children=1), True, False, False),
        (replace(DONE, children=1, picks=1), True, True, True),
        (replace(DONE, children=1, picks=1, ping=False), True, True, True),
        (replace(DONE, children=1, picks=1, confirmed=False), False, False, False),
        (replace(DONE, children=1, ping=True), True, False, True),
        (replace(DONE, ping=False), True, False, False),
        (replace(DONE, confirmed=False), False, False, True),
        (replace(FAILED, children=1, picks=1), True, False, False),
        (a_task(TaskState.LOST, children=1, picks=1), False, False, False),
    ],
)
def test_what_is_over_and_what_is_said_of_it(task: Task, over: bool, asks: bool, reports: bool) -> None:
    assert chains.is_over(task) is over
    assert chains.needs_picker(task) is asks
    assert chains.reports_completion(task) is reports


# -- copies --


def test_a_copy_has_refs_keys_and_labels_of_its_own_and_hangs_together_as_before() -> None:
    top = a_child(DONE, None, label="wide", row_key=b"row", held_by=HoldReason.PICK, children=1)
    below = a_child(top, 0, UPSCALE, children=1, picks=1)
    last = a_child(below, None, label="x" * 200)
    refs = iter("abc")
    copies = chains.copy_subtree(top, [below, last], lambda: next(refs), "#2", LATER)
    assert [(it.ref, it.parent) for it in copies] == [("a", DONE.ref), ("b", "a"), ("c", "b")]
    assert [it.label for it in copies] == ["wide #2", None, "x" * 197 + " #2"]
    assert {(it.created_at, it.children, it.picks) for it in copies} == {(LATER, 0, 0)}
    assert copies[0].row_key not in (None, top.row_key)
    assert copies[0].row_key == chains.copy_subtree(top, [], lambda: "z", "#2", NOW)[0].row_key
    assert copies[0].row_key != chains.copy_subtree(top, [], lambda: "z", "#3", NOW)[0].row_key
    assert copies[1].row_key is None
    kept = ("model", "params", "parent_image", "root", "depth", "held_by")
    assert [[getattr(it, name) for name in kept] for it in copies] == [
        [getattr(it, name) for name in kept] for it in (top, below, last)
    ]


def test_a_copy_that_is_picked_for_once_more_never_has_the_key_of_another_copy() -> None:
    top = a_child(DONE, None, row_key=b"top", held_by=HoldReason.PICK)
    below = a_child(top, None, UPSCALE, row_key=b"below")
    refs = iter("abcdefgh")
    first = chains.copy_subtree(top, [below], lambda: next(refs), "#1", LATER)
    again = [chains.copy_subtree(it, [], lambda: next(refs), "#1", LATER)[0] for it in (below, first[1], top)]
    assert len({it.row_key for it in (*first, *again)} - {None}) == 4, "only that of `top` is the same"


def test_what_hangs_below_is_what_is_held_each_after_its_parent() -> None:
    top = a_child(DONE)
    one, two = a_child(top), a_child(top, model=OUTPAINT)
    deep = a_child(two)
    gone = a_child(top, state=TaskState.CANCELLED)
    beneath_gone, beside = a_child(gone), a_child(DONE)
    last = a_child(one)
    every = [last, deep, beneath_gone, beside, gone, two, one, top]
    assert chains.order_subtree(top.ref, every) == [two, one, deep, last]
    assert chains.order_subtree(deep.ref, every) == []


# -- who hears of it --


def by_parent(child: Task, parent: Task) -> Task:
    return chains.cancel_with_parent(child, parent, LATER)


def test_the_line_of_ends_goes_up_to_the_one_that_began_it() -> None:
    one = by_parent(a_child(FAILED), FAILED)
    two = by_parent(a_child(one), one)
    known = {it.ref: it for it in (FAILED, one, two)}
    assert chains.tasks_that_led_to(two, known) == [one, FAILED]
    assert chains.tasks_that_led_to(two, {one.ref: one}) == [one], "as far as it is known"
    assert chains.tasks_that_led_to(FAILED, known) == []
    surplus = by_parent(a_child(DONE), DONE)
    assert chains.tasks_that_led_to(surplus, {DONE.ref: DONE}) == []
    round_ = replace(one, parent=one.ref)
    assert len(chains.tasks_that_led_to(round_, {one.ref: round_})) == chains.DEPTH_MOST


@pytest.mark.parametrize(
    ("parent", "child", "told"),
    [
        ({}, {}, []),
        ({"quiet": True}, {}, ["slack", "mail"]),
        ({"quiet": True}, {"quiet": True}, []),
        ({"targets": ("slack",)}, {}, ["mail"]),
        ({"targets": ("slack",)}, {"targets": ("slack",)}, []),
    ],
)
def test_only_those_who_do_not_know_yet_are_notified(
    parent: dict[str, Any], child: dict[str, Any], told: list[str]
) -> None:
    policy = replace(POLICY, targets=(SLACK, MAIL))
    failed = replace(FAILED, **parent)
    gone = by_parent(a_child(failed, **child), failed)
    found = cancelled_notices(gone, {failed.ref: failed}, policy, LATER)
    assert [it.target for it in found] == told
    assert {(it.event, it.report.error, it.ref) for it in found} <= {(NoticeEvent.FAILED, gone.error, gone.ref)}
    only_ends = replace(policy, targets=(replace(SLACK, on=frozenset({NoticeEvent.COMPLETED})),))
    assert cancelled_notices(gone, {failed.ref: failed}, only_ends, LATER) == ()


@pytest.mark.parametrize(
    ("state", "source", "submitted_at", "withdrawn"),
    [
        (TaskState.CANCELLED, OutcomeSource.PERSON, None, True),
        (TaskState.CANCELLED, OutcomeSource.PERSON, NOW, False),  # a person believed what a callback says
        (TaskState.CANCELLED, OutcomeSource.PARENT, None, False),
        (TaskState.FAILED, OutcomeSource.PERSON, None, False),
    ],
)
def test_nobody_is_notified_of_what_goes_with_a_task_that_a_person_withdrew(
    state: TaskState, source: OutcomeSource, submitted_at: int | None, withdrawn: bool
) -> None:
    policy = replace(POLICY, targets=(SLACK, MAIL))
    parent = a_task(state, settled_by=source, submitted_at=submitted_at, quiet=True)
    assert chains.was_withdrawn(parent) is withdrawn
    gone = by_parent(a_child(parent, targets=("slack",)), parent)
    last = by_parent(a_child(gone), gone)
    known = {it.ref: it for it in (parent, gone)}
    assert [it.target for it in cancelled_notices(gone, known, policy, LATER)] == ([] if withdrawn else ["slack"])
    assert [it.target for it in cancelled_notices(last, known, policy, LATER)] == ([] if withdrawn else ["mail"])


def test_the_bounds_of_a_chain_are_those_that_the_readme_names() -> None:
    assert (chains.DEPTH_MOST, chains.CHILDREN_MOST, chains.CHAIN_MOST) == (8, 16, 64)


@pytest.mark.parametrize(("made", "field"), [(Missing("it"), "what"), (chains.Followed(DONE), "missing")])
def test_what_was_decided_cannot_be_changed(made: Any, field: str) -> None:
    with pytest.raises(AttributeError):
        setattr(made, field, "other")
