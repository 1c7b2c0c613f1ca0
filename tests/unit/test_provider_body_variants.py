"""Bodies in other wrappings, places and words: what can be read is read, and nothing of it settles a task at once.

An end that cannot be read is a doubted end: never "still running", and never believed as it stands.
"""

import gzip
import json
import zlib
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.provider_bodies import TASK, URL, read, without
from receiver.core.types import Ending, Image, Outcome, OutcomeShape
from receiver.providers.body_decoding import UNPACKED_MOST
from receiver.providers.vtrix import bodies

PLAIN = json.dumps(TASK).encode()
JOB = {"id": "u", "status": 2, "urls": [URL, URL + "?1"]}


def parsed(body: bytes) -> Outcome:
    outcome = bodies.parse_body(body)
    assert outcome is not None
    return outcome


# -- wrappings --


@pytest.mark.parametrize("pack", [gzip.compress, zlib.compress], ids=["gzip", "deflate"])
def test_a_packed_body_is_the_body(pack: Any) -> None:
    assert parsed(pack(PLAIN)) == parsed(PLAIN)


def test_a_packed_body_that_is_too_large_is_not_read() -> None:
    assert bodies.parse_body(gzip.compress(b" " * UNPACKED_MOST + PLAIN)) is None


@pytest.mark.parametrize(
    "body",
    [
        json.dumps([TASK]),
        json.dumps([[TASK]]),
        json.dumps(json.dumps(TASK)),
        json.dumps([json.dumps(TASK)]),
        urlencode({"payload": json.dumps(TASK)}),
        urlencode({"event": "x", "data": json.dumps([TASK])}),
        json.dumps({"data": json.dumps(TASK)}),
        json.dumps({"payload": [TASK]}),
        json.dumps({"task": TASK}),
    ],
    ids=[
        "array",
        "arrays",
        "text",
        "text in array",
        "form",
        "form of array",
        "data as text",
        "payload as array",
        "task",
    ],
)
def test_a_wrapped_body_is_read_but_does_not_settle_at_once(body: str) -> None:
    outcome = parsed(body.encode())
    assert (outcome.ending, [it.url for it in outcome.images]) == (Ending.COMPLETED, [URL])
    assert outcome.is_terminal
    assert outcome.shape is not OutcomeShape.TASK


def test_utf_16_is_read() -> None:
    assert parsed(json.dumps(TASK).encode("utf-16")) == parsed(PLAIN)


@pytest.mark.parametrize("body", [f"status=completed&url={quote(URL)}", "payload=no", "=1", "payload=%5B%5D"])
def test_a_form_without_json_says_nothing(body: str) -> None:
    assert bodies.parse_body(body.encode()) is None


def test_an_array_of_several_says_nothing() -> None:
    assert bodies.parse_body(json.dumps([TASK, TASK]).encode()) is None


# -- places of pictures --


@pytest.mark.parametrize(
    "result",
    [
        {"output": URL},
        {"output": {"url": URL}},
        {"output": {"content": [{"url": URL}]}},
        {"output": {"content": {"url": URL}}},
        {"output": {"image_url": URL}},
        {"output": {"imageUrl": URL}},
        {"output": {"image_urls": [URL]}},
        {"output": {"0": URL}},
        {"output": {"image": URL}},
        {"output": json.dumps([URL])},
        {"output": [URL]},
        {"output": [{"image_url": {"url": URL}}]},
        {"output": [{"imageUrl": URL}]},
        {"output": [[URL]]},
        {"imageUrl": URL},
        {"imageUrls": [URL]},
        {"image_url": URL},
        {"url": URL},
        {"images": URL},
        {"images": [{"uri": URL}]},
        {"result": URL},
        {"result": {"url": URL}},
        {"result": {"image_urls": [URL]}},
        {"resultJson": json.dumps({"resultUrls": [URL]})},
        {"response": {"imageUx": [{"url": URL}]}},
        {"upscaled_urls": [URL]},
        {"temporary_image_urls": [URL]},
        {"data": [{"url": URL}, {"url": ""}]},
        {"pictures": [URL]},
        {"generations": {"artifacts": [{"href": URL}]}},
        {"somewhere": {"deep": [{"x": URL}]}},
    ],
    ids=lambda it: json.dumps(it)[:50],
)
def test_a_picture_is_found_wherever_a_service_may_put_it(result: dict[str, Any]) -> None:
    for head in ({"id": "u", "status": "completed"}, without("output")):
        outcome = read({**head, **result})
        assert [it.url for it in outcome.images] == [URL]
        assert (outcome.ending, outcome.doubt) == (Ending.COMPLETED, None)
        assert outcome.shape is not OutcomeShape.TASK, "not in its documented place"


def test_what_was_sent_is_not_what_came_back() -> None:
    sent = {
        "input": {"imgUrl": URL},
        "params": {"image": URL},
        "callback": f"https://me.example/image.png?{URL}",
        "webhook_url": URL,
        "urls": {"get": "https://api.example/output", "cancel": "https://api.example/image"},
        "error_image": None,
    }
    assert read({"id": "u", "status": "completed", **sent}).images == ()
    assert read(without("output", **(sent | {"urls": None}))).images == ()


