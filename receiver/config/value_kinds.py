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

from receiver.config import spellings
from receiver.config.bad_value import BadValue
from receiver.config.postgres_url import EXPECTED as POSTGRES_EXPECTED
from receiver.config.postgres_url import is_postgres, parse_postgres_url
from receiver.core.budgets import Budget
from receiver.core.money import parse_usd
from receiver.core.types import ConfirmMode, Retention
from receiver.passwords import is_password_hash

DAY = 86_400  # seconds
SECRET_LEAST = 16  # characters; `tokens` asks the same of a key

_URL = "an http:// or https:// URL without user, query or fragment"
_LISTEN = "an address or a host name to listen on, such as 127.0.0.1"
_ONE_WORD = "one word of printable ASCII"
_SQLITE = "sqlite:///FILE (sqlite:////FILE for an absolute path)"
_NETWORKS = "networks such as 10.0.0.0/8"
_BUDGET = "an amount in USD, and perhaps a time zone, such as 20 or 20 Europe/Berlin"

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


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
    """A whole number from `least` to `most`, both included. Seconds may have a unit of time behind them: `15m`."""
    expects = f"a whole number{unit and ' of '}{unit} from {least} to {most}"

    def parse_number(text: str) -> int:
        span = spellings.parse_span(text) if unit == "seconds" else None
        if span is None and re.fullmatch(r"[0-9.,_ ]+ ?[A-Za-z]{1,5}", text):
            raise BadValue(f"expected {expects}, without a unit")
        if span is None and not re.fullmatch(r"[0-9]{1,12}", text):
            raise ValueError
        if not least <= (number := int(text) if span is None else span) <= most:
            raise ValueError
        return number

    return ValueKind(expects, parse_number)


def word_list(expects: str, pattern: str, most: int) -> ValueKind:
    """Up to `most` different words that match `pattern`, as a tuple."""

    def parse_words(text: str) -> tuple[str, ...]:
        found = tuple(dict.fromkeys(spellings.split_words(text)))
        _refuse_odd_characters(text, expects)
        if not 1 <= len(found) <= most or not all(re.fullmatch(pattern, each) for each in found):
            raise ValueError
        return found

    return ValueKind(expects, parse_words)


def _refuse_odd_characters(text: str, expects: str) -> None:
    """Raise BadValue for what an editor or a chat slips into a secret: it looks right, and never works."""
    if odd := re.search(r"[^\x00-\x7f]", text):
        at = f"character {odd.start() + 1} is not ASCII (U+{ord(odd[0]):04X})"
        raise BadValue(f"expected {expects}, and {at}", remedy="copy it again, or type it")


def _parse_token(text: str) -> str:
    text = re.sub(r"^bearer\s+", "", text, flags=re.IGNORECASE)
    _refuse_odd_characters(text, _ONE_WORD)
    if re.search(r"\s", text):
        raise BadValue(f"expected {_ONE_WORD}, and there is a blank or a line break in it")
    if not re.fullmatch(r"[\x21-\x7e]{1,4096}", text):
        raise ValueError
    return text


def _parse_host(text: str) -> str:
    text = text[1:-1] if re.fullmatch(r"\[[0-9A-Fa-f:.]+\]", text) else text
    if "://" in text:
        raise BadValue(f"expected {_LISTEN}, and this is a URL", remedy="PUBLIC_URL is the place for one")
    if re.fullmatch(r"\[.*\]:[0-9]+|[^:]*:[0-9]+", text):
        raise BadValue(f"expected {_LISTEN}, and a port is in it", remedy="put that into PORT")
    if not re.fullmatch(r"[A-Za-z0-9._:%-]{1,255}", text):
        raise ValueError
    return text


def _parse_url(text: str) -> str:
    if re.fullmatch(r"[A-Za-z0-9.-]+\.[A-Za-z]{2,}(:[0-9]+)?(/.*)?", text):
        raise BadValue(f"expected {_URL}, and this has no scheme", remedy="put https:// before it")
    if not re.match(r"https?://", text, re.IGNORECASE):
        raise ValueError
    text = spellings.to_ascii_host(text)
    parts = urlsplit(text)
    for found, what in ((r"@", "a user or a password"), (r"\?", "a query (?)"), (r"#", "a fragment (#)")):
        if re.search(found, text):
            raise BadValue(f"expected {_URL}, and this has {what}", remedy="leave that out")
    if not parts.hostname or re.search(r"[\\]|[^\x21-\x7e]", text):  # no look-alike host
        raise ValueError
    _ = parts.port  # raises ValueError if it is out of range
    return text.rstrip("/")


def _parse_database_url(text: str) -> str:
    scheme, _, rest = text.partition("://")
    if is_postgres(text) or re.match(r"postgres", text, re.IGNORECASE):
        return parse_postgres_url(text)
    if "://" not in text:
        raise BadValue(f"expected {_SQLITE}, and this is no URL", remedy="put sqlite:/// before the path")
    if scheme == "sqlite" and rest and not rest.startswith("/"):
        remedy = "write three before a relative path, four before an absolute one"
        raise BadValue(f"expected {_SQLITE}, and this has two slashes", remedy=remedy)
    if scheme != "sqlite" or not re.fullmatch(r"/[^?\x00-\x1f]*[^?/\x00-\x1f]", rest) or rest == "/:memory:":
        raise ValueError
    _refuse_tilde(rest[1:])
    return text


