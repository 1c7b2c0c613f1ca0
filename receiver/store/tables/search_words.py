"""The words in what a person types into the search field, and in the texts of tasks. Pure."""

import re
import unicodedata

SEARCH_MOST = 100  # characters that are looked at
INDEXED_MOST = 10  # characters of a word's beginning that the index finds at once; what follows them is not looked at

# The marks that the index takes for no part of a word, though Python takes them for letters or digits.
_MARKS = frozenset(map(chr, (*range(0x19B0, 0x19C1), 0x19C8, 0x19C9, 0x1CF2, 0x1CF3)))
_ALNUM = re.compile(r"[^\W_]+")  # runs of what `str.isalnum` takes
_ACCENTS = frozenset(map(chr, range(0x300, 0x332)))  # the index leaves them out of words


def split_words(typed: str) -> list[str]:
    """The words in the first characters of what was typed: runs of letters and digits."""
    text = unicodedata.normalize("NFC", typed[:SEARCH_MOST])
    kept = "".join(it if it.isalnum() and it not in _MARKS else " " for it in text if it not in _ACCENTS)
    return kept.split()


def beginnings_of(typed: str) -> list[str]:
    """With what the words have to begin for which was typed; none of these is itself how another one begins."""
    every = {it[:INDEXED_MOST].lower() for it in split_words(typed)}
    return sorted(it for it in every if not any(other != it and other.startswith(it) for other in every))


def has_words(typed: str, *texts: str | None) -> bool:
    """Whether these texts have such words: as the index finds them, except that it tells more accents apart."""
    found = "".join(it if it.isalnum() else " " for it in fold(" ".join(filter(None, texts))))
    return all(f" {fold(it)}" in f" {found}" for it in beginnings_of(typed))


def indexed_words(*texts: str | None) -> list[str]:
    """The words of these texts as an index keeps them that knows nothing of words itself: each once, folded, and no
    more of it than is looked at."""
    return sorted({it[:INDEXED_MOST] for it in _ALNUM.findall(fold(" ".join(filter(None, texts))))})


def fold(text: str) -> str:
    """The text as words are compared: lower case, without accents."""
    if text.isascii():
        return text.lower()
    plain = unicodedata.normalize("NFD", text.lower())
    return "".join(it for it in plain if not unicodedata.combining(it))
