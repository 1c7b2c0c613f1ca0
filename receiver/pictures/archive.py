"""Archives pictures before the provider's links expire: fetches them, draws thumbnails and a contact sheet.

A task's pictures are fetched one after the other. Each is recorded as soon as it is on disk, so that after a kill the
next process continues there. Notices that wait for the pictures wait for one round only, whatever comes of it.
"""

import logging
import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from msgspec.structs import replace

from receiver.core.errors import NotFetched, Unwritable
from receiver.core.schedule import ClockRewind, is_paused, notify_gap
from receiver.core.types import LOW_LANE, ArchiveState, Clock, Image, ImageCopy, Policy, Task
from receiver.lazy import LazyValue
from receiver.pictures.addresses import FetchAllowlist
from receiver.pictures.again import describe_round, fetch_again
from receiver.pictures.disk_room import ArchiveRoom
from receiver.pictures.drawing.process import DrawSheet
from receiver.pictures.drawing.protocol import SHEET_PICTURES_MOST, ContactSheet
from receiver.pictures.files import SHEET, ArchiveFiles, image_name, media_type
from receiver.pictures.round_leases import LEASE_MS, LeaseLost, RoundLeases
from receiver.pictures.sniff import is_drawn
from receiver.store import Store, Topic, Tx
from receiver.telemetry import logs
from receiver.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from receiver.pictures.fetch import PictureFetcher


SCHEDULE_MS = (2_000, 10_000, 60_000, 600_000, 3_600_000, 14_400_000)
"""Gaps between the rounds of a task, until every picture is here or refused for good."""

EARLY_ROUNDS = 3
"""Rounds after which "not found", or no picture, is final: the first minute. Hosts announce pictures too early."""

PATIENT_ROUNDS = 2  # of these, while pings wait on, within PICTURE_WAIT
ROUND_MOST_S = 60.0  # after which a round fetches no further picture, since other tasks wait
DRAW_MOST_S = 20.0  # after which a round draws nothing more, for the same reason
BLAMED_MOST = 2  # undrawable pictures, after which a round does not try those that they held up
SPACING_MS = 50  # at most twenty tasks begin in a second, so that pictures do not slow down a flood of callbacks
AHEAD_MOST_MS = int(SCHEDULE_MS[-1] * 1.2) + LEASE_MS

log = logging.getLogger(__name__)


