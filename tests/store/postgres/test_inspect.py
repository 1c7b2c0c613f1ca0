"""The doctor's look at a real PostgreSQL: nothing is changed, nothing is shown, and nothing takes long."""

import asyncpg
import pytest

from kit import pgbouncer
from kit.live_service import free_port, until
from kit.postgres_cluster import PASSWORD, PostgresCluster
from receiver.core.errors import StoreError, StoreUnavailable
from receiver.store import open_store
from receiver.store.migrations.steps import load_migrations
from receiver.store.postgres.inspect import inspect_postgres
from receiver.store.postgres.place import PostgresPlace
from receiver.upkeep.doctor.findings import CheckResult
from receiver.upkeep.doctor.postgres import check_postgres

pytestmark = pytest.mark.anyio
NAMED = "db.test/r"


def place(url: str, **more: object) -> PostgresPlace:
    return PostgresPlace(url=url, targets=("team",), version="1.0", role="web", **more)  # type: ignore[arg-type]


async def test_a_database_with_its_processes(postgres_url: str) -> None:
    store = await open_store(place(postgres_url))
    try:

        async def seen() -> bool:
            return bool(await store.processes())

        await until(seen)
        found = await inspect_postgres(place(postgres_url), NAMED)
    finally:
        await store.close()
    [process] = found.processes
    assert (process.role, process.version, process.targets) == ("web", "1.0", ("team",))
    newest = load_migrations("postgres")[-1].number
    assert (found.encoding, found.schema, found.missing, found.newer) == ("UTF8", newest, 0, None)
    assert found.version >= 140_000
    assert 0 < found.connections <= found.connections_most <= 100
    assert (found.heard, found.in_recovery, found.moving, found.standby_names) == (True, False, False, "")
    assert found.size > 0


async def test_an_empty_database_and_one_of_another_program(fresh_postgres_url: str) -> None:
    found = await inspect_postgres(place(fresh_postgres_url), NAMED)
    assert (found.schema, found.missing, found.processes) == (0, len(load_migrations("postgres")), ())
    connection = await asyncpg.connect(fresh_postgres_url)
    await connection.execute("CREATE TABLE migrations (a text)")
    await connection.close()
    assert (await inspect_postgres(place(fresh_postgres_url), NAMED)).schema == 0


async def test_a_newer_schema_is_reported_and_not_raised(fresh_postgres_url: str) -> None:
    await (await open_store(place(fresh_postgres_url))).close()
    connection = await asyncpg.connect(fresh_postgres_url)
    await connection.execute("INSERT INTO migrations (number, name, oldest) VALUES (999, 'x', 999)")
    await connection.close()
    found = await inspect_postgres(place(fresh_postgres_url), NAMED)
    assert found.schema == 999
    assert found.newer is not None


async def test_a_session_that_idles_in_a_transaction_is_seen(postgres_url: str) -> None:
    connection = await asyncpg.connect(postgres_url)
    try:
        await connection.execute("BEGIN")
        await connection.execute("SELECT 1")
        found = await inspect_postgres(place(postgres_url), NAMED)
        assert found.idle_s is not None
        assert found.transaction_s is not None
        assert 0 <= found.idle_s <= found.transaction_s + 1
    finally:
        await connection.close()


async def test_a_pooler_passes_nothing_on_and_the_listen_url_goes_around_it(
    postgres: PostgresCluster, postgres_url: str
) -> None:
    if why := pgbouncer.missing():
        pytest.skip(why)
    with pgbouncer.pgbouncer(postgres) as pooler:
        pooled = pooler.url(postgres_url.rpartition("/")[2])
        assert not (await inspect_postgres(place(pooled), NAMED)).heard
        assert (await inspect_postgres(place(pooled, listen_url=postgres_url), NAMED)).heard


async def test_a_server_that_does_not_answer_or_refuses_is_said_without_the_password(
    postgres: PostgresCluster,
) -> None:
    with pytest.raises(StoreUnavailable, match=f"^cannot reach {NAMED}"):
        await inspect_postgres(place(postgres.url("r", port=free_port())), NAMED)
    with pytest.raises(StoreError) as caught:
        await inspect_postgres(place(postgres.url("postgres", password="wr0ng-Passw0rd")), NAMED)
    assert "wr0ng" not in str(caught.value)


def test_the_checks_as_the_doctor_calls_them(postgres: PostgresCluster, postgres_url: str) -> None:
    found = list(check_postgres(place(postgres_url), NAMED))
    assert {it.result for it in found} <= {CheckResult.OK, CheckResult.WARNING}
    assert found[0].text.startswith(f"{NAMED}, PostgreSQL ")
    [finding] = check_postgres(place(postgres.url("r", port=free_port())), NAMED)
    assert finding.result is CheckResult.FAILED
    assert PASSWORD not in finding.text
