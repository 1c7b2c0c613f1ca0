"""A target's own template: Jinja2 in a sandbox, over words that are already clean and bounded.

Jinja2 is imported with the first template. What a value writes is escaped for the style, so a template may write markup
and nobody else can. A template is the operator's, who may still err: its output and its work are bounded.
"""

import html
import re
from collections.abc import Callable
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from receiver.core.sanitize import TITLE_MOST, defuse_mentions, encode_url, one_line, web_url
from receiver.core.types import Image, MessageStyle, NoticeEvent, Report, TaskError
from receiver.notify.messages import discord, slack, telegram, template_limits, text
from receiver.notify.messages.content import (
    ERROR_MOST,
    IMAGES_MOST,
    ITEMS_MOST,
    NAME_MOST,
    DigestContent,
    ReportContent,
    build_content,
    build_report,
    failure_advice,
    rank_worst_first,
    worst_event,
)
from receiver.notify.messages.message import NoLinks, PublicLinks
from receiver.notify.messages.template_limits import DIGITS_MOST, TemplateError

if TYPE_CHECKING:
    from jinja2 import Template

VARIABLES = {
    "title": "our own title",
    "body": "our own text, with all its links",
    "event": "completed, failed, lost or attention; of several, the worst",
    "count": "how many reports this tells",
    "total": "what they cost together, such as $0.15",
    "reports": "those reports, the failed ones first, at most 40; each has what follows, and its own title and event",
    "label": "the task's label; this and what follows is empty where several are told",
    "ref": "our id of the task",
    "task_id": "the provider's id of it",
    "model": "which model made it",
    "prompt": "its prompt, at most 300 characters",
    "cost": "such as $0.05",
    "duration": "such as 1 min 12 s",
    "confirmed": "false where nobody could confirm the end",
    "text": "what an attention says",
    "images": "its pictures, each with image_no, url and type",
    "error": "code, message and advice; false where there is none",
    "task_url": "the task's page, where the world can reach it",
}
"""What a template may use, and what it means. The first line that it writes is the title, the rest the body."""

BODY_MOST = {MessageStyle.EMAIL: 50_000, MessageStyle.SLACK: 6_000}
"""Characters that a template may write; OTHER_MOST elsewhere."""
OTHER_MOST = 3_500
_RANGE_MOST = 1_000
# Filters that call outside text safe, or turn a few characters into millions; methods of the latter sort.
_FILTERS = {"safe", "escape", "e", "forceescape", "urlize", "xmlattr", "tojson", "pprint"} | {
    *("center", "indent", "format", "batch", "slice", "wordwrap")
}
_METHODS = {"center", "ljust", "rjust", "zfill", "expandtabs", "format", "format_map"}
_MARKED = {MessageStyle.EMAIL, MessageStyle.TELEGRAM}


class _WebUrl(str):
    """Written as an address and not as words. ASCII, and one of the web's, or empty."""

    __slots__ = ()


def check_template(template: str, style: MessageStyle | None = None) -> str | None:
    """What is wrong with a target's own template, in a line; None if nothing.

    Tried on samples of every event and on a digest, for `style`, or as text and as a mail.
    """
    for each in (style,) if style else (MessageStyle.TEXT, MessageStyle.EMAIL):
        for name, reports in _SAMPLES.items():
            try:
                render_template(template, reports, build_content(reports, NoLinks()), NoLinks(), each)
            except TemplateError as error:
                return f"{error} (tried on {name})"
    return None


def render_template(
    template: str,
    reports: tuple[Report, ...],
    told: ReportContent | DigestContent,
    links: PublicLinks,
    style: MessageStyle,
) -> tuple[str, str]:
    """The title, plain, and the body, in the style's own markup, that a template makes of reports. Raises Failed."""
    most = BODY_MOST.get(style, OTHER_MOST)
    pieces: list[str] = []
    template_limits.begin()  # before it is compiled, as what is constant is worked out then
    try:
        for piece in _compile_template(template, style).generate(_template_values(reports, told, links, style)):
            most -= len(piece)
            if most < 0:
                raise TemplateError(f"it writes more than {BODY_MOST.get(style, OTHER_MOST)} characters")
            pieces.append(piece)
    except TemplateError:
        raise
    except Exception as error:  # whatever it is, the ping goes out in our own words
        raise TemplateError(_describe_error(error)) from None
    first, _, rest = "".join(pieces).strip().partition("\n")
    title = one_line(_strip_markup(first, style), TITLE_MOST)
    if not title:
        raise TemplateError("its first line, the title, is empty")
    return title, rest.strip() or first


