"""What Slack is given: blocks within its limits, with the picture, and nothing from outside that it would obey."""

import json
import re
from typing import Any

import pytest

from kit.reports import ATTENTION, DONE, FAILED, FILE, HOSTILE, LOST, REF, SHEET, Pages, done, styled
from receiver.core.types import AttachedPicture, Image, MessageStyle, Report
from receiver.notify.messages import slack
from receiver.notify.messages.render import render

SLACK = styled(MessageStyle.SLACK)


def payload(*reports: Report, picture: AttachedPicture | None = SHEET, links: Pages | None = None) -> dict[str, Any]:
    message = render(reports, SLACK, links=links or Pages(), picture=picture)
    assert message.blocks is not None
    found: dict[str, Any] = json.loads(message.blocks)
    return found


def of(kind: str, found: dict[str, Any]) -> list[dict[str, Any]]:
    return [block for block in found["blocks"] if block["type"] == kind]


def test_a_completed_task_is_a_header_its_prompt_the_sheet_links_facts_and_a_button() -> None:
    found = payload(DONE)

    assert [block["type"] for block in found["blocks"]] == [
        *("header", "image", "actions", "section", "context", "context")
    ]
    header, sheet, buttons, prompt, commands, facts = found["blocks"]
    assert header["text"] == {"type": "plain_text", "text": "✓ hero — 4 pictures", "emoji": False}
    assert prompt["text"]["text"] == "“a lighthouse &amp; its &lt;\u200bkeeper&gt;”"
    assert (sheet["image_url"], sheet["alt_text"]) == (
        SHEET.url,
        "Contact sheet of 4 pictures, numbered 0 to 3: a lighthouse &amp; its &lt;\u200bkeeper&gt;",
    )
    assert [it["text"]["text"] for it in buttons["elements"]] == ["0", "1", "2", "3", "Open the task"]
    assert buttons["elements"][0]["url"] == "https://cdn.example.com/0.png?sig=a%2Fb&x=1"
    assert buttons["elements"][0]["accessibility_label"] == "Open image 0"
    assert commands["elements"][0]["text"] == "To save the pictures: `receiver tasks pictures 0123456789ab`"
    assert facts["elements"][0]["text"] == "midjourney_outpaint · $0.05 · 1 min 12 s · Task 0123456789ab"
    assert buttons["elements"][-1]["url"] == f"https://ping.example.org/tasks/{REF}"
    assert (found["fallback"], found["color"]) == ("✓ hero — 4 pictures", "#2eb67d")


@pytest.mark.parametrize("picture", [None, FILE, AttachedPicture("sheet.jpg", "https://x.example/" + "p" * 3_000)])
def test_a_picture_that_slack_cannot_fetch_is_no_block(picture: AttachedPicture | None) -> None:
    message = render((DONE,), SLACK, picture=picture)

    assert of("image", json.loads(message.blocks or "")) == []
    assert (message.picture is None) is (picture is None)


def test_a_picture_shown_by_its_link_is_not_attached_as_well() -> None:
    assert render((DONE,), SLACK, picture=SHEET).picture is None


def test_without_a_page_there_is_no_button() -> None:
    message = render((DONE,), SLACK)

    [buttons] = of("actions", json.loads(message.blocks or ""))
    assert [it["text"]["text"] for it in buttons["elements"]] == ["0", "1", "2", "3"]


def test_a_failure_says_why_and_what_to_do_in_red() -> None:
    found = payload(FAILED, picture=None)

    told = "\n".join(block["text"]["text"] for block in of("section", found))
    assert told.startswith("What to do: Submit it again")
    assert found["color"] == "#e01e5a"


def test_a_digest_names_the_failed_ones_first_and_shows_the_sheet_of_all() -> None:
    found = payload(DONE, DONE, FAILED, LOST, ATTENTION)

    assert of("header", found)[0]["text"]["text"] == "✗ 5 notices: 1 failed, 1 lost, 1 needs you, 2 done"
    lines = of("section", found)[0]["text"]["text"].split("\n")
    assert [line[:1] for line in lines] == ["✗", "?", "!", "T", "", "✓", "✓"]
    assert lines[5] == f"✓ <https://ping.example.org/tasks/{REF}|hero — 4 pictures> · $0.05 · 1 min 12 s"
    assert of("image", found)[0]["image_url"] == SHEET.url
    assert of("context", found)[0]["elements"][0]["text"] == "$0.10 in total"


def test_a_long_digest_counts_what_it_does_not_name() -> None:
    found = payload(*[DONE] * 1_000)

    told = "\n".join(block["text"]["text"] for block in of("section", found))
    assert told.endswith("… and 960 more")
    assert told.count("\n✓") == 39


def test_marks_beside_a_link_stay_marks() -> None:
    """Prompts are plain text already; a label in a digest stands in mrkdwn."""
    found = payload(done(), Report(event=FAILED.event, label="*b* _i_ ~s~ `c` :tada: a|b"))

    line = of("section", found)[0]["text"]["text"].split("\n")[0]
    for live in ("*b*", "_i_", "~s~", "`c`", ":tada:"):
        assert live not in line


def test_underscores_within_words_are_left_alone_and_no_others() -> None:
    assert slack.escape_mrkdwn("sea_01 PROVIDER_KEY a_b_c") == "sea_01 PROVIDER_KEY a_b_c"
    for live in ("_i_", "a _i_ b", "__i__", "a__i__b", "._i_.", "*_i_*", "x_ _y", "日本 _i_"):
        assert not re.search(r"(?<![\u200b])_|_(?!\u200b)", slack.escape_mrkdwn(live)), live


def test_what_apprise_would_replace_is_the_same_text_in_another_spelling() -> None:
    message = render((done(prompt="{{app_title}} {{{ app_body }}"),), SLACK)

    assert "{{" not in (message.blocks or "")
    assert "“{{app_title}} {{{ app_body }}”" in str(json.loads(message.blocks or ""))


def test_a_picture_url_too_long_for_slack_is_counted_and_never_cut() -> None:
    url = "https://cdn.example.com/" + "p" * 3_500
    found = payload(done(images=(Image(0, "https://cdn.example.com/0"), Image(1, url))))

    assert of("section", found)[0]["text"]["text"] == "<https://cdn.example.com/0|image 0> · … and 1 more"


def test_hostile_words_are_nowhere_live() -> None:
    report = done(prompt=HOSTILE, model=HOSTILE, images=(Image(0, "https://x.example/|a>b<c@d", HOSTILE),))

    texts = json.dumps(payload(report, report) | payload(report), ensure_ascii=False)

    for live in ("<!", "@here", "<http://evil", "<script", "\u202e", "\u001b"):
        assert live not in texts
    assert '"url": "https://x.example/%7Ca%3Eb%3Cc%40d"' in texts
