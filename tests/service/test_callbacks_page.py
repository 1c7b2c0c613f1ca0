"""The pages of callbacks: the list with its filter, one callback beside it, and what a person can do about it."""

import asyncio
import hashlib
import html
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from msgspec import Struct
from msgspec.structs import replace

from kit.fakes import MINUTE, NOW, a_ref, a_task
from kit.page_states import HOSTILE
from kit.pages import logged_in, post_form
from kit.web import DONE, Served, callback_path, near
from receiver.core.types import Callback, OutcomeSource, Task, TaskState, Verdict
from receiver.tasks.ingest import HELD_MOST
from receiver.web.pages.callbacks import callbacks

pytestmark = pytest.mark.anyio

ENDED = json.dumps(DONE).encode()
FOREIGN = json.dumps({**DONE, "id": "another"}).encode()
HTML = b"<html>" + b"<p>502</p>" * 300


class Place(Struct, eq=False):
    """A service, and a client that is logged in."""

    web: Served
    client: httpx.AsyncClient

    async def add_task(self, state: TaskState = TaskState.WAITING, **more: Any) -> Task:
        """A task of the provider's id `prov-1`."""
        task = replace(a_task(state), ref=a_ref(), **{"task_id": "prov-1", "label": "kite", **more})
        async with self.web.parts.store.write() as tx:
            await tx.tasks.insert([task])
        return task

    async def add(self, task: Task, verdict: Verdict, body: bytes, **more: Any) -> int:
        """A stored callback as it is; its id."""
        more = {"headers": b'{"content-type":"application/json","user-agent":"them/1"}', "received_at": NOW, **more}
        made = Callback(ref=task.ref, body=body, digest=hashlib.sha256(body).digest(), verdict=verdict, **more)
        async with self.web.parts.store.write() as tx:
            await tx.callbacks.insert([(made, True)])
        return (await self.web.parts.store.callbacks.page(limit=1))[0].id

    async def send(self, task: Task, body: bytes) -> int:
        """A callback as the provider sends it; its id."""
        answer = await self.web.client.post(callback_path(self.web.parts, task.ref), content=body)
        assert answer.status_code == 200
        return (await self.web.parts.store.callbacks.page(limit=1))[0].id

    async def text(self, path: str, status: int = 200) -> str:
        """What a page says, without its markup."""
        answer = await self.client.get(path)
        assert answer.status_code == status, answer.text
        main = answer.text[answer.text.index("<main") : answer.text.index("</main>")]
        return " ".join(html.unescape(re.sub(r"<[^>]*>", "", main)).split())

    async def press(self, path: str, page: str, **fields: str) -> str:
        """Press a button on a page; where it leads."""
        answer = await post_form(self.client, path, page=page, **fields)
        assert answer.status_code == 303, answer.text
        return answer.headers["location"].partition("#")[0]


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    async with near(tmp_path) as web, logged_in(web) as client:
        yield Place(web, client)


async def test_nothing_came_yet(place: Place) -> None:
    assert "No callback has come yet. receiver doctor says whether the provider can reach us." in await place.text(
        "/callbacks"
    )


async def test_rows_say_what_the_callbacks_say_and_open_none(place: Place) -> None:
    task = await place.add_task()
    await place.send(task, b'{"id":"prov-1","object":"task","model":"m","status":"processing","progress":35}')
    await place.send(task, HTML)
    await place.send(task, ENDED)

    text = await place.text("/callbacks")
    assert re.search(r"accepted ?kite ?\S+ ?completed, 1 picture · \d+ bytes", text), text
    assert re.search(r"unparsed ?kite ?\S+ ?not JSON · 3.0 KB", text), text
    assert re.search(r"accepted ?kite ?\S+ ?35 % · \d+ bytes", text), text
    assert "What it says" not in text
    assert "unparsed 1" in text
    assert "kept 90 days" in text


