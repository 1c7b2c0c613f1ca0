"""What a browser holds of a login: the session in its cookie, and the token in each form. Pure.

A cookie's value is `1.EXPIRY.ID.MAC`. The MAC covers the epoch too, which is not in the cookie: what changes it (a new
password, `Log out everywhere`) ends every session at once. A form's token, `TIME.NONCE.MAC`, belongs to a session.
"""

import base64
import re
from collections.abc import Iterable, Sequence
from urllib.parse import urlsplit

from msgspec import Struct

from receiver.tokens import MacPurpose, Ring

_DAY_MS = 86_400_000
LIFE_MS = 30 * _DAY_MS
RENEW_AFTER_MS = _DAY_MS
FORM_LIFE_MS = _DAY_MS // 2
_AHEAD_MS = _DAY_MS  # the clock may have been set back since

_NAME = "receiver_session"
_COOKIES_MOST = 4  # of our name: another service on this host may have set one
_VALUE = re.compile(r"1\.([0-9]{1,15})\.([A-Za-z0-9_-]{22})\.([A-Za-z0-9_-]{32})")
_FORM_TOKEN = re.compile(r"([0-9]{1,15})\.([A-Za-z0-9_-]{11})\.([A-Za-z0-9_-]{32})")
_DEFAULT_PORTS = {"http": 80, "https": 443}
ID_BYTES, NONCE_BYTES = 16, 8


class Session(Struct, frozen=True):
    """A login in one browser. `expires_at` is in milliseconds; a renewed session keeps its id, and so its forms."""

    id: str
    expires_at: int


def new_session(now: int, randomness: bytes) -> Session:
    """A session that begins now; `randomness` is `ID_BYTES` long."""
    return Session(_to_text(randomness), now + LIFE_MS)


def is_due_for_renewal(session: Session, now: int) -> bool:
    """Whether it began more than a day ago."""
    return session.expires_at - now < LIFE_MS - RENEW_AFTER_MS


def seal_session(ring: Ring, session: Session, epoch: str) -> str:
    """The value of its cookie."""
    mac = ring.sign(MacPurpose.SESSION, _session_payload(str(session.expires_at), session.id, epoch))
    return f"1.{session.expires_at}.{session.id}.{mac}"


def open_session(ring: Ring, values: Iterable[str], epoch: str, now: int) -> Session | None:
    """The first session in these values that we made in this epoch, and that has not ended."""
    for value in values:
        found = _VALUE.fullmatch(value)
        if found is None or not ring.verify(MacPurpose.SESSION, _session_payload(found[1], found[2], epoch), found[3]):
            continue
        if now < int(found[1]) <= now + LIFE_MS + _AHEAD_MS:
            return Session(found[2], int(found[1]))
    return None


def make_form_token(ring: Ring, session: Session, now: int, randomness: bytes) -> str:
    """A token for one form of this session; `randomness` is `NONCE_BYTES` long."""
    nonce = _to_text(randomness)
    return f"{now}.{nonce}.{ring.sign(MacPurpose.FORM, _form_payload(session, str(now), nonce))}"


def form_age(ring: Ring, session: Session, token: str, now: int) -> int | None:
    """How long ago, in milliseconds, the token was made; None if we did not make it for this session."""
    found = _FORM_TOKEN.fullmatch(token)
    if found is None or not ring.verify(MacPurpose.FORM, _form_payload(session, found[1], found[2]), found[3]):
        return None
    return now - int(found[1])


def is_form_age_good(age: int) -> bool:
    """Whether a form of this age may still be sent."""
    return -_AHEAD_MS <= age <= FORM_LIFE_MS


def cookie_name(*, secure: bool) -> str:
    """Over https a browser keeps a cookie of this name only from this very host, by https, for all of its paths."""
    return f"__Host-{_NAME}" if secure else _NAME


def find_cookies(headers: Iterable[tuple[bytes, bytes]], name: str) -> list[str]:
    """The values of the cookies of this name, four at most."""
    wanted = name.encode()
    pieces = (piece.partition(b"=") for key, line in headers if key == b"cookie" for piece in line.split(b";"))
    values = [value.strip() for key, _, value in pieces if key.strip() == wanted]
    return [it.decode("latin-1") for it in values[:_COOKIES_MOST]]


def write_cookie(value: str, life_ms: int, *, secure: bool) -> str:
    """The value of a Set-Cookie header. Without a life the browser deletes the cookie."""
    ends = f"; Max-Age={life_ms // 1000}"
    return f"{cookie_name(secure=secure)}={value}; Path=/{ends}; HttpOnly; SameSite=Lax{'; Secure' if secure else ''}"


class Place(Struct, frozen=True):
    """Where a browser thinks that it is: the Host that its request names, and whether it came by https."""

    host: str
    secure: bool


def find_place(
    scheme: str, headers: Sequence[tuple[bytes, bytes]], public_url: str, *, from_proxy: bool = False
) -> Place:
    """The place of a request that reached us by `scheme`.

    A proxy in front of us ends https: one that is trusted says so, and the host of an https PUBLIC_URL is served by it.
    """
    host = _first(headers, b"host").lower()
    public = urlsplit(public_url)
    secure = scheme == "https" or (public.scheme == "https" and _is_host(host, public.hostname or "", public.port))
    if from_proxy and (forwarded := _first(headers, b"x-forwarded-proto")):
        secure = forwarded.rpartition(",")[2].strip().lower() == "https"
    return Place(host, secure)


def is_from_us(place: Place, headers: Sequence[tuple[bytes, bytes]], public_url: str) -> bool:
    """Whether a form was sent from one of our own pages, as far as the browser says.

    `Sec-Fetch-Site` decides, which no page can change; a browser sends it by https and on loopback only. Else it is the
    `Origin`. A program that sends neither has no cookies of anybody else.
    """
    site, origin = _first(headers, b"sec-fetch-site"), _first(headers, b"origin")
    if site:
        return site in ("same-origin", "none")
    if not origin:
        return True
    given = _parse_origin(origin)
    ours = _parse_origin(f"{'https' if place.secure else 'http'}://{place.host}")
    return given is not None and given in (ours, _parse_origin(public_url))


def _session_payload(expires_at: str, session_id: str, epoch: str) -> str:
    return f"{expires_at}.{session_id}.{epoch}"


def _form_payload(session: Session, made_at: str, nonce: str) -> str:
    return f"{session.id}.{made_at}.{nonce}"


def _to_text(randomness: bytes) -> str:
    return base64.urlsafe_b64encode(randomness).rstrip(b"=").decode()


def _first(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> str:
    return next((value.decode("latin-1").strip() for key, value in headers if key == name), "")


def _is_host(given: str, name: str, port: int | None) -> bool:
    """Whether a Host header names this host. Some proxies leave the port out."""
    found = _parse_origin(f"https://{given}")
    if found is None:
        return False
    return found[1] == name and (found[2] == (port or 443) or not re.search(r":[0-9]+\Z", given))


def _parse_origin(text: str) -> tuple[str, str, int] | None:
    """Scheme, host and port of a URL; None if it has none."""
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        return None
    if parts.scheme not in _DEFAULT_PORTS or not parts.hostname:
        return None
    return parts.scheme, parts.hostname, port or _DEFAULT_PORTS[parts.scheme]
