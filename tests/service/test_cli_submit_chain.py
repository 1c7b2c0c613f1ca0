"""`receiver submit chain` before a service that answers as told: all at once or nothing."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from kit.commands import TASK, Answers, Run, task, told
from receiver.client.schemas import BatchItem, ChainLink, Problem, TaskPage

SECOND, THIRD = TASK.replace("-0000-", "-0001-"), TASK.replace("-0000-", "-0002-")
CHAIN = """
label = "lighthouse"
[[step]]
name = "make"
model = "diffusion"
params = { prompt = "${prompt} --ar 3:2" }
[[step]]
name = "wide"
model = "outpaint"
after = "make"
image_no = "pick"
params = { scale = 1.5 }
"""
NO_COSTS = {"error": {"code": "not_found", "message": "no"}}


@pytest.fixture(autouse=True)
def _file(run: Run) -> None:
    Path("extend.toml").write_text(CHAIN)


def chain(run: Run, *args: str) -> Any:
    return run("submit", "chain", "extend.toml", "--set", "prompt=a sea", *args)


def made(*refs: str) -> list[BatchItem]:
    return [BatchItem(202, task(ref=ref)) for ref in refs]


def test_all_steps_go_in_one_call_and_the_ref_of_the_first_is_printed(run: Run, answers: Answers) -> None:
    answers.then(404, NO_COSTS)
    answers.then(200, made(TASK, SECOND))
    done = chain(run, "--idempotency-key", "k", "--target", "slack", "--priority", "high")
    assert (done.exit_code, done.stdout, done.stderr) == (0, f"{TASK}\n", "")
    method, path, _, body = answers.seen[-1]
    assert (method, path) == ("POST", "/api/v1/tasks/batch")
    common = {"label": "lighthouse", "targets": ["slack"], "priority": "high"}
    assert msgspec.json.decode(body) == {
        "tasks": [
            {
                "model": "midjourney_diffusion",
                "params": {"text": "a sea --ar 3:2"},
                "name": "make",
                "idempotency_key": "k#make",
                **common,
            },
            {
                "model": "midjourney_outpaint",
                "params": {"scale": 1.5},
                "name": "wide",
                "wait_for": {"name": "make", "image_no": "pick"},
                "idempotency_key": "k#wide",
                **common,
            },
        ]
    }


def test_what_is_wrong_with_the_file_is_said_a_line_each_and_nobody_is_asked(run: Run, answers: Answers) -> None:
    Path("extend.toml").write_text(CHAIN.replace("1.5", "3").replace('"make"\nimage', '"mak"\nimage'))
    refused = run("submit", "chain", "extend.toml", "--set", "promt=x")
    assert (refused.exit_code, refused.stdout, answers.seen) == (2, "", [])
    assert refused.stderr.splitlines() == [
        "extend.toml: --set promt: the file has no ${promt} (did you mean prompt?)",
        "extend.toml: step make: prompt: ${prompt} stands for nothing; there are no values: give them with --set "
        "NAME=VALUE",
        "extend.toml: step wide: after: there is no step 'mak' (did you mean make?)",
        "extend.toml: step wide: scale: 3 must be a number from 1.1 to 2.0 (004007005)",
        "receiver: 4 things are wrong; nothing was sent",
    ]


def test_what_the_service_refuses_is_said_with_the_step(run: Run, answers: Answers) -> None:
    answers.then(404, NO_COSTS)
    fault = Problem("unknown_target", "unknown target 'tean' (did you mean team?)", "targets")
    other = Problem("chain_refused", "“wide” was refused")
    answers.then(200, [BatchItem(422, error=other), BatchItem(422, error=fault)])
    refused = chain(run)
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert refused.stderr.splitlines() == [
        "extend.toml: step wide: unknown target 'tean' (did you mean team?)",
        "receiver: 1 step was refused by the service; nothing was submitted",
    ]


def test_what_the_service_thinks_unlikely_says_how_a_step_goes_anyway(run: Run, answers: Answers) -> None:
    answers.then(404, NO_COSTS)
    fault = Problem("unlikely", "it probably cannot follow; if you know …, submit it `anyway`", "wait_for")
    answers.then(200, [BatchItem(202), BatchItem(422, error=fault)])
    assert "step wide: it probably cannot follow; if you know …, say anyway = true at the step\n" in chain(run).stderr


def test_a_dry_run_asks_the_service_and_submits_nothing(run: Run, answers: Answers) -> None:
    answers.then(200, [BatchItem(202), BatchItem(202)])
    answers.then(404, NO_COSTS)
    done = chain(run, "--dry-run")
    assert (done.exit_code, done.stdout) == (0, "")
    assert done.stderr == "receiver: 2 tasks can be submitted; nothing was sent\n"
    assert msgspec.json.decode(answers.seen[0][3])["dry_run"] is True


def test_a_lost_answer_says_how_to_submit_at_most_once(run: Run, answers: Answers) -> None:
    answers.then(404, NO_COSTS)
    answers.then(504, b"<html>", "text/html")
    lost = chain(run, "--idempotency-key", "mine")
    assert lost.exit_code == 1
    assert "the same command with --idempotency-key mine submits it at most once" in lost.stderr


def test_a_task_to_go_on_from_may_be_named_by_its_label(run: Run, answers: Answers) -> None:
    Path("on.toml").write_text(
        '[[step]]\nname = "a"\nmodel = "outpaint"\nfrom = "${ref}"\nimage_no = 0\nparams = { scale = 2 }\n'
    )
    answers.then(200, TaskPage([task(ref=THIRD)], None))
    answers.then(404, NO_COSTS)
    answers.then(200, made(TASK))
    assert run("submit", "chain", "on.toml", "--set", "ref=hero").exit_code == 0
    [asked] = msgspec.json.decode(answers.seen[-1][3])["tasks"]
    assert asked["wait_for"] == {"ref": THIRD, "image_no": 0}


def test_the_wait_is_for_every_step_and_fails_with_any(run: Run, answers: Answers) -> None:
    answers.then(404, NO_COSTS)
    answers.then(200, made(TASK, SECOND))
    link = ChainLink(root=TASK, parent=None, step="make", image_no=None, children=1, picks=0)
    for ref, state in ((TASK, "completed"), (SECOND, "failed")):
        answers.then(200, task(ref=ref))
        answers.then(200, told(replace(task(state, ref), chain=link)), "text/event-stream")
        answers.then(200, replace(task(state, ref), chain=link))
    waited = chain(run, "--wait")
    assert (waited.exit_code, waited.stdout) == (1, f"{TASK}\n")
    assert waited.stderr.startswith("make: completed\n")


def test_warnings_of_the_service_name_the_step_once(run: Run, answers: Answers) -> None:
    answers.then(404, NO_COSTS)
    warned = replace(task(ref=SECOND), warnings=("nobody says whether this can follow",))
    answers.then(200, [BatchItem(202, task()), BatchItem(202, warned)])
    assert chain(run).stderr == "receiver: tip: step wide: nobody says whether this can follow\n"


def test_a_label_of_the_command_is_that_of_all_steps(run: Run, answers: Answers) -> None:
    answers.then(404, NO_COSTS)
    answers.then(200, made(TASK, SECOND))
    assert chain(run, "--label", "$5 sea").exit_code == 0
    assert {it["label"] for it in msgspec.json.decode(answers.seen[-1][3])["tasks"]} == {"$5 sea"}


@pytest.mark.parametrize(
    ("args", "why"),
    [
        (("none.toml",), "cannot read none.toml: No such file or directory"),
        (("extend.toml", "--set", "prompt"), "--set prompt: write NAME=VALUE"),
        (("extend.toml", "--set", "prompt=a", "--set", "prompt=b"), "--set prompt: it is given twice"),
        (("extend.toml", "--idempotency-key", "k" * 157), "longer than 156 characters"),
        (("/dev/zero",), "/dev/zero is larger than 1 MiB"),
    ],
)
def test_wrong_usage_is_one_line(run: Run, answers: Answers, args: tuple[str, ...], why: str) -> None:
    refused = run("submit", "chain", *args)
    assert (refused.exit_code, answers.seen, refused.stderr.count("\n")) == (2, [], 1)
    assert why in refused.stderr


def test_of_a_file_that_cannot_be_read_only_that_is_said(run: Run, answers: Answers) -> None:
    Path("extend.toml").write_text("[[step]")
    refused = run("submit", "chain", "extend.toml", "--set", "prompt=x")
    assert (refused.exit_code, answers.seen) == (2, [])
    first, last = refused.stderr.splitlines()
    assert first.startswith("extend.toml: it is not TOML")
    assert last == "receiver: 1 thing is wrong; nothing was sent"
