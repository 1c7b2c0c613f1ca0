"""The store: the only wing that holds SQL. `interface` says what it promises."""

from receiver.store.interface import Store, Tx, open_store
from receiver.store.signals import Listener
from receiver.store.tables.connection import Topic
from receiver.store.tables.notices import Attempt
from receiver.store.tables.retention import Aged, Gone
from receiver.store.tables.sends import Opening
from receiver.store.writer_turns import Lane

__all__ = ["Aged", "Attempt", "Gone", "Lane", "Listener", "Opening", "Store", "Topic", "Tx", "open_store"]
