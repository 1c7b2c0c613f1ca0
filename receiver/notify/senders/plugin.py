"""Opens an Apprise object from a target's URL, and sends one message through it, with its blocks and its picture.

Runs in a send's thread and blocks. The only file that imports Apprise, on first use. Promises that only files of our
archive are attached, and that Apprise's DEBUG lines, which show tokens, do not reach our logs.
"""

import contextlib
import logging
import os
import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from receiver.core.sanitize import one_line
from receiver.core.types import AttemptResult, MessageStyle, Target
from receiver.notify.messages.markdown import to_markdown
from receiver.notify.messages.message import BodyFormat, Message
from receiver.notify.senders import failure_text
from receiver.notify.senders.answers import ANSWERS, HeardAnswers
from receiver.notify.senders.delivered import DELIVERED, DeliveredParts
from receiver.notify.senders.extras import takes_one_line, with_extras
from receiver.notify.senders.load_service import load_service
from receiver.notify.senders.overrides import NO_LOGOS, override_plugin
from receiver.notify.senders.pieces import fit_pieces
from receiver.notify.senders.refusal import UnusableUrl, explain_refusal, without_recipient

if TYPE_CHECKING:
    from apprise import Apprise
    from apprise.attachment.base import AttachBase

THROTTLE_MOST_S = 1.0  # between two messages to one target
ATTACHED_MOST = 1024 * 1024  # bytes; Apprise needs seven times as much memory while it sends
MAIL_MOST = 200_000  # characters of a mail's body; Apprise's own limit is 32,768, but mail servers take more
BRIEF_MOST = 150  # characters of the body that accompanies blocks and is not shown
BLOCKS_MOST = 35_000  # bytes of a template that Apprise's plugins take
_SHEET_NAME = "sheet.jpg"  # the name by which a mail's HTML shows it
_WITH_ATTACHMENT = {MessageStyle.EMAIL, MessageStyle.DISCORD, MessageStyle.TELEGRAM, MessageStyle.NTFY}
_WITH_BLOCKS = {MessageStyle.SLACK, MessageStyle.DISCORD}
_PLAINER = {"action": "notice.plainer"}
_SCHEME = re.compile(r"\s*([a-z][a-z0-9+.-]{0,31})://", re.IGNORECASE)
_INLINE = re.compile(rf'<img\b[^>]*"cid:{re.escape(_SHEET_NAME)}"[^>]*>', re.IGNORECASE)

log = logging.getLogger(__name__)


def open_target(url: str) -> "Apprise":
    """The Apprise object of one target. Raises UnusableUrl."""
    from apprise import Apprise, AppriseAsset
    from apprise.common import OverflowMode

    from receiver.notify.senders.bounded_io import install_bounds  # imports requests, as Apprise does
    from receiver.notify.senders.sessions import install_sessions

    _silence_loggers()
    install_bounds()
    install_sessions()
    # Without a timeout of its own, Apprise works in the calling thread; with one, in a pool of six for all targets.
    asset = AppriseAsset(
        app_id="receiver",
        app_desc="receiver",
        http_redirects=False,
        storage_mode="memory",
        language="en",  # of the names of services, which we go by
        service_timeout=0,
        **NO_LOGOS,
    )
    opened = Apprise(asset=asset)
    # A URL of a service that Apprise does not know is refused here, for example file://.
    if not opened.add(load_service(url, asset) or url):
        raise explain_refusal(url, scheme_of(url), asset)
    if len(opened) != 1:
        raise UnusableUrl(
            "it holds several URLs", remedy="give each its own target, so that each is retried on its own"
        )
    service = opened[0]
    if service.redirects:
        raise UnusableUrl("its redirect= lets the service send our requests elsewhere", remedy="remove it")
    if not len(service):
        raise without_recipient(service)
    # We send one at a time, and a target may have a `rate`; Apprise would wait 5.5 s between two mails.
    service.request_rate_per_sec = min(service.request_rate_per_sec, THROTTLE_MOST_S)
    service.retry = 0  # we try again ourselves; Apprise would repeat a message within one try
    service.optional = False  # optional=yes reports a failure as success
    if service.overflow_mode is OverflowMode.UPSTREAM:
        service.overflow_mode = OverflowMode.SPLIT  # by default, the service would refuse a message that is too long
    override_plugin(service)
    return opened


