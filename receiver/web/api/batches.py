"""The calls about batches, and the stream of what became of their rows."""

import logging
from collections.abc import AsyncIterator, Sequence
from typing import Annotated

import msgspec
from msgspec import Meta, Struct
from starlette.types import ASGIApp, Receive, Scope, Send

from receiver.client import batch_schemas as schemas
from receiver.client.schemas import LINE_MOST, Problem
from receiver.client.views import rfc3339, rfc3339_or_none
from receiver.core.batches import BatchFigures
from receiver.core.errors import RequestRefused, StoreError
from receiver.core.money import NANO, amount_text, round_amount
from receiver.core.queue_waits import describe_wait
from receiver.core.types import Image, ImageCopy, QueueLane, Task, TaskState
from receiver.service.wiring import ServiceParts
from receiver.tasks.batch_ends import read_figures
from receiver.tasks.batch_names import require_batch
from receiver.tokens import REF_PATTERN, is_ref
from receiver.web.api.operations import ApiRequest, Operation
from receiver.web.api.requests import Limit, RowCursor, bad_cursor, parse_cursor
from receiver.web.responses import problem_response, send_in_pieces

STREAMS_MOST = 20  # of results at once
PAGE = 100  # rows that are read at once
NDJSON = "application/x-ndjson"
_LINE_DIGITS = len(str(LINE_MOST))

log = logging.getLogger(__name__)


class BatchFilter(Struct, frozen=True, forbid_unknown_fields=True):
    """Which batches to list."""

    limit: Limit = 50
    cursor: RowCursor | None = None


class ResultFilter(Struct, frozen=True, forbid_unknown_fields=True):
    """Which rows to show: those after a line of the file."""

    after: Annotated[int, Meta(ge=0, le=LINE_MOST)] = 0


class ChangeFilter(Struct, frozen=True, forbid_unknown_fields=True):
    """Where a change of many tasks goes on."""

    cursor: (
        Annotated[
            str,
            Meta(
                description="The `next` of the previous call.",
                extra_json_schema={"pattern": rf"^[0-9]{{1,{_LINE_DIGITS}}}\.{REF_PATTERN}$"},
            ),
        ]
        | None
    ) = None