def test_pictures_of_something_unfinished_are_not_the_result() -> None:
    assert read({"id": "u", "status": "rendering", "url": URL}).images == ()


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("https://cdn.example/a b.png", "https://cdn.example/a%20b.png"),
        (" https://cdn.example/a.png?x=1 2\n", "https://cdn.example/a.png?x=1%202"),
        ("https://cdn.example/a\r\n.png", "https://cdn.example/a.png"),
        ("https://cdn.example/\xa0.png", "https://cdn.example/%C2%A0.png"),
        ("https://cdn.example/" + "x" * 16_364, "https://cdn.example/" + "x" * 16_364),
    ],
)
def test_a_link_with_blanks_or_of_great_length_is_kept(url: str, kept: str) -> None:
    outcome = read(without(output=[{"content": [{"url": url}]}]))
    assert [it.url for it in outcome.images] == [kept]
    assert outcome.shape is OutcomeShape.TASK


# -- ends that cannot be read --


@pytest.mark.parametrize(
    ("body", "doubt"),
    [
        (without("output"), "no picture was found in it"),
        (without(output=[{"content": [{"type": "audio", "data": "00ff"}]}]), "no picture was found in it"),
        (without(output={"text": "done"}), "no picture was found in it"),
        ({"id": "u", "status": 2, "urls": []}, "no picture was found in it"),
        (without(output=[{"content": [{"url": "data:image/png;base64,AAAA"}]}]), "a data: URL"),
        (without(output="data:image/png;base64,AAAA"), "a data: URL"),
        (without(output=[{"content": [{"url": URL + "x" * 16_384}]}]), "longer than 16,384 characters"),
        (without(output=[{"content": [{"url": URL}]}], status="foo"), "its status 'foo' is unknown"),
        ({"id": "u", "status": "foo", "urls": [URL]}, "its status 'foo' is unknown"),
        ({"id": "u", "urls": [URL]}, "it has no status"),
        ({"imageUrl": URL}, "it has no status"),
    ],
)
def test_an_end_that_cannot_be_read_is_a_doubted_completion(body: dict[str, Any], doubt: str) -> None:
    outcome = read(body)
    assert outcome.ending is Ending.COMPLETED
    assert doubt in (outcome.doubt or "")


@pytest.mark.parametrize(
    "body",
    [
        without("output", status="foo", error={"code": 4007098, "message": "no"}),
        {"id": "u", "status": "foo", "error": "no"},
        {"id": "u", "status": 4, "comment": "JobStatusWhatever"},
        {"id": "u", "status": 7},
    ],
)
def test_an_unknown_word_beside_an_error_and_an_unknown_number_are_a_doubted_failure(body: dict[str, Any]) -> None:
    outcome = read(body)
    assert outcome.ending is Ending.FAILED
    assert outcome.error is not None
    assert "is unknown" in (outcome.doubt or "")


@pytest.mark.parametrize(
    "body",
    [
        without("output", status="foo"),
        {"id": "u", "status": "foo"},
        {"id": "u", "status": "foo", "progress": 0.5, "url": URL},
        without(status="foo", progress=0.5),
        {"id": "u", "status": 0},
        {"id": "u", "status": 200},
        without("output", status="in_progress", error={"code": 1, "message": "a retry"}),
    ],
)
def test_what_says_no_end_has_no_doubt(body: dict[str, Any]) -> None:
    outcome = read(body)
    assert (outcome.ending, outcome.doubt) == (Ending.RUNNING, None)


def test_what_can_be_read_has_no_doubt() -> None:
    for body in (TASK, JOB, without("output", status="failed"), {"status": "moderated"}):
        assert read(body).doubt is None


@pytest.mark.parametrize(
    ("words", "ending"),
    [
        ("complete done ready generated FINISHED Success succeeded 成功 partial-success", Ending.COMPLETED),
        ("rejected expired aborted moderated audit-fail FAILURE error timed-out blocked 失败 nsfw", Ending.FAILED),
        ("cancel canceled Cancelled", Ending.CANCELLED),
        ("waiting rendering IN_QUEUE starting initializing", Ending.RUNNING),
    ],
)
def test_the_words_of_other_services_are_known(words: str, ending: Ending) -> None:
    for word in words.split():
        assert read({"id": "u", "status": word, "output": URL}).ending is ending, word
    assert read({"id": "u", "status": "Content Moderated"}).ending is Ending.FAILED


def test_an_event_with_a_dotted_name_is_a_status() -> None:
    assert read({"event": "generation.completed", "jobId": "a", "images": [URL]}).ending is Ending.COMPLETED


# -- parts --


