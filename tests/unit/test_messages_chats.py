"""What Discord, Telegram and ntfy are given: within their limits, with the picture, nothing from outside obeyed."""

import json
from typing import Any
from urllib.parse import quote

import pytest

from kit.reports import DONE, FAILED, FILE, HOSTILE, LOST, REF, SHEET, Pages, done, pictures, styled
from receiver.core.types import AttachedPicture, Image, MessageStyle, NoticeEvent, Report
from receiver.notify.messages.message import BodyFormat, MessageKind
from receiver.notify.messages.render import render

DISCORD, TELEGRAM, NTFY = (styled(style) for style in (MessageStyle.DISCORD, MessageStyle.TELEGRAM, MessageStyle.NTFY))
LONG = tuple(Image(n, f"https://cdn.example.com/{n}.png?sig={'s' * 600}") for n in range(4))


def embed(*reports: Report, picture: AttachedPicture | None = SHEET) -> dict[str, Any]:
    found = json.loads(render(reports, DISCORD, links=Pages(), picture=picture).blocks or "")
    assert found["allowed_mentions"] == {"parse": []}
    assert len(found["embeds"]) == 1
    one: dict[str, Any] = found["embeds"][0]
    return one


def test_discord_shows_title_prompt_facts_links_and_sheet() -> None:
    found = embed(DONE)

    assert found["title"] == "✓ hero — 4 pictures"
    assert found["url"] == f"https://ping.example.org/tasks/{REF}"
    assert found["description"].startswith("[image 0](https://cdn.example")
    assert found["description"].endswith(
        "\n\n> “a lighthouse & its \\<\u200bkeeper\\>”\n\nTo save the pictures: `receiver tasks pictures 0123456789ab`"
    )
    assert found["footer"] == {"text": "midjourney_outpaint · $0.05 · 1 min 12 s · Task 0123456789ab"}
    assert found["image"] == {"url": SHEET.url}


def test_discord_gets_a_file_where_the_world_cannot_reach_the_sheet() -> None:
    message = render((DONE,), DISCORD, picture=FILE)

    assert str(message.picture) == FILE.path
    assert "image" not in json.loads(message.blocks or "")["embeds"][0]
    assert render((DONE,), DISCORD, picture=SHEET).picture is None


def test_a_discord_digest_names_the_failed_ones_first() -> None:
    found = embed(DONE, FAILED, LOST)

    lines = found["description"].split("\n")
    assert [line[0] for line in lines] == ["✗", "?", "✓"]
    assert found["footer"] == {"text": "$0.05 in total"}


def test_discord_obeys_nothing_from_outside() -> None:
    found = embed(done(prompt=HOSTILE + "\n# a\n- b\n1. c", images=(Image(0, "https://x.example/(a)b"),)))

    told = found["description"]
    assert "@here" not in told
    for live in ("*b*", "_i_", "`c`", "[l](", ":tada:", "http://"):
        assert live not in told.replace("\\" + live[0], "")
    assert "[picture](https://x.example/%28a%29b)" in told


def test_lines_of_an_attention_are_no_list_in_discord() -> None:
    found = embed(Report(event=NoticeEvent.ATTENTION, text="# a\n- b\n12. c\n> d"), picture=None)

    assert found["description"] == "\\# a\n\\- b\n12\\. c\n\\> d"


def test_telegram_writes_html_with_the_title_in_it() -> None:
    message = render((DONE,), TELEGRAM, links=Pages(), picture=SHEET)

    assert (message.title, message.format, message.kind) == ("", BodyFormat.HTML, MessageKind.SUCCESS)
    assert message.body.startswith('<b>✓ hero — 4 pictures</b><br><a href="https://cdn.example.com/0.png')
    assert "</blockquote>midjourney_outpaint · $0.05 · 1 min 12 s<br>" in message.body
    assert "<blockquote>a lighthouse &amp; its &lt;keeper&gt;</blockquote>" in message.body
    assert '<a href="https://cdn.example.com/0.png?sig=a%2Fb&amp;x=1">image 0</a>' in message.body
    assert str(message.picture) == SHEET.path


def test_a_command_is_code_in_telegram_where_a_touch_copies_it() -> None:
    assert "<code>receiver tasks poll r3</code>" in render((LOST,), TELEGRAM).body


def test_a_caption_is_short_enough_to_be_one() -> None:
    """Apprise would send the text apart from the picture."""
    body = render((done(images=LONG, prompt="p" * 8_192),), TELEGRAM, links=Pages(), picture=SHEET).body

    assert len(body) < 1_024
    assert "cdn.example.com" not in body
    assert f"/tasks/{REF}" in body


@pytest.mark.parametrize("picture", [None, SHEET])
def test_telegram_keeps_the_links_where_no_page_has_them(picture: AttachedPicture | None) -> None:
    assert render((done(images=LONG),), TELEGRAM, picture=picture).body.count("cdn.example.com") == 4


@pytest.mark.parametrize("size", [50, 130, 200, 350, 700])
def test_a_caption_shows_all_links_or_none(size: int) -> None:
    """The task's page has them; some of them, three of four too, would puzzle."""
    images = tuple(Image(n, f"https://cdn.example.com/{n}.png?sig={'s' * size}") for n in range(4))
    body = render((done(images=images),), TELEGRAM, links=Pages(), picture=SHEET).body
    assert body.count("cdn.example.com") in (0, 4)
    assert "more" not in body


def test_telegram_obeys_nothing_from_outside() -> None:
    body = render((done(prompt=HOSTILE), FAILED), TELEGRAM).body + render((done(prompt=HOSTILE),), TELEGRAM).body

    assert "@here" not in body
    assert "<script" not in body
    assert "no &lt;luck&gt;" in body


def test_ntfy_is_text_with_a_file() -> None:
    message = render((DONE,), NTFY, links=Pages(), picture=SHEET)

    assert (message.title, message.format) == ("hero — 4 pictures", BodyFormat.TEXT)
    assert str(message.picture) == SHEET.path
    assert "image 3: https://cdn.example.com/3.png?sig=a%2Fb&x=1\n" in render((DONE,), NTFY, picture=SHEET).body
    assert "image 3" not in message.body  # a tap opens the page, which shows all


@pytest.mark.parametrize("picture", [None, SHEET])
@pytest.mark.parametrize("several", [1, 60])
def test_ntfy_makes_no_file_of_it_and_its_query_stays_small(picture: AttachedPicture | None, several: int) -> None:
    report = done(prompt="灯台" * 4_000, label="台" * 500, images=LONG * 3)

    body = render((report,) * several, NTFY, links=Pages(), picture=picture).body

    assert len(body.encode()) <= 4_000
    assert picture is None or len(quote(body)) <= 5_000
    assert several == 1 or "more" in body
    assert f"/tasks/{REF}" in body
    without_page = render((report,) * several, NTFY, picture=picture).body
    assert len(without_page.encode()) <= 4_000
    assert "more" in without_page or "do not fit" in without_page


def test_a_short_ntfy_message_has_all_of_it() -> None:
    body = render((done(images=pictures(2)),), NTFY).body

    assert body.count("https://cdn.example.com/") == 2
