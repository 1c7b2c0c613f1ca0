"""The types of our HTTP API that are about batches. Times are RFC 3339, money is text."""

from typing import Annotated

from msgspec import Meta, Struct

from receiver.client.schemas import Count, Problem, Ref, ShortText, TargetName, Time

BATCH_TASKS_MOST = 100  # tasks in one call
PRIORITIES = ("high", "normal", "low")
Priority = Annotated[str, Meta(extra_json_schema={"enum": list(PRIORITIES)})]
BATCH_NAME_PATTERN = r"^(?!\.{1,2}$)[^\s/\x00-\x1f\x7f-]([^/\x00-\x1f\x7f]*[^\s/\x00-\x1f\x7f])?$"
BatchName = Annotated[str, Meta(extra_json_schema={"minLength": 1, "maxLength": 200, "pattern": BATCH_NAME_PATTERN})]
BudgetAmount = Annotated[str, Meta(extra_json_schema={"pattern": r"^(?=.*[1-9])[0-9]{1,5}(\.[0-9]{1,9})?$"})]
Cost = Annotated[str, Meta(extra_json_schema={"pattern": "^[0-9.]+$"})]


class NewBatch(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A batch to open. `each`: its tasks are reported one by one as well as by the digest at the end. `budget` is in
    USD: at it the batch pauses. With `reopen`, a batch that is closed takes tasks again."""

    name: BatchName
    priority: Priority = "low"
    label: ShortText | None = None
    targets: Annotated[tuple[TargetName, ...], Meta(extra_json_schema={"minItems": 1})] | None = None
    each: bool = False
    budget: BudgetAmount | None = None
    reopen: bool = False


class BatchCounts(Struct, frozen=True):
    """How many tasks of a batch are in each state; `unsure` ones are among `waiting` and `lost`."""

    queued: Count = 0
    submitting: Count = 0
    waiting: Count = 0
    completed: Count = 0
    failed: Count = 0
    cancelled: Count = 0
    lost: Count = 0
    unsure: Count = 0

    @property
    def total(self) -> int:
        """All tasks."""
        return self.ended + self.queued + self.submitting + self.waiting

    @property
    def ended(self) -> int:
        """Those of which nothing more is awaited, lost ones among them."""
        return self.completed + self.failed + self.cancelled + self.lost


class BatchFailure(Struct, frozen=True):
    """Tasks of a batch that failed for the same reason: how many, and the first few of their lines."""

    code: str | None
    message: str
    count: Count
    lines: list[int] = []


class BatchView(Struct, frozen=True):
    """A batch: `paused_by` and `paused_why` (in words; null if a person did it) say what paused it; `waits_for`,
    `waits_until` and `waits` (in words) what its next queued task waits for; `cost` is what its completed tasks
    cost, of which `unknown` many did not say, those of `earlier` tries included. `warnings` say which budgets of
    the service do not cover what is queued of it; they are not in lists."""

    name: str
    priority: Priority
    label: str | None
    created_at: Time
    closed_at: Time | None
    paused_at: Time | None
    paused_why: str | None
    finished_at: Time | None
    budget: Cost | None
    counts: BatchCounts
    cost: Cost | None = None
    unknown: Count = 0
    earlier: Count = 0
    estimate: Cost | None = None  # of all its tasks together
    failures: list[BatchFailure] = []
    waits_for: str | None = None
    waits_until: Time | None = None
    waits: str | None = None
    closed_why: str | None = None  # null: whoever filled it closed it
    paused_by: str | None = None  # person, failures or budget
    warnings: tuple[str, ...] = ()


class BatchPage(Struct, frozen=True):
    """A page of batches, newest first; `next` is the cursor of the following page."""

    batches: list[BatchView]
    next: str | None


class BatchChange(Struct, frozen=True):
    """What a change of a batch did: how many tasks were cancelled or tried again, and the batch afterwards. If there
    are more than one call takes, `next` is the cursor of the call that goes on."""

    batch: BatchView
    changed: Count = 0
    next: str | None = None


class BatchRowResult(Struct, frozen=True, omit_defaults=True):
    """What became of one row of a batch's file. `urls` are our own links to the pictures if there are any, else the
    provider's."""

    line: int
    ref: Ref
    state: str
    model: str | None = None
    label: str | None = None
    unsure: bool = False
    confirmed: bool = True
    cost: Cost | None = None
    error: Problem | None = None
    urls: list[str] = []
    submitted_at: Time | None = None
    settled_at: Time | None = None
    again_of: Ref | None = None
    step: str | None = None  # of a chain
