"""Parses what a body says about a task, in any shape, into an `Outcome`: callbacks, poll replies, submission answers.

Open this file when the provider changes its format; `status_words`, `picture_places` and `error_parts` have the words
and the places to look, from the pages and clients of a dozen services. It never raises, and what it returns can be
stored (see `json_values`). Whether an outcome is believed depends on its shape and its doubt, and is left to
`core.decide`: reading is generous, but only the provider's own task object in its documented place has the shape TASK.
"""

import re

import msgspec

from receiver.core.types import Ending, Image, Outcome, OutcomeShape, TaskError
from receiver.providers import json_values
from receiver.providers.body_decoding import as_object, decode_body
from receiver.providers.json_values import Json
from receiver.providers.vtrix import bodies_fast
from receiver.providers.vtrix.error_parts import CODE_KEYS, MESSAGE_KEYS, NO_REASON, error_field, reason_elsewhere
from receiver.providers.vtrix.picture_places import PictureSearch, find_job_id
from receiver.providers.vtrix.status_words import ending_of

STATUS_MOST = 100  # characters

# Where to look in a level, in this order. The levels are the body and the objects in `_INNER_KEYS`.
ID_KEYS = ("id", "task_id", "taskId", "jobId", "job_id", "jobid", "request_id")
STATUS_KEYS = ("status", "task_status", "state")
PROGRESS_KEYS = ("progress", "percentage", "progress_percent")
_ANSWER_ID_KEYS = ("id", "task_id", "taskId")
_INNER_KEYS = ("data", "payload", "task", "job", "body")
_RESULT_KEYS = ("result", "response", "output")  # levels too, if no other has a status

# A body with one of these and without `output` is not a task object, whatever else it has.
_FOREIGN_KEYS = ("urls", "results", "resultUrls", "images", "image_urls", "task_result", "result", "payload", "data")
_TASK_STATUS = re.compile(r"(?!jobstatus)[a-z][\w -]{0,99}", re.ASCII | re.IGNORECASE)
_NOBODY_KNOWS = re.compile(r"0*(?:5[0-9][0-9]|408|429)")  # codes like the statuses of HTTP that leave it open
_NO_PICTURE = "no picture was found in it"
_NO_STATUS = "it has no status"


def parse_body(body: bytes) -> Outcome | None:
    """The outcome in the body of a callback or of a poll reply, or None. Never raises."""
    return bodies_fast.parse_completed(body) or parse_any_body(body)


def parse_any_body(body: bytes) -> Outcome | None:
    """The same without the short cut for the usual body."""
    found = decode_body(body)
    if found is None:
        return None
    return _task_outcome(found.value) if found.plain and _is_task_object(found.value) else _foreign_outcome(found.value)


def parse_reply(body: bytes, task_id: str) -> Outcome | None:
    """The outcome in the reply to our own poll about `task_id`, in any shape; None if there is none, or if the reply
    does not have this id."""
    outcome = parse_body(body)
    if outcome is None or outcome.task_id == task_id:
        return outcome
    found = decode_body(body)
    levels = _nested_levels(found.value, (*_INNER_KEYS, *_RESULT_KEYS)) if found and outcome.task_id is None else ()
    if not any(json_values.parse_id(level.get(key)) == task_id for level in levels for key in ID_KEYS):
        return None
    return msgspec.structs.replace(outcome, task_id=task_id)


def parse_accepted(body: bytes) -> Outcome | None:
    """The outcome in the answer to our own submission, or None without an id. Anything with an id is believed."""
    found = decode_body(body)
    top = found.value if found else None
    task_id = json_values.parse_id(json_values.first_value((top,), _ANSWER_ID_KEYS)) if top else None
    if top is None or task_id is None:
        return None
    if _is_task_object(top):
        return _task_outcome(top)
    outcome = _foreign_outcome(top) or Outcome(ending=Ending.RUNNING, shape=OutcomeShape.TASK, status="")
    return msgspec.structs.replace(outcome, shape=OutcomeShape.TASK, task_id=task_id, job_id=None)


def parse_inner_id(body: bytes) -> Outcome | None:
    """The outcome of an answer to our own submission that has an id inside an envelope only; it may be another's."""
    found = decode_body(body)
    levels = _nested_levels(found.value)[:-1] if found else ()
    ids = (json_values.parse_id(json_values.first_value((level,), _ANSWER_ID_KEYS)) for level in levels)
    task_id = next(filter(None, ids), None)
    if task_id is None:
        return None
    return Outcome(ending=Ending.RUNNING, shape=OutcomeShape.WRAPPED, status="", task_id=task_id)


