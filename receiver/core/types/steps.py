"""What happened to a task and is not told by its callbacks, polls and notices."""

from enum import StrEnum

from msgspec import Struct


class StepKind(StrEnum):
    """What happened, or who did what."""

    # the submission
    REFUSED = "refused"  # the provider refused it, and nobody can tell yet whether only this task
    PUT_BACK = "put_back"  # the provider was busy, or nothing reached it: tried again later
    UNSURE = "unsure"  # the provider may or may not have taken it
    # the pictures
    KEPT = "kept"  # copies were made
    NOT_KEPT = "not_kept"  # given up
    # people
    CANCELLED = "cancelled"
    RESUBMITTED = "resubmitted"  # the same task, once more
    REPEATED = "repeated"  # by a new task
    ID_GIVEN = "id_given"  # the provider's id
    PICKED = "picked"
    BELIEVED = "believed"  # a callback
    PUT_FIRST = "put_first"
    FETCHED_AGAIN = "fetched_again"  # asked for the pictures that are missing
    SHARED = "shared"
    NOTIFIED = "notified"  # its notices were sent again


class Step(Struct, frozen=True, gc=False):
    """One thing that happened to the task `ref`; `text` is one line of the outside's words, or empty."""

    ref: str
    at: int
    kind: StepKind
    text: str = ""
