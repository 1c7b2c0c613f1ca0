"""The facts of a task, and its pictures as its page shows them."""

from decimal import Decimal

import pytest
from msgspec.structs import replace

from kit.fakes import DAY, NOW, a_task
from receiver.core.types import ArchiveState, Image, ImageCopy, OutcomeSource, TaskState, Usage
from receiver.web.pages.sentences import plain_text
from receiver.web.pages.task.facts import PARAMS_MOST, describe_pictures, list_facts
from receiver.web.pages.task.pictures import SHOWN_MOST, link_end, look_at_pictures

DONE = a_task(TaskState.COMPLETED, archive=ArchiveState.DONE, settled_at=NOW, prompt="a house")
SECONDS = NOW // 1000


def picture(number: int, **more: str) -> Image:
    return replace(Image(number, f"https://pics.example/{number}.png", job_id="job-0"), **more)


@pytest.mark.parametrize(
    ("query", "end"),
    [
        ("", None),
        ("?Expires=1767000000&Signature=x", 1_767_000_000_000),
        ("?expires=1767000000123", 1_767_000_000_123),
        ("?X-Amz-Date=20251229T092000Z&X-Amz-Expires=3600", NOW + 3_600_000),
        ("?X-Amz-Date=20251229T092000Z", NOW),
        ("?X-Amz-Date=nonsense&X-Amz-Expires=3600", None),
        ("?X-Amz-Date=99991231T235959Z&X-Amz-Expires=999999999999", None),
        ("?Expires=-1", None),
        ("?Expires=٣", None),
        ("?" + "&".join("a=b" for _ in range(60)), None),
    ],
)
def test_when_a_link_ends(query: str, end: int | None) -> None:
    assert link_end(f"https://pics.example/0.png{query}") == end


def test_an_address_that_is_none_ends_nowhen() -> None:
    assert link_end("https://[::1") is None


def test_all_facts_in_their_order() -> None:
    task = replace(
        DONE,
        label="hero",
        task_id="prov-1",
        polls=1_204,
        usage=Usage(Decimal("0.05")),
        params=b'{"jobId":"job-9","imageNo":0,"scale":1.5,"remixPrompt":"a house","extra":{"a":[1]}}',
    )
    images = [picture(0), picture(1, job_id="job-1")]
    copies = [ImageCopy(number, file=f"{number}.png", width=1024, height=768) for number in (0, 1)]
    facts = list_facts(task, images, copies, "posters & more.csv", now=NOW)

    assert [(it.name, plain_text(it.value)) for it in facts] == [
        ("model", "midjourney_outpaint"),
        ("prompt", "a house"),
        ("jobId", "job-9"),
        ("imageNo", "0"),
        ("scale", "1.5"),
        ("extra", '{"a":[1]}'),
        ("label", "hero"),
        ("batch", "posters & more.csv"),
        ("ref", task.ref),
        ("provider’s id", "prov-1"),
        ("made job id", "job-0"),
        ("made job id", "job-1"),
        ("polls", "1,204"),
        ("pictures", "1024 × 768, kept"),
        ("cost", "$0.05"),
    ]
    assert [it.href for fact in facts for it in fact.value if it.href] == [
        "/?label=hero",
        "/batches/posters%20%26%20more.csv",
    ]
    assert {it.name for it in facts if it.mono} == {"jobId", "ref", "provider’s id", "made job id"}


def test_a_long_prompt_is_folded_and_whole() -> None:
    prompt = "".join(chr(0x4E00 + number % 500) for number in range(8_192))
    [fact] = [it for it in list_facts(replace(DONE, prompt=prompt), [], [], now=NOW) if it.name == "prompt"]
    assert plain_text(fact.value) + fact.more == prompt
    assert len(plain_text(fact.value)) == 600


def test_words_of_a_choice_are_told() -> None:
    task = replace(DONE, model="midjourney_upscale", params=b'{"jobId":"a","imageNo":0,"type":1}')
    facts = {it.name: plain_text(it.value) for it in list_facts(task, [], [], now=NOW)}
    assert facts["type"] == "1 (creative)"


def test_many_and_odd_parameters_stay_within_bounds() -> None:
    params = "{" + ",".join(f'"p{number}": "{"x" * 1_000}"' for number in range(200)) + "}"
    facts = [it for it in list_facts(replace(DONE, params=params.encode()), [], [], now=NOW) if it.outside_name]
    assert len(facts) == PARAMS_MOST
    assert all(len(plain_text(it.value)) <= 300 for it in facts)
    for odd in (b"[1]", b"{", b"null"):
        assert not [it for it in list_facts(replace(DONE, params=odd), [], [], now=NOW) if it.outside_name]


