"""A target's own template: what it may use, what it cannot do, and that a broken one costs no ping."""

import html
import json

import pytest

from kit.reports import ATTENTION, DONE, FAILED, HOSTILE, LOST, REF, SHEET, Pages, done, styled
from receiver.core.types import MessageStyle, Report
from receiver.notify.messages.block_tags import keep_line_ends
from receiver.notify.messages.message import BodyFormat, Message, MessageKind
from receiver.notify.messages.render import render
from receiver.notify.messages.template import VARIABLES, check_template, show_sample

PLAIN = (
    "{{ event }} {{ label }}\n{{ prompt }} · {{ cost }} · {{ duration }}\n"
    "{% for image in images %}{{ image.image_no }} {{ image.url }}\n{% endfor %}{{ task_url }}"
)


def written(template: str, *reports: Report, style: MessageStyle = MessageStyle.TEXT) -> Message:
    return render(reports, styled(style, template), links=Pages(), picture=SHEET)


def test_the_first_line_is_the_title_and_the_rest_the_body() -> None:
    message = written(PLAIN, DONE)

    assert (message.title, message.format, message.kind, message.note) == (
        *("completed hero", BodyFormat.TEXT, MessageKind.SUCCESS, None),
    )
    assert message.body.split("\n") == [
        "a lighthouse & its <\u200bkeeper> · $0.05 · 1 min 12 s",
        *(f"{n} https://cdn.example.com/{n}.png?sig=a%2Fb&x=1" for n in range(4)),
        f"https://ping.example.org/tasks/{REF}",
    ]


def test_a_failure_and_a_digest_have_their_words() -> None:
    template = (
        "{{ event }}: {{ count }} for {{ total or 'nothing' }}\n"
        "{% for it in reports %}\n"
        "{{ it.title }}{{ ' (' ~ it.error.code ~ ': ' ~ it.error.advice ~ ')' if it.error }}\n"
        "{% endfor %}"
    )

    assert written(template, FAILED).body == (
        "✗ poster: failed — no <\u200bluck> (004007098: Submit it again, perhaps with another prompt or picture.)"
    )
    digest = written(template, DONE, LOST, FAILED)
    assert digest.title == "failed: 3 for $0.05 in total"
    assert [line[0] for line in digest.body.split("\n")] == ["✗", "?", "✓"]


def test_every_documented_variable_is_there_on_every_event_and_in_a_digest() -> None:
    template = "t\n" + "".join(f"{{{{ {name} }}}}" for name in VARIABLES if name != "reports")

    for reports in ((DONE,), (FAILED,), (LOST,), (ATTENTION,), (DONE, FAILED)):
        assert written(template, *reports).note is None
    assert check_template(template) is None


@pytest.mark.parametrize("style", list(MessageStyle))
def test_our_own_text_can_stand_in_it(style: MessageStyle) -> None:
    message = written("{{ title }}\nFor the record:\n{{ body }}", DONE, style=style)

    told = html.unescape(message.blocks or message.body)
    assert message.note is None
    assert "https://cdn.example.com/3.png?sig=a%2Fb&x=1" in told.replace("\\u200b", "").replace("\u200b", "")


@pytest.mark.parametrize(
    ("style", "shown"),
    [
        (MessageStyle.TEXT, "<\u200bb>@\u200bhere *x*"),
        (MessageStyle.NTFY, "<\u200bb>@\u200bhere *x*"),
        (MessageStyle.EMAIL, "&lt;b&gt;@here *x*"),
        (MessageStyle.TELEGRAM, "&lt;b&gt;@\u200bhere *x*"),
    ],
)
def test_values_are_escaped_and_the_templates_own_markup_is_not(style: MessageStyle, shown: str) -> None:
    body = written("t\n<i>{{ prompt }}</i>", done(prompt="<b>@here *x*"), style=style).body

    assert f"<i>{shown}</i>" in body


def test_values_are_escaped_for_slack_and_discord_too() -> None:
    report = done(prompt="<!channel> *x*")

    slack = json.loads(written("t\n*{{ prompt }}* <!here>", report, style=MessageStyle.SLACK).blocks or "")
    discord = json.loads(written("t\n**{{ prompt }}**", report, style=MessageStyle.DISCORD).blocks or "")

    section = slack["blocks"][1]["text"]
    assert section["type"] == "mrkdwn"
    assert section["text"] == "*&lt;\u200b!channel&gt; \u200b*\u200bx\u200b*\u200b* <!here>"
    assert discord["embeds"][0]["description"] == "**\\<\u200b!channel\\> \\*x\\***"
    assert slack["blocks"][2]["image_url"] == discord["embeds"][0]["image"]["url"] == SHEET.url


