"""The decision that `decide` makes, the settings that it goes by, and how long rows are kept."""

from enum import StrEnum

from msgspec import Struct

from receiver.core.types.notices import Notice, Target
from receiver.core.types.tasks import Image, Task, Verdict


class ConfirmMode(StrEnum):
    """Which callbacks are hints."""

    MISMATCH = "mismatch"
    ALWAYS = "always"


class Policy(Struct, frozen=True, kw_only=True, gc=False):
    """The settings that decisions depend on."""

    targets: tuple[Target, ...] = ()
    confirm: ConfirmMode = ConfirmMode.MISMATCH
    confirm_within_ms: int = 900_000
    deadline_ms: int = 86_400_000
    sweep_first_ms: int = 120_000
    sweep_max_ms: int = 900_000
    picture_wait_ms: int = 15_000
    can_poll: bool = True  # there is a provider key
    started_at: int = 0  # when this process began to receive


class Retention(Struct, frozen=True):
    """How many days each kind of row is kept; 0 keeps it for ever. The setting that `prune` follows."""

    tasks: int = 0
    callbacks: int = 90
    polls: int = 30
    notices: int = 90
    images: int = 0

    def __str__(self) -> str:
        spans = ((kind, getattr(self, kind)) for kind in self.__struct_fields__)
        return " ".join(f"{kind}={days}d" if days else f"{kind}=0" for kind, days in spans)


class Decision(Struct, frozen=True, gc=False):
    """What an outcome does to a task: the task afterwards (None: unchanged), its pictures, and the new notices."""

    verdict: Verdict
    task: Task | None = None
    images: tuple[Image, ...] = ()
    notices: tuple[Notice, ...] = ()
    corrects: bool = False  # an end that was not confirmed: its pictures are replaced
