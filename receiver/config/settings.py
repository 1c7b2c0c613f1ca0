"""`load_settings` reads the environment and receiver.toml into frozen `Settings`.

An unknown key, an unreadable file or a bad value raises SettingsError, one line that names it and says what is
expected. It never shows the value, which may be a secret in the wrong place. `config.text` shows settings to people.
"""

import ipaddress
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from msgspec import Struct
from msgspec.structs import replace

from receiver.config import locate, targets
from receiver.config.bad_value import BadValue
from receiver.config.generated_secrets import (
    KEYS_FILE,
    TOKENS_FILE,
    load_or_generate,
    make_state_dir,
    read_generated,
    refuse_second_database,
    refuse_unwritable,
)
from receiver.config.locate import ENV_PREFIX, FILE_VARIABLE, SettingsPlace
from receiver.config.postgres_url import describe_postgres, is_postgres, postgres_secrets, without_password
from receiver.config.prices import parse_prices
from receiver.config.read import file_exists, read_secret_file, read_toml
from receiver.config.settings_table import SETTINGS, Setting
from receiver.config.spellings import unquote
from receiver.config.value_kinds import AllowedHosts, Network, sqlite_path
from receiver.core.budgets import Budget
from receiver.core.errors import SettingsError
from receiver.core.types import ConfirmMode, Retention, Target


class Settings(Struct, frozen=True, kw_only=True):
    """Every setting, checked. Spans are whole seconds, sizes bytes. `sources` is parallel to `SETTINGS`."""

    public_url: str  # without a trailing slash, like every URL here
    host: str
    port: int  # 0: any free one
    database_url: str  # a secret: it may contain a password
    database_listen_url: str | None  # likewise; None: DATABASE_URL
    pool: int
    state_dir: Path
    secret_keys: tuple[str, ...]  # empty: `ensure_secrets` generates them
    api_tokens: tuple[str, ...]  # likewise
    password_hash: str | None  # of the pages' password; None: see `config.password_hash`
    provider_url: str
    provider_key: str | None
    provider_concurrency: int
    budget_day: Budget | None
    budget_month: Budget | None
    prices: Mapping[str, int]  # nano-USD by model, of [prices]
    targets: tuple[Target, ...]  # of [targets.NAME], then of NOTIFY_URLS
    server: str
    api_token: str | None
    notify_retry: tuple[int, ...]
    senders: int | None  # None: as many as suit the database
    confirm: ConfirmMode
    confirm_within: int
    sweep_first: int
    sweep_max: int
    deadline: int
    max_body: int
    body_timeout: int
    retention: Retention
    fetch_allow: AllowedHosts
    picture_wait: int
    trusted_proxies: tuple[Network, ...]
    sources: tuple[str, ...]  # "default", "environment PORT", "file receiver.toml", "credential provider_key"
    place: SettingsPlace

    @property
    def sqlite_file(self) -> Path | None:
        """The SQLite file; None: the database is PostgreSQL."""
        return sqlite_path(self.database_url)

    @property
    def database_place(self) -> str:
        """Where the database is, without a user or a password: an absolute path, or `HOST:PORT/DATABASE`."""
        path = self.sqlite_file
        return describe_postgres(self.database_url) if path is None else str(path.absolute())

    @property
    def postgres_address(self) -> str:
        """The PostgreSQL database's URL without its password, for commands that a person shall run."""
        return without_password(self.database_url)

    def source_of(self, name: str) -> str:
        """Where the setting `name` came from."""
        return next(source for setting, source in zip(SETTINGS, self.sources, strict=True) if setting.name == name)

    def __repr__(self) -> str:
        return f"Settings({self.public_url!r})"


class _RawValue(Struct, frozen=True):
    text: str
    source: str
    label: str  # what an error calls it


