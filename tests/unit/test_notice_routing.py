"""Who is told: one notice per settlement and target, by what each target wants to hear."""

from collections.abc import Sequence

import pytest
from msgspec.structs import replace

from kit.fakes import NOW, POLICY, a_task, says
from receiver.core.decide import decide, mark_lost
from receiver.core.types import Ending, NoticeEvent, OutcomeSource, Target, Task, TaskOrigin, TaskState


def told(task: Task, ending: Ending, *targets: Target) -> list[str]:
    """The names of the targets that hear of `task` ending so."""
    policy = replace(POLICY, targets=targets)
    return [it.target for it in decide(task, says(ending), OutcomeSource.CALLBACK, policy, NOW).notices]


def target(
    name: str,
    on: Sequence[NoticeEvent] = tuple(NoticeEvent),
    *,
    models: tuple[str, ...] = (),
    labels: tuple[str, ...] = (),
) -> Target:
    return Target(name=name, url=f"json://{name}.invalid/", on=frozenset(on), models=models, labels=labels)


def test_a_target_hears_only_what_it_is_on() -> None:
    targets = target("good", [NoticeEvent.COMPLETED]), target("bad", [NoticeEvent.FAILED]), target("deaf", [])
    assert told(a_task(), Ending.COMPLETED, *targets) == ["good"]
    assert told(a_task(), Ending.FAILED, *targets) == ["bad"]
    assert told(a_task(), Ending.CANCELLED, *targets) == ["bad"], "a cancelled task is told as failed"


@pytest.mark.parametrize(("label", "names"), [("hero-1", ["heroes", "all"]), ("villain", ["all"]), (None, ["all"])])
def test_labels_are_globs(label: str | None, names: list[str]) -> None:
    targets = target("heroes", labels=("hero-*", "champion")), target("all")
    assert told(a_task(label=label), Ending.COMPLETED, *targets) == names


@pytest.mark.parametrize(("model", "names"), [("midjourney_outpaint", ["mj"]), ("veo", []), (None, ["mj"])])
def test_models_are_globs(model: str | None, names: list[str]) -> None:
    """A model that nobody knows may be one of them: better one ping too many."""
    assert told(a_task(model=model), Ending.COMPLETED, target("mj", models=("midjourney_*",))) == names


def test_a_task_may_name_its_targets() -> None:
    """Only those, and still only what they are on."""
    targets = target("a"), target("b"), target("c", [NoticeEvent.LOST])
    assert told(a_task(targets=("b", "c")), Ending.COMPLETED, *targets) == ["b"]
    assert told(a_task(targets=()), Ending.COMPLETED, *targets) == []


def test_a_task_whose_targets_are_all_gone_is_told_as_one_that_names_none() -> None:
    """A target that was renamed while the provider worked would else be a lost ping."""
    targets = target("a"), target("b", labels=("hero",))
    assert told(a_task(targets=("team", "crew")), Ending.COMPLETED, *targets) == ["a"]
    assert told(a_task(targets=("team", "b")), Ending.COMPLETED, *targets) == ["b"], "one of them is there"


def test_a_target_that_a_task_names_is_told_whatever_labels_it_else_hears_of() -> None:
    narrow = target("narrow", models=("veo",), labels=("hero*",))
    assert told(a_task(targets=("narrow",), label="sea"), Ending.COMPLETED, narrow) == ["narrow"]
    assert told(a_task(label="sea"), Ending.COMPLETED, narrow) == []


def test_the_model_that_the_provider_names_is_matched_where_we_knew_none() -> None:
    policy = replace(POLICY, targets=(target("mj", models=("midjourney_*",)),))
    outcome = says(Ending.COMPLETED, model="midjourney_outpaint")
    assert len(decide(a_task(model=None), outcome, OutcomeSource.CALLBACK, policy, NOW).notices) == 1


def test_a_lost_task_is_told_to_those_who_want_to_hear_it() -> None:
    policy = replace(POLICY, targets=(target("a"), target("b", [NoticeEvent.COMPLETED])))
    assert [it.target for it in mark_lost(a_task(), policy, NOW).notices] == ["a"]


def test_a_minted_url_that_was_never_used_ends_without_a_word() -> None:
    unused = a_task(origin=TaskOrigin.MINTED, submitted_at=None, task_id=None)
    gone = mark_lost(unused, POLICY, NOW)
    assert gone.task is not None
    assert (gone.task.state, gone.notices) == (TaskState.LOST, ())
    assert mark_lost(replace(unused, submitted_at=NOW), POLICY, NOW).notices
