"""The API's calls about callbacks, notices and the stream; its door; and its document."""

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from kit.fakes import a_notice, a_ref, a_task, notices, owe, put
from kit.web import (
    DONE,
    OTHER_TOKEN,
    OUTPAINT,
    TOKEN,
    Served,
    callback_path,
    minted,
    near,
    opened,
    problem,
    schema_names,
    served,
    wired,
)
from receiver.client.schemas import TaskView
from receiver.core.types import NoticeState, Verdict
from receiver.web.api import stream
from receiver.web.api.handlers import OPERATIONS
from receiver.web.api.openapi import BASE
from receiver.web.app import create_app

pytestmark = pytest.mark.anyio

API = "/api/v1"


async def called(web: Served, *bodies: bytes) -> str:
    """The ref of a fresh task whose callback URL got these bodies."""
    ref = a_ref()
    for body in bodies:
        assert (await web.client.post(callback_path(web.parts, ref), content=body)).status_code == 200
    return ref


# -- callback URLs and callbacks --


async def test_a_minted_url_is_201_and_takes_a_callback(tmp_path: Path) -> None:
    async with near(tmp_path, public_url="https://me.example") as web:
        asked = {"label": "hero", "model": "midjourney_outpaint", "task_id": "prov-1"}
        answer = await web.client.post(f"{API}/callback-urls", json=asked)
        made = answer.json()
        assert answer.status_code == 201
        assert made["callback_url"].startswith("https://me.example/callbacks/")
        path = made["callback_url"].removeprefix("https://me.example")
        assert (await web.client.post(path, json=DONE)).json() == {"ref": made["ref"], "verdict": "accepted"}


async def test_a_url_may_be_minted_for_nothing_in_particular(tmp_path: Path) -> None:
    async with near(tmp_path) as web:
        assert (await web.client.post(f"{API}/callback-urls")).status_code == 201


async def test_a_url_for_anothers_id_is_409_and_for_a_bad_label_422(tmp_path: Path) -> None:
    async with near(tmp_path) as web:
        await minted(web.client, task_id="prov-1")
        again = await web.client.post(f"{API}/callback-urls", json={"task_id": "prov-1"})
        assert problem(again) == (409, "task_id_taken", "task_id")
        assert problem(await web.client.post(f"{API}/callback-urls", json={"label": ""}))[::2] == (422, "label")


async def test_callbacks_are_listed_without_bytes_and_shown_with_them(tmp_path: Path) -> None:
    async with near(tmp_path) as web:
        await called(web, b"a")
        ref = await called(web, b"nonsense", b"\xff\xfe")
        page = (await web.client.get(f"{API}/callbacks", params={"ref": ref, "verdict": "unparsed"})).json()
        newest, oldest = page["callbacks"]
        assert (newest["size"], newest["body"], newest["body_base64"], page["next"]) == (2, None, None, None)
        shown = [(await web.client.get(f"{API}/callbacks/{it['id']}")).json() for it in (oldest, newest)]
        assert [(it["body"], it["body_base64"]) for it in shown] == [("nonsense", None), (None, "//4=")]
        assert shown[0]["headers"].keys() >= {"user-agent"}


async def test_callbacks_come_newest_first_page_by_page(tmp_path: Path) -> None:
    async with near(tmp_path) as web:
        await called(web, *(b"%d" % number for number in range(5)))
        ids, cursor = [], ""
        while cursor is not None:
            page = (await web.client.get(f"{API}/callbacks?limit=2{cursor and f'&cursor={cursor}'}")).json()
            ids += [it["id"] for it in page["callbacks"]]
            cursor = page["next"]
        assert ids == sorted(ids, reverse=True)
        assert len(ids) == 5


@pytest.mark.parametrize("number", ["7", "0", "-1", "x", "1" * 30, str(2**63), "%00", "%C2%B2"])
async def test_an_unknown_callback_is_404(tmp_path: Path, number: str) -> None:
    async with near(tmp_path) as web:
        assert problem(await web.client.get(f"{API}/callbacks/{number}")) == (404, "not_found", None)
        assert problem(await web.client.post(f"{API}/callbacks/{number}/replay")) == (404, "not_found", None)


