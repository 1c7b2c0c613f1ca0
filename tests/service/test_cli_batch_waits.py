"""`receiver submit batch` that waits for the end, and writes what became of the rows."""

import csv
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from kit.batch_service import BatchService, rows, run_commands, submit
from kit.commands import Run


@pytest.fixture
def service() -> BatchService:
    return BatchService()


@pytest.fixture
def run(service: BatchService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    yield from run_commands(service, tmp_path, monkeypatch)


def test_waiting_ends_with_0_if_all_are_completed_and_writes_results(run: Run, service: BatchService) -> None:
    content = "model;jobId;imageNo;scale;label;key;x-order\noutpaint;a;0;1.5;é;k1;007\noutpaint;b;0;1.5;;k2;\n"
    done = submit(run, "--results", "out.csv", content=content)
    assert done.exit_code == 0, done.stderr
    assert done.stdout.count("\n") == 1
    assert "receiver: 2 results in out.csv\n" in done.stderr
    with Path("out.csv").open(encoding="utf-8", newline="") as file:
        first, second = csv.DictReader(file, delimiter=";")
    assert {name: first[name] for name in ("line", "key", "state", "label", "x-order")} == {
        "line": "2", "key": "k1", "state": "completed", "label": "é", "x-order": "007"
    }  # fmt: skip
    assert (second["line"], second["label"], second["x-order"]) == ("3", "", "")


def test_results_as_json_lines_have_the_rows_of_this_file(run: Run, service: BatchService) -> None:
    """Also where the lines have moved since they were sent."""
    row = {"model": "outpaint", "jobId": "a", "imageNo": 0, "scale": 1.5, "x-n": [1, {"a": None}]}
    submit(run, content=json.dumps(row))
    submit(run, "--results", "out.jsonl", content="\n\n" + json.dumps(row))
    [result] = [json.loads(line) for line in Path("out.jsonl").read_text().splitlines()]
    assert (result["line"], result["x-n"], result["state"]) == (3, [1, {"a": None}], "completed")


@pytest.mark.parametrize("state", ["failed", "cancelled", "lost"])
def test_waiting_ends_with_1_if_some_are_not_completed(run: Run, service: BatchService, state: str) -> None:
    service.end_as = state
    done = submit(run, "--wait", content=rows(2))
    assert (done.exit_code, service.sent) == (1, 2)
    assert f"2 {state}" in done.stderr


def test_results_that_cannot_be_written_say_where_they_are(run: Run, service: BatchService) -> None:
    def lose_folder(method: str, path: str, body: Any) -> None:
        if path.endswith("/results"):
            shutil.rmtree("there")

    service.before_call = lose_folder
    Path("there").mkdir()
    done = submit(run, "--results", "there/out.csv", content=rows(2))
    assert done.exit_code == 1
    assert "`receiver batch results rows-" in done.stderr


def test_a_wait_says_what_only_a_person_can_end(run: Run, service: BatchService) -> None:
    """All that is left is unsure. It is said once, and the wait goes on."""
    service.end_as, looks = None, 0

    def look(method: str, path: str, body: Any) -> None:
        nonlocal looks
        if method == "GET" and path.startswith("batches/"):
            looks += 1
            states = {1: "queued", 2: "waiting", 3: "waiting", 4: "waiting"}
            for made in service.rows.values():
                for key, it in made.items():
                    state = states.get(looks - 1, "completed")
                    made[key] = replace(it, state=state, unsure=state == "waiting")

    service.before_call = look
    done = submit(run, "--wait", content=rows(2))
    assert done.exit_code == 0, done.stderr
    assert done.stderr.count("receiver: 2 tasks left, and unsure: it is not known whether the provider took them") == 1


def test_an_interrupted_wait_says_that_it_goes_on(run: Run, service: BatchService, monkeypatch: Any) -> None:
    service.end_as = None

    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("receiver.cli.batch.follow.time.sleep", interrupt)
    done = submit(run, "--wait", content=rows(2))
    assert done.exit_code == 130
    assert "it goes on without you; see `receiver batch show rows-" in done.stderr
    assert done.stdout.startswith("rows-")


@pytest.mark.parametrize(
    ("cause", "state", "command"),
    [
        ("person", "queued", "receiver batch resume rows-"),
        ("budget", "waiting", "receiver costs raise rows-"),
        ("failures", "waiting", "receiver batch resume rows-"),
    ],
)
def test_a_wait_for_a_paused_batch_says_once_what_lets_it_go_on(
    run: Run, service: BatchService, monkeypatch: Any, cause: str, state: str, command: str
) -> None:
    service.end_as, looks = state, 0

    def look(_: float) -> None:
        nonlocal looks
        looks += 1
        for name, it in service.batches.items():
            service.batches[name] = replace(it, paused_at=it.created_at, paused_by=cause)
        if looks == 4:
            raise KeyboardInterrupt

    monkeypatch.setattr("receiver.cli.batch.follow.time.sleep", look)
    done = submit(run, "--wait", content=rows(2))
    assert done.exit_code == 130
    waited, _, ended = done.stderr.partition("\n\n")
    assert waited.count(f"receiver: the batch is paused; `{command}") == 1
    assert ended.startswith(f"receiver: the batch is paused; `{command}")
    assert "goes on without you" not in done.stderr


@pytest.mark.parametrize("cause", ["budget", "failures"])
def test_a_wait_ends_where_only_a_person_can_go_on(run: Run, service: BatchService, cause: str) -> None:
    """A script must not hang. The results so far are written."""
    service.end_as = "queued"

    def pause(method: str, path: str, body: Any) -> None:
        if path.endswith("/close"):
            for name, it in service.batches.items():
                service.batches[name] = replace(it, paused_at=it.created_at, paused_by=cause, paused_why="of this")

    service.before_call = pause
    done = submit(run, "--results", "out.csv", content=rows(2))
    assert done.exit_code == 1
    assert done.stderr.count("receiver: the batch is paused; `receiver ") == 1
    assert "receiver: nothing is in hand, so this does not wait any longer\n" in done.stderr
    assert Path("out.csv").read_text().count(",queued,") == 2


def test_a_wait_that_is_interrupted_says_that_there_are_no_results(
    run: Run, service: BatchService, monkeypatch: Any
) -> None:
    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    service.end_as = "queued"
    monkeypatch.setattr("receiver.cli.batch.follow.time.sleep", interrupt)
    done = submit(run, "--results", "out.csv", content=rows(2))
    assert (done.exit_code, Path("out.csv").exists()) == (130, False)
    assert "receiver: out.csv is not written; the same command waits again, and writes it\n" in done.stderr
