"""What a try delivered of a message is kept with its send, until it is sent whole or given up."""

from pathlib import Path

import pytest
from msgspec.structs import replace

from kit.fakes import HOUR, MAIL, MINUTE, SLACK, Clock, FakeSender, a_notice, claimed, notices, owe
from kit.notify_loop import DOWN, GONE, a_notify, next_send, states
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


async def test_a_redrive_of_what_was_delivered_in_part_goes_on_with_the_rest(
    store: Store, sender: FakeSender, clock: Clock
) -> None:
    await owe(store, a_notice())
    sender.results.extend([replace(DOWN, delivered=PARTS), replace(GONE, delivered=(*PARTS, "f00"))])
    notify = a_notify(store, sender, clock, SLACK)
    await turn(notify)
    clock.forward(HOUR)
    await turn(notify)
    assert await states(store) == {"dead": 1}

    async with store.write() as tx:
        assert await tx.notices.redrive(clock(), targets=["slack"], ids=None, to=None) == 1
    await turn(notify)

    assert [message.delivered for _, message in sender.sent] == [(), PARTS, (*PARTS, "f00")]
    assert await states(store) == {"sent": 1}
    [notice] = await notices(store)
    assert (notice.attempts, notice.error) == (3, None)


async def test_a_redrive_to_another_target_begins_anew(store: Store, sender: FakeSender, clock: Clock) -> None:
    await owe(store, a_notice())
    sender.results.append(replace(GONE, delivered=PARTS))
    await turn(a_notify(store, sender, clock, SLACK))

    async with store.write() as tx:
        await tx.notices.redrive(clock(), targets=["slack"], ids=None, to="mail")
    await turn(a_notify(store, sender, clock, MAIL))

    assert [(name, message.delivered) for name, message in sender.sent] == [("slack", ()), ("mail", ())]


async def test_a_redrive_of_a_part_of_a_digest_begins_anew(store: Store, sender: FakeSender, clock: Clock) -> None:
    """Its message is another."""
    target = replace(SLACK, digest_ms=MINUTE)
    await owe(store, a_notice())
    notify = a_notify(store, sender, clock, target)
    await turn(notify)
    await owe(store, a_notice(), a_notice())
    assert await next_send(notify) is None
    clock.forward(HOUR)
    sender.results.append(replace(GONE, delivered=PARTS))
    await turn(notify)
    dead = [it.id for it in await notices(store) if it.state == "dead" and it.id]
    assert len(dead) == 2
    clock.forward(HOUR)

    async with store.write() as tx:
        await tx.notices.redrive(clock(), targets=None, ids=dead[:1], to=None)
    await turn(notify)

    assert [len(message.delivered) for _, message in sender.sent] == [0, 0, 0]
