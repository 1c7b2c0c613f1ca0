"""Every call of the HTTP API: what it answers, what it refuses and how."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from kit.fakes import NOW, a_task, busy, got, impatient, put
from kit.web import BEARER, DONE, OUTPAINT, callback_path, completed, minted, near, opened, problem
from receiver.core.errors import StoreError, StoreUnavailable
from receiver.core.types import TaskState
from receiver.store import Store
from receiver.web.app import create_app
from receiver.web.json_replies import as_refusal

pytestmark = pytest.mark.anyio

TASKS = "/api/v1/tasks"


async def listed(client: Any, path: str, **query: object) -> tuple[list[Any], str | None]:
    """The items of a page and its cursor."""
    answer = await client.get(f"/api/v1/{path}", params={name: value for name, value in query.items() if value})
    assert answer.status_code == 200, answer.text
    return answer.json()[path], answer.json()["next"]


async def walked(client: Any, path: str, **query: object) -> list[Any]:
    """All items, page by page."""
    items, cursor = await listed(client, path, **query)
    while cursor:
        page, cursor = await listed(client, path, cursor=cursor, **query)
        items += page
    return items


def counted(store: Store, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The reading queries from now on."""
    seen: list[str] = []
    on = store.tasks._db
    rows = type(on).fetch_rows

    async def noted(self: Any, sql: str, params: Any = ()) -> list[Any]:
        seen.append(sql)
        return await rows(self, sql, params)

    monkeypatch.setattr(type(on), "fetch_rows", noted)
    return seen


# -- POST /tasks --


async def test_a_submission_is_202_and_queued(tmp_path: Path) -> None:
    async with near(tmp_path) as web:
        answer = await web.client.post(TASKS, json={**OUTPAINT, "label": "hero", "targets": ["slack"]})
        task = answer.json()
        assert (answer.status_code, task["state"], task["label"], task["origin"]) == (
            202,
            "queued",
            "hero",
            "submitted",
        )
        assert (task["params"], task["images"], task["notices"]) == (OUTPAINT["params"], [], [])
        assert (await got(web.parts.store, task["ref"])).targets == ("slack",)


async def test_the_same_key_and_body_is_the_same_task_and_says_so(tmp_path: Path) -> None:
    async with near(tmp_path) as web:
        first, second = [
            await web.client.post(TASKS, json=OUTPAINT, headers={"Idempotency-Key": "key-1"}) for _ in range(2)
        ]
        assert (first.status_code, second.status_code) == (202, 202)
        assert first.json()["ref"] == second.json()["ref"]
        assert "idempotent-replayed" not in first.headers
        assert second.headers["idempotent-replayed"] == "true"


async def test_the_same_key_with_another_body_is_409(tmp_path: Path) -> None:
    async with near(tmp_path) as web:
        await web.client.post(TASKS, json=OUTPAINT, headers={"Idempotency-Key": "key-1"})
        answer = await web.client.post(TASKS, json={**OUTPAINT, "label": "x"}, headers={"Idempotency-Key": "key-1"})
        assert problem(answer) == (409, "idempotency_key_reused", "Idempotency-Key")


@pytest.mark.parametrize(
    ("changed", "code", "field"),
    [
        ({"wait_for": "a-ref"}, "invalid_parameter", "jobId"),
        ({"model": "dall-e"}, "unknown_model", "model"),
        ({"model": 5}, "invalid_parameter", "model"),
        ({"model": "\0"}, "unknown_model", "model"),
        ({"params": []}, "invalid_parameter", "params"),
        ({"params": {**OUTPAINT["params"], "callback": "https://x.example"}}, "invalid_parameter", "callback"),
        ({"params": {**OUTPAINT["params"], "scale": 99}}, "004007005", "scale"),
        ({"params": {**OUTPAINT["params"], "imageNo": 2**70}}, None, "imageNo"),
        ({"label": "nul\0"}, "invalid_parameter", "label"),
        ({"label": "x" * 201}, "invalid_parameter", "label"),
        ({"targets": ["nobody"]}, "unknown_target", "targets"),
        ({"targets": "slack"}, "invalid_parameter", "targets"),
        ({"lable": "typo"}, "invalid_parameter", "lable"),
        ({"poll_only": "yes"}, "invalid_parameter", "poll_only"),
    ],
)
async def test_what_a_submission_may_not_say_is_422_with_its_field(
    tmp_path: Path, changed: dict[str, Any], code: str | None, field: str
) -> None:
    async with near(tmp_path) as web:
        answer = await web.client.post(TASKS, json=OUTPAINT | changed)
        status, found, at = problem(answer)
        assert (status, code or found, at) == (422, found, field)
        assert await listed(web.client, "tasks") == ([], None)


