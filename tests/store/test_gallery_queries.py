"""What the gallery's queries find, compared with plain filters over random histories; and how little they read."""

import random
import re
from collections.abc import Sequence

import pytest
from msgspec import Struct
from msgspec.structs import replace

from kit.fakes import DAY, HOUR, MINUTE, NOW, SECOND
from receiver.core.types import HoldReason, LanePriority, QueueLane, Task, TaskOrigin, TaskState
from receiver.providers.registry import DEFAULT_PROVIDER
from receiver.store import Store
from receiver.store.tables import gallery
from receiver.store.tables.gallery import GalleryPage, Neighbours, batch_key
from receiver.tokens import is_ref, new_ref

pytestmark = pytest.mark.anyio

SHOWN = ("all", "underway", "needs", "failed", "completed")
WORDS = ("red", "river", "reddish", "sun")
UNDER_WAY = (TaskState.QUEUED, TaskState.SUBMITTING, TaskState.WAITING)


class History(Struct, frozen=True):
    """Tasks in the order in which they came, and batches."""

    tasks: Sequence[Task]
    lanes: Sequence[QueueLane]


def seeded(seed: int) -> random.Random:
    return random.Random(seed)  # noqa: S311 - not a secret


def a_batch(number: int, **more: object) -> QueueLane:
    lane = QueueLane(id=number, name=f"b{number}", batch=True, priority=LanePriority.LOW, created_at=NOW - HOUR)
    return replace(lane, **more)


