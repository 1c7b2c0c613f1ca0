"""Kinds whose settings cannot be set yet: what they will take, and what not."""

from ipaddress import ip_network

import pytest

from receiver.config.value_kinds import ALLOWED, NETWORKS, RETENTION, AllowedHosts, ValueKind
from receiver.core.types import Retention


def test_retention_keeps_the_default_of_what_it_does_not_name() -> None:
    assert RETENTION.parse("callbacks=7d tasks=0") == Retention(callbacks=7)


def test_the_allowed_are_hosts_in_small_letters_and_networks() -> None:
    assert ALLOWED.parse("Cdn.test 10.0.0.1") == AllowedHosts(("cdn.test",), (ip_network("10.0.0.1/32"),))


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (RETENTION, "tasks=90"),
        (RETENTION, "pictures=1d"),
        (RETENTION, "tasks=1d tasks=2d"),
        (RETENTION, "tasks=36501d"),
        (NETWORKS, "10.0.0.1/8"),
        (ALLOWED, "ho/st"),
    ],
)
def test_what_makes_no_sense_is_a_value_error(kind: ValueKind, text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - `load` puts the setting's name and what is expected before it
        kind.parse(text)
