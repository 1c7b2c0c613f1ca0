"""Atomic writes: a file is there whole or not at all, never through a link, and survives a power cut."""

import os
from pathlib import Path

import pytest

from receiver.atomic_files import atomic_write, open_new, remove_drafts


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_file_appears_when_the_block_ends_with_its_mode(tmp_path: Path) -> None:
    with atomic_write(tmp_path / "a") as file:
        file.write(b"whole")
        assert not (tmp_path / "a").exists()
    assert ((tmp_path / "a").read_bytes(), (tmp_path / "a").stat().st_mode & 0o777) == (b"whole", 0o600)
    assert names(tmp_path) == {"a"}


def test_a_block_that_raises_leaves_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"before")

    def fail() -> None:
        with atomic_write(tmp_path / "a") as file:
            file.write(b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert (tmp_path / "a").read_bytes() == b"before"
    assert names(tmp_path) == {"a"}


def test_content_name_and_folder_are_on_disk_in_this_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    fsync, rename = os.fsync, os.rename

    def syncing(file: int) -> None:
        done.append("folder" if os.path.isdir(f"/proc/self/fd/{file}") else "content")
        fsync(file)

    def renaming(old: Path, new: Path) -> None:
        done.append("name")
        rename(old, new)

    monkeypatch.setattr(os, "fsync", syncing)
    monkeypatch.setattr(os, "rename", renaming)
    with atomic_write(tmp_path / "a") as file:
        file.write(b"whole")
    assert done == ["content", "name", "folder"]


def test_a_link_is_replaced_and_what_it_leads_to_left_alone(tmp_path: Path) -> None:
    (tmp_path / "other").write_bytes(b"theirs")
    (tmp_path / "a").symlink_to("other")
    with pytest.raises(FileExistsError):
        open_new(tmp_path / "a")
    with atomic_write(tmp_path / "a") as file:
        file.write(b"ours")
    assert (tmp_path / "other").read_bytes() == b"theirs"
    assert not (tmp_path / "a").is_symlink()


def test_without_replace_a_file_that_came_meanwhile_stays(tmp_path: Path) -> None:
    with pytest.raises(FileExistsError), atomic_write(tmp_path / "a", replace=False):
        (tmp_path / "a").write_bytes(b"first")
    assert (tmp_path / "a").read_bytes() == b"first"
    assert names(tmp_path) == {"a"}


def test_a_file_system_without_links_is_a_fault_unless_they_are_not_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def link(_: Path, __: Path) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", link)
    with pytest.raises(PermissionError), atomic_write(tmp_path / "a", replace=False):
        pass
    assert names(tmp_path) == set()
    with atomic_write(tmp_path / "a", replace=False, needs_links=False):
        pass
    with pytest.raises(FileExistsError), atomic_write(tmp_path / "a", replace=False, needs_links=False):
        pass
    assert names(tmp_path) == {"a"}


def test_what_a_kill_left_beside_a_file_is_removed_and_nothing_else(tmp_path: Path) -> None:
    for name in (".a.0123456789abcdef", ".a.0123", ".b.0123456789abcdef", "a"):
        (tmp_path / name).touch()
    remove_drafts(tmp_path / "a")
    assert names(tmp_path) == {".a.0123", ".b.0123456789abcdef", "a"}
