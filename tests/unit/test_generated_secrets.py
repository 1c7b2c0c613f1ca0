"""The secrets that we make ourselves: once, privately, and the same for everyone ever after."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from receiver.config import Settings, ensure_secrets, load_settings, local_token
from receiver.core.errors import SettingsError


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Away from any receiver.toml of the person who runs the tests."""
    monkeypatch.chdir(tmp_path)


def settings_in(state: Path) -> Settings:
    return load_settings({"RECEIVER_STATE_DIR": str(state)})


def test_they_are_made_once_privately_and_read_ever_after(tmp_path: Path) -> None:
    state = tmp_path / "a" / "state"
    first = ensure_secrets(settings_in(state))
    assert ensure_secrets(settings_in(state)) == first
    assert len({*first[0], *first[1]}) == 2
    assert state.stat().st_mode & 0o777 == 0o700
    assert sorted(file.name for file in state.iterdir()) == ["api_tokens", "secret_keys"]
    assert {file.stat().st_mode & 0o777 for file in state.iterdir()} == {0o600}


def test_those_given_win_and_nothing_is_made(tmp_path: Path) -> None:
    env = {"RECEIVER_SECRET_KEYS": f"{'a' * 16} {'b' * 16}", "RECEIVER_API_TOKENS": "c" * 16}
    settings = load_settings(env | {"RECEIVER_STATE_DIR": str(tmp_path / "state")})
    assert ensure_secrets(settings) == (("a" * 16, "b" * 16), ("c" * 16,))
    assert not (tmp_path / "state").exists()


def test_a_person_may_put_several_keys_into_the_file(tmp_path: Path) -> None:
    (tmp_path / "secret_keys").write_text(f"{'a' * 16}\n{'b' * 16}\n")
    assert ensure_secrets(settings_in(tmp_path))[0] == ("a" * 16, "b" * 16)


def test_two_that_start_together_agree(tmp_path: Path) -> None:
    for round_no in range(20):
        settings, gate = settings_in(tmp_path / str(round_no)), threading.Barrier(4)
        with ThreadPoolExecutor(4) as pool:
            found = pool.map(lambda start, given: (start.wait(), ensure_secrets(given))[1], [gate] * 4, [settings] * 4)
        assert len(set(found)) == 1


@pytest.mark.parametrize("content", [b"", b" \n", b"short", b"\xff\xfe" * 20])
def test_a_file_without_secrets_is_refused_with_the_remedy(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "secret_keys").write_bytes(content)
    with pytest.raises(SettingsError, match=r"secret_keys: .*; restore it from a backup, or delete it"):
        ensure_secrets(settings_in(tmp_path))


def test_a_state_directory_that_cannot_be_made_is_refused_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "state").touch()
    with pytest.raises(SettingsError, match="make the state directory writable, or set RECEIVER_SECRET_KEYS"):
        ensure_secrets(settings_in(tmp_path / "state"))


def test_a_database_whose_place_cannot_be_written_is_a_wrong_setting_though_the_secrets_are_given(
    tmp_path: Path,
) -> None:
    (tmp_path / "state").touch()
    given = {"RECEIVER_SECRET_KEYS": "a" * 16, "RECEIVER_API_TOKENS": "c" * 16}
    settings = load_settings(given | {"RECEIVER_DATABASE_URL": f"sqlite:///{tmp_path}/state/deeper/receiver.db"})
    with pytest.raises(
        SettingsError, match=r"cannot write into .*/state, the directory of the database receiver\.db; "
    ):
        ensure_secrets(settings)


def test_a_mistyped_path_of_the_database_is_refused_and_nothing_is_made(tmp_path: Path) -> None:
    """Else an empty service would begin there, and sign with other keys."""
    settings = load_settings({"RECEIVER_DATABASE_URL": "sqlite:///nope/deeper/receiver.db"})
    with pytest.raises(SettingsError) as told:
        ensure_secrets(settings)
    missing = tmp_path / "nope/deeper"
    assert str(told.value) == (
        f"the directory {missing} of the database receiver.db does not exist; create it with `mkdir -p {missing}`, or "
        "set RECEIVER_DATABASE_URL to another place"
    )
    assert list(tmp_path.iterdir()) == []


def test_the_state_directory_of_systemd_is_made(tmp_path: Path) -> None:
    """It is no person's word: a container may not have made it yet."""
    ensure_secrets(load_settings({"STATE_DIRECTORY": str(tmp_path / "state")}))
    assert (tmp_path / "state/secret_keys").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere, whatever the mode says")
@pytest.mark.parametrize(("mode", "of"), [(0o500, ""), (0o600, ""), (0o400, "receiver.db")])
def test_what_may_not_be_written_is_refused_though_the_secrets_are_there(tmp_path: Path, mode: int, of: str) -> None:
    (tmp_path / "state").mkdir()
    settings = load_settings({"RECEIVER_DATABASE_URL": f"sqlite:///{tmp_path}/state/receiver.db"})
    ensure_secrets(settings)
    (tmp_path / "state" / "receiver.db").touch()
    (tmp_path / "state" / of).chmod(mode)
    try:
        with pytest.raises(SettingsError, match="make it writable by this user, or set RECEIVER_DATABASE_URL"):
            ensure_secrets(settings)
    finally:
        (tmp_path / "state" / of).chmod(0o700)


def test_commands_find_the_local_token_and_make_none(tmp_path: Path) -> None:
    assert local_token(settings_in(tmp_path)) is None
    assert list(tmp_path.iterdir()) == []
    _, tokens = ensure_secrets(settings_in(tmp_path))
    assert local_token(settings_in(tmp_path)) == tokens[0]
    assert local_token(load_settings({"RECEIVER_API_TOKEN": "mine"})) == "mine"
