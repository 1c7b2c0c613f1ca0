"""The message at a batch's end: its headline is what its rows came to, and its sheet is described."""

import pytest
from msgspec.structs import replace

from kit.fakes import SLACK
from receiver.core.types import AttachedPicture, MessageStyle, NoticeEvent
from receiver.notify.messages.content import build_report
from receiver.notify.messages.message import MessageKind, NoLinks
from receiver.notify.messages.render import render
from receiver.notify.messages.samples import SAMPLES

[SAMPLE] = SAMPLES[NoticeEvent.BATCH]


@pytest.mark.parametrize(
    ("rows", "mark", "kind"),
    [
        ({"completed": 12}, "✓", MessageKind.SUCCESS),
        ({"completed": 10, "failed": 2}, "!", MessageKind.WARNING),
        ({"completed": 10, "cancelled": 2}, "!", MessageKind.WARNING),
        ({"completed": 1, "lost": 11}, "!", MessageKind.WARNING),
        ({"failed": 12}, "✗", MessageKind.FAILURE),
        ({"lost": 12}, "✗", MessageKind.FAILURE),
        ({"failed": 1, "cancelled": 11}, "✗", MessageKind.FAILURE),
        ({"cancelled": 12}, "!", MessageKind.WARNING),
        ({}, "!", MessageKind.WARNING),  # an earlier version did not say
    ],
)
def test_the_headline_begins_with_what_the_rows_came_to(rows: dict[str, int], mark: str, kind: MessageKind) -> None:
    report = replace(SAMPLE, text="what they came to", rows=rows, failed=set(rows) != {"completed"})
    content = build_report(report, NoLinks())
    assert (content.title, content.kind) == (f"{mark} a-test: what they came to", kind)


def test_one_that_waits_for_picks_needs_a_person_and_says_how_to_pick() -> None:
    report = replace(SAMPLE, text="6 of 18 completed", rows={"completed": 6, "queued": 12}, failed=False, picks=6)
    content = build_report(report, NoLinks())
    assert (content.title, content.kind) == ("! a-test: 6 of 18 completed", MessageKind.WARNING)
    shown = render((report,), replace(SLACK, style=MessageStyle.TEXT)).body
    assert "`receiver tasks list --waits pick` lists what waits, `receiver tasks pick REF N` picks" in shown


def test_its_sheet_is_described_for_those_who_cannot_see_it() -> None:
    target = replace(SLACK, style=MessageStyle.SLACK)
    shown = render((SAMPLE,), target, picture=AttachedPicture("/sheet.jpg", "https://we.example/sheet.jpg"))
    assert '"image_url":"https://we.example/sheet.jpg"' in (shown.blocks or "").replace(" ", "")
    assert "Contact sheet of a-test: 10 of 12 completed" in (shown.blocks or "")
    assert "each picture has the number of its line" in (shown.blocks or "")
    assert shown.picture is None, "it is shown by its link"


def test_it_says_that_its_sheet_was_not_ready_only_if_there_could_be_one() -> None:
    assert "was not ready" in build_report(SAMPLE, NoLinks(), late=True).note
    assert build_report(replace(SAMPLE, rows={"failed": 12}), NoLinks(), late=True).note == ""
