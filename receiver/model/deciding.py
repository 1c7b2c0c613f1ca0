"""What a decision is made of and by."""

from enum import StrEnum

from msgspec import Struct

from receiver.model.notices import Notice, Target
from receiver.model.tasks import Image, Task, Verdict


class Confirm(StrEnum):
    """Which callbacks are hints."""

    MISMATCH = "mismatch"
    ALWAYS = "always"


class Policy(Struct, frozen=True, kw_only=True, gc=False):
    """What `decide` needs to know of the settings."""

    targets: tuple[Target, ...] = ()
    confirm: Confirm = Confirm.MISMATCH
    confirm_within_ms: int = 900_000
    deadline_ms: int = 86_400_000
    sweep_first_ms: int = 120_000
    sweep_max_ms: int = 900_000
    picture_wait_ms: int = 15_000
    can_poll: bool = True  # there is a provider key
    started_at: int = 0  # when this process began to receive


class Decision(Struct, frozen=True, gc=False):
    """What an outcome does to a task: the task afterwards (None: unchanged), its pictures, the notices due."""

    verdict: Verdict
    task: Task | None = None
    images: tuple[Image, ...] = ()
    notices: tuple[Notice, ...] = ()
