"""Makes a body fit into a few messages, for services that split a long one: whole lines, and never half a link."""

import re
from bisect import bisect_left
from typing import Any

from receiver.notify.messages.message import BodyFormat

PIECES_MOST = 4
_SPARE = 60  # characters of a piece that the title and the split may use up
_TOO_LONG = "(a link that is too long for this service)"


def fit_pieces(service: Any, title: str, body: str, form: BodyFormat) -> str:
    """`body`, with whole lines left out at its end if the service would make more than `PIECES_MOST` messages of it."""
    most = max(1, service.body_maxlen)
    if len(title) + len(body) + _SPARE <= most or form is BodyFormat.HTML:  # Telegram's fits; a mail is not split
        return body
    body = re.sub(rf"<?https?://\S{{{max(1, most - _SPARE)},}}", _TOO_LONG, body)
    lines = body.split("\n")

    def keep(count: int) -> str:
        if count == len(lines):
            return body
        return "\n".join([*lines[:count], f"… and {len(lines) - count} more lines"])

    def too_many(count: int) -> bool:
        return _count_pieces(service, title, keep(count), form) > PIECES_MOST

    if not too_many(len(lines)):
        return body
    kept = bisect_left(range(1, len(lines)), True, key=too_many)  # how many lines fit
    if kept:
        return keep(kept)
    return _cut_words(service, title, lines[0], form)


def _cut_words(service: Any, title: str, line: str, form: BodyFormat) -> str:
    """One line that is too long by itself, cut between words."""
    words = line.split(" ")
    fits = bisect_left(
        range(1, len(words)),
        True,
        key=lambda count: _count_pieces(service, title, " ".join(words[:count]) + " …", form) > PIECES_MOST,
    )
    if fits:
        return " ".join(words[:fits]) + " …"
    return line[: (PIECES_MOST - 1) * max(1, service.body_maxlen - _SPARE)] + "…"  # the title may be one


def _count_pieces(service: Any, title: str, body: str, form: BodyFormat) -> int:
    """How many messages Apprise would make of it."""
    return sum(1 for _ in service._build_send_calls(body=body, title=title, body_format=form.value))
