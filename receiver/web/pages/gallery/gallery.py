"""`/`: the pictures as they arrive, newest first, in pages of sixty. `/batches`: all batches."""

from collections.abc import Sequence
from urllib.parse import urlencode

from msgspec import Struct
from starlette.responses import Response
from starlette.routing import Route

from receiver import __version__
from receiver.core.handles import LOOKED_MOST, ref_part
from receiver.core.sanitize import one_line
from receiver.core.types import QueueLane, Task
from receiver.providers.models import MODELS, short_model_name
from receiver.store.tables.gallery import BatchNews, GalleryPage
from receiver.tokens import is_ref
from receiver.web.api.requests import parse_row_id
from receiver.web.pages.gallery.batch_cards import BatchCard
from receiver.web.pages.gallery.card_maker import CardMaker
from receiver.web.pages.gallery.cards import Card
from receiver.web.pages.gallery.first_run import COMMAND, find_steps
from receiver.web.pages.page import PageFrame, PageRequest, redirect

PAGE = 60
BATCHES_PAGE = 20
NAMED_MOST = 5  # batches whose names fit the words
WORDS_MOST = 100

_SHOWN = {
    "all": "All",
    "underway": "Under way",
    "needs": "Waiting for you",
    "failed": "Failed",
    "completed": "Completed",
}
_GONE = "This page of the list is no longer there."
_NONE_HERE = "Nothing in this part of the list."
_EMPTY = {
    "all": "Nothing here yet.",
    "underway": "Nothing is under way.",
    "needs": "No task waits for you.",
    "failed": "No task has failed.",
    "completed": "No task has completed yet.",
}


class Chip(Struct, frozen=True):
    """A filter at the top of the gallery."""

    word: str
    path: str
    current: bool
    count: int = 0


class ModelChoice(Struct, frozen=True):
    """A model to filter by: its name, and the word for it."""

    name: str
    word: str


_MODEL_CHOICES = [ModelChoice(name, short_model_name(name)) for name in MODELS]


class GalleryItem(Struct, frozen=True):
    """A task's card, or a batch's."""

    card: Card | None = None
    batch: BatchCard | None = None


class Filters(Struct, frozen=True):
    """What the address asks for. Nonsense is kept: it finds nothing, and the page says so."""

    show: str = "all"
    words: str = ""
    model: str = ""
    label: str = ""
    before: str = ""

    @property
    def is_narrowed(self) -> bool:
        """Whether anything but the chips narrows the list."""
        return bool(self.words or self.model or self.label)

    def path(self, **changes: str) -> str:
        """The address of the gallery with these filters, and `changes` to them; from the newest on."""
        given = {"show": self.show, "q": self.words, "model": self.model, "label": self.label} | changes
        query = urlencode({name: value for name, value in given.items() if value and (name, value) != ("show", "all")})
        return f"/?{query}" if query else "/"


