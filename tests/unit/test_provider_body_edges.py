"""Which of several places in a body is believed, and what a number or a word beside the status changes."""

import json

import pytest

from kit.provider_bodies import TASK, URL, read, without
from receiver.core.types import Ending, Image, TaskError
from receiver.providers.vtrix import bodies
from receiver.providers.vtrix.error_parts import NO_REASON


def error_of(body: dict[str, object]) -> tuple[str | None, str]:
    """Code and message of the error that a body tells."""
    error = read(body).error
    assert error is not None
    return error.code, error.message


# -- numbers of an envelope --


@pytest.mark.parametrize(
    ("code", "ending"),
    [(0, Ending.RUNNING), (200, Ending.RUNNING), (1, Ending.FAILED), (-1, Ending.FAILED), (201, Ending.FAILED)],
)
def test_zero_and_200_say_that_all_is_well_and_any_other_number_is_a_failure(code: int, ending: Ending) -> None:
    assert read({"code": code, "msg": "words", "data": {"taskId": "k"}}).ending is ending


@pytest.mark.parametrize(("code", "kept"), [(0, None), (200, None), (199, "199"), (201, "201")])
def test_the_number_of_a_request_that_went_well_is_not_the_code_of_a_failure(code: int, kept: str | None) -> None:
    assert error_of({"code": code, "msg": "no luck", "data": {"status": "failed"}}) == (kept, "no luck")


@pytest.mark.parametrize(("code", "complains"), [(0, False), (200, False), (199, True), (201, True)])
def test_a_message_beside_zero_or_200_is_no_complaint(code: int, complains: bool) -> None:
    assert (bodies.parse_refusal(json.dumps({"code": code, "message": "words"}).encode()) is not None) is complains


# -- what an error says --


def test_an_error_needs_a_code_or_a_message() -> None:
    assert error_of(without("output", status="failed", error={"code": 5})) == ("000000005", NO_REASON)
    assert error_of(without("output", status="failed", error={"message": "m"})) == (None, "m")
    assert read(without("output", error={"details": [1]})).ending is Ending.COMPLETED


def test_an_error_without_a_code_takes_the_one_beside_it_but_not_the_envelopes() -> None:
    assert error_of({"status": "failed", "error": "m", "code": 5}) == (None, "m")
    assert error_of({"status": "failed", "error": "m", "code": 5, "error_code": "X"}) == ("X", "m")
    assert error_of({"status": "failed", "error": "m", "error_code": "X", "error_type": "Y"}) == ("X", "m")
    assert error_of({"status": "failed", "error": {"code": 7, "message": "m"}, "error_code": "X"}) == ("000000007", "m")


@pytest.mark.parametrize(("code", "kept"), [(99, "000000099"), (100, "Z"), (599, "Z"), (600, "000000600")])
def test_a_code_beside_the_number_of_an_http_status_goes_before_it(code: int, kept: str) -> None:
    for spelling in (code, f"{code:03}"):
        error = {"code": spelling, "error_code": "Z", "message": "m"}
        assert error_of(without("output", status="failed", error=error)) == (kept, "m")
    alone = without("output", status="failed", error={"code": code, "message": "m"})
    assert error_of(alone) == (f"{code}" if kept == "Z" else f"{code:09}", "m")


def test_the_first_of_several_complaints_is_told() -> None:
    assert error_of({"status": "failed", "detail": ["first", "last"]}) == (None, "first")
    assert error_of({"status": "failed", "detail": [["nested"], "last"]}) == (None, NO_REASON)


def test_a_failure_keeps_its_error_even_if_there_are_pictures() -> None:
    failed = read(without(status="failed", error={"code": 5, "message": "half of them"}))
    assert (failed.ending, len(failed.images)) == (Ending.FAILED, 1)
    assert failed.error == TaskError("000000005", "half of them", b'{"code":5,"message":"half of them"}')


# -- which word is the status --


def test_an_event_is_the_status_of_a_body_that_has_none_and_stands_outside() -> None:
    assert read({"event": "completed", "data": {"jobId": "a", "images": [URL]}}).status == "completed"
    assert read({"event": "failed", "data": {"event": "completed", "task": {"jobId": "a"}}}).status == "failed"


