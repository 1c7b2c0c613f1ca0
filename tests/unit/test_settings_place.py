"""Where settings are read, and where data land: one settings file is one database, from whatever folder it is named."""

import os
from pathlib import Path

import pytest

from receiver.cli.serve import _refuse_to_replace_unit
from receiver.config import Settings, ensure_secrets, load_settings, local_token, locate
from receiver.core.errors import SettingsError

TOKEN = "a-token-of-the-unit-0123456789"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, in which there is no receiver.toml."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def unit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The settings file of a unit that is installed; this process is root."""
    file, state = tmp_path / "etc" / "receiver.toml", tmp_path / "state"
    file.parent.mkdir()
    state.mkdir()
    file.write_text("port = 8123\n")
    (file.parent / "provider_key").write_text("the-key\n")
    (state / "api_tokens").write_text(f"{TOKEN}\n")
    monkeypatch.setattr(locate, "UNIT_SETTINGS", file)
    monkeypatch.setattr(locate, "UNIT_DATABASE", state / "receiver.db")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    return file


@pytest.mark.parametrize("named", ["option", "variable", "folder"])
@pytest.mark.parametrize(
    ("toml", "database", "state"),
    [
        ("", "receiver.db", "."),
        ('database_url = "sqlite:///data/r.db"', "data/r.db", "data"),
        ('state_dir = "state"', "receiver.db", "state"),
        ('database_url = "sqlite:////srv/r.db"', "/srv/r.db", "/srv"),
        ('database_url = "sqlite:////srv/r.db"\nstate_dir = "/var/s"', "/srv/r.db", "/var/s"),
    ],
)
def test_relative_paths_count_from_the_settings_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: str, toml: str, database: str, state: str
) -> None:
    folder = tmp_path / "srv" / "receiver"
    folder.mkdir(parents=True)
    (folder / "receiver.toml").write_text(toml)
    file = Path("../srv/receiver/receiver.toml")
    if named == "folder":
        monkeypatch.chdir(folder)
    env = {"RECEIVER_CONFIG": str(file)} if named == "variable" else {}
    settings = load_settings(env, file if named == "option" else None)
    assert settings.sqlite_file
    assert settings.sqlite_file.resolve() == (folder / database).resolve()
    assert settings.state_dir.resolve() == (folder / state).resolve()


def test_the_environments_paths_count_from_the_file_too(tmp_path: Path) -> None:
    (tmp_path / "r.toml").touch()
    (tmp_path / "key").write_text("the-key")
    env = {"RECEIVER_DATABASE_URL": "sqlite:///x.db", "RECEIVER_PROVIDER_KEY_FILE": "key"}
    settings = load_settings(env, tmp_path / "r.toml")
    assert (settings.sqlite_file, settings.provider_key) == (tmp_path / "x.db", "the-key")


def test_without_a_file_they_count_from_the_current_folder() -> None:
    settings = load_settings({"RECEIVER_DATABASE_URL": "sqlite:///data/x.db", "RECEIVER_STATE_DIR": "s"})
    assert (settings.sqlite_file, settings.state_dir) == (Path("data/x.db"), Path("s"))


def test_in_a_unit_they_count_from_its_state_directory_since_its_file_is_a_copy(tmp_path: Path) -> None:
    """Systemd hands out the file in /run/credentials, which is gone after a stop."""
    (tmp_path / "receiver.toml").write_text('database_url = "sqlite:///own.db"\n')
    settings = load_settings({"STATE_DIRECTORY": "/var/lib/receiver"}, tmp_path / "receiver.toml")
    assert (settings.sqlite_file, settings.state_dir) == (Path("/var/lib/receiver/own.db"), Path("/var/lib/receiver"))


