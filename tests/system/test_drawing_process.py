"""The child that draws: its limits, its deaths, its lies; and that it never outlives those who wait for it."""

import asyncio
import io
import json
import logging
import os
import resource
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image

from bench.pictures import MOST_MB, measure_sheet
from kit.picture_files import BLUE, PATIENT, encoded, noise, opened, plain, scans, written
from receiver.pictures.drawing import child
from receiver.pictures.drawing.process import CHILD, DrawingProcess
from receiver.pictures.drawing.protocol import ContactSheet, DrawLimits, DrawResult

pytestmark = pytest.mark.anyio

# A child in which some files do what a broken decoder would.
BROKEN = """
import os, signal, struct, sys, time
from receiver.pictures.drawing import child
from receiver.pictures.drawing import draw as drawing

draw = drawing.SheetCanvas.draw_picture

def said(*parts):
    for descriptor in range(3, 16):
        try:
            os.write(descriptor, b"".join(parts))
        except OSError:
            pass

def head(*sizes):
    return struct.pack("<7I", *sizes)

def broken(sketch, file):
    match file.peek(4)[:4]:
        case b"KILL": os.kill(os.getpid(), signal.SIGKILL)
        case b"SEGV": os.kill(os.getpid(), signal.SIGSEGV)
        case b"EXIT": os._exit(7)
        case b"SPIN":
            while True: pass
        case b"HANG": time.sleep(3600)
        case b"LIES": said(b"\\xff" * 28)
        case b"LONG":
            while True: said(bytes(1 << 20))
        case b"HALF":
            said(head(1, 1, 0, 5000, 0, 1, 1), b"....")
            os._exit(0)
        case b"GIFS":
            said(head(1, 1, 0, 6, 0, 1, 1), b"GIF89a...")
            os._exit(0)
        case b"TINY":
            said(head(1, 1, 0, 4, 6, 1, 1), b"\\xff\\xd8\\xff.GIF89a...")
            os._exit(0)
        case b"LONE":
            said(head(1, 1, 0, 0, 4, 0, 0), b"\\xff\\xd8\\xff.")
            os._exit(0)
        case b"BOTH":
            said(head(1, 1, 1, 4, 0, 1, 1), b"e", b"\\xff\\xd8\\xff.", b"...")
            os._exit(0)
        case b"SHUT":
            os.closerange(3, 16)
            time.sleep(3600)
    return draw(sketch, file)

drawing.SheetCanvas.draw_picture = broken
child.run_child(sys.stdin.buffer, sys.stdout.buffer)
"""


def broken(limits: DrawLimits = PATIENT, within_s: float = 600) -> DrawingProcess:
    return DrawingProcess(child=(sys.executable, "-I", "-c", BROKEN), limits=limits, within_s=within_s)


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
        (b"KILL", "drawing it was killed: out of memory, or out of time"),
        (b"SEGV", "damaged: its decoder broke"),
        (b"EXIT", "drawing it ended its process: status 7"),
        (b"LIES", "damaged: the process that drew it returned nonsense"),
        (b"LONG", "damaged: the process that drew it returned nonsense"),
        (b"GIFS", "damaged: the process that drew it returned nonsense"),
        (b"TINY", "damaged: the process that drew it returned nonsense"),
        (b"LONE", "damaged: the process that drew it returned nonsense"),
        (b"BOTH", "damaged: the process that drew it returned nonsense"),
        (b"HALF", "drawing it ended its process: status 0"),
        (b"SHUT", "drawing it was killed: out of memory, or out of time"),
    ],
)
async def test_a_picture_that_ends_its_process_fails_alone(tmp_path: Path, fault: bytes, told: str) -> None:
    """It is found, told of, and left out; all others are drawn, and the sheet too."""
    before = children()
    paths = written(tmp_path, [plain(), fault, plain(colour=BLUE), plain((900, 10))])
    sheet = await broken().draw_sheet(paths)
    assert [it.error for it in sheet.drawn] == [None, told, None, None]
    assert [bool(it.small) for it in sheet.drawn] == [True, False, True, True]
    assert sheet.error is None
    assert max(opened(sheet.picture).size) <= 1600
    assert children() == before


async def test_several_that_end_their_process_fail_each(tmp_path: Path) -> None:
    """The first, the last, and two in a row."""
    paths = written(tmp_path, [b"KILL", plain(), b"SEGV", b"EXIT", plain(), b"KILL"])
    sheet = await broken().draw_sheet(paths)
    assert [bool(it.error) for it in sheet.drawn] == [True, False, True, True, False, True]
    assert sheet.picture


