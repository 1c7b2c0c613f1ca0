"""The words of this project as frozen types: tasks, callbacks, outcomes, notices and what they are made of.

No I/O and no imports of ours. Nothing here can be part of a cycle, so none of it is the garbage collector's (`gc`).
Times are integer milliseconds UTC, durations say their unit in their name, money is `Decimal`. Everything here can be
compared, copied with `msgspec.structs.replace` and encoded by msgspec.
"""

from receiver.core.types.notices import (
    Event,
    Notice,
    NoticeState,
    Picture,
    Quiet,
    Rate,
    Report,
    Send,
    Sent,
    Style,
    Target,
)
from receiver.core.types.policy import Confirm, Decision, Policy, Retention
from receiver.core.types.provider_replies import Answer, Heard, Reply, Taken
from receiver.core.types.tasks import (
    Archive,
    Callback,
    Clock,
    Copy,
    Ending,
    Error,
    Hold,
    Image,
    Origin,
    Outcome,
    Shape,
    Source,
    State,
    Task,
    Usage,
    Verdict,
)

__all__ = [
    "Answer",
    "Archive",
    "Callback",
    "Clock",
    "Confirm",
    "Copy",
    "Decision",
    "Ending",
    "Error",
    "Event",
    "Heard",
    "Hold",
    "Image",
    "Notice",
    "NoticeState",
    "Origin",
    "Outcome",
    "Picture",
    "Policy",
    "Quiet",
    "Rate",
    "Reply",
    "Report",
    "Retention",
    "Send",
    "Sent",
    "Shape",
    "Source",
    "State",
    "Style",
    "Taken",
    "Target",
    "Task",
    "Usage",
    "Verdict",
]
