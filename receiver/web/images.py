"""The archive's pictures, for requests with an API token, a signed link or a session; for all others none exists.

Whatever a file holds, its headers keep a browser from taking it for a page or a script.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from receiver.client.schemas import image_path
from receiver.core.errors import RequestRefused
from receiver.core.types import Clock
from receiver.pictures.files import SHEET, ArchiveFiles, media_type
from receiver.pictures.signed_links import SignedLinks
from receiver.web.access import ApiTokens

_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "sandbox; default-src 'none'",
    "Cross-Origin-Resource-Policy": "cross-origin",  # webmail and chats show it on their own pages
    "Referrer-Policy": "no-referrer",
}
_VIDEO_POLICY = {
    # A browser shows a video on a page of its own making, which then loads it: from here, and as from the same origin.
    "Content-Security-Policy": "sandbox allow-same-origin; default-src 'none'; media-src 'self'",
}
_OWN_PAGES = {"Cross-Origin-Resource-Policy": "same-origin", "Vary": "Cookie"}  # a cookie comes from other sites too
_ACTIVE = frozenset({"image/svg+xml"})  # may hold scripts: a download for every browser, never a picture or a page
_BYTES = "application/octet-stream"
_CACHED = "private, max-age=86400, immutable"
_REVALIDATED = "private, no-cache"  # a contact sheet is drawn again when more pictures have come
_NOT_FOUND = RequestRefused(404, "not_found", "there is no such picture, or the link has expired")


class ImageEndpoint:
    """`/images/{folder}/{file}`: GET and HEAD, with ETag and ranges.

    `is_logged_in` says whether a request carries the cookie of a session: our pages show every picture.
    """

    def __init__(
        self,
        files: ArchiveFiles,
        links: SignedLinks,
        tokens: ApiTokens,
        clock: Clock,
        is_logged_in: Callable[[Request], Awaitable[bool]],
    ) -> None:
        self._files = files
        self._links = links
        self._tokens = tokens
        self._clock = clock
        self._is_logged_in = is_logged_in

    def route(self) -> Route:
        """The route to it."""
        return Route(image_path("{folder}", "{file}"), self.serve_image, methods=["GET"])

    async def serve_image(self, request: Request) -> Response:
        """The file; or the same 404 whether it does not exist, may not be seen, or the link has expired."""
        folder, file = request.path_params["folder"], request.path_params["file"]
        by_link = self._is_granted(request, folder, file)
        if not by_link and not await self._is_logged_in(request):
            raise _NOT_FOUND
        found = await asyncio.to_thread(_stat_file, self._files.find_file(folder, file))
        if found is None:
            raise _NOT_FOUND
        path, stat = found
        kind = media_type(file)
        policy = _VIDEO_POLICY if kind.startswith("video/") else {}
        own = {} if by_link else _OWN_PAGES
        headers = {**_HEADERS, **policy, **own, "Cache-Control": _REVALIDATED if file == SHEET else _CACHED}
        active = kind in _ACTIVE
        shown = FileResponse(
            path,
            headers=headers,
            media_type=_BYTES if active else kind,
            filename=f"{folder}-{file}" if active else None,  # which makes it an attachment
            stat_result=stat,
        )
        if _client_has(request.headers, shown.headers["etag"]):
            kept = ("etag", "last-modified", "cache-control")
            return Response(status_code=304, headers={name: shown.headers[name] for name in kept})
        return shown

    def _is_granted(self, request: Request, folder: str, file: str) -> bool:
        """Whether a token or a signed link opens the file."""
        if self._tokens.is_authorized(request.scope["headers"]):
            return True
        until, mac = request.query_params.get("until", ""), request.query_params.get("mac", "")
        return self._links.is_valid(folder, file, until, mac, self._clock())


def _stat_file(path: Path | None) -> tuple[Path, os.stat_result] | None:
    try:
        return None if path is None else (path, path.stat())
    except OSError:
        return None


def _client_has(headers: Headers, etag: str) -> bool:
    given = headers.get("if-none-match", "")
    return etag in (tag.strip().removeprefix("W/") for tag in given.split(","))
