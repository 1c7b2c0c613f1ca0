"""Parses what a body says about a task, in any shape, into an `Outcome`: callbacks, poll replies, submission answers.

Open this file when the provider changes its format. The tables below have the status words and the places to look, from
the pages and clients of a dozen services. It never raises, and what it returns can be stored (see `json_values`).
Whether an outcome is believed depends on its shape, and is left to `core.decide`.
"""

import re
from collections.abc import Iterable, Iterator
from itertools import islice

import msgspec

from receiver.core.types import Ending, Image, Outcome, OutcomeShape, TaskError
from receiver.providers import json_values
from receiver.providers.json_values import Json
from receiver.providers.vtrix import bodies_fast

STATUS_MOST = 100  # characters
IMAGES_MOST = 64

# Letter case, hyphens and the prefixes of `_PREFIXES` do not matter. A word that is not listed means running.
# The numbers are from the upstream's job object, and the run-together words from its comments.
_SAYS = {
    Ending.COMPLETED: "completed succeeded success succeed finished ok 2",
    Ending.FAILED: """failed failure fail error moderated timeout requesttimeout reject textreject badprompt
        invalidparameter invalidimagepromptlink imagepromptdenied duplicateimage maxconcurrentlimited
        creditnotenough 3""",
    Ending.CANCELLED: "canceled cancelled",
    Ending.RUNNING: """queued pending staged starting created submitted not_start processing running in_progress
        progress 1""",
}
STATUS_WORDS = {word: ending for ending, words in _SAYS.items() for word in words.split()}
_PREFIXES = ("jobstatus", "task_status_")

# Where to look in a level, in this order. The levels are the body and its `data`, `payload` and `….task`.
ID_KEYS = ("id", "task_id", "taskId", "jobId", "job_id", "jobid", "request_id")
JOB_ID_KEYS = ("jobId", "job_id")
STATUS_KEYS = ("status", "task_status", "state")
PROGRESS_KEYS = ("progress", "percentage", "progress_percent")
PICTURE_PLACES = (
    ("output",),
    ("outputs",),
    ("urls",),
    ("output", "image_urls"),  # `output.image_url` is the grid
    ("results",),
    ("resultUrls",),
    ("images",),
    ("image_urls",),
    ("task_result", "images"),
    ("result", "urls"),
)
URL_KEYS = ("url", "image_url")
CODE_KEYS = ("code", "error_code", "error_type")
MESSAGE_KEYS = ("error_message", "message", "raw_message", "detail", "msg", "reason")
REASON_KEYS = (
    "message",
    "detail",
    "status",
    "msg",
    "failReason",
    "fail_reason",
    "reason",
    "task_status_msg",
    "comment",
)
NO_REASON = "the provider gave no reason"

# A body with one of these and without `output` is not a task object, whatever else it has.
_FOREIGN_KEYS = ("urls", "results", "resultUrls", "images", "image_urls", "task_result", "result", "payload", "data")
_TASK_STATUS = re.compile(r"(?!jobstatus)[a-z][\w -]{0,99}", re.ASCII | re.IGNORECASE)


def parse_body(body: bytes) -> Outcome | None:
    """The outcome in the body of a callback or of a poll reply, or None. Never raises."""
    return bodies_fast.parse_completed(body) or parse_any_body(body)


def parse_any_body(body: bytes) -> Outcome | None:
    """The same without the short cut for the usual body."""
    top = json_values.decode_object(body)
    if top is None:
        return None
    return _task_outcome(top) if _is_task_object(top) else _foreign_outcome(top)


def parse_accepted(body: bytes) -> Outcome | None:
    """The outcome in the answer to our own submission, or None without an `id`. Anything with an `id` is believed."""
    top = json_values.decode_object(body)
    task_id = json_values.parse_id(top.get("id")) if top else None
    if top is None or task_id is None:
        return None
    if _is_task_object(top):
        return _task_outcome(top)
    outcome = _foreign_outcome(top) or Outcome(ending=Ending.RUNNING, shape=OutcomeShape.TASK, status="")
    return msgspec.structs.replace(outcome, shape=OutcomeShape.TASK, task_id=task_id, job_id=None)


def parse_refusal(body: bytes) -> TaskError | None:
    """The error in a provider's answer: `error`, or else `message`, `detail` or `status.message`, or else None."""
    top = json_values.decode_object(body)
    if top is None:
        return None
    if (error := _error_field(top)) or top.get("code") in (0, 200):  # {"code": 0, "message": "success"} is not an error
        return error
    error = _reason_elsewhere(top)
    return error if error and STATUS_WORDS.get(_normalise_word(error.message), Ending.FAILED) is Ending.FAILED else None


# The provider's own task object


