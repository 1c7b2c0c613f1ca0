"""Bodies in every shape that a page or a client of `provider.md` shows."""

import json
from decimal import Decimal
from typing import Any

import pytest

from kit.provider_bodies import TASK, URL, read, without
from receiver.core.types import Ending, Image, Outcome, OutcomeShape, TaskError, Usage
from receiver.providers.vtrix import bodies

# The provider's own task object


def test_a_task_object_is_read_whole() -> None:
    assert read(TASK) == Outcome(
        ending=Ending.COMPLETED,
        shape=OutcomeShape.TASK,
        status="completed",
        task_id="d8ejq0123456789abcde",
        model="midjourney_outpaint",
        created_at=1767000000000,
        progress=1.0,
        images=(Image(0, URL, "image", "job-1"),),
        usage=Usage(Decimal("0.05"), 1.0),
    )


@pytest.mark.parametrize(
    "body",
    [
        without("output", status="in_progress", progress=0.4),
        without("output", status="IN_PROGRESS"),
        without("output", status="pending"),
        without("output", status="a word of tomorrow"),
        without("output", status="failed", error={"code": 4007098, "error_message": "x"}),
        without("output", "model", status="in_progress"),
        without("output", "created_at", status="in_progress"),
        without(output=None, outputs=TASK["output"]),
        without(output=[], results=None, status="in_progress"),
        without(output=[{"content": []}, {}]),
        without(region="eu", extra={"a": [1]}, trace_id="t", jobId="j", metadata={"jobId": "j"}),
        without(urls=["https://cdn.example/else.png"]),
    ],
)
def test_a_task_object_is_known_in_all_its_states_and_with_fields_of_tomorrow(body: dict[str, Any]) -> None:
    assert read(body).shape is OutcomeShape.TASK
    assert read(body).task_id == TASK["id"]


@pytest.mark.parametrize(
    "body",
    [
        without(status=2),
        without(status="2"),
        without(status="JobStatusSuccess"),
        without("id"),
        without(id=7),
        without(id=" "),
        without(id="x" * 201),
        without("model", "created_at"),
        without("output", urls=[URL]),
        without("output", results=[URL]),  # EvoLink
        without("output", images=[{"url": URL}]),
        without(output=[URL]),  # Replicate
        without(output={"image_urls": [URL]}),  # LegNext
        without("output", outputs=[{"url": URL}]),  # SeaCloud
        {"data": TASK},
        {"payload": TASK, "event": "completed"},
        {"id": "a", "status": "SUCCESS", "action": "IMAGINE", "imageUrl": URL},  # midjourney-proxy
    ],
)
def test_what_could_be_anybody_elses_is_no_task_object(body: dict[str, Any]) -> None:
    """Only a task object may settle a task at once, and only its id may be polled."""
    assert read(body).shape is not OutcomeShape.TASK
    assert read(body).task_id is None


def test_image_no_is_the_place_over_all_outputs_and_contents() -> None:
    """An item without a usable URL keeps its place: `imageNo` of a follow-up edit counts it too."""
    output = [
        {"content": [{"url": URL + "?0"}, {"type": "audio", "data": "00ff"}]},
        {"content": None},
        {"content": [{"url": "ftp://cdn.example/x"}, {"url": URL + "?3", "type": "video", "job_id": 12}]},
    ]
    images = read(without(output=output, metadata={"jobId": "of-metadata"})).images
    assert images == (Image(0, URL + "?0", "image", "of-metadata"), Image(3, URL + "?3", "video", "12"))


@pytest.mark.parametrize("error", [None, "", {}, {"code": 0, "message": ""}, {"code": "0", "message": "success"}])
def test_an_empty_error_does_not_spoil_a_success(error: object) -> None:
    outcome = read(without(error=error))
    assert (outcome.ending, outcome.error) == (Ending.COMPLETED, None)
    assert read(without("output", error=error)).ending is Ending.COMPLETED


@pytest.mark.parametrize("error", [None, "", {}, {"code": 0, "message": ""}])
def test_failed_is_failed_even_with_an_empty_error(error: object) -> None:
    outcome = read(without("output", status="failed", error=error))
    assert (outcome.ending, outcome.is_terminal) == (Ending.FAILED, True)
    assert outcome.error is not None
    assert outcome.error.message


