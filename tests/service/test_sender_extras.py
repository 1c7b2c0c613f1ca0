"""What goes with a message, through the real plugins: a mail's head, fields for programs, rank, tags, a tap."""

import json
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from msgspec.structs import replace

from kit.chat_services import Double, double
from kit.reports import ATTENTION, DONE, FAILED, REF, Pages, done, pictures
from kit.smtp_server import mailbox
from receiver.core.types import Importance, MessageStyle, NoticeEvent, Report, Target
from receiver.notify.messages.message import Extras, Link
from receiver.notify.messages.render import render
from receiver.notify.senders import plugin
from receiver.notify.senders.extras import with_extras
from receiver.notify.senders.sender import AppriseSender

pytestmark = [
    pytest.mark.anyio,
    # Apprise's PGP module imports it on Python < 3.13, when all plugins are loaded; nothing of ours does.
    pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning"),
]
WIDE = ["灯" * 150, "👩\u200d🎨" * 60, "x" * 150, "é" * 150]


@pytest.mark.parametrize("label", WIDE, ids=["chinese", "emoji", "ascii", "latin"])
async def test_no_line_of_a_mails_head_is_longer_than_a_mail_server_takes(label: str) -> None:
    async with mailbox() as (box, target):
        cc = ",".join(f"a-person-with-a-long-name-{n}@example.com" for n in range(40))
        many = replace(target, url=f"{target.url},{cc}")
        report = Report(event=NoticeEvent.FAILED, ref=REF, label=label, prompt=label)

        sent = await AppriseSender().send(many, render((report,), many, links=Pages(), key="1"))

    assert sent.error is None
    [raw] = box.raw
    assert max(len(line) for line in raw.split(b"\r\n")) <= 200
    assert all(len(word) <= 75 for word in re.findall(rb"=\?utf-8\?.*?\?=", raw))
    assert box.mails[0]["Subject"].startswith(f"✗ {label[:60]}")


async def test_a_mail_has_its_own_id_its_thread_and_says_that_a_machine_wrote_it() -> None:
    async with mailbox() as (box, target):
        sender = AppriseSender()
        for report, key in ((FAILED, "1"), (DONE, "2"), (DONE, "2")):
            await sender.send(target, render((report,), target, links=Pages(), key=key))

    failed, first, again = box.mails
    assert first["Message-ID"] == again["Message-ID"] != failed["Message-ID"]
    assert re.fullmatch(r"<ping\.[0-9a-f]{32}@example\.com>", first["Message-ID"])
    assert str(box.raw[1]).count("Message-ID:") == 1
    assert first["References"] == f"<task.{REF}@example.com>"
    assert failed["References"] is None
    assert first["Auto-Submitted"] == "auto-generated"
    assert first["List-Id"] == "mail <mail.receiver.example.com>"
    assert first["Importance"] is None


async def test_a_mail_without_a_key_has_an_id_of_apprises() -> None:
    async with mailbox() as (box, target):
        await AppriseSender().send(target, render((DONE,), target))

    assert str(box.raw[0]).count("Message-ID:") == 1
    assert "ping." not in box.mails[0]["Message-ID"]


async def test_a_mail_is_important_if_the_target_says_so_and_its_own_headers_win() -> None:
    async with mailbox() as (box, target):
        pressing = replace(target, priority={NoticeEvent.FAILED: Importance.HIGH})
        own = replace(target, url=f"{target.url}&%2BAuto-Submitted=no")
        for each in (pressing, own):
            await AppriseSender().send(each, render((FAILED,), each, key="1"))

    assert (box.mails[0]["Importance"], box.mails[0]["X-Priority"]) == ("high", "2")
    assert box.mails[1].get_all("Auto-Submitted") == ["no"]


async def test_the_plain_part_is_our_plain_text_without_the_preheader() -> None:
    async with mailbox() as (box, target):
        await AppriseSender().send(target, render((DONE,), target, links=Pages()))

    plain, markup = box.mails[0].get_body(("plain",)), box.mails[0].get_body(("html",))
    assert plain is not None
    assert markup is not None
    assert plain.get_content().startswith("“a lighthouse & its <keeper>”\r\n\r\nimage 0: https://cdn.example.com/0.png")
    assert "`receiver tasks pictures 0123456789ab`" in plain.get_content()
    assert re.search(r"<body[^>]*><ul style=\"display:none[^>]*>\$0\.05 · “a lighthouse", markup.get_content())


async def test_a_mail_that_is_to_be_text_is_our_plain_text() -> None:
    async with mailbox() as (box, target):
        plain = replace(target, url=f"{target.url}&format=text")
        assert (await AppriseSender().send(plain, render((DONE,), target, links=Pages()))).error is None

    assert box.mails[0].get_content_type() == "text/plain"
    assert "image 3: https://cdn.example.com/3.png?sig=a%2Fb&x=1\r\n" in box.mails[0].get_content()


async def test_the_plain_part_of_a_template_is_made_from_what_it_writes() -> None:
    async with mailbox() as (box, target):
        own = replace(target, template="{{ label }} is done\n<b>Look</b> at {{ task_url }}")
        assert (await AppriseSender().send(own, render((DONE,), own, links=Pages()))).error is None

    part = box.mails[0].get_body(("plain",))
    assert part is not None
    assert part.get_content().strip() == f"Look at https://ping.example.org/tasks/{REF}"


async def posted(there: Double, scheme: str, *reports: Report, path: str = "", **more: Any) -> Any:
    target = Target(name="hook", url=f"{scheme}{there.address[4:]}/hook{path}", **more)
    assert (await AppriseSender().send(target, render(reports, target, links=Pages()))).error is None
    return there.requests[-1]


