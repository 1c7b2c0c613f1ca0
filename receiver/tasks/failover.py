"""Tells a person that another server has taken the database over: what was committed last may be missing there.

A submission that is missing there will be made again, and paid twice. Nothing is paused: the service cannot know.
"""

import logging

from receiver.core.errors import StoreError
from receiver.core.types import Clock, Policy
from receiver.notify.attention import raise_attention
from receiver.store import Store, Topic

LOOK_EVERY_S = 30.0
_PACE = "timeline"
_TEXT = (
    "Another server has taken the database over, or a backup of it was restored. If that server is a replica for which "
    "commits did not wait (`synchronous_standby_names`), the last seconds are missing. A task that was submitted in "
    "them is submitted again, and you may pay twice; a callback that was answered in them comes no more. Compare the "
    "tasks of that time with the provider's own list. Results that were lost are found by polling."
)

log = logging.getLogger(__name__)


async def watch_for_failovers(store: Store, policy: Policy, clock: Clock) -> None:
    """Tell of each, until cancelled. After a lost connection every topic is woken, so it is told soon."""
    known = None
    while True:
        seen = store.wake_count(Topic.PRUNE)
        if (found := store.timeline) != known:
            try:
                await tell_of_failover(store, policy, clock())
                known = found
            except StoreError as error:
                log.warning("%s", error, extra={"action": "failover.tell"})
        await store.wait_for_wake(Topic.PRUNE, seen, LOOK_EVERY_S)


async def tell_of_failover(store: Store, policy: Policy, now: int) -> bool:
    """Raise attention, once among all processes, if the database is at another of its histories than it was; whether
    it is. The first time there is nothing to compare with."""
    timeline = store.timeline
    if timeline is None or await store.paces.get(_PACE) == timeline:
        return False
    async with store.write() as tx:
        if await tx.paces.lock(_PACE, timeline) == timeline:
            return False
        await tx.paces.put(_PACE, timeline)
        await raise_attention(tx, f"failover:{timeline}", _TEXT, policy, now)
    return True
