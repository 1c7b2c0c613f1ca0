"""Services that take little at a time: four messages at most, really four, no link cut, one line for an SMS."""

import re
from typing import Any

import pytest

from kit.reports import ATTENTION, DONE, FAILED, LOST, Pages, done, pictures, styled
from receiver.core.types import MessageStyle, NoticeEvent, Report
from receiver.notify.messages.markdown import to_markdown
from receiver.notify.messages.message import BodyFormat
from receiver.notify.messages.render import render
from receiver.notify.messages.short_line import fit_sms
from receiver.notify.senders import plugin
from receiver.notify.senders.extras import takes_one_line
from receiver.notify.senders.pieces import PIECES_MOST, fit_pieces

pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")

GSM = re.compile(r"[ -~äöüÄÖÜàéèùìòñÑ£¥§¿¡]*")
URL = "https://pictures.example/"
SMALL = [
    "rocket://user:password@127.0.0.1:9/channel",
    "join://abcdefghij0123456789abcdefghij01",
    "misskey://token@127.0.0.1:9",
    "discord://123456789012345678/t0ken-of-discord",
]


def opened(url: str) -> Any:
    return plugin.open_target(url)[0]


def pieces(service: Any, title: str, body: str) -> list[str]:
    """What Apprise would send, of a body in the format that we give this service."""
    form = form_for(service).value
    return [call["body"] for call in service._build_send_calls(body=body, title=title, body_format=form)]


def form_for(service: Any) -> BodyFormat:
    return BodyFormat.MARKDOWN if plugin._wants_markdown(service) else BodyFormat.TEXT


def fitted(service: Any, title: str, body: str) -> str:
    form = form_for(service)
    return fit_pieces(service, title, to_markdown(body) if form is BodyFormat.MARKDOWN else body, form)


def plain(body: str) -> str:
    """Markdown of ours as the text that it shows."""
    return re.sub(r"\\([^\w\s])", r"\1", re.sub(r"<(https?://[^>]*)>", r"\1", body)).replace("  \n", "\n")


@pytest.mark.parametrize("url", SMALL)
@pytest.mark.parametrize("title", ["", "✓ hero — 4 pictures", "t" * 150])
@pytest.mark.parametrize("size", [1, 60, 300])
def test_a_body_is_at_most_four_messages_of_whole_lines_and_whole_links(url: str, title: str, size: int) -> None:
    service = opened(url)
    lines = [f"task {number} {URL}{'x' * size}" for number in range(400)]

    body = fitted(service, title, "\n".join(lines))

    sent = pieces(service, title, body)
    assert len(sent) <= PIECES_MOST
    *kept, last = plain(body).split("\n")
    assert kept == lines[: len(kept)]
    assert len(kept) >= 1
    assert last == f"… and {400 - len(kept)} more lines"
    found = [link for piece in sent for link in re.findall(r"https://\S*", plain(piece))]
    assert found == [f"{URL}{'x' * size}"] * len(kept)


def test_one_more_line_would_be_a_fifth_message() -> None:
    service = opened(SMALL[0])
    lines = [f"task {number} {URL}{'x' * 180}" for number in range(400)]

    kept = fitted(service, "t", "\n".join(lines)).count("\n")

    more = to_markdown("\n".join([*lines[: kept + 1], f"… and {400 - kept - 1} more lines"]))
    assert len(pieces(service, "t", more)) == PIECES_MOST + 1


def test_a_link_longer_than_a_message_is_named_and_never_cut() -> None:
    service = opened("misskey://token@127.0.0.1:9")

    body = fit_pieces(service, "t", f"image 0: {URL}{'x' * 600}\nTask r", BodyFormat.TEXT)

    assert body == "image 0: (a link that is too long for this service)\nTask r"


def test_a_body_that_fits_is_left_alone_and_one_long_line_is_cut_between_words() -> None:
    service = opened(SMALL[0])

    assert fitted(service, "t", "short") == "short"
    cut = fitted(service, "t", "word " * 4_000)
    assert set(cut.split()) == {"word", "…"}
    assert 1 <= len(pieces(service, "t", cut)) <= PIECES_MOST
    assert len(pieces(service, "t", fitted(service, "t", "x" * 9_000))) <= PIECES_MOST


@pytest.mark.parametrize(
    ("url", "one_line"),
    [
        ("d7sms://token@15551234567", True),
        ("ircs://irc.example/channel", True),
        ("misskey://token@127.0.0.1:9", False),
        ("json://127.0.0.1:9/", False),
    ],
)
def test_one_line_is_for_services_that_cut_at_400_characters(url: str, one_line: bool) -> None:
    assert takes_one_line(opened(url)) is one_line


@pytest.mark.parametrize(
    ("reports", "line"),
    [
        ((DONE,), "hero - 4 pictures, $0.05"),
        ((FAILED,), "poster: failed - no < luck>"),
        ((LOST,), "a task: lost - no result before its deadline"),
        ((ATTENTION,), "The provider refuses our key or balance"),
        ((DONE, FAILED, LOST), "3 tasks: 1 failed, 1 lost, 1 done, $0.05 in total"),
    ],
)
def test_an_sms_is_one_line_in_its_own_alphabet_without_links(reports: tuple[Report, ...], line: str) -> None:
    assert render(reports, styled(MessageStyle.TEXT), links=Pages()).extras.short == line


@pytest.mark.parametrize("event", list(NoticeEvent))
@pytest.mark.parametrize("label", ["x" * 300, "灯" * 300, "👩\u200d🎨" * 100, "€" * 300, "a https://x.example/b @here"])
def test_an_sms_is_never_two(event: NoticeEvent, label: str) -> None:
    report = Report(event=event, label=label, images=pictures(2), text=label)

    line = render((report,), styled(MessageStyle.TEXT)).extras.short

    assert line
    assert "\n" not in line
    assert "://" not in line
    assert "@h" not in line
    most = 160 if GSM.fullmatch(line.replace("€", "")) else 70
    assert len(line.replace("€", "€€").encode("utf-16-le")) // 2 <= most


def test_a_line_of_nothing_but_a_link_says_something() -> None:
    assert fit_sms("https://x.example/" + "y" * 300) == "receiver: see the service"


def test_a_template_of_ones_own_gives_an_sms_its_title() -> None:
    message = render((done(images=pictures(1)),), styled(MessageStyle.TEXT, "{{ label }} is here\n{{ body }}"))

    assert message.extras.short == "hero is here"
