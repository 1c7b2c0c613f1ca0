"""Which targets get a picture as a file: all whose service takes one, but programs, and those where it costs more."""

from pathlib import Path

import pytest
from apprise.manager_plugins import NotificationManager

from kit.fakes import NOW, SECOND, a_task, says
from receiver.apprise_schemes import FILE_SCHEMES, FOR_MACHINES, MODULES, PAID_BY_THE_PICTURE
from receiver.config.target_urls import URLS, takes_files
from receiver.config.targets import parse_target_tables
from receiver.core.decide import settle_task
from receiver.core.types import (
    AttachedPicture,
    Ending,
    Image,
    MessageStyle,
    NoticeEvent,
    OutcomeSource,
    Policy,
    Report,
    Target,
)
from receiver.notify.messages.render import render
from receiver.notify.senders.failure_text import may_blame_picture

# Apprise's PGP module imports it on Python < 3.13, when all plugins are loaded; nothing of ours does.
pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")

PLAIN = Target(name="sms", url="gotify://h/t")
WITH_FILES = Target(name="push", url="pover://u@t", takes_files=True)
SHEET = AttachedPicture("/archive/ref/sheet.jpg")
DONE = Report(event=NoticeEvent.COMPLETED, ref="r", images=(Image(0, "https://cdn.example.com/0.png"),))


def test_the_services_are_those_that_apprise_sends_files_to() -> None:
    manager = NotificationManager()  # type: ignore[no-untyped-call]
    takers = {scheme for scheme in MODULES if manager[scheme].attachment_support}
    but = {scheme for scheme, module in MODULES.items() if module in PAID_BY_THE_PICTURE | FOR_MACHINES}
    assert but <= takers
    assert takers - but == FILE_SCHEMES


@pytest.mark.parametrize(
    ("url", "takes"),
    [
        ("pover://user@token", True),
        ("MATRIXS://user:password@h/#room", True),
        ("mailto://u:p@h.example?format=text", True),
        ("https://discord.com/api/webhooks/1/2", True),
        ("gotify://h/token", False),
        ("smsc://u:p@15551234567", False),
        ("notifyre://key@15551234567", False),
        ("https://h.example/", False),
        ("jsons://h.example/", False),
    ],
)
def test_a_url_says_whether_its_service_takes_files(url: str, takes: bool) -> None:
    assert takes_files(url) is takes


def test_targets_of_both_kinds_of_settings_know_it() -> None:
    simple = URLS.parse("pover://user@token gotify://h/token")
    named = parse_target_tables({"a": {"url": "pover://user@token"}, "b": {"url": "gotify://h/token"}}, "receiver.toml")
    for targets in (simple, named):
        assert [it.shows_pictures for it in targets] == [True, False]


def test_a_text_has_the_picture_where_the_service_takes_files() -> None:
    message = render((DONE,), WITH_FILES, picture=SHEET)
    assert message.picture == Path(SHEET.path)
    assert "https://cdn.example.com/0.png" in message.body
    assert render((DONE,), PLAIN, picture=SHEET).picture is None


def test_a_template_s_text_has_it_too() -> None:
    own = Target(name="push", url="pover://u@t", takes_files=True, template="{{ title }}\n{{ body }}")
    assert render((DONE,), own, picture=SHEET).picture == Path(SHEET.path)


def test_its_notice_waits_for_the_sheet() -> None:
    policy = Policy(targets=(PLAIN, WITH_FILES), picture_wait_ms=15 * SECOND)
    notices = settle_task(a_task(), says(Ending.COMPLETED), OutcomeSource.POLL, policy, NOW).notices
    assert [it.due_at for it in notices] == [NOW, NOW + 15 * SECOND]


def test_every_style_but_text_shows_pictures_without_being_told() -> None:
    shown = {style for style in MessageStyle if Target(name="t", url="x://", style=style).shows_pictures}
    assert shown == set(MessageStyle) - {MessageStyle.TEXT}


@pytest.mark.parametrize(
    ("error", "may"),
    [
        (None, False),
        ("Failed to send Pushover notification: error=413", True),
        ("Failed to send: error=400: bad image", True),
        ("Failed to send: error=422", True),
        ("Apprise reports a failure without a reason", True),
        ("Notification service 'X' raised an exception", True),
        ("Failed to upload attachment: error=403", True),
        ("Failed to send: error=401: Unauthorized", False),
        ("Failed to send: error=404", False),
        ("Failed to send: error=429", False),
        ("Failed to send: error=503", False),
        ("X asks us to wait 40 s, error=429", False),
        ("A Connection error occurred: its host name is not known", False),
        ("There were no Pushover targets to notify", False),
    ],
)
def test_a_picture_may_be_the_cause_where_nothing_else_is_known_to_be(error: str | None, may: bool) -> None:
    assert may_blame_picture(error) is may