def test_a_macro_and_a_block_are_not_escaped_twice() -> None:
    template = (
        "t\n{% macro m(x) %}<u>{{ x }}</u>{% endmacro %}{% set s %}<s>{{ prompt }}</s>{% endset %}"
        "{{ m(prompt) }}{{ s }}"
    )

    body = written(template, done(prompt="a&b"), style=MessageStyle.TELEGRAM).body

    assert body.endswith("<u>a&amp;b</u><s>a&amp;b</s>")


def test_a_title_is_plain_again() -> None:
    assert written("<b>{{ label }}</b>\nx", done(label="R&D <x>"), style=MessageStyle.EMAIL).title == "R&D <x>"
    assert written("{{ label }}", done(label="R&D <x>")).body == "R&D <\u200bx>"


def test_a_mail_by_a_template_still_has_its_card_and_its_sheet() -> None:
    body = written("t\n<p>Hello</p>", DONE, style=MessageStyle.EMAIL).body

    assert '<img src="cid:sheet.jpg"' in body
    assert "max-width:600px" in body
    assert "<p>Hello</p>" in body


BROKEN = {
    "{% if %}": "line 1: Expected an expression",
    "t\n{{ promt }}": "line 2: 'promt' is undefined",
    "t\n\n{{ error.cod }}": "line 3: ",
    "t\n{{ 1 // 0 }}": "line 2: ",
    "": "its first line, the title, is empty",
    "{{ '' }}\n": "its first line, the title, is empty",
    "t\n{% for n in range(100000000) %}x{% endfor %}": "range() has more than 1000 items",
    "t\n{% for n in range(1000) %}abcd{{ title }}{% endfor %}": "it writes more than 3500 characters",
    "t\n{{ ''.__class__.__mro__ }}": "line 2: ",
    "t\n{{ prompt|safe }}": "line 2: No filter named 'safe'",
    "t\n{% include 'x' %}": "line 2: ",
}


@pytest.mark.parametrize(("template", "said"), BROKEN.items())
def test_a_broken_template_is_told_in_a_line_and_costs_no_ping(template: str, said: str) -> None:
    told = check_template(template)

    assert told is not None
    assert said in told
    assert "\n" not in told
    message = written(template, FAILED)
    assert message.title == "✗ poster: failed — no <\u200bluck>"
    assert said.split(" (")[0] in (message.note or "")
    assert "The template of text could not be used: " in message.body.split("\n")[-1]


@pytest.mark.parametrize("style", list(MessageStyle))
@pytest.mark.parametrize("several", [1, 2])
def test_every_style_says_that_the_template_was_left_aside(style: MessageStyle, several: int) -> None:
    message = written("{{ promt }} {{ body }}", *[DONE] * several, style=style)

    told = html.unescape(message.blocks or message.body)
    assert "could not be used" in told
    assert message.note == f"The template of {style} could not be used: line 1: 'promt' is undefined"


def test_a_template_of_one_style_may_write_more_than_of_another() -> None:
    template = "t\n{% for n in range(100) %}" + "<p>x</p>" * 10 + "{% endfor %}"

    assert check_template(template, MessageStyle.EMAIL) is None
    assert "it writes more than 3500 characters" in (check_template(template, MessageStyle.TEXT) or "")


def test_what_is_too_much_for_slack_in_ascii_is_too_much() -> None:
    template = "t\n{% for n in range(540) %}灯灯灯灯灯灯灯灯灯灯\n{% endfor %}"

    message = written(template, DONE, style=MessageStyle.SLACK)

    assert "more than the service accepts" in (message.note or "")
    assert len(message.blocks or "") < 35_000


