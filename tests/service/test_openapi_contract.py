"""The OpenAPI document says what the service does, and the service does what it says: schemathesis asks both."""

import asyncio
import sys
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from kit.web import DONE, OUTPAINT, TOKEN, Served, callback_path, completed, minted, near, problem, served
from receiver.providers.models import MODELS
from receiver.web.api.handlers import OPERATIONS
from receiver.web.api.openapi import BASE

pytestmark = pytest.mark.anyio

SCHEMATHESIS = Path(sys.executable).with_name("schemathesis")
SETTINGS = """
continue-on-failure = true
cache.enabled = false
warnings = false
[parameters]
"path.ref" = "{ref}"
"path.id" = 1
"""


@pytest.mark.parametrize("phase", ["coverage", "fuzzing"])  # apart: in one run, the second makes half of its cases
async def test_schemathesis_finds_nothing_with_every_check(tmp_path: Path, phase: str) -> None:
    asked = [it for it in OPERATIONS if it.path != "/stream"]
    async with served(tmp_path, public_url="https://receiver.example") as web:
        settings = tmp_path / "schemathesis.toml"
        settings.write_text(SETTINGS.format(ref=await completed(web)))
        asking = await asyncio.create_subprocess_exec(
            *(SCHEMATHESIS, "--config-file", settings, "run", f"http://127.0.0.1:{web.port}{BASE}/openapi.json"),
            *("--header", f"Authorization: Bearer {TOKEN}", "--checks", "all", "--phases", phase, "--no-color"),
            *("--max-examples", "4", "--generation-deterministic", "--no-shrink"),
            *(word for it in asked for word in ("--include-operation-id", it.operation_id)),
            cwd=tmp_path,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        said = (await asking.communicate())[0].decode()
        assert asking.returncode == 0, said
        assert f"{len(asked)} passed" in said, said


async def test_the_document_has_the_models_and_the_targets_of_this_service(tmp_path: Path) -> None:
    async with near(tmp_path) as web:
        schemas = (await described(web))["components"]["schemas"]
        *declared, other = schemas["NewTask"]["oneOf"]
        assert [it["properties"]["model"]["const"] for it in declared] == list(MODELS)
        assert other["properties"]["model"]["not"]["enum"] == list(MODELS)
        assert schemas["TargetName"]["enum"] == ["mail", "slack"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"label": ""},
        {"label": "x" * 201},
        {"label": "a\0b"},
        {"targets": []},
        {"targets": ["gone"]},
        {"model": "midjourney_outpant"},
        {"wait_for": "x"},
        {"idempotency_key": ""},
        {"idempotency_key": "x" * 201},
        {"params": {}},
        {"params": {**OUTPAINT["params"], "jobId": " \x1c\x85\u3000"}},
        {"params": {**OUTPAINT["params"], "imageNo": 4}},
        {"params": {**OUTPAINT["params"], "scale": 1.0}},
        {"params": {**OUTPAINT["params"], "remixPrompt": ""}},
        {"params": {**OUTPAINT["params"], "callback": "https://example.com"}},
    ],
)
async def test_what_the_document_forbids_is_refused(tmp_path: Path, wrong: dict[str, Any]) -> None:
    async with near(tmp_path, public_url="https://receiver.example") as web:
        allowed = validator(await described(web), "NewTask")
        for body in ({**OUTPAINT, **wrong}, OUTPAINT):
            answer = await web.client.post(f"{BASE}/tasks", json=body, headers={"Idempotency-Key": "a-key"})
            assert (answer.status_code == 202) == allowed.is_valid(body) == (body is OUTPAINT)


async def test_what_is_shown_of_a_settled_task_is_as_the_document_says(tmp_path: Path) -> None:
    async with near(tmp_path) as web:
        ref = await completed(web)
        other = await minted(web.client, task_id="another")
        assert (await web.client.post(callback_path(web.parts, other), json=DONE)).json()["verdict"] == "hint"
        document = await described(web)
        for path, name in (("tasks", "TaskPage"), ("callbacks", "CallbackPage"), ("notices", "NoticePage")):
            shown = (await web.client.get(f"{BASE}/{path}")).json()
            assert len(shown[path]) >= 2, path
            validator(document, name).validate(shown)
        validator(document, "TaskView").validate((await web.client.get(f"{BASE}/tasks/{ref}")).json())


@pytest.mark.parametrize("path", ["tasks?state=null", "callbacks?verdict=NULL", "notices?state=null"])
async def test_the_word_null_is_no_filter(tmp_path: Path, path: str) -> None:
    async with near(tmp_path) as web:
        answer = await web.client.get(f"{BASE}/{path}")
        assert problem(answer) == (422, "invalid_parameter", path[path.index("?") + 1 : path.index("=")])
        assert "it must be one of" in answer.text


async def test_a_filter_that_is_given_twice_is_refused(tmp_path: Path) -> None:
    async with near(tmp_path) as web:
        answer = await web.client.get(f"{BASE}/tasks?label=a&label=b")
        assert problem(answer) == (422, "invalid_parameter", "label")


@pytest.mark.parametrize("method", ["GET", "PATCH"])
async def test_the_path_of_one_call_is_not_the_ref_of_another(tmp_path: Path, method: str) -> None:
    async with near(tmp_path) as web:
        answer = await web.client.request(method, f"{BASE}/tasks/batch", json={"task_id": "x"})
        assert problem(answer) == (405, "method_not_allowed", None)
        assert answer.headers["allow"] == "POST"


async def test_a_whole_number_is_an_id_however_it_is_written(tmp_path: Path) -> None:
    async with near(tmp_path) as web:
        assert (await web.client.post(f"{BASE}/notices/redrive", content=b'{"ids": [7.0]}')).json() == {"redriven": 0}
        answer = await web.client.post(f"{BASE}/notices/redrive", content=b'{"ids": [7.5]}')
        assert problem(answer) == (422, "invalid_parameter", "ids[0]")


async def test_the_stream_answers_as_the_document_says(tmp_path: Path) -> None:
    async with served(tmp_path) as web, web.client.stream("GET", f"{BASE}/stream") as answer:
        content = (await described(web))["paths"][f"{BASE}/stream"]["get"]["responses"]["200"]["content"]
        assert [answer.headers["content-type"].partition(";")[0]] == list(content)


async def described(web: Served) -> dict[str, Any]:
    document: dict[str, Any] = (await web.client.get(f"{BASE}/openapi.json")).json()
    return document


def validator(document: dict[str, Any], name: str) -> Any:
    """Of one schema of the document, formats included."""
    schema = {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
    return jsonschema_rs.validator_for(schema, validate_formats=True)
