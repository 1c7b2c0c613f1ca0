"""What an answer to a submission or to a poll means, by its status and its words. Pure.

One rule for submissions: what was surely not taken may be sent again or refused; all else that follows a sent request
is unclear, because a gateway may have answered for a provider that took the task and bills it.

| status | in the provider's own words | in other words, or none |
|---|---|---|
| 2xx | with an id: taken; an error and no id: refused | unclear |
| 429 | busy | busy: a gateway's rate limit refuses before it forwards |
| 503 | a code that ends in 099: busy | unclear |
| 400, 404, 413, 422 | refused | refused: nobody forwards what it finds invalid |
| 405 | `Not_Support`: refused | unclear |
| 401, 402, 403 | of this task: refused; of all: unauthorized | unauthorized; a 403 may be this task's own |
| other | unclear | unclear |

The provider's task object means taken, whatever the status, and whatever envelope it is in: somebody made that task.
Several of them are a list of tasks, and unclear, because ours may be among them.

A code 40201 to 40208 is about the balance, whatever status it comes with.
"""

import json
import re
from collections import deque
from typing import NamedTuple

from msgspec.structs import replace

from receiver.core.types import (
    Outcome,
    OutcomeShape,
    PollResult,
    RefusalCause,
    SubmitResult,
    TaskError,
)
from receiver.providers.body_decoding import decode_body, decode_text
from receiver.providers.json_values import Json
from receiver.providers.vtrix import bodies
from receiver.providers.vtrix.error_parts import NO_REASON

_OK = range(200, 300)
_BUSY = 429
_UNAVAILABLE = 503
_UNKNOWN = 404
_NOT_SUPPORTED = 405
_REFUSED = frozenset({400, 404, 413, 422})
_PLACES_MOST = 200  # objects, arrays and texts of an answer in which a task is looked for
_CAUSES = {401: RefusalCause.KEY, 402: RefusalCause.BALANCE, 403: RefusalCause.PERMISSION}

_UNAVAILABLE_CODE = re.compile(r"00[1-9](?!000)[0-9]{3}099")  # of any model: family, operation, cause
_BALANCE_CODE = re.compile(r"0*4020[1-8]")
_OF_THE_TASK = frozenset({"msg_sensitive", "relax_not_allow", "upscale_not_support"})
_OF_ALL = {
    "permission_denied": RefusalCause.PERMISSION,
    "no_avaliable_plan": RefusalCause.PERMISSION,  # spelt so
    "no_available_plan": RefusalCause.PERMISSION,
    "account_fee_not_enough": RefusalCause.BALANCE,
    "invalid_app_identifier": RefusalCause.KEY,
}
_MAYBE_OF_THE_TASK = frozenset({"no_more_relax_credit"})  # a prompt may ask for --relax
_WORD = re.compile(r"[A-Za-z]+(?:_[A-Za-z]+)+")
_LIKE_A_BALANCE = re.compile(r"balance|credit|quota|arrear|billing|insufficient|余额|欠费", re.IGNORECASE)


class SubmitMeaning(NamedTuple):
    """What the answer to a submission means. `cause`: of a refusal; `may_be_own`: of this task alone, perhaps."""

    result: SubmitResult
    outcome: Outcome | None = None
    error: TaskError | None = None
    cause: RefusalCause | None = None
    may_be_own: bool = False


