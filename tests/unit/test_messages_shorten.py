"""Text is cut where a reader misses least, and never in the sentence that says what may cost money."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.notify.messages.shorten import first_words, shorten_text


@pytest.mark.parametrize(
    ("text", "most", "shown"),
    [
        ("One. Two.", 9, "One. Two."),
        ("One. Two. Three. You pay twice. Five.", 30, "One. Two. … You pay twice. …"),
        ("One. Two. Three. You pay twice. Five.", 28, "One. Two. … You pay twice. …"),
        ("One. Two. Three. You pay twice. Five.", 27, "One. … You pay twice. …"),
        ("One. You pay twice. Five. Six.", 22, "One. You pay twice. …"),
        ("You pay twice. Then it is lost.", 20, "You pay twice. …"),
        ("You pay twice. Then it is lost.", 31, "You pay twice. Then it is lost."),
        (
            "One is long. You pay twice. Two is longer. It may charge for it.",
            48,
            "… You pay twice. It may charge for it.",
        ),
        (f"One. You pay twice. Two. It may charge it. {'x' * 90}.", 120, "One. You pay twice. It may charge it. …"),
        ("A very long first sentence. You pay twice.", 16, "… You pay twice."),
        ("A very long first sentence. You pay twice.", 14, "You pay twice."),
        ("A very long first sentence. You pay twice.", 13, "A very long…"),
        ("One. It may charge for it. Two. You pay twice. Three.", 45, "One. It may charge for it. You pay twice. …"),
        ("Nothing in it costs. " * 3, 30, "Nothing in it costs. Nothing…"),
        ("You pay twice, whatever you do.", 10, "You pay t…"),
        ("It ran 1.5 times. Is it twice? No! Yes.", 32, "It ran 1.5 times. Is it twice? …"),
    ],
)
def test_text_is_cut_between_sentences_and_the_costly_one_stays(text: str, most: int, shown: str) -> None:
    assert shorten_text(text, most) == shown
    assert len(shown) <= most


@given(
    st.lists(st.sampled_from(["One.", "A longer one!", "You pay twice.", "Why?", "x"]), max_size=12), st.integers(1, 80)
)
def test_it_always_fits_and_keeps_what_costs_if_that_can_be(sentences: list[str], most: int) -> None:
    text = " ".join(sentences)

    shown = shorten_text(text, most)

    assert len(shown) <= most
    if most >= len(text):
        assert shown == text
    elif sentences.count("You pay twice.") == 1 and most >= 14 and "x" not in sentences:
        assert "You pay twice." in shown


@pytest.mark.parametrize(
    ("text", "most", "shown"),
    [
        ("a lighthouse", 12, "a lighthouse"),
        ("a lighthouse at sea", 13, "a lighthouse…"),
        ("a lighthouse at sea", 14, "a lighthouse…"),
        ("a lighthouse, at sea", 15, "a lighthouse…"),
        ("a lighthouse at sea", 11, "a…"),
        ("lighthouse at sea", 6, "light…"),
        ("灯" * 9, 4, "灯灯灯…"),
    ],
)
def test_a_name_is_made_of_whole_words(text: str, most: int, shown: str) -> None:
    assert first_words(text, most) == shown
    assert len(shown) <= most
