"""Targets from the two places they may stand in: NOTIFY_URLS, and the [targets.NAME] tables of receiver.toml.

Apprise itself is not asked (that is the doctor's part); refused is only what would be unsafe with any service. An
Apprise URL is a secret: errors name the target, or the URL's place in the list, and never show it.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import unquote

from receiver.config.kinds import BadValue, Kind
from receiver.errors import SettingsError
from receiver.model import Event, Style, Target

EVENTS = (Event.COMPLETED, Event.FAILED, Event.LOST, Event.ATTENTION)  # what a table's `on` is unless it is given
KEYS = ("url", "on", "models", "labels")
NOT_YET = ("template", "digest", "quiet", "quiet_except", "rate")  # a later version's: refused, never ignored
_SCHEME = re.compile(r"([A-Za-z0-9]{1,32})://.")  # what Apprise takes for one
_MOST = 100  # targets, and words in one of their lists


_STYLES = {
    **dict.fromkeys(("mailto", "mailtos"), Style.EMAIL),
    "slack": Style.SLACK,
    "discord": Style.DISCORD,
    "tgram": Style.TELEGRAM,
    **dict.fromkeys(("ntfy", "ntfys"), Style.NTFY),
}


def style_of(url: str) -> Style:
    """How the service of an Apprise URL wants its messages; text where the URL asks for a format of its own."""
    if re.search(r"[?&]format=", url, re.IGNORECASE):
        return Style.TEXT
    return _STYLES.get(url.partition("://")[0].strip().lower(), Style.TEXT)


def simple_name(url: str) -> str:
    """The name of a target that has only its URL: scheme and six hex digits of the URL's SHA-256 (`slack-3fa92c`)."""
    return f"{url.partition('://')[0].lower()}-{hashlib.sha256(url.encode()).hexdigest()[:6]}"


def check_url(url: str) -> None:
    """Raise BadValue on an Apprise URL that has no scheme, would write files, or would have redirects followed."""
    scheme = _SCHEME.match(url)
    if not scheme or re.search(r"\s", url):
        raise BadValue("it is no Apprise URL, such as slack://TokenA/TokenB/TokenC")
    if scheme[1].lower() == "file":
        raise BadValue("file:// would write to this machine's disk; use a service that sends")
    for field in re.split("[?&;]", url)[1:]:
        # As Apprise reads keys: decoded, in any case, blanks ignored.
        if unquote(field.partition("=")[0].replace("+", " ")).strip().lower() == "redirect":
            raise BadValue("redirect= is not allowed, as redirects are never followed; remove it from the URL")


def _simple(text: str) -> tuple[Target, ...]:
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


URLS = Kind("Apprise URLs", _simple)


def tabled(tables: object, source: str) -> tuple[Target, ...]:
    """The targets of a file's `targets` table. `source` is the file's name, for errors. Raises SettingsError."""
    if not isinstance(tables, dict) or len(tables) > _MOST:
        raise SettingsError(f"targets in {source}: expected up to {_MOST} tables, written as [targets.NAME]")
    return tuple(_one(name, table, source) for name, table in tables.items())


def merge(named: Sequence[Target], simple: Sequence[Target]) -> tuple[Target, ...]:
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


def _one(name: str, table: object, source: str) -> Target:
    place = f"[targets.{name}] in {source}"
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", name):
        raise SettingsError(f"targets.{name[:64]!r} in {source}: expected a name of 1 to 64 letters, digits, - and _")
    if not isinstance(table, dict) or not isinstance(table.get("url"), str):
        raise SettingsError(f"{place}: expected a table with the key url, an Apprise URL")
    for key in table:
        if key in NOT_YET:
            raise SettingsError(f"{place}: {key} is not available in this version; leave it out")
        if key not in KEYS:
            raise SettingsError(f"{place}: {key[:64]!r} is no key of a target; there are {', '.join(KEYS)}")
    try:
        check_url(url := table["url"].strip())
    except BadValue as error:
        raise SettingsError(f"{place}: {error}") from None
    return Target(
        name=name,
        url=url,
        on=_on(table, place),
        models=_list(table, "models", place),
        labels=_list(table, "labels", place),
        style=style_of(url),
    )


def _on(table: Mapping[str, Any], place: str) -> frozenset[Event]:
    words = _list(table, "on", place) if "on" in table else EVENTS
    if not words or not set(words) <= set(Event):
        raise SettingsError(f"{place}: on: expected a list of some of {', '.join(Event)}")
    return frozenset(map(Event, words))


def _list(table: Mapping[str, Any], key: str, place: str) -> tuple[str, ...]:
    words = table.get(key, [])
    if not isinstance(words, list) or len(words) > _MOST or not all(isinstance(word, str) and word for word in words):
        raise SettingsError(f"{place}: {key}: expected a list of up to {_MOST} texts")
    return tuple(words)
