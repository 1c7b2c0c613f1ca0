"""receiver.config.settings: where settings come from, and what is refused, in which words."""

from pathlib import Path

import pytest

from kit.settings import SENTINEL, refused
from receiver.config import SETTINGS, load_settings, why_unreachable
from receiver.config.value_kinds import AllowedHosts
from receiver.core.errors import SettingsError
from receiver.core.types import ConfirmMode, Retention

NAMES = """
    PUBLIC_URL HOST PORT DATABASE_URL DATABASE_LISTEN_URL POOL STATE_DIR SECRET_KEYS API_TOKENS PASSWORD_HASH
    PROVIDER_URL PROVIDER_KEY PROVIDER_CONCURRENCY BUDGET_DAY BUDGET_MONTH NOTIFY_URLS SERVER API_TOKEN NOTIFY_RETRY
    SENDERS CONFIRM CONFIRM_WITHIN SWEEP_FIRST SWEEP_MAX DEADLINE MAX_BODY BODY_TIMEOUT RETENTION FETCH_ALLOW
    PICTURE_WAIT TRUSTED_PROXIES
"""


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory without a receiver.toml, so that no test reads a stranger's."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_setting_is_in_the_table_once_under_the_name_that_people_hold_on_to() -> None:
    assert [setting.name for setting in SETTINGS] == NAMES.split()


@pytest.mark.parametrize(
    ("port", "given", "url"),
    [
        ("24108", None, "http://127.0.0.1:24108"),
        ("0", None, "http://127.0.0.1:8000"),
        ("24108", "https://me.example", "https://me.example"),
    ],
)
def test_the_public_url_has_the_port_that_is_listened_on_unless_it_is_given(
    port: str, given: str | None, url: str
) -> None:
    env = {"RECEIVER_PORT": port} | ({} if given is None else {"RECEIVER_PUBLIC_URL": given})
    settings = load_settings(env)
    assert (settings.public_url, settings.source_of("PUBLIC_URL") == "default") == (url, given is None)


@pytest.mark.parametrize("port", ["x", "99999", "-1", "9" * 5000])
def test_a_port_that_is_none_is_refused_by_its_own_name(port: str) -> None:
    with pytest.raises(SettingsError, match="PORT"):
        load_settings({"RECEIVER_PORT": port})


def test_defaults() -> None:
    settings = load_settings({})
    assert settings.public_url == "http://127.0.0.1:8000"
    assert (settings.host, settings.port) == ("127.0.0.1", 8000)
    assert (settings.sqlite_file, settings.state_dir) == (Path("receiver.db"), Path())
    assert settings.provider_url == "https://cloud.vtrix.ai/model/v1/generation"
    assert settings.provider_key is None
    assert settings.provider_concurrency == 10
    assert settings.targets == ()
    assert (settings.budget_day, settings.budget_month, settings.prices) == (None, None, {})
    assert settings.server == "http://127.0.0.1:8000"
    assert settings.notify_retry == (5, 30, 120, 600, 3600, 14400, 43200)
    assert (settings.confirm, settings.confirm_within) == (ConfirmMode.MISMATCH, 900)
    assert (settings.sweep_first, settings.sweep_max, settings.deadline) == (120, 900, 86400)
    assert (settings.max_body, settings.body_timeout, settings.picture_wait) == (262144, 10, 15)
    assert settings.retention == Retention(tasks=0, callbacks=90, polls=30, notices=90, images=0)
    assert (settings.fetch_allow, settings.trusted_proxies) == (AllowedHosts(), ())
    assert set(settings.sources) == {"default"}


def test_environment_wins_over_the_file_and_both_over_the_default() -> None:
    Path("receiver.toml").write_text("port = 7000\nsweep_first = 60\n")
    settings = load_settings({"RECEIVER_PORT": "9000"})
    assert (settings.port, settings.sweep_first, settings.sweep_max) == (9000, 60, 900)
    assert settings.source_of("PORT") == "environment RECEIVER_PORT"
    assert settings.source_of("SWEEP_FIRST") == "file receiver.toml"
    assert settings.source_of("SWEEP_MAX") == "default"


