"""Finds the pictures in a body: in the places where services put them, or else anywhere that looks like it. Pure."""

import re
from collections.abc import Iterable, Iterator
from itertools import islice

from receiver.core.types import Image
from receiver.providers import json_values
from receiver.providers.body_decoding import decode_text
from receiver.providers.json_values import Json

IMAGES_MOST = 64
JOB_ID_KEYS = ("jobId", "job_id")
URL_KEYS = (
    *("url", "video_url", "videoUrl", "image_url", "imageUrl"),
    *("uri", "src", "href", "link", "download_url", "downloadUrl", "file_url"),
)
LIST_KEYS = (
    *("content", "video_urls", "videoUrls", "image_urls", "imageUrls"),
    *("urls", "resultUrls", "result_urls", "upscaled_urls", "temporary_image_urls", "imageUx"),
    *("images", "outputs", "output", "results", "videos", "items", "files"),
)
PICTURE_PLACES = (
    ("output",),
    ("outputs",),
    ("urls",),
    ("results",),
    ("resultUrls",),
    ("images",),
    ("video_urls",),
    ("videoUrls",),
    ("image_urls",),
    ("imageUrls",),
    ("task_result",),
    ("result",),
    ("response", "imageUx"),
    ("response",),
    ("resultJson",),
    ("upscaled_urls",),
    ("temporary_image_urls",),
    ("data",),
    ("payload",),
    ("videos",),
    ("videoUrl",),
    ("video_url",),
    ("imageUrl",),
    ("image_url",),
    ("image",),
    ("url",),
)
"""Where to look in a level, in this order. What is found may be a list, an object or a text; `image_urls` goes before
`image_url`, which is the grid, and videos before both, for a picture beside them is a still."""

PLACEHOLDER_IDS = frozenset(  # ids that the provider's own clients refuse
    {"midjourney_provider_job_id", "midjourney_provider_task_id", "midjourney_draft_mode_job_id", "provider_task_id"}
)
_METADATA_PLACES = (("metadata",), ("metadata", "provider"), ("metadata", "provider_context"))
_AUDITED = (("urls",), ("imageUrls",))  # `audits` runs parallel to these
_DEPTH_MOST = 8
_VALUES_MOST = 5_000  # looked at in one body
# Patterns, compiled with the first body that needs a search.
_OURS = (  # what was sent, or leads somewhere else than to a result
    r"callback|hook|notif|input|param|config|request|prompt|source|init|refer|mask|avatar|doc|help|poll|cancel|status"
    r"|stream|^get$|^self$|^web$|^imgurl|account|user|profile|error|log|trace"
)
_PICTURE_KEY = r"image|img|pic|photo|output|result|asset|file|media|video|artifact|sample|grid|art|cdn|generat"
_PICTURE_PATH = r"\.(?:png|jpe?g|webp|gif|avif|heic|bmp|tiff?|mp4|webm|mov)(?:[?#]|$)"
_VIDEO_PATH = r"\.(?:mp4|webm|mov|m4v)(?:[?#]|$)"
_EMBEDDED = "its picture is inside the body (a data: URL), so there is no link to it"
_TOO_LONG = f"the link to its picture is longer than {json_values.URL_MOST:,} characters"