class PictureArchiver:
    """The loop that fetches and draws the pictures of completed tasks."""

    topic = Topic.ARCHIVE
    width = 2
    grace_s = 1.0

    def __init__(
        self,
        store: Store,
        files: ArchiveFiles,
        policy: Policy,
        clock: Clock,
        *,
        allow: FetchAllowlist,
        draw: DrawSheet,
        metrics: Metrics | None = None,
        spacing_ms: int = SPACING_MS,
        luck: Callable[[], float] = random.random,
    ) -> None:
        self._store = store
        self._files = files
        self._policy = policy
        self._clock = clock
        self._draw = draw
        self._metrics = metrics or Metrics()
        self._jitter = luck
        self._spacing_ms = spacing_ms
        self._next_slot = 0
        self._set_back = ClockRewind()
        self._is_tidied = False
        self._under_way = RoundLeases(store, clock)
        self._room = ArchiveRoom(store, files, policy, clock)

        def open_fetcher() -> "PictureFetcher":
            from receiver.pictures.fetch import PictureFetcher  # only now, because it imports httpx

            return PictureFetcher(allow)

        self._fetch = LazyValue(open_fetcher)

    async def claim(self) -> Task | None:
        """The task whose pictures are fetched next, under a lease; None if there is none, or no room on the disk.

        First rounds go first, since pings wait for them, and one place is reserved for them; those of single tasks go
        before those of batches.
        """
        now = self._clock()
        set_back = self._set_back(now)
        if is_paused(self._next_slot, now, self._spacing_ms):
            return None
        if not set_back and await self._next_task(self._store, now) is None:
            return None
        if not self._is_tidied:
            await self._remove_leftovers()
        if (why := self._room.find_shortage()) is not None:
            await self._room.postpone_due(why)
            return None
        async with self._store.write() as tx:
            if set_back:
                await tx.tasks.pull_in(now, archive_ms=AHEAD_MOST_MS)
            task = await self._next_task(tx, now)
            if task is not None:
                task = await self._under_way.claim(tx, task)
        self._set_back.mark_handled(now)
        if task is not None:
            self._next_slot = now + self._spacing_ms
            self._under_way.add(task)
        return task

    async def carry_out(self, task: Task) -> None:
        """One round: fetch what is missing, draw, record the result, and release the notices.

        1. Skips images that have a copy or were refused for good, and those whose host did not answer in this round.
        2. Draws what there is: a ping with three pictures of four is better than one without.
        3. If pictures may still come, or there was no time to draw them, another round follows by `SCHEDULE_MS`.
           Otherwise the archive of the task is done, or failed if there is not a single picture.
        4. What a host does not have yet is final only after some rounds, and the notices wait for the first of them.
        5. A disk that cannot be written uses up no round: the task waits until there is room.
        6. If the lease is lost, nothing more is recorded: another round has begun, here or elsewhere.
        """
        logs.bind_ref(task.ref)
        self._under_way.add(task)
        try:
            copies, missing = await self._fetch_missing(task)
            copies, undrawn = await self._draw_thumbnails(task, copies)
            await self._end_round(task, copies, missing, undrawn=undrawn)
        except Unwritable as error:
            await self._postpone_round(task, str(error))
        except LeaseLost:
            _log_lost(task)
        finally:
            self._under_way.remove(task)

    async def next_due(self) -> int | None:
        """When the next round is due."""
        if len(self._under_way) == self.width:  # the loop wakes when one of them ends
            return None
        now = self._clock()
        if is_paused(self._next_slot, now, self._spacing_ms):
            return self._next_slot
        return await self._store.tasks.next_archive(now)

    async def fetch_again(self, ref: str) -> Task:
        """Fetch once more what is missing of a task's pictures. Raises RequestRefused."""
        return await fetch_again(self._store, self._files, ref, self._clock(), lambda: ref in self._under_way)

    async def close(self) -> None:
        """Close the HTTP client, if it was opened."""
        if self._fetch.value_if_made is not None:
            await self._fetch.value_if_made.close()

    async def _next_task(self, tables: Store | Tx, now: int) -> Task | None:
        found = await tables.tasks.due_for_archive(now, first_only=True, single_only=True)
        found = found or await tables.tasks.due_for_archive(now, first_only=True)
        if not found and self._under_way.count_later() < self.width - 1:
            found = await tables.tasks.due_for_archive(now)
        return found[0] if found else None

    # -- one round --

    async def _fetch_missing(self, task: Task) -> tuple[dict[int, ImageCopy], dict[int, NotFetched]]:
        """Fetch what is missing; returns the copies by `image_no`, and why other images are still missing."""
        ref = task.ref
        copies = {it.image_no: it for it in (await self._store.copies.by_refs([ref])).get(ref, ())}
        missing: dict[int, NotFetched] = {}
        silent: dict[str, NotFetched] = {}
        until = time.monotonic() + ROUND_MOST_S
        for image in (await self._store.tasks.images_by_ref([ref])).get(ref, ()):
            known = copies.pop(image.image_no, None)
            if known is None or (known.file is not None and self._files.find_file(ref, known.file) is None):
                in_time = time.monotonic() < until
                why = silent.get(_host_of(image.url)) if in_time else NotFetched("this round took too long")
                if why is None:
                    try:
                        known = await self._fetch_image(ref, image)
                    except NotFetched as error:
                        hint = "; if you trust this host, add it to FETCH_ALLOW" if error.forbidden else ""
                        extra = {"action": "archive.miss", "ref": ref}
                        log.warning("image %d: %s%s", image.image_no, error, hint, extra=extra)
                        final = error.permanent or (error.early and task.archive_tries >= EARLY_ROUNDS)
                        known = ImageCopy(image.image_no, error=str(error)) if final else None
                        why = error
                        if error.silent:
                            silent[_host_of(image.url)] = why
                if known is None:
                    missing[image.image_no] = why or NotFetched("it could not be fetched")
                    continue
                await self._record_copy(task, known)
            copies[image.image_no] = known
        return copies, missing

    async def _fetch_image(self, ref: str, image: Image) -> ImageCopy:
        """Fetch one image into the archive. Raises NotFetched, Unwritable."""
        if (why := self._room.find_shortage()) is not None:
            raise Unwritable(why)
        try:
            fetch = await self._fetch.get()
        except (OSError, RuntimeError) as error:  # no descriptor, no certificates, no thread
            raise NotFetched(f"cannot create the HTTP client: {error}") from None
        async with self._files.open_pending() as part:
            suffix = await fetch.fetch_picture(image.url, part)
            file = image_name(image.image_no, suffix)
            self._under_way.check_time(ref)  # another process may have recorded what it put under this name
            await part.keep_as(ref, file)
        return ImageCopy(image.image_no, file, part.sha256, part.size, media_type(file))

    async def _draw_thumbnails(self, task: Task, copies: dict[int, ImageCopy]) -> tuple[dict[int, ImageCopy], bool]:
        """Draw what has no thumbnail; returns the copies, and whether to try drawing again. Raises Unwritable."""
        now = dict(copies)
        # A copy with an error cannot be drawn, and trying again would only take time.
        pictures = [
            no for no, it in copies.items() if it.file is not None and is_drawn(it.media_type) and it.error is None
        ]
        if all(copies[no].small is not None for no in pictures):
            return copies, False
        until, blamed = time.monotonic() + DRAW_MOST_S, 0
        for at in range(0, len(pictures), SHEET_PICTURES_MOST):
            some = [no for no in pictures[at : at + SHEET_PICTURES_MOST] if at == 0 or _lacks_thumbnail(now[no])]
            # Undrawable pictures may have used up the time of others, which are drawn again at once without them.
            while any(_lacks_thumbnail(now[no]) for no in some):
                if time.monotonic() >= until:
                    return now, True
                found = await self._draw_batch(task, now, some, sheet=at == 0)
                if not found:
                    break
                blamed += found
                if blamed >= BLAMED_MOST and any(_lacks_thumbnail(now[no]) for no in some):
                    return now, True
                some = [no for no in some if now[no].error is None]
        return now, any(_lacks_thumbnail(now[no]) for no in pictures)

    async def _draw_batch(self, task: Task, now: dict[int, ImageCopy], some: Sequence[int], *, sheet: bool) -> int:
        """Draw `some` of the copies, and update them in `now`; returns how many turned out to be undrawable.

        Raises Unwritable.
        """
        ref = task.ref
        paths = [(str(no), self._copy_path(ref, now[no])) for no in some]
        try:
            drew = await self._draw(paths)
        except (OSError, RuntimeError) as error:  # no descriptor, no process, no thread
            drew = ContactSheet(error=f"cannot start drawing: {error}")
        if drew.error is not None:
            log.warning("no contact sheet: %s", drew.error, extra={"action": "archive.draw", "ref": ref})
        found = 0
        for no, drawn in zip(some, drew.drawn, strict=False):
            copy, small, tiny = now[no], now[no].small, now[no].tiny
            if drawn.small is not None:
                small = image_name(no, "jpg", "small")
                await self._files.save_file(ref, small, drawn.small)
                tiny = None
                if drawn.tiny is not None:
                    tiny = image_name(no, "jpg", "tiny")
                    await self._files.save_file(ref, tiny, drawn.tiny)
            width, height = drawn.width or copy.width, drawn.height or copy.height
            now[no] = replace(copy, width=width, height=height, small=small, tiny=tiny, error=drawn.error)
            if drawn.error is not None:
                found += 1
                await self._record_copy(task, now[no])  # so that after a kill nobody tries it again
        if sheet and drew.picture is not None:
            await self._files.save_file(ref, SHEET, drew.picture)
        return found

    def _copy_path(self, ref: str, copy: ImageCopy) -> Path:
        path = self._files.find_file(ref, copy.file or "")
        if path is None:
            raise Unwritable(f"cannot read the archive: {copy.file} of {ref} is gone")
        return path

    # -- what is recorded --

    async def _record_copy(self, task: Task, copy: ImageCopy) -> None:
        await self._under_way.record(task, self._under_way.extend, lambda tx, _: tx.copies.upsert([(task.ref, copy)]))

    async def _end_round(
        self, task: Task, copies: dict[int, ImageCopy], missing: dict[int, NotFetched], *, undrawn: bool
    ) -> None:
        now = self._clock()
        gap = notify_gap(SCHEDULE_MS, task.archive_tries + 1, jitter=self._jitter()) if missing or undrawn else None
        rows = list(copies.values())
        kept = sum(it.file is not None for it in rows)
        state = task.archive
        if gap is None:
            rows += [ImageCopy(image_no, error=str(why)) for image_no, why in missing.items()]
            state = ArchiveState.DONE if kept else ArchiveState.FAILED

        def end(held: Task) -> Task:
            if gap is not None:
                return replace(held, archive_tries=task.archive_tries + 1, archive_at=now + gap)
            return replace(held, archive=state, archive_at=None)

        async def write_more(tx: Tx, ended: Task) -> None:
            await tx.copies.upsert([(task.ref, it) for it in rows])
            await tx.steps.add(describe_round(ended, kept, len(copies) + len(missing), now, rows))
            if not _comes_soon(task, missing):
                await _release_notices(tx, task, now)

        await self._under_way.record(task, end, write_more, ends=True)
        if gap is None and state is not None:
            self._metrics.count_archived(state)
        log.info(
            "archived %d of %d pictures%s",
            kept,
            len(copies) + len(missing),
            f"; trying the others again in {gap / 1000:g} s" if gap is not None else "",
            extra={"action": f"archive.{state}", "ref": task.ref},
        )

    async def _postpone_round(self, task: Task, why: str) -> None:
        """Try a task again once there may be room on the disk."""
        try:
            await self._under_way.record(
                task, self._room.postpone, lambda tx, _: self._room.report_shortage(tx, [task], why)
            )
        except LeaseLost:
            _log_lost(task)

    async def _remove_leftovers(self) -> None:
        """Remove half-written files that a kill left. An error is only logged: writing will report the same."""
        try:
            await self._files.remove_leftovers()
        except Unwritable as error:
            log.warning("%s", error, extra={"action": "archive.tidy"})
        self._is_tidied = True


def _log_lost(task: Task) -> None:
    said = "this round ended early: its lease is over, and another one may have begun"
    log.info("%s", said, extra={"action": "archive.lost", "ref": task.ref})


async def _release_notices(tx: Tx, task: Task, now: int) -> None:
    """Nothing waits for the task's pictures any more; nor for those of its batch, if they were the last."""
    await tx.notices.make_due_now(task.ref, now)
    if task.lane > LOW_LANE and not await tx.batch_rows.awaits_pictures(task.lane):
        await tx.notices.make_batch_due_now(task.lane, now)


def _lacks_thumbnail(copy: ImageCopy) -> bool:
    return copy.small is None and copy.error is None


def _comes_soon(task: Task, missing: dict[int, NotFetched]) -> bool:
    """Whether all that is missing may be there in a moment, so that the notices had better wait for it."""
    return bool(missing) and task.archive_tries < PATIENT_ROUNDS and all(it.early for it in missing.values())


def _host_of(link: str) -> str:
    try:
        return urlsplit(link).netloc
    except ValueError:
        return ""
