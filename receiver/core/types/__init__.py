"""The project's vocabulary as frozen types: tasks, callbacks, outcomes, notices and their parts.

No I/O, and no imports from the rest of the project. None of these can be part of a reference cycle, hence `gc=False`.
Times are integer milliseconds UTC, durations say their unit in their name, money is `Decimal`. Everything here can be
compared, copied with `msgspec.structs.replace` and encoded by msgspec.
"""

from receiver.core.types.notices import (
    AttachedPicture,
    AttemptResult,
    MessageRate,
    MessageStyle,
    Notice,
    NoticeEvent,
    NoticeState,
    QuietHours,
    Report,
    Send,
    Target,
)
from receiver.core.types.policy import ConfirmMode, Decision, Policy, Retention
from receiver.core.types.provider_replies import PollReply, PollResult, RefusalCause, SubmitAnswer, SubmitResult
from receiver.core.types.tasks import (
    NO_PICTURE,
    ArchiveState,
    Callback,
    Clock,
    Ending,
    HintNote,
    HoldReason,
    Image,
    ImageCopy,
    Outcome,
    OutcomeShape,
    OutcomeSource,
    Task,
    TaskError,
    TaskOrigin,
    TaskState,
    Usage,
    Verdict,
)

__all__ = [
    "NO_PICTURE",
    "ArchiveState",
    "AttachedPicture",
    "AttemptResult",
    "Callback",
    "Clock",
    "ConfirmMode",
    "Decision",
    "Ending",
    "HintNote",
    "HoldReason",
    "Image",
    "ImageCopy",
    "MessageRate",
    "MessageStyle",
    "Notice",
    "NoticeEvent",
    "NoticeState",
    "Outcome",
    "OutcomeShape",
    "OutcomeSource",
    "Policy",
    "PollReply",
    "PollResult",
    "QuietHours",
    "RefusalCause",
    "Report",
    "Retention",
    "Send",
    "SubmitAnswer",
    "SubmitResult",
    "Target",
    "Task",
    "TaskError",
    "TaskOrigin",
    "TaskState",
    "Usage",
    "Verdict",
]
