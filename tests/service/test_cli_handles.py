"""What stands for a ref on the command line, and what is submitted at most once."""

import re

import pytest
from msgspec.structs import replace

from kit.commands import OUTPAINT, TASK, Answers, Run, task
from receiver.client.chain_schemas import ChainStep, ChainView
from receiver.client.schemas import ChainLink, NoticePage, NoticeView, TaskPage, TaskView

OTHER = TASK.replace("-0000-", "-0001-")


def asked(answers: Answers) -> list[str]:
    """The requests so far, with their query."""
    return [f"{method} {path.removeprefix('/api/v1/')}" for method, path, _, _ in answers.seen]


@pytest.mark.parametrize("handle", ["hero", TASK[:9], TASK[-6:], f"…{TASK[-8:]}"])
def test_one_that_a_single_task_has_stands_for_its_ref(run: Run, answers: Answers, handle: str) -> None:
    answers.then(200, TaskPage([task()], None))
    answers.then(200, task())
    assert TASK in run("tasks", "cancel", handle).stdout
    assert asked(answers)[0].startswith("GET tasks?handle=")
    assert asked(answers)[1] == f"POST tasks/{TASK}/cancel"


def test_a_whole_ref_is_not_asked_about(run: Run, answers: Answers) -> None:
    answers.then(200, task())
    assert run("tasks", "cancel", TASK).exit_code == 0
    assert asked(answers) == [f"POST tasks/{TASK}/cancel"]


def test_one_that_several_tasks_have_names_them(run: Run, answers: Answers) -> None:
    """Nothing is done to any."""
    answers.then(200, TaskPage([task(), task("failed", OTHER)], None))
    refused = run("tasks", "cancel", "hero")
    assert (refused.exit_code, refused.stdout) == (1, "")
    refs = rf"{TASK} \(queued, [0-9]+ \w+ ago\), {OTHER} \(failed, [0-9]+ \w+ ago\)"
    how = "give one of these refs, newest first"
    assert re.fullmatch(f"receiver: several tasks are called 'hero': {how}: {refs}\n", refused.stderr)
    answers.then(200, TaskPage([task()] * 4, None))
    assert run("tasks", "cancel", "hero").stderr.endswith(" and others\n")
    assert len(answers.seen) == 2


def test_the_label_of_a_chain_that_a_command_cannot_mean_the_first_task_of_names_the_steps(
    run: Run, answers: Answers
) -> None:
    def step(name: str | None, ref: str) -> TaskView:
        link = ChainLink(TASK, None, name, None, children=0, picks=0)
        return replace(task(ref=ref), label="hut", chain=link)

    answers.then(200, TaskPage([step("big", OTHER), step("grid", TASK)], None))
    refused = run("tasks", "cancel", "hut")
    assert asked(answers) == ["GET tasks?handle=hut&limit=4"]
    how = "several tasks are called 'hut': give a step, as in 'hut/grid', or a ref, newest first: "
    assert refused.stderr.startswith(f"receiver: {how}{OTHER} (step big, queued, ")
    assert f", {TASK} (step grid, queued, " in refused.stderr
    answers.then(200, TaskPage([step("big", OTHER), step("big", TASK)], None))
    assert "give one of these refs, newest first" in run("tasks", "cancel", "hut/big").stderr
    answers.then(200, TaskPage([step(None, OTHER), step(None, TASK)], None))
    assert f"{OTHER} (queued, " in run("tasks", "cancel", "hut").stderr


def test_the_first_task_of_a_chain_is_meant_if_only_what_waits_for_it_is_withdrawn(run: Run, answers: Answers) -> None:
    answers.then(200, TaskPage([task()], None))
    answers.then(200, task())
    assert run("tasks", "cancel", "hut", "--children").exit_code == 0
    assert asked(answers)[0] == "GET tasks?handle=hut&chains=first&limit=4"


def test_a_label_that_a_second_task_keeps_is_no_handle_any_more(run: Run, answers: Answers) -> None:
    answers.then(202, replace(task(), label="hero"))
    assert "several tasks are called 'hero' now" in run("submit", "again", OTHER).stderr
    answers.then(202, replace(task(), label="villain"))
    assert run("submit", "again", OTHER, "--label", "villain").stderr == ""


def test_one_that_no_task_has_says_what_may_be_given(run: Run, answers: Answers) -> None:
    answers.then(200, TaskPage([], None))
    refused = run("tasks", "show", "01a2")
    assert refused.exit_code == 1
    how = "give a label, LABEL/STEP for a step of a chain, a ref, or at least 6 characters of a ref's beginning or end"
    assert refused.stderr == f"receiver: no task is called '01a2': {how}\n"


