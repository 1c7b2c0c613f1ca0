"""One request of the client: how it is sent, when it is tried again, and which errors it may end in."""

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Self, TypeVar

import msgspec

from receiver.client.no_answer import explain_no_connection, explain_redirect
from receiver.client.schemas import ProblemView
from receiver.core.errors import ApiError

if TYPE_CHECKING:  # importing it takes 100 ms, which `receiver --help` need not wait for
    import httpx

TIMEOUT_S = 30.0
CONNECT_GAPS_S = (0.2, 0.6)  # before a request that could not connect is tried again
ANSWER_MOST = 64 << 20  # bytes of an answer, except for pictures and the stream

_FOREIGN = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)  # not JSON, or nested too deeply

_CHECK_SERVER = "check RECEIVER_SERVER"
_T = TypeVar("_T")


class ApiConnection:
    """Connections to the service at `server` (without a trailing slash), with its token."""

    def __init__(self, server: str, token: str | None, *, pause: Callable[[float], None] = time.sleep) -> None:
        import httpx

        self.server = server
        self._has_token = bool(token)
        self._pause = pause
        # unpacked, a small answer could fill the memory
        headers = {"Accept-Encoding": "identity"} | ({"Authorization": f"Bearer {token}"} if token else {})
        self._http = httpx.Client(
            base_url=f"{server}/api/v1/", headers=headers, timeout=TIMEOUT_S, trust_env=False, follow_redirects=False
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.server!r})"

    def _call_api(
        self,
        method: str,
        path: str,
        type: type[_T],  # noqa: A002 - as msgspec calls it
        *,
        query: dict[str, Any] | None = None,
        body: object = None,
        headers: dict[str, str] | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> _T:
        given = {name: value for name, value in (query or {}).items() if value is not None}
        content = None if body is None else msgspec.json.encode(body)
        kind = {} if body is None else {"Content-Type": "application/json"}
        request = self._http.build_request(
            method,
            path,
            params=given or None,
            content=content,
            headers={**kind, **(headers or {})},
            timeout=timeout_s,
        )
        status, answered = self._send_with_retry(request)
        if not 200 <= status < 300:
            raise self._to_api_error(status, answered)
        with self._translate_errors():
            return msgspec.json.decode(answered, type=type)

    def _send_with_retry(self, request: "httpx.Request") -> tuple[int, bytes]:
        """The status and the body of the answer."""
        for gap_s in CONNECT_GAPS_S:
            with contextlib.suppress(_NotConnected):
                return self._send_once(request)
            self._pause(gap_s)
        return self._send_once(request)

    def _send_once(self, request: "httpx.Request") -> tuple[int, bytes]:
        with self._translate_errors(), self._open_response(request) as answer:
            return answer.status_code, self._read_body(answer)

    def _read_body(self, answer: "httpx.Response") -> bytes:
        """The whole body as it came, if it is not larger than `ANSWER_MOST`."""
        body = bytearray()
        for piece in answer.iter_raw():
            body += piece
            if len(body) > ANSWER_MOST:
                problem = f"{self.server} sent more than {ANSWER_MOST >> 20} MiB, which does not look like a receiver"
                raise ApiError(502, "too_much", problem, remedy=_CHECK_SERVER)
        return bytes(body)

    @contextlib.contextmanager
    def _open_response(self, request: "httpx.Request") -> Iterator["httpx.Response"]:
        """The answer, before its body is read."""
        with contextlib.closing(self._http.send(request, stream=True)) as answer:
            if answer.has_redirect_location:
                problem, remedy = explain_redirect(self.server, answer.headers["location"])
                raise ApiError(502, "redirect", problem, remedy=remedy)
            yield answer

    @contextlib.contextmanager
    def _translate_errors(self) -> Iterator[None]:
        """Raise the errors of httpx and msgspec as ApiError."""
        import httpx

        try:
            yield
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            problem, remedy = explain_no_connection(self.server, error)
            raise _NotConnected(problem, remedy=remedy) from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            problem = f"no answer from {self.server} ({type(error).__name__})"
            remedy = "look at its log, then try again"
            if self.server.startswith("http://") and isinstance(error, httpx.RemoteProtocolError):
                remedy += "; if it speaks TLS, write https:// in RECEIVER_SERVER"
            raise ApiError(0, "no_answer", problem, remedy=remedy) from error
        except _FOREIGN as error:
            raise self._not_a_receiver(200) from error

    def _to_api_error(self, status: int, body: bytes) -> ApiError:
        try:
            problem = msgspec.json.decode(body, type=ProblemView).error
        except _FOREIGN:
            return self._not_a_receiver(status, body)
        if status == 401:
            message = f"{self.server} {'refuses this' if self._has_token else 'needs an'} API token"
            return ApiError(401, problem.code, message, remedy="set RECEIVER_API_TOKEN to one of its API_TOKENS")
        return ApiError(status, problem.code, problem.message, problem.field)

    def _not_a_receiver(self, status: int, body: bytes = b"") -> ApiError:
        if status == 400 and b"HTTPS" in body and self.server.startswith("http://"):  # as proxies say it
            problem = f"{self.server} speaks TLS, and the URL begins with http://"
            return ApiError(400, "no_api", problem, remedy="write https:// in RECEIVER_SERVER")
        problem = f"{self.server} answers with HTTP {status}, but does not look like a receiver"
        return ApiError(status or 502, "no_api", problem, remedy=_CHECK_SERVER)


def join_path(*parts: str) -> str:
    """A path of `parts`. Each stays one segment, whatever is in it."""
    from urllib.parse import quote

    return "/".join(quote(part, safe="") for part in parts)


class _NotConnected(ApiError):
    """No byte was sent, so that trying again is safe, whatever the request."""

    def __init__(self, problem: str, *, remedy: str) -> None:
        super().__init__(0, "unreachable", problem, remedy=remedy)