async def test_a_callback_says_what_became_of_it_and_shows_its_bytes(place: Place) -> None:
    task = await place.add_task()
    number = await place.send(task, ENDED)

    text = await place.text(f"/callbacks/{number}")
    assert f"Callback {number} for kite" in text
    assert "It settled the task: it came on the task’s own URL and carries its id." in text
    assert "What it says, and what we knew" in text
    assert "idprov-1prov-1" in text.replace(" ", "")
    assert '"id": "prov-1", "object": "task",' in text
    assert ENDED.decode() in text
    assert f"{len(ENDED)} bytes" in text
    assert hashlib.sha256(ENDED).hexdigest()[:12] in text
    page = (await place.client.get(f"/callbacks/{number}")).text
    assert f'href="/tasks/{task.ref}"' in page
    assert 'aria-current="true"' in page


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("verdict=nonsense", "Nothing matches."),
        ("verdict=%00%FF", "Nothing matches."),
        ("ref=nonsense", "Nothing matches."),
        ("ref=%3Cscript%3E", "Nothing matches."),
        ("before=nonsense", "This page of the list is no longer there."),
        ("before=-1", "This page of the list is no longer there."),
        ("before=1", "This page of the list is no longer there."),
        ("before=99999999999999999999999", "This page of the list is no longer there."),
        ("verdict=late", "No callback is late."),
        ("verdict=hint", "No callback is a hint."),
        ("verdict=" + "x" * 5000, "Nothing matches."),
        (f"ref={a_ref()}", "No callback of this task is kept."),
        (f"ref={a_ref()}&verdict=late", "No callback of this task is late."),
    ],
    ids=lambda it: it[:20] if not it.startswith("ref=0") else "a-ref",
)
async def test_a_filter_that_nothing_matches(place: Place, query: str, says: str) -> None:
    await place.send(await place.add_task(), ENDED)
    text = await place.text(f"/callbacks?{query}")
    assert says in text
    assert "Show all" in text or "To the newest" in text


@pytest.mark.parametrize("query", ["done=%3Cscript%3E", "done=replayed-x", "done=all&n=x", "done=all&n=1&rest=x"])
async def test_what_was_done_is_never_text_from_the_address(place: Place, query: str) -> None:
    number = await place.send(await place.add_task(), ENDED)
    for path in ("/callbacks", f"/callbacks/{number}"):
        answer = await place.client.get(f"{path}?{query}")
        assert answer.status_code == 200
        assert "<script>" not in answer.text


@pytest.mark.parametrize("number", ["99", "0", "99999999999999999999999", "00", "²"])
@pytest.mark.parametrize("rest", ["", "/body"])
async def test_there_is_no_such_callback(place: Place, number: str, rest: str) -> None:
    answer = await place.client.get(f"/callbacks/{number}{rest}", headers={"Accept": "text/html"})
    assert answer.status_code == 404
    if number != "²":
        assert "There is no such callback. It may have been removed by retention." in answer.text


async def test_the_providers_own_path_is_as_before(place: Place) -> None:
    task = await place.add_task()
    tested = await place.client.get(callback_path(place.web.parts, task.ref))
    assert tested.json() == {"ref": task.ref}
    for method, path in (("GET", "nobody"), ("POST", "nobody"), ("GET", "1.2"), ("POST", f"{task.ref}.{'-' * 32}")):
        refused = await place.client.request(method, f"/callbacks/{path}")
        assert (refused.status_code, refused.json()["error"]["message"]) == (404, "unknown callback URL")
    assert (await place.client.post("/callbacks/1")).status_code == 405


@pytest.mark.parametrize("path", ["/callbacks", "/callbacks/1", "/callbacks/1/body", "/callbacks/rows"])
async def test_strangers_see_nothing(place: Place, path: str) -> None:
    await place.send(await place.add_task(), ENDED)
    async with httpx.AsyncClient(transport=place.web.client._transport, base_url="http://receiver") as stranger:
        assert (await stranger.get(path)).status_code == 303


