"""A sample message to one target, sent at once and without the outbox, so that a person sees what comes of it.

It carries a real contact sheet, drawn from pictures that are made here and kept in the archive's folder `sample`.
"""

import asyncio
import struct
import zlib

from msgspec.structs import replace

from receiver.client.schemas import TrialView
from receiver.core.errors import RequestRefused, Unwritable
from receiver.core.sanitize import one_line
from receiver.core.types import AttachedPicture, MessageStyle, NoticeEvent, Report, Target
from receiver.notify.messages.message import Message
from receiver.notify.messages.render import render
from receiver.notify.messages.samples import SAMPLES
from receiver.notify.senders.remedies import find_remedy
from receiver.pictures.files import SAMPLE, SHEET, image_name
from receiver.service.wiring import ServiceParts
from receiver.tasks.new_tasks import unknown_target

_SIDE = 320  # pixels
_SKIES = ((20, 24, 82), (244, 120, 72), (16, 94, 112), (92, 40, 110))  # red, green, blue at the top of each
_GROUND = (250, 214, 165)


class TargetTester:
    """Sends samples, one at a time."""

    def __init__(self, parts: ServiceParts) -> None:
        self._parts = parts
        self._targets = {target.name: target for target in parts.policy.targets}
        self._turn = asyncio.Lock()

    async def send_sample(self, name: str | None, event: str = NoticeEvent.COMPLETED) -> TrialView:
        """Send a sample of `event`, one of `SAMPLES`, to the target `name`; None is the only one there is.

        Raises RequestRefused: 404 if the target is unknown, 422 if the event is, or if None could be several, 409 if a
        sample is under way.
        """
        if event not in SAMPLES:
            problem = f"there is no sample of {one_line(event, 40)!r}"
            raise RequestRefused(422, "invalid_parameter", problem, "event", remedy=f"use one of {', '.join(SAMPLES)}")
        target = self._find_target(name)
        if self._turn.locked():
            raise RequestRefused(409, "busy", "another test is under way", remedy="try again when it has ended")
        async with self._turn:
            return await self._try_target(target, event)

    def _find_target(self, name: str | None) -> Target:
        if name is None:
            if len(self._targets) == 1:
                return next(iter(self._targets.values()))
            which = (
                f"name one of the targets: {', '.join(sorted(self._targets))}" if self._targets else "there are none"
            )
            raise RequestRefused(422, "invalid_parameter", f"no target is named; {which}", "target")
        if name not in self._targets:
            raise RequestRefused(404, "not_found", unknown_target(name, self._targets), "target")
        return self._targets[name]

    async def _try_target(self, target: Target, event: str) -> TrialView:
        reports = tuple(self._with_our_pictures(report) for report in SAMPLES[event])
        has_pictures = any(report.images for report in reports)
        picture = await self._sample_sheet() if has_pictures else None
        message = render(reports, target, links=self._parts.links, picture=picture)
        sent = await self._parts.sender.send(target, message)
        how, why_not = _picture_result(target, message, picture) if has_pictures else (None, None)
        return TrialView(
            target=target.name,
            ok=sent.error is None,
            error=sent.error,
            duration_ms=sent.duration_ms,
            advice=find_remedy(sent.error) if sent.error else None,
            picture=how,
            no_picture=why_not,
            note="; ".join(filter(None, (message.note, _unasked_note(target, event)))) or None,
        )

    def _with_our_pictures(self, report: Report) -> Report:
        """The report with links to the sample's own pictures, where they can be reached."""
        links = self._parts.links
        images = (
            replace(image, url=links.image_url(SAMPLE, image_name(image.image_no, "png")) or image.url)
            for image in report.images
        )
        return replace(report, images=tuple(images))

    async def _sample_sheet(self) -> AttachedPicture | None:
        """The sample's contact sheet, drawn when it is first needed; None if it cannot be drawn or stored."""
        files = self._parts.files
        if (kept := files.find_file(SAMPLE, SHEET)) is None:
            try:
                paths = []
                for number, sky in enumerate(_SKIES):
                    content = await asyncio.to_thread(_gradient_png, sky)
                    paths.append((str(number), await files.save_file(SAMPLE, image_name(number, "png"), content)))
                sheet = await self._parts.draw(paths)
                if sheet.picture is None:
                    return None
                kept = await files.save_file(SAMPLE, SHEET, sheet.picture)
            except Unwritable:  # the archive reports that itself; this is a test of the message
                return None
        return AttachedPicture(str(kept), self._parts.links.image_url(SAMPLE, SHEET))


def _unasked_note(target: Target, event: str) -> str | None:
    """What a person may not expect of a sample that arrives: real ones of this event will not."""
    if event not in set(NoticeEvent) or NoticeEvent(event) in target.on:
        return None
    asked = ", ".join(it for it in NoticeEvent if it in target.on)
    return f"only a sample: {target.name} is not notified of {event}, since its `on` is {asked}"


def _picture_result(target: Target, message: Message, picture: AttachedPicture | None) -> tuple[str | None, str | None]:
    """How the message shows the picture, and, if it does not, why it could not."""
    if not target.shows_pictures:
        return None, None
    if picture is None:
        return None, "it could not be drawn or stored; see the service's log"
    if message.blocks and picture.url and '"image' in message.blocks:
        return "linked", None
    if target.style is MessageStyle.SLACK:  # `notify.senders` attaches no file for Slack
        return None, "Slack would load it from PUBLIC_URL, which it cannot reach"
    return ("attached" if message.picture else None), None


def _gradient_png(sky: tuple[int, int, int]) -> bytes:
    """A picture of `_SIDE` × `_SIDE` pixels (PNG, RFC 2083) that fades from `sky` to the ground."""
    rows = bytearray()
    for row in range(_SIDE):
        share = row / (_SIDE - 1)
        colour = bytes(round(top + (low - top) * share) for top, low in zip(sky, _GROUND, strict=True))
        rows += b"\0" + colour * _SIDE
    header = struct.pack(">IIBBBBB", _SIDE, _SIDE, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(rows), 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in chunks
    )
