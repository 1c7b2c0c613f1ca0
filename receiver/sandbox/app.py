"""The sandbox's HTTP side: the provider's submit and poll endpoints and the pictures, as the official CLI knows them.

A `Sandbox` holds one stand-in's book, its courier and the tasks that are alive; `create_app` puts it behind Starlette.
Shapes and statuses follow the provider's pages and its CLI's source; where neither says, the answer is the plainest.
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

from receiver.core.errors import Refused
from receiver.providers.models import MODELS
from receiver.providers.parameters import Model
from receiver.sandbox import pictures
from receiver.sandbox.callbacks import Courier, new_client
from receiver.sandbox.fates import NOT_TAKEN, Fate, Options, draw
from receiver.sandbox.tasks import IMAGES, Book, Submission, Task, failure, new_id, new_job_id, task_object

_MAX_BODY = 1 << 20
_MOST_ALIVE = 10_000  # unfinished tasks; beyond them it is busy
_EARLY_MOST_S = 5.0  # how long an early callback may hold up the answer to its submission


class _Block(Struct):
    params: dict[str, object]


class _Request(Struct):
    model: str
    input: list[_Block]


class Sandbox:
    """One stand-in: what it was asked (`book`), what it posted (`courier`), and the tasks that are still alive."""

    def __init__(self, options: Options, clock: Callable[[], float]) -> None:
        self.options = options
        self.url = ""  # where it is served, without a last slash; set by `running`
        self.book = Book()
        self.courier = Courier(new_client(), options.callback_retry_s, options.hold_s)
        self.stopping = asyncio.Event()
        self._clock = clock
        self._lives: set[asyncio.Task[None]] = set()
        self._group: asyncio.TaskGroup | None = None
        self._drawing = asyncio.Semaphore(2)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Let tasks live until the context ends; then what is unfinished is dropped."""
        async with self.courier, asyncio.TaskGroup() as self._group:
            try:
                yield
            finally:
                self.stopping.set()
                for life in self._lives:
                    life.cancel()

    async def quiet(self) -> None:
        """Wait until every task has ended, and its callbacks were answered, lost or given up."""
        while self._lives:
            await asyncio.wait(self._lives)

    async def submit(self, request: Request) -> Response:
        """POST /model/v1/generation."""
        content = await request.body()
        answer = await self._submit(request, content)
        authorization = request.headers.get("authorization", "")
        self.book.submissions.append(Submission(authorization, content, answer.status_code))
        return answer

    async def poll(self, request: Request) -> Response:
        """GET /model/v1/generation/task/{id}."""
        if not _has_key(request):
            return _unauthorized()
        task = self.book.poll(request.path_params["id"])
        if task is None:
            return JSONResponse({"message": "task not found"}, 404)
        return JSONResponse(task_object(task, self._clock()))

    async def picture(self, request: Request) -> Response:
        """GET /pictures/{id}/{image_no}.png, of completed tasks only."""
        task, number = self.book.get(request.path_params["id"]), request.path_params["number"]
        if task is None or task.ended_at is None or task.failed or number >= IMAGES:
            return JSONResponse({"message": "picture not found"}, 404)
        source = f"{task.params.get('jobId')}:{task.params.get('imageNo')}"
        scale = task.params.get("scale")
        async with self._drawing:
            content = await asyncio.to_thread(
                pictures.draw,
                source,
                f"{self.options.seed}:{task.id}:{number}",
                number,
                scale if isinstance(scale, float) else 1.5,
            )
        return Response(content, media_type="image/png")

    async def _submit(self, request: Request, content: bytes) -> Response:
        if not _has_key(request):
            return _unauthorized()
        try:
            asked = msgspec.json.decode(content, type=_Request)
            given = asked.input[0].params
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, IndexError):
            return JSONResponse({"message": "invalid request body"}, 400)
        model = MODELS.get(asked.model)
        if model is None:
            return JSONResponse({"message": "model not found"}, 404)
        try:
            params = model.read(given)
            callback = model.callback.read(given["callback"]) if given.get("callback") else None
        except Refused as refused:
            code = refused.code if refused.code.isdecimal() else "400"
            return JSONResponse({"error": failure(code, str(refused))}, 400)
        return await self._take(model, params, callback, str(request.base_url).rstrip("/"))

    async def _take(self, model: Model, params: Mapping[str, object], callback: str | None, base: str) -> Response:
        """Answer a sound submission as its fate says."""
        drawn = draw(self.options, self.book.submitted)
        self.book.submitted += 1
        fate = drawn.fate if len(self._lives) < _MOST_ALIVE else Fate.BUSY
        if fate & NOT_TAKEN:
            return _not_taken(fate, model)
        now = self._clock()
        task = Task(
            id=new_id(now),
            job_id=new_job_id(),
            model=model,
            params=params,
            callback=callback,
            base=base,
            fate=fate,
            body=drawn.body,
            created_at=now,
            due_at=now if Fate.EARLY in fate else now + drawn.latency_s,
        )
        answer = JSONResponse(task_object(task, now))
        self.book.add(task)
        life = self._begin(task, task.due_at - now)
        if Fate.EARLY in fate:
            await asyncio.wait({life}, timeout=_EARLY_MOST_S)
        if Fate.SLOW in fate:
            await self._hang()
        if Fate.CUT in fate:
            return Response("<html><body>502 Bad Gateway</body></html>", 502, media_type="text/html")
        return answer

    def _begin(self, task: Task, latency_s: float) -> asyncio.Task[None]:
        if self._group is None:
            raise RuntimeError("the sandbox is not open; serve it, or run its lifespan")
        life = self._group.create_task(self._live(task, latency_s))
        self._lives.add(life)
        life.add_done_callback(self._lives.discard)
        return life

    async def _live(self, task: Task, latency_s: float) -> None:
        if Fate.STALLS in task.fate:
            return
        await asyncio.sleep(latency_s)
        now = self._clock()
        await self.courier.tell(self.book.end(task, now), now)

    async def _hang(self) -> None:
        try:
            await asyncio.wait_for(self.stopping.wait(), self.options.slow_s)
        except TimeoutError:
            return


def create_app(sandbox: Sandbox) -> Starlette:
    """The provider's endpoints over `sandbox`, which lives as long as the application's lifespan."""

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with sandbox.open():
            yield

    routes = [
        Route("/model/v1/generation", sandbox.submit, methods=["POST"], max_body_size=_MAX_BODY),
        Route("/model/v1/generation/task/{id}", sandbox.poll),
        Route("/pictures/{id}/{number:int}.png", sandbox.picture),
    ]
    return Starlette(routes=routes, lifespan=lifespan)


def _has_key(request: Request) -> bool:
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    return scheme.lower() == "bearer" and bool(key.strip())


def _unauthorized() -> Response:
    return JSONResponse({"message": "invalid or missing API key"}, 401)


def _not_taken(fate: Fate, model: Model) -> Response:
    if Fate.BUSY in fate:
        return JSONResponse({"message": "rate limit exceeded"}, 429, headers={"Retry-After": "1"})
    if Fate.UNAVAILABLE in fate:
        return JSONResponse({"error": failure(model.unavailable_code, "service unavailable")}, 503)
    return JSONResponse({"status": "failed", "error": failure(model.failed_code, "the prompt was refused")})
