"""`receiver serve` and `receiver demo` as processes: what they say, how they stop, how they fail."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import anyio.from_thread
import pytest

from kit.commands import OUTPAINT, RECEIVER, environment
from kit.live_service import PATIENCE_S
from receiver import sandbox
from receiver.sandbox import SandboxOptions


def start(tmp_path: Path, *args: str, **settings: str) -> "subprocess.Popen[str]":
    """`receiver serve` on a free port, with its own database."""
    own = {"DATABASE_URL": f"sqlite:///{tmp_path}/receiver.db", **settings}
    command = [*RECEIVER, "serve", "--port", "0", *args]
    return subprocess.Popen(command, stderr=subprocess.PIPE, cwd=tmp_path, env=environment(**own), text=True)


def log_line(service: "subprocess.Popen[str]", action: str) -> dict[str, Any]:
    """The next log line of that action."""
    assert service.stderr is not None
    for line in service.stderr:
        record: dict[str, Any] = json.loads(line)
        if record["action"] == action:
            return record
    raise AssertionError(f"no {action}")


def said_at_start(service: "subprocess.Popen[str]") -> list[dict[str, Any]]:
    """What a service says until it listens, the last line included; it is ended then."""
    lines = [log_line(service, "serve.start")]
    while "port" not in lines[-1]:
        lines.append(log_line(service, "serve.start"))
    service.terminate()
    ended(service)
    return lines


def ended(service: "subprocess.Popen[str]") -> tuple[int, str]:
    _, errors = service.communicate(timeout=PATIENCE_S)
    return service.returncode, errors


def test_serve_says_what_runs_where_and_no_secret_and_stops_on_sigterm(tmp_path: Path) -> None:
    """systemd is told both, where it listens."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified:
        notified.bind(str(tmp_path / "notify"))
        notified.settimeout(PATIENCE_S)
        os.environ["NOTIFY_SOCKET"] = str(tmp_path / "notify")
        try:
            service = start(tmp_path, NOTIFY_URLS="json://127.0.0.1:9/a-secret-path")
        finally:
            del os.environ["NOTIFY_SOCKET"]
        assert notified.recv(100).split(b"\n")[0] == b"READY=1"
        line = ""
        assert service.stderr is not None
        while "listening on" not in line:
            line = service.stderr.readline()
        service.terminate()
        assert notified.recv(100).split(b"\n")[0] == b"STOPPING=1"
    status, errors = ended(service)
    assert status == 0
    assert [json.loads(it)["msg"] for it in errors.splitlines()] == ["stopping", "stopped"]
    assert f"database {tmp_path}/receiver.db, targets: json-" in line
    assert "0 unfinished tasks" in line
    assert "a-secret-path" not in line


def test_a_start_waits_for_nothing_that_it_does_not_need_yet() -> None:
    """Each of these takes as long to import as the database to be made, and memory that an idle service would hold."""
    asked = "import sys, receiver.cli.serve; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    later = {
        "apprise",
        "asyncpg",
        "httpx",
        "PIL",
        "prometheus_client",
        "starlette.applications",
        "tomllib",
        "importlib.resources",
    }
    assert set(done.stdout.split()) & later == set()


def test_serve_warns_where_nobody_can_call_back(tmp_path: Path) -> None:
    service = start(tmp_path)
    warning = log_line(service, "serve.start")
    service.terminate()
    ended(service)
    assert warning["level"] == "warning"
    assert "set RECEIVER_PUBLIC_URL" in warning["msg"]


def test_serve_warns_of_what_it_cannot_do_for_want_of_a_key_and_a_target(tmp_path: Path) -> None:
    service = start(tmp_path, PUBLIC_URL="https://receiver.example.org", CONFIRM_WITHIN="77")
    warnings = [log_line(service, "serve.start") for _ in range(2)]
    service.terminate()
    ended(service)
    assert {it["level"] for it in warnings} == {"warning"}
    assert "no PROVIDER_KEY: nothing can be submitted or polled" in warnings[0]["msg"]
    assert "unconfirmed after 77 seconds" in warnings[0]["msg"]
    assert "so no pings are sent" in warnings[1]["msg"]


def test_a_start_that_makes_a_database_and_keys_says_where_and_a_later_one_does_not(tmp_path: Path) -> None:
    """The same settings in another folder are another service: it would refuse what the first one is owed."""
    told = []
    for _ in range(2):
        service = start(tmp_path, DATABASE_URL="sqlite:///receiver.db")
        lines = said_at_start(service)
        assert f", database {tmp_path}/receiver.db, " in lines[-1]["msg"]
        told.append([(it["level"], it["msg"]) for it in lines if "created " in it["msg"]])
    [(level, line)], later = told
    assert later == []
    assert level == "warning"
    assert line.startswith(
        f"created a new database, {tmp_path}/receiver.db, and new secret keys, {tmp_path}/secret_keys: right for a "
        "first start; else stop the service, "
    )


