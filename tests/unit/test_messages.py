"""What a ping says, and what no text from outside can make it say."""

import json
import re
from decimal import Decimal
from pathlib import Path

import pytest
from msgspec.structs import replace

from kit.reports import HOSTILE, REF, SHEET, Pages, done, pictures, styled
from receiver.core.sanitize import BODY_MOST, TITLE_MOST
from receiver.core.types import Image, MessageStyle, NoticeEvent, Report, Target, TaskError
from receiver.notify.messages.cause_words import CAUSE_WORDS
from receiver.notify.messages.message import BodyFormat, Message, MessageKind
from receiver.notify.messages.render import render
from receiver.providers.advice import ADVICE_BY_CODE

TEXT = styled(MessageStyle.TEXT)


def text(*reports: Report) -> Message:
    return render(reports, TEXT, links=Pages())


def test_a_completed_task_is_told_in_full() -> None:
    report = done(
        model="midjourney_outpaint",
        prompt="a lighthouse",
        images=pictures(2),
        cost=Decimal("0.05"),
        duration_ms=72_400,
    )

    message = text(report)

    assert (message.title, message.kind, message.format) == (
        "✓ hero — 2 pictures",
        MessageKind.SUCCESS,
        BodyFormat.TEXT,
    )
    assert message.body.split("\n") == [
        "“a lighthouse”",
        "",
        "image 0: https://cdn.example.com/0.png?sig=a%2Fb&x=1",
        "image 1: https://cdn.example.com/1.png?sig=a%2Fb&x=1",
        "",
        "midjourney_outpaint · $0.05 · 1 min 12 s",
        "",
        "To save the pictures: `receiver tasks pictures 0123456789ab`",
        "",
        f"Task 0123456789ab: https://ping.example.org/tasks/{REF}",
    ]


@pytest.mark.parametrize(
    ("about", "name"),
    [
        ({"label": "hero", "prompt": "a lighthouse"}, "hero"),
        ({"prompt": "a lighthouse"}, "“a lighthouse”"),
        ({"prompt": "a lighthouse & its keeper, oil on canvas, by night"}, "“a lighthouse & its keeper, oil on…”"),
        ({"prompt": "灯" * 300}, f"“{'灯' * 39}…”"),
        ({"model": "midjourney_outpaint"}, "a midjourney_outpaint task"),
        ({"label": "hut", "step": "big", "prompt": "a hut"}, "hut · big"),
        ({"step": "big", "prompt": "a hut"}, "“a hut” · big"),
        ({"step": "big", "model": "midjourney_upscale"}, "big"),
        ({}, "a task"),
    ],
)
@pytest.mark.parametrize(
    ("event", "end"), [(NoticeEvent.FAILED, ": failed"), (NoticeEvent.LOST, ": lost — no result before its deadline")]
)
def test_a_task_is_named_by_its_label_or_its_prompts_first_words_and_never_by_its_ref(
    about: dict[str, str], name: str, event: NoticeEvent, end: str
) -> None:
    message = text(Report(event=event, ref=REF, **about))  # type: ignore[arg-type]

    assert message.title[2:] == name + end
    assert REF in message.body.split("\n")[-1]


def test_without_a_link_the_ref_is_told_all_the_same() -> None:
    assert render((done(images=pictures(1)),), TEXT).body.endswith(f"\nTask {REF}")


@pytest.mark.parametrize("several", [False, True])
def test_unconfirmed_is_said_in_so_many_words(several: bool) -> None:
    report = done(images=pictures(1), confirmed=False)

    message = text(report, done(images=pictures(1))) if several else text(report)

    assert "(unconfirmed)" in message.body + message.title
    assert message.kind is MessageKind.WARNING


@pytest.mark.parametrize("code", [None, sorted(ADVICE_BY_CODE)[0]])
def test_a_failure_that_nobody_could_confirm_is_not_to_be_submitted_again_unseen(code: str | None) -> None:
    """Whoever made it up also wrote its reason."""
    error = TaskError(code, "nothing was charged")
    body = text(
        Report(event=NoticeEvent.FAILED, ref=REF, model="midjourney_outpaint", error=error, confirmed=False)
    ).body

    assert "before you submit it again, or you may pay twice" in body
    assert "receiver submit again" not in body


