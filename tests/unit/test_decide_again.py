"""What another process was faster at is decided again, a few times, and then refused for now."""

import pytest

from receiver.core.errors import RequestRefused, StaleUpdate, StoreUnavailable
from receiver.store.insist import DECIDE_TRIES, decide_again

pytestmark = pytest.mark.anyio


class Work:
    """Fails with these errors in turn, then gives what it was given."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.tries = 0

    @decide_again
    async def do(self, given: str, *, more: str) -> str:
        self.tries += 1
        if self.errors:
            raise self.errors.pop(0)
        return given + more


async def test_what_changed_meanwhile_is_looked_at_again() -> None:
    work = Work(*(StaleUpdate("another was first") for _ in range(DECIDE_TRIES - 1)))
    assert await work.do("a", more="b") == "ab"
    assert work.tries == DECIDE_TRIES


async def test_what_keeps_changing_is_refused_for_now() -> None:
    work = Work(*(StaleUpdate("another was first") for _ in range(DECIDE_TRIES + 5)))
    with pytest.raises(StoreUnavailable) as caught:
        await work.do("a", more="b")
    assert work.tries == DECIDE_TRIES
    assert caught.value.retry_after_s == 1


@pytest.mark.parametrize("error", [RequestRefused(409, "picked", "picked already"), StoreUnavailable("full")])
async def test_every_other_error_is_final(error: Exception) -> None:
    work = Work(error)
    with pytest.raises(type(error)):
        await work.do("a", more="b")
    assert work.tries == 1
