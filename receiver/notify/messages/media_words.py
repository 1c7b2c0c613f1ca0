"""A task's results in words: pictures, videos, or files of which nobody says what they are."""

from collections.abc import Iterable, Sequence

from receiver.core.sanitize import one_line
from receiver.core.types import Image

_NOUNS = {"image": "picture", "video": "video"}


def media_noun(types: Iterable[str]) -> str:
    """What one of several results is called, by their types: `file` if they differ, or are of another kind."""
    kinds = set(types) or {"image"}
    return _NOUNS.get(kinds.pop(), "file") if len(kinds) == 1 else "file"


def count_media(types: Sequence[str]) -> str:
    """How many results, and of what."""
    return f"{len(types) or 'no'} {media_noun(types)}{'' if len(types) == 1 else 's'}"


def media_label(image: Image, *, alone: bool) -> str:
    """What a link to it says: which of them it is, unless it is the only one."""
    return media_noun((image.type,)) if alone else f"{one_line(image.type, 20) or 'image'} {image.image_no}"


def label_number(label: str) -> str:
    """The number in a label, as the contact sheet shows it; what it is, if it is the only one."""
    return label.rpartition(" ")[2]


def button_words(label: str) -> str:
    """What a button says: the number of a picture is enough, for the contact sheet shows it; a video is not there."""
    if " " not in label:
        return f"Open the {label}"
    kind, _, number = label.rpartition(" ")
    return number if kind == "image" else f"{kind[:1].upper()}{kind[1:]} {number}"


def describe_links(labels: Sequence[str]) -> str:
    """What a row of such buttons begins with; nothing if there is one that says it itself."""
    if len(labels) == 1 and " " not in labels[0]:
        return ""
    return "Full size:" if all(label.startswith("image ") for label in labels) else "Open:"
