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
    """`text`, one line, in at most `most` characters. A sentence about paying twice stays whole if it fits at all."""
    if len(text) <= most:
        return text
    sentences = _SENTENCE.split(text)
    costly = [at for at, sentence in enumerate(sentences) if _COSTLY.search(sentence)]
    last = " ".join(sentences[at] for at in costly)
    room = most - len(last) - len(f" {_GAP} ")
    if not costly or room < 0:
        return truncate_text(text, most)
    kept: list[str] = []
    for sentence in sentences[: costly[0]]:
        if room < len(sentence) + 1:
            break
        room -= len(sentence) + 1
        kept.append(sentence)
    skipped = [_GAP] if len(kept) < costly[0] else []
    rest = [_GAP] if costly[-1] < len(sentences) - 1 and room >= 2 else []
    return " ".join([*kept, *skipped, last, *rest])
