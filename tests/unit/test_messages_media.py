"""Messages about results that are not four pictures: one picture, videos, and files of no known kind."""

import json
import re
from typing import Any

import pytest
from msgspec.structs import replace

from kit.reports import REF, SHEET, Pages, done, styled
from receiver.core.types import AttachedPicture, Image, MessageStyle, Report
from receiver.notify.messages.render import render

STYLES = (MessageStyle.TEXT, MessageStyle.SLACK, MessageStyle.DISCORD, MessageStyle.TELEGRAM, MessageStyle.EMAIL)
SAVE = "receiver tasks pictures 0123456789ab"


def images(count: int, kind: str = "image", suffix: str = "png") -> tuple[Image, ...]:
    return tuple(Image(n, f"https://cdn.example.com/{n}.{suffix}", kind, "job") for n in range(count))


UPSCALED = done(model="midjourney_upscale", images=images(1))
VIDEOS = done(model="midjourney_video_diffusion", prompt="waves", images=images(4, "video", "mp4"))
VIDEO = done(model="midjourney_video_upscale", images=images(1, "video", "mp4"))
MIXED = done(images=(*images(1), *images(2, "video", "mp4")[1:]))
SOUND = done(images=images(1, "audio", "mp3"))


def words(report: Report, style: MessageStyle, picture: AttachedPicture | None = None, *, late: bool = False) -> str:
    """All that a person reads, links included."""
    message = render((report,), styled(style), links=Pages(), picture=picture, late=late)
    return " ".join(filter(None, (message.title, message.body, message.blocks)))


def buttons(report: Report) -> dict[str, str]:
    """The words of Slack's buttons, and where they lead."""
    message = render((report,), styled(MessageStyle.SLACK), links=Pages(), picture=None)
    blocks: list[dict[str, Any]] = json.loads(message.blocks or "")["blocks"]
    return {it["text"]["text"]: it["url"] for block in blocks for it in block.get("elements", ()) if "url" in it}


@pytest.mark.parametrize(
    ("report", "title"),
    [
        (UPSCALED, "✓ hero — 1 picture"),
        (VIDEOS, "✓ hero — 4 videos"),
        (VIDEO, "✓ hero — 1 video"),
        (MIXED, "✓ hero — 2 files"),
        (SOUND, "✓ hero — 1 file"),
    ],
)
def test_the_title_says_how_many_of_what(report: Report, title: str) -> None:
    assert all(title in words(report, style) for style in STYLES)


@pytest.mark.parametrize("report", [UPSCALED, VIDEOS, VIDEO, MIXED, SOUND])
@pytest.mark.parametrize("style", STYLES)
def test_every_result_has_its_link(report: Report, style: MessageStyle) -> None:
    shown = words(report, style)
    assert all(image.url in shown for image in report.images)


def test_the_button_of_one_says_what_it_is_and_those_of_several_their_numbers() -> None:
    link = "https://cdn.example.com/0"
    assert list(buttons(UPSCALED)) == ["Open the picture", "Open the task"]
    assert buttons(VIDEO)["Open the video"] == f"{link}.mp4"
    assert list(buttons(VIDEOS))[:4] == ["Video 0", "Video 1", "Video 2", "Video 3"]
    assert list(buttons(MIXED))[:2] == ["0", "Video 1"]


def test_a_mail_names_what_its_buttons_open() -> None:
    def shown(report: Report) -> list[str]:
        body = render((report,), styled(MessageStyle.EMAIL), links=Pages(), picture=None).body
        return re.findall(r">(Full size:|Open:|Open the \w+|Video \d|\d)</", body)

    assert shown(UPSCALED) == ["Open the task", "Open the picture"]
    assert shown(VIDEO) == ["Open the task", "Open the video"]
    assert shown(VIDEOS) == ["Open the task", "Open:", "Video 0", "Video 1", "Video 2", "Video 3"]
    assert shown(done(images=images(4))) == ["Open the task", "Full size:", "0", "1", "2", "3"]


def test_the_picture_of_one_is_described_as_a_picture_and_not_as_a_sheet() -> None:
    assert "Contact sheet" not in words(UPSCALED, MessageStyle.SLACK, SHEET)
    assert '"alt_text":"The picture"' in words(UPSCALED, MessageStyle.SLACK, SHEET)
    assert 'alt="The picture: a boat"' in words(done(images=images(1), prompt="a boat"), MessageStyle.EMAIL, SHEET)


def test_no_message_says_that_the_sheet_of_videos_was_not_ready() -> None:
    for report in (VIDEOS, VIDEO):
        assert "contact sheet" not in words(report, MessageStyle.TEXT, late=True).lower()
    assert "The contact sheet was not ready" in words(done(images=images(1)), MessageStyle.TEXT, late=True)


@pytest.mark.parametrize(
    ("report", "lines"),
    [
        (UPSCALED, [f"To save the picture: `{SAVE}`"]),
        (VIDEO, [f"To save the video: `{SAVE}`"]),
        (
            VIDEOS,
            [
                f"To save the videos: `{SAVE}`",
                "To let one go on: `receiver submit extend-video --from 0123456789ab --video-no 0`",
            ],
        ),
        (
            done(model="midjourney_diffusion", prompt="a boat --v 7", images=images(4)),
            [
                f"To save the pictures: `{SAVE}`",
                "To extend one: `receiver submit outpaint --from 0123456789ab --image-no 0 --scale 1.5`",
            ],
        ),
        (
            done(model="midjourney_diffusion", prompt="a boat --v 8.1", images=images(4)),
            [f"To save the pictures: `{SAVE}`"],
        ),
        (done(model="midjourney_retexture", images=images(4)), [f"To save the pictures: `{SAVE}`"]),
        (
            done(model="midjourney_reroll", images=images(1)),
            [
                f"To save the picture: `{SAVE}`",
                "To extend it: `receiver submit outpaint --from 0123456789ab --image-no 0 --scale 1.5`",
            ],
        ),
    ],
)
def test_what_may_come_next_is_what_the_model_allows(report: Report, lines: list[str]) -> None:
    body = words(report, MessageStyle.TEXT)
    assert [line for line in body.splitlines() if line.startswith("To ")] == lines


def test_a_pick_of_videos_asks_for_one_of_the_videos() -> None:
    assert "pick one of 4 videos" in words(replace(VIDEOS, picks=1), MessageStyle.TEXT)
    assert "pick its video, or not" in words(replace(VIDEO, picks=1), MessageStyle.TEXT)
    assert REF in words(replace(VIDEO, picks=1), MessageStyle.SLACK)
