"""What a second attacker found: heads in pieces, crumbs, links that root follows, files taken away, full memory."""

import gc
import os
from pathlib import Path
from types import FrameType

import pytest
from fakes import POLICY, Clock, a_ref, a_task, busy, got, impatient, notices, parse, put
from web_fixtures import callback_path, served, taken, wired

from receiver.atomic_files import drafted
from receiver.core.errors import Corrupt, Unavailable, Unwritable
from receiver.core.types import Verdict
from receiver.store import Store, open_store
from receiver.store.sqlite.engine import SqliteStore
from receiver.tasks.ingest import KEPT_MOST, Ingest
from receiver.telemetry.metrics import Metrics
from receiver.web.http.connection_limits import CRUMBS_MOST

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("cut", [1, 2, 3, 4])
async def test_a_head_that_comes_in_pieces_leaves_its_body_as_it_is(tmp_path: Path, cut: int) -> None:
    """What looks like a header in a body is no header: changed there, it would be another body, and a request more."""
    body = b"hello\nUpgrade: aaaaaaaaaa\nUpgrade: b\n0123456789ABCDEFGHIJ"
    async with served(tmp_path) as web, wired(web.port) as wire:
        path = callback_path(web.parts, a_ref())
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nUpgrade: h2c\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        wire.writer.write(head[:-cut])
        await taken(web.port)
        wire.writer.write(head[-cut:] + body)
        assert (await wire.answer())[0] == 200
        [kept] = await web.parts.store.callbacks.get([1])
        assert kept.body == body


async def test_a_body_in_crumbs_is_cut(tmp_path: Path) -> None:
    """Each chunk costs the loop its time, however small it is; a body that is sent so has no honest sender."""
    async with served(tmp_path) as web, wired(web.port) as wire:
        head = f"POST {callback_path(web.parts, a_ref())} HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
        wire.writer.write(head + b"1\r\n1\r\n" * CRUMBS_MOST + b"0\r\n\r\n")
        assert (await wire.answer())[0] == 200, "so many are let in"
        wire.writer.write(head + b"1\r\n1\r\n" * (CRUMBS_MOST + 1))
        assert (await wire.answer())[0] == 400
        assert await wire.closed()


async def test_a_length_of_five_thousand_digits_is_an_answer_of_its_own(tmp_path: Path) -> None:
    """Python takes no number of more than 4,300 digits, and says so by an error."""
    async with served(tmp_path) as web, wired(web.port) as wire:
        path = callback_path(web.parts, a_ref())
        wire.writer.write(f"POST {path} HTTP/1.1\r\nContent-Length: {'0' * 5000}2\r\n\r\n".encode())
        await taken(web.port)
        wire.writer.write(b"{}")
        assert (await wire.answer())[0] in (200, 400)


async def test_a_batch_that_is_refused_holds_no_body(store: SqliteStore, tmp_path: Path) -> None:
    """Else a disk that is full would be followed by memory that is."""
    await impatient(store)
    body = bytes(200_000)
    told: list[Verdict | Unavailable] = []
    ingest = Ingest(store, parse, POLICY, Clock(), Metrics())
    gc.collect()
    gc.disable()
    try:
        with busy(tmp_path / "r.db"):
            ingest.take(a_ref(), body, b"{}", told.append)
            await ingest.close()
        assert [type(it) for it in told] == [Unavailable]
        held = [it for it in gc.get_referrers(body) if not isinstance(it, FrameType) or it.f_locals.get("told") != told]
        assert held == []
    finally:
        gc.enable()


async def test_what_is_not_kept_of_a_task_with_too_many_is_not_said_to_be(store: Store) -> None:
    ingest = Ingest(store, parse, POLICY, Clock(), Metrics())
    task = a_task(kept=KEPT_MOST)
    await put(store, task)
    assert await ingest.receive(task.ref, b"another format", b"{}") is Verdict.UNPARSED
    assert await store.callbacks.page() == []
    assert (await got(store, task.ref)).kept == KEPT_MOST
    assert all("It is not kept" in (it.report.text or "") for it in await notices(store))
    assert await notices(store)


# -- files --


async def test_a_lock_that_is_a_link_is_refused(tmp_path: Path) -> None:
    """Root would give what it leads to to the database's owner."""
    (tmp_path / "others").write_text("theirs")
    (tmp_path / "r.db.lock").symlink_to("others")
    with pytest.raises(Unavailable, match="cannot open"):
        await open_store(tmp_path / "r.db")


@pytest.mark.parametrize("way", ["symbolic", "hard"])
def test_a_draft_that_is_a_link_is_not_emptied(tmp_path: Path, way: str) -> None:
    """Root would write the database over what it leads to."""
    (tmp_path / "others").write_text("theirs")
    part = tmp_path / "backup.db.part"
    part.symlink_to("others") if way == "symbolic" else os.link(tmp_path / "others", part)
    with pytest.raises((OSError, Unwritable)), drafted(tmp_path / "backup.db"):
        pass
    assert (tmp_path / "others").read_text() == "theirs"


async def test_a_database_that_is_a_link_is_served(tmp_path: Path) -> None:
    """Its other files are where it is, not where the link is."""
    (tmp_path / "disk").mkdir()
    (tmp_path / "r.db").symlink_to("disk/r.db")
    store = await open_store(tmp_path / "r.db")
    await put(store, a_task())
    await put(store, a_task(task_id=None))
    await store.close()
    assert {"r.db", "r.db.lock"} <= {it.name for it in (tmp_path / "disk").iterdir()}


async def test_a_lock_that_is_taken_away_is_noticed(store: SqliteStore, tmp_path: Path) -> None:
    """Another process could begin beside this one, and tell everything twice."""
    (tmp_path / "r.db.lock").unlink()
    with pytest.raises(Corrupt, match="removed or replaced"):
        await put(store, a_task())
    assert store.fault is not None
