"""A typed, synchronous client of our HTTP API, for the commands and for scripts.

Answers have the types of `schemas`; everything that goes wrong is an `ApiError` of one line, with a remedy. A request
that could not connect is tried again, and each new task carries an Idempotency-Key, so that no retry pays twice.
"""

import contextlib
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar

import msgspec
from msgspec.structs import replace

from receiver.client.batch_calls import BatchCalls
from receiver.client.chain_calls import ChainCalls
from receiver.client.connection import TIMEOUT_S, join_path
from receiver.client.cost_calls import CostCalls
from receiver.client.pick_calls import PickCalls
from receiver.client.queue_calls import QueueCalls
from receiver.client.schemas import (
    AgainRequest,
    BatchItem,
    CallbackPage,
    CallbackUrlView,
    CallbackView,
    DiscardedView,
    NewTask,
    NoticePage,
    PruneView,
    RedrivenView,
    TaskPage,
    TaskView,
    TrialView,
    VerdictView,
)
from receiver.core.errors import ApiError
from receiver.core.handles import is_pattern
from receiver.core.types import TaskState

if TYPE_CHECKING:  # importing it takes 100 ms, which `receiver --help` need not wait for
    import httpx

TRIAL_S = 90.0  # a send takes up to 30 s, and the sample's picture may first have to be drawn
SEARCHES_MOST = 20  # requests for a page of tasks that fit a pattern
SILENCE_MOST_S = 30.0  # a stream that is silent for so long is opened again, and the tasks are read again
STREAM_GAP_S = 1.0  # before a stream that broke is opened again
PATIENCE_S = 120.0  # how long a service that was reached may be away: an update takes less
_UNDER_WAY = (TaskState.QUEUED, TaskState.SUBMITTING, TaskState.WAITING)  # asked in this order, one that moves is met
_T = TypeVar("_T")
ENDS = frozenset({TaskState.COMPLETED, TaskState.FAILED, TaskState.LOST, TaskState.CANCELLED})


