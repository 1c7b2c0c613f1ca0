"""The API, call by call, and `OPERATIONS`, the one table from which the routes and the OpenAPI document are made.

Each turns a request into one call of `tasks.intake`, `tasks.ingest` or the store, and shows the result. They decide
what is accepted; refused here are only names, cursors and ids that cannot exist.
"""

from collections import Counter
from typing import Any

from msgspec import Raw
from msgspec.structs import replace

from receiver.client import chain_schemas, cost_schemas, queue_schemas, schemas
from receiver.core.errors import RequestRefused, StaleUpdate, StoreUnavailable
from receiver.core.types import Task
from receiver.notify.redrive import REDRIVE_TURN, change_in_turns, redrive_notices
from receiver.service.wiring import ServiceParts
from receiver.store.tables.callbacks import StoredCallback
from receiver.tasks.chain_groups import UnreadableItem
from receiver.tasks.find_task import unknown_task
from receiver.tasks.judge_requests import CreatedTask
from receiver.tasks.new_tasks import unknown_target
from receiver.tasks.sent_rows import find_sent_in
from receiver.tokens import is_ref
from receiver.web.api import chains, costs, openapi, queue
from receiver.web.api.batches import BATCH_OPERATIONS, BatchOperations
from receiver.web.api.chains import CancelFilter
from receiver.web.api.operations import ApiRequest, Operation, decode_body
from receiver.web.api.picks import PICK_OPERATIONS, PickOperations
from receiver.web.api.present import callback_view, notice_views, task_views, views_that_fit
from receiver.web.api.requests import (
    CallbackFilter,
    CostFilter,
    DiscardRequest,
    NewCallbackUrl,
    NewTaskList,
    NoticeFilter,
    RedriveRequest,
    ReplayRequest,
    TargetTestRequest,
    TaskFilter,
    TaskIdPatch,
    bad_cursor,
    parse_cursor,
    parse_row_id,
)
from receiver.web.api.sample import TargetTester
from receiver.web.api.stream import EventStreams
from receiver.web.api.task_search import find_tasks
from receiver.web.json_replies import as_refusal, problem_view
from receiver.web.responses import json_response


