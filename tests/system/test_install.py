"""`receiver install`: what it writes, what it asks, what it never shows; under a directory."""

import os
import pty
import re
import shutil
import stat
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from kit.commands import RECEIVER, ROOT, environment
from kit.install_machine import KEY, TARGET, UNITS, URL, given, run, snapshot
from kit.live_service import PATIENCE_S
from receiver.config import load_settings


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "key").write_text(f"{KEY}\n")
    (tmp_path / "target").write_text(TARGET)
    return tmp_path / "root"


def test_all_is_in_place_with_the_right_modes_and_no_secret_is_shown(root: Path) -> None:
    done = run(*given(root))
    assert done.returncode == 0, done.stderr
    files = snapshot(root)
    modes = {name: mode for name, (mode, _, _) in files.items()}
    assert modes == {
        "etc/receiver/receiver.toml": 0o600,
        "etc/receiver/provider_key": 0o600,
        "etc/receiver/notify_urls": 0o600,
        **{f"etc/systemd/system/{unit}": 0o644 for unit in UNITS},
        "etc/systemd/system/receiver.service.d/10-credentials.conf": 0o644,
    }
    assert files["etc/receiver/provider_key"][2].decode() == f"{KEY}\n"
    assert files["etc/receiver/notify_urls"][2].decode() == f"{TARGET}\n"
    assert "nobody-sees" not in done.stdout + done.stderr
    drop_in = files["etc/systemd/system/receiver.service.d/10-credentials.conf"][2].decode()
    assert "LoadCredential=provider_key:/etc/receiver/provider_key\n" in drop_in
    assert "LoadCredential=notify_urls:/etc/receiver/notify_urls\n" in drop_in


def test_what_is_installed_is_what_the_service_starts_with(root: Path) -> None:
    """The settings as the unit would find them: a credentials directory and a state directory."""
    run(*given(root))
    etc = root / "etc/receiver"
    settings = load_settings(
        {"CREDENTIALS_DIRECTORY": str(etc), "STATE_DIRECTORY": "/var/lib/receiver"}, etc / "receiver.toml"
    )
    assert (settings.public_url, settings.provider_key) == (URL, KEY)
    assert [target.url for target in settings.targets] == [TARGET]
    assert settings.sqlite_file == Path("/var/lib/receiver/receiver.db")


def test_a_second_time_nothing_is_asked_and_nothing_is_written(root: Path) -> None:
    run(*given(root))
    before = snapshot(root)
    done = run("--root", str(root))
    assert (done.returncode, done.stdout, done.stderr) == (0, "everything is in place already\n", "")
    assert snapshot(root) == before


def test_what_is_given_anew_is_changed_and_all_else_kept(root: Path) -> None:
    run(*given(root))
    toml = root / "etc/receiver/receiver.toml"
    toml.write_text(toml.read_text() + "\n[targets.me]\nurl = 'json://127.0.0.1/'\n")
    before = snapshot(root)
    done = run("--root", str(root), "--public-url", "https://new.example.org")
    after = snapshot(root)
    assert done.returncode == 0, done.stderr
    assert {name for name in after if after[name] != before.get(name)} == {"etc/receiver/receiver.toml"}
    assert tomllib.loads(toml.read_text()) == {
        "public_url": "https://new.example.org",
        "targets": {"me": {"url": "json://127.0.0.1/"}},
    }


def test_a_settings_file_without_the_url_gets_it_before_its_tables(root: Path) -> None:
    (root / "etc/receiver").mkdir(parents=True)
    toml = root / "etc/receiver/receiver.toml"
    toml.write_text("sweep_first = 60\n[targets.me]\nurl = 'json://127.0.0.1/'\n")
    done = run("--root", str(root), "--public-url", URL)
    assert done.returncode == 0, done.stderr
    assert tomllib.loads(toml.read_text()) == {
        "public_url": URL,
        "sweep_first": 60,
        "targets": {"me": {"url": "json://127.0.0.1/"}},
    }
    assert "there is no provider_key yet" in done.stderr  # and a target there is


def test_a_secret_that_others_may_read_is_closed(root: Path) -> None:
    run(*given(root))
    key = root / "etc/receiver/provider_key"
    key.chmod(0o644)
    run("--root", str(root))
    assert stat.S_IMODE(key.stat().st_mode) == 0o600