def judge_submission(status: int, body: bytes) -> SubmitMeaning:
    """What `status` and `body` (unpacked; empty if there is none) of an answer to a submission mean."""
    outcome, error = bodies.parse_accepted(body), bodies.parse_refusal(body)
    if outcome is not None and (status in _OK or bodies.is_task_object(body)):
        return SubmitMeaning(SubmitResult.TAKEN, outcome, error)
    if tasks := _enveloped_tasks(body):
        if len(tasks) > 1:
            return SubmitMeaning(SubmitResult.UNCLEAR, None, error)
        [outcome] = tasks.values()
        if error and outcome.error and outcome.error.message == NO_REASON:
            outcome = replace(outcome, error=error)
        return SubmitMeaning(SubmitResult.TAKEN, outcome, error)
    words = _own_words(body)
    if status in (_OK.start, *_REFUSED, *_CAUSES) and error and _BALANCE_CODE.fullmatch(error.code or ""):
        return SubmitMeaning(SubmitResult.UNAUTHORIZED, None, error, RefusalCause.BALANCE)
    if status in _OK:
        result = SubmitResult.REFUSED if bodies.is_complaint(body) else SubmitResult.UNCLEAR
        return SubmitMeaning(result, bodies.parse_inner_id(body), error)
    if status in _CAUSES:
        return _judge_refusal(status, words, error)
    if status == _BUSY or (status == _UNAVAILABLE and error and _UNAVAILABLE_CODE.fullmatch(error.code or "")):
        return SubmitMeaning(SubmitResult.BUSY, None, error)
    if status in _REFUSED or (status == _NOT_SUPPORTED and "not_support" in words):
        return SubmitMeaning(SubmitResult.REFUSED, None, error)
    return SubmitMeaning(SubmitResult.UNCLEAR, None, error)


def _enveloped_tasks(body: bytes) -> dict[str | None, Outcome]:
    """The provider's task objects inside an answer, by their ids, as far as `_PLACES_MOST` places show them."""
    found = decode_body(body)
    places: deque[object] = deque([found.value] if found else [])
    tasks: dict[str | None, Outcome] = {}
    for _ in range(_PLACES_MOST):
        if not places:
            break
        place = decode_text(places.popleft())
        if isinstance(place, dict):
            if (task := _task_in(place)) is not None:
                tasks[task.task_id] = task
                continue
            place = list(place.values())
        if isinstance(place, list):
            places.extend(it for it in place[:_PLACES_MOST] if isinstance(it, dict | list | str))
    return tasks


def _task_in(place: Json) -> Outcome | None:
    """The outcome of the provider's task object, if `place` is one."""
    if not (place.get("id") and place.get("status")):
        return None
    try:
        body = json.dumps(place).encode()
    except (ValueError, RecursionError):
        return None
    return bodies.parse_accepted(body) if bodies.is_task_object(body) else None


def _judge_refusal(status: int, words: frozenset[str], error: TaskError | None) -> SubmitMeaning:
    """What 401, 402 or 403 means: is it about this task, about all, or unknown?"""
    if words & _OF_THE_TASK:
        return SubmitMeaning(SubmitResult.REFUSED, None, error)
    if words & _MAYBE_OF_THE_TASK:
        return SubmitMeaning(SubmitResult.UNAUTHORIZED, None, error, None, may_be_own=True)
    named = next((cause for word, cause in _OF_ALL.items() if word in words), None)
    if named is not None or status != 403:
        return SubmitMeaning(SubmitResult.UNAUTHORIZED, None, error, named or _CAUSES[status])
    cause = RefusalCause.BALANCE if error and _LIKE_A_BALANCE.search(error.message) else None
    return SubmitMeaning(SubmitResult.UNAUTHORIZED, None, error, cause, may_be_own=True)


def _own_words(body: bytes) -> frozenset[str]:
    """The words_with_underscores in an answer's error, by which the service behind the provider names its reasons."""
    texts = bodies.error_texts(body)
    return frozenset(word.lower() for text in texts for word in _WORD.findall(text))


def judge_reply(status: int, body: bytes, task_id: str, *, whole: bool) -> tuple[PollResult, Outcome | None]:
    """What the reply to a poll about `task_id` means; `whole` if all of the body arrived."""
    if status in _OK:
        outcome = bodies.parse_reply(body, task_id)
        if outcome is not None:
            return PollResult.OUTCOME, outcome
        other = bodies.parse_body(body)
        about_another = other is not None and other.shape is OutcomeShape.TASK
        return (PollResult.UNREADABLE if whole and not about_another else PollResult.NOTHING), None
    if status == _BUSY:
        return PollResult.BUSY, None
    if status == _UNKNOWN:
        return PollResult.UNKNOWN, None
    return (PollResult.UNAUTHORIZED if status in _CAUSES else PollResult.NOTHING), None