@lru_cache(maxsize=64)
def _compile_template(template: str, style: MessageStyle) -> "Template":
    from jinja2 import StrictUndefined, nodes
    from jinja2.sandbox import ImmutableSandboxedEnvironment
    from jinja2.visitor import NodeTransformer
    from markupsafe import Markup

    class Counted(NodeTransformer):
        """Has every loop count its rounds, and what `~` makes measured."""

        def visit_For(self, node: nodes.For) -> nodes.For:  # noqa: N802 - as Jinja2 finds it
            if node.recursive:
                raise TemplateError(f"line {node.lineno}: a loop cannot be recursive")
            self.generic_visit(node)
            node.iter = self._through("counted", node.iter)
            return node

        def visit_Concat(self, node: nodes.Concat) -> nodes.Expr:  # noqa: N802 - likewise
            self.generic_visit(node)
            node.nodes = [self._through("weighed", each) for each in node.nodes]
            return self._through("weighed", node)

        def _through(self, name: str, node: nodes.Node) -> nodes.Expr:
            asked = nodes.EnvironmentAttribute(name, lineno=node.lineno, environment=node.environment)
            assert isinstance(node, nodes.Expr)  # noqa: S101 - as loops and `~` take nothing else
            return nodes.Call(asked, [node], [], None, None, lineno=node.lineno, environment=node.environment)

    class TemplateSandbox(ImmutableSandboxedEnvironment):
        """Without what makes much of little: repetition, powers, padding."""

        intercepted_binops = frozenset({"+", "*", "**", "%"})
        counted = staticmethod(template_limits.counted)
        weighed = staticmethod(template_limits.weighed)

        def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
            found = Counted().visit(super()._parse(source, name, filename))
            assert isinstance(found, nodes.Template)  # noqa: S101 - as it came
            return found

        def call(self, context: Any, called: Any, /, *args: Any, **named: Any) -> Any:
            if called is not template_limits.counted and called is not template_limits.weighed:
                template_limits.spend(getattr(called, "__self__", None), *args, *named.values())
            return template_limits.measured(super().call(context, called, *args, **named))

        def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
            if isinstance(left, int) and isinstance(right, int) and operator in "+*":
                if left.bit_length() + right.bit_length() > DIGITS_MOST * 3:
                    raise TemplateError(f"{operator} is for numbers of up to {DIGITS_MOST} digits together")
            elif operator == "+":
                template_limits.spend(left, right)
                return template_limits.measured(super().call_binop(context, operator, left, right))
            elif operator == "**" or not all(isinstance(it, int | float | Decimal) for it in (left, right)):
                raise TemplateError(f"{operator} is for numbers")
            return super().call_binop(context, operator, left, right)

        def wrap_str_format(self, value: Any) -> None:
            return None

        def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
            return attr not in _METHODS and super().is_safe_attribute(obj, attr, value)

    def finalize(value: object) -> object:
        template_limits.spend(value)
        if value is None or hasattr(value, "__html__"):
            return "" if value is None else value
        return Markup(_escape_url(value, style) if isinstance(value, _WebUrl) else _escape_words(str(value), style))  # noqa: S704

    sandbox = TemplateSandbox(
        autoescape=True, undefined=StrictUndefined, finalize=finalize, trim_blocks=True, lstrip_blocks=True
    )
    for name in _FILTERS:
        sandbox.filters.pop(name, None)
    sandbox.filters = {name: template_limits.bounded(filtered) for name, filtered in sandbox.filters.items()}
    sandbox.globals = {"range": _bounded_range}
    return sandbox.from_string(template)


def _bounded_range(*bounds: int) -> range:
    found = range(*bounds)
    if len(found) > _RANGE_MOST:
        raise TemplateError(f"range() is for up to {_RANGE_MOST}")
    return found


