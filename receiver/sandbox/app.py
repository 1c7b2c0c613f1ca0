"""The sandbox's HTTP side: the provider's endpoints to submit and to poll, and the pictures.

A `Sandbox` holds the task book, the courier and the unfinished tasks; `create_app` makes a Starlette app of it. Shapes
and statuses follow the provider's pages and the source of its CLI; where both are silent, the answer is the simplest.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

import msgspec
from msgspec import Struct
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from receiver.core.errors import RequestRefused
from receiver.providers.declarations import Model
from receiver.providers.models import MODELS, short_model_name
from receiver.providers.vtrix.follow_rules import derive_traits
from receiver.providers.vtrix.prompt_flags import read_flags
from receiver.sandbox.callbacks import Courier, new_client
from receiver.sandbox.drawing.plan import plan_pictures
from receiver.sandbox.fates import NOT_TAKEN, Fate, SandboxOptions, draw_fate, refuses_poll
from receiver.sandbox.media import find_picture, serve_file
from receiver.sandbox.report import submission_line
from receiver.sandbox.tasks import (
    FoundSource,
    SandboxTask,
    Submission,
    TaskBook,
    error_object,
    new_job_id,
    new_task_id,
    task_object,
)
from receiver.sandbox.upstream import refuse_step

_MAX_BODY = 1 << 20
_MOST_ALIVE = 10_000  # unfinished tasks; beyond that it answers 429
_EARLY_MOST_S = 5.0  # how long an early callback may delay the answer to its submission


class _InputBlock(Struct):
    params: dict[str, object]


class _SubmitRequest(Struct):
    model: str
    input: list[_InputBlock]


class Sandbox:
    """One sandbox: its tasks and requests (`book`), its callbacks (`courier`), and the unfinished tasks.

    `report` takes a line for each submission and each callback.
    """

    def __init__(
        self, options: SandboxOptions, clock: Callable[[], float], report: Callable[[str], None] = lambda line: None
    ) -> None:
        self.options = options
        self._report = report
        self.url = ""  # where it is served, without a trailing slash; set by `open_sandbox`
        self.book = TaskBook()
        self.courier = Courier(new_client(), options.callback_retry_s, options.hold_s, report)
        self.stopping = asyncio.Event()
        self._clock = clock
        self._lives: set[asyncio.Task[None]] = set()
        self._running = 0  # tasks that have not ended
        self._group: asyncio.TaskGroup | None = None
        self._drawing = asyncio.Semaphore(2)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Run tasks until the context ends; unfinished ones are then dropped."""
        async with self.courier, asyncio.TaskGroup() as self._group:
            try:
                yield
            finally:
                self.stopping.set()
                for life in self._lives:
                    life.cancel()

    async def wait_until_idle(self) -> None:
        """Wait until every task has ended and its callbacks were answered, dropped or given up."""
        while self._lives:
            await asyncio.wait(self._lives)

    async def submit(self, request: Request) -> Response:
        """POST /model/v1/generation."""
        content = await request.body()
        self.book.asked += 1
        number = self.book.asked
        answer, outcome = await self._answer_submission(request, content, number)
        authorization = request.headers.get("authorization", "")
        self.book.submissions.append(Submission(authorization, content, answer.status_code))
        if not isinstance(outcome, SandboxTask):
            self._report(submission_line(number, answer.status_code, outcome))
        return answer

    async def poll(self, request: Request) -> Response:
        """GET /model/v1/generation/task/{id}."""
        if not _has_key(request):
            return _unauthorized_response()
        if refuses_poll(self.options, self.book.polled):
            self.book.polled += 1
            return _unauthorized_response()
        task = self.book.record_poll(request.path_params["id"])
        if task is None:
            return JSONResponse({"message": "task not found"}, 404)
        return JSONResponse(task_object(task, self._clock()))

    async def serve_picture(self, request: Request) -> Response:
        """GET /pictures/{id}/{image_no}.png, of completed tasks only; videos end in .mp4."""
        task = self.book.get(request.path_params["id"])
        found = find_picture(task, request.path_params["name"]) if task else None
        if task is None or found is None or task.ended_at is None or task.has_failed:
            return JSONResponse({"message": "picture not found"}, 404)
        if self._clock() < task.ended_at + self.options.late_pictures_s:
            return JSONResponse({"message": "picture not found"}, 404)
        return await serve_file(self.options, task, *found, self._drawing)

    async def _answer_submission(
        self, request: Request, content: bytes, number: int
    ) -> tuple[Response, SandboxTask | Fate | str]:
        """The answer, and the task that was taken or why none was."""
        if not _has_key(request):
            return _unauthorized_response(), "there is no key"
        try:
            asked = msgspec.json.decode(content, type=_SubmitRequest)
            given = asked.input[0].params
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, IndexError):
            return JSONResponse({"message": "invalid request body"}, 400), "its body is not a submission"
        model = MODELS.get(asked.model)
        if model is None:
            return JSONResponse({"message": "model not found"}, 404), "its model is unknown"
        try:
            params = model.parse_params(given, anyway=not self.options.strict)
            callback = model.callback.parse_value(given["callback"]) if given.get("callback") else None
        except RequestRefused as refused:
            code = refused.code if refused.code.isdecimal() else "400"
            return JSONResponse({"error": error_object(code, refused.problem)}, 400), f"refused, {refused.problem}"
        source = self.book.find_source(model, params)
        refusal = refuse_step(model, params, source[0]) if self.options.strict else None
        if refusal is not None:
            return JSONResponse(refusal.body, refusal.status), f"refused, {refusal.message}"
        base = str(request.base_url).rstrip("/")
        return await self._accept_submission(model, params, source, callback, base, number)

    async def _accept_submission(
        self,
        model: Model,
        params: Mapping[str, object],
        found: FoundSource,
        callback: str | None,
        base: str,
        number: int,
    ) -> tuple[Response, SandboxTask | Fate]:
        """Answer a valid submission as its fate says."""
        drawn = draw_fate(self.options, self.book.submitted, params)
        self.book.submitted += 1
        fate = Fate.BUSY if self._is_full() else drawn.fate
        if fate & NOT_TAKEN:
            return _rejection_response(fate, model), fate
        now = self._clock()
        task_id = new_task_id(now)
        source, picture = found
        seed = f"{self.options.seed}:{task_id}"
        count = _count_results(model, params) if self.options.images is None else self.options.images
        task = SandboxTask(
            id=task_id,
            job_id=new_job_id(),
            model=model,
            params=params,
            callback=callback,
            base=base,
            pictures=plan_pictures(short_model_name(model.name), params, picture, seed, count),
            traits=derive_traits(model.name, params, source.traits if source else None),
            names_job=not self.options.no_job_id,
            fate=fate,
            body=drawn.body,
            created_at=now,
            due_at=now if Fate.EARLY in fate else now + drawn.latency_s,
        )
        answer = _accepted_response(task, now)
        self.book.add(task)
        self._report(submission_line(number, answer.status_code, task))
        life = self._start_task(task, task.due_at - now)
        if Fate.EARLY in fate:
            await asyncio.wait({life}, timeout=_EARLY_MOST_S)
        if Fate.SLOW in fate:
            await self._delay_answer()
        return answer, task

    def _is_full(self) -> bool:
        limit = self.options.limit
        return len(self._lives) >= _MOST_ALIVE or (limit is not None and self._running >= limit)

    def _start_task(self, task: SandboxTask, latency_s: float) -> asyncio.Task[None]:
        if self._group is None:
            raise RuntimeError("the sandbox is not open: use open_sandbox, or run the lifespan of its app")
        self._running += 1
        life = self._group.create_task(self._run_task(task, latency_s))
        self._lives.add(life)
        life.add_done_callback(self._lives.discard)
        return life

    async def _run_task(self, task: SandboxTask, latency_s: float) -> None:
        if Fate.STALLS in task.fate:
            return
        await asyncio.sleep(latency_s)
        self._running -= 1
        now = self._clock()
        await self.courier.post_callbacks(self.book.end_task(task, now), now)

    async def _delay_answer(self) -> None:
        try:
            await asyncio.wait_for(self.stopping.wait(), self.options.slow_s)
        except TimeoutError:
            return


