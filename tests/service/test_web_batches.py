"""The calls about batches, over HTTP."""

import asyncio
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from msgspec.structs import replace

from kit.commands import RECEIVER, environment
from kit.fakes import PICTURES
from kit.web import OUTPAINT, TOKEN, Served, command, near, problem, served
from receiver.client.batch_schemas import BatchRowResult
from receiver.core.types import ArchiveState, ImageCopy, TaskError, TaskState
from receiver.web.api.openapi import BASE as API

pytestmark = pytest.mark.anyio


def row(line: int, **more: Any) -> dict[str, Any]:
    return {**OUTPAINT, "line": line, "row_key": f"key {line}", **more}


async def post(web: Served, path: str, **body: Any) -> httpx.Response:
    return await web.client.post(f"{API}{path}", json=body)


async def results(web: Served, name: str, **query: Any) -> list[BatchRowResult]:
    answer = await web.client.get(f"{API}/batches/{name}/results", params=query)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/x-ndjson"
    return [msgspec.json.decode(line, type=BatchRowResult) for line in answer.content.splitlines()]


async def test_a_batch_from_its_opening_to_its_results(tmp_path: Path) -> None:
    async with near(tmp_path) as web:
        opened = await post(web, "/batches", name="rows-1", label="all")
        assert (opened.status_code, opened.json()["priority"]) == (200, "low")
        assert opened.json() == (await post(web, "/batches", name="rows-1")).json()
        made = (await post(web, "/tasks/batch", batch="rows-1", tasks=[row(2), row(3), {"model": 7}])).json()
        assert [it["status"] for it in made] == [202, 202, 422]
        again = (await post(web, "/tasks/batch", batch="rows-1", tasks=[row(2)])).json()
        assert (again[0]["replayed"], again[0]["task"]["ref"]) == (True, made[0]["task"]["ref"])
        closed = (await post(web, "/batches/rows-1/close")).json()["batch"]
        assert closed["counts"] | {"queued": 2} == closed["counts"]
        assert (closed["waits_for"], closed["finished_at"]) == ("turn", None)
        late = (await post(web, "/tasks/batch", batch="rows-1", tasks=[row(4), row(3)])).json()
        assert [(it["status"], it.get("replayed", False)) for it in late] == [(409, False), (202, True)]
        assert late[0]["error"]["code"] == "batch_closed"
        assert [it.line for it in await results(web, "rows-1")] == [2, 3]
        assert [it.line for it in await results(web, "rows-1", after=2)] == [3]
        [listed] = (await web.client.get(f"{API}/batches")).json()["batches"]
        assert listed == closed


async def test_a_dry_run_says_which_other_batch_has_a_row(tmp_path: Path) -> None:
    """Whatever state it is in there, and whether or not the batch that is asked for is there, or open."""

    async def check(batch: str, *rows: dict[str, Any], **more: Any) -> list[tuple[int, str | None]]:
        answer = await post(web, "/tasks/batch", batch=batch, tasks=rows, **{"dry_run": True, **more})
        return [(it["status"], it.get("sent_in")) for it in answer.json()]

    async with near(tmp_path) as web:
        for name in ("first", "second"):
            await post(web, "/batches", name=name)
        await post(web, "/tasks/batch", batch="first", tasks=[row(line) for line in range(2, 5)])
        await post(web, "/tasks/batch", batch="second", tasks=[row(2)])
        await post(web, "/batches/first/cancel")
        other = row(4, params={**OUTPAINT["params"], "scale": 1.7})  # the key of another file's row
        assert await check("new", row(2), row(3), other, row(5), {"model": 7}) == [
            (202, "second"), (202, "first"), (202, None), (202, None), (422, None)
        ]  # fmt: skip
        assert await check("second", row(2), row(3), row(5)) == [(202, None), (202, "first"), (202, None)]
        assert await check("first", row(2), row(5)) == [(202, None), (409, None)]
        await post(web, "/batches/second/close")
        assert await check("second", row(2), row(3)) == [(202, None), (409, "first")]
        assert await check("second", row(2), row(3), dry_run=False) == [(202, None), (409, None)]


