"""The same task once more: what is as before, what may be changed, and when it would be paid for twice."""

import msgspec
import pytest
from msgspec.structs import replace

from kit.fakes import a_task
from receiver.client.schemas import AgainRequest, NewTask
from receiver.core.errors import RequestRefused
from receiver.core.types import TaskOrigin, TaskState
from receiver.providers import models
from receiver.tasks.again import repeat_request

PARAMS = {"jobId": "j", "imageNo": 0, "scale": 1.5, "remixPrompt": "the sea"}
TASK = replace(
    a_task(),
    model=models.OUTPAINT,
    params=models.check_params(models.OUTPAINT, PARAMS),
    label="hero",
    targets=("slack",),
)
TASK = replace(TASK, state=TaskState.FAILED, unsure=False, origin=TaskOrigin.SUBMITTED)
SAME = NewTask(models.OUTPAINT, PARAMS, label="hero", targets=("slack",), allow_permutations=True, anyway=True)
CHANGED = replace(SAME, allow_permutations=False, anyway=False)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (AgainRequest(), SAME),
        (
            AgainRequest(prompt="a lake"),
            replace(CHANGED, params={**PARAMS, "remixPrompt": "a lake"}),
        ),
        (AgainRequest(params={"scale": 2.0}), replace(CHANGED, params={**PARAMS, "scale": 2.0})),
        (
            AgainRequest(params={"scale": 2.0}, allow_permutations=True, anyway=True),
            replace(SAME, params={**PARAMS, "scale": 2.0}),
        ),
        (AgainRequest(label="villain"), replace(SAME, label="villain")),
    ],
)
def test_what_is_not_given_is_as_before(asked: AgainRequest, expected: NewTask) -> None:
    assert repeat_request(TASK, asked, ["slack", "mail"]) == expected


def test_a_model_that_is_not_declared_is_submitted_again_unchecked() -> None:
    raw = replace(TASK, model="midjourney_blend", params=b'{"urls":[]}')
    assert repeat_request(raw, AgainRequest(params={"x": 1}), []).anyway


def test_what_null_leaves_out_is_left_out() -> None:
    new = repeat_request(TASK, AgainRequest(params={"remixPrompt": None}), ["slack"])
    assert "remixPrompt" not in msgspec.json.decode(models.check_params(new.model, new.params))


def test_a_target_that_is_gone_is_not_named_again() -> None:
    both = replace(TASK, targets=("gone", "slack"))
    assert repeat_request(both, AgainRequest(), ["slack"]).targets == ("slack",)
    assert repeat_request(both, AgainRequest(), ["mail"]).targets is None, "else nobody would be told"
    assert repeat_request(replace(TASK, targets=None), AgainRequest(), ["mail"]).targets is None


@pytest.mark.parametrize("state", [TaskState.WAITING, TaskState.LOST])
def test_what_the_provider_may_have_is_not_submitted_again(state: TaskState) -> None:
    with pytest.raises(RequestRefused, match="receiver tasks show") as caught:
        repeat_request(replace(TASK, state=state, unsure=True), AgainRequest(), [])
    assert (caught.value.status, caught.value.code) == (409, "unsure")


@pytest.mark.parametrize(
    ("state", "unsure"), [(TaskState.WAITING, False), (TaskState.LOST, False), (TaskState.QUEUED, True)]
)
def test_what_the_provider_certainly_has_or_has_not_may_be_wanted_twice(state: TaskState, unsure: bool) -> None:
    assert repeat_request(replace(TASK, state=state, unsure=unsure), AgainRequest(), ["slack"]) == SAME


def test_a_prompt_for_a_model_that_takes_none_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("receiver.tasks.again.prompt_param", lambda model: None)
    with pytest.raises(RequestRefused) as caught:
        repeat_request(TASK, AgainRequest(prompt="the sea"), [])
    assert (caught.value.status, caught.value.code, caught.value.field) == (422, "invalid_parameter", "prompt")


@pytest.mark.parametrize("origin", [TaskOrigin.MINTED, TaskOrigin.ADOPTED])
def test_what_others_submitted_is_not_known_well_enough(origin: TaskOrigin) -> None:
    with pytest.raises(RequestRefused) as caught:
        repeat_request(replace(TASK, origin=origin), AgainRequest(), [])
    assert (caught.value.status, caught.value.code) == (409, "not_ours")