def carry_message(opened: "Apprise", target: Target, message: Message, parts: DeliveredParts) -> AttemptResult:
    """Sends `message`, once, without those of its `parts` that were delivered before; it adds to them.

    If the service refuses blocks that show no picture, the plain body is sent instead, at once: nothing was posted, and
    the blocks would be refused again. Likewise a text goes out without its picture if that may be the cause: services
    have their own words for it, which we do not know.
    """
    from apprise.plugins.base import _delivery_tracker

    _delivery_tracker.set(parts)  # type: ignore[arg-type]  # plugins ask it for what is `in` it, and `add`
    DELIVERED.set(parts)
    service: Any = opened[0]
    blocks, picture = _usable_blocks(service, target, message), _open_attachment(target, message)
    sent = _notify_service(opened, target, message, blocks, picture)
    if blocks and sent.error and failure_text.blames_blocks(sent.error) and '"image_url"' not in blocks:
        log.warning(
            "%s refuses our formatted message, so it gets plain text: %s", target.name, sent.error, extra=_PLAINER
        )
        sent = _notify_service(opened, target, message, None, picture)
    elif picture and target.style is MessageStyle.TEXT and failure_text.may_blame_picture(sent.error):
        log.warning("%s: sent again without its picture: %s", target.name, sent.error, extra=_PLAINER)
        sent = _notify_service(opened, target, message, None, None)
    return sent


def scheme_of(url: str) -> str:
    """The scheme of an Apprise URL in lower case, or an empty string."""
    found = _SCHEME.match(url)
    return found[1].lower() if found else ""


def _usable_blocks(service: Any, target: Target, message: Message) -> str | None:
    if message.blocks is None or target.style not in _WITH_BLOCKS or len(message.blocks.encode()) > BLOCKS_MOST:
        return None
    return None if service.template else message.blocks  # the URL may name a template, and then that is used


def _notify_service(
    opened: "Apprise", target: Target, message: Message, blocks: str | None, picture: "AttachBase | None"
) -> AttemptResult:
    service: Any = opened[0]
    title, body, form = message.title, message.body, message.format
    if takes_one_line(service) and message.extras.short:
        title, body, form = "", message.extras.short, BodyFormat.TEXT
    elif blocks:  # a long body would be split, and the blocks posted once for each piece
        title, body = "", one_line(message.title or message.body, BRIEF_MOST)
    elif picture is None and target.style is MessageStyle.EMAIL:
        body = _INLINE.sub("", body)
    if target.style is MessageStyle.EMAIL:
        if message.extras.plain and service.resolve_format(form.value).value == BodyFormat.TEXT:  # ?format=text
            body, form = message.extras.plain, BodyFormat.TEXT
        service.inline = picture is not None
        service.body_maxlen = MAIL_MOST  # Apprise would split a longer body in the middle of its markup
    _forget_future_throttle(service)
    if form is BodyFormat.TEXT and _wants_markdown(service):
        form, body = BodyFormat.MARKDOWN, to_markdown(body)
        title = to_markdown(title) if service.title_maxlen <= 0 else title  # then it becomes part of the body
    body = fit_pieces(service, title, body, form)
    answers = HeardAnswers()
    ANSWERS.set(answers)
    with (
        with_extras(service, target, message.extras),
        _blocks_as_template(service, blocks) if blocks else contextlib.nullcontext(),
    ):
        result = opened.notify(
            body=body,
            title=title,
            notify_type=message.kind.value,
            body_format=form.value,
            attach=picture,
            log_level=logging.DEBUG,
        )
    if result:
        refusal = answers.find_refusal(str(service.service_name))
        return failure_text.build_refusal(refusal, answers.last_body, target.url) if refusal else AttemptResult()
    if answers.gave_up and answers.seconds is not None:
        return failure_text.build_pause(str(service.service_name), answers.seconds)
    entries = list(result.logs())
    posted = any(entry.message.startswith(failure_text.POSTED) for entry in entries)
    lines = failure_text.pair_answers(
        (entry.level == "DEBUG", entry.message) for entry in entries if entry.level != "INFO"
    )
    sent = failure_text.build_failure(lines, target.url, answers.seconds, answers.last_status)
    if posted and failure_text.blames_only_files(lines):  # a second message with the same text would be worse
        log.warning("%s: the text was sent, but not its picture: %s", target.name, sent.error, extra=_PLAINER)
        return AttemptResult()
    return sent


