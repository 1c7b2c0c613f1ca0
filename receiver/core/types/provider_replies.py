"""What the provider answers to a submission and to a poll."""

from enum import StrEnum

from msgspec import Struct

from receiver.core.types.tasks import Outcome, TaskError


class SubmitResult(StrEnum):
    """What the answer to a submission means."""

    TAKEN = "taken"  # 2xx with an id
    NOT_SENT = "not_sent"  # no byte left this machine
    BUSY = "busy"  # 429, or 503 in the provider's own words
    REFUSED = "refused"  # 400, 404, 413, 422; 2xx with an error and no id; a 403 that names the task's own fault
    UNAUTHORIZED = "barred"  # 401, 402, 403: key, balance or permission
    UNCLEAR = "unclear"  # anything else: the provider may or may not have taken it


class RefusalCause(StrEnum):
    """Why the provider refuses all tasks alike."""

    KEY = "key"
    BALANCE = "balance"
    PERMISSION = "permission"


class SubmitAnswer(Struct, frozen=True, gc=False):
    """The provider's answer to a submission."""

    result: SubmitResult
    text: str  # one line for the log, no secrets
    outcome: Outcome | None = None  # the task object, where there is one; of an unclear answer, an id to poll by
    error: TaskError | None = None
    retry_after_ms: int | None = None
    too_many: bool = False  # 429: busy only for us, who have too many in hand or are too fast
    cause: RefusalCause | None = None  # of a refusal, as far as its words say
    may_be_own: bool = False  # a refusal that may be about this task alone


class PollResult(StrEnum):
    """What the reply to a poll means."""

    OUTCOME = "outcome"
    UNKNOWN = "unknown"  # 404
    UNAUTHORIZED = "barred"  # 401, 403
    BUSY = "busy"  # 429
    UNREADABLE = "unreadable"  # the provider answered 2xx with a body that says nothing we can read
    NOTHING = "nothing"  # 5xx, timeouts, nonsense


class PollReply(Struct, frozen=True, gc=False):
    """The provider's reply to a poll; `body` is stored if it changed anything."""

    result: PollResult
    text: str
    outcome: Outcome | None = None
    body: bytes = b""
    retry_after_ms: int | None = None
