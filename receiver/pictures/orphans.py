"""Removes orphaned files from the archive: files without a row and folders without a task, as a kill can leave them.

Each pass looks through a part of the archive, some folders a turn, and removes orphans that are a day old: no fetch and
no drawing takes that long. The files of a task whose pictures are still being fetched stay, however old they are.
"""

from receiver.pictures.files import SAMPLE, SHEET, ArchiveFiles, send_of
from receiver.store import Store

OLD_MS = 86_400_000
PARTS = 24  # of the archive; each pass looks through one
TURN = 50  # folders


class OrphanCleanup:
    """Looks for orphans, and remembers how far it has come."""

    def __init__(self, store: Store, files: ArchiveFiles) -> None:
        self._store = store
        self._files = files
        self._after: str | None = None  # the last top folder looked through
        self._tops: list[str] = []  # left in this part
        self._folders: list[str] = []  # left in the present top folder

    async def begin_pass(self, now: int, *, whole: bool) -> None:
        """Begin with the next part, or with the whole archive. Raises Unwritable."""
        tops = await self._files.list_tops()
        part = -(-len(tops) // PARTS)
        if (
            self._after is None and tops
        ):  # so that a service that is often restarted does not always begin with the same part
            self._after = tops[now // 3_600_000 * part % len(tops)]
        after = self._after or ""
        turned = [it for it in tops if it > after] + [it for it in tops if it <= after]
        self._tops, self._folders = (turned if whole else turned[:part]), []
        await self._files.remove_old_pending(now - OLD_MS)

    async def remove_some(self, now: int, digests_before: int | None) -> tuple[int, bool]:
        """Look at some folders; returns how many files were removed, and whether this part has more.

        Sheets of digests drawn before `digests_before` are removed too. Times are in milliseconds. Raises Unwritable
        and StoreError.
        """
        if not self._folders and self._tops:
            self._after = self._tops.pop(0)
            self._folders = await self._files.list_folders(self._after)
        some, self._folders = self._folders[:TURN], self._folders[TURN:]
        tasks = [it for it in some if send_of(it) is None and it != SAMPLE]
        sends = {it: send for it in some if (send := send_of(it)) is not None}
        removed = 0
        if sends:
            there = await self._store.pruning.existing_sends(list(sends.values()))
            known = {it for it, send in sends.items() if send in there}
            removed += await self._files.keep_only({it: () for it in sends if it not in known}, now - OLD_MS)
            if digests_before is not None:
                removed += await self._files.keep_only(dict.fromkeys(known, ()), digests_before)
        if tasks:
            has = await self._store.pruning.files_by_task(tasks)
            keep = {it: files for it in tasks if (files := has.get(it, ())) is not None}
            with_sheet = {it: (*files, SHEET) if files else () for it, files in keep.items()}
            removed += await self._files.keep_only(with_sheet, now - OLD_MS)
        return removed, bool(self._folders or self._tops)
