"""How every page looks: the templates and their filters, and the style sheet, the script and the icon.

What comes from outside is escaped by Jinja. The sheet and the script are each made of the files of a folder, in the
order of a list here; their digest is in their names, so that a browser keeps them for a year.
"""

import functools
import gzip
import hashlib
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from receiver.core.errors import RequestRefused
from receiver.core.money import format_usd, to_decimal
from receiver.core.sanitize import format_duration
from receiver.web.pages.times import format_age, format_clock, format_day, iso_time

if TYPE_CHECKING:
    from jinja2 import Environment

# fmt: off
STYLES = [
    "base", "forms", "lists", "gallery", "task", "go_on", "callbacks", "notices", "status", "share", "login", "pick",
]
SCRIPTS = ["base", "stream", "live", "snap", "stage", "keys"]
# fmt: on

_FOLDER = Path(__file__).parent
_STATIC = _FOLDER / "static"
_A_YEAR = {"Cache-Control": "public, max-age=31536000, immutable", "X-Content-Type-Options": "nosniff"}


class _StaticFile(Struct, frozen=True):
    """A file that every page loads, plain and compressed."""

    path: str  # of its URL, with its digest
    content: bytes
    packed: bytes
    media_type: str


def render(template: str, **values: object) -> str:
    """The HTML of a template."""
    return _environment().get_template(template).render(**values)


def static_path(kind: str) -> str:
    """The path of the sheet (`css`), the script (`js`) or the icon (`svg`)."""
    return _static_files()[kind].path


def static_route() -> Route:
    """The route to the style sheet, the script and the icon."""

    async def serve_file(request: Request) -> Response:
        found = next((it for it in _static_files().values() if it.path == request.url.path), None)
        if found is None:  # of another version
            raise RequestRefused(404, "not_found", "there is no such file")
        headers = {**_A_YEAR, "Vary": "Accept-Encoding"}
        if "gzip" in request.headers.get("accept-encoding", ""):
            return Response(found.packed, media_type=found.media_type, headers=headers | {"Content-Encoding": "gzip"})
        return Response(found.content, media_type=found.media_type, headers=headers)

    return Route("/static/{file}", serve_file, methods=["GET"])


@functools.cache
def _environment() -> "Environment":
    from jinja2 import Environment, FileSystemLoader, StrictUndefined  # only for a page: it takes 3 MB

    made = Environment(
        loader=FileSystemLoader(_FOLDER / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "iso": iso_time,
        "age_of": format_age,
        "clock_of": format_clock,
        "day_of": format_day,
        "duration": format_duration,
        "money": _format_money,
        "size": format_size,
        "count": _format_count,
    }
    return made


@functools.cache
def _static_files() -> dict[str, _StaticFile]:
    style = "\n".join(_read_files("style", STYLES, "css"))
    script = "\n".join(_read_files("script", SCRIPTS, "js"))
    return {
        "css": _make_static("css", style, "text/css"),
        "js": _make_static("js", script, "text/javascript"),
        "svg": _make_static("svg", (_STATIC / "icon.svg").read_text("utf-8"), "image/svg+xml"),
    }


def _read_files(folder: str, names: list[str], suffix: str) -> list[str]:
    return [(_STATIC / folder / f"{name}.{suffix}").read_text("utf-8") for name in names]


def _make_static(kind: str, text: str, media_type: str) -> _StaticFile:
    content = text.encode()
    digest = hashlib.sha256(content).hexdigest()[:12]
    return _StaticFile(f"/static/app.{digest}.{kind}", content, gzip.compress(content, 9, mtime=0), media_type)


def format_size(size: int) -> str:
    """`size` bytes as people say it: `240 bytes`, `1.2 KB`, `5.8 MB`."""
    if size < 1000:
        return "1 byte" if size == 1 else f"{size} bytes"
    for unit in ("KB", "MB"):
        size_of_unit = size / (1000 if unit == "KB" else 1_000_000)
        if size_of_unit < 999.5:
            return f"{size_of_unit:.1f} {unit}" if size_of_unit < 99.95 else f"{size_of_unit:.0f} {unit}"
    return f"{size / 1_000_000_000:.1f} GB"


def _format_money(amount: int | Decimal | None) -> str:
    """An amount, as a Decimal in USD or as the whole number that the store has."""
    return format_usd(to_decimal(amount) if isinstance(amount, int) else amount)


def _format_count(number: int) -> str:
    return f"{number:,}"