def is_task_object(body: bytes) -> bool:
    """Whether a body is the provider's own task object."""
    found = decode_body(body)
    return found is not None and found.plain and _is_task_object(found.value)


def is_complaint(body: bytes) -> bool:
    """Whether a body without an id says that something went wrong: by an `error`, or by a code beside a message.

    A message alone may as well say that all went well, and a code like 504 that nobody knows.
    """
    found, error = decode_body(body), parse_refusal(body)
    if found is None or error is None or _NOBODY_KNOWS.fullmatch(error.code or ""):
        return False
    return error.code is not None or error_field(found.value) is not None


def error_texts(body: bytes) -> tuple[str, ...]:
    """The texts in which an answer may name the reason of a refusal."""
    found = decode_body(body)
    if found is None:
        return ()
    places = (found.value, *(found.value.get(key) for key in ("error", "provider_error", "status", "data", "detail")))
    values = (
        place.get(key) for place in places if isinstance(place, dict) for key in (*CODE_KEYS, *MESSAGE_KEYS, "error")
    )
    texts = [*values, *(place for place in places if isinstance(place, str))]
    return tuple([text[: json_values.MESSAGE_MOST] for text in texts if isinstance(text, str)])


def parse_refusal(body: bytes) -> TaskError | None:
    """The error in a provider's answer: `error`, or else `message`, `detail` or `status.message`, or else None."""
    found = decode_body(body)
    if found is None:
        return None
    top = found.value
    if (error := error_field(top)) or top.get("code") in (0, 200):  # {"code": 0, "message": "success"} is not an error
        return error
    error = reason_elsewhere(top)
    return error if error and ending_of(error.message) in (None, Ending.FAILED) else None


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
    known = ending_of(status)
    search = PictureSearch(find_job_id({"metadata": top.get("metadata")}))
    images, shape = search.in_value(_contents(top.get("output") or top.get("outputs"))), OutcomeShape.TASK
    progress = json_values.parse_progress(top.get("progress"))
    if known is Ending.COMPLETED and not images and error_field(top) is None:
        images = search.in_places((top,)) or search.anywhere(top)
        shape = OutcomeShape.OTHER if images else shape  # not in their documented place
    ending, error, doubt = _weigh_end(known, status, (top,), images, search, progress)
    return Outcome(
        ending=ending,
        shape=shape,
        status=_clean_status(status),
        task_id=json_values.parse_id(top["id"]),
        model=json_values.short_text(top.get("model")),
        created_at=json_values.parse_created_at(top.get("created_at")),
        progress=progress,
        images=images,
        error=error,
        usage=json_values.parse_usage(top.get("usage")),
        doubt=doubt,
        unknown_status=_is_unknown(known, ending, progress),
    )


def _contents(output: object) -> object:
    """The documented blocks of an output: only what stands in their `content`, if that is a list."""
    blocks = output if isinstance(output, list) else []
    return [item for block in blocks if isinstance(content := block.get("content"), list) for item in content]


# All other shapes


def _foreign_outcome(top: Json) -> Outcome | None:
    levels = _nested_levels(top)
    status = _find_status(levels)
    code = _envelope_code(top) if status is None else None
    if status is None and code is None:
        deeper = _nested_levels(top, (*_INNER_KEYS, *_RESULT_KEYS))
        status = _find_status(deeper)
        levels = levels if status is None else deeper
    shape = _guess_shape(top, status, wrapped=len(levels) > 1)
    job_id = next((found for level in reversed(levels) if (found := _first_id(level))), None)
    search = PictureSearch(job_id if shape is not OutcomeShape.OTHER else None)
    known = _known_ending(status, code, levels)
    images = search.in_places(levels) if known is not Ending.RUNNING else ()
    if status is None and code is None and not images:
        return None
    if known is Ending.COMPLETED and not images and not any(map(error_field, levels)) and not search.moderated:
        images = search.anywhere(top)
    progress = json_values.parse_progress(json_values.first_value(levels, PROGRESS_KEYS))
    if code in (0, 200) and not images:
        known = Ending.RUNNING
    ending, error, doubt = _weigh_end(known, status or "", levels, images, search, progress)
    if known is None and not images and ending is Ending.RUNNING and shape is OutcomeShape.JOB and _is_bad(status):
        error = next(filter(None, map(reason_elsewhere, levels)), TaskError(None, NO_REASON))
        ending, doubt = Ending.FAILED, _unknown_status(status or "")
    return Outcome(
        ending=ending,
        shape=shape,
        status=status if status is not None else "" if code is None else str(code),
        job_id=job_id,
        model=json_values.short_text(json_values.first_value(levels, ("model",))),
        created_at=json_values.parse_created_at(json_values.first_value(levels, ("created_at",))),
        progress=progress,
        images=images,
        error=error,
        usage=json_values.parse_usage(json_values.first_value(levels, ("usage",))),
        doubt=doubt,
        unknown_status=_is_unknown(known, ending, progress),
    )


