"""Chains over the API: made in one call, seen as a tree with what they cost, withdrawn."""

from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from kit.fakes import a_task, put
from kit.web import TARGETS, Served, command, near, problem, served
from receiver.core.types import TaskError, TaskState
from receiver.tokens import new_ref
from receiver.web.api.openapi import BASE

pytestmark = pytest.mark.anyio

PRICES = TARGETS + '[prices]\nmidjourney_diffusion = "$0.05"\nmidjourney_outpaint = "$0.04"\n'
MAKE = {"model": "midjourney_diffusion", "params": {"text": "a lighthouse --v 7"}, "name": "make"}
WIDE = {"model": "midjourney_outpaint", "params": {"scale": 1.5}, "name": "wide"}
BIG = {"model": "midjourney_upscale", "params": {"type": "standard"}, "name": "big"}


async def handed_in(web: Served, *tasks: Any, **more: Any) -> list[dict[str, Any]]:
    """The results of a call that makes a chain of these tasks."""
    answer = await web.client.post(f"{BASE}/tasks/batch", json={"tasks": tasks, **more})
    assert answer.status_code == 200, answer.text
    items: list[dict[str, Any]] = answer.json()
    return items


async def a_chain(web: Served) -> list[dict[str, Any]]:
    """The views of one that makes four, widens two of them, and enlarges one of each of these."""
    wide = {**WIDE, "wait_for": {"name": "make", "image_no": [1, 3]}, "label": "hero"}
    items = await handed_in(web, MAKE, wide, {**BIG, "wait_for": {"name": "wide", "image_no": "pick"}})
    assert [it["status"] for it in items] == [202] * 3, items
    return [it["task"] for it in items]


async def test_a_chain_is_answered_with_its_place_its_siblings_and_what_it_may_cost(tmp_path: Path) -> None:
    async with near(tmp_path, targets=PRICES, public_url="https://receiver.example") as web:
        make, wide, big = await a_chain(web)
        place = {"parent": None, "step": "make", "image_no": None, "children": 2, "picks": 0, "picked_by": None}
        assert make["chain"] == {"root": make["ref"], **place, "estimate": "0.13"}
        assert wide["chain"]["parent"] == make["ref"]
        assert wide["chain"]["image_no"] == 1
        assert wide["chain"]["picks"] == 1
        assert (wide["state"], wide["held_by"], wide["waits_for"]) == ("queued", "parent", "parent")
        [sibling] = wide["siblings"]
        assert len(big["siblings"]) == 1
        assert "midjourney_upscale" not in str(make["warnings"])
        shown = (await web.client.get(f"{BASE}/tasks/{sibling}")).json()
        assert (shown["label"], shown["chain"]["image_no"]) == ("hero #3", 3)
        assert (shown["chain"]["estimate"], shown["siblings"], shown["warnings"]) == (None, [], [])


async def test_a_single_task_goes_on_from_another(tmp_path: Path) -> None:
    async with near(tmp_path, public_url="https://receiver.example") as web:
        [made] = await handed_in(web, MAKE)
        asked = {**WIDE, "wait_for": {"ref": made["task"]["ref"], "image_no": "all"}}
        answer = await web.client.post(f"{BASE}/tasks", json=asked, headers={"Idempotency-Key": "k"})
        assert answer.status_code == 202
        assert len(answer.json()["siblings"]) == 3
        again = await web.client.post(f"{BASE}/tasks", json=asked, headers={"Idempotency-Key": "k"})
        assert again.headers["idempotent-replayed"] == "true"
        assert again.json()["siblings"] == answer.json()["siblings"]
        parent = (await web.client.get(f"{BASE}/tasks/{made['task']['ref']}")).json()
        assert parent["chain"]["children"] == 4


async def test_what_is_probably_wrong_is_said_with_the_task_and_by_a_dry_run(tmp_path: Path) -> None:
    async with near(tmp_path, public_url="https://receiver.example") as web:
        dear = {"model": "midjourney_diffusion", "params": {"text": "x --turbo"}}
        [dry] = await handed_in(web, dear, dry_run=True)
        [item] = await handed_in(web, dear)
        assert dry == {"status": 202, "warnings": item["task"]["warnings"]}
        assert "--turbo" in item["task"]["warnings"][0]


