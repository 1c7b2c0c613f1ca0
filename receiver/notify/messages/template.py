"""A target's own template: Jinja2 in its sandbox, with values that are already clean and bounded.

Values are escaped for the target's style, so only the template itself can write markup. The template is the operator's
own code; its output and its `range` are bounded against mistakes. Jinja2 is imported with the first template.
"""

import html
import re
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING

from receiver.core.sanitize import TITLE_MOST, defuse_mentions, encode_url, one_line, web_url
from receiver.core.types import MessageStyle, NoticeEvent, Report
from receiver.notify.messages import discord, slack, telegram, text
from receiver.notify.messages.block_tags import keep_line_ends
from receiver.notify.messages.content import (
    ERROR_MOST,
    IMAGES_MOST,
    ITEMS_MOST,
    Content,
    ReportContent,
    build_content,
    build_report,
    failure_advice,
    rank_worst_first,
    worst_event,
)
from receiver.notify.messages.message import NoLinks, PublicLinks, TemplateError
from receiver.notify.messages.samples import SAMPLE_NAMES, SAMPLES
from receiver.notify.messages.task_names import NAME_MOST

if TYPE_CHECKING:
    from jinja2 import Template

VARIABLES = {
    "title": "our own title",
    "body": "our own text, with all its links",
    "event": "completed, failed, lost, attention or batch; in a digest, the worst of them",
    "count": "how many reports the message has",
    "total": "what they cost, such as $0.15 in total",
    "reports": "the reports, at most 40, failed ones first; each has a title, an event and the variables below",
    "label": "the task's label; this and all below are empty in a digest",
    "ref": "our id of the task",
    "task_id": "the provider's id of the task",
    "model": "the model",
    "prompt": "the prompt, at most 300 characters",
    "cost": "such as $0.05",
    "duration": "such as 1 min 12 s",
    "confirmed": "false if the result could not be confirmed",
    "text": "what an attention says",
    "batch": "the name of the batch, if it reports one",
    "images": "the pictures, each with image_no, url and type",
    "error": "code, message and advice; false if there is no error",
    "task_url": "the task's page, if it can be reached from outside",
}
"""What a template may use. The first line that it writes is the title, the rest is the body."""

BODY_MOST = {MessageStyle.EMAIL: 50_000, MessageStyle.SLACK: 6_000}
"""Characters that a template may write; OTHER_MOST elsewhere."""
OTHER_MOST = 3_500
SAMPLE_MOST = 400  # characters of a sample that is shown in one line
_RANGE_MOST = 1_000
_UNSAFE_FILTERS = {"safe", "escape", "e", "forceescape", "urlize", "xmlattr", "tojson"}  # mark outside text as safe
_MARKED = {MessageStyle.EMAIL, MessageStyle.TELEGRAM}


class _WebUrl(str):
    """Written as a URL, not as words. It is ASCII, and http or https, or empty."""

    __slots__ = ()


def check_template(template: str, style: MessageStyle | None = None) -> str | None:
    """What is wrong with a target's own template, in one line; None if nothing.

    It is tried on a sample of every event and on a digest, in `style`, or else as text and as a mail.
    """
    for each in (style,) if style else (MessageStyle.TEXT, MessageStyle.EMAIL):
        for name, reports in SAMPLES.items():
            try:
                if not writes_words_of(template, reports, each):
                    continue
                render_template(template, reports, build_content(reports, NoLinks()), NoLinks(), each)
            except TemplateError as error:
                return f"{error} (tried on {SAMPLE_NAMES[name]})"
    return None


def show_sample(template: str, style: MessageStyle) -> str:
    """What a template writes about a completed task, in one line with ` / ` between its lines. Raises TemplateError."""
    reports = SAMPLES[NoticeEvent.COMPLETED.value]
    title, body = render_template(template, reports, build_content(reports, NoLinks()), NoLinks(), style)
    lines = (one_line(_strip_markup(line, style), SAMPLE_MOST) for line in body.split("\n"))
    return one_line(" / ".join(filter(None, (title, *lines))), SAMPLE_MOST)


def render_template(
    template: str,
    reports: tuple[Report, ...],
    content: Content,
    links: PublicLinks,
    style: MessageStyle,
) -> tuple[str, str]:
    """What a template writes: the title in plain text, and the body in the style's markup. Raises TemplateError."""
    most = BODY_MOST.get(style, OTHER_MOST)
    pieces: list[str] = []
    try:
        for piece in _compile_template(template, style).generate(_template_values(reports, content, links, style)):
            most -= len(piece)
            if most < 0:
                raise TemplateError(f"it writes more than {BODY_MOST.get(style, OTHER_MOST)} characters")
            pieces.append(piece)
    except TemplateError:
        raise
    except Exception as error:  # whatever it is, the message is sent in our own words
        raise TemplateError(_describe_error(error)) from None
    first, _, rest = "".join(pieces).strip().partition("\n")
    title = one_line(_strip_markup(first, style), TITLE_MOST)
    if not title:
        raise TemplateError("its first line, the title, is empty")
    return title, rest.strip() or first


def writes_words_of(template: str, reports: tuple[Report, ...], style: MessageStyle) -> bool:
    """Whether a template has a place for what these reports say; if not, our own words are sent.

    What needs a person is said in `text` and in `body`, several reports in `reports` and in `body`. Raises
    TemplateError.
    """
    several = len(reports) > 1
    if not several and reports[0].event is not NoticeEvent.ATTENTION:
        return True
    return bool(_find_variables(template) & {"body", "reports", *(() if several else ("text",))})


