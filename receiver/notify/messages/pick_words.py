"""What a message says when a person has to pick the picture from which other tasks go on."""

from receiver.core.sanitize import one_line
from receiver.core.types import Report
from receiver.notify.messages.media_words import count_media, media_noun
from receiver.notify.messages.message import PublicLinks, TextLine
from receiver.notify.messages.what_to_do import short_handle

PICKS_MOST = 16  # pictures with a link each
_NAMES_MOST = 3  # of what waits
_NAME_MOST = 40  # characters


def pick_title(report: Report) -> str:
    """What is asked, and for which steps; empty if nothing is."""
    if not report.picks:
        return ""
    names = [one_line(it, _NAME_MOST) for it in report.picks_for]
    some = names if len(names) <= _NAMES_MOST else [*names[: _NAMES_MOST - 1], f"{len(names) - _NAMES_MOST + 1} others"]
    *first, last = some or [""]
    purpose = f" for {', '.join(first)}{' and ' if first else ''}{last}" if some else ""
    if len(report.images) > 1:
        return f"pick one of {count_media([it.type for it in report.images])}{purpose}"
    return f"pick its {media_noun(it.type for it in report.images)}{purpose}, or not"


def pick_links(report: Report, links: PublicLinks) -> tuple[TextLine, ...]:
    """Where each picture can be picked; none if nothing waits for a pick."""
    if not report.picks or report.ref is None:
        return ()
    numbers = sorted(image.image_no for image in report.images)[:PICKS_MOST]
    urls = [(number, links.pick_url(report.ref, number)) for number in numbers]
    return tuple(TextLine(f"Pick {number}", url) for number, url in urls if url)


def pick_command(ref: str, image_no: int) -> str:
    """How a picture is picked at a terminal. `ref` is clean."""
    return f"To pick one at a terminal: `receiver tasks pick {one_line(short_handle(ref), 80)} {image_no}`"
