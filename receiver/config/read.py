"""Reads the files of the settings: receiver.toml, secrets, templates. Sizes are bounded; errors show no content."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from receiver.core.errors import SettingsError

if TYPE_CHECKING:
    import tomllib

_MOST = 1 << 20  # bytes


def read_toml(path: Path) -> dict[str, Any]:
    """The table that a TOML file holds. Raises SettingsError."""
    import tomllib  # only where there is a file

    text = ""
    try:
        return tomllib.loads(text := _read_bounded(path))
    except OSError as error:
        raise SettingsError(f"cannot read {path}: {error.strerror}") from None
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path} is not valid TOML: {_toml_cause(error, text)}") from None
    except NotText as error:
        raise SettingsError(f"{path} is not a settings file: it is {error.what}", remedy=error.remedy) from None
    except (ValueError, RecursionError):
        raise SettingsError(f"{path} is not a settings file: too deeply nested") from None


def _toml_cause(error: "tomllib.TOMLDecodeError", text: str) -> str:
    """What is wrong and where, without the keys that the parser quotes: one may be a misplaced secret."""
    what, bracket, place = str(error).rpartition(" (at ")
    what = re.sub(r"""\(.*\)|(['"]).{3,}\1""", "this", what)
    number = re.search(r"line ([0-9]+)", place)
    line = text.split("\n")[int(number[1]) - 1] if number else ""
    hint = ""
    if re.search("[“”„‘’]", line):
        hint = "; the quotes in this line are typographic ones: type straight ones"
    elif what == "Invalid value":
        hint = '; a text needs quotes: name = "value"'
    return f"{what[:1].lower()}{what[1:]}{bracket}{place}{hint}"


def file_exists(path: Path, label: str) -> bool:
    """Whether the file exists. Raises SettingsError if we are not allowed to look."""
    try:
        return path.exists()
    except OSError as error:
        raise SettingsError(f"{label}: cannot check whether the file exists: {error.strerror}") from None


def read_secret_file(
    path: Path, label: str, *, remedy: str | None = None, opener: Callable[[str, int], int] | None = None
) -> str:
    """The text of a secret's file, stripped; `opener` is as `open` takes it.

    Raises SettingsError, which names `label` and not the path: someone may have set the secret itself as the path.
    `remedy` replaces the general advice.
    """
    try:
        text = _read_bounded(path, opener=opener).strip()
    except OSError as error:
        problem = f"{label}: cannot read the file: {error.strerror}"
        raise SettingsError(problem, remedy=remedy or "check its path and its owner") from None
    except NotText as error:
        raise SettingsError(f"{label}: the file is {error.what}", remedy=remedy or error.remedy) from None
    if not text:
        raise SettingsError(f"{label}: the file is empty", remedy=remedy or "put the secret into it, or remove it")
    return text


def read_text(path: Path, label: str, most: int) -> str:
    """The text of a file of at most `most` bytes. Raises SettingsError, which names `label` and the path."""
    try:
        return _read_bounded(path, most)
    except OSError as error:
        raise SettingsError(f"{label}: cannot read {path}: {error.strerror}") from None
    except NotText as error:
        raise SettingsError(f"{label}: {path} is {error.what}", remedy=error.remedy) from None


class NotText(ValueError):
    """The bytes of a file are not text that we read. `what` they are, and the remedy."""

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(what)
        self.what = what
        self.remedy = remedy


def decode_text(content: bytes, most: int = _MOST) -> str:
    """UTF-8 text, without the byte order mark that some editors put before it. Raises NotText."""
    if len(content) > most:
        raise NotText(f"larger than {most // 1024} KB", "check that it is the right file")
    if content.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in content[:4]:
        raise NotText("UTF-16 text", "save it as UTF-8")  # as Windows calls it: "Unicode"
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise NotText(f"not UTF-8 text, in line {line}", "save it as UTF-8") from None


def _read_bounded(path: Path, most: int = _MOST, opener: Callable[[str, int], int] | None = None) -> str:
    with open(path, "rb", opener=opener) as stream:
        return decode_text(stream.read(most + 1), most)