def test_keys_that_were_lost_and_made_anew_are_told(tmp_path: Path) -> None:
    """The database is there, so that nothing else looks wrong."""
    for _ in range(2):
        (tmp_path / "secret_keys").unlink(missing_ok=True)
        service = start(tmp_path, PUBLIC_URL="https://receiver.example.org", PROVIDER_KEY="any-key-will-do")
        *_, news, _ = said_at_start(service)
    said = f"created new secret keys, {tmp_path}/secret_keys: callback URLs made with other keys are refused; "
    assert news["msg"].startswith(said)


def test_a_second_process_on_the_same_database_is_refused_in_one_line(tmp_path: Path) -> None:
    first = start(tmp_path)
    log_line(first, "serve.start")
    status, errors = ended(start(tmp_path))
    first.terminate()
    ended(first)
    assert status == 1
    assert re.fullmatch(r"receiver: another process is using .*\n", errors)


@pytest.mark.parametrize("role", ["web", "worker"])
def test_sqlite_takes_no_role_but_all(tmp_path: Path, role: str) -> None:
    status, errors = ended(start(tmp_path, "--role", role))
    assert status == 2
    assert errors.startswith(
        f"receiver: --role {role} needs PostgreSQL, and {tmp_path}/receiver.db is an SQLite file, "
    )
    assert errors.count("\n") == 1
    assert not (tmp_path / "receiver.db").exists()


def test_a_port_that_is_taken_is_one_line_and_status_2(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        status, errors = ended(start(tmp_path, "--port", str(taken.getsockname()[1])))
    assert status == 2
    assert errors.splitlines()[-1].startswith("receiver: --port (RECEIVER_PORT): ")
    assert "in use" in errors


def test_a_loop_that_dies_ends_the_process_with_status_1(tmp_path: Path) -> None:
    script = (
        "import receiver.service.worker as w, receiver.cli.main as c\n"
        "async def run(*_): raise RuntimeError('this loop broke')\n"
        "w.run_loops = run\n"
        "c.main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, "serve", "--port", "0"],
        cwd=tmp_path,
        env=environment(DATABASE_URL=f"sqlite:///{tmp_path}/receiver.db"),
        capture_output=True,
        check=False,
        timeout=PATIENCE_S,
    )
    last = json.loads(done.stderr.decode().splitlines()[-1])
    assert done.returncode == 1
    assert (last["action"], last["level"]) == ("serve.died", "critical")
    assert "this loop broke" in last["msg"]


def test_a_second_signal_ends_serve_at_once(tmp_path: Path) -> None:
    """The first one waits for a submission whose answer hangs, and says so; the second does not."""
    with (
        anyio.from_thread.start_blocking_portal() as portal,
        portal.wrap_async_context_manager(sandbox.open_sandbox(SandboxOptions(slow=1.0))) as provider,
    ):
        key = {"PROVIDER_URL": f"{provider.url}/model/v1/generation", "PROVIDER_KEY": "any-key-will-do"}
        service = start(tmp_path, API_TOKENS="a-token-for-this-test", **key)
        started = log_line(service, "serve.start")
        while "port" not in started:  # a warning comes first
            started = log_line(service, "serve.start")
        api = environment(SERVER=f"http://127.0.0.1:{started['port']}", API_TOKEN="a-token-for-this-test")
        subprocess.run([*RECEIVER, *OUTPAINT], env=api, cwd=tmp_path, capture_output=True, check=True)
        listing = [*RECEIVER, "tasks", "list", "--state", "submitting"]
        asked = (subprocess.run(listing, env=api, cwd=tmp_path, capture_output=True, check=True) for _ in range(100))
        assert any(done.stdout for done in asked)  # now its answer hangs
        service.terminate()
        told = log_line(service, "serve.stop")["msg"]
        with pytest.raises(subprocess.TimeoutExpired):
            service.wait(0.5)
        service.terminate()
        status, _ = ended(service)
    assert status == -signal.SIGTERM
    assert told.startswith(
        "stopping: 1 submission is under way, up to 35 s; a second Ctrl-C ends at once and may leave"
    )


def test_the_demo_brings_every_ping_and_ends_well(tmp_path: Path) -> None:
    done = subprocess.run(
        [*RECEIVER, "demo", "--once"],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=3 * PATIENCE_S,  # for a start, the minute of its own that it has for pings, and one for the pictures
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "Every ping has arrived, each once." in done.stdout
    assert re.search(r"^meadow +completed +callback +accepted, duplicate +0 +sent +4 of 4$", done.stdout, re.MULTILINE)
    assert re.search(r"^orchard +completed +poll +none came +[1-9] +sent +4 of 4$", done.stdout, re.MULTILINE)
    assert re.search(r"^canyon +failed +callback +accepted +0 +sent +0 of 0$", done.stdout, re.MULTILINE)
    assert len(re.findall(r"^ +[0-9.]+ s  ping +to phone$", done.stdout, re.MULTILINE)) == 5
    assert "\x1b" not in done.stdout
