"""The child that draws: its limits, its deaths, its lies; and that it never outlives those who wait for it."""

import asyncio
import json
import logging
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from picture_files import BLUE, GREEN, opened, plain, written

from bench.pictures import MOST_MB, measure
from receiver.pictures import Drawn, Limits, child
from receiver.pictures.studio import CHILD, LIMITS, Studio

pytestmark = pytest.mark.anyio

# A child in which some files do what a broken decoder would.
BROKEN = """
import os, signal, sys, time
from receiver.pictures import child, drawing

add, many = drawing.Sketch.add, []

def broken(sketch, caption, file):
    many.append(caption)
    match file.peek(4)[:4]:
        case b"KILL": os.kill(os.getpid(), signal.SIGKILL)
        case b"SEGV": os.kill(os.getpid(), signal.SIGSEGV)
        case b"EXIT": os._exit(7)
        case b"SPIN":
            while True: pass
        case b"HANG": time.sleep(3600)
        case b"GIF8" if len(many) > 1: os.kill(os.getpid(), signal.SIGKILL)
        case b"LIES": os.write(1, b'{"size": 99999999999}\\n')
        case b"LONG": os.write(1, b"x" * 3_000_000)
        case b"HALF":
            os.write(1, b'{"size": 5000}\\n....')
            os._exit(0)
        case b"GIFS": os.write(1, b'{"size": 6}\\nGIF89a')
    return add(sketch, caption, file)

drawing.Sketch.add = broken
child.run(sys.stdin.buffer, sys.stdout.buffer)
"""


def broken(limits: Limits = LIMITS, within_s: float = 600) -> Studio:
    return Studio(child=(sys.executable, "-I", "-c", BROKEN), limits=limits, within_s=within_s)


def children() -> set[int]:
    """The processes that this one has started and that are still there."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == os.getpid() and fields[0] != "Z":
            found.add(int(stat.parent.name))
    return found


async def until_started(before: set[int]) -> None:
    while children() <= before:  # noqa: ASYNC110 - the kernel knows, and tells nobody
        await asyncio.sleep(0.005)


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (b"KILL", "drawing it was killed: too little memory, or too long"),
        (b"SEGV", "damaged: its decoder broke"),
        (b"EXIT", "drawing it ended the child: status 7"),
        (b"LIES", "damaged: the child that draws is not itself after it"),
        (b"LONG", "damaged: the child that draws is not itself after it"),
        (b"GIFS", "damaged: the child that draws is not itself after it"),
        (b"HALF", "drawing it ended the child: status 0"),
    ],
)
async def test_a_picture_that_ends_the_child_fails_alone(tmp_path: Path, fault: bytes, told: str) -> None:
    """It is found, told of, and left out; all others are drawn, and the sheet too."""
    before = children()
    paths = written(tmp_path, [plain(), fault, plain(colour=BLUE), plain((900, 10))])
    sheet = await broken().draw(paths)
    assert [it.error for it in sheet.drawn] == [None, told, None, None]
    assert [bool(it.small) for it in sheet.drawn] == [True, False, True, True]
    assert sheet.error is None
    assert max(opened(sheet.picture).size) <= 1600
    assert children() == before


async def test_several_that_end_the_child_fail_each(tmp_path: Path) -> None:
    """The first, the last, and two in a row."""
    paths = written(tmp_path, [b"KILL", plain(), b"SEGV", b"EXIT", plain(), b"KILL"])
    sheet = await broken().draw(paths)
    assert [bool(it.error) for it in sheet.drawn] == [True, False, True, True, False, True]
    assert sheet.picture


async def test_if_all_end_the_child_there_is_no_sheet(tmp_path: Path) -> None:
    sheet = await broken().draw(written(tmp_path, [b"KILL", b"KILL"]))
    assert (sheet.picture, sheet.error) == (None, "none of the pictures can be drawn")
    assert all(it.error for it in sheet.drawn)


async def test_a_picture_that_takes_all_the_time_of_the_processor_fails_alone(tmp_path: Path) -> None:
    """The kernel counts, so that a busy machine blames nobody."""
    sheet = await broken(Limits(cpu_s=2)).draw(written(tmp_path, [b"SPIN", plain()]))
    assert sheet.drawn[0].error == "drawing it takes too long"
    assert sheet.drawn[1].error is None
    assert sheet.picture


async def test_one_that_is_too_much_only_with_the_others_keeps_its_thumbnail(tmp_path: Path) -> None:
    """It dies in company and lives alone: it is left off the sheet, and nothing else."""
    sheet = await broken().draw(written(tmp_path, [plain(), plain(kind="GIF", colour=GREEN), plain(colour=BLUE)]))
    assert [it.error for it in sheet.drawn] == [None, None, None]
    assert opened(sheet.drawn[1].small).size == (320, 240)
    assert opened(sheet.picture).width < 3 * 320


async def test_what_hangs_is_ended_in_time(tmp_path: Path) -> None:
    """Nothing is left of it, and the next draw is none the worse."""
    before = children()
    studio = broken(within_s=1.0)
    sheet = await studio.draw(written(tmp_path, [b"HANG"]))
    assert (sheet.picture, sheet.error) == (None, "there was no time for a contact sheet")
    assert sheet.drawn == (Drawn(error="there was no time to draw it"),)
    assert children() == before


async def test_a_cancelled_draw_leaves_no_child(tmp_path: Path) -> None:
    """Its place is free for the next, which waited: there is one child at a time."""
    before = children()
    studio = broken()
    hanging = asyncio.create_task(studio.draw(written(tmp_path, [b"HANG"])))
    await until_started(before)
    (tmp_path / "good").write_bytes(plain())
    waiting = asyncio.create_task(studio.draw([("0", tmp_path / "good")]))
    await asyncio.sleep(0)
    assert len(children() - before) == 1
    hanging.cancel()
    with pytest.raises(asyncio.CancelledError):
        await hanging
    assert (await waiting).picture
    assert children() == before


@pytest.mark.parametrize("command", [("/nonexistent/python",), (sys.executable, "-c", "raise SystemExit('no Pillow')")])
async def test_a_child_that_does_not_start_blames_no_picture(
    tmp_path: Path, command: tuple[str, ...], caplog: pytest.LogCaptureFixture
) -> None:
    """It is an error in the log, with what it said."""
    sheet = await Studio(child=command).draw(written(tmp_path, [plain(), plain()]))
    assert sheet.picture is None
    assert sheet.error
    assert "start" in sheet.error
    assert {it.error for it in sheet.drawn} == {sheet.error}
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert "No such file" in caplog.text or "no Pillow" in caplog.text


async def test_no_picture_is_no_sheet() -> None:
    sheet = await Studio().draw([])
    assert (sheet.picture, sheet.drawn, sheet.error) == (None, (), "there is no picture")


def test_the_child_takes_its_limits_before_it_imports_pillow() -> None:
    """Memory, time, files, descriptors, processes, cores; politely; and the service's libraries stay out of it."""
    script = """
import json, os, resource, sys
from receiver.pictures import Limits, child
early = "PIL" in sys.modules
without = list(child.confine(Limits(memory_mb=200, cpu_s=3)))
names = ("AS", "CPU", "FSIZE", "NOFILE", "NPROC", "CORE")
got = {it: resource.getrlimit(getattr(resource, "RLIMIT_" + it)) for it in names}
from receiver.pictures import drawing
libraries = sorted({it.partition(".")[0] for it in sys.modules} - set(sys.stdlib_module_names))
print(json.dumps([early, without, got, os.nice(0), os.umask(0), libraries, "asyncio" in sys.modules]))
"""
    said = subprocess.run([sys.executable, "-I", "-c", script], capture_output=True, check=True, env={}).stdout
    early, without, got, niceness, umask, libraries, loop = json.loads(said)
    assert not early
    assert without == []
    assert got == {
        "AS": [200 << 20, 200 << 20],
        "CPU": [3, 4],
        "FSIZE": [0, 0],
        "NOFILE": [16, 16],
        "NPROC": [0, 0],
        "CORE": [0, 0],
    }
    assert niceness >= 10
    assert umask == 0o077
    assert [it for it in libraries if it not in {"PIL", "receiver", "__main__"} and not it.startswith("_")] == []
    assert not loop