def test_an_empty_value_counts_as_unset() -> None:
    """Compose files and service managers pass unset variables on as empty ones."""
    Path("receiver.toml").write_text('provider_key = ""\nport = 7000\n')
    settings = load_settings({"RECEIVER_PORT": " ", "RECEIVER_PROVIDER_KEY_FILE": ""})
    assert (settings.port, settings.provider_key) == (7000, None)


def test_a_named_file_must_exist_and_the_default_one_need_not() -> None:
    load_settings({})
    with pytest.raises(SettingsError, match=r"cannot read absent\.toml: No such file"):
        load_settings({}, Path("absent.toml"))


@pytest.mark.parametrize("how", ["file", "credential", "toml"])
def test_a_secret_may_come_from_a_file_a_credential_or_the_toml(place: Path, how: str) -> None:
    (place / "provider_key").write_text(f"{SENTINEL}\n")
    Path("receiver.toml").write_text(f'provider_key = "{SENTINEL if how == "toml" else "other"}"\n')
    env = {"file": {"RECEIVER_PROVIDER_KEY_FILE": str(place / "provider_key")}, "toml": {}}
    settings = load_settings(env.get(how, {"CREDENTIALS_DIRECTORY": str(place)}))
    assert settings.provider_key == SENTINEL
    origin = {"file": "environment RECEIVER_PROVIDER_KEY_FILE", "credential": "credential provider_key"}
    assert settings.source_of("PROVIDER_KEY") == origin.get(how, "file receiver.toml")


@pytest.mark.parametrize("name", ["SECRET_KEYS", "API_TOKENS", "PROVIDER_KEY", "NOTIFY_URLS", "API_TOKEN"])
def test_every_secret_is_the_same_whichever_way_it_comes(place: Path, name: str) -> None:
    text = "json://127.0.0.1/a-path" if name == "NOTIFY_URLS" else SENTINEL
    (place / name.lower()).write_text(f"{text}\n")
    plain, file, credential = (
        load_settings(env)
        for env in (
            {f"RECEIVER_{name}": text},
            {f"RECEIVER_{name}_FILE": str(place / name.lower())},
            {"CREDENTIALS_DIRECTORY": str(place)},
        )
    )
    for field in ("secret_keys", "api_tokens", "provider_key", "targets", "api_token"):
        assert getattr(plain, field) == getattr(file, field) == getattr(credential, field), field
    assert plain.source_of(name) == f"environment RECEIVER_{name}"


def test_a_secret_and_its_file_both_set_are_refused() -> None:
    text = refused({"RECEIVER_API_TOKENS": SENTINEL, "RECEIVER_API_TOKENS_FILE": "x"})
    assert text == "RECEIVER_API_TOKENS and RECEIVER_API_TOKENS_FILE are both set; unset one of them"


def test_an_unreadable_secret_file_is_named_by_its_setting_and_not_by_its_path() -> None:
    """A secret pasted into RECEIVER_X_FILE by mistake must not be printed as a path."""
    assert "RECEIVER_PROVIDER_KEY_FILE: cannot read" in refused({"RECEIVER_PROVIDER_KEY_FILE": SENTINEL})


@pytest.mark.parametrize("name", ["providerkey", "provider-key", "PROVIDER_KEY", "provider_key.txt"])
def test_a_credential_with_a_mistake_in_its_name_is_refused(place: Path, name: str) -> None:
    """The service would start without its key, and nobody would know why nothing is submitted."""
    (place / name).write_text("a-key")
    assert f"unknown credential {name!r} (did you mean provider_key?)" in refused({"CREDENTIALS_DIRECTORY": str(place)})


def test_credentials_of_other_programs_are_none_of_ours(place: Path) -> None:
    for name in ("receiver.toml", "team.j2", "tls.pem", "token"):
        (place / name).write_text("")
    assert load_settings({"CREDENTIALS_DIRECTORY": str(place)}, place / "receiver.toml").provider_key is None


