"""What the benchmarks feed the servers: bodies of callbacks, tasks that wait for them, settings to run with."""

import json
import time
from pathlib import Path

from receiver.core.types import Task, TaskState
from receiver.providers.registry import DEFAULT_PROVIDER
from receiver.store import open_store
from receiver.tokens import new_ref

KEY = "bench-only-key-bench-only-key"
TableRow = tuple[str, str, str]
"""One line of the table: what was measured, the figure, and what it is compared with."""


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
    """Tasks that the provider has, each with an id."""
    now = time.time_ns() // 1_000_000
    return [
        Task(
            ref=new_ref(now - count + number),  # as they come in life: one after the other
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
    """A database with these tasks."""
    store = await open_store(path)
    for at in range(0, len(tasks), 500):
        async with store.write() as tx:
            await tx.tasks.insert(tasks[at : at + 500])
    await store.close()


def service_env(folder: Path, **more: str) -> dict[str, str]:
    """The receiver's settings: a target that is never reached, a provider that is never asked."""
    return {
        "RECEIVER_DATABASE_URL": f"sqlite:///{folder}/receiver.db",
        "RECEIVER_SECRET_KEYS": KEY,
        "RECEIVER_NOTIFY_URLS": "json://127.0.0.1:9/bench",
        **more,
    }
