"""The log of a service that works: JSON lines where no person reads along, each with its action and its ref."""

import json
import os
import re
import socket
import subprocess
import threading
from pathlib import Path

import pytest

from kit.commands import RECEIVER, environment
from kit.live_service import Service, serving, sinking, until
from kit.planted_secrets import tattling
from receiver import sandbox
from receiver.sandbox import Fate, SandboxOptions

pytestmark = pytest.mark.anyio

FIELDS = {"ts", "level", "action", "ref", "msg"}
# What is always said of one task; a notice may be about the service itself.
OF_A_TASK = re.compile(
    r"(submit|sweep|archive|callback|notice)\.(taken|refused|outcome|unknown|done|failed|accepted|duplicate|unparsed|hint|miss)$"
)


def lines(log: str) -> list[dict[str, object]]:
    """Every line, parsed; fails if one is not what it should be."""
    parsed = [json.loads(line) for line in log.splitlines()]
    for line in parsed:
        assert line.keys() >= FIELDS, line
        assert line["action"], line
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["ts"])
    return parsed


async def archived(service: Service) -> bool:
    """Whether the pictures of all three tasks are kept."""
    return 'receiver_archived_total{state="done"} 3.0' in (await service.http.get("/metrics")).text


async def test_every_line_of_a_days_work_has_its_action_and_its_ref(tmp_path: Path) -> None:
    """Callbacks, polls, pictures, pings that arrive and pings that fail."""
    script = (Fate.COMPLETES, Fate.DROPPED, Fate.DUPLICATED)
    options = SandboxOptions(latency_s=0.2, seed=1, script=script)
    async with sandbox.open_sandbox(options) as provider, sinking() as sink, tattling() as refusing:
        urls = f"{sink.url} json://127.0.0.1:{refusing.port}/refused"
        settings = {"NOTIFY_URLS": urls, "SWEEP_FIRST": "1", "NOTIFY_RETRY": "1", "FETCH_ALLOW": "127.0.0.1"}
        async with serving(tmp_path, provider.url + "/model/v1/generation", **settings) as service:
            refs = {await service.submit(label) for label in ("a", "b", "c")}

            async def told() -> bool:
                tasks = [await service.task(ref) for ref in refs]
                return all({it["state"] for it in task["notices"]} == {"sent", "dead"} for task in tasks)

            await until(told)
            await until(lambda: archived(service))
            await service.http.post("/callbacks/nonsense", content=b"{}")
    log = lines((tmp_path / "service.log").read_text())
    actions = {str(line["action"]) for line in log}
    assert {
        "serve.start",
        "submit.taken",
        "callback.accepted",
        "notice.sent",
        "notice.failed",
        "notice.dead",
    } <= actions
    assert {"archive.done", "callback.foreign", "serve.stop"} <= actions
    for line in log:
        if OF_A_TASK.match(str(line["action"])):
            assert line["ref"] in refs, line


def test_under_systemd_a_line_is_json_too_behind_its_priority(tmp_path: Path) -> None:
    """Standard error is the journal's socket then, as JOURNAL_STREAM says; it takes the priority off."""
    ours, theirs = socket.socketpair()
    stat = os.fstat(theirs.fileno())
    env = environment(PORT="0") | {"JOURNAL_STREAM": f"{stat.st_dev}:{stat.st_ino}"}
    got = bytearray()

    def read() -> None:
        while chunk := ours.recv(65536):
            got.extend(chunk)

    reading = threading.Thread(target=read)
    reading.start()
    with ours, theirs:
        serve = subprocess.Popen(
            [*RECEIVER, "serve"], cwd=tmp_path, env=env, stdout=subprocess.DEVNULL, stderr=theirs.fileno()
        )
        theirs.close()
        while b"listening on" not in got:
            assert serve.poll() is None
            reading.join(0.02)
        serve.terminate()
        assert serve.wait(30) == 0
        reading.join(10)
    said = [re.fullmatch(r"<([3-6])>(.*)", line) for line in got.decode().splitlines()]
    told = [(int(line[1]), json.loads(line[2])) for line in said if line]
    assert len(told) == len(said)
    assert {it["level"]: priority for priority, it in told} == {"warning": 4, "info": 6}
    assert told[-1][1]["action"] == "serve.stop"