def create_app(sandbox: Sandbox) -> Starlette:
    """The provider's endpoints over `sandbox`, which is open during the app's lifespan."""

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with sandbox.open():
            yield

    routes = [
        Route("/model/v1/generation", sandbox.submit, methods=["POST"], max_body_size=_MAX_BODY),
        Route("/model/v1/generation/task/{id}", sandbox.poll),
        Route("/pictures/{id}/{name}", sandbox.serve_picture),
    ]
    return Starlette(routes=routes, lifespan=lifespan)


def _has_key(request: Request) -> bool:
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    return scheme.lower() == "bearer" and bool(key.strip())


def _unauthorized_response() -> Response:
    return JSONResponse({"message": "invalid or missing API key"}, 401)


def _accepted_response(task: SandboxTask, now: float) -> Response:
    """The answer to a submission that was taken: what something in between makes of it, too."""
    if Fate.CUT in task.fate:
        return Response("<html><body>502 Bad Gateway</body></html>", 502, media_type="text/html")
    if Fate.GATEWAY in task.fate:
        return JSONResponse({"message": "Service Unavailable"}, 503)
    return JSONResponse(task_object(task, now), 201 if Fate.CREATED in task.fate else 200)


def _count_results(model: Model, params: Mapping[str, object]) -> int:
    """How many results a task has: what its model makes, or for a video what --bs says."""
    asked = read_flags(model.prompt_of(params)).get("bs") if model.media == "video" else None
    return int(asked) if asked in ("1", "2", "4") else model.makes


def _rejection_response(fate: Fate, model: Model) -> Response:
    if Fate.BAD_KEY in fate:
        return _unauthorized_response()
    if Fate.BAD_PROMPT in fate:
        return JSONResponse({"code": 403, "message": "the prompt is sensitive", "reason": "Msg_Sensitive"}, 403)
    if Fate.BUSY in fate:
        return JSONResponse({"message": "rate limit exceeded"}, 429, headers={"Retry-After": "1"})
    if Fate.UNAVAILABLE in fate:
        return JSONResponse({"error": error_object(model.unavailable_code, "service unavailable")}, 503)
    return JSONResponse({"status": "failed", "error": error_object(model.failed_code, "the prompt was refused")})
