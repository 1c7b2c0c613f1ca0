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


class ListFilter(Struct, frozen=True):
    """What a list is narrowed by: each field that is a text is a query parameter of its name."""

    @property
    def query(self) -> str:
        """It as a query string with its question mark; empty if it is none."""
        return self.link("")

    def link(self, path: str, **changes: str) -> str:
        """A path with this filter, changed."""
        fields = {name: getattr(self, name) for name in self.__struct_fields__}
        texts = {name: value for name, value in fields.items() if isinstance(value, str)}
        return with_query(path, texts | changes)


def show_count(count: int, most: int) -> str:
    """A number that was counted up to `most`; empty for none."""
    return "" if not count else f"{most:,}+" if count >= most else f"{count:,}"