def _wants_markdown(service: Any) -> bool:
    """Whether Apprise would convert plain text to Markdown, and break URLs by escaping them.

    Telegram is an exception: Apprise's own conversion works there, and ours would not.
    """
    return bool(service.resolve_format("text").value == BodyFormat.MARKDOWN) and service.service_name != "Telegram"


def _forget_future_throttle(service: Any) -> None:
    """Apprise's throttle uses local time: after a clock was put back, as every autumn, it would sleep for long."""
    last = service._last_io_datetime
    if last is not None and last > datetime.now(last.tzinfo):
        service._last_io_datetime = None


def _open_attachment(target: Target, message: Message) -> "AttachBase | None":
    """The picture's file, if it exists and is not too large; never anything by URL."""
    if message.picture is None or not (
        target.style in _WITH_ATTACHMENT or (target.style is MessageStyle.TEXT and target.takes_files)
    ):
        return None
    from apprise.attachment.file import AttachFile

    path = Path(message.picture)
    try:
        size = path.stat().st_size if path.is_file() else 0
    except OSError:
        size = 0
    if not 0 < size <= ATTACHED_MOST:
        why = f"it has {size} bytes, at most {ATTACHED_MOST} are sent" if size else "its file is missing or empty"
        log.warning("%s: sent without its picture: %s", target.name, why, extra=_PLAINER)
        return None
    # With `cache`, it is not reopened, and so closed, in the middle of an upload once the file is ten minutes old.
    return AttachFile(str(path), name=_SHEET_NAME, mimetype="image/jpeg", cache=True)  # type: ignore[no-untyped-call]


@contextlib.contextmanager
def _blocks_as_template(service: Any, blocks: str) -> Iterator[None]:
    """Slack's and Discord's plugins read what they post from a file, their `template`: one in memory, since a read-only
    container has no temporary directory."""
    from apprise.attachment.file import AttachFile

    with open(os.memfd_create("receiver-blocks"), "w", encoding="utf-8") as file:
        file.write(blocks)
        file.flush()
        plain = getattr(service, "use_blocks", None)
        service.template.add(AttachFile(f"/proc/self/fd/{file.fileno()}", cache=True))  # type: ignore[no-untyped-call]
        service.use_blocks = True
        try:
            yield
        finally:
            service.template.clear()
            service.use_blocks = plain


def _silence_loggers() -> None:
    """Keeps Apprise and urllib3 out of our logs: at DEBUG they show tokens and full request paths."""
    for name, level in (("apprise", logging.DEBUG), ("urllib3", logging.WARNING)):
        logger = logging.getLogger(name)
        logger.setLevel(level)  # whatever the root's level: Apprise's results consist of its log lines
        logger.propagate = False
    logging.getLogger("apprise").addFilter(_is_answer_line)


def _is_answer_line(record: logging.LogRecord) -> bool:
    """Whether a line of Apprise's log is a warning, or says what the service answered."""
    return record.levelno >= logging.WARNING or str(record.msg).startswith(
        (*failure_text.ANSWERS, *failure_text.POSTED)
    )
