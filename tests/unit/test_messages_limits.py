"""For any report at all: no style goes over its service's limits, and nothing from outside is live in it."""

import json
import re
from decimal import Decimal
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kit.reports import HOSTILE, Pages, styled
from receiver.core.types import AttachedPicture, Image, MessageStyle, NoticeEvent, Report, TaskError
from receiver.notify.messages.message import Message
from receiver.notify.messages.render import render

_PARTS = st.sampled_from([
    *HOSTILE.split(" "), "@everyone", "<@U1>", "&", "&lt;!here&gt;", "```", "||", "~~", "{{", "}}", "]", "](", "\\",
    "\n", "- ", "# ", "1. ", "> ", "👩\u200d🎨", "灯", "𝔘", "\u200f", "</blockquote>", "\"'", "cid:x", "`", "<t:1>",
])  # fmt: skip
_WORDS = st.one_of(st.text(max_size=40), st.lists(_PARTS, max_size=12).map(" ".join), _PARTS.map(lambda it: it * 450))
_URLS = st.one_of(
    st.sampled_from(["https://x.example/a?b=1&c=(2)", "javascript:alert(1)", "", "https://x.example/" + "u" * 5_000]),
    st.integers(0, 3_500).map(lambda size: "https://x.example/?" + "s&" * (size // 2)),
    _WORDS.map(lambda it: "https://x.example/" + it),
)  # fmt: skip
_REPORTS = st.builds(
    Report,
    event=st.sampled_from(NoticeEvent),
    ref=st.none() | _WORDS,
    task_id=st.none() | _WORDS,
    label=st.none() | _WORDS,
    model=st.none() | _WORDS,
    prompt=st.none() | _WORDS,
    confirmed=st.booleans(),
    images=st.lists(st.builds(Image, st.integers(0, 99), _URLS, _WORDS), max_size=5).map(tuple),
    error=st.none() | st.builds(TaskError, st.none() | _WORDS, _WORDS),
    cost=st.none() | st.decimals() | st.just(Decimal("0.05")),
    duration_ms=st.none() | st.integers(-1, 10**12),
    text=st.none() | _WORDS,
    cause=st.none() | _WORDS | st.just("target:x"),
)
_LISTS = st.lists(_REPORTS, min_size=1, max_size=3).map(tuple)
_PICTURES = st.none() | st.builds(AttachedPicture, st.just("images/x/sheet.jpg"), st.none() | _URLS)
_TEMPLATES = st.sampled_from([None, "{{ title }}\n{{ body }}", "{{ promt }}"])
_UNSEEN = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def said(message: Message) -> str:
    return (
        message.title
        + message.body
        + (json.dumps(json.loads(message.blocks), ensure_ascii=False) if message.blocks else "")
    )


def utf16(text: str) -> int:
    """As these services count."""
    return len(text.encode("utf-16-le")) // 2


def slack(message: Message) -> None:
    assert message.blocks is not None
    assert len(message.blocks.encode()) <= 35_000
    assert "{{" not in message.blocks
    found = json.loads(message.blocks)
    assert 1 <= len(found["blocks"]) <= 50
    for block in found["blocks"]:
        for text in texts(block):
            assert 1 <= utf16(text["text"]) <= (150 if block["type"] == "header" else 3_000)
            left = text["text"]
            if text["type"] == "mrkdwn":
                left = re.sub(r"<https?://[^<>|\s]{1,3000}\|([^<>|]|\|)*>", "", left)
            assert not re.search("[<>]", left)
            assert not re.search(r"&(?!amp;|lt;|gt;)", text["text"])
            assert not re.search(r"@\w", text["text"])
        if block["type"] == "image":
            assert len(block["image_url"]) <= 3_000
            assert 1 <= len(block["alt_text"]) <= 2_000
        if block["type"] == "actions":
            assert all(len(it["url"]) <= 3_000 and len(it["text"]["text"]) <= 75 for it in block["elements"])


def texts(block: dict[str, Any]) -> list[dict[str, Any]]:
    return [block["text"]] if "text" in block else [it for it in block.get("elements", []) if it["type"] != "button"]


def discord(message: Message) -> None:
    assert message.blocks is not None
    assert len(message.blocks.encode()) <= 35_000
    found = json.loads(message.blocks)
    assert found["allowed_mentions"] == {"parse": []}
    (embed,) = found["embeds"]
    fields = embed.get("fields", [])
    limits = {"title": 256, "description": 4_096, "url": 2_048}
    assert all(utf16(embed.get(name, "")) <= most for name, most in limits.items())
    assert all(1 <= len(it["name"]) <= 256 and 1 <= len(it["value"]) <= 1_024 for it in fields)
    total = [embed["title"], embed.get("description", ""), embed.get("footer", {}).get("text", "")]
    assert utf16("".join([*total, *(it["name"] + it["value"] for it in fields)])) <= 6_000
    for text in (embed["title"], embed.get("description", ""), *(it["value"] for it in fields)):
        escaped = re.sub(r"\\[^\w\s]", "", re.sub("^> “", "", text, flags=re.MULTILINE))
        escaped = re.sub(r"`receiver [\w. -]+`", "", escaped)
        left = re.sub(r"\[[^\[\]]*\]\(https?://[^\s()]*\)", "", escaped)
        assert not re.search(r"[*~`|<>\[\]]|@\w|:\w+:", re.sub(r"https?://\S*", "", left))


class Tags(HTMLParser):
    def __init__(self, body: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(body)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def telegram(message: Message) -> None:
    assert 1 <= utf16(message.body) <= 4_096
    for tag, attributes in Tags(message.body).found:
        assert tag in {"b", "a", "br", "blockquote", "code"}
        assert list(attributes) == (["href"] if tag == "a" else [])
        assert re.match(r"https?://", attributes.get("href") or "https://", re.IGNORECASE)


def email(message: Message) -> None:
    assert len(message.body.encode()) <= 150_000
    for tag, attributes in Tags(message.body).found:
        assert tag in {
            *("html", "head", "meta", "title", "style", "body", "table", "tr", "td", "h1", "p", "div", "span"),
            *("a", "img", "br", "code", "ul"),
        }
        assert not {name for name in attributes if name.startswith("on")}
        assert re.match(r"https?://", attributes.get("href") or "https://", re.IGNORECASE)
        assert attributes.get("src", "cid:sheet.jpg") == "cid:sheet.jpg"


def ntfy(message: Message) -> None:
    assert len(message.body.encode()) <= 4_000
    assert not re.search(r"@\w|<[\w!@#&/]", f"{message.title}\n{message.body}")


def text(message: Message) -> None:
    assert message.picture is None
    assert not re.search(r"@\w|<[\w!@#&/]", f"{message.title}\n{message.body}")


CHECKS = {
    MessageStyle.SLACK: slack,
    MessageStyle.DISCORD: discord,
    MessageStyle.TELEGRAM: telegram,
    MessageStyle.EMAIL: email,
    MessageStyle.NTFY: ntfy,
    MessageStyle.TEXT: text,
}


@pytest.mark.parametrize("style", list(MessageStyle))
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(reports=_LISTS, times=st.sampled_from([1, 1, 30]), picture=_PICTURES, template=_TEMPLATES, linked=st.booleans())
def test_whatever_is_told_is_within_limits_and_nothing_in_it_is_live(
    style: MessageStyle,
    reports: tuple[Report, ...],
    times: int,
    picture: AttachedPicture | None,
    template: str | None,
    linked: bool,
) -> None:
    message = render(reports * times, styled(style, template), links=Pages() if linked else None, picture=picture)

    assert len(message.title) <= 150
    assert message.body
    assert "\n" not in message.title
    assert not _UNSEEN.search(said(message))
    CHECKS[style](message)
