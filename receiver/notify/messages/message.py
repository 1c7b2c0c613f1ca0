"""What a rendered message is, and what a renderer is given to make links with."""

from enum import StrEnum
from pathlib import Path
from typing import Protocol

from msgspec import Struct


class BodyFormat(StrEnum):
    """How a body is written; the values are Apprise's words."""

    TEXT = "text"
    MARKDOWN = "markdown"
    HTML = "html"


class MessageKind(StrEnum):
    """How a service may colour a message; the values are Apprise's words."""

    SUCCESS = "success"
    FAILURE = "failure"
    WARNING = "warning"
    INFO = "info"


class Message(Struct, frozen=True):
    """What is sent to a target. The title is plain text in every format, and empty where the body holds it."""

    title: str
    body: str
    format: BodyFormat
    kind: MessageKind
    blocks: str | None = None  # JSON, ASCII: what the service's Apprise plugin takes whole as its `template`
    picture: Path | None = None  # attached by the sender; only ever a file of our archive
    note: str | None = None  # why the target's own template was not used


class PublicLinks(Protocol):
    """Where things of ours can be seen; None where the world cannot reach them."""

    def task_url(self, ref: str) -> str | None:
        """The page of a task."""
        ...

    def image_url(self, folder: str, file: str) -> str | None:
        """A file of the archive, by a signed link that expires."""
        ...


class NoLinks:
    """Of a service that the world cannot reach."""

    def task_url(self, ref: str) -> str | None:
        """Nowhere."""
        return None

    def image_url(self, folder: str, file: str) -> str | None:
        """Nowhere."""
        return None
