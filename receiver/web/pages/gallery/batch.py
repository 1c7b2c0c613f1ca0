"""`/batches/{name}`: how far a batch is, what failed and why, and its pictures."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import MappingProxyType
from urllib.parse import quote

from msgspec import Struct
from starlette.responses import Response
from starlette.routing import Route

from receiver.core.batches import BatchFigures, FailureGroup
from receiver.core.errors import RequestRefused
from receiver.core.money import format_estimate
from receiver.core.sanitize import format_duration, one_line
from receiver.core.types import QueueLane, Task, TaskState
from receiver.tasks.batch_ends import read_figures
from receiver.tasks.batch_names import require_batch
from receiver.tasks.batches import LaneChange
from receiver.web.api.requests import parse_row_id
from receiver.web.pages.gallery.batch_cards import BatchCard, make_batch_card
from receiver.web.pages.gallery.card_maker import CardMaker
from receiver.web.pages.page import PageError, PageFrame, PageRequest, redirect
from receiver.web.pages.sentences import task_title

COMPLETED_PAGE = 60
UNDER_WAY_MOST = 40
FAILED_ROWS_MOST = 200
PROMPT_MOST = 120
REASON_MOST = 200
_NONE: Mapping[str, str] = MappingProxyType({})

_UNDER_WAY = (TaskState.SUBMITTING, TaskState.WAITING)
_FAILED = (TaskState.FAILED, TaskState.LOST)
_DONE = {
    "paused": "The batch is paused: what the provider has goes on, the rest waits.",
    "resumed": "The batch goes on.",
    "cancelled": "What was queued is cancelled.",
}


class FailedRow(Struct, frozen=True):
    """A row that failed: its line in the file, its task, and how its prompt begins."""

    line: int
    ref: str
    title: str
    prompt: str
    again: str = ""  # the ref of the newest task that repeats it


class FailedGroup(Struct, frozen=True):
    """Rows that failed for one reason; only the first of them are listed."""

    reason: str
    count: int
    rows: tuple[FailedRow, ...]


class RetryOffer(Struct, frozen=True):
    """What the button that submits rows again would submit: how many, in words, and what it may cost."""

    count: int
    words: str
    cost: str
    left_out: str  # why the other rows that failed are not among them


class BatchPages:
    """The page of a batch, and what its buttons do."""

    def __init__(self, frame: PageFrame, maker: CardMaker) -> None:
        self._frame = frame
        self._parts = frame.parts
        self._maker = maker

    def routes(self) -> list[Route]:
        """The routes to them."""
        batches = self._parts.batches
        return [
            self._frame.get("/batches/{name}", self.show),
            self._frame.post("/batches/{name}/pause", self._act("paused", batches.pause)),
            self._frame.post("/batches/{name}/resume", self._act("resumed", batches.resume)),
            self._frame.post("/batches/{name}/cancel", self._act("cancelled", batches.cancel)),
            self._frame.post("/batches/{name}/retry", self._act("retried", self._retry)),
        ]

    async def show(self, asked: PageRequest) -> Response:
        """The batch."""
        done = asked.query("done")
        return await self._show(asked, done=_describe_retried(asked) if done == "retried" else _DONE.get(done, ""))

    async def _show(self, asked: PageRequest, *, status: int = 200, done: str = "", refused: str = "") -> Response:
        store, lane = self._parts.store, await self._find(asked)
        before = asked.query("before") or None
        figures = await read_figures(store, lane)
        completed = await store.gallery.tasks_of_batch(lane.id, [TaskState.COMPLETED], before, COMPLETED_PAGE + 1)
        under_way = await store.gallery.tasks_of_batch(lane.id, _UNDER_WAY, None, UNDER_WAY_MOST)
        failed = await store.gallery.tasks_of_batch(lane.id, _FAILED, None, FAILED_ROWS_MOST)
        again = await store.chains.repeated_by([it.ref for it in failed]) if failed else {}
        newest = completed if before is None else []
        card = make_batch_card(lane, figures, newest[:20], self._parts.clock())
        return await self._frame.render(
            asked,
            "batch.html",
            status,
            title=card.title,
            page="gallery",
            batch=card,
            path=f"/batches/{quote(lane.name, safe='')}",
            lane=lane,
            summary=_describe_end(lane, card),
            retry=offer_retry(figures, await store.batch_rows.count_repeatable(lane.id)),
            groups=group_failed(figures.failures, failed, {ref: it.ref for ref, it in again.items()}),
            failed_more=max(0, card.failed - len(failed)),
            under_way=await self._maker.make(under_way),
            completed=await self._maker.make(completed[:COMPLETED_PAGE]),
            older=completed[COMPLETED_PAGE - 1].ref if len(completed) > COMPLETED_PAGE else "",
            before=before,
            done=done,
            refused=refused,
        )

    def _act(
        self, done: str, change: Callable[[str], Awaitable[QueueLane | LaneChange]]
    ) -> Callable[[PageRequest], Awaitable[Response]]:
        async def act(asked: PageRequest) -> Response:
            lane = await self._find(asked)
            try:
                changed = await change(lane.name)
            except RequestRefused as refused:
                return await self._show(asked, status=refused.status, refused=f"{refused}.")
            count = f"&n={changed.changed}" if done == "retried" and isinstance(changed, LaneChange) else ""
            return redirect(f"/batches/{quote(lane.name, safe='')}?done={done}{count}#done")

        return act

    async def _retry(self, name: str) -> LaneChange:
        """All that failed, in as many turns as it takes."""
        change = await self._parts.batches.retry(name)
        total = change.changed
        while change.after is not None:
            change = await self._parts.batches.retry(name, change.after)
            total += change.changed
        return LaneChange(change.lane, total)

    async def _find(self, asked: PageRequest) -> QueueLane:
        try:
            return await require_batch(self._parts.store, asked.path("name"))
        except RequestRefused:
            raise PageError(404, "There is no such batch", "It may have been removed by retention.") from None


def group_failed(
    groups: Sequence[FailureGroup], failed: Sequence[Task], again: Mapping[str, str] = _NONE
) -> list[FailedGroup]:
    """The failed rows by reason, the most frequent first; each with those of its rows that are among `failed`. `again`
    are the refs of the tasks that repeat some of them."""
    rows: dict[tuple[str | None, str], list[FailedRow]] = {}
    lost: list[FailedRow] = []
    for task in failed:
        row = FailedRow(
            task.turn, task.ref, task_title(task), one_line(task.prompt or "", PROMPT_MOST), again.get(task.ref, "")
        )
        if task.state is TaskState.LOST:
            lost.append(row)
        else:
            reason = one_line(task.error.message if task.error else "", REASON_MOST) or "no reason was given"
            rows.setdefault((task.error.code if task.error else None, reason), []).append(row)
    found = [FailedGroup(it.message, it.count, _by_line(rows.get((it.code, it.message), []))) for it in groups]
    if lost:
        found.append(FailedGroup("no callback came, and the provider does not know it", len(lost), _by_line(lost)))
    return found


def _by_line(rows: Sequence[FailedRow]) -> tuple[FailedRow, ...]:
    return tuple(sorted(rows, key=lambda it: (it.line, it.ref)))


def _describe_end(lane: QueueLane, card: BatchCard) -> str:
    """What the batch came to, once it has ended."""
    if lane.finished_at is None:
        return ""
    counts = [f"{card.completed:,} completed", *([f"{card.failed:,} failed"] if card.failed else [])]
    counts += [f"{card.cancelled:,} cancelled"] if card.cancelled else []
    took = format_duration(lane.finished_at - lane.created_at - lane.idle_ms)
    return ", ".join(["All done: " + counts[0], *counts[1:], f"in {took}", *([card.cost] if card.cost else [])]) + "."


def offer_retry(figures: BatchFigures, repeatable: Mapping[TaskState, int]) -> RetryOffer:
    """What would be submitted again of these rows, and what it may cost if it costs as much as the others did."""
    failed, cancelled = repeatable.get(TaskState.FAILED, 0), repeatable.get(TaskState.CANCELLED, 0)
    count = failed + cancelled
    counts = [f"{failed:,} failed"] if failed else []
    counts += [f"{cancelled:,} cancelled"] if cancelled else []
    cost = ""
    if figures.priced and figures.cost is not None and count:
        cost = format_estimate(figures.cost / figures.priced * count)
    left_out = figures.states.get(TaskState.FAILED, 0) - failed
    lost = figures.states.get(TaskState.LOST, 0)
    why = []
    if left_out > 0:
        why.append(f"{left_out:,} that failed {'is' if left_out == 1 else 'are'} left out: submitted again already, or"
                   " nobody confirmed that it failed.")  # fmt: skip
    if lost:
        why.append(f"{lost:,} lost {'is' if lost == 1 else 'are'} left out: a late callback still settles"
                   f" {'it' if lost == 1 else 'them'}.")  # fmt: skip
    return RetryOffer(count, " and ".join(counts), cost, " ".join(why))


def _describe_retried(asked: PageRequest) -> str:
    count = parse_row_id(asked.query("n")) or 0
    if not count:
        return "Nothing was submitted again: it was done already."
    return f"{count:,} {'is' if count == 1 else 'are'} submitted again."
