"""`receiver submit batch` before a service that behaves as told: what is wrong is said, and then nothing is sent."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from kit.batch_service import HEADER, BatchService, Refusal, rows, run_commands, submit
from kit.commands import Run
from receiver.cli.batch.faults import open_report
from receiver.cli.batch.read_file import Fault
from receiver.client.schemas import NewTask, Problem


@pytest.fixture
def service() -> BatchService:
    return BatchService()


@pytest.fixture
def run(service: BatchService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    yield from run_commands(service, tmp_path, monkeypatch)


def test_a_file_becomes_a_closed_batch_and_its_name_is_printed(run: Run, service: BatchService) -> None:
    done = submit(run, content=rows(250))
    [name] = service.batches
    assert (done.exit_code, done.stdout) == (0, f"{name}\n")
    assert name.startswith("rows-")
    assert done.stderr == "receiver: 250 tasks were submitted\n"
    assert service.sent == service.checked == 250
    assert service.batches[name].closed_at
    assert sorted(service.lines.values()) == list(range(2, 252))
    assert service.calls[-5:] == ["POST batches", *["POST tasks/batch"] * 3, f"POST batches/{name}/close"]


def test_the_same_command_again_sends_nothing(run: Run, service: BatchService) -> None:
    name = submit(run, content=rows(250)).stdout
    again = submit(run)
    assert (again.exit_code, again.stdout, service.sent) == (0, name, 250)
    assert "all 250 rows were sent before (2026-11-22" in again.stderr
    assert "to make them once more give another --name" in again.stderr
    once_more = submit(run, "--name", "once more")
    assert (once_more.stdout, service.sent) == ("once more\n", 500)


def test_a_fault_in_the_last_of_many_rows_sends_nothing_and_asks_nobody(run: Run, service: BatchService) -> None:
    """It is found before the service is asked."""
    content = rows(2_000) + "outpaint,last,0,3,,\n"
    refused = submit(run, content=content)
    assert (refused.exit_code, refused.stdout, service.calls) == (2, "", [])
    assert refused.stderr == (
        "rows.csv:2002: scale: 3 must be a number from 1.1 to 2.0 (004007005)\n"
        "receiver: 1 of 2,001 rows is wrong; nothing was sent\n"
    )


def test_each_fault_of_a_row_has_a_line_and_the_row_counts_once(run: Run, service: BatchService) -> None:
    refused = submit(run, content=HEADER + "outpaint,,7,3,,\noutpaint,x,0,1.5,,\noutpaint,y,0,3,,\n")
    assert (refused.exit_code, refused.stdout, service.calls) == (2, "", [])
    assert refused.stderr == (
        "rows.csv:2: jobId: is missing (004007001)\n"
        "rows.csv:2: imageNo: 7 must be a whole number from 0 to 3 (004007003)\n"
        "rows.csv:2: scale: 3 must be a number from 1.1 to 2.0 (004007005)\n"
        "rows.csv:4: scale: 3 must be a number from 1.1 to 2.0 (004007005)\n"
        "receiver: 2 of 3 rows are wrong; nothing was sent\n"
    )
    content = HEADER + "".join(f"outpaint,{kind},7,3,,{kind * 210}\n" for kind in "a")
    many = submit(run, content=content + "outpaint,,7,3,,\n" * 60)
    assert (
        many.stderr.splitlines()[-1] == "receiver: 61 of 61 rows are wrong (--errors FILE writes all); nothing was sent"
    )
    sent = submit(run, "--skip-invalid", content=HEADER + "outpaint,,7,3,,\noutpaint,x,0,1.5,,\n")
    assert service.sent == 1
    assert "1 wrong row" in sent.stderr


def test_many_faults_of_one_kind_are_one_line_and_all_are_written(run: Run, service: BatchService) -> None:
    commas = "".join(f'outpaint,x,0,"1,{number}",,\n' for number in range(225))
    refused = submit(run, content=HEADER + commas + "outpaint,x,0,3,,\n" * 5)
    assert refused.exit_code == 2
    *few, many, last = refused.stderr.splitlines()
    assert few == [
        f"rows.csv:{line}: scale: 3 must be a number from 1.1 to 2.0 (004007005)" for line in range(227, 232)
    ]
    assert many == "rows.csv: 225 rows: scale: 1,0 has a decimal comma; use a point: 1.0 (lines 2, 3, 4 …)"
    assert last == "receiver: 230 of 230 rows are wrong (--errors FILE writes all); nothing was sent"
    assert submit(run, "--errors", "faults.txt").exit_code == 2
    faults = Path("faults.txt").read_text().splitlines()
    assert (len(faults), faults[225:], service.calls) == (230, few, [])
    assert submit(run, "--errors", "faults.txt", content=rows(1)).exit_code == 0
    assert Path("faults.txt").read_text() == ""


def test_a_model_that_is_missing_everywhere_is_one_line(run: Run, service: BatchService) -> None:
    refused = submit(run, content="jobId,imageNo,scale\n" + "a,0,1.5\n" * 300)
    first, last = refused.stderr.splitlines()
    assert first.startswith("rows.csv: 300 rows: model: it is missing; add a column for it")
    assert last.startswith("receiver: 300 of 300 rows are wrong")


def test_fifty_lines_of_faults_are_shown_however_many_kinds_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    with open_report("rows.csv", None) as report:
        for line in range(60):
            report.add(Fault(line, f"column {chr(97 + line // 26)}{chr(97 + line % 26)}: wrong"))
        told = report.summarize(2)
    assert told == "60 of 62 rows are wrong, 50 are shown (--errors FILE writes all)"
    assert len(capsys.readouterr().err.splitlines()) == 50


def test_invalid_rows_may_be_left_out(run: Run, service: BatchService) -> None:
    done = submit(run, "--skip-invalid", content=rows(3) + "outpaint,x,0,3,,\n")
    assert (done.exit_code, service.sent) == (0, 3)
    assert done.stderr.endswith("receiver: 3 tasks were submitted, 1 wrong row was left out\n")
    nothing = submit(run, "--skip-invalid", content=HEADER + "outpaint,x,0,3,,\n")
    assert (nothing.exit_code, nothing.stdout) == (2, "")
    assert nothing.stderr.endswith("receiver: 1 of 1 row is wrong; nothing was sent\n")


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (b"outpaint,x,0,1.5,M\xf6wen,\n", "byte 19 of the line (0xf6) is not UTF-8; save the file as UTF-8"),
        (b'outpaint,x,0,1.5,"open,\n', 'a quote (") is opened here and never closed'),
        (b"outpaint,x,0,1.5," + b"x" * 2_000_000 + b",\n", "the line is longer than 1,048,576 characters"),
    ],
    ids=["a byte", "a quote", "a line"],
)
def test_a_file_that_cannot_be_read_to_its_end_is_not_sent_in_part(
    run: Run, service: BatchService, bad: bytes, why: str
) -> None:
    """Nobody knows how many rows --skip-invalid would leave out."""
    content = rows(3).encode() + bad + b"outpaint,last,0,1.5,,\n"
    refused = submit(run, "--skip-invalid", content=content)
    assert (refused.exit_code, refused.stdout, service.calls) == (2, "", [])
    assert refused.stderr.startswith(f"rows.csv:5: {why}")
    assert refused.stderr.endswith(
        "receiver: the rows after line 5 were not read, and --skip-invalid leaves out only what was; nothing was sent\n"
    )


def test_what_only_the_service_knows_to_be_wrong_sends_nothing_either(run: Run, service: BatchService) -> None:
    def refuse(asked: NewTask) -> Problem | None:
        unknown = Problem("unknown_target", "unknown target 'tean' (did you mean team?)", "targets")
        return unknown if asked.label == "bad" else None

    service.refuse = refuse
    refused = submit(run, content=rows(150) + "outpaint,x,0,1.5,,bad\n")
    assert (refused.exit_code, service.sent, service.batches) == (2, 0, {})
    assert refused.stderr == (
        "rows.csv:152: targets: unknown target 'tean' (did you mean team?)\n"
        "receiver: 1 of 151 rows is wrong; nothing was sent\n"
    )
    assert submit(run, "--skip-invalid").exit_code == 0
    assert service.sent == 150


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "rows.csv:1: the file is empty"),
        (b"model,jobId\n", "receiver: rows.csv has no rows; nothing was sent"),
        (b"model,jobId,scal\n", "rows.csv:1: there is no column 'scal' (did you mean scale?)"),
        (b"jobId,imageNo,scale\na,0,1.5\n", "rows.csv:2: model: it is missing; add a column for it"),
        ("model,jobId,imageNo,scale\noutpaint,\xfc,0,1.5\n".encode("latin-1"), "rows.csv:2: byte 10 of the line"),
        (b"model;jobId;imageNo;scale\noutpaint;a;0;1,5\n", "rows.csv:2: scale: 1,5 has a decimal comma"),
        (b"model,jobId,imageNo,scale\noutpaint,a\0,0,1.5\n", "rows.csv:2: jobId: it has a NUL character"),
    ],
)
def test_bad_files_are_status_2_and_the_right_line(run: Run, service: BatchService, content: bytes, why: str) -> None:
    refused = submit(run, content=content)
    assert (refused.exit_code, refused.stdout, service.calls) == (2, "", [])
    assert refused.stderr.startswith(why)
    assert "nothing was sent" in refused.stderr


def test_standard_input_and_plain_lines(run: Run, service: BatchService) -> None:
    given = ("--model", "outpaint", "--set", "jobId=j", "--set", "image-no=1", "--set", "scale=1.5")
    done = run("submit", "batch", "-", "--lines", *given, input="a house\n\na sea\n")
    assert done.exit_code == 0, done.stderr
    assert done.stdout.startswith("batch-")
    [made] = service.rows.values()
    assert [it.params["remixPrompt"] for it in made.values()] == ["a house", "a sea"]
    wrong = run("submit", "batch", "-", "--lines", *given, input="a {house,boat}\n")
    assert wrong.stderr.startswith("standard input:1: prompt: has permutation braces")


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["--lines"], "--lines needs --model: diffusion, "),
        (["--field", "prompt"], "give --lines too"),
        (["--set", "scal=1"], "did you mean scale?"),
        (["--results", "out.xlsx"], "its name must end in .csv or .jsonl"),
        (["--results", "nowhere/out.csv"], "there is no folder nowhere"),
        (["--budget", "much"], "much is not an amount in USD"),
        (["--name", " "], "a batch's name must have 1 to 200 characters"),
        (["--name", "a/b"], "without /"),
        (["--name", "low"], "low is the name of a priority"),
        (["--results", "rows.csv"], "--results rows.csv is the file of the rows itself: name another file"),
        (["--errors", "./rows.csv"], "--errors rows.csv is the file of the rows itself"),
        (["--errors", "a.csv", "--results", "a.csv"], "--errors and --results name the same file, a.csv: name two"),
        (["--errors", "nowhere/faults"], "cannot write the errors into nowhere/faults"),
    ],
)
def test_wrong_options_send_nothing(run: Run, service: BatchService, options: list[str], why: str) -> None:
    refused = submit(run, *options, content=rows(1))
    assert (refused.exit_code, refused.stdout, service.calls) == (2, "", [])
    assert why in refused.stderr


def test_faults_that_cannot_be_written_say_where(run: Run, service: BatchService) -> None:
    refused = submit(run, "--errors", "/dev/full", "--skip-invalid", content=rows(3) + "outpaint,x,0,3,,\n")
    assert (refused.exit_code, service.calls) == (2, [])
    why = "cannot write the errors into /dev/full: No space left on device; nothing was sent"
    assert f"receiver: {why}\n" in refused.stderr


def test_a_file_that_is_not_there_is_status_2(run: Run) -> None:
    assert "cannot read rows.csv: No such file" in submit(run).stderr
    Path("rows.csv").mkdir()
    assert "cannot read rows.csv: Is a directory" in submit(run).stderr


def test_a_check_alone_sends_nothing(run: Run, service: BatchService) -> None:
    checked = submit(run, "--dry-run", content=rows(3))
    assert (checked.exit_code, checked.stdout, service.batches) == (0, "", {})
    unknown = "no task of outpaint has told yet, and [prices] has no price"
    first, last = checked.stderr.splitlines()
    assert first == f"receiver: what it will cost is not known: {unknown}"
    assert re.fullmatch("receiver: dry run: 3 rows would be sent as the batch rows-[0-9a-f]{6}; nothing was sent", last)
    some = submit(run, "--dry-run", "--skip-invalid", content=rows(3) + "outpaint,x,0,3,,\n")
    assert some.exit_code == 0
    assert some.stderr.endswith("; 1 wrong row would be left out; nothing was sent\n")
    name = submit(run, content=rows(3)).stdout.strip()
    more = submit(run, "--dry-run", "--name", name, "--reopen", content=rows(5))
    sent = f"2 rows would be sent as the batch {name}, which has 3 of the file already; nothing was sent\n"
    assert more.stderr.endswith(f"receiver: dry run: {sent}")


def test_a_repeat_tells_how_to_submit_again_what_failed(run: Run, service: BatchService) -> None:
    service.end_as = "failed"
    name = submit(run, content=rows(3)).stdout.strip()
    again = submit(run)
    assert f"; 3 failed: `receiver batch retry {name}` submits those again\n" in again.stderr
    assert "--name" not in again.stderr


def test_a_batch_keeps_its_budget_and_its_priority(run: Run, service: BatchService) -> None:
    name = submit(run, "--budget", "1.5", content=rows(2)).stdout.strip()
    assert "ignored" not in submit(run, "--budget", "1.50", "--priority", "low").stderr
    again = submit(run, "--budget", "3", "--priority", "high")
    assert again.exit_code == 0
    how = f"leave it out, or run `receiver costs raise {name} 3`"
    other = f"the batch {name} has a budget of $1.50, and --budget does not change that: {how}"
    assert f"receiver: {other}\n" in again.stderr
    assert f"receiver: --priority is ignored: the batch {name} has the priority low\n" in again.stderr


@pytest.mark.parametrize(("before", "has"), [((), "no budget"), (("--budget", "9"), "a budget of $9.00")])
def test_rows_are_not_added_under_another_budget_than_the_command_names(
    run: Run, service: BatchService, before: tuple[str, ...], has: str
) -> None:
    submit(run, "--name", "b", *before, content=rows(2))
    refused = submit(run, "--name", "b", "--reopen", "--budget", "1", content=rows(4))
    assert (refused.exit_code, refused.stdout, service.sent) == (2, "", 2)
    how = "leave it out, or run `receiver costs raise b 1`; nothing was sent"
    assert refused.stderr.endswith(f"the batch b has {has}, and --budget does not change that: {how}\n")
    assert submit(run, "--name", "b", "--reopen", *before).exit_code == 0
    assert service.sent == 4


def test_a_budget_that_is_not_enough_is_told(run: Run, service: BatchService) -> None:
    service.each = "0.05"
    done = submit(run, "--budget", "0.52", content=rows(250))
    assert "receiver: a budget of $0.52 is enough for about 10 of them; then the batch pauses\n" in done.stderr
    less = submit(run, "--name", "x", "--budget", "0.01")
    assert "receiver: a budget of $0.01 is less than the first of them may cost; then the batch pauses\n" in less.stderr
    assert "enough" not in submit(run, "--name", "y", "--budget", "12.50").stderr


def test_options_of_the_batch_and_the_priority_of_its_rows(run: Run, service: BatchService) -> None:
    bodies: list[Any] = []
    service.before_call = lambda method, path, body: bodies.append(body) if path == "batches" and body else None
    header, row = "model,jobId,imageNo,scale,priority\n", "outpaint,{},0,1.5,{}\n"
    good = header + row.format("a", "high") + row.format("b", "") + row.format("c", "high")
    options = ("--label", "L", "--target", "a", "--target", "b", "--each", "--budget", "$25.50")
    assert submit(run, *options, content=good).exit_code == 0
    [body] = bodies
    name = next(iter(service.batches))
    expected = {"name": name, "priority": "high", "label": "L", "targets": ["a", "b"], "each": True, "budget": "25.50"}
    assert body == expected
    mixed = submit(run, content=header + row.format("a", "high") + row.format("b", "low"))
    assert mixed.exit_code == 2
    assert mixed.stderr.startswith("rows.csv:3: priority: a batch has one priority, and line 2 says high\n")


def test_what_a_budget_of_the_service_does_not_cover_is_said_once_all_rows_are_there(
    run: Run, service: BatchService
) -> None:
    warning = "the budget of this day has $0.40 left: about 8 of 40 tasks go before 00:00 UTC"

    def warn(method: str, path: str, body: object) -> None:
        if path.endswith("/close"):
            name = path.split("/")[1]
            service.batches[name] = replace(service.batches[name], warnings=(warning,))

    service.before_call = warn
    done = submit(run, content=rows(40))
    assert (done.exit_code, done.stderr) == (0, f"receiver: 40 tasks were submitted\nreceiver: {warning}\n")


def test_the_cost_is_told_and_asked_about_if_it_is_much(run: Run, service: BatchService) -> None:
    """Nobody can answer here, so the command says how to agree."""
    service.each = "0.05"
    done = submit(run, content=rows(250))
    line = "receiver: 250 tasks, about $12.50 (outpaint $0.05 × 250, from 212 earlier tasks)\n"
    assert done.stderr == f"{line}receiver: 250 tasks were submitted\n"
    refused = submit(run, "--name", "more", "--confirm-over", "12.49")
    assert (refused.exit_code, refused.stdout, service.sent) == (2, "", 250)
    more = "receiver: that is more than $12.49: say --yes if you want it, or --confirm-over with a higher amount"
    assert refused.stderr.endswith(f"as --name says\n{line}{more}; nothing was sent\n")
    assert submit(run, "--name", "more", "--confirm-over", "$12.49", "--yes").exit_code == 0
    assert "about" not in submit(run, "--name", "more").stderr  # nothing is new, so nothing will be paid


def test_what_the_service_refuses_of_the_batch_itself_sends_nothing(run: Run, service: BatchService) -> None:
    def refuse(method: str, path: str, body: Any) -> None:
        if (method, path) == ("POST", "batches"):
            raise Refusal(422, "unknown_target")

    service.before_call = refuse
    refused = submit(run, "--target", "tean", content=rows(2))
    assert (refused.exit_code, refused.stdout, service.sent) == (2, "", 0)
    assert refused.stderr == "receiver: no room just now; nothing was sent\n"
