"""Output that cannot be written costs nothing: a ref is named on standard error, and no command ends in a traceback."""

import errno
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from kit.commands import OUTPAINT, RECEIVER, ROOT, TASK, Answers, environment, serving, task
from receiver.cli.main import COMMANDS
from receiver.client.schemas import TaskPage

FULL = f"receiver: cannot write to standard output: {os.strerror(errno.ENOSPC)}"
LEFT = f"receiver: cannot write to standard output: {os.strerror(errno.EPIPE)}"
REF_KEPT = f"; {TASK} was submitted"
URL_KEPT = f"; the callback URL of {TASK} was made: if nobody has it, `receiver url discard {TASK}`"
MINTED = {"ref": TASK, "callback_url": f"http://127.0.0.1:8000/callbacks/{TASK}.mac"}


@pytest.fixture
def answers() -> Answers:
    return Answers()


@pytest.fixture
def server(answers: Answers) -> Iterator[str]:
    with serving(answers) as served:
        yield f"http://127.0.0.1:{served.server_address[1]}"
        served.shutdown()


def run(
    args: tuple[str, ...], folder: Path, server: str = "", stdout: str = "pipe", **env: str
) -> "subprocess.CompletedProcess[bytes]":
    """Run a command whose standard output is `full`, `left` by its reader, `closed`, or an ordinary pipe."""
    own = environment(SERVER=server, API_TOKEN="any-token") if server else environment()
    quoted = " ".join(f"'{word}'" for word in (*RECEIVER, *args))
    shell = {"full": f"{quoted} > /dev/full", "closed": f"{quoted} >&-", "pipe": quoted, "left": quoted}[stdout]
    reading, writing = os.pipe()
    if stdout == "left":
        os.close(reading)
    try:
        return subprocess.run(
            ["/bin/sh", "-c", shell],
            stdout=writing if stdout == "left" else subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=folder,
            env={**own, **env},
            check=False,
            timeout=60,
        )
    finally:
        os.close(writing)
        if stdout != "left":
            os.close(reading)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full here")
@pytest.mark.parametrize("more", [(), ("--json",)])
@pytest.mark.parametrize(
    ("stdout", "said"),
    [("full", FULL), ("left", LEFT), ("closed", "receiver: cannot write to standard output: it is closed")],
)
def test_a_ref_that_cannot_be_printed_is_named_on_standard_error(
    server: str, answers: Answers, tmp_path: Path, stdout: str, said: str, more: tuple[str, ...]
) -> None:
    answers.then(202, task())
    done = run((*OUTPAINT, *more), tmp_path, server, stdout)
    assert (done.returncode, done.stderr.decode()) == (1, f"{said}{REF_KEPT}\n")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full here")
def test_a_url_that_cannot_be_printed_can_be_discarded(server: str, answers: Answers, tmp_path: Path) -> None:
    """Its ref is named; the URL itself is a secret, and standard error is often kept."""
    answers.then(201, MINTED)
    done = run(("url",), tmp_path, server, "full")
    assert (done.returncode, done.stderr.decode()) == (1, f"{FULL}{URL_KEPT}\n")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full here")
@pytest.mark.parametrize("args", [("--help",), ("config",), ("tasks", "-h"), ("tasks", "list", "--json")])
def test_any_output_that_cannot_be_written_is_one_line(
    server: str, answers: Answers, tmp_path: Path, args: tuple[str, ...]
) -> None:
    answers.then(200, TaskPage([task()], None))
    done = run(args, tmp_path, server, "full")
    assert done.returncode == 1
    [line] = done.stderr.decode().splitlines()
    assert line.startswith("receiver: ")
    assert os.strerror(errno.ENOSPC) in line


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full here")
def test_what_cannot_be_written_to_standard_error_changes_nothing(
    server: str, answers: Answers, tmp_path: Path
) -> None:
    answers.then(202, task())
    line = " ".join(f"'{word}'" for word in (*RECEIVER, *OUTPAINT[:3], "d758n65e878c73cmdg20", *OUTPAINT[4:]))
    own = environment(SERVER=server, API_TOKEN="any-token")
    done = subprocess.run(
        ["/bin/sh", "-c", f"{line} 2> /dev/full"], stdout=subprocess.PIPE, cwd=tmp_path, env=own, check=False
    )
    assert (done.returncode, done.stdout.decode()) == (0, f"{TASK}\n"), "the tip was lost, and nothing else"


@pytest.mark.parametrize("encoding", ["latin-1", "ascii", "cp1252"])
def test_a_terminal_that_lacks_characters_is_shown_the_rest(
    server: str, answers: Answers, tmp_path: Path, encoding: str
) -> None:
    odd = replace(task(), label="日本 🌊 “é” …")
    env = {"PYTHONIOENCODING": encoding, "PYTHONUTF8": "0", "COLUMNS": "200"}
    answers.then(200, TaskPage([odd, replace(odd, label=None)], None))
    shown = run(("tasks", "list"), tmp_path, server, **env)
    assert (shown.returncode, shown.stderr) == (0, b"")
    assert TASK.encode() in shown.stdout
    answers.then(200, TaskPage([odd], None))
    printed = run(("tasks", "list", "--json"), tmp_path, server, **env)
    assert (printed.returncode, printed.stderr) == (0, b"")
    assert json.loads(printed.stdout.decode("ascii"))["tasks"][0]["label"] == odd.label


def test_an_argument_that_is_not_utf_8_is_one_line(server: str, tmp_path: Path) -> None:
    for args in (
        (*OUTPAINT, "--label", "\udcff"),
        ("tasks", "list", "--label", "\udcff"),
        ("tasks", "show", "0199\udcff0199"),
    ):
        done = run(args, tmp_path, server)
        assert (done.returncode, done.stdout) == (2, b""), done.stderr
        [line] = done.stderr.decode().splitlines()
        assert "not UTF-8" in line


def test_a_folder_that_is_gone_is_one_line(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    code = f"import os, sys; os.chdir({str(gone)!r}); os.rmdir({str(gone)!r}); "
    code += "sys.argv = ['receiver', 'config']; from receiver.cli.main import main; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, env=environment(), check=False)
    assert b"Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) <= 1


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_help_tells_of_shell_completion_and_it_works(tmp_path: Path, shell: str) -> None:
    assert b"_RECEIVER_COMPLETE" in run(("-h",), tmp_path).stdout
    incomplete = {"COMP_CWORD": "" if shell == "fish" else "1"}
    script = [sys.executable, "-c", "from receiver.cli.main import main; main()"]
    env = environment() | {"_RECEIVER_COMPLETE": f"{shell}_complete", "COMP_WORDS": "receiver "}
    done = subprocess.run(script, capture_output=True, env=env | incomplete, cwd=tmp_path, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert all(name in done.stdout.decode() for name in COMMANDS)


def test_every_command_writes_in_the_one_way_that_loses_nothing() -> None:
    """`click.echo` is silent if a stream is closed, and raises if it is full."""
    commands = (ROOT / "receiver" / "cli").rglob("*.py")
    assert [it.name for it in commands if "click.echo(" in it.read_text("utf-8")] == ["streams.py"]
