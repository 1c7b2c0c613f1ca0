"""The quick way to read a body: exactly how far it goes before it leaves a body to the long way."""

import json
from typing import Any

import msgspec
import pytest

from kit.provider_bodies import TASK, URL
from receiver.providers.vtrix import bodies, bodies_fast


def with_images(count: int) -> dict[str, Any]:
    return {"output": [{"content": [{"url": f"{URL}?{n}"} for n in range(count)]}]}


def with_item(**fields: object) -> dict[str, Any]:
    return {"output": [{"content": [{"url": URL, **fields}]}]}


@pytest.mark.parametrize(
    "changes",
    [
        {"id": "x"},
        {"id": "x" * 200},
        {"model": "x" * 200},
        {"created_at": 1_000_000_000},
        {"created_at": 4_099_999_999},
        {"progress": 0},
        {"progress": 0.5},
        {"progress": 1},
        {"progress": None},
        {"usage": None},
        {"usage": {"cost": "0.05"}},
        {"usage": {"cost": "0.05", "discount": 0}},
        {"usage": {"cost": "0.05", "discount": 1_000}},
        {"metadata": {}},
        {"error": None},
        with_images(1),
        with_images(64),
        {"output": [*with_images(1)["output"], {"content": []}, *with_images(2)["output"]]},
        with_item(url="https://a/" + "x" * 16_374),
        with_item(type="t", jobId="j", job_id=None, image_url=None),
    ],
)
def test_what_is_usual_is_read_the_quick_way_and_means_the_same(changes: dict[str, Any]) -> None:
    body = json.dumps(TASK | changes).encode()
    assert bodies_fast.parse_completed(body) is not None
    assert bodies_fast.parse_completed(body) == bodies.parse_any_body(body)


@pytest.mark.parametrize(
    "changes",
    [
        {"id": ""},
        {"id": "x" * 201},
        {"model": ""},
        {"created_at": 999_999_999},
        {"created_at": 4_100_000_000},
        {"progress": -0.5},
        {"progress": -1},
        {"progress": 1.5},
        {"progress": 2},
        {"usage": {"cost": "0.05", "discount": -0.5}},
        {"usage": {"cost": "0.05", "discount": 1_000.5}},
        {"usage": {"cost": "-1"}},
        {"metadata": {"jobId": "m"}},
        {"error": {"code": 0}},
        {"output": []},
        with_images(0),
        with_images(65),
        with_item(url="https://a/" + "x" * 16_375),
        with_item(url="ftp://a"),
        with_item(type=""),
        with_item(jobId=""),
        with_item(image_url=URL),
        {"output": [*with_images(1)["output"], *with_item(url="ftp://a")["output"]]},
    ],
)
def test_what_is_unusual_is_left_to_the_long_way(changes: dict[str, Any]) -> None:
    assert bodies_fast.parse_completed(json.dumps(TASK | changes).encode()) is None


@pytest.mark.parametrize("id_", ["é", "\x7f", '"', "\\", " a"])
def test_a_body_with_an_odd_character_is_left_to_the_long_way(id_: str) -> None:
    body = json.dumps(TASK | {"id": id_}, ensure_ascii=False).encode()
    assert bodies_fast.parse_completed(body) is None


def test_a_body_costs_the_garbage_collector_nothing() -> None:
    structs = [it for it in vars(bodies_fast).values() if isinstance(it, msgspec.StructMeta)]
    ours = [it for it in structs if it.__module__ == bodies_fast.__name__]
    assert len(ours) == 5
    assert not any(it.__struct_config__.gc for it in ours)