def test_limits_that_are_forbidden_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A filter of system calls may refuse them: each says so, and the rest are tried."""

    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(resource, "setrlimit", refuse)
    monkeypatch.setattr(os, "nice", refuse)
    monkeypatch.setattr(os, "umask", lambda _: 0)
    told = list(child.confine(Limits()))
    assert [it.partition(":")[0] for it in told] == [
        "memory",
        "CPU time",
        "file size",
        "descriptors",
        "processes",
        "core",
        "niceness",
    ]


async def test_the_service_is_told_once_of_limits_it_goes_without(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As a warning; what can be drawn is drawn."""
    script = """
import resource, sys
from receiver.pictures import child

def refuse(*_): raise PermissionError(1, "Operation not permitted")

resource.setrlimit = refuse
child.run(sys.stdin.buffer, sys.stdout.buffer)
"""
    studio = Studio(child=(sys.executable, "-I", "-c", script))
    paths = written(tmp_path, [plain()])
    assert (await studio.draw(paths)).picture
    assert (await studio.draw(paths)).picture
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "memory: [Errno 1] Operation not permitted" in record.getMessage()


async def test_the_child_knows_nothing_of_our_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Its environment is empty, and its arguments name no picture."""
    monkeypatch.setenv("RECEIVER_SECRET_KEYS", "planted-secret")
    script = """
import json, os, sys
sys.stdin.read()
print(json.dumps({"size": 0, "without": [" ".join(os.environ), " ".join(sys.argv)]}), flush=True)
"""
    await Studio(child=(sys.executable, "-I", "-c", script)).draw(written(tmp_path, [plain()]))
    assert "without some limits" in caplog.text
    assert "RECEIVER" not in caplog.text
    assert str(tmp_path) not in " ".join(CHILD)


def test_memory_for_four_pictures_of_2048_pixels() -> None:
    """At most 120 MB at the worst, Python and Pillow with it."""
    assert measure().peak_mb <= MOST_MB
