"""What a form of a page holds, and what is said about it."""

from collections.abc import Sequence

import pytest

from receiver.core.budgets import Committed, PeriodKind
from receiver.core.errors import RequestRefused
from receiver.core.money import NANO
from receiver.providers.models import MODELS
from receiver.store.tables.spend import BudgetPeriod
from receiver.tasks.budget_check import BudgetState
from receiver.web.pages.going_on.form_context import describe_budget
from receiver.web.pages.going_on.form_errors import count_generations
from receiver.web.pages.going_on.form_view import (
    Faults,
    Typing,
    build_form,
    check_targets,
    derive_key,
    judge_refusal,
    read_typing,
    scale_typed,
)
from receiver.web.pages.page import Form

OUTPAINT = MODELS["midjourney_outpaint"]
KNOWN = ["slack", "mail"]
KEY = "0123456789abcdef"


def typed(*fields: tuple[str, str], before: Sequence[str] | None = None) -> Typing:
    return read_typing(OUTPAINT, Form(fields), KNOWN, before)


@pytest.mark.parametrize(
    ("chosen", "before", "targets"),
    [
        (["slack"], None, ["slack"]),
        (["slack", "mail"], None, None),  # all that want it, as before
        (["slack", "mail"], ["slack"], ["slack", "mail"]),
        ([], None, []),
        (["gone"], None, ["gone"]),
    ],
)
def test_who_is_told(chosen: list[str], before: list[str] | None, targets: list[str] | None) -> None:
    assert typed(("told", "1"), *(("target", it) for it in chosen), before=before).targets == targets


def test_a_form_without_targets_keeps_those_of_before() -> None:
    assert typed(before=["mail"]).targets == ["mail"]
    assert typed().targets is None


def test_nobody_to_tell_is_a_fault_if_there_is_somebody() -> None:
    nobody = Typing(targets=[])
    assert check_targets(Faults(), nobody, KNOWN).fields["target"].startswith("Choose at least one")
    assert not check_targets(Faults(), nobody, [])
    assert not check_targets(Faults(), Typing(), KNOWN)


def test_the_summary_names_faults_in_the_order_of_the_form() -> None:
    fields = {"label": "L", "remixPrompt": "P", "scale": "S", "nowhere": "N"}
    faults = Faults(fields=fields, general=("G",))
    form = build_form(OUTPAINT, Typing(), faults, KNOWN, action="/x", button="B", without=("jobId", "imageNo"))
    expected = (("", "G"), ("scale-exact", "S"), ("remixPrompt", "P"), ("label", "L"), ("", "N"))
    assert form.summary == expected


def test_what_may_be_allowed_is_offered_once_it_was_refused() -> None:
    def permits(typing: Typing, faults: Faults) -> list[tuple[str, bool]]:
        form = build_form(OUTPAINT, typing, faults, KNOWN, action="/x", button="B")
        return [(it.name, it.chosen) for it in form.permits]

    assert permits(Typing(), Faults()) == []
    assert permits(Typing(), Faults(multiplies=True)) == [("allow_permutations", False)]
    assert permits(Typing(anyway=True, poll_only=True), Faults()) == [("anyway", True), ("poll_only", True)]
    assert permits(Typing(), Faults(is_unlikely=True, is_unreachable=True)) == [("anyway", False), ("poll_only", False)]


def test_a_new_form_has_a_key_of_its_own_and_one_shown_again_keeps_it() -> None:
    def key(typing: Typing) -> str:
        return dict(build_form(None, typing, Faults(), (), action="/x", button="B").hidden)["key"]

    assert key(Typing()) != key(Typing())
    assert key(Typing(key=KEY)) == KEY


def test_a_key_is_of_the_form_and_of_what_it_asks_for() -> None:
    one = derive_key(KEY, {"scale": 1.5})
    assert one == derive_key(KEY, {"scale": 1.5})
    assert one != derive_key(KEY, {"scale": 1.6})
    assert one != derive_key(KEY[::-1], {"scale": 1.5})
    assert len(one) <= 200
    for bad in ("", "x", KEY * 100):
        assert derive_key(bad, 1) != derive_key(bad, 1)


@pytest.mark.parametrize(
    ("refused", "field", "says"),
    [
        (RequestRefused(422, "invalid_parameter", "a label must be short", "label"), "label", "A label must be short."),
        (RequestRefused(422, "unknown_target", "unknown target 'x'", "targets"), "target", "Unknown target 'x'."),
        (RequestRefused(422, "004007005", "scale must be a number", "scale"), "scale", "Scale must be a number."),
        (RequestRefused(409, "busy", "it's busy", remedy="wait"), "", "It’s busy; wait."),
        (RequestRefused(422, "x", "<b>\u202ebold", None), "", "<b>bold."),
    ],
)
def test_a_refusal_is_said_beside_its_field(refused: RequestRefused, field: str, says: str) -> None:
    faults = judge_refusal(refused, OUTPAINT)
    assert (faults.fields, faults.general) == (({field: says}, ()) if field else ({}, (says,)))


def test_a_refusal_says_what_may_be_allowed() -> None:
    assert judge_refusal(RequestRefused(422, "unlikely", "it may fail", "wait_for"), OUTPAINT).is_unlikely
    assert judge_refusal(RequestRefused(422, "unreachable", "no", "poll_only"), OUTPAINT).is_unreachable


@pytest.mark.parametrize(
    ("prompt", "count"),
    [
        *(("", 1), ("a", 1), ("{a}", 1), ("{a,b}", 2), ("{a,b}{c,d,e}", 6), ("}{,", 1)),
        *(("{a,{b,c}}", 0), ("{a\\,b}", 0), ("{a,b}" * 40, 10_000)),
    ],
    ids=range(9),
)
def test_generations_are_counted(prompt: str, count: int) -> None:
    assert count_generations(prompt) == count


@pytest.mark.parametrize(
    ("typed_scale", "drawn"),
    [({}, 1.5), ({"scale": "1.7"}, 1.7), ({"scale": "much"}, 1.5), ({"scale": "1.5", "scale-exact": "1.62"}, 1.62)],
)
def test_what_is_drawn_is_what_is_typed_or_the_slider(typed_scale: dict[str, str], drawn: float) -> None:
    assert scale_typed(OUTPAINT, typed_scale) == drawn
    assert scale_typed(MODELS["midjourney_upscale"], typed_scale) is None


@pytest.mark.parametrize(
    ("kind", "zone", "says"),
    [
        (PeriodKind.DAY, "UTC", "The budget of $40 a day is used up: it will wait until midnight (UTC)."),
        (
            PeriodKind.MONTH,
            "Europe/Berlin",
            "The budget of $40 a month is used up: it will wait until 1 December (Europe/Berlin).",
        ),
    ],
)
def test_a_budget_that_is_used_up_says_until_when(kind: PeriodKind, zone: str, says: str) -> None:
    midnight = 1_796_083_200_000 - (3_600_000 if zone != "UTC" else 0)  # of 1 December 2026
    kept = BudgetPeriod(kind=kind, period="2026-11")
    state = BudgetState(kind, "2026-11", 40 * NANO, midnight, Committed(), raised=False, kept=kept)
    assert describe_budget(state, zone) == says