async def test_pause_resume_cancel_and_retry(tmp_path: Path) -> None:
    async with near(tmp_path) as web:
        await post(web, "/batches", name="b")
        await post(web, "/tasks/batch", batch="b", tasks=[row(2), row(3)])
        paused = (await post(web, "/batches/b/pause")).json()["batch"]
        assert (paused["waits_for"], paused["paused_why"]) == ("paused", None)
        assert (await post(web, "/batches/b/resume")).json()["batch"]["paused_at"] is None
        cancelled = (await post(web, "/batches/b/cancel")).json()
        assert (cancelled["changed"], cancelled["batch"]["counts"]["cancelled"]) == (2, 2)
        assert cancelled["batch"]["finished_at"]
        again = (await post(web, "/batches/b/retry")).json()
        assert (again["changed"], again["batch"]["counts"]["queued"], again["batch"]["counts"]["cancelled"]) == (
            2,
            2,
            0,
        )
        assert again["batch"]["finished_at"] is None
        [one, two] = await results(web, "b")
        assert one.again_of
        assert two.again_of


async def test_many_rows_are_changed_by_several_calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("receiver.tasks.batches.TURN", 2)
    monkeypatch.setattr("receiver.tasks.batches.TURNS_MOST", 1)
    async with near(tmp_path) as web:
        await post(web, "/batches", name="b")
        await post(web, "/tasks/batch", batch="b", tasks=[row(line) for line in range(2, 7)])
        await post(web, "/batches/b/pause")
        for change in ("cancel", "retry"):
            found, cursor = [], ""
            while cursor is not None:
                part = (await post(web, f"/batches/b/{change}{f'?cursor={cursor}' if cursor else ''}")).json()
                found.append(part["changed"])
                cursor = part["next"]
            assert found == [2, 2, 1]
        for wrong in ("x", "1", "1.x", f"{'9' * 17}.{part['batch']['name']}"):
            answer = await post(web, f"/batches/b/retry?cursor={wrong}")
            assert problem(answer) == (422, "invalid_parameter", "cursor")


async def test_what_became_of_each_row_is_shown_and_why_rows_failed(tmp_path: Path) -> None:
    async with near(tmp_path) as web:
        await post(web, "/batches", name="b")
        await post(web, "/tasks/batch", batch="b", tasks=[row(line) for line in range(2, 6)])
        store, error = web.parts.store, TaskError("004007098", "generation failed")
        lane = (await store.lanes.by_name(["b"]))["b"]
        one, two, *_ = await store.batch_rows.in_states(lane.id, [TaskState.QUEUED], limit=10)
        done = replace(one, state=TaskState.COMPLETED, due_at=None, settled_at=1, archive=ArchiveState.DONE)
        async with store.write() as tx:
            await tx.tasks.update([(one, done), (two, replace(two, state=TaskState.FAILED, due_at=None, error=error))])
            await tx.tasks.add_images((one.ref, image) for image in PICTURES)
            await tx.copies.upsert([(one.ref, ImageCopy(1, "1.png"))])
        first, second, *_ = await results(web, "b")
        assert (first.state, second.state) == ("completed", "failed")
        assert first.urls[0] == PICTURES[0].url
        assert f"/images/{one.ref}/1.png" in first.urls[1] or first.urls[1] == PICTURES[1].url
        assert second.error is not None
        assert (second.error.code, second.error.message) == ("004007098", "generation failed")
        view = (await web.client.get(f"{API}/batches/b")).json()
        assert view["failures"] == [{"code": "004007098", "message": "generation failed", "count": 1, "lines": [3]}]


async def test_the_results_of_many_rows_are_streamed_by_line(tmp_path: Path) -> None:
    async with near(tmp_path) as web:
        await post(web, "/batches", name="b")
        for at in range(1, 1_001, 100):
            await post(web, "/tasks/batch", batch="b", tasks=[row(line) for line in range(at, at + 100)])
        assert [it.line for it in await results(web, "b")] == list(range(1, 1_001))
        assert await results(web, "b", after=1_000) == []


async def test_batches_are_listed_newest_first_a_page_at_a_time(tmp_path: Path) -> None:
    async with near(tmp_path) as web:
        for at in range(5):
            await post(web, "/batches", name=f"b{at}")
        page = (await web.client.get(f"{API}/batches", params={"limit": 3})).json()
        rest = (await web.client.get(f"{API}/batches", params={"limit": 3, "cursor": page["next"]})).json()
        assert [it["name"] for it in page["batches"] + rest["batches"]] == ["b4", "b3", "b2", "b1", "b0"]
        assert rest["next"] is None
        wrong = await web.client.get(f"{API}/batches", params={"cursor": "x"})
        assert problem(wrong) == (422, "invalid_parameter", "cursor")


