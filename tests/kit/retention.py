"""Retention over a real store: a task with a row in every table and its files, and what is left of them."""

from pathlib import Path
from typing import Any

from msgspec.structs import replace

from kit.fakes import DAY, MINUTE, NOW, POLICY, Clock, a_notice, a_ref, a_task, put, steady
from receiver.core.clock_check import ClockWatch
from receiver.core.types import Callback, Image, ImageCopy, Retention, Task, TaskState
from receiver.pictures.files import SHEET, ArchiveFiles
from receiver.store import Attempt, NewSend, Store
from receiver.upkeep.retention import RetentionPruner

FOR_EVER = Retention(tasks=0, callbacks=0, polls=0, notices=0, images=0)


OLD, YOUNG = NOW - 10 * DAY - 1, NOW - 10 * DAY


TABLES = ("tasks", "images", "copies", "callbacks", "overflow", "polls", "sends", "notices", "attempts", "redriven")


def pruning(
    store: Store,
    folder: Path,
    *,
    clock: Clock | None = None,
    watch: ClockWatch | None = None,
    alone: bool = True,
    **days: int,
) -> RetentionPruner:
    """Retention with these days, and all else kept for ever."""
    keep = replace(FOR_EVER, **days)
    clock, files = clock or Clock(), ArchiveFiles(folder / "images")
    return RetentionPruner(store, files, POLICY, clock, keep=keep, watch=watch or steady(clock), alone=alone)


async def rows(store: Store, sql: str) -> list[tuple[Any, ...]]:
    async with store.write() as tx:
        return [tuple(row) for row in await tx.tasks._db.fetch_rows(sql)]


async def left(store: Store) -> dict[str, int]:
    """How many rows each table has."""
    return {it: (await rows(store, f"SELECT count(*) FROM {it}"))[0][0] for it in TABLES}


async def a_past(
    store: Store, folder: Path, settled_at: int, state: TaskState = TaskState.COMPLETED, **more: Any
) -> Task:
    """A task that ended, with a row of its own in every table, and its files."""
    made_at = settled_at - MINUTE
    ended = {"submitted_at": settled_at} if state is TaskState.LOST else {"settled_at": settled_at}
    task = a_task(state, **{"task_id": None, "created_at": made_at, **ended, **more})
    task = replace(task, ref=a_ref(made_at))
    await put(store, task)
    async with store.write() as tx:
        await tx.tasks.add_images([(task.ref, Image(0, "https://pics.example/0.png"))])
        await tx.copies.upsert([(task.ref, ImageCopy(0, "0.png", small="0.small.jpg", tiny="0.tiny.jpg"))])
        again = Callback(ref=task.ref, received_at=settled_at, body=b"{}", digest=b"d")
        await tx.callbacks.insert([(again, True), (again, False)])
        await tx.callbacks.count_only([again])
        await tx.tasks.add_poll(task.ref, settled_at, "nothing", "503", None)
        await tx.notices.insert([a_notice(ref=task.ref, created_at=settled_at, due_at=settled_at)])
    await sent(store, settled_at)
    async with store.write() as tx:
        copied = "INSERT INTO redriven SELECT id, send_id FROM notices WHERE ref = ?"
        await tx.tasks._db.run_statement(copied, (task.ref,))
    files = ArchiveFiles(folder / "images")
    for file in ("0.png", "0.small.jpg", "0.tiny.jpg", SHEET):
        await files.save_file(task.ref, file, b"a picture")
    return task


async def sent(store: Store, now: int, *, digest: bool = False) -> int:
    """Send what is due, in one send; its id."""
    async with store.write() as tx:
        [send] = await tx.sends.open_sends([NewSend("slack", now, digest=digest)], "me", now, now + MINUTE)
        await tx.sends.add_attempt(Attempt(send.id, now, 7, None))
        await tx.sends.record_sent(send, now)
    return send.id


def folder_of(folder: Path, name: str) -> Path:
    return folder / "images" / name[-2:] / name


async def passed(pruner: RetentionPruner) -> int:
    """Run the loop until it wants to wait; how many steps it took."""
    steps = 0
    while (kind := await pruner.claim()) is not None:
        await pruner.carry_out(kind)
        steps += 1
    return steps
