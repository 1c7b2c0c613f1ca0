"""The strip of what came before a task and what goes on from it."""

import pytest
from msgspec.structs import replace

from kit.fakes import NOW, a_ref
from receiver.core.types import Task, TaskState
from receiver.web.pages.going_on.chain_strip import SHOWN_MOST, StripPictures, build_strip, describe_step
from receiver.web.pages.going_on.stage import Source

ROOT = Task(
    ref=a_ref(), created_at=NOW, provider="vtrix", model="midjourney_diffusion", label="root", state=TaskState.COMPLETED
)


def after(
    parent: Task, label: str, image: int | None = 0, *, model: str = "outpaint", params: str = '{"scale":1.5}'
) -> Task:
    return replace(
        ROOT,
        ref=a_ref(),
        model=f"midjourney_{model}",
        label=label,
        params=params.encode(),
        parent=parent.ref,
        parent_image=image,
        root=ROOT.ref,
        depth=parent.depth + 1,
    )


def pictures(*tasks: Task) -> dict[str, StripPictures]:
    return {it.ref: StripPictures({n: Source(f"/images/{it.label}/{n}.jpg", 9, 9) for n in range(4)}) for it in tasks}


def test_a_task_alone_has_no_strip() -> None:
    assert build_strip(ROOT, [ROOT], {}).tasks == ()


def test_each_shows_the_picture_that_the_next_one_goes_on_from() -> None:
    one = after(ROOT, "one", 2)
    two = after(one, "two", 3)
    three = after(two, "three", 1)
    strip = build_strip(two, [ROOT, one, two, three], pictures(ROOT, one, two, three), chosen=0)
    assert [(it.title, it.src.rpartition("/")[2], it.current) for it in strip.tasks] == [
        ("root", "2.jpg", False),
        ("one", "3.jpg", False),
        ("two", "0.jpg", True),
        ("three", "0.jpg", False),
    ]
    assert [(it.goes_on, it.picture, it.how, it.source) for it in strip.tasks] == [
        (False, "", "", ""),
        (True, "picture 2", "1.5 ×", ""),
        (True, "picture 3", "1.5 ×", ""),
        (True, "picture 1", "1.5 ×", ""),
    ]


def test_siblings_of_a_task_are_not_in_its_strip_and_those_after_it_are() -> None:
    one, other = after(ROOT, "one"), after(ROOT, "other")
    deep = after(one, "deep")
    chain = [ROOT, one, other, deep]
    assert [it.title for it in build_strip(one, chain, {}).tasks] == ["root", "one", "deep"]
    assert [(it.title, it.source) for it in build_strip(ROOT, chain, {}).tasks] == [
        ("root", ""),
        ("one", ""),
        ("deep", ""),
        ("other", ""),
    ]


def test_a_task_without_pictures_shows_its_frame() -> None:
    one = after(ROOT, "one", 2, params='{"scale":2.0}')
    [_, shown] = build_strip(ROOT, [ROOT, one], pictures(ROOT)).tasks
    assert shown.frame is not None
    assert (shown.frame.src, shown.frame.x, shown.frame.width) == ("/images/root/2.jpg", 25, 50)
    [_, alone] = build_strip(ROOT, [ROOT, one], {}).tasks
    assert alone.frame is not None
    assert alone.frame.src == ""


def test_a_long_chain_is_cut_and_says_how_many_more() -> None:
    children = [after(ROOT, f"child {number}", number) for number in range(20)]
    strip = build_strip(ROOT, [ROOT, *children], {})
    assert (len(strip.tasks), strip.more) == (SHOWN_MOST, 9)
    last = children[-1]
    assert [it.title for it in build_strip(last, [ROOT, *children], {}).tasks] == ["root", "child 19"]


def test_what_retention_removed_is_told() -> None:
    one = after(ROOT, "one")
    two = after(one, "two")
    strip = build_strip(two, [two], {})
    assert (strip.is_cut, [it.title for it in strip.tasks]) == (True, ["two"])
    assert not build_strip(one, [ROOT, one], {}).is_cut


def test_a_circle_that_a_broken_database_has_ends() -> None:
    one = after(ROOT, "one")
    two = after(one, "two")
    root = replace(ROOT, parent=two.ref)
    assert len(build_strip(one, [root, one, two], {}).tasks) <= SHOWN_MOST


@pytest.mark.parametrize(
    ("model", "params", "says"),
    [
        ("outpaint", '{"scale":2}', ("picture 0", "2.0 ×")),
        ("pan", '{"scale":1.25,"direction":3}', ("picture 0", "left 1.25 ×")),
        ("upscale", '{"type":2}', ("picture 0", "2 ×")),
        ("upscale", '{"type":1}', ("picture 0", "creative")),
        ("variation", '{"type":1}', ("picture 0", "strong")),
        ("remix", "{}", ("picture 0", "remix")),
        ("reroll", "{}", ("", "")),
        ("outpaint", "nonsense", ("picture 0", "extend")),
        ("unknown", '{"scale":true}', ("picture 0", "")),
    ],
)
def test_what_was_done_is_said_in_a_word(model: str, params: str, says: tuple[str, str]) -> None:
    assert describe_step(after(ROOT, "a", model=model, params=params)) == says


def test_what_waits_for_a_pick_names_no_picture() -> None:
    assert describe_step(after(ROOT, "a", None)) == ("", "1.5 ×")


def lines(task: Task, *chain: Task) -> list[list[str]]:
    strip = build_strip(task, [ROOT, *chain], {})
    return [[f"{it.source} → {it.title}".removeprefix(" → ") for it in line] for line in strip.lines]


def test_each_of_several_tasks_that_go_on_has_a_line() -> None:
    one, two, three = (after(ROOT, name) for name in ("one", "two", "three"))
    deep, deeper, beside = after(one, "deep"), after(one, "deeper"), after(two, "beside")
    assert lines(ROOT, one) == [["root", "one"]]
    assert lines(ROOT, one, two, three) == [["root"], ["one"], ["two"], ["three"]]
    assert lines(ROOT, one, two, beside) == [["root"], ["one"], ["two", "beside"]]
    assert lines(ROOT, one, deep, deeper) == [["root", "one", "deep"], ["one → deeper"]]
    assert lines(one, one, two, deep, deeper) == [["root", "one"], ["deep"], ["deeper"]]
    assert build_strip(replace(ROOT, ref=a_ref()), [], {}).lines == []
