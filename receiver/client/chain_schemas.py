"""The types of our HTTP API that are about chains. Times are RFC 3339, money is text."""

from msgspec import Struct

from receiver.client.batch_schemas import Cost
from receiver.client.schemas import Count, HoldReasonName, ImageNo, ImageNos, ProviderId, Ref, State, TaskView


class ChainStep(Struct, frozen=True):
    """A task within its chain, and those that go on from it. `image_no` is the picture of the task before it that it
    goes on from (null: a person picks, or it is the first). `cost` is what it cost; `estimate`, of one that has not
    ended, what it may cost, in USD; null: nobody knows."""

    ref: Ref
    step: str | None
    label: str | None
    model: str | None
    state: State
    held_by: HoldReasonName | None
    unsure: bool
    confirmed: bool
    progress: float | None
    image_no: Count | None
    picked_by: str | None
    cost: Cost | None
    estimate: Cost | None
    children: list["ChainStep"]


class ChainView(Struct, frozen=True):
    """A chain as a tree, from its first task on: how many `tasks` it has, what they cost so far, and what those that
    have not ended may cost, as far as that is known; of `unknown` many it is not."""

    root: Ref
    tasks: Count
    steps: list[ChainStep]
    cost: Cost | None
    estimate: Cost | None
    unknown: Count


class PickRequest(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """From which picture to go on, or from which: then what waits is made once for each. `job_id` is the id of the
    picture's job, as the provider's task list says it, if it did not come with the picture."""

    image_no: ImageNo | ImageNos
    job_id: ProviderId | None = None

    @property
    def numbers(self) -> tuple[int, ...]:
        """The pictures that were picked."""
        return (int(self.image_no),) if isinstance(self.image_no, int | float) else tuple(map(int, self.image_no))


class PickedView(Struct, frozen=True):
    """The tasks that go on now."""

    tasks: list[TaskView]
