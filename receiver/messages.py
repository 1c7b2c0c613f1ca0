"""What a ping says: reports of tasks become a title and a body, as plain text or as HTML for email.

Promises that no text from outside can forge a line, turn the direction of writing, call everybody (`@channel`) or
become markup, that everything is bounded, and that a picture's URL is never cut. Pure; where the task's page is
comes as a callable, and what a target can take is `senders`' to say.
"""

import html
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable
from decimal import Decimal
from enum import StrEnum
from urllib.parse import quote

from msgspec import Struct

from receiver.model import Error, Event, Image, Report

TITLE_MOST = 150  # characters
BODY_MOST = 3_500  # characters of a body as it is read, without its URLs; chat services take about 4,000
_NAME_MOST = 80
_PROMPT_MOST = 300
_ERROR_MOST = 400
_TEXT_MOST = 1_100
_IMAGES_MOST = 50
_LINES_MOST = 40  # tasks that a digest names

Link = Callable[[str], str | None]
"""Where a ref's task page is, if anywhere."""


class Format(StrEnum):
    """How a body is written; the values are Apprise's words."""

    TEXT = "text"
    HTML = "html"


class Kind(StrEnum):
    """How a service may colour a message; the values are Apprise's words."""

    SUCCESS = "success"
    FAILURE = "failure"
    WARNING = "warning"
    INFO = "info"


class Message(Struct, frozen=True):
    """What is sent to a target. The title is plain text in every format."""

    title: str
    body: str
    format: Format
    kind: Kind


ADVICE = {
    "004007001": "The job id was missing: give it with --job-id, or --from an earlier task.",
    "004007002": "The image number was missing: give it with --image-no, 0 to 3.",
    "004007003": "The image number was wrong: it counts from 0, so it is 0 to 3.",
    "004007004": "The scale was missing: give it with --scale, 1.1 to 2.0.",
    "004007005": "The scale was wrong: it is 1.1 to 2.0.",
    "004007006": "The provider refused the callback URL: see that PUBLIC_URL is one that it can reach.",
    "004007098": "Submit it again, perhaps with another prompt or picture.",
    "004007099": "The provider was not available: submit it again later.",
}
"""What to do about a provider's error code (its outpaint page). 098 and 099 mean the same for its other models."""

_ADVICE_BY_CAUSE = {code[-3:]: ADVICE[code] for code in ("004007098", "004007099")}

_UNCONFIRMED = "Unconfirmed: a callback said so, and the provider could not be asked. Look before you rely on it."
_LOST = "No end of it was heard before its deadline. It is not given up: a late callback still settles it."

_MARK = {Event.COMPLETED: "✓", Event.FAILED: "✗", Event.LOST: "?", Event.ATTENTION: "!"}
_KIND = {
    Event.COMPLETED: Kind.SUCCESS,
    Event.FAILED: Kind.FAILURE,
    Event.LOST: Kind.WARNING,
    Event.ATTENTION: Kind.WARNING,
}
_CAUSES = {
    "callbacks-stopped": "callbacks no longer arrive",
    "provider-key": "the provider refuses our key or balance",
    "target": "a notice to {} was given up",
    "task-id": "two ids for one task",
    "unconfirmed": "an end that nobody could confirm",
    "unparsed": "a callback that could not be read",
    "withdrawn": "withdrawn, and yet it ended",
    "unsure": "nobody knows whether it was taken",
}
_WORST_FIRST = (Event.FAILED, Event.LOST, Event.ATTENTION, Event.COMPLETED)


class _Line(Struct, frozen=True):
    """One line of a body: clean, bounded words and perhaps a URL after them."""

    text: str
    url: str | None = None


_Paragraph = tuple[_Line, ...]


def render(
    reports: tuple[Report, ...],
    *,
    link: Link | None = None,
    format: Format,  # noqa: A002  # Apprise's word, and the field's
) -> Message:
    """One message that tells all `reports`: one in full, several as a digest of a line each.

    The title has at most `TITLE_MOST` characters, the body `BODY_MOST` without its URLs and its markup. Raises
    ValueError when there is nothing to tell.
    """
    if not reports:
        raise ValueError("a message tells at least one report")
    where: Link = link or (lambda ref: None)
    if len(reports) == 1:
        title, paragraphs = _headline(reports[0]), _single(reports[0], where)
    else:
        title, paragraphs = _counts(reports), _digest(reports, where)
    write = _html if format is Format.HTML else _text
    title = title if format is Format.HTML else _cut(_calm(title), TITLE_MOST)
    return Message(title=title, body=write(paragraphs), format=format, kind=_kind(reports))


def one_line(text: str, most: int) -> str:
    """`text` from outside as one line of at most `most` characters: no control, no bidirectional override."""
    return _cut(" ".join(_clean(text, most).split()), most)


