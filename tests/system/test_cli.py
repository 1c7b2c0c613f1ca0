"""The commands: manners (one line, a status), and the main job from the command line against a real service."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import anyio.from_thread
import pytest
from click.testing import CliRunner, Result
from msgspec.structs import replace

from kit.commands import OUTPAINT, RECEIVER, REF, environment
from kit.live_service import PATIENCE_S
from receiver import config, sandbox
from receiver.cli.main import COMMANDS, cli
from receiver.cli.output import age, format_table, safe_line
from receiver.sandbox import Sandbox, SandboxOptions

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command in an empty directory, with only the settings that are given."""
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith("RECEIVER_"):
            monkeypatch.delenv(name)

    def runs(*args: str, **settings: str) -> Result:
        return CliRunner().invoke(cli, args, env={f"RECEIVER_{name}": value for name, value in settings.items()})

    return runs


@pytest.fixture(scope="module")
def provider() -> Iterator[Sandbox]:
    """A stand-in for the provider that takes its time, but not much."""
    with (
        anyio.from_thread.start_blocking_portal() as portal,
        portal.wrap_async_context_manager(sandbox.open_sandbox(SandboxOptions(latency_s=0.2))) as running,
    ):
        yield running


@pytest.fixture(scope="module")
def settings(provider: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A real service on a socket that it inherits; what a command on its machine would find as settings."""
    directory = tmp_path_factory.mktemp("service")
    listener = socket.create_server(("127.0.0.1", 0))
    own = {
        "DATABASE_URL": f"sqlite:///{directory}/receiver.db",
        "PUBLIC_URL": f"http://127.0.0.1:{listener.getsockname()[1]}",
    }
    service = subprocess.Popen(
        [*RECEIVER, "serve", "--fd", str(listener.fileno())],
        env=environment(
            **own,
            PROVIDER_URL=f"{provider.url}/model/v1/generation",
            PROVIDER_KEY="any-key-will-do",
            NOTIFY_URLS="json://127.0.0.1:9/",  # nobody listens on the discard port
            NOTIFY_RETRY="86400",
        ),
        pass_fds=[listener.fileno()],
        stderr=subprocess.PIPE,
        cwd=directory,
    )
    listener.close()
    assert service.stderr is not None
    service.stderr.readline()  # it says when it listens
    yield {"DATABASE_URL": own["DATABASE_URL"], "SERVER": own["PUBLIC_URL"]}
    service.terminate()
    service.communicate(timeout=PATIENCE_S)
    assert service.returncode == 0


def one_error(result: Result) -> str:
    """The one line that an error is."""
    assert result.stdout == ""
    [line] = result.stderr.splitlines()
    assert line.startswith("receiver: ")
    return line


# -- manners --


@pytest.mark.parametrize(
    "args",
    [
        ("nonsense",),
        ("submit", "outpaint", "--image-no", "0", "--scale", "1.5"),
        (*OUTPAINT, "--from", "a-ref"),
        ("submit", "outpaint", "--job-id", "j", "--image-no", "4", "--scale", "1.5"),
        ("submit", "outpaint", "--job-id", "j", "--image-no", "0", "--scale", "9"),
        (*OUTPAINT, "--prompt", "a {red,green} door"),
        ("tasks", "list", "--state", "nonsense"),
        ("callbacks", "replay"),
        ("serve", "--role", "nonsense"),
        ("sandbox", "--fail", "2"),
    ],
)
def test_wrong_usage_is_one_line_and_status_2(run: Run, args: tuple[str, ...]) -> None:
    result = run(*args, SERVER="http://127.0.0.1:9")
    assert result.exit_code == 2
    assert "--help`)" in one_error(result)


def test_what_is_wrong_with_a_parameter_is_said_in_the_options_words(run: Run) -> None:
    result = run("submit", "outpaint", "--job-id", "j", "--image-no", "4", "--scale", "1.5")
    assert "--image-no must be a whole number from 0 to 3 (" in one_error(result)


@pytest.mark.parametrize(("args", "near"), [(("taks", "list"), "'tasks'"), (("tasks", "lst"), "'list'")])
def test_the_nearest_command_is_named(run: Run, args: tuple[str, ...], near: str) -> None:
    assert f"Did you mean {near}?" in one_error(run(*args))


def test_a_wrong_setting_is_one_line_and_status_2(run: Run) -> None:
    result = run("tasks", "list", PROT="8001")
    assert result.exit_code == 2
    assert "did you mean RECEIVER_PORT?" in one_error(result)


def test_a_service_that_is_not_there_is_one_line_and_status_1(run: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    result = run("tasks", "list", SERVER=f"http://127.0.0.1:{port}")
    assert result.exit_code == 1
    assert "start the service with `receiver serve`" in one_error(result)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_of_the_overview_is_there(run: Run, name: str) -> None:
    assert name in run("--help").stdout
    assert run(name, "--help").exit_code == 0


def loaded(code: str, tmp_path: Path) -> set[str]:
    """The modules that `code` loads in a fresh interpreter."""
    script = f"{code}; import sys; print(' '.join(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, check=True, cwd=tmp_path, env=environment()
    )
    return set(done.stdout.decode().split())


def test_the_overview_loads_no_command(tmp_path: Path) -> None:
    code = "import receiver.cli.main as c, click; c.cli.get_help(click.Context(c.cli))"
    assert loaded(code, tmp_path).isdisjoint(
        {"httpx", "starlette", "aiosqlite", "receiver.config.settings", "receiver.cli.serve"}
    )


def test_serve_loads_nothing_of_the_client_and_nothing_heavy(tmp_path: Path) -> None:
    heavy = {
        "receiver.client.client",
        "receiver.sandbox.server",
        "apprise",
        "PIL",
        "requests",
        "receiver.cli.tasks",
    }
    assert loaded("import receiver.cli.serve", tmp_path).isdisjoint(heavy)


def test_client_commands_load_nothing_of_the_service(tmp_path: Path) -> None:
    heavy = {"starlette", "uvicorn", "aiosqlite", "receiver.store", "receiver.service.wiring", "apprise", "PIL"}
    ours = ("submit.group", "submit.model_commands", "submit.again", "callbacks")
    assert loaded("; ".join(f"import receiver.cli.{it}" for it in ours), tmp_path).isdisjoint(heavy)


def test_a_reader_who_leaves_is_told_nothing(tmp_path: Path) -> None:
    """As in `receiver config | head -1`."""
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [*RECEIVER, "config", "--example"],
        stdout=writing,
        stderr=subprocess.PIPE,
        cwd=tmp_path,
        env=environment(),
        check=False,
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, b"")


# -- text --


def test_tables_fit_the_terminal_by_the_column_that_gives_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    lines = format_table(
        ("REF", "LABEL", "AGE"), [("0199", "a label that is far too long for this", "3 h")], shrink=(1,)
    ).splitlines()
    assert all(len(line) <= 40 for line in lines)
    assert lines[1].startswith("0199  a label")
    assert lines[1].endswith("…  3 h")


def test_ages_are_for_people() -> None:
    now = datetime(2026, 11, 22, 12, tzinfo=UTC)
    moments = ["12:00:00", "11:59:48", "11:55:00", "09:00:00", "12:05:00"]
    ages = [age(f"2026-11-22T{moment}.000Z", now) for moment in moments]
    assert ages == ["now", "12 s", "5 min", "3 h", "in 5 min"]
    assert age("2026-11-14T12:00:00.000Z", now) == "8 d"


def test_words_from_outside_cannot_speak_to_the_terminal() -> None:
    assert "\x1b" not in safe_line("a\x1b[2Jb\r\nc")
    assert "\n" not in safe_line("a\nb")


# -- config --


def test_the_example_file_is_a_receiver_toml_with_the_defaults(run: Run, tmp_path: Path) -> None:
    (tmp_path / "receiver.toml").write_text(run("config", "--example").stdout)
    found, named = config.load_settings({}), config.load_settings({}, Path("receiver.toml"))
    assert found == replace(named, sources=found.sources, place=found.place)
    assert config.load_settings({}).port == 8000


def test_config_shows_sources_and_no_secret(run: Run) -> None:
    result = run("config", "--json", PORT="8123", PROVIDER_KEY="a-secret-provider-key")
    rows = {row["name"]: row for row in json.loads(result.stdout)}
    assert rows["PORT"] == {"name": "PORT", "value": "8123", "source": "environment RECEIVER_PORT"}
    assert "a-secret-provider-key" not in result.stdout + run("config", PROVIDER_KEY="a-secret-provider-key").stdout


def test_a_server_elsewhere_is_not_shown_the_local_services_token(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    tokens: list[str | None] = []
    monkeypatch.setattr("receiver.cli.connect.Client", lambda server, token: tokens.append(token))
    for server in ("http://127.0.0.1:8001", "https://elsewhere.example"):
        run("tasks", "list", SERVER=server, API_TOKENS="the-local-services-token")
    assert tokens == ["the-local-services-token", None]


# -- the main job --


def test_submit_prints_exactly_the_ref_and_waits_for_the_end(run: Run, settings: dict[str, str]) -> None:
    result = run(*OUTPAINT, "--label", "hero", "--wait", **settings)
    assert result.exit_code == 0, result.stderr
    assert REF.fullmatch(result.stdout.rstrip("\n"))
    assert "completed, by callback" in result.stderr
    assert "/pictures/" in result.stderr


def test_submit_with_json_prints_the_task_at_its_end(run: Run, settings: dict[str, str]) -> None:
    task = json.loads(run(*OUTPAINT, "--wait", "--json", **settings).stdout)
    assert task["state"] == "completed"
    assert len(task["images"]) == 4


def test_waiting_for_a_task_that_fails_ends_with_status_1(
    run: Run, settings: dict[str, str], provider: Sandbox
) -> None:
    before = provider.options
    provider.options = replace(before, fail=1.0)
    try:
        result = run(*OUTPAINT, "--wait", **settings)
    finally:
        provider.options = before
    assert result.exit_code == 1
    assert REF.fullmatch(result.stdout.strip())
    assert "004007098" in result.stderr
    assert "What to do:" in result.stderr


def test_the_job_id_is_looked_up_from_an_earlier_task(run: Run, settings: dict[str, str]) -> None:
    earlier = json.loads(run(*OUTPAINT, "--wait", "--json", **settings).stdout)
    result = run(
        *("submit", "outpaint", "--from", earlier["ref"], "--image-no", "2", "--scale", "2", "--json"), **settings
    )
    assert json.loads(result.stdout)["params"]["jobId"] == earlier["images"][2]["job_id"]


def test_an_earlier_task_without_pictures_gives_no_job_id(run: Run, settings: dict[str, str]) -> None:
    ref = json.loads(run("url", "--json", **settings).stdout)["ref"]
    result = run("submit", "outpaint", "--from", ref, "--image-no", "0", "--scale", "2", **settings)
    assert result.exit_code == 1
    assert "give --job-id" in one_error(result)


def test_a_task_id_in_the_place_of_a_job_id_is_remarked_upon(run: Run, settings: dict[str, str]) -> None:
    args = ("submit", "outpaint", "--job-id", "d758n65e878c73cmdg20", "--image-no", "0", "--scale", "1.5")
    result = run(*args, **settings)
    assert result.exit_code == 0
    assert result.stderr.startswith("receiver: tip: ")


def test_tasks_are_listed_in_eighty_columns_and_shown_in_full(
    run: Run, settings: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    ref = run(*OUTPAINT, "--label", "a label as long as people make them, if nobody stops them", "--wait", **settings)
    listed = run("tasks", "list", **settings).stdout
    shown = run("tasks", "show", ref.stdout.strip(), **settings).stdout
    assert ref.stdout.strip() in listed
    assert all(len(line) <= 80 for line in listed.splitlines())
    assert "if nobody stops them" in shown
    assert re.search(r"^state +completed, by callback$", shown, re.MULTILINE)
    assert "notice to json-" in shown


def test_what_cannot_be_done_to_a_task_is_one_line_and_status_1(run: Run, settings: dict[str, str]) -> None:
    ref = run(*OUTPAINT, "--wait", **settings).stdout.strip()
    for command in ("cancel", "poll", "resubmit"):
        result = run("tasks", command, ref, **settings)
        assert result.exit_code == 1
        assert "completed" in one_error(result)


def test_callbacks_are_shown_verbatim_and_replayed(run: Run, settings: dict[str, str]) -> None:
    ref = run(*OUTPAINT, "--wait", **settings).stdout.strip()
    [callback] = json.loads(run("callbacks", "list", "--ref", ref, "--json", **settings).stdout)["callbacks"]
    shown = run("callbacks", "show", str(callback["id"]), **settings)
    assert len(shown.stdout_bytes) == callback["size"]
    assert json.loads(shown.stdout)["status"] == "completed"
    replayed = run("callbacks", "replay", str(callback["id"]), **settings)
    assert replayed.stdout == f"{callback['id']}  duplicate\n"


def test_notices_are_listed_and_redriving_says_how_many(run: Run, settings: dict[str, str]) -> None:
    ref = run(*OUTPAINT, "--wait", **settings).stdout.strip()
    [notice] = json.loads(run("notices", "list", "--ref", ref, "--json", **settings).stdout)["notices"]
    assert notice["event"] == "completed"
    assert run("notices", "list", **settings).stdout.startswith("ID")
    assert re.fullmatch(r"\d+ put back to due\n", run("notices", "redrive", **settings).stdout)


def test_a_task_is_named_by_its_label_or_by_an_end_of_its_ref(run: Run, settings: dict[str, str]) -> None:
    label = "the only one of this name"
    ref = run(*OUTPAINT, "--label", label, "--wait", **settings).stdout.strip()
    for handle in (label, ref[-8:], ref[:20]):
        assert json.loads(run("tasks", "show", handle, "--json", **settings).stdout)["ref"] == ref
    again = run("submit", "again", label, "--prompt", "the sea", "--json", **settings)
    assert json.loads(again.stdout)["params"]["remixPrompt"] == "the sea"
    listed = json.loads(run("tasks", "list", "--label", "the only*", "--json", **settings).stdout)["tasks"]
    assert [it["ref"] for it in listed] == [json.loads(again.stdout)["ref"], ref]


def test_a_url_is_discarded(run: Run, settings: dict[str, str]) -> None:
    ref = json.loads(run("url", "--json", **settings).stdout)["ref"]
    assert run("url", "discard", ref, **settings).stdout == f"{ref}  cancelled  discarded\n"


def test_url_prints_exactly_a_url_whose_task_can_be_told_its_id(run: Run, settings: dict[str, str]) -> None:
    minted = run("url", "--label", "mine", **settings)
    assert re.fullmatch(rf"{settings['SERVER']}/callbacks/\S+\n", minted.stdout)
    found = REF.search(minted.stdout)
    assert found is not None
    told = run("tasks", "tell-id", found[0], "d758n65e878c73cmdg21", **settings)
    assert told.exit_code == 0, told.stderr


def test_watch_prints_a_line_for_each_change_until_it_is_interrupted(
    run: Run, settings: dict[str, str], tmp_path: Path
) -> None:
    """And says nothing about the interruption but its status."""
    # whoever runs the tests in the background may have SIGINT ignored, which programs inherit
    watching = subprocess.Popen(
        ["env", "--default-signal=INT", *RECEIVER, "tasks", "watch", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=tmp_path,
        env=environment(**settings),
        text=True,
    )
    assert watching.stdout is not None
    os.set_blocking(watching.stdout.fileno(), False)
    line, until = "", time.monotonic() + PATIENCE_S
    while not line and time.monotonic() < until:
        run(*OUTPAINT, "--wait", **settings)  # until the watcher is there to hear of it
        line = watching.stdout.readline()
    watching.send_signal(signal.SIGINT)
    _, errors = watching.communicate(timeout=PATIENCE_S)
    assert json.loads(line)["ref"]
    assert watching.returncode == 130
    assert errors.strip() in ("", "Nothing is under way. Changes follow."), "it may have begun before the first task"