def make_history(chance: random.Random, count: int = 160) -> History:
    lanes = [
        a_batch(
            number,
            created_at=NOW - chance.randrange(4 * DAY),
            finished_at=chance.choice([None, NOW - chance.randrange(3 * DAY)]),
        )
        for number in range(4, 9)
    ]
    tasks = []
    for place in range(count):
        at = NOW - 4 * DAY + place * (4 * DAY // count) - place % 3
        state = chance.choice(list(TaskState))
        queued = state is TaskState.QUEUED
        lane = chance.choice((1, 2, 2, 2, 3, *(it.id for it in lanes)))
        tasks.append(
            Task(
                ref=new_ref(at, chance.randbytes(10)),
                created_at=at,
                provider=DEFAULT_PROVIDER,
                model=chance.choice(("outpaint", "upscale")),
                label=chance.choice((None, "hero", "river")),
                prompt=" ".join(chance.sample(WORDS, 2)) if chance.random() < 0.8 else None,
                origin=chance.choice((TaskOrigin.SUBMITTED, TaskOrigin.SUBMITTED, TaskOrigin.ADOPTED)),
                state=state,
                held_by=chance.choice([None, *HoldReason]) if queued else None,
                unsure=state in (TaskState.WAITING, TaskState.LOST) and chance.random() < 0.5,
                place_until=chance.choice((None, NOW - 1, NOW, NOW + MINUTE)),
                lane=lane,
                turn=place + 1 if chance.random() < 0.9 else -place,
            )
        )
    return History(tasks, lanes)


async def store_history(store: Store, history: History) -> None:
    async with store.write() as tx:
        for lane in history.lanes:
            await tx.lanes.insert(lane)
        await tx.tasks.insert(history.tasks)


def is_shown(task: Task, show: str) -> bool:
    match show:
        case "underway":
            return task.state in UNDER_WAY
        case "failed":
            return task.state in (TaskState.FAILED, TaskState.LOST)
        case "completed":
            return task.state is TaskState.COMPLETED
        case "needs":
            unsure = task.unsure and task.state is TaskState.WAITING and task.origin is TaskOrigin.SUBMITTED
            over = task.place_until is None or task.place_until <= NOW
            return task.held_by in (HoldReason.PERSON, HoldReason.PICK) or (unsure and over)
    return True


def has_words(task: Task, words: str) -> bool:
    text = f"{task.label or ''} {task.prompt or ''}".split()
    return all(any(it.startswith(word) for it in text) for word in words.split())


def expect(history: History, show: str, words: str, model: str | None, label: str | None) -> list[str]:
    """The keys of all cards, in order."""
    narrowed = bool(words) or model is not None or label is not None
    tasks = [
        it
        for it in history.tasks
        if is_shown(it, show)
        and has_words(it, words)
        and model in (None, it.model)
        and label in (None, it.label)
        and (narrowed or it.lane <= 3 or show not in ("all", "underway"))
    ]
    if words:
        return [it.ref for it in reversed(tasks)]
    keys = [it.ref for it in tasks]
    if show == "all" and not narrowed:
        filled = {it.lane for it in history.tasks}
        keys += [
            batch_key(it)
            for it in history.lanes
            if it.finished_at is not None and it.finished_at <= NOW - DAY and it.id in filled
        ]
    return sorted(keys, reverse=True)


def keys_of(page: GalleryPage) -> list[str]:
    return [it.ref if isinstance(it, Task) else batch_key(it) for it in page.cards]


async def walk(store: Store, limit: int, show: str, words: str, model: str | None, label: str | None) -> list[str]:
    """The keys of all pages, one after the other."""
    found: list[str] = []
    before = None
    for _ in range(1000):
        page = await store.gallery.page(show, words, model, label, before, limit, now=NOW)
        assert len(page.cards) <= limit
        found += keys_of(page)
        if page.before is None:
            return found
        assert is_ref(page.before)
        before = page.before
    raise AssertionError("the pages never end")


@pytest.mark.parametrize(("looked", "few"), [(7, 1), (3000, 1), (3000, 40), (7, 1000)])
@pytest.mark.parametrize("seed", range(2))
async def test_all_pages_together_are_what_a_plain_filter_finds(
    store: Store, monkeypatch: pytest.MonkeyPatch, seed: int, looked: int, few: int
) -> None:
    monkeypatch.setattr(gallery, "LOOKED", looked)
    monkeypatch.setattr(gallery, "FEW", few)
    chance = seeded(seed)
    history = make_history(chance)
    await store_history(store, history)
    for show in SHOWN:
        for words in ("", "re", "red", "ri sun", "hero"):
            for model, label in ((None, None), ("upscale", None), (None, "hero"), ("outpaint", "river"), ("x", "y")):
                asked = (show, words, model, label)
                assert await walk(store, chance.choice((1, 3, 20, 500)), *asked) == expect(history, *asked), asked


async def test_a_full_page_ends_only_where_nothing_follows(store: Store) -> None:
    history = make_history(seeded(5), 30)
    await store_history(store, replace(history, lanes=()))
    single = [it.ref for it in history.tasks if it.lane <= 3][::-1]
    for limit, before in ((len(single), None), (len(single) - 1, single[-2])):
        page = await store.gallery.page(limit=limit, now=NOW)
        assert (keys_of(page), page.before) == (single[:limit], before)


async def test_nothing_is_found_for_an_unknown_word_to_show(store: Store) -> None:
    await store_history(store, make_history(seeded(6), 20))
    assert await store.gallery.page("everything", now=NOW) == GalleryPage()


async def test_a_removed_task_still_says_where_a_search_goes_on(store: Store) -> None:
    history = make_history(seeded(7), 60)
    await store_history(store, history)
    found = [it.ref for it in (await store.gallery.page(words="re", now=NOW)).tasks]
    [place] = [at for at, it in enumerate(found) if at == 10]
    gone = found[place]
    async with store.write() as tx:
        task = (await tx.tasks.get([gone]))[gone]
        over = replace(task, state=TaskState.CANCELLED, held_by=None, unsure=False)
        await tx.tasks.update([(task, over)])
        assert (await tx.pruning.drop_tasks([gone], NOW, 1000)).refs == (gone,)
    after = (await store.gallery.page(words="re", before=gone, now=NOW)).tasks
    assert [it.ref for it in after] == found[place + 1 :]


# -- batches --


async def test_the_batches_under_way_or_done_today_have_their_cards(store: Store) -> None:
    history = make_history(seeded(8))
    await store_history(store, history)
    cards = await store.gallery.batch_cards(NOW)
    current = [it for it in history.lanes if it.finished_at is None or it.finished_at > NOW - DAY]
    assert [it.lane for it in cards] == sorted(current, key=batch_key, reverse=True)
    assert len(await store.gallery.batch_cards(NOW, 1)) == 1
    for card in cards:
        rows = [it for it in history.tasks if it.lane == card.lane.id and it.turn > 0]
        counts = {state: sum(it.state is state for it in rows) for state in TaskState}
        assert card.states == {state: count for state, count in counts.items() if count}
        completed = sorted((it for it in rows if it.state is TaskState.COMPLETED), key=lambda it: -it.turn)
        assert list(card.newest) == completed[:8]


async def test_the_rows_of_a_batch_come_in_pages_the_last_line_first(store: Store) -> None:
    history = make_history(seeded(9))
    twins = [replace(it, ref=new_ref(NOW + 1), state=TaskState.FAILED) for it in history.tasks if it.lane == 4]
    history = replace(history, tasks=[*history.tasks, *twins])  # steps of the same rows
    await store_history(store, history)
    states = [TaskState.FAILED, TaskState.LOST, TaskState.COMPLETED]
    found, before = list[Task](), None
    while page := await store.gallery.tasks_of_batch(4, states, before, 3):
        found, before = [*found, *page], page[-1].ref
    rows = [it for it in history.tasks if it.lane == 4 and it.turn > 0 and it.state in states]
    assert found == sorted(rows, key=lambda it: (it.turn, it.ref), reverse=True)
    single = next(it for it in history.tasks if it.lane == 2)
    assert await store.gallery.tasks_of_batch(4, states, single.ref, 3) == []


# -- a task --


async def test_neighbours_of_single_tasks_are_single_and_those_of_rows_are_rows(store: Store) -> None:
    history = make_history(seeded(10), 60)
    await store_history(store, history)
    groups = [[it.ref for it in history.tasks if it.lane == lane] for lane in range(4, 9)]
    groups.append([it.ref for it in history.tasks if it.lane <= 3])
    for refs in groups:
        for place, ref in enumerate(refs):
            newer = refs[place + 1] if place + 1 < len(refs) else None
            older = refs[place - 1] if place else None
            assert await store.gallery.neighbours(ref) == Neighbours(newer, older)
    assert await store.gallery.neighbours("nobody") == Neighbours(None, None)


async def test_the_newest_polls_of_a_task(store: Store) -> None:
    async with store.write() as tx:
        for number in range(5):
            await tx.tasks.add_poll("a", NOW + number * SECOND, "unknown", f"404 {number}", None)
            await tx.tasks.add_poll("b", NOW, "busy", "429", None)
    assert [(it.at, it.heard, it.text) for it in await store.gallery.polls("a", 2)] == [
        (NOW + 4 * SECOND, "unknown", "404 4"),
        (NOW + 3 * SECOND, "unknown", "404 3"),
    ]


# -- counts --


async def test_the_counts_are_those_of_the_pages_and_have_a_most(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    history = make_history(seeded(11))
    await store_history(store, history)
    counts = await store.gallery.counts(NOW)
    batches = sum(it.finished_at is None for it in history.lanes)
    assert counts.underway == len(expect(history, "underway", "", None, None)) + batches
    assert counts.needs == len(expect(history, "needs", "", None, None))
    monkeypatch.setattr(gallery, "COUNTED_MOST", 3)
    assert await store.gallery.counts(NOW) == gallery.GalleryCounts(3, 3)


def test_the_key_of_a_batch_is_like_a_ref_and_sorts_by_time() -> None:
    early, late = a_batch(4, created_at=NOW - 1), a_batch(5, created_at=NOW)
    assert is_ref(batch_key(early))
    assert batch_key(early) < batch_key(late) < batch_key(replace(late, id=6))
    assert new_ref(NOW - 2, b"\xff" * 10) < batch_key(early)
    assert new_ref(NOW - 1, b"\x01" * 10) > batch_key(early)
    assert re.fullmatch("[0-9a-f-]{36}", batch_key(a_batch(2**40)))
