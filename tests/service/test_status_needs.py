"""What needs a person: each kind made real, seen on the status page with what to do, and gone once it is over."""

import html
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
from msgspec import Struct
from msgspec.structs import replace

from kit.fakes import (
    DAY,
    HOUR,
    MINUTE,
    MODEL,
    NOW,
    Clock,
    FakeProvider,
    a_notice,
    a_task,
    attention,
    got,
    owe,
    put,
    says,
)
from kit.pages import logged_in
from kit.web import DONE, Served, callback_path, minted, near
from receiver.core.budgets import PeriodKind
from receiver.core.money import NANO
from receiver.core.types import (
    Ending,
    HoldReason,
    LanePriority,
    NoticeState,
    OutcomeSource,
    QueueLane,
    SubmitAnswer,
    SubmitResult,
    Task,
    TaskState,
    Usage,
)
from receiver.upkeep import needs
from receiver.upkeep.doctor.findings import Finding
from receiver.upkeep.doctor.machine import DiskSpace, judge_disk

pytestmark = pytest.mark.anyio

_ITEM = re.compile(
    r"<li><div><p>(.*?)</p><p[^>]*>(.*?)</p></div>(?:<a [^>]*href=\"([^\"]*)\">(.*?)</a>)?</li>", re.DOTALL
)
NOTHING = "Nothing needs you."


class Item(Struct, frozen=True):
    """One item of the list, without its markup."""

    title: str
    text: str
    path: str
    words: str


class Place(Struct, eq=False):
    """A service, its clock, and somebody who is logged in."""

    web: Served
    clock: Clock
    page: httpx.AsyncClient

    async def items(self) -> list[Item]:
        shown = await self.page.get("/status")
        assert shown.status_code == 200
        found = [Item(*map(_plain, it)) for it in _ITEM.findall(shown.text)]
        assert (NOTHING in shown.text) == (not found)
        assert f">{len(found)}<span" in shown.text or not found, "the number at the top"
        return found

    async def only(self) -> Item:
        [item] = await self.items()
        return item

    async def settle(self, task: Task) -> None:
        async with self.web.parts.store.write() as tx:
            ended = {"settled_at": self.clock(), "settled_by": OutcomeSource.PERSON, "held_by": None, "unsure": False}
            await tx.tasks.update([(task, replace(task, state=TaskState.FAILED, due_at=None, **ended))])


@asynccontextmanager
async def placed(folder: Path, **settings: Any) -> AsyncIterator[Place]:
    clock = Clock()
    async with near(folder, clock=clock, **settings) as web, logged_in(web) as page:
        yield Place(web, clock, page)


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    async with placed(tmp_path) as found:
        yield found


def _plain(text: str) -> str:
    return html.unescape(re.sub(r"<[^>]*>", "", text))


async def test_nothing_needs_a_person(place: Place) -> None:
    await put(place.web.parts.store, a_task(), a_task(TaskState.COMPLETED, task_id="b"))
    assert await place.items() == []


async def test_notices_that_were_given_up(place: Place) -> None:
    store = place.web.parts.store
    dead = {"state": NoticeState.DEAD, "error": "slack: invalid_auth"}
    await owe(store, *(a_notice(**dead) for _ in range(14)))

    shown = await place.only()
    assert shown.title == "14 notices to slack were given up."
    assert shown.text.startswith("Slack: invalid_auth. Its token is not accepted: make a new one")
    assert shown.text.endswith("Then send them again.")
    assert (shown.path, shown.words) == ("/notices?state=dead&target=slack", "Look at them")
    assert '>14<span class="visually-hidden"> given up' in (await place.page.get("/status")).text
    async with store.write() as tx:
        await tx.notices.redrive(NOW, targets=["slack"], ids=None, to=None)
    assert await place.items() == []


async def test_notices_to_a_target_that_is_gone(place: Place) -> None:
    await owe(place.web.parts.store, a_notice("old <b>", state=NoticeState.DEAD, error="gone"))
    shown = await place.only()
    assert shown.title == "1 notice to old <b> was given up."
    assert "no longer in receiver.toml" in shown.text
    assert shown.path == "/notices?state=dead&target=old+%3Cb%3E"


