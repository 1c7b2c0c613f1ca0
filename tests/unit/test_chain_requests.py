"""A new task that goes on from others, without a database: from which pictures, with which words, and within bounds."""

from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from kit.fakes import a_task
from receiver.client.schemas import KEY_MOST, NewTask, WaitFor
from receiver.core.chains import CHAIN_MOST, CHILDREN_MOST, DEPTH_MOST
from receiver.core.errors import RequestRefused
from receiver.core.types import HoldReason, Image, Task, TaskError, TaskOrigin, TaskState
from receiver.providers.vtrix.follow_rules import Traits
from receiver.tasks.chain_requests import (
    ChainLedger,
    Origin,
    Planned,
    hash_row_key,
    may_multiply,
    parent_ref,
    plan_children,
    sibling_key,
    traits_of,
    unknown_parent,
    wait_of,
)

DIFFUSION, OUTPAINT, REROLL = "midjourney_diffusion", "midjourney_outpaint", "midjourney_reroll"


REQUEST = a_task(TaskState.QUEUED)


def root(state: TaskState = TaskState.WAITING, text: str = "x --v 7", **more: Any) -> Task:
    params = msgspec.json.encode({"text": text})
    return a_task(state, **{"model": DIFFUSION, "params": params, **more})


def ledger(*tasks: Task, images: tuple[int, ...] = (0, 1, 2, 3), sizes: dict[str, int] | None = None) -> ChainLedger:
    pictures = tuple(Image(it, "https://a.example") for it in images)
    return ChainLedger({it.ref: it for it in tasks}, {it.ref: pictures for it in tasks}, sizes or {})


def planned(
    parents: Task | list[Origin],
    image_no: Any = None,
    *,
    model: str = OUTPAINT,
    book: ChainLedger | None = None,
    base: dict[str, Any] | None = None,
    **asked: Any,
) -> Planned:
    origins = [Origin(parents)] if isinstance(parents, Task) else parents
    book = book or ledger(*(it.task for it in origins))
    wait = WaitFor(ref=origins[0].task.ref, image_no=image_no)
    task = a_task(TaskState.QUEUED, model=model, **(base or {}))
    return plan_children(task, NewTask(model, {"scale": 1.5}, wait_for=wait, **asked), wait, origins, book)


def pictures(plan: Planned) -> list[int | None]:
    return [it.task.parent_image for it in plan.tasks]


def refused(*given: Any, **more: Any) -> RequestRefused:
    with pytest.raises(RequestRefused) as caught:
        planned(*given, **more)
    return caught.value


@pytest.mark.parametrize(
    ("image_no", "found"),
    [(0, [0]), (3.0, [3]), ((2, 0), [2, 0]), ((1.0,), [1]), ("all", [0, 1, 2, 3]), ("pick", [None])],
)
@pytest.mark.parametrize("state", [TaskState.WAITING, TaskState.COMPLETED])
def test_one_task_is_made_for_each_picture_that_was_asked_for(
    state: TaskState, image_no: Any, found: list[int | None]
) -> None:
    plan = planned(root(state), image_no)
    assert pictures(plan) == found
    assert [type(it) for it in pictures(plan)] == [type(it) for it in found]
    assert {it.task.of_all for it in plan.tasks} == {image_no == "all"}


def test_of_a_completed_task_what_came_counts() -> None:
    parent = root(TaskState.COMPLETED)
    assert pictures(planned(parent, "all", book=ledger(parent, images=(1, 2)))) == [1, 2]
    assert pictures(planned(parent, book=ledger(parent, images=(2,)))) == [2]
    assert str(refused(parent, 0, book=ledger(parent, images=(1, 2)))).endswith("came with 2 pictures, counted from 0")
    assert str(refused(parent, 0, book=ledger(parent, images=(1,)))).endswith("came with 1 picture, counted from 0")
    assert "came without a picture" in str(refused(parent, "all", book=ledger(parent, images=())))
    assert "image_no is missing" in str(refused(parent, book=ledger(parent, images=())))
    assert "image_no is missing" in str(refused(parent, book=ledger(parent, images=(0, 1))))


