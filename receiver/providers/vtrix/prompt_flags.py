"""Flags in Midjourney's prompts (`--ar 3:2 --v 7`): which cost more, and which do not exist where they are used. Pure.

A prompt is split at blanks; a flag begins with two dashes, and its value is the next word unless that is a flag too.
From the upstream's pages, as in `midjourney`; only what makes several billed generations is refused.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from itertools import pairwise
from types import MappingProxyType

from receiver.providers.vtrix.flag_mistakes import find_flag_mistakes

_DEARER = {
    "turbo": "--turbo costs about twice as much",
    "hd": "--hd costs about one and a half times as much",
}
_NOT_IN_THE_API = frozenset({"relax", "stealth", "public"})
_NOT_IN_V81 = frozenset({"stop", "weird", "tile", "cref", "cw", "bs", "draft", "turbo"})
_REPEATS = ("repeat", "r")
PRICE_FLAGS = ("turbo", "hd", "q", "draft", "bs")
_PRICED_BY_VALUE = ("q", "bs")
_NOTHING: Mapping[str, str] = MappingProxyType({})


@lru_cache(maxsize=4)  # a prompt is looked at several times in a row
def read_flags(prompt: str | None) -> Mapping[str, str]:
    """The flags of a prompt in lower case, each with its value; empty if it has none."""
    if not prompt or "--" not in prompt:
        return _NOTHING
    words = prompt.split()
    found: dict[str, str] = {}
    for word, following in zip(words, [*words[1:], ""], strict=True):
        if word.startswith("--") and len(word) > 2:
            found[word[2:].lower()] = "" if following.startswith("--") else following
    return MappingProxyType(found)


def version_of(prompt: str | None) -> str | None:
    """The version that a prompt names: `7`, `8.1`, `niji 6`; None if it names none."""
    flags = read_flags(prompt)
    if "niji" in flags:
        return f"niji {flags['niji']}".strip()
    return flags.get("v", flags.get("version")) or None


def count_repeats(prompt: str) -> int:
    """How many generations `--repeat` asks for; the largest number, if it is there more than once.

    A long dash counts as two: phones make one of them, and some of Midjourney's clients undo that.
    """
    words = re.sub(r"(?<!\S)[—–](?=[a-zA-Z])", "--", prompt).split()
    flags = {f"--{name}" for name in _REPEATS}
    given = [value for word, value in pairwise(words) if word.lower() in flags]
    return max((int(it[:6]) for it in given if it.isascii() and it.isdigit()), default=1)


def find_flag_hints(prompt: str | None) -> tuple[str, ...]:
    """Sentences about flags that are allowed and probably not what was meant, or that cost more."""
    if not prompt:
        return ()
    flags = read_flags(prompt)
    hints = [text for name, text in _DEARER.items() if name in flags]
    if flags.get("q", flags.get("quality")) == "4":
        hints.append("--q 4 costs about four times as much")
    hints += [
        f"--{name} has no effect: the provider's API does not have it" for name in flags if name in _NOT_IN_THE_API
    ]
    if version_of(prompt) == "8.1":
        hints += [f"version 8.1 does not have --{name}" for name in flags if name in _NOT_IN_V81]
        if flags.get("sv", "6") != "6":
            hints.append("version 8.1 has only --sv 6")
        if "::" in prompt:
            hints.append("version 8.1 does not have weights (::)")
    hints += find_flag_mistakes(prompt)
    if re.fullmatch(r"\s*https?://\S+\s*", prompt):
        hints.append("the prompt is only the address of a picture: Midjourney wants text, or a second picture, with it")
    return tuple(hints)


def price_flags(prompt: str | None) -> tuple[str, ...]:
    """The flags of a prompt that change the price, in one spelling and order."""
    flags = dict(read_flags(prompt))
    if "quality" in flags:
        flags.setdefault("q", flags["quality"])
    return tuple(
        f"--{name} {flags[name]}".strip() if name in _PRICED_BY_VALUE else f"--{name}"
        for name in PRICE_FLAGS
        if name in flags
    )
