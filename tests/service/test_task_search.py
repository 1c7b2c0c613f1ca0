"""The API finds a task by a label, by a beginning or end of its ref, and by a pattern; it submits one again, and
discards a URL."""

from pathlib import Path

import httpx
import pytest
from msgspec.structs import replace

from kit.fakes import NOW, a_task
from kit.web import DONE, OUTPAINT, Served, callback_path, minted, near, problem
from receiver.client.views import rfc3339
from receiver.core.types import TaskState
from receiver.tokens import new_ref
from receiver.web.api import task_search

pytestmark = pytest.mark.anyio
LABELS = ("hero", "hero 2", "villain", None, "hero")
PUBLIC = "https://receiver.example"


def ref(number: int) -> str:
    """All of one minute; their ends differ."""
    return new_ref(NOW + number, bytes([0, 0, 0, 0, 0, 0, 0, 0, number, 7]))


async def filled(web: Served) -> list[str]:
    made = [
        replace(
            a_task(task_id=None),
            ref=ref(number),
            label=label,
            state=TaskState.COMPLETED if number else TaskState.WAITING,
            poll_at=None,
        )
        for number, label in enumerate(LABELS)
    ]
    async with web.parts.store.write() as tx:
        await tx.tasks.insert(made)
    return [it.ref for it in made]


async def found(web: Served, **query: str | int) -> tuple[list[int], str | None]:
    """The numbers of the tasks on a page, and its `next`."""
    answer = await web.client.get("/api/v1/tasks", params=query)
    assert answer.status_code == 200, answer.text
    page = answer.json()
    return [int(it["ref"][-4:-2], 16) for it in page["tasks"]], page["next"]


async def test_a_handle_is_a_label_or_either_end_of_a_ref(tmp_path: Path) -> None:
    async with near(tmp_path) as web:
        refs = await filled(web)
        for handle, numbers in [
            ("villain", [2]),
            ("hero", [4, 0]),
            (refs[2], [2]),
            (refs[2][-6:], [2]),
            (f"…{refs[2][-8:]}", [2]),
            (refs[2][-5:], []),  # too short to mean anything
            (refs[3][:20], [3]),
            (refs[0][:10], [4, 3, 2, 1, 0]),
            (refs[0][9:18], []),  # neither end
            ("her", []),
            ("hero*", []),
        ]:
            assert (await found(web, handle=handle))[0] == numbers, handle
        assert await found(web, handle="hero", state="completed") == ([4], None)
        assert await found(web, handle="hero", label="villain") == ([], None)
        assert await found(web, handle=refs[0][:10], cursor=refs[2], limit=1) == ([1], refs[1])


async def test_a_label_is_that_of_a_chains_first_task_or_with_a_step_that_of_this(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with near(tmp_path) as web:
        refs = await filled(web)
        async with web.parts.store.write() as tx:
            there = await tx.tasks.get(refs)
            steps = {1: ("grid", 0), 0: ("big", 1), 4: ("wide", 1)}
            await tx.tasks.update(
                [
                    (there[refs[at]], replace(there[refs[at]], label="hero", root=refs[1], step=step, depth=depth))
                    for at, (step, depth) in steps.items()
                ]
            )
        for handle, numbers in [("hero/big", [0]), ("hero/wide", [4]), ("hero/none", []), ("villain/big", [])]:
            assert (await found(web, handle=handle))[0] == numbers, handle
        assert await found(web, handle="hero") == ([4, 1, 0], None)
        assert await found(web, handle="hero", chains="first") == ([1], None)
        assert await found(web, handle="hero", chains="first", cursor=refs[1]) == ([], None)
        assert await found(web, handle="hero", chains="first", state="waiting") == ([0], None)
        assert await found(web, handle=refs[0][:10], chains="first") == ([4, 3, 2, 1, 0], None)
        async with web.parts.store.write() as tx:
            await tx.tasks.update([(there[refs[2]], replace(there[refs[2]], label="hero"))])
        assert await found(web, handle="hero", chains="first") == ([2, 1], None)
        assert await found(web, handle="hero", chains="first", limit=1) == ([2], refs[2])
        monkeypatch.setattr(task_search, "LOOKED_MOST", 2)
        assert await found(web, handle="hero/big") == ([], None), "its label is that of newer tasks"
        assert problem(await web.client.get("/api/v1/tasks", params={"chains": "last"}))[0] == 422


async def test_the_tasks_of_a_batch_are_listed_alone(tmp_path: Path) -> None:
    async with near(tmp_path) as web:
        refs = await filled(web)
        made = await web.client.post("/api/v1/batches", json={"name": "rows 1"})
        assert made.status_code == 200
        [lane] = await web.parts.store.lanes.page(None, 1)
        async with web.parts.store.write() as tx:
            there = await tx.tasks.get([refs[0], refs[2], refs[4]])
            await tx.tasks.update([(it, replace(it, lane=lane.id)) for it in there.values()])
        assert await found(web, batch="rows 1") == ([4, 2, 0], None)
        assert await found(web, batch="rows 1", limit=2) == ([4, 2], refs[2])
        assert await found(web, batch="rows 1", limit=2, cursor=refs[2]) == ([0], None)
        assert await found(web, batch="rows 1", state="completed", label="hero") == ([4], None)
        assert await found(web, batch="rows 1", label="hero*") == ([4, 0], None)
        assert await found(web, batch="rows 1", handle="hero") == ([4, 0], None)
        for name in ("unknown", "normal"):
            answer = await web.client.get("/api/v1/tasks", params={"batch": name})
            assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")


async def test_an_end_is_looked_for_among_the_newest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task_search, "LOOKED_MOST", 2)
    async with near(tmp_path) as web:
        refs = await filled(web)
        assert await found(web, handle=refs[3][-8:]) == ([3], None)
        assert await found(web, handle=refs[2][-8:]) == ([], None)
        assert await found(web, handle=refs[2][:20]) == ([2], None)


