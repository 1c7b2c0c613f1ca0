"""Where pictures are drawn: starts the child, one at a time, reads what it draws, and ends it.

A picture that cannot be read says so and costs the others nothing. One that ends the child (its memory, its time, a
fault in a decoder) is found, left out, and the rest is drawn without it. What the child says is not trusted: it may
have been taken over by a picture.
"""

import asyncio
import contextlib
import json
import logging
import os
import signal
import sys
from asyncio.subprocess import PIPE
from collections.abc import Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from receiver.pictures import MOST, Drawn, Limits, Sheet

WITHIN_S = 20.0
"""For all that one `draw` does, however many children it takes; the wait for its turn apart."""

LIMITS = Limits()
CHILD = (sys.executable, "-I", "-m", "receiver.pictures")
_LARGEST = 4 << 20  # bytes of one picture that comes back
_NO_TIME = "there was no time to draw it"
_WORDS = {
    signal.SIGXCPU: "drawing it takes too long",
    signal.SIGKILL: "drawing it was killed: too little memory, or too long",
    signal.SIGSEGV: "damaged: its decoder broke",
    signal.SIGABRT: "damaged: its decoder broke",
}

log = logging.getLogger(__name__)


class _Record(Struct, frozen=True):
    """A line of what the child writes, see `child`."""

    size: int
    width: int | None = None
    height: int | None = None
    error: str | None = None
    without: list[str] | None = None


class _Run(Struct):
    """What one child came to, filled while it goes."""

    started: bool = False  # it took its limits and found Pillow
    ended: bool = False  # it wrote all that it had to
    drawn: list[Drawn] = msgspec.field(default_factory=list)
    picture: bytes | None = None
    error: str | None = None  # of the sheet, or why it ended before its time


class Studio:
    """Draws thumbnails and contact sheets; whoever comes while it does waits."""

    def __init__(self, *, limits: Limits = LIMITS, within_s: float = WITHIN_S, child: Sequence[str] = CHILD) -> None:
        self._limits = limits
        self._within_s = within_s
        self._child = tuple(child)
        self._turn = asyncio.Lock()
        self._told = False

    async def draw(self, paths: Sequence[tuple[str, Path]]) -> Sheet:
        """Thumbnails of these files, and one contact sheet of all that can be read, numbered with their captions.

        More than 36 are not drawn. Raises nothing of its own: what went wrong is in the sheet, in one line each.
        """
        if not paths:
            return Sheet(error="there is no picture")
        async with self._turn:
            drawn: dict[int, Drawn] = {}
            done = _Run(started=True, error="there was no time for a contact sheet")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._within_s):
                    done = await self._drawn(paths[:MOST], drawn)
        missing = Drawn(error=_NO_TIME if done.started else done.error)
        beyond = Drawn(error=f"more than {MOST} pictures at once")
        every = tuple(drawn.get(at, missing) if at < MOST else beyond for at in range(len(paths)))
        if done.picture is None:
            return Sheet(None, every, done.error or "none of the pictures can be drawn")
        return Sheet(done.picture, every, None)

    async def _drawn(self, paths: Sequence[tuple[str, Path]], drawn: dict[int, Drawn]) -> _Run:
        """Fills `drawn` by place; gives the run that made the sheet.

        1. All are drawn. If the child lives, that was it.
        2. If it dies, the picture it was at is drawn alone. If it dies again (or nothing had been drawn before it), it
           is the picture's fault, and told of it; otherwise all together were too much, and it keeps its thumbnail.
        3. The rest is drawn without it, from 1. Each round has one picture less, and the time is bounded.
        """
        rest = list(range(len(paths)))
        while True:
            run = _Run()
            try:
                await self._child_for([paths[at] for at in rest], run)
            finally:
                drawn.update(zip(rest, run.drawn, strict=False))
            if run.ended or not run.started or len(run.drawn) == len(rest):
                return run  # drawn; or there is no drawing here; or it died of the sheet
            suspect = rest.pop(len(run.drawn))
            if run.drawn:
                alone = _Run()
                await self._child_for([paths[suspect]], alone)
            else:
                alone = run
            drawn[suspect] = alone.drawn[0] if alone.drawn else Drawn(error=alone.error)
            log.warning(
                "picture %s: %s",
                paths[suspect][0],
                drawn[suspect].error or "left off the contact sheet, all together are too much",
                extra={"action": "pictures.died"},
            )
            if not rest:
                return _Run(started=True, error="none of the pictures can be drawn")

    async def _child_for(self, paths: Sequence[tuple[str, Path]], run: _Run) -> None:
        """Start a child, write it its task, read its records into `run`, see it end."""
        try:
            process = await asyncio.create_subprocess_exec(
                *self._child, stdin=PIPE, stdout=PIPE, stderr=PIPE, env={}, cwd="/", start_new_session=True
            )
        except OSError as error:
            run.error = f"the child that draws could not be started: {error.strerror or error}"
            log.error("%s", run.error, extra={"action": "pictures.start"})
            return
        try:
            assert process.stdin is not None  # noqa: S101 - asked for above
            assert process.stdout is not None  # noqa: S101 - likewise
            process.stdin.write(_task(self._limits, paths))
            process.stdin.close()
            await self._read(process.stdout, len(paths), run)
        except EOFError:
            run.error = _died(await process.wait())
        except (ValueError, asyncio.LimitOverrunError):
            run.error = "damaged: the child that draws is not itself after it"
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
            # Reads what is left in the pipes, which closes them, and buries it.
            _, said = await process.communicate()
        if not run.started:
            run.error = "the child that draws did not start"
            last = said.decode(errors="replace").strip().rpartition("\n")[2][:300]
            log.error("%s: %s", run.error, last, extra={"action": "pictures.start"})

    async def _read(self, out: asyncio.StreamReader, count: int, run: _Run) -> None:
        """Records from the child; raises ValueError or EOFError where it leaves off."""
        record, _ = await _record(out)
        run.started = True
        if record.without and not self._told:
            self._told = True
            without = "; ".join(record.without)[:400]
            log.warning("pictures are drawn without some limits: %s", without, extra={"action": "pictures.limits"})
        for _ in range(count):
            record, content = await _record(out)
            run.drawn.append(Drawn(content, record.width, record.height, record.error))
        record, content = await _record(out)
        run.picture, run.error, run.ended = content, record.error, True


def _task(limits: Limits, paths: Sequence[tuple[str, Path]]) -> bytes:
    return json.dumps(
        {"limits": limits, "pictures": [(caption, str(path.absolute())) for caption, path in paths]}
    ).encode()


async def _record(out: asyncio.StreamReader) -> tuple[_Record, bytes | None]:
    line = await out.readuntil(b"\n")
    record = msgspec.json.decode(line, type=_Record)
    if not 0 <= record.size <= _LARGEST:
        raise ValueError("too large")
    content = await out.readexactly(record.size)
    if content and not content.startswith(b"\xff\xd8\xff"):
        raise ValueError("not a JPEG")
    error = " ".join(record.error.split())[:200] if record.error else None
    return msgspec.structs.replace(record, error=error), content or None


def _died(code: int) -> str:
    """Why the child ended, in words about the picture that it was at."""
    try:
        reason = signal.Signals(-code)
    except ValueError:
        return f"drawing it ended the child: status {code}"
    return _WORDS.get(reason, f"drawing it ended the child: {reason.name}")
