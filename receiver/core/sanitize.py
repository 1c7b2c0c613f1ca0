"""Makes text from outside safe to show: stripped, truncated, mentions defused. Formats durations and URLs.

Stripped text has no control or format characters (bidirectional overrides are among these), so it cannot forge a line
or reverse the text. Escaping for a service's own markup is left to that service's file.
"""

import re
import unicodedata
from collections.abc import Callable
from urllib.parse import quote

TITLE_MOST = 150  # characters
BODY_MOST = 3_500  # characters of a body as it is read, without its URLs; chat services take about 4,000

_JOINERS = "\u200c\u200d"  # format characters too, but Persian, Indic scripts and emoji are misspelt without them
_MENTIONS = re.compile(
    r"([@<](?=[^\s\u200b])|\](?=[(\[:]))"
)  # @channel, <!here>, <@U123>, <http://…|a false label>, [so](http…)


def one_line(text: str, most: int) -> str:
    """`text` from outside as one line of at most `most` characters, without control or format characters."""
    return truncate_text(" ".join(strip_control_chars(text, most).split()), most)


def strip_control_chars(text: str, most: int) -> str:
    """`text` without control and format characters; every kind of line end becomes a newline.

    Reads at most four times the `most` characters that will be shown, because an error can be as long as a body.
    """
    lines = re.sub(r"\r\n?|[\u0085\u2028\u2029\v\f]", "\n", text[: 4 * most]).replace("\t", " ")
    if lines.isprintable():  # as most are: there is nothing to strip
        return lines
    return "".join(c for c in lines if c == "\n" or c in _JOINERS or unicodedata.category(c) not in {"Cc", "Cf", "Cs"})


def truncate_text(text: str, most: int) -> str:
    """`text` in at most `most` characters, ending in an ellipsis if it was cut."""
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"


def fit_escaped(text: str, most: int, write: Callable[[str], str], measure: Callable[[str], int] = len) -> str:
    """`write(text)`, at most `most` by `measure`. `text` is cut before it is escaped, so that no escape is split."""
    written = write(text)
    if measure(written) <= most:
        return written
    low, high = 0, min(len(text), most)
    while low < high:
        middle = (low + high + 1) // 2
        if measure(write(truncate_text(text, middle))) <= most:
            low = middle
        else:
            high = middle - 1
    return write(truncate_text(text, low)) if low else ""


def utf16_length(text: str) -> int:
    """How many UTF-16 units `text` has: so Telegram, Discord and Slack count, and an emoji is two or more."""
    return len(text) if text.isascii() else len(text.encode("utf-16-le", "surrogatepass")) // 2


def defuse_mentions(text: str) -> str:
    """`text` with a zero-width space after each `@` and `<`, and after `]` where a link's address could follow: no chat
    service then sees a mention or a link."""
    return _MENTIONS.sub("\\1\u200b", text)


def encode_url(url: str) -> str:
    """A whole URL in ASCII: `@`, and what a URL may not contain (spaces, controls, `<`), is percent-encoded."""
    return quote(url, safe="%/:?#[]!$&'()*+,;=~", errors="replace")


def web_url(url: str | None) -> str | None:
    """`encode_url(url)` if it is http or https: only those become links. None for `javascript:` and the like."""
    return encode_url(url) if url and re.match(r"https?://", url, re.IGNORECASE) else None


def format_duration(span_ms: int | None) -> str:
    """`span_ms` milliseconds as people say it (`1 min 12 s`); empty if unknown or negative."""
    if span_ms is None or span_ms < 0:  # a clock that was set back
        return ""
    seconds = round(span_ms / 1000)
    if seconds < 10:
        return f"{span_ms / 1000:.1f} s"
    minutes, hours = seconds // 60, seconds // 3600
    if hours:
        return f"{hours} h" + (f" {minutes % 60} min" if minutes % 60 else "")
    if minutes:
        return f"{minutes} min" + (f" {seconds % 60} s" if seconds % 60 else "")
    return f"{seconds} s"


def join_nonempty(*parts: str) -> str:
    """The parts that are not empty, joined with a middle dot."""
    return " · ".join(part for part in parts if part)
