"""The service, wrapped so that it kills itself with SIGKILL at a chosen point: `python tests/kit/dying.py POINT [NTH]`.

The parts are wrapped here, in the harness's own entry point; the product has no switch for it. It dies when it comes to
the point for the NTH time, by default the first; `bench.crash` runs it too, under load. Points:

submitted          the provider took the submission, its answer is not recorded
received           a callback's body is read, nothing of it is written
before-commit      a callback's rows are written, not committed
after-commit       they are committed, the callback is not answered
claimed            a notice is claimed, not sent
sent               it is sent, and that is not recorded
polled             the provider told the end, and that is not recorded
"""

import asyncio
import os
import signal
import sys

from receiver import config
from receiver.clocks import wall_clock
from receiver.core.errors import StoreUnavailable
from receiver.core.types import AttemptResult, PollReply, SubmitAnswer, Target, Verdict
from receiver.notify.messages.message import Message
from receiver.notify.senders.sender import AppriseSender
from receiver.providers.http_client import open_client
from receiver.providers.registry import PROVIDERS, Provider
from receiver.service import worker
from receiver.service.wiring import open_parts
from receiver.store.sqlite.engine import SqliteConnection
from receiver.tasks.ingest import CallbackIngest, VerdictListener
from receiver.web import app

POINTS = ("submitted", "received", "before-commit", "after-commit", "claimed", "sent", "polled")


class Fuse:
    """Ends the process when it comes to `point` for the `nth` time."""

    def __init__(self, point: str, nth: int) -> None:
        self._point = point
        self._left = nth

    def at(self, point: str) -> None:
        """The process is at `point`. It ends as if the power went: no handler runs, nothing is flushed."""
        if point == self._point:
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)


class DyingProvider:
    """Speaks to the real one, and dies before its words are recorded."""

    def __init__(self, provider: Provider, fuse: Fuse) -> None:
        self._provider = provider
        self._fuse = fuse

    async def submit(self, model: str, params: bytes, callback: str | None) -> SubmitAnswer:
        answer = await self._provider.submit(model, params, callback)
        self._fuse.at("submitted")
        return answer

    async def poll(self, task_id: str) -> PollReply:
        reply = await self._provider.poll(task_id)
        if reply.outcome is not None and reply.outcome.is_terminal:
            self._fuse.at("polled")
        return reply


class DyingSender:
    """Sends for real, and dies around it."""

    def __init__(self, fuse: Fuse) -> None:
        self._sender = AppriseSender()
        self._fuse = fuse

    async def send(self, target: Target, message: Message) -> AttemptResult:
        self._fuse.at("claimed")
        sent = await self._sender.send(target, message)
        self._fuse.at("sent")
        return sent


def wrap_ingest(fuse: Fuse) -> None:
    """Die around the commit of a callback."""
    commit, take = SqliteConnection.commit, CallbackIngest.receive_nowait
    under_way = 0

    async def dying_commit(self: SqliteConnection) -> bool:
        if under_way and self.touched:
            await self.fetch_rows("SELECT 1")  # whatever was put off is written now
            fuse.at("before-commit")
        return await commit(self)

    def dying_take(self: CallbackIngest, ref: str, body: bytes, headers: bytes, listener: VerdictListener) -> None:
        nonlocal under_way

        def dying_listener(result: Verdict | StoreUnavailable) -> None:
            nonlocal under_way
            fuse.at("after-commit")
            under_way -= 1
            listener(result)

        fuse.at("received")
        under_way += 1
        take(self, ref, body, headers, dying_listener)

    SqliteConnection.commit = dying_commit  # type: ignore[method-assign]  # the harness's own wrapping
    CallbackIngest.receive_nowait = dying_take  # type: ignore[method-assign]  # likewise


async def main(fuse: Fuse) -> None:
    """`serve`, until the fuse has burnt."""
    settings = config.load_settings(os.environ)
    wrap_ingest(fuse)
    async with open_client() as client:
        provider = PROVIDERS["vtrix"].connect(
            client, settings.provider_url, settings.provider_key or "", clock=wall_clock
        )
        async with (
            open_parts(settings, sender=DyingSender(fuse), provider=DyingProvider(provider, fuse)) as parts,
            asyncio.TaskGroup() as group,
        ):
            never = asyncio.Event()
            group.create_task(
                app.serve(parts, host=settings.host, port=settings.port, stop=never, ready=lambda port: None)
            )
            loops = parts.loops
            group.create_task(worker.run_loops(loops, parts.store, parts.clock, never))


if __name__ == "__main__":
    asyncio.run(main(Fuse(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 1)))
