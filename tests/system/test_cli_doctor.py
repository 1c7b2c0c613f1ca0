"""`receiver doctor` as a process, and the endpoint by which it knows the service again."""

import asyncio
import contextlib
import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest

from kit.commands import RECEIVER, environment
from kit.live_service import KEY, PATIENCE_S, SECRET, TOKEN, free_port, serving, sinking, until
from kit.web import near, problem
from receiver import config, sandbox
from receiver.cli import doctor as doctors
from receiver.sandbox import SandboxOptions
from receiver.tokens import MacPurpose

pytestmark = pytest.mark.anyio

CHECKS = [
    "settings",
    "permissions",
    "password",
    "disk",
    "database",
    "service",
    "work",
    "targets",
    "provider key",
    "clock",
    "public URL",
]


async def doctor(folder: Path, env: dict[str, str], *args: str) -> tuple[int, str, str]:
    """Status, output and errors."""
    process = await asyncio.create_subprocess_exec(
        *RECEIVER, "doctor", *args, env=env, cwd=folder, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(PATIENCE_S):
        output, errors = await process.communicate()
    return process.returncode or 0, output.decode(), errors.decode()


def by_check(output: str) -> dict[str, dict[str, Any]]:
    """The findings of --json, by what was looked at; the last of each."""
    return {it["check"]: it for it in json.loads(output)}


async def test_a_service_that_is_well_is_found_well_and_status_0(tmp_path: Path) -> None:
    """Against the sandbox, with the service at work, and nothing of it is changed or told that is secret."""
    async with (
        sandbox.open_sandbox(SandboxOptions(), port=0) as provider,
        sinking() as sink,
        serving(tmp_path, f"{provider.url}/model/v1/generation", NOTIFY_URLS=sink.url) as service,
    ):
        status, output, errors = await doctor(tmp_path, service.env, "--json", "--send")
        found = by_check(output)
        assert {name: it["result"] for name, it in found.items()} == dict.fromkeys([*CHECKS, "sample"], "ok"), output
        assert (status, errors) == (0, "")
        assert len(sink.got) == 1
        assert (await service.http.get("/api/v1/callbacks")).json()["callbacks"] == []
        sink.status = 500
        status, output, errors = await doctor(tmp_path, service.env, "--send")
        assert status == 1
        [line] = [line for line in output.splitlines() if line.startswith("failed")]
        assert "sample" in line
        assert "did not accept it" in line
        log = (tmp_path / "service.log").read_text()
        for secret in (KEY, SECRET, TOKEN, sink.url):
            assert secret not in output + errors + log


async def test_what_fails_is_a_line_with_its_remedy_and_status_1(tmp_path: Path) -> None:
    """All is looked at, whatever fails; warnings alone are no failure."""
    env = environment(
        PORT=str(free_port()), PROVIDER_KEY=KEY, PROVIDER_URL=f"http://127.0.0.1:{free_port()}/generation"
    )
    status, output, errors = await doctor(tmp_path, env)
    assert (status, errors) == (1, "")
    lines = output.splitlines()
    assert [line[9:24].strip() for line in lines] == CHECKS
    assert all(line.startswith(("ok ", "warning", "failed", "skipped")) for line in lines)
    assert [line[9:24].strip() for line in lines if line.startswith("failed")] == ["service", "provider key"]
    assert "start it with" in output
    assert KEY not in output
    assert os.listdir(tmp_path) == []  # nothing is made, above all no keys


async def test_pings_that_were_given_up_are_told_though_all_else_is_well(tmp_path: Path) -> None:
    """A target that answers 500 is no fault of the service's, and yet nobody is told; a token that is not there is."""
    async with (
        sandbox.open_sandbox(SandboxOptions(), port=0) as provider,
        sinking() as sink,
        serving(tmp_path, f"{provider.url}/model/v1/generation", NOTIFY_URLS=sink.url, NOTIFY_RETRY="1") as service,
    ):
        sink.status = 500
        await service.submit("hero")

        async def given_up() -> bool:
            return bool((await service.got("notices", state="dead"))["notices"])

        await until(given_up)
        status, output, _ = await doctor(tmp_path, service.env, "--json")
        found = by_check(output)["work"]
        assert (status, found["result"]) == (0, "warning"), output
        assert found["text"].startswith("1 ping given up: 1 to json-")
        assert "`receiver notices redrive`" in found["remedy"]
        env = {name: value for name, value in service.env.items() if name != "RECEIVER_API_TOKENS"}
        _, output, _ = await doctor(tmp_path, env, "--json")
        found = by_check(output)["work"]
        assert (found["result"], found["remedy"]) == ("skipped", "set RECEIVER_API_TOKEN")
        _, output, _ = await doctor(tmp_path, env | {"RECEIVER_API_TOKEN": "another-token-0123456789"}, "--json")
        found = by_check(output)["work"]
        assert found["result"] == "skipped"
        assert "refuses this API token" in found["text"]


async def test_a_server_elsewhere_is_not_shown_the_token_of_the_one_here(tmp_path: Path) -> None:
    """Nor by `--send`: the file of tokens beside the settings is for the service beside them."""
    kept = tmp_path / "api_tokens"
    kept.write_text(f"{TOKEN}\n")
    kept.chmod(0o600)
    heads: list[bytes] = []

    async def hear(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer):
            heads.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            await writer.drain()

    async with await asyncio.start_server(hear, "127.0.0.2", 0) as elsewhere:
        server = f"http://127.0.0.2:{elsewhere.sockets[0].getsockname()[1]}"
        target = f"json://127.0.0.1:{free_port()}/"
        _, output, _ = await doctor(tmp_path, environment(SERVER=server, NOTIFY_URLS=target), "--send", "--json")
    assert any(head.startswith(b"POST ") for head in heads), "a sample was asked for"
    assert not [head for head in heads if TOKEN.encode() in head]
    found = by_check(output)
    assert list(found) == ["settings", "service", "work", "sample"]  # nothing of this machine's
    assert found["settings"]["result"] == "skipped"
    assert "run the doctor there" in found["settings"]["text"]


async def test_a_laptop_with_the_services_settings_needs_none_of_its_files(tmp_path: Path) -> None:
    (tmp_path / "receiver.toml").write_text('[targets.team]\nurl = "json://127.0.0.1"\ntemplate = "absent.j2"\n')
    _, output, _ = await doctor(tmp_path, environment(SERVER=f"http://127.0.0.2:{free_port()}"), "--json")
    assert list(by_check(output)) == ["settings", "service", "work"]
    assert by_check(output)["service"]["remedy"] == "start it on that machine, or correct SERVER"
    _, output, _ = await doctor(tmp_path, environment(), "--json")
    assert "absent.j2" in by_check(output)["settings"]["text"]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"PROT": "1"}, "RECEIVER_PROT"),
        ({"MAX_BODY": "many"}, "MAX_BODY"),
        ({"PROVIDER_KEY_FILE": "/nowhere/key"}, "RECEIVER_PROVIDER_KEY_FILE"),
    ],
)
async def test_settings_that_do_not_load_are_the_only_finding(
    tmp_path: Path, settings: dict[str, str], said: str
) -> None:
    status, output, _ = await doctor(tmp_path, environment(**settings), "--json")
    [found] = json.loads(output)
    assert (status, found["check"], found["result"]) == (1, "settings", "failed")
    assert said in found["text"]


