"""What a service answers, bounded: Apprise reads it whole, and an answer without an end would fill the memory of all.

Apprise sends through requests, which makes a session for each call; `bound` has these take `BoundedAdapter`.
"""

import time
from typing import Any

import requests
from requests.adapters import HTTPAdapter

ANSWER_MOST = 256 * 1024  # bytes, unpacked: no service has more to say about one message
ANSWER_MOST_S = 20.0  # within which it is read
_PIECE = 4096  # bytes: an answer that drips is looked at after each


class BoundedAdapter(HTTPAdapter):
    """Reads at most `ANSWER_MOST` bytes of an answer, for at most `ANSWER_MOST_S`; what is beyond is left unread."""

    def send(self, *args: Any, **named: Any) -> requests.Response:
        """As requests does, but with the body already read."""
        until = time.monotonic() + ANSWER_MOST_S
        response = super().send(*args, **{**named, "stream": True})
        body = bytearray()
        try:
            while len(body) < ANSWER_MOST and time.monotonic() < until:
                piece = response.raw.read1(_PIECE, decode_content=True)
                if not piece:
                    break
                body += piece
        except Exception as error:  # the connection's, or what it sent cannot be unpacked
            raise requests.ConnectionError(
                f"the answer broke off: {type(error).__name__}", request=response.request
            ) from None
        finally:
            response.raw.close()
        response._content = bytes(body[:ANSWER_MOST])
        response._content_consumed = True
        return response


def bound() -> None:
    """Have every session that requests makes from now on read bounded answers; ours are Apprise's alone."""
    requests.sessions.HTTPAdapter = BoundedAdapter  # type: ignore[attr-defined]
