"""A batch by its name; if there is none, which one may be meant."""

from receiver.core.errors import RequestRefused
from receiver.core.types import QueueLane
from receiver.store import Store, Tx

_LOOKED_MOST = 200  # of the newest batches, among which a similar name is looked for
_SHOWN_MOST = 80  # characters of a name that is not known


async def require_batch(tables: Tx | Store, name: str, *, field: str = "batch", hint: str = "") -> QueueLane:
    """The batch of this name. Raises RequestRefused if there is none, about `field`, with a `hint` of what else it can
    be."""
    lane = await tables.lanes.find_batch(name)
    if lane is not None:
        return lane
    import difflib  # only for a wrong name

    shown = name[:_SHOWN_MOST]
    near = difflib.get_close_matches(shown, [it.name for it in await tables.lanes.page(None, _LOOKED_MOST)], n=1)
    meant = f" (did you mean {near[0]}?)" if near else ""
    raise RequestRefused(404, "not_found", f"there is no batch {shown!r}{meant}{hint}", field)
