"""What a message says about one report, or about several, in clean and bounded words.

How a service wants it written is left to each style's file.
"""

from collections import Counter
from decimal import Decimal

from msgspec import Struct

from receiver.core.chains import PARENT_FAILED
from receiver.core.money import format_usd, is_plausible_cost
from receiver.core.sanitize import (
    TITLE_MOST,
    format_duration,
    join_nonempty,
    one_line,
    strip_control_chars,
    truncate_text,
)
from receiver.core.types import Image, NoticeEvent, Report, TaskError, TaskState
from receiver.notify.messages.cause_words import CAUSE_WORDS
from receiver.notify.messages.commands import replace_refs
from receiver.notify.messages.media_words import count_media, label_number, media_label, media_noun
from receiver.notify.messages.message import MessageKind, PublicLinks, TextLine
from receiver.notify.messages.pick_words import pick_command, pick_links, pick_title
from receiver.notify.messages.shorten import shorten_text
from receiver.notify.messages.task_names import NAME_MOST, NAMELESS, PROMPT_MOST, own_name, task_name
from receiver.notify.messages.what_to_do import (
    again_command,
    batch_commands,
    lost_task_advice,
    next_commands,
    next_step,
    short_handle,
    unconfirmed_failure_advice,
    unknown_failure_advice,
    waiting_words,
)
from receiver.providers.advice import advice_for_code

ERROR_MOST = 400  # characters, as all of these
TEXT_MOST = 1_100
ITEM_TEXT_MOST = 350  # of an attention in a digest, which keeps its sentence about paying twice
IMAGES_MOST = 50
ITEMS_MOST = 40  # tasks that a digest names

_UNCONFIRMED = "Unconfirmed: a callback reports this, but {}. Check before you rely on it."
_LOST = "If the result still arrives, you will get it."
_LATE = "The contact sheet was not ready when this was sent."

_MARK = {
    NoticeEvent.COMPLETED: "✓",
    NoticeEvent.FAILED: "✗",
    NoticeEvent.LOST: "?",
    NoticeEvent.ATTENTION: "!",
    NoticeEvent.BATCH: "✓",  # if all its rows completed
}
_KIND = {
    NoticeEvent.COMPLETED: MessageKind.SUCCESS,
    NoticeEvent.FAILED: MessageKind.FAILURE,
    NoticeEvent.LOST: MessageKind.WARNING,
    NoticeEvent.ATTENTION: MessageKind.WARNING,
    NoticeEvent.BATCH: MessageKind.SUCCESS,
}
WORST_FIRST = (NoticeEvent.FAILED, NoticeEvent.LOST, NoticeEvent.ATTENTION, NoticeEvent.BATCH, NoticeEvent.COMPLETED)


class ReportContent(Struct, frozen=True):
    """One report. Every text is one line without markup, and empty if there is nothing to say."""

    title: str
    kind: MessageKind
    text: tuple[str, ...]  # attention: what happened, line by line
    model: str
    cost: str
    took: str
    prompt: str
    doubt: str
    pictures: tuple[TextLine, ...]  # links to our copies; the provider's where there is none
    more: int  # pictures that are not among them
    trouble: tuple[str, ...]  # what is wrong; then what to do about it
    commands: tuple[str, ...]  # what may come next, if all went well
    code: str  # the provider's, of a failure
    ref: str
    page: str | None
    note: str = ""  # about the message itself
    picks: tuple[TextLine, ...] = ()  # a picture each, and where a person picks it

    @property
    def facts_line(self) -> str:
        """Model, cost, duration and error code in one line."""
        return join_nonempty(self.model, self.cost, self.took, self.code and f"error {self.code}")

    @property
    def shown_ref(self) -> str:
        """What names the task: its short handle beside the link to its page, which has the whole ref."""
        return short_handle(self.ref) if self.page else self.ref


class DigestItem(Struct, frozen=True):
    """One report in a digest: a headline, its cost and duration, where to see it, and what to do if a person must."""

    headline: str
    figures: str
    kind: MessageKind
    url: str | None
    advice: str = ""

    @property
    def summary_line(self) -> str:
        """The headline and the figures in one line."""
        return join_nonempty(self.headline, self.figures)


