"""Loopback in the place of Slack, Discord, Telegram and ntfy: HTTP that keeps what it gets and answers as it is told.

`slack_faults` checks a payload against the limits that Slack documents for Block Kit (docs.slack.dev, "Blocks").
"""

import email
import email.policy
import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import EmailMessage
from typing import Any

import msgspec
import pytest
from msgspec import Struct

BLOCKS_MOST = 50
TEXT_MOST = 3_000  # characters of a section's text
HEADER_MOST = 150
BLOCK_TYPES = {"header", "section", "image", "context", "actions", "divider", "rich_text"}


class Request(Struct, frozen=True):
    """One request as it came."""

    method: str
    path: str
    media_type: str
    body: bytes
    headers: dict[str, str] = {}

    def json(self) -> Any:
        """The body, read as JSON."""
        return msgspec.json.decode(self.body)

    def parts(self) -> dict[str, EmailMessage]:
        """The parts of a multipart body, by the name of their field."""
        head = f"Content-Type: {self.media_type}\r\n\r\n".encode()
        whole = email.message_from_bytes(head + self.body, policy=email.policy.HTTP)
        assert isinstance(whole, EmailMessage)
        found = {}
        for part in whole.iter_parts():
            assert isinstance(part, EmailMessage)
            found[str(part.get_param("name", header="content-disposition"))] = part
        return found


class Double:
    """What came, and what is answered: `answers` in turn, then the last of them for ever."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, bytes]] = [(200, b"ok")]
        self.headers: dict[str, str] = {}  # of every answer that is no success
        self.requests: list[Request] = []
        self.address = ""

    def answer(self, *answers: tuple[int, bytes]) -> None:
        """Answer so from now on."""
        self.answers = list(answers)


@contextmanager
def double() -> Iterator[Double]:
    """A running Double."""
    it = Double()

    class Turn(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            it.requests.append(
                Request(self.command, self.path, self.headers.get("Content-Type", ""), body, dict(self.headers))
            )
            status, content = it.answers.pop(0) if len(it.answers) > 1 else it.answers[0]
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            for name, value in it.headers.items() if status >= 300 else ():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        do_PUT = do_GET = do_POST  # noqa: N815 - http.server's name

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Turn) as server:
        it.address = f"http://127.0.0.1:{server.server_address[1]}"
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield it
        server.shutdown()


@contextmanager
def slack(monkeypatch: pytest.MonkeyPatch) -> Iterator[Double]:
    """A Double to which Apprise's Slack plugin is led, webhooks and bots."""
    with double() as it:
        monkeypatch.setattr("apprise.plugins.slack.NotifySlack.webhook_url", f"{it.address}/services")
        monkeypatch.setattr("apprise.plugins.slack.NotifySlack.api_url", it.address + "/api/{}")
        monkeypatch.setattr("apprise.plugins.slack.NotifySlack.request_rate_per_sec", 0)
        yield it


def slack_faults(payload: Any) -> list[str]:
    """What Slack would refuse in a payload of blocks."""
    [attachment] = payload["attachments"]
    blocks = attachment["blocks"]
    faults = [] if 1 <= len(blocks) <= BLOCKS_MOST else [f"{len(blocks)} blocks"]
    for number, block in enumerate(blocks):
        here = f"{number} ({block['type']})"
        if block["type"] not in BLOCK_TYPES:
            faults.append(f"{here}: unknown")
        for text, most in _texts(block):
            if not 1 <= len(text) <= most:
                faults.append(f"{here}: a text of {len(text)} characters, {most} is the limit")
    return faults


def _texts(block: Any) -> Iterator[tuple[str, int]]:
    """The texts of a block, each with the most characters it may have."""
    match block["type"]:
        case "header":
            yield block["text"]["text"], HEADER_MOST
        case "section":
            if "text" in block:
                yield block["text"]["text"], TEXT_MOST
            assert len(block.get("fields", [])) <= 10
            yield from ((field["text"], 2_000) for field in block.get("fields", []))
        case "image":
            yield block["image_url"], 3_000
            yield block["alt_text"], 2_000
        case "context":
            assert 1 <= len(block["elements"]) <= 10
            yield from ((it["text"], TEXT_MOST) for it in block["elements"] if "text" in it)
        case "actions":
            assert 1 <= len(block["elements"]) <= 25
            for it in block["elements"]:
                yield it["text"]["text"], 75
                yield it.get("url", "-"), 3_000