class BatchOperations:
    """The calls of the table below; `ApiCalls` has them too."""

    def __init__(self, parts: ServiceParts) -> None:
        self._parts = parts
        self._streams_open = 0

    async def open_batch(self, asked: ApiRequest) -> object:
        new: schemas.NewBatch = asked.body
        return await self._view(await self._parts.batches.open(new))

    async def list_batches(self, asked: ApiRequest) -> object:
        query: BatchFilter = asked.query
        found = await self._parts.store.lanes.page(parse_cursor(query.cursor), query.limit + 1)
        shown = found[: query.limit]
        views = [await self._view(lane, warn=False) for lane in shown]
        return schemas.BatchPage(views, str(shown[-1].id) if len(found) > len(shown) else None)

    async def get_batch(self, asked: ApiRequest) -> object:
        return await self._view(await self._find(asked))

    async def close_batch(self, asked: ApiRequest) -> object:
        return await self._change(await self._parts.batches.close(asked.path["name"]))

    async def pause_batch(self, asked: ApiRequest) -> object:
        return await self._change(await self._parts.batches.pause(asked.path["name"]))

    async def resume_batch(self, asked: ApiRequest) -> object:
        return await self._change(await self._parts.batches.resume(asked.path["name"]))

    async def cancel_batch(self, asked: ApiRequest) -> object:
        query: ChangeFilter = asked.query
        _parse_row_place(query.cursor)  # it goes on from the first row that is queued, wherever that is
        return await self._change(*await self._parts.batches.cancel(asked.path["name"]))

    async def retry_batch(self, asked: ApiRequest) -> object:
        query: ChangeFilter = asked.query
        after = _parse_row_place(query.cursor)
        return await self._change(*await self._parts.batches.retry(asked.path["name"], after))

    async def stream_results(self, asked: ApiRequest) -> object:
        query: ResultFilter = asked.query
        lane = await self._find(asked)
        return self._result_stream(lane, (query.after + 1, ""))

    async def _find(self, asked: ApiRequest) -> QueueLane:
        return await require_batch(self._parts.store, asked.path["name"])

    async def _change(
        self, lane: QueueLane, changed: int = 0, after: tuple[int, str] | None = None
    ) -> schemas.BatchChange:
        return schemas.BatchChange(await self._view(lane), changed, None if after is None else f"{after[0]}.{after[1]}")

    async def _view(self, lane: QueueLane, *, warn: bool = True) -> schemas.BatchView:
        store = self._parts.store
        figures = await read_figures(store, lane)
        unsure = await store.batch_rows.count_unsure(lane.id)
        next_queued = await store.batch_rows.in_states(lane.id, [TaskState.QUEUED], limit=1)
        [wait] = await self._parts.submit.queue.find_waits(next_queued) if next_queued else [None]
        queued = {it.model or "": figures.states.get(TaskState.QUEUED, 0) for it in next_queued if warn}
        since, until = (rfc3339_or_none(wait.since), rfc3339_or_none(wait.until)) if wait else (None, None)
        return schemas.BatchView(
            name=lane.name,
            priority=lane.priority.name.lower(),
            label=lane.label,
            created_at=rfc3339(lane.created_at),
            closed_at=rfc3339_or_none(lane.closed_at),
            closed_why=lane.closed_why,
            paused_at=rfc3339_or_none(lane.paused_at),
            paused_by=lane.paused_by,
            paused_why=lane.paused_why,
            finished_at=rfc3339_or_none(lane.finished_at),
            budget=lane.budget,
            counts=schemas.BatchCounts(**{state.value: n for state, n in figures.states.items()}, unsure=unsure),
            cost=None if figures.cost is None else f"{figures.cost.normalize():f}",
            unknown=figures.unknown,
            earlier=figures.earlier,
            estimate=_estimate(figures),
            failures=[schemas.BatchFailure(it.code, it.message, it.count, it.lines) for it in figures.failures],
            waits_for=wait.why.value if wait else None,
            waits_until=until,
            waits=_wait_words(wait.why.value, since, wait.detail) if wait else None,
            warnings=await self._parts.budget.find_shortfalls(store.spend, queued, self._parts.clock()),
        )

    def _result_stream(self, lane: QueueLane, start: tuple[int, str]) -> ASGIApp:
        async def send_results(scope: Scope, receive: Receive, send: Send) -> None:
            if self._streams_open >= STREAMS_MOST:
                problem = f"{STREAMS_MOST} results are being read already"
                full = RequestRefused(503, "too_many_streams", problem, remedy="try again later")
                return await problem_response(full, {"Retry-After": "5"})(scope, receive, send)
            self._streams_open += 1
            try:
                headers = [(b"content-type", NDJSON.encode()), (b"cache-control", b"no-store")]
                await send({"type": "http.response.start", "status": 200, "headers": headers})
                async for lines in self._read_results(lane, start):
                    await send_in_pieces(send, lines, more=True)
                await send({"type": "http.response.body", "body": b"", "more_body": False})
            except StoreError as error:  # the answer stays without its end, which a client notices
                log.warning("the results of %s end early: %s", lane.name, error, extra={"action": "batch.results"})
            finally:
                self._streams_open -= 1

        return send_results

    async def _read_results(self, lane: QueueLane, after: tuple[int, str]) -> AsyncIterator[bytes]:
        """The rows by line, some at a time."""
        store = self._parts.store
        while tasks := await store.batch_rows.in_states(lane.id, list(TaskState), after, limit=PAGE):
            refs = [task.ref for task in tasks if task.state is TaskState.COMPLETED]
            images = await store.tasks.images_by_ref(refs) if refs else {}
            copies = await store.copies.by_refs(refs) if refs else {}
            yield b"".join(
                msgspec.json.encode(self._result(it, images.get(it.ref, ()), copies.get(it.ref, ()))) + b"\n"
                for it in tasks
            )
            after = tasks[-1].turn, tasks[-1].ref

    def _result(self, task: Task, images: Sequence[Image], copies: Sequence[ImageCopy]) -> schemas.BatchRowResult:
        files = {copy.image_no: copy.file for copy in copies if copy.file}
        ours = (
            self._parts.links.image_url(task.ref, files[it.image_no]) if it.image_no in files else None for it in images
        )
        error, cost = task.error, task.usage.cost if task.usage else None
        return schemas.BatchRowResult(
            line=task.turn,
            ref=task.ref,
            state=task.state.value,
            model=task.model,
            label=task.label,
            unsure=task.unsure,
            confirmed=task.confirmed,
            cost=None if cost is None else str(cost),
            error=Problem(error.code or "", error.message) if error and task.state is not TaskState.QUEUED else None,
            urls=[our or image.url for our, image in zip(ours, images, strict=True)],
            submitted_at=rfc3339_or_none(task.submitted_at),
            settled_at=rfc3339_or_none(task.settled_at),
            again_of=task.again_of,
            step=task.step,
        )


