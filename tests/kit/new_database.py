"""A database as a first start leaves it: made once in a process, and copied from then on.

For tests that begin with an empty one; how it is made and migrated is tested by those of the store.
"""

import tempfile
from pathlib import Path

from receiver.store import open_store

_made: list[bytes] = []


async def place_database(path: Path) -> Path:
    """Put an empty database there, unless there is one; gives the path."""
    if not _made:
        with tempfile.TemporaryDirectory() as folder:
            await (await open_store(Path(folder, "r.db"))).close()
            _keep(Path(folder))
    _copy_to(path)
    return path


def _keep(folder: Path) -> None:
    assert sorted(it.name for it in folder.iterdir()) == ["r.db", "r.db.lock"], "all of it is in the one file"
    _made.append((folder / "r.db").read_bytes())


def _copy_to(path: Path) -> None:
    if not path.exists():
        path.touch(0o600)
        path.write_bytes(_made[0])


async def make_schema(url: str) -> None:
    """Make our tables in a PostgreSQL database, as a first start does."""
    import asyncpg

    from receiver.store.postgres.migrate import apply_migrations

    connection = await asyncpg.connect(url)
    try:
        await apply_migrations(connection)
    finally:
        await connection.close()