async def test_programs_get_fields_beside_the_text() -> None:
    with double() as there:
        nested = (await posted(there, "json", DONE, path="?:team=art")).json()
        xml = ElementTree.fromstring((await posted(there, "xml", FAILED)).body)  # noqa: S314  # our own
        form = (await posted(there, "form", DONE)).body.decode()

    assert (nested["event"], nested["ref"], nested["team"], nested["version"]) == ("completed", REF, "art", "1.0")
    assert len(nested["images"]) == 4
    found = {element.tag: element.text for element in xml.iter()}
    assert (found["event"], found["error_code"], found["error_message"]) == ("failed", "004007098", "no <luck>")
    assert "event=completed" in form
    assert "images=https%3A%2F%2Fcdn.example.com%2F0.png" in form


async def test_ntfy_has_a_rank_an_emoji_a_tap_and_buttons() -> None:
    with double() as there:
        failed = await posted(there, "ntfy", FAILED, style=MessageStyle.NTFY)
        completed = await posted(there, "ntfy", DONE, style=MessageStyle.NTFY, path="?xtags=art&priority=max")

    assert (failed.headers["X-Priority"], failed.headers["X-Tags"]) == ("high", "x,failed")
    assert (completed.headers["X-Priority"], completed.headers["X-Tags"]) == ("max", "white_check_mark,completed,art")
    assert completed.headers["X-Click"] == f"https://ping.example.org/tasks/{REF}"
    actions = json.loads(completed.headers["X-Actions"])
    assert [it["label"] for it in actions] == ["image 0", "image 1", "image 2"]
    assert actions[0]["url"] == "https://cdn.example.com/0.png?sig=a%2Fb&x=1"
    assert completed.json()["title"] == "hero — 4 pictures"


def test_a_link_that_ntfy_would_get_encoded_twice_and_one_too_long_for_pushover_are_left_out() -> None:
    def changed(url: str, name: str, link: str) -> Any:
        target = Target(name="t", url=url)
        service: Any = plugin.open_target(url)[0]
        with with_extras(service, target, Extras(click=Link("Open it", link))):
            return getattr(service, name)

    assert changed("ntfy://127.0.0.1:9/t", "click", "https://x.example/a?b=1&c=d") == "https://x.example/a?b=1&c=d"
    assert changed("ntfy://127.0.0.1:9/t", "click", "https://x.example/a%2Fb") is None
    assert changed("ntfy://127.0.0.1:9/t?click=https://own.example", "click", "https://x.example/a") == (
        "https://own.example"
    )
    assert changed(URLS["pover"], "supplemental_url", "https://x.example/" + "p" * 500) is None


URLS = {
    "pover": "pover://user0123456789012345678901234@token012345678901234567890123",
    "gotify": "gotify://127.0.0.1:9/t0ken",
    "prowl": "prowl://0123456789012345678901234567890123456789",
    "tgram": "tgram://123456789:abcdefg_hijklmnop/4321/",
}


@pytest.mark.parametrize(
    ("scheme", "report", "priority", "name", "value"),
    [
        ("pover", FAILED, {}, "priority", 1),
        ("pover", DONE, {}, "priority", 0),
        ("pover", FAILED, {NoticeEvent.FAILED: Importance.URGENT}, "priority", 2),
        ("pover", FAILED, {NoticeEvent.FAILED: Importance.URGENT}, "interval", 60),
        ("pover", DONE, {}, "supplemental_url", f"https://ping.example.org/tasks/{REF}"),
        ("gotify", ATTENTION, {}, "priority", 8),
        ("prowl", DONE, {NoticeEvent.COMPLETED: Importance.LOW}, "priority", -2),
        ("tgram", DONE, {NoticeEvent.COMPLETED: Importance.LOW}, "silent", True),
        ("tgram", DONE, {}, "silent", False),
    ],
)
def test_each_service_has_its_own_ranks_and_a_plugin_is_afterwards_as_before(
    scheme: str, report: Report, priority: dict[NoticeEvent, Importance], name: str, value: object
) -> None:
    target = Target(name="t", url=URLS[scheme], priority=priority)
    service: Any = plugin.open_target(target.url)[0]
    before = dict(vars(service))

    with with_extras(service, target, render((report,), target, links=Pages()).extras):
        assert getattr(service, name) == value

    assert vars(service) == before


async def test_a_service_that_cuts_at_160_characters_gets_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with double() as there:
        monkeypatch.setattr("apprise.plugins.d7networks.NotifyD7Networks.notify_url", there.address)
        target = Target(name="sms", url="d7sms://token@15551234567")
        await AppriseSender().send(target, render((done(images=pictures(4)),), target, links=Pages()))

    [request] = there.requests
    assert "hero - 4 pictures" in request.body.decode()
    assert "http" not in request.body.decode().replace(there.address, "")


def test_what_we_change_in_a_plugin_is_there_to_be_changed() -> None:
    """Apprise's own names, which a new version may change."""
    import apprise.plugins.email.base as base

    ntfy: Any = plugin.open_target("ntfy://127.0.0.1:9/topic")[0]
    assert {"_NotifyNtfy__tags", "_NotifyNtfy__actions", "click", "priority"} <= set(vars(ntfy))
    for scheme in ("json", "xml", "form"):
        assert hasattr(plugin.open_target(f"{scheme}://127.0.0.1:9/")[0], "payload_extras")
    assert {"MIMEText", "MIMEMultipart", "make_msgid"} <= set(vars(base))
    assert Path(base.__file__).name == "base.py"
