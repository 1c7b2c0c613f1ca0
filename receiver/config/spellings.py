"""How people write values: quotes around them, commas between them, times of day, spans and zones in many spellings.

Pure, except that the machine's time zones are looked up. What has one plain meaning is taken; anything else gets one
sentence that says what is wrong with this value, and does not show it.
"""

import re
from urllib.parse import SplitResult, urlsplit

from receiver.config.bad_value import BadValue

SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_QUOTES = {'"': '"', "'": "'", "“": "”", "‘": "’", "„": "“", "`": "`", "<": ">"}
_UNITS = {
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), "s"),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes"), "m"),
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours"), "h"),
    **dict.fromkeys(("d", "day", "days"), "d"),
}
_SPAN = re.compile(r"([0-9]{1,12})\s*([A-Za-z]{1,7})")
_TIME = r"([0-9]{1,2})(?:[:.h]([0-9]{2})|h|([0-9]{2}))?(?:\s*(am|pm)(?![A-Za-z]))?"
_DASH = r"\s*(?:-|–|—|‐|‑|−|to|until)\s*"
_HOURS = re.compile(rf"{_TIME}{_DASH}{_TIME}", re.IGNORECASE | re.ASCII)
_NEXT_URL = re.compile(r"""[,;]+(?=["'<“‘]?[A-Za-z0-9]{1,32}://)""")


def unquote(text: str) -> str:
    """`text` without blanks and one pair of quotes around all of it, as an env file or a chat may have added."""
    text = text.strip()
    if len(text) >= 2 and _QUOTES.get(text[0]) == text[-1] and not {text[0], text[-1]} & set(text[1:-1]):
        return text[1:-1].strip()
    return text


def split_words(text: str) -> list[str]:
    """The words of a list, with blanks, or commas and blanks, between them, and quotes around each or all."""
    return [word for part in re.split(r"[,;]?\s+", unquote(text)) if (word := unquote(part))]


def split_commas(text: str) -> list[str]:
    """The words of a list in which no word can hold a comma."""
    return [word for part in re.split(r"[\s,;]+", unquote(text)) if (word := unquote(part))]


def split_urls(text: str) -> list[str]:
    """The URLs in a list with blanks or commas between them: a comma before another SCHEME:// ends a URL."""
    parts = (part for word in unquote(text).split() for part in _NEXT_URL.split(word))
    return [url for part in parts if (url := unquote(part.strip(",;")))]


def parse_span(text: str, units: str = "smhd") -> int | None:
    """The seconds in `5m`, `5 min` or `5 minutes`; None if it is not such a text, or its unit is not in `units`."""
    found = _SPAN.fullmatch(text.strip())
    unit = _UNITS.get(found[2].lower(), "?") if found else "?"
    return int(found[1]) * SECONDS[unit] if found and unit in units else None


def find_unit(word: str) -> str | None:
    """The letter of a unit of time: `m` for `minutes`."""
    return _UNITS.get(word.lower())


def parse_hours(text: str) -> tuple[int, int, str]:
    """The minutes of the day at which quiet hours begin and end, and the rest of the text: the zone's name.

    Raises BadValue. The end may be 24:00, which is 0.
    """
    text = re.sub(r"\s+", " ", text.strip())
    found = _HOURS.search(text)
    if not found or (found.start() and found.end() < len(text)):
        raise BadValue("expected two times of day and a time zone, such as 22:00-07:00 Europe/Berlin")
    start, end = _minute_of_day(*found.groups()[:4]), _minute_of_day(*found.groups()[4:])
    if start % 1440 == end % 1440:
        wrong = "it begins and ends at the same time" if start == end else "it covers the whole day"
        raise BadValue(wrong, remedy="to silence a target altogether, remove its table")
    if start == 1440:
        raise BadValue("it begins at 24:00", remedy="write 00:00")
    rest = (text[: found.start()] + text[found.end() :]).strip(" ,;()[]")
    return start, end % 1440, rest


def _minute_of_day(hour: str, minute: str | None, joined: str | None, half: str | None) -> int:
    hours, minutes = int(hour), int(minute or joined or 0)
    if half and not 1 <= hours <= 12:
        raise BadValue("an hour with am or pm is from 1 to 12")
    if half:
        hours = hours % 12 + (12 if half.lower() == "pm" else 0)
    if hours > 24 or minutes > 59 or (hours == 24 and minutes):
        raise BadValue("a time of day in it does not exist", remedy="write times from 00:00 to 24:00")
    return hours * 60 + minutes


def find_zone(name: str) -> str:
    """The time zone that `name` means, by the name that this machine has for it. Raises BadValue."""
    import zoneinfo  # only where a zone is named

    if not name:
        raise BadValue("it has no time zone", remedy="put one behind the hours, such as Europe/Berlin")
    name = name.replace(" ", "_")
    try:
        return zoneinfo.ZoneInfo(name).key
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        pass
    known = zoneinfo.available_timezones()
    if not known:
        raise BadValue("this machine knows no time zones", remedy="install its package tzdata")
    folded = {each.lower(): each for each in known}
    if found := folded.get(name.lower()):
        return found
    if re.fullmatch(r"(?:utc|gmt)?[+-][0-9:]{1,5}", name.lower()):
        raise BadValue("this is an offset, not a time zone", remedy="use a name such as Europe/Berlin or UTC")
    ends = sorted(each for each in known if each.lower().rpartition("/")[2] == name.lower())
    if ends:
        raise BadValue(f"unknown time zone (did you mean {ends[0]}?)")
    import difflib

    if near := difflib.get_close_matches(name.lower()[:40], folded, 1, 0.8):
        raise BadValue(f"unknown time zone (did you mean {folded[near[0]]}?)")
    raise BadValue("unknown time zone", remedy="use a name such as Europe/Berlin or UTC")


def to_ascii_host(text: str) -> str:
    """A URL with its host in ASCII, as DNS has it: `https://bücher.example` becomes `https://xn--bcher-kva.example`.

    Raises ValueError if the host cannot be one.
    """
    if text.isascii():
        return text
    import idna  # only for such a host

    parts = urlsplit(text)
    if parts.netloc != parts.netloc.strip() or "@" in parts.netloc or not parts.hostname:
        raise ValueError
    name, colon, port = parts.netloc.partition(":")
    host = idna.encode(name, uts46=True).decode()  # idna's errors are ValueErrors
    return SplitResult(parts.scheme, f"{host}{colon}{port}", *parts[2:]).geturl()