def _is_task_object(top: Json) -> bool:
    """Whether it has a text `id`, a word as `status`, a `model` or a numeric `created_at`, and no results elsewhere
    than in `output[].content[]`.

    A task object settles its task at once, so results in any other place rule it out. Unknown fields do not.
    """
    status, task_id, model = top.get("status"), top.get("id"), top.get("model")
    if not (isinstance(status, str) and isinstance(task_id, str)):
        return False
    if not _TASK_STATUS.fullmatch(status) or json_values.parse_id(task_id) is None:
        return False
    if not (isinstance(model, str) and model.strip()) and json_values.parse_created_at(top.get("created_at")) is None:
        return False
    output = top.get("output") or top.get("outputs")
    if output:
        return isinstance(output, list) and all(isinstance(it, dict) and (not it or "content" in it) for it in output)
    return not any(top.get(key) for key in _FOREIGN_KEYS)


def _task_outcome(top: Json) -> Outcome:
    status: str = top["status"]
    ending = STATUS_WORDS.get(_normalise_word(status), Ending.RUNNING)
    metadata = top.get("metadata")
    job_id = (
        json_values.parse_id(json_values.first_value((metadata,), JOB_ID_KEYS)) if isinstance(metadata, dict) else None
    )
    images = _parse_images(top.get("output") or top.get("outputs"), job_id)
    ending, error = _weigh_error(ending, (top,), images)
    return Outcome(
        ending=ending,
        shape=OutcomeShape.TASK,
        status=json_values.clean_text(status, STATUS_MOST),
        task_id=json_values.parse_id(top["id"]),
        model=json_values.short_text(top.get("model")),
        created_at=json_values.parse_created_at(top.get("created_at")),
        progress=json_values.parse_progress(top.get("progress")),
        images=images,
        error=error,
        usage=json_values.parse_usage(top.get("usage")),
    )


# All other shapes


def _foreign_outcome(top: Json) -> Outcome | None:
    levels = _nested_levels(top)
    status = _find_status(levels)
    code = _envelope_code(top) if status is None else None
    if status is None and code is None:
        return None
    shape = _guess_shape(top, status, wrapped=len(levels) > 1)
    job_id = next(
        (
            found
            for level in reversed(levels)
            if (found := json_values.parse_id(json_values.first_value((level,), ID_KEYS)))
        ),
        None,
    )
    images = _find_images(levels, job_id if shape is not OutcomeShape.OTHER else None)
    if status is not None:
        ending = _refine_ending(status, json_values.first_value(levels, ("comment",)))
    elif code in (0, 200):
        ending = Ending.COMPLETED if images else Ending.RUNNING
    else:
        ending = Ending.FAILED
    ending, error = _weigh_error(ending, levels, images)
    return Outcome(
        ending=ending,
        shape=shape,
        status=str(code) if status is None else status,
        job_id=job_id,
        model=json_values.short_text(json_values.first_value(levels, ("model",))),
        created_at=json_values.parse_created_at(json_values.first_value(levels, ("created_at",))),
        progress=json_values.parse_progress(json_values.first_value(levels, PROGRESS_KEYS)),
        images=images,
        error=error,
        usage=json_values.parse_usage(json_values.first_value(levels, ("usage",))),
    )


def _nested_levels(top: Json) -> tuple[Json, ...]:
    """The objects that may describe the task, innermost first."""
    inner = [value for key in ("data", "payload") if isinstance(value := top.get(key), dict)]
    tasks = [value for level in inner if isinstance(value := level.get("task"), dict)]
    return (*tasks, *inner, top)


def _find_status(levels: tuple[Json, ...]) -> str | None:
    for level in levels:
        for key in STATUS_KEYS:
            value = level.get(key)
            if isinstance(value, str) and value.strip():
                return json_values.clean_text(value.strip(), STATUS_MOST)
            if (number := json_values.parse_int(value)) is not None:
                return str(number)
    name = levels[-1].get("event")
    if isinstance(name, str) and _normalise_word(name) in STATUS_WORDS:
        return json_values.clean_text(name.strip(), STATUS_MOST)
    return "error" if any(_error_field(level) for level in levels) else None


def _envelope_code(top: Json) -> int | None:
    """The code of a `{code, msg, data}` without a status: 0 and 200 are success, all others failure."""
    return json_values.parse_int(top.get("code")) if any(key in top for key in ("msg", "message", "data")) else None


def _guess_shape(top: Json, status: str | None, *, wrapped: bool) -> OutcomeShape:
    if wrapped or "data" in top:
        return OutcomeShape.WRAPPED
    upstream = status is not None and (status.isdigit() or status.lower().startswith("jobstatus"))
    if "id" in top and (upstream or isinstance(top.get("comment"), str)):
        return OutcomeShape.JOB
    return OutcomeShape.OTHER


