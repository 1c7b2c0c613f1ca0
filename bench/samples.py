"""Input of the benchmarks: callback bodies, the tasks that wait for them, settings of the service."""

import json
import time
from pathlib import Path

from receiver.core.types import Task, TaskState
from receiver.providers.registry import DEFAULT_PROVIDER
from receiver.store import open_store
from receiver.tokens import new_ref

KEY = "bench-only-key-bench-only-key"
TableRow = tuple[str, str, str]
"""One line of the table: what was measured, the figure, what it is compared with."""


def completed_body(task_id: str) -> bytes:
    """A completed task object of about 1 KB."""
    pictures = [
        {"type": "image", "url": f"https://cdn.example.com/pictures/{task_id}/{place}.png", "jobId": "5a" * 16}
        for place in range(4)
    ]
    task = {
        "id": task_id,
        "status": "completed",
        "model": "midjourney_outpaint",
        "created_at": 1_795_337_505,
        "output": [{"content": pictures}],
        "usage": {"cost": "0.05", "discount": 1},
        "metadata": {"pad": ""},
    }
    task["metadata"] = {"pad": "x" * max(0, 1024 - len(json.dumps(task)))}
    return json.dumps(task).encode()


def waiting_tasks(count: int) -> list[Task]:
    """Tasks that were submitted and wait for their callback."""
    now = time.time_ns() // 1_000_000
    return [
        Task(
            ref=new_ref(now - count + number),  # one after the other, as in production
            created_at=now,
            provider=DEFAULT_PROVIDER,
            state=TaskState.WAITING,
            task_id=f"bench{number:015d}",
            model="midjourney_outpaint",
            params=b'{"jobId":"5a5a5a5a","imageNo":0,"scale":1.5}',
            submitted_at=now,
            poll_at=now + 86_400_000,
        )
        for number in range(count)
    ]


async def fill_store(path: Path, tasks: list[Task]) -> None:
    """Create a database with these tasks."""
    store = await open_store(path)
    for at in range(0, len(tasks), 500):
        async with store.write() as tx:
            await tx.tasks.insert(tasks[at : at + 500])
    await store.close()


def service_env(folder: Path, **more: str) -> dict[str, str]:
    """Settings of the receiver, as environment variables: its target is unreachable, its provider never asked."""
    return {
        "RECEIVER_DATABASE_URL": f"sqlite:///{folder}/receiver.db",
        "RECEIVER_SECRET_KEYS": KEY,
        "RECEIVER_NOTIFY_URLS": "json://127.0.0.1:9/bench",
        **more,
    }