def load_settings(
    env: Mapping[str, str], file: Path | None = None, *, upkeep: bool = False, client: bool = False
) -> Settings:
    """The settings in `env` and in the file that `locate` finds: one that is named has to exist.

    Each setting comes from the first of these that is set and not empty: `RECEIVER_X` (for a secret also
    `RECEIVER_X_FILE`), the systemd credential `x` (secrets only), `x` in the file, a bare `PORT` or `DATABASE_URL`, the
    default. Relative paths count from the file's folder. `upkeep` commands send nothing, so the provider's key and the
    targets' templates may be missing. For a `client` of the service the targets are not read at all: their files may
    exist on the service's machine only. Raises SettingsError.
    """
    place = locate.find_settings_place(env, file)
    path = place.file
    table = read_toml(path) if place.named or file_exists(path, str(path)) else {}
    tables, prices = table.pop("targets", {}), parse_prices(table.pop("prices", {}), str(path))
    named = () if client else targets.parse_target_tables(tables, str(path), templates=not upkeep)
    _refuse_unknown(env, table, path)
    found = {setting.name: _find_value(setting, env, table, place) for setting in SETTINGS}
    _derive_defaults(found, place)
    values = {setting.name.lower(): _parse_value(setting, found[setting.name]) for setting in SETTINGS}
    values["database_url"] = url = place.resolve_url(values["database_url"])
    given = values["state_dir"]
    values["state_dir"] = place.folder / given if given else (sqlite_path(url) or place.folder / "state").parent
    _refuse_clashes(values, env, upkeep=upkeep)
    if not client and is_postgres(url):
        _refuse_alone(values, has_state=bool(given), upkeep=upkeep)
    if upkeep and not place.named and found["DATABASE_URL"].source == "default":
        _refuse_beside_unit()
    merged = targets.merge_targets(named, values.pop("notify_urls"))
    return Settings(
        **values, prices=prices, targets=merged, sources=tuple(each.source for each in found.values()), place=place
    )


def _refuse_beside_unit() -> None:
    """Refuse upkeep of a database that nobody named, if this machine's service has one."""
    if file_exists(locate.UNIT_DATABASE, str(locate.UNIT_DATABASE)):
        raise SettingsError(
            f"no database is named, and this machine's service has its own in {locate.UNIT_DATABASE.parent}",
            remedy=f"to use that one, run this as root with --config {locate.UNIT_SETTINGS}; for another, set "
            f"{ENV_PREFIX}DATABASE_URL",
        )


def _refuse_unknown(env: Mapping[str, str], table: Mapping[str, Any], path: Path) -> None:
    names = [FILE_VARIABLE, *(ENV_PREFIX + setting.name for setting in SETTINGS)]
    names += [f"{ENV_PREFIX}{setting.name}_FILE" for setting in SETTINGS if setting.secret]
    for key in env:
        if key.startswith(ENV_PREFIX) and key not in names:
            raise _unknown_setting(key, "in the environment", names)
    if directory := env.get("CREDENTIALS_DIRECTORY"):
        _refuse_misspelt_credentials(Path(directory))
    keys = [setting.name.lower() for setting in SETTINGS]
    for key in table:
        if key not in keys:
            raise _unknown_setting(key, f"in {path}", [*keys, "targets", "prices"])


def _refuse_misspelt_credentials(directory: Path) -> None:
    """Refuse a credential with nearly the name of a secret. Others may be templates, or belong to other programs."""
    import difflib

    names = [setting.name.lower() for setting in SETTINGS if setting.secret]
    try:
        found = sorted(each.name for each in directory.iterdir())
    except OSError:  # `_find_value` reports it, if a secret is looked for there
        return
    for name in found:
        near = difflib.get_close_matches(name[:80].lower(), names, 1, 0.8)
        if near and name not in names:
            raise SettingsError(f"unknown credential {_quote_key(name)} (did you mean {near[0]}?)")


def _quote_key(key: str) -> str:
    return repr(key[:80])  # one line, whatever it holds


def _unknown_setting(key: str, place: str, names: list[str]) -> SettingsError:
    import difflib  # only for a start that fails

    problem = f"unknown setting {_quote_key(key)} {place}"
    folded = {name.lower(): name for name in names}
    if (bare := key[:80].lower().removeprefix(ENV_PREFIX.lower())) in folded:
        return SettingsError(f"{problem} (did you mean {folded[bare]}? {ENV_PREFIX} is for the environment)")
    if near := difflib.get_close_matches(key[:80].lower(), folded, 1, 0.5):
        return SettingsError(f"{problem} (did you mean {folded[near[0]]}?)")
    return SettingsError(problem, remedy="`receiver config` lists all settings")


def _find_value(setting: Setting, env: Mapping[str, str], table: Mapping[str, Any], place: SettingsPlace) -> _RawValue:
    found = _look_up(setting, env, table, place)
    return found if (text := unquote(found.text)) == found.text else replace(found, text=text)


