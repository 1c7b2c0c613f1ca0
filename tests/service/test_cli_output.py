"""What the commands say: of a task and what to do about it, and where a service of its own answers as told."""

import os
import socket
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from click.testing import Result as Ran
from msgspec.structs import replace

from kit.commands import TASK, Answers, Run, task
from receiver import config
from receiver.cli import connect
from receiver.cli.main import cli
from receiver.cli.output import (
    display_width,
)
from receiver.cli.serve import _startup_warnings
from receiver.cli.task_text import describe_task
from receiver.client.schemas import CallbackPage, CallbackView, ErrorView, NoticePage, NoticeView, TaskPage
from receiver.providers.advice import ADVICE_BY_CODE
from receiver.upkeep.doctor.findings import CheckResult
from receiver.upkeep.doctor.targets import check_targets


def callback(verdict: str, number: int = 12) -> CallbackView:
    return CallbackView(number, TASK, "2026-11-22T08:16:00.123Z", verdict, 10, None, {})


def notice(number: int, state: str) -> NoticeView:
    return NoticeView(number, TASK, "phone", "completed", state, 1, None, "2026-11-22T08:16:00Z", "", None, None)


# -- a task in words --


def test_an_unsure_task_says_why_and_what_can_be_done_the_free_things_first() -> None:
    shown = describe_task(replace(task("waiting"), unsure=True), [callback("hint")])
    assert "its answer leaves that open" in shown
    assert "callback 12: hint, 2026-11-" in shown
    assert "Callback 12 is a hint: a poll has to confirm it first." in " ".join(shown.split())
    commands = [line.strip() for line in shown.splitlines() if line.startswith("    receiver")]
    assert commands == [
        f"receiver tasks tell-id {TASK} ID",
        "receiver callbacks replay --accept 12",
        f"receiver tasks resubmit {TASK}",
    ]


def test_a_hint_from_before_it_was_sent_again_is_not_offered() -> None:
    again = replace(task("waiting"), unsure=True, submitted_at="2026-11-22T08:17:00.000Z")
    assert "--accept" not in describe_task(again, [callback("hint")])
    assert "--accept" in describe_task(replace(again, submitted_at="2026-11-22T08:16:00.000Z"), [callback("hint")])


@pytest.mark.parametrize("origin", ["minted", "adopted"])
def test_only_what_we_submitted_is_offered_to_be_sent_again(origin: str) -> None:
    shown = describe_task(replace(task("waiting"), unsure=True, origin=origin))
    assert "tell-id" in shown
    assert "resubmit" not in shown
    assert "its answer" not in shown


def test_nothing_is_to_be_believed_by_hand_once_the_task_has_ended() -> None:
    assert "--accept" not in describe_task(task("completed"), [callback("hint")])


def test_a_task_that_is_held_says_why() -> None:
    assert "the provider refuses the key or the balance" in describe_task(replace(task("queued"), held_by="pause"))


def test_an_error_is_shown_as_it_came_and_cannot_speak_to_the_terminal() -> None:
    error = ErrorView("400", "no", {"detail": "\u202eseen", "request": 7})
    shown = describe_task(replace(task("failed"), error=error))
    assert '{"detail":"\\u202eseen","request":7}' in shown


@pytest.mark.parametrize("code", ["004011098", "004007098"])
def test_what_to_do_about_an_error_is_what_the_ping_says(code: str) -> None:
    assert ADVICE_BY_CODE["004007098"] in describe_task(replace(task("failed"), error=ErrorView(code, "no")))


def test_no_line_of_advice_is_broken_in_a_word_at_eighty_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    shown = describe_task(replace(task("lost"), unsure=True), [callback("hint"), callback("unparsed", 11)])
    assert max(map(display_width, shown.splitlines())) <= 80


# -- commands --


def test_show_lists_the_callbacks_of_the_task(run: Run, answers: Answers) -> None:
    answers.then(200, task("waiting"))
    answers.then(200, CallbackPage([callback("hint", 13), callback("unparsed")], None))
    shown = run("tasks", "show", TASK).stdout
    assert shown.index("callback 12: unparsed") < shown.index("callback 13: hint")


def test_redriving_what_is_not_dead_says_why_and_ends_with_status_1(run: Run, answers: Answers) -> None:
    answers.then(200, {"redriven": 0})
    answers.then(200, NoticePage([notice(7, "sent")], "7"))
    answers.then(200, NoticePage([notice(7, "sent")], "7"))
    result = run("notices", "redrive", "7", "9")
    assert result.exit_code == 1
    assert result.stderr.endswith(": 7 is sent, to phone, and only dead ones can be; there is no notice 9\n")