def test_an_empty_secret_file_or_credential_is_refused(place: Path) -> None:
    """Silently generated keys in the place of the missing ones would orphan every callback URL."""
    (place / "secret_keys").touch()
    assert "RECEIVER_SECRET_KEYS_FILE: the file is empty" in refused({"RECEIVER_SECRET_KEYS_FILE": "secret_keys"})
    assert "credential secret_keys: the file is empty" in refused({"CREDENTIALS_DIRECTORY": str(place)})


@pytest.mark.parametrize(
    ("env", "toml", "says"),
    [
        ({"RECEIVER_PROVIDER_KYE": SENTINEL}, "", "did you mean RECEIVER_PROVIDER_KEY?"),
        ({"RECEIVER_API_TOKEN_FILES": SENTINEL}, "", "did you mean RECEIVER_API_TOKEN_FILE?"),
        ({"RECEIVER_PORT_FILE": "x"}, "", "unknown setting 'RECEIVER_PORT_FILE' in the environment"),
        ({}, f'sweepfirst = "{SENTINEL}"', "unknown setting 'sweepfirst' in given.toml (did you mean sweep_first?)"),
        ({}, "PORT = 1", "did you mean port?"),
        ({}, "RECEIVER_PORT = 1", "did you mean port? RECEIVER_ is for the environment)"),
        ({}, "receiver_port = 1", "did you mean port? RECEIVER_ is for the environment)"),
        ({}, "[target.slack]", "did you mean targets?"),
        ({}, '"a\\nb" = 1', "unknown setting 'a\\nb' in given.toml; `receiver config` lists all settings"),
    ],
)
def test_an_unknown_key_is_named_with_the_nearest_one(env: dict[str, str], toml: str, says: str) -> None:
    assert says in refused(env, toml)


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("PORT", "65536", "a whole number from 0 to 65535"),
        ("PORT", "tcp://10.0.0.1:80", "a whole number"),
        ("SWEEP_FIRST", "0", "a whole number of seconds from 1 to 86400"),
        ("SWEEP_MAX", "1e3", "from 1 to 86400"),
        ("DEADLINE", "-1", "from 1 to 2592000"),
        ("CONFIRM_WITHIN", "٣", "from 1 to 86400"),
        ("MAX_BODY", "99999999999999999999", "a whole number of bytes from 1024 to 4194304"),
        ("BODY_TIMEOUT", "301", "from 1 to 300"),
        ("PROVIDER_CONCURRENCY", "0", "from 1 to 1000"),
        ("NOTIFY_RETRY", "5 0", "1 to 20 whole numbers of seconds from 1 to 604800"),
        ("NOTIFY_RETRY", "1 " * 21, "1 to 20 whole numbers"),
        ("CONFIRM", "never", "mismatch or always"),
        ("PUBLIC_URL", f"https://me:{SENTINEL}@host", "without user, query or fragment"),
        ("PUBLIC_URL", "https://host/?q", "without user, query or fragment"),
        ("PUBLIC_URL", "https://host/#f", "without user, query or fragment"),
        ("PUBLIC_URL", "ftp://host", "an http:// or https:// URL"),
        ("PUBLIC_URL", "https://", "an http:// or https:// URL"),
        ("PUBLIC_URL", "https://host:99999", "an http:// or https:// URL"),
        ("PROVIDER_URL", f"https://{SENTINEL}℀@x", "an http:// or https:// URL"),
        ("PROVIDER_KEY", f"{SENTINEL} {SENTINEL}", "one word"),
        ("SECRET_KEYS", "short", "16 or more"),
        ("API_TOKENS", "short", "16 or more"),
        ("DATABASE_URL", f"mysql://u:{SENTINEL}@h/d", "sqlite:///FILE"),
        ("DATABASE_URL", "sqlite://", "sqlite:///FILE"),
        ("DATABASE_URL", "sqlite:///", "sqlite:///FILE"),
        ("DATABASE_URL", "sqlite:///:memory:", "sqlite:///FILE"),
        ("HOST", "http://x", "an address or a host name"),
    ],
)
def test_a_bad_value_is_refused_with_its_name_its_place_and_what_is_expected(name: str, value: str, says: str) -> None:
    text = refused({f"RECEIVER_{name}": value})
    assert text.startswith(f"RECEIVER_{name} in the environment: expected ")
    assert says in text
    assert f"{name.lower()} in given.toml: expected " in refused({}, f'{name.lower()} = "{value}"')


