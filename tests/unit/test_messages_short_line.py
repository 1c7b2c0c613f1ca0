"""What fits into one SMS: 160 characters of its own alphabet, some of which count as two, or 70 UTF-16 units."""

from decimal import Decimal

import pytest

from receiver.core.types import NoticeEvent, Report
from receiver.notify.messages.content import build_content
from receiver.notify.messages.message import NoLinks
from receiver.notify.messages.short_line import fit_sms, short_line


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("x" * 160, "x" * 160),
        ("x" * 161, "x" * 157 + "..."),
        ("€" * 80, "€" * 80),
        ("€" * 81, "€" * 78 + "..."),
        ("灯" * 70, "灯" * 70),
        ("灯" * 71, "灯" * 67 + "..."),
        ("𝔘" * 35, "𝔘" * 35),
        ("𝔘" * 36, "𝔘" * 33 + "..."),
        ("é" + "x" * 159, "é" + "x" * 159),
        ("a — b … “c” ’d’ · e", "a - b ... \"c\" 'd', e"),
        ("see https://x.example/a?b=1 for more", "see for more"),
        ("say @here", "say @ here"),
        ("mail @\u200bhere", "mail @ here"),
        ("two\nlines", "two lines"),
        ("", "receiver: see the service"),
        ("http://only.a.link", "receiver: see the service"),
    ],
)
def test_words_become_one_sms(words: str, line: str) -> None:
    assert fit_sms(words) == line


def test_the_line_says_what_happened_and_what_it_cost() -> None:
    lost = Report(event=NoticeEvent.LOST, label="hero", cost=Decimal("0.05"))

    assert short_line(build_content((lost,), NoLinks())) == "hero: lost - no result before its deadline"
    assert short_line(build_content((lost, lost), NoLinks())) == "2 notices lost, $0.10 in total"
