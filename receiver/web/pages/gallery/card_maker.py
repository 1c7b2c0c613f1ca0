"""Makes the cards of tasks: one read each for their pictures, copies, sources and waits, however many there are."""

from collections.abc import Mapping, Sequence

from receiver.client.schemas import image_path
from receiver.core.batches import BatchFigures
from receiver.core.money import to_decimal
from receiver.core.types import HoldReason, ImageCopy, OutcomeSource, Task, TaskState
from receiver.pictures.sniff import is_drawn
from receiver.service.wiring import ServiceParts
from receiver.store.tables.gallery import BatchNews
from receiver.web.pages.gallery.batch_cards import BatchCard, make_batch_card
from receiver.web.pages.gallery.cards import Card, CardContext, make_card
from receiver.web.pages.going_on.stage import Source
from receiver.web.pages.usual import usual_duration

USUAL_FOR_MS = 30_000  # how long the usual time of a model is used before it is looked up again

_UNDER_WAY = frozenset({TaskState.QUEUED, TaskState.SUBMITTING, TaskState.WAITING})


class CardMaker:
    """Makes cards of tasks: one read each for their pictures, copies, parents and waits."""

    def __init__(self, parts: ServiceParts) -> None:
        self._parts = parts
        self._usual: dict[str, tuple[int, int | None]] = {}  # of a model: when it was looked up, and its median

    async def make(self, tasks: Sequence[Task]) -> list[Card]:
        """The cards of tasks, in their order."""
        if not tasks:
            return []
        store = self._parts.store
        refs = [it.ref for it in tasks]
        images, copies = await store.tasks.images_by_ref(refs), await store.copies.by_refs(refs)
        waits = await self._parts.submit.queue.find_waits(tasks)
        sources = await self._find_sources([it for it in tasks if it.state in _UNDER_WAY])
        parents, picks = await self._find_parents(tasks)
        now = self._parts.clock()
        usual = await self._usual_times({it.model for it in tasks if it.model and not it.state.is_final}, now)
        return [
            make_card(
                task,
                CardContext(
                    images=images.get(task.ref, ()),
                    copies=copies.get(task.ref, ()),
                    wait=wait,
                    source=sources.get(task.ref),
                    parent=parents.get(task.parent or ""),
                    picks=picks.get(task.parent or "", ()),
                    usual_ms=usual.get(task.model or ""),
                ),
                now,
            )
            for task, wait in zip(tasks, waits, strict=True)
        ]

    async def find_batches(self, names: Sequence[str]) -> list[BatchCard]:
        """The cards of the batches with these names, as far as they exist."""
        lanes = await self._parts.store.lanes.by_name(names) if names else {}
        return await self.make_batches(
            await self._parts.store.gallery.batch_news([it for it in lanes.values() if it.batch])
        )

    async def make_batches(self, news: Sequence[BatchNews]) -> list[BatchCard]:
        """The cards of batches, with their newest pictures."""
        copies = await self._parts.store.copies.by_refs([task.ref for it in news for task in it.newest])
        return [await self._make_batch(it, copies) for it in news]

    async def _make_batch(self, news: BatchNews, copies: Mapping[str, Sequence[ImageCopy]]) -> BatchCard:
        cost, priced, _ = await self._parts.store.batch_rows.spent(news.lane.id, news.lane.created_at)
        figures = BatchFigures(news.states, cost=to_decimal(cost) if cost or priced else None)
        drawn = [picture for it in news.newest if (picture := _first_drawn(it.ref, copies.get(it.ref, ())))]
        return make_batch_card(news.lane, figures, news.newest, self._parts.clock(), drawn)

    async def _find_parents(self, tasks: Sequence[Task]) -> tuple[dict[str, Task], Mapping[str, Sequence[ImageCopy]]]:
        """The tasks whose ends cancelled some of these, and the pictures from which one is to be picked for others."""
        ended = {it.parent for it in tasks if it.parent and it.settled_by is OutcomeSource.PARENT}
        picked = {it.parent for it in tasks if it.parent and it.held_by is HoldReason.PICK}
        parents = await self._parts.store.tasks.get(sorted(ended)) if ended else {}
        return parents, await self._parts.store.copies.by_refs(sorted(picked)) if picked else {}

    async def _find_sources(self, tasks: Sequence[Task]) -> dict[str, Source]:
        """The pictures that tasks go on from, as far as they are known here and kept."""
        wanted = {it.ref: (it.parent, it.parent_image) for it in tasks if it.parent and it.parent_image is not None}
        parents = list({parent for parent, _ in wanted.values() if parent})
        copies = await self._parts.store.copies.by_refs(parents) if parents else {}
        found = {(ref, it.image_no): _source(ref, it) for ref, some in copies.items() for it in some}
        return {ref: source for ref, place in wanted.items() if (source := found.get(place)) is not None}

    async def _usual_times(self, models: set[str], now: int) -> Mapping[str, int | None]:
        for model in sorted(models):
            if now - self._usual.get(model, (-USUAL_FOR_MS, None))[0] >= USUAL_FOR_MS:
                self._usual[model] = (now, await usual_duration(self._parts.store, model))
        return {model: self._usual[model][1] for model in models}


def _first_drawn(ref: str, copies: Sequence[ImageCopy]) -> str:
    """The smallest copy of the first picture that a browser draws; empty if there is none."""
    drawn = (it for it in copies if it.file is not None and is_drawn(it.media_type or ""))
    first = next(drawn, None)
    return "" if first is None else image_path(ref, first.tiny or first.small or first.file or "")


def _source(ref: str, copy: ImageCopy) -> Source | None:
    """Our copy of a picture; None if there is none that a browser draws."""
    if copy.file is None or not is_drawn(copy.media_type or ""):
        return None
    return Source(image_path(ref, copy.small or copy.file), copy.width, copy.height)