def test_a_comment_refines_an_unknown_number_but_no_word() -> None:
    assert read({"id": "u", "status": 9, "comment": "JobStatusFail"}).ending is Ending.FAILED
    assert read({"id": "u", "status": 1, "comment": "JobStatusFail"}).ending is Ending.RUNNING
    assert read({"id": "u", "status": "banana", "comment": "JobStatusFail"}).ending is Ending.RUNNING


# -- which URL and which id are a picture's --


def test_of_several_urls_and_ids_of_a_picture_the_first_key_counts() -> None:
    item = {"image_url": URL + "?second", "url": URL + "?first", "job_id": "second", "jobId": "first"}
    assert read(without(output=[{"content": [item]}])).images == (Image(0, URL + "?first", "image", "first"),)
    blank = {"url": "", "image_url": URL, "jobId": None, "job_id": "second"}
    assert read(without(output=[{"content": [blank]}])).images == (Image(0, URL, "image", "second"),)


def test_a_task_object_is_read_the_same_with_its_fields_in_any_order() -> None:
    assert read(dict(reversed(TASK.items()))) == read(TASK)


# -- levels, status and shape --


@pytest.mark.parametrize(
    ("body", "is_one"),
    [
        (json.dumps(TASK).encode(), True),
        (json.dumps([TASK]).encode(), False),
        (json.dumps({"data": TASK}).encode(), False),
        (b'{"status": "completed"}', False),
        (b"words", False),
        (b"", False),
    ],
)
def test_a_task_object_is_the_providers_own_and_stands_alone(body: bytes, is_one: bool) -> None:
    assert bodies.is_task_object(body) is is_one


def test_a_status_inside_the_result_counts_if_there_is_none_outside() -> None:
    inside = read({"id": "u", "result": {"status": "failed", "message": "no"}})
    assert (inside.status, inside.ending) == ("failed", Ending.FAILED)
    assert inside.error is not None
    assert inside.error.message == "no"
    assert read({"id": "u", "status": "completed", "result": {"status": "failed", "url": URL}}).status == "completed"
    coded = read({"code": 200, "msg": "words", "result": {"status": "failed"}})
    assert (coded.status, coded.ending) == ("200", Ending.RUNNING)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"code": 200, "msg": "words", "data": {"images": [URL]}}, "200"),
        ({"code": 500, "msg": "words"}, "500"),
        ({"images": [URL]}, ""),
        ({"status": " completed ", "images": [URL]}, "completed"),
        ({"status": 2, "images": [URL]}, "2"),
        ({"status": "x" * 101}, "x" * 100),
    ],
)
def test_the_status_is_what_came_or_else_the_number_of_the_envelope(body: dict[str, object], status: str) -> None:
    assert read(body).status == status


def test_an_event_is_a_status_by_its_last_word() -> None:
    outcome = read({"event": "job.image.completed", "images": [URL]})
    assert (outcome.status, outcome.ending, outcome.doubt) == ("completed", Ending.COMPLETED, None)
    assert read({"event": "completed.image", "images": [URL]}).status == ""


def test_a_number_that_no_client_knows_is_named_in_the_doubt() -> None:
    assert read({"id": "u", "status": 7}).doubt == "its status '7' is unknown"


def test_a_reply_with_another_tasks_id_is_not_about_ours_even_if_ours_is_mentioned() -> None:
    body = json.dumps(without(id="other", request_id="ours")).encode()
    assert bodies.parse_reply(body, "ours") is None
    assert bodies.parse_reply(body, "other") == read(without(id="other", request_id="ours"))


def test_an_unknown_status_is_named_in_forty_characters() -> None:
    assert read({"status": "x" * 41, "images": [URL]}).doubt == f"its status '{'x' * 40}' is unknown"


@pytest.mark.parametrize(
    ("body", "strange"),
    [
        (without("output", status="archived"), True),
        (without("output", status="archived", progress=1), True),
        (without("output", status="archived", progress=0.4), False),
        (without("output", status="processing"), False),
        ({"status": "archived"}, True),
        ({"status": "running"}, False),
        ({"code": 0, "data": {"id": "x"}}, False),
    ],
)
def test_a_status_that_is_not_known_is_told_from_one_that_says_running(body: dict[str, object], strange: bool) -> None:
    outcome = read(body)
    assert (outcome.ending, outcome.unknown_status) == (Ending.RUNNING, strange)
