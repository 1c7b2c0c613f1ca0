"""Checks of a PostgreSQL database: the server, its settings, its connections, and the processes that share it."""

import asyncio
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING

from receiver.core.errors import StoreError, StoreUnavailable
from receiver.store.postgres.place import PostgresPlace
from receiver.store.process_row import ProcessRow
from receiver.upkeep.doctor.findings import Finding, failure, ok, warning

if TYPE_CHECKING:
    from receiver.store.postgres.inspect import PostgresInspection

VERSION_LEAST = 14  # the oldest that the tests run over; those before it get no fixes any more
OWN_CONNECTIONS = 3  # of a process, besides POOL: for callbacks, for listening, and one to spare
SHARE_MOST = 0.9  # of the server's connections that may be in use
IDLE_LONG_S = 60.0
TRANSACTION_LONG_S = 900.0
_NAMED_MOST = 5
_SEE_SESSIONS = "find it in pg_stat_activity and end it with `SELECT pg_terminate_backend(PID)`"


def check_postgres(place: PostgresPlace, named: str) -> Iterator[Finding]:
    """Check the database at `place`, of which `pool` and `targets` are those of these settings."""
    from receiver.store.postgres.inspect import inspect_postgres  # brings asyncpg

    try:
        seen = asyncio.run(inspect_postgres(place, named))
    except StoreUnavailable as error:
        yield failure(error.problem, error.remedy or "check the server, the network, and DATABASE_URL")
    except StoreError as error:
        yield failure(error.problem, error.remedy or "check DATABASE_URL")
    else:
        yield from judge_postgres(seen, named, place)


def judge_postgres(seen: "PostgresInspection", named: str, place: PostgresPlace) -> Iterator[Finding]:
    """What was found means. Pure."""
    if wrong := list(_check_usable(seen, named)):
        yield from wrong
        return
    yield from _check_server(seen, named)
    yield from _check_durability(seen)
    yield from _check_connections(seen, place.pool)
    yield from _check_listening(seen, has_listen_url=place.listen_url is not None)
    yield from _check_sessions(seen)
    yield from check_processes(seen.processes, place.targets)


def _check_usable(seen: "PostgresInspection", named: str) -> Iterator[Finding]:
    if seen.newer is not None:
        yield failure(f"{named}: {seen.newer.problem}", seen.newer.remedy or "install a newer version")
    if seen.in_recovery:
        yield failure(f"{named} is a replica or in recovery, so nothing can be stored", "name the primary in the URL")
    if seen.encoding != "UTF8":
        remedy = "make another database: CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0"
        yield failure(f"{named} has the encoding {seen.encoding}, which cannot hold every prompt", remedy)
    if seen.moving:
        remedy = "run the same `receiver migrate --to` again; it goes on where it was"
        yield failure(f"another database is being moved into {named}, and that is not done", remedy)


def _check_server(seen: "PostgresInspection", named: str) -> Iterator[Finding]:
    version = f"{seen.version // 10_000}.{seen.version % 10_000}"
    parts = [f"{named}, PostgreSQL {version}, {seen.size / (1 << 20):.1f} MiB"]
    if not seen.schema:
        parts += ["no tables yet; the first start creates them"]
    else:
        parts += [f"schema {seen.schema}"]
        parts += [f"the next start runs {seen.missing} migration{'s'[: seen.missing - 1]}"] if seen.missing else []
    yield ok("; ".join(parts))
    if seen.version < VERSION_LEAST * 10_000:
        text = f"PostgreSQL {version} is older than {VERSION_LEAST}, and was not tested"
        yield warning(text, "upgrade it")


def _check_durability(seen: "PostgresInspection") -> Iterator[Finding]:
    off = [name for name, on in (("fsync", seen.fsync), ("full_page_writes", seen.full_page_writes)) if not on]
    if off:
        text = f"{' and '.join(off)} {'is' if len(off) == 1 else 'are'} off: a power cut may lose answered callbacks"
        yield warning(f"{text}, or damage the database", f"set {' and '.join(off)} = on in postgresql.conf")
    if not seen.standby_names:
        yield ok(
            "no synchronous replica: what is answered is on the disk of one machine, and lost with it "
            "(synchronous_standby_names makes each commit wait for a second one)"
        )
    elif seen.synchronous_replicas == 0:
        yield failure(
            f"commits wait for a replica ({seen.standby_names}), and none is connected: no callback can be stored",
            "start the replica, or correct synchronous_standby_names and reload",
        )
    else:
        yield ok(f"commits wait for a synchronous replica ({seen.standby_names})")


