"""A rendered message, and the links that a renderer may put into it."""

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from msgspec import Struct

from receiver.core.types import Importance


class BodyFormat(StrEnum):
    """The format of a body; the values are Apprise's words."""

    TEXT = "text"
    MARKDOWN = "markdown"
    HTML = "html"


class MessageKind(StrEnum):
    """How a service may colour a message; the values are Apprise's words."""

    SUCCESS = "success"
    FAILURE = "failure"
    WARNING = "warning"
    INFO = "info"


class TextLine(Struct, frozen=True):
    """Clean, bounded words, and perhaps a URL that belongs to them, unchanged."""

    text: str
    url: str | None = None


class Link(Struct, frozen=True):
    """A button or a tap that opens a URL, which is http or https and ASCII."""

    words: str
    url: str


class MailIds(Struct, frozen=True):
    """The left parts of a mail's Message-ID and of the id of its thread; the sender adds the domain."""

    message: str | None = None
    thread: str | None = None


class Extras(Struct, frozen=True):
    """What goes with a message where a service has a place for it, and nowhere else."""

    short: str = ""  # one line without links, for services that cut at a few hundred characters
    plain: str = ""  # the plain part of a mail whose body is HTML
    importance: Importance = Importance.NORMAL
    asked: bool = False  # whether the target's `priority` names this importance
    tags: tuple[str, ...] = ()  # ntfy's; the first is the short code of an emoji
    click: Link | None = None
    buttons: tuple[Link, ...] = ()
    fields: Mapping[str, object] = {}  # for machines: JSON values under fixed names
    mail: MailIds | None = None


class Message(Struct, frozen=True):
    """What is sent to a target. The title is plain text in every format, and empty if the body holds it."""

    title: str
    body: str
    format: BodyFormat
    kind: MessageKind
    blocks: str | None = None  # JSON in ASCII, the `template` of the service's Apprise plugin
    picture: Path | None = None  # attached by the sender; always a file of our archive
    note: str | None = None  # why the target's own template was not used
    extras: Extras = Extras()
    send_id: int | None = None  # of the send that it is for; each of its tries has the same
    delivered: tuple[str, ...] = ()  # parts that an earlier try delivered, as its `AttemptResult` has them


class TemplateError(Exception):
    """A target's own template cannot be used; the text says why, in one line."""


class PublicLinks(Protocol):
    """URLs of what we keep; None if it cannot be reached from outside."""

    def task_url(self, ref: str) -> str | None:
        """The page of a task."""
        ...

    def image_url(self, folder: str, file: str) -> str | None:
        """A signed link to a file of the archive, which expires."""
        ...

    def pick_url(self, ref: str, image_no: int) -> str | None:
        """The page on which a person picks this picture of a task."""
        ...


class NoLinks:
    """The links of a service that cannot be reached from outside."""

    def task_url(self, ref: str) -> str | None:
        """None."""
        return None

    def image_url(self, folder: str, file: str) -> str | None:
        """None."""
        return None

    def pick_url(self, ref: str, image_no: int) -> str | None:
        """None."""
        return None
