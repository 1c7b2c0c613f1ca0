"""Links as they leave for services that take Markdown: a signed URL arrives byte for byte, and words stay words."""

import re

import pytest
from apprise.conversion.format import markdown_to_html

from kit.chat_services import Double, double
from receiver.config.target_urls import style_of
from receiver.core.types import Image, NoticeEvent, Report, Target
from receiver.notify.messages.markdown import to_markdown
from receiver.notify.messages.render import render
from receiver.notify.senders.sender import AppriseSender

pytestmark = [
    pytest.mark.anyio,
    # Apprise's PGP module imports it on Python < 3.13, when all plugins are loaded; nothing of ours does.
    pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning"),
]

SIGNED = [f"https://cdn.example.com/a_b/{n}_c-d.png?exp=17&sig=x*_y*~z_!(w)&k={'s_' * 60}" for n in range(4)]
DONE = Report(
    event=NoticeEvent.COMPLETED,
    ref="0199d0a0-0000-7000-8000-000000000001",
    label="hero_one",
    model="midjourney_outpaint",
    prompt="a *bold* sea, [so](http://evil.example) `x` # 1. <b> &copy;",
    images=tuple(Image(n, url) for n, url in enumerate(SIGNED)),
)


async def left_for(there: Double, url: str, template: str | None = None) -> str:
    """What left for the target of this URL, as text."""
    there.answer((200, b'{"ok":true,"success":true,"result":{}}'))
    target = Target(name="t", url=url, style=style_of(url), template=template)
    sent = await AppriseSender().send(target, render((DONE,), target))
    assert sent.error is None
    bodies = [request.json() for request in there.requests]
    return "\n".join(str(it.get("markdown") or it.get("message") or it.get("text")) for it in bodies)


@pytest.mark.parametrize(
    "url",
    [
        "rocket://aaaaaaaaaaaaaaaaaaaaa/bbbbbbbbbbbbbbbbbbbbbbbb@{}/#ch",
        "wxteams://" + "a" * 80,
        "json://{}/?format=markdown",
        "ntfy://{}/topic?format=markdown",
    ],
    ids=["rocket", "wxteams", "json", "ntfy"],
)
async def test_a_signed_link_arrives_byte_for_byte_where_markdown_is_taken(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with double() as there:
        monkeypatch.setattr("apprise.plugins.webexteams.NotifyWebexTeams.notify_url", f"{there.address}/in")
        left = await left_for(there, url.format(there.address.removeprefix("http://")))

    assert re.findall(r"image \d: <(\S+)>", left) == SIGNED
    assert "*bold*" not in left.replace("\\*", "")
    assert "hero\\_one" in left or "ntfy" in url or "json" in url, "there the title is no Markdown"


@pytest.mark.parametrize("version", ["v1", "v2"])
async def test_telegrams_markdown_has_a_link_as_telegram_reads_it(
    version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It undoes the escapes of its documented characters, and refuses a message in which one stands alone."""
    with double() as there:
        monkeypatch.setattr("apprise.plugins.telegram.NotifyTelegram.notify_url", f"{there.address}/bot")
        left = await left_for(there, f"tgram://123456789:abcdefg_hijklmnop/4321/?format=markdown&mdv={version}")

    marks = {"v1": r"_*`\[", "v2": r"_*\[\]()~`>#+=|{}.!-"}[version]
    assert re.findall(r"image \d: (\S+)", re.sub(rf"\\([{marks}])", r"\1", left)) == SIGNED
    assert not re.findall(rf"(?<!\\)[{marks}]", left.partition("image 0: ")[2].partition("\n\n")[0])


async def test_a_templates_links_arrive_whole_too() -> None:
    with double() as there:
        url = f"{there.address.replace('http', 'json')}/?format=markdown"
        left = await left_for(there, url, "{{ title }}\nsee {{ images[0].url }} now")
    assert f"<{SIGNED[0]}>" in left


async def test_a_service_that_takes_text_gets_text() -> None:
    with double() as there:
        left = await left_for(there, f"{there.address.replace('http', 'json')}/")
    assert f"image 3: {SIGNED[3]}" in left
    assert "\\" not in left


def test_as_markdown_it_reads_the_same() -> None:
    """Read by another's parser: every line is a line, nothing is markup, and the link is one."""
    text = "a *b* _c_ `d` [e](f) ~~g~~ <i> &lt; h_i\n# j\n- k\n1. l\n\nimage 0: https://x.example/?a=1&b=*c*_d_"
    page = markdown_to_html(to_markdown(text))
    assert not re.findall(r"<(?!/?p>|br />|/?a\b)[^>]*>", page)
    assert page.count("<br />") == 3
    assert to_markdown(text).count("  \n") == 3, "CommonMark wants two blanks before the end of a line that stays one"
    assert 'href="https://x.example/?a=1&amp;b=*c*_d_"' in page
    assert to_markdown("&lt; R&D") == "\\&lt; R&D", "what looks like an entity is none"