def _describe_error(error: Exception) -> str:
    """An error of a template in a line, with the template's own line where it is known."""
    line, trace = getattr(error, "lineno", None), error.__traceback__
    while trace:
        if trace.tb_frame.f_code.co_filename == "<template>":
            line = trace.tb_lineno
        trace = trace.tb_next
    said = one_line(str(error) or type(error).__name__, 200)
    return f"line {line}: {said}" if line else said


# What a template is given.


def _template_values(
    reports: tuple[Report, ...], told: ReportContent | DigestContent, links: PublicLinks, style: MessageStyle
) -> dict[str, object]:
    each = [_report_values(report, links) for report in rank_worst_first(reports)[:ITEMS_MOST]]
    return {
        **(each[0] if isinstance(told, ReportContent) else _report_values(Report(event=worst_event(reports)), links)),
        "title": told.title,
        "body": _default_body(told, style),
        "count": len(reports),
        "total": told.cost if isinstance(told, ReportContent) else told.total,
        "reports": each,
    }


def _report_values(report: Report, links: PublicLinks) -> dict[str, object]:
    told = build_report(report, links)
    error = report.error if report.event is NoticeEvent.FAILED else None
    images = sorted(report.images, key=lambda image: image.image_no)[:IMAGES_MOST]
    return {
        "title": told.title,
        "event": report.event.value,
        "label": one_line(report.label or "", NAME_MOST),
        "ref": told.ref,
        "task_id": one_line(report.task_id or "", NAME_MOST),
        "model": told.model,
        "prompt": told.prompt,
        "cost": told.cost,
        "duration": told.took,
        "confirmed": report.confirmed,
        "text": "\n".join(told.text),
        "images": [
            {"image_no": image.image_no, "url": _WebUrl(web_url(image.url) or ""), "type": one_line(image.type, 20)}
            for image in images
        ],
        "error": _ErrorValues(
            code=one_line((error and error.code) or "", NAME_MOST),
            message=one_line((error and error.message) or "", ERROR_MOST),
            advice=failure_advice(report) if error else "",
        ),
        "task_url": _WebUrl(web_url(told.page) or ""),
    }


class _ErrorValues(dict[str, str]):
    """False where nothing went wrong, and its parts are there all the same."""

    def __bool__(self) -> bool:
        return any(self.values())


def _default_body(told: ReportContent | DigestContent, style: MessageStyle) -> object:
    from markupsafe import Markup

    lines = (
        "\n".join(
            f"{_escape_words(line.text, style)} {_escape_url(encode_url(line.url), style)}"
            if line.url
            else _escape_words(line.text, style)
            for line in paragraph
        )
        for paragraph in text.make_paragraphs(told)
    )
    whole = "\n\n".join(lines)
    return Markup(whole.replace("\n", _BREAK) if style in _MARKED else whole)  # noqa: S704  # escaped line by line


# What a style makes of it.

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


_REF = "01997b3c-7f00-7abc-8def-0123456789ab"
_DONE = Report(
    event=NoticeEvent.COMPLETED,
    ref=_REF,
    task_id="d8ejq0s3k1",
    label="hero",
    model="midjourney_outpaint",
    prompt="a lighthouse & its keeper, <oil on canvas>",
    images=tuple(Image(number, f"https://cdn.example.com/{number}.png?size=full&sig=a1b2") for number in range(4)),
    cost=Decimal("0.05"),
    duration_ms=72_400,
)
_FAILED = Report(
    event=NoticeEvent.FAILED,
    ref=_REF,
    label="hero",
    model="midjourney_outpaint",
    prompt="a lighthouse",
    error=TaskError("004007098", "the upstream refused it"),
    duration_ms=9_100,
)
_SAMPLES = {
    "a completed task": (_DONE,),
    "a failed task": (_FAILED,),
    "a lost task": (Report(event=NoticeEvent.LOST, ref=_REF, label="hero"),),
    "an attention": (Report(event=NoticeEvent.ATTENTION, text="The provider refuses our key.\nSet PROVIDER_KEY."),),
    "a digest": (_DONE, _FAILED, _DONE),
}
