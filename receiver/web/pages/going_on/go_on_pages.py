"""What the forms of a task's page do: go on from a picture, submit the task again, pick for those that wait.

A form that is right makes a task, and the browser goes to that. One that is wrong comes back as it was typed. A form
has a key, so that a double click makes one task.
"""

from collections.abc import Awaitable, Callable, Sequence

import msgspec
from msgspec.structs import replace
from starlette.responses import Response
from starlette.routing import Route

from receiver.client.schemas import NewTask, WaitFor
from receiver.core.chains import CHAIN_MOST
from receiver.core.errors import RequestRefused
from receiver.core.types import Image, Task, TaskState
from receiver.providers.declarations import Model
from receiver.providers.models import MODELS, fill_params
from receiver.service.wiring import ServiceParts
from receiver.tokens import is_ref
from receiver.web.pages.going_on.form_view import (
    Faults,
    build_request,
    check_targets,
    derive_key,
    judge_refusal,
    judge_typing,
    read_typing,
)
from receiver.web.pages.going_on.forms import fed_names, place_name, read_form
from receiver.web.pages.going_on.go_on import (
    AGAIN,
    NO_JOB,
    WAYS,
    Wanted,
    allowed_ways,
    can_repeat,
    read_repeat,
    way_path,
)
from receiver.web.pages.going_on.going import read_number
from receiver.web.pages.going_on.made import made_path
from receiver.web.pages.going_on.pick_states import describe_closed, describe_refusal
from receiver.web.pages.page import PageError, PageFrame, PageRequest, redirect

PATH_MOST = 3_000  # characters of an address at which a form is shown again
_GONE = "There is no such task. It may have been removed by retention."
_CHANGED = "This form was changed on its way, so nothing was sent. Open the page again."
_NOT_ALLOWED = "This cannot follow the task, or not any more. Nothing was sent."
_NOT_CHOSEN = "Choose a picture first."

ShowForm = Callable[[PageRequest, int, Wanted], Awaitable[Response]]
"""Shows the page of a task, with a form as it was typed."""


