"""`/new`: a form for any model, made from its declaration; with `from` and `image`, one that goes on from a picture."""

from collections.abc import Sequence

from msgspec import Struct
from msgspec.structs import replace
from starlette.responses import Response
from starlette.routing import Route

from receiver.client.schemas import WaitFor
from receiver.core.errors import RequestRefused
from receiver.core.types import Image, Task
from receiver.providers.declarations import Model
from receiver.providers.models import MODELS, full_model_name, short_model_name
from receiver.providers.vtrix.follow_rules import Answer, Traits, judge_follow
from receiver.providers.vtrix.midjourney import DIFFUSION
from receiver.tasks.chain_requests import traits_of
from receiver.web.pages.going_on.carrying import carry_typed, typing_query, write_query
from receiver.web.pages.going_on.form_context import read_context
from receiver.web.pages.going_on.form_view import (
    Faults,
    Typing,
    build_form,
    build_request,
    derive_key,
    is_key,
    judge_refusal,
    judge_typing,
    read_typing,
)
from receiver.web.pages.going_on.forms import fed_names, read_form
from receiver.web.pages.going_on.go_on import choose_number
from receiver.web.pages.going_on.go_on_pages import PATH_MOST, page_status, require_task
from receiver.web.pages.going_on.going import read_number
from receiver.web.pages.going_on.made import made_path
from receiver.web.pages.going_on.picks_card import PickOption
from receiver.web.pages.going_on.sources import read_sources
from receiver.web.pages.going_on.stage import Source
from receiver.web.pages.page import Form, PageFrame, PageRequest, redirect
from receiver.web.pages.sentences import task_title

_PICTURES_MOST = 64
_LABEL_MOST = 200
_PATH = "/new"
_OTHER_FORM = "The form was still that of {}. This is that of {}: look it over, and submit it."


class ModelOption(Struct, frozen=True):
    """A model to choose."""

    name: str
    word: str
    summary: str
    chosen: bool


class GoneOnFrom(Struct, frozen=True):
    """The task that the new one goes on from, and its pictures; none if the model takes all of the job."""

    ref: str
    title: str
    pictures: tuple[PickOption, ...] = ()


class Place(Struct, frozen=True):
    """The picture that a new task goes on from."""

    task: Task
    images: tuple[Image, ...]
    number: int | None


