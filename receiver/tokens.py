"""Signs callback URLs, links and sessions with a MAC, and verifies them.

Each MAC covers a purpose with its version (`callback/1`) and a length-prefixed payload, so that no MAC is valid for
another purpose. Keys rotate: the first of the ring signs, all of them verify. Pure: no clock, no database.

A callback token is `REF.MAC`: the task's ref as text, and the first 192 bits of HMAC-SHA256 in base64url. Anyone with
the key can compute it, so a URL can be minted offline (README, "Your own submitter").
"""

import base64
import hashlib
import hmac
import os
import re
from collections.abc import Sequence
from enum import StrEnum

_NUMBER_DIGITS = 4  # of a picture
_MAC_BYTES = 24  # 192 bits: no base64 padding, so a MAC has only one spelling
REF_PATTERN = "[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
_UUID7 = re.compile(REF_PATTERN)


class MacPurpose(StrEnum):
    """The only use that a MAC is valid for."""

    CALLBACK = "callback/1"
    IMAGE = "image/1"
    SHARE = "share/1"
    PICK = "pick/1"
    SESSION = "session/1"
    FORM = "form/1"
    DOCTOR = "doctor/1"


def new_ref(now: int, randomness: bytes | None = None) -> str:
    """A UUIDv7 (RFC 9562) for `now` in milliseconds; sorts by time. `randomness` is 10 bytes, for tests."""
    tail = bytearray(randomness if randomness is not None else os.urandom(10))
    tail[0] = tail[0] & 0x0F | 0x70  # version 7
    tail[2] = tail[2] & 0x3F | 0x80  # variant 10
    text = (now.to_bytes(6, "big") + tail).hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def ref_time(ref: str) -> int:
    """When a ref was made, in milliseconds."""
    return int(ref[:8] + ref[9:13], 16)


def is_ref(text: str) -> bool:
    """Whether `text` is a ref in its one canonical spelling."""
    return _UUID7.fullmatch(text) is not None


def key_id(key: str) -> str:
    """Eight hex digits that name a key without revealing it."""
    return hashlib.sha256(b"key-id/1" + key.encode()).hexdigest()[:8]


class Ring:
    """The secret keys. `keys[0]` signs; all verify. Raises ValueError if there is none, or one under 16 characters."""

    def __init__(self, keys: Sequence[str]) -> None:
        if not keys or any(len(key) < 16 for key in keys):
            raise ValueError("a secret key must have at least 16 characters; `openssl rand -hex 32` makes one")
        # One started HMAC for each key and purpose: copying it costs a third of starting a new one.
        self._begun = [{purpose: _start_mac(key, purpose) for purpose in MacPurpose} for key in keys]
        self.ids = [key_id(key) for key in keys]

    def __repr__(self) -> str:
        return f"Ring({', '.join(self.ids)})"

    def sign(self, purpose: MacPurpose, payload: str) -> str:
        """The MAC of `payload` for `purpose`, base64url, 32 characters."""
        return _compute_mac(self._begun[0][purpose], payload)

    def verify(self, purpose: MacPurpose, payload: str, mac: str) -> bool:
        """Whether one of the keys made `mac`. Every key is tried, in constant time."""
        given = mac.encode("utf-8", "replace")
        good = False
        for begun in self._begun:
            good |= hmac.compare_digest(_compute_mac(begun[purpose], payload).encode(), given)
        return good

    def token(self, ref: str) -> str:
        """The last path segment of the callback URL of the task `ref`."""
        return f"{ref}.{self.sign(MacPurpose.CALLBACK, ref)}"

    def open(self, token: str) -> str | None:
        """The ref that a token was made for; None if it is malformed or not signed with one of the keys."""
        ref, _, mac = token.partition(".")
        if not is_ref(ref) or not self.verify(MacPurpose.CALLBACK, ref, mac):
            return None
        return ref

    def pick_token(self, ref: str, image_no: int) -> str:
        """The last path segment of the link with which a person picks this picture of the task `ref`."""
        picked = f"{ref}.{image_no}"
        return f"{picked}.{self.sign(MacPurpose.PICK, picked)}"

    def open_pick(self, token: str) -> tuple[str, int] | None:
        """The task and the picture that a link was made for; None if it is malformed or not signed by us."""
        picked, _, mac = token.rpartition(".")
        ref, _, number = picked.partition(".")
        well_formed = is_ref(ref) and number.isascii() and number.isdigit() and len(number) <= _NUMBER_DIGITS
        if not well_formed or not self.verify(MacPurpose.PICK, picked, mac):
            return None
        return ref, int(number)


def _start_mac(key: str, purpose: MacPurpose) -> hmac.HMAC:
    return hmac.new(key.encode(), _length_prefixed(purpose.value), "sha256")


def _compute_mac(begun: hmac.HMAC, payload: str) -> str:
    mac = begun.copy()
    mac.update(_length_prefixed(payload))
    return base64.urlsafe_b64encode(mac.digest()[:_MAC_BYTES]).decode()


def _length_prefixed(part: str) -> bytes:
    encoded = part.encode()
    return len(encoded).to_bytes(4, "big") + encoded