async def test_a_replay_obeys_the_rules_and_accept_believes(tmp_path: Path) -> None:
    async with near(tmp_path) as web:
        ref = await minted(web.client, task_id="another")
        assert (await web.client.post(callback_path(web.parts, ref), json=DONE)).json()["verdict"] == "hint"
        [kept] = await web.parts.store.callbacks.page(ref=ref)
        replay = f"{API}/callbacks/{kept.id}/replay"
        assert (await web.client.post(replay)).json() == {"verdict": "hint"}
        assert (await web.client.post(replay, json={"accept": True})).json() == {"verdict": "accepted"}
        assert problem(await web.client.post(replay, json={"accept": "yes"})) == (422, "invalid_parameter", "accept")


async def test_nothing_is_accepted_from_a_body_that_says_nothing(tmp_path: Path) -> None:
    async with near(tmp_path) as web:
        ref = await called(web, b"nonsense")
        [kept] = await web.parts.store.callbacks.page(ref=ref, verdict=Verdict.UNPARSED)
        answer = await web.client.post(f"{API}/callbacks/{kept.id}/replay", json={"accept": True})
        assert problem(answer) == (409, "unparsed", None)


# -- notices --


async def test_notices_are_filtered_and_come_newest_first_page_by_page(tmp_path: Path) -> None:
    async with near(tmp_path) as web:
        task = a_task()
        await put(web.parts.store, task)
        await owe(
            web.parts.store, *(a_notice(ref=task.ref) for _ in range(3)), a_notice("mail", ref=task.ref), a_notice()
        )
        query = {"ref": task.ref, "target": "slack", "state": "due", "limit": "2"}
        first = (await web.client.get(f"{API}/notices", params=query)).json()
        second = (await web.client.get(f"{API}/notices", params={**query, "cursor": first["next"]})).json()
        ids = [it["id"] for page in (first, second) for it in page["notices"]]
        assert (len(ids), ids, second["next"]) == (3, sorted(ids, reverse=True), None)


async def test_notices_of_a_target_that_never_was_are_refused_with_those_there_are(tmp_path: Path) -> None:
    """One that is gone may still have some, and is no mistake then, whatever else they are narrowed by."""
    async with near(tmp_path) as web:
        await owe(web.parts.store, a_notice("gone"))
        unknown = await web.client.get(f"{API}/notices", params={"target": "nope"})
        assert problem(unknown) == (422, "unknown_target", "target")
        assert unknown.json()["error"]["message"] == "unknown target 'nope'; the targets are: mail, slack"
        for query in ({"target": "gone"}, {"target": "gone", "state": "sent"}, {"target": "slack"}):
            assert (await web.client.get(f"{API}/notices", params=query)).status_code == 200


async def test_dead_notices_are_redriven_by_target_by_id_or_all(tmp_path: Path) -> None:
    async with near(tmp_path) as web:
        dead = {"state": NoticeState.DEAD, "error": "gone"}
        await owe(web.parts.store, *(a_notice(**dead) for _ in range(3)), a_notice("mail", **dead), a_notice())
        ids = [it.id for it in await notices(web.parts.store)]
        asked: list[dict[str, Any]] = [{"ids": [ids[0], 999]}, {"target": "mail", "to": "slack"}, {}, {}]
        answers = [await web.client.post(f"{API}/notices/redrive", json=it) for it in asked]
        assert [it.json() for it in answers] == [{"redriven": count} for count in (1, 1, 2, 0)]
        assert {(it.state, it.target) for it in await notices(web.parts.store)} == {(NoticeState.DUE, "slack")}


async def test_only_dead_notices_are_discarded_and_for_good(tmp_path: Path) -> None:
    """Those of a target that is gone too: nobody could send them."""
    async with near(tmp_path) as web:
        dead = {"state": NoticeState.DEAD, "error": "gone"}
        await owe(web.parts.store, *(a_notice(**dead) for _ in range(201)), a_notice("gone", **dead), a_notice())
        ids = [it.id for it in await notices(web.parts.store)]
        asked: list[dict[str, Any]] = [
            {"ids": [ids[0], ids[-1], 999]},
            {"target": "gone"},
            {"target": "slack"},
            {"ids": ids[:1]},
        ]
        answers = [await web.client.post(f"{API}/notices/discard", json=it) for it in asked]
        assert [it.json() for it in answers] == [{"discarded": count} for count in (1, 1, 200, 0)]
        assert (await web.client.post(f"{API}/notices/redrive")).json() == {"redriven": 0}
        assert problem(await web.client.post(f"{API}/notices/discard")) == (422, "invalid_parameter", "ids")