class ApiCalls(BatchOperations, PickOperations):
    """What the calls share: the parts and the open streams. Each public method is an operation of the table below."""

    def __init__(self, parts: ServiceParts, streams: EventStreams) -> None:
        super().__init__(parts)
        self._store = parts.store
        self._intake = parts.intake
        self._streams = streams
        self._trial = TargetTester(parts)
        self._targets = {target.name for target in parts.policy.targets}
        self._document: dict[str, Any] | None = None

    async def create_task(self, asked: ApiRequest) -> object:
        new: schemas.NewTask = asked.body
        made = await self._intake.create_one(new, new.idempotency_key if asked.key is None else asked.key)
        [view] = await self._created_views([made], warn=True)
        return json_response(view, 202, {"Idempotent-Replayed": "true"} if made.replayed else None)

    async def create_tasks(self, asked: ApiRequest) -> object:
        new: NewTaskList = asked.body
        items = [_decode_item(raw) for raw in new.tasks]
        try:
            made = await self._intake.create_many(items, batch=new.batch, dry_run=new.dry_run)
        except (StoreUnavailable, StaleUpdate) as error:
            made = [it if isinstance(it, RequestRefused) else as_refusal(error) for it in items]
        there = [it for it in made if isinstance(it, CreatedTask) and it.task is not None]
        views = iter(await self._created_views(there, warn=new.batch is None))
        answers = [
            schemas.BatchItem(it.status, error=problem_view(it).error)
            if isinstance(it, RequestRefused)
            else schemas.BatchItem(202, task=next(views), replayed=it.replayed)
            if it.task is not None
            else schemas.BatchItem(202, warnings=it.warnings)
            for it in made
        ]
        if new.batch is None or not new.dry_run:
            return answers
        sent_in = await find_sent_in(self._store, items, new.batch)
        both = zip(answers, sent_in, strict=True)
        return [answer if answer.replayed else replace(answer, sent_in=name) for answer, name in both]

    async def list_tasks(self, asked: ApiRequest) -> object:
        query: TaskFilter = asked.query
        if query.cursor is not None and not is_ref(query.cursor):
            raise bad_cursor()
        found = await find_tasks(self._store, query, query.limit + 1)
        views = await views_that_fit(found.tasks[: query.limit], self._task_views)
        return schemas.TaskPage(views, views[-1].ref if len(found.tasks) > len(views) else found.next)

    async def get_task(self, asked: ApiRequest) -> object:
        return await self._task_view(await self._find_task(_task_ref(asked)))

    async def tell_task_id(self, asked: ApiRequest) -> object:
        patch: TaskIdPatch = asked.body
        return await self._task_view(await self._intake.set_task_id(_task_ref(asked), patch.task_id))

    async def cancel_task(self, asked: ApiRequest) -> object:
        which: CancelFilter = asked.query
        cancel = self._intake.cancel_children if which.children else self._intake.cancel_task
        return await self._task_view(await cancel(_task_ref(asked)))

    async def show_chain(self, asked: ApiRequest) -> object:
        return await chains.show_chain(self._parts, await self._find_task(_task_ref(asked)))

    async def poll_task(self, asked: ApiRequest) -> object:
        return await self._task_view(await self._intake.request_poll(_task_ref(asked)))

    async def resubmit_task(self, asked: ApiRequest) -> object:
        return await self._task_view(await self._intake.resubmit_task(_task_ref(asked)))

    async def submit_again(self, asked: ApiRequest) -> object:
        task, again = await self._intake.submit_again(_task_ref(asked), asked.body, asked.key)
        return json_response(await self._task_view(task), 202, {"Idempotent-Replayed": "true"} if again else None)

    async def put_task_first(self, asked: ApiRequest) -> object:
        return await self._task_view(await self._intake.put_first(_task_ref(asked)))

    async def show_costs(self, asked: ApiRequest) -> object:
        return await costs.show_costs(self._parts, asked.query)

    async def raise_budget(self, asked: ApiRequest) -> object:
        return await costs.raise_budget(self._parts, asked.body)

    async def show_queue(self, asked: ApiRequest) -> object:
        return await queue.show_queue(self._parts)

    async def pause_queue(self, asked: ApiRequest) -> object:
        return await queue.pause_queue(self._parts)

    async def resume_queue(self, asked: ApiRequest) -> object:
        return await queue.resume_queue(self._parts)

    async def discard_callback_url(self, asked: ApiRequest) -> object:
        return await self._task_view(await self._intake.discard_url(_task_ref(asked)))

    async def fetch_pictures(self, asked: ApiRequest) -> object:
        return await self._task_view(await self._parts.archive.fetch_again(_task_ref(asked)))

    async def create_callback_url(self, asked: ApiRequest) -> object:
        new: NewCallbackUrl = asked.body
        task = await self._intake.mint_task(new.label, new.model, new.task_id)
        return schemas.CallbackUrlView(task.ref, self._intake.callback_url(task.ref))

    async def list_callbacks(self, asked: ApiRequest) -> object:
        query: CallbackFilter = asked.query
        before = parse_cursor(query.cursor)
        found = await self._store.callbacks.page(
            ref=query.ref, verdict=query.verdict, before=before, limit=query.limit + 1
        )

        async def make_views(some: list[StoredCallback]) -> list[schemas.CallbackView]:
            return [callback_view(it, self._parts.echoes) for it in some]

        views = await views_that_fit(found[: query.limit], make_views)
        return schemas.CallbackPage(views, str(views[-1].id) if len(found) > len(views) else None)

    async def get_callback(self, asked: ApiRequest) -> object:
        callback_id = _callback_id(asked)
        found = await self._store.callbacks.get([callback_id])
        if not found:
            raise RequestRefused(404, "not_found", f"there is no callback {callback_id}")
        return callback_view(found[0], self._parts.echoes)

    async def replay_callback(self, asked: ApiRequest) -> object:
        how: ReplayRequest = asked.body
        verdict = await self._parts.ingest.replay(_callback_id(asked), accept=how.accept)
        return schemas.VerdictView(verdict.value)

    async def list_notices(self, asked: ApiRequest) -> object:
        query: NoticeFilter = asked.query
        before = parse_cursor(query.cursor)
        found = await self._store.notices.page(
            state=query.state, target=query.target, ref=query.ref, before=before, limit=query.limit + 1
        )
        if not found and query.target is not None and not await self._store.notices.page(target=query.target, limit=1):
            self._check_target(query.target, "target")  # only now: a target that is gone may still have notices
        views = await views_that_fit(
            found[: query.limit], lambda some: notice_views(self._store, self._parts.notify, some)
        )
        return schemas.NoticePage(views, str(views[-1].id) if len(found) > len(views) else None)

    async def test_notices(self, asked: ApiRequest) -> object:
        which: TargetTestRequest = asked.body
        return await self._trial.send_sample(which.target, which.event)

    async def redrive_notices(self, asked: ApiRequest) -> object:
        which: RedriveRequest = asked.body
        if which.to is not None:
            self._check_target(which.to, "to")
        elif which.target is not None:  # with `to`, the target may be gone: that is what `to` is for
            self._check_target(which.target, "target")
        ids = None if which.ids is None else [int(it) for it in which.ids]
        redriven = await redrive_notices(
            self._store, self._parts.policy, self._parts.clock, target=which.target, ids=ids, to=which.to
        )
        return schemas.RedrivenView(redriven)

    async def discard_notices(self, asked: ApiRequest) -> object:
        which: DiscardRequest = asked.body
        if which.target is None and which.ids is None:
            raise RequestRefused(422, "invalid_parameter", "name the notices to discard by target or ids", "ids")
        ids = None if which.ids is None else [int(it) for it in which.ids]
        return schemas.DiscardedView(
            await change_in_turns(
                self._store, lambda tx: tx.notices.discard(target=which.target, ids=ids, limit=REDRIVE_TURN)
            )
        )

    async def prune(self, asked: ApiRequest) -> object:
        if not self._parts.role.works:
            remedy = "workers prune every hour; to do it now, run `receiver prune` where the settings are"
            raise RequestRefused(409, "no_worker", "this process does not prune", remedy=remedy)
        return schemas.PruneView(self._parts.prune.start_pass_now())

    async def stream(self, asked: ApiRequest) -> object:
        return self._streams

    async def openapi(self, asked: ApiRequest) -> object:
        if self._document is None:
            self._document = openapi.build_document(OPERATIONS, sorted(self._targets))
        return self._document

    async def _task_views(self, tasks: list[Task]) -> list[schemas.TaskView]:
        return await task_views(self._store, tasks, self._parts.submit.queue.find_waits)

    async def _task_view(self, task: Task) -> schemas.TaskView:
        [view] = await self._task_views([task])
        return view

    async def _created_views(self, made: list[CreatedTask], *, warn: bool) -> list[schemas.TaskView]:
        """The tasks of requests that were accepted, with what is said only now; if `warn`, also that a budget does not
        cover them."""
        tasks = {it.task.ref: it.task for it in made if it.task is not None}
        views = await chains.with_estimates(self._parts, await self._task_views(list(tasks.values())))
        view_of = {view.ref: view for view in views}
        new = Counter(task.model or "" for it in made if warn and not it.replayed for task in it.tasks)
        short = await self._parts.budget.find_shortfalls(self._store.spend, new, self._parts.clock())
        warnings = [it.warnings if it.replayed else (*it.warnings, *short) for it in made]
        return [
            replace(view_of[it.tasks[0].ref], warnings=said, siblings=tuple(task.ref for task in it.siblings))
            for it, said in zip(made, warnings, strict=True)
        ]

    async def _find_task(self, ref: str) -> Task:
        found = await self._store.tasks.get([ref])
        if ref not in found:
            raise unknown_task(ref)
        return found[ref]

    def _check_target(self, name: str, field: str) -> None:
        if name not in self._targets:
            raise RequestRefused(422, "unknown_target", unknown_target(name, self._targets), field)