@pytest.mark.parametrize("code", sorted(ADVICE_BY_CODE))
def test_a_known_failure_says_what_to_do_about_it(code: str) -> None:
    message = text(
        Report(event=NoticeEvent.FAILED, ref=REF, label="hero", error=TaskError(code, "the provider's words"))
    )

    assert message.title == "✗ hero: failed — the provider's words"
    assert message.kind is MessageKind.FAILURE
    assert message.body.startswith(f"What to do: {ADVICE_BY_CODE[code]}\n\nerror {code}\n\n")


@pytest.mark.parametrize(("code", "like"), [("004011098", "004007098"), ("004001099", "004007099")])
def test_another_models_code_of_a_known_cause_has_its_advice(code: str, like: str) -> None:
    assert ADVICE_BY_CODE[like] in text(Report(event=NoticeEvent.FAILED, ref=REF, error=TaskError(code, "x"))).body


@pytest.mark.parametrize(
    "error", [None, TaskError(None, "boom"), TaskError("400", "boom"), TaskError("004011098999", "")]
)
def test_an_unknown_failure_says_where_to_look(error: TaskError | None) -> None:
    body = text(Report(event=NoticeEvent.FAILED, ref=REF, error=error)).body

    assert "What to do: Run `receiver tasks show 0123456789ab`" in body


def test_a_lost_task_that_can_be_polled_says_how() -> None:
    message = text(Report(event=NoticeEvent.LOST, ref=REF, label="hero", task_id="d8ejq"))

    assert (message.title, message.kind) == ("? hero: lost — no result before its deadline", MessageKind.WARNING)
    assert "receiver tasks poll 0123456789ab" in message.body
    assert "d8ejq" in message.body


def test_a_lost_task_that_cannot_be_polled_is_not_sent_to_the_poll() -> None:
    body = text(Report(event=NoticeEvent.LOST, ref=REF)).body

    assert "tasks poll" not in body
    assert "pay twice" in body


def test_attention_shows_its_text_line_by_line() -> None:
    message = text(Report(event=NoticeEvent.ATTENTION, text="The provider refuses our key.\nSet PROVIDER_KEY."))

    assert message.title == "! The provider refuses our key."
    assert message.body == "The provider refuses our key.\nSet PROVIDER_KEY."


def test_a_digest_counts_and_gives_each_task_a_line_the_failed_ones_first() -> None:
    reports = (
        done(images=pictures(4), cost=Decimal("0.05"), duration_ms=900),
        Report(event=NoticeEvent.FAILED, ref="r2", error=TaskError("004007098", "no luck"), cost=Decimal("0.0025")),
        Report(event=NoticeEvent.ATTENTION, text="look"),
    )

    message = text(*reports)

    assert message.title == "✗ 3 notices: 1 failed, 1 needs you, 1 done"
    assert message.kind is MessageKind.FAILURE
    assert message.body.split("\n") == [
        "✗ a task: failed — no luck (task r2) · $0.0025",
        "https://ping.example.org/tasks/r2",
        "",
        "! Look",
        "look",
        "",
        "✓ hero — 4 pictures · $0.05 · 0.9 s",
        f"https://ping.example.org/tasks/{REF}",
        "",
        "$0.0525 in total",
    ]


def test_a_digest_gives_an_attention_its_text_and_names_the_task_once() -> None:
    named = Report(event=NoticeEvent.ATTENTION, ref="r1", cause="unparsed", text="Look at the callback of r1.")
    unnamed = Report(event=NoticeEvent.ATTENTION, ref="r2", cause="unparsed", text="Look at it.")

    first, second = render((named, unnamed), TEXT).body.split("\n\n")

    assert first == "! A callback could not be read\nLook at the callback of r1."
    assert second == "! A callback could not be read (task r2)\nLook at it."


def test_a_digest_without_pages_links_the_first_picture() -> None:
    message = render((done(images=pictures(3)), done(images=pictures(1))), TEXT)

    assert message.body.split("\n")[1] == "https://cdn.example.com/0.png?sig=a%2Fb&x=1"


def test_a_long_digest_counts_the_rest() -> None:
    message = text(*[done(images=pictures(1)) for _ in range(1_000)])

    assert message.title == "✓ 1000 notices done"
    assert re.search(r"\n… and 9\d\d more$", message.body)


