"""Mistakes in the flags of a prompt: each is one sentence, and what Midjourney takes raises none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.providers.vtrix.flag_mistakes import find_flag_mistakes, is_flag

_RANGES = {"chaos": (0, 100), "c": (0, 100), "stylize": (0, 1000), "s": (0, 1000), "weird": (0, 3000), "w": (0, 3000)}


@pytest.mark.parametrize(
    ("prompt", "hint"),
    [
        ("a cat --v7", "“--v7” needs a blank before the value: --v 7"),
        ("a cat --repeat=3", "“--repeat=3” needs a blank before the value: --repeat 3"),
        ("a cat --ar3:2", "“--ar3:2” needs a blank before the value: --ar 3:2"),
        ("a cat --v 9", "--v 9: the versions that receiver knows are 1 to 5.2, 6, 6.1, 7, 8 and 8.1"),
        ("a cat --ar 3x2", "--ar 3x2: it takes two whole numbers with a colon, as in 3:2"),
        ("a cat --ar 0:2", "--ar 0:2: it takes two whole numbers with a colon, as in 3:2"),
        ("a cat --aspect 1.5:1", "--aspect 1.5:1: it takes two whole numbers with a colon, as in 3:2"),
        ("a cat --ar", "--ar has no value: it takes two whole numbers with a colon, as in 3:2"),
        ("a cat --stylize --v 7", "--stylize has no value: it takes a whole number from 0 to 1000"),
        ("a cat --stylise 100", "--stylise is not a flag that receiver knows (did you mean --stylize?)"),
        ("a cat --foo", "--foo is not a flag that receiver knows"),
        ("a cat --q 3", "--q 3: it takes 0.25, 0.5, 1, 2 or 4"),
        ("a cat --niji 9", "--niji 9: it takes 4, 5, 6 or 7"),
        ("a cat --iw 3.5", "--iw 3.5: it takes a number from 0 to 3"),
        ("a cat --seed -5", "--seed -5: it takes a whole number from 0 to 4294967295"),
        ("a cat -ar 3:2", "“-ar” begins with one dash: a flag begins with two"),
        ("a cat -tile", "“-tile” begins with one dash: a flag begins with two"),
        ("a cat -- ar 3:2", "“-- ar” has a blank after the dash: write --ar"),
        ("a cat -- tile", "“-- tile” has a blank after the dash: write --tile"),
        ("a cat — v 7", "“— v” begins with a long dash: a flag begins with two short ones"),
        ("a cat –ar 3:2", "“–ar” begins with a long dash: a flag begins with two short ones"),
        ("a cat —v7", "“—v” begins with a long dash: a flag begins with two short ones"),
        ("a cat —ar 3:2 –v 7", "“—ar” and “–v” begin with a long dash: a flag begins with two short ones"),
        ("a cat --ar 3:2 on a mat", "“on a mat” comes after --ar 3:2: text goes before the flags"),
        ("a cat --tile on a mat --v 7", "“on a mat” comes after --tile: text goes before the flags"),
        ("a cat --ar 3:2 --aspect 2:3", "--aspect is there more than once: leave one of them"),
        (
            "/imagine prompt: a cat",
            "“/imagine prompt:” is a command of Discord's and no part of a prompt: leave it out",
        ),
        ("/Imagine a cat", "“/Imagine” is a command of Discord's and no part of a prompt: leave it out"),
        ("a ${animal}", "“${animal}” is still in the prompt: nothing was put in its place"),
        ("a cat --ar \x1b[1m", "--ar �[1m: it takes two whole numbers with a colon, as in 3:2"),
    ],
)
def test_a_mistake_is_one_sentence(prompt: str, hint: str) -> None:
    assert find_flag_mistakes(prompt) == (hint,)


@pytest.mark.parametrize(
    "prompt",
    [
        "a cat",
        "a well-lit cat - at dusk",
        "a cat — v shaped",
        "dusk — c major",
        "a cat -c",
        "a cat -- at dusk",
        "pages 2-4",
        "a cat --no text, letters --sref https://h/a https://h/b --p --raw --niji",
        "a cat --sref 1 --sref 2 --no x --no y",
        "a cat --AR 16:9 --V 8.1 --Q .5 --iw .5 --seed 4294967295 --motion low --bs 4",
        "a cat --niji 6 --style raw --sv 6 --stop 10 --exp 100 --ow 1000 --sw 0 --cw 0 --repeat 2",
        "$5 {a,b}",
    ],
)
def test_what_midjourney_takes_raises_none(prompt: str) -> None:
    assert find_flag_mistakes(prompt) == ()


def test_names_of_flags_are_known_in_capitals_too() -> None:
    assert is_flag("AR")
    assert is_flag("stylize")
    assert not is_flag("label")


@pytest.mark.parametrize("name", _RANGES)
def test_a_number_is_in_its_range_to_the_last_step(name: str) -> None:
    least, most = _RANGES[name]
    assert not any(find_flag_mistakes(f"a cat --{name} {it}") for it in (least, most))
    for wrong in (least - 1, most + 1, "1.5", "²", "1e1", "9" * 400):
        assert len(find_flag_mistakes(f"a cat --{name} {wrong}")) == 1


@given(st.text(alphabet="ab -—–=.:${}/0123489rvhdq\n\x1b", max_size=80))
def test_no_text_breaks_it(prompt: str) -> None:
    hints = find_flag_mistakes(prompt)
    assert len(hints) <= 8
    assert all(hint.isprintable() and len(hint) < 300 for hint in hints)


def test_a_prompt_that_is_full_of_mistakes_has_a_few_short_sentences() -> None:
    for prompt in (
        " ".join(f"--z{it}q" for it in range(2_000)),
        "— v 7 " * 1_300,
        "--v 9 " * 1_300,
        "--" + "v" * 8_000,
    ):
        hints = find_flag_mistakes(prompt)
        assert 1 <= len(hints) <= 8
        assert all(len(hint) < 300 for hint in hints)
