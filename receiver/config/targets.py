"""Targets from the two places they may stand in: NOTIFY_URLS, and the [targets.NAME] tables of receiver.toml.

Apprise itself is not asked (that is the doctor's part); refused is only what would be unsafe with any service. An
Apprise URL is a secret: errors name the target, or the URL's place in the list, and never show it.
"""

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote

from receiver.config.apprise_schemes import NATIVE, SCHEMES
from receiver.config.read import read_text
from receiver.config.value_kinds import BadValue, ValueKind
from receiver.core.errors import SettingsError
from receiver.core.types import MessageRate, MessageStyle, NoticeEvent, QuietHours, Target

DEFAULT_EVENTS = (
    NoticeEvent.COMPLETED,
    NoticeEvent.FAILED,
    NoticeEvent.LOST,
    NoticeEvent.ATTENTION,
)  # what a table's `on` is unless it is given
TARGET_KEYS = ("url", "on", "models", "labels", "template", "digest", "quiet", "quiet_except", "rate")
UNITS_MS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
TEMPLATE_MOST = 64 * 1024  # bytes
DIGEST_LEAST_MS, DIGEST_MOST_MS = 10_000, UNITS_MS["d"]
_SCHEME = re.compile(r"([A-Za-z0-9]{1,32})://.")  # what Apprise takes for one
_MOST = 100  # targets, and words in one of their lists
_RATE_MOST = 10_000  # messages, in whatever span
_Read = TypeVar("_Read")
_UNSAFE = {  # in the query of an Apprise URL
    "redirect": "redirect= is not allowed, as redirects are never followed; remove it from the URL",
    "attach": "attach= is not allowed, as only pictures from our own archive are attached; remove it from the URL",
    "template": "template= is not allowed in the URL; name the file by the key template of a [targets.NAME] table",
}
_STYLES = {
    **dict.fromkeys(("mailto", "mailtos"), MessageStyle.EMAIL),
    "slack": MessageStyle.SLACK,
    "discord": MessageStyle.DISCORD,
    "tgram": MessageStyle.TELEGRAM,
    **dict.fromkeys(("ntfy", "ntfys"), MessageStyle.NTFY),
}

_NATIVE_STYLES = {  # by the host of a webhook URL as the service hands it out
    "hooks.slack.com": MessageStyle.SLACK,
    "discord.com": MessageStyle.DISCORD,
    "discordapp.com": MessageStyle.DISCORD,
    "ntfy.sh": MessageStyle.NTFY,
}


def style_of(url: str) -> MessageStyle:
    """How the service of an Apprise URL wants its messages; text where the URL asks for a format of its own."""
    if re.search(r"[?&]format=", url, re.IGNORECASE):
        return MessageStyle.TEXT
    scheme, _, rest = url.partition("://")
    if scheme.strip().lower() == "https":
        return _NATIVE_STYLES.get(rest.partition("/")[0].lower(), MessageStyle.TEXT)
    return _STYLES.get(scheme.strip().lower(), MessageStyle.TEXT)


def simple_name(url: str) -> str:
    """The name of a target that has only its URL: scheme and six hex digits of the URL's SHA-256 (`slack-3fa92c`)."""
    return f"{url.partition('://')[0].lower()}-{hashlib.sha256(url.encode()).hexdigest()[:6]}"


def check_url(url: str) -> None:
    """Raise BadValue on an Apprise URL without a scheme of a service, or one that would write or read files, or have
    redirects followed."""
    scheme = _SCHEME.match(url)
    if not scheme or re.search(r"\s", url):
        raise BadValue("it is no Apprise URL, such as slack://TokenA/TokenB/TokenC")
    if scheme[1].lower() == "file":
        raise BadValue("file:// would write to this machine's disk; use a service that sends")
    for field in re.split("[?&;]", url)[1:]:
        # As Apprise reads keys: decoded, in any case, blanks ignored.
        key = unquote(field.partition("=")[0].replace("+", " ")).strip().lower()
        if key in _UNSAFE:
            raise BadValue(_UNSAFE[key])
    if scheme[1].lower() not in SCHEMES | NATIVE:
        raise BadValue(f"it has the scheme of no service{_suggest_scheme(scheme[1].lower())}")


def _suggest_scheme(scheme: str) -> str:
    import difflib  # only for a start that fails

    near = difflib.get_close_matches(scheme, sorted(SCHEMES), 1, 0.6)
    return f"; did you mean {near[0]}://?" if near else "; https://appriseit.com/services/ lists them"


def _parse_simple_targets(text: str) -> tuple[Target, ...]:
    """A target for each Apprise URL of NOTIFY_URLS; each gets everything, and equal URLs are one target."""
    found = []
    for place, url in enumerate(dict.fromkeys(text.split()), 1):
        try:
            check_url(url)
        except BadValue as error:
            name = f"target {simple_name(url)}" if _SCHEME.match(url) else f"URL number {place}"
            raise BadValue(f"{name}: {error}") from None
        found.append(Target(name=simple_name(url), url=url, style=style_of(url)))
    if len(found) > _MOST:
        raise BadValue(f"{len(found)} targets are too many; {_MOST} is the limit")
    return tuple(found)


URLS = ValueKind("Apprise URLs", _parse_simple_targets)


def parse_target_tables(tables: object, source: str, *, templates: bool = True) -> tuple[Target, ...]:
    """The targets of a file's `targets` table. `source` is the file's name, for errors; without `templates` the files
    that they name are not read. Raises SettingsError."""
    if not isinstance(tables, dict) or len(tables) > _MOST:
        raise SettingsError(f"targets in {source}: expected up to {_MOST} tables, written as [targets.NAME]")
    return tuple(_parse_target(name, table, source, templates=templates) for name, table in tables.items())


