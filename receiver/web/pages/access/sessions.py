"""Who is logged in to the pages: logs in and out, opens the session of a request, and checks what a form sends.

There are no rows of sessions: a cookie carries its own MAC. Each page reads the password's hash anew, so that a new
password counts at once, without a restart.
"""

import asyncio
import hashlib
import hmac
import logging
import os
from collections.abc import Sequence

from msgspec import Struct
from starlette.requests import Request

from receiver.core.errors import SettingsError
from receiver.service.wiring import ServiceParts
from receiver.web.http.client_address import is_from_proxy, peer_address
from receiver.web.pages.access import cookies as session_cookies
from receiver.web.pages.access.cookies import ID_BYTES, LIFE_MS, NONCE_BYTES, Place, Session
from receiver.web.pages.access.throttle import LOOPBACK, LoginThrottle

FORM_TOO_OLD = "This page was open too long. Nothing was sent; send it again."
SECRET_MOST = 1_024  # characters

log = logging.getLogger(__name__)


class FormRefused(Exception):
    """A form did not come from one of our pages, or not from this session. Nothing may be done."""


class FormTooOld(FormRefused):
    """A form of ours that was open for more than 12 hours. Nothing may be done."""


class LoginResult(Struct, frozen=True):
    """What became of a try to log in. If `cookie` is set, it is the value of a Set-Cookie header, and all is well.

    Else, if the secret was `looked_at`, it was wrong. `tries_left` come before the next wait; if there is a wait now,
    the next try may come in `wait_s` seconds. Or the password is `unreadable` on the server.
    """

    cookie: str = ""
    looked_at: bool = False
    tries_left: int = 0
    wait_s: int = 0
    unreadable: bool = False