def _nested_levels(top: Json, keys: tuple[str, ...] = _INNER_KEYS) -> tuple[Json, ...]:
    """The objects that may describe the task, innermost first."""
    inner = [level for key in keys if (value := top.get(key)) and (level := as_object(value)) is not None]
    tasks = [value for level in inner if isinstance(value := level.get("task"), dict)]
    return (*tasks, *inner, top)


def _first_id(level: Json) -> str | None:
    return json_values.parse_id(json_values.first_value((level,), ID_KEYS))


def _find_status(levels: tuple[Json, ...]) -> str | None:
    for level in levels:
        for key in STATUS_KEYS:
            value = level.get(key)
            if isinstance(value, str) and value.strip():
                return _clean_status(value)
            if (number := json_values.parse_int(value)) is not None:
                return str(number)
    name = levels[-1].get("event")
    for word in (name, re.split(r"[.:/]", name)[-1]) if isinstance(name, str) else ():
        if ending_of(word) is not None:
            return _clean_status(word)
    return "error" if any(error_field(level) for level in levels) else None


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


def _known_ending(status: str | None, code: int | None, levels: tuple[Json, ...]) -> Ending | None:
    """The ending by status and comment, or else by an envelope's code; None if neither is known. A comment tells a
    cancellation from a failure, and explains unknown numbers."""
    if status is None:
        return None if code is None else Ending.COMPLETED if code in (0, 200) else Ending.FAILED
    ending = ending_of(status)
    comment = json_values.first_value(levels, ("comment",))
    if isinstance(comment, str):
        remark = ending_of(comment)
        if (status.isdigit() and ending is None) or (ending, remark) == (Ending.FAILED, Ending.CANCELLED):
            return remark
    return ending


def _is_bad(status: str | None) -> bool:
    """Whether it is a number that the upstream's clients take for a failure: any but 0 and those that are known."""
    return status is not None and status.isdigit() and status not in ("0", "200")


# The end


def _weigh_end(
    known: Ending | None,
    status: str,
    levels: tuple[Json, ...],
    images: tuple[Image, ...],
    search: PictureSearch,
    progress: float | None,
) -> tuple[Ending, TaskError | None, str | None]:
    """The ending, the error and the doubt, after weighing them against each other; `known`: what the status says.

    An `error` alone means nothing, since successes carry an empty one. But one service reports failures as COMPLETED.
    An unknown word beside pictures or an error says an end, which is only guessed.
    """
    if known is Ending.RUNNING:
        return known, None, None
    error = None if known is Ending.COMPLETED and images else next(filter(None, map(error_field, levels)), None)
    if known is None:
        unfinished = progress is not None and progress < 1
        if unfinished or not (images or error):
            return Ending.RUNNING, None, None
        doubt = _unknown_status(status) if status else _NO_STATUS
        return (Ending.COMPLETED, None, doubt) if images else (Ending.FAILED, error, doubt)
    if known is Ending.COMPLETED:
        if images:
            return known, None, None
        if error is None and search.moderated:
            error = TaskError(None, f"every picture failed the moderation: {search.moderated}")
        return (Ending.FAILED, error, None) if error else (known, None, search.why_none or _NO_PICTURE)
    error = error or next(filter(None, map(reason_elsewhere, levels)), None)
    return known, error or (TaskError(None, NO_REASON) if known is Ending.FAILED else None), None


def _is_unknown(known: Ending | None, ending: Ending, progress: float | None) -> bool:
    """Whether it only counts as running because nothing else speaks of an end."""
    return known is None and ending is Ending.RUNNING and (progress is None or progress >= 1)


def _clean_status(word: str) -> str:
    """The status as it may be shown: pings say it of an end that cannot be believed."""
    return json_values.clean_text(json_values.mask_tokens(word.strip()), STATUS_MOST)


def _unknown_status(status: str) -> str:
    return f"its status {_clean_status(status)[:40]!r} is unknown"
