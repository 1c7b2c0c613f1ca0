"""A chain as a tree: every task once, with what it cost or may cost."""

from decimal import Decimal

import pytest

from kit.fakes import a_task
from receiver.client.chain_views import chain_view, estimate_rest, expected_cost, is_to_come
from receiver.core.types import HoldReason, Task, TaskState, Usage

NANO = 1_000_000_000
ESTIMATES = {"midjourney_outpaint": NANO // 20, "midjourney_upscale": None}


def queued(**more: object) -> Task:
    return a_task(TaskState.QUEUED, **more)


@pytest.mark.parametrize("state", TaskState)
def test_what_has_ended_or_is_lost_costs_nothing_more(state: TaskState) -> None:
    open_ = state in (TaskState.QUEUED, TaskState.SUBMITTING, TaskState.WAITING)
    task = a_task(state)
    assert is_to_come(task) is open_
    assert expected_cost(task, ESTIMATES) == (NANO // 20 if open_ else None)


def test_what_is_reserved_counts_before_an_estimate() -> None:
    assert expected_cost(a_task(TaskState.WAITING, reserved=0), ESTIMATES) == 0
    assert expected_cost(a_task(TaskState.WAITING, reserved=7), {}) == 7
    assert expected_cost(a_task(TaskState.WAITING, model=None), ESTIMATES) is None


def test_the_rest_is_the_sum_of_what_is_known() -> None:
    tasks = [queued(), queued(), queued(model="midjourney_upscale"), a_task(TaskState.COMPLETED)]
    assert estimate_rest(tasks, ESTIMATES) == "0.1"
    assert estimate_rest(tasks[2:], ESTIMATES) is None
    assert estimate_rest([], ESTIMATES) is None


def test_a_tree_has_each_task_below_the_one_that_it_goes_on_from() -> None:
    root = a_task(TaskState.COMPLETED, step="make", usage=Usage(Decimal("0.05"), None))
    held = {"root": root.ref, "held_by": HoldReason.PARENT, "due_at": None}
    second = queued(parent=root.ref, parent_image=2, turn=2, label="b", **held)
    first = queued(parent=root.ref, parent_image=1, turn=2, label="a", **held)
    earlier = queued(parent=root.ref, parent_image=3, turn=1, label="c", **held)
    leaf = queued(parent=second.ref, model="midjourney_upscale", **held)
    view = chain_view(root.ref, [leaf, second, root, first, earlier], ESTIMATES)
    assert (view.root, view.tasks, view.cost, view.estimate, view.unknown) == (root.ref, 5, "0.05", "0.15", 1)
    [top] = view.steps
    assert (top.ref, top.step, top.state, top.cost, top.estimate) == (root.ref, "make", "completed", "0.05", None)
    assert [it.label for it in top.children] == ["c", "a", "b"]
    assert [it.ref for it in top.children[2].children] == [leaf.ref]
    assert top.children[2].children[0].children == []
    below = top.children[1]
    assert (below.image_no, below.held_by, below.model, below.estimate) == (1, "parent", "midjourney_outpaint", "0.05")


def test_one_that_a_person_picks_for_stands_before_those_with_a_picture() -> None:
    root = queued()
    second, first = queued(parent=root.ref, parent_image=1), queued(parent=root.ref)
    third = queued(parent=root.ref, parent_image=2)
    [top] = chain_view(root.ref, [root, second, first, third], {}).steps
    assert [it.image_no for it in top.children] == [None, 1, 2]


def test_what_no_task_cost_is_not_nothing() -> None:
    task = a_task(TaskState.FAILED)
    view = chain_view(task.ref, [task], {})
    assert (view.cost, view.estimate, view.unknown, view.tasks) == (None, None, 0, 1)
    free = a_task(TaskState.COMPLETED, usage=Usage(Decimal(0), None))
    assert chain_view(free.ref, [free], {}).cost == "0"


def test_a_task_whose_parent_was_deleted_begins_a_tree_of_its_own() -> None:
    root, gone = queued(), queued()
    orphan = queued(parent=gone.ref, root=root.ref)
    view = chain_view(root.ref, [root, orphan], {})
    assert {it.ref for it in view.steps} == {root.ref, orphan.ref}


def test_whatever_a_task_says_of_itself_is_shown() -> None:
    task = a_task(
        TaskState.WAITING, unsure=True, confirmed=False, progress=0.4, picked_by="link", label="L", parent_image=3
    )
    [step] = chain_view(task.ref, [task], {}).steps
    shown = (step.unsure, step.confirmed, step.progress, step.picked_by, step.label, step.image_no, step.held_by)
    assert shown == (True, False, 0.4, "link", "L", 3, None)