def _look_up(setting: Setting, env: Mapping[str, str], table: Mapping[str, Any], place: SettingsPlace) -> _RawValue:
    key, low, path = ENV_PREFIX + setting.name, setting.name.lower(), place.file
    text = _env_text(env, key)
    if setting.secret and (named := _env_text(env, f"{key}_FILE")):
        if text:
            raise SettingsError(f"{key} and {key}_FILE are both set", remedy="unset one of them")
        secret = read_secret_file(place.folder / named, f"{key}_FILE")
        return _RawValue(secret, f"environment {key}_FILE", f"{key}_FILE")
    if text:
        return _RawValue(text, f"environment {key}", f"{key} in the environment")
    if setting.secret and (directory := env.get("CREDENTIALS_DIRECTORY")):
        label = f"the credential {low}"
        if file_exists(credential := Path(directory, low), label):
            return _RawValue(read_secret_file(credential, label), f"credential {low}", label)
    elif setting.secret and place.secrets and file_exists(beside := place.secrets / low, str(beside)):
        return _RawValue(read_secret_file(beside, str(beside)), f"file {beside}", str(beside))
    if text := _as_text(table.get(low, ""), f"{low} in {path}", setting.kind.expects):
        return _RawValue(text, f"file {path}", f"{low} in {path}")
    if setting.name in ("PORT", "DATABASE_URL") and (text := _env_text(env, setting.name)):
        return _RawValue(text, f"environment {setting.name}", f"{setting.name} in the environment")
    return _RawValue(setting.default, "default", f"the default of {setting.name}")


def _env_text(env: Mapping[str, str], name: str) -> str:
    """A variable without the quotes that some env files leave around a value; an empty one counts as unset."""
    return unquote(env.get(name, ""))


def _as_text(value: object, label: str, expects: str) -> str:
    """A TOML value as the environment would spell it, so that one parser reads both."""
    words = value if isinstance(value, list) else [value]
    if not all(isinstance(word, str | int) and not isinstance(word, bool) for word in words):
        raise SettingsError(f"{label}: expected {expects}")
    return unquote(" ".join(map(str, words)))


def _derive_defaults(found: dict[str, _RawValue], place: SettingsPlace) -> None:
    """Fill in the defaults that depend on other settings."""
    unset = {name for name, each in found.items() if each.source == "default"}
    if "HOST" in unset and found["PORT"].source == "environment PORT":
        found["HOST"] = _RawValue("0.0.0.0", "environment PORT", "HOST")  # noqa: S104 - what a platform's router needs
    label = f"the state directory of {place.state_source}"
    if "DATABASE_URL" in unset and place.state:
        found["DATABASE_URL"] = replace(found["DATABASE_URL"], source=place.state_source, label=label)
    if "STATE_DIR" in unset and place.state:
        found["STATE_DIR"] = _RawValue(place.state, place.state_source, label)
    port = found["PORT"].text
    if "PUBLIC_URL" in unset and _is_port(port):
        found["PUBLIC_URL"] = _RawValue(f"http://127.0.0.1:{port}", "default", "PUBLIC_URL")
    if "SERVER" in unset:
        given = found["HOST"].text.strip("[]")
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(given, given)  # noqa: S104 - compared
        url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        found["SERVER"] = _RawValue(url, "default", "SERVER")


def _is_port(text: str) -> bool:
    """Whether it is a port that can be listened on and named; 0 is any free one."""
    return text.isascii() and text.isdecimal() and len(text) <= 5 and 0 < int(text) < 1 << 16


def _parse_value(setting: Setting, found: _RawValue) -> Any:
    if not found.text:
        return setting.absent
    try:
        return setting.kind.parse(found.text)
    except BadValue as error:
        raise SettingsError(f"{found.label}: {error.problem}", remedy=error.remedy) from None
    except ValueError:
        raise SettingsError(f"{found.label}: expected {setting.kind.expects}") from None


def _refuse_clashes(values: Mapping[str, Any], env: Mapping[str, str], *, upkeep: bool) -> None:
    if "DYNO" in env and not is_postgres(values["database_url"]):
        raise SettingsError(
            "DATABASE_URL is an SQLite file, and this platform (DYNO is set) deletes its disk at every restart",
            remedy="set it to a PostgreSQL database, or run the service where the disk stays",
        )
    if values["database_listen_url"] and not is_postgres(values["database_url"]):
        raise SettingsError(
            "DATABASE_LISTEN_URL is set, and DATABASE_URL is an SQLite file, which needs none",
            remedy="unset DATABASE_LISTEN_URL, or set DATABASE_URL to the PostgreSQL database",
        )
    zones = [it.zone for it in (values["budget_day"], values["budget_month"]) if it is not None and it.zone]
    if len(set(zones)) > 1:
        problem = f"BUDGET_DAY and BUDGET_MONTH name two time zones, {' and '.join(zones)}"
        raise SettingsError(problem, remedy="name the same one in both: a task counts in one day")
    if values["confirm"] is ConfirmMode.ALWAYS and not values["provider_key"] and not upkeep:
        problem = "CONFIRM is `always`: every callback is confirmed by a poll, which needs a provider key"
        raise SettingsError(problem, remedy=f"set {ENV_PREFIX}PROVIDER_KEY")