def test_what_came_with_an_unconfirmed_end_does_not_count() -> None:
    parent = root(TaskState.COMPLETED, confirmed=False)
    assert pictures(planned(parent, "all", book=ledger(parent, images=(1,)))) == [0, 1, 2, 3]
    assert "image_no is missing" in str(refused(parent, book=ledger(parent, images=(1,))))


def test_of_one_that_has_not_ended_what_its_model_makes_counts() -> None:
    upscale = a_task(TaskState.WAITING, model="midjourney_upscale", params=b'{"type":0}')
    assert pictures(planned(upscale, model="midjourney_remove_background")) == [0]
    assert pictures(planned(upscale, "all", model="midjourney_remove_background")) == [0]
    fault = refused(upscale, 1, model="midjourney_remove_background")
    assert (fault.status, fault.code, fault.field) == (422, "unlikely", "wait_for.image_no")
    assert "makes 1 picture, counted from 0" in str(fault)
    assert pictures(planned(upscale, 1, model="midjourney_remove_background", anyway=True)) == [1]
    assert refused(root(), 4).code == "unlikely"
    assert "makes 4 pictures" in str(refused(root(), 4))
    assert pictures(planned(root(), 4, model="midjourney_retexture", anyway=True)) == [4]


def test_how_many_an_unknown_model_makes_is_not_known() -> None:
    for parent in (root(model=None), root(model="another")):
        assert "nobody knows how many" in str(refused(parent, "all"))
        assert pictures(planned(parent, 3)) == [3]
        assert "image_no is missing" in str(refused(parent))


@pytest.mark.parametrize(
    ("image_no", "problem"),
    [
        ("most", "a number, several, all or pick, not 'most'"),
        ("x" * 50, "not 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx'"),
        ((1, 1), "each picture may be named once"),
        (None, "image_no is missing"),
    ],
)
def test_what_is_no_choice_of_pictures_is_refused(image_no: Any, problem: str) -> None:
    fault = refused(root(), image_no)
    assert (fault.status, fault.code, fault.field) == (422, "invalid_parameter", "wait_for.image_no")
    assert problem in str(fault)


def test_the_model_s_own_range_of_numbers_holds() -> None:
    parent = root(TaskState.COMPLETED)
    book = ledger(parent, images=(0, 1, 2, 3, 4))
    fault = refused(parent, 4, book=book)
    assert (fault.status, fault.code, fault.field) == (422, "004007003", "wait_for.image_no")
    assert refused(parent, "all", book=book, anyway=True).field == "wait_for.image_no"
    assert pictures(planned(parent, "all", model="midjourney_retexture", book=book)) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("model", [REROLL, DIFFUSION])
def test_one_that_takes_no_single_picture_goes_on_from_the_task(model: str) -> None:
    assert pictures(planned(root(), model=model)) == [0]
    parent = root(TaskState.COMPLETED)
    assert pictures(planned(parent, model=model, book=ledger(parent, images=(3, 4)))) == [3]
    assert pictures(planned(parent, model=model, book=ledger(parent, images=()))) == [0]
    for choice in ("all", "pick", (0, 1), 0, 2.0, 63):
        fault = refused(root(), choice, model=model)
        assert "from the whole task" in str(fault)
        assert str(fault).endswith("; leave it out")


