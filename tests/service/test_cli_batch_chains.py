"""`receiver submit batch` with rows that go on from others, before a service that behaves as told."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from kit.batch_service import BatchService, HangUp, Refusal, run_commands, submit
from kit.commands import Run
from receiver.client.batch_schemas import BatchRowResult
from receiver.client.schemas import NewTask, Problem, WaitFor

CHAIN = """
label = "chain"
[[step]]
name = "make"
model = "diffusion"
params = { prompt = "${prompt}" }
[[step]]
name = "wide"
model = "outpaint"
after = "make"
image_no = "pick"
params = { scale = "${scale}" }
[[step]]
name = "big"
model = "upscale"
after = "wide"
image_no = 0
params = { type = "standard" }
"""


@pytest.fixture
def service() -> BatchService:
    return BatchService()


@pytest.fixture
def run(service: BatchService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    for found in run_commands(service, tmp_path, monkeypatch):
        Path("extend.toml").write_text(CHAIN)
        yield found


def rows(count: int, scale: object = 1.5) -> str:
    return "prompt,scale,label\n" + "".join(f"a sea {number},{scale},row {number}\n" for number in range(count))


def submit_chains(run: Run, *args: str, **more: Any) -> Any:
    return submit(run, "--chain", "extend.toml", *args, **more)


def sent_calls(service: BatchService) -> list[list[NewTask]]:
    """Lets the service note the tasks of each call that is no dry run."""
    seen: list[list[NewTask]] = []

    def note_tasks(method: str, path: str, body: Any) -> None:
        if path == "tasks/batch" and not body.get("dry_run"):
            import msgspec

            seen.append(msgspec.convert(body["tasks"], list[NewTask]))

    service.before_call = note_tasks
    return seen


def test_each_row_is_a_chain_that_is_sent_in_one_call(run: Run, service: BatchService) -> None:
    calls = sent_calls(service)
    done = submit_chains(run, content=rows(20))
    assert (done.exit_code, service.sent) == (0, 60)
    assert done.stderr == "receiver: 60 tasks were submitted\n"
    assert [[(it.name, it.line, it.label) for it in call] for call in calls] == [
        [(name, line, f"row {line - 2}") for name in ("make", "wide", "big")] for line in range(2, 22)
    ]
    assert calls[0][2].wait_for == WaitFor(name="wide", image_no=0)
    again = submit_chains(run)
    assert (again.stdout, service.sent) == (done.stdout, 60)
    assert "all 20 rows were sent before" in again.stderr


def test_a_command_that_is_broken_off_is_repeated_and_nothing_is_sent_twice(run: Run, service: BatchService) -> None:
    calls = sent_calls(service)
    note_tasks, count = service.before_call, 0

    def break_off(method: str, path: str, body: Any) -> None:
        nonlocal count
        note_tasks(method, path, body)
        count += path == "tasks/batch" and not body.get("dry_run")
        if count == 7:
            raise Refusal(422)

    service.before_call = break_off
    broken = submit_chains(run, content=rows(20))
    assert broken.exit_code == 1
    assert service.sent == 18
    service.before_call = note_tasks
    assert submit_chains(run).exit_code == 0
    assert service.sent == 60
    assert len({it.row_key for call in calls for it in call}) == 60


def test_an_answer_that_is_lost_is_asked_for_again(run: Run, service: BatchService) -> None:
    def hang_up(method: str, path: str) -> None:
        if path == "tasks/batch" and service.sent == 9:
            service.after_call = lambda method, path: None
            raise HangUp

    service.after_call = hang_up
    assert submit_chains(run, content=rows(20)).exit_code == 0
    assert service.sent == 60


def test_a_wait_says_once_that_only_picks_are_left(run: Run, service: BatchService) -> None:
    looks, service.end_as = 0, None

    def go_on(method: str, path: str) -> None:
        nonlocal looks
        name = path.partition("/")[2]
        looks += method == "GET" and name in service.batches
        if looks == 2:
            service.batches[name] = replace(service.batches[name], finished_at="2026-11-22T08:16:00.123Z")
        if looks == 5:
            done = {key: replace(it, state="completed") for key, it in service.rows[name].items()}
            service.rows[name] = done

    service.after_call = go_on
    waited = submit_chains(run, "--wait", content=rows(2))
    assert waited.exit_code == 0
    said = "all that is left waits for a person who picks: `receiver tasks list --waits pick`"
    assert waited.stderr.count(said) == 1


def test_a_changed_last_step_sends_only_that(run: Run, service: BatchService) -> None:
    name = submit_chains(run, content=rows(3)).stdout.strip()
    Path("extend.toml").write_text(CHAIN.replace("standard", "creative"))
    done = submit_chains(run, "--name", name, "--reopen")
    assert (done.exit_code, service.sent) == (0, 12)
    assert "receiver: 3 tasks were submitted, 6 were sent before" in done.stderr


def test_rows_of_another_batch_are_left_out_with_what_goes_on_from_them(run: Run, service: BatchService) -> None:
    assert submit_chains(run, "--name", "first", content=rows(2)).exit_code == 0
    again = submit_chains(run, content=rows(3))
    assert (again.exit_code, service.sent) == (2, 6)
    assert "6 of 9 tasks of rows.csv were sent before, in the batch first; nothing was sent" in again.stderr
    Path("extend.toml").write_text(CHAIN.replace("standard", "creative"))
    done = submit_chains(run, "--only-new")
    assert (done.exit_code, service.sent) == (0, 9)
    assert "4 of 9 tasks of rows.csv were sent before, in the batch first, and are left out\n" in done.stderr
    assert "2 tasks go on from these, and are left out, too\n" in done.stderr


def test_a_row_that_goes_on_from_one_of_another_batch_is_left_out_too(run: Run, service: BatchService) -> None:
    content = "model,prompt,scale,name,after,image_no\ndiffusion,x,,a,,\n"
    assert submit(run, "--name", "first", content=content).exit_code == 0
    more = "outpaint,,1.5,b,a,0\noutpaint,,2,,b,0\ndiffusion,y,,a,,\n"
    done = submit(run, "--only-new", content=content + more)
    assert (done.exit_code, service.sent) == (0, 2)
    assert "2 rows go on from these, and are left out, too\n" in done.stderr


def test_what_is_wrong_with_a_row_sends_nothing_and_names_line_and_step(run: Run, service: BatchService) -> None:
    refused = submit_chains(run, content=rows(2) + "x,3,\n")
    assert (refused.exit_code, service.calls) == (2, [])
    assert refused.stderr == (
        "rows.csv:4: step wide: scale: 3 must be a number from 1.1 to 2.0 (004007005)\n"
        "receiver: 1 of 3 rows is wrong; nothing was sent\n"
    )
    done = submit_chains(run, "--skip-invalid")
    assert (done.exit_code, service.sent) == (0, 6)


def test_a_row_that_the_service_refuses_in_part_is_left_out_whole(run: Run, service: BatchService) -> None:
    def refuse(asked: NewTask) -> Problem | None:
        if asked.label != "row 1":
            return None
        own = Problem("unknown_target", "unknown target", "targets")
        return own if asked.name == "wide" else Problem("chain_refused", "item 2 of the same chain was refused")

    service.refuse = refuse
    assert submit_chains(run, content=rows(3)).exit_code == 2
    assert service.sent == 0
    assert submit_chains(run, "--skip-invalid").exit_code == 0
    assert service.sent == 6


def test_plain_lines_are_the_only_value_that_nothing_else_says(run: Run, service: BatchService) -> None:
    calls = sent_calls(service)
    done = submit_chains(run, "--lines", "--set", "scale=2", content="a sea\n\na hill\n")
    assert (done.exit_code, service.sent) == (0, 6)
    assert [call[0].params["text"] for call in calls] == ["a sea", "a hill"]
    assert "--field: say what each line is: prompt, scale" in submit_chains(run, "--lines").stderr


@pytest.mark.parametrize(
    ("content", "args", "why"),
    [
        ("prompt,scal\nx,2\n", (), "rows.csv:1: the chain does not use 'scal' (did you mean scale?)"),
        ("prompt\nx\n", (), "rows.csv:1: the chain uses ${scale}, and the file has no such column"),
        ("prompt,scale\nx,2\n", ("--model", "outpaint"), "--chain says the model of each step"),
        ("prompt,scale\nx,2\n", ("--set", "scal=2"), "did you mean scale?"),
        ("prompt,scale\nx,2\n", ("--chain", "none.toml"), "cannot read none.toml"),
    ],
)
def test_what_does_not_fit_the_chain_sends_nothing(
    run: Run, service: BatchService, content: str, args: tuple[str, ...], why: str
) -> None:
    refused = submit_chains(run, *args, content=content)
    assert (refused.exit_code, service.calls) == (2, [])
    assert why in refused.stderr


def test_what_is_wrong_with_the_chain_is_said_before_any_row_is_read(run: Run, service: BatchService) -> None:
    Path("extend.toml").write_text(CHAIN.replace('after = "make"', 'after = "big"'))
    refused = submit_chains(run, content=rows(2))
    assert (refused.exit_code, service.calls) == (2, [])
    assert refused.stderr == (
        "extend.toml: these steps wait for each other: wide → big → wide\n"
        "receiver: 1 thing is wrong; nothing was sent\n"
    )


def test_rows_may_go_on_from_rows_above_them(run: Run, service: BatchService) -> None:
    calls = sent_calls(service)
    content = "model,prompt,scale,name,after,image_no\ndiffusion,x,,a,,\noutpaint,,1.5,b,a,all\noutpaint,,2,,a,1\n"
    done = submit(run, content=content)
    assert done.exit_code == 0, done.stderr
    [call] = calls
    assert [it.wait_for for it in call] == [None, WaitFor(name="a", image_no="all"), WaitFor(name="a", image_no=1)]


def test_all_tasks_of_a_row_are_known_as_its_own(
    run: Run, service: BatchService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the second of them would look like a row that is gone from the file."""
    add = service._add

    def add_with_siblings(body: dict[str, Any]) -> Any:
        items = add(body)
        for place, it in enumerate(items):
            if it.task is not None and body["tasks"][place].get("name") == "wide":
                made = f"0199d0a0-0001-7000-8000-{it.task.ref[-12:]}"
                rows = service.rows[body["batch"]]
                rows.setdefault(f"{body['tasks'][place]['row_key']}#1", replace(it.task, ref=made))
                service.lines[made] = 1
                items[place] = replace(it, task=replace(it.task, siblings=(made,)))
        return items

    monkeypatch.setattr(service, "_add", add_with_siblings)
    assert submit_chains(run, content=rows(3)).stderr == "receiver: 12 tasks were submitted\n"
    again = submit_chains(run)
    assert "all 3 rows were sent before" in again.stderr
    assert "not in the file any more" not in again.stderr


def test_copies_for_further_pictures_that_were_picked_are_not_gone_from_the_file(
    run: Run, service: BatchService
) -> None:
    assert submit_chains(run, content=rows(1)).exit_code == 0
    [batch] = service.batches
    steps = ("make", "wide", "big")
    known = [
        BatchRowResult(line=2, ref=it.ref, state="completed", step=step)
        for it, step in zip(service.rows[batch].values(), steps, strict=True)
    ]
    copies = [replace(it, ref=f"ffff{it.ref[4:]}") for it in known[1:]]
    for copy in copies:
        service.rows[batch][copy.ref] = replace(next(iter(service.rows[batch].values())), ref=copy.ref)
    service.results = [*known, *copies]
    assert "not in the file any more" not in submit_chains(run).stderr
    service.results = [replace(known[1], ref=f"0000{known[1].ref[4:]}"), *known, *copies]
    assert "1 task sent before is not in the file any more (line 2)" in submit_chains(run).stderr
