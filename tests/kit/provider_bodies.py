"""A task object to vary, and a shorter way to read one."""

import json
from typing import Any

from receiver.core.types import Outcome
from receiver.providers.vtrix import bodies

URL = "https://cdn.example/0.png"
TASK: dict[str, Any] = {
    "id": "d8ejq0123456789abcde",
    "status": "completed",
    "model": "midjourney_outpaint",
    "created_at": 1767000000,
    "progress": 1.0,
    "output": [{"content": [{"type": "image", "url": URL, "jobId": "job-1"}]}],
    "usage": {"cost": "0.05", "discount": 1},
}


def read(value: object) -> Outcome:
    outcome = bodies.parse_body(json.dumps(value).encode())
    assert outcome is not None
    return outcome


def without(*keys: str, **changes: object) -> dict[str, Any]:
    return {key: value for key, value in TASK.items() if key not in keys} | changes
