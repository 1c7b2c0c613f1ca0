"""Notices owed to targets that are no longer in the settings: kept as dead, and a person is told how they get out."""

import logging

import pytest
from msgspec.structs import replace

from kit.fakes import HOUR, MAIL, POLICY, SLACK, Clock, FakeSender, attention, claimed, notices, owe
from kit.notify_loop import a_notify, all_that_may_go, some, states
from receiver.core.types import NoticeEvent
from receiver.notify import gone_targets
from receiver.notify.gone_targets import bury_unknown_targets, gone_text
from receiver.store import Store

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The day is over for which they are left alone where others share the database; `test_two_senders` is about it."""
    monkeypatch.setattr(gone_targets, "LEFT_ALONE_MS", 0)


async def told(store: Store) -> list[tuple[str, str]]:
    return [(it.target, it.report.text or "") for it in await notices(store, event=NoticeEvent.ATTENTION)]


async def test_a_start_tells_the_targets_that_exist_what_is_owed_to_those_that_are_gone(
    store: Store, sender: FakeSender, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    await owe(store, *some(5, target="web"), *some(3, target="own"), *some(1, target="mail"))
    with caplog.at_level(logging.WARNING):
        assert await all_that_may_go(a_notify(store, sender, clock, MAIL)) == [1, 1]
    said = (
        "8 pings are owed to targets that are no longer in the settings: own, web. Nothing is lost: `receiver notices "
        "redrive --to NAME` sends them to another, with all else that was given up. If a target was only renamed, NAME "
        "is its new name."
    )
    assert await told(store) == [("mail", said)]
    assert [it.getMessage() for it in caplog.records if it.levelno == logging.WARNING] == [said]
    assert await states(store) == {"dead": 8, "sent": 2}


async def test_what_is_owed_never_goes_to_a_look_alike_by_itself(
    store: Store, sender: FakeSender, clock: Clock
) -> None:
    """Not even where one target of the same service has come in the place of one that is gone."""
    renamed = replace(SLACK, name="slack-2")
    await owe(store, *some(1))
    assert await all_that_may_go(a_notify(store, sender, clock, renamed)) == [1], "the attention"
    [(target, text)] = await told(store)
    assert target == "slack-2"
    assert "1 ping is owed to a target that is no longer in the settings: slack." in text
    assert "`receiver notices redrive --target slack --to NAME` sends it to another" in text
    async with store.write() as tx:
        assert await tx.notices.redrive(clock(), targets=["slack"], ids=None, to="slack-2") == 1
    assert await all_that_may_go(a_notify(store, sender, clock, renamed)) == [1]
    assert await states(store) == {"sent": 2}


async def test_whatever_state_they_were_in_they_are_told_and_the_dead_only_once(
    store: Store, sender: FakeSender, clock: Clock
) -> None:
    await owe(store, *some(3))
    await claimed(a_notify(store, sender, clock, SLACK).claim)
    for _ in range(3):
        await all_that_may_go(a_notify(store, sender, clock, MAIL))
        clock.forward(2 * HOUR)
    assert [text.split(" are")[0] for _, text in await told(store)] == ["3 pings"]


async def test_nothing_is_told_if_nothing_is_owed(
    store: Store, sender: FakeSender, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    await owe(store, *some(1))
    await all_that_may_go(a_notify(store, sender, clock, SLACK))
    await all_that_may_go(a_notify(store, sender, clock, MAIL))
    assert await attention(store) == []
    assert not caplog.records


async def test_without_any_target_the_log_tells(
    store: Store, sender: FakeSender, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    await owe(store, *some(2))
    await all_that_may_go(a_notify(store, sender, clock))
    assert "2 pings are owed to a target that is no longer in the settings: slack" in caplog.text
    assert await states(store) == {"dead": 2}


async def test_a_kill_in_the_middle_tells_once_and_buries_the_rest_at_the_next_start(
    store: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the first transaction all were counted; before it, nothing happened."""
    policy = replace(POLICY, targets=(MAIL,))
    await owe(store, *some(450))
    with monkeypatch.context() as patched:

        def killed(*args: object, **more: object) -> None:
            raise KeyboardInterrupt

        patched.setattr(gone_targets.log, "warning", killed)
        with pytest.raises(KeyboardInterrupt):
            await bury_unknown_targets(store, policy, clock)
    assert await states(store) == {"dead": 200, "due": 251}
    await bury_unknown_targets(store, policy, clock)
    assert await states(store) == {"dead": 450, "due": 1}
    [(_, text)] = await told(store)
    assert text.startswith("450 pings")


def test_many_targets_are_named_in_part() -> None:
    text = gone_text({f"t{number:02}": 1_000 for number in range(13)})
    assert text.startswith("13,000 pings are owed to targets that are no longer in the settings: t00, t01, ")
    assert "t09 and 3 more. Nothing" in text
