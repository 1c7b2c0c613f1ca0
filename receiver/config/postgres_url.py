"""The URL of a PostgreSQL database: checked before anything connects, and described without its password.

What is wrong is said in one line that shows nothing of the URL: the password may stand in any part of it.
"""

import importlib.util
import re
from collections.abc import Iterator
from urllib.parse import parse_qsl, unquote

from receiver.config.bad_value import BadValue
from receiver.core.errors import SettingsError

EXPECTED = "postgresql://USER:PASSWORD@HOST/DATABASE"
_SCHEMES = ("postgresql", "postgres")
_ENCODE = "in a user or a password write @ as %40, / as %2F, : as %3A, ? as %3F, # as %23, [ as %5B and ] as %5D"
_HOST = re.compile(r"(?P<name>\[[0-9A-Fa-f:.%]+\]|[A-Za-z0-9._%-]+)(?::(?P<port>[0-9]{1,6}))?")
_PORT = 5432
_VALUES = {
    "sslmode": ("disable", "allow", "prefer", "require", "verify-ca", "verify-full"),
    "target_session_attrs": ("any", "primary", "read-write"),  # the rest would find a server that cannot write
}
# Parameters of libpq or of other programs, which providers put into the URLs that they hand out; asyncpg would send
# them to the server, which refuses them.
_DROPPED = frozenset(
    {
        *("channel_binding", "client_encoding", "connect_timeout", "connection_limit", "fallback_application_name"),
        *("gssencmode", "keepalives", "keepalives_count", "keepalives_idle", "keepalives_interval"),
        *("load_balance_hosts", "pgbouncer", "pool_timeout", "requirepeer", "schema", "sslcompression"),
        *("sslcertmode", "sslsni", "tcp_user_timeout"),
    }
)


def is_postgres(database_url: str) -> bool:
    """Whether the URL names a PostgreSQL database."""
    return database_url.partition("://")[0].lower() in _SCHEMES and "://" in database_url


def parse_postgres_url(text: str) -> str:
    """The URL as asyncpg takes it: its scheme is `postgresql`, and parameters that only others know are left out.

    Several hosts may be given, with commas between them. Raises BadValue, or ValueError if it is another kind of URL.
    """
    if re.match(r"postgres(ql)?\+\w+://", text, re.IGNORECASE):
        raise _bad("it names a driver", "write postgresql:// without what is behind the +")
    if not is_postgres(text):
        raise ValueError
    if re.search(r"[^\x21-\x7e]", text):
        raise _bad("a blank or a character that is not ASCII is in it", "percent-encode it: a blank is %20")
    if "#" in text:
        raise _bad("there is a # in it", _ENCODE)
    user, hosts, path, query = _split_url(text)
    if re.search(r"[@\[\]]", user) or "@" in path or "@" in query:
        raise _bad("its user and password cannot be told from its host", _ENCODE)
    given = _parse_query(query)
    _check_hosts(hosts or given.get("host", ""), in_query=not hosts)
    _check_name(unquote(path) or given.get("dbname", given.get("database", "")))
    kept = [it for it in query.split("&") if it and it.partition("=")[0].lower() not in _DROPPED]
    place = text.partition("://")[2].partition("?")[0]
    return f"postgresql://{place}{'?' if kept else ''}{'&'.join(kept)}"


def describe_postgres(url: str) -> str:
    """Where the database is: `db.example:5432/receiver`. Shows neither user nor password."""
    _, hosts, path, query = _split_url(url)
    given = dict(parse_qsl(query))
    name = unquote(path) or given.get("dbname", given.get("database", ""))
    each = (hosts or given.get("host", "")).split(",")
    return f"{','.join(_with_port(it, given.get('port', '')) for it in each)}/{name}"


def without_password(url: str) -> str:
    """The URL as the programs of PostgreSQL take it, without its passwords: they ask, or look into ~/.pgpass."""
    user, hosts, path, query = _split_url(url)
    name = user.partition(":")[0]
    kept = [it for it in query.split("&") if it and it.partition("=")[0].lower() not in ("password", "sslpassword")]
    return f"postgresql://{name}{'@' if name else ''}{hosts}/{path}{'?' if kept else ''}{'&'.join(kept)}"


def postgres_secrets(url: str) -> Iterator[str]:
    """What nobody may see of the URL: its password, wherever it stands, and the URL as a whole.

    The whole is given without its scheme, so that the host and the database's name may still be logged by themselves.
    """
    yield url.partition("://")[2]
    user, _, _, query = _split_url(url)
    _, _, password = user.partition(":")
    if password:
        yield password
    yield from (value for name, value in parse_qsl(query) if name in ("password", "sslpassword"))


def refuse_missing_driver() -> None:
    """Raise SettingsError if the driver for PostgreSQL is not installed: it is an extra of the package."""
    if importlib.util.find_spec("asyncpg") is None:
        raise SettingsError(
            "DATABASE_URL is PostgreSQL, and its driver (asyncpg) is not installed",
            remedy='install it: `pip install "receiver[postgres]"`, or in a checkout `pip install -e ".[postgres]"`',
        )


def _bad(what: str, remedy: str) -> BadValue:
    return BadValue(f"expected {EXPECTED}, and {what}", remedy=remedy)


def _split_url(url: str) -> tuple[str, str, str, str]:
    """The user with the password, the hosts, the path without its slash, and the query."""
    found = re.fullmatch(r"([^/?]*)/?([^?]*)\??(.*)", url.partition("://")[2], re.DOTALL)
    assert found is not None  # noqa: S101 - each part may be empty
    user, _, hosts = found[1].rpartition("@")
    return user, hosts, found[2], found[3]


def _parse_query(query: str) -> dict[str, str]:
    """The parameters behind the question mark; of one that is given twice, the last."""
    if not query:
        return {}
    try:
        given = {name.lower(): value for name, value in parse_qsl(query, strict_parsing=True, max_num_fields=50)}
    except ValueError:
        raise _bad("what is behind its ? cannot be read", "write NAME=VALUE, with & between them") from None
    if "service" in given:
        raise _bad("it names a service file's entry", "name the host and the database themselves")
    for name, values in _VALUES.items():
        if name in given and given[name] not in values:
            raise _bad(f"its {name} is none that can be used", f"use one of: {', '.join(values)}")
    return given


def _check_hosts(hosts: str, *, in_query: bool) -> None:
    if not hosts:
        raise _bad("it names no host", f"write {EXPECTED}, or ?host=/run/postgresql for a socket")
    for host in hosts.split(","):
        if in_query and re.fullmatch(r"/[\x20-\x7e]{0,100}", host):
            continue
        found = _HOST.fullmatch(host)
        if found is None and re.search(r":[^:\]]*$", host):
            raise _bad("its port is not a number", _ENCODE)
        if found is None:
            raise _bad("its host is not a name or an address", _ENCODE)
        if found["port"] and not 0 < int(found["port"]) < 1 << 16:
            raise _bad("its port is not a number from 1 to 65535", "leave it out for 5432")


def _check_name(name: str) -> None:
    if not name:
        raise _bad("it names no database", "write the database's name behind the host: HOST/DATABASE")
    if "/" in name or re.search(r"[\x00-\x1f\x7f]", name):
        raise _bad("the name of its database is not one word behind the host", _ENCODE)


def _with_port(host: str, port: str) -> str:
    name = unquote(host)
    if name.startswith("/"):  # the directory of a socket
        return name
    return name if re.search(r":[0-9]+$", name) and not name.endswith("]") else f"{name}:{port or _PORT}"