class DigestContent(Struct, frozen=True):
    """Several reports, the worst first."""

    title: str
    kind: MessageKind
    items: tuple[DigestItem, ...]  # at most ITEMS_MOST
    count: int  # of all
    total: str  # what they cost together
    note: str = ""


Content = ReportContent | DigestContent


def build_content(reports: tuple[Report, ...], links: PublicLinks, *, late: bool = False) -> Content:
    """What a message says about `reports`, of which there is at least one; `late`: their sheet was not ready."""
    if len(reports) == 1:
        return build_report(reports[0], links, late=late)
    return build_digest(reports, links, late=late)


def build_report(report: Report, links: PublicLinks, *, late: bool = False) -> ReportContent:
    """One report in full."""
    text: tuple[str, ...] = ()
    if report.event is NoticeEvent.ATTENTION and report.text:
        text = tuple(truncate_text(_clean_text(report), TEXT_MOST).split("\n"))
    is_batch = report.event is NoticeEvent.BATCH
    if is_batch and (words := batch_words(report)) not in report_headline(report):
        text = (words,)
    images = sorted(report.images, key=lambda image: image.image_no)
    return ReportContent(
        title=report_headline(report),
        kind=worst_kind((report,)),
        text=text,
        model=one_line(report.model or "", NAME_MOST),
        cost="" if is_batch else format_usd(report.cost),  # its words say both
        took="" if is_batch else format_duration(report.duration_ms),
        prompt=one_line(report.prompt or "", PROMPT_MOST),
        doubt="" if report.confirmed else _unconfirmed_text(report),
        pictures=tuple(TextLine(media_label(it, alone=len(images) == 1), it.url) for it in images[:IMAGES_MOST]),
        more=max(0, len(images) - IMAGES_MOST),
        trouble=_failure_lines(report),
        commands=_next_lines(report),
        code=_failure_code(report),
        ref=clean_ref(report),
        page=links.task_url(report.ref) if report.ref else None,
        note=_late_note((report,), late=late),
        picks=pick_links(report, links),
    )


def build_digest(reports: tuple[Report, ...], links: PublicLinks, *, late: bool = False) -> DigestContent:
    """Several reports, the failed ones first."""
    costs = [report.cost for report in reports if report.cost is not None and is_plausible_cost(report.cost)]
    return DigestContent(
        title=_digest_title(reports),
        kind=worst_kind(reports),
        items=tuple(_digest_item(report, links) for report in rank_worst_first(reports)[:ITEMS_MOST]),
        count=len(reports),
        total=f"{format_usd(sum(costs, Decimal(0)))} in total" if any(costs) else "",
        note=_late_note(reports, late=late),
    )


def report_headline(report: Report) -> str:
    """Which task, and what happened to it, in at most TITLE_MOST characters."""
    mark, name = _MARK[_stands_for(report)], task_name(report)
    doubt = "" if report.confirmed else " (unconfirmed)"
    match report.event:
        case NoticeEvent.COMPLETED:
            words = f"{name} — {pick_title(report) or count_media([it.type for it in report.images])}{doubt}"
        case NoticeEvent.FAILED:
            why = one_line(report.error.message or report.error.code or "", TITLE_MOST) if report.error else ""
            words = f"{name}: failed{doubt}" + (f" — {why}" if why else "")
        case NoticeEvent.ATTENTION:
            first = _attention_cause(report) or one_line(
                strip_control_chars(report.text or "", TEXT_MOST).strip().partition("\n")[0], TITLE_MOST
            )
            named = name != NAMELESS and first
            words = f"{name}: {first}" if named else f"{first[:1].upper()}{first[1:]}" or "A person is needed"
        case NoticeEvent.BATCH:
            words = f"{one_line(report.batch or '', NAME_MOST) or 'a batch'}: {batch_words(report)}"
        case NoticeEvent.LOST:
            words = f"{name}: lost — no result before its deadline"
    return truncate_text(f"{mark} {words}", TITLE_MOST)


