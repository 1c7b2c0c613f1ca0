"""What is to be said of one report, or of several, in clean and bounded words.

How it is written is left to each style's file.
"""

from collections import Counter
from decimal import Decimal

from msgspec import Struct

from receiver.core.sanitize import TITLE_MOST, clean, cut, duration, joined, money, one_line, sensible
from receiver.core.types import Error, Event, Image, Report
from receiver.notify.messages.message import Kind, Links
from receiver.notify.messages.what_to_do import look, search
from receiver.providers.advice import advice

NAME_MOST = 80  # characters, as all of these
PROMPT_MOST = 300
ERROR_MOST = 400
TEXT_MOST = 1_100
ITEM_TEXT_MOST = 300  # of an attention among others
IMAGES_MOST = 50
ITEMS_MOST = 40  # tasks that a digest names

_UNCONFIRMED = "Unconfirmed: a callback said so, and the provider could not be asked. Look before you rely on it."
_LOST = "No end of it was heard before its deadline. It is not given up: a late callback still settles it."

_MARK = {Event.COMPLETED: "✓", Event.FAILED: "✗", Event.LOST: "?", Event.ATTENTION: "!"}
_KIND = {
    Event.COMPLETED: Kind.SUCCESS,
    Event.FAILED: Kind.FAILURE,
    Event.LOST: Kind.WARNING,
    Event.ATTENTION: Kind.WARNING,
}
_CAUSES = {
    "callbacks-stopped": "callbacks no longer arrive",
    "provider-key": "the provider refuses our key or balance",
    "target": "notices to {} fail",
    "task-id": "two ids for one task",
    "unconfirmed": "an end that nobody could confirm",
    "unparsed": "a callback that could not be read",
    "withdrawn": "withdrawn, and yet it ended",
    "unsure": "nobody knows whether it was taken",
}
_WORST_FIRST = (Event.FAILED, Event.LOST, Event.ATTENTION, Event.COMPLETED)


class Line(Struct, frozen=True):
    """Clean, bounded words, and perhaps a URL that belongs to them, as it came."""

    text: str
    url: str | None = None


class Single(Struct, frozen=True):
    """One report. Every text is one line without markup, empty where there is nothing to say."""

    title: str
    kind: Kind
    text: tuple[str, ...]  # attention: what happened, line by line
    model: str
    cost: str
    took: str
    prompt: str
    doubt: str
    pictures: tuple[Line, ...]  # the provider's own links
    more: int  # pictures that are not among them
    trouble: tuple[str, ...]  # what is wrong, and last what to do about it
    ref: str
    page: str | None
    note: str = ""  # about the message itself

    @property
    def facts(self) -> str:
        """Model, cost and duration in one line."""
        return joined(self.model, self.cost, self.took)


class Item(Struct, frozen=True):
    """One report among several: a headline, its cost and duration, and where to see it."""

    headline: str
    figures: str
    kind: Kind
    url: str | None

    @property
    def line(self) -> str:
        """All of it in one line."""
        return joined(self.headline, self.figures)


class Digest(Struct, frozen=True):
    """Several reports, the worst first."""

    title: str
    kind: Kind
    items: tuple[Item, ...]  # at most ITEMS_MOST
    count: int  # of all
    total: str  # what they cost together
    note: str = ""


def tell(reports: tuple[Report, ...], links: Links) -> Single | Digest:
    """What is to be said of `reports`, which are one or more."""
    return single(reports[0], links) if len(reports) == 1 else digest(reports, links)


def single(report: Report, links: Links) -> Single:
    """One report in full."""
    text: tuple[str, ...] = ()
    if report.event is Event.ATTENTION and report.text:
        text = tuple(cut(clean(report.text, TEXT_MOST).strip(), TEXT_MOST).split("\n"))
    images = sorted(report.images, key=lambda image: image.image_no)
    return Single(
        title=headline(report),
        kind=kind((report,)),
        text=text,
        model=one_line(report.model or "", NAME_MOST),
        cost=money(report.cost),
        took=duration(report.duration_ms),
        prompt=one_line(report.prompt or "", PROMPT_MOST),
        doubt="" if report.confirmed else _UNCONFIRMED,
        pictures=tuple(Line(_picture(image), image.url) for image in images[:IMAGES_MOST]),
        more=max(0, len(images) - IMAGES_MOST),
        trouble=_trouble(report),
        ref=clean_ref(report),
        page=links.task(report.ref) if report.ref else None,
    )