async def test_if_all_end_their_process_there_is_no_sheet(tmp_path: Path) -> None:
    sheet = await broken().draw_sheet(written(tmp_path, [b"KILL", b"KILL"]))
    assert (sheet.picture, sheet.error) == (None, "none of the pictures can be drawn")
    assert all(it.error for it in sheet.drawn)


async def test_pictures_that_take_all_the_time_of_the_processor_fail_each_alone(tmp_path: Path) -> None:
    """The kernel counts, for each anew, so that a busy machine blames nobody and no picture pays for another."""
    limits = PATIENT._replace(cpu_s=1)
    paths = written(tmp_path, [b"SPIN", plain(), b"SPIN", b"SPIN", plain(colour=BLUE)])
    sheet = await broken(limits).draw_sheet(paths)
    late = "drawing it takes too long"
    assert [it.error for it in sheet.drawn] == [late, None, late, late, None]
    assert [bool(it.small) for it in sheet.drawn] == [False, True, False, False, True]
    assert sheet.picture


async def test_progressive_jpegs_of_thousands_of_scans_fail_each_alone(tmp_path: Path) -> None:
    """A few hundred bytes of a small file take a minute each: what stands beside them is drawn, and so is the sheet."""
    paths = written(tmp_path, [scans(4_400, 9_000), plain(), scans(4_400, 9_000), plain(colour=BLUE)])
    sheet = await DrawingProcess(limits=PATIENT._replace(cpu_s=1), within_s=600).draw_sheet(paths)
    assert [(bool(it.small), it.error) for it in sheet.drawn] == [
        (False, "drawing it takes too long"),
        (True, None),
    ] * 2
    assert sheet.picture


async def test_the_largest_pictures_that_are_allowed_are_drawn(tmp_path: Path) -> None:
    """Twenty million pixels, also where each is read to its end before one can be shrunk."""
    large = noise(500).resize((5_000, 4_000), Image.Resampling.BILINEAR)
    kinds = [("PNG", {"compress_level": 1}), ("JPEG", {"progressive": True, "quality": 92})]
    paths = written(tmp_path, [encoded(large, kind, **more) for kind, more in kinds])
    sheet = await DrawingProcess(limits=PATIENT, within_s=600).draw_sheet(paths)
    assert [(bool(it.small), it.error) for it in sheet.drawn] == [(True, None)] * 2


async def test_what_hangs_is_ended_in_time_and_not_blamed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """On a machine that stands still every picture does: it may be drawn later."""
    before = children()
    sheet = await broken(DrawLimits(within_s=0.5)).draw_sheet(written(tmp_path, [b"HANG"]))
    assert sheet == ContactSheet(None, (DrawResult(),), "none of the pictures can be drawn")
    assert caplog.messages == ["picture 0 was not drawn: there was no time for it"]
    assert children() == before


