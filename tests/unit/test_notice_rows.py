"""Notices and targets in words, in every state, and with texts from outside that are hostile."""

from typing import Any

import pytest
from msgspec.structs import replace

from kit.fakes import HOUR, MINUTE, NOW, SECOND, SLACK, a_notice
from receiver.client.schemas import TrialView
from receiver.core.pacing import NoticeWait, TargetQueue, WaitReason
from receiver.core.types import MessageRate, Notice, NoticeEvent, NoticeState, QuietHours, Report, Target
from receiver.store import Attempt
from receiver.web.pages.notices.notice_rows import (
    TargetFacts,
    TargetState,
    describe_error,
    describe_messages,
    describe_notice,
    describe_target,
    describe_trial,
)
from receiver.web.pages.sentences import plain_text

HOSTILE = "\u202e<script>alert(1)</script>\x00\r\n" + "x" * 9000
QUIET = replace(SLACK, quiet=QuietHours(0, 1439, "UTC"), quiet_except=frozenset({NoticeEvent.FAILED}))


def about(event: NoticeEvent, **more: Any) -> Notice:
    return a_notice(event=event, report=Report(event=event, **more), ref=more.get("ref"), id=9)


def facts(**more: Any) -> TargetFacts:
    return TargetFacts(**{"name": "slack", "target": SLACK, "now": NOW, **more})


@pytest.mark.parametrize(
    ("notice", "what", "href"),
    [
        (about(NoticeEvent.COMPLETED, ref="r", label="hero"), "hero completed", "/tasks/r"),
        (about(NoticeEvent.COMPLETED, label="hero", confirmed=False), "hero completed, unconfirmed", ""),
        (about(NoticeEvent.FAILED, prompt="a lighthouse"), "“a lighthouse” failed", ""),
        (about(NoticeEvent.LOST, model="midjourney_outpaint"), "outpaint is lost", ""),
        (about(NoticeEvent.LOST), "a task is lost", ""),
        (about(NoticeEvent.ATTENTION, cause="target:me", text="…"), "attention: me is not getting its messages", ""),
        (
            about(NoticeEvent.ATTENTION, cause="unread:r", ref="r", label="kite"),
            "attention: a callback could not be read (kite)",
            "/tasks/r",
        ),
        (about(NoticeEvent.ATTENTION, cause="of a later version", text="Look."), "attention: Look.", ""),
        (about(NoticeEvent.ATTENTION), "attention: somebody is needed", ""),
        (about(NoticeEvent.BATCH, batch="a b/c.csv"), "a b/c.csv has ended", "/batches/a%20b%2Fc.csv"),
        (about(NoticeEvent.BATCH), "a batch has ended", ""),
    ],
)
def test_what_it_is_about(notice: Notice, what: str, href: str) -> None:
    row = describe_notice(notice, [], None)
    assert (row.what, row.href) == (what, href)
    assert row.about == f"Choose: {what}, to slack"