async def test_more_dead_notices_than_one_transaction_takes_are_all_redriven(tmp_path: Path) -> None:
    async with near(tmp_path) as web:
        await owe(web.parts.store, *(a_notice(state=NoticeState.DEAD) for _ in range(401)))
        assert (await web.client.post(f"{API}/notices/redrive")).json() == {"redriven": 401}


async def test_the_notices_of_a_target_that_is_gone_go_to_another(tmp_path: Path) -> None:
    async with near(tmp_path) as web:
        await owe(web.parts.store, a_notice("gone", state=NoticeState.DEAD))
        answer = await web.client.post(f"{API}/notices/redrive", json={"target": "gone", "to": "slack"})
        assert answer.json() == {"redriven": 1}


@pytest.mark.parametrize(
    ("asked", "code", "field"),
    [
        ({"target": "gone"}, "unknown_target", "target"),
        ({"target": "slack", "to": "gone"}, "unknown_target", "to"),
        ({"ids": []}, "invalid_parameter", "ids"),
        ({"ids": [2**63]}, "invalid_parameter", "ids[0]"),
        ({"ids": "1"}, "invalid_parameter", "ids"),
        ({"all": True}, "invalid_parameter", "all"),
    ],
)
async def test_a_redrive_that_makes_no_sense_is_422(tmp_path: Path, asked: Any, code: str, field: str) -> None:
    async with near(tmp_path) as web:
        assert problem(await web.client.post(f"{API}/notices/redrive", json=asked)) == (422, code, field)


# -- the stream --


async def blocks(answer: httpx.Response) -> AsyncIterator[str]:
    """The blocks of a stream of server-sent events."""
    lines: list[str] = []
    async for line in answer.aiter_lines():
        if line:
            lines.append(line)
        else:
            yield "\n".join(lines)
            lines = []


async def test_each_change_of_a_task_is_told(tmp_path: Path) -> None:
    async with served(tmp_path) as web, web.client.stream("GET", f"{API}/stream") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        told = blocks(answer)
        assert (await anext(told)).startswith(":")
        ref = (await web.client.post(f"{API}/tasks", json=OUTPAINT)).json()["ref"]
        kinds = []
        for state in ("queued", "cancelled"):
            kind, text = (await anext(told)).split("\n")
            view = msgspec.json.decode(text.removeprefix("data: "), type=TaskView)
            kinds.append((kind, view.ref, view.state))
            if state == "queued":
                await web.client.post(f"{API}/tasks/{ref}/cancel")
        assert kinds == [("event: task", ref, "queued"), ("event: task", ref, "cancelled")]


async def test_a_quiet_stream_is_kept_alive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "KEEP_ALIVE_S", 0.01)
    async with served(tmp_path) as web, web.client.stream("GET", f"{API}/stream") as answer:
        told = blocks(answer)
        assert all([(await anext(told)).startswith(":") for _ in range(4)])


async def test_streams_are_bounded_and_a_closed_one_gives_its_place_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "STREAMS_MOST", 1)
    async with served(tmp_path) as web:
        async with wired(web.port) as wire:
            await wire.send(f"GET {API}/stream HTTP/1.1", f"Authorization: Bearer {TOKEN}")
            await wire.reader.readuntil(b": the changes")
            refused = await web.client.get(f"{API}/stream")
            assert problem(refused) == (503, "too_many_streams", None)
            assert refused.headers["retry-after"]
        while True:  # until the server has seen that the connection is gone
            async with web.client.stream("GET", f"{API}/stream") as answer:
                if answer.status_code == 200:
                    break


async def test_streams_end_when_the_service_stops(tmp_path: Path) -> None:
    async with served(tmp_path) as web, web.client.stream("GET", f"{API}/stream") as answer:
        told = blocks(answer)
        await anext(told)
        web.stop.set()
        assert [block async for block in told if not block.startswith(":")] == []
        await web.ended()


# -- the door --


async def test_every_operation_wants_a_token(tmp_path: Path) -> None:
    """Without one, with a wrong one, with another scheme; and before anything else is looked at."""
    async with opened(tmp_path) as parts:
        transport = httpx.ASGITransport(app=create_app(parts))
        async with httpx.AsyncClient(transport=transport, base_url="http://receiver") as client:
            for operation in OPERATIONS:
                path = BASE + operation.path.format(ref=a_ref(), id=1, name="a")
                for shown in (
                    {},
                    *({"Authorization": it} for it in ("", "Bearer", f"Bearer {TOKEN}x", f"Basic {TOKEN}")),
                ):
                    answer = await client.request(operation.method, path, headers=shown, content=b"nonsense")
                    assert problem(answer) == (401, "unauthorized", None), path
                    assert answer.headers["www-authenticate"].startswith("Bearer")


