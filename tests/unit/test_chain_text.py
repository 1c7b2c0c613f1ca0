"""A chain as a tree of lines."""

from msgspec.structs import replace

from kit.commands import task
from receiver.cli.chain_text import (
    count_cancelled,
    describe_rest,
    find_step,
    format_chain,
    goes_on_by_itself,
)
from receiver.cli.task_text import describe_task
from receiver.client.chain_schemas import ChainStep, ChainView
from receiver.client.schemas import ChainLink, TaskNotice

REFS = {name: f"01a202a8-e470-7bbe-a7f3-0000000{name:0>5}" for name in ("make", "wide", "big", "other")}


def step(name: str, *children: ChainStep, **changed: object) -> ChainStep:
    given: dict[str, object] = {
        "ref": REFS[name],
        "step": name,
        "label": "lighthouse",
        "model": "midjourney_outpaint",
        "state": "queued",
        "held_by": None,
        "unsure": False,
        "confirmed": True,
        "progress": None,
        "image_no": None,
        "picked_by": None,
        "cost": None,
        "estimate": None,
        "children": list(children),
    }
    return ChainStep(**{**given, **changed})  # type: ignore[arg-type]


BIG = step("big", model="midjourney_upscale", held_by="parent", image_no=0)
WIDE = step("wide", BIG, held_by="pick", estimate="0.05")
OTHER = step("other", state="waiting", progress=0.4, unsure=True, image_no=3)
MAKE = step("make", WIDE, OTHER, model="midjourney_diffusion", state="completed", cost="0.05")
CHAIN = ChainView(root=REFS["make"], tasks=4, steps=[MAKE], cost="0.05", estimate="0.10", unknown=1)


def test_each_task_is_a_line_below_the_one_that_it_goes_on_from() -> None:
    assert format_chain(CHAIN, REFS["wide"]).splitlines() == [
        "make     completed     diffusion             $0.05        00000000make",
        "├ wide   pick one      outpaint              about $0.05  this one",
        "│ └ big  held          upscale    picture 0               000000000big",
        "└ other  waiting? 40%  outpaint   picture 3               0000000other",
    ]


def test_what_it_cost_and_what_is_to_come_is_one_line() -> None:
    assert describe_rest(CHAIN) == "$0.05 so far, about $0.10 to come"
    assert describe_rest(ChainView(root="r", tasks=0, steps=[], cost=None, estimate=None, unknown=0)) == ""


def test_steps_are_found() -> None:
    assert find_step(CHAIN, REFS["big"]) is BIG


def test_all_that_was_cancelled_below_a_task_is_counted() -> None:
    big = step("big", state="cancelled")
    gone = step("make", step("wide", big, state="cancelled"), OTHER, state="failed")
    chain = ChainView(root=REFS["make"], tasks=4, steps=[gone], cost=None, estimate=None, unknown=0)
    assert [count_cancelled(chain, REFS[it]) for it in ("make", "wide", "big")] == [2, 1, 0]
    assert count_cancelled(None, "make") == 0


def test_a_task_from_which_others_go_on_by_themselves_is_not_one_for_which_a_person_picks() -> None:
    ref = REFS["make"]
    for children, expected in [
        ([OTHER], True),
        ([OTHER, replace(BIG, held_by=None)], True),
        ([], False),
        ([OTHER, WIDE], False),  # a person picks
        ([OTHER, replace(WIDE, image_no=1, picked_by="link", held_by=None)], False),  # a person did
    ]:
        assert goes_on_by_itself(replace(CHAIN, steps=[replace(MAKE, children=children)]), ref) is expected
    assert not goes_on_by_itself(CHAIN, "another")
    assert not goes_on_by_itself(None, ref)


def test_a_silent_step_says_why_and_how_it_would_speak() -> None:
    link = ChainLink(REFS["make"], None, "make", None, children=0, picks=0)
    done = replace(task("completed", REFS["make"]), chain=link, notices=[])
    silent = replace(CHAIN, steps=[replace(MAKE, children=[OTHER])])
    words = " ".join(describe_task(done, chain=silent).split())
    assert "Nobody was notified that it completed, because its chain went on by itself" in words
    assert "`ping = true`" in words
    sent = [TaskNotice("phone", "completed", "sent", 1, None)]
    for other, chain in ((replace(done, notices=sent), silent), (done, CHAIN), (replace(done, state="failed"), silent)):
        assert "Nobody was notified" not in describe_task(other, chain=chain)