def test_a_task_under_way_has_no_cost_yet() -> None:
    assert "cost" not in {it.name for it in list_facts(a_task(), [], [], now=NOW)}
    assert list_facts(DONE, [], [], now=NOW)[-1].value[0].text == "not reported"
    refused = replace(DONE, state=TaskState.FAILED, settled_by=OutcomeSource.ANSWER)
    assert list_facts(refused, [], [], now=NOW)[-1].value[0].text == "nothing charged"


@pytest.mark.parametrize(
    ("kept", "ends_s", "words"),
    [
        ((0, 1), None, "10 × 20, kept"),
        ((0,), None, "10 × 20, 1 of 2 kept"),
        ((), None, "not kept"),
        ((0, 1), SECONDS + 86_400, "10 × 20, kept; the provider’s links end on 30 December"),
        ((), SECONDS - 86_400, "not kept; the provider’s links ended on 28 December"),
    ],
)
def test_what_became_of_the_pictures(kept: tuple[int, ...], ends_s: int | None, words: str) -> None:
    query = f"?Expires={ends_s}" if ends_s else ""
    images = [picture(number, url=f"https://pics.example/{number}.png{query}") for number in (0, 1)]
    copies = [ImageCopy(number, file=f"{number}.png", width=10, height=20) for number in kept]
    assert describe_pictures(images, copies, NOW) == words


def test_pictures_of_several_sizes() -> None:
    copies = [ImageCopy(number, file=f"{number}.png", width=10 + number, height=20) for number in range(3)]
    images = [picture(number) for number in range(3)]
    assert describe_pictures(images[:2], copies[:2], NOW) == "10 × 20, 11 × 20, kept"
    assert describe_pictures(images, copies, NOW) == "different sizes, kept"


def test_pictures_in_their_order_with_their_small_copies() -> None:
    images = [picture(1), picture(0)]
    copies = [
        ImageCopy(0, file="0.png", small="0.small.jpg", tiny="0.tiny.jpg", width=1536, height=1024),
        ImageCopy(1, file="1.png"),
    ]
    first, second = look_at_pictures(DONE, images, copies, NOW)

    folder = f"/images/{DONE.ref}"
    assert (first.number, first.src, first.small, first.tiny) == (
        0, f"{folder}/0.png", f"{folder}/0.small.jpg", f"{folder}/0.tiny.jpg",
    )  # fmt: skip
    assert (first.width, first.height, first.alt) == (1536, 1024, "Picture 0 of 2: a house")
    assert (second.small, second.tiny, second.width) == (f"{folder}/1.png", f"{folder}/1.png", 1024)


def test_why_there_is_no_picture() -> None:
    ended = f"?Expires={SECONDS - 1}"
    images = [
        picture(0),
        picture(1, url=f"https://pics.example/1.png{ended}"),
        picture(2, url="javascript:alert(1)"),
        picture(3),
    ]
    copies = [
        ImageCopy(0, error="gone\n<b>"),
        ImageCopy(1),
        ImageCopy(2, error="x"),
        ImageCopy(3, file="3.png", width=3, height=2),
    ]
    missing = look_at_pictures(DONE, images, copies, NOW)[:3]

    assert [it.says for it in missing] == ["Not kept: gone <b>.", "Not kept: nobody knows why.", "Not kept: x."]
    assert [it.url for it in missing] == ["https://pics.example/0.png", None, None]
    assert {it.ratio for it in missing} == {"r32"}


def test_what_is_still_fetched_says_so() -> None:
    [fetched] = look_at_pictures(replace(DONE, archive=ArchiveState.DUE), [picture(0)], [], NOW)
    [dropped] = look_at_pictures(DONE, [picture(0)], [], NOW + DAY)
    assert (fetched.says, dropped.says) == ("It is being fetched.", "Not kept.")


def test_what_a_browser_plays_and_what_it_only_saves() -> None:
    images = [picture(0, type="video"), picture(1)]
    video, other = look_at_pictures(DONE, images, [ImageCopy(0, file="0.mp4"), ImageCopy(1, file="1.svg")], NOW)
    assert (video.is_video, video.noun, video.width, video.height) == (True, "video", 16, 9)
    assert (other.is_file, other.tiny) == (True, "")


def test_the_number_of_pictures_is_bounded() -> None:
    images = [picture(number) for number in range(SHOWN_MOST + 50)]
    assert len(look_at_pictures(DONE, images, [], NOW)) == SHOWN_MOST
