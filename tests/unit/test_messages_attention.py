"""How an attention names its task, and how a digest shows what to do about it."""

import json

import pytest
from msgspec.structs import replace

from kit.reports import REF, Pages, done, styled
from receiver.core.types import MessageStyle, NoticeEvent, Report
from receiver.notify.messages.message import Message
from receiver.notify.messages.render import render


def text(report: Report) -> Message:
    return render((report,), styled(MessageStyle.TEXT), links=Pages())


def test_an_attention_names_its_task_as_the_title_does_and_by_its_handle_in_commands() -> None:
    said = f"{REF} is odd. Run `receiver tasks show {REF}`."
    about = Report(event=NoticeEvent.ATTENTION, ref=REF, cause="unread", text=said)
    labelled, prompted = replace(about, label="hero"), replace(about, prompt="a lighthouse")

    assert text(labelled).body.startswith("“hero” is odd. Run `receiver tasks show 0123456789ab`.")
    assert text(prompted).title == "! “a lighthouse”: a callback could not be read"
    assert text(prompted).body.startswith("“a lighthouse” is odd. Run `receiver tasks show 0123456789ab`.")
    assert text(about).body.startswith("0123456789ab is odd. Run `receiver tasks show 0123456789ab`.")


@pytest.mark.parametrize(
    ("style", "link", "command"),
    [
        (MessageStyle.SLACK, "|{}>", "`{}`"),
        (MessageStyle.DISCORD, "[{}](", "`{}`"),
        (MessageStyle.TELEGRAM, ">{}</a>", "<code>{}</code>"),
        (MessageStyle.EMAIL, ">{}</a>", ">{}</span>"),
    ],
)
def test_a_digest_links_the_headline_of_an_attention_and_not_what_to_do(
    style: MessageStyle, link: str, command: str
) -> None:
    """A command within a link is not code, and cannot be copied."""
    about = Report(event=NoticeEvent.ATTENTION, ref=REF, label="hero", cause="held", text="Run `receiver tasks list`.")

    message = render((about, done()), styled(style), links=Pages())

    shown = json.dumps(json.loads(message.blocks), ensure_ascii=False) if message.blocks else message.body
    assert link.format("hero: on hold until you decide") in shown
    assert command.format("receiver tasks list") in shown
