"""What a person types for a ref, and patterns of labels."""

import time

import pytest
from msgspec.structs import replace

from kit.fakes import a_task
from receiver.core.handles import (
    LOOKED_MOST,
    PART_LEAST,
    is_pattern,
    keep_first_steps,
    matches_pattern,
    ref_part,
    shorten_ref,
    step_part,
)
from receiver.core.types import Task
from receiver.tokens import new_ref

REF = "01a202a8-e470-7bbe-a7f3-020b82b7b13b"


@pytest.mark.parametrize(
    ("handle", "part"),
    [
        (REF, REF),
        (REF[:PART_LEAST], "01a202"),
        (REF[-PART_LEAST:], "b7b13b"),
        ("…82b7b13b", "82b7b13b"),
        ("...82b7b13b", "82b7b13b"),
        ("01a202a8…", "01a202a8"),
        (" 82B7B13B ", "82b7b13b"),
        (REF[5:20], REF[5:20]),  # it fits no ref, but is not this function's to know
        (REF[: PART_LEAST - 1], None),
        ("", None),
        ("hero-1", None),
        (f"{REF}0", None),
        ("８２b7b13b", None),  # digits, but not ours
    ],
)
def test_a_handle_may_be_part_of_a_ref(handle: str, part: str | None) -> None:
    assert ref_part(handle) == part


@pytest.mark.parametrize(
    ("handle", "part"),
    [
        ("hut/big", ("hut", "big")),
        ("a/b/big", ("a/b", "big")),
        ("hut #2/big", ("hut #2", "big")),
        ("hut", None),
        ("hut/", None),
        ("/big", None),
    ],
)
def test_a_handle_may_be_a_step_of_a_chain(handle: str, part: tuple[str, str] | None) -> None:
    assert step_part(handle) == part


def test_of_a_chain_with_a_label_only_its_first_task_is_meant() -> None:
    def made(ref: str, root: str | None, depth: int, label: str | None = "hut") -> Task:
        return replace(a_task(), ref=ref, root=root, depth=depth, label=label)

    root, later, below = made("b", "b", 0), made("a", "b", 1), made("c", "b", 2)  # made in one moment, at random
    alone, another, copied = made("d", None, 0), made("e", "e", 0), made("f", "b", 1, "hut #2")
    assert keep_first_steps([later, root, below], "hut") == [root]
    assert keep_first_steps([alone, another, below, later], "hut") == [alone, another, later]
    assert keep_first_steps([copied, later, root], "hut") == [copied, root], "a part of its ref fits, not the label"
    assert keep_first_steps([copied, later], "another") == [copied, later]
    assert keep_first_steps([], "hut") == []


def test_so_many_tasks_are_looked_at_as_the_api_says() -> None:
    assert LOOKED_MOST == 10_000


def test_what_is_shown_of_a_ref_is_a_handle_of_it() -> None:
    assert shorten_ref(REF) == "…82b7b13b"
    ref = new_ref(1_767_000_000_000)
    part = ref_part(shorten_ref(ref))
    assert part is not None
    assert ref.endswith(part)


@pytest.mark.parametrize(
    ("pattern", "fitting", "other"),
    [
        ("hero", ["hero"], ["hero1", "a hero", ""]),
        ("hero*", ["hero", "hero 1", "hero*"], ["a hero", "her"]),
        ("*hero", ["hero", "a hero", "herohero"], ["hero 1"]),
        ("h*o", ["ho", "hero", "hero hero"], ["h", "o", "hex"]),
        ("a*b*c", ["abc", "a-b-c", "abbcc", "abcabc"], ["acb", "ac", "ab c d"]),
        ("ab*ba", ["abba", "ab ba"], ["aba", "ab"]),
        ("*a*b*", ["ab", "xaxbx"], ["ba", "a", "b"]),
        ("*b*b", ["bb", "bab", "abb"], ["ab", "b"]),
        ("*", ["", "hero"], []),
        ("[a]?", ["[a]?"], ["a", "[a]x"]),
        ("*[1]*", ["hero [1]"], ["hero 1"]),
    ],
)
def test_an_asterisk_stands_for_any_characters_and_nothing_else_does(
    pattern: str, fitting: list[str], other: list[str]
) -> None:
    assert [it for it in (*fitting, *other) if matches_pattern(pattern, it)] == fitting
    assert not matches_pattern(pattern, None)
    assert is_pattern(pattern) is ("*" in pattern)


def test_no_pattern_takes_long() -> None:
    """As a regular expression, this one would take centuries."""
    begun = time.process_time()
    assert not matches_pattern("*a" * 10_000 + "b", "a" * 200)
    assert not matches_pattern("*a" * 90 + "*b*", "a" * 200)
    assert time.process_time() - begun < 5
