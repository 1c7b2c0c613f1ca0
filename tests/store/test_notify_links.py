"""What the loop of notices gives a message: links to the pictures that we keep, an id, and word of a late sheet."""

import re

import pytest

from kit.fakes import NOW, Clock, FakeSender, a_notice, a_ref, owe
from kit.notify_loop import DOWN, a_notify, all_that_may_go
from kit.reports import Pages, pictures
from receiver.core.types import ImageCopy, MessageStyle, Notice, NoticeEvent, Report, Send, Target
from receiver.store import Store

pytestmark = pytest.mark.anyio
MAIL = Target(name="slack", url="mailto://a:b@mail.example", style=MessageStyle.EMAIL)
TEXT = Target(name="slack", url="json://h")


def completed(ref: str) -> Notice:
    report = Report(event=NoticeEvent.COMPLETED, ref=ref, label="hero", images=pictures(2))
    return a_notice("slack", ref=ref, event=NoticeEvent.COMPLETED, report=report, created_at=NOW, due_at=NOW)


async def nothing(send: Send) -> None:
    return None


async def test_a_kept_picture_has_our_link_and_another_the_providers(store: Store) -> None:
    sender, clock, ref = FakeSender(), Clock(), a_ref()
    await owe(store, completed(ref))
    async with store.write() as tx:
        await tx.copies.upsert([(ref, ImageCopy(0, file="0.png")), (ref, ImageCopy(1, error="gone"))])

    await all_that_may_go(a_notify(store, sender, clock, TEXT, links=Pages()))

    [(_, message)] = sender.sent
    assert f"image 0: https://ping.example.org/images/{ref}/0.png\n" in message.body
    assert "image 1: https://cdn.example.com/1.png" in message.body


async def test_a_message_has_the_same_id_at_every_try_and_another_message_another(store: Store) -> None:
    sender, clock = FakeSender(), Clock()
    sender.results.append(DOWN)
    notify = a_notify(store, sender, clock, MAIL)
    await owe(store, completed(a_ref()))
    await all_that_may_go(notify)
    clock.now += 3_600_000
    await all_that_may_go(notify)
    await owe(store, completed(a_ref()))
    await all_that_may_go(notify)

    first, again, other = (message.extras.mail for _, message in sender.sent)
    assert first is not None
    assert other is not None
    assert first == again
    assert re.fullmatch(r"ping\.[0-9a-f]{32}", first.message or "")
    assert first.message != other.message


@pytest.mark.parametrize(("target", "told"), [(MAIL, True), (TEXT, False)])
async def test_a_sheet_that_is_not_ready_is_told_of_where_sheets_are_shown(
    store: Store, target: Target, told: bool
) -> None:
    sender = FakeSender()
    await owe(store, completed(a_ref()))

    await all_that_may_go(a_notify(store, sender, Clock(), target, picture=nothing))

    assert ("The contact sheet was not ready when this was sent." in sender.sent[0][1].body) is told
