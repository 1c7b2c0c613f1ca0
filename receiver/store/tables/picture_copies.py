"""What the archive knows of each image: our copy of it, or why there is none."""

from collections.abc import Iterable, Sequence

from receiver.core.types import Copy
from receiver.store.tables.connection import Connection, marks

_FIELDS = Copy.__struct_fields__  # each in the column of its name
_COLUMNS = ", ".join(_FIELDS)


class Copies:
    """The table of copies, over one connection."""

    def __init__(self, connection: Connection) -> None:
        self._on = connection

    async def of(self, refs: Sequence[str]) -> dict[str, tuple[Copy, ...]]:
        """The copies of each of `refs` that has any, in order of `image_no`."""
        rows = await self._on.rows(
            f"SELECT ref, {_COLUMNS} FROM copies WHERE ref IN ({marks(len(refs))}) ORDER BY ref, image_no", refs
        )
        found: dict[str, tuple[Copy, ...]] = {}
        for ref, *rest in rows:
            found[ref] = (*found.get(ref, ()), Copy(*rest))
        return found

    async def put(self, copies: Iterable[tuple[str, Copy]]) -> None:
        """Record pairs of (ref, copy), each in place of what was known of that image."""
        anew = ", ".join(f"{name} = excluded.{name}" for name in _FIELDS if name != "image_no")
        rows = [(ref, *(getattr(copy, name) for name in _FIELDS)) for ref, copy in copies]
        if rows:
            self._on.later(
                f"INSERT INTO copies (ref, {_COLUMNS}) VALUES ({marks(1 + len(_FIELDS))})"
                f" ON CONFLICT (ref, image_no) DO UPDATE SET {anew}",
                rows,
            )
            self._on.touched.update(ref for ref, *_ in rows)
