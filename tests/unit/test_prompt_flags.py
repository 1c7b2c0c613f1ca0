"""Flags in prompts: what is read, which repeat a generation, which cost more or do not exist."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.providers.vtrix.prompt_flags import (
    count_repeats,
    find_flag_hints,
    price_flags,
    read_flags,
    version_of,
)


@pytest.mark.parametrize(
    ("prompt", "flags"),
    [
        (None, {}),
        ("", {}),
        ("a bird", {}),
        ("a bird - - v 7", {}),
        ("a bird -- v 7", {}),
        ("a well--lit bird", {}),
        ("a bird --ar 3:2 --V 7", {"ar": "3:2", "v": "7"}),
        ("--tile --hd a bird", {"tile": "", "hd": "a"}),
        ("a bird\n--ar\t3:2", {"ar": "3:2"}),
        ("a bird --seed -5 --stop", {"seed": "-5", "stop": ""}),
        ("a bird --v 6 --v 7", {"v": "7"}),
    ],
)
def test_a_flag_is_a_word_with_two_dashes_and_its_value_the_next_word(
    prompt: str | None, flags: dict[str, str]
) -> None:
    assert dict(read_flags(prompt)) == flags


@pytest.mark.parametrize(
    ("prompt", "version"),
    [
        ("a bird", None),
        ("a bird --v 7", "7"),
        ("a bird --version 8.1", "8.1"),
        ("a bird --niji 6", "niji 6"),
        ("a bird --niji", "niji"),
        ("a bird --v", None),
        ("a bird --niji 6 --v 7", "niji 6"),
    ],
)
def test_the_version_is_what_the_prompt_names(prompt: str, version: str | None) -> None:
    assert version_of(prompt) == version


@pytest.mark.parametrize(
    ("prompt", "count"),
    [
        ("a bird", 1),
        ("a bird --repeat", 1),
        ("a bird --repeat 1", 1),
        ("a bird --repeat 2", 2),
        ("a bird --R 10", 10),
        ("a bird --repeat twice", 1),
        ("a bird --repeat -2", 1),
        ("a bird --repeat ²", 1),
        ("a bird --repeat 99999999999999999999", 999_999),
        ("a bird --repeat 1 --r 5", 5),
        ("a bird --r 5 --r 1", 5),
        ("a bird —repeat 4", 4),
        ("a bird –r 4", 4),
        ("pages 2—r 4", 1),
    ],
)
def test_repeats_are_counted_and_the_largest_number_counts(prompt: str, count: int) -> None:
    assert count_repeats(prompt) == count


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ("a bird --turbo", "--turbo costs about twice"),
        ("a bird --hd", "--hd costs about one and a half"),
        ("a bird --q 4", "--q 4 costs about four times"),
        ("a bird --quality 4", "--q 4 costs about four times"),
        ("a bird --relax", "--relax has no effect"),
        ("a bird --stealth", "--stealth has no effect"),
        ("a bird --public", "--public has no effect"),
        ("a bird --v 8.1 --weird 100", "version 8.1 does not have --weird"),
        ("a bird --v 8.1 --draft", "version 8.1 does not have --draft"),
        ("a bird --v 8.1 --sv 4", "version 8.1 has only --sv 6"),
        ("a::2 bird --v 8.1", "weights"),
        ("a bird —ar 3:2", "“—ar” begins with a long dash"),
        ("–v 7 a bird", "“–v” begins with a long dash"),
        (" https://h/a.png ", "only the address of a picture"),
    ],
)
def test_what_costs_more_or_does_not_exist_is_said_in_one_sentence(prompt: str, words: str) -> None:
    [hint] = find_flag_hints(prompt)
    assert words in hint


@pytest.mark.parametrize(
    "prompt",
    [
        None,
        "",
        "a bird --ar 3:2 --v 7 --q 2 --chaos 100 --seed 1 --stylize 1000 --weird 3000 --draft --tile",
        "a bird --v 8.1 --sv 6",
        "a::2 bird --v 7",
        "dusk — a bird",
        "Berlin–Rome by rail",
        "https://h/a.png https://h/b.png",
        "https://h/a.png a bird",
    ],
)
def test_other_prompts_raise_no_hint(prompt: str | None) -> None:
    assert find_flag_hints(prompt) == ()


def test_two_sentences_about_one_flag_are_two_facts() -> None:
    assert len(find_flag_hints("a bird --v 8.1 --turbo")) == 2


@pytest.mark.parametrize(
    ("prompt", "flags"),
    [
        (None, ()),
        ("a bird --ar 3:2", ()),
        ("a bird --hd --turbo", ("--turbo", "--hd")),
        ("a bird --quality 4", ("--q 4",)),
        ("a bird --q 2 --draft --bs 4", ("--q 2", "--draft", "--bs 4")),
        ("a bird --draft please", ("--draft",)),
        ("a bird --q", ("--q",)),
    ],
)
def test_flags_that_change_the_price_are_in_one_order_and_spelling(prompt: str | None, flags: tuple[str, ...]) -> None:
    assert price_flags(prompt) == flags


@given(st.text(alphabet="ab -—–{}:0123489.rvhdq\n", max_size=60))
def test_no_text_breaks_the_reading(prompt: str) -> None:
    flags = read_flags(prompt)
    assert all(name == name.lower() and name for name in flags)
    assert all(not value.startswith("--") for value in flags.values())
    assert 0 <= count_repeats(prompt) <= 999_999
    assert all(hint and "\n" not in hint for hint in find_flag_hints(prompt))
    assert len(price_flags(prompt)) <= 5
