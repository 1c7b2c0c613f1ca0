"""What a browser loads with its first page is small: one style sheet and one script, made of our own files."""

import pytest

from receiver.web.pages import look


@pytest.mark.parametrize(("kind", "most"), [("css", 10_000), ("js", 8_000)])
def test_the_sheet_and_the_script_stay_small(kind: str, most: int) -> None:
    assert len(look._static_files()[kind].packed) <= most


@pytest.mark.parametrize(("folder", "suffix", "names"), [("style", "css", look.STYLES), ("script", "js", look.SCRIPTS)])
def test_every_file_of_a_folder_is_in_what_is_served(folder: str, suffix: str, names: list[str]) -> None:
    there = {it.name for it in (look._STATIC / folder).iterdir()}
    assert there == {f"{name}.{suffix}" for name in names}
    assert len(names) == len(set(names))


def test_nothing_is_loaded_from_elsewhere() -> None:
    for kind in ("css", "js", "svg"):
        text = look._static_files()[kind].content.decode().replace("http://www.w3.org/2000/svg", "")
        assert "http:" not in text
        assert "https:" not in text
        assert "@import" not in text
