"""The frame of every page: who may see it, what its forms must carry, its headers, and what an error looks like.

A page that needs a login answers everybody else with a redirect to `/login`, whether or not what it shows exists. A
form is taken only with the token of its session, from a page of ours. A GET changes nothing.
"""

import gzip
import logging
import re
import secrets
from collections.abc import Awaitable, Callable, Sequence
from urllib.parse import parse_qsl, quote, urlencode

from markupsafe import Markup
from msgspec import Struct
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from receiver import __version__
from receiver.core.errors import RequestRefused, StoreError
from receiver.service.wiring import ServiceParts
from receiver.web.api.operations import read_body
from receiver.web.json_replies import retry_after
from receiver.web.pages.access.cookies import Session
from receiver.web.pages.access.sessions import FORM_TOO_OLD, FormRefused, FormTooOld, Sessions
from receiver.web.pages.look import render, static_path
from receiver.web.pages.sentences import as_sentence

FORM_MOST = 128 * 1024  # bytes; the longest prompt is 96 KB of them if it is all emoji
FIELDS_MOST = 400
QUERY_MOST = 400  # characters of one parameter
NEXT_MOST = 1_000  # characters of the address that a login leads back to
TOKEN_FIELD = "form_token"  # noqa: S105 - the name of a field
_PACKED_LEAST = 1000  # bytes

_NOT_OURS = "This form did not come from a page of this service, so nothing was done. Open the page, and send it again."
_UNREADABLE = "The database cannot be read just now. Reload in a minute; callbacks are still taken."
_UNWRITABLE = "The database takes nothing just now, so this was probably not done. Look in a minute, and send it again."

log = logging.getLogger(__name__)


class Form:
    """The fields of a form, in the order in which they came."""

    def __init__(self, fields: Sequence[tuple[str, str]] = ()) -> None:
        self.fields = tuple(fields)

    def one(self, name: str, default: str = "") -> str:
        """The first value of a field."""
        return next((value for key, value in self.fields if key == name), default)

    def all(self, name: str) -> list[str]:
        """All values of a field."""
        return [value for key, value in self.fields if key == name]


class PageRequest(Struct, frozen=True):
    """A request for a page. `session` is None on pages that need no login; `form` is that of a POST."""

    http: Request
    session: Session | None
    form: Form = Form()

    def query(self, name: str, default: str = "") -> str:
        """The first value of a query parameter, at most `QUERY_MOST` characters of it."""
        return next((value for key, value in self.http.query_params.multi_items() if key == name), default)[:QUERY_MOST]

    def path(self, name: str) -> str:
        """A part of the path."""
        return str(self.http.path_params[name])


class PageError(Exception):
    """An error that becomes a page: its status and title, what it says, and where to go from there."""

    def __init__(self, status: int, title: str, text: str, link: tuple[str, str] | None = ("/", "Gallery")) -> None:
        super().__init__(text)
        self.status = status
        self.title = title
        self.text = text
        self.link = link


class NavEntry(Struct, frozen=True):
    """A link to a page, and how many things wait there."""

    path: str
    word: str
    current: bool
    count: int = 0
    what: str = ""


class Nav(Struct, frozen=True):
    """The links at the top."""

    entries: tuple[NavEntry, ...]


class Badges(Struct, frozen=True):
    """The numbers at the top: notices that were given up, and what needs a person."""

    given_up: int = 0
    needs: int = 0


PageHandler = Callable[[PageRequest], Awaitable[Response]]
CountBadges = Callable[[bool], Awaitable[Badges]]  # whether they have to be counted now


