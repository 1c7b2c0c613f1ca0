"""The kinds of setting: each says in words what it expects, and parses it.

Pure. A parser raises ValueError, or BadValue if it can say more than "expected …". Neither shows the value, which may
be a secret.
"""

import ipaddress
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from msgspec import Struct

from receiver.core.types import ConfirmMode, Retention

DAY = 86_400  # seconds
SECRET_LEAST = 16  # characters; `tokens` asks the same of a key

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class BadValue(ValueError):
    """A value refused for a particular reason. As a string it is `problem; remedy`, and never shows the value."""

    def __init__(self, problem: str, *, remedy: str | None = None) -> None:
        super().__init__(problem if remedy is None else f"{problem}; {remedy}")
        self.problem = problem
        self.remedy = remedy


class AllowedHosts(Struct, frozen=True):
    """Private hosts and networks from which pictures may be fetched."""

    hosts: tuple[str, ...] = ()
    networks: tuple[Network, ...] = ()

    def __str__(self) -> str:
        return " ".join([*self.hosts, *map(str, self.networks)])


class ValueKind(Struct, frozen=True):
    """What a value has to be, in words for a person, and the parser for it, which raises ValueError."""

    expects: str
    parse: Callable[[str], Any]


def whole_number(least: int, most: int, unit: str = "") -> ValueKind:
    """A whole number from `least` to `most`, both included."""

    def parse_number(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,12}", text) or not least <= int(text) <= most:
            raise ValueError
        return int(text)

    return ValueKind(f"a whole number{unit and ' of '}{unit} from {least} to {most}", parse_number)


def word_list(expects: str, pattern: str, most: int) -> ValueKind:
    """Up to `most` different words that match `pattern`, as a tuple."""

    def parse_words(text: str) -> tuple[str, ...]:
        found = tuple(dict.fromkeys(text.split()))
        if not 1 <= len(found) <= most or not all(re.fullmatch(pattern, each) for each in found):
            raise ValueError
        return found

    return ValueKind(expects, parse_words)


def single_word(expects: str, pattern: str) -> ValueKind:
    """One word that matches `pattern`."""

    def parse_word(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError
        return text

    return ValueKind(expects, parse_word)


def _parse_url(text: str) -> str:
    parts = urlsplit(text)
    odd = re.search(r"[?#@\\]|[^\x21-\x7e]", text)  # @: no user or password, no look-alike host
    if parts.scheme not in ("http", "https") or not parts.hostname or odd:
        raise ValueError
    _ = parts.port  # raises ValueError if it is out of range
    return text.rstrip("/")


def _parse_database_url(text: str) -> str:
    scheme, _, rest = text.partition("://")
    if scheme in ("postgres", "postgresql"):
        raise BadValue("PostgreSQL is not available in this version", remedy="use sqlite:///FILE, on a disk that stays")
    if scheme != "sqlite" or not re.fullmatch(r"/[^?\x00-\x1f]*[^?/\x00-\x1f]", rest) or rest == "/:memory:":
        raise ValueError
    return text


def sqlite_path(database_url: str) -> Path | None:
    """The file of an SQLite URL, or None for any other URL."""
    scheme, _, rest = database_url.partition("://")
    return Path(rest[1:]) if scheme == "sqlite" else None


def _parse_directory(text: str) -> Path:
    if re.search(r"[\x00-\x1f]", text):
        raise ValueError
    return Path(text)


def _parse_retry_gaps(text: str) -> tuple[int, ...]:
    gaps = tuple(whole_number(1, 604_800).parse(word) for word in text.split())
    if len(gaps) > 20:
        raise ValueError
    return gaps


def _parse_retention(text: str) -> Retention:
    days: dict[str, int] = {}
    for word in text.split():
        kind, _, span = word.partition("=")
        if kind not in Retention.__struct_fields__ or kind in days or not re.fullmatch(r"0d?|[0-9]{1,5}d", span):
            raise ValueError
        days[kind] = whole_number(0, 36_500).parse(span.removesuffix("d"))
    return Retention(**days)


def _parse_networks(text: str) -> tuple[Network, ...]:
    return tuple(ipaddress.ip_network(word) for word in text.split())


def _parse_fetch_allow(text: str) -> AllowedHosts:
    hosts, networks = [], []
    for word in text.split():
        try:
            networks.append(ipaddress.ip_network(word))
        except ValueError:
            if not re.fullmatch(r"(?=.*[A-Za-z])[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?", word):
                raise
            hosts.append(word.lower())
    return AllowedHosts(tuple(hosts), tuple(networks))


WEB = ValueKind("an http:// or https:// URL without user, query or fragment", _parse_url)
HOST = single_word("an address or a host name to listen on, such as 127.0.0.1", r"[A-Za-z0-9._:%-]{1,255}")
TOKEN = single_word("one word of printable ASCII", r"[\x21-\x7e]{1,4096}")
_LONG = rf"[\x21-\x7e]{{{SECRET_LEAST},512}}"
TOKENS = word_list(f"up to 20 words of {SECRET_LEAST} or more printable ASCII characters each", _LONG, 20)
DATABASE = ValueKind("sqlite:///FILE (sqlite:////FILE for an absolute path)", _parse_database_url)
RETRY = ValueKind("1 to 20 whole numbers of seconds from 1 to 604800", _parse_retry_gaps)
RETENTION = ValueKind(
    "words such as callbacks=90d: tasks, callbacks, polls, notices or images, each with 1d to 36500d, or 0 for ever",
    _parse_retention,
)
NETWORKS = ValueKind("networks such as 10.0.0.0/8", _parse_networks)
ALLOWED = ValueKind("host names, and networks such as 10.0.0.0/8", _parse_fetch_allow)
CONFIRM = ValueKind("mismatch or always", ConfirmMode)
DIRECTORY = ValueKind("a directory", _parse_directory)
