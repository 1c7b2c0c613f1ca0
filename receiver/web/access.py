"""Authentication by API token. A request without a good one learns nothing, not even which paths exist."""

import hmac
from collections.abc import Iterable, Sequence

from starlette.types import ASGIApp, Receive, Scope, Send

from receiver.core.errors import RequestRefused
from receiver.web.responses import problem_response


class ApiTokens:
    """The API tokens that are accepted."""

    def __init__(self, tokens: Sequence[str]) -> None:
        self._tokens = [token.encode() for token in tokens]

    def is_authorized(self, headers: Iterable[tuple[bytes, bytes]]) -> bool:
        """Whether these headers, their names in lower case, carry one of the tokens as `Authorization: Bearer`."""
        given = next((value for name, value in headers if name == b"authorization"), b"")
        scheme, _, shown = given.partition(b" ")
        good = False
        for token in self._tokens:  # compare all of them, each in constant time
            good |= hmac.compare_digest(token, shown.strip())
        return good and scheme.lower() == b"bearer"


class AuthMiddleware:
    """Passes a request on to `app` if it carries one of `tokens`, and answers 401 if not, wherever it comes from."""

    def __init__(self, app: ASGIApp, tokens: Sequence[str]) -> None:
        self._app = app
        self._tokens = ApiTokens(tokens)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._tokens.is_authorized(scope["headers"]):
            await self._app(scope, receive, send)
        else:
            refused = RequestRefused(
                401,
                "unauthorized",
                "the API token is missing or wrong",
                remedy="send the header `Authorization: Bearer TOKEN`",
            )
            await problem_response(refused, {"WWW-Authenticate": 'Bearer realm="receiver"'})(scope, receive, send)
