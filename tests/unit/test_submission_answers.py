"""What each answer to a submission means: a row per status, over the provider's own words, a gateway's, and none."""

import gzip
import json

import pytest

from receiver.core.types import Ending, PollResult, RefusalCause, SubmitResult
from receiver.providers.content_coding import unpack
from receiver.providers.vtrix.answers import SubmitMeaning, judge_reply, judge_submission

ID = b'{"id": "abc"}'
TASK = b'{"id": "abc", "status": "in_progress", "model": "midjourney_outpaint", "created_at": 1767000000}'
OWN = b'{"error": {"code": 4007099, "error_message": "service unavailable"}}'
JSON = b'{"message": "Service Unavailable"}'
HTML = b"<html><center>nginx</center></html>"
NONE = b""
KINDS = {"id": ID, "task": TASK, "own": OWN, "json": JSON, "html": HTML, "none": NONE}

T, B, R, U, X = (
    SubmitResult.TAKEN,
    SubmitResult.BUSY,
    SubmitResult.REFUSED,
    SubmitResult.UNAUTHORIZED,
    SubmitResult.UNCLEAR,
)
# status: only an id, a task object, the code ...099, a gateway's JSON, HTML, nothing
ROWS: dict[int, tuple[SubmitResult, ...]] = {
    200: (T, T, R, X, X, X),
    201: (T, T, R, X, X, X),
    202: (T, T, R, X, X, X),
    204: (T, T, R, X, X, X),
    301: (X, T, X, X, X, X),
    307: (X, T, X, X, X, X),
    400: (R, T, R, R, R, R),
    401: (U, T, U, U, U, U),
    402: (U, T, U, U, U, U),
    403: (U, T, U, U, U, U),
    404: (R, T, R, R, R, R),
    405: (X, T, X, X, X, X),
    408: (X, T, X, X, X, X),
    409: (X, T, X, X, X, X),
    413: (R, T, R, R, R, R),
    422: (R, T, R, R, R, R),
    429: (B, T, B, B, B, B),
    499: (X, T, X, X, X, X),
    500: (X, T, X, X, X, X),
    502: (X, T, X, X, X, X),
    503: (X, T, B, X, X, X),
    504: (X, T, X, X, X, X),
    529: (X, T, X, X, X, X),
}


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
@pytest.mark.parametrize("status", ROWS)
def test_each_status_means_the_same_in_the_same_words(status: int, pack: type[bytes]) -> None:
    said = {kind: judge_submission(status, unpack(pack(body), 1 << 20) or b"").result for kind, body in KINDS.items()}
    assert said == dict(zip(KINDS, ROWS[status], strict=True))


def judged(status: int, body: object) -> SubmitMeaning:
    return judge_submission(status, json.dumps(body).encode())


@pytest.mark.parametrize("code", [4007099, "004007099", 8004007099, "8004007099", "4011099", 8004001099, "002014099"])
def test_the_code_of_an_unavailable_service_is_known_for_any_model(code: int | str) -> None:
    assert judged(503, {"error": {"code": code, "message": "m"}}).result is B
    assert judged(503, {"code": code, "message": "m"}).result is B
    assert judged(503, {"code": 503, "error_code": code, "message": "m"}).result is B


@pytest.mark.parametrize(
    "code", [99, "99", "099", 503, 4007098, "000000099", "004000099", "x004007099", 94007099, None]
)
def test_503_with_any_other_code_is_unclear(code: object) -> None:
    assert judged(503, {"error": {"code": code, "message": "service unavailable 004007099"}}).result is X


@pytest.mark.parametrize("word", ["Msg_Sensitive", "Relax_Not_Allow", "Upscale_Not_Support"])
def test_a_403_that_names_the_tasks_own_fault_refuses_the_task(word: str) -> None:
    for body in (
        {"code": 403, "message": "no", "reason": word},
        {"message": f"{word}: a word"},
        {"error": word.lower()},
    ):
        meant = judged(403, body)
        assert meant.result is R, body
        assert meant.error is not None


@pytest.mark.parametrize(
    ("status", "body", "cause"),
    [
        (401, {"message": "bad key"}, RefusalCause.KEY),
        (401, None, RefusalCause.KEY),
        (402, {"message": "pay"}, RefusalCause.BALANCE),
        (402, {"reason": "Account_Fee_Not_Enough", "message": "m"}, RefusalCause.BALANCE),
        (403, {"reason": "Permission_Denied", "message": "m"}, RefusalCause.PERMISSION),
        (403, {"error": {"code": "No_Avaliable_Plan", "message": "m"}}, RefusalCause.PERMISSION),
        (403, {"status": {"code": 403, "message": "m", "error_code": 40201}}, RefusalCause.BALANCE),
        (400, {"status": {"code": 400, "message": "m", "error_code": 40208}}, RefusalCause.BALANCE),
        (200, {"error": {"code": 40203, "message": "m"}}, RefusalCause.BALANCE),
    ],
)
def test_what_all_tasks_share_names_its_cause(status: int, body: object, cause: RefusalCause) -> None:
    meant = judged(status, body)
    assert (meant.result, meant.cause, meant.may_be_own) == (U, cause, False)


@pytest.mark.parametrize(
    ("status", "body", "cause"),
    [
        (403, {"message": "Forbidden"}, None),
        (403, None, None),
        (403, {"message": "insufficient balance"}, RefusalCause.BALANCE),
        (402, {"reason": "No_More_Relax_Credit", "message": "m"}, None),
    ],
)
def test_any_other_403_may_be_the_tasks_own(status: int, body: object, cause: RefusalCause | None) -> None:
    meant = judged(status, body)
    assert (meant.result, meant.cause, meant.may_be_own) == (U, cause, True)


