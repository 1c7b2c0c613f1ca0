"""A task as the gallery shows it: its pictures, or what stands in their place, and one line. Pure."""

import functools
from collections.abc import Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace

from receiver.client.schemas import image_path
from receiver.core.chains import PARENT_FAILED
from receiver.core.money import format_usd
from receiver.core.queue_waits import QueueReason, QueueWait
from receiver.core.sanitize import format_duration, one_line
from receiver.core.types import ArchiveState, HoldReason, Image, ImageCopy, OutcomeSource, Task, TaskState
from receiver.notify.messages.media_words import count_media
from receiver.pictures.drawing.protocol import SMALL, TINY, fitted_width
from receiver.pictures.sniff import is_drawn
from receiver.providers.models import short_model_name
from receiver.web.pages.going_on.stage import Frame, Source, card_frame
from receiver.web.pages.sentences import decode_params, task_title
from receiver.web.pages.times import format_clock

QUOTE_MOST = 160
ERROR_MOST = 240
MODEL_MOST = 60  # characters; a callback may name any
SHOWN_MOST = 4  # pictures on one card
UNSURE_AFTER_MS = 900_000  # for so long its callback may still come by itself

_RATIOS = {
    "r12": 1 / 2, "r916": 9 / 16, "r23": 2 / 3, "r34": 3 / 4, "r45": 4 / 5, "r11": 1.0,
    "r54": 5 / 4, "r43": 4 / 3, "r32": 3 / 2, "r169": 16 / 9, "r21": 2.0,
}  # fmt: skip


class Thumbnail(Struct, frozen=True):
    """One picture of a card; without `src` it is a grey field: it is being fetched, or was not kept."""

    src: str = ""
    small: str = ""  # the smaller one of two
    width: int | None = None
    height: int | None = None
    src_width: int | None = None  # pixels of the two; None: unknown, or there is one
    small_width: int | None = None


class Card(Struct, frozen=True, kw_only=True):
    """A task in the gallery. It shows `pictures`, or a `frame` while it is under way, or what it `says`."""

    ref: str
    title: str
    ratio: str = "r11"
    pictures: tuple[Thumbnail, ...] = ()
    more: int = 0  # pictures beyond those
    frame: Frame | None = None
    says: str = ""
    quote: str = ""  # its prompt
    kind: str = ""  # of its state's mark; empty: a completed task, which shows no state
    word: str = ""
    at: int | None = None  # when it ended
    facts: tuple[str, ...] = ()
    progress: int | None = None  # percent
    announcement: str = ""  # what is read aloud when it ends


class CardContext(Struct, frozen=True):
    """What a card shows besides its task: what was made, and what is known of the time it takes."""

    images: Sequence[Image] = ()
    copies: Sequence[ImageCopy] = ()
    wait: QueueWait | None = None
    source: Source | None = None  # the picture that it goes on from
    parent: Task | None = None  # of a task that was not sent because of it
    picks: Sequence[ImageCopy] = ()  # the pictures of which one is to be picked
    usual_ms: int | None = None


@functools.lru_cache(maxsize=256)
def nearest_ratio(width: int | None, height: int | None) -> str:
    """The class of the ratio that is nearest to `width` by `height`; square if either is unknown."""
    if not width or not height:
        return "r11"
    ratio = width / height
    return min(_RATIOS, key=lambda name: max(_RATIOS[name] / ratio, ratio / _RATIOS[name]))


def make_card(task: Task, context: CardContext, now: int) -> Card:
    """The card of a task in any state."""
    card = Card(ref=task.ref, title=task_title(task), quote=one_line(task.prompt or "", QUOTE_MOST))
    match task.state:
        case TaskState.COMPLETED:
            return _completed(task, context, card)
        case TaskState.FAILED:
            says = one_line(task.error.message if task.error else "The provider gave no reason.", ERROR_MOST)
            return _ended(task, card, "bad", "failed", says)
        case TaskState.LOST:
            says = "No callback came in time, and the provider does not know it. A late callback still settles it."
            return _ended(task, card, "warn", "lost", says)
        case TaskState.CANCELLED:
            return _ended(task, card, "off", "cancelled", _describe_cancelled(task, context.parent))
        case _:
            return _under_way(task, context, card, now)


