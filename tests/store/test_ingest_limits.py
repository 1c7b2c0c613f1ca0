"""What a full disk or a task with too many callbacks costs: no memory, and no false word."""

import gc
from pathlib import Path
from types import FrameType

import pytest

from kit.fakes import POLICY, Clock, a_ref, a_task, attention, busy, got, impatient, parse, put
from receiver.core.errors import StoreUnavailable
from receiver.core.types import Verdict
from receiver.store import Store
from receiver.store.sqlite.engine import SqliteStore
from receiver.tasks.ingest import ENDS_MOST, KEPT_MOST, CallbackIngest
from receiver.telemetry.metrics import Metrics

pytestmark = pytest.mark.anyio


@pytest.mark.sqlite_only
async def test_a_batch_that_is_refused_holds_no_body(store: SqliteStore, tmp_path: Path) -> None:
    """Else a disk that is full would be followed by memory that is."""
    await impatient(store)
    body = bytes(200_000)
    told: list[Verdict | StoreUnavailable] = []
    ingest = CallbackIngest(store, parse, POLICY, Clock(), Metrics())
    gc.collect()
    gc.disable()
    try:
        with busy(tmp_path / "r.db"):
            ingest.receive_nowait(a_ref(), body, b"{}", told.append)
            await ingest.close()
        assert [type(it) for it in told] == [StoreUnavailable]
        held = [it for it in gc.get_referrers(body) if not isinstance(it, FrameType) or it.f_locals.get("told") != told]
        assert held == []
    finally:
        gc.enable()


async def test_what_nobody_can_read_is_not_said_to_be_kept_where_there_is_no_room(store: Store) -> None:
    ingest = CallbackIngest(store, parse, POLICY, Clock(), Metrics())
    task = a_task(kept=KEPT_MOST, kept_ends=ENDS_MOST)
    await put(store, task)
    with pytest.raises(StoreUnavailable):
        await ingest.receive_callback(task.ref, b"another format", b"{}")
    assert await store.callbacks.page() == []
    assert (await got(store, task.ref)).kept == KEPT_MOST
    assert await attention(store) == [f"crowded:{task.ref}"]
