"""A proxy between the product and PostgreSQL that cuts, withholds and delays at the message we choose.

async with tcp_proxy(cluster.port) as proxy:
    fault = proxy.add(Fault("cut_after", b"COMMIT"))
    … open_store(PostgresPlace(url=cluster.url(name, port=proxy.port))) …
    await fault.happened.wait()
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator
from typing import Literal

from msgspec import Struct

from kit.live_service import free_port
from kit.postgres_messages import Message, MessageStream

Side = Literal["client", "server"]
Action = Literal["cut_before", "cut_after", "hang_before", "hang_after"]
REMEMBERED = 10_000
WAITING = 1000
_DOES_AND_ANSWERS = ("Q", "S")
"""Query and Sync: the server does what it was told, and says that it is ready."""
_READY = "Z"


class Seen(Struct, frozen=True):
    """A message that came to the proxy."""

    connection: int
    side: Side
    message: Message


class Fault:
    """What becomes of one message: the first of `side` that has `text` in it, or the one `further` messages of that
    side after it, on the same connection.

    `cut_before`: it is not delivered, and both ends lose the connection.
    `cut_after`: it is delivered, and the connection lost before the answer. If it is a query or a sync, the server has
    done it and said so by then; the client never hears it.
    `hang_before`, `hang_after`: likewise, but both ends keep the connection, and nothing passes until `release`: not
    even that one of them closes it.

    An SQL text is seen where it is sent: in a query without parameters, or when a statement is prepared. Fires once.
    """

    def __init__(self, action: Action, text: bytes = b"", *, side: Side = "client", further: int = 0) -> None:
        self.action = action
        self.text = text
        self.side = side
        self.further = further
        self.happened = asyncio.Event()
        self._since: dict[int, int] = {}

    def meets(self, seen: Seen) -> bool:
        """Whether this is the message; it counts as it is asked."""
        if self.happened.is_set() or seen.side != self.side:
            return False
        if seen.connection in self._since:
            self._since[seen.connection] += 1
        elif self.text in seen.message.data:
            self._since[seen.connection] = 0
        return self._since.get(seen.connection) == self.further


class TcpProxy:
    """Passes on what both sides say; what it does to it may be changed at any time.

    `delay_s` is how long each message is under way. With `piece`, no more bytes than that are sent at once.
    """

    def __init__(self, upstream: int) -> None:
        self.upstream = upstream
        self.port = free_port()
        self.delay_s = 0.0
        self.piece: int | None = None
        self.seen: deque[Seen] = deque(maxlen=REMEMBERED)
        self.opened = 0
        self._faults: list[Fault] = []
        self._hanging = False
        self._connections: dict[int, _Connection] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    @property
    def open(self) -> int:
        """How many connections there are."""
        return len(self._connections)

    def add(self, fault: Fault) -> Fault:
        """Have it happen; gives it back, to wait for."""
        self._faults.append(fault)
        return fault

    def clear(self) -> None:
        """Have none of the faults happen any more, and let everything pass."""
        self._faults.clear()
        self.release()

    def cut(self) -> None:
        """Take the connections from both ends, now."""
        for connection in self._connections.values():
            connection.cut()

    def hang(self) -> None:
        """Let nothing pass, on connections to come too, until `release`."""
        self._hanging = True
        for connection in self._connections.values():
            connection.flows.clear()

    def release(self) -> None:
        """Let pass what was withheld."""
        self._hanging = False
        for connection in self._connections.values():
            connection.flows.set()

    async def accept(self) -> None:
        """Take connections."""
        if self._server is None:
            self._server = await asyncio.start_server(self._take, "127.0.0.1", self.port)

    async def refuse(self) -> None:
        """Take no connections: whoever wants one is refused, as if nobody was there. Those that are stay."""
        if self._server is not None:
            self._server.close()
            self._server = None

    async def close(self) -> None:
        """End everything."""
        await self.refuse()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def texts(self, side: Side = "client") -> list[bytes]:
        """The messages of a side so far, on all connections."""
        return [it.message.data for it in self.seen if it.side == side]

    def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.opened += 1
        number = self.opened
        try:
            upstream = await asyncio.open_connection("127.0.0.1", self.upstream)
        except OSError:
            writer.transport.abort()
            return
        connection = self._connections[number] = _Connection(self, number, (reader, writer), upstream)
        if self._hanging:
            connection.flows.clear()
        try:
            await connection.run()
        finally:
            connection.cut()
            del self._connections[number]

    def fault_for(self, seen: Seen) -> Fault | None:
        """The fault that is this message's. All of them count it."""
        self.seen.append(seen)
        met = [fault for fault in self._faults if fault.meets(seen)]
        return met[0] if met else None


_Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]
_Queue = asyncio.Queue[tuple[float, Message | None]]
"""What is under way, and when it is due; None is the end."""


class _Connection:
    """One client's connection, and ours to the server for it."""

    def __init__(self, proxy: TcpProxy, number: int, client: _Stream, server: _Stream) -> None:
        self._proxy = proxy
        self._number = number
        self._ends: dict[Side, _Stream] = {"client": client, "server": server}
        self._streams = {"client": MessageStream(client=True), "server": MessageStream(client=False)}
        self._cut = asyncio.Event()
        self._withheld: Fault | None = None
        self._answer: list[Message] = []
        self.flows = asyncio.Event()
        self.flows.set()

    async def run(self) -> None:
        """Pass messages on, until one end has closed its connection, or it was cut."""
        ends: list[asyncio.Task[object]] = [asyncio.create_task(self._cut.wait())]
        readers = []
        for side in self._ends:
            queue = _Queue(WAITING)
            readers.append(asyncio.create_task(self._read(side, queue)))
            ends.append(asyncio.create_task(self._write(side, queue)))
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (*ends, *readers):
                task.cancel()
            await asyncio.gather(*ends, *readers, return_exceptions=True)
            for _, writer in self._ends.values():
                writer.close()
            if self._withheld is not None:  # the server has gone without an answer
                self._withheld.happened.set()

    def cut(self) -> None:
        """Take it from both. The server still gets what was delivered, and nobody what was withheld."""
        self._ends["client"][1].transport.abort()
        self._ends["server"][1].close()
        self._cut.set()

    async def _read(self, side: Side, queue: _Queue) -> None:
        """Take what one side says."""
        clock = asyncio.get_running_loop().time
        reader, stream = self._ends[side][0], self._streams[side]
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                for message in stream.feed(data):
                    self._agree(message)
                    await queue.put((clock() + self._proxy.delay_s, message))
        if stream.rest():
            await queue.put((clock() + self._proxy.delay_s, Message("raw", stream.rest())))
        await queue.put((clock() + self._proxy.delay_s, None))

    def _agree(self, message: Message) -> None:
        """Certain messages say what the next ones look like."""
        if message.kind.endswith("?"):
            self._streams["server"].expect_yes_or_no()
        elif message.kind == "yes":
            for stream in self._streams.values():
                stream.be_raw()

    async def _write(self, side: Side, queue: _Queue) -> None:
        """Deliver it to the other side, in its order."""
        clock = asyncio.get_running_loop().time
        while True:
            due, message = await queue.get()
            await asyncio.sleep(max(0.0, due - clock()))
            await self.flows.wait()
            if message is None:
                return
            await self._pass(side, message)

    async def _pass(self, side: Side, message: Message) -> None:
        """Deliver a message, or do with it what a fault says."""
        if side == "server" and self._withheld is not None:
            self._answer.append(message)
            if message.kind == _READY:
                await self._suffer(self._withheld)
                self._withheld = None
                for part in self._answer:
                    await self._deliver(side, part)
            return
        fault = self._proxy.fault_for(Seen(self._number, side, message))
        if fault is not None and fault.action.endswith("_before"):
            await self._suffer(fault)
        if fault is not None and side == "client" and message.kind in _DOES_AND_ANSWERS:
            self._answer, self._withheld = [], fault if fault.action.endswith("_after") else None
        await self._deliver(side, message)
        if fault is not None and fault.action.endswith("_after") and self._withheld is None:
            await self._suffer(fault)

    async def _suffer(self, fault: Fault) -> None:
        """Lose the connection for good, or wait until it is released."""
        fault.happened.set()
        if fault.action.startswith("cut_"):
            self.cut()
            await asyncio.Event().wait()  # `run` ends us
        self.flows.clear()
        await self.flows.wait()

    async def _deliver(self, side: Side, message: Message) -> None:
        writer = self._ends["server" if side == "client" else "client"][1]
        step = self._proxy.piece or len(message.data)
        for start in range(0, len(message.data), step):
            writer.write(message.data[start : start + step])
            await writer.drain()
            if step < len(message.data):
                await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def tcp_proxy(upstream: int) -> AsyncIterator[TcpProxy]:
    """A proxy in front of a port of loopback; it takes connections, and ends with all of them."""
    proxy = TcpProxy(upstream)
    await proxy.accept()
    try:
        yield proxy
    finally:
        await proxy.close()
