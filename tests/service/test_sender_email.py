"""Messages by email, to a real SMTP server on loopback: what the reader sees, and what a refusal means."""

from email.message import EmailMessage
from pathlib import Path

import pytest
from msgspec.structs import replace

from kit.smtp_server import mailbox
from receiver.core.types import Image, NoticeEvent, Report
from receiver.notify.messages.message import BodyFormat, Message, MessageKind
from receiver.notify.messages.render import render
from receiver.notify.senders.remedies import find_remedy
from receiver.notify.senders.sender import AppriseSender

pytestmark = [
    pytest.mark.anyio,
    # Apprise's PGP module imports it on Python < 3.13, when all plugins are loaded; nothing of ours does.
    pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning"),
]

HELLO = Message(title="✓ hero — 4 pictures", body="<b>a & b</b>", format=BodyFormat.TEXT, kind=MessageKind.SUCCESS)


async def test_a_mail_shows_hostile_text_as_text() -> None:
    hostile = Report(
        event=NoticeEvent.COMPLETED,
        label="<i>hero\r\nBcc: eve@example.com",
        prompt="<img src=x> **b**",
        images=(Image(0, "https://cdn.example.com/0.png?a=1&b=2"),),
    )
    async with mailbox() as (box, target):
        sent = await AppriseSender().send(target, render((hostile,), target))

    assert sent.error is None
    mail = box.mails[0]
    assert mail["Subject"] == "✓ <i>hero Bcc: eve@example.com — 1 picture"
    assert mail["Bcc"] is None
    part = mail.get_body(("html",))
    assert part is not None
    content = part.get_content()
    assert "“&lt;img src=x&gt; **b**”" in content
    assert '<a href="https://cdn.example.com/0.png?a=1&amp;b=2"' in content


async def test_a_mail_that_one_recipient_of_several_refuses_looks_final() -> None:
    async with mailbox() as (box, target):
        box.refused = {"bob@example.com"}

        sent = await AppriseSender().send(target, HELLO)

    assert len(box.mails) == 1
    assert sent.looks_final
    assert "was refused: 550" in (sent.error or "")
    assert "bob@example.com" not in (sent.error or "")


async def test_recipients_that_are_all_refused_are_told_and_look_final() -> None:
    """Apprise tells the SMTP answer at DEBUG only."""
    async with mailbox() as (box, target):
        box.refused = {"ann@example.com", "bob@example.com"}

        sent = await AppriseSender().send(target, HELLO)

    assert (sent.error or "").endswith("the mail server says 550 5.1.1 no such user")
    assert "ann@example.com" not in (sent.error or "")
    assert sent.looks_final
    assert "check the address" in (find_remedy(sent.error or "") or "")


SHOWING = Message(
    title="✓ hero — 4 pictures",
    body='<p>hero &amp; all</p><p><img src="cid:sheet.jpg" alt="4 pictures" width="600"></p><p>$0.05</p>',
    format=BodyFormat.HTML,
    kind=MessageKind.SUCCESS,
)
JPEG = b"\xff\xd8\xff\xe0" + b"picture" * 100


async def test_a_mail_has_a_plain_part_and_its_picture_inside(tmp_path: Path) -> None:
    sheet = tmp_path / "any-name.jpg"
    sheet.write_bytes(JPEG)
    async with mailbox() as (box, target):
        sent = await AppriseSender().send(target, replace(SHOWING, picture=sheet))

    assert sent.error is None
    [mail] = box.mails
    assert mail.get_content_type() == "multipart/related"
    text, picture = mail.iter_parts()
    assert isinstance(text, EmailMessage)
    assert [part.get_content_type() for part in text.iter_parts()] == ["text/plain", "text/html"]
    plain, markup = mail.get_body(("plain",)), mail.get_body(("html",))
    assert plain is not None
    assert markup is not None
    assert "hero & all" in plain.get_content()
    assert markup.get_content().count("cid:sheet.jpg") == 1
    assert isinstance(picture, EmailMessage)
    assert picture["Content-ID"] == "<sheet.jpg>"
    assert picture.get_content_disposition() == "inline"
    assert picture.get_content_type() == "image/jpeg"
    assert picture.get_payload(decode=True) == JPEG


async def test_a_mail_whose_picture_is_gone_has_no_hole(tmp_path: Path) -> None:
    async with mailbox() as (box, target):
        sender = AppriseSender()
        for picture in (tmp_path / "gone.jpg", None):
            assert (await sender.send(target, replace(SHOWING, picture=picture))).error is None

    for mail in box.mails:
        markup = mail.get_body(("html",))
        assert markup is not None
        assert "<img" not in markup.get_content()
        assert "$0.05" in markup.get_content()
        assert mail.get_content_type() == "multipart/alternative"


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
async def test_a_password_of_any_letters_logs_in(mechanism: str) -> None:
    """As UTF-8, which RFC 4616 asks for; smtplib takes ASCII only."""
    async with mailbox("j%C3%BCrgen:p%C3%A4ss%E6%97%A5%F0%9F%94%91", only=mechanism) as (box, target):
        sent = await AppriseSender().send(target, HELLO)

    assert sent.error is None
    assert box.logins == [(mechanism, "jürgen".encode(), "päss日🔑".encode())]
    assert len(box.mails) == 1


async def test_a_server_that_takes_no_login_without_tls_is_told_with_what_to_do() -> None:
    async with mailbox("ann:password", needs_tls=True) as (_, target):
        sent = await AppriseSender().send(target, HELLO)

    assert (sent.error or "").endswith("the mail server offers no login here")
    assert "mailtos://" in (find_remedy(sent.error or "") or "")


async def test_a_server_that_has_no_tls_is_told_with_what_to_do() -> None:
    async with mailbox() as (_, target):
        url = target.url.replace("mailto://", "mailtos://") + "&mode=starttls"
        sent = await AppriseSender().send(replace(target, url=url), HELLO)

    assert "switch to TLS here" in (sent.error or "")
    assert "?mode=ssl" in (find_remedy(sent.error or "") or "")