@pytest.mark.parametrize(
    ("settings", "result", "said"),
    [
        ({"PUBLIC_URL": "http://192.168.1.7:8000"}, "failed", "an address of a private network"),
        ({"PUBLIC_URL": "http://localhost"}, "failed", "an address of this machine"),
        ({"PUBLIC_URL": "http://receiver.invalid"}, "warning", "can be read and changed in transit"),
        ({"PUBLIC_URL": "https://receiver.invalid"}, "warning", "no secret keys here yet"),
    ],
)
async def test_a_public_url_that_cannot_do_is_explained(
    tmp_path: Path, settings: dict[str, str], result: str, said: str
) -> None:
    """Nobody is asked for that: the provider's key is left out."""
    _, output, _ = await doctor(tmp_path, environment(PORT=str(free_port()), **settings), "--json")
    found = [it for it in json.loads(output) if it["check"] == "settings"]
    assert [it["result"] for it in found if said in it["text"]] == [result]
    assert all(it["remedy"] for it in found)


async def test_files_that_settings_name_are_looked_at(tmp_path: Path) -> None:
    """Each with what it holds."""
    key, file, credential = tmp_path / "key", tmp_path / "own.toml", tmp_path / "api_token"
    key.write_text(KEY)
    credential.write_text(TOKEN)
    file.write_text('[targets.team]\nurl = "json://127.0.0.1:9/x"\n')
    for path in (key, file, credential):
        path.chmod(0o644)
    env = environment(PORT=str(free_port()), PROVIDER_KEY_FILE=str(key), PROVIDER_URL="http://127.0.0.1:9/generation")
    env["CREDENTIALS_DIRECTORY"] = str(tmp_path)
    status, output, _ = await doctor(tmp_path, env, "--config", str(file))
    lines = [line for line in output.splitlines() if "permissions" in line]
    assert status == 1
    assert [line.partition("which holds ")[2] for line in lines] == [
        f"targets' URLs: chmod o= {file}",
        f"PROVIDER_KEY: chmod o= {key}",
        f"API_TOKEN: chmod o= {credential}",
    ]


async def test_keys_that_cannot_be_read_are_told(tmp_path: Path) -> None:
    """The service would not start, and must not make new ones: the old URLs would not fit."""
    for name in ("secret_keys", "api_tokens"):
        (tmp_path / name).touch(0o600)
    status, output, _ = await doctor(
        tmp_path, environment(PORT=str(free_port()), PUBLIC_URL="https://receiver.invalid")
    )
    lines = [line for line in output.splitlines() if line[9:24].strip() == "settings"]
    assert status == 1
    assert [line.startswith("failed") and "the file is empty: restore" in line for line in lines] == [True, True]


