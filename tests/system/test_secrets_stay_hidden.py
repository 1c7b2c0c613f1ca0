"""No secret is ever written or served: each is planted where it can come from, and looked for wherever it could go."""

import asyncio
import contextlib
import json
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, Session

from kit.commands import RECEIVER, environment
from kit.live_service import OUTPAINT, PATIENCE_S, Service, free_port, sinking, until
from kit.planted_secrets import (
    API_TOKEN,
    LOUD,
    MARK,
    PROVIDER_KEY,
    SECRET_KEYS,
    WRONG_TOKEN,
    Tattler,
    leaks,
    mail_target,
    targets,
    tattling,
    written,
)

pytestmark = pytest.mark.anyio

WAYS = ("environment", "files and credentials")


@contextlib.contextmanager
def mail_port() -> Iterator[int]:
    """The port of a mail server that refuses every login."""

    def authenticator(server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any) -> AuthResult:
        said = f"535 5.7.8 wrong: {data.login.decode()} {data.password.decode()}"
        return AuthResult(success=False, handled=False, message=said)

    port = free_port()
    smtp = Controller(
        object(), "127.0.0.1", port, ready_timeout=PATIENCE_S, authenticator=authenticator, auth_require_tls=False
    )
    smtp.start()
    try:
        yield port
    finally:
        smtp.stop()


def planted(way: str, folder: Path, urls: str) -> tuple[dict[str, str], set[Path]]:
    """The settings that hand over every secret in this way, and the files that are meant to hold them."""
    secrets = {
        "SECRET_KEYS": SECRET_KEYS,
        "API_TOKENS": API_TOKEN,
        "PROVIDER_KEY": PROVIDER_KEY,
        "NOTIFY_URLS": urls,
    }
    if way == "environment":
        return {f"RECEIVER_{name}": text for name, text in secrets.items()}, set()
    kept = folder / "kept"
    kept.mkdir()
    settings = {"CREDENTIALS_DIRECTORY": str(kept)}
    files = set()
    for name, text in secrets.items():
        credential = name in ("API_TOKENS", "PROVIDER_KEY")
        path = kept / name.lower() if credential else folder / f"{name.lower()}.txt"
        path.write_text(text)
        files.add(path)
        if not credential:
            settings[f"RECEIVER_{name}_FILE"] = str(path)
    return settings, files


@contextlib.asynccontextmanager
async def started(way: str, folder: Path, tattler: Tattler, urls: str) -> AsyncIterator[tuple[Service, set[Path]]]:
    """The service at its loudest, with everything planted in this way."""
    given, files = planted(way, folder, urls)
    service = Service(folder, f"http://127.0.0.1:{tattler.port}/model/v1/generation")
    for name in ("SECRET_KEYS", "API_TOKENS", "PROVIDER_KEY"):
        del service.env[f"RECEIVER_{name}"]
    service.env |= {
        **given,
        "PYTHONASYNCIODEBUG": "1",
        "PYTHONWARNINGS": "default",
        "RECEIVER_PUBLIC_URL": "https://receiver.example.com",
        "RECEIVER_FETCH_ALLOW": "127.0.0.1",
        "RECEIVER_NOTIFY_RETRY": "1",
        "RECEIVER_SWEEP_FIRST": "1",
        "RECEIVER_PICTURE_WAIT": "1",
    }
    service.http.headers["Authorization"] = f"Bearer {API_TOKEN}"
    try:
        await service.start("-X", "dev", "-c", LOUD)
        yield service, files
    finally:
        await service.stop()
        await service.http.aclose()


async def watch_processes(service: Service, seen: set[str]) -> None:
    """Note the arguments and the environment of every process that the service starts, and its own arguments."""
    strangers: set[str] = set()
    while True:
        strangers = _note_processes(service.pid, seen, strangers)
        await asyncio.sleep(0.01)


def _note_processes(ours: int, seen: set[str], strangers: set[str]) -> set[str]:
    """Look at every process but these, which others have started; gives those that are there now."""
    own = Path(f"/proc/{ours}/cmdline").read_text()
    there = {it for it in os.listdir("/proc") if it.isdigit()}
    strangers = strangers & there
    for number in there - strangers:
        process = Path("/proc") / number
        with contextlib.suppress(OSError, ValueError, IndexError):
            parent = int((process / "stat").read_text().rpartition(")")[2].split()[1])
            if ours not in (int(number), parent):
                strangers.add(number)
                continue
            arguments = (process / "cmdline").read_text()
            seen.add(arguments)
            if parent == ours and arguments != own:  # until its exec, a child is the service itself, forked
                seen.add((process / "environ").read_text())
    return strangers


