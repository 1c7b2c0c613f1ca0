"""PostgreSQL's messages, as they go over the wire: a letter for the kind, the length, and the rest."""

from msgspec import Struct

# What a client may say first has no letter, but a number: 3.0 of the protocol, or one of these.
_WITHOUT_LETTER = {80877103: "tls?", 80877104: "gss?", 80877102: "cancel"}


class Message(Struct, frozen=True):
    """One message, whole. What has no letter of its own is a `start`, `cancel`, `tls?` or `gss?`, and the answer to
    these two a `yes` or a `no`. `raw` is what cannot be cut into messages: the rest after a `yes`."""

    kind: str
    data: bytes


class MessageStream:
    """Cuts what one side says into messages; what is not whole yet is kept until it is."""

    def __init__(self, *, client: bool) -> None:
        self._left = b""
        self._begins = client
        self._yes_or_no = False
        self._raw = False

    def expect_yes_or_no(self) -> None:
        """The next byte answers a `tls?` or a `gss?`, and is no message."""
        self._yes_or_no = True

    def be_raw(self) -> None:
        """From here on there are no messages that we could read."""
        self._raw = True

    def feed(self, data: bytes) -> list[Message]:
        """The messages that are whole now."""
        self._left += data
        found = []
        while (message := self._next()) is not None:
            found.append(message)
        return found

    def rest(self) -> bytes:
        """What has come of a message that is not whole."""
        return self._left

    def _next(self) -> Message | None:
        if not self._left:
            return None
        if self._raw:
            return self._take("raw", len(self._left))
        if self._yes_or_no:
            self._yes_or_no = False
            return self._take("no" if self._left[:1] == b"N" else "yes", 1)
        header = 4 if self._begins else 5
        if len(self._left) < header:
            return None
        length = int.from_bytes(self._left[header - 4 : header]) + header - 4
        if len(self._left) < length:
            return None
        if not self._begins:
            return self._take(chr(self._left[0]), length)
        kind = _WITHOUT_LETTER.get(int.from_bytes(self._left[4:8]), "start")
        self._begins = kind.endswith("?")
        return self._take(kind, length)

    def _take(self, kind: str, length: int) -> Message:
        data, self._left = self._left[:length], self._left[length:]
        return Message(kind, data)
