"""Settings over PostgreSQL: the database's URL, what is refused about it, and what has to be set besides."""

import importlib.util
from pathlib import Path

import pytest

from kit.settings import SENTINEL, refused
from receiver.config import Settings, load_settings, refuse_missing_driver, secret_values
from receiver.config.bad_value import BadValue
from receiver.config.postgres_url import describe_postgres, parse_postgres_url
from receiver.core.errors import SettingsError
from receiver.telemetry.logs import Redactor

KEY = "a-secret-key-for-tests-0001"


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working directory without a receiver.toml."""
    monkeypatch.chdir(tmp_path)


def loaded(url: str = "postgresql://u:p@db.test/receiver", **more: str) -> Settings:
    given = {"STATE_DIR": "shared", "SECRET_KEYS": KEY, **more}
    return load_settings({"RECEIVER_DATABASE_URL": url, **{f"RECEIVER_{name}": it for name, it in given.items()}})


@pytest.mark.parametrize(
    ("given", "taken", "place"),
    [
        ("postgres://u:p@db.test/r", "postgresql://u:p@db.test/r", "db.test:5432/r"),
        ("POSTGRESQL://u:p@db.test:6432/r", "postgresql://u:p@db.test:6432/r", "db.test:6432/r"),
        ("postgresql://db.test/r", "postgresql://db.test/r", "db.test:5432/r"),
        ("postgresql://u:p@[::1]:6432/r", "postgresql://u:p@[::1]:6432/r", "[::1]:6432/r"),
        ("postgresql://u:p@[::1]/r", "postgresql://u:p@[::1]/r", "[::1]:5432/r"),
        (
            "postgresql://u:p@a,b:6432/r?target_session_attrs=read-write",
            "postgresql://u:p@a,b:6432/r?target_session_attrs=read-write",
            "a:5432,b:6432/r",
        ),
        (
            "postgresql:///r?host=/run/postgresql",
            "postgresql:///r?host=/run/postgresql",
            "/run/postgresql/r",
        ),
        ("postgresql://%2Frun%2Fpg/r", "postgresql://%2Frun%2Fpg/r", "/run/pg/r"),
        ("postgresql://u@db.test?dbname=r", "postgresql://u@db.test?dbname=r", "db.test:5432/r"),
        ("postgresql://u@/r?host=a,b&port=6432", "postgresql://u@/r?host=a,b&port=6432", "a:6432,b:6432/r"),
        ("postgresql://u:p%40%2F%3Aq@db.test/r", "postgresql://u:p%40%2F%3Aq@db.test/r", "db.test:5432/r"),
        (
            "postgresql://u:p@db.test/r?sslmode=require&channel_binding=require&connect_timeout=10",
            "postgresql://u:p@db.test/r?sslmode=require",
            "db.test:5432/r",
        ),
        ("postgresql://u:p@db.test/r?pgbouncer=true", "postgresql://u:p@db.test/r", "db.test:5432/r"),
    ],
)
def test_a_url_is_taken_as_asyncpg_takes_it_and_described_without_its_user(given: str, taken: str, place: str) -> None:
    assert parse_postgres_url(given) == taken
    assert parse_postgres_url(taken) == taken
    assert describe_postgres(taken) == place
    assert loaded(given).database_place == place


def test_what_is_taken_is_read_by_asyncpg_in_the_same_way() -> None:
    """Its own parser, so that no URL passes here that it refuses later."""
    parse = pytest.importorskip("asyncpg.connect_utils")._parse_connect_dsn_and_args
    named = ("host", "port", "user", "password", "passfile", "database", "ssl", "service", "servicefile")
    more = ("direct_tls", "server_settings", "target_session_attrs", "krbsrvname", "gsslib")
    url = parse_postgres_url("postgres://u:p%40q@a,[::1]:6432/r?target_session_attrs=read-write&channel_binding=prefer")
    addresses, parameters, *_ = parse(dsn=url, **dict.fromkeys((*named, *more)))
    assert addresses == [("a", 5432), ("::1", 6432)]
    assert (parameters.user, parameters.password, parameters.database) == ("u", "p@q", "r")
    assert not parameters.server_settings


@pytest.mark.parametrize(
    ("url", "said"),
    [
        (f"postgresql:///{SENTINEL}", "it names no host"),
        (f"postgresql://u:{SENTINEL}@/r", "it names no host"),
        (f"postgresql://u:{SENTINEL}@db.test", "it names no database"),
        (f"postgresql://u:{SENTINEL}@db.test/", "it names no database"),
        (f"postgresql://u:{SENTINEL}@x@db.test/r", "its user and password cannot be told from its host"),
        (f"postgresql://u:{SENTINEL}/x@db.test/r", "its user and password cannot be told from its host"),
        (f"postgresql://u:{SENTINEL}?x@db.test/r", "its user and password cannot be told from its host"),
        (f"postgresql://u:{SENTINEL}[x@db.test/r", "its user and password cannot be told from its host"),
        (f"postgresql://u:{SENTINEL}#x@db.test/r", "there is a # in it"),
        (f"postgresql://u:{SENTINEL} x@db.test/r", "a blank or a character that is not ASCII is in it"),
        (f"postgresql://u:{SENTINEL}ü@db.test/r", "a blank or a character that is not ASCII is in it"),
        (f"postgresql://db.test:{SENTINEL}/r", "its port is not a number"),
        (f"postgresql://u:{SENTINEL}@db.test:99999/r", "its port is not a number from 1 to 65535"),
        (f"postgresql://u:{SENTINEL}@db.test:0/r", "its port is not a number from 1 to 65535"),
        (f"postgresql://u:{SENTINEL}@a,,b/r", "its host is not a name or an address"),
        (f"postgresql://u:{SENTINEL}@db.test/a/b", "the name of its database is not one word"),
        (f"postgresql://u:{SENTINEL}@db.test/a%0Ab", "the name of its database is not one word"),
        (f"postgresql://u:{SENTINEL}@db.test/r?sslmode", "what is behind its ? cannot be read"),
        (f"postgresql://u:{SENTINEL}@db.test/r?sslmode={SENTINEL}", "its sslmode is none that can be used; use one of"),
        (f"postgresql://u:{SENTINEL}@db.test/r?target_session_attrs=standby", "its target_session_attrs is none"),
        (f"postgresql://u:{SENTINEL}@db.test/r?service={SENTINEL}", "it names a service file's entry"),
        (f"postgresql+asyncpg://u:{SENTINEL}@db.test/r", "it names a driver"),
    ],
    ids=range(22),
)
@pytest.mark.parametrize("name", ["DATABASE_URL", "RECEIVER_DATABASE_URL", "RECEIVER_DATABASE_LISTEN_URL"])
def test_a_wrong_url_is_refused_in_a_line_that_shows_nothing_of_it(name: str, url: str, said: str) -> None:
    text = refused({name: url, "RECEIVER_STATE_DIR": "shared", "RECEIVER_SECRET_KEYS": KEY})
    assert text.startswith(f"{name} in the environment: expected postgresql://USER:PASSWORD@HOST/DATABASE, and {said}")


@pytest.mark.parametrize("url", [f"mysql://u:{SENTINEL}@db.test/r", f"postgresql:{SENTINEL}", f"postgres{SENTINEL}"])
def test_another_kind_of_url_is_told_what_is_expected(url: str) -> None:
    assert "postgresql://USER:PASSWORD@HOST/DATABASE" in refused({"DATABASE_URL": url})


def test_a_url_for_listening_is_never_sqlite_and_needs_postgresql() -> None:
    with pytest.raises(ValueError, match=r"^$") as caught:
        parse_postgres_url("sqlite:///receiver.db")
    assert not isinstance(caught.value, BadValue)
    text = refused({"RECEIVER_DATABASE_LISTEN_URL": f"postgresql://u:{SENTINEL}@db.test/r"})
    assert text.startswith("DATABASE_LISTEN_URL is set, and DATABASE_URL is an SQLite file")


def test_settings_over_postgresql() -> None:
    settings = loaded(POOL="12", DATABASE_LISTEN_URL="postgres://u:p@direct.test/receiver", SENDERS="3")
    assert settings.sqlite_file is None
    assert settings.database_url == "postgresql://u:p@db.test/receiver"
    assert settings.database_listen_url == "postgresql://u:p@direct.test/receiver"
    assert (settings.pool, settings.senders, settings.state_dir) == (12, 3, Path("shared"))
    plain = load_settings({})
    assert (plain.pool, plain.senders, plain.database_listen_url) == (6, None, None)
    assert plain.database_place == str(Path("receiver.db").absolute())


@pytest.mark.parametrize(("name", "text"), [("POOL", "1"), ("POOL", "101"), ("SENDERS", "0"), ("SENDERS", "65")])
def test_numbers_are_bounded(name: str, text: str) -> None:
    assert f"RECEIVER_{name} in the environment: expected a whole number from" in refused({f"RECEIVER_{name}": text})


def test_what_all_processes_have_to_share_is_asked_for() -> None:
    url = {"RECEIVER_DATABASE_URL": "postgresql://u:p@db.test/r"}
    without_state = refused(url)
    assert without_state.startswith("DATABASE_URL is PostgreSQL, and STATE_DIR is not set: ")
    assert "set RECEIVER_STATE_DIR to a directory that all of them share" in without_state
    without_keys = refused({**url, "RECEIVER_STATE_DIR": "shared"})
    assert without_keys.startswith("DATABASE_URL is PostgreSQL, and SECRET_KEYS is not set: ")
    assert "set RECEIVER_SECRET_KEYS to what `openssl rand -hex 32` prints" in without_keys
    assert load_settings({**url, "STATE_DIRECTORY": "/var/lib/r", "RECEIVER_SECRET_KEYS": KEY}).sqlite_file is None


def test_upkeep_signs_nothing_and_a_client_keeps_no_state() -> None:
    url = {"RECEIVER_DATABASE_URL": "postgresql://u:p@db.test/r"}
    assert load_settings({**url, "RECEIVER_STATE_DIR": "shared"}, upkeep=True).secret_keys == ()
    client = load_settings(url, client=True)
    assert "p@db" not in str(client.state_dir)


def test_a_platform_whose_disk_is_thrown_away_may_use_it() -> None:
    url = "postgres://u:p@db.test/r"
    env = {"DATABASE_URL": url, "DYNO": "web.1", "RECEIVER_STATE_DIR": "s", "RECEIVER_SECRET_KEYS": KEY}
    assert load_settings(env).database_place == "db.test:5432/r"


def test_the_log_hides_the_password_and_shows_where_the_database_is() -> None:
    password = "pA55word-with-%40-in-it"
    settings = loaded(f"postgresql://someone:{password}@db.test/receiver2026?sslpassword=An0therSecret")
    redactor = Redactor(secret_values(settings))
    for secret in (password, "pA55word-with-@-in-it", "An0therSecret", settings.database_url):
        assert not [it for it in (password, "pA55word-with-@", "An0therSecret") if it in redactor.redact(f"x {secret}")]
    assert redactor.redact("connected to db.test:5432/receiver2026") == "connected to db.test:5432/receiver2026"


def test_a_missing_driver_is_refused_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SettingsError, match=r'pip install "receiver\[postgres\]"'):
        refuse_missing_driver()
