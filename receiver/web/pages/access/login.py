"""`/login` and `/logout`: the one password of the pages, or an API token as long as none is set."""

import logging
import re
from urllib.parse import quote

from msgspec import Struct
from starlette.responses import Response
from starlette.routing import Route

from receiver.web.pages.access.sessions import FormRefused, LoginResult
from receiver.web.pages.page import NEXT_MOST, PageError, PageFrame, PageRequest, read_form, redirect

LOGIN_FORM_MOST = 16 * 1024  # bytes; it is taken from strangers, so it is no longer than the longest password needs
_OWN_PATH = re.compile(r"/(?![/\\])[\x21-\x5b\x5d-\x7e]*")  # printable ASCII without a backslash
_FROM_ELSEWHERE = "This form did not come from a page of this service, so nothing was done."
_LOGGED_OUT = {"out": "You are logged out.", "everywhere": "You are logged out, here and everywhere else."}
_ENDED = "You were logged out. Log in to go on."

log = logging.getLogger(__name__)


class _Told(Struct, frozen=True):
    """What became of a try: the status of the answer, what it says, and whether it is about what was typed."""

    status: int
    text: str
    about_field: bool = True


class LoginPages:
    """The pages with which one logs in and out."""

    def __init__(self, frame: PageFrame) -> None:
        self._frame = frame
        self._sessions = frame.sessions

    def routes(self) -> list[Route]:
        """The routes to them."""
        return [
            self._frame.public("/login", self.show_login),
            self._frame.public("/login", self.log_in, methods=("POST",)),
            self._frame.get("/logout", self.show_logout),
            self._frame.post("/logout", self.log_out),
        ]

    async def show_login(self, asked: PageRequest) -> Response:
        """Ask for the password; whoever is logged in goes on at once."""
        onward = own_path(asked.http.query_params.get("next", ""))  # not the cut one of `query`
        if asked.session is not None:
            return redirect(onward)
        line = _LOGGED_OUT.get(asked.query("done"), "")
        if not line and self._sessions.had_session(asked.http):
            line = _ENDED
        return await self._show(asked, onward, line=line)

    async def log_in(self, asked: PageRequest) -> Response:
        """Check the password, and go on to where the reader was going."""
        try:
            self._sessions.check_origin(asked.http)
        except FormRefused:
            raise PageError(403, "Nothing was done", _FROM_ELSEWHERE, ("/login", "Log in")) from None
        form = await read_form(asked.http, self._frame.parts.body_timeout_s, LOGIN_FORM_MOST)
        onward = own_path(form.one("next"))
        result = await self._sessions.log_in(asked.http, form.one("password"))
        if not result.cookie:
            told = describe_refusal(result, has_password=self._sessions.has_password())
            answer = await self._show(asked, onward, told=told)
            if result.wait_s:
                answer.headers["retry-after"] = str(result.wait_s)
            return answer
        answer = redirect(onward)
        answer.headers["set-cookie"] = result.cookie
        return answer

    async def show_logout(self, asked: PageRequest) -> Response:
        """Ask whether to log out here or everywhere."""
        return await self._frame.render(asked, "logout.html", title="Log out")

    async def log_out(self, asked: PageRequest) -> Response:
        """End this session's cookie, or all sessions."""
        everywhere = bool(asked.form.one("everywhere"))
        if everywhere:
            await self._sessions.log_out_everywhere()
            log.info("all sessions were ended", extra={"action": "logout.everywhere"})
        answer = redirect(f"/login?done={'everywhere' if everywhere else 'out'}")
        answer.headers["set-cookie"] = self._sessions.log_out(asked.http)
        return answer

    async def _show(self, asked: PageRequest, onward: str, *, line: str = "", told: _Told | None = None) -> Response:
        return await self._frame.render(
            asked,
            "login.html",
            told.status if told is not None else 200,
            title="Log in",
            onward=onward,
            action=f"/login?next={quote(onward, safe='')}" if onward != "/" else "/login",
            has_password=self._sessions.has_password(),
            line=line,
            told=told,
        )


def own_path(text: str) -> str:
    """`text` if it is the path of a page here, to which a browser may be sent after its login; else the gallery's.

    Browsers take a backslash for a slash, drop tabs and line ends, and read two slashes as another host.
    """
    if len(text) > NEXT_MOST or not _OWN_PATH.fullmatch(text):
        return "/"
    return "/" if re.match(r"/log(?:in|out)(?:[/?#]|\Z)", text) else text


def describe_refusal(result: LoginResult, *, has_password: bool) -> _Told:
    """Why a try to log in failed, and what comes next."""
    if result.unreadable:
        text = "The password cannot be read on the server, so nobody can log in. There, receiver doctor says why."
        return _Told(503, text, about_field=False)
    if result.wait_s and not result.looked_at:
        return _Told(429, f"Too many tries. Wait {_in_words(result.wait_s)}.", about_field=False)
    wrong = "That is not the password." if has_password else "That is not an API token of this service."
    if result.wait_s:
        return _Told(422, f"{wrong} Wait {_in_words(result.wait_s)} before the next try.")
    tries = f"{result.tries_left} more {'try' if result.tries_left == 1 else 'tries'}"
    return _Told(422, f"{wrong} {tries}, then a minute’s wait.")


def _in_words(seconds: int) -> str:
    if seconds < 120:
        return f"{seconds} s"
    return f"{-(-seconds // 60)} min"
