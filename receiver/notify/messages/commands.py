"""Our own commands in a text, which stand between backticks and are shown as code, so that a touch copies them."""

import re
from collections.abc import Callable

_COMMAND = re.compile(r"`(receiver [\w. -]{1,200})`")  # nothing in it is markup within code


def write_commands(text: str, escape: Callable[[str], str], code: Callable[[str], str]) -> str:
    """`text` with its words as `escape` writes them and its commands as `code` does."""
    pieces = _COMMAND.split(text)  # alternating: words, command, words
    return "".join(code(piece) if at % 2 else escape(piece) for at, piece in enumerate(pieces) if piece)


def shorten_commands(text: str, ref: str, handle: str) -> str:
    """`text` whose commands name the task `ref` by its short `handle`."""
    return _COMMAND.sub(lambda found: found[0].replace(ref, handle), text) if ref else text


def has_commands(text: str) -> bool:
    """Whether there is a command in `text`."""
    return _COMMAND.search(text) is not None
