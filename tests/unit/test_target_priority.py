"""A target's `priority`: how important each event is to it."""

from pathlib import Path

import pytest

from kit.settings import SENTINEL, refused
from receiver.config import load_settings
from receiver.config.text import describe_settings
from receiver.core.types import Importance, NoticeEvent, Target


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory without a receiver.toml, so that no test reads a stranger's."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def one(line: str) -> Target:
    """The target of a table with this line."""
    Path("receiver.toml").write_text(f'[targets.team]\nurl = "json://h"\n{line}\n')
    (target,) = load_settings({}).targets
    return target


def test_a_target_says_how_important_an_event_is() -> None:
    assert one("").priority == {}
    assert one('priority = { failed = "urgent", completed = "low" }').priority == {
        NoticeEvent.FAILED: Importance.URGENT,
        NoticeEvent.COMPLETED: Importance.LOW,
    }


def test_config_shows_it() -> None:
    one('priority = { failed = "urgent", completed = "low" }')

    assert any("priority completed low failed urgent" in str(row) for row in describe_settings(load_settings({})))


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('priority = "high"', 'priority: expected a table such as { failed = "high" }'),
        ('priority = { faild = "high" }', "priority: expected the names of events: completed, failed, lost, attention"),
        ('priority = { failed = "5" }', "priority: failed: expected one of low, normal, high, urgent"),
        ("priority = { failed = 5 }", "priority: failed: expected one of low, normal, high, urgent"),
        ("priority = { failed = [1] }", "priority: failed: expected one of low, normal, high, urgent"),
    ],
)
def test_another_value_is_refused(line: str, says: str) -> None:
    assert says in refused({}, f'[targets.team]\nurl = "json://{SENTINEL}"\n{line}\n')