@pytest.mark.parametrize("field", ["label", "model", "prompt", "ref", "task_id", "text"])
@pytest.mark.parametrize("event", list(NoticeEvent))
@pytest.mark.parametrize("several", [False, True])
def test_hostile_text_stays_text(field: str, event: NoticeEvent, several: bool) -> None:
    """Neither calls nor labelled links for chats, nor lines, directions or controls."""
    report = replace(Report(event=event, error=TaskError(HOSTILE, HOSTILE)), **{field: HOSTILE})

    message = text(report, report) if several else text(report)

    shown = message.title + message.body
    assert not re.search(r"@here|<!|<http|<script", shown)
    assert "\n" not in message.title
    assert not re.search(
        "[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", shown
    )
    if field != "text":
        assert not re.search("^evil", message.body, re.MULTILINE)


def test_a_hostile_url_is_neither_a_link_nor_a_second_line() -> None:
    images = (Image(0, "javascript:alert('1')"), Image(1, 'https://x.example/"><b>\n@here\u202e'))

    assert "image 1: https://x.example/%22%3E%3Cb%3E%0A%40here%E2%80%AE\n" in text(done(images=images)).body


def test_joiners_that_spell_words_and_emoji_survive() -> None:
    assert "می\u200cخواهم 👩\u200d🎨" in text(done(images=pictures(1), prompt="می\u200cخواهم 👩\u200d🎨")).body


@pytest.mark.parametrize("event", list(NoticeEvent))
@pytest.mark.parametrize("filler", ["x", "@", "<&"])
@pytest.mark.parametrize("count", [1, 60])
def test_everything_is_bounded_but_urls_are_whole(event: NoticeEvent, filler: str, count: int) -> None:
    huge = filler * 100_000
    url = "https://cdn.example.com/" + "p" * 5_000
    report = Report(
        event=event, ref=huge, task_id=huge, label=huge, model=huge, prompt=huge, text=huge, confirmed=False,
        images=tuple(Image(n, url, type=huge) for n in range(4)), error=TaskError(huge, huge),
        cost=Decimal("1E+999999"), duration_ms=10**12,
    )  # fmt: skip

    message = render((report,) * count, TEXT)

    assert len(message.title) <= TITLE_MOST
    assert len(message.body.replace(url, "")) <= BODY_MOST
    assert message.body.count(url) >= (4 if count == 1 else 1)


@pytest.mark.parametrize(
    ("cost", "shown"),
    [("0.05", "$0.05"), ("0", "$0.00"), ("12", "$12.00"), ("0.0025", "$0.0025"), ("1E-7", "$0.00"), ("1.5", "$1.50")],
)
def test_costs_are_dollars_with_two_to_six_decimals(cost: str, shown: str) -> None:
    assert text(done(images=pictures(1), cost=Decimal(cost))).body.split("\n\n")[1] == shown


@pytest.mark.parametrize("cost", ["NaN", "sNaN", "Infinity", "-1", "1E+999999"])
def test_a_senseless_cost_is_left_out(cost: str) -> None:
    report = done(images=pictures(1), cost=Decimal(cost))

    assert "$" not in text(report).body + text(report, report).body


@pytest.mark.parametrize(
    ("span_ms", "shown"),
    [
        (900, "0.9 s"),
        (9_400, "9.4 s"),
        (59_000, "59 s"),
        (60_000, "1 min"),
        (72_400, "1 min 12 s"),
        (3_600_000, "1 h"),
        (5_400_000, "1 h 30 min"),
    ],
)
def test_durations_read_like_a_persons(span_ms: int, shown: str) -> None:
    assert text(done(images=pictures(1), duration_ms=span_ms)).body.split("\n\n")[1] == shown


def test_a_negative_duration_is_left_out() -> None:
    assert text(done(images=pictures(1), duration_ms=-5)).body.startswith("picture: ")


def test_text_has_the_providers_links_and_no_picture() -> None:
    message = render((done(images=pictures(1)),), TEXT, picture=SHEET)

    assert (message.picture, message.blocks) == (None, None)
    assert "https://cdn.example.com/0.png?sig=a%2Fb&x=1" in message.body


def test_nothing_to_tell_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="at least one"):
        render((), TEXT)


@pytest.mark.parametrize(
    "text", ["[Sign in again](https://evil.example)", "![x](https://evil.example/x.png)", "[a][b]"]
)
def test_a_label_is_no_link_in_services_that_read_markdown(text: str) -> None:
    report = Report(
        event=NoticeEvent.COMPLETED, ref="r", label=text, prompt=text, images=(Image(0, "https://p.example/0.png"),)
    )
    message = render((report,), Target(name="t", url="mmost://h/t", style=MessageStyle.TEXT))
    for words in (message.title, message.body):
        assert "](" not in words
        assert "][" not in words
        assert "]\u200b" in words


