"""`${name}` in the texts of a chain's file, and what it stands for. Pure.

`$$` is a dollar. A dollar that is neither is a fault: `$name` would else be sent, and paid for, as it is.
"""

import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any

from receiver.cli.batch.columns import fold_name

_DOLLAR = re.compile(r"\$(?:(\$)|\{([^{}$]{0,64})\}|(.{0,16}))", re.DOTALL)
_ONE_NAME = re.compile(r"\$\{([^{}$]{0,64})\}")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_. -]*")


class WrongText(Exception):
    """A text whose names cannot be replaced. It says why."""


def find_names(value: Any) -> Iterator[str]:
    """Every name in a value and what is inside it. Raises WrongText."""
    if isinstance(value, str):
        for found in _DOLLAR.finditer(value):
            if (name := _name_in(found)) is not None:
                yield name
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from find_names(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from find_names(inner)


def replace_names(value: Any, values: Mapping[str, Any]) -> Any:
    """The same value with what each name stands for. Raises WrongText for a name that stands for nothing, or that is a
    part of a text and empty."""
    if isinstance(value, str):
        if _ONE_NAME.fullmatch(value):
            return _look_up(next(find_names(value)), values)  # as it is: of JSON, it may be a number
        return _DOLLAR.sub(lambda found: _text_of(found, values), value)
    if isinstance(value, Mapping):
        return {name: replace_names(inner, values) for name, inner in value.items()}
    if isinstance(value, list):
        return [replace_names(inner, values) for inner in value]
    return value


def is_blank(value: Any) -> bool:
    """Whether nothing was given: an empty cell, or blanks."""
    return value is None or (isinstance(value, str) and not value.strip())


def suggest_name(name: str, known: Mapping[str, Any]) -> str:
    """What is known instead of a name: the nearest, or else all."""
    folded = {fold_name(it): it for it in known}
    if near := get_close_matches(fold_name(name[:64]), folded, n=1):
        return f" (did you mean {folded[near[0]]}?)"
    return (
        f"; known are {', '.join(sorted(known))}" if known else "; there are no values: give them with --set NAME=VALUE"
    )


def _name_in(found: re.Match[str]) -> str | None:
    if found[1] is not None:
        return None
    if found[2] is None or not _NAME.fullmatch(found[2].strip()):
        raise WrongText(f"“{found[0][:20]}”: write ${{name}} for a value, and $$ for a dollar")
    return found[2].strip()


def _look_up(name: str, values: Mapping[str, Any]) -> Any:
    folded = fold_name(name)
    same = [name] if name in values else [it for it in values if fold_name(it) == folded]
    if len(same) == 1:
        return values[same[0]]
    raise WrongText(f"${{{name}}} stands for nothing{suggest_name(name, values)}")


def _text_of(found: re.Match[str], values: Mapping[str, Any]) -> str:
    name = _name_in(found)
    if name is None:
        return "$"
    value = _look_up(name, values)
    if is_blank(value):
        raise WrongText(f"${{{name}}} is empty")
    return f"{value:g}" if isinstance(value, float) else str(value)
