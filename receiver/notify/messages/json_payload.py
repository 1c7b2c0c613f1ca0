"""JSON for the services that take a payload of ours whole, as a template of Apprise's."""

import json
from collections.abc import Callable, Iterator

Json = dict[str, object]

JSON_MOST = 34_000  # bytes; Apprise's Slack and Discord plugins read 35,000


def pack_json(make: Callable[[int], Json], rooms: tuple[int, ...]) -> str:
    """The first of `make(room)` that is small enough, or the last; `rooms` are characters for links and items.

    ASCII, since Apprise reads the file in whatever encoding the system prefers. Without two opening braces in a row,
    since Apprise replaces `{{app_title}}` and its like wherever they stand; JSON reads the other spelling the same.
    """
    text = ""
    for room in rooms:
        text = json.dumps(make(room), separators=(",", ":")).replace("{{", "{\\u007b")
        if len(text) <= JSON_MOST:
            break
    return text


def join_in_chunks(parts: list[str], most: int, between: str) -> Iterator[str]:
    """`parts` joined into texts of at most `most` characters; none of them is longer than that."""
    held = ""
    for part in parts:
        if held and len(held) + len(between) + len(part) > most:
            yield held
            held = ""
        held += (between if held else "") + part
    if held:
        yield held