def _parse_row_place(cursor: str | None) -> tuple[int, str]:
    """The row after which a change goes on. Raises RequestRefused."""
    line, _, ref = (cursor or "").partition(".")
    if cursor is None:
        return 0, ""
    if not (line.isascii() and line.isdigit() and len(line) <= _LINE_DIGITS and is_ref(ref)):
        raise bad_cursor()
    return int(line), ref


def _estimate(figures: BatchFigures) -> str | None:
    """What all rows will cost with the earlier tries, if what has no known cost costs as much as the others did."""
    if not figures.priced or figures.cost is None:
        return None
    return amount_text(round_amount(int(figures.cost / figures.priced * NANO * (figures.total + figures.earlier))))


def _wait_words(why: str, since: str | None, detail: str | None) -> str:
    words = describe_wait(why, since)
    return f"{words}: {detail}" if detail else words


# fmt: off
BATCH_OPERATIONS: tuple[Operation, ...] = (
    Operation(method="POST", path="/batches", summary="Open a batch; the one of this name if it exists",
              run=BatchOperations.open_batch, body=schemas.NewBatch, answer=schemas.BatchView, refusals=(409,)),
    Operation(method="GET", path="/batches", summary="Batches, newest first", run=BatchOperations.list_batches,
              query=BatchFilter, answer=schemas.BatchPage),
    Operation(method="GET", path="/batches/{name}", summary="One batch: how far it is, and why rows failed",
              run=BatchOperations.get_batch, answer=schemas.BatchView, refusals=(404,)),
    Operation(method="GET", path="/batches/{name}/results", summary="Its rows by line: a `BatchRowResult` a line",
              run=BatchOperations.stream_results, query=ResultFilter, media=NDJSON, refusals=(404,)),
    Operation(method="POST", path="/batches/{name}/close", summary="No more tasks will come",
              run=BatchOperations.close_batch, answer=schemas.BatchChange, refusals=(404,)),
    Operation(method="POST", path="/batches/{name}/pause", summary="Submit none of its tasks for now",
              run=BatchOperations.pause_batch, answer=schemas.BatchChange, refusals=(404, 409)),
    Operation(method="POST", path="/batches/{name}/resume", summary="Submit its tasks again",
              run=BatchOperations.resume_batch, answer=schemas.BatchChange, refusals=(404, 409)),
    Operation(method="POST", path="/batches/{name}/cancel", summary="Close it, and withdraw its queued tasks",
              run=BatchOperations.cancel_batch, query=ChangeFilter, answer=schemas.BatchChange, refusals=(404,)),
    Operation(method="POST", path="/batches/{name}/retry", summary="Submit again what failed or was cancelled",
              run=BatchOperations.retry_batch, query=ChangeFilter, answer=schemas.BatchChange, refusals=(404, 422)),
)
# fmt: on