@pytest.mark.parametrize(
    ("toml", "says"),
    [
        ("port = true", "port in given.toml: expected a whole number"),
        ("port = 80.5", "port in given.toml: expected a whole number"),
        (f"provider_key = {{a = '{SENTINEL}'}}", "provider_key in given.toml: expected one word"),
        (f"provider_key = {SENTINEL}", "given.toml is not valid TOML: invalid value (at line 1, column 16)"),
        (f"{SENTINEL}", "expected '=' after a key in a key/value pair (at end of document)"),
        (f"[{SENTINEL}]\n[{SENTINEL}]", "cannot declare this twice (at line 2, column "),
        (f"a = {{'{SENTINEL}' = 1, '{SENTINEL}' = 2}}", "duplicate inline table key this (at line 1, column "),
        (f'a = {{"it\'s {SENTINEL}" = 1, "it\'s {SENTINEL}" = 2}}', "duplicate inline table key this (at line 1, "),
        ("port = 1\nport = 2\n", "cannot overwrite a value (at line 2, column 9)"),
        ("a = " + "[" * 100_000, "given.toml is not a settings file: too deeply nested"),
        ("#" * (1 << 20) + "#", "given.toml is not a settings file: it is larger than 1024 KB"),
        ("targets = 1", "targets in given.toml: expected up to 100 tables"),
    ],
)
def test_a_file_that_makes_no_sense_is_refused_in_one_line(toml: str, says: str) -> None:
    assert says in refused({}, toml)


def test_toml_numbers_and_lists_are_read_like_their_texts() -> None:
    Path("receiver.toml").write_text(f'port = 9\nnotify_retry = [1, 2]\nsecret_keys = ["{"a" * 16}", "{"b" * 16}"]\n')
    settings = load_settings({})
    assert (settings.port, settings.notify_retry) == (9, (1, 2))
    assert settings.secret_keys == ("a" * 16, "b" * 16)


def test_a_trailing_slash_of_the_public_url_is_dropped() -> None:
    assert load_settings({"RECEIVER_PUBLIC_URL": "https://host/base/"}).public_url == "https://host/base"


