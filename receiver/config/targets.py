"""Reads targets from the [targets.NAME] tables of receiver.toml, and merges them with those of NOTIFY_URLS."""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from receiver.config.bad_value import BadValue
from receiver.config.read import read_text
from receiver.config.spellings import split_commas
from receiver.config.target_pacing import parse_digest, parse_quiet_hours, parse_rate
from receiver.config.target_urls import TARGETS_MOST, parse_url, style_of, takes_files
from receiver.core.errors import SettingsError
from receiver.core.types import Importance, NoticeEvent, Target

DEFAULT_EVENTS = (
    NoticeEvent.COMPLETED,
    NoticeEvent.FAILED,
    NoticeEvent.LOST,
    NoticeEvent.ATTENTION,
    NoticeEvent.BATCH,
)  # of a table without `on`
TARGET_KEYS = ("url", "on", "models", "labels", "template", "digest", "quiet", "quiet_except", "rate", "priority")
TEMPLATE_MOST = 64 * 1024  # bytes
_MOST = 100  # words in one of a target's lists
_Read = TypeVar("_Read")


def parse_target_tables(tables: object, source: str, *, templates: bool = True) -> tuple[Target, ...]:
    """The targets in a file's `targets` table. `source` is the file's path. Without `templates`, template files are not
    read. Raises SettingsError."""
    if not isinstance(tables, dict) or len(tables) > TARGETS_MOST:
        raise SettingsError(f"targets in {source}: expected up to {TARGETS_MOST} tables, written as [targets.NAME]")
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
            raise _unknown_key(key, place)
    try:
        url = parse_url(table["url"])
    except BadValue as error:
        raise SettingsError(f"{place}: {error.problem}", remedy=error.remedy) from None
    quiet = _parse_key(table, "quiet", place, parse_quiet_hours)
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
        takes_files=takes_files(url),
        template=_read_template(table, place, Path(source).parent) if templates else None,
        template_file=table.get("template") if templates else None,
        digest_ms=_parse_key(table, "digest", place, parse_digest),
        quiet=quiet,
        quiet_except=_parse_events(table, "quiet_except", place, ()),
        rate=_parse_key(table, "rate", place, parse_rate),
        priority=_parse_priority(table, place),
    )


def _unknown_key(key: str, place: str) -> SettingsError:
    import difflib  # only for a start that fails

    problem = f"{place}: unknown key {key[:64]!r}"
    if near := difflib.get_close_matches(key[:64].lower(), TARGET_KEYS, 1, 0.7):
        return SettingsError(f"{problem} (did you mean {near[0]}?)")
    remedy = f"a target has the keys {', '.join(TARGET_KEYS)}; settings of the service belong above [targets…]"
    return SettingsError(problem, remedy=remedy)


def _parse_key(table: Mapping[str, Any], key: str, place: str, parse: Callable[[str], _Read]) -> _Read | None:
    """The value of an optional key."""
    if key not in table:
        return None
    try:
        return parse(str(table[key]) if isinstance(table[key], str | int) else "")
    except BadValue as error:
        raise SettingsError(f"{place}: {key}: {error.problem}", remedy=error.remedy) from None


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
    given = table.get(key)
    words = [*map(str.lower, split_commas(given) if isinstance(given, str) else _parse_list(table, key, place))]
    if key in table and not (words and set(words) <= set(NoticeEvent)):
        problem = f"{place}: {key}: expected a list of some of {', '.join(NoticeEvent)}"
        raise SettingsError(problem + _suggest_event([word for word in words if word not in set(NoticeEvent)]))
    return frozenset(map(NoticeEvent, words if key in table else absent))


def _suggest_event(wrong: Sequence[str]) -> str:
    import difflib  # only for a start that fails

    near = (difflib.get_close_matches(word[:64], list(NoticeEvent), 1, 0.7) for word in wrong)
    found = next((it[0] for it in near if it), None)
    return f" (did you mean {found}?)" if found else ""


def _parse_list(table: Mapping[str, Any], key: str, place: str) -> tuple[str, ...]:
    """A list of texts; one text is a list of one."""
    words = table.get(key, [])
    words = [words] if isinstance(words, str) else words
    if not isinstance(words, list) or len(words) > _MOST or not all(isinstance(word, str) and word for word in words):
        raise SettingsError(f"{place}: {key}: expected a list of up to {_MOST} texts")
    return tuple(words)
