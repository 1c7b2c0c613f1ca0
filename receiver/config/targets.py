"""Reads targets from NOTIFY_URLS and from the [targets.NAME] tables of receiver.toml.

It does not load Apprise (the doctor does): it refuses only unknown schemes and what would be unsafe with any service.
An Apprise URL is a secret: errors name the target, or the URL's place in the list, and never show the URL.
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
from receiver.core.types import Importance, MessageRate, MessageStyle, NoticeEvent, QuietHours, Target

DEFAULT_EVENTS = (
    NoticeEvent.COMPLETED,
    NoticeEvent.FAILED,
    NoticeEvent.LOST,
    NoticeEvent.ATTENTION,
)  # of a table without `on`
TARGET_KEYS = ("url", "on", "models", "labels", "template", "digest", "quiet", "quiet_except", "rate", "priority")
UNITS_MS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
TEMPLATE_MOST = 64 * 1024  # bytes
DIGEST_LEAST_MS, DIGEST_MOST_MS = 10_000, UNITS_MS["d"]
_SCHEME = re.compile(r"([A-Za-z0-9]{1,32})://.")  # as Apprise reads one
_MOST = 100  # targets, and words in one of their lists
_RATE_MOST = 10_000  # messages in one second, minute or hour
_Read = TypeVar("_Read")
_UNSAFE = {  # in the query of an Apprise URL
    "redirect": ("redirect= is not allowed, since redirects are never followed", "remove it from the URL"),
    "attach": ("attach= is not allowed, since only archived pictures are attached", "remove it from the URL"),
    "template": ("template= is not allowed in the URL", "name the file in a [targets.NAME] table: template = FILE"),
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
    """The message style for an Apprise URL's service; text if the URL asks for a format of its own."""
    if re.search(r"[?&]format=", url, re.IGNORECASE):
        return MessageStyle.TEXT
    scheme, _, rest = url.partition("://")
    if scheme.strip().lower() == "https":
        return _NATIVE_STYLES.get(rest.partition("/")[0].lower(), MessageStyle.TEXT)
    return _STYLES.get(scheme.strip().lower(), MessageStyle.TEXT)


def simple_name(url: str) -> str:
    """The name of a target from NOTIFY_URLS: scheme and six hex digits of the URL's SHA-256 (`slack-3fa92c`)."""
    return f"{url.partition('://')[0].lower()}-{hashlib.sha256(url.encode()).hexdigest()[:6]}"


def check_url(url: str) -> None:
    """Raise BadValue if an Apprise URL has an unknown scheme, would read or write files, or would follow redirects."""
    scheme = _SCHEME.match(url)
    if not scheme or re.search(r"\s", url):
        raise BadValue(
            "this is not an Apprise URL",
            remedy="a Slack webhook starts with https://, others look like mailto://user:password@host",
        )
    if scheme[1].lower() == "file":
        raise BadValue("file:// would write to this machine's disk", remedy="use a service that sends messages")
    for field in re.split("[?&;]", url)[1:]:
        # Apprise decodes keys, strips blanks and ignores case.
        key = unquote(field.partition("=")[0].replace("+", " ")).strip().lower()
        if key in _UNSAFE:
            problem, remedy = _UNSAFE[key]
            raise BadValue(problem, remedy=remedy)
    if scheme[1].lower() not in SCHEMES | NATIVE:
        raise _unknown_scheme(scheme[1].lower())


def _unknown_scheme(scheme: str) -> BadValue:
    """The error for an unknown scheme. It names the nearest one, and never the scheme itself: it may be a secret."""
    import difflib  # only for a start that fails

    problem = "no service has this URL's scheme"
    if near := difflib.get_close_matches(scheme, sorted(SCHEMES), 1, 0.6):
        return BadValue(f"{problem} (did you mean {near[0]}://?)")
    return BadValue(problem, remedy="https://appriseit.com/services/ lists all services")


def _parse_simple_targets(text: str) -> tuple[Target, ...]:
    """A target for each Apprise URL of NOTIFY_URLS; each gets everything, and equal URLs are one target."""
    found = []
    for place, url in enumerate(dict.fromkeys(text.split()), 1):
        try:
            check_url(url)
        except BadValue as error:
            name = f"target {simple_name(url)}" if _SCHEME.match(url) else f"URL number {place}"
            raise BadValue(f"{name}: {error.problem}", remedy=error.remedy) from None
        found.append(Target(name=simple_name(url), url=url, style=style_of(url)))
    if len(found) > _MOST:
        raise BadValue(f"there are {len(found)} targets", remedy=f"leave {_MOST} at most")
    return tuple(found)


