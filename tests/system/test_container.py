"""The container: not root, read-only, and with the settings where its unit puts them. Built and run where Podman is."""

import configparser
import fnmatch
import json
import re
import shlex
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from kit.commands import ROOT
from kit.live_service import free_port
from receiver.config import UNIT_DATABASE, UNIT_SETTINGS, load_settings, locate

HERE = ROOT / "systemd" / "container"
CONTAINERFILE = HERE / "Containerfile"
UNIT = HERE / "receiver.container"
IMAGE = "localhost/receiver-test"
# of podman-systemd.unit(5)
QUADLET_KEYS = {
    *("Image", "ContainerName", "Notify", "RunInit", "PublishPort", "Volume", "Secret", "User", "Group", "ReadOnly"),
    *("NoNewPrivileges", "DropCapability", "PodmanArgs"),
}


def steps() -> list[tuple[str, str]]:
    """Pairs of an instruction and its argument, of the last stage only where that matters."""
    text = re.sub(r"^#.*\n", "", CONTAINERFILE.read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    return [(word, rest.strip()) for line in text.splitlines() if line for word, _, rest in [line.partition(" ")]]


def last_stage() -> dict[str, str]:
    found = steps()
    begin = max(at for at, (word, _) in enumerate(found) if word == "FROM")
    return dict(found[begin:])


def environment() -> dict[str, str]:
    return dict(word.split("=", 1) for word in shlex.split(last_stage()["ENV"]))


def unit() -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None, strict=True)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(UNIT.read_text())
    return parser


def test_the_image_runs_as_a_user_who_owns_nothing_but_the_state() -> None:
    stage = last_stage()
    assert re.fullmatch(r"[1-9][0-9]{3,}:[1-9][0-9]{3,}", stage["USER"])
    user, group = stage["USER"].split(":")
    assert f"install -d -m 0700 -o {user} -g {group} {UNIT_DATABASE.parent}" in stage["RUN"]
    assert stage["VOLUME"] == stage["WORKDIR"] == str(UNIT_DATABASE.parent)
    assert (json.loads(stage["ENTRYPOINT"]), json.loads(stage["CMD"])) == (["receiver"], ["serve"])
    assert "ADD" not in dict(steps())


def test_what_the_image_copies_is_here_and_is_not_ignored() -> None:
    ignored = (HERE / "Containerfile.dockerignore").read_text().split()
    taken = [line.removeprefix("!") for line in ignored if line.startswith("!")]
    copied = [shlex.split(rest)[:-1] for word, rest in steps() if word == "COPY" and not rest.startswith("--from")]
    for path in (path for paths in copied for path in paths):
        assert (ROOT / path).exists(), path
        assert any(fnmatch.fnmatch(path, pattern) for pattern in taken), path
    assert ignored[0] == "*"  # neither .git nor a receiver.toml with secrets gets in


def test_dependencies_are_those_with_hashes() -> None:
    runs = [rest for word, rest in steps() if word == "RUN"]
    assert sum("--require-hashes -r requirements/run.txt" in run for run in runs) == 1
    assert sum("--no-deps --no-build-isolation ." in run for run in runs) == 1


