"""JSON payloads, which Apprise's Slack and Discord plugins take as a template."""

import json
from collections.abc import Callable, Iterator

Json = dict[str, object]

JSON_MOST = 34_000  # bytes; Apprise's Slack and Discord plugins read 35,000


def pack_json(make: Callable[[int], Json], rooms: tuple[int, ...]) -> str:
    """The first of `make(room)` that is small enough, or the last; `rooms` are characters for links and items.

    The JSON is ASCII, since Apprise reads the file in the system's encoding. It has no two opening braces in a row,
    since Apprise would replace `{{app_title}}` and its like; the second brace is escaped.
    """
    text = ""
    for room in rooms:
        text = json.dumps(make(room), separators=(",", ":")).replace("{{", "{\\u007b")
        if len(text) <= JSON_MOST:
            break
    return text


def join_in_chunks(parts: list[str], most: int, between: str) -> Iterator[str]:
    """`parts` joined into texts of at most `most` characters. No part may be longer than that."""
    held = ""
    for part in parts:
        if held and len(held) + len(between) + len(part) > most:
            yield held
            held = ""
        held += (between if held else "") + part
    if held:
        yield held
