"""Files in the archive that belong to nobody: what a kill left between a file and its row, or a folder and its task.

They are looked for a part of the archive at a time, some folders a turn, and removed once they are a day old: nothing
that is fetched or drawn takes so long. What a task that is under way has, is left alone however old it is.
"""

from receiver.pictures.files import SAMPLE, SHEET, ArchiveFiles, send_of
from receiver.store import Store

OLD_MS = 86_400_000
PARTS = 24  # of the archive; one is looked through in a pass
TURN = 50  # folders


class OrphanCleanup:
    """Where the look through the archive has come to."""

    def __init__(self, store: Store, files: ArchiveFiles) -> None:
        self._store = store
        self._files = files
        self._after: str | None = None  # the top folder that was looked through last
        self._tops: list[str] = []  # those that are left of this part
        self._folders: list[str] = []  # those that are left of the first of them

    async def begin_pass(self, now: int, *, whole: bool) -> None:
        """The next part, or the whole of it. Raises Unwritable."""
        tops = await self._files.list_tops()
        part = -(-len(tops) // PARTS)
        if self._after is None and tops:  # a service that is often started does not begin with the same each time
            self._after = tops[now // 3_600_000 * part % len(tops)]
        after = self._after or ""
        turned = [it for it in tops if it > after] + [it for it in tops if it <= after]
        self._tops, self._folders = (turned if whole else turned[:part]), []
        await self._files.remove_old_pending(now - OLD_MS)

    async def remove_some(self, now: int, digests_before: int | None) -> tuple[int, bool]:
        """Look at some folders: how many files were removed, and whether there are more of this part.

        Digests' sheets drawn before `digests_before` go as well; times in milliseconds. Raises Unwritable, and
        StoreError's children.
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