def worst_kind(reports: tuple[Report, ...]) -> MessageKind:
    """The kind of the worst of them."""
    kinds = {_kind_of(report) for report in reports}
    return next(
        kind
        for kind in (MessageKind.FAILURE, MessageKind.WARNING, MessageKind.SUCCESS, MessageKind.INFO)
        if kind in kinds
    )


def _kind_of(report: Report) -> MessageKind:
    """Its event's, unless it is good news with a but."""
    if report.event is NoticeEvent.COMPLETED and not report.confirmed:
        return MessageKind.WARNING
    return _KIND[_stands_for(report)]


def _stands_for(report: Report) -> NoticeEvent:
    """Its event; of a batch that did not complete, the one that it comes nearest to: a failure, if nothing completed
    and a person did not cancel all of it. A person is needed for one that waits for picks."""
    if report.event is NoticeEvent.BATCH and report.picks:
        return NoticeEvent.ATTENTION
    if report.event is not NoticeEvent.BATCH or not report.failed:
        return report.event
    in_vain = report.rows and not report.completed and set(report.rows) != {TaskState.CANCELLED.value}
    return NoticeEvent.FAILED if in_vain else NoticeEvent.ATTENTION


def rank_worst_first(reports: tuple[Report, ...]) -> list[Report]:
    """The worst first; equal ones keep their order."""
    return sorted(reports, key=lambda report: WORST_FIRST.index(report.event))


def worst_event(reports: tuple[Report, ...]) -> NoticeEvent:
    """The event that a reader should see first."""
    return next(event for event in WORST_FIRST if any(report.event is event for report in reports))


def describe_sheet(content: Content) -> str:
    """What the contact sheet shows, for those who cannot see it."""
    if isinstance(content, DigestContent):
        return f"Contact sheet of {content.title[2:]}"
    if not content.pictures:  # a batch's
        return f"Contact sheet of {content.title[2:]}; each picture has the number of its line"
    numbers = [label_number(line.text) for line in content.pictures]
    count = len(numbers) + content.more
    prompt = f": {content.prompt}" if content.prompt else ""
    if count == 1:
        return f"The picture{prompt}"
    span = "" if content.more else f", numbered {numbers[0]} to {numbers[-1]}"
    return f"Contact sheet of {count} pictures{span}{prompt}"


def batch_words(report: Report) -> str:
    """What a batch came to, in one line."""
    return one_line(report.text or "", TEXT_MOST)


def clean_ref(report: Report) -> str:
    """The ref as one clean word, empty if there is none."""
    return one_line(report.ref or "", NAME_MOST)


def failure_advice(report: Report) -> str:
    """The advice for a failed task."""
    if not report.confirmed:
        return unconfirmed_failure_advice(clean_ref(report))
    return advice_for_code(one_line((report.error and report.error.code) or "", NAME_MOST)) or unknown_failure_advice(
        clean_ref(report)
    )


def _attention_cause(report: Report) -> str | None:
    """What an attention is about, in a few words; its cause may name a task or a target after a colon."""
    kind, _, about = (report.cause or "").partition(":")
    return CAUSE_WORDS[kind].format(one_line(about, TITLE_MOST)) if kind in CAUSE_WORDS else None


def _unconfirmed_text(report: Report) -> str:
    return _UNCONFIRMED.format(one_line(report.unconfirmed or "", ERROR_MOST) or "we could not confirm it")


def _may_repeat(report: Report) -> bool:
    """Whether another one may be asked for. One whose parent failed would go on from that again."""
    led = report.error is not None and report.error.code == PARENT_FAILED
    return bool(clean_ref(report) and report.model and report.confirmed and not led)


def _failure_lines(report: Report) -> tuple[str, ...]:
    ref = clean_ref(report)
    if report.event is NoticeEvent.FAILED:
        error = report.error or TaskError(None, "")
        words = one_line(error.message, ERROR_MOST)
        told = words and words in report_headline(report)  # once is enough
        return (
            *(() if told else (f"Error: {words or 'the provider gave no reason'}",)),
            f"What to do: {failure_advice(report)}",
            # without a model, it was not submitted here
            *((again_command(ref, failure_advice(report), report.waiting),) if _may_repeat(report) else ()),
        )
    if report.event is NoticeEvent.LOST:
        heard = one_line(report.heard or "", ERROR_MOST)
        advice = lost_task_advice(ref, one_line(report.task_id or "", NAME_MOST))
        return tuple(filter(None, (heard, advice, waiting_words(report.waiting), _LOST)))
    return ()