@pytest.mark.parametrize(
    ("args", "then"),
    [
        (("tasks", "poll", "hero"), f"POST tasks/{TASK}/poll"),
        (("tasks", "resubmit", "hero"), f"POST tasks/{TASK}/resubmit"),
        (("tasks", "tell-id", "hero", "prov-1"), f"PATCH tasks/{TASK}"),
        (("tasks", "release", "hero"), f"POST tasks/{TASK}/release"),
        (("url", "discard", "hero"), f"POST callback-urls/{TASK}/discard"),
    ],
)
def test_it_will_do_wherever_a_ref_goes(run: Run, answers: Answers, args: tuple[str, ...], then: str) -> None:
    answers.then(200, TaskPage([task()], None))
    answers.then(404, {"error": {"code": "not_found", "message": "there is no such thing"}})
    run(*args)
    assert asked(answers) == ["GET tasks?handle=hero&limit=4", then]


@pytest.mark.parametrize(
    ("args", "then"),
    [
        (("tasks", "show", "hero"), f"GET tasks/{TASK}"),
        (("tasks", "chain", "hero"), f"GET tasks/{TASK}/chain"),
        (("tasks", "pictures", "hero"), f"GET tasks/{TASK}"),
        (("callbacks", "list", "--ref", "hero"), f"GET callbacks?ref={TASK}&limit=20"),
        (("notices", "list", "--ref", "hero"), f"GET notices?ref={TASK}&limit=20"),
        (("submit", "outpaint", "--from", "hero", "--image-no", "0", "--scale", "2"), f"GET tasks/{TASK}"),
        (("submit", "again", "hero"), f"POST tasks/{TASK}/again"),
    ],
)
def test_where_a_task_is_shown_or_gone_on_from_the_label_of_a_chain_means_its_first_task(
    run: Run, answers: Answers, args: tuple[str, ...], then: str
) -> None:
    answers.then(200, TaskPage([task()], None))
    answers.then(404, {"error": {"code": "not_found", "message": "there is no such thing"}})
    run(*args)
    assert asked(answers) == ["GET tasks?handle=hero&chains=first&limit=4", then]