def test_a_child_has_its_place_in_the_chain() -> None:
    parent = root()
    book = ledger(parent)
    plan = planned(parent, (0, 1), book=book, base={"label": "L", "ref": REQUEST.ref})
    for number, child in enumerate(it.task for it in plan.tasks):
        assert (child.root, child.parent, child.depth) == (parent.ref, parent.ref, 1)
        assert (child.held_by, child.due_at, child.label) == (HoldReason.PARENT, None, f"L #{number}")
    one, two = plan.tasks
    assert one.task.ref != two.task.ref
    assert one.task.ref == REQUEST.ref
    assert (one.path, two.path) == ((0,), (1,))
    assert book.changed == [(parent, replace(parent, root=parent.ref))]
    assert book.as_changed(parent) == replace(parent, root=parent.ref, children=2)
    assert book.over == []
    planned(parent, "pick", book=book)
    assert (book.as_changed(parent).children, book.as_changed(parent).picks) == (3, 1)
    assert book.as_changed(one.task) is one.task


def test_a_chain_goes_on_within_a_call() -> None:
    parent = root()
    book = ledger(parent)
    first = planned(parent, (1, 3), book=book, base={"label": "a"})
    second = planned(list(first.tasks), (0, 2), book=book, base={"label": "b"})
    assert [it.task.label for it in second.tasks] == ["b #1.0", "b #1.2", "b #3.0", "b #3.2"]
    assert {it.task.root for it in second.tasks} == {parent.ref}
    assert {it.task.depth for it in second.tasks} == {2}
    assert [book.as_changed(it.task).children for it in first.tasks] == [2, 2]
    third = planned(list(second.tasks), 0, book=book, base={"label": "c"})
    assert [it.task.label for it in third.tasks] == ["c #1.0", "c #1.2", "c #3.0", "c #3.2"]
    assert planned(parent, 0, base={"label": "d"}).tasks[0].task.label == "d"
    assert planned(parent, (0, 1)).tasks[0].task.label is None
    long = planned(parent, (0, 1), base={"label": "x" * 200}).tasks[1].task.label
    assert long == "x" * 197 + " #1"


def test_the_root_of_a_chain_is_that_of_the_parent() -> None:
    parent = root(root="the-root", depth=2)
    book = ledger(parent, sizes={"the-root": 3})
    [child] = planned(parent, 0, book=book).tasks
    assert (child.task.root, child.task.depth) == ("the-root", 3)
    assert book.changed == []
    assert book.as_changed(parent).root == "the-root"


def test_a_pick_of_a_completed_task_is_open_at_once() -> None:
    done = root(TaskState.COMPLETED)
    book = ledger(done)
    assert planned(done, "pick", book=book).tasks[0].task.held_by is HoldReason.PICK
    assert book.over == [done.ref]
    assert planned(done, 0).tasks[0].task.held_by is HoldReason.PARENT
    doubtful = replace(done, confirmed=False)
    book = ledger(doubtful)
    assert planned(doubtful, "pick", book=book).tasks[0].task.held_by is HoldReason.PARENT
    assert book.over == []
    assert planned(root(), "pick").tasks[0].task.held_by is HoldReason.PARENT


def test_bounds() -> None:
    deep = root(depth=DEPTH_MOST - 2)
    assert planned(deep, 0).tasks[0].task.depth == DEPTH_MOST - 1
    assert "8 steps" in str(refused(root(depth=DEPTH_MOST - 1), 0))
    assert len(planned(root(children=CHILDREN_MOST - 4), "all").tasks) == 4
    fault = refused(root(children=CHILDREN_MOST - 3, label="hero"), "all")
    assert (fault.status, fault.code, fault.field) == (422, "chain_too_large", "wait_for")
    assert "16 tasks may wait for one, and as many wait for “hero”" in str(fault)
    assert planned(root(children=CHILDREN_MOST - 1), 0).tasks
    assert refused(root(children=CHILDREN_MOST), 0).code == "chain_too_large"
    big = root(root="r")
    assert len(planned(big, "all", book=ledger(big, sizes={"r": CHAIN_MOST - 4})).tasks) == 4
    assert "64 tasks" in str(refused(big, "all", book=ledger(big, sizes={"r": CHAIN_MOST - 3})))


