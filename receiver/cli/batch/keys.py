"""What makes a row the same row when the command is repeated. Pure.

A key is made of what is paid for: the model, its parameters, and whether permutations are allowed; of a row that goes
on from another one, also from which, by the key of that, and from which picture. So a corrected label and another order
of the rows change no key, and equal rows are counted: the first, the second …
"""

import hashlib
import re
import unicodedata
from pathlib import PurePath

import msgspec

from receiver.cli.batch.read_file import Fault
from receiver.cli.batch.rows import Row
from receiver.client.schemas import WaitFor

_SHORT = 16  # bytes of a digest that are kept for each row
_STEM_MOST = 60
_NAME_DIGITS = 6


class RowKeys:
    """Gives each row of a file its key, from the first to the last. Keeps some 100 bytes for each."""

    def __init__(self) -> None:
        self._counts: dict[bytes, int] = {}  # of equal rows
        self._named: dict[bytes, int] = {}  # the line of each key of the user's own
        self._all = 0

    def next_key(self, row: Row, parent_key: str | None = None) -> str | Fault:
        """The key of the next row, which goes on from the row with `parent_key`, if it goes on from one; a fault if it
        is one that an earlier row has."""
        if row.key is not None:
            digest = hashlib.sha256(b"key " + row.key.encode()).digest()
            first = self._named.setdefault(digest[:_SHORT], row.line)
            if first != row.line:
                return Fault(row.line, f"key: {row.key[:80]!a} is the key of line {first} already; each may occur once")
            self._all ^= int.from_bytes(digest)
            return row.key
        digest = hash_row(row, parent_key)
        count = self._counts.get(digest[:_SHORT], 0) + 1
        self._counts[digest[:_SHORT]] = count
        if count > 1:
            return f"{digest.hex()} {count}"
        self._all ^= int.from_bytes(digest)
        return digest.hex()

    def batch_name(self, path: str) -> str:
        """The name of the batch of these rows if the user gave none. Neither their order nor how often one occurs
        changes it."""
        digest = hashlib.sha256(self._all.to_bytes(32)).hexdigest()
        return f"{name_stem(path)}-{digest[:_NAME_DIGITS]}"


def hash_row(row: Row, parent_key: str | None = None) -> bytes:
    """The SHA-256 of what is paid for."""
    allowed = b"1" if row.task.allow_permutations else b"0"
    parts = [row.task.model.encode(), allowed, row.params]
    if isinstance(wait := row.task.wait_for, WaitFor):
        parts.append(msgspec.json.encode((parent_key or wait.ref, wait.image_no)))
    return hashlib.sha256(b"\0".join(parts)).digest()


def name_stem(path: str) -> str:
    """What the names of a file's batches begin with: letters, digits, dots and dashes."""
    stem = "batch" if path == "-" else PurePath(path).stem
    folded = unicodedata.normalize("NFKD", stem).encode("ascii", "ignore").decode()
    return re.sub(r"[^A-Za-z0-9._-]+", "-", folded).strip("-.")[:_STEM_MOST] or "batch"
