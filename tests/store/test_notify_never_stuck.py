"""Whatever happens to the outbox, in whatever order: once the world is well again, everything that was owed is told."""

import asyncio
import tempfile
from itertools import cycle
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from kit.fakes import HOUR, MAIL, MINUTE, SECOND, SLACK, Clock, FakeSender
from kit.notify_loop import BUSY, DOWN, a_notify, next_send, some, states
from receiver.core.types import AttemptResult, MessageRate, NoticeEvent, QuietHours
from receiver.notify.dispatch import NoticeDispatcher
from receiver.store import open_store

TARGETS = (
    SLACK,
    replace(MAIL, digest_ms=5 * MINUTE),
    replace(
        MAIL,
        name="night",
        quiet=QuietHours(22 * 60, 7 * 60, "Europe/Berlin"),
        quiet_except=frozenset({NoticeEvent.FAILED}),
    ),
    replace(MAIL, name="all", digest_ms=HOUR, quiet=QuietHours(1, 0, "UTC"), rate=MessageRate(1, MINUTE)),
)
RESULTS = {
    "sent": AttemptResult(),
    "down": DOWN,
    "busy": BUSY,
    "put off": AttemptResult(error="not sent", put_off=True),
}
STEPS = st.one_of(
    st.tuples(
        st.just("owe"),
        st.sampled_from([(n, event) for n in (1, 5) for event in (NoticeEvent.COMPLETED, NoticeEvent.FAILED)]),
    ),
    st.tuples(st.just("carry"), st.sampled_from(sorted(RESULTS))),
    st.tuples(st.just("wait"), st.sampled_from([SECOND, MINUTE, HOUR, 9 * HOUR, -HOUR])),
    st.tuples(st.just("claim"), st.none()),  # and never carry it
    st.tuples(st.just("restart"), st.none()),
)


@settings(max_examples=40, deadline=None)
@given(st.lists(STEPS, max_size=25))
def test_nothing_is_ever_stuck(steps: list[tuple[str, object]]) -> None:
    asyncio.run(_tried(steps))


async def _tried(steps: list[tuple[str, object]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        clock, sender = Clock(), FakeSender()
        store = await open_store(Path(folder, "r.db"))
        notify = a_notify(store, sender, clock, *TARGETS)
        owed, names = 0, cycle(target.name for target in TARGETS)
        for what, how in steps:
            match what, how:
                case "owe", (int(count), NoticeEvent() as event):
                    async with store.write() as tx:
                        await tx.notices.insert(
                            it for _ in range(4) for it in some(count, event, at=clock(), target=next(names))
                        )
                    owed += 4 * count
                case "carry", str(result):
                    if (send := await notify.claim()) is not None:
                        sender.results.append(RESULTS[result])
                        await notify.carry_out(send)
                case "wait", int(ms):
                    clock.forward(ms)
                case "claim", _:
                    await notify.claim()
                case _:
                    await store.close()
                    store = await open_store(Path(folder, "r.db"))
                    notify = a_notify(store, sender, clock, *TARGETS)
        await _drained(notify, clock)
        found = await states(store)
        assert set(found) <= {"sent", "dead"}
        assert sum(found.values()) >= owed, "attention, too, is told"
        assert await notify.next_due() is None
        await store.close()


async def _drained(notify: NoticeDispatcher, clock: Clock) -> None:
    """Carry everything, as the worker would, waiting whenever it says so."""
    for _ in range(2_000):
        if (send := await next_send(notify)) is not None:
            await notify.carry_out(send)
        elif (due := await notify.next_due()) is not None:
            assert due > clock(), "or it would spin"
            clock.now = due
        else:
            return
    raise AssertionError("it never ends")