@pytest.mark.parametrize(
    "body",
    [
        b"nonsense",
        b"{",
        b'{"model": NaN}',
        b"\xff",
        b'{"model": "\xed\xa0\x80"}',
        b'{"model": "\\ud800"}',
        b'{"params":' + b'{"a":' * 100_000,
    ],
)
async def test_what_is_not_json_is_400(tmp_path: Path, body: bytes) -> None:
    async with near(tmp_path) as web:
        assert problem(await web.client.post(TASKS, content=body)) == (400, "invalid_json", None)


@pytest.mark.parametrize("escaped", ["\\ud800", "\\udc00", "\\ud83dx", "\\ud800\\u0041", "\\u0000", "é😀"])
@pytest.mark.parametrize("place", ["model", "label", "key", "prompt", "target", "param"])
async def test_no_text_is_a_fault_of_ours(tmp_path: Path, escaped: str, place: str) -> None:
    parts = {name: escaped if name == place else "x" for name in ("model", "label", "key", "prompt", "target", "param")}
    model = parts["model"] if place == "model" else "midjourney_outpaint"
    target = f'"{escaped}"' if place == "target" else ""
    body = (
        f'{{"model": "{model}", "label": "{parts["label"]}", "idempotency_key": "{parts["key"]}",'
        f' "targets": [{target}], "params": {{"jobId": "j", "imageNo": 0, "scale": 1.5,'
        f' "remixPrompt": "{parts["prompt"]}"{"" if place != "param" else f", {chr(34)}{escaped}{chr(34)}: 1"}}}}}'
    )
    async with near(tmp_path) as web:
        answer = await web.client.post(TASKS, content=body.encode())
        assert answer.status_code in (202, 400, 422), answer.text
        assert (await web.client.get(TASKS)).status_code == 200


async def test_a_body_over_a_mebibyte_is_413(tmp_path: Path) -> None:
    async with near(tmp_path) as web:
        answer = await web.client.post(TASKS, content=b" " * (1024 * 1024 + 1))
        assert problem(answer) == (413, "too_large", None)


async def test_without_a_way_back_a_submission_has_to_say_poll_only(tmp_path: Path) -> None:
    async with near(tmp_path, provider_url="https://provider.example/v1") as web:
        assert problem(await web.client.post(TASKS, json=OUTPAINT)) == (422, "unreachable", "poll_only")
        assert (await web.client.post(TASKS, json={**OUTPAINT, "poll_only": True})).status_code == 202


async def test_what_the_store_cannot_take_is_503_with_retry_after(tmp_path: Path) -> None:
    async with near(tmp_path) as web:
        await impatient(web.parts.store)
        with busy(tmp_path / "receiver.db"):
            answer = await web.client.post(TASKS, json=OUTPAINT)
        assert problem(answer) == (503, "unavailable", None)
        assert int(answer.headers["retry-after"]) > 0


# -- POST /tasks/batch --


async def test_each_task_of_a_batch_is_judged_by_itself_and_answered_in_order(tmp_path: Path) -> None:
    batch = [OUTPAINT, {"model": 1}, {**OUTPAINT, "idempotency_key": "k"}, {**OUTPAINT, "idempotency_key": "k"}, 5]
    async with near(tmp_path) as web:
        answer = await web.client.post(f"{TASKS}/batch", json={"tasks": batch})
        items = answer.json()
        assert (answer.status_code, [it["status"] for it in items]) == (200, [202, 422, 202, 202, 422])
        assert items[1]["error"]["field"] == "model"
        assert items[2]["task"]["ref"] == items[3]["task"]["ref"] != items[0]["task"]["ref"]
        assert len((await listed(web.client, "tasks"))[0]) == 2


@pytest.mark.parametrize("count", [0, 101])
async def test_a_batch_has_one_to_a_hundred_tasks(tmp_path: Path, count: int) -> None:
    async with near(tmp_path) as web:
        answer = await web.client.post(f"{TASKS}/batch", json={"tasks": [OUTPAINT] * count})
        assert problem(answer) == (422, "invalid_parameter", "tasks")


async def test_a_batch_over_a_failing_store_says_so_of_each(tmp_path: Path) -> None:
    async with near(tmp_path) as web:
        await impatient(web.parts.store)
        with busy(tmp_path / "receiver.db"):
            answer = await web.client.post(f"{TASKS}/batch", json={"tasks": [OUTPAINT] * 2})
        assert [(it["status"], it["error"]["code"]) for it in answer.json()] == [(503, "unavailable")] * 2


# -- GET /tasks, /tasks/{ref} --


