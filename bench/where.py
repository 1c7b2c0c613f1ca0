"""Where each microsecond of a callback goes: `bench.throughput`'s load on a server that keeps a ledger of its CPU.

`bench.where_server` counts, thread by thread; in turn with it the same server runs uncounted. What the wrappers cost is
taken off the stages they fell into. Being met among other work they cost, and disturb, more than can be measured of
them alone; so each thread's stages are then scaled to what that thread takes uncounted, and add up to it.
"""

import asyncio
import signal
import tempfile
from pathlib import Path

import msgspec
from msgspec import Struct

from bench.load import pack_requests
from bench.processes import start_module
from bench.samples import TableRow, fill_store, service_env, waiting_tasks
from bench.throughput import CALLBACKS, callback_requests, load_server
from bench.where_ledger import NAMES, Stage
from bench.where_server import Account, Spent

RUNS = 4  # even: each server goes first as often as the other


class Shares(Struct, frozen=True):
    """Microseconds of CPU a callback, by stage as uncounted; when counted, and the wrappers' part of that."""

    stages: dict[Stage, float]
    counted: float
    wrappers: float

    @property
    def total(self) -> float:
        """All stages."""
        return sum(self.stages.values())


def account(kind: str, folder: Path, requests: Path, count: int) -> Account:
    """What a `counted` or `bare` server over the database in `folder` tells of these requests. Raises SystemExit."""
    with start_module("bench.where_server", kind, env=service_env(folder)) as running:
        assert running.stdout is not None
        said = running.stdout.readline().strip()
        if not said.isdigit():
            raise SystemExit(f"bench.where: {said or 'the server ended before it listened'}")
        figures = load_server(int(said), requests)
        running.send_signal(signal.SIGUSR1)
        told = msgspec.json.decode(running.stdout.readline(), type=Account)
    if figures["statuses"] != {"200": count}:
        raise SystemExit(f"bench.where: the {kind} server answered {figures['statuses']}")
    return told


def measure(within: Path, count: int, runs: int) -> Shares:
    """So many runs of so many callbacks, each over new databases in folders of `within`.

    Raises SystemExit where a stage saw nothing: then its seam is not passed any more.
    """
    told: dict[str, list[Account]] = {"bare": [], "counted": []}
    for run in range(runs):
        tasks = waiting_tasks(count)
        requests = within / f"requests{run}"
        pack_requests(callback_requests(tasks), requests)
        for kind in sorted(told, reverse=run % 2 > 0):
            folder = within / f"{kind}{run}"
            asyncio.run(fill_store(folder / "receiver.db", tasks))
            told[kind].append(account(kind, folder, requests, count))
    each_us = 1 / (runs * count * 1000)
    counted, bare = told["counted"], told["bare"]
    threads = [
        _scaled([it.loop for it in counted], sum(it.loop.cpu for it in bare)),
        _scaled([it.sqlite for it in counted], sum(it.sqlite.cpu for it in bare)),
    ]
    stages = {stage: sum(thread[stage] for thread in threads) * each_us for stage in Stage}
    if unseen := [NAMES[stage] for stage, spent in stages.items() if not spent]:
        raise SystemExit(f"bench.where saw nothing of: {', '.join(unseen)}; has a seam moved?")
    both = [thread for it in counted for thread in (it.loop, it.sqlite)]
    return Shares(stages, sum(it.cpu for it in both) * each_us, sum(sum(it.wrappers) for it in both) * each_us)


def _scaled(counted: list[Spent], bare: int) -> list[float]:
    """The nanoseconds of one thread's stages in all runs, adding up to `bare`; of none is all the wrappers'."""
    spent = [sum(each) for each in zip(*(it.stages for it in counted), strict=True)]
    own = [sum(each) for each in zip(*(it.wrappers for it in counted), strict=True)]
    left = [max(all_of_it - wrappers, all_of_it / 10) for all_of_it, wrappers in zip(spent, own, strict=True)]
    return [each * bare / sum(left) for each in left]


def table(shares: Shares) -> list[TableRow]:
    """The total, then each stage with its share of it."""
    beside = f"when counted {shares.counted:.1f} µs, {shares.wrappers:.1f} of it the wrappers' own"
    return [
        ("a callback's CPU, shared out below", f"{shares.total:.1f} µs", beside),
        *(
            (f"of a callback's CPU: {NAMES[stage]}", f"{each:.1f} µs", f"{each / shares.total:.1%}")
            for stage, each in shares.stages.items()
        ),
    ]


def rows(count: int = CALLBACKS) -> list[TableRow]:
    """The table of `RUNS` runs."""
    with tempfile.TemporaryDirectory(dir=".") as name:
        return table(measure(Path(name).resolve(), count, RUNS))


if __name__ == "__main__":
    for row in rows():
        print(" | ".join(row))
