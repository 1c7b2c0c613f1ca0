"""How every page looks and what every page sends: the templates, the one sheet, and the headers.

What comes from outside is escaped by Jinja, and the policy lets a browser load nothing but our own files. A page is
never cached, since it shows a state; the sheet has its digest in its name, and is kept for a year.
"""

import functools
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from receiver.core.errors import RequestRefused

if TYPE_CHECKING:
    from jinja2 import Environment

_FOLDER = Path(__file__).parent
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; "
    "object-src 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",  # the address may be a secret
    "X-Content-Type-Options": "nosniff",
}
_SHEET = (_FOLDER / "static/app.css").read_bytes()
SHEET_PATH = f"/static/app.{hashlib.sha256(_SHEET).hexdigest()[:12]}.css"


@functools.cache
def _templates() -> "Environment":
    from jinja2 import Environment, FileSystemLoader, StrictUndefined  # only for a page: it takes 3 MB

    return Environment(
        loader=FileSystemLoader(_FOLDER / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def render_page(template: str, status: int = 200, **values: object) -> Response:
    """A page made from a template."""
    html = _templates().get_template(template).render(sheet=SHEET_PATH, **values)
    return HTMLResponse(html, status, _HEADERS)


def message_page(status: int, title: str, text: str) -> Response:
    """A page that says one thing."""
    return render_page("message.html", status, title=title, text=text)


def sheet_route() -> Route:
    """The route to the style sheet."""

    async def serve_sheet(request: Request) -> Response:
        if request.url.path != SHEET_PATH:  # of another version
            raise RequestRefused(404, "not_found", "there is no such file")
        headers = {"Cache-Control": "public, max-age=31536000, immutable", "X-Content-Type-Options": "nosniff"}
        return Response(_SHEET, media_type="text/css", headers=headers)

    return Route("/static/{file}", serve_sheet, methods=["GET"])
