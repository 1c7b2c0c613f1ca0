"""Messages by email, to a real SMTP server on loopback: what the reader sees, and what a refusal means."""

import asyncio
import email
import email.policy
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email.message import EmailMessage

import pytest
from aiosmtpd.smtp import SMTP, Envelope, Session

from receiver.messages import Format, Kind, Message, render
from receiver.model import Event, Image, Report, Target
from receiver.senders import AppriseSender, format_for

pytestmark = [
    pytest.mark.anyio,
    # Apprise's PGP module imports it on Python < 3.13, when all plugins are loaded; nothing of ours does.
    pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning"),
]

HELLO = Message(title="✓ hero — 4 pictures", body="<b>a & b</b>", format=Format.TEXT, kind=Kind.SUCCESS)


class Mailbox:
    """What an SMTP server was given; refuses the recipients in `refused` for good."""

    def __init__(self) -> None:
        self.mails: list[EmailMessage] = []
        self.refused: set[str] = set()

    async def handle_RCPT(  # noqa: N802  # aiosmtpd calls it so
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address in self.refused:
            return "550 5.1.1 no such user"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        assert isinstance(envelope.content, bytes)
        mail = email.message_from_bytes(envelope.content, policy=email.policy.default)
        assert isinstance(mail, EmailMessage)
        self.mails.append(mail)
        return "250 OK"


@asynccontextmanager
async def mailbox() -> AsyncIterator[tuple[Mailbox, Target]]:
    box = Mailbox()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(box, hostname="localhost", loop=loop), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    url = f"mailto://127.0.0.1:{port}?from=pings@example.com&to=ann@example.com&cc=bob@example.com"
    try:
        yield box, Target(name="mail", url=url)
    finally:
        server.close()
        await server.wait_closed()


@pytest.mark.parametrize(
    ("url", "form"),
    [
        ("mailto://ann:pw@example.com", Format.HTML),
        ("MAILTOS://ann:pw@example.com?to=bob@example.com", Format.HTML),
        ("mailto://ann:pw@example.com?format=html", Format.HTML),
        ("mailto://ann:pw@example.com?to=x@y.z&format=text", Format.TEXT),
        ("slack://T/B/C", Format.TEXT),
        ("https://hooks.slack.com/services/T/B/C", Format.TEXT),
    ],
)
def test_email_is_html_unless_its_url_says_otherwise(url: str, form: Format) -> None:
    assert format_for(Target(name="t", url=url)) is form


async def test_a_mail_shows_hostile_text_as_text() -> None:
    hostile = Report(
        event=Event.COMPLETED,
        label="<i>hero\r\nBcc: eve@example.com",
        prompt="<img src=x> **b**",
        images=(Image(0, "https://cdn.example.com/0.png?a=1&b=2"),),
    )
    async with mailbox() as (box, target):
        sent = await AppriseSender().send(target, render((hostile,), format=format_for(target)))

    assert sent.error is None
    mail = box.mails[0]
    assert mail["Subject"] == "✓ <i>hero Bcc: eve@example.com — 1 picture"
    assert mail["Bcc"] is None
    part = mail.get_body(("html",))
    assert part is not None
    content = part.get_content()
    assert "“&lt;img src=x&gt; **b**”" in content
    assert '<a href="https://cdn.example.com/0.png?a=1&amp;b=2">' in content


async def test_a_mail_that_one_recipient_of_several_refuses_is_not_sent_again() -> None:
    async with mailbox() as (box, target):
        box.refused = {"bob@example.com"}

        sent = await AppriseSender().send(target, HELLO)

    assert len(box.mails) == 1
    assert sent.permanent
    assert "was refused: 550" in (sent.error or "")
    assert "bob@example.com" not in (sent.error or "")


async def test_a_mail_that_failed_without_a_reason_is_worth_another_try() -> None:
    """Apprise tells the SMTP answer at DEBUG only, with secrets beside it."""
    async with mailbox() as (box, target):
        box.refused = {"ann@example.com", "bob@example.com"}

        sent = await AppriseSender().send(target, HELLO)

    assert sent.error is not None
    assert not sent.permanent