async def test_a_target_that_rests(place: Place) -> None:
    store = place.web.parts.store
    await owe(store, a_notice("mail", due_at=NOW), a_notice("mail", due_at=NOW))
    async with store.write() as tx:
        for _ in range(3):
            await tx.sends.count_failure("mail", NOW)
        await tx.sends.rest_target("mail", NOW + MINUTE)

    shown = await place.only()
    assert shown.title == "mail rests after failures until 09:21:00."
    assert shown.text.startswith("It failed 3 times in a row. 2 notices wait and are tried again by themselves")
    place.clock.forward(MINUTE)
    assert await place.items() == []


async def test_a_target_that_rests_and_was_given_up_on_is_one_item(place: Place) -> None:
    await owe(place.web.parts.store, a_notice("mail", due_at=NOW), a_notice("mail", state=NoticeState.DEAD, error="no"))
    async with place.web.parts.store.write() as tx:
        await tx.sends.count_failure("mail", NOW)
        await tx.sends.rest_target("mail", NOW + MINUTE)

    assert (await place.only()).title == "1 notice to mail was given up; the target rests until 09:21:00."


async def test_a_queue_that_a_person_paused(place: Place) -> None:
    await put(place.web.parts.store, a_task(TaskState.QUEUED))
    await place.web.client.post("/api/v1/queue/pause")
    shown = await place.only()
    assert (shown.title, shown.text) == (
        "Submitting is paused.",
        "1 task waits. receiver queue resume lets the queue go on.",
    )
    await place.web.client.post("/api/v1/queue/resume")
    assert await place.items() == []


async def test_a_service_without_a_key(tmp_path: Path) -> None:
    async with placed(tmp_path, provider_key="") as place:
        assert await place.items() == [], "nothing waits for it"
        task = a_task(TaskState.QUEUED)
        await put(place.web.parts.store, task)
        shown = await place.only()
        assert shown.title == "The service has no provider key."
        assert shown.text == "1 task waits. Set PROVIDER_KEY where the service runs."
        await place.settle(task)
        assert await place.items() == []


async def submit(place: Place, answer: SubmitAnswer | None = None) -> None:
    """Submit the next task: to nobody, or to a provider that gives this answer."""
    loop = place.web.parts.submit
    if answer is not None:
        provider = FakeProvider()
        provider.answers.append(answer)
        loop._provider = provider
    work = await loop.claim()
    assert work is not None
    await loop.carry_out(work)


async def test_a_provider_that_cannot_be_reached(place: Place) -> None:
    await put(place.web.parts.store, a_task(TaskState.QUEUED), a_task(TaskState.QUEUED))
    await submit(place)
    shown = await place.only()
    assert re.fullmatch(r"The provider cannot be reached; next try at \d\d:\d\d:\d\d\.", shown.title)
    assert shown.text.startswith("2 tasks wait. Check the network and PROVIDER_URL")
    place.clock.forward(MINUTE)
    await submit(place, SubmitAnswer(SubmitResult.TAKEN, "fine", says(Ending.RUNNING, "job-9")))
    assert await place.items() == []


async def test_a_key_that_the_provider_refuses(place: Place) -> None:
    await put(place.web.parts.store, a_task(TaskState.QUEUED))
    await submit(place, SubmitAnswer(SubmitResult.UNAUTHORIZED, "401: no such key"))
    shown = await place.only()
    assert shown.title.startswith("The provider refuses the key or the balance; next try at 09:2")
    assert "Fix that, and submissions resume by themselves." in shown.text
    place.clock.forward(2 * MINUTE)
    await submit(place, SubmitAnswer(SubmitResult.TAKEN, "fine", says(Ending.RUNNING, "job-9")))
    assert await place.items() == []


async def test_a_budget_that_is_used_up(tmp_path: Path) -> None:
    async with placed(tmp_path, budget_day="1") as place:
        store = place.web.parts.store
        spent = a_task(TaskState.COMPLETED, usage=Usage(Decimal(1)), spend_day="2025-12-29", task_id="b")
        await put(store, spent, a_task(TaskState.QUEUED))
        assert await place.web.parts.submit.claim() is None

        shown = await place.only()
        assert shown.title == "The budget has no room until 00:00:00."
        assert shown.text == (
            "The $1.00 of this day are used up: receiver costs raise day 2 lets it go on. 1 task waits."
        )
        async with store.write() as tx:
            await place.web.parts.budget.raise_limit(tx, PeriodKind.DAY, 5 * NANO, NOW)
        assert await place.items() == []


