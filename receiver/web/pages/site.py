"""All pages together: made when the first one is asked for."""

import asyncio

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from receiver.core.errors import RequestRefused
from receiver.service.wiring import ServiceParts
from receiver.web.pages.access.login import LoginPages
from receiver.web.pages.access.sessions import Sessions
from receiver.web.pages.callbacks.callbacks import CallbackPages
from receiver.web.pages.gallery.batch import BatchPages
from receiver.web.pages.gallery.card_maker import CardMaker
from receiver.web.pages.gallery.gallery import GalleryPages
from receiver.web.pages.gallery.live import LivePages
from receiver.web.pages.going_on.go_on_pages import GoOnPages
from receiver.web.pages.going_on.new_task import NewTaskPages
from receiver.web.pages.going_on.pick import PickPage
from receiver.web.pages.look import static_route
from receiver.web.pages.notices.notices import NoticePages
from receiver.web.pages.page import Badges, PageError, PageFrame, PageRequest
from receiver.web.pages.sharing.downloads import DownloadPages
from receiver.web.pages.sharing.share import SharePages
from receiver.web.pages.status.status import StatusPage, make_needs_finder
from receiver.web.pages.task.task import TaskPages


def create_site(parts: ServiceParts, sessions: Sessions, stop: asyncio.Event) -> ASGIApp:
    """The pages over `parts`. Once `stop` is set their streams end."""
    needs = make_needs_finder(parts)

    async def count_badges(fresh: bool) -> Badges:
        found = await needs.find(fresh=fresh)
        return Badges(found.given_up, len(found.items))

    frame = PageFrame(parts, sessions, count_badges)
    maker = CardMaker(parts)
    downloads = DownloadPages(frame)
    tasks = TaskPages(frame)
    routes: list[BaseRoute] = [
        *GalleryPages(frame, maker).routes(),
        *BatchPages(frame, maker).routes(),
        *LivePages(frame, maker, stop).routes(),
        *LoginPages(frame).routes(),
        *tasks.routes(),
        *GoOnPages(frame, tasks.show_form).routes(),
        *NewTaskPages(frame).routes(),
        *CallbackPages(frame).routes(),
        *NoticePages(frame).routes(),
        *StatusPage(frame, needs).routes(),
        *downloads.routes(),
        *SharePages(frame, downloads).routes(),
        PickPage(frame).route(),
        static_route(),
    ]

    async def show_unknown(asked: PageRequest) -> Response:
        raise PageError(404, "There is nothing here", "There is no such page.")

    async def show_button(asked: PageRequest) -> Response:
        raise PageError(405, "Nothing was done", "This is the address of a button. There is no page to look at.")

    async def answer_unknown(scope: Scope, receive: Receive, send: Send) -> None:
        if not _wants_page(scope):
            raise RequestRefused(404, "not_found", "there is no such path")
        page = await frame.everywhere(show_unknown)(Request(scope, receive))
        await page(scope, receive, send)

    router = Router(routes, redirect_slashes=False, default=answer_unknown)

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await router(scope, receive, send)
        except HTTPException as error:  # of the router: the path is there, but not for this method
            if not _wants_page(scope):
                raise
            page = await frame.everywhere(show_button)(Request(scope, receive))
            page.headers.update(error.headers or {})
            await page(scope, receive, send)

    return answer


def _wants_page(scope: Scope) -> bool:
    return "text/html" in Request(scope).headers.get("accept", "")
