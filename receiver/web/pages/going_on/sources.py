"""Our copies of pictures that tasks go on from, as pages draw them."""

from collections.abc import Mapping, Sequence

from receiver.client.schemas import image_path
from receiver.core.types import ImageCopy
from receiver.pictures.files import media_type
from receiver.pictures.sniff import is_drawn
from receiver.service.wiring import ServiceParts
from receiver.web.pages.going_on.stage import Source
from receiver.web.pages.task.pictures import LookedPicture


async def read_sources(parts: ServiceParts, refs: Sequence[str]) -> dict[str, dict[int, Source]]:
    """The small copies of these tasks' pictures, by task and number."""
    copies = await parts.store.copies.by_refs(refs) if refs else {}
    return {
        ref: {it.image_no: source for it in some if (source := small_source(ref, it)) is not None}
        for ref, some in copies.items()
    }


def small_source(ref: str, copy: ImageCopy) -> Source | None:
    """The smallest copy of a picture that is sharp enough for a strip; None if there is none."""
    if copy.file is None or not is_drawn(media_type(copy.file)):
        return None
    return Source(image_path(ref, copy.tiny or copy.small or copy.file), copy.width, copy.height)


def sources_of(pictures: Sequence[LookedPicture]) -> Mapping[int, Source]:
    """The pictures of a task's page in full size, by their numbers."""
    return {it.number: Source(it.src, it.width, it.height, it.tiny) for it in pictures if it.tiny}
