"""The service, wrapped so that it kills itself with SIGKILL at a chosen point: `python tests/dying.py POINT`.

The parts are wrapped here, in the harness's own entry point; the product has no switch for it. Points:

submitted          the provider took the submission, its answer is not recorded
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

from receiver import config, web, worker
from receiver.ingest import Ingest
from receiver.messages import Message
from receiver.model import Answer, Reply, Sent, Target, Verdict
from receiver.providers import PROVIDERS, Provider, open_client
from receiver.senders import AppriseSender
from receiver.store.sqlite import SqliteConnection
from receiver.wiring import open_parts, wall_clock

POINTS = ("submitted", "before-commit", "after-commit", "claimed", "sent", "polled")


def die() -> None:
    """End as if the power went: no handler runs, nothing is flushed."""
    os.kill(os.getpid(), signal.SIGKILL)


class DyingProvider:
    """Speaks to the real one, and dies before its words are recorded."""

    def __init__(self, provider: Provider, point: str) -> None:
        self._provider = provider
        self._point = point

    async def submit(self, model: str, params: bytes, callback: str | None) -> Answer:
        answer = await self._provider.submit(model, params, callback)
        if self._point == "submitted":
            die()
        return answer

    async def poll(self, task_id: str) -> Reply:
        reply = await self._provider.poll(task_id)
        if self._point == "polled" and reply.outcome is not None and reply.outcome.terminal:
            die()
        return reply


class DyingSender:
    """Sends for real, and dies around it."""

    def __init__(self, point: str) -> None:
        self._sender = AppriseSender()
        self._point = point

    async def send(self, target: Target, message: Message) -> Sent:
        if self._point == "claimed":
            die()
        sent = await self._sender.send(target, message)
        if self._point == "sent":
            die()
        return sent


def wrap_ingest(point: str) -> None:
    """Die around the commit of a callback."""
    commit, receive = SqliteConnection.commit, Ingest.receive
    under_way = 0

    async def dying_commit(self: SqliteConnection) -> bool:
        if under_way and self.touched and point == "before-commit":
            await self.rows("SELECT 1")  # whatever was put off is written now
            die()
        return await commit(self)

    async def dying_receive(self: Ingest, ref: str, body: bytes, headers: bytes) -> Verdict:
        nonlocal under_way
        under_way += 1
        verdict = await receive(self, ref, body, headers)
        if point == "after-commit":
            die()
        under_way -= 1
        return verdict

    SqliteConnection.commit = dying_commit  # type: ignore[method-assign]  # the harness's own wrapping
    Ingest.receive = dying_receive  # type: ignore[method-assign]  # likewise


async def main(point: str) -> None:
    """`serve`, dying at `point`."""
    settings = config.load(os.environ)
    wrap_ingest(point)
    async with open_client() as client:
        provider = PROVIDERS["vtrix"].connect(
            client, settings.provider_url, settings.provider_key or "", clock=wall_clock
        )
        async with (
            open_parts(settings, sender=DyingSender(point), provider=DyingProvider(provider, point)) as parts,
            asyncio.TaskGroup() as group,
        ):
            never = asyncio.Event()
            group.create_task(
                web.serve(parts, host=settings.host, port=settings.port, stop=never, ready=lambda port: None)
            )
            loops = (parts.submit, parts.sweep, parts.notify)
            group.create_task(worker.run(loops, parts.store, parts.clock, never))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