class Sessions:
    """The sessions of one service."""

    def __init__(self, parts: ServiceParts) -> None:
        self._ring = parts.ring
        self._clock = parts.clock
        self._store = parts.store
        self._password_hash = parts.password_hash
        self._api_tokens = parts.api_tokens
        self._public_url = parts.public_url
        self._proxies = parts.trusted_proxies
        self._generation: str | None = None
        self._throttle = LoginThrottle()
        self._hashing = asyncio.Lock()

    async def open(self, request: Request) -> Session | None:
        """The session of a request; None if nobody is logged in there. Raises StoreError."""
        values = self._find_cookies(request)
        epoch = await self._load_epoch() if values else None
        return None if epoch is None else session_cookies.open_session(self._ring, values, epoch, self._clock())

    def had_session(self, request: Request) -> bool:
        """Whether a request carries a cookie of ours at all, even if its session has ended."""
        return bool(self._find_cookies(request))

    def renewal(self, request: Request, session: Session) -> str | None:
        """The Set-Cookie value that makes an open session last 30 days from now; None if it began within a day."""
        now, epoch = self._clock(), self._read_epoch()
        if epoch is None or not session_cookies.is_due_for_renewal(session, now):
            return None
        if session_cookies.open_session(self._ring, self._find_cookies(request), epoch, now) != session:
            return None  # it was ended while the page was made
        return self._write_cookie(request, Session(session.id, now + LIFE_MS), epoch)

    def form_token(self, session: Session) -> str:
        """What a form of this session carries; it differs each time."""
        return session_cookies.make_form_token(self._ring, session, self._clock(), os.urandom(NONCE_BYTES))

    def check_form(self, request: Request, session: Session, form_token: str) -> None:
        """Check the POST of a form. Raises FormTooOld, or FormRefused if it is not ours."""
        self.check_origin(request)
        age = session_cookies.form_age(self._ring, session, form_token, self._clock())
        if age is None:
            raise FormRefused("the form's token is missing, or belongs to another session")
        if not session_cookies.is_form_age_good(age):
            raise FormTooOld("the form was open for more than 12 hours")

    def check_origin(self, request: Request) -> None:
        """Check that a POST comes from one of our own pages. Raises FormRefused."""
        if not session_cookies.is_from_us(self._place(request), request.scope["headers"], self._public_url):
            raise FormRefused("the form was sent from another site")

    def is_secure(self, request: Request) -> bool:
        """Whether the browser reached this page by https."""
        return self._place(request).secure

    def has_password(self) -> bool:
        """Whether a password is set, readable or not. Without one, the login takes an API token."""
        try:
            return self._password_hash() is not None
        except SettingsError:
            return True

    async def log_in(self, request: Request, secret: str) -> LoginResult:
        """Try to log in with the password, or with an API token if none is set. Raises StoreError."""
        address, now = self._address(request), self._clock()
        if wait_s := self._throttle.begin(address, now):
            return LoginResult(wait_s=wait_s)
        try:
            right = await self._is_right(secret)
        except SettingsError as error:
            self._throttle.forgive(address)
            log.warning("%s", error, extra={"action": "login.password"})
            return LoginResult(unreadable=True)
        finally:
            self._throttle.end()
        if not right:
            extra = {"action": "login.refused", "peer": address}
            log.warning("refused a login with a wrong password from %s", address, extra=extra)
            left, wait_s = self._throttle.tries_left(address), self._throttle.wait_s(address, now)
            return LoginResult(looked_at=True, tries_left=left, wait_s=wait_s)
        self._throttle.forget(address)
        return LoginResult(cookie=await self.begin(request))

    def log_out(self, request: Request) -> str:
        """The Set-Cookie value that ends the session in this browser."""
        return session_cookies.write_cookie("", 0, secure=self.is_secure(request))

    async def log_out_everywhere(self) -> None:
        """End every session. Raises StoreError."""
        generation = os.urandom(8).hex()
        async with self._store.write() as tx:
            await tx.sessions.begin_generation(generation, self._clock())
        self._generation = generation

    async def begin(self, request: Request) -> str:
        """The Set-Cookie value of a new session, whoever asks. Raises StoreError, and SettingsError if unreadable."""
        epoch = await self._load_epoch()
        if epoch is None:
            raise SettingsError("the password of the pages cannot be read")
        session = session_cookies.new_session(self._clock(), os.urandom(ID_BYTES))
        return self._write_cookie(request, session, epoch)

    def _find_cookies(self, request: Request) -> list[str]:
        name = session_cookies.cookie_name(secure=self.is_secure(request))
        return session_cookies.find_cookies(request.scope["headers"], name)

    def _write_cookie(self, request: Request, session: Session, epoch: str) -> str:
        value = session_cookies.seal_session(self._ring, session, epoch)
        return session_cookies.write_cookie(value, LIFE_MS, secure=self.is_secure(request))

    async def _load_epoch(self) -> str | None:
        if self._generation is None or self._store.shared:  # another process may have ended all sessions
            self._generation = await self._store.sessions.generation()
        return self._read_epoch()

    def _read_epoch(self) -> str | None:
        """What all sessions share: the generation, and the secret that one logs in with. None: it cannot be read."""
        try:
            password = self._password_hash()
        except SettingsError:
            return None
        secret = f"tokens {' '.join(self._api_tokens)}" if password is None else f"password {password}"
        return None if self._generation is None else f"{self._generation}.{hashlib.sha256(secret.encode()).hexdigest()}"

    async def _is_right(self, secret: str) -> bool:
        """Whether this is the password; one at a time, in a thread."""
        password = self._password_hash()
        if password is None:
            return _is_token(secret.strip(), self._api_tokens)
        if len(secret) > SECRET_MOST:
            return False

        def check() -> bool:
            from receiver.passwords import verify_password  # only for a login

            return verify_password(password, secret)

        async with self._hashing:
            return await asyncio.to_thread(check)

    def _place(self, request: Request) -> Place:
        scope = request.scope
        from_proxy = is_from_proxy(scope, self._proxies)
        return session_cookies.find_place(scope["scheme"], scope["headers"], self._public_url, from_proxy=from_proxy)

    def _address(self, request: Request) -> str:
        """Whose tries are counted together. What connects from this machine is a proxy, or may try anything anyway."""
        return peer_address(request.scope, (*self._proxies, *LOOPBACK))


def _is_token(secret: str, tokens: Sequence[str]) -> bool:
    given, good = secret.encode("utf-8", "replace"), False
    for token in tokens:  # all of them, each in constant time
        good |= hmac.compare_digest(token.encode(), given)
    return good
