"""Notices and their targets in words: what a notice says, how it stands, why, and what it waits for. Pure."""

from collections.abc import Sequence
from urllib.parse import quote

from msgspec import Struct

from receiver.client.schemas import TrialView
from receiver.core.pacing import DIGEST_MOST, NoticeWait, TargetQueue, WaitReason, quiet_until
from receiver.core.sanitize import format_duration, one_line
from receiver.core.types import Notice, NoticeEvent, NoticeState, Target
from receiver.notify.messages.cause_words import CAUSE_WORDS
from receiver.notify.messages.task_names import own_name
from receiver.notify.senders.remedies import find_remedy
from receiver.providers.models import short_model_name
from receiver.store import Attempt
from receiver.web.pages.sentences import Piece, Sentence, as_sentence, format_span, outside, say

NAME_MOST = 80
ERROR_MOST = 300
TEXT_MOST = 120
TRIES_MOST = 50  # that a row lists
REST_AHEAD_MOST = 3_600_000
_STATES = {
    NoticeState.DUE: ("busy", "waiting"),
    NoticeState.SENDING: ("busy", "on its way"),
    NoticeState.HELD: ("hold", "held"),
    NoticeState.SENT: ("good", "sent"),
    NoticeState.DEAD: ("bad", "given up"),
    NoticeState.DISCARDED: ("off", "discarded"),
}
_EVENTS = {
    NoticeEvent.COMPLETED: "completed",
    NoticeEvent.FAILED: "failed",
    NoticeEvent.LOST: "is lost",
    NoticeEvent.BATCH: "has ended",
}
_WAITS = {
    WaitReason.QUIET: "quiet hours, until ",
    WaitReason.DIGEST: "its digest, at ",
    WaitReason.RETRY: "its next try, at ",
    WaitReason.REST: "its target, which rests after failures until ",
    WaitReason.RATE: "the rate of its target, until ",
    WaitReason.PICTURES: "its pictures, at most until ",
}


class Try(Struct, frozen=True, gc=False):
    """One try of a notice."""

    at: int
    span: str
    what: str


class NoticeRow(Struct, frozen=True):
    """A notice in the list. `href` is empty if it is about nothing that has a page."""

    id: int
    what: str
    href: str
    to: str
    mark: str
    state: str
    why: Sentence
    made: int
    tries: tuple[Try, ...]
    tried: int
    choosable: bool
    about: str  # for those who do not see the row


class TargetState(Struct, frozen=True, gc=False):
    """A mark, its words, and until when."""

    mark: str
    word: str
    until: int | None = None


class TargetFacts(Struct, frozen=True, kw_only=True):
    """What is known of a target. `target` is None if it is no longer in the settings."""

    name: str
    target: Target | None
    now: int
    given_up: int = 0
    waiting: int = 0
    sent: int = 0  # in 7 days
    queue: TargetQueue | None = None
    last_error: str | None = None
    last_sent: int | None = None
    last_span_ms: int | None = None


class TargetCard(Struct, frozen=True):
    """A target as its card shows it. `fact` follows the states in plain words."""

    name: str
    states: tuple[TargetState, ...]
    fact: str
    why: Sentence
    given_up: int
    gone: bool


def describe_notice(
    notice: Notice, tries: Sequence[Attempt], wait: NoticeWait | None, *, remedy: bool = True
) -> NoticeRow:
    """A notice as a row. Without `remedy` it says what went wrong only; a row above says what to do about it."""
    what, href = _what_and_where(notice)
    mark, word = _STATES[notice.state]
    shown = tuple(_describe_try(it) for it in tries[-TRIES_MOST:])
    failed = any(it.error for it in tries)
    return NoticeRow(
        id=notice.id or 0,
        what=what,
        href=href,
        to=one_line(notice.target, NAME_MOST),
        mark=mark,
        state=word,
        why=_why(notice, wait, remedy=remedy),
        made=notice.created_at,
        tries=shown if failed or len(shown) > 1 else (),
        tried=len(tries),
        choosable=notice.state is NoticeState.DEAD,
        about=f"Choose: {what}, to {one_line(notice.target, NAME_MOST)}",
    )


def describe_target(facts: TargetFacts) -> TargetCard:
    """A target as a card."""
    states = tuple(_target_states(facts))
    works = [it for it in states if it.mark == "good"]
    plain = []
    if works:
        plain.append(f"{facts.sent:,} sent in 7 days")
    if facts.waiting:
        plain.append(f"{facts.waiting:,} held" if _quiet_end(facts) else f"{facts.waiting:,} waiting")
    return TargetCard(
        name=one_line(facts.name, NAME_MOST) or "?",
        states=states,
        fact=" · ".join(plain),
        why=_why_target(facts),
        given_up=facts.given_up,
        gone=facts.target is None,
    )


def describe_error(error: str) -> Sentence:
    """An error from outside, and what can be done about it."""
    remedy = find_remedy(error)
    said = one_line(error, ERROR_MOST)
    return say(Piece(said, outside=True), f": {curl(remedy)}" if remedy and remedy not in said else "")


def curl(text: str) -> str:
    """Words of ours with the apostrophes that pages have."""
    return text.replace("'", "’")


