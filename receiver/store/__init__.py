"""The store: tasks, callbacks, notices and sends in one database; `interface` says what it promises.

It is the only wing with SQL. What a row means, and what happens next, is decided by the wings above it.
"""

from receiver.store.interface import Store, Tx, open_store
from receiver.store.postgres.place import PostgresPlace
from receiver.store.process_row import ProcessRow
from receiver.store.signals import ChangeListener
from receiver.store.tables.connection import Topic
from receiver.store.tables.notices import Attempt
from receiver.store.tables.retention import AgedRow, RemovalResult
from receiver.store.tables.sends import NewSend
from receiver.store.writer_turns import Lane

__all__ = [
    "AgedRow",
    "Attempt",
    "ChangeListener",
    "Lane",
    "NewSend",
    "PostgresPlace",
    "ProcessRow",
    "RemovalResult",
    "Store",
    "Topic",
    "Tx",
    "open_store",
]