@pytest.mark.parametrize(
    ("state", "more", "wait", "says"),
    [
        (NoticeState.SENT, {"sent_at": NOW}, None, ("good", "sent", "at 09:20:00")),
        (NoticeState.SENT, {}, None, ("good", "sent", "delivered")),
        (NoticeState.DEAD, {"error": "no way"}, None, ("bad", "given up", "no way")),
        (NoticeState.DEAD, {}, None, ("bad", "given up", "nobody knows why")),
        (NoticeState.DISCARDED, {"error": "no"}, None, ("off", "discarded", "somebody wants it no more")),
        (NoticeState.SENDING, {}, None, ("busy", "on its way", "it is being sent")),
        (NoticeState.DUE, {}, None, ("busy", "waiting", "its turn")),
        (NoticeState.HELD, {}, WaitReason.QUIET, ("hold", "held", "quiet hours, until 09:21:00")),
        (NoticeState.HELD, {}, WaitReason.DIGEST, ("hold", "held", "its digest, at 09:21:00")),
        (
            NoticeState.DUE,
            {"error": "no"},
            WaitReason.RETRY,
            ("busy", "waiting", "its next try, at 09:21:00, after no"),
        ),
        (
            NoticeState.DUE,
            {},
            WaitReason.REST,
            ("busy", "waiting", "its target, which rests after failures until 09:21:00"),
        ),
        (NoticeState.DUE, {}, WaitReason.RATE, ("busy", "waiting", "the rate of its target, until 09:21:00")),
        (NoticeState.DUE, {}, WaitReason.PICTURES, ("busy", "waiting", "its pictures, at most until 09:21:00")),
    ],
)
def test_how_it_stands(
    state: NoticeState, more: dict[str, Any], wait: WaitReason | None, says: tuple[str, str, str]
) -> None:
    waits = NoticeWait(wait, NOW + MINUTE) if wait else None
    row = describe_notice(a_notice(state=state, id=9, **more), [], waits)
    assert (row.mark, row.state, plain_text(row.why)) == says
    assert row.choosable is (state is NoticeState.DEAD)


def test_an_error_says_what_to_do_once() -> None:
    dead = a_notice(state=NoticeState.DEAD, error="Slack says invalid_auth")
    first, second = describe_notice(dead, [], None), describe_notice(dead, [], None, remedy=False)
    assert plain_text(first.why) == (
        "Slack says invalid_auth: its token is not accepted: make a new one, and put it into the target’s URL"
    )
    assert plain_text(second.why) == "Slack says invalid_auth"


def test_tries_are_told_if_one_failed_or_there_were_several() -> None:
    sent, failed = Attempt(1, NOW, 212, None), Attempt(1, NOW + 5 * SECOND, 1_198, "no way")
    assert describe_notice(a_notice(), [sent], None).tries == ()
    row = describe_notice(a_notice(), [failed], None)
    assert [(it.at, it.span, it.what) for it in row.tries] == [(NOW + 5 * SECOND, "1.2 s", "no way")]
    both = describe_notice(a_notice(), [failed, sent], None)
    assert ([it.what for it in both.tries], both.tried) == (["no way", "sent"], 2)


def test_of_a_thousand_tries_the_last_are_listed() -> None:
    row = describe_notice(a_notice(), [Attempt(1, NOW + it, 1, "no") for it in range(1_000)], None)
    assert (len(row.tries), row.tries[-1].at, row.tried) == (50, NOW + 999, 1_000)


def test_hostile_words_are_cleaned_and_cut() -> None:
    notice = a_notice(
        target=HOSTILE,
        state=NoticeState.DEAD,
        error=HOSTILE,
        report=Report(event=NoticeEvent.COMPLETED, label=HOSTILE, prompt=HOSTILE),
    )
    row = describe_notice(notice, [Attempt(1, NOW, 1, HOSTILE), Attempt(1, NOW, 1, HOSTILE)], None)
    for text in (row.what, row.to, row.about, plain_text(row.why), row.tries[0].what):
        assert len(text) <= 400
        assert not {"\u202e", "\x00", "\n", "\r"} & set(text)
    assert all(it.outside for it in row.why if "script" in it.text)


RESTS = TargetQueue("slack", failures=4, rest_until=NOW + MINUTE)