def test_a_chain_that_begins_with_a_call_has_so_many_tasks_at_most() -> None:
    parent = root()
    book = ledger(parent)
    children = [it for _ in range(3) for it in planned(parent, "all", book=book).tasks]
    planned(children, "all", book=book)  # with the first one, 61 now
    assert len(planned(parent, (0, 1, 2), book=book).tasks) == 3
    assert "64 tasks" in str(refused(parent, 0, book=book))


def test_a_copy_of_the_ledger_keeps_what_was_added_apart() -> None:
    parent = root()
    book = ledger(parent)
    other = book.copy()
    planned(parent, "all", book=book)
    assert (book.as_changed(parent).children, other.as_changed(parent)) == (4, parent)
    kept = book.copy()
    planned(parent, "pick", book=book)
    assert (kept.as_changed(parent).children, kept.as_changed(parent).picks) == (4, 0)
    assert kept.changed == [(parent, replace(parent, root=parent.ref))]
    assert "16 tasks" in str(refused(parent, tuple(range(4)), book=filled(kept, parent)))


def filled(book: ChainLedger, parent: Task) -> ChainLedger:
    for _ in range(3):
        planned(parent, "all", book=book)
    return book


@pytest.mark.parametrize(("state", "how"), [(TaskState.FAILED, "failed"), (TaskState.CANCELLED, "was cancelled")])
def test_nothing_goes_on_from_what_failed(state: TaskState, how: str) -> None:
    parent = root(state, label="hero", error=TaskError("c", "moderated"))
    fault = refused(parent, 0)
    assert (fault.status, fault.code, fault.field) == (409, "parent_failed", "wait_for")
    assert fault.problem == f"“hero” {how}: moderated"
    assert str(refused(replace(parent, error=None, step="make"), 0)).startswith(f"“make” {how}; ")


@pytest.mark.parametrize(
    ("parent", "model", "warning"),
    [
        (root(TaskState.LOST), OUTPAINT, "is lost"),
        (root(TaskState.COMPLETED, confirmed=False), OUTPAINT, "no poll has confirmed"),
        (root(origin=TaskOrigin.MINTED), OUTPAINT, "was not submitted from here"),
        (root(model="another"), OUTPAINT, "was not submitted from here"),
        (root(text="x --draft"), "midjourney_variation", "may not be able to follow"),
    ],
)
def test_what_is_not_certain_is_said_once(parent: Task, model: str, warning: str) -> None:
    [said] = planned(parent, (0, 1), model=model).warnings
    assert warning in said


@pytest.mark.parametrize("state", [TaskState.QUEUED, TaskState.SUBMITTING, TaskState.WAITING, TaskState.COMPLETED])
def test_what_is_certain_needs_no_words(state: TaskState) -> None:
    assert planned(root(state), 0).warnings == ()


def test_what_is_unlikely_needs_anyway() -> None:
    fault = refused(root(text="x --v 8.1", label="hero"), 0)
    assert (fault.status, fault.code, fault.field) == (422, "unlikely", "wait_for")
    assert fault.problem.startswith("midjourney_outpaint probably cannot follow “hero”: ")
    plan = planned(root(text="x --v 8.1"), 0, anyway=True)
    assert "probably cannot follow" in plan.warnings[0]


def test_traits_go_from_task_to_task() -> None:
    first = planned(root(text="x --v 8.1"), 0, model="midjourney_variation").tasks[0].task
    assert traits_of(first) == Traits(version="8.1")
    second = planned([Origin(first)], 0, model="midjourney_edit").tasks[0].task
    assert traits_of(second) == Traits(version="8.1")
    assert traits_of(root(text="x --niji 6")) == Traits(version="niji 6")
    assert traits_of(root(origin=TaskOrigin.MINTED)) is None
    assert traits_of(root(model=None)) is None
    unknown = planned(root(model=None), 0).tasks[0].task
    assert traits_of(unknown) == Traits()


