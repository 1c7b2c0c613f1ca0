"""The archive's record of each image: our copy of it, or why there is none."""

from collections.abc import Iterable, Sequence

from receiver.core.types import ImageCopy
from receiver.store.tables.connection import TableConnection, placeholders

_FIELDS = ImageCopy.__struct_fields__  # columns have the names of the fields
_COLUMNS = ", ".join(_FIELDS)


class PictureCopyTable:
    """The table of picture copies, on one connection."""

    def __init__(self, connection: TableConnection) -> None:
        self._db = connection

    async def by_refs(self, refs: Sequence[str]) -> dict[str, tuple[ImageCopy, ...]]:
        """The copies of each of `refs` that has any, in order of `image_no`."""
        which = self._db.dialect.among("ref", refs)
        rows = await self._db.fetch_rows(
            f"SELECT ref, {_COLUMNS} FROM copies WHERE {which.sql} ORDER BY ref, image_no", which.params
        )
        found: dict[str, tuple[ImageCopy, ...]] = {}
        for ref, *rest in rows:
            found[ref] = (*found.get(ref, ()), ImageCopy(*rest))
        return found

    async def upsert(self, copies: Iterable[tuple[str, ImageCopy]]) -> None:
        """Record pairs of (ref, copy); each replaces the earlier record of that image."""
        updates = ", ".join(f"{name} = excluded.{name}" for name in _FIELDS if name != "image_no")
        rows = [(ref, *(getattr(copy, name) for name in _FIELDS)) for ref, copy in copies]
        if rows:
            self._db.defer(
                f"INSERT INTO copies (ref, {_COLUMNS}) VALUES ({placeholders(1 + len(_FIELDS))})"
                f" ON CONFLICT (ref, image_no) DO UPDATE SET {updates}",
                rows,
            )
            self._db.touched.update(ref for ref, *_ in rows)

    async def remove(self, ref: str) -> None:
        """Forget all copies of the images of `ref`. Their files stay until a fetch replaces them or they are pruned."""
        self._db.defer("DELETE FROM copies WHERE ref = ?", [(ref,)])
        self._db.touched.add(ref)

    async def forget_missing(self, ref: str) -> None:
        """Forget why there is no copy of those images of `ref` that have none."""
        self._db.defer("DELETE FROM copies WHERE ref = ? AND file IS NULL", [(ref,)])
        self._db.touched.add(ref)