def advice(code: str) -> str | None:
    """What to do about a provider's error code, in a sentence; None if nothing is known of it."""
    return ADVICE.get(code) or (_ADVICE_BY_CAUSE.get(code[-3:]) if len(code) == 9 else None)


# What is said of one task.


def _headline(report: Report) -> str:
    mark, name = _MARK[report.event], _name(report)
    doubt = "" if report.confirmed else " (unconfirmed)"
    match report.event:
        case Event.COMPLETED:
            said = f"{name} — {_count(report.images)}{doubt}"
        case Event.FAILED:
            why = one_line(report.error.message or report.error.code or "", TITLE_MOST) if report.error else ""
            said = f"{name} failed{doubt}" + (f": {why}" if why else "")
        case Event.ATTENTION:
            first = _cause(report) or one_line(
                _clean(report.text or "", _TEXT_MOST).strip().partition("\n")[0], TITLE_MOST
            )
            said = f"{name}: {first}" if report.label or report.ref else first or "attention"
        case _:
            said = f"{name} {report.event}{doubt}"
    return _cut(f"{mark} {said}", TITLE_MOST)


def _cause(report: Report) -> str | None:
    """What an attention is about, in a few words; its cause may name a task or a target behind a colon."""
    kind, _, about = (report.cause or "").partition(":")
    return _CAUSES[kind].format(one_line(about, TITLE_MOST)) if kind in _CAUSES else None


def _single(report: Report, where: Link) -> list[_Paragraph]:
    paragraphs: list[_Paragraph] = []
    if report.event is Event.ATTENTION and report.text:
        paragraphs.append(
            tuple(_Line(line) for line in _cut(_clean(report.text, _TEXT_MOST).strip(), _TEXT_MOST).split("\n"))
        )
    paragraphs.append(_about(report))
    if not report.confirmed:
        paragraphs.append((_Line(_UNCONFIRMED),))
    paragraphs.append(_pictures(report.images))
    if report.event is Event.FAILED:
        paragraphs.append(_failure(report))
    if report.event is Event.LOST:
        paragraphs.append((_Line(_LOST), _Line(_search(report))))
    if report.ref:
        page = where(report.ref)
        paragraphs.append((_Line(f"Task {_ref(report)}{':' if page else ''}", page),))
    return [paragraph for paragraph in paragraphs if paragraph] or [(_Line(_headline(report)),)]


def _about(report: Report) -> _Paragraph:
    facts = _joined(one_line(report.model or "", _NAME_MOST), *_figures(report))
    prompt = one_line(report.prompt or "", _PROMPT_MOST)
    return tuple(_Line(text) for text in (facts, f"“{prompt}”" if prompt else "") if text)


def _pictures(images: tuple[Image, ...]) -> _Paragraph:
    ranked = sorted(images, key=lambda image: image.image_no)
    lines = [_Line(f"{one_line(i.type, 20) or 'image'} {i.image_no}:", i.url) for i in ranked[:_IMAGES_MOST]]
    if len(ranked) > _IMAGES_MOST:
        lines.append(_Line(f"… and {len(ranked) - _IMAGES_MOST} more"))
    return tuple(lines)


def _failure(report: Report) -> _Paragraph:
    error = report.error or Error(None, "")
    code = one_line(error.code or "", _NAME_MOST)
    words = one_line(error.message, _ERROR_MOST) or "the provider did not say why"
    return (
        _Line(f"Error {code}: {words}" if code else f"Error: {words}"),
        _Line(f"What to do: {advice(code) or _look(report)}"),
    )


def _look(report: Report) -> str:
    return f"`receiver tasks show {_ref(report)}` shows all that came; then submit it again, or ask the provider."


def _search(report: Report) -> str:
    if not report.task_id:
        return (
            "What to do: the provider's id for it is not known, so it cannot be polled. Look for it in the provider's "
            "own list, and submit it again only if it is not there: it may be paid twice."
        )
    known = one_line(report.task_id, _NAME_MOST)
    return f"What to do: ask once more with `receiver tasks poll {_ref(report)}`, or look at the provider for {known}."


# What is said of several.


def _counts(reports: tuple[Report, ...]) -> str:
    counted = Counter(report.event for report in reports)
    worst = next(event for event in _WORST_FIRST if counted[event])
    return f"{_MARK[worst]} {len(reports)} notices: " + ", ".join(
        f"{counted[event]} {event}" for event in Event if counted[event]
    )


