"""A database that was last served on another machine: a copy of it may still be served there, and would submit the same
tasks. So nothing is submitted here until a person says that the other service is stopped."""

from receiver.core.types import Policy
from receiver.notify.attention import raise_attention
from receiver.providers.registry import DEFAULT_PROVIDER
from receiver.store import Store

_WHY = "this database was last served on another machine"
_COPIED = (
    "This database was last served on another machine. If a service there still uses a copy of it, both would submit "
    "the same tasks, and you would pay twice; so nothing is submitted here yet. Once the other service is stopped, run "
    "`receiver queue resume`."
)


async def pause_if_copied(store: Store, policy: Policy, machine: str, now: int) -> bool:
    """Pause submissions, and tell a person, if the database was last served on another `machine`; whether it was.

    Without a name of this machine nothing is known, and nothing is changed. A restored backup forgets where it was.
    """
    if not machine or (last := await store.gates.served_on()) == machine:
        return False
    async with store.write() as tx:
        await tx.gates.serve_on(machine)
        if last is not None:
            await tx.gates.pause(DEFAULT_PROVIDER, now, _WHY)
            await raise_attention(tx, "copied-database", _COPIED, policy, now)
    return last is not None
