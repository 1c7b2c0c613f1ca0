"""A PostgreSQL database with our schema for one test after the other: its tables stay, its rows are as at first.

Measured with fsync off on 24 tables: DELETE 2 ms, TRUNCATE 33 ms, a new database from a template 40 ms.
"""

import asyncio
import contextlib
import subprocess
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor

from kit.postgres_cluster import PostgresCluster, clients_of

_DONE = "emptied"


class EmptiedDatabase:
    """One database of a cluster. `make` is given its URL, once, and makes the schema."""

    def __init__(self, cluster: PostgresCluster, make: Callable[[str], Awaitable[None]]) -> None:
        self._cluster = cluster
        self._make = make
        self._name = ""
        self._removal = ""
        self._psql: subprocess.Popen[str] | None = None

    def url(self) -> str:
        """Give its URL, once it is as `make` left it. Connections that a test has forgotten are ended first."""
        if not self._name:
            self._create()
        wrong = self._say(self._removal) and self._say(self._removal)
        assert not wrong, f"the database cannot be emptied: {wrong}"
        return self._cluster.url(self._name)

    def close(self) -> None:
        """End the program that empties it."""
        psql, self._psql = self._psql, None
        if psql is not None:
            with contextlib.suppress(BrokenPipeError):
                psql.communicate()

    def _create(self) -> None:
        name = self._cluster.make_database()
        with ThreadPoolExecutor(1) as thread:  # the caller's thread may have an event loop that runs
            thread.submit(lambda: asyncio.run(self._make_schema(self._cluster.url(name)))).result()
        self._removal = removal(self._cluster, name)
        self._name = name

    async def _make_schema(self, url: str) -> None:
        await self._make(url)

    def _say(self, sql: str) -> str:
        """Have it done; gives what went wrong. One psql serves all tests, until its connection is cut."""
        if self._psql is None:
            self._psql = subprocess.Popen(
                self._cluster.psql(self._name),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )
        psql = self._psql
        assert psql.stdin is not None
        assert psql.stdout is not None
        said = []
        with contextlib.suppress(BrokenPipeError):
            psql.stdin.write(f"{sql}\n\\echo {_DONE}\n")
            psql.stdin.flush()
        for line in psql.stdout:
            if line == f"{_DONE}\n":
                return ""
            said.append(line)
        self.close()
        return "".join(said[-3:]) or "psql has ended"


def removal(cluster: PostgresCluster, database: str) -> str:
    """The statements that make it as it is now: one transaction, without triggers and foreign keys."""
    tables = [row[0] for row in cluster.execute(_TABLES, database)]
    assert tables, f"{database} has no tables"
    ask = "".join(f"SELECT '{it}', jsonb_agg(to_jsonb(it)) FROM {it} it HAVING count(*) > 0;" for it in tables)
    numbers = cluster.execute(_NUMBERS, database)
    statements = [
        f"SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE {clients_of(database)}",
        "BEGIN",
        "SET LOCAL session_replication_role = replica",
        "SET LOCAL lock_timeout = '60s'",
        *(f"DELETE FROM {it}" for it in tables),
        *(_restoring(table, rows) for table, rows in cluster.execute(ask, database)),
        *(f"SELECT setval('{name}', {value}, '{used}')" for name, value, used in numbers),
        "COMMIT",
    ]
    return "\\;".join(statements) + ";"  # psql sends what \\; separates in one message


def _restoring(table: str, rows: str) -> str:
    """What puts back the rows of a new database; they are given as JSON."""
    quoted = rows.replace("'", "''")
    return f"INSERT INTO {table} SELECT * FROM jsonb_populate_recordset(NULL::{table}, '{quoted}');"


_TABLES = "SELECT quote_ident(tablename) FROM pg_tables WHERE schemaname = 'public' ORDER BY tablename"
_NUMBERS = (
    "SELECT quote_ident(sequencename), coalesce(last_value, start_value), last_value IS NOT NULL FROM pg_sequences"
    " WHERE schemaname = 'public' ORDER BY sequencename"
)
