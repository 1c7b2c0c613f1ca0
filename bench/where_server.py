"""The receiver with its sends held back, like `bench.servers held`, and a ledger of where its CPU goes.

Its parts are wrapped here, from outside, at their seams; the product has no switch for it. `python -m
bench.where_server counted` prints its port, and on SIGUSR1 one line of JSON: `Account`; with `bare` nothing is wrapped
and only totals are told. A seam that has moved is an error, said on standard output instead of the port.
"""

import asyncio
import gc
import inspect
import os
import selectors
import signal
import sqlite3
import sys
import threading
import time
from asyncio import selector_events
from collections.abc import Callable
from types import CodeType
from typing import Any

import aiosqlite
import msgspec
import uvicorn
from msgspec import Struct

from bench.where_ledger import Cost, Ledger, Stage, Wrapper, called, measured, stepped, turned
from receiver import config, store, web
from receiver.service.wiring import ServiceParts, open_parts
from receiver.store.sqlite.batching import BatchingConnection
from receiver.store.tables.callbacks import CallbackTable as CallbacksTable
from receiver.store.tables.notices import NoticeTable
from receiver.store.tables.tasks import TaskTable
from receiver.tasks import ingest
from receiver.tasks.ingest import CallbackIngest
from receiver.tasks.settle import TaskBatch
from receiver.tokens import Ring
from receiver.web import app
from receiver.web.callbacks import CallbackEndpoint
from receiver.web.http.connection_limits import BoundedProtocol

ROOMS = {
    os.path.join(*web.__path__, ""): Stage.HTTP,
    os.path.join(*uvicorn.__path__, ""): Stage.HTTP,
    str(ingest.__file__): Stage.INGEST,
    os.path.join(*store.__path__, ""): Stage.ROWS,
    os.path.join(*aiosqlite.__path__, ""): Stage.SWITCHING,
    str(selector_events.__file__): Stage.READING,
}
"""What a turn of the loop is, by where the code that it runs is written; the loop's own, if it is written elsewhere."""


class Spent(Struct, frozen=True):
    """Nanoseconds of CPU since the server listened: all, and by `Stage` what was counted for it, and how much of that
    was the wrappers'; the latter two are empty where nothing is counted."""

    cpu: int
    stages: list[int] = []
    wrappers: list[float] = []


class Account(Struct, frozen=True):
    """What the thread of the loop spent, and what all others did, which are SQLite's."""

    loop: Spent
    sqlite: Spent


def clocks() -> tuple[int, int]:
    """The nanoseconds of CPU of this thread, and of all others, so far."""
    mine = time.thread_time_ns()
    return mine, time.process_time_ns() - mine


def seam(owner: Any, name: str, wrap: Callable[[Any], Any]) -> None:
    """Replace what `owner` has under a name. Raises SystemExit if it has none."""
    found = getattr(owner, name, None)
    if found is None:
        raise SystemExit(f"{getattr(owner, '__name__', owner)} has no {name} any more: bench.where must follow")
    setattr(owner, name, wrap(found))


