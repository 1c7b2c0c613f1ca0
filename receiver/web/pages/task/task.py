"""`/tasks/{ref}`: one task, its pictures to look at, what happened to it, and what a person can do about it."""

from collections.abc import Awaitable, Callable, Mapping

from msgspec import Struct
from starlette.responses import Response
from starlette.routing import Route

from receiver.client.schemas import image_path
from receiver.core.errors import RequestRefused
from receiver.core.handles import LOOKED_MOST, ref_part
from receiver.core.sanitize import strip_control_chars, truncate_text
from receiver.core.types import ArchiveState, Task, TaskState
from receiver.notify.messages.media_words import count_media
from receiver.pictures.files import media_type
from receiver.pictures.sniff import is_drawn
from receiver.providers.models import MODELS
from receiver.tasks.notify_again import notify_again
from receiver.tokens import is_ref
from receiver.web.pages.going_on.go_on import Wanted
from receiver.web.pages.going_on.going import read_going, read_number, read_wanted
from receiver.web.pages.going_on.made import BEFORE, TIPS, find_tips
from receiver.web.pages.going_on.stage import Source, Stage, draw_stage, read_direction, read_scale
from receiver.web.pages.page import PageError, PageFrame, PageRequest, redirect
from receiver.web.pages.sentences import Sentence, decode_params, describe_work, task_title, with_commands
from receiver.web.pages.task.facts import list_facts
from receiver.web.pages.task.pictures import FEW, look_at_pictures
from receiver.web.pages.task.reading import ReadTask, TaskReader
from receiver.web.pages.task.states import TaskAct, describe_state, offered_acts
from receiver.web.pages.task.trouble import describe_trouble

PROMPT_SHOWN = 600  # characters of it in the place of pictures that there are not
ID_MOST = 200
UNKNOWN_TASK = PageError(404, "There is no such task", "There is no such task. It may have been removed by retention.")
_DONE: Mapping[str, str] = {
    BEFORE: "That form was sent before, and this task is what it made. Nothing new was sent.",
    "cancelled": "It is cancelled. Nothing was charged.",
    "asked": "The provider is asked now. What it says stands below in a moment.",
    "resubmitted": "It is submitted again.",
    "notified": "Its notices are sent again.",
    "fetched": "What is missing of its pictures is fetched again.",
    "told": "Its id is known now; the provider is asked by it.",
}

Act = Callable[[str, PageRequest], Awaitable[object]]


class AskedQuestions(Struct, frozen=True):
    """Which questions stand ready behind buttons."""

    share: bool = False
    resubmit: bool = False
    tell_id: bool = False
    typed_id: str = ""