class TestPlatforms:
    """What platforms and systemd set for us."""

    def test_a_bare_port_serves_where_ours_is_unset_and_opens_the_host(self) -> None:
        settings = load_settings({"PORT": "5000"})
        assert (settings.host, settings.port) == ("0.0.0.0", 5000)  # noqa: S104
        assert settings.server == "http://127.0.0.1:5000"
        assert settings.source_of("PORT") == "environment PORT"

    def test_ours_wins_over_the_bare_port_and_then_the_host_stays(self) -> None:
        assert load_settings({"PORT": "5000", "RECEIVER_PORT": "6000"}).host == "127.0.0.1"
        assert load_settings({"PORT": "5000", "RECEIVER_HOST": "::1"}).server == "http://[::1]:5000"
        Path("receiver.toml").write_text("port = 7000\n")
        assert load_settings({"PORT": "5000"}).port == 7000

    def test_a_bare_bad_value_is_named_as_it_was_set(self) -> None:
        assert refused({"PORT": "x"}).startswith("PORT in the environment: expected")

    def test_sqlite_on_a_disk_that_is_thrown_away_is_refused_with_the_remedy(self) -> None:
        assert "set it to a PostgreSQL database" in refused({"DYNO": "web.1"})

    def test_the_state_directory_is_the_sqlite_files(self) -> None:
        settings = load_settings({"RECEIVER_DATABASE_URL": "sqlite:////srv/r/db.sqlite"})
        assert (settings.sqlite_file, settings.state_dir) == (Path("/srv/r/db.sqlite"), Path("/srv/r"))

    def test_systemds_state_directory_takes_in_the_default_database_too(self) -> None:
        settings = load_settings({"STATE_DIRECTORY": "/var/lib/receiver:/var/lib/other"})
        assert settings.state_dir == Path("/var/lib/receiver")
        assert settings.sqlite_file == Path("/var/lib/receiver/receiver.db")

    def test_a_state_directory_of_ours_wins_over_systemds(self) -> None:
        """The database stays in systemd's, unless it is named: `DATABASE_URL` alone says where it is."""
        settings = load_settings({"STATE_DIRECTORY": "/var/lib/receiver", "RECEIVER_STATE_DIR": "/s"})
        assert (settings.state_dir, settings.sqlite_file) == (Path("/s"), Path("/var/lib/receiver/receiver.db"))

    def test_any_free_port_may_be_asked_for(self) -> None:
        assert load_settings({"RECEIVER_PORT": "0"}).port == 0

    def test_confirming_everything_needs_a_key(self) -> None:
        assert "set RECEIVER_PROVIDER_KEY" in refused({"RECEIVER_CONFIRM": "always"})
        assert load_settings({"RECEIVER_CONFIRM": "always", "RECEIVER_PROVIDER_KEY": "k"}).confirm is ConfirmMode.ALWAYS


@pytest.mark.parametrize(
    ("public", "provider", "warned"),
    [
        ("http://127.0.0.1:8000", "https://provider.test", True),
        ("http://localhost:8000", "https://provider.test", True),
        ("http://[::1]:8000", "https://provider.test", True),
        ("http://[::ffff:127.0.0.1]:8000", "https://provider.test", True),
        ("http://0.0.0.0:8000", "https://provider.test", True),
        ("http://192.168.1.5", "https://provider.test", True),
        ("http://100.64.0.1", "https://provider.test", True),
        ("http://[fd00::1]", "https://provider.test", True),
        ("http://box.local.", "https://provider.test", True),
        ("http://127.0.0.1:8000", "http://192.168.1.7:9100", True),
        ("http://127.0.0.1:8000", "http://127.0.0.1:9100", False),
        ("http://192.168.1.5", "http://192.168.1.7:9100", False),
        ("https://receiver.test", "https://provider.test", False),
        ("https://8.8.8.8", "https://provider.test", False),
    ],
)
def test_a_public_url_that_the_provider_cannot_reach_is_warned_about(public: str, provider: str, warned: bool) -> None:
    warning = why_unreachable(load_settings({"RECEIVER_PUBLIC_URL": public, "RECEIVER_PROVIDER_URL": provider}))
    assert (warning is not None) is warned
    assert warning is None or "set RECEIVER_PUBLIC_URL" in str(warning)


def test_upkeep_beside_a_unit_is_told_whose_database_it_is_to_keep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A restore into the folder that somebody happened to be in would look like a success."""
    theirs = tmp_path / "unit" / "receiver.db"
    monkeypatch.setattr("receiver.config.locate.UNIT_DATABASE", theirs)
    assert load_settings({}, upkeep=True).sqlite_file
    theirs.parent.mkdir()
    theirs.touch()
    assert load_settings({}).sqlite_file
    with pytest.raises(SettingsError, match=r"run this as root with --config /etc/receiver/receiver\.toml"):
        load_settings({}, upkeep=True)
    with pytest.raises(SettingsError):
        load_settings({"RECEIVER_STATE_DIR": str(theirs.parent)}, upkeep=True)
    assert load_settings({"STATE_DIRECTORY": str(theirs.parent)}, upkeep=True).sqlite_file == theirs
    assert load_settings({"RECEIVER_DATABASE_URL": "sqlite:///other.db"}, upkeep=True).sqlite_file == Path("other.db")
