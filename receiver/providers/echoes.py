"""Takes our own key out of what a provider says: some services repeat it in their errors. Pure.

Callbacks pass `EchoRedactor.wrap_parser` on their way to everything that is stored of a task, logged, shown or sent;
answers and poll replies pass `redact` before they are parsed. Only a callback's own bytes are stored as they came, as
evidence, and `redact_shown` cleans them for whoever looks at them.
"""

import re
from collections.abc import Callable
from typing import TypeVar

import msgspec
from msgspec.structs import replace

from receiver.core.types import Outcome, TaskError
from receiver.providers.body_decoding import UNPACKED_MOST
from receiver.providers.content_coding import unpack

REDACTED = b"[redacted]"
_ECHO_LEAST = 8  # characters; a shorter key could be part of an id by chance, and redacting it would spoil the id
_OTHER_ENCODINGS = ("utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be")  # that JSON may have

Parser = Callable[[bytes], Outcome | None]
Text = TypeVar("Text", str, str | None)


class EchoRedactor:
    """Puts `[redacted]` in place of `key`, however JSON or a URL spells it. A key of under eight characters stays."""

    def __init__(self, key: str) -> None:
        self._key = key.encode() if len(key) >= _ECHO_LEAST else None
        self._spelled = re.compile(b"".join(map(_spellings, key)) if self._key else rb"(?!)")

    def __repr__(self) -> str:
        return "EchoRedactor()"

    def redact(self, text: bytes) -> bytes:
        """`text` without the key."""
        if self._key is None:
            return text
        if b"\\" in text or b"%" in text:
            return self._spelled.sub(REDACTED, text)
        return text.replace(self._key, REDACTED)

    def redact_shown(self, body: bytes) -> bytes:
        """A body to look at. One that came packed, or in UTF-16, and has the key is shown as UTF-8."""
        unpacked = unpack(body, UNPACKED_MOST)
        for plain in (unpacked, *(_decode(unpacked or b"", it) for it in _OTHER_ENCODINGS)):
            if plain is not None and (clean := self.redact(plain)) != plain:
                return clean
        return self.redact(body)

    def redact_outcome(self, outcome: Outcome) -> Outcome:
        """An outcome without the key in any of its texts."""
        error = outcome.error
        raw = (error and error.raw) or b""
        if not any(self.redact(it) != it for it in (msgspec.json.encode(outcome), raw)):
            return outcome
        return replace(
            outcome,
            status=self._redact_text(outcome.status),
            task_id=self._redact_text(outcome.task_id),
            job_id=self._redact_text(outcome.job_id),
            model=self._redact_text(outcome.model),
            images=tuple(
                replace(
                    it,
                    url=self._redact_text(it.url),
                    type=self._redact_text(it.type),
                    job_id=self._redact_text(it.job_id),
                )
                for it in outcome.images
            ),
            error=error
            and TaskError(
                self._redact_text(error.code),
                self._redact_text(error.message),
                None if error.raw is None else self.redact(error.raw),
            ),
            doubt=self._redact_text(outcome.doubt),
        )

    def _redact_text(self, text: Text) -> Text:
        return text if text is None else self.redact(text.encode()).decode()

    def wrap_parser(self, parse: Parser) -> Parser:
        """`parse` for bodies from outside: first the key is taken out of the bytes, so that no text is cut within it,
        and then out of what came packed, or in another encoding."""

        def parse_redacted(body: bytes) -> Outcome | None:
            outcome = parse(self.redact(body))
            return None if outcome is None else self.redact_outcome(outcome)

        return parse_redacted if self._key is not None else parse


def _spellings(char: str) -> bytes:
    """The ways in which JSON, JSON in a text of JSON, and a URL spell a character. Each begins with a literal, so that
    the search can skip to the next place where one may begin."""
    code = "".join(f"[{it}{it.upper()}]" if it.isalpha() else it for it in f"{ord(char):02x}")
    ways = [re.escape(char), rf"\\\\{{0,3}}u00{code}", f"%(?:25)?{code}"]
    ways += [] if char.isalnum() else [rf"\\\\{{0,3}}{re.escape(char)}"]
    return f"(?:{'|'.join(ways)})".encode()


def _decode(body: bytes, encoding: str) -> bytes | None:
    """A body in another encoding as UTF-8, if it may have that one."""
    return body.decode(encoding, "replace").encode("utf-8", "replace") if b"\0" in body[:8] else None
