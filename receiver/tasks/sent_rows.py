"""Whether rows of a batch were sent before, in other batches: sent once more, they are paid for once more."""

from collections.abc import Sequence

from receiver.client.schemas import NewTask
from receiver.core.errors import RequestRefused
from receiver.providers import models
from receiver.store import Store
from receiver.tasks.chain_requests import hash_row_key, wait_of


async def find_sent_in(store: Store, asked: Sequence[NewTask | RequestRefused], batch: str) -> list[str | None]:
    """For each of these rows: the name of the newest batch other than `batch` that has the same one, if any has.

    It is the same row if its key is the same, and what it asks for: a key of the user's own may be that of another
    row in another file.
    """
    rows = {place: row for place, it in enumerate(asked) if (row := _what_is_paid_for(it)) is not None}
    own = await store.lanes.find_batch(batch) if rows else None
    found = await store.batch_rows.find_elsewhere(own.id if own else 0, list(rows.values())) if rows else []
    lane_of = dict(zip(rows, found, strict=True))
    lanes = await store.lanes.get(sorted({it for it in found if it is not None})) if any(found) else {}
    names = {lane.id: lane.name for lane in lanes.values()}
    return [names.get(lane_of.get(place) or 0) for place in range(len(asked))]


def _what_is_paid_for(asked: NewTask | RequestRefused) -> tuple[bytes, str, bytes] | None:
    if isinstance(asked, RequestRefused) or asked.row_key is None:
        return None
    try:
        params = models.check_params(
            asked.model,
            asked.params,
            allow_permutations=asked.allow_permutations,
            anyway=asked.anyway,
            fed=wait_of(asked) is not None,
        )
    except RequestRefused:
        return None
    return hash_row_key(asked.row_key), asked.model, params