def _digest(reports: tuple[Report, ...], where: Link) -> list[_Paragraph]:
    lines: list[_Line] = []
    room = BODY_MOST - 100  # for the total and the line that counts the rest
    for report in reports[:_LINES_MOST]:
        line = _Line(_joined(_headline(report), *_figures(report)), _best_url(report, where))
        room -= len(_calm(line.text)) + 3
        if room < 0:
            break
        lines.append(line)
    if len(lines) < len(reports):
        lines.append(_Line(f"… and {len(reports) - len(lines)} more"))
    costs = [report.cost for report in reports if report.cost is not None and _sensible(report.cost)]
    return [tuple(lines), (_Line(f"{_money(sum(costs, Decimal(0)))} together"),)] if any(costs) else [tuple(lines)]


def _best_url(report: Report, where: Link) -> str | None:
    page = where(report.ref) if report.ref else None
    first = min(report.images, key=lambda image: image.image_no, default=None)
    return page or (first.url if first else None)


def _kind(reports: tuple[Report, ...]) -> Kind:
    kinds = {_KIND[r.event] if r.confirmed or r.event is not Event.COMPLETED else Kind.WARNING for r in reports}
    return next(kind for kind in (Kind.FAILURE, Kind.WARNING, Kind.SUCCESS, Kind.INFO) if kind in kinds)


# Names, figures, words.


def _name(report: Report) -> str:
    return one_line(report.label or "", _NAME_MOST) or _ref(report) or "a task"


def _ref(report: Report) -> str:
    return one_line(report.ref or "", _NAME_MOST)


def _count(images: tuple[Image, ...]) -> str:
    noun = "picture" if all(image.type == "image" for image in images) else "file"
    return f"{len(images) or 'no'} {noun}{'' if len(images) == 1 else 's'}"


def _figures(report: Report) -> tuple[str, str]:
    return _money(report.cost), _duration(report.duration_ms)


def _sensible(cost: Decimal) -> bool:
    """Whether it can be an amount of money; 1E+999999 would print a million digits."""
    return cost.is_finite() and cost.adjusted() <= 9 and cost >= 0


def _money(cost: Decimal | None) -> str:
    """USD with two to six decimals, or empty."""
    if cost is None or not _sensible(cost):
        return ""
    whole, _, part = format(round(abs(cost), 6), "f").partition(".")
    return f"${whole}.{part.rstrip('0'):0<2}"


def _duration(span_ms: int | None) -> str:
    if span_ms is None or span_ms < 0:  # a clock that was set back
        return ""
    seconds = round(span_ms / 1000)
    if seconds < 10:
        return f"{span_ms / 1000:.1f} s"
    minutes, hours = seconds // 60, seconds // 3600
    if hours:
        return f"{hours} h" + (f" {minutes % 60} min" if minutes % 60 else "")
    if minutes:
        return f"{minutes} min" + (f" {seconds % 60} s" if seconds % 60 else "")
    return f"{seconds} s"


def _joined(*parts: str) -> str:
    return " · ".join(part for part in parts if part)


# Text from outside.

_JOINERS = "\u200c\u200d"  # format characters too, but Persian, Indic scripts and emoji are misspelt without them
_CALLS = re.compile(r"([@<])(?=\S)")  # @channel, <!here>, <@U123>, <http://…|a false label>


def _clean(text: str, most: int) -> str:
    """Without control and format characters, which hold every bidirectional override; line ends become newlines.

    Reads no more than four times the `most` characters that will be shown: an error can be as long as a body.
    """
    lines = re.sub(r"\r\n?|[\u0085\u2028\u2029\v\f]", "\n", text[: 4 * most]).replace("\t", " ")
    return "".join(c for c in lines if c == "\n" or c in _JOINERS or unicodedata.category(c) not in {"Cc", "Cf", "Cs"})


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"


def _calm(text: str) -> str:
    """With a zero-width space after each `@` or `<`, so that no chat service takes the word for a call or a link."""
    return _CALLS.sub("\\1\u200b", text)


def _address(url: str) -> str:
    """A URL in ASCII, whole: what may not stand in one (spaces, controls, `<`), and `@`, is percent-encoded."""
    return quote(url, safe="%/:?#[]!$&'()*+,;=~", errors="replace")


# The two formats.


def _text(paragraphs: Iterable[_Paragraph]) -> str:
    return "\n\n".join("\n".join(map(_text_line, paragraph)) for paragraph in paragraphs)


def _text_line(line: _Line) -> str:
    return f"{_calm(line.text)} {_address(line.url)}" if line.url else _calm(line.text)


def _html(paragraphs: Iterable[_Paragraph]) -> str:
    return "\n".join(f"<p>{'<br>'.join(map(_html_line, paragraph))}</p>" for paragraph in paragraphs)


def _html_line(line: _Line) -> str:
    words = html.escape(line.text)
    if not line.url:
        return words
    address = html.escape(_address(line.url))
    if not re.match(r"https?://", line.url, re.IGNORECASE):  # `javascript:` is shown, never linked
        return f"{words} {address}"
    return f'{words} <a href="{address}">{address}</a>'