class GoOnPages:
    """The forms of a task's page."""

    def __init__(self, frame: PageFrame, show: ShowForm) -> None:
        self._frame = frame
        self._parts = frame.parts
        self._show = show

    def routes(self) -> list[Route]:
        """The routes to them."""
        return [
            self._frame.post("/tasks/{ref}/go-on", self.go_on),
            self._frame.post("/tasks/{ref}/pick", self.pick),
            *(self._frame.get(f"/tasks/{{ref}}/{name}", self.return_to_task) for name in ("go-on", "pick")),
        ]

    async def return_to_task(self, asked: PageRequest) -> Response:
        """Whoever opens the address of a form, as at a reload, sees the task."""
        task, _ = await require_task(self._parts, asked.path("ref"))
        return redirect(f"/tasks/{task.ref}")

    async def go_on(self, asked: PageRequest) -> Response:
        """Make the task that a form asks for; or only show the form again, as a picture."""
        task, images = await require_task(self._parts, asked.path("ref"))
        way = asked.form.one("do")
        if way == AGAIN:
            return await self._again(asked, task)
        model = WAYS.get(way)
        if model is None:
            raise PageError(422, "Nothing was sent", _CHANGED, (f"/tasks/{task.ref}", "To the task"))
        if way not in allowed_ways(task, images) or task.state is not TaskState.COMPLETED:
            raise PageError(409, "Nothing was sent", _NOT_ALLOWED, (f"/tasks/{task.ref}", "To the task"))
        known = _target_names(self._parts)
        typing = read_typing(model, asked.form, known, task.targets)
        number = read_number(asked.form.one(place_name(model) or ""))
        wanted = Wanted(way=way, number=number, typing=typing)
        if asked.form.one("show"):
            path = way_path(task.ref, way, number, typing.typed)
            return redirect(path) if len(path) <= PATH_MOST else await self._show(asked, 200, wanted)
        read = read_form(
            model,
            typing.typed,
            without=fed_names(model),
            fed=True,
            anyway=typing.anyway,
            allow_permutations=typing.allow_permutations,
        )
        faults = _judge_number(number, images, judge_typing(typing, read, known))
        if faults:
            return await self._show(asked, 422, replace(wanted, faults=faults))
        new = build_request(model, read.params, typing, WaitFor(ref=task.ref, image_no=number))
        try:
            made, replayed = await self._create(new, derive_key(typing.key, task.ref, new), images, model)
        except RequestRefused as refused:
            faults = judge_refusal(refused, model)
            return await self._show(asked, page_status(refused), replace(wanted, faults=faults))
        return redirect(made_path(made, replayed=replayed))

    async def pick(self, asked: PageRequest) -> Response:
        """Let what waits go on from the pictures that were chosen."""
        task, _ = await require_task(self._parts, asked.path("ref"))
        given = [read_number(it) for it in asked.form.all("image_no")]
        numbers = tuple(it for it in given if it is not None)
        wanted = Wanted(picked=numbers, pick_error="Choose a picture first.")
        if not numbers or len(numbers) < len(given):
            return await self._show(asked, 422, wanted)
        try:
            picked = await self._parts.picks.pick(task.ref, numbers, by="gallery")
        except RequestRefused as refused:
            children = await self._parts.store.chains.children(task.ref, CHAIN_MOST)
            error = describe_refusal(refused, describe_closed(task, children))
            return await self._show(asked, page_status(refused), replace(wanted, pick_error=error))
        return redirect(f"/tasks/{picked[0].ref}" if len(picked) == 1 else f"/tasks/{task.ref}")

    async def _again(self, asked: PageRequest, task: Task) -> Response:
        if not can_repeat(task):
            raise PageError(409, "Nothing was sent", _NOT_ALLOWED, (f"/tasks/{task.ref}", "To the task"))
        known = _target_names(self._parts)
        typing = read_typing(MODELS.get(task.model or ""), asked.form, known, task.targets)
        repeat, faults = read_repeat(task, typing)
        faults = check_targets(faults, typing, known)
        wanted = Wanted(way=AGAIN, typing=typing, faults=faults)
        if faults:
            return await self._show(asked, 422, wanted)

        def edit(new: NewTask) -> NewTask:
            targets = None if typing.targets is None else tuple(typing.targets)
            return replace(new, label=typing.label or None, targets=targets, poll_only=typing.poll_only)

        key = derive_key(typing.key, task.ref, repeat, typing.label, typing.targets, typing.poll_only)
        try:
            made, replayed = await self._parts.intake.submit_again(task.ref, repeat, key, edit=edit)
        except RequestRefused as refused:
            faults = judge_refusal(refused, MODELS.get(task.model or ""))
            return await self._show(asked, page_status(refused), replace(wanted, faults=faults))
        return redirect(made_path(made, replayed=replayed))

    async def _create(self, new: NewTask, key: str, images: Sequence[Image], model: Model) -> tuple[Task, bool]:
        """The task of a form, and whether that had made it before; where its chain is full, one that goes on from the
        same picture beside it."""
        try:
            return await self._parts.intake.create_task(new, key)
        except RequestRefused as refused:
            if refused.code != "chain_too_large" or not isinstance(new.wait_for, WaitFor):
                raise
        number = new.wait_for.image_no
        image = next(it for it in images if it.image_no == number)
        filled = fill_params(model.name, msgspec.json.encode(new.params), image, "")
        alone = replace(new, wait_for=None, params=msgspec.json.decode(filled or b"{}"))
        return await self._parts.intake.create_task(alone, key)


async def require_task(parts: ServiceParts, ref: str) -> tuple[Task, tuple[Image, ...]]:
    """A task and its pictures. Raises PageError."""
    found = await parts.store.tasks.get([ref]) if is_ref(ref) else {}
    if ref not in found:
        raise PageError(404, "There is no such task", _GONE)
    return found[ref], (await parts.store.tasks.images_by_ref([ref])).get(ref, ())


def page_status(refused: RequestRefused) -> int:
    """The status of a page that shows a form again."""
    return refused.status if 400 <= refused.status < 600 else 422


def _judge_number(number: int | None, images: Sequence[Image], faults: Faults) -> Faults:
    """The same, with what is wrong with the picture."""
    image = next((it for it in images if it.image_no == number), None)
    if image is None:
        text = "Choose a picture." if number is None else f"There is no picture {number}."
        return replace(faults, fields={**faults.fields, "imageNo": text})
    if image.job_id is None:
        return replace(faults, general=(*faults.general, NO_JOB))
    return faults


def _target_names(parts: ServiceParts) -> list[str]:
    return [it.name for it in parts.policy.targets]