def test_what_hangs_leaves_half_of_the_time_to_those_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """And the last has all that is left, so that one which hangs costs nobody else a thumbnail."""
    now, shares = [100.0], []

    def hanging(_: object, within_s: float) -> None:
        shares.append(within_s)
        now[0] += within_s
        raise TimeoutError

    monkeypatch.setattr(child, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(child, "run_isolated", hanging)
    monkeypatch.setattr(child, "apply_rlimits", lambda _: iter(()))
    asked = {"limits": DrawLimits(within_s=16), "pictures": [("0", "gone")] * 4}
    child.run_child(io.BytesIO(json.dumps(asked).encode()), io.BytesIO())
    assert shares == [8, 4, 2, 2]


async def test_a_picture_that_gets_no_process_is_not_blamed(tmp_path: Path) -> None:
    """Too many processes, or too little memory for one more: it may be drawn later."""
    script = """
import os, sys
from receiver.pictures.drawing import child

fork, many = os.fork, []

def short():
    many.append(1)
    if len(many) == 1: raise BlockingIOError(11, "Resource temporarily unavailable")
    return fork()

os.fork = short
child.run_child(sys.stdin.buffer, sys.stdout.buffer)
"""
    studio = DrawingProcess(child=(sys.executable, "-I", "-c", script), limits=PATIENT, within_s=600)
    sheet = await studio.draw_sheet(written(tmp_path, [plain(), plain(colour=BLUE)]))
    assert [(bool(it.small), it.error) for it in sheet.drawn] == [(False, None), (True, None)]
    assert sheet.picture


async def test_a_child_that_hangs_is_ended_in_time(tmp_path: Path) -> None:
    """Nothing is left of it, no picture is blamed, and the next draw is none the worse."""
    before = children()
    studio = broken(DrawLimits(within_s=3600), within_s=1.0)
    sheet = await studio.draw_sheet(written(tmp_path, [b"HANG"]))
    assert (sheet.picture, sheet.error) == (None, "there was no time for a contact sheet")
    assert sheet.drawn == (DrawResult(),)
    assert children() == before


@pytest.mark.parametrize("lie", ["b'{\"size\": 99999999999}\\n'", "b'x' * 3_000_000", "b'{\"size\": 6}\\nGIF89a'"])
async def test_a_child_that_is_not_itself_is_not_believed(tmp_path: Path, lie: str) -> None:
    """It should never be; a picture that took over more than its own process would show here."""
    script = f"import sys; sys.stdin.read(); sys.stdout.buffer.write(b'{{\"size\": 0}}\\n' + {lie})"
    sheet = await DrawingProcess(child=(sys.executable, "-I", "-c", script)).draw_sheet(written(tmp_path, [plain()]))
    assert sheet == ContactSheet(None, (DrawResult(),), "the drawing process returned nonsense")


async def test_a_cancelled_draw_leaves_no_child(tmp_path: Path) -> None:
    """Its place is free for the next, which waited: there is one child at a time."""
    before = children()
    studio = broken()
    hanging = asyncio.create_task(studio.draw_sheet(written(tmp_path, [b"HANG"])))
    await until_started(before)
    (tmp_path / "good").write_bytes(plain())
    waiting = asyncio.create_task(studio.draw_sheet([("0", tmp_path / "good")]))
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
    sheet = await DrawingProcess(child=command).draw_sheet(written(tmp_path, [plain(), plain()]))
    assert sheet.picture is None
    assert sheet.error
    assert "start" in sheet.error
    assert set(sheet.drawn) == {DrawResult()}
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert "No such file" in caplog.text or "no Pillow" in caplog.text


async def test_no_picture_is_no_sheet() -> None:
    sheet = await DrawingProcess().draw_sheet([])
    assert (sheet.picture, sheet.drawn, sheet.error) == (None, (), "there is no picture")


def test_the_child_takes_its_limits_before_it_imports_pillow() -> None:
    """Memory, time, files, descriptors, cores; politely; and the service's libraries stay out of it."""
    script = """
import json, os, resource, sys
others = {*sys.modules, *sys.stdlib_module_names}  # of the interpreter, and of whoever set it up
from receiver.pictures.drawing import child
from receiver.pictures.drawing.protocol import DrawLimits
early = "PIL" in sys.modules
without = list(child.apply_rlimits(DrawLimits(memory_mb=200, cpu_s=3)))
names = ("AS", "CPU", "FSIZE", "NOFILE", "CORE")
got = {it: resource.getrlimit(getattr(resource, "RLIMIT_" + it)) for it in names}
from receiver.pictures.drawing import draw
libraries = sorted({it.partition(".")[0] for it in sys.modules} - others)
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
    told = list(child.apply_rlimits(DrawLimits()))
    assert [it.partition(":")[0] for it in told] == [
        "memory",
        "CPU time",
        "file size",
        "descriptors",
        "core",
        "niceness",
    ]


async def test_the_service_is_told_once_of_limits_it_goes_without(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As a warning; what can be drawn is drawn."""
    script = """
import resource, sys
from receiver.pictures.drawing import child

def refuse(*_): raise PermissionError(1, "Operation not permitted")

resource.setrlimit = refuse
child.run_child(sys.stdin.buffer, sys.stdout.buffer)
"""
    studio = DrawingProcess(child=(sys.executable, "-I", "-c", script), limits=PATIENT, within_s=600)
    paths = written(tmp_path, [plain()])
    assert (await studio.draw_sheet(paths)).picture
    assert (await studio.draw_sheet(paths)).picture
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
    await DrawingProcess(child=(sys.executable, "-I", "-c", script)).draw_sheet(written(tmp_path, [plain()]))
    assert "without limits that the system refused" in caplog.text
    assert "RECEIVER" not in caplog.text
    assert str(tmp_path) not in " ".join(CHILD)


def test_memory_for_four_pictures_of_2048_pixels() -> None:
    """At most 120 MB at the worst, Python and Pillow with it."""
    assert measure_sheet().peak_mb <= MOST_MB
