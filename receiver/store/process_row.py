"""What a process says of itself to the others over the same database."""

from msgspec import Struct


class ProcessRow(Struct, frozen=True):
    """One process: its role (all, web, worker), where it runs, the version and schema it knows, the names of its
    targets, and when it began and was last seen."""

    id: str
    role: str
    host: str
    version: str
    schema: int
    targets: tuple[str, ...]
    started_at: int
    seen_at: int