def test_completed_without_a_picture_is_not_terminal() -> None:
    assert not read(without("output")).is_terminal
    assert not read(without(output=[{"content": [{"type": "audio", "data": "00"}]}])).is_terminal


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        ({"code": 4007098, "error_message": "generation failed"}, "004007098", "generation failed"),
        ({"code": "4007098", "message": "m"}, "004007098", "m"),
        ({"code": "004007098", "message": "m"}, "004007098", "m"),
        ({"code": 8004007098, "message": "m"}, "004007098", "m"),
        ({"code": "8004007098", "message": "m"}, "004007098", "m"),
        ({"code": 9004007098, "message": "m"}, "9004007098", "m"),
        ({"code": 4007098.0, "message": "m"}, "004007098", "m"),
        ({"code": "CONTENT_BLOCKED", "message": "m"}, "CONTENT_BLOCKED", "m"),
        ({"code": 5, "error_message": "preferred", "message": "not"}, "000000005", "preferred"),
        ({"code": 0, "message": "still said"}, None, "still said"),
        ({"code": True, "message": "m"}, None, "m"),
        ("plain words", None, "plain words"),
    ],
)
def test_a_failed_task_tells_code_and_message(error: object, code: str | None, message: str) -> None:
    got = read(without("output", status="failed", error=error)).error
    assert got is not None
    assert (got.code, got.message) == (code, message)


def test_what_came_as_error_is_kept_raw() -> None:
    error = {"code": 8004007098, "error_message": "x", "more": [1, None]}
    got = read(without("output", status="failed", error=error)).error
    assert got is not None
    assert json.loads(got.raw or b"") == error


def test_our_own_callback_token_does_not_come_back_in_an_error() -> None:
    token = "0199c0de-0000-7000-8000-000000000001." + "A-b_" * 8
    got = read(without("output", status="failed", error=f"cannot reach https://me.example/callbacks/{token}")).error
    assert got is not None
    assert token not in got.message
    assert token.encode() not in (got.raw or b"")


# Everybody else's: `provider.md` §2, §3 and §5

FOREIGN: list[tuple[str, dict[str, Any], OutcomeShape, Ending, str | None, int]] = [
    (
        "youchuan running",
        {"id": "u", "status": 1, "comment": "JobStatusRunning"},
        OutcomeShape.JOB,
        Ending.RUNNING,
        "u",
        0,
    ),
    ("youchuan success", {"id": "u", "status": 2, "urls": [URL, URL]}, OutcomeShape.JOB, Ending.COMPLETED, "u", 2),
    ("youchuan as text", {"id": "u", "status": "2", "urls": [URL]}, OutcomeShape.JOB, Ending.COMPLETED, "u", 1),
    ("youchuan no urls yet", {"id": "u", "status": 2, "urls": []}, OutcomeShape.JOB, Ending.COMPLETED, "u", 0),
    (
        "youchuan failed",
        {"id": "u", "status": 3, "comment": "JobStatusReject"},
        OutcomeShape.JOB,
        Ending.FAILED,
        "u",
        0,
    ),
    (
        "youchuan cancel",
        {"id": "u", "status": 3, "comment": "JobStatusCanceled"},
        OutcomeShape.JOB,
        Ending.CANCELLED,
        "u",
        0,
    ),
    (
        "youchuan unknown",
        {"id": "u", "status": 9, "comment": "JobStatusSuccess"},
        OutcomeShape.JOB,
        Ending.COMPLETED,
        "u",
        0,
    ),
    ("youchuan word", {"id": "u", "status": "JobStatusTextReject"}, OutcomeShape.JOB, Ending.FAILED, "u", 0),
    (
        "legnext",
        {
            "timestamp": 1,
            "data": {
                "job_id": "l",
                "model": "midjourney",
                "status": "completed",
                "output": {"image_url": "https://cdn.example/grid.png", "image_urls": [URL] * 4},
                "error": {"code": 0, "message": ""},
            },
        },
        OutcomeShape.WRAPPED,
        Ending.COMPLETED,
        "l",
        4,
    ),
    (
        "piapi",
        {"timestamp": 1, "data": {"task_id": "p", "status": "failed", "error": {"code": 10000, "message": "x"}}},
        OutcomeShape.WRAPPED,
        Ending.FAILED,
        "p",
        0,
    ),
    (
        "kie",
        {"code": 200, "msg": "success", "data": {"taskId": "k", "resultUrls": [URL]}},
        OutcomeShape.WRAPPED,
        Ending.COMPLETED,
        "k",
        1,
    ),
    ("kie accepted", {"code": 200, "msg": "ok", "data": {"taskId": "k"}}, OutcomeShape.WRAPPED, Ending.RUNNING, "k", 0),
    ("kie failed", {"code": 500, "msg": "no", "data": {"taskId": "k"}}, OutcomeShape.WRAPPED, Ending.FAILED, "k", 0),
    ("kie no task", {"code": 400, "msg": "no", "data": None}, OutcomeShape.WRAPPED, Ending.FAILED, None, 0),
    (
        "maxapi",
        {"code": 0, "data": {"taskId": "m", "status": "success", "result": {"urls": [URL]}}},
        OutcomeShape.WRAPPED,
        Ending.COMPLETED,
        "m",
        1,
    ),
    (
        "novita",
        {
            "event_type": "ASYNC_TASK_RESULT",
            "payload": {"task": {"task_id": "n", "status": "TASK_STATUS_SUCCEED"}, "images": [{"image_url": URL}]},
        },
        OutcomeShape.WRAPPED,
        Ending.COMPLETED,
        "n",
        1,
    ),
    (
        "imagineapi",
        {"event": "images.items.update", "payload": {"id": "i", "status": "in-progress", "progress": 45, "url": URL}},
        OutcomeShape.WRAPPED,
        Ending.RUNNING,
        "i",
        0,
    ),
    (
        "fal",
        {"request_id": "f", "status": "OK", "payload": {"images": [{"url": URL}]}},
        OutcomeShape.WRAPPED,
        Ending.COMPLETED,
        "f",
        1,
    ),
    ("seacloud", {"request_id": "s", "status": "IN_QUEUE"}, OutcomeShape.OTHER, Ending.RUNNING, "s", 0),
    (
        "seacloud failure",
        {"request_id": "s", "status": "COMPLETED", "error": "blocked", "error_type": "CONTENT_BLOCKED"},
        OutcomeShape.OTHER,
        Ending.FAILED,
        "s",
        0,
    ),
    ("evolink", without("output", results=[URL]), OutcomeShape.OTHER, Ending.COMPLETED, TASK["id"], 1),
    (
        "kling",
        {"task_id": "c", "task_status": "succeed", "task_result": {"images": [{"index": 0, "url": URL}]}},
        OutcomeShape.OTHER,
        Ending.COMPLETED,
        "c",
        1,
    ),
    ("mj-proxy", {"id": "j", "status": "NOT_START", "progress": "0%"}, OutcomeShape.OTHER, Ending.RUNNING, "j", 0),
    ("mj-proxy end", {"id": "j", "status": "FAILURE", "failReason": "no"}, OutcomeShape.OTHER, Ending.FAILED, "j", 0),
    ("apiframe", {"event": "completed", "jobId": "a", "images": [URL]}, OutcomeShape.OTHER, Ending.COMPLETED, "a", 1),
    ("useapi", {"jobid": "x", "status": "moderated"}, OutcomeShape.OTHER, Ending.FAILED, "x", 0),
    ("unknown word", {"status": "banana"}, OutcomeShape.OTHER, Ending.RUNNING, None, 0),
    ("only an error", {"id": "e", "error": {"message": "no"}}, OutcomeShape.OTHER, Ending.FAILED, "e", 0),
]


