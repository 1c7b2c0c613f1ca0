"""MACs: what we signed we know again, for its own purpose and nothing else."""

import base64
import hashlib
import hmac
from collections.abc import Callable
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.tokens import MacPurpose, Ring, is_ref, key_id, new_ref, ref_time

OLD, NEW = "old-secret-" + "0" * 16, "new-secret-" + "1" * 16
RING = Ring([NEW, OLD])
NOW = 1_767_000_000_000
REF = new_ref(NOW, bytes(10))


@pytest.mark.parametrize(("signed", "used"), list(permutations(MacPurpose, 2)))
def test_a_mac_of_one_purpose_serves_no_other(signed: MacPurpose, used: MacPurpose) -> None:
    assert RING.verify(signed, "payload", RING.sign(signed, "payload"))
    assert not RING.verify(used, "payload", RING.sign(signed, "payload"))


def test_purpose_and_payload_do_not_run_into_each_other() -> None:
    """The parts are length-prefixed: moving a letter across their border makes another MAC."""
    assert not RING.verify(MacPurpose.CALLBACK, "1payload", RING.sign(MacPurpose.CALLBACK, "payload"))
    macs = {RING.sign(purpose, text) for purpose in MacPurpose for text in ("", "/1", "1", "callback/1")}
    assert len(macs) == 4 * len(MacPurpose)


def test_the_first_key_signs_and_all_verify() -> None:
    assert RING.token(REF) == Ring([NEW]).token(REF) != Ring([OLD]).token(REF)
    assert RING.open(Ring([OLD]).token(REF)) == RING.open(RING.token(REF)) == REF
    assert Ring([NEW]).open(Ring([OLD]).token(REF)) is None, "a removed key opens nothing"


@pytest.mark.parametrize(
    "spoil",
    [
        lambda it: it[:-1],
        lambda it: it + "A",
        lambda it: it + "=",
        lambda it: it[:-1] + ("A" if it[-1] != "A" else "B"),
        lambda it: it.upper(),
        lambda it: it.replace(".", ""),
        lambda it: it.replace(".", "..", 1),
        lambda it: " " + it,
        lambda it: it + "\n",
        lambda it: it.replace("-", ""),
        lambda it: it.rpartition(".")[0] + ".",
        lambda it: "." + it.rpartition(".")[2],
        lambda it: it.replace("0", "1", 1),
        lambda it: it + "\ud800",
        lambda it: "",
    ],
)
def test_a_token_has_one_spelling(spoil: Callable[[str], str]) -> None:
    """Base64 without slack bits, lower-case hex: nothing but the very text opens."""
    token = RING.token(REF)
    assert RING.open(token) == REF
    assert RING.open(spoil(token)) is None


@given(st.text())
def test_no_text_from_outside_opens_or_raises(text: str) -> None:
    assert RING.open(text) is None
    assert RING.open(f"{REF}.{text}") is None


def test_a_mac_has_192_bits_without_padding() -> None:
    mac = RING.sign(MacPurpose.CALLBACK, REF)
    assert len(mac) == 32
    assert set(mac) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


def test_a_token_minted_elsewhere_with_the_key_is_ours() -> None:
    """The recipe that the README gives for other languages, spelled out once more."""
    message = b"\x00\x00\x00\x0acallback/1" + b"\x00\x00\x00\x24" + REF.encode()
    mac = base64.urlsafe_b64encode(hmac.new(OLD.encode(), message, hashlib.sha256).digest()[:24]).decode()
    assert RING.open(f"{REF}.{mac}") == REF


@pytest.mark.parametrize("keys", [[], ["short"], [NEW, "short"]])
def test_a_ring_needs_keys_worth_the_name(keys: list[str]) -> None:
    with pytest.raises(ValueError, match="16 characters"):
        Ring(keys)


def test_neither_the_ring_nor_a_keys_name_tells_a_key() -> None:
    assert RING.ids == [key_id(NEW), key_id(OLD)]
    assert all(len(it) == 8 and it not in NEW + OLD for it in RING.ids)
    assert "secret" not in repr(RING)


@given(st.integers(0, (1 << 48) - 1), st.binary(min_size=10, max_size=10))
def test_a_ref_is_a_uuid7_that_tells_its_time(now: int, randomness: bytes) -> None:
    ref = new_ref(now, randomness)
    assert is_ref(ref)
    assert ref_time(ref) == now


def test_refs_sort_by_their_time() -> None:
    assert [ref_time(it) for it in sorted(new_ref(NOW + n) for n in (2, 0, 1))] == [NOW, NOW + 1, NOW + 2]


@pytest.mark.parametrize(
    "text", ["", REF.upper(), REF[:-1], REF + "0", REF.replace("-7", "-4", 1), f" {REF}", f"{REF}\n"]
)
def test_only_the_canonical_spelling_is_a_ref(text: str) -> None:
    assert not is_ref(text)