def test_a_model_that_is_not_declared_goes_on_from_nothing() -> None:
    fault = refused(root(), 0, model="midjourney_blend")
    assert (fault.status, fault.code, fault.field) == (422, "invalid_parameter", "wait_for")


def test_what_goes_on_from_one_of_which_no_poll_says_that_it_failed_waits() -> None:
    parent = root(TaskState.FAILED, label="hero", error=TaskError("c", "moderated"), confirmed=False)
    plan = planned(parent, "all")
    assert [(it.task.parent_image, it.task.held_by) for it in plan.tasks] == [(n, HoldReason.PARENT) for n in range(4)]
    [warning] = plan.warnings
    assert warning == (
        "no poll has confirmed that “hero” failed: what goes on from it waits, in case its result still comes"
    )


def test_a_plan_is_not_changed_afterwards() -> None:
    plan = planned(root(), 0)
    for held, name in ((plan, "warnings"), (plan.tasks[0], "path")):
        with pytest.raises(AttributeError):
            setattr(held, name, ("x",))


def test_the_first_task_has_the_request_s_own_key() -> None:
    base = {"row_key": hash_row_key("K")}
    keys = [it.task.row_key for it in planned(root(), "all", row_key="K", base=base).tasks]
    assert keys == [hash_row_key(it) for it in ("K", *(sibling_key("K", number) for number in (1, 2, 3)))]
    assert [it.task.row_key for it in planned(root(), (0, 1), row_key="K").tasks] == [None, None]


def test_the_key_of_a_further_task_is_no_key_that_anybody_can_give() -> None:
    keys = [sibling_key(key, number) for key in ("K", "K\0", "K\0001", "k" * KEY_MOST) for number in (1, 11)]
    assert len(set(keys)) == len(keys)
    assert all(len(key) > KEY_MOST for key in keys)


@pytest.mark.parametrize(
    ("wait_for", "found", "ref", "many"),
    [
        (None, None, None, False),
        (REF := a_task().ref, WaitFor(ref=REF), REF, False),
        (WaitFor(ref=REF), WaitFor(ref=REF), REF, False),
        (WaitFor(ref=REF, image_no=0), WaitFor(ref=REF, image_no=0), REF, False),
        (WaitFor(ref=REF, image_no=2.0), WaitFor(ref=REF, image_no=2), REF, False),
        (WaitFor(ref=REF, image_no=(0,)), WaitFor(ref=REF, image_no=(0,)), REF, True),
        (WaitFor(ref=REF, image_no="all"), WaitFor(ref=REF, image_no="all"), REF, True),
        (WaitFor(name="a"), WaitFor(name="a"), None, True),
        ("x", WaitFor(ref="x"), None, False),
    ],
)
def test_what_a_task_waits_for_is_read(wait_for: Any, found: WaitFor | None, ref: str | None, many: bool) -> None:
    asked = NewTask(OUTPAINT, wait_for=wait_for)
    assert (wait_of(asked), parent_ref(asked), may_multiply(asked)) == (found, ref, many)


@pytest.mark.parametrize("wait", [WaitFor(), WaitFor(ref=REF, name="a"), WaitFor(image_no=0)])
def test_a_task_to_go_on_from_is_named_in_one_way(wait: WaitFor) -> None:
    with pytest.raises(RequestRefused) as caught:
        wait_of(NewTask(OUTPAINT, wait_for=wait))
    assert (caught.value.status, caught.value.field) == (422, "wait_for")


def test_an_unknown_parent_is_404_and_a_near_name_is_said() -> None:
    fault = unknown_parent("maek", ["make", "wide"])
    assert (fault.status, fault.code, fault.field) == (404, "unknown_parent", "wait_for")
    assert str(fault) == "there is no task 'maek' to go on from (did you mean make?)"
    assert str(unknown_parent("y" * 99)) == f"there is no task '{'y' * 80}' to go on from"