def digest(reports: tuple[Report, ...], links: Links) -> Digest:
    """Several reports, those that failed first."""
    costs = [report.cost for report in reports if report.cost is not None and sensible(report.cost)]
    return Digest(
        title=_counts(reports),
        kind=kind(reports),
        items=tuple(_item(report, links) for report in ranked(reports)[:ITEMS_MOST]),
        count=len(reports),
        total=f"{money(sum(costs, Decimal(0)))} together" if any(costs) else "",
    )


def headline(report: Report) -> str:
    """What happened to whom, in at most TITLE_MOST characters."""
    mark, name = _MARK[report.event], _name(report)
    doubt = "" if report.confirmed else " (unconfirmed)"
    match report.event:
        case Event.COMPLETED:
            said = f"{name} — {count(report.images)}{doubt}"
        case Event.FAILED:
            why = one_line(report.error.message or report.error.code or "", TITLE_MOST) if report.error else ""
            said = f"{name} failed{doubt}" + (f": {why}" if why else "")
        case Event.ATTENTION:
            first = _cause(report) or one_line(
                clean(report.text or "", TEXT_MOST).strip().partition("\n")[0], TITLE_MOST
            )
            said = f"{name}: {first}" if report.label or report.ref else first or "attention"
        case _:
            said = f"{name} {report.event}{doubt}"
    return cut(f"{mark} {said}", TITLE_MOST)


def kind(reports: tuple[Report, ...]) -> Kind:
    """The worst of what they are."""
    kinds = {_KIND[r.event] if r.confirmed or r.event is not Event.COMPLETED else Kind.WARNING for r in reports}
    return next(kind for kind in (Kind.FAILURE, Kind.WARNING, Kind.SUCCESS, Kind.INFO) if kind in kinds)


def ranked(reports: tuple[Report, ...]) -> list[Report]:
    """The worst first; among equals the order stays."""
    return sorted(reports, key=lambda report: _WORST_FIRST.index(report.event))


def worst(reports: tuple[Report, ...]) -> Event:
    """The event that a reader should hear of first."""
    return next(event for event in _WORST_FIRST if any(report.event is event for report in reports))


def count(images: tuple[Image, ...]) -> str:
    """How many pictures, in words."""
    noun = "picture" if all(image.type == "image" for image in images) else "file"
    return f"{len(images) or 'no'} {noun}{'' if len(images) == 1 else 's'}"


def clean_ref(report: Report) -> str:
    """The ref as one clean word, empty if there is none."""
    return one_line(report.ref or "", NAME_MOST)


def what_to_do(report: Report) -> str:
    """The advice for a failed task."""
    return advice(one_line((report.error and report.error.code) or "", NAME_MOST)) or look(clean_ref(report))


def _cause(report: Report) -> str | None:
    """What an attention is about, in a few words; its cause may name a task or a target behind a colon."""
    kind, _, about = (report.cause or "").partition(":")
    return _CAUSES[kind].format(one_line(about, TITLE_MOST)) if kind in _CAUSES else None


def _picture(image: Image) -> str:
    return f"{one_line(image.type, 20) or 'image'} {image.image_no}"


def _trouble(report: Report) -> tuple[str, ...]:
    if report.event is Event.FAILED:
        error = report.error or Error(None, "")
        code = one_line(error.code or "", NAME_MOST)
        words = one_line(error.message, ERROR_MOST) or "the provider did not say why"
        return (
            f"Error {code}: {words}" if code else f"Error: {words}",
            f"What to do: {what_to_do(report)}",
        )
    if report.event is Event.LOST:
        return _LOST, search(clean_ref(report), one_line(report.task_id or "", NAME_MOST))
    return ()


def _counts(reports: tuple[Report, ...]) -> str:
    counted = Counter(report.event for report in reports)
    return f"{_MARK[worst(reports)]} {len(reports)} notices: " + ", ".join(
        f"{counted[event]} {event}" for event in Event if counted[event]
    )


def _item(report: Report, links: Links) -> Item:
    page = links.task(report.ref) if report.ref else None
    first = min(report.images, key=lambda image: image.image_no, default=None)
    said = headline(report)
    if report.event is Event.ATTENTION and (words := one_line(report.text or "", ITEM_TEXT_MOST)) not in said:
        said = f"{said}: {words}"  # they say what to do
    return Item(
        headline=said,
        figures=joined(money(report.cost), duration(report.duration_ms)),
        kind=kind((report,)),
        url=page or (first.url if first else None),
    )


def _name(report: Report) -> str:
    return one_line(report.label or "", NAME_MOST) or clean_ref(report) or "a task"