def _decode_item(raw: Raw) -> schemas.NewTask | RequestRefused:
    """An item of a batch, or why it is none."""
    try:
        return decode_body(schemas.NewTask, raw)
    except RequestRefused as refused:
        return UnreadableItem(refused, raw)


def _task_ref(asked: ApiRequest) -> str:
    ref = asked.path["ref"]
    if not is_ref(ref):
        raise unknown_task(ref)
    return ref


def _callback_id(asked: ApiRequest) -> int:
    found = parse_row_id(asked.path["id"])
    if found is None:
        raise RequestRefused(404, "not_found", f"there is no callback {asked.path['id'][:80]}")
    return found


# fmt: off
OPERATIONS: tuple[Operation, ...] = (
    Operation(method="POST", path="/tasks", summary="Submit a generation", run=ApiCalls.create_task, status=202,
              body=schemas.NewTask, answer=schemas.TaskView, repeatable=True, refusals=(404, 409)),
    Operation(method="POST", path="/tasks/batch", summary="Submit up to 100, each accepted or refused on its own",
              run=ApiCalls.create_tasks, body=NewTaskList, answer=list[schemas.BatchItem], refusals=(404,)),
    Operation(method="GET", path="/tasks", summary="Tasks, newest first", run=ApiCalls.list_tasks,
              query=TaskFilter, answer=schemas.TaskPage, refusals=(404,)),
    Operation(method="GET", path="/tasks/{ref}", summary="One task", run=ApiCalls.get_task,
              answer=schemas.TaskView, refusals=(404,)),
    Operation(method="PATCH", path="/tasks/{ref}", summary="Set the provider's id of a task afterwards",
              run=ApiCalls.tell_task_id, body=TaskIdPatch, answer=schemas.TaskView, refusals=(404, 409)),
    Operation(method="GET", path="/tasks/{ref}/chain", summary="The chain of a task as a tree, and what it costs",
              run=ApiCalls.show_chain, answer=chain_schemas.ChainView, refusals=(404,)),
    Operation(method="POST", path="/tasks/{ref}/cancel", run=ApiCalls.cancel_task, query=CancelFilter,
              summary="Withdraw a queued task and what waits for it; with `children`, only what waits for it",
              answer=schemas.TaskView, refusals=(404, 409)),
    Operation(method="POST", path="/tasks/{ref}/poll", summary="Poll the provider now", run=ApiCalls.poll_task,
              status=202, answer=schemas.TaskView, refusals=(404, 409)),
    Operation(method="POST", path="/tasks/{ref}/resubmit", run=ApiCalls.resubmit_task, status=202,
              summary="Submit an unsure task again, accepting that it may be paid for twice",
              answer=schemas.TaskView, refusals=(404, 409)),
    Operation(method="POST", path="/tasks/{ref}/again", run=ApiCalls.submit_again, status=202,
              summary="Submit another task like this one, changed if wanted", body=schemas.AgainRequest,
              answer=schemas.TaskView, repeatable=True, refusals=(404, 409)),
    Operation(method="POST", path="/tasks/{ref}/pictures", run=ApiCalls.fetch_pictures, status=202,
              summary="Fetch again what is missing of our copies of a task's pictures",
              answer=schemas.TaskView, refusals=(404, 409)),
    Operation(method="POST", path="/tasks/{ref}/first", run=ApiCalls.put_task_first,
              summary="Put a queued task in front of all others",
              answer=schemas.TaskView, refusals=(404, 409)),
    Operation(method="GET", path="/queue", summary="How submitting stands, and what is queued",
              run=ApiCalls.show_queue, answer=queue_schemas.QueueView),
    Operation(method="POST", path="/queue/pause", summary="Submit nothing until the queue is resumed",
              run=ApiCalls.pause_queue, answer=queue_schemas.QueueView),
    Operation(method="POST", path="/queue/resume", summary="Submit again",
              run=ApiCalls.resume_queue, answer=queue_schemas.QueueView),
    Operation(method="GET", path="/costs", summary="What was spent, and how the budgets stand",
              run=ApiCalls.show_costs, query=CostFilter, answer=cost_schemas.CostsView),
    Operation(method="PUT", path="/budget", summary="Raise the budget of the present day or month, or of a batch",
              run=ApiCalls.raise_budget, body=cost_schemas.BudgetRaise, answer=cost_schemas.CostsView,
              refusals=(404, 409)),
    *PICK_OPERATIONS,
    *BATCH_OPERATIONS,
    Operation(method="POST", path="/callback-urls", summary="Mint a callback URL for a submission made elsewhere",
              run=ApiCalls.create_callback_url, body=NewCallbackUrl, status=201, answer=schemas.CallbackUrlView,
              refusals=(409,)),
    Operation(method="POST", path="/callback-urls/{ref}/discard", run=ApiCalls.discard_callback_url,
              summary="Give up a minted callback URL that was not used", answer=schemas.TaskView, refusals=(404, 409)),
    Operation(method="GET", path="/callbacks", summary="Callbacks, newest first", run=ApiCalls.list_callbacks,
              query=CallbackFilter, answer=schemas.CallbackPage),
    Operation(method="GET", path="/callbacks/{id}", summary="One callback with its bytes", run=ApiCalls.get_callback,
              answer=schemas.CallbackView, refusals=(404,)),
    Operation(method="POST", path="/callbacks/{id}/replay", summary="Parse a stored callback again",
              run=ApiCalls.replay_callback, body=ReplayRequest, answer=schemas.VerdictView, refusals=(404, 409)),
    Operation(method="GET", path="/notices", summary="Notices, newest first", run=ApiCalls.list_notices,
              query=NoticeFilter, answer=schemas.NoticePage),
    Operation(method="POST", path="/notices/test", summary="Send a sample with a picture to a target now",
              run=ApiCalls.test_notices, body=TargetTestRequest, answer=schemas.TrialView, refusals=(404, 409)),
    Operation(method="POST", path="/notices/redrive", summary="Put dead notices back to due",
              run=ApiCalls.redrive_notices, body=RedriveRequest, answer=schemas.RedrivenView),
    Operation(method="POST", path="/notices/discard", summary="Discard dead notices",
              run=ApiCalls.discard_notices, body=DiscardRequest, answer=schemas.DiscardedView),
    Operation(method="POST", path="/prune", summary="Remove now what RETENTION says, instead of within the hour",
              run=ApiCalls.prune, status=202, answer=schemas.PruneView, refusals=(409,)),
    Operation(method="GET", path="/stream", run=ApiCalls.stream, media="text/event-stream",
              summary="Server-sent events: one `task` event, its data a TaskView, for each change of a task"),
    Operation(method="GET", path="/openapi.json", summary="This document", run=ApiCalls.openapi),
)
# fmt: on