def _completed(task: Task, context: CardContext, card: Card) -> Card:
    copies = {it.image_no: it for it in context.copies}
    thumbnails = [_thumbnail(task.ref, copies.get(it.image_no)) for it in context.images]
    kept = [it for it in thumbnails if it.src]
    missing = len(thumbnails) - sum(it.file is not None for it in context.copies)
    is_due = task.archive is ArchiveState.DUE and missing > 0
    facts = _end_facts(task)
    if is_due:
        facts = (f"{missing} of {count_media([it.type for it in context.images])} being fetched",)
    card = replace(card, at=task.settled_at, facts=facts, announcement=_announce(card.title, task, context))
    if not task.confirmed:
        card = replace(card, kind="warn", word="unconfirmed")
    if not kept and not is_due:
        return replace(card, kind=card.kind or "good", word=card.word or "completed", says=_describe_unseen(context))
    first = next((copy for copy in copies.values() if copy.file), None)
    shown = thumbnails[: SHOWN_MOST - 1] if len(thumbnails) > SHOWN_MOST else thumbnails[:SHOWN_MOST]
    return replace(
        card,
        ratio=_ratio_of(len(shown), first),
        pictures=tuple(shown),
        more=len(thumbnails) - len(shown),
        quote="",
    )


def _ratio_of(count: int, copy: ImageCopy | None) -> str:
    """Of one picture, and of two by two, it is that of a picture; two are halves side by side."""
    if copy is None or not copy.width or not copy.height:
        return "r11"
    return nearest_ratio(2 * copy.width if count == 2 else copy.width, copy.height)


def _ended(task: Task, card: Card, kind: str, word: str, says: str) -> Card:
    announcement = f"{card.title} has {word}." if word == "failed" else f"{card.title} is {word}."
    return replace(
        card, kind=kind, word=word, says=says, at=task.settled_at, facts=_end_facts(task), announcement=announcement
    )


def _under_way(task: Task, context: CardContext, card: Card, now: int) -> Card:
    source = context.source
    frame = card_frame(task.model, decode_params(task), source)
    ratio = nearest_ratio(source.width, source.height) if source is not None else "r11"
    card = replace(card, frame=frame, ratio=ratio, quote="" if frame.src else card.quote)
    if task.state is TaskState.QUEUED:
        kind, word, fact = _describe_queued(task, context)
        card = replace(card, kind=kind, word=word, facts=(fact,) if fact else ())
        return _with_picks(card, task, context.picks) if task.held_by is HoldReason.PICK else card
    if task.unsure:
        late = now - (task.submitted_at or task.created_at) > UNSURE_AFTER_MS
        return replace(card, kind="warn", word="unsure", facts=("needs you" if late else "waits for its callback",))
    since = format_duration(now - (task.submitted_at or task.created_at))
    usual = f"{since}, usually {format_duration(context.usual_ms)}" if context.usual_ms else since
    if task.progress is None:
        return replace(card, kind="busy", word="waiting", facts=(usual,))
    percent = max(0, min(100, round(task.progress * 100)))
    return replace(card, kind="busy", word="waiting", facts=(f"{percent} %", usual), progress=percent)


def _with_picks(card: Card, task: Task, copies: Sequence[ImageCopy]) -> Card:
    """The card of a task for which a picture is to be picked: with those that there are to pick from."""
    thumbnails = [it for it in (_thumbnail(task.parent or "", copy) for copy in copies) if it.src]
    if not thumbnails:
        return card
    shown = thumbnails[: SHOWN_MOST - 1] if len(thumbnails) > SHOWN_MOST else thumbnails
    ratio = _ratio_of(len(shown), next((it for it in copies if it.file), None))
    return replace(card, ratio=ratio, pictures=tuple(shown), more=len(thumbnails) - len(shown), quote="")


