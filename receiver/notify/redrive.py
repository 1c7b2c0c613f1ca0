"""Sends again, or discards, what was given up: in turns, so that ten thousand notices hold up nothing else."""

from collections.abc import Awaitable, Callable, Sequence

from receiver.core.types import Clock, Policy
from receiver.store import Store, Tx

REDRIVE_TURN = 200  # rows in one transaction
REDRIVE_TURNS = 50


async def redrive_notices(
    store: Store,
    policy: Policy,
    clock: Clock,
    *,
    target: str | None = None,
    ids: Sequence[int] | None = None,
    to: str | None = None,
) -> int:
    """Put dead notices back to due, those to `target` or with these `ids`, perhaps to another target `to`; how many.

    Without `to`, only those to targets that are in the settings: others would wait for ever.
    """
    targets = [target] if target is not None else None
    if targets is None and to is None:
        targets = [it.name for it in policy.targets]
    return await change_in_turns(
        store,
        lambda tx: tx.notices.redrive(clock(), targets=targets, ids=ids, to=to, limit=REDRIVE_TURN),
    )


async def change_in_turns(store: Store, change: Callable[[Tx], Awaitable[int]]) -> int:
    """Change notices in turns of `REDRIVE_TURN`, as long as there are any; how many."""
    total = 0
    for _ in range(REDRIVE_TURNS):
        async with store.write() as tx:
            count = await change(tx)
        total += count
        if count < REDRIVE_TURN:
            break
    return total
