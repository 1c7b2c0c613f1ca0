"""Every method of the tables, in every form of its SQL, over both databases: they say the same."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from kit.fakes import NOW
from kit.new_database import place_database
from kit.table_tour import TOUR
from receiver.store import PostgresPlace, Store, open_store

pytestmark = pytest.mark.anyio

NOT_COMPARED = {
    "pruning.page_counts": "of a file only",
    "tasks.lock_due": "SQLite does not look: nobody else can have changed the task",
    "pruning.drop_attention": "there `count_causes` left a row that was only to be locked",
}


@pytest.fixture
async def both(tmp_path: Path, postgres_url: str) -> AsyncIterator[tuple[Store, Store]]:
    sqlite = await open_store(await place_database(tmp_path / "r.db"))
    postgres = await open_store(PostgresPlace(url=postgres_url, pool=4))
    yield sqlite, postgres
    await postgres.close()
    await sqlite.close()


async def test_both_databases_say_the_same(both: tuple[Store, Store]) -> None:
    wrong = []
    for place, call in enumerate(TOUR):
        more = call.more
        if call.method == "redrive":
            more = {"now": NOW, "targets": None, "ids": None, "to": None, **more}
        said = []
        for store in both:
            try:
                async with store.write() as tx:
                    said.append(await getattr(getattr(tx, call.table), call.method)(*call.args, **more))
            except Exception as error:
                said.append(f"{type(error).__name__}: {error}"[:300])
        name = f"{call.table}.{call.method}"
        if name not in NOT_COMPARED and said[0] != said[1]:
            wrong.append(f"{place} {name} {more}:\n    {said[0]}\n    {said[1]}"[:900])
    assert not wrong, "\n".join(wrong)