def _check_connections(seen: "PostgresInspection", pool: int) -> Iterator[Finding]:
    count = max(1, len(seen.processes))
    needed = count * (pool + OWN_CONNECTIONS)
    many = f"{count} process{'es' if count > 1 else ''} with POOL {pool} may need {needed} connections"
    if needed > seen.connections_most:
        remedy = "lower POOL, raise max_connections, or put a pooler before it and set DATABASE_LISTEN_URL"
        yield warning(f"{many}, and the server has {seen.connections_most} for them", remedy)
    elif seen.connections > seen.connections_most * SHARE_MOST:
        text = f"{seen.connections} of {seen.connections_most} connections to the server are in use"
        yield warning(text, "see who has them in pg_stat_activity, or raise max_connections")
    else:
        yield ok(f"{many}, of {seen.connections_most}")


def _check_listening(seen: "PostgresInspection", *, has_listen_url: bool) -> Iterator[Finding]:
    if seen.heard:
        yield ok("processes hear each other")
        return
    late = "what one process tells the others is not heard, so they find work up to 2 s late"
    if has_listen_url:
        remedy = "set it to the server itself; pgbouncer and its like pass nothing on"
        yield warning(f"{late}: DATABASE_LISTEN_URL leads to a pooler, or to another database", remedy)
    else:
        remedy = "set DATABASE_LISTEN_URL to the server itself"
        yield warning(f"{late}: a pooler such as pgbouncer stands before the database", remedy)


def _check_sessions(seen: "PostgresInspection") -> Iterator[Finding]:
    if seen.idle_s is not None and seen.idle_s > IDLE_LONG_S:
        text = f"a session has been idle in a transaction for {_span(seen.idle_s)}, and holds what it has locked"
        yield warning(text, _SEE_SESSIONS)
    if seen.transaction_s is not None and seen.transaction_s > TRANSACTION_LONG_S:
        text = f"a transaction is {_span(seen.transaction_s)} old, and no row that was replaced since can be removed"
        yield warning(text, "if it is a dump, take it from a replica; else find it in pg_stat_activity and end it")


def check_processes(found: Sequence[ProcessRow], targets: Collection[str]) -> Iterator[Finding]:
    """Which processes share the database, and whether they agree: an older one may not know what a newer one writes.

    `targets` are those of the settings here. Pure.
    """
    if not found:
        yield ok("no process uses the database now")
        return
    roles = ", ".join(f"{count} {role}" for role, count in sorted(Counter(it.role for it in found).items()))
    wrong = [
        *_check_roles(found),
        *_check_alike("version", [(it, it.version) for it in found], "upgrade the older ones soon"),
        *_check_alike("schema", [(it, str(it.schema)) for it in found], "upgrade the older ones soon"),
        *_check_targets(found, targets),
    ]
    yield from wrong or [ok(f"processes: {roles}; all of version {found[0].version}, with the same targets")]


def _check_roles(found: Sequence[ProcessRow]) -> Iterator[Finding]:
    roles = {it.role for it in found}
    if "all" not in roles and "worker" not in roles:
        yield warning("no worker runs: nothing is submitted, polled or sent", "start `receiver serve --role worker`")
    if "all" not in roles and "web" not in roles:
        yield warning("no web runs: callbacks are not answered", "start `receiver serve --role web`")


def _check_alike(what: str, pairs: Sequence[tuple[ProcessRow, str]], remedy: str) -> Iterator[Finding]:
    by_value: dict[str, list[str]] = {}
    for process, value in pairs:
        by_value.setdefault(value, []).append(_name(process))
    if len(by_value) > 1:
        each = "; ".join(f"{value}: {_some(names)}" for value, names in sorted(by_value.items()))
        yield warning(f"processes differ in their {what}: {each}", remedy)


def _check_targets(found: Sequence[ProcessRow], targets: Collection[str]) -> Iterator[Finding]:
    everywhere = {name for it in found for name in it.targets} | set(targets)
    for name in sorted(everywhere)[:_NAMED_MOST]:
        without = [_name(it) for it in found if name not in it.targets]
        if without or name not in targets:
            places = _some(without or ["the settings here"])
            yield warning(f"the target {name} is missing in {places}", "give all processes the same targets")


def _name(process: ProcessRow) -> str:
    return f"{process.role} on {process.host}"


def _some(names: Sequence[str]) -> str:
    counted = [f"{name} ({count})" if count > 1 else name for name, count in Counter(names).items()]
    more = f" and {len(counted) - _NAMED_MOST} more" if len(counted) > _NAMED_MOST else ""
    return ", ".join(counted[:_NAMED_MOST]) + more


def _span(seconds: float) -> str:
    return f"{seconds / 60:.0f} minutes" if seconds < 7200 else f"{seconds / 3600:.0f} hours"
