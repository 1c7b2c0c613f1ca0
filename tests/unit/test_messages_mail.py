"""What a mail says, in HTML and in its plain part."""

import re
from html.parser import HTMLParser

import pytest

from kit.reports import ATTENTION, DONE, FAILED, HOSTILE, LOST, REF, SHEET, Pages, done, pictures, styled
from receiver.core.types import AttachedPicture, Image, MessageStyle, NoticeEvent, Report
from receiver.notify.messages.message import BodyFormat, Message
from receiver.notify.messages.render import render

pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")

MAIL = styled(MessageStyle.EMAIL)


def mail(*reports: Report, picture: AttachedPicture | None = SHEET) -> Message:
    return render(reports, MAIL, links=Pages(), picture=picture)


def plain(message: Message) -> list[str]:
    """The lines of the plain part, without empty ones."""
    return [line for line in message.extras.plain.split("\n") if line]


class Tags(HTMLParser):
    """Every tag with its attributes."""

    def __init__(self, body: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(body)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def values(self, tag: str, name: str) -> list[str]:
        return [attributes.get(name) or "" for each, attributes in self.found if each == tag]


def test_a_mail_shows_the_sheet_that_comes_with_it_and_nothing_from_elsewhere() -> None:
    message = mail(DONE)

    assert (message.title, message.format, str(message.picture)) == ("✓ hero — 4 pictures", BodyFormat.HTML, SHEET.path)
    assert Tags(message.body).values("img", "src") == ["cid:sheet.jpg"]
    assert "<img" not in mail(DONE, picture=None).body


def test_a_mail_links_the_task_and_each_picture() -> None:
    links = Tags(mail(DONE).body).values("a", "href")

    assert links[0] == f"https://ping.example.org/tasks/{REF}"
    assert "https://cdn.example.com/3.png?sig=a%2Fb&x=1" in links


def test_a_mail_is_made_for_narrow_screens_and_the_dark() -> None:
    body = mail(DONE).body

    assert "max-width:600px" in body
    assert "prefers-color-scheme:dark" in body
    assert len(body.encode()) < 20_000


def test_the_plain_part_reads_well_and_has_every_url() -> None:
    assert plain(mail(DONE)) == [
        "“a lighthouse & its <keeper>”",
        *(f"image {n}: https://cdn.example.com/{n}.png?sig=a%2Fb&x=1" for n in range(4)),
        "midjourney_outpaint · $0.05 · 1 min 12 s",
        "To save the pictures: `receiver tasks pictures 0123456789ab`",
        f"Task 0123456789ab: https://ping.example.org/tasks/{REF}",
    ]


def test_no_url_is_shown_that_a_button_opens() -> None:
    shown = re.sub(r"<[^>]*>", "", mail(DONE).body)

    assert "https://" not in shown
    assert "Open the task" in shown
    assert "https://" not in re.sub(r"<[^>]*>", "", mail(DONE, FAILED).body)
    assert "https://cdn.example.com/12.png" in re.sub(r"<[^>]*>", "", mail(done(images=pictures(13))).body)


@pytest.mark.parametrize(
    ("report", "preview"),
    [
        (
            Report(event=NoticeEvent.ATTENTION, cause="held", text="Run `receiver tasks list`."),
            "Run receiver tasks list.",
        ),
        (Report(event=NoticeEvent.ATTENTION, text="First.\nSecond."), "Second."),
        (FAILED, "What to do: Submit it again, perhaps with another prompt or picture. · “a *bold* claim”"),
    ],
)
def test_the_list_of_mails_shows_what_the_subject_does_not_say(report: Report, preview: str) -> None:
    found = re.search(r"<ul[^>]*>([^<]*?)&#847;", mail(report).body)

    assert found is not None
    assert found[1] == preview


def test_a_failure_says_what_to_do() -> None:
    assert plain(mail(FAILED)) == [
        "What to do: Submit it again, perhaps with another prompt or picture.",
        "“a *bold* claim”",
        "error 004007098",
        "Task r2: https://ping.example.org/tasks/r2",
    ]


def test_a_digest_names_the_failed_ones_first() -> None:
    message = mail(DONE, LOST, FAILED, ATTENTION)

    assert message.title == "✗ 4 notices: 1 failed, 1 lost, 1 needs you, 1 done"
    marks = [line[0] for line in plain(message) if not line.startswith(("http", "The provider refuses"))]
    assert marks == ["✗", "?", "!", "✓", "$"]


def test_a_command_in_an_advice_is_code() -> None:
    assert re.search(r"<span[^>]*monospace[^>]*>receiver tasks poll r3</span>", mail(LOST).body)
    told = Report(event=NoticeEvent.ATTENTION, text="Mend it, then `receiver notices redrive`.")
    assert re.search(r"<span[^>]*monospace[^>]*>receiver notices redrive</span>", mail(told).body)
    assert re.search(r"<span[^>]*monospace[^>]*>receiver notices redrive</span>", mail(told, DONE).body)


@pytest.mark.parametrize("event", list(NoticeEvent))
@pytest.mark.parametrize("several", [False, True])
def test_hostile_words_stay_words_in_a_mail(event: NoticeEvent, several: bool) -> None:
    report = Report(event=event, label=HOSTILE, ref=HOSTILE, prompt=HOSTILE, model=HOSTILE, text=HOSTILE)

    found = Tags(mail(*(report,) * (2 if several else 1)).body)

    assert not {tag for tag, _ in found.found} & {"script", "b"}
    assert all(link.startswith("https://ping.example.org/") for link in found.values("a", "href"))


def test_a_hostile_url_is_shown_and_not_linked() -> None:
    body = mail(done(images=(Image(0, "javascript:alert('1')"), Image(1, 'https://x.example/"><b>\n@here\u202e')))).body

    assert 'href="javascript' not in body
    assert "javascript:alert(&#x27;1&#x27;)" in body
    assert "<b>" not in body


def test_a_mail_stays_small_enough_to_be_shown_whole_and_no_url_is_cut() -> None:
    url = "https://cdn.example.com/" + "p" * 5_000
    body = mail(done(images=tuple(Image(n, url) for n in range(60)))).body

    assert len(body.encode()) < 100_000
    assert set(re.findall(r"https://cdn[^\"<]*", body)) == {url}
    assert "… and " in body
