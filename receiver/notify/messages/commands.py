"""Our own commands in a text, which stand between backticks and are shown as code, so that a touch copies them."""

import re
from collections.abc import Callable

_COMMAND = re.compile(r"`(receiver [\w. -]{1,200})`")  # nothing in it is markup within code


def write_commands(text: str, escape: Callable[[str], str], code: Callable[[str], str]) -> str:
    """`text` with its words as `escape` writes them and its commands as `code` does."""
    pieces = _COMMAND.split(text)  # alternating: words, command, words
    return "".join(code(piece) if at % 2 else escape(piece) for at, piece in enumerate(pieces) if piece)


def replace_refs(text: str, ref: str, handle: str, name: str) -> str:
    """`text` with the task's short `handle` for its `ref`; outside commands with its `name`, if it has one.

    A ref without a short handle is left alone: it may be a word that means something else.
    """
    if not ref or ref == handle:
        return text
    pieces = re.split(r"(`[^`]*`)", text)  # alternating: words, code, words
    return "".join(piece.replace(ref, handle if at % 2 or not name else name) for at, piece in enumerate(pieces))


def has_commands(text: str) -> bool:
    """Whether there is a command in `text`."""
    return _COMMAND.search(text) is not None