def test_its_environment_leads_to_the_volume(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With nothing mounted, and with settings whose paths are relative."""
    env = {name: value for name, value in environment().items() if name.startswith("RECEIVER_")}
    assert env["RECEIVER_CONFIG"] == str(UNIT_SETTINGS)
    monkeypatch.setattr(locate, "UNIT_SETTINGS", file := tmp_path / "receiver.toml")
    for text in ("", 'database_url = "sqlite:///receiver.db"\n'):
        file.write_text(text)
        settings = load_settings(env | {"RECEIVER_CONFIG": str(file)})
        assert (settings.sqlite_file, settings.state_dir) == (UNIT_DATABASE, UNIT_DATABASE.parent)
        assert (settings.host, settings.server) == ("0.0.0.0", "http://127.0.0.1:8000")  # noqa: S104


def test_the_unit_is_as_closed_as_the_other() -> None:
    container = unit()["Container"]
    assert set(container) <= QUADLET_KEYS
    user, group = last_stage()["USER"].split(":")
    assert (container["User"], container["Group"]) == (user, group)
    assert {container[key] for key in ("ReadOnly", "NoNewPrivileges", "Notify")} == {"true"}
    assert container["DropCapability"] == "all"
    assert container["PublishPort"] == "127.0.0.1:8000:8000"
    assert container["Volume"].partition(":")[2] == str(UNIT_DATABASE.parent)
    secret = dict(part.split("=") for part in container["Secret"].split(",")[1:])
    assert secret == {"type": "mount", "target": str(UNIT_SETTINGS), "uid": user, "gid": group, "mode": "0400"}
    arguments = container["PodmanArgs"].split()
    other = (ROOT / "systemd" / "receiver.service").read_text()
    for pattern, argument in (
        (r"MemoryMax=(\d+)M", "--memory={}m"),
        (r"TasksMax=(\d+)", "--pids-limit={}"),
        (r"TimeoutStopSec=(\d+)", "--stop-timeout={}"),
        (r"LimitNOFILE=(\d+)", "--ulimit=nofile={0}:{0}"),
        (r"LimitCORE=(\d+)", "--ulimit=core={0}:{0}"),
    ):
        found = re.search(pattern, other)
        assert found
        assert argument.format(found[1]) in arguments
    assert unit()["Service"]["RestartPreventExitStatus"] == "2"


# -- where the tools are --

needs_podman = pytest.mark.skipif(not shutil.which("podman"), reason="podman is not on this machine")
BUILD_S, START_S = 900, 120


def podman(*args: str, timeout_s: float = START_S) -> str:
    done = subprocess.run(["podman", *args], capture_output=True, text=True, timeout=timeout_s, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="module")
def image() -> str:
    """The image, built from this checkout; it needs the base image, from here or from its registry."""
    [base] = re.findall(r"^ARG BASE=(.*)$", CONTAINERFILE.read_text(), re.MULTILINE)
    pulled = subprocess.run(["podman", "pull", base], capture_output=True, timeout=BUILD_S, check=False)
    if pulled.returncode:
        pytest.skip("the base image cannot be had")
    podman("build", "--tag", IMAGE, "--file", str(CONTAINERFILE), ".", timeout_s=BUILD_S)
    return IMAGE


@pytest.fixture
def running(image: str, tmp_path: Path) -> Iterator[int]:
    """The port of a container that runs as the unit runs it, with a volume of its own."""
    port, name = free_port(), f"receiver-test-{tmp_path.name}"
    options = ["--read-only", "--cap-drop=all", "--security-opt=no-new-privileges", "--init", "--memory=384m"]
    options += ["--pids-limit=64", "--ulimit=core=0:0", f"--volume={name}:{UNIT_DATABASE.parent}"]
    podman("run", "--detach", "--name", name, f"--publish=127.0.0.1:{port}:8000", *options, image)
    try:
        yield port
    finally:
        subprocess.run(
            ["podman", "rm", "--force", "--volumes", name], capture_output=True, timeout=START_S, check=False
        )
        subprocess.run(["podman", "volume", "rm", "--force", name], capture_output=True, timeout=START_S, check=False)


@needs_podman
def test_a_container_serves_and_its_commands_find_the_token(running: int, tmp_path: Path) -> None:
    name, end = f"receiver-test-{tmp_path.name}", time.monotonic() + START_S
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{running}/readyz", timeout=5) as answer:
                assert json.loads(answer.read())["status"] == "ready"
            break
        except OSError:
            assert time.monotonic() < end, podman("logs", name)
            time.sleep(0.2)
    assert podman("exec", name, "id", "-u") == last_stage()["USER"].partition(":")[0]
    assert json.loads(podman("exec", name, "receiver", "tasks", "list", "--json")) is not None
    assert podman("exec", name, "stat", "-c", "%a %u", f"{UNIT_DATABASE.parent}/secret_keys").startswith("600 ")