def _describe_queued(task: Task, context: CardContext) -> tuple[str, str, str]:
    """The kind, the word and the fact of a queued task."""
    wait = context.wait
    if task.held_by is HoldReason.PERSON:
        return "warn", "queued", "needs you"
    if wait is None or wait.why is QueueReason.TURN:
        return "hold", "queued", ""
    word, fact = _QUEUED.get(wait.why, ("queued", "waits"))
    until = f", tried again at {format_clock(wait.until)[:5]}" if wait.until else ""
    return "hold", word, fact + until


_QUEUED: Mapping[QueueReason, tuple[str, str]] = {
    QueueReason.NO_KEY: ("paused", "the service has no provider key"),
    QueueReason.KEY: ("paused", "the provider refuses our key or balance"),
    QueueReason.DOWN: ("queued", "the provider cannot be reached"),
    QueueReason.BUSY: ("queued", "the provider asks for a pause"),
    QueueReason.SUSPECT: ("queued", "the provider refused it, another goes first"),
    QueueReason.RETRY: ("queued", "the provider is full"),
    QueueReason.ROOM: ("queued", "the provider has no room"),
    QueueReason.PAUSED: ("paused", "by a person"),
    QueueReason.PARENT: ("held", "waits for the task before it"),
    QueueReason.PICK: ("held", "waits for your pick"),
    QueueReason.BUDGET: ("held", "the budget is used up"),
    QueueReason.PRICE: ("held", "its model needs a price"),
}


def _thumbnail(ref: str, copy: ImageCopy | None) -> Thumbnail:
    if copy is None or copy.file is None or not is_drawn(copy.media_type or ""):
        return Thumbnail()
    large = copy.small or copy.file
    if copy.tiny is None or not copy.width or not copy.height:
        return Thumbnail(image_path(ref, large), image_path(ref, large), copy.width, copy.height)
    return Thumbnail(
        image_path(ref, large),
        image_path(ref, copy.tiny),
        copy.width,
        copy.height,
        fitted_width(copy.width, copy.height, SMALL),
        fitted_width(copy.width, copy.height, TINY),
    )


def _end_facts(task: Task) -> tuple[str, ...]:
    cost = format_usd(task.usage.cost) if task.usage and task.usage.cost is not None else ""
    model = one_line(short_model_name(task.model or ""), MODEL_MOST)
    return tuple(it for it in (cost, model) if it)


def _describe_unseen(context: CardContext) -> str:
    types = [it.type for it in context.images]
    made = count_media(types)
    kept = [it for it in context.copies if it.file]
    if kept:
        return f"{made[:1].upper()}{made[1:]}."
    why = next((it.error for it in context.copies if it.error), None)
    reason = f": {one_line(why, ERROR_MOST)}" if why else ""
    return f"{made[:1].upper()}{made[1:]}, of which none was kept{reason}."


def _describe_cancelled(task: Task, parent: Task | None) -> str:
    if task.submitted_at is not None:
        return "The provider withdrew it."
    if task.settled_by is OutcomeSource.PARENT:
        if task.error is not None and task.error.code == PARENT_FAILED and parent is not None:
            became = _BECAME.get(parent.state, "did not complete")
            return f"{task_title(parent)} {became}, so this was not sent. Nothing was charged."
        said = one_line(task.error.message if task.error else "", ERROR_MOST)
        return f"What it goes on from did not come{f': {said}' if said else ''}. It was not sent; nothing was charged."
    why = one_line(task.why or "", ERROR_MOST)
    return f"Withdrawn before it was sent{f': {why}' if why else ''}. Nothing was charged."


_BECAME = {TaskState.FAILED: "failed", TaskState.CANCELLED: "was cancelled"}


def _announce(title: str, task: Task, context: CardContext) -> str:
    made = count_media([it.type for it in context.images])
    return f"{title} is completed, {made}."
