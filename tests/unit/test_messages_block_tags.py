"""Where Jinja keeps a line end: after a line that has words, not after one of block tags alone."""

import pytest

from receiver.notify.messages.block_tags import keep_line_ends


@pytest.mark.parametrize(
    ("template", "kept"),
    [
        ("a{% if b %}c{% endif %}\nd", "a{% if b %}c{% endif +%}\nd"),
        ("{{ a }}{% if b %}{% endif %}\n", "{{ a }}{% if b %}{% endif +%}\n"),
        ("{% if b %}c{% endif %}\nd", "{% if b %}c{% endif +%}\nd"),
        ("{% if b %}{{ c }}{% endif %}\nd", "{% if b %}{{ c }}{% endif +%}\nd"),
        ("a{# note #}\nb", "a{# note +#}\nb"),
        ("a{% if b %}\r\nc", "a{% if b +%}\r\nc"),
        ("a {% set b =\n 1 %}\nc", "a {% set b =\n 1 +%}\nc"),
        ("a\nb{% if c %}\nd", "a\nb{% if c +%}\nd"),
        ("{% raw %}{% x %}{% endraw %}\nd", "{% raw %}{% x %}{% endraw +%}\nd"),
        ("{% raw %}\n{% x %}\n{% endraw %}\na{% if b %}\n", "{% raw %}\n{% x %}\n{% endraw %}\na{% if b +%}\n"),
    ],
)
def test_a_line_with_words_keeps_its_end(template: str, kept: str) -> None:
    assert keep_line_ends(template) == kept


@pytest.mark.parametrize(
    "template",
    [
        *("", "a\nb", "{{ a }}\n{{ b }}", "{%", "{% if", "{{", "%}\n", "{% raw %}"),
        "{% if a %}\nb\n{% endif %}\n",
        "  {% if a %}  \nb",
        "a\n{% if b %}\nc",
        "a\n  {% if b %}{% set c = 1 %}\nd",
        "a{% if b -%}\nc",
        "a{% if b +%}\nc",
        "a{# note -#}\nb",
        "a{% if b %}c",
        "a{% if b %} \nc",
        "{% if b %}{# note #}\nc",
    ],
)
def test_other_lines_are_left_as_they_are(template: str) -> None:
    assert keep_line_ends(template) == template