async def test_batches_that_are_paused(place: Place) -> None:
    store = place.web.parts.store
    lane = QueueLane(
        id=0, name="a/b <i>", batch=True, priority=LanePriority.LOW, created_at=1, paused_at=1, paused_why="10 failed"
    )
    async with store.write() as tx:
        await tx.lanes.insert(lane)
    shown = await place.only()
    assert shown.title == "a/b <i> is paused."
    assert shown.text == "10 failed. receiver batch resume 'a/b <i>' lets it go on."
    assert shown.path == "/batches/a%2Fb%20%3Ci%3E"
    async with store.write() as tx:
        for name in ("b", "c", "d"):
            await tx.lanes.insert(replace(lane, name=name))
    shown = await place.only()
    assert (shown.title, shown.text[:15]) == ("4 batches are paused.", "a/b <i>, b, c a")
    [stored] = (await store.lanes.by_name(["a/b <i>"])).values()
    async with store.write() as tx:
        await tx.lanes.update(replace(stored, paused_at=None, paused_why=None))
    assert [it.title for it in await place.items()] == ["b is paused.", "c is paused.", "d is paused."]


async def test_tasks_that_nobody_knows_of(place: Place) -> None:
    store = place.web.parts.store
    task = a_task(task_id=None, unsure=True, label='<script>alert("kite")</script>')
    await put(store, task)
    assert await place.items() == [], "a callback may still settle it"
    place.clock.forward(16 * MINUTE)
    shown = await place.only()
    assert shown.title == '<script>alert("kite")</script> is unsure.'
    assert shown.text.endswith("If it is not in the provider’s list, submit it again.")
    assert (shown.path, shown.words) == (f"/tasks/{task.ref}", "Open it")
    assert "<script>alert" not in (await place.page.get("/status")).text
    await place.settle(task)
    assert await place.items() == []


async def test_many_tasks_of_a_kind_are_one_item(place: Place) -> None:
    tasks = [a_task(task_id=None, unsure=True) for _ in range(4)]
    await put(place.web.parts.store, *tasks)
    place.clock.forward(16 * MINUTE)
    shown = await place.only()
    assert (shown.title, shown.path) == ("4 tasks are unsure.", "/?show=needs")
    await place.settle(tasks[0])
    assert [it.title for it in await place.items()] == ["outpaint is unsure."] * 3


async def test_an_unsure_task_that_was_given_up_long_ago(place: Place) -> None:
    await put(place.web.parts.store, a_task(TaskState.LOST, task_id=None, unsure=True))
    assert (await place.only()).title == "outpaint is unsure."
    place.clock.forward(8 * DAY)
    assert await place.items() == []


async def test_a_task_that_the_provider_does_not_take(place: Place) -> None:
    task = a_task(
        TaskState.QUEUED, due_at=None, held_by=HoldReason.PERSON, why="500, five times", prompt="a kite\x07 \n"
    )
    await put(place.web.parts.store, task)
    shown = await place.only()
    assert (shown.title, shown.words) == ("a kite waits for you.", "Open a kite")
    assert shown.text == (
        "The provider did not take it, again and again. 500, five times. Submit it again, or cancel it."
    )
    await place.settle(task)
    assert await place.items() == []


async def test_a_picture_that_is_to_be_picked(place: Place) -> None:
    parent = a_task(TaskState.COMPLETED, label="hero")
    waits = [
        a_task(TaskState.QUEUED, due_at=None, task_id=None, held_by=HoldReason.PICK, parent=parent.ref, root=parent.ref)
        for _ in range(2)
    ]
    await put(place.web.parts.store, parent, *waits)
    shown = await place.only()
    assert (shown.title, shown.path, shown.words) == ("hero waits for your pick.", f"/tasks/{parent.ref}", "Pick one")
    for it in waits:
        await place.settle(it)
    assert await place.items() == []