def test_the_option_wins_over_the_variable_which_has_to_name_a_file(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text("port = 1\n")
    assert load_settings({"RECEIVER_CONFIG": "absent.toml"}, tmp_path / "a.toml").port == 1
    with pytest.raises(SettingsError, match=r"cannot read absent\.toml: No such file"):
        load_settings({"RECEIVER_CONFIG": "absent.toml"})
    assert load_settings({"RECEIVER_CONFIG": " "}).port == 8000
    with pytest.raises(SettingsError, match=r"did you mean RECEIVER_CONFIG\?"):
        load_settings({"RECEIVER_CONFG": "x"})


def test_a_path_of_the_wrong_kind_stays_wrong_whatever_it_counts_from(tmp_path: Path) -> None:
    (tmp_path / "r.toml").write_text('database_url = "sqlite:///:memory:"\n')
    with pytest.raises(SettingsError, match="expected sqlite:///FILE"):
        load_settings({}, tmp_path / "r.toml")


# -- the unit's, for root --


def test_root_finds_the_units_settings_secrets_and_state(unit: Path) -> None:
    settings = load_settings({})
    assert (settings.port, settings.provider_key) == (8123, "the-key")
    assert settings.source_of("PROVIDER_KEY") == f"file {unit.parent / 'provider_key'}"
    assert settings.sqlite_file == locate.UNIT_DATABASE
    assert settings.state_dir == locate.UNIT_DATABASE.parent
    assert local_token(load_settings({}, client=True)) == TOKEN
    assert load_settings({}, upkeep=True).sqlite_file == locate.UNIT_DATABASE


@pytest.mark.parametrize("env", [{}, {"RECEIVER_CONFIG": "x"}])
def test_the_units_file_is_the_same_when_it_is_named(unit: Path, env: dict[str, str]) -> None:
    named = load_settings(env and {"RECEIVER_CONFIG": str(unit)}, None if env else unit)
    assert (named.provider_key, named.sqlite_file) == ("the-key", locate.UNIT_DATABASE)


@pytest.mark.parametrize(
    "env",
    [
        {"RECEIVER_DATABASE_URL": "sqlite:///x.db"},
        {"DATABASE_URL": "sqlite:///x.db"},
        {"RECEIVER_STATE_DIR": "s"},
        {"STATE_DIRECTORY": "/s"},
    ],
)
def test_an_environment_that_says_where_the_data_are_is_not_mixed_with_the_units(
    unit: Path, env: dict[str, str]
) -> None:
    assert load_settings(env).port == 8000


def test_a_file_in_the_current_folder_comes_first_and_only_root_looks_further(
    unit: Path, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "receiver.toml").write_text("port = 9\n")
    assert load_settings({}).port == 9
    (here / "receiver.toml").unlink()
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert load_settings({}).port == 8000
    locate.UNIT_DATABASE.touch()
    with pytest.raises(SettingsError, match=r"run this as root with --config .*/etc/receiver\.toml"):
        load_settings({}, upkeep=True)


def test_a_second_service_beside_the_unit_needs_settings_of_its_own(unit: Path) -> None:
    """As root, with no settings named: it would write into the unit's state, or make a database here."""
    with pytest.raises(SettingsError, match="systemctl start receiver"):
        _refuse_to_replace_unit(load_settings({}))
    _refuse_to_replace_unit(load_settings({}, unit))


# -- a database that earlier versions put into the current folder --


def refused_start(settings: Settings) -> str:
    with pytest.raises(SettingsError) as caught:
        ensure_secrets(settings)
    return str(caught.value)


def test_a_database_in_the_current_folder_is_not_forgotten_for_a_new_one(tmp_path: Path, here: Path) -> None:
    file = tmp_path / "receiver.toml"
    file.touch()
    (here / "receiver.db").write_bytes(b"x")
    text = refused_start(load_settings({}, file))
    assert text.startswith(
        f"there is no database {tmp_path}/receiver.db yet, but one in this folder: {here}/receiver.db; move that one "
    )
    assert text.endswith(f"or set database_url = 'sqlite:///{here}/receiver.db' to use it where it is")
    assert not (tmp_path / "secret_keys").exists()
    (tmp_path / "receiver.db").touch()
    assert ensure_secrets(load_settings({}, file))


def test_a_database_that_is_named_may_begin_anew_anywhere(tmp_path: Path, here: Path) -> None:
    (here / "new.db").write_bytes(b"x")
    assert ensure_secrets(load_settings({"RECEIVER_DATABASE_URL": f"sqlite:///{tmp_path}/new.db"}))
