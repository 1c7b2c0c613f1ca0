"""The quick way to read a body says what the long way says, or nothing."""

import json
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from kit.provider_bodies import TASK
from receiver.core.types import Outcome
from receiver.providers.vtrix import bodies, bodies_fast

TEXTS = st.sampled_from(["", " ", "image", "a job", "é", "\x7f", "\\", "x" * 201, "https://cdn.example/1.png"])
URLS = st.sampled_from(
    [
        "https://cdn.example/0.png",
        "http://a",
        "https:///x",
        "HTTPS://a",
        "https://a b",
        "https://a/b c",
        " https://a",
        "ftp://a",
        "",
    ]
)
ANYTHING: st.SearchStrategy[Any] = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXTS | st.just({}) | st.just([1])
)
METADATA = st.sampled_from([{"jobId": "m"}, {"provider": {"jobId": "p"}}, {"provider_context": {"job_id": "c"}}])
ITEMS = st.fixed_dictionaries(
    {"url": URLS | ANYTHING},
    optional={
        "type": TEXTS | ANYTHING,
        "jobId": TEXTS | st.just("provider_task_id") | ANYTHING,
        "job_id": TEXTS,
        "image_url": URLS,
        "imageUrl": URLS,
        "id": TEXTS,
        "content": ANYTHING | st.just([{"url": "https://cdn.example/2.png"}]),
        "metadata": ANYTHING | METADATA,
    },
)
CHANGES = st.fixed_dictionaries(
    {},
    optional={
        "id": TEXTS | ANYTHING,
        "status": st.sampled_from(["completed", "COMPLETED", "failed", "in_progress", "2"]) | ANYTHING,
        "model": TEXTS | ANYTHING,
        "created_at": st.sampled_from([1_767_000_000, 1_767_000_000_000, 1_767_000_000.5, 0, "1767000000"]) | ANYTHING,
        "output": st.lists(st.fixed_dictionaries({"content": st.lists(ITEMS, max_size=3)}), max_size=2) | ANYTHING,
        "outputs": st.lists(st.fixed_dictionaries({"content": st.lists(ITEMS, max_size=3)}), max_size=2),
        "usage": st.fixed_dictionaries({}, optional={"cost": TEXTS | st.sampled_from(["0.05", 0.05, "-1", "1e3"])})
        | st.just({"cost": "0.05", "discount": 1})
        | ANYTHING,
        "metadata": METADATA | ANYTHING,
        "error": st.just({"code": 0}) | ANYTHING,
        "progress": st.sampled_from([0, 0.5, 1, 45, "45%", -1]) | ANYTHING,
        "urls": st.lists(URLS, max_size=2),
        "audits": st.lists(TEXTS, max_size=2),
        "provider_error": st.just({"code": 5}) | ANYTHING,
        "data": ANYTHING,
        "code": ANYTHING,
    },
)


@given(CHANGES)
@example({})
@example({"outputs": [{"content": [{"url": "https://cdn.example/1.png"}]}], "output": []})
def test_the_quick_way_says_what_the_long_way_says_or_nothing(changes: dict[str, Any]) -> None:
    body = json.dumps(TASK | changes).encode()
    assert bodies_fast.parse_completed(body) in (None, bodies.parse_any_body(body))


def test_the_common_body_takes_the_quick_way() -> None:
    said = bodies_fast.parse_completed(json.dumps(TASK).encode())
    assert isinstance(said, Outcome)
    assert len(said.images) == 1


def test_any_bytes_are_left_to_the_long_way() -> None:
    for body in (b"", b"null", b"[]", b"\xff", b"[" * 100_000, b'{"id": "\\ud800"}'):
        assert bodies_fast.parse_completed(body) is None
