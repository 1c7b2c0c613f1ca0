"""Has pictures drawn: starts the child process, one at a time, reads what it draws, and ends it.

If a picture cannot be read, or ends the process that draws it (memory, time, a fault in a decoder), its result says so
and the others are drawn all the same. What the child writes is not trusted either.
"""

import asyncio
import contextlib
import json
import logging
import os
import signal
import sys
from asyncio.subprocess import PIPE
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from receiver.pictures.drawing.protocol import SHEET_PICTURES_MOST, ContactSheet, DrawLimits, DrawResult

WITHIN_S = 20.0
"""For one call of `draw_sheet`, without the wait for its turn."""

LIMITS = DrawLimits()
CHILD = (sys.executable, "-I", "-m", "receiver.pictures.drawing")
_LARGEST = 4 << 20  # bytes of one drawn picture

log = logging.getLogger(__name__)


DrawSheet = Callable[[Sequence[tuple[str, Path]]], Awaitable[ContactSheet]]
"""Draws thumbnails and one contact sheet of pairs (caption, file): `DrawingProcess.draw_sheet`."""


class _ChildRecord(Struct, frozen=True):
    """A record that the child writes, see `child`."""

    size: int
    tiny: int = 0  # the size of the second thumbnail, which follows
    width: int | None = None
    height: int | None = None
    error: str | None = None
    without: list[str] | None = None
    died: bool = False  # the picture's process died
    why: str | None = None  # why it was not drawn, if that is not its fault


class _ChildRun(Struct):
    """What the child has written so far."""

    started: bool = False  # it applied its limits and found Pillow
    drawn: list[DrawResult] = msgspec.field(default_factory=list)
    picture: bytes | None = None
    error: str | None = "there was no time for a contact sheet"  # of the sheet


class DrawingProcess:
    """Draws thumbnails and contact sheets in a child process, one call at a time."""

    def __init__(
        self, *, limits: DrawLimits = LIMITS, within_s: float = WITHIN_S, child: Sequence[str] = CHILD
    ) -> None:
        self._limits = limits
        self._within_s = within_s
        self._child = tuple(child)
        self._turn = asyncio.Lock()
        self._reported_limits = False

    async def draw_sheet(self, paths: Sequence[tuple[str, Path]]) -> ContactSheet:
        """Draw thumbnails of these files, and one contact sheet of all that can be read, with their captions.

        Pictures beyond the 36th are not drawn. Errors are not raised: they are in the result, a line each.
        """
        if not paths:
            return ContactSheet(error="there is no picture")
        run = _ChildRun()
        async with self._turn:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._within_s):
                    await self._run_child(paths[:SHEET_PICTURES_MOST], run)
        missing = [DrawResult()] * (min(len(paths), SHEET_PICTURES_MOST) - len(run.drawn))
        beyond = [DrawResult(error=f"more than {SHEET_PICTURES_MOST} pictures at once")] * (
            len(paths) - SHEET_PICTURES_MOST
        )
        every = (*run.drawn, *missing, *beyond)
        if run.picture is None:
            return ContactSheet(None, every, run.error or "none of the pictures can be drawn")
        return ContactSheet(run.picture, every, None)

    async def _run_child(self, paths: Sequence[tuple[str, Path]], run: _ChildRun) -> None:
        """Start a child, send it the request, read its records into `run`, and wait until it ends."""
        try:
            process = await asyncio.create_subprocess_exec(
                *self._child, stdin=PIPE, stdout=PIPE, stderr=PIPE, env={}, cwd="/", start_new_session=True
            )
        except OSError as error:
            run.error = f"cannot start the drawing process: {error.strerror or error}"
            log.error("%s", run.error, extra={"action": "pictures.start"})
            return
        try:
            assert process.stdin is not None  # noqa: S101 - asked for above
            assert process.stdout is not None  # noqa: S101 - likewise
            process.stdin.write(_encode_request(self._limits, paths))
            process.stdin.close()
            await self._read_records(process.stdout, paths, run)
        except EOFError:
            run.error = f"the drawing process ended with status {await process.wait()}"
        except (ValueError, asyncio.LimitOverrunError):
            run.error = "the drawing process returned nonsense"
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
            # Reads what is left in the pipes, closes them, and reaps the child.
            _, output = await process.communicate()
        if not run.started:
            run.error = "the drawing process did not start"
            last = output.decode(errors="replace").strip().rpartition("\n")[2][:300]
            log.error("%s: %s", run.error, last, extra={"action": "pictures.start"})

    async def _read_records(self, out: asyncio.StreamReader, paths: Sequence[tuple[str, Path]], run: _ChildRun) -> None:
        """Read the child's records. Raises ValueError or EOFError if they end early or make no sense."""
        record, _ = await _read_record(out)
        run.started = True
        if record.without and not self._reported_limits:
            self._reported_limits = True
            without = "; ".join(record.without)[:400]
            log.warning(
                "pictures are drawn without limits that the system refused: %s",
                without,
                extra={"action": "pictures.limits"},
            )
        for caption, _ in paths:
            record, content = await _read_record(out)
            tiny = await _read_jpeg(out, record.tiny)
            run.drawn.append(DrawResult(content, record.width, record.height, record.error, tiny))
            if record.died or record.why:
                why = record.error or record.why
                log.warning("picture %s was not drawn: %s", caption, why, extra={"action": "pictures.died"})
        record, content = await _read_record(out)
        run.picture, run.error = content, record.error


def _encode_request(limits: DrawLimits, paths: Sequence[tuple[str, Path]]) -> bytes:
    return json.dumps(
        {"limits": limits, "pictures": [(caption, str(path.absolute())) for caption, path in paths]}
    ).encode()


async def _read_record(out: asyncio.StreamReader) -> tuple[_ChildRecord, bytes | None]:
    line = await out.readuntil(b"\n")
    record = msgspec.json.decode(line, type=_ChildRecord)
    content = await _read_jpeg(out, record.size)
    return msgspec.structs.replace(record, error=_one_line(record.error), why=_one_line(record.why)), content


async def _read_jpeg(out: asyncio.StreamReader, size: int) -> bytes | None:
    if not 0 <= size <= _LARGEST:
        raise ValueError("too large")
    content = await out.readexactly(size)
    if content and not content.startswith(b"\xff\xd8\xff"):
        raise ValueError("not a JPEG")
    return content or None


def _one_line(text: str | None) -> str | None:
    return " ".join(text.split())[:200] if text else None
