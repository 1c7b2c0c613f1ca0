"""Plain text written anew as Markdown, for the services that take nothing else.

Apprise would do it too, but escapes what stands in a URL as well, and a signed link does not survive that.
"""

import re

LEADING = re.compile(r"^( *\d*)([#+.-])", re.MULTILINE)  # lists and headings
_MARKS = re.compile(r"([\\`*_~|\[\]<>]|&(?=#?\w{1,32};))")
_ADDRESS = re.compile(r"(?<!\S)(https?://[!-;=?-~]+)(?!\S)")  # between blanks, as `text` writes it


def to_markdown(text: str) -> str:
    """`text` as Markdown that reads the same: words without markup, lines that stay lines, and every URL whole as
    `<…>`, in which nothing is markup."""
    pieces = _ADDRESS.split(text)  # words and URLs in turn
    words = [f"<{it}>" if at % 2 else _MARKS.sub(r"\\\1", it) for at, it in enumerate(pieces)]
    # A single line end is none there, unless two blanks stand before it.
    return re.sub(r"(?<!\n)\n(?!\n)", "  \n", LEADING.sub(r"\1\\\2", "".join(words)))
