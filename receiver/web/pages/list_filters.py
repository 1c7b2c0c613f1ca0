"""What the lists of callbacks and notices share: addresses that keep their filter, and chips. Pure."""

from collections.abc import Mapping
from urllib.parse import urlencode

from msgspec import Struct


class Chip(Struct, frozen=True):
    """A link that filters; `count` is a number, perhaps with a plus, or empty."""

    word: str
    href: str
    current: bool
    count: str = ""


def with_query(path: str, fields: Mapping[str, str]) -> str:
    """A path with those of these fields that are not empty."""
    pairs = [(name, value) for name, value in fields.items() if value]
    return f"{path}?{urlencode(pairs, errors='replace')}" if pairs else path


def show_count(count: int, most: int) -> str:
    """A number that was counted up to `most`; empty for none."""
    return "" if not count else f"{most:,}+" if count >= most else f"{count:,}"
