"""`receiver submit batch` repeated, interrupted and waited for: no row is sent twice, and none is forgotten."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from msgspec.structs import replace

from kit.batch_service import HEADER, NOW, BatchService, HangUp, Refusal, rows, run_commands, submit
from kit.commands import Run
from receiver.cli.main import cli
from receiver.client.schemas import Problem

NOTHING = "receiver: nothing was sent"


@pytest.fixture
def service() -> BatchService:
    return BatchService()


@pytest.fixture
def run(service: BatchService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    yield from run_commands(service, tmp_path, monkeypatch)


# -- interrupted, repeated, changed --


@pytest.mark.parametrize("answered", [True, False], ids=["before the call", "after it, so that its answer is lost"])
def test_what_was_broken_off_goes_on_where_it_stopped(run: Run, service: BatchService, answered: bool) -> None:
    calls = 0

    def die(method: str, path: str, body: Any = None) -> None:
        nonlocal calls
        calls += path == "tasks/batch"
        if calls == 7 and path == "tasks/batch":  # of the five checks and then the sends, the second
            raise Refusal(401, "unauthorized") if answered else HangUp

    service.before_call = die
    if not answered:
        service.before_call, service.after_call = (lambda method, path, body: None), die
        service.end_as = "queued"
    first = submit(run, content=rows(500))
    if answered:
        assert (first.exit_code, first.stdout, service.sent) == (1, "", 100)
        assert "100 of 500 rows are in the batch rows-" in first.stderr
        assert "the same command goes on from there, and sends no row twice" in first.stderr
    else:  # it was repeated at once
        assert first.exit_code == 0
        assert "no answer from" in first.stderr
    again = submit(run)
    assert (again.exit_code, service.sent) == (0, 500)
    assert len(service.batches) == 1
    assert service.batches[again.stdout.strip()].closed_at


def test_a_batch_that_was_sent_but_not_closed_is_closed(run: Run, service: BatchService) -> None:
    def die(method: str, path: str, body: Any) -> None:
        if path.endswith("/close"):
            raise Refusal(401, "unauthorized")

    service.before_call = die
    assert submit(run, content=rows(3)).exit_code == 1
    service.before_call = lambda method, path, body: None
    again = submit(run)
    assert (again.exit_code, service.sent) == (0, 3)
    assert service.batches[again.stdout.strip()].closed_at


def test_a_service_that_is_away_for_a_while_is_waited_for(run: Run, service: BatchService) -> None:
    calls = 0

    def restart(method: str, path: str, body: Any) -> None:
        nonlocal calls
        calls += 1
        if calls in (3, 4, 6, 9):  # the first call about rows is the second: a service that never answered is not there
            raise Refusal(503) if calls != 4 else HangUp

    service.before_call = restart
    done = submit(run, content=rows(300))
    assert (done.exit_code, service.sent) == (0, 300)
    assert done.stderr.count("no room just now; trying again") == 3


def test_a_service_that_is_not_there_is_said_at_once(run: Run, service: BatchService) -> None:
    (Path("rows.csv")).write_text(rows(3))
    refused = CliRunner().invoke(cli, ["submit", "batch", "rows.csv"], env={"RECEIVER_SERVER": "http://127.0.0.1:1"})
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert "nothing listens there" in refused.stderr
    assert refused.stderr.endswith("nothing was sent\n")


def test_two_commands_on_one_file_at_once_make_each_task_once(run: Run, service: BatchService) -> None:
    Path("rows.csv").write_text(rows(2_000))
    found: list[str] = []
    both = threading.Barrier(2, timeout=60)

    def meet(method: str, path: str, body: Any) -> None:
        if path == "tasks/batch" and not body.get("dry_run") and service.sent == 0:
            service._lock.release()  # let the other come as far as this
            try:
                both.wait()
            finally:
                service._lock.acquire()

    service.before_call = meet
    commands = [threading.Thread(target=lambda: found.append(submit(run).output)) for _ in range(2)]
    for it in commands:
        it.start()
    for it in commands:
        it.join()
    assert service.sent == 2_000
    assert len(service.batches) == 1
    assert len(found) == 2


def test_a_corrected_label_is_told_and_buys_nothing(run: Run, service: BatchService) -> None:
    submit(run, content=rows(10))
    again = submit(run, content=rows(10, label="corrected"))
    assert (again.exit_code, service.sent) == (0, 10)
    assert "rows.csv:2: its label differs from what was sent, hero\n" in again.stderr
    assert "receiver: 5 more rows differ from what was sent\n" in again.stderr


def test_another_order_and_another_spelling_buy_nothing(run: Run, service: BatchService) -> None:
    submit(run, content=rows(10))
    shuffled = [line.replace("1.5", "1.50") for line in rows(10).splitlines()[:0:-1]]
    assert submit(run, content=HEADER + "\r\n".join(shuffled)).exit_code == 0
    assert service.sent == 10


def test_one_of_two_equal_rows_may_be_removed(run: Run, service: BatchService) -> None:
    """Neither is bought again, and the one that is gone from the file is told and not cancelled."""
    row = "outpaint,job-0,0,1.5,,hero\n"
    submit(run, content=rows(2) + row)
    assert service.sent == 3
    again = submit(run, content=rows(2))
    assert (again.exit_code, service.sent) == (0, 3)
    assert "1 row sent before is not in the file any more (line 4), and goes on" in again.stderr
    more = submit(run, content=rows(2) + row + row)
    assert (more.exit_code, service.sent) == (2, 3)
    first, how = more.stderr.splitlines()
    assert first.endswith("is closed, and 1 row of the file is not in it; nothing was sent")
    assert how == "  to add it (1 task): receiver submit batch rows.csv --reopen"
    assert submit(run, "--reopen").exit_code == 0
    assert service.sent == 4


def test_keys_of_the_user_s_own(run: Run, service: BatchService) -> None:
    header = "model,jobId,imageNo,scale,key\n"
    submit(run, "--name", "mine", content=header + "outpaint,a,0,1.5,one\noutpaint,a,0,1.5,two\n")
    assert service.sent == 2
    changed = submit(run, "--name", "mine", content=header + "outpaint,b,0,1.5,one\noutpaint,a,0,1.5,two\n")
    assert (changed.exit_code, service.sent) == (0, 2)
    assert "rows.csv:2: its parameters differ from what was sent under its key" in changed.stderr
    twice = submit(run, content=header + "outpaint,a,0,1.5,one\noutpaint,b,0,1.5,one\n")
    assert twice.exit_code == 2
    assert twice.stderr.startswith("rows.csv:3: key: 'one' is the key of line 2 already; each may occur once\n")


def test_long_rows_are_sent_in_calls_that_the_service_takes(run: Run, service: BatchService) -> None:
    content = HEADER + "".join(f"outpaint,{number},0,1.5,{'ü' * 8_000},\n" for number in range(150))
    assert submit(run, content=content).exit_code == 0
    assert service.sent == 150


def test_rows_that_are_refused_only_when_they_are_sent_are_status_1(run: Run, service: BatchService) -> None:
    """As when a target is removed between the check and the sending."""
    service.before_call = lambda method, path, body: (
        setattr(
            service, "refuse", lambda it: Problem("no_key", "submitting needs a provider key") if it.line == 3 else None
        )
        if path == "batches" and method == "POST"
        else None
    )
    done = submit(run, content=rows(3))
    assert (done.exit_code, service.sent) == (1, 2)
    assert "rows.csv:3: submitting needs a provider key\n" in done.stderr
    assert "2 tasks were submitted, 1 was refused" in done.stderr
    assert done.stdout.startswith("rows-")


# -- interrupted by a person --


def test_an_interrupted_check_says_that_nothing_was_sent(run: Run, service: BatchService, monkeypatch: Any) -> None:
    from receiver.client.client import Client

    def interrupt(*_: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(Client, "check_rows", interrupt)
    done = submit(run, content=rows(300))
    assert (done.exit_code, done.stdout, done.stderr.strip(), service.sent) == (130, "", NOTHING, 0)


def test_rows_that_wait_say_for_what(run: Run, service: BatchService) -> None:
    service.end_as = "queued"
    waits = "submitting is paused: the whole queue: `receiver queue resume`"

    def wait(method: str, path: str, body: Any) -> None:
        for name, it in service.batches.items():
            service.batches[name] = replace(it, waits_for="paused", waits=waits)

    service.before_call = wait
    done = submit(run, content=rows(2))
    assert done.stderr == (
        f"receiver: 2 tasks were submitted\nreceiver: none of them goes to the provider for now: {waits}\n"
    )


def test_an_interrupted_sending_says_how_to_go_on(run: Run, service: BatchService, monkeypatch: Any) -> None:
    from receiver.client.client import Client

    real, calls = Client.add_rows, 0

    def interrupt(*given: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise KeyboardInterrupt
        return real(*given)

    monkeypatch.setattr(Client, "add_rows", interrupt)
    done = submit(run, content=rows(300))
    assert (done.exit_code, done.stdout, service.sent) == (130, "", 100)
    assert "100 of 300 rows are in the batch rows-" in done.stderr
    assert "the same command sends the rest" in done.stderr
    assert submit(run).exit_code == 0
    assert service.sent == 300


# -- closed meanwhile --


def test_a_batch_that_another_command_closes_meanwhile_is_not_called_complete(run: Run, service: BatchService) -> None:
    """What it did not take is counted, and nothing more is sent."""
    calls = 0

    def close(method: str, path: str, body: Any) -> None:
        nonlocal calls
        calls += path == "tasks/batch" and not body.get("dry_run")
        if calls == 3:
            [name] = service.batches
            service.batches[name] = replace(service.batches[name], closed_at=NOW, closed_why=None)

    service.before_call = close
    done = submit(run, content=rows(500))
    [name] = service.batches
    assert (done.exit_code, done.stdout, service.sent) == (1, f"{name}\n", 200)
    assert calls == 3
    assert done.stderr == (
        "receiver: 200 tasks were submitted\n"
        f"receiver: 300 rows are not in the batch {name}: it was closed meanwhile; the same command with --reopen "
        "adds them\n"
    )
    service.before_call = lambda method, path, body: None
    again = submit(run, "--reopen")
    assert (again.exit_code, service.sent) == (0, 500)