class TaskPages:
    """The page of a task, and the forms on it that do something to the task itself."""

    def __init__(self, frame: PageFrame) -> None:
        self._frame = frame
        self._parts = frame.parts
        self._reader = TaskReader(frame.parts)

    def routes(self) -> list[Route]:
        """The routes to them."""
        intake = self._parts.intake

        async def tell_id(ref: str, asked: PageRequest) -> object:
            return await intake.set_task_id(ref, asked.form.one("task_id").strip()[: ID_MOST + 1])

        async def notify(ref: str, asked: PageRequest) -> object:
            return await notify_again(self._parts.store, self._parts.policy, self._parts.clock, ref)

        acts: Mapping[str, tuple[Act, str]] = {
            "cancel": (lambda ref, asked: intake.cancel_task(ref), "cancelled"),
            "poll": (lambda ref, asked: intake.request_poll(ref), "asked"),
            "resubmit": (lambda ref, asked: intake.resubmit_task(ref), "resubmitted"),
            "fetch-again": (lambda ref, asked: self._parts.archive.fetch_again(ref), "fetched"),
            "notify-again": (notify, "notified"),
            "task-id": (tell_id, "told"),
        }
        return [
            self._frame.get("/tasks/{ref}", self.show),
            *(
                self._frame.post(f"/tasks/{{ref}}/{name}", self._make_act(act, done))
                for name, (act, done) in acts.items()
            ),
        ]

    async def show(self, asked: PageRequest) -> Response:
        """The page; the beginning or the end of a ref, as pings name it, leads to the task's own address."""
        if not is_ref(given := asked.path("ref")):
            return await self._find_by_part(given)
        return await self._show(asked, done=_DONE.get(asked.query("done"), ""))

    async def _find_by_part(self, given: str) -> Response:
        part = ref_part(given)
        found = await self._parts.store.tasks.find_refs("", part, limit=2, looked=LOOKED_MOST) if part else []
        if len(found) > 1:
            raise PageError(404, "More than one task fits", "More than one task’s ref has that. Give more of it.")
        if not found:
            raise UNKNOWN_TASK
        return redirect(f"/tasks/{found[0]}")

    async def show_form(self, asked: PageRequest, status: int, wanted: Wanted) -> Response:
        """The page with a form to go on as it was typed."""
        return await self._show(asked, status=status, wanted=wanted)

    def _make_act(self, act: Act, done: str) -> Callable[[PageRequest], Awaitable[Response]]:
        async def run(asked: PageRequest) -> Response:
            ref = _read_ref(asked)
            try:
                await act(ref, asked)
            except RequestRefused as refused:
                return await self._show(asked, refused=refused)
            return redirect(f"/tasks/{ref}?done={done}#done")

        return run

    async def _show(
        self,
        asked: PageRequest,
        *,
        status: int = 200,
        wanted: Wanted | None = None,
        done: str = "",
        refused: RequestRefused | None = None,
    ) -> Response:
        read = await self._reader.read(_read_ref(asked))
        if read is None:
            raise UNKNOWN_TASK
        scene, task, now = read.scene, read.task, read.scene.now
        pictures = look_at_pictures(task, scene.images, scene.copies, now)
        going = await read_going(self._parts, task, scene.images, pictures, wanted or read_wanted(asked, task))
        numbers = [it.number for it in pictures]
        chosen = going.go_on.number if going.go_on is not None else None
        if chosen is None:
            chosen = _choose(read_number(asked.query("image")), numbers)
        state, trouble = describe_state(scene), describe_trouble(scene)
        offered = [it for it in offered_acts(scene) if trouble is None or it not in trouble.acts]
        name = task_title(task)
        under_way = task.state in (TaskState.QUEUED, TaskState.SUBMITTING, TaskState.WAITING)
        job = next((it.job_id for it in scene.images if it.image_no == chosen), None)
        return await self._frame.render(
            asked,
            "task.html",
            refused.status if refused is not None else status,
            title=name if task.state is TaskState.COMPLETED and task.confirmed else f"{name}, {state.word}",
            page="gallery",
            read=read,
            name=name,
            refs=[it for it in (task.ref, task.parent) if it is not None],
            open=under_way,
            state=state,
            announcement=_announce(name, read),
            trouble=trouble,
            going=going,
            pictures=pictures,
            settled=task.archive is not ArchiveState.DUE,
            more_pictures=len(scene.images) - len(pictures),
            chosen=chosen,
            few=len(pictures) <= FEW,
            frame=await self._draw_asked(task) if not pictures else None,
            work=describe_work(task, scene.parent),
            prompt=truncate_text(strip_control_chars(task.prompt or "", PROMPT_SHOWN), PROMPT_SHOWN),
            kept=scene.kept,
            offered=offered,
            questions=AskedQuestions(
                share=TaskAct.SHARE in offered or under_way,
                resubmit=TaskAct.RESUBMIT in offered or under_way,
                tell_id=TaskAct.TELL_ID in offered or under_way,
                typed_id=asked.form.one("task_id")[:ID_MOST] if refused is not None else "",
            ),
            job_id=job,
            facts=list_facts(task, scene.images, scene.copies, read.batch, now=now),
            done=done,
            tips=find_tips(task) if asked.query("done") == TIPS else (),
            refused=_describe_refusal(refused) if refused is not None else (),
        )

    async def _draw_asked(self, task: Task) -> Stage | None:
        """The picture that a task goes on from, as it asked for it; None if that is not known or not kept."""
        declared = MODELS.get(task.model or "")
        if declared is None or task.parent is None or task.parent_image is None:
            return None
        copies = (await self._parts.store.copies.by_refs([task.parent])).get(task.parent, ())
        copy = next((it for it in copies if it.image_no == task.parent_image), None)
        if copy is None or copy.file is None or not is_drawn(media_type(copy.file)):
            return None
        source = Source(image_path(task.parent, copy.file), copy.width, copy.height)
        params = decode_params(task)
        return draw_stage(source, declared.draws, read_scale(params), read_direction(declared.name, params))


def _read_ref(asked: PageRequest) -> str:
    ref = asked.path("ref")
    if not is_ref(ref):
        raise UNKNOWN_TASK
    return ref


def _choose(wanted: int | None, known: list[int]) -> int | None:
    """The number of the picture that is asked for, else of the first one."""
    return wanted if wanted in known else next(iter(known), None)


def _describe_refusal(refused: RequestRefused) -> Sentence:
    """Why nothing was done, and what to do about it."""
    problem = f"{refused.problem[:1].upper()}{refused.problem[1:]}"
    remedy = f" {refused.remedy[:1].upper()}{refused.remedy[1:]}." if refused.remedy else ""
    return with_commands(f"{problem}.{remedy}")


def _announce(name: str, read: ReadTask) -> str:
    """What is read aloud once the task has ended."""
    if read.task.state is TaskState.COMPLETED:
        return f"{name} is completed, {count_media([it.type for it in read.scene.images])}."
    if read.task.state is TaskState.FAILED:
        return f"{name} has failed."
    return f"{name} is {read.task.state}." if read.task.state in (TaskState.LOST, TaskState.CANCELLED) else ""