def _refuse_tilde(path: str) -> None:
    if path.startswith("~"):
        raise BadValue("~ is not read as a home directory here", remedy="write the whole path")


def sqlite_path(database_url: str) -> Path | None:
    """The file of an SQLite URL, or None for any other URL."""
    scheme, _, rest = database_url.partition("://")
    return Path(rest[1:]) if scheme == "sqlite" else None


def _parse_directory(text: str) -> Path:
    if re.search(r"[\x00-\x1f]", text):
        raise ValueError
    _refuse_tilde(text)
    return Path(text)


def _parse_retry_gaps(text: str) -> tuple[int, ...]:
    gaps = tuple(whole_number(1, 604_800, "seconds").parse(word) for word in spellings.split_commas(text))
    if len(gaps) > 20:
        raise ValueError
    return gaps


def _parse_retention(text: str) -> Retention:
    days: dict[str, int] = {}
    text = re.sub(r"\s*[=:]\s*", "=", re.sub(r"(?<=[0-9])\s+(?=d(?:ays?)?\b)", "", text.lower()))
    for word in spellings.split_commas(text):
        kind, _, span = word.partition("=")
        if kind not in Retention.__struct_fields__ or kind in days:
            raise ValueError
        found = re.fullmatch(r"(0)|([0-9]{1,5})d(?:ays?)?", span)
        if not found:
            raise ValueError
        days[kind] = whole_number(0, 36_500).parse(found[1] or found[2])
    return Retention(**days)


def _parse_networks(text: str) -> tuple[Network, ...]:
    return tuple(map(_parse_network, spellings.split_commas(text)))


def _parse_network(word: str) -> Network:
    if "/" in word and _is_address(word.partition("/")[0]):
        address = ipaddress.ip_interface(word)
        if address.ip != address.network.network_address:
            problem = f"expected {_NETWORKS}, and one of these has an address within its network"
            raise BadValue(problem, remedy="write 10.0.0.0/8 for the network, 10.0.0.1 for the address")
    return ipaddress.ip_network(word)


def _is_address(word: str) -> bool:
    try:
        return bool(ipaddress.ip_address(word))
    except ValueError:
        return False


def _parse_fetch_allow(text: str) -> AllowedHosts:
    hosts, networks = [], []
    for word in spellings.split_commas(text):
        try:
            networks.append(_parse_network(word))
        except BadValue:
            raise
        except ValueError:
            name = word if word.isascii() else urlsplit(spellings.to_ascii_host(f"http://{word}")).netloc
            if not re.fullmatch(r"(?=.*[A-Za-z])[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?", name):
                raise
            hosts.append(name.lower())
    return AllowedHosts(tuple(hosts), tuple(networks))


def _parse_budget(text: str) -> Budget:
    found = re.fullmatch(r"(\$?\s*[0-9][0-9.]*\s*(?:\$|USD\b)?)\s*[,;]?\s*(.*)", text.strip(), re.IGNORECASE)
    if re.match(r"\$?\s*[0-9]+,[0-9]", text.strip()):
        raise BadValue(f"expected {_BUDGET}", remedy="write a point before the cents")
    limit = parse_usd(found[1]) if found else None
    if found is None or limit is None:
        raise ValueError
    zone = found[2].strip(" ()")
    return Budget(limit, spellings.find_zone(zone) if zone else None)


def _parse_password_hash(text: str) -> str:
    if "$" not in text or "$$" in text:
        raise BadValue("expected a hash, $argon2id$…, and this is none", remedy="`receiver password` makes one")
    if not is_password_hash(text):
        raise ValueError
    return text


def _parse_confirm(text: str) -> ConfirmMode:
    return ConfirmMode(text.lower())


WEB = ValueKind(_URL, _parse_url)
HOST = ValueKind(_LISTEN, _parse_host)
TOKEN = ValueKind(_ONE_WORD, _parse_token)
_LONG = rf"[\x21-\x7e]{{{SECRET_LEAST},512}}"
TOKENS = word_list(f"up to 20 words of {SECRET_LEAST} or more printable ASCII characters each", _LONG, 20)
DATABASE = ValueKind(f"{_SQLITE} or {POSTGRES_EXPECTED}", _parse_database_url)
POSTGRES = ValueKind(POSTGRES_EXPECTED, parse_postgres_url)
RETRY = ValueKind("1 to 20 whole numbers of seconds from 1 to 604800", _parse_retry_gaps)
RETENTION = ValueKind(
    "words such as callbacks=90d: tasks, callbacks, polls, notices or images, each with 1d to 36500d, or 0 for ever",
    _parse_retention,
)
NETWORKS = ValueKind(_NETWORKS, _parse_networks)
ALLOWED = ValueKind("host names, and networks such as 10.0.0.0/8", _parse_fetch_allow)
CONFIRM = ValueKind("mismatch or always", _parse_confirm)
BUDGET = ValueKind(_BUDGET, _parse_budget)
DIRECTORY = ValueKind("a directory", _parse_directory)
PASSWORD_HASH = ValueKind("a hash as `receiver password` prints it, $argon2id$…", _parse_password_hash)
