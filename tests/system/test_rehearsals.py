"""A bad day of the provider, rehearsed with the sandbox: nothing is paid twice, and every picture is kept."""

import asyncio
import contextlib
import signal
import sys
from pathlib import Path

import httpx
import pytest

from kit.commands import environment
from kit.live_service import OUTPAINT, PATIENCE_S, serving, sinking, until
from receiver import sandbox
from receiver.sandbox import CallbackBody, Fate, PictureCoding, SandboxOptions

pytestmark = pytest.mark.anyio


async def test_a_gateway_a_201_packed_callbacks_and_odd_pictures_cost_nothing(tmp_path: Path) -> None:
    """The answer to the first submission is a gateway's 503, though the task was taken; pictures are 404 at first."""
    options = SandboxOptions(
        latency_s=0.2,
        script=(Fate.GATEWAY, Fate.CREATED),
        body=CallbackBody.GZIP,
        late_pictures_s=0.5,
        picture_coding=PictureCoding.MIXED,
    )
    lines: list[str] = []
    async with sandbox.open_sandbox(options, report=lines.append) as provider, sinking() as sink:
        url = provider.url + "/model/v1/generation"
        settings = {"NOTIFY_URLS": sink.url, "SWEEP_FIRST": "1", "FETCH_ALLOW": "127.0.0.1"}
        async with serving(tmp_path, url, **settings) as service:
            refs = [await service.submit(label) for label in ("gateway", "created")]
            for ref in refs:
                assert (await service.settled(ref))["confirmed"]

                async def kept(ref: str = ref) -> bool:
                    return all(it["archive"] == "done" for it in (await service.task(ref))["images"])

                await until(kept)
                assert [it["media_type"] for it in (await service.task(ref))["images"]] == ["image/png"] * 4
        assert len(provider.book.tasks) == len(refs)
        assert sorted(it["title"][:1] for it in sink.got) == ["✓", "✓"]
        assert sum("taken" in line for line in lines) == sum("delivered, answered 200" in line for line in lines) == 2


async def test_the_command_prints_a_line_for_each_submission_and_callback(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "receiver", "sandbox", "--port", "0", "--latency", "0", "--created", "1"),
        env=environment(),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=tmp_path,
    )
    try:
        assert process.stdout is not None
        assert process.stderr is not None
        async with asyncio.timeout(PATIENCE_S):
            url = (await process.stderr.readline()).decode().split()[4]
            async with httpx.AsyncClient(trust_env=False, timeout=PATIENCE_S) as client:
                params = OUTPAINT | {"callback": "http://127.0.0.1:1/callbacks/a-secret-token"}
                body = {"model": "midjourney_outpaint", "input": [{"params": params}]}
                answer = await client.post(url, json=body, headers={"Authorization": "Bearer any"})
            task = answer.json()["id"]
            first, second = [(await process.stdout.readline()).decode().rstrip().partition("  ")[2] for _ in range(2)]
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        await process.communicate()
    assert answer.status_code == 201
    assert first == f"submission 1: 201, task {task} taken, with 201 instead of 200"
    assert second == f"callback of {task} to http://127.0.0.1:1: not delivered, no connection; tried again in 1 s"
    assert process.returncode == 0
