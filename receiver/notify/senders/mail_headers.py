"""The headers of our mails, their plain part, and that no line of a head is longer than a mail server takes.

Apprise writes each header on one line: a subject of 150 Chinese letters makes 1,371 octets, and RFC 5322 allows 998.
It also makes up the Message-ID, so that a mail which is sent twice is shown twice, and makes the plain part from the
HTML, without the URLs of links.
"""

import contextlib
import re
from collections.abc import Iterator
from contextvars import ContextVar
from email.utils import make_msgid
from typing import Any

from receiver.core.types import Importance, Target
from receiver.notify.messages.message import Extras

LINE_MOST = 76  # characters of a line in a mail's head, where it can be broken
_DOMAIN = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){0,8}")
_NOWHERE = "receiver.invalid"
_LISTS = ("Cc", "Reply-To")

_MESSAGE_ID: ContextVar[str | None] = ContextVar("message_id", default=None)  # of this thread's mail
_PLAIN_PART: ContextVar[str] = ContextVar("plain_part", default="")  # likewise


@contextlib.contextmanager
def with_mail_headers(service: Any, target: Target, extras: Extras) -> Iterator[None]:
    """Sets the headers of one mail. Those of the target's own URL win, except the Message-ID."""
    _install()
    domain = _find_domain(service)
    ids = extras.mail
    before = service.headers
    service.headers = {**make_headers(target.name, extras, domain), **before}
    token = _MESSAGE_ID.set(f"<{ids.message}@{domain}>" if ids and ids.message else None)
    plain = _PLAIN_PART.set(extras.plain)
    try:
        yield
    finally:
        _PLAIN_PART.reset(plain)
        _MESSAGE_ID.reset(token)
        service.headers = before


def make_headers(target_name: str, extras: Extras, domain: str) -> dict[str, str]:
    """The headers that say what kind of mail it is, and to which thread it belongs."""
    headers = {
        "Auto-Submitted": "auto-generated",  # RFC 3834: no out-of-office reply, please
        "List-Id": f"{target_name} <{target_name.lower().replace('_', '-')}.receiver.{domain}>",  # RFC 2919
    }
    if extras.mail and extras.mail.thread:
        headers["References"] = f"<{extras.mail.thread}@{domain}>"
    if extras.asked and extras.importance in {Importance.HIGH, Importance.URGENT}:
        headers |= {"Importance": "high", "X-Priority": "1" if extras.importance is Importance.URGENT else "2"}
    elif extras.asked and extras.importance is Importance.LOW:
        headers |= {"Importance": "low", "X-Priority": "5"}
    return headers


def _find_domain(service: Any) -> str:
    """The sender's domain in ASCII."""
    domain = str(service.from_addr[1] or "").rpartition("@")[2] or str(service.host or "")
    with contextlib.suppress(UnicodeError):
        domain = domain.encode("idna").decode()
    return domain if _DOMAIN.fullmatch(domain) else _NOWHERE


def _own_msgid(idstring: str | None = None, domain: str | None = None) -> str:
    """The Message-ID of this thread's mail; a new one outside a mail of ours."""
    return _MESSAGE_ID.get() or make_msgid(idstring, domain)


def _prefer_own_plain(convert: Any) -> Any:
    """`convert`, which makes a mail's plain part, for mails that bring none of their own."""

    def own_plain(*given: Any, **named: Any) -> Any:
        return _PLAIN_PART.get() or convert(*given, **named)

    return own_plain


def _fold_head(kind: Any) -> Any:
    """A class of `email.mime` whose head is broken into lines."""

    def as_string(self: Any, unixfrom: bool = False, maxheaderlen: int = 0, policy: Any = None) -> str:
        for name in _LISTS:
            if name in self:  # Apprise joins the addresses by commas alone, where no line can be broken
                self.replace_header(name, re.sub(r",(?=\S)", ", ", str(self[name])))
        return str(kind.as_string(self, unixfrom, maxheaderlen or LINE_MOST, policy))

    return type(kind.__name__, (kind,), {"as_string": as_string, "folds_head": True})


def _install() -> None:
    """Make Apprise's mails such ones, once."""
    import apprise.plugins.email.base

    base: Any = apprise.plugins.email.base
    if not hasattr(base.MIMEText, "folds_head"):
        base.MIMEText, base.MIMEMultipart = _fold_head(base.MIMEText), _fold_head(base.MIMEMultipart)
        base.make_msgid = _own_msgid
        base.convert_between = _prefer_own_plain(base.convert_between)