def _refine_ending(status: str, comment: object) -> Ending:
    """The ending by status and comment: a comment tells a cancellation from a failure, and explains unknown numbers."""
    ending = STATUS_WORDS.get(_normalise_word(status), Ending.RUNNING)
    if isinstance(comment, str):
        remark = STATUS_WORDS.get(_normalise_word(comment), ending)
        if (status.isdigit() and status not in STATUS_WORDS) or (ending, remark) == (Ending.FAILED, Ending.CANCELLED):
            return remark
    return ending


def _find_images(levels: tuple[Json, ...], job_id: str | None) -> tuple[Image, ...]:
    for level in levels:
        for place in PICTURE_PLACES:
            found: object = level
            for key in place:
                found = found.get(key) if isinstance(found, dict) else None
            if images := _parse_images(found, job_id):
                return images
    return ()


# The parts


def _parse_images(found: object, job_id: str | None) -> tuple[Image, ...]:
    """The usable images of a list of URLs, items or blocks of items. Unusable ones still count in the numbering."""
    if not isinstance(found, list):
        return ()
    places = enumerate(islice(_image_items(found), IMAGES_MOST))
    return tuple(image for place, item in places if (image := _parse_image(place, item, job_id)))


def _image_items(blocks: Iterable[object]) -> Iterator[object]:
    for block in blocks:
        if not (isinstance(block, dict) and "content" in block):
            yield block
        elif isinstance(content := block["content"], list):
            yield from content


def _parse_image(place: int, item: object, job_id: str | None) -> Image | None:
    if not isinstance(item, dict):
        url = json_values.parse_url(item)
        return Image(place, url, "image", job_id) if url else None
    url = json_values.parse_url(item.get(URL_KEYS[0]) or json_values.first_value((item,), URL_KEYS))
    if url is None:
        return None
    own_id = json_values.parse_id(item.get(JOB_ID_KEYS[0]) or json_values.first_value((item,), JOB_ID_KEYS))
    return Image(place, url, json_values.short_text(item.get("type")) or "image", own_id or job_id)


def _weigh_error(
    ending: Ending, levels: tuple[Json, ...], images: tuple[Image, ...]
) -> tuple[Ending, TaskError | None]:
    """The ending and the error, after weighing one against the other.

    An `error` alone means nothing, since successes carry an empty one. But one service reports failures as COMPLETED.
    """
    if ending is Ending.RUNNING or (ending is Ending.COMPLETED and images):
        return ending, None
    error = next((found for level in levels if (found := _error_field(level))), None)
    if ending is Ending.COMPLETED:
        return (Ending.FAILED, error) if error else (ending, None)
    error = error or next((found for level in levels if (found := _reason_elsewhere(level))), None)
    return ending, error or (TaskError(None, NO_REASON) if ending is Ending.FAILED else None)


def _error_field(level: Json) -> TaskError | None:
    """The error in the key `error`, a text or an object. Code 0, or neither code nor message, is no error."""
    value = level.get("error")
    if not value:
        return None
    found_code = json_values.first_value((value,), CODE_KEYS) if isinstance(value, dict) else None
    code, message = json_values.parse_code(found_code), _message_text(value)
    if (code is None and not message) or json_values.is_zero_code(found_code):
        return None
    return _make_error(code or json_values.parse_code(json_values.first_value((level,), CODE_KEYS[1:])), message, value)


def _reason_elsewhere(level: Json) -> TaskError | None:
    """The error elsewhere in a level, if `error` says nothing: the first of the message keys."""
    for key in ("error", *REASON_KEYS):
        value = level.get(key)
        if key == "status" and not isinstance(value, dict):
            continue
        if message := _message_text(value):
            found_code = json_values.first_value((value, level) if isinstance(value, dict) else (level,), CODE_KEYS)
            code = (
                None
                if json_values.is_zero_code(found_code) or json_values.parse_int(found_code) == 200
                else json_values.parse_code(found_code)
            )
            return _make_error(code, message, {it: level[it] for it in ("code", key) if it in level})
    return None


def _make_error(code: str | None, message: str | None, raw: object) -> TaskError:
    return TaskError(code, json_values.mask_tokens(message or NO_REASON), json_values.bounded_raw(raw))


def _message_text(value: object) -> str | None:
    if isinstance(value, list) and value and not isinstance(value[0], list):
        return _message_text(value[0])
    if isinstance(value, dict):
        texts = (value.get(key) for key in MESSAGE_KEYS)
        value = next((text for text in texts if isinstance(text, str) and text.strip()), None)
    return (json_values.clean_text(value.strip(), json_values.MESSAGE_MOST) or None) if isinstance(value, str) else None


def _normalise_word(text: str) -> str:
    if text in STATUS_WORDS:
        return text
    word = text.strip().lower().replace("-", "_").replace(" ", "_")
    for prefix in _PREFIXES:
        word = word.removeprefix(prefix)
    return word
