"""What is made later: once, off the event loop, and again only if it failed."""

import asyncio
import threading

import pytest

from receiver.lazy import LazyValue

pytestmark = pytest.mark.anyio


async def test_it_is_made_once_in_another_thread_however_many_ask() -> None:
    """Nobody asks: it is not made."""
    made_in: list[int] = []
    later = LazyValue(lambda: made_in.append(threading.get_ident()) or "made")  # type: ignore[func-returns-value]
    assert (later.value_if_made, made_in) == (None, [])
    assert await asyncio.gather(*(later.get() for _ in range(3))) == ["made"] * 3
    assert later.value_if_made == "made"
    assert len(made_in) == 1
    assert made_in != [threading.get_ident()]


async def test_one_who_goes_away_spoils_it_for_nobody() -> None:
    """A client that hangs up while the API is made for it cancels its own request only."""
    may_end = threading.Event()
    later = LazyValue(lambda: may_end.wait(20))
    first = asyncio.create_task(later.get())
    second = asyncio.create_task(later.get())
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.wait({first})
    may_end.set()
    assert await second


async def test_what_failed_is_told_and_made_at_the_next_call() -> None:
    """Too few descriptors now may be enough later."""
    results = iter([OSError("no descriptor is left"), None])

    def make() -> str:
        if error := next(results):
            raise error
        return "made"

    later = LazyValue(make)
    with pytest.raises(OSError, match="no descriptor"):
        await later.get()
    assert later.value_if_made is None
    assert await later.get() == "made"