async def test_the_tree_has_every_step_with_its_state_and_its_price(tmp_path: Path) -> None:
    async with near(tmp_path, targets=PRICES, public_url="https://receiver.example") as web:
        make, wide, big = await a_chain(web)
        for ref in (make["ref"], wide["ref"], big["siblings"][0]):
            tree = (await web.client.get(f"{BASE}/tasks/{ref}/chain")).json()
            assert (tree["root"], tree["tasks"], tree["estimate"], tree["unknown"]) == (make["ref"], 5, "0.13", 2)
            assert tree["cost"] is None
        [step] = tree["steps"]
        assert (step["step"], step["state"], step["estimate"]) == ("make", "queued", "0.05")
        assert [(it["image_no"], it["label"], it["held_by"]) for it in step["children"]] == [
            (1, "hero #1", "parent"),
            (3, "hero #3", "parent"),
        ]
        [leaf] = step["children"][1]["children"]
        assert (leaf["model"], leaf["estimate"], leaf["image_no"]) == ("midjourney_upscale", None, None)
        assert leaf["children"] == []


async def test_what_is_shown_is_as_the_document_says(tmp_path: Path) -> None:
    async with near(tmp_path, targets=PRICES, public_url="https://receiver.example") as web:
        document = (await web.client.get(f"{BASE}/openapi.json")).json()
        views = await a_chain(web)
        tree = (await web.client.get(f"{BASE}/tasks/{views[0]['ref']}/chain")).json()
        [dry] = await handed_in(web, {**MAKE, "params": {"text": "x --turbo"}}, dry_run=True)
        for name, shown in (("TaskView", views), ("ChainView", [tree]), ("BatchItem", [dry])):
            schema = {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
            for view in shown:
                jsonschema_rs.validator_for(schema, validate_formats=True).validate(view)


async def test_a_task_without_a_chain_is_a_tree_of_one(tmp_path: Path) -> None:
    async with near(tmp_path) as web:
        task = a_task(TaskState.FAILED, error=TaskError(None, "no"))
        await put(web.parts.store, task)
        tree = (await web.client.get(f"{BASE}/tasks/{task.ref}/chain")).json()
        assert (tree["root"], tree["tasks"], tree["estimate"], tree["unknown"]) == (task.ref, 1, None, 0)
        assert [it["ref"] for it in tree["steps"]] == [task.ref]
        assert problem(await web.client.get(f"{BASE}/tasks/{new_ref(0)}/chain")) == (404, "not_found", None)


async def test_only_what_waits_for_a_task_can_be_withdrawn(tmp_path: Path) -> None:
    async with near(tmp_path, public_url="https://receiver.example") as web:
        make, wide, _ = await a_chain(web)
        answer = await web.client.post(f"{BASE}/tasks/{make['ref']}/cancel?children=true")
        assert answer.status_code == 200
        assert (answer.json()["state"], answer.json()["chain"]["children"]) == ("queued", 0)
        for ref in (wide["ref"], *wide["siblings"]):
            shown = (await web.client.get(f"{BASE}/tasks/{ref}")).json()
            assert (shown["state"], shown["settled_by"]) == ("cancelled", "person")
        assert await web.parts.store.chains.next_followups(10) == sorted([wide["ref"], *wide["siblings"]])
        again = await web.client.post(f"{BASE}/tasks/{make['ref']}/cancel?children=true")
        assert problem(again) == (409, "nothing_waits", None)


async def test_what_waits_for_a_running_task_can_be_withdrawn(tmp_path: Path) -> None:
    async with near(tmp_path, public_url="https://receiver.example") as web:
        running = a_task(TaskState.WAITING)
        await put(web.parts.store, running)
        [item] = await handed_in(web, {**WIDE, "wait_for": {"ref": running.ref, "image_no": 0}})
        answer = await web.client.post(f"{BASE}/tasks/{running.ref}/cancel?children=true")
        assert (answer.status_code, answer.json()["state"]) == (200, "waiting")
        shown = (await web.client.get(f"{BASE}/tasks/{item['task']['ref']}")).json()
        assert shown["state"] == "cancelled"


async def test_the_command_withdraws_a_task_or_what_waits_for_it(tmp_path: Path) -> None:
    async with served(tmp_path, public_url="https://receiver.example") as web:
        make, wide, _ = await a_chain(web)
        done = await command(web, "tasks", "cancel", wide["ref"])
        assert done.stdout == f"{wide['ref']}  cancelled  withdrawn, with all that waits for it\n"
        done = await command(web, "tasks", "cancel", make["ref"], "--children")
        assert done.stdout == f"{make['ref']}  queued  what waited for it is withdrawn\n"
        done = await command(web, "tasks", "cancel", make["ref"])
        assert done.stdout == f"{make['ref']}  cancelled  withdrawn\n"
        running = a_task(TaskState.WAITING, children=1)
        await put(web.parts.store, running)
        done = await command(web, "tasks", "cancel", running.ref)
        assert (done.exit_code, done.stdout) == (1, "")
        assert f"`receiver tasks cancel {running.ref} --children`" in done.stderr


async def test_a_cancelled_task_leaves_word_for_what_waits_for_it(tmp_path: Path) -> None:
    async with near(tmp_path, public_url="https://receiver.example") as web:
        make, wide, _ = await a_chain(web)
        assert (await web.client.post(f"{BASE}/tasks/{wide['ref']}/cancel")).status_code == 200
        assert (await web.client.get(f"{BASE}/tasks/{make['ref']}")).json()["chain"]["children"] == 1
        assert (await web.client.post(f"{BASE}/tasks/{make['ref']}/cancel?children=false")).status_code == 200
        assert await web.parts.store.chains.next_followups(10) == sorted([make["ref"], wide["ref"]])


async def test_a_chain_with_a_fault_is_refused_whole(tmp_path: Path) -> None:
    async with near(tmp_path, public_url="https://receiver.example") as web:
        wrong = {**WIDE, "params": {"scale": 3}, "wait_for": {"name": "make", "image_no": 0}}
        make, wide = await handed_in(web, MAKE, wrong)
        assert (make["status"], make["error"]["code"]) == (422, "chain_refused")
        assert (wide["status"], wide["error"]["code"], wide["error"]["field"]) == (422, "004007005", "scale")
        assert (await web.client.get(f"{BASE}/tasks")).json()["tasks"] == []


@pytest.mark.parametrize(
    "broken",
    [
        {"wait_for": {"name": "make", "image_no": 64}},
        {"wait_for": {"name": "make", "image_no": -1}},
        {"wait_for": {"name": "make", "image_no": 1.5}},
        {"wait_for": {"name": "make", "image_no": True}},
        {"wait_for": {"name": "make", "image_no": []}},
        {"wait_for": {"name": "make", "image_no": list(range(17))}},
        {"wait_for": {"name": "make", "image_no": 0, "picture": 1}},
        {"wait_for": {"name": "make", "image_no": 0}, "colour": "red"},
        {"wait_for": {"name": "make", "image_no": 0}, "model": None},
        {"wait_for": {"name": "make", "image_no": 0}, "line": 1},
    ],
)
async def test_a_chain_is_refused_whole_also_if_one_of_it_cannot_be_read(
    tmp_path: Path, broken: dict[str, Any]
) -> None:
    async with near(tmp_path, public_url="https://receiver.example") as web:
        big = {**BIG, "wait_for": {"name": "wide", "image_no": 0}}
        make, wide, last, alone = await handed_in(web, MAKE, {**WIDE, **broken}, big, {**MAKE, "name": "other"})
        assert wide["error"]["code"] == "invalid_parameter"
        for it in (make, last):
            assert it["error"]["code"] == "chain_refused"
            assert it["error"]["message"].startswith("item 2 (wide) of the same chain was refused: ")
        assert alone["status"] == 202
        assert len((await web.client.get(f"{BASE}/tasks")).json()["tasks"]) == 1


async def test_what_goes_on_from_one_that_cannot_be_read_is_refused_with_it(tmp_path: Path) -> None:
    async with near(tmp_path, public_url="https://receiver.example") as web:
        wide = {**WIDE, "wait_for": {"name": "make", "image_no": 0}}
        make, child = await handed_in(web, {**MAKE, "colour": "red"}, wide)
        assert (make["error"]["code"], child["error"]["code"]) == ("invalid_parameter", "chain_refused")
        for odd in (
            7,
            "make",
            [MAKE],
            {"name": 7, "wait_for": 7},
            {"name": "make\n"},
            {"name": "make", "wait_for": {}},
        ):
            answers = await handed_in(web, odd, wide)
            assert answers[0]["status"] in (400, 422), answers
            assert answers[1]["status"] in (404, 422)


@pytest.mark.parametrize("without", ["row_key", "line"])
async def test_rows_that_hang_together_are_refused_whole_if_one_has_no_key(tmp_path: Path, without: str) -> None:
    async with near(tmp_path, public_url="https://receiver.example") as web:
        assert (await web.client.post(f"{BASE}/batches", json={"name": "b"})).is_success
        rows = [
            {**MAKE, "line": 1, "row_key": "1"},
            {**WIDE, "wait_for": {"name": "make", "image_no": 0}, "line": 2, "row_key": "2"},
        ]
        for bad in (0, 1):
            asked = [{k: v for k, v in row.items() if n != bad or k != without} for n, row in enumerate(rows)]
            answers = await handed_in(web, *asked, batch="b")
            assert answers[bad]["error"]["code"] == "invalid_parameter"
            assert answers[1 - bad]["error"]["code"] == "chain_refused"
        assert [it["status"] for it in await handed_in(web, *rows, batch="b")] == [202, 202]
        again = await handed_in(web, rows[0], {k: v for k, v in rows[1].items() if k != without}, batch="b")
        assert (again[0]["replayed"], again[1]["status"]) == (True, 422)
