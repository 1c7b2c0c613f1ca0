"""Refs and keys to the last bit: the time, version and randomness of a ref, and how long a key must be."""

import pytest

from receiver.tokens import MacPurpose, Ring, is_ref, key_id, new_ref, ref_time

NOW = 0x0123456789AB
KEY = "k" * 16


@pytest.mark.parametrize(
    ("randomness", "ref"),
    [
        (bytes(10), "01234567-89ab-7000-8000-000000000000"),
        (b"\xff" * 10, "01234567-89ab-7fff-bfff-ffffffffffff"),
        (b"\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a", "01234567-89ab-7102-8304-05060708090a"),
    ],
)
def test_a_ref_is_its_time_then_version_7_and_else_randomness(randomness: bytes, ref: str) -> None:
    assert new_ref(NOW, randomness) == ref
    assert is_ref(ref)
    assert ref_time(ref) == NOW


def test_two_refs_of_one_moment_differ() -> None:
    one, other = new_ref(NOW), new_ref(NOW)
    assert is_ref(one)
    assert one != other
    assert one[:13] == other[:13], "both begin with their time"


def test_a_key_of_16_characters_is_long_enough_and_one_of_15_is_not() -> None:
    assert Ring([KEY]).ids == [key_id(KEY)]
    with pytest.raises(ValueError, match="at least 16"):
        Ring([KEY[:15]])


def test_a_mac_has_192_bits_which_need_no_padding() -> None:
    mac = Ring([KEY]).sign(MacPurpose.IMAGE, "payload")
    assert len(mac) == 32
    assert "=" not in mac


def test_one_wrong_character_is_not_our_mac() -> None:
    ring = Ring([KEY, "l" * 16])
    mac = ring.sign(MacPurpose.IMAGE, "payload")
    assert ring.verify(MacPurpose.IMAGE, "payload", mac)
    for wrong in ("", mac[:-1], mac + "A", mac[::-1], mac[:-1] + "\ud800"):
        assert not ring.verify(MacPurpose.IMAGE, "payload", wrong)


@pytest.mark.parametrize("ref", ["", "job-1", new_ref(NOW, bytes(10)).upper()])
def test_a_token_for_anything_but_a_ref_opens_nothing_even_if_we_signed_it(ref: str) -> None:
    ring = Ring([KEY])
    assert ring.open(ring.token(ref)) is None


def test_a_key_has_the_same_name_in_every_version() -> None:
    """Tasks record it, so that one can tell which of them a removed key would cut off."""
    assert key_id(KEY) == "89da746c"