@pytest.mark.parametrize("style", list(MessageStyle))
def test_hostile_words_are_no_live_markup_in_a_template(style: MessageStyle) -> None:
    report = done(prompt=HOSTILE, label=HOSTILE, model=HOSTILE)

    message = written("{{ label }}\n{{ prompt }} {{ model }} {{ prompt|upper }} {{ body }}", report, style=style)

    shown = message.body + str(json.loads(message.blocks or "{}"))
    assert message.note is None
    for live in ("<!channel>", "<script>", "<SCRIPT>", "<http://evil", "\u202e", "\x1b"):
        assert live not in shown
    assert style is MessageStyle.EMAIL or "@here" not in shown + message.title


def test_a_loop_knows_its_length_and_a_digest_of_many_is_within_the_bounds() -> None:
    template = (
        "t\n{% for it in reports %}{% for image in it.images %}"
        "{{ loop.index }}/{{ loop.length }} {{ reports|length }}{{ ' ' ~ it.label|upper }}{{ ', ' if not loop.last }}"
        "{% endfor %}\n{% endfor %}"
    )

    message = written(template, *[DONE] * 40)

    assert message.note is None
    assert message.body.count("1/4 40 HERO") == 40
    assert message.body[:50] == "1/4 40 HERO, 2/4 40 HERO, 3/4 40 HERO, 4/4 40 HERO"


@pytest.mark.parametrize(
    ("template", "title", "body"),
    [
        ("{{ label }}{% if error %} failed{% endif %}\n{{ ref }}", "poster failed", "r2"),
        ("{% if error %}{{ label }} failed{% else %}done{% endif %}\n{{ ref }}", "poster failed", "r2"),
        ("{% if error %}\n{{ label }}\n{% endif %}\n{{ ref }}", "poster", "r2"),
        ("{% set who = label %}\n{{ who }}{# a comment #}\n{{ ref }}", "poster", "r2"),
        (
            "t\n{% for it in reports %}\n- {{ it.ref }}{% if it.error %}!{% endif %}\n{% endfor %}\nend",
            "t",
            "- r2!\nend",
        ),
        ("t\na{% if error %}\nb\n{% endif %}\nc", "t", "a\nb\nc"),
        ("{{ label }}{% if error %} failed{% endif -%}\n{{ ref }}", "poster failedr2", "poster failedr2"),
        ("t\r\n{{ ref }}{% if error %}!{% endif %}\r\nend", "t", "r2!\nend"),
        ("t\n{% raw %}{% x %}{% endraw %}\nend", "t", "{% x %}\nend"),
    ],
)
def test_a_line_with_words_ends_where_it_is_written_and_one_of_tags_leaves_nothing(
    template: str, title: str, body: str
) -> None:
    message = written(template, FAILED)

    assert (message.note, message.title, message.body) == (None, title, body)


def test_a_template_without_tags_is_left_alone() -> None:
    for template in ("", "a\nb", "{{ a }}\n{{ b }}", "{%", "{% if", "{{", "%}\n", "{% raw %}"):
        assert keep_line_ends(template) == template


@pytest.mark.parametrize(
    ("template", "attention", "digest"),
    [
        ("NOTA {{ label }}\n{{ prompt }}", False, False),
        ("NOTA {{ label }}\n{{ text }}", True, False),
        ("NOTA {{ label }}\n{{ body }}", True, True),
        ("NOTA {{ event }}\n{% for it in reports %}{{ it.title }}{% endfor %}", True, True),
    ],
)
@pytest.mark.parametrize("style", list(MessageStyle))
def test_what_a_template_has_no_place_for_is_said_in_our_words(
    style: MessageStyle, template: str, attention: bool, digest: bool
) -> None:
    for reports, own in (((DONE,), True), ((ATTENTION,), attention), ((DONE, FAILED), digest)):
        message, ours = (
            written(template, *reports, style=style),
            render(reports, styled(style), links=Pages(), picture=SHEET),
        )

        assert message.note is None
        said = message.title + message.body + str(message.blocks)
        assert ("NOTA" in said) is own
        assert (said == ours.title + ours.body + str(ours.blocks)) is not own


def test_the_doctor_can_show_what_a_template_writes_in_one_line() -> None:
    shown = show_sample("<b>{{ label }}</b> is done\n{{ prompt }}\n{{ cost }}", MessageStyle.EMAIL)

    assert shown.startswith("a test is done / This is only a test: a quiet sea under four skies, <oil on canvas>")
    assert shown.endswith(" / $0.05")
    assert len(show_sample("{{ title }}\n{{ body }}", MessageStyle.TEXT)) <= 400