def test_a_ref_that_is_cut_is_shown_by_its_end_which_is_a_handle(
    run: Run, answers: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    failed = NoticeView(1, TASK, "phone", "completed", "dead", 3, "no", "2026-11-22T08:16:00Z", "", None, None)
    answers.then(200, NoticePage([failed], None))
    shown = run("notices", "list").stdout.splitlines()[1].split()[-2]
    assert shown == f"…{TASK[-8:]}:"


# -- patterns --


def test_a_pattern_of_labels_is_searched_until_the_page_is_full(run: Run, answers: Answers) -> None:
    answers.then(200, TaskPage([task()], TASK))
    answers.then(200, TaskPage([], OTHER))
    answers.then(200, TaskPage([task(ref=OTHER)], None))
    listed = run("tasks", "list", "--label", "hero*", "--limit", "9")
    assert [line.split()[0] for line in listed.stdout.splitlines()] == ["REF", TASK, OTHER]
    assert asked(answers) == [
        "GET tasks?label=hero%2A&limit=9",
        f"GET tasks?label=hero%2A&limit=8&cursor={TASK}",
        f"GET tasks?label=hero%2A&limit=8&cursor={OTHER}",
    ]


def test_a_search_ends_though_nothing_is_found(run: Run, answers: Answers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("receiver.client.client.SEARCHES_MOST", 2)
    answers.then(200, TaskPage([], TASK))
    answers.then(200, TaskPage([], OTHER))
    listed = run("tasks", "list", "--label", "hero*")
    assert (listed.stdout, listed.stderr) == ("", f"None found yet. Search on: --cursor {OTHER}\n")


# -- submitting again, and once --


def test_a_task_is_submitted_again_with_what_is_changed(run: Run, answers: Answers) -> None:
    answers.then(202, task(ref=OTHER))
    again = run("submit", "again", TASK, "--prompt", " the sea ", "--idempotency-key", "k")
    assert (again.exit_code, again.stdout) == (0, f"{OTHER}\n")
    [(_, _, headers, body)] = answers.seen
    assert headers["idempotency-key"] == "k"
    assert body == b'{"prompt":"the sea"}'


def test_other_parameters_are_called_as_the_options_are_and_checked_first(run: Run, answers: Answers) -> None:
    there = replace(task("failed"), params={"jobId": "j", "imageNo": 0, "scale": 1.5, "remixPrompt": "the sea"})
    answers.then(200, there)
    answers.then(404, {"error": {"code": "not_found", "message": "no such call"}})  # what it costs is not known
    answers.then(202, replace(task(ref=OTHER), label=None))
    args = ("submit", "again", TASK, "--set", "scale=2", "--set", "image-no=3", "--set", "prompt=")
    assert run(*args, "--with-children").exit_code == 0
    changes = b'{"scale":2.0,"imageNo":3,"remixPrompt":null}'
    assert answers.seen[-1][3] == b'{"params":' + changes + b',"with_children":true}'
    for pair, why in (("scale=3", "--scale must be a number from 1.1 to 2.0"), ("scal=1", "did you mean --scale?")):
        answers.then(200, there)
        refused = run("submit", "again", TASK, "--set", pair)
        assert (refused.exit_code, why in refused.stderr) == (2, True)


def test_what_a_task_and_its_followers_may_cost_is_said_and_with_a_dry_run_nothing_is_sent(
    run: Run, answers: Answers
) -> None:
    def at(name: str, *children: ChainStep, image_no: int | None = 0, picked_by: str | None = None) -> ChainStep:
        facts = {"label": None, "model": "midjourney_outpaint", "state": "completed", "held_by": None}
        known = {"unsure": False, "confirmed": True, "progress": None, "cost": None, "estimate": None}
        more = {"image_no": image_no, "picked_by": picked_by, "children": list(children)}
        return ChainStep(ref=TASK if name == "first" else name, step=name, **facts, **known, **more)  # type: ignore[arg-type]

    picked = (at("wide", at("big"), picked_by="link"), at("wide", at("big"), image_no=2, picked_by="link"))
    chain = ChainView(TASK, 6, [at("first", *picked, at("other"))], None, None, 0)
    link = ChainLink(root=TASK, parent=None, image_no=None, step="first", children=0, picks=0)
    answers.then(200, replace(task("failed"), chain=link))
    answers.then(200, chain)
    answers.then(404, {"error": {"code": "not_found", "message": "no such call"}})
    told = run("submit", "again", TASK, "--with-children", "--dry-run")
    assert (told.exit_code, told.stdout) == (0, "")
    assert told.stderr == "receiver: 4 tasks would be submitted; nothing was sent\n"
    assert [it for it in asked(answers) if it.startswith("POST")] == []


def test_a_refusal_to_submit_again_is_one_line(run: Run, answers: Answers) -> None:
    answers.then(409, {"error": {"code": "unsure", "message": "the task is unsure"}})
    again = run("submit", "again", TASK)
    assert (again.exit_code, again.stdout, again.stderr) == (1, "", "receiver: the task is unsure\n")


def test_the_key_that_is_given_goes_with_the_task(run: Run, answers: Answers) -> None:
    answers.then(202, task())
    assert run(*OUTPAINT, "--idempotency-key", "mine").exit_code == 0
    assert answers.seen[0][2]["idempotency-key"] == "mine"
    assert b"idempotency_key" not in answers.seen[0][3]


@pytest.mark.parametrize("args", [OUTPAINT, ("submit", "again", TASK)])
@pytest.mark.parametrize("status", [0, 502, 504])
def test_an_answer_that_got_lost_says_how_to_submit_at_most_once(
    run: Run, answers: Answers, args: tuple[str, ...], status: int
) -> None:
    answers.then(status, b"<html>Bad Gateway</html>", "text/html")
    lost = run(*args)
    assert (lost.exit_code, lost.stdout) == (1, "")
    key = answers.seen[0][2]["idempotency-key"]
    same = f"it may have been submitted: the same command with --idempotency-key {key} submits it at most once"
    assert lost.stderr.endswith(f"; {same}\n")


def test_what_was_certainly_not_submitted_is_not_said_to_be_unclear(run: Run, answers: Answers) -> None:
    answers.then(422, {"error": {"code": "no_key", "message": "submitting needs a provider key"}})
    assert run(*OUTPAINT).stderr == "receiver: submitting needs a provider key\n"


# -- url --


def test_an_option_before_discard_is_not_ignored(run: Run, answers: Answers) -> None:
    assert run("url", "--label", "x", "discard", TASK).exit_code == 2
    assert answers.seen == []


def test_a_discarded_url_says_so(run: Run, answers: Answers) -> None:
    answers.then(200, replace(task("cancelled"), origin="minted"))
    assert run("url", "discard", TASK).stdout == f"{TASK}  cancelled  discarded\n"


@pytest.mark.parametrize("numbers", [("0,2",), ("0", "2"), ("0,2,",), ("0, 2",)])
def test_pictures_are_picked_with_blanks_or_commas_between_them(
    run: Run, answers: Answers, numbers: tuple[str, ...]
) -> None:
    answers.then(200, {"tasks": []})
    assert run("tasks", "pick", TASK, *numbers).exit_code == 0
    assert answers.seen[-1][3] == b'{"image_no":[0,2]}'


@pytest.mark.parametrize("number", ["all", "pick", "0,0", "x", "1.5", "0,-1"])
def test_what_is_no_picture_s_number_is_not_picked(run: Run, answers: Answers, number: str) -> None:
    refused = run("tasks", "pick", TASK, number)
    assert (refused.exit_code, answers.seen) == (2, [])
