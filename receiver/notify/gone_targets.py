"""Notices that are owed to targets that are no longer in the settings: dead with that reason, and a person is told.

Where several processes share the database, they are first left alone for a day: one that serves, but was not seen for a
while, may have such a target.

A target of NOTIFY_URLS is named after its URL, so that one with a new password is another target to us. We never guess
which one took a target's place.
"""

import logging
from collections.abc import Mapping, Sequence

import msgspec
from msgspec import Struct

from receiver.core.sanitize import one_line
from receiver.core.schedule import is_paused
from receiver.core.types import Clock, Policy
from receiver.notify.attention import raise_attention
from receiver.store import Store

NAMED_MOST = 10  # of the targets that are gone
LOOK_EVERY_MS = 3_600_000
LEFT_ALONE_MS = 24 * LOOK_EVERY_MS
_LOOKS_FOLLOW_MS = LOOK_EVERY_MS * 3 // 2  # after a longer time without a look, the day begins anew
_NAME_MOST = 60  # characters
_PACE = "gone-targets"

log = logging.getLogger(__name__)


class _GoneTargets(Struct):
    """The row that all processes share: when one last looked, and since when each look found that nobody has these."""

    looked_at: int = 0
    since: dict[str, int] = {}


_state = msgspec.json.Decoder(_GoneTargets)


async def bury_unknown_targets(store: Store, policy: Policy, clock: Clock) -> None:
    """Mark the open notices to targets that no process has in its settings as dead, and tell the others how many there
    were. Over a database that is shared, call it at least each `LOOK_EVERY_MS`.

    The first transaction tells of all: if the process is killed after it, the rest is buried at the next start.
    """
    known = [target.name for target in policy.targets]
    strange = await store.notices.count_without_target(known)
    # Only now: another process says which targets it has before it owes anything to them.
    elsewhere = await store.known_targets() if strange else frozenset()
    gone = sorted(strange.keys() - elsewhere)
    if gone and store.shared:
        gone = await _find_long_gone(store, policy, clock, gone)
    buried, told = len(gone), False
    while buried:
        text = None
        async with store.write() as tx:
            if not told and (owed := await tx.notices.count_owed(gone)):
                text, now = gone_text(owed), clock()
                await raise_attention(tx, f"targets-gone:{_names(owed)}", text, policy, now)
            buried = await tx.notices.bury_targets(gone)
        told = True
        if text is not None:
            log.warning("%s", text, extra={"action": "notice.gone"})


async def _find_long_gone(store: Store, policy: Policy, clock: Clock, gone: Sequence[str]) -> list[str]:
    """Those of these targets that nobody has had for a day. A person is told of the others, once."""
    text = None
    async with store.write() as tx:
        state = _state.decode(await tx.paces.lock(_PACE, "{}"))
        now = clock()
        follows = is_paused(state.looked_at + _LOOKS_FOLLOW_MS, now, 2 * _LOOKS_FOLLOW_MS)
        before = state.since if follows else {}
        since = {name: min(now, before.get(name, now)) for name in gone}
        await tx.paces.put(_PACE, msgspec.json.encode(_GoneTargets(now, since)).decode())
        long = [name for name in gone if since[name] <= now - LEFT_ALONE_MS]
        new = [name for name in gone if name not in before and name not in long]
        if new and (owed := await tx.notices.count_owed(new)):
            text = waiting_text(owed)
            await raise_attention(tx, f"targets-gone:{_names(owed)}", text, policy, now)
    if text is not None:
        log.warning("%s", text, extra={"action": "notice.gone"})
    return long


def waiting_text(owed: Mapping[str, int]) -> str:
    """How many notices are owed to which targets that no process has, and what becomes of them."""
    count = sum(owed.values())
    pings = "1 ping is" if count == 1 else f"{count:,} pings are"
    return (
        f"{pings} owed to targets that no running process has in its settings: {_names(owed)}. Nothing is lost: what is"
        " owed to them waits for a worker that has them; after a day it is given up, and `receiver notices redrive`"
        " sends it."
    )


def gone_text(owed: Mapping[str, int]) -> str:
    """How many notices are owed to which targets that are gone, and how they are sent after all."""
    count = sum(owed.values())
    pings = "1 ping is" if count == 1 else f"{count:,} pings are"
    if len(owed) == 1:
        name = _clean(next(iter(owed)))
        said = f"{pings} owed to a target that is no longer in the settings: {name}"
        way = f"`receiver notices redrive --target {name} --to NAME` sends {'it' if count == 1 else 'them'} to another"
    else:
        said = f"{pings} owed to targets that are no longer in the settings: {_names(owed)}"
        way = "`receiver notices redrive --to NAME` sends them to another, with all else that was given up"
    return f"{said}. Nothing is lost: {way}. If a target was only renamed, NAME is its new name."


def _names(owed: Mapping[str, int]) -> str:
    names = [_clean(name) for name in sorted(owed)]
    more = len(names) - NAMED_MOST
    return ", ".join(names[:NAMED_MOST]) + (f" and {more} more" if more > 0 else "")


def _clean(name: str) -> str:
    return one_line(name, _NAME_MOST)
