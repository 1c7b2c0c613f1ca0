"""Through a pooler in transaction mode, which may give each transaction another connection to the server."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from kit.callback_senders import CallbackSenders
from kit.fakes import NOW
from kit.pgbouncer import Pooler, missing, pgbouncer
from kit.postgres_cluster import PostgresCluster
from kit.table_tour import TOUR
from receiver.core.errors import StaleUpdate
from receiver.store import PostgresPlace, Store, open_store

pytestmark = pytest.mark.anyio

EXPECTED = (StaleUpdate,)  # what the tour meets as it is


@pytest.fixture(scope="module")
def pooler(postgres: PostgresCluster) -> Iterator[Pooler]:
    if why := missing():
        pytest.skip(why)
    with pgbouncer(postgres, {"default_pool_size": "2"}) as pooler:
        yield pooler


@pytest.fixture(params=[True, False], ids=["listens directly", "listens nowhere"])
async def store(request: pytest.FixtureRequest, pooler: Pooler, postgres_url: str) -> AsyncIterator[Store]:
    place = PostgresPlace(
        url=pooler.url(postgres_url.rpartition("/")[2]), listen_url=postgres_url if request.param else None, pool=4
    )
    opened = await open_store(place)
    yield opened
    await opened.close()


async def test_every_statement(store: Store) -> None:
    wrong = []
    for call in TOUR:
        more = call.more
        if call.method == "redrive":
            more = {"now": NOW, "targets": None, "ids": None, "to": None, **more}
        try:
            async with store.write() as tx:
                await getattr(getattr(tx, call.table), call.method)(*call.args, **more)
        except EXPECTED:
            pass
        except Exception as error:
            wrong.append(f"{call.table}.{call.method}: {error!r}"[:300])
    assert not wrong, "\n".join(wrong)


async def test_many_at_once_get_their_own_answers(store: Store) -> None:
    """What one prepares on a connection of the server is never another's."""
    senders = CallbackSenders(store)
    tasks = await senders.make_tasks(24)
    answers = dict[str, object]()

    async def read(number: int) -> None:
        refs = [it.ref for it in tasks[number:]]
        answers[f"{number} states"] = set(await store.tasks.states(refs)) == set(refs)
        answers[f"{number} tasks"] = set(await store.tasks.get(refs[:1])) == {refs[0]}
        answers[f"{number} pace"] = await store.paces.get(f"{number}") is None

    await asyncio.gather(*(read(number) for number in range(len(tasks))), senders.send(tasks))
    assert all(answers.values())
    assert not senders.refused
    await senders.check(store)