@lru_cache(maxsize=64)
def _find_variables(template: str) -> frozenset[str]:
    from jinja2 import Environment, meta

    try:
        parsed = Environment(autoescape=True).parse(template)
    except Exception as error:
        raise TemplateError(_describe_error(error)) from None
    return frozenset(meta.find_undeclared_variables(parsed))


@lru_cache(maxsize=64)
def _compile_template(template: str, style: MessageStyle) -> "Template":
    from jinja2 import StrictUndefined
    from jinja2.sandbox import ImmutableSandboxedEnvironment
    from markupsafe import Markup

    def finalize(value: object) -> object:
        if value is None or hasattr(value, "__html__"):
            return "" if value is None else value
        words = _escape_url(value, style) if isinstance(value, _WebUrl) else _escape_words(str(value), style)
        return Markup(words)  # noqa: S704  # escaped for the style

    sandbox = ImmutableSandboxedEnvironment(
        autoescape=True, undefined=StrictUndefined, finalize=finalize, trim_blocks=True, lstrip_blocks=True
    )
    for name in _UNSAFE_FILTERS:
        sandbox.filters.pop(name, None)
    sandbox.globals = {"range": _bounded_range}
    return sandbox.from_string(keep_line_ends(template))


def _bounded_range(*bounds: int) -> range:
    found = range(*bounds)
    if len(found) > _RANGE_MOST:
        raise TemplateError(f"range() has more than {_RANGE_MOST} items")
    return found


def _describe_error(error: Exception) -> str:
    """A template's error in one line, with the line number in the template if it is known."""
    line, trace = getattr(error, "lineno", None), error.__traceback__
    while trace:
        if trace.tb_frame.f_code.co_filename == "<template>":
            line = trace.tb_lineno
        trace = trace.tb_next
    said = one_line(str(error) or type(error).__name__, 200)
    return f"line {line}: {said}" if line else said


def _template_values(
    reports: tuple[Report, ...], content: Content, links: PublicLinks, style: MessageStyle
) -> dict[str, object]:
    each = [_report_values(report, links) for report in rank_worst_first(reports)[:ITEMS_MOST]]
    return {
        **(
            each[0] if isinstance(content, ReportContent) else _report_values(Report(event=worst_event(reports)), links)
        ),
        "title": content.title,
        "body": _default_body(content, style),
        "count": len(reports),
        "total": content.cost if isinstance(content, ReportContent) else content.total,
        "reports": each,
    }


def _report_values(report: Report, links: PublicLinks) -> dict[str, object]:
    content = build_report(report, links)
    error = report.error if report.event is NoticeEvent.FAILED else None
    images = sorted(report.images, key=lambda image: image.image_no)[:IMAGES_MOST]
    return {
        "title": content.title,
        "event": report.event.value,
        "label": one_line(report.label or "", NAME_MOST),
        "ref": content.ref,
        "task_id": one_line(report.task_id or "", NAME_MOST),
        "model": content.model,
        "prompt": content.prompt,
        "cost": content.cost,
        "duration": content.took,
        "confirmed": report.confirmed,
        "text": "\n".join(content.text),
        "batch": one_line(report.batch or "", NAME_MOST),
        "images": [
            {"image_no": image.image_no, "url": _WebUrl(web_url(image.url) or ""), "type": one_line(image.type, 20)}
            for image in images
        ],
        "error": _ErrorValues(
            code=one_line((error and error.code) or "", NAME_MOST),
            message=one_line((error and error.message) or "", ERROR_MOST),
            advice=failure_advice(report) if error else "",
        ),
        "task_url": _WebUrl(web_url(content.page) or ""),
    }


class _ErrorValues(dict[str, str]):
    """False if there is no error; its keys are there in any case."""

    def __bool__(self) -> bool:
        return any(self.values())


def _default_body(content: Content, style: MessageStyle) -> object:
    from markupsafe import Markup

    lines = (
        "\n".join(
            f"{_escape_words(line.text, style)} {_escape_url(encode_url(line.url), style)}"
            if line.url
            else _escape_words(line.text, style)
            for line in paragraph
        )
        for paragraph in text.make_paragraphs(content)
    )
    whole = "\n\n".join(lines)
    return Markup(whole.replace("\n", _BREAK) if style in _MARKED else whole)  # noqa: S704  # escaped line by line


_BREAK = "<br>\n"
_ESCAPES: dict[MessageStyle, Callable[[str], str]] = {
    MessageStyle.TEXT: defuse_mentions,
    MessageStyle.NTFY: defuse_mentions,
    MessageStyle.EMAIL: html.escape,
    MessageStyle.SLACK: slack.escape_mrkdwn,
    MessageStyle.DISCORD: discord.escape,
    MessageStyle.TELEGRAM: telegram.escape,
}


def _escape_words(words: str, style: MessageStyle) -> str:
    escaped = _ESCAPES[style](words)
    return escaped.replace("\n", _BREAK) if style in _MARKED else escaped


def _escape_url(url: str, style: MessageStyle) -> str:
    match style:
        case MessageStyle.EMAIL | MessageStyle.TELEGRAM:
            return html.escape(url)
        case MessageStyle.SLACK:
            return url.replace("&", "&amp;")
        case MessageStyle.DISCORD:
            return url.replace("(", "%28").replace(")", "%29")
        case _:
            return url


def _strip_markup(line: str, style: MessageStyle) -> str:
    """A line without the style's escapes and tags, for a title."""
    match style:
        case MessageStyle.EMAIL | MessageStyle.TELEGRAM:
            return html.unescape(re.sub(r"<[^>]*>", "", line))
        case MessageStyle.SLACK:
            return html.unescape(line)
        case MessageStyle.DISCORD:
            return re.sub(r"\\([^\w\s])", r"\1", line)
        case _:
            return line
