"""What goes with a message: ids of a mail, fields for programs, importance, tags, a tap and buttons."""

import json
import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from kit.reports import ATTENTION, DONE, FAILED, FILE, HOSTILE, LOST, REF, SHEET, Pages, done, pictures, styled
from receiver.core.types import Image, Importance, MessageStyle, NoticeEvent, Report, Target, TaskError
from receiver.notify.messages.machine_fields import flatten_fields
from receiver.notify.messages.message import Extras, MailIds
from receiver.notify.messages.render import render
from receiver.notify.messages.samples import SAMPLES

README = Path(__file__).parents[2] / "README.md"
JSON = Target(name="hook", url="json://hook.example/")
NTFY, MAIL = styled(MessageStyle.NTFY), styled(MessageStyle.EMAIL)
KEPT = {REF: {0: "0.png", 2: "2.webp"}}


def extras(*reports: Report, target: Target = NTFY, **more: Any) -> Extras:
    return render(reports, target, links=Pages(), **more).extras


def test_pictures_that_we_keep_have_our_links_and_the_others_the_providers() -> None:
    body = render((DONE,), styled(MessageStyle.TEXT), links=Pages(), kept=KEPT).body

    assert re.findall(r"image \d: (\S+)", body) == [
        f"https://ping.example.org/images/{REF}/0.png",
        "https://cdn.example.com/1.png?sig=a%2Fb&x=1",
        f"https://ping.example.org/images/{REF}/2.webp",
        "https://cdn.example.com/3.png?sig=a%2Fb&x=1",
    ]


@pytest.mark.parametrize("style", [it for it in MessageStyle if it is not MessageStyle.NTFY])  # that has buttons
def test_every_style_has_our_links_and_a_service_without_links_the_providers(style: MessageStyle) -> None:
    def said(**more: Any) -> str:
        message = render((DONE,), styled(style), kept={REF: {n: f"{n}.png" for n in range(4)}}, **more)
        return message.body + str(message.blocks)

    assert f"/images/{REF}/3.png" in said(links=Pages())
    assert "cdn.example.com" not in said(links=Pages())
    assert "cdn.example.com/3.png" in said()


def test_a_mail_sent_twice_has_one_id_and_all_mails_about_a_task_are_one_thread() -> None:
    first, again, other = (extras(DONE, target=MAIL, key=key).mail for key in ("7 mail 1", "7 mail 1", "8 mail 1"))

    assert first == again
    assert first is not None
    assert other is not None
    assert first.message != other.message
    assert first.thread == other.thread == f"task.{REF}"
    assert re.fullmatch(r"ping\.[0-9a-f]{32}", first.message or "")
    several = extras(DONE, LOST, target=MAIL, key="k").mail
    assert several is not None
    assert several.thread is None
    assert extras(DONE, target=MAIL).mail == MailIds(None, f"task.{REF}")
    hostile = extras(replace(DONE, ref="<a>\r\nBcc: b"), target=MAIL, key="k").mail
    assert hostile is not None
    assert hostile.thread is None


@pytest.mark.parametrize(
    ("reports", "priority", "expected"),
    [
        ((DONE,), {}, (Importance.NORMAL, False)),
        ((FAILED,), {}, (Importance.HIGH, False)),
        ((LOST,), {}, (Importance.HIGH, False)),
        ((ATTENTION,), {}, (Importance.HIGH, False)),
        ((DONE, FAILED), {}, (Importance.HIGH, False)),
        ((DONE,), {NoticeEvent.COMPLETED: Importance.LOW}, (Importance.LOW, True)),
        ((FAILED,), {NoticeEvent.FAILED: Importance.URGENT}, (Importance.URGENT, True)),
        ((DONE, FAILED), {NoticeEvent.COMPLETED: Importance.URGENT}, (Importance.URGENT, True)),
        ((DONE, FAILED), {NoticeEvent.FAILED: Importance.HIGH}, (Importance.HIGH, True)),
    ],
)
def test_a_message_is_as_important_as_its_most_important_report(
    reports: tuple[Report, ...], priority: dict[NoticeEvent, Importance], expected: tuple[Importance, bool]
) -> None:
    found = extras(*reports, target=replace(NTFY, priority=priority))

    assert (found.importance, found.asked) == expected


@pytest.mark.parametrize(
    ("report", "tags"),
    [
        (DONE, ("white_check_mark", "completed")),
        (FAILED, ("x", "failed")),
        (LOST, ("question", "lost")),
        (ATTENTION, ("warning", "attention")),
    ],
)
def test_an_event_is_a_tag(report: Report, tags: tuple[str, str]) -> None:
    assert extras(report).tags == tags
    assert extras(DONE, report).tags == tags


