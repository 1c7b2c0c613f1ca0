"""receiver.config.text: settings shown to people, made from the table and without a secret."""

import tomllib
from pathlib import Path

import pytest
from msgspec.structs import replace

from receiver.config import SETTINGS, Settings, load_settings, secret_values
from receiver.config.targets import TARGET_KEYS
from receiver.config.text import describe_settings, example_toml, markdown_table
from receiver.core.types import NoticeEvent

SENTINEL = "s3ntinel-Never-Shown-0123456789"


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working directory without a receiver.toml, so that no test reads a stranger's."""
    monkeypatch.chdir(tmp_path)


def planted() -> Settings:
    """Settings with the sentinel in every secret."""
    Path("receiver.toml").write_text(f'[targets.team]\nurl = "json://{SENTINEL}"\nmodels = ["m"]\n')
    env = {f"RECEIVER_{setting.name}": SENTINEL for setting in SETTINGS if setting.secret}
    del env["RECEIVER_DATABASE_URL"], env["RECEIVER_DATABASE_LISTEN_URL"], env["RECEIVER_PASSWORD_HASH"]
    env["RECEIVER_NOTIFY_URLS"] = f"slack://{SENTINEL}/b"
    loaded = load_settings(env | {"RECEIVER_STATE_DIR": "state"})
    url = f"postgresql://u:{SENTINEL}@db.test/r?password={SENTINEL}"
    listen = f"postgresql://u:{SENTINEL}@direct.test/r"
    return replace(loaded, database_url=url, database_listen_url=listen, password_hash=f"$argon2id${SENTINEL}")


def test_no_secret_is_seen_in_the_description_or_in_a_repr() -> None:
    settings = planted()
    rows = describe_settings(settings)
    assert SENTINEL not in repr((settings, rows))
    shown = {row.name: (row.shown, row.source) for row in rows}
    assert shown["DATABASE_URL"] == ("postgresql://•••@db.test/r?•••", "default")
    assert shown["DATABASE_LISTEN_URL"] == ("postgresql://•••@direct.test/r", "default")
    assert shown["PROVIDER_KEY"] == ("•••", "environment RECEIVER_PROVIDER_KEY")
    assert shown["NOTIFY_URLS"][0] == settings.targets[1].name
    assert shown["[targets.team]"] == ("json://•••; models m", "file receiver.toml")
    assert shown["SWEEP_FIRST"] == ("120", "default")


def test_every_secret_is_told_to_the_redaction() -> None:
    settings = planted()
    databases = (settings.database_url, settings.database_listen_url or "")
    urls = {*(it.removeprefix("postgresql://") for it in databases), *(target.url for target in settings.targets)}
    assert set(secret_values(settings)) == {SENTINEL, settings.password_hash} | urls


def test_the_example_loads_to_the_defaults_as_it_stands_and_uncommented() -> None:
    lines = example_toml().splitlines()
    bare = [line.removeprefix("#") if line[:1] == "#" and line[1:2] != " " else line for line in lines]
    offered = [setting.name.lower() for setting in SETTINGS]
    assert list(tomllib.loads("\n".join(bare))) == offered
    for text in (example_toml(), "\n".join(bare)):
        Path("receiver.toml").write_text(text)
        settings = load_settings({})
        Path("receiver.toml").unlink()
        assert replace(settings, sources=()) == replace(load_settings({}), sources=())
    tables = [line.removeprefix("# ") for line in lines[lines.index("# [targets.team]") :]]
    Path("receiver.toml").write_text("\n".join(tables))
    Path("team.j2").write_text("{{ title }}")
    (team,) = load_settings({}).targets
    assert (team.name, team.template) == ("team", "{{ title }}")
    assert set(tomllib.loads("\n".join(tables))["targets"]["team"]) == set(TARGET_KEYS), "none is left out"
    assert all(f"`{key}`" in markdown_table() for key in TARGET_KEYS)


def test_the_markdown_table_has_every_setting_with_its_default() -> None:
    lines = markdown_table().splitlines()
    for setting in SETTINGS:
        default = f"`{setting.default}`" if setting.default else setting.unset
        assert f"| `{setting.name}` | {default} | {setting.help} |" in lines
    assert len(lines) == 2 + len(SETTINGS) + 2  # and the tables [prices] and [targets.NAME]


def test_the_example_names_just_the_events_that_a_target_may_ask_for() -> None:
    prose = " ".join(line.removeprefix("# ") for line in example_toml().splitlines())
    assert f"`on` may name {', '.join(list(NoticeEvent)[:-1])} and {list(NoticeEvent)[-1]};" in prose
