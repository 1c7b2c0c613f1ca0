"""Which pictures of a task others go on from, as people write it: `0`, `0,2`, `all` or `pick`. Pure."""

import re
from typing import Any

PICK, ALL = "pick", "all"
ImageNumbers = int | tuple[int, ...] | str
"""One picture, several, `all`, or `pick`."""


def read_image_numbers(text: str) -> ImageNumbers:
    """What `0`, `0,2`, `all` and `pick` stand for. Raises ValueError, with a sentence, for anything else."""
    text = text.strip().lower()
    if text in (PICK, ALL):
        return text
    if not text:
        raise ValueError("it is empty")
    if not re.fullmatch(r"-?[0-9]{1,4}([\s,;]+[0-9]{1,4})*", text):
        raise ValueError(f"{text[:40]} is not a picture's number: write 0, or 0,2 for several, or {ALL} or {PICK}")
    numbers = tuple(map(int, re.split(r"[\s,;]+", text)))
    if len(numbers) != len(set(numbers)):
        raise ValueError(f"{text[:40]} names a picture twice")
    return numbers if len(numbers) > 1 else numbers[0]


def parse_numbers(value: Any) -> ImageNumbers | None:
    """Which pictures a file names, as text, a number or a list of them. Raises ValueError, with a sentence."""
    if value is None or value == "":
        return None
    if isinstance(value, str):
        return read_image_numbers(value)
    numbers = value if isinstance(value, list) else [value]
    if not numbers or not all(isinstance(it, int) and not isinstance(it, bool) for it in numbers):
        raise ValueError(f"write a number, several as in [0, 2], {ALL!r} or {PICK!r}")
    return read_image_numbers(",".join(map(str, numbers)))