def completed(task_id: str, port: int) -> dict[str, object]:
    pictures = [{"type": "image", "url": f"http://127.0.0.1:{port}/{task_id}.png", "jobId": "j"}]
    made = {"id": task_id, "status": "completed", "model": "midjourney_outpaint", "created_at": 1_795_337_505}
    return {**made, "output": [{"content": pictures}]}


async def drive(service: Service, tattler: Tattler, failing: int) -> list[str]:
    """All that can happen to a service with so many targets that fail; gives everything it answered."""
    heard: list[str] = []
    http = service.http

    async def ask(method: str, path: str, **more: Any) -> httpx.Response:
        try:
            answer = await http.request(method, path, **more)
        except httpx.TransportError:  # the server has closed the connection on which it told of a fault of its own
            answer = await http.request(method, path, **more)
        heard.append(f"{answer.headers}{answer.text}")
        return answer

    stranger = {"Authorization": f"Bearer {WRONG_TOKEN}"}
    for path in ("/", "/healthz", "/readyz", "/metrics", "/metrics", "/doctor/0123456789abcdef", "/nothing"):
        await ask("GET", path)
    for path in ("/metrics", "/api/v1/tasks", f"/callbacks/{WRONG_TOKEN}", f"/images/x?token={WRONG_TOKEN}"):
        await ask("GET", path, headers=stranger)
    wanted = {"model": "midjourney_outpaint", "params": OUTPAINT}
    await ask("POST", "/api/v1/tasks", json={**wanted, "label": "good"})
    for status in (422, 500, 401):
        await until(lambda: _known(len(tattler.callbacks) > 0))
        tattler.refusal = status
        before = len(tattler.callbacks)
        await ask("POST", "/api/v1/tasks", json={**wanted, "label": f"refused-{status}"})
        await until(lambda before=before: _known(len(tattler.callbacks) > before))  # type: ignore[misc]
    await ask("POST", "/api/v1/tasks", json={"model": "midjourney_outpaint", "params": {"callback": "x"}})
    await ask("POST", "/api/v1/tasks", content=b"{")
    first, *others = [url.removeprefix("https://receiver.example.com") for url in tattler.callbacks]
    theirs = {"Authorization": f"Bearer {WRONG_TOKEN}", "Cookie": WRONG_TOKEN, "X-Api-Key": WRONG_TOKEN}
    for body in (b"break the parser", b"{", json.dumps(completed("task0001", tattler.port)).encode()):
        await ask("POST", first, content=body, headers=theirs)
        await ask("POST", f"{first}/", content=body)
    for url in others:  # of these the provider's ids are not known: hints, polled with a key that it refuses
        await ask("POST", url, json=completed(f"other{others.index(url):03d}", tattler.port))
    for forged in (first[:-4] + "AAAA", f"{first}x", "/callbacks/", "/callbacks/" + "x" * 3000):
        await ask("POST", forged, json=completed("task0001", tattler.port))
    await ask("PUT", first)
    await ask("POST", first, content=b"x" * 300_000)

    async def dead() -> bool:
        notices = (await service.got("notices", state="dead", limit="100"))["notices"]
        return len({notice["target"] for notice in notices}) >= failing

    await until(dead, patience_s=PATIENCE_S)
    for path in ("tasks", "callbacks", "notices", "openapi.json"):
        await ask("GET", f"/api/v1/{path}", params={} if path.endswith("json") else {"limit": 100})
    for task in (await service.got("tasks"))["tasks"]:
        await ask("GET", f"/api/v1/tasks/{task['ref']}")
    for callback in (await service.got("callbacks"))["callbacks"]:
        await ask("GET", f"/api/v1/callbacks/{callback['id']}")
        await ask("POST", f"/api/v1/callbacks/{callback['id']}/replay", json={})
    await ask("POST", "/api/v1/notices/redrive", json={})
    await ask("GET", "/metrics")
    return heard


async def _known(value: object) -> object:
    return value


