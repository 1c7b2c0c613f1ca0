"""How much a message presses, and what a service that has a place for it shows: a rank, a tag, a tap, buttons."""

from receiver.core.sanitize import web_url
from receiver.core.types import AttachedPicture, Importance, NoticeEvent, Report, Target
from receiver.notify.messages.content import Content, ReportContent, worst_event
from receiver.notify.messages.message import Link

URL_MOST = 1_000  # characters of a URL in a header or a field beside the text
BUTTONS_MOST = 3  # as many as ntfy shows
DEFAULT = {
    NoticeEvent.COMPLETED: Importance.NORMAL,
    NoticeEvent.FAILED: Importance.HIGH,
    NoticeEvent.LOST: Importance.HIGH,
    NoticeEvent.ATTENTION: Importance.HIGH,
    NoticeEvent.BATCH: Importance.NORMAL,
}
EMOJI = {
    NoticeEvent.COMPLETED: "white_check_mark",
    NoticeEvent.FAILED: "x",
    NoticeEvent.LOST: "question",
    NoticeEvent.ATTENTION: "warning",
    NoticeEvent.BATCH: "package",
}
"""ntfy's short codes; it shows each as an emoji before the title."""
_RANK = list(Importance)


def choose_importance(reports: tuple[Report, ...], target: Target) -> tuple[Importance, bool]:
    """The highest of the reports' importances, and whether the target's `priority` names it."""
    each = [(target.priority.get(it.event, DEFAULT[it.event]), it.event in target.priority) for it in reports]
    return max(each, key=lambda pair: (_RANK.index(pair[0]), pair[1]))


def choose_tags(reports: tuple[Report, ...]) -> tuple[str, ...]:
    """An emoji for the worst event, then that event as a word, by which an app can filter."""
    event = worst_event(reports)
    return (EMOJI[event], event.value)


def choose_click(content: Content, picture: AttachedPicture | None) -> Link | None:
    """What a tap opens: where one picks a picture, else the task's page, the contact sheet, a picture or a task."""
    found: list[tuple[str, str | None]] = []
    if isinstance(content, ReportContent):
        found += [("Pick a picture", line.url) for line in content.picks[:1]]
        found.append(("Open the task", content.page))
    found.append(("Open the pictures", picture.url if picture else None))
    if isinstance(content, ReportContent):
        found += [("Open the first picture", line.url) for line in content.pictures[:1]]
    else:
        found += [("Open the first", item.url) for item in content.items if item.url][:1]
    return next((link for words, url in found if (link := _make_link(words, url))), None)


def choose_buttons(content: Content) -> tuple[Link, ...]:
    """Buttons that open the pictures, or the page where one is picked; none if a link is too long or no web link."""
    if not isinstance(content, ReportContent):
        return ()
    if content.picks:  # that page shows them all
        return tuple(filter(None, (_make_link("Pick a picture", content.picks[0].url),)))
    links = [_make_link(line.text, line.url) for line in content.pictures[:BUTTONS_MOST]]
    return tuple(link for link in links if link) if all(links) else ()


def _make_link(words: str, url: str | None) -> Link | None:
    found = web_url(url)
    return Link(words, found) if found and len(found) <= URL_MOST else None