def test_redriving_all_when_nothing_is_dead_is_no_failure(run: Run, answers: Answers) -> None:
    answers.then(200, {"redriven": 0})
    answers.then(200, {"notices": [], "next": None})
    assert run("notices", "redrive").exit_code == 0


def test_a_number_with_a_comma_is_refused_with_how_to_write_it(run: Run) -> None:
    result = run("submit", "outpaint", "--job-id", "a", "--image-no", "0", "--scale", "1,5")
    assert (result.exit_code, "use a point: 1.5" in result.stderr) == (2, True)


@pytest.mark.parametrize(
    ("args", "where"),
    [
        (("--config", "f", "tasks", "list"), "receiver"),
        (("tasks", "--config", "f", "list"), "receiver tasks"),
        (("--json", "tasks", "list"), "receiver"),
    ],
)
def test_an_option_before_its_command_is_told_where_it_belongs(run: Run, args: tuple[str, ...], where: str) -> None:
    result = CliRunner().invoke(cli, args, prog_name="receiver")
    option = next(it for it in args if it.startswith("--"))
    assert result.exit_code == 2
    assert f"put {option} after the command, as in `{where} COMMAND {option} …`" in result.stderr


def test_in_the_wrong_folder_it_is_said_that_no_settings_were_found(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    said = "no receiver.toml was found in this folder"
    assert said not in run("tasks", "list", RECEIVER_SERVER="", RECEIVER_PORT=str(port)).stderr
    (tmp_path / "receiver.toml").write_text(f"port = {port}")
    assert said not in run("tasks", "list", RECEIVER_SERVER="").stderr
    (tmp_path / "receiver.toml").unlink()
    settings = config.load_settings({}, client=True)
    assert said in str(connect._missing_file(settings))
    (tmp_path / "unit.toml").touch()
    monkeypatch.setattr(config, "UNIT_SETTINGS", tmp_path / "unit.toml")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert "as root, those of this machine's unit do (" in str(connect._missing_file(settings))


def test_where_a_unit_runs_the_service_it_is_the_unit_that_is_to_be_started(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    (tmp_path / "receiver.toml").write_text(f"port = {port}")
    assert "start the service with `receiver serve`" in run("tasks", "list", RECEIVER_SERVER="").stderr
    monkeypatch.setattr(config, "UNIT_SETTINGS", Path("receiver.toml").absolute())
    assert "start the service with `systemctl start receiver`" in run("tasks", "list", RECEIVER_SERVER="").stderr


def test_a_callback_url_is_not_cancelled_but_discarded(run: Run, answers: Answers) -> None:
    refused = {"error": {"code": "not_queued", "message": "the task is waiting, and only a queued task can be"}}
    minted = replace(task("waiting"), origin="minted")
    for known, said in ((minted, f"`receiver url discard {TASK}` gives up"), (task("waiting"), "")):
        answers.then(409, refused)
        answers.then(200, known)
        told = run("tasks", "cancel", TASK)
        assert (told.exit_code, said in told.stderr, "discard" in told.stderr) == (1, True, bool(said))


@pytest.mark.parametrize(
    ("code", "origin", "command"),
    [("004007098", "submitted", True), ("004007005", "submitted", False), ("004007098", "minted", False)],
)
def test_a_failed_task_shows_the_command_that_submits_it_again(
    run: Run, answers: Answers, code: str, origin: str, command: bool
) -> None:
    answers.then(200, replace(task("failed"), error=ErrorView(code, "no"), origin=origin))
    answers.then(200, CallbackPage([], None))
    assert (f"\n    receiver submit again {TASK}\n" in run("tasks", "show", TASK).stdout) is command


GONE = {"error": {"code": "unknown_target", "message": "unknown target"}}


def test_redriving_all_names_the_targets_that_are_gone_and_sends_the_rest(run: Run, answers: Answers) -> None:
    answers.then(200, {"redriven": 3})
    dead = [replace(notice(at, "dead"), target=name) for at, name in ((9, "web"), (8, "phone"), (7, "own"), (6, "web"))]
    answers.then(200, NoticePage(dead, None))
    answers.then(422, GONE)
    answers.then(200, {"redriven": 1})
    answers.then(422, GONE)
    assert run("notices", "redrive").stdout == (
        "4 put back to due; 3 are to targets that are gone (web, own): `receiver notices redrive --to NAME` sends them "
        "to another\n"
    )


def test_redriving_a_target_or_an_id_that_is_gone_says_how_it_goes_elsewhere(run: Run, answers: Answers) -> None:
    answers.then(422, GONE)
    assert "`receiver notices redrive --target web --to NAME`" in run("notices", "redrive", "--target", "web").stderr
    answers.then(200, {"redriven": 0})
    answers.then(200, NoticePage([notice(7, "dead")], None))
    assert "7 is to phone, a target that is gone: --to NAME" in run("notices", "redrive", "7").stderr


@pytest.mark.parametrize("option", ["--job-id", "--prompt"])
def test_what_is_submitted_is_stripped_and_not_empty(run: Run, answers: Answers, option: str) -> None:
    answers.then(202, task())
    given: dict[str, Any] = {"--job-id": "a-job", "--prompt": "the sea", "--image-no": "0", "--scale": "1.5"}

    def submit(text: str) -> Ran:
        return run("submit", "outpaint", *(word for pair in {**given, option: text}.items() for word in pair))

    assert submit(f"  {given[option]}\n").exit_code == 0
    assert f'"{given[option]}"' in answers.seen[0][3].decode()
    assert submit(" ").exit_code == 2


def test_that_no_token_was_found_is_said_with_the_place_that_was_looked_at(
    run: Run, answers: Answers, tmp_path: Path
) -> None:
    answers.then(401, {"error": {"code": "unauthorized", "message": "no"}})
    result = run("tasks", "list", RECEIVER_API_TOKEN="")
    assert result.exit_code == 1
    assert f"no API token found (looked for {tmp_path}/api_tokens): set RECEIVER_API_TOKEN" in result.stderr


def test_the_api_commands_find_the_service_by_its_settings_file(run: Run, answers: Answers, tmp_path: Path) -> None:
    answers.then(200, TaskPage([], None))
    file = tmp_path / "elsewhere.toml"
    file.write_text(f'state_dir = "{tmp_path}/state"\n')
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "api_tokens").write_text("the-token-of-the-service\n")
    run("tasks", "list", "--config", str(file), RECEIVER_API_TOKEN="")
    assert answers.seen[0][2]["authorization"] == "Bearer the-token-of-the-service"


def test_the_api_commands_need_nothing_that_the_file_names_for_its_targets(
    run: Run, answers: Answers, tmp_path: Path
) -> None:
    """On a laptop with the service's receiver.toml; the service itself, and `config`, say what is missing."""
    answers.then(200, TaskPage([], None))
    (tmp_path / "receiver.toml").write_text('[targets.team]\nurl = "json://h"\ntemplate = "team.j2"\n')
    assert run("tasks", "list").exit_code == 0
    for name in ("serve", "config", "doctor"):
        told = run(name)
        assert told.exit_code != 0
        assert "template: cannot read team.j2: No such file" in told.output


def test_a_target_whose_models_match_none_is_warned_of(run: Run, answers: Answers, tmp_path: Path) -> None:
    """It is no error: a minted URL may be another model's."""
    table = '[targets.{}]\nurl = "json://{}"\nmodels = [{}]\n'
    (tmp_path / "receiver.toml").write_text(
        table.format("team", "a", '"midjorney_*", "*_outpaint"') + table.format("all", "b", '"midjourney_*"')
    )
    told = run("config")
    assert told.exit_code == 0
    [line] = told.stderr.splitlines()
    assert line.startswith("targets.team: 'midjorney_*' matches no known model; known models: midjourney_diffusion, ")
    warnings = list(_startup_warnings(config.load_settings({}), 8000))
    assert line in warnings
    assert sum("no known model" in it for it in warnings) == 1
    [found] = [it for it in check_targets(config.load_settings({}).targets) if it.result is CheckResult.WARNING]
    assert found.text == "team: 'midjorney_*' matches no known model"


def test_waiting_notices_are_listed_in_eighty_columns(
    run: Run, answers: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting = [
        replace(notice(number, "held"), target="slack-3fa92c", waits_for=why, waits_until=at, due_at=at)
        for number, why, at in ((1, "quiet", "2026-11-22T07:00:00Z"), (2, "news", "2999-11-22T07:00:00Z"))
    ]
    answers.then(200, NoticePage([*waiting, notice(3, "sent")], None))
    lines = run("notices", "list", COLUMNS="80").stdout.splitlines()
    assert max(map(display_width, lines)) <= 80
    assert "quiet until " in lines[1]
    assert "news 2999-11-2" in lines[2], "a reason that a newer service gives"
    answers.then(200, NoticePage([notice(3, "sent")], None))
    assert "WAITS" not in run("notices", "list").stdout


def test_notices_name_their_task_even_where_they_failed(run: Run, answers: Answers) -> None:
    """In eighty columns, with all that a table of them may hold; the error is whole in the history."""
    error = "Failed to send JSON notification: its answer was too long to be told in so few columns"
    failed = replace(notice(1234, "due"), target="slack-3fa92c", attempts=3, error=error, waits_for="retry")
    failed = replace(failed, waits_until="2999-11-22T07:00:00Z", due_at="2999-11-22T07:00:00Z")
    both = NoticePage([failed, replace(failed, label="hero", waits_until=None)], None)
    answers.then(200, both)
    answers.then(200, both)
    listed = run("notices", "list", COLUMNS="80").stdout.splitlines()
    assert max(map(display_width, listed)) <= 80
    assert "due ×3" in listed[1]
    assert listed[1].rpartition("  ")[2].startswith(f"…{TASK[-8:]}: ")
    assert listed[2].rpartition("  ")[2].startswith("hero: Failed")
    history = run("notices", "list", "--history", COLUMNS="80").stdout
    assert "hero" in history
    assert TASK in history
    assert error in history


def test_a_task_that_is_held_for_a_person_says_what_can_be_done(run: Run, answers: Answers) -> None:
    held = replace(task("queued"), held_by="person")
    answers.then(200, held)
    answers.then(200, CallbackPage([], None))
    said = run("tasks", "show", TASK).stdout
    assert f"receiver tasks resubmit {TASK}" in said
    assert f"receiver tasks cancel {TASK}" in said


def test_a_template_that_fails_is_named_by_its_file(run: Run, tmp_path: Path) -> None:
    (tmp_path / "receiver.toml").write_text('[targets.team]\nurl = "json://h"\ntemplate = "team.j2"\n')
    (tmp_path / "team.j2").write_text("{{ title }")
    [line] = [it for it in _startup_warnings(config.load_settings({}), 8000) if "template" in it]
    assert line.startswith("targets.team: its template team.j2 cannot be used")
    [found] = [it for it in check_targets(config.load_settings({}).targets) if it.result is CheckResult.WARNING]
    assert found.remedy == "fix team.j2"
    assert "template team.j2" in run("config").stdout


# -- a server that is broken, or hostile --

EVIL = "\x1b]0;pwned\x07\x9b31m\u202eevil\r\n\x00\x7f"


@pytest.mark.parametrize(
    ("args", "answer"),
    [
        (("tasks", "list"), {"error": {"code": "x", "message": EVIL}}),
        (("tasks", "list"), TaskPage([replace(task(EVIL), ref=EVIL, created_at=EVIL)], EVIL)),
        (("tasks", "list", "--json"), TaskPage([replace(task(EVIL), ref=EVIL)], EVIL)),
        (("tasks", "cancel", TASK), replace(task(EVIL), ref=EVIL, held_by=EVIL)),
        (("callbacks", "list"), CallbackPage([replace(callback(EVIL), ref=EVIL)], EVIL)),
        (("callbacks", "replay", "1"), {"verdict": EVIL}),
        (("notices", "list"), NoticePage([replace(notice(1, EVIL), event=EVIL)], EVIL)),
        (("notices", "list", "--history"), NoticePage([replace(notice(1, EVIL), event=EVIL)], EVIL)),
        (
            ("notices", "test", "--target", "x"),
            {"target": "x", "ok": False, "error": EVIL, "duration_ms": 1, "advice": EVIL},
        ),
        (("url",), {"ref": EVIL, "callback_url": EVIL}),
    ],
)
def test_nothing_that_a_server_says_speaks_to_the_terminal(
    args: tuple[str, ...], answer: object, run: Run, answers: Answers
) -> None:
    answers.then(400 if isinstance(answer, dict) and "message" in str(answer) else 200, answer)
    ran = run(*args, FORCE_COLOR="1")
    assert isinstance(ran.exception, SystemExit | None)
    assert "evil" in ran.output
    assert not {"\x1b", "\x07", "\x9b", "\u202e", "\x00", "\x7f", "\r"} & set(ran.output)


def test_a_task_in_words_has_nothing_that_speaks_to_the_terminal() -> None:
    odd = replace(task(EVIL), ref=EVIL, held_by=EVIL, settled_by=EVIL, origin=EVIL, created_at=EVIL)
    said = describe_task(odd, [callback(EVIL)], [notice(1, EVIL)])
    assert not {"\x1b", "\x07", "\x9b", "\u202e"} & set(said)


def test_discarding_says_how_many_and_fails_if_none_was(run: Run, answers: Answers) -> None:
    answers.then(200, {"discarded": 1})
    told = run("notices", "discard", "7", "8")
    assert (told.exit_code, told.stdout) == (0, "1 discarded; 1 not, because only dead notices can be\n")
    answers.then(200, {"discarded": 0})
    told = run("notices", "discard", "--target", "gone")
    assert (told.exit_code, told.stdout) == (1, "")
    assert told.stderr.startswith("receiver: nothing was discarded: only dead ones can be; see ")
    assert run("notices", "discard").exit_code == 2, "all is never meant by saying nothing"


def test_an_unknown_command_of_a_group_is_answered_with_those_there_are(run: Run) -> None:
    told = run("notices", "xyz")
    assert told.exit_code == 2
    assert "no such command 'xyz'; the commands are: discard, list, redrive, test" in told.stderr.lower()
