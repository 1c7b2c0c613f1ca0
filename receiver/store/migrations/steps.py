"""Migrations: the numbered SQL files that bring a database to the schema of this version."""

from pathlib import Path

from msgspec import Struct

from receiver.core.errors import NewerSchema

CREATE_MIGRATIONS = (  # the table that records them
    "CREATE TABLE migrations (number INTEGER PRIMARY KEY, name TEXT NOT NULL,"
    " probed_at INTEGER NOT NULL DEFAULT 0) STRICT"
)


class Migration(Struct, frozen=True):
    """One numbered file of a dialect."""

    number: int
    name: str
    sql: str


def load_migrations(dialect: str) -> list[Migration]:
    """All migrations of `dialect` (`sqlite`), in order."""
    folder = Path(__file__).parent / dialect
    steps = [
        Migration(int(it.name[:4]), it.name.removesuffix(".sql"), it.read_text("utf-8"))
        for it in folder.iterdir()
        if it.name.endswith(".sql")
    ]
    return sorted(steps, key=lambda step: step.number)


def missing_migrations(dialect: str, applied: int) -> list[Migration]:
    """The migrations after number `applied`. Raises NewerSchema if the database is ahead of this program."""
    steps = load_migrations(dialect)
    if applied > steps[-1].number:
        raise NewerSchema(
            f"the database has schema {applied}, but this version only knows schemas up to {steps[-1].number}",
            remedy="install the newer version again, or restore a backup made before the upgrade",
        )
    return [step for step in steps if step.number > applied]
