"""A template's line ends: a line of block tags alone leaves nothing behind, every other line ends as it is written.

Jinja's `trim_blocks` removes the line end after every block tag, also where words stand before it: a title such as
`{{ label }}{% if error %} failed{% endif %}` would swallow the line below it.
"""

import re

_TAG = re.compile(r"(\{%.*?%\}|\{#.*?#\}|\{\{.*?\}\})", re.DOTALL)
_RAW, _END_RAW = re.compile(r"\{%[-+]?\s*raw\b"), re.compile(r"\{%[-+]?\s*endraw\b")


def keep_line_ends(template: str) -> str:
    """`template` for an environment with `trim_blocks`: `+%}` keeps the line end after a line that has words."""
    pieces = _TAG.split(template)  # alternating: words, tag, words
    has_words = raw = False
    for at, piece in enumerate(pieces):
        if at % 2 == 0:
            last_line = piece.rpartition("\n")[2]
            has_words = bool(last_line.strip()) or (has_words and "\n" not in piece)
            continue
        if raw and not _END_RAW.match(piece):
            has_words = True
            continue
        raw = bool(_RAW.match(piece))
        if piece.startswith("{{"):
            has_words = True
        elif has_words and pieces[at + 1].startswith(("\n", "\r\n")) and piece[-3] not in "-+":
            pieces[at] = f"{piece[:-2]}+{piece[-2:]}"
    return "".join(pieces)