def test_the_job_id_of_an_item_may_stand_in_its_metadata() -> None:
    def job(item: dict[str, Any], **metadata: object) -> str | None:
        [image] = read(without(output=[{"content": [{"url": URL, **item}]}], metadata=metadata)).images
        return image.job_id

    assert job({"metadata": {"jobId": "m"}}) == "m"
    assert job({"metadata": {"provider": {"jobId": "p"}}}) == "p"
    assert job({"metadata": {"provider_context": {"job_id": "c"}}}) == "c"
    assert job({"jobId": "own", "metadata": {"jobId": "m"}}) == "own"
    assert job({}, provider={"jobId": "task's"}) == "task's"
    assert job({"metadata": {"provider": "text"}}, jobId="task's") == "task's"


def test_a_placeholder_is_no_job_id() -> None:
    item = {"url": URL, "jobId": "midjourney_provider_job_id", "metadata": {"jobId": "m"}}
    assert read(without(output=[{"content": [item]}])).images == (Image(0, URL, "image", "m"),)
    item = {"url": URL, "jobId": "provider_task_id"}
    assert read(without(output=[{"content": [item]}])).images == (Image(0, URL, "image", None),)


def test_a_picture_that_failed_moderation_is_not_a_picture() -> None:
    half = read({**JOB, "audits": ["", "sensitive content"]})
    assert half.images == (Image(0, URL, "image", "u"),)
    second = read({**JOB, "audits": ["bad", None]})
    assert [it.image_no for it in second.images] == [1], "it keeps its number"
    none = read({**JOB, "audits": ["bad", "worse"]})
    assert (none.ending, none.images) == (Ending.FAILED, ())
    assert none.error is not None
    assert "moderation: worse" in none.error.message


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        ({"error": "failed", "provider_error": {"code": 4007098, "message": "why"}}, "004007098", "failed"),
        ({"provider_error": {"code": "X", "message": "why"}}, "X", "why"),
        ({"error": {"message": "m"}, "ProviderErrorCode": "Y"}, "Y", "m"),
        ({"error": {"code": 403, "error_code": 40201, "message": "m"}}, "000040201", "m"),
        ({"error": {"code": "500", "error_code": "Z", "message": "m"}}, "Z", "m"),
        ({"error": {"code": 4007098, "error_code": "Z", "message": "m"}}, "004007098", "m"),
        ({"status": {"code": 402, "message": "no balance", "error_code": 40203}}, "000040203", "no balance"),
    ],
)
def test_the_code_of_an_error_is_the_providers_not_the_one_of_http(
    body: dict[str, Any], code: str, message: str
) -> None:
    error = bodies.parse_refusal(json.dumps(body).encode())
    assert error is not None
    assert (error.code, error.message) == (code, message)


# -- replies to polls --


def test_a_reply_in_any_shape_is_about_the_task_if_it_has_its_id() -> None:
    task_id = str(TASK["id"])
    assert bodies.parse_reply(PLAIN, task_id) == parsed(PLAIN)
    same: list[object] = [{**JOB, "id": task_id}, {"code": 0, "data": {"id": task_id, **without("id")}}, [TASK]]
    for body in same:
        reply = bodies.parse_reply(json.dumps(body).encode(), task_id)
        assert reply is not None
        assert (reply.task_id, reply.ending) == (task_id, Ending.COMPLETED)
    for other in (JOB, {"status": "failed"}, {"data": {"status": "failed"}}, without(id="other")):
        assert bodies.parse_reply(json.dumps(other).encode(), task_id) is None


# -- what settles at once --

LINKS = st.sampled_from([URL, URL + "?2", "data:x", ""])
SPOTS: st.SearchStrategy[Any] = st.recursive(
    LINKS | st.none(),
    lambda it: (
        st.lists(it, max_size=3)
        | st.dictionaries(st.sampled_from(["url", "content", "image_url", "images", "x", "imageUrl"]), it, max_size=3)
    ),
)


@given(st.dictionaries(st.sampled_from(["output", "outputs", "pictures", "imageUrl", "url", "result", "error"]), SPOTS))
def test_only_pictures_in_their_documented_place_settle_at_once(changes: dict[str, Any]) -> None:
    """Being generous in reading does not widen what is believed."""
    body = {**without("output"), **changes}
    outcome = bodies.parse_body(json.dumps(body).encode())
    if outcome is None or outcome.shape is not OutcomeShape.TASK or not outcome.is_terminal or outcome.error:
        return
    blocks: list[dict[str, Any]] = body.get("output") or body.get("outputs") or []
    contents = [block.get("content") for block in blocks]
    assert len(outcome.images) <= sum(len(it) for it in contents if isinstance(it, list))


def test_a_status_that_echoes_our_callback_token_is_shown_without_it() -> None:
    """A ping says the status of an end that cannot be believed."""
    token = "019b6968-4600-7000-8000-000000000016." + "M" * 32
    outcome = parsed(json.dumps({"status": f"called {token}", "images": [URL]}).encode())
    assert outcome.doubt is not None
    assert "M" not in outcome.status + outcome.doubt
    assert "[token]" in outcome.doubt
