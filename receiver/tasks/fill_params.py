"""Fills a task with what it goes on from: the id of a job and the number of a picture, or a picture's address."""

from collections.abc import Callable, Mapping, Sequence

from msgspec.structs import replace

from receiver.core.chains import FillParams, Missing
from receiver.core.errors import RequestRefused
from receiver.core.types import Image, ImageCopy, Task
from receiver.providers import models
from receiver.providers.declarations import UrlFeed

LINK_MS = 3_600_000  # so long after a task's end, the provider's links to its pictures certainly work

ImageUrl = Callable[[str, str], str | None]
"""The public address of a file of the archive, by folder and file; None if nobody outside can reach us."""

_OLD = "the provider's link to picture {} may have expired, and {}; to try it all the same, pick that picture"
_NO_COPY = "there is no copy of it here"
_NOT_PUBLIC = "PUBLIC_URL cannot be reached from outside, so our copy cannot be used"


def choose_usable(child: Task, images: Sequence[Image]) -> Task:
    """The child; if it goes on from a whole task, with the number of any picture that does."""
    declared = models.MODELS.get(child.model or "")
    if declared is None or declared.takes_one_picture or child.parent_image is None:
        return child
    usable = [it.image_no for it in images if it.job_id is not None or declared.feed is None]
    return replace(child, parent_image=usable[0]) if usable else child


def make_filler(
    parent: Task, copies: Sequence[ImageCopy], image_url: ImageUrl, now: int, *, insist: bool = False
) -> FillParams:
    """What fills the parameters of tasks that go on from `parent`. `insist`: a link is used though it may be old."""
    fresh = parent.settled_at is not None and now - parent.settled_at < LINK_MS
    files: Mapping[int, str | None] = {it.image_no: it.file for it in copies}

    def find_address(image: Image) -> str | Missing:
        file = files.get(image.image_no)
        ours = image_url(parent.ref, file) if file is not None else None
        if fresh or (ours is None and insist):
            return image.url
        if ours is None:
            return Missing(_OLD.format(image.image_no, _NO_COPY if file is None else _NOT_PUBLIC))
        return ours

    def fill(child: Task, image: Image) -> bytes | Missing:
        address = ""
        try:
            if isinstance(models.find_model(child.model or "").feed, UrlFeed):
                found = find_address(image)
                if isinstance(found, Missing):
                    return found
                address = found
            params = models.fill_params(child.model or "", child.params, image, address)
        except RequestRefused as refused:
            return Missing(f"picture {image.image_no} does not do: {refused.problem}")
        return Missing(f"picture {image.image_no} came without a jobId") if params is None else params

    return fill
