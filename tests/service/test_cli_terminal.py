"""What a terminal, a pipe or a file gets: columns, times with their zone, colours, help."""

import time
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path

import pytest
from click.testing import CliRunner
from msgspec.structs import replace

from kit.commands import Answers, Run, task
from receiver.cli.main import cli
from receiver.cli.output import (
    age,
    display_width,
    format_table,
    local_time,
    short_time,
    time_and_age,
    time_of_day,
    wrap_text,
)
from receiver.client.schemas import TaskPage
from receiver.core.types import NoticeState, TaskState, Verdict

EVIL = "\x1b]0;pwned\x07\x9b31m\u202eevil\r\n\x00\x7f"


def test_columns_are_counted_as_a_terminal_does() -> None:
    assert [display_width(text) for text in ("ab", "日本", "e\u0301", "🌊")] == [2, 4, 1, 2]
    lines = format_table(("LABEL", "AGE"), [("日本の海", "3 h"), ("sea", "5 h")]).splitlines()
    assert [display_width(line) for line in lines] == [13, 13, 13]


def test_a_wide_label_is_cut_to_its_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    line = format_table(("LABEL", "AGE"), [("日本の海" * 9, "3 h")], shrink=(0,)).splitlines()[1]
    assert line.endswith(("…  3 h", "…   3 h"))
    assert display_width(line) == 20


@pytest.mark.parametrize("name", ["submit", "tasks", "callbacks", "notices"])
def test_no_command_s_summary_is_cut(run: Run, name: str) -> None:
    assert "..." not in run(name, "--help", COLUMNS="80").stdout.partition("Commands:")[2]


def test_times_to_come_are_told_by_this_machine_s_clock_and_whole_minutes_as_such() -> None:
    soon = datetime.now(UTC) + timedelta(hours=1)
    on_the_minute = soon.replace(second=0, microsecond=0)
    assert short_time(on_the_minute.isoformat()).partition(" ")[0] == on_the_minute.astimezone().strftime("%H:%M")
    assert short_time(soon.replace(second=7).isoformat()).startswith(soon.astimezone().strftime("%H:%M:07 "))


@pytest.mark.parametrize(
    ("zone", "shown"),
    [("UTC", "08:16:00 UTC"), ("Europe/Berlin", "09:16:00 +01:00"), ("Asia/Kolkata", "13:46:00 +05:30")],
)
def test_every_time_says_its_zone(monkeypatch: pytest.MonkeyPatch, zone: str, shown: str) -> None:
    moment, to_come = "2026-11-22T08:16:00.123Z", "2999-11-22T08:16:00Z"
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        assert local_time(moment) == f"2026-11-22 {shown}"
        assert time_and_age(moment).startswith(f"2026-11-22 {shown} (")
        assert time_of_day(datetime.fromisoformat(moment)) == shown
        assert short_time(to_come) == f"2999-11-22 {shown.replace(':00 ', ' ', 1)}"
    finally:
        monkeypatch.undo()
        time.tzset()


def test_a_table_in_a_pipe_is_not_cut(run: Run, answers: Answers) -> None:
    label = "a label as long as people make them " * 5
    answers.then(200, TaskPage([replace(task(), label=label)], None))
    assert label.strip() in run("tasks", "list").stdout
    answers.then(200, TaskPage([replace(task(), label=label)], None))
    assert max(map(display_width, run("tasks", "list", COLUMNS="80").stdout.splitlines())) <= 80


@pytest.mark.parametrize(("env", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)])
def test_no_colour_is_written_where_none_is_wanted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, env: dict[str, str], coloured: bool
) -> None:
    """https://no-color.org; a terminal that is dumb shows the codes."""
    monkeypatch.chdir(tmp_path)
    for name in ("NO_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "receiver.toml").write_text("nonsense = 1\n")
    shown = CliRunner().invoke(cli, ("doctor",), env=dict(env), color=True)
    assert ("\x1b[" in shown.stdout) is coloured


@pytest.mark.parametrize(
    ("args", "words"),
    [(("tasks",), TaskState), (("callbacks",), Verdict), (("notices",), NoticeState)],
)
def test_the_help_names_the_states(run: Run, args: tuple[str, ...], words: type[StrEnum]) -> None:
    for flag in ("-h", "--help"):
        shown = run(*args, "list", flag).stdout
        assert all(it.value in shown for it in words)


@pytest.mark.parametrize("text", ["a sea of words", "x" * 30, "日本の海 and the sea", "", "a  " + "y" * 9 + " b"])
def test_wrapping_loses_nothing_and_keeps_to_its_columns(text: str) -> None:
    lines = wrap_text(text, 9)
    assert max(map(display_width, lines)) <= 9
    assert "".join("".join(lines).split()) == "".join(text.split())


def test_settings_are_shown_in_eighty_columns_and_whole_with_json(run: Run, tmp_path: Path) -> None:
    long = f"https://{'very.' * 30}example.org"
    env = {"RECEIVER_PUBLIC_URL": long, "RECEIVER_PROVIDER_CONCURRENCY": "3", "COLUMNS": "80"}
    shown = run("config", **env).stdout
    assert max(map(display_width, shown.splitlines())) <= 80
    assert "…" not in shown
    values = [line[22:].partition("  ")[0] for line in shown.splitlines()]
    assert long in "".join(values)
    assert long in run("config", "--json", **env).stdout


@pytest.mark.parametrize("odd", ["", "2026-13-45", "2026-01-01T00:00:00"])
def test_an_odd_time_is_a_dash(odd: str) -> None:
    """Not a traceback, whatever a server takes for a time."""
    assert age(odd) == time_and_age(odd) == short_time(odd) == "–"
    assert {local_time(it) for it in ("9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+23:59", EVIL)} == {"–"}
