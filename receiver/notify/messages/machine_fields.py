"""The fields that programs read beside a message's text: `json://` gets them nested, `xml://` and `form://` flat.

Their names are fixed: the README documents them, and a test holds its example. Texts are clean and bounded as
everywhere, URLs are whole.
"""

import json
from collections.abc import Iterable, Mapping

from receiver.core.money import is_plausible_cost, short_decimal
from receiver.core.sanitize import encode_url, one_line
from receiver.core.types import Image, NoticeEvent, Report, TaskState
from receiver.notify.messages.content import (
    ERROR_MOST,
    IMAGES_MOST,
    ITEMS_MOST,
    build_report,
    failure_advice,
    rank_worst_first,
)
from receiver.notify.messages.message import PublicLinks
from receiver.notify.messages.task_names import NAME_MOST, PROMPT_MOST

DIGEST = "digest"
DIGEST_IMAGES_MOST = 8  # of each task; `image_count` says how many there are
_STATES = {
    NoticeEvent.COMPLETED: TaskState.COMPLETED,
    NoticeEvent.FAILED: TaskState.FAILED,
    NoticeEvent.LOST: TaskState.LOST,
}


def machine_fields(
    reports: tuple[Report, ...], linked: tuple[Report, ...], links: PublicLinks, picture_url: str | None
) -> dict[str, object]:
    """The fields of a message about `reports`; `linked` are the same reports with our own links.

    One report has its fields at the top. Several have them in the list `reports`, the worst first, and the event is
    `digest`.
    """
    sheet = encode_url(picture_url) if picture_url else None
    if len(reports) == 1:
        return {**_report_fields(reports[0], linked[0], links), "sheet": sheet}
    provider = {id(ours): theirs for ours, theirs in zip(linked, reports, strict=True)}
    ranked = rank_worst_first(linked)[:ITEMS_MOST]
    each = [_report_fields(provider[id(it)], it, links, DIGEST_IMAGES_MOST) for it in ranked]
    return {"event": DIGEST, "count": len(reports), "reports": each, "sheet": sheet}


def flatten_fields(fields: Mapping[str, object]) -> dict[str, str]:
    """The same in texts: pictures as URLs with spaces between them, `error` as `error_code` and so on."""
    flat: dict[str, str] = {}
    for name, value in fields.items():
        if isinstance(value, dict):
            flat |= {f"{name}_{key}": _write_flat(part) for key, part in value.items()}
        elif name == "error":  # none
            flat |= {f"error_{key}": "" for key in ("code", "message", "advice")}
        elif name == "images" and isinstance(value, list):
            flat[name] = " ".join(image["url"] for image in value)
        elif name == "reports":
            flat[name] = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        else:
            flat[name] = _write_flat(value)
    return flat


def _report_fields(
    report: Report, linked: Report, links: PublicLinks, images_most: int = IMAGES_MOST
) -> dict[str, object]:
    content = build_report(report, links)
    state = _STATES.get(report.event)
    cost = report.cost if report.cost is not None and is_plausible_cost(report.cost) else None
    return {
        "event": report.event.value,
        "ref": content.ref or None,
        "task_id": one_line(report.task_id or "", NAME_MOST) or None,
        "label": one_line(report.label or "", NAME_MOST) or None,
        "step": one_line(report.step or "", NAME_MOST) or None,
        "model": content.model or None,
        "prompt": one_line(report.prompt or "", PROMPT_MOST) or None,
        "state": state and state.value,
        "confirmed": report.confirmed,
        "images": list(_image_fields(report.images, linked.images))[:images_most],
        "image_count": len(report.images),
        "cost": None if cost is None else short_decimal(cost),
        "duration_ms": report.duration_ms if report.duration_ms is not None and report.duration_ms >= 0 else None,
        "error": _error_fields(report),
        "cause": one_line((report.cause or "").partition(":")[0], NAME_MOST) or None,
        "picks": max(0, report.picks),
        "pick_page": encode_url(content.picks[0].url) if content.picks and content.picks[0].url else None,
        "batch": one_line(report.batch or "", NAME_MOST) or None,
        "page": encode_url(content.page) if content.page else None,
    }


def _image_fields(theirs: Iterable[Image], ours: Iterable[Image]) -> Iterable[dict[str, object]]:
    pairs = sorted(zip(theirs, ours, strict=True), key=lambda pair: pair[0].image_no)
    for provider, image in pairs[:IMAGES_MOST]:
        yield {
            "image_no": image.image_no,
            "url": encode_url(image.url),
            "kept": image.url != provider.url,
            "provider_url": encode_url(provider.url),
        }


def _error_fields(report: Report) -> dict[str, object] | None:
    if report.event is not NoticeEvent.FAILED:
        return None
    error = report.error
    return {
        "code": one_line((error and error.code) or "", NAME_MOST) or None,
        "message": one_line((error and error.message) or "", ERROR_MOST),
        "advice": failure_advice(report),
    }


def _write_flat(value: object) -> str:
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)