async def test_a_callback_that_nobody_could_read(place: Place) -> None:
    ref = await minted(place.web.client, task_id="prov-1", model=MODEL)
    answer = await place.web.client.post(callback_path(place.web.parts, ref), content=b"<p>done")
    assert answer.json()["verdict"] == "unparsed"
    shown = await place.only()
    assert (shown.title, shown.path) == ("1 callback could not be read.", "/callbacks?verdict=unparsed")
    assert (await place.web.client.post(callback_path(place.web.parts, ref), json=DONE)).json()["verdict"] == "accepted"
    assert await place.items() == []


async def test_callbacks_that_no_longer_arrive(place: Place) -> None:
    store = place.web.parts.store
    tasks = [a_task(task_id=f"t-{number}") for number in range(4)]
    await put(store, *tasks)
    ends = [replace(it, state=TaskState.COMPLETED, settled_at=NOW, settled_by=OutcomeSource.POLL) for it in tasks[:3]]
    async with store.write() as tx:
        await tx.tasks.update(list(zip(tasks, ends, strict=False)))
        await tx.notices.raise_attention("callbacks-stopped", "Callbacks no longer arrive.", NOW, HOUR)
    shown = await place.only()
    assert shown.title == "Callbacks no longer arrive."
    assert shown.text.startswith("The sweep found 100 % of today’s tasks. Run receiver doctor")
    by_callback = replace(ends[0], settled_at=NOW + 1, settled_by=OutcomeSource.CALLBACK)
    async with store.write() as tx:
        await tx.tasks.update([(tasks[3], replace(by_callback, ref=tasks[3].ref, task_id="t-3"))])
    assert await place.items() == []


@pytest.mark.parametrize(
    ("free", "title"),
    [(0, "The disk is full."), (1 << 30, "The disk is nearly full."), (90 << 30, None)],
)
async def test_a_disk_that_fills_up(
    place: Place, monkeypatch: pytest.MonkeyPatch, free: int, title: str | None
) -> None:
    def look(folder: Path) -> list[Finding]:
        assert folder == place.web.parts.files.root
        return [judge_disk(DiskSpace(free=free, total=100 << 30, files=None, read_only=False), Path("/disk"))]

    monkeypatch.setattr(needs, "check_disk", look)  # a test cannot fill the disk
    found = await place.items()
    assert [it.title for it in found] == ([title] if title else [])
    assert all(it.text.endswith("Free some space, or give the service a larger disk.") for it in found)


async def test_a_key_that_was_removed_while_tasks_wait_on_it(place: Place) -> None:
    parts = place.web.parts
    tasks = [a_task(key_id="lost0001", task_id="a"), a_task(key_id=parts.ring.ids[0], task_id="b")]
    await put(parts.store, *tasks)
    shown = await place.only()
    assert shown.title == "A secret key was removed, and 1 task waits on it."
    assert "Add the key lost0001 to SECRET_KEYS again, after the first one." in shown.text
    await place.settle(tasks[0])
    assert await place.items() == []


async def test_an_open_task_that_a_ping_called_for(place: Place) -> None:
    store = place.web.parts.store
    task = a_task(label="hero")
    await put(store, task)
    async with store.write() as tx:
        for cause in (f"unknown-status:{task.ref}", f"unparsed:{task.ref}", "clock"):
            await tx.notices.raise_attention(cause, "Look: `receiver tasks show`\u202e.", NOW, HOUR)
    shown = await place.only()
    assert shown.title == "hero needs you: the provider uses an unknown status."
    assert (shown.text, shown.path) == ("Look: receiver tasks show.", f"/tasks/{task.ref}")
    await place.settle(await got(store, task.ref))
    assert await place.items() == []


async def test_the_numbers_at_the_top_are_looked_up_every_few_seconds(place: Place) -> None:
    async def numbers() -> list[str]:
        return re.findall(r'class="badge">(\d+)<span', (await place.page.get("/logout")).text)

    assert await numbers() == []
    await owe(place.web.parts.store, a_notice(state=NoticeState.DEAD, error="x"))
    assert await numbers() == [], "good for some seconds"
    place.clock.forward(needs.KEPT_MS)
    assert await numbers() == ["1", "1"]
    assert await attention(place.web.parts.store) == [], "nobody is told by a look"
