"""The store: the only wing that holds SQL. `interface` says what it promises."""

from receiver.store.interface import Store, Tx, open_store
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
    "RemovalResult",
    "Store",
    "Topic",
    "Tx",
    "open_store",
]