class NewTaskPages:
    """The page to submit a task."""

    def __init__(self, frame: PageFrame) -> None:
        self._frame = frame
        self._parts = frame.parts

    def routes(self) -> list[Route]:
        """The routes to it."""
        return [self._frame.get(_PATH, self.show), self._frame.post(_PATH, self.submit)]

    async def show(self, asked: PageRequest) -> Response:
        """The form of the model that the address names, filled with what else it names."""
        place = await self._find_place(asked.query("from"), asked.query("image"))
        model = _choose_model(asked.query("model"), place)
        before = place.task.targets if place is not None else None
        given = read_typing(model, Form(asked.http.query_params.multi_items()), self._known(), before)
        label = given.label[:_LABEL_MOST]
        typing = Typing(
            typed=given.typed,
            label=label or (place.task.label or "" if place is not None else ""),
            targets=given.targets,
            poll_only=self._parts.intake.unreachable is not None,
            key=given.key if is_key(given.key) else "",
        )
        return await self._render(asked, model, place, typing, Faults(), 200)

    async def submit(self, asked: PageRequest) -> Response:
        """Make the task that the form asks for."""
        place = await self._find_place(asked.form.one("from"), asked.form.one("image"))
        model = _choose_model(asked.form.one("model"), place)
        shown = _choose_model(asked.form.one("shown"), place) if asked.form.one("shown") else model
        if asked.form.one("show") or shown is not model:
            return await self._switch(asked, shown, model, place)
        known = self._known()
        typing = read_typing(model, asked.form, known)
        fed = place is not None
        read = read_form(
            model,
            typing.typed,
            without=fed_names(model) if fed else (),
            fed=fed,
            anyway=typing.anyway,
            allow_permutations=typing.allow_permutations,
        )
        faults = judge_typing(typing, read, known)
        if faults:
            return await self._render(asked, model, place, typing, faults, 422)
        new = build_request(model, read.params, typing, _wait_for(place, model))
        try:
            made, replayed = await self._parts.intake.create_task(new, derive_key(typing.key, new))
        except RequestRefused as refused:
            faults = judge_refusal(refused, model)
            return await self._render(asked, model, place, typing, faults, page_status(refused))
        return redirect(made_path(made, replayed=replayed))

    async def _switch(self, asked: PageRequest, shown: Model, model: Model, place: Place | None) -> Response:
        """The form of another model, with what was typed into the one that was `shown`."""
        known = self._known()
        before = read_typing(shown, asked.form, known)
        typing = replace(before, typed=carry_typed(shown, model, before.typed), key="")
        if not asked.form.one("show"):
            said = _OTHER_FORM.format(short_model_name(shown.name), short_model_name(model.name))
            return await self._render(asked, model, place, typing, Faults(general=(said,)), 422)
        query = [("model", short_model_name(model.name))]
        if place is not None:
            query += [("from", place.task.ref)] + [("image", str(it)) for it in [place.number] if it is not None]
        path = f"{_PATH}?{write_query([*query, *typing_query(typing, known)])}#model"
        if len(path) <= PATH_MOST:
            return redirect(path)
        return await self._render(asked, model, place, typing, Faults(), 200)

    def _known(self) -> list[str]:
        return [it.name for it in self._parts.policy.targets]

    async def _find_place(self, ref: str, number: str) -> Place | None:
        if not ref:
            return None
        task, images = await require_task(self._parts, ref)
        return Place(task, images, choose_number(read_number(number), images))

    async def _render(
        self, asked: PageRequest, model: Model, place: Place | None, typing: Typing, faults: Faults, status: int
    ) -> Response:
        context = await read_context(self._parts, model.name)
        hidden = [("shown", model.name)]
        if place is not None:
            hidden.append(("from", place.task.ref))
            if place.number is not None and not model.takes_one_picture:
                hidden.append(("image", str(place.number)))  # kept for another model
        form = build_form(
            model,
            typing,
            faults,
            context.targets,
            action=_PATH,
            button="Submit",
            without=fed_names(model) if place is not None else (),
            brief=False,
            hidden=hidden,
            cost=context.cost,
            notes=context.notes,
        )
        return await self._frame.render(
            asked,
            "new.html",
            status,
            title="Submit",
            page="submit",
            models=list_models(model, place),
            model=model,
            command=short_model_name(model.name).lower().replace("_", "-"),
            form=form,
            source=await self._show_source(place, model),
            number=place.number if place is not None else None,
        )

    async def _show_source(self, place: Place | None, model: Model) -> GoneOnFrom | None:
        if place is None:
            return None
        pictures = tuple[PickOption, ...]()
        if model.takes_one_picture:
            found = (await read_sources(self._parts, [place.task.ref])).get(place.task.ref, {})
            numbers = sorted(it.image_no for it in place.images)[:_PICTURES_MOST]
            pictures = tuple(PickOption(it, _as_small(found.get(it)), it == place.number) for it in numbers)
        return GoneOnFrom(place.task.ref, task_title(place.task), pictures)


def list_models(chosen: Model, place: Place | None) -> list[ModelOption]:
    """The models to choose from: all, or those that can follow a task."""
    return [
        ModelOption(it.name, short_model_name(it.name), it.summary, it.name == chosen.name)
        for it in _models_after(place)
    ]


def _models_after(place: Place | None) -> Sequence[Model]:
    if place is None:
        return list(MODELS.values())
    traits = traits_of(place.task) or Traits()
    found = [
        it
        for it in MODELS.values()
        if it.feed is not None and judge_follow(traits, it.name).answer is not Answer.UNLIKELY
    ]
    return found or [it for it in MODELS.values() if it.feed is not None]


def _choose_model(name: str, place: Place | None) -> Model:
    """The model of this name; where there is none, or it cannot follow, the first one."""
    usable = _models_after(place)
    first = usable[0] if place is not None else DIFFUSION
    return next((it for it in usable if it.name == full_model_name(name)), first)


def _wait_for(place: Place | None, model: Model) -> WaitFor | None:
    """What the task goes on from; a person picks the picture if there is none yet."""
    if place is None:
        return None
    number = "pick" if place.number is None else place.number
    return WaitFor(ref=place.task.ref, image_no=number if model.takes_one_picture else None)


def _as_small(source: Source | None) -> Source:
    return Source() if source is None else replace(source, small=source.src)