def test_a_reason_is_said_once_and_whole() -> None:
    short, long = (
        text(Report(event=NoticeEvent.FAILED, ref=REF, model="m", error=TaskError("004007098", words)))
        for words in ("no luck", "no luck " * 40)
    )

    assert (short.title + short.body).count("no luck") == 1
    assert short.body.split("\n")[:2] == [
        f"What to do: {ADVICE_BY_CODE['004007098']}",
        "`receiver submit again 0123456789ab`",
    ]
    assert long.body.startswith(f"Error: {'no luck ' * 40}".strip() + "\nWhat to do: ")


@pytest.mark.parametrize(
    ("waiting", "went"), [(1, "1 task that waited for it was"), (2, "2 tasks that waited for it were")]
)
def test_what_was_cancelled_with_a_failed_task_is_submitted_again_with_it(waiting: int, went: str) -> None:
    failed = Report(
        event=NoticeEvent.FAILED, ref=REF, model="m", error=TaskError("004007098", "no luck"), waiting=waiting
    )
    body = text(failed).body
    assert f"{went} cancelled with it: `receiver submit again 0123456789ab --with-children` submits it, " in body
    assert "again 0123456789ab`" not in body


def test_a_failure_without_parameters_of_ours_is_not_submitted_again_by_a_command() -> None:
    assert "submit again" not in text(Report(event=NoticeEvent.FAILED, ref=REF, error=TaskError("004007098", "x"))).body


def test_a_completed_task_says_how_to_go_on_if_it_can_be_extended() -> None:
    report = done(images=tuple(replace(image, job_id="j") for image in pictures(2)))

    assert "receiver submit outpaint --from 0123456789ab --image-no 0 --scale 1.5" in text(report).body
    assert "outpaint" not in text(done(images=pictures(2))).body
    assert "To save" not in text(done()).body


UNSURE = (
    "It is unclear whether the provider took hero, so it is not sent again. Check the provider's task list. If the "
    "task is there, run `receiver tasks tell-id 01997b3c-7f00-7abc-8def-0123456789ab ID`. If not, run `receiver tasks "
    "resubmit 01997b3c-7f00-7abc-8def-0123456789ab`; if the provider took it after all, you pay twice. Or wait for it."
)


@pytest.mark.parametrize("style", list(MessageStyle))
@pytest.mark.parametrize("words", [UNSURE, f"{'Much more. ' * 30}{UNSURE}"])
def test_a_digest_never_cuts_the_sentence_about_paying_twice(style: MessageStyle, words: str) -> None:
    report = Report(event=NoticeEvent.ATTENTION, ref=REF, label="hero", cause="unsure", text=words)

    message = render((report, done(images=pictures(1))), styled(style), links=Pages())

    said = json.dumps(json.loads(message.blocks), ensure_ascii=False) if message.blocks else message.body
    said = re.sub(r"<[^|>]*\||</?[a-z][^>]*>|[`\\\u200b]", "", said)
    assert "if the provider took it after all, you pay twice." in said


def test_each_cause_of_an_attention_that_is_raised_has_its_words() -> None:
    """A title that only repeats the text's beginning says less."""
    raised = set()
    for file in (Path(__file__).parents[2] / "receiver").rglob("*.py"):
        source = file.read_text("utf-8")
        for call in re.findall(r"\braise_attention\(\s*(?:self\._)?tx,\s*f?\"([a-z-]+)", source):
            raised.add(call)
        for call in re.findall(r"\braise_task_attention\(\s*(?:self\._)?tx,\s*\"([a-z-]+)", source):
            raised |= {call, f"{call}-many"}

    assert len(raised) > 15
    assert raised - {"unread-many"} <= set(CAUSE_WORDS), sorted(raised - set(CAUSE_WORDS))


def test_the_commands_of_an_attention_have_short_handles_so_that_a_digest_has_all_of_it() -> None:
    report = Report(event=NoticeEvent.ATTENTION, ref=REF, label="hero", cause="unsure", text=UNSURE)

    for message in (text(report), text(report, done())):
        assert "run `receiver tasks tell-id 0123456789ab ID`" in message.body
        assert "run `receiver tasks resubmit 0123456789ab`; if" in message.body
        assert "Or wait for it." in message.body
