"""What a share page shows: the pictures of a task for people without a login. Pure.

It holds nothing that a stranger has no business with: no ref, no cost, no model, no link of the provider, and the
prompt only if it is shared too.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Protocol

from msgspec import Struct

from receiver.core.sanitize import one_line, strip_control_chars, truncate_text
from receiver.core.types import ArchiveState, Image, ImageCopy, Task
from receiver.notify.messages.media_words import count_media, media_noun
from receiver.pictures.drawing.protocol import SMALL, fitted_width
from receiver.pictures.files import media_type
from receiver.pictures.share_links import Share
from receiver.pictures.sniff import is_drawn, media_name
from receiver.web.pages.sharing.downloads import name_stem

ALT_MOST = 120  # characters of a prompt in an alternative text
PROMPT_MOST = 8_192
_TITLE_MOST = 200
_UNSEEN = frozenset({"image/tiff"})  # we draw it, but browsers do not


class SignLink(Protocol):
    """`SignedLinks.image_path`."""

    def __call__(self, folder: str, file: str, *, end: int | None = None) -> str:
        """The path of a link to a file that expires at `end`, in milliseconds."""


class SharedItem(Struct, frozen=True):
    """One result: a picture (`kind` is `picture`), a `video`, another `file` to download, or what is `missing`."""

    kind: str
    words: str  # the alternative text, or what is said instead
    src: str = ""
    srcset: str = ""
    name: str = ""  # as a download
    width: int | None = None
    height: int | None = None


class SharedTask(Struct, frozen=True):
    """A task as a stranger sees it. Times are milliseconds."""

    title: str
    items: tuple[SharedItem, ...]
    made_at: int
    until: int
    prompt: str = ""
    coming: bool = False  # more may still be fetched

    @property
    def kept(self) -> int:
        """How many results are here."""
        return sum(it.kind != "missing" for it in self.items)


def show_shared(
    task: Task, images: Sequence[Image], copies: Sequence[ImageCopy], share: Share, sign: SignLink
) -> SharedTask:
    """What a share shows of its task. All links end with it."""
    known: Mapping[int, ImageCopy] = {it.image_no: it for it in copies}
    prompt = _prompt(task) if share.with_prompt else ""
    about = one_line(prompt, ALT_MOST)
    stem = name_stem(task, with_prompt=share.with_prompt)
    coming = task.archive is ArchiveState.DUE
    late = "is not here yet" if coming else "was not kept"
    items = []
    for place, image in enumerate(sorted(images, key=lambda it: it.image_no), 1):
        which = f"{media_noun((image.type,)).capitalize()} {place} of {len(images)}"
        copy = known.get(image.image_no)
        if copy is None or copy.file is None:
            items.append(SharedItem("missing", f"{which} {late}."))
        else:
            items.append(_show_copy(copy, copy.file, which, about, stem, partial(_sign, sign, task.ref, share.until)))
    nouns = count_media([it.type for it in images])
    title = one_line(task.label or "", _TITLE_MOST) or one_line(prompt, 48) or nouns[:1].upper() + nouns[1:]
    return SharedTask(title, tuple(items), task.settled_at or task.created_at, share.until, prompt, coming)


def _show_copy(copy: ImageCopy, file: str, which: str, about: str, stem: str, link: Callable[[str], str]) -> SharedItem:
    kind, src, name = media_type(file), link(file), f"{stem}-{file}"
    alt = f"{which}: {about}" if about else which
    if kind.startswith("video/"):
        return SharedItem("video", alt, src, name=name)
    wide, high = copy.width, copy.height
    if not is_drawn(kind) or kind in _UNSEEN or not wide or not high:
        return SharedItem("file", f"Download {which[:1].lower()}{which[1:]} ({media_name(kind)})", src, name=name)
    small = fitted_width(wide, high, SMALL)
    srcset = f"{link(copy.small)} {small}w, {src} {wide}w" if copy.small and small < wide else ""
    return SharedItem("picture", alt, src, srcset, name, wide, high)


def _sign(sign: SignLink, folder: str, end: int, file: str) -> str:
    return sign(folder, file, end=end)


def _prompt(task: Task) -> str:
    return truncate_text(strip_control_chars(task.prompt or "", PROMPT_MOST), PROMPT_MOST).strip()