class PageFrame:
    """Makes the routes of pages from their handlers, and the pages from their templates."""

    def __init__(self, parts: ServiceParts, sessions: Sessions, count_badges: CountBadges) -> None:
        self.parts = parts
        self.sessions = sessions
        self._count_badges = count_badges

    def get(self, path: str, handler: PageHandler) -> Route:
        """A page for whoever is logged in."""
        return Route(path, self._guard(handler, login=True), methods=["GET"])

    def post(self, path: str, handler: PageHandler) -> Route:
        """What the form of such a page does."""
        return Route(path, self._guard(handler, login=True), methods=["POST"])

    def public(self, path: str, handler: PageHandler, methods: Sequence[str] = ("GET",)) -> Route:
        """A page for everybody; the handler checks forms itself."""
        return Route(path, self._guard(handler, login=False), methods=list(methods))

    def everywhere(self, handler: PageHandler) -> Callable[[Request], Awaitable[Response]]:
        """A page for everybody, at any path and for any method."""
        return self._guard(handler, login=False)

    async def render(
        self, asked: PageRequest, template: str, status: int = 200, *, title: str, page: str = "", **values: object
    ) -> Response:
        """The page that a template makes. `page` is the entry at the top that it belongs to."""
        session = asked.session
        html = render(
            template,
            title=title,
            nav=await self._nav(page, fresh="done" in asked.http.query_params) if session is not None else None,
            static=static_path,
            version=__version__,
            now=self.parts.clock(),
            csrf=lambda: self._hidden_token(session),
            **values,
        )
        return page_response(html, status, packed="gzip" in asked.http.headers.get("accept-encoding", ""))

    def piece(self, asked: PageRequest, template: str, **values: object) -> Response:
        """A piece of a page, for the script."""
        session = asked.session
        html = render(template, now=self.parts.clock(), csrf=lambda: self._hidden_token(session), **values)
        return page_response(html, packed="gzip" in asked.http.headers.get("accept-encoding", ""))

    async def show_error(self, asked: PageRequest, error: PageError) -> Response:
        """The page of an error."""
        return await self.render(
            asked, "message.html", error.status, title=error.title, text=error.text, link=error.link
        )

    async def _nav(self, page: str, *, fresh: bool) -> Nav:
        try:
            badges = await self._count_badges(fresh)
        except StoreError:
            badges = Badges()
        except Exception as error:
            log.error("the numbers at the top cannot be counted", exc_info=error, extra={"action": "page"})
            badges = Badges()
        entries = (
            ("gallery", "/", "Gallery", 0, ""),
            ("callbacks", "/callbacks", "Callbacks", 0, ""),
            ("notices", "/notices", "Notices", badges.given_up, "given up"),
            ("status", "/status", "Status", badges.needs, "need you" if badges.needs > 1 else "needs you"),
        )
        return Nav(tuple(NavEntry(path, word, name == page, count, what) for name, path, word, count, what in entries))

    def _hidden_token(self, session: Session | None) -> Markup:
        token = "" if session is None else self.sessions.form_token(session)
        return Markup('<input type="hidden" name="{}" value="{}">').format(TOKEN_FIELD, token)

    def _guard(self, handler: PageHandler, *, login: bool) -> Callable[[Request], Awaitable[Response]]:
        async def answer(http: Request) -> Response:
            try:
                session = await self.sessions.open(http)
            except StoreError as error:
                return await self._show_exception(PageRequest(http, None), error)
            if session is None and login:
                return redirect(_login_path(http))
            asked = PageRequest(http, session)
            try:
                if session is not None and login and http.method == "POST":
                    asked = PageRequest(http, session, await self._read_form(http, session))
                answered = await handler(asked)
            except Exception as error:
                answered = await self._show_exception(asked, error)
            renewed = None if session is None else self.sessions.renewal(http, session)
            if self.sessions.is_secure(http):
                answered.headers.update(_SECURE_HEADERS)
            if renewed is not None and "set-cookie" not in answered.headers:
                answered.headers["set-cookie"] = renewed
            return answered

        return answer

    async def _read_form(self, http: Request, session: Session) -> Form:
        form = await read_form(http, self.parts.body_timeout_s)
        try:
            self.sessions.check_form(http, session, form.one(TOKEN_FIELD))
        except FormTooOld:
            raise PageError(403, "Send it again", FORM_TOO_OLD, _back_link(http)) from None
        except FormRefused:
            raise PageError(403, "Nothing was done", _NOT_OURS, _back_link(http)) from None
        return form

    async def _show_exception(self, asked: PageRequest, error: Exception) -> Response:
        match error:
            case PageError():
                return await self.show_error(asked, error)
            case RequestRefused(status=404):
                return await self.show_error(asked, PageError(404, "There is nothing here", as_sentence(str(error))))
            case RequestRefused():
                return await self.show_error(
                    asked, PageError(error.status, "That did not work", as_sentence(str(error)))
                )
            case HTTPException():
                return await self.show_error(asked, PageError(error.status_code, "That did not work", error.detail))
            case StoreError():
                text, link = (_UNWRITABLE, _back_link(asked.http)) if asked.form.fields else (_UNREADABLE, None)
                answered = await self.show_error(asked, PageError(503, "Not just now", text, link))
                answered.headers["retry-after"] = retry_after(error)
                return answered
            case _:
                number = secrets.token_hex(2)
                log.error("a page failed (%s)", number, exc_info=error, extra={"action": "page"})
                text = f"Something broke here. It is in the log, with {number}."
                return await self.show_error(asked, PageError(500, "That broke", text))


