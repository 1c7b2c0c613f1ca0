"""The files that the sandbox's tasks made: drawn when they are asked for, in a thread, and remembered for a while."""

import asyncio
import gzip
import re
from functools import lru_cache

from starlette.responses import Response

from receiver.sandbox.drawing.film import draw_mp4
from receiver.sandbox.drawing.paint import draw_png
from receiver.sandbox.drawing.picture import Picture
from receiver.sandbox.fates import PictureCoding, SandboxOptions, draw_coding
from receiver.sandbox.tasks import SandboxTask

_BOGUS_CODINGS = ("aws-chunked", "binary", "UTF-8", "none")
_MEDIA_TYPES = {"png": "image/png", "mp4": "video/mp4"}


@lru_cache(maxsize=64)
def draw_file(picture: Picture, number: int) -> bytes:
    """The picture as a PNG, or the video of it."""
    return draw_mp4(picture, number) if picture.seconds else draw_png(picture, number)


def find_picture(task: SandboxTask, name: str) -> tuple[int, Picture] | None:
    """The picture that a file's name stands for: `0.png`."""
    found = re.fullmatch(r"([0-9]{1,3})\.(png|mp4)", name)
    if found is None or int(found[1]) >= len(task.pictures):
        return None
    picture = task.pictures[int(found[1])]
    return (int(found[1]), picture) if found[2] == picture.suffix else None


async def serve_file(
    options: SandboxOptions, task: SandboxTask, number: int, picture: Picture, places: asyncio.Semaphore
) -> Response:
    """The file, in the coding that it has drawn."""
    async with places:
        content = await asyncio.to_thread(draw_file, picture, number)
    coding = draw_coding(options, task.id, number)
    named = {
        PictureCoding.BOGUS: _BOGUS_CODINGS[number % len(_BOGUS_CODINGS)],
        PictureCoding.NAMED: "gzip",
        PictureCoding.GZIP: "gzip",
        PictureCoding.TWICE: "gzip, aws-chunked",
    }
    headers = {"Content-Encoding": named[coding]} if coding in named else None
    if coding in (PictureCoding.GZIP, PictureCoding.TWICE):
        content = gzip.compress(content, mtime=0)
    return Response(content, media_type=_MEDIA_TYPES[picture.suffix], headers=headers)