@pytest.mark.parametrize("act", ["1/replay", "1/believe", "1/ask", "replay"])
async def test_no_act_without_the_forms_token(place: Place, act: str) -> None:
    await place.add(await place.add_task(), Verdict.HINT, ENDED)
    refused = await place.client.post(f"/callbacks/{act}", data={"verdict": "hint"})
    assert refused.status_code == 403
    assert len(await place.web.parts.store.callbacks.page()) == 1


async def test_a_hint_is_explained_and_can_be_believed(place: Place) -> None:
    task = await place.add_task()
    number = await place.send(task, FOREIGN)
    page = f"/callbacks/{number}"

    text = await place.text(page)
    assert "It is not believed yet. It says “completed”, but carries an id that is not this task’s" in text
    assert "If nothing confirms it by" in text
    assert (
        f"Believe callback {number}? kite becomes completed with this picture, and slack and mail are told. It cannot"
        in text
    )
    assert "differs: another" in text

    led = await place.press(f"{page}/believe?verdict=hint", page)
    assert led == f"{page}?verdict=hint&done=believed-accepted"
    said = await place.text(led)
    assert "It is believed: the task goes by what it says." in said
    assert "is the replay" in said
    settled = (await place.web.parts.store.tasks.get([task.ref]))[task.ref]
    assert (settled.state, settled.settled_by) == (TaskState.COMPLETED, OutcomeSource.PERSON)
    assert "Believe it" not in said, "an end is final"
    replay = (await place.web.parts.store.callbacks.page(limit=1))[0].id
    assert f"somebody believed callback {number}, of which it is the replay." in await place.text(
        f"/callbacks/{replay}"
    )


async def test_what_cannot_be_believed_any_more(place: Place) -> None:
    task = await place.add_task(TaskState.COMPLETED, settled_by=OutcomeSource.POLL)
    number = await place.add(task, Verdict.HINT, FOREIGN)
    led = await place.press(f"/callbacks/{number}/believe", f"/callbacks/{number}")
    assert "Nothing was changed: the task has ended" in await place.text(led)


async def test_a_replay_obeys_the_same_rules(place: Place) -> None:
    task = await place.add_task()
    number = await place.add(task, Verdict.UNPARSED, ENDED)
    assert "this version can: it says completed, 1 picture." in await place.text(f"/callbacks/{number}")

    led = await place.press(f"/callbacks/{number}/replay", f"/callbacks/{number}")
    assert "Replayed: this time it was accepted." in await place.text(led)
    again = await place.press(f"/callbacks/{number}/replay", f"/callbacks/{number}")
    assert "Replayed: it says what is known already" in await place.text(again)


async def test_the_provider_is_asked(place: Place) -> None:
    task = await place.add_task(poll_at=NOW + 60 * MINUTE)
    number = await place.send(task, HTML)
    led = await place.press(f"/callbacks/{number}/ask", f"/callbacks/{number}")
    assert "The provider is asked now." in await place.text(led)
    assert (await place.web.parts.store.tasks.get([task.ref]))[task.ref].poll_at == NOW


async def test_why_the_provider_is_not_asked(place: Place) -> None:
    ended = await place.add_task(TaskState.FAILED)
    number = await place.add(ended, Verdict.UNPARSED, HTML)
    assert "Ask the provider now" not in await place.text(f"/callbacks/{number}")
    led = await place.press(f"/callbacks/{number}/ask", f"/callbacks/{number}")
    assert "The provider was not asked: the task has ended." in await place.text(led)


async def test_all_of_a_filter_are_replayed_not_only_those_of_the_page(place: Place) -> None:
    for _ in range(60):
        await place.add(await place.add_task(task_id=None), Verdict.UNPARSED, HTML)
    readable = await place.add_task()
    await place.add(readable, Verdict.UNPARSED, ENDED)
    await place.add(readable, Verdict.HINT, FOREIGN)

    page = "/callbacks?verdict=unparsed"
    text = await place.text(page)
    assert "Replay all 61 unparsed" in text
    assert "All 61 are read again, not only those on this page, by the rules of this version." in text
    led = await place.press("/callbacks/replay", page, verdict="unparsed")
    assert led.startswith("/callbacks?verdict=unparsed&done=all&n=61")
    assert "61 were replayed: 1 accepted, 60 unparsed." in await place.text(led)
    assert "Replay all 60 unparsed" in await place.text(page), (
        "what a replay has changed is left out, and so are replays"
    )