def merge_targets(named: Sequence[Target], simple: Sequence[Target]) -> tuple[Target, ...]:
    """Both kinds, each URL once: its table says what it wants to hear. Raises SettingsError where that is ambiguous."""
    by_url: dict[str, Target] = {}
    for target in named:
        if other := by_url.get(target.url):
            raise SettingsError(f"targets {other.name} and {target.name} have the same URL; make them one target")
        by_url[target.url] = target
    for target in simple:
        by_url.setdefault(target.url, target)
    names = [target.name for target in by_url.values()]
    for name in names:
        if names.count(name) > 1:
            raise SettingsError(f"two targets are called {name}; give one of them a name of its own as [targets.NAME]")
    return tuple(by_url.values())


def _parse_target(name: str, table: object, source: str, *, templates: bool) -> Target:
    place = f"[targets.{name}] in {source}"
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", name):
        raise SettingsError(f"targets.{name[:64]!r} in {source}: expected a name of 1 to 64 letters, digits, - and _")
    if not isinstance(table, dict) or not isinstance(table.get("url"), str):
        raise SettingsError(f"{place}: expected a table with the key url, an Apprise URL")
    for key in table:
        if key not in TARGET_KEYS:
            raise SettingsError(f"{place}: {key[:64]!r} is no key of a target; there are {', '.join(TARGET_KEYS)}")
    try:
        check_url(url := table["url"].strip())
    except BadValue as error:
        raise SettingsError(f"{place}: {error}") from None
    quiet = _parse_key(table, "quiet", place, _parse_quiet_hours)
    if "quiet_except" in table and quiet is None:
        raise SettingsError(f"{place}: quiet_except: there are no quiet hours; set quiet, or leave it out")
    return Target(
        name=name,
        url=url,
        on=_parse_events(table, "on", place, DEFAULT_EVENTS),
        models=_parse_list(table, "models", place),
        labels=_parse_list(table, "labels", place),
        style=style_of(url),
        template=_read_template(table, place, Path(source).parent) if templates else None,
        template_file=table.get("template") if templates else None,
        digest_ms=_parse_key(table, "digest", place, _parse_digest),
        quiet=quiet,
        quiet_except=_parse_events(table, "quiet_except", place, ()),
        rate=_parse_key(table, "rate", place, _parse_rate),
    )


def _parse_key(table: Mapping[str, Any], key: str, place: str, parse: Callable[[str], _Read]) -> _Read | None:
    """The value of a key that may be left out."""
    if key not in table:
        return None
    try:
        return parse(table[key] if isinstance(table[key], str) else "")
    except BadValue as error:
        raise SettingsError(f"{place}: {key}: {error}") from None


def _parse_digest(text: str) -> int:
    found = re.fullmatch(r"([0-9]{1,6})([smhd])", text.strip())
    span = int(found[1]) * UNITS_MS[found[2]] if found else 0
    if not DIGEST_LEAST_MS <= span <= DIGEST_MOST_MS:
        raise BadValue("expected a span from 10s to 1d, such as 90s, 5m or 1h")
    return span


def _parse_rate(text: str) -> MessageRate:
    found = re.fullmatch(r"([0-9]{1,6})/([smh])", text.strip())
    if not found or not 1 <= int(found[1]) <= _RATE_MOST:
        raise BadValue(f"expected 1 to {_RATE_MOST} messages in a second, minute or hour, such as 1/s, 10/m or 100/h")
    return MessageRate(int(found[1]), UNITS_MS[found[2]])


def _parse_quiet_hours(text: str) -> QuietHours:
    found = re.fullmatch(r"([0-9]{2}):([0-9]{2})-([0-9]{2}):([0-9]{2})\s+(\S{1,64})", text.strip())
    hours = [int(part) for part in found.groups()[:4]] if found else []
    if not found or max(hours[0::2]) > 23 or max(hours[1::2]) > 59:
        raise BadValue("expected two times of day and a time zone, such as 22:00-07:00 Europe/Berlin")
    start, end = hours[0] * 60 + hours[1], hours[2] * 60 + hours[3]
    if start == end:
        raise BadValue("it ends when it begins; give a target that is never to be told no table")
    _check_zone(found[5])
    return QuietHours(start, end, found[5])


def _check_zone(name: str) -> None:
    import zoneinfo  # only where there are quiet hours

    try:
        zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        if not zoneinfo.available_timezones():
            raise BadValue("this machine knows no time zones; install its package tzdata") from None
        raise BadValue("it names no time zone; they are called as Europe/Berlin or UTC is") from None


def _read_template(table: Mapping[str, Any], place: str, folder: Path) -> str | None:
    """The text of the file that the key names, from the folder of receiver.toml on."""
    if "template" not in table:
        return None
    if not isinstance(table["template"], str) or not table["template"].strip():
        raise SettingsError(f"{place}: template: expected the name of a file, such as team.j2")
    return read_text(folder / table["template"], f"{place}: template", TEMPLATE_MOST)


def _parse_events(
    table: Mapping[str, Any], key: str, place: str, absent: Sequence[NoticeEvent]
) -> frozenset[NoticeEvent]:
    words = _parse_list(table, key, place) if key in table else absent
    if key in table and not (words and set(words) <= set(NoticeEvent)):
        raise SettingsError(f"{place}: {key}: expected a list of some of {', '.join(NoticeEvent)}")
    return frozenset(map(NoticeEvent, words))


def _parse_list(table: Mapping[str, Any], key: str, place: str) -> tuple[str, ...]:
    words = table.get(key, [])
    if not isinstance(words, list) or len(words) > _MOST or not all(isinstance(word, str) and word for word in words):
        raise SettingsError(f"{place}: {key}: expected a list of up to {_MOST} texts")
    return tuple(words)
