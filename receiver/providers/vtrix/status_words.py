"""The words and numbers by which services say how a task stands.

Letter case, blanks, hyphens, and the prefixes of `_PREFIXES` do not matter. The numbers are from the upstream's job
object, the run-together words from its comments, the others from a dozen services of the trade.
"""

from receiver.core.types import Ending

_SAYS = {
    Ending.COMPLETED: """completed complete completion succeeded succeed success successful successfully succ finished
        finish ok done ready generated partial_success partially_completed 成功 已完成 完成 2""",
    Ending.FAILED: """failed failure fail error errored moderated content_moderated contentmoderated moderation_failed
        moderation_blocked audit_fail audit_failed nsfw sensitive timeout timed_out time_out requesttimeout
        request_timeout reject rejected textreject text_reject badprompt bad_prompt invalidparameter invalid_parameter
        invalidimagepromptlink imagepromptdenied duplicateimage maxconcurrentlimited creditnotenough expired aborted
        abort blocked content_blocked banned denied inference_failure inference_timeout request_invalid
        internal_server_error 失败 3""",
    Ending.CANCELLED: "canceled cancelled cancel 已取消",
    Ending.RUNNING: """queued queue in_queue queuing queueing pending staged staging starting started start created
        submitted submit not_start not_started new init initialized initializing scheduled accepted waiting wait
        processing process running run in_progress inprogress progress progressing working generating rendering
        upscaling downloading uploading saving modal retrying resumed 排队中 处理中 进行中 1""",
}
STATUS_WORDS = {word: ending for ending, words in _SAYS.items() for word in words.split()}
_PREFIXES = ("jobstatus", "task_status_", "status_", "state_")


def ending_of(text: str) -> Ending | None:
    """What a status word or number says; None if it is unknown."""
    return STATUS_WORDS.get(text) or STATUS_WORDS.get(_normalise_word(text))


def _normalise_word(text: str) -> str:
    word = text.strip().lower().replace("-", "_").replace(" ", "_")
    for prefix in _PREFIXES:
        word = word.removeprefix(prefix)
    return word
