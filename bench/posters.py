"""Posters that do not know about kills: each connection sends its next callback as soon as the last was answered.

`python -m bench.posters PORT CONNECTIONS TOKENS FIRST STEP ANSWERED` posts callbacks for every STEP-th task of the file
TOKENS, starting at FIRST: `POSTS` callbacks per task, all with different bytes. A callback that was not answered 200 is
sent again, and a refused connection is tried again, as by a persistent provider. It stops when standard input ends.
Then the file ANSWERED has a line `NUMBER SERIAL` for each callback answered 200, and `status CODE COUNT` for other
answers.
"""

import asyncio
import json
import sys
from collections import Counter, deque
from pathlib import Path

from bench.load import post_request

POSTS = (
    10  # a task is settled by the first and hears nine more: commits come faster than sends, and are to be killed too
)
RECONNECT_S = 0.01
ANSWER_MOST_S = 20.0  # a service that is up but takes longer is a failure too

Posted = tuple[int, int]
"""A callback: the number of its task, and its serial number within the task, from 0."""


def task_id(number: int) -> str:
    """The provider's id of the task with this number."""
    return f"crash{number:015d}"


def callback_body(posted: Posted) -> bytes:
    """A completed task object; each callback has different bytes."""
    number, serial = posted
    picture = {"type": "image", "url": f"https://cdn.example.com/{number}.png", "jobId": "5a" * 16}
    return json.dumps(
        {
            "id": task_id(number),
            "status": "completed",
            "model": "midjourney_outpaint",
            "created_at": 1_795_337_505,
            "output": [{"content": [picture]}],
            "metadata": {"serial": serial},
        }
    ).encode()


class CallbackSupply:
    """The callbacks still to be posted: first ones and repeats, mixed so that neither runs out early."""

    def __init__(self, numbers: range) -> None:
        self._fresh = iter(numbers)
        self._again: deque[Posted] = deque()
        self._turn = 0
        self.answered: list[Posted] = []

    def next_callback(self) -> Posted | None:
        """The next callback, or None if none is left."""
        self._turn += 1
        if self._turn % POSTS and self._again:
            return self._again.popleft()
        number = next(self._fresh, None)
        if number is not None:
            return number, 0
        return self._again.popleft() if self._again else None

    def record_answered(self, posted: Posted) -> None:
        """Record that a callback was answered 200, and plan the next one of its task."""
        self.answered.append(posted)
        number, serial = posted
        if serial + 1 < POSTS:
            self._again.append((number, serial + 1))

    def put_back(self, posted: Posted) -> None:
        """Post this callback again: it is unknown whether it was stored."""
        self._again.appendleft(posted)


async def _read_status(reader: asyncio.StreamReader) -> int:
    head = await reader.readuntil(b"\r\n\r\n")
    await reader.readexactly(int(head.lower().split(b"content-length:")[1].split(b"\r\n", 1)[0]))
    return int(head[9:12])


async def _post_callbacks(
    port: int, tokens: list[str], supply: CallbackSupply, others: Counter[int], stop: asyncio.Event
) -> None:
    """Post over one connection after another, until `stop` is set or nothing is left to post."""
    while not stop.is_set():
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(RECONNECT_S)
            continue
        try:
            while not stop.is_set() and (posted := supply.next_callback()) is not None:
                status = 0
                try:
                    writer.write(post_request(f"/callbacks/{tokens[posted[0]]}", callback_body(posted)))
                    async with asyncio.timeout(ANSWER_MOST_S):
                        status = await _read_status(reader)
                finally:
                    if status == 200:
                        supply.record_answered(posted)
                    else:
                        supply.put_back(posted)
                if status != 200:
                    others[status] += 1
            if not stop.is_set():
                return
        except (OSError, asyncio.IncompleteReadError):
            pass  # it was killed: connect again
        except TimeoutError:
            others[0] += 1
        finally:
            writer.close()


async def post_until_eof(port: int, connections: int, tokens: list[str], supply: CallbackSupply) -> Counter[int]:
    """Post until standard input ends; returns the counts of other statuses than 200 (0: no answer at all)."""
    stop = asyncio.Event()
    others: Counter[int] = Counter()
    asyncio.get_running_loop().add_reader(sys.stdin, stop.set)
    drives = [asyncio.create_task(_post_callbacks(port, tokens, supply, others, stop)) for _ in range(connections)]
    await stop.wait()
    await asyncio.wait(drives)
    return others


def main(port: int, connections: int, tokens: Path, first: int, step: int, answered: Path) -> None:
    """Post, then write what was answered."""
    lines = tokens.read_text().split()
    supply = CallbackSupply(range(first, len(lines), step))
    others = asyncio.run(post_until_eof(port, connections, lines, supply))
    with answered.open("w") as file:
        file.writelines(f"{number} {serial}\n" for number, serial in supply.answered)
        file.writelines(f"status {status} {count}\n" for status, count in others.items())


if __name__ == "__main__":
    _, _port, _connections, _tokens, _first, _step, _answered = sys.argv
    main(int(_port), int(_connections), Path(_tokens), int(_first), int(_step), Path(_answered))
