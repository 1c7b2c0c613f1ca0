"""The body of a callback as a page shows it: indented JSON, text, or hex; always a bounded part. Pure."""

import re
import unicodedata
from enum import Enum

import msgspec
from msgspec import Struct

from receiver.providers.content_coding import unpack

SHOWN_MOST = 64 * 1024  # characters of a body that a page shows
HEX_MOST = 8 * 1024  # bytes, each of which takes four characters
UNPACKED_MOST = 1 << 20  # bytes
_BLANKS_MOST = 4  # times what is shown is looked at
_INDENTS_MOST = 32  # levels; what lies deeper is indented no further
_HEX_WIDTH = 16
_MEDIA_TYPE = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]{0,60}/[a-z0-9][a-z0-9!#$&^_.+-]{0,60}")
_PIECES = re.compile(r'"(?:[^"\\]++|\\.)*+"?|[\[\]{},:]|[^\s\[\]{},:"]++', re.DOTALL)
_UNUSUAL = re.compile(r"[^\n\t -~]")
_JOINERS = "\u200c\u200d"  # Persian, Indic scripts and emoji need them


class BodyKind(Enum):
    """What a body is, as far as a look at it tells."""

    UNKNOWN = "unknown"  # its bytes were not kept, or not read
    EMPTY = "empty"
    JSON = "json"
    BROKEN = "broken"  # begins like JSON
    TEXT = "text"
    BINARY = "binary"


class ShownBody(Struct, frozen=True):
    """A body for a page. `pretty` is empty if it is not JSON; `whole` if all of it is in `raw`."""

    kind: BodyKind
    pretty: str = ""
    pretty_whole: bool = True
    raw: str = ""
    whole: bool = True
    hexed: bool = False
    exact: bool = False  # `raw` is the body, character by character
    unpacked: bool = False  # `pretty` shows what came packed


def kind_of_body(body: bytes | None) -> BodyKind:
    """What a body is."""
    if body is None:
        return BodyKind.UNKNOWN
    if not body.strip():
        return BodyKind.EMPTY
    if _is_json(body):
        return BodyKind.JSON
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return BodyKind.BINARY
    if "\0" in text:
        return BodyKind.BINARY
    return BodyKind.BROKEN if text.lstrip()[:1] in ("{", "[") else BodyKind.TEXT


def show_body(body: bytes | None) -> ShownBody:
    """A body as a page shows it: as it came, and indented if it is JSON, packed or not."""
    kind = kind_of_body(body)
    if body is None or kind is BodyKind.EMPTY:
        return ShownBody(kind)
    plain, unpacked = body, False
    if kind is not BodyKind.JSON and (found := unpack(body, UNPACKED_MOST)) not in (None, body):
        plain, unpacked = found or b"", _is_json(found or b"")
    pretty, pretty_whole = indent_json(plain) if kind is BodyKind.JSON or unpacked else ("", True)
    if kind is BodyKind.BINARY or "\0" in (text := body.decode("utf-8", "replace")):
        raw = format_hex(body[:HEX_MOST])
        return ShownBody(kind, pretty, pretty_whole, raw, len(body) <= HEX_MOST, hexed=True, unpacked=unpacked)
    shown = show_text(text[:SHOWN_MOST])
    whole = max(len(shown), len(text)) <= SHOWN_MOST
    exact = whole and shown == text.replace("\r\n", "\n")
    return ShownBody(kind, pretty, pretty_whole, shown[:SHOWN_MOST], whole, exact=exact, unpacked=unpacked)


def indent_json(body: bytes, most: int = SHOWN_MOST) -> tuple[str, bool]:
    """JSON with two spaces a level, its keys and numbers as they came, in at most `most` characters; and whether that
    is all of it."""
    written: list[str] = []
    size = depth = 0
    line = ""
    before = ""
    text = body.decode("utf-8", "replace")
    for found in _PIECES.finditer(text[: _BLANKS_MOST * most]):
        piece = found[0]
        if piece in "]}":
            depth -= 1
        if (piece in "]}" and before not in ("[", "{")) or (before in ("[", "{", ",") and piece not in "]}"):
            line += _new_line(depth)
        line += f"{piece} " if piece == ":" else piece
        if piece in "[{":
            depth += 1
        before = piece
        size += len(line)
        written.append(line)
        line = ""
        if size > most:
            return show_text("".join(written)[:most])[:most], False
    shown = show_text("".join(written))
    return shown[:most], len(shown) <= most and len(text) <= _BLANKS_MOST * most


def format_hex(body: bytes) -> str:
    """Bytes as hex, 16 a line, with the text beside them."""
    lines = []
    for start in range(0, len(body), _HEX_WIDTH):
        part = body[start : start + _HEX_WIDTH]
        text = "".join(chr(it) if 32 <= it < 127 else "." for it in part)
        lines.append(f"{start:08x}  {part.hex(' '):<{_HEX_WIDTH * 3 - 1}}  {text}")
    return "\n".join(lines)


def show_text(text: str) -> str:
    """Text from outside that keeps its lines; what could hide or turn it round is written out: `\\u202e`."""
    return _UNUSUAL.sub(lambda it: _show_character(it[0]), text.replace("\r\n", "\n"))


def media_type_of(headers: dict[str, str]) -> str:
    """The media type that the sender named, without its parameters; empty if it named none that can be one."""
    given = headers.get("content-type", "").partition(";")[0].strip().lower()
    return given if _MEDIA_TYPE.fullmatch(given) else ""


def _is_json(body: bytes) -> bool:
    try:
        msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False
    except RecursionError:  # so deep that nothing reads it, but JSON as far as it goes
        return True
    return True


def _new_line(depth: int) -> str:
    return "\n" + "  " * min(max(depth, 0), _INDENTS_MOST)


def _show_character(character: str) -> str:
    if character not in _JOINERS and unicodedata.category(character) in {"Cc", "Cf", "Cs", "Zl", "Zp"}:
        code = ord(character)
        return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
    return character
