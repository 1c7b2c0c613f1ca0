"""Where a PostgreSQL database is, and who uses it."""

from msgspec import Struct


class PostgresPlace(Struct, frozen=True, kw_only=True):
    """A database on a server, and what this process says of itself to the others.

    `url` is where transactions go, perhaps a pooler; `listen_url` the database itself, where `url` is a pooler. `pool`
    is how many connections are shared, besides that of callbacks and the one that listens. Both URLs are secrets.
    """

    url: str
    listen_url: str | None = None
    pool: int = 6
    role: str = "all"  # all, web, worker
    targets: tuple[str, ...] = ()  # the names of those in this process's settings
    version: str = ""

    def __repr__(self) -> str:
        return f"PostgresPlace({self.role!r})"