async def test_tasks_come_newest_first_page_by_page(tmp_path: Path) -> None:
    async with near(tmp_path) as web:
        tasks = [a_task(task_id=f"job-{number}") for number in range(5)]
        await put(web.parts.store, *tasks)
        newest_first = [it.ref for it in reversed(tasks)]
        assert [it["ref"] for it in await walked(web.client, "tasks", limit=2)] == newest_first
        assert (await listed(web.client, "tasks", limit=5))[1] is None


async def test_tasks_are_filtered_by_state_label_and_model(tmp_path: Path) -> None:
    async with near(tmp_path) as web:
        wanted = a_task(TaskState.COMPLETED, task_id="a", label="5", model="m")
        others = [
            a_task(task_id="b"),
            a_task(TaskState.COMPLETED, task_id="c", label="6"),
            a_task(task_id="d", model="m"),
        ]
        await put(web.parts.store, wanted, *others)
        found, _ = await listed(web.client, "tasks", state="completed", label="5", model="m")
        assert [it["ref"] for it in found] == [wanted.ref]


async def test_a_task_shows_its_pictures_and_notices(tmp_path: Path) -> None:
    async with near(tmp_path) as web:
        ref = await completed(web)
        task = (await web.client.get(f"{TASKS}/{ref}")).json()
        assert (task["state"], task["settled_by"], task["task_id"]) == ("completed", "callback", "prov-1")
        assert [(it["image_no"], it["url"]) for it in task["images"]] == [(0, "https://pics.example/0.png")]
        assert {(it["target"], it["event"], it["state"]) for it in task["notices"]} == {
            ("slack", "completed", "due"),
            ("mail", "completed", "due"),
        }
        assert task["settled_at"].endswith("Z")
        assert (await listed(web.client, "tasks"))[0] == [task]


async def test_a_page_of_tasks_is_read_in_few_queries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with near(tmp_path) as web:
        await put(web.parts.store, *(a_task(task_id=f"job-{number}") for number in range(20)))
        seen = counted(web.parts.store, monkeypatch)
        await listed(web.client, "tasks", limit=20)
        assert len(seen) == 1 + 2 * 3  # the tasks; for the first four and for the rest: images, copies, notices


@pytest.mark.parametrize(
    ("path", "query", "field"),
    [
        ("tasks", "state=done", "state"),
        ("tasks", "limit=0", "limit"),
        ("tasks", "limit=201", "limit"),
        ("tasks", "limit=many", "limit"),
        ("tasks", f"limit={'9' * 5000}", "limit"),
        ("tasks", "cursor=nonsense", "cursor"),
        ("tasks", "label=a%00b", "label"),
        ("tasks", "lable=x", "lable"),
        ("callbacks", "verdict=good", "verdict"),
        ("callbacks", "cursor=-1", "cursor"),
        ("callbacks", f"cursor={2**63}", "cursor"),
        ("callbacks", "ref=%00", "ref"),
        ("notices", "state=gone", "state"),
        ("notices", "cursor=%C2%B2", "cursor"),
        ("notices", "target=%00", "target"),
    ],
)
async def test_a_bad_filter_is_422_with_its_name(tmp_path: Path, path: str, query: str, field: str) -> None:
    async with near(tmp_path) as web:
        assert problem(await web.client.get(f"/api/v1/{path}?{query}")) == (422, "invalid_parameter", field)


async def test_a_bad_state_is_told_the_good_ones(tmp_path: Path) -> None:
    async with near(tmp_path) as web:
        answer = await web.client.get(f"{TASKS}?state=done")
        assert "queued, submitting, waiting, completed" in answer.json()["error"]["message"]


@pytest.mark.parametrize("query", ["label=%ff", "label=%ed%a0%80", "model=null", "label=%F0%9F%98%80"])
async def test_any_other_text_in_a_filter_just_finds_nothing(tmp_path: Path, query: str) -> None:
    async with near(tmp_path) as web:
        assert (await web.client.get(f"{TASKS}?{query}")).json() == {"tasks": [], "next": None}


# -- one task --


@pytest.mark.parametrize(("method", "call"), [("GET", ""), *(("POST", it) for it in ("/cancel", "/poll", "/resubmit"))])
@pytest.mark.parametrize("ref", ["unknown", "0199d0a0-0000-7000-8000-000000000001", "%00", "%ff", "x" * 2000])
async def test_an_unknown_task_is_404(tmp_path: Path, method: str, call: str, ref: str) -> None:
    async with near(tmp_path) as web:
        assert problem(await web.client.request(method, f"{TASKS}/{ref}{call}")) == (404, "not_found", None)