def _refuse_alone(values: Mapping[str, Any], *, has_state: bool, upkeep: bool) -> None:
    """Refuse settings over PostgreSQL of which each process would make its own: they have to be those of all."""
    if not has_state:
        raise SettingsError(
            "DATABASE_URL is PostgreSQL, and STATE_DIR is not set: the pictures have to lie where all processes find "
            "them",
            remedy=f"set {ENV_PREFIX}STATE_DIR to a directory that all of them share",
        )
    if not values["secret_keys"] and not upkeep:
        raise SettingsError(
            "DATABASE_URL is PostgreSQL, and SECRET_KEYS is not set: all processes have to sign and check callback "
            "URLs with the same keys",
            remedy=f"set {ENV_PREFIX}SECRET_KEYS to what `openssl rand -hex 32` prints, in all of them the same, or "
            f"{ENV_PREFIX}SECRET_KEYS_FILE to the file {KEYS_FILE} of an earlier installation",
        )


def ensure_secrets(settings: Settings) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The secret keys and the API tokens: from the settings, or else from the state directory, generated on first use.

    Only the service calls this. Raises SettingsError, also if the database cannot be written: the service could not
    start anyway.
    """
    if settings.sqlite_file:
        source = settings.source_of("DATABASE_URL")
        ours = source in ("default", settings.place.state_source)
        refuse_second_database(settings.sqlite_file, ours=ours)
        refuse_unwritable(settings.sqlite_file, make=ours)
    else:
        make_state_dir(settings.state_dir)
    return (
        settings.secret_keys or load_or_generate(settings.state_dir, KEYS_FILE),
        settings.api_tokens or load_or_generate(settings.state_dir, TOKENS_FILE),
    )


def local_token(settings: Settings) -> str | None:
    """The API token for a command: API_TOKEN, or the service's own if this is its machine. Never generates one."""
    if settings.api_token or settings.api_tokens:
        return settings.api_token or settings.api_tokens[0]
    path = settings.state_dir / TOKENS_FILE
    return read_generated(path)[0] if file_exists(path, f"{path} (or set {ENV_PREFIX}API_TOKEN)") else None


def secret_values(settings: Settings) -> tuple[str, ...]:
    """Every secret in the settings, for the log's redaction. The caller adds the generated ones (`ensure_secrets`)."""
    urls = [settings.database_url, settings.database_listen_url or ""]
    single = [settings.provider_key, settings.api_token, settings.password_hash]
    given = [*settings.secret_keys, *settings.api_tokens, *(target.url for target in settings.targets)]
    database = [word for url in urls if is_postgres(url) for word in postgres_secrets(url)]
    return (*given, *database, *(text for text in single if text))


def why_unreachable(settings: Settings) -> SettingsError | None:
    """Why the provider cannot reach PUBLIC_URL, if it cannot: a warning, not a reason to refuse the start.

    Judged by the two URLs alone, without DNS.
    """
    ours, theirs = _network_reach(settings.public_url), _network_reach(settings.provider_url)
    if ours >= theirs:
        return None
    where = ("this machine", "a private network")[ours]
    return SettingsError(
        f"PUBLIC_URL ({settings.public_url}) is an address of {where}, so the provider at {settings.provider_url} "
        "can never call back",
        remedy=f"set {ENV_PREFIX}PUBLIC_URL to a URL that it can reach, or submit with poll_only",
    )


def warn_of_plain_http(settings: Settings) -> Iterator[SettingsError]:
    """What can be read in transit, because a URL of a public host is http://: a warning for each such setting."""
    for name, what in (
        ("PUBLIC_URL", "callbacks, callback URLs and links to pictures"),
        ("PROVIDER_URL", "the provider's key and all prompts"),
        ("SERVER", "the API token and all tasks"),
    ):
        url = getattr(settings, name.lower())
        if urlsplit(url).scheme == "http" and is_public(url):
            problem = f"{name} is http://, so {what} can be read and changed in transit"
            yield SettingsError(problem, remedy=f"set {ENV_PREFIX}{name} to an https:// URL")


def is_public(url: str) -> bool:
    """Whether a URL can be reached from everywhere, judged without DNS."""
    return _network_reach(url) == 2


def _network_reach(url: str) -> int:
    """From where a URL can be reached: 0 its own machine, 1 its network, 2 everywhere."""
    host = (urlsplit(url).hostname or "").rstrip(".")
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        if host == "localhost" or host.endswith(".localhost"):
            return 0
        return 1 if host.endswith(".local") else 2
    address = getattr(address, "ipv4_mapped", None) or address
    if address.is_loopback or address.is_unspecified:
        return 0
    return 2 if address.is_global else 1
