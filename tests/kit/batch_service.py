"""A small stand-in for the service's calls about batches, in memory, for tests of the commands."""

import http.server
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import msgspec
import pytest
from click.testing import CliRunner
from msgspec.structs import replace

from kit.commands import Run, task
from receiver.cli.main import cli
from receiver.client.batch_schemas import BatchChange, BatchCounts, BatchPage, BatchRowResult, BatchView, NewBatch
from receiver.client.cost_schemas import CostDimension, CostLine, CostsView
from receiver.client.queue_schemas import QueueView
from receiver.client.schemas import BatchItem, NewTask, Problem, ProblemView, TaskView

HEADER = "model,jobId,imageNo,scale,remixPrompt,label\n"
NOW = "2026-11-22T08:16:00.123Z"
CALL_MOST = 1 << 20  # bytes, as the service has it


class BatchService:
    """Batches, and every call. `before_call` sees the method, the path and the body; it may raise Refusal or HangUp."""

    def __init__(self) -> None:
        self.batches: dict[str, BatchView] = {}
        self.rows: dict[str, dict[str, TaskView]] = {}  # by name, then by row key
        self.lines: dict[str, int] = {}  # by ref
        self.results: list[BatchRowResult] = []  # instead of those of the tasks, if there are any
        self.each: str | None = None  # what a task costs, if the service can say that
        self.calls: list[str] = []
        self.checked = 0  # rows of dry runs
        self.restored: tuple[str | None, str | None] = (None, None)  # when, and from a backup of when
        self.changed_most = 1_000  # rows that a change of the batch takes at once
        self.cursors: list[str] = []  # of the calls that went on with one
        self.before_call: Callable[[str, str, Any], None] = lambda method, path, body: None
        self.after_call: Callable[[str, str], None] = lambda method, path: None
        self.refuse: Callable[[NewTask], Problem | None] = lambda it: None
        self.end_as: str | None = "completed"  # how tasks end at once; None: they do not
        self._lock = threading.Lock()

    @property
    def sent(self) -> int:
        """All tasks there are."""
        return sum(map(len, self.rows.values()))

    def answer(self, method: str, path: str, query: dict[str, list[str]], body: bytes) -> tuple[int, object]:
        """The status and the body of an answer."""
        with self._lock:
            self.calls.append(f"{method} {path}")
            decoded = msgspec.json.decode(body) if body else None
            if len(body) > CALL_MOST:
                return 413, ProblemView(Problem("too_large", "the body is too large"))
            self.before_call(method, path, decoded)
            found = self._answer(method, path.split("/"), query, decoded)
            self.after_call(method, path)
            return found

    def _answer(self, method: str, parts: list[str], query: dict[str, list[str]], body: Any) -> tuple[int, object]:
        match method, parts:
            case "GET", ["queue"]:
                return 200, QueueView(None, 0, 10, 10, None, None, None, None, None, [], *self.restored)
            case "GET", ["costs"]:
                return self._costs()
            case "POST", ["tasks", "batch"]:
                return 200, self._add(body)
            case "POST", ["batches"]:
                return 200, self._open(msgspec.convert(body, NewBatch))
            case "GET", ["batches"]:
                return 200, BatchPage([self._view(it) for it in reversed(self.batches)], None)
            case _, ["batches", name, *_] if name not in self.batches:
                return 404, ProblemView(Problem("not_found", f"there is no batch {name!r}"))
            case "GET", ["batches", name]:
                return 200, self._view(name)
            case "GET", ["batches", name, "results"]:
                after = int(query.get("after", ["0"])[0])
                return 200, [it for it in self.results or self._results(name) if it.line > after]
            case "POST", ["batches", name, change]:
                return 200, self._change(name, change, query)
        raise AssertionError(f"{method} {parts}")

    def _costs(self) -> tuple[int, object]:
        if self.each is None:
            return 404, ProblemView(Problem("not_found", "there is no such call"))
        line = CostLine("midjourney_outpaint", 212, 212, 0, 0, 0, 0, "10.60", self.each, "0", "0")
        return 200, CostsView(CostDimension.MODEL, "2026-09-01", "UTC", [line], more=False, total=line, budgets=[])

    def _open(self, asked: NewBatch) -> BatchView:
        if asked.name not in self.batches:
            self.batches[asked.name] = BatchView(
                name=asked.name,
                priority=asked.priority,
                label=asked.label,
                created_at=NOW,
                closed_at=None,
                paused_at=None,
                paused_why=None,
                finished_at=None,
                budget=asked.budget,
                counts=BatchCounts(),
            )
            self.rows[asked.name] = {}
        elif asked.reopen:
            self.batches[asked.name] = replace(self.batches[asked.name], closed_at=None)
        return self._view(asked.name)

    def _add(self, body: dict[str, Any]) -> list[BatchItem]:
        name, dry_run, items = body["batch"], body.get("dry_run", False), []
        assert 0 < len(body["tasks"]) <= 100
        for given in body["tasks"]:
            asked = msgspec.convert(given, NewTask)
            assert asked.line is not None
            assert asked.row_key is not None
            rows = self.rows.get(name, {})
            self.checked += dry_run
            have = [it for it in self.rows if asked.row_key in self.rows[it] and it != name]
            sent_in = have[-1] if have and dry_run else None
            if asked.row_key in rows:
                items.append(BatchItem(202, rows[asked.row_key], replayed=True))
            elif (problem := self.refuse(asked)) is not None:
                items.append(BatchItem(422, error=problem))
            elif name in self.batches and self.batches[name].closed_at:
                closed = Problem("batch_closed", f"the batch {name!r} is closed")
                items.append(BatchItem(409, error=closed, sent_in=sent_in))
            elif dry_run:
                items.append(BatchItem(202, sent_in=sent_in))
            else:
                made = replace(task(self.end_as or "queued", f"0199d0a0-0000-7000-8000-{self.sent:012d}"))
                rows[asked.row_key] = replace(made, params=asked.params, label=asked.label, model=asked.model)
                self.lines[made.ref] = asked.line
                items.append(BatchItem(202, rows[asked.row_key]))
        return items

    def _view(self, name: str) -> BatchView:
        states = [it.state for it in self.rows[name].values()]
        unsure = sum(it.unsure for it in self.rows[name].values())
        counts = BatchCounts(**{state: states.count(state) for state in set(states)}, unsure=unsure)
        return replace(self.batches[name], counts=counts)

    def _change(self, name: str, change: str, query: dict[str, list[str]]) -> BatchChange:
        batch, changed = self.batches[name], 0
        if change in ("close", "pause"):
            batch = replace(batch, **{"closed_at" if change == "close" else "paused_at": NOW})
        elif change == "resume":
            batch = replace(batch, paused_at=None)
        else:
            before, after = ("queued", "cancelled") if change == "cancel" else ("failed", "queued")
            for key, it in self.rows[name].items():
                if it.state == before and changed < self.changed_most:
                    self.rows[name][key] = replace(it, state=after)
                    changed += 1
        self.batches[name] = batch
        self.cursors += query.get("cursor", [])
        more = f"{len(self.cursors)}.ref" if changed == self.changed_most else None
        return BatchChange(self._view(name), changed, more)

    def _results(self, name: str) -> list[BatchRowResult]:
        rows = self.rows[name].values()
        found = [
            BatchRowResult(line=self.lines[it.ref], ref=it.ref, state=it.state, model=it.model, label=it.label)
            for it in rows
        ]
        return sorted(found, key=lambda it: it.line)