async def read_form(http: Request, timeout_s: float, most: int = FORM_MOST) -> Form:
    """The fields of a posted form of at most `most` bytes, at most `FIELDS_MOST`. Raises RequestRefused."""
    body = await read_body(http, timeout_s, most)
    try:
        fields = parse_qsl(body.decode("ascii"), keep_blank_values=True, max_num_fields=FIELDS_MOST, errors="replace")
    except ValueError:
        raise RequestRefused(422, "invalid_form", "this is not a form that a page of ours sends") from None
    return Form([(name, value.replace("\r\n", "\n").replace("\0", "")) for name, value in fields])


def page_response(html: str, status: int = 200, *, packed: bool = False) -> Response:
    """`html` with the headers of a page: it is never cached, since it shows a state, and loads only our own files."""
    content = html.encode("utf-8", "replace")
    headers = dict(HEADERS)
    if packed and len(content) >= _PACKED_LEAST:
        content = gzip.compress(content, 5, mtime=0)
        headers |= {"Content-Encoding": "gzip"}
    return HTMLResponse(content, status, headers)


HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; "
    "object-src 'none'",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Referrer-Policy": "same-origin",
    "Vary": "Accept-Encoding, Cookie",
    "X-Content-Type-Options": "nosniff",
}
_SECURE_HEADERS = {
    "Cross-Origin-Opener-Policy": "same-origin",  # browsers ignore it elsewhere, and complain
    "Strict-Transport-Security": "max-age=31536000",
}


_SAFE = "/?#%&=+:;,@!$*'()[]~"  # characters that have a meaning in an address, or are as good as letters there


def redirect(path: str) -> Response:
    """A redirect to a path of ours, which the browser then GETs."""
    return Response(status_code=303, headers={"Location": quote(path, safe=_SAFE), "Cache-Control": "no-store"})


_FORM_PATH = re.compile(r"(/(?:tasks|batches)/[^/?#]+|/notices)/.*")


def _login_path(http: Request) -> str:
    path = http.url.path + (f"?{http.url.query}" if http.url.query else "")
    if http.method != "GET":
        path = _form_page(http)
    return "/login" if path == "/" or len(path) > NEXT_MOST else f"/login?{urlencode({'next': path})}"


def _form_page(http: Request) -> str:
    """The page of a form that came without a session: the referrer, or what its own path says."""
    referrer, _ = _back_link(http)
    path = http.url.path if referrer == "/" else referrer
    if (found := _FORM_PATH.fullmatch(path)) is not None:
        return found[1]
    return path if referrer != "/" or path == "/new" else "/"


def _back_link(http: Request) -> tuple[str, str]:
    """To the page of the form: the path of the referrer, if it is ours."""
    parts = http.headers.get("referer", "").split("/", 3)
    own = len(parts) == 4 and parts[2] == http.headers.get("host") and not parts[3].startswith(("/", "\\"))
    return (f"/{parts[3]}" if own else "/", "Back to the page" if own else "Gallery")