def describe_messages(count: int, target: Target | None) -> str:
    """As how many messages `count` notices go to a target, as the end of a sentence that begins with its name."""
    if count == 1:
        return "gets it as one message."
    if target is None or target.digest_ms is None:
        rate = target.rate if target is not None else None
        slowly = f", at most {rate.count:,} in {_span_words(rate.per_ms)}" if rate is not None else ""
        return f"gets them as {count:,} messages, one after the other{slowly}."
    span = _span_words(target.digest_ms)
    if count <= 1 + DIGEST_MOST:
        return f"gets the first at once and the others as one message, as its digest is {span}."
    return f"gets the first at once and the others in messages of {DIGEST_MOST}, as its digest is {span}."


def describe_trial(tried: TrialView) -> str:
    """What came of a test, if it was taken: with the picture or without, and why."""
    shown = ", with the picture" if tried.picture else ""
    why = f" It came without the picture: {tried.no_picture}." if tried.no_picture else ""
    note = f" {as_sentence(one_line(tried.note, ERROR_MOST))}" if tried.note else ""
    return f"took it in {format_span(tried.duration_ms)}{shown}.{why}{note}"


def _what_and_where(notice: Notice) -> tuple[str, str]:
    report = notice.report
    href = f"/tasks/{notice.ref}" if notice.ref else ""
    if notice.event is NoticeEvent.ATTENTION:
        name = own_name(report)
        kind, _, more = (report.cause or "").partition(":")
        words = CAUSE_WORDS[kind].format(one_line(more, NAME_MOST)) if kind in CAUSE_WORDS else ""
        about = words or one_line(report.text or "", TEXT_MOST) or "somebody is needed"
        return f"attention: {about}{f' ({name})' if name else ''}", href
    if notice.event is NoticeEvent.BATCH:
        name = one_line(report.batch or "", NAME_MOST) or "a batch"
        return f"{name} {_EVENTS[notice.event]}", f"/batches/{quote(report.batch, safe='')}" if report.batch else ""
    name = own_name(report) or short_model_name(one_line(report.model or "", NAME_MOST)) or "a task"
    unconfirmed = "" if report.confirmed else ", unconfirmed"
    return f"{name} {_EVENTS[notice.event]}{unconfirmed}", href


def _why(notice: Notice, wait: NoticeWait | None, *, remedy: bool) -> Sentence:
    match notice.state:
        case NoticeState.SENT:
            return say("at ", Piece(at=notice.sent_at)) if notice.sent_at is not None else say("delivered")
        case NoticeState.DEAD:
            if notice.error and not remedy:
                return say(outside(notice.error, ERROR_MOST))
            return describe_error(notice.error) if notice.error else say("nobody knows why")
        case NoticeState.DISCARDED:
            return say("somebody wants it no more")
        case NoticeState.SENDING:
            return say("it is being sent")
    waits = say(_WAITS[wait.why], Piece(at=wait.until)) if wait is not None else say("its turn")
    if not notice.error:
        return waits
    return (*waits, *say(", after ", outside(notice.error, ERROR_MOST)))


def _describe_try(attempt: Attempt) -> Try:
    said = one_line(attempt.error, ERROR_MOST) if attempt.error else "sent"
    return Try(attempt.at, format_span(attempt.duration_ms), said)


def _target_states(facts: TargetFacts) -> list[TargetState]:
    states = []
    if facts.given_up:
        states.append(TargetState("bad", f"{facts.given_up:,} given up"))
    if facts.target is None:
        return [TargetState("off", "gone from receiver.toml"), *states]
    if (until := _rest_end(facts)) is not None:
        states.append(TargetState("hold", "rests after failures until", until))
    elif facts.queue is not None and facts.queue.failures:
        states.append(TargetState("hold", "failed just now, and is tried again"))
    if (until := _quiet_end(facts)) is not None:
        states.append(TargetState("hold", "quiet until", until))
    if states:
        return states
    used = facts.sent or facts.last_sent is not None
    return [TargetState("good", "works") if used else TargetState("off", "not used yet")]


def _why_target(facts: TargetFacts) -> Sentence:
    failing = facts.given_up or _rest_end(facts) is not None or (facts.queue is not None and facts.queue.failures)
    if facts.target is None:
        return say("What was given up can be sent to another target.") if facts.given_up else say(
            "What it was told stays in the list.")  # fmt: skip
    if failing and facts.last_error:
        return (*describe_error(facts.last_error), Piece("."))
    if _quiet_end(facts) is not None:
        at_once = NoticeEvent.FAILED in facts.target.quiet_except
        return say("They come as one message then.", " Failures come at once." if at_once else "")
    if facts.last_sent is not None:
        took = f", in {format_span(facts.last_span_ms)}" if facts.last_span_ms is not None else ""
        return say("Last: ", Piece(at=facts.last_sent), took)
    return say("Send a test to see whether it works.") if not facts.sent else ()


def _rest_end(facts: TargetFacts) -> int | None:
    until = facts.queue.rest_until if facts.queue is not None else None
    return until if until is not None and facts.now < until <= facts.now + REST_AHEAD_MOST else None


def _quiet_end(facts: TargetFacts) -> int | None:
    quiet = facts.target.quiet if facts.target is not None else None
    return quiet_until(quiet, facts.now) if quiet is not None else None


def _span_words(span_ms: int) -> str:
    words = format_duration(span_ms)
    return f"{words.removesuffix('.0 s')} s" if words.endswith(".0 s") else words