class GalleryPages:
    """The gallery, and its first run."""

    def __init__(self, frame: PageFrame, maker: CardMaker) -> None:
        self._frame = frame
        self._parts = frame.parts
        self._maker = maker

    def routes(self) -> list[Route]:
        """The routes to them."""
        return [self._frame.get("/", self.show), self._frame.get("/batches", self.show_batches)]

    async def show(self, asked: PageRequest) -> Response:
        """The page that the address asks for."""
        filters = _read_filters(asked)
        found = await self._find(filters)
        if found is not None and not found.cards and not found.before and filters == Filters(words=filters.words):
            found = GalleryPage(await self._find_by_ref(filters.words))
            if len(found.cards) == 1:
                return redirect(f"/tasks/{found.tasks[0].ref}")
        if found is None or (filters.before and not found.cards and not found.before):
            return await self._show_list(asked, filters, [], None, _GONE, ("/", "To the newest"))
        going_on = await self._find_going_on(filters)
        if not found.cards and not going_on and filters == Filters():
            return await self._show_first_run(asked)
        items = [*(GalleryItem(batch=it) for it in going_on), *await self._make_items(found.cards)]
        empty = (
            _say_empty(filters)
            if found.before is None
            else (_NONE_HERE, (filters.path(before=found.before), "Look further back"))
        )
        return await self._show_list(asked, filters, items, found.before, *empty)

    async def show_batches(self, asked: PageRequest) -> Response:
        """All batches, newest first."""
        before, lanes = asked.query("before"), list[QueueLane]()
        if not before or parse_row_id(before) is not None:
            lanes = await self._parts.store.lanes.page(parse_row_id(before), BATCHES_PAGE + 1)
        more = len(lanes) > BATCHES_PAGE
        return await self._frame.render(
            asked,
            "batches.html",
            title="Batches",
            page="gallery",
            batches=await self._maker.make_batches(await self._news(lanes[:BATCHES_PAGE])),
            older=str(lanes[BATCHES_PAGE - 1].id) if more else "",
            newest=not before,
        )

    async def _find(self, filters: Filters) -> GalleryPage | None:
        """What there is for these filters; None if the page that they ask for cannot be."""
        if filters.before and not is_ref(filters.before):
            return None
        return await self._parts.store.gallery.page(
            filters.show,
            filters.words,
            filters.model or None,
            filters.label or None,
            filters.before or None,
            PAGE,
            now=self._parts.clock(),
        )

    async def _find_by_ref(self, words: str) -> list[Task]:
        """The tasks whose refs begin or end so, newest first."""
        part = ref_part(words)
        if part is None:
            return []
        tasks = self._parts.store.tasks
        refs = (await tasks.find_refs(words, part, limit=PAGE, looked=LOOKED_MOST))[:PAGE]
        found = await tasks.get(refs) if refs else {}
        return [found[ref] for ref in refs if ref in found]

    async def _find_going_on(self, filters: Filters) -> list[BatchCard]:
        """The batches that stand first on the first page: those under way, then, among all, those that just ended; for
        words, those whose names begin with them."""
        if filters.words and filters == Filters(words=filters.words):
            named = await self._parts.store.lanes.batches_named(filters.words, NAMED_MOST)
            return await self._maker.make_batches(await self._news(sorted(named, key=lambda it: -it.id)))
        if filters.show not in ("all", "underway") or filters.is_narrowed or filters.before:
            return []
        news = await self._parts.store.gallery.batch_cards(self._parts.clock())
        shown = [it for it in news if filters.show == "all" or it.lane.finished_at is None]
        shown.sort(key=lambda it: it.lane.finished_at is not None)
        return await self._maker.make_batches(shown)

    async def _make_items(self, found: Sequence[Task | QueueLane]) -> list[GalleryItem]:
        """The cards in the order of the page."""
        tasks = [it for it in found if isinstance(it, Task)]
        lanes = [it for it in found if isinstance(it, QueueLane)]
        cards = {it.ref: it for it in await self._maker.make(tasks)}
        batches = {it.name: it for it in await self._maker.make_batches(await self._news(lanes))}
        return [
            GalleryItem(card=cards[it.ref]) if isinstance(it, Task) else GalleryItem(batch=batches[it.name])
            for it in found
        ]

    async def _news(self, lanes: Sequence[QueueLane]) -> Sequence[BatchNews]:
        return await self._parts.store.gallery.batch_news(lanes) if lanes else ()

    async def _show_list(
        self,
        asked: PageRequest,
        filters: Filters,
        items: Sequence[GalleryItem],
        older: str | None,
        empty: str,
        empty_link: tuple[str, str],
    ) -> Response:
        counts = await self._parts.store.gallery.counts(self._parts.clock())
        numbers = {"underway": counts.underway, "needs": counts.needs}
        return await self._frame.render(
            asked,
            "gallery.html",
            title="Gallery",
            page="gallery",
            chips=[
                Chip(word, filters.path(show=name), name == filters.show, numbers.get(name, 0))
                for name, word in _SHOWN.items()
            ]
            + ([Chip("Batches", "/batches", current=False)] if await self._parts.store.lanes.page(None, 1) else []),
            show=filters.show,
            words=filters.words,
            model=filters.model,
            label=filters.label,
            models=_MODEL_CHOICES,
            items=items,
            newest=not filters.before,
            first=filters.path(),
            older=older and filters.path(before=older),
            newest_ref="" if filters != Filters() else max((it.card.ref for it in items if it.card), default="0"),
            empty=empty,
            empty_link=empty_link,
        )

    async def _show_first_run(self, asked: PageRequest) -> Response:
        policy, unreachable = self._parts.policy, self._parts.intake.unreachable
        return await self._frame.render(
            asked,
            "first_run.html",
            title="Nothing here yet",
            page="gallery",
            steps=find_steps(
                has_key=policy.can_poll,
                unreachable=None if unreachable is None else unreachable.problem,
                targets=[it.name for it in policy.targets],
                version=__version__,
            ),
            command=COMMAND,
        )


def _read_filters(asked: PageRequest) -> Filters:
    return Filters(
        show=asked.query("show") or "all",
        words=one_line(asked.query("q"), WORDS_MOST),
        model=asked.query("model").strip(),
        label=asked.query("label").strip(),
        before=asked.query("before"),
    )


def _say_empty(filters: Filters) -> tuple[str, tuple[str, str]]:
    """What stands in the place of an empty list, and the way on from there."""
    if filters.show not in _SHOWN:
        return "There is no such list.", ("/", "Show all")
    if filters.words:
        return f"Nothing matches “{filters.words}”.", (filters.path(q="", model="", label=""), "Show all")
    if filters.is_narrowed:
        return "Nothing is like that.", (filters.path(model="", label=""), "Show all")
    return _EMPTY[filters.show], ("/", "Show all")
