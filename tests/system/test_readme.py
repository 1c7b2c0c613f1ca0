"""The README shows what is: its settings, its words, its commands and its samples are held to the program."""

import re
from pathlib import Path

import pytest

from receiver.config import load_settings
from receiver.config.text import markdown_table
from receiver.core.types import TaskState, Verdict

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    """The fenced samples in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def section(title: str) -> str:
    """What stands under a heading of the second level."""
    return README.split(f"\n## {title}\n")[1].split("\n## ")[0]


def test_the_settings_table_is_the_one_that_the_settings_make() -> None:
    table = "".join(line for line in section("Settings").splitlines(keepends=True) if line.startswith("|"))
    assert table == markdown_table()


@pytest.mark.parametrize("word", [*Verdict, *TaskState])
def test_the_glossary_has_every_verdict_and_every_state(word: str) -> None:
    assert f"`{word}`" in section("Words")


def test_every_make_target_that_is_shown_exists() -> None:
    shown = set(re.findall(r"^make ([a-z]+)|`make ([a-z]+)", README, re.MULTILINE))
    names = {first or second for first, second in shown}
    assert {"demo", "test"} <= names
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert names <= targets


@pytest.mark.parametrize("code", blocks("python"))
def test_python_samples_compile(code: str) -> None:
    compile(code, "README.md", "exec")


@pytest.mark.parametrize("settings", blocks("toml"))
def test_settings_samples_can_be_pasted(tmp_path: Path, settings: str) -> None:
    (tmp_path / "receiver.toml").write_text(settings)
    assert load_settings({}, tmp_path / "receiver.toml").targets


def test_there_are_samples_to_check() -> None:
    """Else the tests above would pass on a README whose fences they no longer find."""
    assert blocks("python")
    assert blocks("toml")


@pytest.mark.parametrize("page", ["README.md", "systemd/README.md", "bench/README.md"])
def test_every_file_that_is_named_is_there(page: str) -> None:
    """By a link, or as code with a folder in it."""
    text = (ROOT / page).read_text()
    named = re.findall(
        r"\]\(([\w./-]+)(?:#[\w-]+)?\)|`((?:systemd|tests|bench|receiver|proxy|monitoring)/[\w./-]*)`", text
    )
    found = [first or second for first, second in named]
    assert found
    found = [it for it in found if it != "bench/results.json"]  # `make bench` writes it: a fresh checkout has none
    assert [it for it in found if not any((place / it).exists() for place in (ROOT, (ROOT / page).parent))] == []