class Client(BatchCalls, ChainCalls, CostCalls, PickCalls, QueueCalls):
    """The API of the service at `server` (without a trailing slash). Closes its connections when its context ends.

    Every call raises ApiError: with the API's own status and code, or with status 0 if there was no answer.
    """

    # -- tasks --

    def create_task(self, asked: NewTask) -> TaskView:
        """Queue a task."""
        key = asked.idempotency_key or new_idempotency_key()
        body = replace(asked, idempotency_key=None)
        return self._call_api("POST", "tasks", TaskView, body=body, headers={"Idempotency-Key": key})

    def create_batch(self, asked: Sequence[NewTask]) -> list[BatchItem]:
        """Queue up to 100 tasks. Returns the result for each, in the same order."""
        tasks = [replace(each, idempotency_key=each.idempotency_key or new_idempotency_key()) for each in asked]
        return self._call_api("POST", "tasks/batch", list[BatchItem], body={"tasks": tasks})

    def check_tasks(self, asked: Sequence[NewTask]) -> list[BatchItem]:
        """What `create_batch` would answer. Nothing is queued."""
        return self._call_api("POST", "tasks/batch", list[BatchItem], body={"tasks": asked, "dry_run": True})

    def submit_again(self, ref: str, asked: AgainRequest, key: str | None = None) -> TaskView:
        """Queue another task like this one, with what is `asked` changed."""
        headers = {"Idempotency-Key": key or new_idempotency_key()}
        return self._call_api("POST", join_path("tasks", ref, "again"), TaskView, body=asked, headers=headers)

    def list_tasks(
        self,
        *,
        state: str | None = None,
        label: str | None = None,
        model: str | None = None,
        batch: str | None = None,
        waits: str | None = None,
        handle: str | None = None,
        chains: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> TaskPage:
        """A page of tasks, newest first. `handle` is a label, that of a chain with a step (`LABEL/STEP`), or the
        beginning or end of a ref; with `chains` as `first`, of a chain with that label only the first task is meant."""
        query = {"state": state, "label": label, "model": model, "batch": batch, "waits": waits, "handle": handle}
        query |= {"chains": chains}
        return self._call_api("GET", "tasks", TaskPage, query={**query, "limit": limit, "cursor": cursor})

    def search_tasks(self, *, limit: int, cursor: str | None, **filters: str | None) -> TaskPage:
        """A page of tasks, as `list_tasks`. For a pattern of labels the service looks at so many tasks a request; up to
        `SEARCHES_MOST` requests fill the page."""
        page = self.list_tasks(limit=limit, cursor=cursor, **filters)
        for _ in range(SEARCHES_MOST - 1 if is_pattern(filters.get("label") or "") else 0):
            if page.next is None or len(page.tasks) >= limit:
                break
            more = self.list_tasks(limit=limit - len(page.tasks), cursor=page.next, **filters)
            page = TaskPage([*page.tasks, *more.tasks], more.next)
        return page

    def get_task(self, ref: str) -> TaskView:
        """One task."""
        return self._call_api("GET", join_path("tasks", ref), TaskView)

    @contextlib.contextmanager
    def open_picture(self, ref: str, file: str) -> Iterator[Iterator[bytes]]:
        """The service's copy of a picture, in pieces; `file` is the last part of the picture's `archived`."""
        url = f"{self.server}/{join_path('images', ref, file)}"  # spelt by us, so that it cannot lead to another server
        request = self._http.build_request("GET", url)
        with self._translate_errors(), self._open_response(request) as answer:
            if answer.status_code != 200:
                raise self._to_api_error(answer.status_code, self._read_body(answer))
            yield answer.iter_raw()

    def cancel_task(self, ref: str) -> TaskView:
        """Withdraw a queued task."""
        return self._call_api("POST", join_path("tasks", ref, "cancel"), TaskView)

    def poll_task(self, ref: str) -> TaskView:
        """Have the service poll the task now."""
        return self._call_api("POST", join_path("tasks", ref, "poll"), TaskView)

    def resubmit_task(self, ref: str) -> TaskView:
        """Send an unsure task again, accepting that it may be paid for twice."""
        return self._call_api("POST", join_path("tasks", ref, "resubmit"), TaskView)

    def fetch_pictures(self, ref: str) -> TaskView:
        """Have the service fetch again what is missing of its copies of the task's pictures."""
        return self._call_api("POST", join_path("tasks", ref, "pictures"), TaskView)

    def set_task_id(self, ref: str, task_id: str) -> TaskView:
        """Add the provider's id to a task that was submitted elsewhere."""
        return self._call_api("PATCH", join_path("tasks", ref), TaskView, body={"task_id": task_id})

    def mint_url(
        self, *, label: str | None = None, model: str | None = None, task_id: str | None = None
    ) -> CallbackUrlView:
        """A callback URL for a submission made elsewhere."""
        body = {"label": label, "model": model, "task_id": task_id}
        given = {name: value for name, value in body.items() if value is not None}
        return self._call_api("POST", "callback-urls", CallbackUrlView, body=given)

    def discard_url(self, ref: str) -> TaskView:
        """Give up a minted callback URL that was not used."""
        return self._call_api("POST", join_path("callback-urls", ref, "discard"), TaskView)

    # -- callbacks and notices --

    def list_callbacks(
        self,
        *,
        ref: str | None = None,
        verdict: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> CallbackPage:
        """A page of callbacks, newest first, without their bodies."""
        query = {"ref": ref, "verdict": verdict, "limit": limit, "cursor": cursor}
        return self._call_api("GET", "callbacks", CallbackPage, query=query)

    def get_callback(self, callback_id: int) -> CallbackView:
        """One callback, with its body."""
        return self._call_api("GET", join_path("callbacks", str(callback_id)), CallbackView)

    def replay_callback(self, callback_id: int, *, accept: bool = False) -> VerdictView:
        """Parse a stored callback again; with `accept`, believe it."""
        return self._call_api(
            "POST", join_path("callbacks", str(callback_id), "replay"), VerdictView, body={"accept": accept}
        )

    def list_notices(
        self,
        *,
        state: str | None = None,
        target: str | None = None,
        ref: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> NoticePage:
        """A page of notices, newest first."""
        query = {"state": state, "target": target, "ref": ref, "limit": limit, "cursor": cursor}
        return self._call_api("GET", "notices", NoticePage, query=query)

    def redrive_notices(
        self, *, target: str | None = None, ids: Sequence[int] | None = None, to: str | None = None
    ) -> int:
        """Make dead notices due again (all, a target's, or `ids`), perhaps `to` another target. Returns how many."""
        body = {"target": target, "ids": ids, "to": to}
        given = {name: value for name, value in body.items() if value is not None}
        return self._call_api("POST", "notices/redrive", RedrivenView, body=given).redriven

    def discard_notices(self, *, target: str | None = None, ids: Sequence[int] | None = None) -> int:
        """Discard dead notices: a target's, or `ids`. Returns how many."""
        given = {name: value for name, value in (("target", target), ("ids", ids)) if value is not None}
        return self._call_api("POST", "notices/discard", DiscardedView, body=given).discarded

    def test_target(self, target: str | None, event: str | None = None) -> TrialView:
        """Send a sample to a target now (None: the only one), of a completed task unless `event` says otherwise.

        Returns the result.
        """
        given = {name: value for name, value in (("target", target), ("event", event)) if value is not None}
        return self._call_api("POST", "notices/test", TrialView, body=given, timeout_s=TRIAL_S)

    def start_pruning(self) -> bool:
        """Start pruning now; False if it was under way already."""
        return self._call_api("POST", "prune", PruneView).begun

    # -- the stream --

    def stream_changes(
        self, *, lost: Callable[[], None] = lambda: None, quiet: Callable[[], None] = lambda: None
    ) -> Iterator[TaskView | None]:
        """Every change of a task, for ever. A stream that breaks is opened again, and if that does not succeed at once,
        `lost` is called; `quiet` is called now and then while nothing changes.

        None means that changes may have been missed: it comes first, after every later opening, and while the service
        answers with errors. Raises ApiError if the service cannot be reached at first, is away for more than
        `PATIENCE_S`, or refuses the token.
        """
        met, lost_at = False, 0.0
        while True:
            try:
                for change in self._read_stream(quiet):
                    met, lost_at = True, 0.0
                    yield change
            except ApiError as error:
                first, lost_at = not lost_at, lost_at or time.monotonic()
                if not met or error.status in (401, 404) or time.monotonic() - lost_at > PATIENCE_S:
                    raise
                if first:
                    lost()
                if error.status:
                    yield None
            self._pause(STREAM_GAP_S)

    def follow_task(self, ref: str, *, lost: Callable[[], None] = lambda: None) -> Iterator[TaskView]:
        """The task as it is now and after each change, until it ends or is lost. `lost` is as in `stream_changes`."""
        for heard in self.stream_changes(lost=lost):
            task = heard if heard is not None else self.try_get_task(ref)
            if task is None or task.ref != ref:
                continue
            yield task
            if task.state in ENDS:
                return

    def try_get_task(self, ref: str) -> TaskView | None:
        """The task, or None if the service is away just now; `stream_changes` raises if that lasts too long."""
        return self._unless_away(lambda: self.get_task(ref))

    def list_under_way(self, most: int) -> list[TaskView]:
        """Up to `most` tasks of each state that is not an end, oldest first; none if the service is away just now."""
        pages = [self._unless_away(lambda it=state: self.list_tasks(state=it, limit=most)) for state in _UNDER_WAY]  # type: ignore[misc]
        found = {task.ref: task for page in pages if page for task in page.tasks}
        return [found[ref] for ref in sorted(found)]

    def _unless_away(self, ask: Callable[[], _T]) -> _T | None:
        try:
            return ask()
        except ApiError as error:
            if error.status == 0 or error.status >= 500:
                return None
            raise

    def _read_stream(self, quiet: Callable[[], None]) -> Iterator[TaskView | None]:
        """The changes of one connection, after a None. Each is one line of `data`, since JSON has no line breaks."""
        request = self._http.build_request("GET", "stream", timeout=_stream_timeout(SILENCE_MOST_S))
        with self._translate_errors(), self._open_response(request) as answer:
            if answer.status_code != 200:
                raise self._to_api_error(answer.status_code, self._read_body(answer))
            for number, line in enumerate(_stream_lines(answer)):
                if number == 0:  # a comment: from here on the service sends changes
                    yield None
                elif line.startswith(":"):  # a comment that only keeps the connection open
                    quiet()
                name, _, value = line.partition(":")
                if name == "data":
                    yield msgspec.json.decode(value, type=TaskView)


def new_idempotency_key() -> str:
    """A fresh Idempotency-Key."""
    return str(uuid.uuid4())


def _stream_timeout(silence_s: float) -> "httpx.Timeout":
    import httpx

    return httpx.Timeout(TIMEOUT_S, read=silence_s)


def _stream_lines(answer: "httpx.Response") -> Iterator[str]:
    """The lines of a stream of server-sent events. A silent or broken one just ends: the caller opens it again."""
    import httpx

    rest = b""
    with contextlib.suppress(httpx.ReadTimeout, httpx.RemoteProtocolError):
        for piece in answer.iter_raw():  # httpx' own lines would also end at U+2028, which may be in a text
            *lines, rest = (rest + piece).split(b"\n")
            for line in lines:
                yield line.removesuffix(b"\r").decode()
