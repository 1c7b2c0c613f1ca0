"""What the sessions of requests and smtplib do differently for us: any password, and no address is mailed twice.

Both take only some passwords: smtplib ASCII, requests Latin-1. RFC 4616 (SMTP) and RFC 7617 (HTTP) want UTF-8. Apprise
counts a mail as failed if one of its addresses (To, Cc, Bcc) is refused, and the next try would mail the others again.
"""

import smtplib
from collections.abc import Callable, Sequence
from typing import Any

import requests.auth

from receiver.notify.senders.delivered import DELIVERED

_auth = smtplib.SMTP.auth
_login = smtplib.SMTP.login
_sendmail = smtplib.SMTP.sendmail
_basic_auth = requests.auth._basic_auth_str


class _Utf8(str):
    """A text that is UTF-8 even if it is asked for ASCII, as smtplib does."""

    __slots__ = ()

    def encode(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
        return str.encode(self, "utf-8", errors)


def _login_utf8(self: smtplib.SMTP, user: str, password: str, **named: Any) -> Any:
    return _login(self, _Utf8(user), _Utf8(password), **named)


def _auth_utf8(self: smtplib.SMTP, mechanism: str, authobject: Callable[..., str | None], **named: Any) -> Any:
    def reply(*challenge: bytes) -> str | None:
        text = authobject(*challenge)
        return None if text is None else _Utf8(text)

    return _auth(self, mechanism, reply, **named)  # type: ignore[arg-type]


def _basic_auth_utf8(username: Any, password: Any) -> Any:
    return _basic_auth(*(it.encode() if isinstance(it, str) else it for it in (username, password)))


def _sendmail_once(
    self: smtplib.SMTP, from_addr: str, to_addrs: str | Sequence[str], msg: Any, *args: Any, **named: Any
) -> dict[str, tuple[int, bytes]]:
    """As in smtplib, without the addresses that took this message in an earlier try."""
    parts = DELIVERED.get()
    every = [to_addrs] if isinstance(to_addrs, str) else list(to_addrs)
    if parts is None:
        return _sendmail(self, from_addr, every, msg, *args, **named)
    slots = {address: (0, (tuple, repr(("address", address, sorted(every))))) for address in every}
    left = [address for address in slots if slots[address] not in parts]
    refused = _sendmail(self, from_addr, left, msg, *args, **named) if left else {}
    for address in left:
        if address not in refused:
            parts.add(slots[address])
    return refused


def install_sessions() -> None:
    """Make every session from now on such a one. Only Apprise uses them."""
    smtplib.SMTP.auth = _auth_utf8  # type: ignore[method-assign]
    smtplib.SMTP.login = _login_utf8  # type: ignore[method-assign]
    smtplib.SMTP.sendmail = _sendmail_once  # type: ignore[method-assign]
    requests.auth._basic_auth_str = _basic_auth_utf8
