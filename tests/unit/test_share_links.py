"""Share links: what one shows is what was signed, until its end and not a second longer."""

import pytest
from msgspec.structs import replace

from kit.fakes import NOW
from receiver.pictures.share_links import Share, open_share, share_token
from receiver.tokens import MacPurpose, Ring, new_ref

RING = Ring(["a-secret-key-for-tests-0001"])
SHARE = Share(new_ref(NOW, b"0123456789"), NOW // 1000 * 1000 + 86_400_000, with_prompt=True)


@pytest.mark.parametrize("with_prompt", [True, False])
def test_a_token_says_what_was_shared(with_prompt: bool) -> None:
    share = replace(SHARE, with_prompt=with_prompt)

    assert open_share(RING, share_token(RING, share), NOW) == share


def test_it_ends() -> None:
    token = share_token(RING, SHARE)

    assert open_share(RING, token, SHARE.until - 1) == SHARE
    assert open_share(RING, token, SHARE.until) is None


def test_it_outlives_a_change_of_keys_and_not_the_loss_of_its_own() -> None:
    token = share_token(RING, SHARE)

    assert open_share(Ring(["another-key-for-tests-0002", "a-secret-key-for-tests-0001"]), token, NOW) == SHARE
    assert open_share(Ring(["another-key-for-tests-0002"]), token, NOW) is None


def test_whatever_is_changed_in_it_makes_it_false() -> None:
    token = share_token(RING, SHARE)
    ref, until, prompt, mac = token.split(".")

    for changed in (
        f"{ref}.{int(until) + 86_400}.{prompt}.{mac}",
        f"{ref}.0{until}.{prompt}.{mac}",
        f"{ref}.{until}.0.{mac}",
        f"{new_ref(NOW, b'9876543210')}.{until}.{prompt}.{mac}",
        f"{ref}.{until}.{prompt}.{mac[:-1]}{'A' if mac[-1] != 'A' else 'B'}",
        f"{ref}.{until}.{prompt}.1.{mac}",
        f"{token}.",
        f".{token}",
        f"{token}{'A' * 200}",
        token[:-1],
    ):
        assert open_share(RING, changed, NOW) is None, changed


@pytest.mark.parametrize("token", ["", ".", "...", "....", "a.b.c.d", "\0", "é" * 300, f"{SHARE.ref}.1.1."])
def test_nonsense_is_no_link(token: str) -> None:
    assert open_share(RING, token, NOW) is None


@pytest.mark.parametrize(
    ("until", "prompt"), [("-1", "0"), ("9" * 13, "0"), ("٣", "0"), ("", "0"), ("9999999999", "2"), ("9999999999", "")]
)
def test_what_we_signed_in_another_shape_is_no_link(until: str, prompt: str) -> None:
    shared = f"{SHARE.ref}.{until}.{prompt}"

    assert open_share(RING, f"{shared}.{RING.sign(MacPurpose.SHARE, shared)}", NOW) is None


def test_a_mac_of_another_purpose_opens_no_share() -> None:
    shared = share_token(RING, SHARE).rpartition(".")[0]

    for purpose in set(MacPurpose) - {MacPurpose.SHARE}:
        assert open_share(RING, f"{shared}.{RING.sign(purpose, shared)}", NOW) is None