@pytest.mark.parametrize(
    ("body", "shape", "ending", "job_id", "pictures"), [row[1:] for row in FOREIGN], ids=[row[0] for row in FOREIGN]
)
def test_a_foreign_shape_is_understood(
    body: dict[str, Any], shape: OutcomeShape, ending: Ending, job_id: str | None, pictures: int
) -> None:
    outcome = read(body)
    assert (outcome.shape, outcome.ending, outcome.job_id) == (shape, ending, job_id)
    assert len(outcome.images) == pictures
    assert outcome.task_id is None
    assert (outcome.error is not None) is (ending in (Ending.FAILED, Ending.CANCELLED))


def test_the_upstreams_comment_is_the_message_and_its_id_the_pictures_job() -> None:
    failed = read({"id": "u", "status": 3, "comment": "JobStatusBadPrompt", "urls": []})
    assert failed.error is not None
    assert failed.error.message == "JobStatusBadPrompt"
    assert read({"id": "u", "status": 2, "urls": [URL]}).images == (Image(0, URL, "image", "u"),)


def test_an_envelopes_code_and_words_are_its_error() -> None:
    got = read({"code": 501, "msg": "no luck", "data": None}).error
    assert got == TaskError("501", "no luck", b'{"code":501,"msg":"no luck"}')
    sibling = read(
        {"request_id": "s", "status": "COMPLETED", "error": "blocked", "error_type": "CONTENT_BLOCKED"}
    ).error
    assert sibling is not None
    assert sibling.code == "CONTENT_BLOCKED"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"7",
        b'"completed"',
        b"{}",
        b'{"hello": "world"}',
        b'{"id": "x"}',
        b'{"status": {}}',
        b'{"status": true}',
        b'{"status": ""}',
        b'{"message": "hello"}',
        b'{"status": "completed"',
        b"status=completed",
        b"<html>",
        b"\xff\xfe\x00",
        b"\x00",
        b"[" * 200_000,
        b'{"a":' * 200_000,
        b'{"status":' + b"9" * 5_000 + b"}",
    ],
)
def test_no_outcome_is_had_from_what_says_nothing(body: bytes) -> None:
    assert bodies.parse_body(body) is None