async def test_a_queued_task_is_withdrawn_and_only_a_queued_one(tmp_path: Path) -> None:
    async with near(tmp_path) as web:
        ref = (await web.client.post(TASKS, json=OUTPAINT)).json()["ref"]
        answer = await web.client.post(f"{TASKS}/{ref}/cancel")
        assert (answer.status_code, answer.json()["state"]) == (200, "cancelled")
        assert problem(await web.client.post(f"{TASKS}/{ref}/cancel")) == (409, "not_queued", None)


async def test_a_task_is_polled_now_if_it_can_be(tmp_path: Path) -> None:
    async with near(tmp_path) as web:
        known, unknown = a_task(), a_task(task_id=None)
        await put(web.parts.store, known, unknown)
        answer = await web.client.post(f"{TASKS}/{known.ref}/poll")
        assert (answer.status_code, (await got(web.parts.store, known.ref)).poll_at) == (202, NOW)
        assert problem(await web.client.post(f"{TASKS}/{unknown.ref}/poll")) == (409, "no_task_id", None)


async def test_without_a_key_nothing_is_polled_or_submitted(tmp_path: Path) -> None:
    async with near(tmp_path, provider_key="") as web:
        task = a_task()
        await put(web.parts.store, task)
        assert problem(await web.client.post(f"{TASKS}/{task.ref}/poll")) == (409, "no_key", None)
        assert problem(await web.client.post(TASKS, json=OUTPAINT)) == (422, "no_key", None)


async def test_an_unsure_task_is_sent_again_and_only_an_unsure_one(tmp_path: Path) -> None:
    async with near(tmp_path) as web:
        unsure, sure = a_task(unsure=True, task_id=None), a_task()
        await put(web.parts.store, unsure, sure)
        answer = await web.client.post(f"{TASKS}/{unsure.ref}/resubmit")
        assert (answer.status_code, answer.json()["state"], answer.json()["unsure"]) == (202, "queued", False)
        assert problem(await web.client.post(f"{TASKS}/{sure.ref}/resubmit")) == (409, "not_unsure", None)


async def test_the_providers_id_may_be_told_until_the_provider_confirms_it(tmp_path: Path) -> None:
    """A slip of the pen can be mended as long as nothing has come by that id."""
    async with near(tmp_path) as web:
        ref, other = await minted(web.client), await minted(web.client)
        path = f"{TASKS}/{ref}"
        for told in ("prov-0", "prov-1"):
            answer = await web.client.patch(path, json={"task_id": told})
            assert (answer.status_code, answer.json()["task_id"]) == (200, told)
        runs = {**DONE, "id": "prov-1", "status": "running", "progress": 0.5, "output": []}
        assert (await web.client.post(callback_path(web.parts, ref), json=runs)).json()["verdict"] == "accepted"
        assert problem(await web.client.patch(path, json={"task_id": "prov-2"})) == (409, "task_id_known", "task_id")
        taken = await web.client.patch(f"{TASKS}/{other}", json={"task_id": "prov-1"})
        assert problem(taken) == (409, "task_id_taken", "task_id")
        assert problem(await web.client.patch(path, json={"task_id": ""})) == (422, "invalid_parameter", "task_id")
        assert problem(await web.client.patch(path, json={})) == (422, "invalid_parameter", "task_id")
        assert problem(await web.client.patch(f"{TASKS}/x", json={"task_id": "a"})) == (404, "not_found", None)


async def test_a_settled_task_learns_no_id(tmp_path: Path) -> None:
    async with near(tmp_path) as web:
        ref = await completed(web)
        assert problem(await web.client.patch(f"{TASKS}/{ref}", json={"task_id": "x"})) == (409, "settled", None)


# -- the store behind, seen without a socket --


async def test_a_fault_of_ours_is_500_and_says_nothing_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(tmp_path) as parts:
        monkeypatch.setattr(type(parts.store.tasks), "page", lambda *_, **__: 1 / 0)
        transport = httpx.ASGITransport(app=create_app(parts), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://receiver", headers=BEARER) as client:
            answer = await client.get(TASKS)
        assert problem(answer) == (500, "internal_error", None)
        assert "division" not in answer.text


def test_an_outage_says_that_nothing_was_stored_only_if_that_is_known() -> None:
    class Unknown(StoreUnavailable):
        outcome_unknown = True

    for error in (StoreUnavailable("the disk is full"), StoreError("it fails")):
        assert str(as_refusal(error)) == f"nothing was stored: {error}; try again later"
    unknown = as_refusal(Unknown("the answer is lost"))
    assert (unknown.status, unknown.code) == (503, "unavailable")
    assert str(unknown) == (
        "it is not known whether this was stored: the answer is lost; repeat it with the same Idempotency-Key; if it "
        "had none, look first what is there"
    )
