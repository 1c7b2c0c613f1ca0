"""`receiver submit batch` with rows that other batches have: nothing is paid for twice unless a person says so."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from kit.batch_service import HEADER, BatchService, rows, run_commands, submit
from kit.commands import Run


@pytest.fixture
def service() -> BatchService:
    return BatchService()


@pytest.fixture
def run(service: BatchService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    yield from run_commands(service, tmp_path, monkeypatch)


def test_a_corrected_row_does_not_buy_all_others_again(run: Run, service: BatchService) -> None:
    """The file's own name for its batch changes, so the command says what it could do instead of sending all."""
    name = submit(run, content=rows(150)).stdout.strip()
    service.each = "0.05"
    content = rows(150).replace("job-149,0,1.5", "job-149,0,1.6")
    refused = submit(run, "--label", "a b", "--each", "--yes", content=content)
    assert (refused.exit_code, refused.stdout, service.sent) == (2, "", 150)
    first, only_new, all_again, end = refused.stderr.split("\n")
    assert first == f"receiver: 149 of 150 rows of rows.csv were sent before, in the batch {name}; nothing was sent"
    options = "--yes --label 'a b' --each"
    again = f"receiver submit batch rows.csv {options} --name {name} --reopen"
    assert only_new == f"  only what is new (1 task, about $0.05): {again}"
    own = all_again.rpartition(" --name ")[2]
    assert all_again == (
        f"  all once more (150 tasks, about $7.50): receiver submit batch rows.csv {options} --name {own}"
    )
    assert (own.startswith("rows-"), own != name, end) == (True, True, "")
    assert run(*shlex.split(again)[1:]).exit_code == 0
    assert (service.sent, len(service.batches)) == (151, 1)
    assert submit(run, "--name", own).exit_code == 0
    assert (service.sent, len(service.batches)) == (301, 2)


def test_a_renamed_file_does_not_buy_its_rows_again(run: Run, service: BatchService) -> None:
    name = submit(run, content=rows(3)).stdout.strip()
    Path("rows.csv").rename("other.csv")
    refused = run("submit", "batch", "other.csv")
    assert (refused.exit_code, refused.stdout, service.sent) == (2, "", 3)
    assert refused.stderr.startswith(f"receiver: all 3 rows of other.csv were sent before, in the batch {name}; ")
    assert f"\n  nothing is new; what became of them: receiver batch show {name}\n" in refused.stderr
    assert "\n  all once more (3 tasks): receiver submit batch other.csv --name other-" in refused.stderr
    assert run("submit", "batch", "other.csv", "--name", name).exit_code == 0
    assert service.sent == 3


@pytest.mark.parametrize("at", [0, 1_234, 1_999])
def test_one_row_that_was_sent_before_is_found_wherever_it_is(run: Run, service: BatchService, at: int) -> None:
    """Under whatever name, in however many batches."""
    for number in range(8):
        line = at if number == 0 else 5_000 + number
        assert submit(run, "--name", f"own {number}", content=f"{HEADER}outpaint,job-{line},0,1.5,,\n").exit_code == 0
    refused = submit(run, content=rows(2_000))
    assert (refused.exit_code, service.sent) == (2, 8)
    assert refused.stderr.startswith(
        "receiver: 1 of 2,000 rows of rows.csv was sent before, in the batch own 0; nothing was sent\n"
        "  only what is new (1,999 tasks): receiver submit batch rows.csv --name 'own 0' --reopen\n"
    )
    assert submit(run, "--dry-run").stderr.startswith("receiver: 1 of 2,000 rows of rows.csv was sent before")


def test_an_explicit_name_pays_once_more_and_says_so(run: Run, service: BatchService) -> None:
    """And if that was broken off, the file without a name pays for nothing twice either."""
    submit(run, content=rows(3))
    named = submit(run, "--name", "once more")
    assert (named.exit_code, named.stdout, service.sent) == (0, "once more\n", 6)
    assert named.stderr.startswith("receiver: 3 rows that were sent before, in the batch rows-")
    assert ", are sent once more, as --name says\n" in named.stderr
    del service.batches[next(iter(service.batches))]
    service.rows = {"once more": service.rows["once more"]}
    assert (submit(run).exit_code, service.sent) == (2, 3)


@pytest.mark.parametrize("options", [(), ("--name", "own")])
def test_after_a_restore_a_new_batch_is_not_sent_without_a_word(
    run: Run, service: BatchService, options: tuple[str, ...]
) -> None:
    """It may have been sent after the backup was made."""
    service.restored = ("2026-11-30T08:00:00.000Z", "2026-11-29T22:00:00.000Z")
    refused = submit(run, *options, content=rows(3))
    assert (refused.exit_code, refused.stdout, service.sent) == (2, "", 0)
    first, last = refused.stderr.splitlines()
    assert re.match("receiver: the database was restored at .* from a backup of .*: if rows.csv was sent in", first)
    assert last == "receiver: say --yes if it was not sent in between; nothing was sent"
    assert submit(run, *options, "--dry-run").exit_code == 0
    done = submit(run, *options, "--yes")
    assert (done.exit_code, done.stderr.splitlines()[0], service.sent) == (0, first, 3)
    again = submit(run, *options)
    assert (again.exit_code, "restored" in again.stderr) == (0, False)


def test_only_new_leaves_out_what_any_batch_has(run: Run, service: BatchService) -> None:
    submit(run, "--name", "one", content=rows(3))
    submit(run, "--name", "two", content=rows(5).replace("job-0,", "job-x,").replace("job-1,", "job-y,"))
    everything = rows(7)
    refused = submit(run, content=everything)
    before = "5 of 7 rows of rows.csv were sent before, in the batches two (3), one (2)"
    assert refused.stderr.startswith(f"receiver: {before}; nothing was sent\n")
    assert "  only what is new (2 tasks): receiver submit batch rows.csv --only-new\n" in refused.stderr
    done = submit(run, "--only-new")
    assert (done.exit_code, service.sent) == (0, 10)
    assert done.stderr == f"receiver: {before}, and are left out\nreceiver: 2 tasks were submitted\n"
    again = submit(run, "--only-new")
    assert (again.exit_code, again.stdout, service.sent) == (0, done.stdout, 10)
    assert submit(run).exit_code == 2
    nothing = submit(run, "--only-new", content=rows(2))
    assert (nothing.exit_code, nothing.stdout, service.sent) == (0, "", 10)
    assert nothing.stderr == "receiver: all 2 rows of rows.csv were sent before, in the batch one; nothing was sent\n"
