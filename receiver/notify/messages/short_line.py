"""One line for services that cut a message at a few hundred characters: SMS, pagers, IRC.

An SMS has 160 characters if all are in its own alphabet (GSM 03.38), else 70 UTF-16 units. So our marks and dashes are
written in ASCII, and the line fits into one SMS whatever the words are. It has no links: a cut one leads nowhere.
"""

import re

from receiver.core.sanitize import defuse_mentions, fit_escaped, join_nonempty
from receiver.notify.messages.content import Content, DigestContent

SMS_MOST = 160  # of the SMS alphabet; the characters of `_TWO` count as two
UNICODE_SMS_MOST = 70  # UTF-16 units, as soon as one character is outside it
_TWO = set("^{}\\[~]|€")
_ONE = set(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§"
    "¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
_PLAIN = str.maketrans({"—": "-", "–": "-", "…": "...", "“": '"', "”": '"', "’": "'", "·": ","})
_URL = re.compile(r"\S*://\S*")


def short_line(content: Content) -> str:
    """What happened, and the figures, in one line of one SMS."""
    # of trouble, the words count
    figures = content.total if isinstance(content, DigestContent) else content.cost if content.pictures else ""
    return fit_sms(join_nonempty(content.title.partition(" ")[2], figures))  # without its mark


def fit_sms(words: str) -> str:
    """`words` without URLs and mentions, as long as one SMS at most."""
    plain = " ".join(_URL.sub("", words.replace("\u200b", "")).split())
    return fit_escaped(plain, SMS_MOST, _write, _sms_length) or "receiver: see the service"


def _write(words: str) -> str:
    written = words.translate(_PLAIN).replace(" ,", ",")
    # In these services only a mention can do harm; the character that defuses it would halve the room of every SMS.
    safe = defuse_mentions(written)
    return safe.replace("\u200b", " ") if safe != written else written


def _sms_length(words: str) -> int:
    """How much of an SMS with 160 characters is used."""
    if all(char in _ONE or char in _TWO for char in words):
        return len(words) + sum(char in _TWO for char in words)
    units = len(words.encode("utf-16-le", "replace")) // 2
    return -(-units * SMS_MOST // UNICODE_SMS_MOST)