def test_405_is_a_refusal_only_in_the_upstreams_words() -> None:
    assert judged(405, {"code": 405, "message": "m", "reason": "Not_Support"}).result is R


@pytest.mark.parametrize("body", [{"code": 504, "message": "timeout"}, {"error": {"code": 429, "message": "m"}}])
def test_a_200_that_only_says_that_nobody_knows_is_unclear(body: object) -> None:
    assert judged(200, body).result is X


def test_an_id_inside_an_envelope_is_kept_to_poll_by() -> None:
    meant = judged(200, {"code": 0, "message": "success", "data": {"id": "abc"}})
    assert meant.result is X
    assert meant.outcome is not None
    assert meant.outcome.task_id == "abc"
    for key in ("task_id", "taskId"):
        assert judged(202, {key: "abc"}).result is T


# -- a task object in an envelope --

TASK_OBJECT = json.loads(TASK)
ENVELOPES = {
    "data": {"code": 0, "message": "success", "data": TASK_OBJECT},
    "an array": {"data": [TASK_OBJECT]},
    "a text": {"data": json.dumps(TASK_OBJECT)},
    "any key, deeper": {"meta": {}, "reply": {"created": {"it": TASK_OBJECT}}},
    "beside an error": {"error": {"code": 429, "message": "too many requests"}, "task": TASK_OBJECT},
    "the provider's busy": {"error": {"code": 4007099, "message": "service unavailable"}, "task": TASK_OBJECT},
    "twice the same": {"task": TASK_OBJECT, "data": {"task": TASK_OBJECT}},
}


@pytest.mark.parametrize("status", ROWS)
@pytest.mark.parametrize("envelope", ENVELOPES)
def test_a_task_object_means_taken_whatever_the_status_and_the_envelope(status: int, envelope: str) -> None:
    """A 429 that carried one was sent again, and paid for twice."""
    meant = judged(status, ENVELOPES[envelope])
    assert meant.result is T
    assert meant.outcome is not None
    assert (meant.outcome.task_id, meant.outcome.ending) == ("abc", Ending.RUNNING)


@pytest.mark.parametrize("status", ROWS)
def test_a_whole_answer_in_a_text_or_an_array_is_read_too(status: int) -> None:
    for body in ([TASK_OBJECT], TASK.decode()):
        assert judged(status, body).result is T


@pytest.mark.parametrize("status", ROWS)
def test_several_task_objects_are_unclear_since_ours_may_be_one_of_them(status: int) -> None:
    listed = {"message": "too many running tasks", "running": [TASK_OBJECT, {**TASK_OBJECT, "id": "abd"}]}
    meant = judged(status, listed)
    assert (meant.result, meant.outcome) == (X, None)


def test_a_task_object_that_failed_at_once_has_the_words_beside_it() -> None:
    failed = {**TASK_OBJECT, "status": "failed"}
    meant = judged(400, {"error": {"code": "004007002", "message": "imageNo is missing"}, "data": failed})
    assert meant.result is T
    assert meant.outcome is not None
    assert (meant.outcome.ending, meant.outcome.error) == (Ending.FAILED, meant.error)
    own = judged(400, {"message": "no", "data": {**failed, "error": {"code": 7, "message": "its own"}}})
    assert own.outcome is not None
    assert own.outcome.error is not None
    assert own.outcome.error.message == "its own"


@pytest.mark.parametrize(
    "body",
    [
        {"data": {"id": "abc"}},
        {"data": {"id": "abc", "status": "queued"}},
        {"request": {"id": "abc", "model": "m", "input": []}},
        {"error": {"id": "abc", "status": 429, "model": "m", "message": "slow down"}},
    ],
)
def test_what_is_no_task_object_in_an_envelope_changes_nothing_about_a_429(body: object) -> None:
    assert judged(429, body).result is B


def test_a_huge_or_deep_answer_is_looked_through_within_bounds() -> None:
    wide = {"data": [{"n": number} for number in range(100_000)], "task": TASK_OBJECT}
    assert judged(503, wide).result in (T, X)
    deep: object = TASK_OBJECT
    for _ in range(400):
        deep = {"a": deep}
    assert judged(503, deep).result is X
    surrogate = b'{"error": {"message": "m"}, "task": {"id": "abc", "status": "queued", "model": "m\\ud800"}}'
    assert judge_submission(429, surrogate).result is T


@pytest.mark.parametrize(
    ("status", "body", "whole", "heard"),
    [
        (200, TASK, True, PollResult.OUTCOME),
        (202, TASK, True, PollResult.OUTCOME),
        (200, TASK, False, PollResult.OUTCOME),
        (200, b'{"id": "abc", "status": 2, "urls": ["https://cdn.example/0.png"]}', True, PollResult.OUTCOME),
        (200, TASK.replace(b"abc", b"abd"), True, PollResult.NOTHING),
        (200, HTML, True, PollResult.UNREADABLE),
        (200, b"", True, PollResult.UNREADABLE),
        (204, b"", True, PollResult.UNREADABLE),
        (200, b'{"status": "failed"}', True, PollResult.UNREADABLE),
        (200, b'{"id": "abc', False, PollResult.NOTHING),
        (404, TASK, True, PollResult.UNKNOWN),
        (429, b"", True, PollResult.BUSY),
        (403, b"", True, PollResult.UNAUTHORIZED),
        (503, OWN, True, PollResult.NOTHING),
        (302, b"", True, PollResult.NOTHING),
        (0, b"", False, PollResult.NOTHING),
    ],
)
def test_each_reply_to_a_poll_has_a_meaning(status: int, body: bytes, whole: bool, heard: PollResult) -> None:
    result, outcome = judge_reply(status, body, "abc", whole=whole)
    assert result is heard
    assert (outcome is not None) is (heard is PollResult.OUTCOME)