async def test_a_replay_of_all_can_be_of_one_task(place: Place) -> None:
    one, other = await place.add_task(task_id=None), await place.add_task()
    await place.add(one, Verdict.UNPARSED, HTML)
    await place.add(other, Verdict.UNPARSED, ENDED)
    page = f"/callbacks?verdict=unparsed&ref={other.ref}"
    assert "Replay the one unparsed" in await place.text(page)
    led = await place.press("/callbacks/replay", page, verdict="unparsed", ref=other.ref)
    assert "One was replayed: 1 accepted." in await place.text(led)


async def test_what_one_act_leaves_goes_on(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(callbacks, "REPLAY_MOST", 5)
    for _ in range(7):
        await place.add(await place.add_task(task_id=None), Verdict.UNPARSED, HTML)
    page = "/callbacks?verdict=unparsed"
    assert "There are more than 5; the newest 5 are read again first." in await place.text(page)
    led = await place.press("/callbacks/replay", page, verdict="unparsed")
    assert "5 were replayed: 5 unparsed. Older ones are left. Replay the older ones" in await place.text(led)
    rest = re.search(r'name="before" value="(\d+)"', (await place.client.get(led)).text)
    assert rest is not None
    led = await place.press("/callbacks/replay", page, verdict="unparsed", before=rest[1])
    assert "2 were replayed: 2 unparsed." in await place.text(led)


async def test_nothing_is_replayed_while_too_many_wait(place: Place) -> None:
    number = await place.add(await place.add_task(), Verdict.UNPARSED, HTML)
    place.web.parts.ingest._held_bytes = HELD_MOST
    led = await place.press(f"/callbacks/{number}/replay", f"/callbacks/{number}")
    assert "Nothing was done: too many callbacks wait" in await place.text(led)
    led = await place.press("/callbacks/replay", f"/callbacks/{number}", verdict="unparsed")
    assert "None was replayed: too many callbacks wait to be stored." in await place.text(led)


@pytest.mark.parametrize("fields", [{"verdict": "accepted"}, {"verdict": ""}, {"verdict": "hint", "ref": "x"}])
async def test_a_changed_form_replays_nothing(place: Place, fields: dict[str, str]) -> None:
    await place.add(await place.add_task(), Verdict.HINT, FOREIGN)
    assert (await post_form(place.client, "/callbacks/replay", **fields)).status_code == 422
    assert len(await place.web.parts.store.callbacks.page()) == 1


async def test_five_hundred_callbacks_of_one_task_are_pages(place: Place) -> None:
    task = await place.add_task()
    for number in range(120):
        await place.add(task, Verdict.HINT, b'{"n":%d}' % number)
    async with place.web.parts.store.write() as tx:
        extra = Callback(ref=task.ref, received_at=NOW, body=b"", digest=b"x")
        await tx.callbacks.count_only([extra] * 380)

    seen, path = list[str](), f"/callbacks?ref={task.ref}"
    assert "Only those of kite; 380 more were only counted" in await place.text(path)
    while path:
        page = (await place.client.get(path)).text
        seen += re.findall(r'data-ref="(\d+)"', page)
        older = re.search(r'href="([^"]*)">Older', page)
        path = html.unescape(older[1]) if older else ""
    assert seen == [str(it) for it in range(120, 0, -1)]
    assert "380 more of this task were only counted" in await place.text(f"/callbacks/{seen[0]}")


BODIES = {
    "null": (b"a\0b" * 100, "00000000 61 00 62"),
    "not-utf8": (b"\xff\xfe" * 50, "00000000 ff fe"),
    "large": (b"[" + b"1," * 500_000 + b"1]", "The rest: download"),
    "deep": (b"[" * 500_000, "The rest: download"),
    "html": (HOSTILE.encode(), "<script>alert(1)</script>"),
    "override": ("\u202eevil".encode(), "\\u202eevil"),
    "empty": (b"", "The body is empty."),
}


@pytest.mark.parametrize(("body", "says"), BODIES.values(), ids=BODIES.keys())
async def test_odd_bodies_are_shown_and_downloaded(place: Place, body: bytes, says: str) -> None:
    task = await place.add_task(label=HOSTILE)
    number = await place.add(task, Verdict.UNPARSED, body, headers=json.dumps({"x-odd": HOSTILE}).encode())

    for path in ("/callbacks", f"/callbacks/{number}"):
        page = await place.client.get(path)
        assert page.status_code == 200
        assert len(page.content) < 250_000
        assert not re.search(r"<script>|<img|\x07|\u202e", page.text.partition("<main")[2])
    assert says in await place.text(f"/callbacks/{number}")
    got = await place.client.get(f"/callbacks/{number}/body")
    assert got.content == body
    assert got.headers["content-type"] == "application/octet-stream"
    assert got.headers["content-disposition"].startswith(f'attachment; filename="callback-{number}.')
    assert got.headers["content-security-policy"].startswith("sandbox")
    assert got.headers["x-content-type-options"] == "nosniff"


async def test_the_providers_key_is_shown_nowhere(place: Place) -> None:
    body = b'{"id":"x","error":"a-provider-key"}'
    number = await place.add(await place.add_task(), Verdict.UNPARSED, body, headers=b'{"x-echo":"a-provider-key"}')
    for path in ("/callbacks", f"/callbacks/{number}", f"/callbacks/{number}/body"):
        assert b"a-provider-key" not in (await place.client.get(path)).content


async def test_the_task_or_the_bytes_are_gone(place: Place) -> None:
    task = replace(a_task(), ref=a_ref())
    number = await place.add(task, Verdict.ACCEPTED, ENDED)
    text = await place.text(f"/callbacks/{number}")
    assert "Its task was removed by retention." in text
    assert task.ref in text
    other = Callback(ref=task.ref, received_at=NOW, body=b"x", digest=b"none", verdict=Verdict.HINT)
    async with place.web.parts.store.write() as tx:
        await tx.callbacks.insert([(other, False)])
    text = await place.text(f"/callbacks/{number + 1}")
    assert "The bytes were not kept." in text
    assert "Replay" not in text
    assert (await place.client.get(f"/callbacks/{number + 1}/body")).status_code == 404
    led = await place.press(f"/callbacks/{number + 1}/replay", f"/callbacks/{number}")
    assert "the bytes of this callback were not kept" in await place.text(led)


async def test_rows_for_the_script(place: Place) -> None:
    task = await place.add_task()
    ids = [await place.add(task, Verdict.HINT, b'{"n":%d}' % it) for it in range(3)]
    some = await place.client.get("/callbacks/rows", params=[("ref", str(ids[0])), ("ref", str(ids[2])), ("ref", "x")])
    assert re.findall(r'data-ref="(\d+)"', some.text) == [str(ids[2]), str(ids[0])]
    older = await place.client.get("/callbacks/rows", params={"before": str(ids[1])})
    assert re.findall(r'data-ref="(\d+)"', older.text) == [str(ids[0])]
    for query in ("before=x", "verdict=x", "ref=x"):
        assert (await place.client.get(f"/callbacks/rows?{query}")).text.strip() == ""


async def test_many_at_once_do_not_hinder_each_other(place: Place) -> None:
    number = await place.add(await place.add_task(), Verdict.UNPARSED, BODIES["large"][0])
    pages = await asyncio.gather(*(place.client.get(f"/callbacks/{number}") for _ in range(8)))
    assert {it.status_code for it in pages} == {200}
