"""Puts our own signed links to the kept pictures in the place of the provider's, which expire."""

from collections.abc import Mapping

from msgspec.structs import replace

from receiver.core.types import Image, Report
from receiver.notify.messages.message import PublicLinks

KeptFiles = Mapping[str, Mapping[int, str]]
"""The archive's files of each task: its ref, then the number of each image, then the name of its file."""


def use_own_links(reports: tuple[Report, ...], links: PublicLinks, kept: KeptFiles) -> tuple[Report, ...]:
    """The reports, each picture with our link if we keep a copy that can be reached from outside."""
    return tuple(_link_images(report, links, kept.get(report.ref or "", {})) for report in reports)


def _link_images(report: Report, links: PublicLinks, files: Mapping[int, str]) -> Report:
    if not files or report.ref is None:
        return report

    def link(image: Image, ref: str) -> Image:
        file = files.get(image.image_no)
        url = links.image_url(ref, file) if file else None
        return replace(image, url=url) if url else image

    return replace(report, images=tuple(link(image, report.ref) for image in report.images))