URLS = ValueKind("Apprise URLs", _parse_simple_targets)


def parse_target_tables(tables: object, source: str, *, templates: bool = True) -> tuple[Target, ...]:
    """The targets in a file's `targets` table. `source` is the file's path. Without `templates`, template files are not
    read. Raises SettingsError."""
    if not isinstance(tables, dict) or len(tables) > _MOST:
        raise SettingsError(f"targets in {source}: expected up to {_MOST} tables, written as [targets.NAME]")
    return tuple(_parse_target(name, table, source, templates=templates) for name, table in tables.items())


def merge_targets(named: Sequence[Target], simple: Sequence[Target]) -> tuple[Target, ...]:
    """Both kinds together, each URL once: a table wins over NOTIFY_URLS. Raises SettingsError if that is ambiguous."""
    by_url: dict[str, Target] = {}
    for target in named:
        if other := by_url.get(target.url):
            problem = f"targets {other.name} and {target.name} have the same URL"
            raise SettingsError(problem, remedy="make them one target")
        by_url[target.url] = target
    for target in simple:
        by_url.setdefault(target.url, target)
    names = [target.name for target in by_url.values()]
    for name in names:
        if names.count(name) > 1:
            remedy = "give one of them another name, in a [targets.NAME] table"
            raise SettingsError(f"two targets are called {name}", remedy=remedy)
    return tuple(by_url.values())


def _parse_target(name: str, table: object, source: str, *, templates: bool) -> Target:
    place = f"[targets.{name}] in {source}"
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", name):
        raise SettingsError(f"targets.{name[:64]!r} in {source}: expected a name of 1 to 64 letters, digits, - and _")
    if not isinstance(table, dict) or not isinstance(table.get("url"), str):
        raise SettingsError(f"{place}: expected a table with the key url, an Apprise URL")
    for key in table:
        if key not in TARGET_KEYS:
            problem = f"{place}: unknown key {key[:64]!r}"
            raise SettingsError(problem, remedy=f"a target has the keys {', '.join(TARGET_KEYS)}")
    try:
        check_url(url := table["url"].strip())
    except BadValue as error:
        raise SettingsError(f"{place}: {error.problem}", remedy=error.remedy) from None
    quiet = _parse_key(table, "quiet", place, _parse_quiet_hours)
    if "quiet_except" in table and quiet is None:
        problem = f"{place}: quiet_except is set, but there are no quiet hours"
        raise SettingsError(problem, remedy="set quiet, or remove quiet_except")
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
        priority=_parse_priority(table, place),
    )


def _parse_key(table: Mapping[str, Any], key: str, place: str, parse: Callable[[str], _Read]) -> _Read | None:
    """The value of an optional key."""
    if key not in table:
        return None
    try:
        return parse(table[key] if isinstance(table[key], str) else "")
    except BadValue as error:
        raise SettingsError(f"{place}: {key}: {error.problem}", remedy=error.remedy) from None


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
        raise BadValue("it begins and ends at the same time", remedy="to silence a target altogether, remove its table")
    _check_zone(found[5])
    return QuietHours(start, end, found[5])


def _check_zone(name: str) -> None:
    import zoneinfo  # only where there are quiet hours

    try:
        zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        if not zoneinfo.available_timezones():
            raise BadValue("this machine knows no time zones", remedy="install its package tzdata") from None
        raise BadValue("unknown time zone", remedy="use a name such as Europe/Berlin or UTC") from None


def _read_template(table: Mapping[str, Any], place: str, folder: Path) -> str | None:
    """The text of the template file; a relative path counts from the folder of receiver.toml."""
    if "template" not in table:
        return None
    if not isinstance(table["template"], str) or not table["template"].strip():
        raise SettingsError(f"{place}: template: expected the name of a file, such as team.j2")
    return read_text(folder / table["template"], f"{place}: template", TEMPLATE_MOST)


def _parse_priority(table: Mapping[str, Any], place: str) -> dict[NoticeEvent, Importance]:
    """How important each event is to this target, such as { failed = "high" }."""
    found = table.get("priority", {})
    if not isinstance(found, dict):
        raise SettingsError(f'{place}: priority: expected a table such as {{ failed = "high" }}')
    for event, importance in found.items():
        if event not in set(NoticeEvent):
            raise SettingsError(f"{place}: priority: expected the names of events: {', '.join(NoticeEvent)}")
        if importance not in list(Importance):
            raise SettingsError(f"{place}: priority: {event}: expected one of {', '.join(Importance)}")
    return {NoticeEvent(event): Importance(importance) for event, importance in found.items()}


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
