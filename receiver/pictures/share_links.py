"""Share links: with one, a stranger sees the pictures of one task until it ends. Pure.

A link is `PUBLIC_URL/s/TOKEN`; the token is `REF.UNTIL.PROMPT.MAC`: the task, the end in seconds, and 1 if its prompt
is shown too, else 0. There are no rows of shares, so a link cannot be taken back before its end.
"""

from msgspec import Struct

from receiver.tokens import MacPurpose, Ring, is_ref

SHARE_PREFIX = "/s/"
_UNTIL_DIGITS = 12
_TOKEN_MOST = 120  # characters


class Share(Struct, frozen=True):
    """What a link shows: the pictures of `ref` until this time (milliseconds), and its prompt if `with_prompt`."""

    ref: str
    until: int
    with_prompt: bool = False


def share_token(ring: Ring, share: Share) -> str:
    """The last path segment of a share link."""
    shared = f"{share.ref}.{share.until // 1000}.{int(share.with_prompt)}"
    return f"{shared}.{ring.sign(MacPurpose.SHARE, shared)}"


def open_share(ring: Ring, token: str, now: int) -> Share | None:
    """What a token shows; None if it is malformed, not signed by us, or has ended by `now` (milliseconds)."""
    shared, _, mac = token[:_TOKEN_MOST].rpartition(".")
    ref, until, prompt = (*shared.split("."), "", "")[:3]
    good = is_ref(ref) and until.isascii() and until.isdigit() and len(until) <= _UNTIL_DIGITS and prompt in ("0", "1")
    if not good or not ring.verify(MacPurpose.SHARE, shared, mac) or int(until) * 1000 <= now:
        return None
    return Share(ref, int(until) * 1000, prompt == "1")