async def test_a_path_that_does_not_exist_is_401_first_and_404_then(tmp_path: Path) -> None:
    async with near(tmp_path) as web:
        path = f"{API}/nothing"
        assert problem(await web.client.get(path, headers={"Authorization": ""})) == (401, "unauthorized", None)
        assert problem(await web.client.get(path)) == (404, "not_found", None)


@pytest.mark.parametrize("shown", [f"Bearer {TOKEN}", f"bearer {OTHER_TOKEN}", f"BEARER   {TOKEN}"])
async def test_any_of_the_tokens_opens(tmp_path: Path, shown: str) -> None:
    async with near(tmp_path) as web:
        assert (await web.client.get(f"{API}/tasks", headers={"Authorization": shown})).status_code == 200


@pytest.mark.parametrize("path", ["/nothing", f"{API}/tasks/", f"{API}/", "/healthz/"])
async def test_an_unknown_path_is_a_json_404_and_never_a_redirect(tmp_path: Path, path: str) -> None:
    async with near(tmp_path) as web:
        assert problem(await web.client.get(path)) == (404, "not_found", None)


@pytest.mark.parametrize(("method", "path"), [("PUT", "/tasks"), ("DELETE", "/tasks/x"), ("GET", "/tasks/batch/x")])
async def test_another_method_is_a_json_405_with_allow(tmp_path: Path, method: str, path: str) -> None:
    async with near(tmp_path) as web:
        answer = await web.client.request(method, f"{API}{path}")
        if path == "/tasks/batch/x":
            assert answer.status_code == 404
        else:
            assert problem(answer) == (405, "method_not_allowed", None)
            assert "GET" in answer.headers["allow"]


# -- the document --


async def test_every_route_is_in_the_document_with_its_types(tmp_path: Path) -> None:
    async with near(tmp_path) as web:
        answer = await web.client.get(f"{API}/openapi.json")
        document = answer.json()
        assert document["openapi"] == "3.1.0"
        described = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
        assert described == {(it.method, BASE + it.path) for it in OPERATIONS}
        assert schema_names(document) <= document["components"]["schemas"].keys()
        for operation in OPERATIONS:
            entry = document["paths"][BASE + operation.path][operation.method.lower()]
            assert {str(operation.status), "401", "503"} <= entry["responses"].keys()
            assert ("requestBody" in entry) == (operation.body is not None)
            wanted = set(re.findall(r"{(\w+)}", operation.path))
            assert {it["name"] for it in entry["parameters"] if it["in"] == "path"} == wanted


async def test_the_document_has_every_call_of_the_contract() -> None:
    contract = """POST /tasks; POST /tasks/batch; GET /tasks; GET /tasks/{ref}; PATCH /tasks/{ref}
        GET /tasks/{ref}/chain; POST /tasks/{ref}/pick; POST /tasks/{ref}/release
        POST /tasks/{ref}/cancel; POST /tasks/{ref}/poll; POST /tasks/{ref}/resubmit; POST /tasks/{ref}/pictures
        POST /tasks/{ref}/again; POST /callback-urls/{ref}/discard
        POST /batches; GET /batches; GET /batches/{name}; GET /batches/{name}/results; POST /batches/{name}/close
        POST /batches/{name}/pause; POST /batches/{name}/resume; POST /batches/{name}/cancel
        POST /batches/{name}/retry; GET /costs; PUT /budget
            POST /tasks/{ref}/first; GET /queue; POST /queue/pause; POST /queue/resume
        POST /callback-urls
        GET /callbacks; GET /callbacks/{id}; POST /callbacks/{id}/replay; GET /notices; POST /notices/redrive
        POST /notices/discard; POST /notices/test; POST /prune; GET /stream; GET /openapi.json"""
    wanted = {tuple(call.split()) for call in re.split("[;\n]", contract)}
    assert {(it.method, it.path) for it in OPERATIONS} == wanted


async def test_each_operation_has_a_name_of_its_own() -> None:
    assert len({it.operation_id for it in OPERATIONS}) == len(OPERATIONS)