class PictureSearch:
    """Collects the pictures of one body. `why_none` says why what looks like a picture is not one."""

    def __init__(self, job_id: str | None) -> None:
        self._job_id = job_id
        self._left = _VALUES_MOST
        self.moderated: str | None = None  # why the moderation refused a picture
        self.why_none: str | None = None

    def in_places(self, levels: Iterable[Json]) -> tuple[Image, ...]:
        """The pictures in the first of `PICTURE_PLACES` that has any."""
        for level in levels:
            for place in PICTURE_PLACES:
                found: object = level
                for key in place:
                    found = found.get(key) if isinstance(found, dict) else None
                if found and (images := self.in_value(found, level.get("audits") if place in _AUDITED else None)):
                    return images
        return ()

    def in_value(self, found: object, audits: object = None) -> tuple[Image, ...]:
        """The usable pictures of a list, an object or a text. Unusable ones still count in the numbering; one whose
        entry in `audits` has a text failed the moderation."""
        refused = audits if isinstance(audits, list) else []
        images = []
        for place, item in enumerate(islice(self._items(found, _DEPTH_MOST), IMAGES_MOST)):
            why = refused[place] if place < len(refused) else None
            if isinstance(why, str) and why.strip():
                self.moderated = json_values.clean_text(why.strip(), json_values.ID_MOST)
            elif (url := self._url_of(item, _DEPTH_MOST)) is not None:
                images.append(self._image(place, url, item))
        return tuple(images)

    def anywhere(self, top: Json) -> tuple[Image, ...]:
        """The links in a body that look like pictures, by their key or by their ending, and were not sent by us."""
        urls = dict.fromkeys(islice(self._links(top, "", _DEPTH_MOST), IMAGES_MOST))
        return tuple([Image(place, url, _kind_of(url), self._job_id) for place, url in enumerate(urls)])

    def _items(self, found: object, depth: int) -> Iterator[object]:
        found = decode_text(found)
        if isinstance(found, list):
            for item in found:
                if isinstance(item, dict) and "content" in item:
                    yield from self._items(item["content"], depth - 1) if depth and item["content"] else ()
                else:
                    yield item
        elif isinstance(found, dict):
            inner = next((value for key in LIST_KEYS if (value := found.get(key))), None)
            if inner is not None and depth:
                yield from self._items(inner, depth - 1)
            elif any(key in found for key in URL_KEYS):
                yield found
            else:  # a map from names to links
                yield from [value for key, value in found.items() if self._is_named_picture(key, value)]
        elif found:
            yield found

    def _is_named_picture(self, name: str, value: object) -> bool:
        url = json_values.parse_url(value.get("url") if isinstance(value, dict) else value)
        if url is None or _is_ours(name):
            return False
        return name.isdigit() or _is_picture(name, url)

    def _url_of(self, item: object, depth: int) -> str | None:
        """The link of an item: its text, or the first usable one of its `URL_KEYS`."""
        if isinstance(item, dict):
            values = (item[key] for key in (*URL_KEYS, "image", "video", "content") if item.get(key))
            return next((url for value in values if depth and (url := self._url_of(value, depth - 1))), None)
        if isinstance(item, list):
            return self._url_of(item[0], depth - 1) if item and depth else None
        url = json_values.parse_url(item)
        if url is None and isinstance(item, str):
            if item.lstrip()[:5].lower() == "data:":
                self.why_none = _EMBEDDED
            elif len(item) > json_values.URL_MOST and item.lstrip()[:4].lower() == "http":
                self.why_none = _TOO_LONG
        return url

    def _image(self, place: int, url: str, item: object) -> Image:
        if not isinstance(item, dict):
            return Image(place, url, _kind_of(url), self._job_id)
        kind = json_values.short_text(item.get("type")) or _kind_of(url)
        return Image(place, url, kind, find_job_id(item) or self._job_id)

    def _links(self, value: object, key: str, depth: int) -> Iterator[str]:
        self._left -= 1
        if not depth or self._left < 0:
            return
        value = decode_text(value)
        if isinstance(value, dict):
            for name, inner in value.items():
                if not _is_ours(name):
                    yield from self._links(inner, name if name not in URL_KEYS[:1] else key, depth - 1)
        elif isinstance(value, list):
            for inner in value:
                yield from self._links(inner, key, depth - 1)
        elif isinstance(value, str) and value[:16].lstrip()[:4].lower() in ("http", "data"):
            url = self._url_of(value, 1)
            if url is not None and _is_picture(key, url):
                yield url


def _kind_of(url: str) -> str:
    """`video` if the link ends like one; else `image`, as the provider calls its pictures."""
    return "video" if re.search(_VIDEO_PATH, url, re.IGNORECASE) else "image"


def _is_ours(key: str) -> bool:
    return re.search(_OURS, key, re.IGNORECASE) is not None


def _is_picture(key: str, url: str) -> bool:
    return bool(re.search(_PICTURE_KEY, key, re.IGNORECASE) or re.search(_PICTURE_PATH, url, re.IGNORECASE))


def find_job_id(item: Json) -> str | None:
    """The upstream's job id in an item of output: its own, or in its metadata. Placeholders are none."""
    if job_id := _job_id(item):
        return job_id
    if "metadata" not in item:
        return None
    for place in _METADATA_PLACES:
        found: object = item
        for key in place:
            found = found.get(key) if isinstance(found, dict) else None
        if isinstance(found, dict) and (job_id := _job_id(found)):
            return job_id
    return None


def _job_id(level: Json) -> str | None:
    job_id = json_values.parse_id(level.get(JOB_ID_KEYS[0]) or json_values.first_value((level,), JOB_ID_KEYS))
    return None if job_id in PLACEHOLDER_IDS else job_id
