"""Brings a database to the schema of this version: numbered files, each applied and recorded in one transaction."""

from pathlib import Path

from msgspec import Struct

from receiver.core.errors import NewerSchema


class Migration(Struct, frozen=True):
    """One numbered step of a dialect."""

    number: int
    name: str
    sql: str


def load_migrations(dialect: str) -> list[Migration]:
    """The steps of `dialect` (`sqlite`, `postgres`), in order."""
    folder = Path(__file__).parent / dialect
    steps = [
        Migration(int(it.name[:4]), it.name.removesuffix(".sql"), it.read_text("utf-8"))
        for it in folder.iterdir()
        if it.name.endswith(".sql")
    ]
    return sorted(steps, key=lambda step: step.number)


def missing_migrations(dialect: str, applied: int) -> list[Migration]:
    """The steps after number `applied`. Raises Newer when the database is ahead of this program."""
    steps = load_migrations(dialect)
    if applied > steps[-1].number:
        raise NewerSchema(
            f"the database has schema {applied}, this version knows {steps[-1].number}: "
            "install the newer version again, or restore a backup made before the upgrade"
        )
    return [step for step in steps if step.number > applied]
