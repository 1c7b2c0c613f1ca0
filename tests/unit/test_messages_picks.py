"""What a message says, in every style, when a person has to pick a picture."""

import json

import pytest
from msgspec.structs import replace

from kit.reports import DONE, FAILED, LOST, REF, Pages, styled
from receiver.core.types import MessageStyle, Report, Target, TaskError
from receiver.notify.messages.render import render

PICK = replace(DONE, picks=1)
URLS = [f"https://ping.example.org/pick/{REF}.{number}.mac" for number in range(4)]


@pytest.mark.parametrize("style", MessageStyle)
def test_each_picture_can_be_picked_by_a_link(style: MessageStyle) -> None:
    message = render((PICK,), styled(style), links=Pages())
    whole = f"{message.body} {message.blocks or ''}"
    assert all(url in whole for url in URLS)
    assert "pick one of 4 pictures" in f"{message.title} {whole}"


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ((), "pick one of 4 pictures"),
        (("pan",), "pick one of 4 pictures for pan"),
        (("pan", "zoom"), "pick one of 4 pictures for pan and zoom"),
        (("a", "b", "c"), "pick one of 4 pictures for a, b and c"),
        (("a", "b", "c", "d"), "pick one of 4 pictures for a, b and 2 others"),
    ],
)
def test_it_says_for_which_steps(names: tuple[str, ...], words: str) -> None:
    message = render((replace(PICK, step="make", picks_for=names),), styled(MessageStyle.TEXT), links=Pages())
    assert message.title == f"✓ hero · make — {words}"


def test_the_only_picture_is_picked_for_its_steps_or_not() -> None:
    alone = replace(PICK, images=PICK.images[:1], picks_for=("pan",))
    assert render((alone,), styled(MessageStyle.TEXT)).title == "✓ hero — pick its picture for pan, or not"


@pytest.mark.parametrize("style", MessageStyle)
def test_nothing_is_said_of_picks_where_there_is_none(style: MessageStyle) -> None:
    message = render((DONE,), styled(style), links=Pages())
    assert "pick" not in f"{message.title} {message.body} {message.blocks or ''}".lower()


def test_slacks_buttons_to_pick_come_first_and_look_different() -> None:
    blocks = json.loads(render((PICK,), styled(MessageStyle.SLACK), links=Pages()).blocks or "")["blocks"]
    actions = [block["elements"] for block in blocks if block["type"] == "actions"]
    assert [button["text"]["text"] for button in actions[0]] == ["Pick 0", "Pick 1", "Pick 2", "Pick 3"]
    assert {button["style"] for button in actions[0]} == {"primary"}
    assert all("style" not in button for button in actions[1])


def test_a_mail_says_it_in_both_parts() -> None:
    message = render((PICK,), styled(MessageStyle.EMAIL), links=Pages())
    assert all(url in message.body and url in message.extras.plain for url in URLS)


def test_the_terminal_is_another_way() -> None:
    body = render((PICK,), styled(MessageStyle.TEXT), links=Pages()).body
    assert f"`receiver tasks pick {REF.rpartition('-')[2]} 0`" in body


def test_a_digest_leads_to_the_page_of_the_first_picture() -> None:
    other: Report = replace(PICK, ref=f"{REF[:-1]}0")

    class NoPages(Pages):
        def task_url(self, ref: str) -> str | None:
            return None

    body = render((other, PICK), styled(MessageStyle.TEXT), links=NoPages()).body
    assert URLS[0] in body
    assert URLS[1] not in body


def test_programs_get_the_count_and_the_page() -> None:
    target = Target(name="it", url="json://it.invalid/")
    fields = render((PICK,), target, links=Pages()).extras.fields
    assert (fields["picks"], fields["pick_page"]) == (1, URLS[0])
    fields = render((DONE,), target, links=Pages()).extras.fields
    assert (fields["picks"], fields["pick_page"]) == (0, None)


def test_a_tap_opens_the_page_to_pick_on() -> None:
    extras = render((PICK,), styled(MessageStyle.NTFY), links=Pages()).extras
    assert extras.click is not None
    assert (extras.click.words, extras.click.url) == ("Pick a picture", URLS[0])
    assert extras.buttons == (extras.click,)


def test_without_links_the_command_is_left() -> None:
    body = render((PICK,), styled(MessageStyle.TEXT)).body
    assert "receiver tasks pick" in body
    assert "Pick 0" not in body


@pytest.mark.parametrize(
    ("waiting", "words"),
    [(0, ""), (1, "1 task waits for its result"), (3, "3 tasks wait for its result, and will go on if it arrives.")],
)
def test_a_lost_task_says_how_many_wait_for_it(waiting: int, words: str) -> None:
    body = render((replace(LOST, waiting=waiting),), styled(MessageStyle.TEXT), links=Pages()).body
    assert words in body
    assert ("its result, and" in body) is bool(waiting)


def test_what_went_with_the_task_that_it_goes_on_from_is_submitted_again_with_that() -> None:
    gone = replace(FAILED, error=TaskError("parent_failed", "“make”, which it goes on from, failed"))
    body = render((gone,), styled(MessageStyle.TEXT), links=Pages()).body
    assert "It was not sent, and cost nothing." in body
    assert "submit again REF --with-children" in body
    assert body.count("submit again") == 1, "alone it would go on from the same task"
