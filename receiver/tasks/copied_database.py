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
_WHY_ON_SERVER = "this database is a copy of one that was served elsewhere"
_ON_SERVER = (
    "This database is a copy of one that was served elsewhere. If a service still uses the other one, both would "
    "submit the same tasks, and you would pay twice; so nothing is submitted here yet. Once the other service is "
    "stopped, run `receiver queue resume`."
)


async def pause_if_copied(store: Store, policy: Policy, place: str, now: int) -> bool:
    """Pause submissions, and tell a person, if the database was last served on another machine; whether it was.

    `place` names this machine, or the database itself if it is on a server: several machines may serve that. Without a
    name nothing is known, and nothing is changed. A restored backup forgets where it was.
    """
    if not place or await store.gates.served_on() == place:
        return False
    async with store.write() as tx:
        last = await tx.gates.served_on()  # another process may have begun at the same time
        if last == place:
            return False
        await tx.gates.serve_on(place)
        if last is not None:
            await tx.gates.pause(DEFAULT_PROVIDER, now, _WHY_ON_SERVER if store.shared else _WHY)
            await raise_attention(tx, "copied-database", _ON_SERVER if store.shared else _COPIED, policy, now)
    return last is not None