def _clean_text(report: Report) -> str:
    """What an attention says; it names its task as the title does, and by a short handle in commands."""
    text = strip_control_chars(report.text or "", TEXT_MOST).strip()
    ref, name = clean_ref(report), own_name(report)
    return replace_refs(text, ref, short_handle(ref), name if name.startswith("“") else f"“{name}”" if name else "")


def _failure_code(report: Report) -> str:
    if report.event is not NoticeEvent.FAILED or report.error is None:
        return ""
    return one_line(report.error.code or "", NAME_MOST)


def _next_lines(report: Report) -> tuple[str, ...]:
    if report.event is NoticeEvent.BATCH and report.batch:
        return batch_commands(
            one_line(report.batch, NAME_MOST),
            failed=report.failed,
            completed=report.completed > 0,
            picks=report.picks > 0,
        )
    if report.event is not NoticeEvent.COMPLETED or not report.images or not report.ref:
        return ()
    first = min(report.images, key=lambda image: image.image_no)
    if report.picks:
        return (pick_command(clean_ref(report), first.image_no),)
    step = next_step(report.model or "", report.prompt) if first.job_id else ""
    noun = media_noun(it.type for it in report.images)
    return next_commands(clean_ref(report), first.image_no, noun, step, several=len(report.images) > 1)


def _late_note(reports: tuple[Report, ...], *, late: bool) -> str:
    shown = any(it.completed or (it.event is NoticeEvent.COMPLETED and _has_picture(it.images)) for it in reports)
    return _LATE if late and shown else ""


def _has_picture(images: tuple[Image, ...]) -> bool:
    return any(image.type != "video" for image in images)


def _digest_title(reports: tuple[Report, ...]) -> str:
    """How many of what, in the order of the list below it."""
    counted = Counter(report.event for report in reports)
    words = {
        NoticeEvent.FAILED: "failed",
        NoticeEvent.LOST: "lost",
        NoticeEvent.ATTENTION: "needs you" if counted[NoticeEvent.ATTENTION] == 1 else "need you",
        NoticeEvent.BATCH: "batch done" if counted[NoticeEvent.BATCH] == 1 else "batches done",
        NoticeEvent.COMPLETED: "done",
    }
    counts = [f"{counted[event]} {words[event]}" for event in WORST_FIRST if counted[event]]
    refs = {report.ref for report in reports}
    noun = "tasks" if len(refs) == len(reports) and None not in refs else "notices"
    if len(counts) == 1:  # no number twice
        return f"{_MARK[worst_event(reports)]} {len(reports)} {noun} {words[worst_event(reports)]}"
    return f"{_MARK[worst_event(reports)]} {len(reports)} {noun}: {', '.join(counts)}"


def _digest_item(report: Report, links: PublicLinks) -> DigestItem:
    page = links.task_url(report.ref) if report.ref else None
    first = min(report.images, key=lambda image: image.image_no, default=None)
    headline, advice = report_headline(report), ""
    if report.event is NoticeEvent.ATTENTION:
        words = one_line(_clean_text(report), TEXT_MOST)
        advice = "" if words == headline[2:] else shorten_text(words, ITEM_TEXT_MOST)
    handle = short_handle(clean_ref(report))
    if report.event is not NoticeEvent.COMPLETED and not report.label and handle and handle not in advice:
        headline = f"{headline} (task {handle})"
    return DigestItem(
        headline=headline,
        figures=""
        if report.event is NoticeEvent.BATCH
        else join_nonempty(format_usd(report.cost), format_duration(report.duration_ms)),
        kind=worst_kind((report,)),
        url=page
        or (links.pick_url(report.ref, first.image_no) if report.picks and report.ref and first else None)
        or (first.url if first else None),
        advice=advice,
    )