def test_a_template_beside_the_settings_is_loaded_too(root: Path) -> None:
    run(*given(root))
    etc = root / "etc/receiver"
    (etc / "team.j2").write_text("a title\n")
    with (etc / "receiver.toml").open("a") as file:
        file.write("\n[targets.me]\nurl = 'json://127.0.0.1/'\ntemplate = 'team.j2'\n")
    run("--root", str(root))
    for service in ("receiver.service", "receiver-backup.service"):
        drop_in = root / f"etc/systemd/system/{service}.d/10-credentials.conf"
        assert "LoadCredential=team.j2:/etc/receiver/team.j2\n" in drop_in.read_text()


def test_the_units_name_the_place_of_the_program(root: Path) -> None:
    run(*given(root, "--prefix", "/srv/receiver"))
    units = [(root / "etc/systemd/system" / name).read_text() for name in UNITS]
    assert any("ExecStart=/srv/receiver/.venv/bin/receiver serve " in unit for unit in units)
    lines = [line for unit in units for line in unit.splitlines() if not line.startswith("#")]
    assert not any("/opt/receiver" in line for line in lines)


def test_a_settings_file_keeps_every_byte_but_the_url(root: Path) -> None:
    """In whatever locale, with whatever ends of lines."""
    (root / "etc/receiver").mkdir(parents=True)
    toml = root / "etc/receiver/receiver.toml"
    toml.write_bytes('# gr\u00f6\u00dfer\r\npublic_url = "http://old.example"  # here\r\nport = 8000\r\n'.encode())
    done = run("--root", str(root), "--public-url", URL, LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
    assert done.returncode == 0, done.stderr
    assert toml.read_bytes().decode() == f'# gr\u00f6\u00dfer\r\npublic_url = "{URL}"\r\nport = 8000\r\n'


def test_a_byte_order_mark_does_not_keep_the_url_from_the_file(root: Path) -> None:
    (root / "etc/receiver").mkdir(parents=True)
    toml = root / "etc/receiver/receiver.toml"
    toml.write_bytes(b'\xef\xbb\xbfpublic_url = "http://old.example"\r\n')
    done = run("--root", str(root), "--public-url", URL)
    assert done.returncode == 0, done.stderr
    assert toml.read_bytes().decode() == f'public_url = "{URL}"\r\n'


def test_a_url_that_cannot_be_put_into_the_file_is_left_to_a_person(root: Path) -> None:
    (root / "etc/receiver").mkdir(parents=True)
    toml = root / "etc/receiver/receiver.toml"
    toml.write_text('"public_url" = "http://old.example"\n')
    done = run("--root", str(root), "--public-url", URL)
    assert (done.returncode, done.stderr) == (
        1,
        f"receiver: cannot set public_url in {toml}; change it there by hand\n",
    )
    assert toml.read_text() == '"public_url" = "http://old.example"\n'


# Links, and what others left


def test_a_secret_that_is_a_link_stays_one(root: Path, tmp_path: Path) -> None:
    """Something else keeps it: what it leads to is neither copied nor changed."""
    run(*given(root))
    key, kept = root / "etc/receiver/provider_key", tmp_path / "kept"
    kept.write_text(KEY)
    key.unlink()
    key.symlink_to(kept)
    assert run("--root", str(root)).stdout == "everything is in place already\n"
    (tmp_path / "key").write_text("another-that-nobody-sees")
    done = run(*given(root))
    assert (done.returncode, done.stderr) == (
        1,
        f"receiver: {key} is a link to {kept}: change that file, or remove the link\n",
    )
    assert (key.is_symlink(), kept.read_text()) == (True, KEY)


def test_a_unit_that_is_a_link_is_replaced_and_not_what_it_leads_to(root: Path, tmp_path: Path) -> None:
    """As `systemctl link` makes them: it may lead into a checkout."""
    run(*given(root))
    unit, checkout = root / "etc/systemd/system/receiver.service", tmp_path / "receiver.service"
    unit.unlink()
    unit.symlink_to(checkout)
    checkout.write_text("[Service]\n")
    assert run("--root", str(root)).returncode == 0
    assert (unit.is_symlink(), checkout.read_text()) == (False, "[Service]\n")


def test_a_unit_that_a_person_masked_stays_masked(root: Path) -> None:
    run(*given(root))
    system = root / "etc/systemd/system"
    for name in ("receiver-backup.timer", "receiver-prune.service"):
        (system / name).unlink()
        (system / name).symlink_to("/dev/null")
    assert run("--root", str(root)).stdout == "everything is in place already\n"
    assert run("--root", str(root), "--uninstall").returncode == 0
    assert {it.name for it in system.iterdir()} == {"receiver-backup.timer", "receiver-prune.service"}


def test_a_service_that_a_person_masked_is_not_installed_over_it(root: Path) -> None:
    unit = root / "etc/systemd/system/receiver.service"
    unit.parent.mkdir(parents=True)
    unit.symlink_to("/dev/null")
    done = run(*given(root))
    assert (done.returncode, done.stderr) == (
        1,
        "receiver: receiver.service is masked; run `systemctl unmask receiver.service` first\n",
    )
    assert not (root / "etc/receiver").exists()


def test_what_a_kill_left_half_written_goes_with_the_next_write(root: Path) -> None:
    """A draft of a secret is as secret."""
    etc = root / "etc/receiver"
    etc.mkdir(parents=True)
    (etc / ".provider_key.0123456789abcdef").write_text("half-a-ke")
    (etc / ".provider_key.mine").write_text("a person's")
    run(*given(root))
    assert {it.name for it in etc.iterdir()} == {"receiver.toml", "provider_key", "notify_urls", ".provider_key.mine"}


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not on this machine")
def test_what_is_installed_is_verified_with_its_drop_in(root: Path) -> None:
    run(*given(root, "--prefix", str(ROOT)))
    told = subprocess.run(
        ["systemd-analyze", "verify", *(str(root / "etc/systemd/system" / name) for name in UNITS)],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    ours = [line for line in (told.stdout + told.stderr).splitlines() if "receiver" in line]
    assert [line for line in ours if "is not executable" not in line] == []


# Secrets


def test_a_secret_may_come_on_standard_input(root: Path) -> None:
    done = run("--root", str(root), "--public-url", URL, "--provider-key-file", "-", stdin=f"{KEY}\n")
    assert done.returncode == 0, done.stderr
    assert (root / "etc/receiver/provider_key").read_text() == f"{KEY}\n"


def answered(root: Path, *answers: tuple[bytes, bytes], args: tuple[str, ...] = ()) -> tuple[int, bytes]:
    """Status and screen of `receiver install` on a terminal of its own, with an answer to each question in turn."""
    left = list(answers)
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(root.parent)
        os.execve(sys.executable, [*RECEIVER, "install", "--root", str(root), *args], environment())  # noqa: S606
    seen = asked = b""
    while True:
        try:
            chunk = os.read(terminal, 4096)
        except OSError:  # how a terminal says that nobody has it open any more
            break
        seen, asked = seen + chunk, asked + chunk
        if left and re.search(re.escape(left[0][0]) + rb"[^\n]*: $", asked):
            os.write(terminal, left.pop(0)[1])
            asked = b""
    _, status = os.waitpid(pid, 0)
    os.close(terminal)
    assert left == [], seen.decode()
    return os.waitstatus_to_exitcode(status), seen


def test_a_person_is_asked_and_what_is_secret_is_not_echoed(root: Path) -> None:
    status, seen = answered(
        root,
        (b"public URL", f"{URL}\n".encode()),
        (b"provider's key", f"{KEY}\n".encode()),
        (b"Apprise URL", f"{TARGET}\n".encode()),
    )
    assert status == 0, seen.decode()
    assert b"nobody-sees" not in seen
    assert (root / "etc/receiver/provider_key").read_text() == f"{KEY}\n"
    assert (root / "etc/receiver/notify_urls").read_text() == f"{TARGET}\n"


def test_a_wrong_answer_is_told_in_a_line_and_asked_for_again(root: Path) -> None:
    status, seen = answered(
        root,
        (b"public URL", b"receiver.example.org\n"),
        (b"public URL", f"{URL}\n".encode()),
        (b"provider's key", b"two words-that-nobody-sees\n"),
        (b"provider's key", f"{KEY}\n".encode()),
        (b"Apprise URL", b"slakc://TokenA/TokenB/that-nobody-sees\n"),
        (b"Apprise URL", b"discord://that-nobody-sees\n"),
        (b"Apprise URL", b"https://127.0.0.1/that-nobody-sees\n"),
        (b"Apprise URL", f"{TARGET}\n".encode()),
    )
    lines = seen.decode().splitlines()
    assert status == 0, seen.decode()
    assert any(it.endswith("and this has no scheme; put https:// before it") for it in lines)
    assert any(it.endswith("and there is a blank or a line break in it") for it in lines)
    assert any(re.fullmatch(r"receiver: The target's URL: .* \(did you mean slack://\?\)", it) for it in lines)
    assert any("Apprise cannot use this discord:// URL: An invalid Discord Webhook Token" in it for it in lines)
    assert any("no service has webhooks at this https:// address, or a part of it is missing" in it for it in lines)
    assert b"nobody-sees" not in seen
    assert (root / "etc/receiver/provider_key").read_text() == f"{KEY}\n"
    assert (root / "etc/receiver/notify_urls").read_text() == f"{TARGET}\n"


@pytest.mark.parametrize(
    ("answers", "told"),
    [
        (((b"public URL", b"\x04"),), "receiver: the public URL was not given; nothing was changed"),
        (
            ((b"public URL", b"nonsense\n"), (b"public URL", b"\x04")),
            "receiver: the public URL: expected an http:// or https:// URL without user, query or fragment; "
            "nothing was changed",
        ),
        (
            ((b"public URL", f"{URL}\n".encode()), (b"provider's key", b"two words\n"), (b"provider's key", b"\x04")),
            "receiver: The provider's key: expected one word of printable ASCII, and there is a blank or a line "
            "break in it; nothing was changed",
        ),
    ],
)
def test_who_gives_no_right_answer_has_changed_nothing(
    root: Path, answers: tuple[tuple[bytes, bytes], ...], told: str
) -> None:
    """The end of the input (Ctrl-D): status 1, and the last line says what was wrong."""
    status, seen = answered(root, *answers)
    assert (status, seen.decode().splitlines()[-1]) == (1, told)
    assert not root.exists()


def test_who_interrupts_it_has_changed_nothing(root: Path) -> None:
    status, _ = answered(root, (b"public URL", f"{URL}\n".encode()), (b"provider's key", b"\x03"))
    assert (status, root.exists()) == (130, False)


def test_a_secret_typed_for_standard_input_is_not_echoed(root: Path) -> None:
    """And a new one is asked for, though there is one."""
    run(*given(root))
    status, seen = answered(root, (b"provider's key", b"another-that-nobody-sees\n"), args=("--provider-key-file", "-"))
    assert status == 0, seen.decode()
    assert b"nobody-sees" not in seen
    assert (root / "etc/receiver/provider_key").read_text() == "another-that-nobody-sees\n"


@pytest.mark.parametrize(
    ("args", "status", "told"),
    [
        ((), 2, "--public-url is missing"),
        (("--public-url", "receiver.example.org"), 1, "the public URL: "),
        (("--public-url", URL, "--provider-key-file", "absent"), 1, "cannot read the file of provider_key: No such"),
        (("--public-url", URL, "--target-file", "wrong"), 1, "The target's URL: "),
        (("--public-url", URL, "--target-file", "-", "--provider-key-file", "-"), 2, "stdin can hold one of"),
        (("--public-url", URL, "--target-file", "-"), 1, "the file of notify_urls is empty"),
    ],
)
def test_what_cannot_be_is_one_line_and_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, args: tuple[str, ...], status: int, told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("wrong").write_text("nonsense-that-nobody-sees")
    done = run("--root", str(tmp_path / "root"), *args)
    assert done.returncode == status
    assert told in done.stderr.splitlines()[-1]  # a missing key may have been told before
    assert "nobody-sees" not in done.stderr
    assert not (tmp_path / "root").exists()


# A dry run


def test_a_dry_run_says_all_and_does_nothing(root: Path) -> None:
    done = run(*given(root, "--dry-run"))
    assert done.returncode == 0
    assert not root.exists()
    for name in UNITS:
        assert f"write   {root}/etc/systemd/system/{name} (mode 0644, new): as in " in done.stdout
    assert f"write   {root}/etc/receiver/provider_key (mode 0600, new): a secret, not shown\n" in done.stdout
    assert f'receiver.toml (mode 0600, new): public_url = "{URL}"' in done.stdout
    assert "nobody-sees" not in done.stdout + done.stderr


def test_a_dry_run_asks_nothing_and_needs_no_systemd() -> None:
    """On this machine as it is, which may have none: it says so, and a script sees it by the status."""
    done = run("--dry-run")
    assert done.returncode == ("this would be refused here" in done.stderr), done.stderr
    told = (
        "ask     for the public URL",
        "run     systemctl daemon-reload",
        "run     systemctl enable --now ",
        "doctor",
    )
    assert all(words in done.stdout for words in told)
