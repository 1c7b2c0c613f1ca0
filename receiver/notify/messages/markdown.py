"""Plain text converted to Markdown, for services that take nothing else.

Apprise would do it too, but it also escapes inside URLs, which breaks signed links.
"""

import re

from receiver.notify.messages.commands import write_commands

LEADING = re.compile(r"^( *\d*)([#+.-])", re.MULTILINE)  # lists and headings
_MARKS = re.compile(r"([\\`*_~|\[\]<>]|&(?=#?\w{1,32};))")
_ADDRESS = re.compile(r"(?<!\S)(https?://[!-;=?-~]+)(?!\S)")  # between spaces, as `text` writes it


def to_markdown(text: str) -> str:
    """`text` as Markdown that reads the same: words are escaped, line ends are kept, a URL becomes `<…>`, and our
    commands are code."""
    pieces = _ADDRESS.split(text)  # alternating: words, URL, words
    words = [f"<{it}>" if at % 2 else write_commands(it, _escape_marks, "`{}`".format) for at, it in enumerate(pieces)]
    # Markdown ignores a single line end, unless two spaces stand before it.
    return re.sub(r"(?<!\n)\n(?!\n)", "  \n", LEADING.sub(r"\1\\\2", "".join(words)))


def _escape_marks(words: str) -> str:
    return _MARKS.sub(r"\\\1", words)