def test_a_tap_opens_the_page_else_the_sheet_else_the_first_picture() -> None:
    class NoPages(Pages):
        def task_url(self, ref: str) -> str | None:
            return None

    def click(*reports: Report, **more: Any) -> str | None:
        found = render(reports, NTFY, **more).extras.click
        return found.url if found else None

    assert click(DONE, links=Pages(), picture=SHEET) == f"https://ping.example.org/tasks/{REF}"
    assert click(DONE, links=NoPages(), picture=SHEET) == SHEET.url
    assert click(DONE, links=NoPages(), picture=FILE, kept=KEPT) == f"https://ping.example.org/images/{REF}/0.png"
    assert click(DONE, FAILED, links=NoPages(), picture=SHEET) == SHEET.url
    assert click(DONE, FAILED, links=NoPages()) == "https://cdn.example.com/0.png?sig=a%2Fb&x=1"
    assert click(ATTENTION, links=NoPages()) is None
    assert click(done(images=(Image(0, "javascript:alert(1)"),))) is None


def test_three_buttons_open_pictures_unless_a_link_is_too_long() -> None:
    assert [it.words for it in extras(DONE).buttons] == ["image 0", "image 1", "image 2"]
    assert extras(done(images=(Image(0, "https://x.example/" + "p" * 2_000),))).buttons == ()
    assert extras(DONE, FAILED).buttons == ()


def test_the_fields_are_those_of_the_readme() -> None:
    [example] = re.findall(r"```json\n(\{\"version.*?)```", README.read_text("utf-8"), re.DOTALL)
    told = json.loads(example)
    report = Report(
        event=NoticeEvent.FAILED, ref=told["ref"], task_id=told["task_id"], label=told["label"], model=told["model"],
        prompt=told["prompt"], error=TaskError(told["error"]["code"], told["error"]["message"]),
        duration_ms=told["duration_ms"],
    )  # fmt: skip

    message = render((report,), JSON)

    assert told == {
        "version": "1.0",
        "title": message.title,
        "message": message.body,
        "type": message.kind.value,
        "attachments": [],
        **message.extras.fields,
    }


def test_a_completed_tasks_fields_have_each_picture_with_our_link_and_the_providers() -> None:
    fields = extras(DONE, target=JSON, kept=KEPT, picture=SHEET).fields

    assert fields["images"][0] == {  # type: ignore[index]
        "image_no": 0,
        "url": f"https://ping.example.org/images/{REF}/0.png",
        "kept": True,
        "provider_url": "https://cdn.example.com/0.png?sig=a%2Fb&x=1",
    }
    assert fields["image_count"] == 4
    assert [it["kept"] for it in fields["images"]] == [True, False, True, False]  # type: ignore[attr-defined]
    assert (fields["event"], fields["state"], fields["cost"]) == ("completed", "completed", "0.05")
    assert (fields["sheet"], fields["page"]) == (SHEET.url, f"https://ping.example.org/tasks/{REF}")
    assert fields["error"] is None


def test_a_digests_fields_are_a_list_the_worst_first() -> None:
    fields = extras(DONE, FAILED, ATTENTION, target=JSON, kept=KEPT).fields

    assert (fields["event"], fields["count"]) == ("digest", 3)
    assert [it["event"] for it in fields["reports"]] == ["failed", "attention", "completed"]  # type: ignore[attr-defined]
    assert fields["reports"][2]["images"][0]["kept"]  # type: ignore[index]
    many = extras(*[done(images=pictures(50))] * 2, target=JSON).fields["reports"][0]  # type: ignore[index]
    assert (len(many["images"]), many["image_count"]) == (8, 50)
    assert fields["reports"][1]["cause"] == "provider-key"  # type: ignore[index]


@pytest.mark.parametrize("reports", SAMPLES.values(), ids=list(SAMPLES))
def test_flat_fields_are_texts_under_names_that_xml_takes(reports: tuple[Report, ...]) -> None:
    flat = flatten_fields(extras(*reports, target=JSON).fields)

    assert all(isinstance(value, str) and re.fullmatch("[a-z_]+", name) for name, value in flat.items())
    assert set(flat) >= ({"event", "reports"} if len(reports) > 1 else {"event", "ref", "images", "error_code"})


def test_fields_go_to_machines_only_and_are_clean_and_bounded() -> None:
    assert extras(DONE, target=styled(MessageStyle.SLACK)).fields == {}
    assert extras(DONE, target=Target(name="t", url="mmost://h/t")).fields == {}
    report = Report(
        event=NoticeEvent.FAILED, ref=HOSTILE, label=HOSTILE * 99, prompt=HOSTILE * 99, model=HOSTILE, cause=HOSTILE,
        error=TaskError(HOSTILE, HOSTILE * 99), cost=Decimal("NaN"), images=pictures(400), duration_ms=-1,
    )  # fmt: skip

    text = json.dumps(extras(*[report] * 1_000, target=JSON).fields, ensure_ascii=False)

    assert len(text) < 1_000_000
    assert not re.search("[\x00-\x1f\u202e\u2066\ud800-\udfff]", text)
