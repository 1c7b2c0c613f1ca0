"""The tests' pair of servers: the one that follows has what the other has answered, and takes its place."""

import asyncpg
import pytest

from kit.postgres_cluster import PostgresCluster, own_cluster
from kit.postgres_replica import PostgresReplica, wait_for

pytestmark = pytest.mark.anyio


async def test_a_replica_takes_the_place_of_its_primary(postgres: PostgresCluster) -> None:
    with own_cluster() as primary:
        name = primary.make_database()
        with PostgresReplica(primary) as replica:
            wait_for(primary, "replica")
            connection = await asyncpg.connect(primary.url(name))
            await connection.execute("CREATE TABLE words (word text)")
            await connection.execute("INSERT INTO words VALUES ('one')")
            await connection.close()
            primary.stop("killed")

            connection = await asyncpg.connect(replica.url(name))
            assert await connection.fetchval("SELECT word FROM words") == "one"
            with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
                await connection.execute("INSERT INTO words VALUES ('two')")
            replica.promote()
            await connection.execute("INSERT INTO words VALUES ('two')")
            assert await connection.fetchval("SELECT count(*) FROM words") == 2
            await connection.close()