async def test_a_label_may_be_a_pattern(tmp_path: Path) -> None:
    async with near(tmp_path) as web:
        refs = await filled(web)
        assert await found(web, label="hero*") == ([4, 1, 0], None)
        assert await found(web, label="*o*", state="waiting") == ([0], None)
        assert await found(web, label="hero*", model="another") == ([], None)
        assert await found(web, label="hero*", limit=2) == ([4, 1], refs[1])
        assert await found(web, label="hero*", cursor=refs[1]) == ([0], None)


async def test_a_search_that_looked_at_enough_says_where_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(task_search, "LOOKED_MOST", 2)
    async with near(tmp_path) as web:
        refs = await filled(web)
        assert await found(web, label="vill*") == ([], refs[3])
        assert await found(web, label="vill*", cursor=refs[3]) == ([2], refs[1])
        assert await found(web, label="vill*", cursor=refs[1]) == ([], None)


async def submitted(web: Served, **more: object) -> str:
    answer = await web.client.post("/api/v1/tasks", json={**OUTPAINT, **more})
    assert answer.status_code == 202, answer.text
    return str(answer.json()["ref"])


async def again(web: Served, which: str, key: str | None = None, **body: object) -> httpx.Response:
    headers = {"Idempotency-Key": key} if key else {}
    return await web.client.post(f"/api/v1/tasks/{which}/again", json=body, headers=headers)


async def test_a_task_is_submitted_again_once_for_each_key(tmp_path: Path) -> None:
    async with near(tmp_path, public_url=PUBLIC) as web:
        first = await submitted(web, label="hero", targets=["slack"])
        one = await again(web, first, "a-key", prompt="the sea")
        assert one.status_code == 202, one.text
        assert one.json()["ref"] != first
        assert one.json()["params"] == {**OUTPAINT["params"], "remixPrompt": "the sea"}
        assert one.json()["label"] == "hero"
        repeated = await again(web, first, "a-key", prompt="the sea")
        assert repeated.json()["ref"] == one.json()["ref"]
        assert repeated.headers["idempotent-replayed"] == "true"
        assert problem(await again(web, first, "a-key"))[:2] == (409, "idempotency_key_reused")
        assert problem(await again(web, first, prompt="a {red,green} door"))[:2] == (422, "invalid_parameter")
        assert problem(await again(web, first, params={"scale": 9}))[2] == "scale"
        assert problem(await again(web, ref(1)))[:2] == (404, "not_found")


async def discard(web: Served, which: str) -> httpx.Response:
    return await web.client.post(f"/api/v1/callback-urls/{which}/discard")


async def test_a_url_that_nobody_used_is_discarded_and_never_lost(tmp_path: Path) -> None:
    async with near(tmp_path, public_url=PUBLIC) as web:
        url = await minted(web.client)
        for _ in range(2):  # also if the answer got lost
            answer = await discard(web, url)
            assert (answer.status_code, answer.json()["state"], answer.json()["settled_by"]) == (
                200,
                "cancelled",
                "person",
            )
        assert await web.parts.store.tasks.next_poll(0) is None, "it has no deadline any more"
        ended = await web.client.post(callback_path(web.parts, url), json=DONE)
        assert ended.json()["verdict"] == "conflict", "a person is told: the provider took something after all"


async def test_a_url_that_may_be_in_use_is_not_discarded(tmp_path: Path) -> None:
    async with near(tmp_path, public_url=PUBLIC) as web:
        known = await minted(web.client, task_id="prov-7")
        assert problem(await discard(web, known))[:2] == (409, "in_use")
        called = await minted(web.client)
        await web.client.post(callback_path(web.parts, called), json={**DONE, "status": "processing", "output": None})
        assert problem(await discard(web, called))[:2] == (409, "in_use")
        assert problem(await discard(web, await submitted(web)))[:2] == (409, "not_minted")
        assert problem(await discard(web, ref(1)))[:2] == (404, "not_found")


async def test_a_queued_task_says_what_it_waits_for(tmp_path: Path) -> None:
    """The provider of these parts is a port at which nobody listens."""
    async with near(tmp_path, public_url=PUBLIC) as web:
        first = await submitted(web)
        shown = (await web.client.get(f"/api/v1/tasks/{first}")).json()
        assert (shown["waits_for"], shown["waits_since"], shown["waits_until"]) == ("turn", None, None)
        claimed = await web.parts.submit.claim()
        assert claimed is not None
        await web.parts.submit.carry_out(claimed)
        second = await submitted(web)
        listed = (await web.client.get("/api/v1/tasks")).json()["tasks"]
        assert {it["ref"] for it in listed} == {second, first}
        for it in listed:
            assert it["waits_for"] == "down"
            assert it["waits_since"] == rfc3339(NOW)
            assert it["waits_until"] > it["waits_since"]
        ended = (await web.client.post(f"/api/v1/tasks/{first}/cancel")).json()
        assert (ended["state"], ended["waits_for"]) == ("cancelled", None)
