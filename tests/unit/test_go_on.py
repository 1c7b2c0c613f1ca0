"""Which ways there are to go on from a task, and the card that asks for a pick."""

import pytest
from msgspec.structs import replace

from kit.fakes import NOW, a_ref
from receiver.core.types import HoldReason, Image, Task, TaskOrigin, TaskState
from receiver.web.pages.going_on.go_on import (
    WAYS,
    FormContext,
    Wanted,
    allowed_ways,
    build_again,
    build_go_on,
    can_repeat,
    choose_number,
    read_repeat,
    start_repeating,
    way_path,
)
from receiver.web.pages.going_on.picks_card import build_picks
from receiver.web.pages.going_on.stage import Source
from receiver.web.pages.sentences import plain_text

HERO = Task(
    ref=a_ref(),
    created_at=NOW,
    provider="vtrix",
    model="midjourney_diffusion",
    params=b'{"text":"a --v 7"}',
    label="hero",
    state=TaskState.COMPLETED,
    settled_at=NOW,
)
IMAGES = [Image(number, "https://a.example", job_id="job") for number in range(4)]
FAILED = replace(
    HERO, model="midjourney_outpaint", params=b'{"jobId":"job","imageNo":0,"scale":1.5}', state=TaskState.FAILED
)
CHILD = replace(
    FAILED,
    ref=a_ref(),
    label="wide",
    params=b'{"scale":1.5}',
    state=TaskState.QUEUED,
    held_by=HoldReason.PICK,
    parent=HERO.ref,
    settled_at=None,
)


def test_the_ways_stand_in_their_order() -> None:
    assert list(WAYS) == ["extend", "pan", "vary", "upscale", "remix"]
    assert allowed_ways(HERO, IMAGES) == list(WAYS)


@pytest.mark.parametrize(
    ("changes", "ways"),
    [
        ({"params": b'{"text":"a --v 8.1"}'}, ["vary", "remix"]),
        ({"model": "midjourney_uploadpaint", "params": b"{}"}, ["upscale"]),
        ({"model": "midjourney_upscale", "params": b"{}"}, ["extend", "pan", "vary", "remix"]),
        ({"traits": b'{"draft":true}'}, ["pan", "vary", "upscale", "remix"]),
        ({"model": "unknown"}, list(WAYS)),
        ({"origin": TaskOrigin.ADOPTED, "model": None}, list(WAYS)),
    ],
)
def test_what_nobody_allows_is_not_offered(changes: dict[str, object], ways: list[str]) -> None:
    assert allowed_ways(replace(HERO, **changes), IMAGES) == ways


@pytest.mark.parametrize(("wanted", "chosen"), [(2, 2), (9, 1), (None, 1), (-1, 1)])
def test_the_picture_that_is_meant_is_one_that_others_can_follow(wanted: int | None, chosen: int) -> None:
    images = [replace(IMAGES[0], job_id=None), *IMAGES[1:]]
    assert choose_number(wanted, images) == chosen
    assert choose_number(wanted, []) is None


def test_a_task_that_has_not_completed_has_no_ways() -> None:
    for state in TaskState:
        built = build_go_on(replace(HERO, state=state), IMAGES, {}, Wanted(way="extend"), FormContext())
        assert (built is not None) is (state is TaskState.COMPLETED)
    assert build_go_on(HERO, [], {}, Wanted(), FormContext()) is None


def test_only_pictures_that_the_model_takes_can_be_chosen() -> None:
    images = [Image(number, "https://a.example", job_id="job") for number in range(9)]
    built = build_go_on(HERO, images, {}, Wanted(way="extend", number=2), FormContext())
    assert built is not None
    assert [(it.number, it.chosen) for it in built.radios] == [(0, False), (1, False), (2, True), (3, False)]
    assert built.others == 5


@pytest.mark.parametrize(
    ("changes", "offered"),
    [
        ({}, True),
        ({"state": TaskState.LOST}, True),
        ({"state": TaskState.LOST, "unsure": True}, False),
        ({"state": TaskState.CANCELLED}, True),
        ({"confirmed": False}, False),
        ({"origin": TaskOrigin.MINTED}, False),
        ({"state": TaskState.COMPLETED}, False),
        ({"state": TaskState.WAITING}, False),
    ],
)
def test_what_may_have_been_paid_for_is_not_offered_again(changes: dict[str, object], offered: bool) -> None:
    task = replace(FAILED, **changes)
    assert can_repeat(task) is offered
    assert (build_again(task, Wanted(), FormContext()) is not None) is offered


def test_only_what_was_changed_is_asked_for_again() -> None:
    typing = start_repeating(FAILED)
    asked, faults = read_repeat(FAILED, typing)
    assert (asked.params, bool(faults)) == ({}, False)
    wider = replace(typing, typed={**typing.typed, "scale": "1.8", "remixPrompt": "a"})
    assert read_repeat(FAILED, wider)[0].params == {"scale": 1.8, "remixPrompt": "a"}
    prompted = replace(FAILED, params=b'{"jobId":"job","imageNo":0,"scale":1.5,"remixPrompt":"a"}')
    assert read_repeat(prompted, typing)[0].params == {"remixPrompt": None}


def test_an_address_keeps_what_was_typed() -> None:
    path = way_path("a-ref", "pan", 2, {"remixPrompt": "a & b+c=ü", "scale": "1.5"})
    assert path == "/tasks/a-ref?do=pan&image=2&remixPrompt=a%20%26%20b%2Bc%3D%C3%BC&scale=1.5"


def test_a_pick_names_what_waits_and_what_it_may_cost() -> None:
    hero = replace(HERO, picks=1, children=1)
    estimates = {"midjourney_outpaint": 50_000_000}
    card = build_picks(hero, [hero, CHILD], IMAGES, {1: Source("/1.png")}, estimates, chosen=(1,))
    assert card is not None
    assert plain_text(card.follows) == "wide (extend) waits for it."
    assert (card.cost, card.several) == ("about $0.05", True)
    assert [(it.number, it.source.src, it.chosen) for it in card.options][1] == (1, "/1.png", True)


def test_what_takes_the_whole_job_is_picked_for_once() -> None:
    hero = replace(HERO, picks=1, children=1)
    reroll = replace(CHILD, model="midjourney_reroll", params=b"{}")
    card = build_picks(hero, [hero, reroll], IMAGES, {}, {})
    assert card is not None
    assert (card.several, card.cost) == (False, "")


@pytest.mark.parametrize(
    "hero",
    [
        replace(HERO, picks=0),
        replace(HERO, picks=1, confirmed=False),
        replace(HERO, picks=1, state=TaskState.WAITING),
    ],
)
def test_without_a_pick_to_make_there_is_no_card(hero: Task) -> None:
    assert build_picks(hero, [hero, CHILD], IMAGES, {}, {}) is None
    late = build_picks(hero, [hero, CHILD], IMAGES, {}, {}, error="Picture 3 was picked already.")
    assert late is not None
    assert (late.options, late.error) == ((), "Picture 3 was picked already.")
