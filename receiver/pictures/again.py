"""Fetches again what was missed: once the host is trusted, has the picture at last, or there is room on the disk."""

from collections.abc import Callable, Sequence

from msgspec.structs import replace

from receiver.core.errors import RequestRefused
from receiver.core.sanitize import one_line
from receiver.core.types import ArchiveState, ImageCopy, Step, StepKind, Task
from receiver.pictures.files import ArchiveFiles
from receiver.store import Store

REASON_MOST = 300


async def fetch_again(store: Store, files: ArchiveFiles, ref: str, now: int, is_under_way: Callable[[], bool]) -> Task:
    """Make a task's missing pictures due now, from the first round on. Returns the task, unchanged if none is missing.

    `is_under_way` says whether a round of it is running in this process; one of another process loses its lease. Raises
    RequestRefused.
    """
    async with store.write() as tx:
        task = (await tx.tasks.get([ref])).get(ref)
        if task is None:
            raise RequestRefused(404, "not_found", f"there is no task {ref[:80]}")
        images = (await tx.tasks.images_by_ref([ref])).get(ref, ())
        if not images:
            raise RequestRefused(409, "no_pictures", f"the task is {task.state} and has no pictures")
        copies = (await tx.copies.by_refs([ref])).get(ref, ())
        kept = {it.image_no for it in copies if it.file is not None and files.find_file(ref, it.file) is not None}
        if all(image.image_no in kept for image in images):
            return task
        if is_under_way():
            raise RequestRefused(
                409, "under_way", "its pictures are being fetched now", remedy=f"see `receiver tasks show {ref}`"
            )
        await tx.copies.forget_missing(ref)
        again = replace(task, archive=ArchiveState.DUE, archive_at=now, archive_tries=0)
        await tx.tasks.update([(task, again)])
        await tx.steps.add([Step(ref, now, StepKind.FETCHED_AGAIN)])
    return again


def describe_round(task: Task, kept: int, count: int, now: int, copies: Sequence[ImageCopy]) -> list[Step]:
    """What is noted of a round after which `kept` of `count` pictures are here: nothing if more rounds follow and none
    is; if none ever will be, why the first is not."""
    if kept:
        return [Step(task.ref, now, StepKind.KEPT, f"{kept} of {count}")]
    if task.archive_at is not None:
        return []
    why = next((it.error for it in copies if it.error), "")
    return [Step(task.ref, now, StepKind.NOT_KEPT, one_line(why, REASON_MOST))]
