"""What of one message was delivered, so that the next try delivers only the rest.

Apprise asks such a set before each piece, recipient and file of a message, and our SMTP sessions ask for each address.
It is kept with the send as short hashes: it has to outlive the process, and the names of recipients may be secrets.
The hashes hold for one URL: behind a new one may be another channel, where nothing was delivered yet.
"""

import hashlib
import threading
from collections.abc import Iterable
from contextvars import ContextVar
from typing import Any

PARTS_MOST = 2000  # of one message; the rest may be delivered twice


class DeliveredParts:
    """The parts of one message that were delivered to `url`, in earlier tries (`known`) and in this one.

    It stands in for the set in Apprise's `_delivery_tracker`, whose members are (number of the piece or None, (type of
    the key, its `repr`)). Any thread may read it while a plugin adds to it.
    """

    def __init__(self, url: str, known: Iterable[str] = ()) -> None:
        self._url = url
        self._lock = threading.Lock()
        self._hashes = dict.fromkeys(known)
        self._piece = ""

    def begin_piece(self, text: str) -> None:
        """The parts that follow belong to this piece of a message that had to be split; with "", to all of it.

        If a later try splits the message elsewhere, a piece with another text is another piece: nothing is left out.
        """
        self._piece = text

    def __contains__(self, slot: tuple[int | None, tuple[type, str]]) -> bool:
        with self._lock:
            return self._hash(slot) in self._hashes

    def add(self, slot: tuple[int | None, tuple[type, str]]) -> None:
        """Record a part that was delivered."""
        with self._lock:
            if len(self._hashes) < PARTS_MOST:
                self._hashes[self._hash(slot)] = None

    @property
    def hashes(self) -> tuple[str, ...]:
        """What to keep for the next try."""
        with self._lock:
            return tuple(self._hashes)

    def _hash(self, slot: tuple[int | None, tuple[type, str]]) -> str:
        number, (kind, key) = slot
        if kind is object:  # Apprise's mark of a whole piece; its `repr` is an address
            key = ""
        whole: tuple[Any, ...] = (self._url, number, self._piece if number is not None else "", kind.__name__, key)
        return hashlib.blake2b(repr(whole).encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


DELIVERED: ContextVar[DeliveredParts | None] = ContextVar("delivered", default=None)  # of this thread's send