@pytest.mark.parametrize(
    ("more", "states", "fact", "why"),
    [
        (
            {"sent": 1_212, "last_sent": NOW, "last_span_ms": 1_100},
            [("good", "works", None)],
            "1,212 sent in 7 days",
            "Last: 09:20:00, in 1.1 s",
        ),
        ({"sent": 3}, [("good", "works", None)], "3 sent in 7 days", ""),
        ({"last_sent": NOW}, [("good", "works", None)], "0 sent in 7 days", "Last: 09:20:00"),
        ({}, [("off", "not used yet", None)], "", "Send a test to see whether it works."),
        (
            {"given_up": 14, "queue": RESTS, "last_error": "invalid_auth"},
            [("bad", "14 given up", None), ("hold", "rests after failures until", NOW + MINUTE)],
            "",
            "invalid_auth: its token is not accepted: make a new one, and put it into the target’s URL.",
        ),
        (
            {"queue": TargetQueue("slack", failures=1), "last_error": "no", "waiting": 2},
            [("hold", "failed just now, and is tried again", None)],
            "2 waiting",
            "no.",
        ),
        (
            {"queue": TargetQueue("slack", failures=0, rest_until=NOW - 1), "sent": 1},
            [("good", "works", None)],
            None,
            "",
        ),
        ({"queue": TargetQueue("slack", rest_until=NOW + 9 * HOUR), "sent": 1}, [("good", "works", None)], None, ""),
        (
            {"target": QUIET, "waiting": 9},
            [("hold", "quiet until", NOW + 14 * HOUR + 39 * MINUTE)],
            "9 held",
            "They come as one message then. Failures come at once.",
        ),
        (
            {"target": replace(QUIET, quiet_except=frozenset())},
            [("hold", "quiet until", NOW + 14 * HOUR + 39 * MINUTE)],
            "",
            "They come as one message then.",
        ),
        (
            {"target": None, "given_up": 2},
            [("off", "gone from receiver.toml", None), ("bad", "2 given up", None)],
            "",
            "What was given up can be sent to another target.",
        ),
        ({"target": None}, [("off", "gone from receiver.toml", None)], "", "What it was told stays in the list."),
    ],
)
def test_target_cards(
    more: dict[str, Any], states: list[tuple[str, str, int | None]], fact: str | None, why: str
) -> None:
    card = describe_target(facts(**more))
    assert card.states == tuple(TargetState(*it) for it in states)
    assert plain_text(card.why) == why
    assert fact is None or card.fact == fact
    assert card.gone is (more.get("target", SLACK) is None)


def test_a_hostile_target_is_cleaned() -> None:
    card = describe_target(facts(name=HOSTILE, target=None, given_up=1))
    assert len(card.name) <= 80
    assert "\u202e" not in card.name
    failing = describe_target(facts(given_up=1, last_error=HOSTILE))
    assert len(plain_text(failing.why)) <= 310


@pytest.mark.parametrize(
    ("count", "target", "words"),
    [
        (1, SLACK, "gets it as one message."),
        (14, SLACK, "gets them as 14 messages, one after the other."),
        (14, None, "gets them as 14 messages, one after the other."),
        (
            14,
            replace(SLACK, rate=MessageRate(3, MINUTE)),
            "gets them as 14 messages, one after the other, at most 3 in 1 min.",
        ),
        (
            14,
            replace(SLACK, digest_ms=5 * MINUTE),
            "gets the first at once and the others as one message, as its digest is 5 min.",
        ),
        (
            900,
            replace(SLACK, digest_ms=5 * SECOND),
            "gets the first at once and the others in messages of 200, as its digest is 5 s.",
        ),
    ],
)
def test_as_how_many_messages(count: int, target: Target | None, words: str) -> None:
    assert describe_messages(count, target) == words


@pytest.mark.parametrize(
    ("tried", "words"),
    [
        (TrialView("slack", True, None, 212, picture="linked"), "took it in 212 ms, with the picture."),
        (TrialView("slack", True, None, 1_212), "took it in 1.2 s."),
        (
            TrialView("slack", True, None, 212, no_picture="it could not be drawn", note="only a sample"),
            "took it in 212 ms. It came without the picture: it could not be drawn. Only a sample.",
        ),
    ],
)
def test_what_a_test_came_to(tried: TrialView, words: str) -> None:
    assert describe_trial(tried) == words


def test_an_error_that_nobody_knows_is_told_as_it_is() -> None:
    assert plain_text(describe_error("the moon is full")) == "the moon is full"
