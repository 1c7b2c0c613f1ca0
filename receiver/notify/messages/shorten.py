"""Cuts text where a reader misses least: between words, and never the sentence that says what may cost money."""

import re

from receiver.core.sanitize import truncate_text

_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=\S)")
_COSTLY = re.compile(r"\btwice\b|\bcharge\b", re.IGNORECASE)
_GAP = "…"


def first_words(text: str, most: int) -> str:
    """The first words of `text`, at most `most` characters; an ellipsis says that there are more."""
    if len(text) <= most:
        return text
    cut = text[: most - 1]
    kept = cut if text[most - 1].isspace() else cut.rpartition(" ")[0]
    return f"{(kept or cut).rstrip(' ,;:.')}{_GAP}"


def shorten_text(text: str, most: int) -> str:
    """`text`, one line, in at most `most` characters. Its sentences about paying twice stay whole if they fit."""
    if len(text) <= most:
        return text
    sentences = _SENTENCE.split(text)
    costly = [at for at, sentence in enumerate(sentences) if _COSTLY.search(sentence)]
    if not costly:
        return truncate_text(text, most)
    whole = " ".join(sentences[at] for at in costly)
    rest = [_GAP] if costly[-1] < len(sentences) - 1 else []
    for count in reversed(range(costly[0] + 1)):
        skipped = [_GAP] if count < costly[0] else []
        shown = " ".join([*sentences[:count], *skipped, whole, *rest])
        if len(shown) <= most:
            return shown
    return whole if len(whole) <= most else truncate_text(text, most)