async def test_wrong_usage_is_status_2(tmp_path: Path) -> None:
    status, output, errors = await doctor(tmp_path, environment(), "--jsno")
    assert (status, output) == (2, "")
    assert errors.startswith("receiver: ")


async def test_the_service_signs_a_nonce_for_the_doctor_and_for_nothing_else(tmp_path: Path) -> None:
    """Without a token: the doctor knows the keys. What is signed serves as no other MAC of ours."""
    nonce = "0123456789abcdef"
    async with near(tmp_path) as web:
        del web.client.headers["Authorization"]
        answer = await web.client.get(f"/doctor/{nonce}")
        said = answer.json()
        assert (answer.status_code, said["nonce"], answer.headers["cache-control"]) == (200, nonce, "no-store")
        good = [it for it in MacPurpose if web.parts.ring.verify(it, nonce, said["mac"])]
        assert good == [MacPurpose.DOCTOR]


@pytest.mark.parametrize("nonce", ["", "0123456789abcde", "0" * 65, "0123456789ABCDEF", "0123456789abcdef/", "%00"])
async def test_only_a_nonce_is_signed(tmp_path: Path, nonce: str) -> None:
    async with near(tmp_path) as web:
        assert problem(await web.client.get(f"/doctor/{nonce}")) == (404, "not_found", None)


def test_it_says_so_if_it_was_not_given_the_settings_of_the_unit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else all would be told to be well with a database that nobody uses."""
    (tmp_path / "receiver.db").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(config, "UNIT_DATABASE", tmp_path / "receiver.db")
    given = {"RECEIVER_PROVIDER_KEY": "any"}
    told = [it.text for it in doctors._check_settings(config.load_settings(given), None)]
    assert f"these are not the settings of this machine's unit, whose state is in {tmp_path}" in told
    told = [it.text for it in doctors._check_settings(config.load_settings({"STATE_DIRECTORY": str(tmp_path)}), None)]
    assert not [text for text in told if "unit" in text]


def test_keys_that_are_closed_to_it_are_not_told_to_be_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As an ordinary user beside the unit: what the permissions say is enough."""
    settings = config.load_settings({"STATE_DIRECTORY": str(tmp_path), "RECEIVER_PROVIDER_KEY": "any"})
    missing = "there are no secret keys here yet"
    assert any(missing in it.text for it in doctors._check_settings(settings, None))

    def closed(_: Path) -> bool:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "exists", closed)
    assert not any(missing in it.text for it in doctors._check_settings(settings, None))


async def test_before_the_first_start_it_says_that_the_service_has_never_run_here(tmp_path: Path) -> None:
    _, output, _ = await doctor(tmp_path, environment(PORT=str(free_port())), "--json")
    found = by_check(output)
    assert found["work"]["text"] == "the service has never run with these settings"
    assert "receiver serve" in found["work"]["remedy"]
    assert f"no receiver.toml in {tmp_path}" in found["settings"]["text"]
    assert "clock" not in found, "nobody was asked for the time"


def test_without_a_settings_file_that_comes_first_and_nothing_is_said_of_the_defaults(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A person is in the wrong folder, or is not root: an address that nobody chose is not what is wrong."""
    monkeypatch.chdir(tmp_path)
    unit = tmp_path / "etc.toml"
    monkeypatch.setattr(config, "UNIT_SETTINGS", unit)
    [found] = doctors._check_settings(config.load_settings({}), None)
    assert found.result == "failed"
    assert found.text == (
        f"no receiver.toml in {tmp_path}, so the environment and the defaults apply, and there is no PUBLIC_URL"
    )
    assert str(found.remedy).startswith("run the doctor in the service's folder, or with its --config")
    unit.touch()
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    [found] = doctors._check_settings(config.load_settings({}), None)
    assert found.remedy == "to check this machine's unit, run the doctor as root"


def test_how_to_start_the_service_follows_from_its_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert doctors._how_to_start(config.load_settings({})) == "start it with `receiver serve`"
    Path("receiver.toml").touch()
    named = config.load_settings({}, Path("receiver.toml"))
    assert doctors._how_to_start(named) == f"start it with `receiver serve --config {tmp_path}/receiver.toml`"
    monkeypatch.setattr(config, "UNIT_SETTINGS", tmp_path / "receiver.toml")
    assert doctors._how_to_start(named) == "start it with `systemctl start receiver`"


def test_the_file_that_the_settings_are_from_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("receiver.toml").write_text('public_url = "https://receiver.example.org"')
    [*_, last] = doctors._check_settings(config.load_settings({}), None)
    assert last.text.startswith(f"read from {tmp_path}/receiver.toml")
    Path("receiver.toml").write_text('public_url = "http://localhost"')
    [first, *_] = doctors._check_settings(config.load_settings({}), None)
    assert str(first.remedy).endswith(f"(read from {tmp_path}/receiver.toml)")