async def commands(service: Service) -> list[str]:
    """What the commands print, asked for with the same settings."""
    said = []
    here = {"RECEIVER_SERVER": service.url, "RECEIVER_PUBLIC_URL": service.url}  # the doctor goes there, and no further
    env = {**service.env, **here, "RECEIVER_API_TOKEN": API_TOKEN}
    for words in (
        "config",
        "config --json",
        "config --example",
        "doctor",
        "doctor --json",
        "tasks list --json",
        "notices list --json",
        "notices list",
        "callbacks list",
        "callbacks show 1",
        "submit outpaint --job-id j --image-no 9 --scale 9",
        "serve",  # the port is in use
    ):
        process = await asyncio.create_subprocess_exec(
            *RECEIVER, *words.split(), cwd=service.folder, env=env, stdout=asyncio.subprocess.PIPE, stderr=-2
        )
        output, _ = await asyncio.wait_for(process.communicate(), 60)
        said.append(f"{words}: {output.decode()}")
    return said


@pytest.mark.parametrize("way", WAYS)
async def test_no_secret_is_written_or_served(way: str, tmp_path: Path) -> None:
    """With every library at DEBUG, a provider and targets that repeat all they are told, and exceptions that hold every
    setting: not in the log, the database, an answer, a command's output, an argument, another's environment."""
    processes: set[str] = set()
    async with tattling() as tattler, sinking() as sink:
        with mail_port() as smtp:
            failing = [*targets(tattler.port), *([mail_target(smtp)] if way == "environment" else [])]
            async with started(way, tmp_path, tattler, " ".join([*failing, sink.url])) as (service, sources):
                watching = asyncio.create_task(watch_processes(service, processes))
                heard = await drive(service, tattler, len(failing))
                said = await commands(service)
                watching.cancel()
    files = written(tmp_path, but=sources)
    log = files["service.log"]
    assert "break the parser" in log  # the exceptions that tell everything were told
    assert "RuntimeError" in log
    assert len(processes) > 1
    assert any("receiver.pictures.drawing" in it for it in processes)
    told = [json.dumps(payload) for payload in sink.got]
    assert told
    macs = [url.rpartition(".")[2] for url in tattler.callbacks]
    assert len(macs) >= 4
    for where, texts in {
        "files": list(files.values()),
        "answers": heard,
        "commands": said,
        "processes": list(processes),
        "pings": told,
    }.items():
        for text in texts:
            assert leaks(text) == [], where
            assert not [mac for mac in macs if mac in text], where
    ours = re.compile(f"{MARK}-(Signing|Api|Provider|Wrong)")  # a target's own address may stand in what it is sent
    assert not [text for text in tattler.told if ours.search(text)]


BAD = [
    ("DATABASE_URL", f"postgresql://receiver:{MARK}Password1@127.0.0.1/receiver"),  # the keys are not set
    ("DATABASE_URL", f"postgresql://receiver:{MARK}Password1@127.0.0.1:port/receiver"),
    ("DATABASE_LISTEN_URL", f"postgresql://receiver:{MARK}Password1@127.0.0.1/"),
    ("DATABASE_URL", f"nonsense:{MARK}Password1"),
    ("SECRET_KEYS", f"{MARK}\x7f"),
    ("API_TOKENS", f"{MARK}ü-and-more-of-it"),
    ("PROVIDER_KEY", f"{MARK} two words"),
    ("NOTIFY_URLS", f"{MARK}Token/nothing"),
    ("API_TOKEN", f"{MARK} two words"),
]
# The command, once with each of these settings; after each its status, in a line.
IN_TURN = """
import json, os, sys
from receiver.cli.main import main
sys.argv = ["receiver", *sys.argv[1:]]
for name, text in json.load(sys.stdin):
    os.environ[name] = text
    try:
        main()
    except SystemExit as end:
        print(f"\\nstatus {end.code}", flush=True)
    del os.environ[name]
"""


@pytest.mark.parametrize("way", ["environment", "file"])
@pytest.mark.parametrize("command", ["serve", "config", "doctor"])
def test_a_bad_setting_is_refused_without_showing_it(way: str, command: str, tmp_path: Path) -> None:
    """What was given may be a secret, whole or in part."""
    given = [(f"RECEIVER_{name}", text) for name, text in BAD]
    if way == "file":
        files = [tmp_path / str(number) for number in range(len(BAD))]
        for file, (_, text) in zip(files, BAD, strict=True):
            file.write_text(text)
        given = [(f"RECEIVER_{name}_FILE", str(file)) for file, (name, _) in zip(files, BAD, strict=True)]
    done = subprocess.run(
        [sys.executable, "-c", IN_TURN, command],
        cwd=tmp_path,
        env=environment(),
        input=json.dumps(given),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 0, done.stderr
    statuses = re.findall(r"(?m)^status (.*)$", done.stdout)
    assert len(statuses) == len(BAD)
    assert set(statuses) <= {"1", "2"}
    assert leaks(done.stdout + done.stderr) == []
