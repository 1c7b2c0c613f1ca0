"""`receiver batch cancel` and `retry`: many rows, what that costs, and what is said if it is broken off."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from kit.batch_service import BatchService, Refusal, rows, run_commands, submit
from kit.commands import Run


@pytest.fixture
def service() -> BatchService:
    return BatchService()


@pytest.fixture
def run(service: BatchService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    yield from run_commands(service, tmp_path, monkeypatch)


def test_many_rows_are_changed_by_several_calls(run: Run, service: BatchService) -> None:
    service.end_as, service.changed_most = "queued", 4
    submit(run, "--name", "b", content=rows(9))
    cancelled = run("batch", "cancel", "b")
    assert (cancelled.exit_code, cancelled.stdout) == (0, "b  done  9 tasks withdrawn\n")
    assert service.cursors == ["0.ref", "1.ref"]


def test_a_change_that_is_broken_off_says_how_far_it_came(run: Run, service: BatchService) -> None:
    service.end_as, service.changed_most = "queued", 4
    submit(run, "--name", "b", content=rows(9))
    calls = 0

    def die(method: str, path: str, body: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise Refusal(503)

    service.before_call = die
    cancelled = run("batch", "cancel", "b")
    assert (cancelled.exit_code, cancelled.stdout) == (1, "")
    assert cancelled.stderr.startswith("receiver: 4 tasks withdrawn so far; the same command goes on\n")


def test_a_retry_says_what_it_costs_and_asks_if_that_is_much(run: Run, service: BatchService) -> None:
    service.end_as, service.each = "failed", "0.05"
    submit(run, "--name", "b", content=rows(9))
    costs = "receiver: 9 tasks, about $0.45 (outpaint $0.05 × 9, from 212 earlier tasks)\n"
    refused = run("batch", "retry", "b", "--confirm-over", "0.40")
    assert (refused.exit_code, refused.stdout) == (2, "")
    more = "that is more than $0.40: say --yes if you want it, or --confirm-over with a higher amount; nothing was sent"
    assert refused.stderr == f"{costs}receiver: {more}\n"
    done = run("batch", "retry", "b", "--confirm-over", "0.40", "--yes")
    assert (done.exit_code, done.stdout, done.stderr) == (0, "b  running  9 tasks queued again\n", costs)
    nothing = run("batch", "retry", "b")
    assert (nothing.stdout, nothing.stderr) == ("b  running  0 tasks queued again\n", "")


def test_a_retry_of_a_paused_batch_says_what_lets_it_go_on(run: Run, service: BatchService) -> None:
    service.end_as = "failed"
    submit(run, "--name", "b", content=rows(2))
    waits = "submitting is paused: the batch b: `receiver batch resume b`"
    service.batches["b"] = replace(service.batches["b"], paused_at="x", waits_for="paused", waits=waits)
    done = run("batch", "retry", "b")
    assert done.stdout == "b  paused  2 tasks queued again\n"
    assert done.stderr == f"receiver: no task of it goes to the provider for now: {waits}\n"
