"""The doctor shows what a target's own template writes, and says what is wrong with a broken one."""

import pytest

from receiver.core.types import MessageStyle, Target
from receiver.upkeep.doctor.findings import CheckResult
from receiver.upkeep.doctor.targets import check_targets

pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")
SOUND = Target(name="team", url="json://127.0.0.1:9", template="{{ label }} is here\n{{ cost }}", template_file="t.j2")


def test_the_doctor_shows_the_rendered_sample() -> None:
    *_, shown = check_targets([SOUND])

    assert (shown.result, shown.text) == (CheckResult.OK, "team: its template writes: a test is here / $0.05")


def test_a_broken_template_is_a_warning_with_its_file() -> None:
    broken = Target(name="team", url=SOUND.url, style=MessageStyle.TEXT, template="{{ promt }}", template_file="t.j2")

    *_, found = check_targets([broken])

    assert found.result is CheckResult.WARNING
    assert "'promt' is undefined" in found.text
    assert found.remedy == "fix t.j2"