class HangUp(Exception):
    """The connection is closed without an answer."""


class Refusal(Exception):
    """The answer is an error."""

    def __init__(self, status: int, code: str = "unavailable") -> None:
        super().__init__(status)
        self.status = status
        self.problem = ProblemView(Problem(code, "no room just now"))


def serving_batches(service: BatchService) -> http.server.ThreadingHTTPServer:
    """Start serving; the caller shuts it down."""

    class Call(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            url = urlsplit(self.path.removeprefix("/api/v1/"))
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            try:
                parts = "/".join(unquote(it) for it in url.path.split("/"))
                status, found = service.answer(self.command, parts, parse_qs(url.query), body)
            except HangUp:
                self.close_connection = True
                return
            except Refusal as refused:
                status, found = refused.status, refused.problem
            lines = isinstance(found, list) and url.path.endswith("/results")
            content = msgspec.json.Encoder().encode_lines(found) if lines else msgspec.json.encode(found)  # type: ignore[arg-type]
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = answer  # noqa: N815 - http.server's names

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Call)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    return server


def run_commands(service: BatchService, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """Runs commands before it in an empty folder; they wait nowhere. For a fixture."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr("receiver.cli.batch.follow.LOOK_S", 0)
    monkeypatch.setattr("receiver.cli.batch.patience.GAPS_S", (0.0,))
    for name in [it for it in os.environ if it.startswith("RECEIVER_")]:
        monkeypatch.delenv(name)
    server = serving_batches(service)
    own = {"RECEIVER_SERVER": f"http://127.0.0.1:{server.server_address[1]}", "RECEIVER_API_TOKEN": "any-token"}
    yield lambda *args, **more: CliRunner().invoke(cli, args, env=own, **more)
    server.shutdown()
    server.server_close()


def rows(count: int, *, label: str = "hero") -> str:
    """A file of so many rows, all different."""
    return HEADER + "".join(f"outpaint,job-{number},0,1.5,,{label}\n" for number in range(count))


def submit(run: Run, *args: str, content: str | bytes | None = None, **more: Any) -> Any:
    """Submit rows.csv, which gets this `content`."""
    if content is not None:
        Path("rows.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    return run("submit", "batch", "rows.csv", *args, **more)
