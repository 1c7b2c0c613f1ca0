"""`/pick/{token}`: a person picks the picture of a task from which others go on.

Chats and mail programs open every link to see what is behind it, so a GET only shows the picture and a button; the POST
of the button picks. The token names the task and the picture, and whoever has it may pick: no login.
"""

from collections.abc import Callable, Mapping, Sequence
from urllib.parse import parse_qs

from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from receiver.core.chains import CHAIN_MOST, is_held
from receiver.core.errors import RequestRefused
from receiver.core.sanitize import one_line, web_url
from receiver.core.types import Image, ImageCopy, Task
from receiver.notify.messages.media_words import media_noun
from receiver.pictures.files import media_type
from receiver.pictures.signed_links import PICK_PREFIX
from receiver.pictures.sniff import is_drawn
from receiver.providers.models import command_name, short_model_name
from receiver.tasks.pick_choice import Waiting, choose
from receiver.web.api.chains import usual_costs
from receiver.web.api.operations import read_body
from receiver.web.pages.going_on.pick_states import describe_closed, describe_no_picture, describe_refusal
from receiver.web.pages.going_on.picks_card import describe_cost
from receiver.web.pages.page import PageError, PageFrame, PageRequest
from receiver.web.pages.sentences import as_sentence

_NAME_MOST = 80
_PROMPT_MOST = 300
_FORM_MOST = 2_000  # bytes
_DIGITS = 4
_GONE = "There is nothing to pick here"
_GONE_TEXT = (
    "The link is not whole, or its task has been deleted. Copy all of it from the message, or ask for a new one."
)


class _Picture(Struct, frozen=True):
    """One picture as the page shows it: our own copies, else the provider's address. Of a video, a link."""

    number: int
    path: str  # of its own page
    src: str | None = None
    small: str | None = None
    url: str | None = None
    noun: str = "picture"
    kept: bool = False  # the link leads to our own copy
    width: int | None = None
    height: int | None = None


class PickPage:
    """GET and POST of `/pick/{token}`."""

    def __init__(self, frame: PageFrame) -> None:
        self._frame = frame
        self._parts = frame.parts

    def route(self) -> Route:
        """The route to it."""
        return self._frame.public(f"{PICK_PREFIX}{{token}}", self.answer, ("GET", "POST"))

    async def answer(self, asked: PageRequest) -> Response:
        """Show the picture, or pick it; then say what became of that."""
        shown = await self._answer(asked)
        shown.headers["referrer-policy"] = "no-referrer"  # the address is a secret
        return shown

    async def _answer(self, asked: PageRequest) -> Response:
        opened = self._parts.ring.open_pick(asked.path("token"))
        found = await self._parts.store.tasks.get([opened[0]]) if opened else {}
        if opened is None or opened[0] not in found:
            return await self._frame.show_error(asked, PageError(404, _GONE, _GONE_TEXT, None))
        task, number = found[opened[0]], opened[1]
        if asked.http.method != "POST":
            return await self._show(asked, task, number)
        try:
            numbers = (number, *await _read_also(asked.http, self._parts.body_timeout_s))
            picked = await self._parts.picks.pick(task.ref, numbers, by="link")
        except RequestRefused as refused:
            return await self._show(asked, task, number, status=refused.status, refused=refused)
        return await self._show(asked, task, number, done=_describe_picked(picked))

    async def _show(
        self,
        asked: PageRequest,
        task: Task,
        number: int,
        *,
        status: int = 200,
        done: str = "",
        refused: RequestRefused | None = None,
    ) -> Response:
        store, links = self._parts.store, self._parts.links
        images = (await store.tasks.images_by_ref([task.ref])).get(task.ref, ())
        copies = {it.image_no: it for it in (await store.copies.by_refs([task.ref])).get(task.ref, ())}
        chain = await store.chains.tasks_of(task.root or task.ref, CHAIN_MOST)
        children = [it for it in chain if it.parent == task.ref]
        waiting = [child for child, _ in choose(Waiting(task, children, images), [number])]
        closed = describe_closed(task, children)

        def show(image: Image) -> _Picture:
            return _show_picture(task.ref, image, copies, links.image_path, links.pick_path)

        pictures = sorted((show(it) for it in images), key=lambda it: it.number)
        missing = _Picture(number, links.pick_path(task.ref, number))
        noun = media_noun(image.type for image in images) if images else "picture"
        return await self._frame.render(
            asked,
            "pick.html",
            status,
            title=f"Pick a {noun} of {_name(task)}",
            noun=noun,
            name=_name(task),
            prompt=one_line(task.prompt or "", _PROMPT_MOST),
            pictures=pictures,
            picture=next((it for it in pictures if it.number == number), missing),
            open=bool(waiting) and not done,
            closed=closed,
            not_there=describe_no_picture(task, noun, number),
            follows=_describe_follow(waiting, chain),
            cost=describe_cost(waiting, chain, await usual_costs(self._parts, chain)),
            done=done,
            refused=describe_refusal(refused, closed) if refused is not None else "",
        )


def _show_picture(
    ref: str,
    image: Image,
    copies: Mapping[int, ImageCopy],
    file_path: Callable[[str, str], str],
    pick_path: Callable[[str, int], str],
) -> _Picture:
    copy, path = copies.get(image.image_no), pick_path(ref, image.image_no)
    noun = media_noun((image.type,))
    if copy is None or copy.file is None:
        return _Picture(image.image_no, path, url=web_url(image.url), noun=noun)
    if not is_drawn(media_type(copy.file)):
        return _Picture(image.image_no, path, url=file_path(ref, copy.file), noun=noun, kept=True)
    return _Picture(
        image.image_no,
        path,
        src=file_path(ref, copy.file),
        small=file_path(ref, copy.small or copy.file),
        width=copy.width,
        height=copy.height,
    )


def _name(task: Task) -> str:
    return one_line(task.label or task.prompt or "", _NAME_MOST) or f"a {short_model_name(task.model or 'task')} task"


def _describe_follow(waiting: Sequence[Task], chain: Sequence[Task]) -> str:
    """What is submitted once a picture is picked, and what follows that."""

    def describe(task: Task) -> str:
        after = dict.fromkeys(describe(it) for it in chain if it.parent == task.ref and is_held(it))
        name = command_name(task.model or "")
        return f"{name} → {', '.join(after)}" if after else name

    return ", ".join(dict.fromkeys(describe(it) for it in waiting))


def _describe_picked(picked: Sequence[Task]) -> str:
    models = " and ".join(dict.fromkeys(command_name(it.model or "") for it in picked))
    numbers = sorted({it.parent_image or 0 for it in picked})
    which = f"picture{'s' if len(numbers) > 1 else ''} {' and '.join(map(str, numbers))}"
    return as_sentence(f"{models} goes on from {which}; you will be notified of what comes of it")


async def _read_also(request: Request, timeout_s: float) -> tuple[int, ...]:
    """The other pictures that were ticked. Raises RequestRefused."""
    body = await read_body(request, timeout_s, _FORM_MOST)
    given = parse_qs(body.decode("ascii", "replace")).get("also", [])
    if not all(it.isascii() and it.isdigit() and len(it) < _DIGITS for it in given):
        raise RequestRefused(422, "invalid_parameter", "the form was changed: a picture has a number", "also")
    return tuple(map(int, given))
