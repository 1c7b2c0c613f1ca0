"""What is probably wrong with the flags in a Midjourney prompt, a sentence each. Pure.

Midjourney documents the ranges; the provider passes prompts on as they are, so these are only hints. A prompt is read
once, word by word, and not more than a few sentences are made of it.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from types import MappingProxyType

from msgspec import Struct

_HINTS_MOST = 8
_DASHES_MOST = 4  # flags with a long dash that are named
_SHOWN_MOST = 40  # characters of a prompt in a sentence
_VERSIONS = re.compile(r"[1-4]|5(\.[0-2])?|6(\.[01])?|7(\.0)?|8(\.[01])?")
_WORTH_A_LOOK = re.compile(r"-|[–—−―]|\$\{|/imagine", re.IGNORECASE)
_DASHED = re.compile(r"(--+|[–—−―][–—−―-]?|-)(.*)")
_GLUED = re.compile(r"([a-z]+)([=.:0-9].*)")  # `v7` and `ar=3:2`
_COMMAND = re.compile(r"\s*(/imagine(?:\s+prompt\b:?)?)", re.IGNORECASE)
_UNFILLED = re.compile(r"\$\{[^\s{}]{0,30}\}")


class _Flag(Struct, frozen=True):
    """What a flag is called, whether a value follows it, and what that must be: `is_right`, which `expected` says."""

    name: str
    values: str = "one"  # or `none`, `maybe`, `any`
    expected: str = ""
    is_right: Callable[[str], bool] = lambda value: True


def _number(name: str, least: int, most: int, *, whole: bool = True) -> _Flag:
    form = re.compile(r"[0-9]{1,10}" if whole else r"[0-9]{0,10}(\.[0-9]{1,5})?")

    def is_right(value: str) -> bool:
        return form.fullmatch(value) is not None and least <= float(value or "nan") <= most

    return _Flag(
        name, expected=f"it takes a {'whole ' if whole else ''}number from {least} to {most}", is_right=is_right
    )


def _words(name: str, *words: str, values: str = "one") -> _Flag:
    expected = f"it takes {', '.join(words[:-1])} or {words[-1]}"
    return _Flag(name, values, expected, lambda value: value in words or f"0{value}" in words)


def _is_ratio(value: str) -> bool:
    return re.fullmatch(r"0*[1-9][0-9]{0,4}:0*[1-9][0-9]{0,4}", value) is not None


def _is_version(value: str) -> bool:
    return _VERSIONS.fullmatch(value) is not None


def _list_flags() -> Iterator[tuple[str, _Flag]]:
    known = [
        _Flag("ar", expected="it takes two whole numbers with a colon, as in 3:2", is_right=_is_ratio),
        _Flag(
            "v",
            expected="the versions that receiver knows are 1 to 5.2, 6, 6.1, 7, 8 and 8.1",
            is_right=_is_version,
        ),
        _words("niji", "4", "5", "6", "7", values="maybe"),
        _number("chaos", 0, 100),
        _number("stylize", 0, 1000),
        _number("weird", 0, 3000),
        _words("q", "0.25", "0.5", "1", "2", "4"),
        _number("seed", 0, 4_294_967_295),
        _number("stop", 10, 100),
        _number("iw", 0, 3, whole=False),
        _number("ow", 1, 1000),
        _number("sw", 0, 1000),
        _number("cw", 0, 100),
        _number("exp", 0, 100),
        _words("motion", "low", "high"),
        _words("bs", "1", "2", "4"),
        *(_Flag(it) for it in ("repeat", "sameseed", "style", "sv", "end")),
        *(_Flag(it, "any") for it in ("no", "sref", "cref", "oref", "p", "profile")),
        *(
            _Flag(it, "none")
            for it in ("tile", "raw", "draft", "turbo", "fast", "relax", "stealth", "public", "hd", "sd")
        ),
        *(_Flag(it, "none") for it in ("loop", "video", "test", "testp", "creative", "hq", "beta", "upbeta")),
        *(_Flag(it, "none") for it in ("uplight", "upanime")),
    ]
    by_name = {it.name: it for it in known}
    yield from by_name.items()
    others = {"aspect": "ar", "version": "v", "c": "chaos", "s": "stylize", "w": "weird", "quality": "q", "r": "repeat"}
    for other, name in (others | {"personalize": "p"}).items():
        yield other, by_name[name]


_FLAGS: Mapping[str, _Flag] = MappingProxyType(dict(_list_flags()))


def is_flag(name: str) -> bool:
    """Whether Midjourney has a flag of this name, which is without dashes."""
    return name.lower() in _FLAGS


def find_flag_mistakes(prompt: str) -> tuple[str, ...]:
    """Sentences about flags that are written wrongly, are unknown, or have values that Midjourney does not take."""
    if not _WORTH_A_LOOK.search(prompt):
        return ()
    return tuple(dict.fromkeys(islice(_find_mistakes(prompt), _HINTS_MOST)))


def _find_mistakes(prompt: str) -> Iterator[str]:
    if command := _COMMAND.match(prompt):
        yield f"{_quote(command[1])} is a command of Discord's and no part of a prompt: leave it out"
    if unfilled := _UNFILLED.search(prompt):
        yield f"{_quote(unfilled[0])} is still in the prompt: nothing was put in its place"
    words = prompt.split()
    long_dashes: list[str] = []
    seen: set[str] = set()
    at = 0
    while at < len(words):
        word, following = words[at], words[at + 1 : at + 3]
        at += 1
        dashed = _DASHED.fullmatch(word)
        if dashed is None:
            continue
        dashes, name = dashed[1], dashed[2].lower()
        if not name:
            if _is_detached(dashes, following):
                at += 1
                if dashes[0] == "-":
                    flag = following[0].lower()
                    yield f"{_quote(f'{word} {flag}')} has a blank after the dash: write --{flag}"
                else:
                    long_dashes.append(f"{word} {following[0]}")
        elif dashes[0] != "-":
            if _base_name(name).isalpha():
                long_dashes.append(f"{dashes}{_base_name(name)}")
        elif len(dashes) == 1:
            if name in _FLAGS and (_FLAGS[name].values == "none" or _begins_with_digit(following)):
                yield f"{_quote(word)} begins with one dash: a flag begins with two"
        else:
            end = next((it for it in range(at, len(words)) if _begins_flag(words, it)), len(words))
            yield from _judge_flag(name, words[at:end], seen)
            at = end
    if long_dashes:
        names = [_quote(it) for it in dict.fromkeys(long_dashes[:_DASHES_MOST])]
        begin = "begins" if len(names) == 1 else "begin"
        yield f"{' and '.join(names)} {begin} with a long dash: a flag begins with two short ones"


def _judge_flag(name: str, values: list[str], seen: set[str]) -> Iterator[str]:
    flag = _FLAGS.get(name)
    if flag is None:
        yield _judge_unknown(name)
        return
    shown = f"--{name}"
    if flag.name in seen and flag.values != "any":
        yield f"{shown} is there more than once: leave one of them"
    seen.add(flag.name)
    most = {"none": 0, "any": len(values)}.get(flag.values, 1)
    if flag.values == "one" and not values:
        yield f"{shown} has no value" + (f": {flag.expected}" if flag.expected else "")
    elif most == 1 and values and not flag.is_right(values[0].lower()):
        yield f"{_clean(f'{shown} {values[0]}')}: {flag.expected}"
    elif len(values) > most:
        before = " ".join([shown, *values[:most]])
        rest = " ".join(values[most : most + 12])
        yield f"{_quote(rest)} comes after {_clean(before)}: text goes before the flags"


def _judge_unknown(name: str) -> str:
    glued = _GLUED.fullmatch(name)
    if glued and glued[1] in _FLAGS:
        value = glued[2].lstrip("=")
        return f"{_quote(f'--{name}')} needs a blank before the value: {_clean(f'--{glued[1]} {value}')}"
    from difflib import get_close_matches  # only for a flag that is wrong

    near = get_close_matches(name[:_SHOWN_MOST], [it for it in _FLAGS if len(it) > 1], n=1, cutoff=0.7)
    problem = f"{_clean(f'--{name}')} is not a flag that receiver knows"
    return f"{problem} (did you mean --{near[0]}?)" if near else problem


def _begins_flag(words: list[str], at: int) -> bool:
    """Whether a word begins another flag, however it is dashed."""
    dashed = _DASHED.fullmatch(words[at])
    if dashed is None:
        return False
    dashes, name = dashed[1], dashed[2].lower()
    if not name:
        return _is_detached(dashes, words[at + 1 : at + 3])
    return len(dashes) > 1 or _base_name(name) in _FLAGS


def _is_detached(dashes: str, following: list[str]) -> bool:
    """Whether the words after lone dashes are a flag and its value: `-- ar 3:2`."""
    flag = _FLAGS.get(following[0].lower()) if following else None
    return flag is not None and (_begins_with_digit(following[1:]) or (flag.values == "none" and dashes == "--"))


def _begins_with_digit(words: list[str]) -> bool:
    return bool(words) and words[0][0] in ".0123456789"


def _base_name(name: str) -> str:
    """A flag's name without a value that is written on to it."""
    glued = _GLUED.fullmatch(name)
    return glued[1] if glued else name


def _quote(text: str) -> str:
    return f"“{_clean(text)}”"


def _clean(text: str) -> str:
    shown = text if len(text) <= _SHOWN_MOST else f"{text[:_SHOWN_MOST]}…"
    return "".join(it if it.isprintable() else "�" for it in shown)