@pytest.mark.parametrize("name", ["März 2026 (2)", "a&b?c=d#e", "50%", "..."])
async def test_any_name_is_a_path(tmp_path: Path, name: str) -> None:
    from urllib.parse import quote

    async with near(tmp_path) as web:
        assert (await post(web, "/batches", name=name)).status_code == 200
        view = await web.client.get(f"{API}/batches/{quote(name, safe='')}")
        assert view.json()["name"] == name


async def test_an_unknown_batch_is_404_and_a_priority_is_none(tmp_path: Path) -> None:
    async with near(tmp_path) as web:
        for name in ("unknown", "normal"):
            assert problem(await web.client.get(f"{API}/batches/{name}")) == (404, "not_found", "batch")
            assert problem(await web.client.get(f"{API}/batches/{name}/results")) == (404, "not_found", "batch")
            for change in ("close", "pause", "resume", "cancel", "retry"):
                assert (await post(web, f"/batches/{name}/{change}")).status_code == 404
        assert problem(await post(web, "/tasks/batch", batch="unknown", tasks=[row(2)])) == (404, "not_found", "batch")
        assert problem(await post(web, "/batches", name="normal")) == (422, "invalid_parameter", "name")
        for name in ("normal", "z/z", ".."):
            tried = await post(web, "/tasks/batch", batch=name, tasks=[row(2)], dry_run=True)
            assert problem(tried) == (422, "invalid_parameter", "batch")


async def test_a_name_that_is_nearly_that_of_a_batch_names_it(tmp_path: Path) -> None:
    async with near(tmp_path) as web:
        await post(web, "/batches", name="landscapes-3fa92c")
        meant = "there is no batch 'landscapes-3fa92' (did you mean landscapes-3fa92c?)"
        for path in ("/batches/landscapes-3fa92", "/batches/landscapes-3fa92/results", "/tasks?batch=landscapes-3fa92"):
            assert (await web.client.get(f"{API}{path}")).json()["error"]["message"] == meant
        assert (await post(web, "/batches/landscapes-3fa92/pause")).json()["error"]["message"] == meant
        raised = await web.client.put(f"{API}/budget", json={"period": "landscapes-3fa92", "limit": "5"})
        assert raised.json()["error"]["message"] == f"{meant}; a period is day or month"


async def test_a_dry_run_stores_nothing(tmp_path: Path) -> None:
    async with near(tmp_path) as web:
        [one, two] = (await post(web, "/tasks/batch", dry_run=True, batch="b", tasks=[row(2), row(3, label="")])).json()
        assert (one, two["error"]["field"]) == ({"status": 202}, "label")
        assert (await web.client.get(f"{API}/tasks")).json()["tasks"] == []


async def test_the_commands_and_the_service_agree(tmp_path: Path) -> None:
    """The whole way: a file, its batch, what is shown of it, and the same command once more."""
    file = tmp_path / "rows.csv"
    file.write_text("model,jobId,imageNo,scale\n" + "".join(f"outpaint,job-{at},0,1.5\n" for at in range(150)))
    async with served(tmp_path) as web:
        done = await command(web, "submit", "batch", str(file))
        assert done.exit_code == 0, done.stderr
        name = done.stdout.strip()
        again = await command(web, "submit", "batch", str(file))
        assert (again.exit_code, again.stdout.strip()) == (0, name)
        assert len(await results(web, name)) == 150
        for words in (("list",), ("show", name), ("results", name), ("pause", name), ("resume", name)):
            ran = await command(web, "batch", *words)
            assert ran.exit_code == 0, (words, ran.stderr)
        ran = await command(web, "batch", "cancel", name)
        assert (ran.exit_code, "150" in ran.stdout + ran.stderr) == (0, True)
        ran = await command(web, "batch", "retry", name)
        assert (ran.exit_code, "150" in ran.stdout + ran.stderr) == (0, True)


async def test_two_commands_with_one_file_at_once_send_each_row_once(tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.write_text("model,jobId,imageNo,scale\n" + "".join(f"outpaint,job-{at},0,1.5\n" for at in range(2_000)))
    async with served(tmp_path) as web:
        env = environment(SERVER=f"http://127.0.0.1:{web.port}", API_TOKEN=TOKEN)
        submit = (*RECEIVER, "submit", "batch", str(file))
        commands = [await asyncio.create_subprocess_exec(*submit, env=env, cwd=tmp_path) for _ in range(2)]
        assert await asyncio.gather(*(command.wait() for command in commands)) == [0, 0]
        [batch] = (await web.client.get(f"{API}/batches")).json()["batches"]
        found = await results(web, batch["name"])
        assert len(found) == len({it.ref for it in found}) == 2_000
