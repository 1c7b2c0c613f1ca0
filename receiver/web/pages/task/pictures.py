"""The pictures of a task as its page shows them: one a screen, side by side, with a small one of each to pick. Pure."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl, urlsplit

from msgspec import Struct

from receiver.client.schemas import image_path
from receiver.core.sanitize import one_line, web_url
from receiver.core.types import ArchiveState, Image, ImageCopy, Task
from receiver.notify.messages.media_words import media_noun
from receiver.pictures.drawing.protocol import SMALL, TINY, fitted_width
from receiver.pictures.files import media_type
from receiver.pictures.sniff import is_drawn
from receiver.web.pages.gallery.cards import nearest_ratio

SHOWN_MOST = 100
FEW = 4  # up to so many picks stand beside the stage
SIDE = 1024  # of a picture whose size nobody knows
_ALT_MOST = 120
_ERROR_MOST = 300
_DIGITS = re.compile(r"[0-9]{1,13}")


class LookedPicture(Struct, frozen=True, kw_only=True):
    """One picture: its file, its small copies, or why there is none. `url` is the provider's link to one not kept."""

    number: int
    noun: str
    alt: str = ""
    src: str = ""
    small: str = ""
    tiny: str = ""
    small_width: int = 0  # pixels
    tiny_width: int = 0
    width: int = SIDE
    height: int = SIDE
    ratio: str = "r11"  # the class of the field of one that is not kept
    is_video: bool = False
    is_file: bool = False  # kept, and nothing that a browser draws
    says: str = ""
    url: str | None = None


def look_at_pictures(task: Task, images: Sequence[Image], copies: Sequence[ImageCopy], now: int) -> list[LookedPicture]:
    """The pictures of a task in their order, at most `SHOWN_MOST`."""
    by_number = {it.image_no: it for it in copies}
    sized = next((it for it in copies if it.file and it.width and it.height), None)
    prompt = one_line(task.prompt or "", _ALT_MOST)
    ordered = sorted(images, key=lambda it: it.image_no)[:SHOWN_MOST]
    return [_look(task, it, by_number.get(it.image_no), sized, prompt, len(images), now) for it in ordered]


def _look(
    task: Task, image: Image, copy: ImageCopy | None, sized: ImageCopy | None, prompt: str, count: int, now: int
) -> LookedPicture:
    noun, number = media_noun((image.type,)), image.image_no
    place = f" {number} of {count}" if count > 1 else ""
    alt = f"{noun.capitalize()}{place}" + (f": {prompt}" if prompt else "")
    if copy is None or copy.file is None:
        ratio = nearest_ratio(sized.width, sized.height) if sized is not None else "r11"
        url = web_url(image.url) if _is_young(image.url, now) else None
        return LookedPicture(number=number, noun=noun, ratio=ratio, says=_why_missing(task, copy), url=url)
    kind, path = media_type(copy.file), image_path(task.ref, copy.file)
    width, height = copy.width or SIDE, copy.height or SIDE
    if kind.startswith("video/"):
        # of a video nobody knows the size before it is played
        return LookedPicture(
            number=number, noun=noun, alt=alt, src=path, is_video=True, width=copy.width or 16, height=copy.height or 9
        )
    if not is_drawn(kind):
        return LookedPicture(number=number, noun=noun, alt=alt, src=path, is_file=True)
    small = image_path(task.ref, copy.small or copy.file)
    tiny = image_path(task.ref, copy.tiny) if copy.tiny else small
    return LookedPicture(
        number=number,
        noun=noun,
        alt=alt,
        src=path,
        small=small,
        tiny=tiny,
        width=width,
        height=height,
        small_width=fitted_width(width, height, SMALL),
        tiny_width=fitted_width(width, height, TINY),
    )


def _why_missing(task: Task, copy: ImageCopy | None) -> str:
    if copy is not None:
        return f"Not kept: {one_line(copy.error or 'nobody knows why', _ERROR_MOST)}."
    return "It is being fetched." if task.archive is ArchiveState.DUE else "Not kept."


def _is_young(url: str, now: int) -> bool:
    """Whether a provider's link may still work: nothing in it says that it has ended."""
    ends = link_end(url)
    return ends is None or ends > now


def link_end(url: str) -> int | None:
    """When a signed link of a provider ends, as its query says; None if it says nothing."""
    try:
        query = {name.lower(): value for name, value in parse_qsl(urlsplit(url).query, max_num_fields=50)}
    except ValueError:
        return None
    if (at := query.get("expires", "")) and _DIGITS.fullmatch(at):
        return int(at) * (1 if len(at) > 10 else 1000)
    seconds = query.get("x-amz-expires", "")
    try:
        signed = datetime.strptime(query.get("x-amz-date", ""), "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        ends = signed + timedelta(seconds=int(seconds) if _DIGITS.fullmatch(seconds) else 0)
    except (ValueError, OverflowError):
        return None
    return int(ends.timestamp() * 1000)
