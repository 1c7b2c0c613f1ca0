"""What an answer says beyond its status: to wait, which no send sleeps through, and an error behind a 200."""

import pytest

from receiver.notify.senders.answers import (
    BODY_MOST,
    WAIT_MOST_S,
    AskedToWait,
    HeardAnswers,
    find_refusal,
    parse_retry_after,
)
from receiver.notify.senders.failure_text import PAUSE_MOST_MS, PAUSE_MS, FailureLine, build_failure, build_pause

NOW = 1_800_000_000.0
AT_NOON, A_MINUTE_LATER = "Fri, 15 Jan 2027 12:00:00 GMT", "Fri, 15 Jan 2027 12:01:00 GMT"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "14"}, 14),
        ({"Retry-After": " 0.3 "}, 0.3),
        ({"Retry-After": A_MINUTE_LATER, "Date": AT_NOON}, 60),  # whatever this machine's clock says
        ({"Retry-After": "Fri, 15 Jan 2027 08:00:30 GMT"}, 30),
        ({"Retry-After": "Fri, 15 Jan 2027 07:00:00 GMT"}, None),  # it is over
        ({"X-RateLimit-Reset-After": "1.5"}, 1.5),
        ({"Retry-After": "5", "X-RateLimit-Reset-After": "1.5"}, 5),
        ({"Retry-After": "Fri, 15 Jan 2027 09:00:30 +0100"}, 30),
        ({"Retry-After": "0"}, None),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "-1"}, None),
        ({"Retry-After": "inf"}, None),
        ({"Retry-After": "nan"}, None),
        ({"Retry-After": "Fri, 99 Foo 2027"}, None),
        ({}, None),
    ],
)
def test_an_answer_says_how_long_to_wait(headers: dict[str, str], seconds: float | None) -> None:
    assert parse_retry_after(headers, NOW) == seconds


@pytest.mark.parametrize(("status", "heard"), [(429, 14.0), (503, 14.0), (200, None), (301, None), (500, None)])
def test_it_counts_where_a_service_is_busy(status: int, heard: float | None) -> None:
    pause = HeardAnswers()
    pause.hear_answer(status, {"Retry-After": "14"})
    assert pause.seconds == heard


def test_a_pause_shorter_than_a_second_is_one_too() -> None:
    pause = HeardAnswers()
    pause.hear_answer(429, {"Retry-After": "0.3"})
    assert pause.seconds == 0.3


def test_the_bounds() -> None:
    assert (WAIT_MOST_S, BODY_MOST) == (2.0, 16_384)
    answers = HeardAnswers()
    answers.hear_answer(200, {}, b"x" * 20_000)
    assert len(answers.last_body) == BODY_MOST


def test_of_several_answers_the_longest_pause_counts() -> None:
    pause = HeardAnswers()
    for seconds in ("14", "30", "2"):
        pause.hear_answer(429, {"Retry-After": seconds})
    assert pause.seconds == 30


def test_a_send_waits_a_moment_and_ends_if_it_is_asked_for_more() -> None:
    pause = HeardAnswers()
    pause.hear_answer(429, {})
    assert pause.allow_wait(None) is None
    assert pause.allow_wait(WAIT_MOST_S) == WAIT_MOST_S
    with pytest.raises(AskedToWait):
        pause.allow_wait(40.0)
    assert (pause.gave_up, pause.seconds) == (True, 40.0)


def test_what_an_earlier_send_heard_is_asked_again_instead_of_waited_for() -> None:
    """It goes by this machine's clock, which may be wrong: the service's own answer is better."""
    pause = HeardAnswers()
    assert pause.allow_wait(3600.0) is None
    assert not pause.gave_up


def test_the_answer_s_own_figure_wins_over_the_plugin_s() -> None:
    pause = HeardAnswers()
    pause.hear_answer(429, {"Retry-After": "14"})
    with pytest.raises(AskedToWait):
        pause.allow_wait(14.7)
    assert pause.seconds == 14.0


def test_a_pause_is_a_failure_that_passes_and_says_how_long() -> None:
    sent = build_pause("Discord", 13.2)
    assert sent.error == "Discord asks us to wait 14 s, error=429"
    assert (sent.looks_final, sent.retry_after_ms) == (False, 14_000)
    assert build_pause("Discord", 1e9).retry_after_ms == PAUSE_MOST_MS


@pytest.mark.parametrize(
    ("body_ms", "asked_s", "pause_ms"),
    [(None, None, PAUSE_MS), (None, 5.0, 5_000), (2_000, 5.0, 5_000), (9_000, 5.0, 9_000), (None, 1e9, PAUSE_MOST_MS)],
)
def test_header_and_body_are_both_heard(body_ms: int | None, asked_s: float | None, pause_ms: int) -> None:
    busy = FailureLine("Failed to send: error=429", None, body_ms)
    assert build_failure([busy], "json://h", asked_s).retry_after_ms == pause_ms


@pytest.mark.parametrize(
    ("service", "body", "refused"),
    [
        ("DingTalk", b'{"errcode":0,"errmsg":"ok"}', False),
        ("DingTalk", b'{"errcode":300005,"errmsg":"token is not exist"}', True),
        ("Feishu", b'{"StatusCode":0,"StatusMessage":"success","code":0,"data":{},"msg":"success"}', False),
        ("Feishu", b'{"code":19001,"msg":"param invalid"}', True),
        ("WeCom Bot", b'{"errcode":0,"errmsg":"ok"}', False),
        ("WeCom Bot", b'{"errcode":-1,"errmsg":"system busy"}', True),
        ("WeCom Bot", b'{"errcode":1}', True),
        ("DingTalk", b'{"errcode":-1,"errmsg":"system busy"}', True),
        ("Feishu", b'{"StatusCode":1,"StatusMessage":"bad"}', True),
        ("Lark (Feishu)", b'{"code":0,"msg":"success"}', False),
        ("Lark (Feishu)", b'{"StatusCode":0}', False),
        ("Lark (Feishu)", b'{"code":19024,"msg":"Key Words Not Found"}', True),
        ("ServerChan", b'{"code":0,"errno":0}', False),
        ("ServerChan", b'{"code":40001,"message":"bad pushtoken"}', True),
        ("ServerChan", b'{"errno":1024}', True),
        ("PushDeer", b'{"code":0,"content":{"result":[]}}', False),
        ("PushDeer", b'{"code":80501,"error":"token"}', True),
        ("Join", b'{"success":true}', False),
        ("Join", b'{"success":false,"errorMessage":"User not authenticated"}', True),
        ("JSON", b'{"errcode":300005,"success":false,"code":1}', False),  # whatever it means there
        ("DingTalk", b"<html>", False),
        ("DingTalk", b"[1]", False),
        ("DingTalk", b"", False),
        ("DingTalk", b"[" * 100_000, False),
    ],
)
def test_an_error_behind_a_200_is_seen_where_we_know_the_service(service: str, body: bytes, refused: bool) -> None:
    assert (find_refusal(service, body) is not None) is refused
    answers = HeardAnswers()
    answers.hear_answer(200, {}, body)
    assert (answers.find_refusal(service) is not None) is refused


@pytest.mark.parametrize(
    ("statuses", "refused"),
    [((403,), True), ((500, 404), True), ((400,), True), ((399,), False), ((403, 202), False), ((), False)],
)
def test_nothing_is_sent_that_no_answer_accepted(statuses: tuple[int, ...], refused: bool) -> None:
    answers = HeardAnswers()
    for status in statuses:
        answers.hear_answer(status, {})
    assert (answers.find_refusal("any") is not None) is refused
    assert answers.find_refusal("Nostr") is None
