"""Hashes the password of the pages with Argon2id, and checks one against its hash.

The parameters are those that OWASP names as the least (19 MiB, two passes): some 70 ms on a small server. Both block,
so the service calls them in a thread.
"""

import re
import unicodedata

LEAST = 8  # characters
MOST = 1_024
_MEMORY_KIB, _PASSES, _LANES = 19_456, 2, 1
_MEMORY_MOST_KIB, _PASSES_MOST, _LANES_MOST = 262_144, 16, 16
_HASH = (
    r"\$argon2(?:id|i)\$v=19\$m=([0-9]{1,6}),t=([0-9]{1,2}),p=([0-9]{1,2})\$[A-Za-z0-9+/]{11,86}\$[A-Za-z0-9+/]{22,171}"
)


def hash_password(password: str) -> str:
    """The hash of a password, as text: `$argon2id$…`."""
    from argon2 import PasswordHasher  # only here and for a login

    hasher = PasswordHasher(time_cost=_PASSES, memory_cost=_MEMORY_KIB, parallelism=_LANES)
    return hasher.hash(_as_typed(password))


def verify_password(password_hash: str, password: str) -> bool:
    """Whether `password` has this hash; False also if it is not one that `is_password_hash` accepts."""
    from argon2 import PasswordHasher
    from argon2.exceptions import InvalidHashError, VerificationError

    if len(password) > MOST or not is_password_hash(password_hash):
        return False
    try:
        return PasswordHasher().verify(password_hash, _as_typed(password))
    except (VerificationError, InvalidHashError):
        return False


def is_password_hash(text: str) -> bool:
    """Whether `text` is a hash that is cheap enough to check: at most 256 MiB."""
    found = re.fullmatch(_HASH, text)
    if found is None:
        return False
    memory, passes, lanes = map(int, found.groups())
    return 8 * lanes <= memory <= _MEMORY_MOST_KIB and 1 <= passes <= _PASSES_MOST and 1 <= lanes <= _LANES_MOST


def _as_typed(password: str) -> bytes:
    """One spelling for what looks the same: keyboards differ in how they write an é."""
    return unicodedata.normalize("NFC", password).encode("utf-8", "surrogatepass")