class Seams:
    """The wrapped parts and the ledgers of their threads: the loop's own, and one for each thread of SQLite's."""

    def __init__(self) -> None:
        self.loop = Ledger(Stage.LOOP)
        self._ledgers = {threading.get_ident(): self.loop}
        self._known: dict[CodeType | None, int | None] = {None: None}
        self._costs: list[Cost] = []

    def install(self) -> None:
        """Wrap classes and modules, in the thread of the loop, before the parts are opened."""
        self._costs = measured(self._turn, asyncio.Handle._run)
        seam(asyncio.Handle, "_run", lambda run: turned(self.loop, self._turn, run))
        transport = getattr(selector_events, "_SelectorSocketTransport", selector_events)
        for owner, name, stage in (
            (selectors.EpollSelector, "select", Stage.ASKING),
            (transport, "write", Stage.SENDING),
            (BoundedProtocol, "data_received", Stage.HTTP),
            (Ring, "open", Stage.TOKEN),
            (ingest, "_digest", Stage.DIGEST),
            (TaskBatch, "apply", Stage.DECIDE),
        ):
            seam(owner, name, self._as(stage))
        for owner, name in (
            *((TaskBatch, name) for name in ("read", "look_up", "write")),
            *((TaskTable, name) for name in ("get", "insert", "update", "add_images")),
            *((CallbacksTable, name) for name in ("insert", "digests")),
            (NoticeTable, "insert"),
        ):
            seam(owner, name, self._as(Stage.ROWS))
        for owner, stage, inner in ((CallbackEndpoint, Stage.ROUTE, True), (CallbackIngest, Stage.INGEST, False)):
            for name, part in vars(owner).items():
                if inspect.isfunction(part) and name != "__init__" and (inner or not name.startswith("_")):
                    setattr(owner, name, self._as(stage)(part))
        self._install_sqlite()
        gc.callbacks.append(self._collecting())

    def begin(self, parts: ServiceParts) -> None:
        """Wrap what is handed to the parts, which are open; count from now on."""
        seam(parts.ingest, "_parse", self._as(Stage.BODY))
        for ledger in self._ledgers.values():
            ledger.clear()

    def account(self, loop_ns: int, sqlite_ns: int) -> Account:
        """What was counted of so much CPU; called in the thread of the loop, while SQLite's wait."""
        self.loop.leave(self.loop.enter(Stage.LOOP, Wrapper.CALL))  # up to now
        others = [it for it in self._ledgers.values() if it is not self.loop]
        return Account(self._spent(loop_ns, [self.loop]), self._spent(sqlite_ns, others))

    def _spent(self, cpu: int, ledgers: list[Ledger]) -> Spent:
        return Spent(
            cpu,
            [sum(each) for each in zip(*(it.spent for it in ledgers), strict=True)],
            [sum(each) for each in zip(*(it.own(self._costs) for it in ledgers), strict=True)],
        )

    def _as(self, stage: Stage) -> Callable[[Any], Any]:
        """Wraps a function or a coroutine function of the loop's thread as `stage`."""

        def wrap(part: Any) -> Any:
            bound = inspect.ismethod(part)  # a class method: its class is bound to it already
            wrapped = (stepped if inspect.iscoroutinefunction(part) else called)(self.loop, stage, part)
            return staticmethod(wrapped) if bound else wrapped

        return wrap

    def _turn(self, callback: Any) -> int | None:
        """The stage of what the loop is about to call: a step of a task is its coroutine's."""
        task = getattr(callback, "__self__", None)
        code = getattr(callback, "__code__", None)
        if isinstance(task, asyncio.Task):
            code = getattr(task.get_coro(), "cr_code", None)
        if code is not None and code not in self._known:
            stage = next((it for room, it in ROOMS.items() if code.co_filename.startswith(room)), None)
            woken = code.co_name == "_read_from_self"  # by another thread
            self._known[code] = Stage.SWITCHING if woken else stage
        return self._known[code]

    def _install_sqlite(self) -> None:
        """The trips to SQLite's threads, each with a ledger whose base is coming and going; COMMIT apart."""
        ledgers, switching = self._ledgers, Stage.SWITCHING

        def trips(run: Callable[..., Any]) -> Callable[..., Any]:
            def wrapped(*args: Any) -> Any:
                ledger = ledgers.get(threading.get_ident())
                if ledger is None:
                    ledger = ledgers[threading.get_ident()] = Ledger(switching)
                outer = ledger.enter(Stage.STATEMENTS, Wrapper.CALL)
                try:
                    return run(*args)
                finally:
                    ledger.leave(outer)

            return wrapped

        class Told(sqlite3.Connection):
            def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
                if sql != "COMMIT":
                    return super().execute(sql, parameters)
                ledger = ledgers[threading.get_ident()]
                outer = ledger.enter(Stage.COMMIT, Wrapper.CALL)
                try:
                    return super().execute(sql, parameters)
                finally:
                    ledger.leave(outer)

        seam(BatchingConnection, "_run", trips)
        seam(sqlite3, "connect", lambda connect: lambda *args, **named: connect(*args, factory=Told, **named))

    def _collecting(self) -> Callable[[str, dict[str, int]], None]:
        ledgers, outer = self._ledgers, dict[int, int]()

        def collecting(phase: str, _: dict[str, int]) -> None:
            thread = threading.get_ident()
            ledger = ledgers.get(thread)
            if ledger is None:
                return
            if phase == "start":
                outer[thread] = ledger.enter(Stage.GARBAGE, Wrapper.CALL)
            elif thread in outer:
                ledger.leave(outer.pop(thread))

        return collecting


async def held(seams: Seams | None) -> None:
    """The receiver without its loops, with its parts wrapped unless there are no seams."""
    if seams:
        seams.install()
    async with open_parts(config.load_settings(os.environ)) as parts:

        def begin(port: int) -> None:
            if seams:
                seams.begin(parts)
            began = clocks()

            def tell() -> None:
                loop_ns, sqlite_ns = (now - then for now, then in zip(clocks(), began, strict=True))
                bare = Account(Spent(loop_ns), Spent(sqlite_ns))
                account = seams.account(loop_ns, sqlite_ns) if seams else bare
                print(msgspec.json.encode(account).decode(), flush=True)

            asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, tell)
            print(port, flush=True)

        await app.serve(parts, host="127.0.0.1", port=0, stop=asyncio.Event(), ready=begin)


if __name__ == "__main__":
    try:
        asyncio.run(held(Seams() if sys.argv[1] == "counted" else None))
    except SystemExit as error:  # whoever started it reads only this
        print(error, flush=True)
        raise
