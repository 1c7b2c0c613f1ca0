"""The index of words of a database whose own does not follow the tasks by itself."""

from collections.abc import Sequence

from receiver.core.types import Task
from receiver.store.tables.connection import TableConnection
from receiver.store.tables.search_words import indexed_words


def defer_words(db: TableConnection, tasks: Sequence[Task], *, changed: bool = False) -> None:
    """Index the labels and prompts of these tasks, which are new or have `changed`, with the transaction that writes
    them."""
    if db.dialect.indexes_words:
        return
    rows = [(task.ref, indexed_words(task.label, task.prompt)) for task in tasks]
    rows = [row for row in rows if changed or row[1]]
    if rows:
        db.defer(
            "INSERT INTO searched (ref, words) VALUES (?, array_to_tsvector(?::text[]))"
            " ON CONFLICT (ref) DO UPDATE SET words = excluded.words",
            rows,
        )
