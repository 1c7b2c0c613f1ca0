"""What the tests of commands and client share: how a command is started, and a service that answers as told."""

import http.server
import os
import re
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import msgspec
from click.testing import Result

from receiver.client.schemas import TaskView

RECEIVER = [sys.executable, "-m", "receiver"]
ROOT = Path(__file__).parents[2]
TESTS = ROOT / "tests"
REF = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
TASK = "0199d0a0-0000-7000-8000-000000000001"
OUTPAINT = ("submit", "outpaint", "--job-id", "a-job", "--image-no", "0", "--scale", "1.5")


def environment(**settings: str) -> dict[str, str]:
    """The environment of a command: ours without any setting, and these."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("RECEIVER_")}
    return ours | {"PYTHONPATH": str(ROOT)} | {f"RECEIVER_{name}": value for name, value in settings.items()}


def task(state: str = "queued", ref: str = TASK) -> TaskView:
    """A task as the service shows it."""
    return TaskView(
        ref=ref,
        task_id=None,
        model="midjourney_outpaint",
        params={},
        label="hero",
        state=state,
        unsure=False,
        settled_by=None,
        confirmed=True,
        origin="submitted",
        held_by=None,
        created_at="2026-11-22T08:16:00.123Z",
        submitted_at=None,
        settled_at=None,
        progress=None,
        polls=0,
        images=[],
        error=None,
        usage=None,
        notices=[],
    )


Run = Callable[..., Result]
"""Runs a command; see the fixture `run` in tests/service/conftest.py."""


class Answers:
    """A server on a port of its own that notes each request and answers as told, in turn."""

    def __init__(self) -> None:
        self.turns: list[tuple[int, bytes, str]] = []  # status, body, type; status 0 hangs up
        self.seen: list[tuple[str, str, dict[str, str], bytes]] = []

    def then(self, status: int, body: object = None, kind: str = "application/json") -> None:
        content = body if isinstance(body, bytes) else msgspec.json.encode(body)
        self.turns.append((status, content, kind))


def serving(answers: Answers, port: int = 0) -> http.server.ThreadingHTTPServer:
    """Start serving `answers`; the caller shuts it down."""

    class Turn(http.server.BaseHTTPRequestHandler):
        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            answers.seen.append((self.command, self.path, headers, body))
            status, content, kind = answers.turns.pop(0)
            if status == 0:
                return
            self.send_response(status)
            self.send_header("Content-Type", kind)
            if 300 <= status < 400:
                self.send_header("Location", "/api/v1/tasks")
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PATCH = do_PUT = answer  # noqa: N815 - http.server's names

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Turn)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    return server


def told(*views: TaskView) -> bytes:
    """A stream that tells of these, and breaks off."""
    events = b"".join(b"event: task\ndata: " + msgspec.json.encode(view) + b"\n\n" for view in views)
    return b": the changes of tasks follow\n\n" + events
