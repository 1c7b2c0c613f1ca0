"""The tests' proxy, in front of a server of ours that notes what it gets, and in front of PostgreSQL."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import asyncpg
import pytest

from kit.listening import listening
from kit.live_service import until
from kit.postgres_cluster import PostgresCluster
from kit.tcp_proxy import Action, Fault, TcpProxy, tcp_proxy

pytestmark = pytest.mark.anyio
LOST = (asyncpg.PostgresConnectionError, asyncpg.InterfaceError, OSError)
START = (8).to_bytes(4) + (196608).to_bytes(4)
READY = b"Z" + (5).to_bytes(4) + b"I"


def query(text: str) -> bytes:
    return b"Q" + (len(text) + 5).to_bytes(4) + text.encode() + b"\0"


class Rig:
    """A client's connection through a proxy, and what the server has got of it."""

    def __init__(self, proxy: TcpProxy, got: list[bytes]) -> None:
        self.proxy = proxy
        self.got = got
        self.writers: list[asyncio.StreamWriter] = []

    async def connect(self) -> None:
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.proxy.port)
        self.writers.append(self.writer)
        self.writer.write(START)

    async def close(self) -> None:
        for writer in self.writers:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def ask(self, text: str) -> bytes:
        """What comes back; nothing if the connection is lost."""
        self.writer.write(query(text))
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            return await self.reader.readexactly(len(READY))
        return b""


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    got: list[bytes] = []

    async def meet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.readexactly(8) == START
        with contextlib.suppress(asyncio.IncompleteReadError):
            while True:
                header = await reader.readexactly(5)
                got.append(await reader.readexactly(int.from_bytes(header[1:]) - 4))
                writer.write(READY)

    async with listening(meet) as port, tcp_proxy(port) as proxy:
        rig = Rig(proxy, got)
        await rig.connect()
        yield rig
        await rig.close()


async def test_all_passes_and_is_noted(rig: Rig) -> None:
    rig.proxy.piece = 1
    assert [await rig.ask("one"), await rig.ask("two")] == [READY, READY]
    assert rig.got == [b"one\0", b"two\0"]
    assert rig.proxy.texts() == [START, query("one"), query("two")]
    assert rig.proxy.texts("server") == [READY, READY]
    rig.writer.close()

    async def gone() -> bool:
        return rig.proxy.open == 0

    await until(gone)


async def test_a_message_is_cut_off_before_it_arrives(rig: Rig) -> None:
    fault = rig.proxy.add(Fault("cut_before", b"two"))
    assert await rig.ask("one") == READY
    assert await rig.ask("two") == b""
    assert fault.happened.is_set()
    assert rig.got == [b"one\0"]

    await rig.connect()
    assert await rig.ask("two") == READY  # it happens once


async def test_a_message_is_cut_off_after_it_arrived(rig: Rig) -> None:
    fault = rig.proxy.add(Fault("cut_after", b"one", further=1))
    assert await rig.ask("one") == READY
    assert await rig.ask("two") == b""
    assert fault.happened.is_set()
    assert rig.got == [b"one\0", b"two\0"]


async def test_an_answer_is_the_last_thing_heard(rig: Rig) -> None:
    rig.proxy.add(Fault("cut_after", side="server", further=1))
    assert await rig.ask("one") == READY
    assert await rig.ask("two") == READY
    assert await rig.ask("three") == b""


@pytest.mark.parametrize("action", ["hang_before", "hang_after"])
async def test_a_message_is_withheld_until_it_is_released(rig: Rig, action: Action) -> None:
    fault = rig.proxy.add(Fault(action, b"one"))
    answer = asyncio.create_task(rig.ask("one"))
    await fault.happened.wait()
    assert rig.got == ([] if action == "hang_before" else [b"one\0"])
    assert not answer.done()
    rig.proxy.release()
    assert await answer == READY
    assert rig.got == [b"one\0"]


async def test_what_is_withheld_is_not_delivered_by_a_cut(rig: Rig) -> None:
    fault = rig.proxy.add(Fault("hang_before", b"one"))
    answer = asyncio.create_task(rig.ask("one"))
    await fault.happened.wait()
    rig.proxy.cut()
    rig.proxy.clear()
    assert await answer == b""
    await rig.connect()
    assert await rig.ask("two") == READY
    assert rig.got == [b"two\0"]


async def test_nobody_is_there_and_then_is_again(rig: Rig) -> None:
    assert await rig.ask("one") == READY
    await rig.proxy.refuse()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", rig.proxy.port)
    assert await rig.ask("two") == READY
    await rig.proxy.accept()
    await rig.connect()
    assert await rig.ask("three") == READY
    assert rig.proxy.opened == 2


async def test_all_hangs(rig: Rig) -> None:
    rig.proxy.hang()
    rig.writer.close()
    await rig.connect()
    answer = asyncio.create_task(rig.ask("one"))

    async def both_are_kept() -> bool:
        return rig.proxy.open == 2

    await until(both_are_kept)
    assert rig.got == []
    rig.proxy.release()
    assert await answer == READY


async def committed(postgres: PostgresCluster, url: str) -> list[list[str]]:
    return postgres.execute("SELECT word FROM words", url.rpartition("/")[2])


@pytest.mark.parametrize(
    ("action", "done"), [("cut_before", []), ("cut_after", [["one"]])], ids=["before it arrives", "before its answer"]
)
async def test_a_commit_of_unknown_outcome(
    postgres: PostgresCluster, fresh_postgres_url: str, action: Action, done: list[list[str]]
) -> None:
    name = fresh_postgres_url.rpartition("/")[2]
    async with tcp_proxy(postgres.port) as proxy:
        proxy.delay_s = 0.001
        proxy.piece = 3
        fault = proxy.add(Fault(action, b"COMMIT"))
        connection = await asyncpg.connect(postgres.url(name, port=proxy.port))
        await connection.execute("CREATE TABLE words (word text)")
        with pytest.raises(LOST):
            async with connection.transaction():
                await connection.execute("INSERT INTO words VALUES ($1)", "one")
        assert fault.happened.is_set()
        assert connection.is_closed()

        async def ended() -> bool:
            return postgres.connections(name) == 0

        await until(ended)
        assert await committed(postgres, fresh_postgres_url) == done


async def test_a_transaction_is_cut_at_each_of_its_messages(postgres: PostgresCluster, fresh_postgres_url: str) -> None:
    name = fresh_postgres_url.rpartition("/")[2]
    postgres.execute("CREATE TABLE words (word text); GRANT ALL ON words TO receiver", name)

    async def insert(url: str) -> bool:
        connection = await asyncpg.connect(url)
        try:
            async with connection.transaction():
                await connection.execute("INSERT INTO words VALUES ($1)", "one")
        except LOST:
            return False
        finally:
            connection.terminate()
        return True

    cut = 0
    async with tcp_proxy(postgres.port) as proxy:
        while True:
            fault = proxy.add(Fault("cut_before", b"BEGIN", further=cut))
            if await insert(postgres.url(name, port=proxy.port)):
                break
            assert fault.happened.is_set()
            cut += 1
    assert cut >= 4  # BEGIN, what prepares, what executes, COMMIT
    assert await committed(postgres, fresh_postgres_url) == [["one"]]
