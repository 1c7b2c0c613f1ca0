"""Notices that are owed to targets that are no longer in the settings: dead with that reason, and a person is told.

A target of NOTIFY_URLS is named after its URL, so that one with a new password is another target to us. We never guess
which one took a target's place.
"""

import logging
from collections.abc import Mapping

from receiver.core.sanitize import one_line
from receiver.core.types import Clock, Policy
from receiver.notify.attention import raise_attention
from receiver.store import Store

NAMED_MOST = 10  # of the targets that are gone
_NAME_MOST = 60  # characters

log = logging.getLogger(__name__)


async def bury_unknown_targets(store: Store, policy: Policy, clock: Clock) -> None:
    """Mark the open notices to targets that no process has in its settings as dead, and tell the others how many there
    were.

    The first transaction tells of all: if the process is killed after it, the rest is buried at the next start.
    """
    known = [target.name for target in policy.targets]
    strange = await store.notices.count_without_target(known)
    # Only now: another process says which targets it has before it owes anything to them.
    elsewhere = await store.known_targets() if strange else frozenset()
    gone = sorted(strange.keys() - elsewhere)
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
