"""What a try delivered of a message is kept with its send, until it is sent whole or given up."""

from pathlib import Path

import pytest
from msgspec.structs import replace

from kit.fakes import HOUR, SLACK, Clock, FakeSender, a_notice, claimed, owe
from kit.notify_loop import DOWN, a_notify
from receiver.notify.dispatch import NoticeDispatcher
from receiver.store import Store, open_store

pytestmark = pytest.mark.anyio

PARTS = ("f00d", "beef")


async def turn(notify: NoticeDispatcher) -> None:
    await notify.carry_out(await claimed(notify.claim))


async def test_the_next_try_knows_it_also_after_a_restart(tmp_path: Path, sender: FakeSender, clock: Clock) -> None:
    store = await open_store(tmp_path / "r.db")
    await owe(store, a_notice())
    sender.results.extend([replace(DOWN, delivered=PARTS), replace(DOWN, delivered=PARTS)])
    await turn(a_notify(store, sender, clock, SLACK))
    await store.close()
    store = await open_store(tmp_path / "r.db")

    for _ in range(2):
        clock.forward(HOUR)
        await turn(a_notify(store, sender, clock, SLACK))

    assert [message.delivered for _, message in sender.sent] == [(), PARTS, PARTS]
    await store.close()


async def test_a_send_that_is_put_off_or_given_back_keeps_it(store: Store, sender: FakeSender, clock: Clock) -> None:
    await owe(store, a_notice())
    sender.results.extend([replace(DOWN, delivered=PARTS), replace(DOWN, put_off=True)])
    notify = a_notify(store, sender, clock, SLACK)
    await turn(notify)
    clock.forward(HOUR)
    await turn(notify)
    clock.forward(HOUR)
    await notify.release_send(await claimed(notify.claim))
    await notify.close()

    await turn(a_notify(store, sender, clock, SLACK))

    assert [message.delivered for _, message in sender.sent] == [(), PARTS, PARTS]
