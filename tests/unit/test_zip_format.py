"""ZIP archives as they are written: what other programs read of them, their size in advance, and what is too long."""

import io
import struct
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from shutil import which
from subprocess import run
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.web.pages.sharing.zip_format import ZipWriter, zip_size

AT = 1_767_094_931_000  # 2025-12-30 11:42:11
GB = 1 << 30
Files = Sequence[tuple[str, bytes]]


def archive(files: Files, at: int = AT) -> bytes:
    writer = ZipWriter()
    parts = [writer.begin_file(name, len(it), zlib.crc32(it), at) + it for name, it in files]
    return b"".join((*parts, *writer.end()))


def read(content: bytes) -> zipfile.ZipFile:
    return zipfile.ZipFile(io.BytesIO(content))


names = st.text(st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="/\\"), min_size=1, max_size=40)


@given(st.dictionaries(names, st.binary(max_size=300), max_size=8))
def test_what_was_put_in_comes_out(files: dict[str, bytes]) -> None:
    content = archive(list(files.items()))

    opened = read(content)
    assert opened.testzip() is None
    assert {it.filename: opened.read(it) for it in opened.infolist()} == files
    assert zip_size((name, len(it)) for name, it in files.items()) == len(content)


def test_times_are_kept_to_two_seconds() -> None:
    assert read(archive([("a", b"")])).infolist()[0].date_time == (2025, 12, 30, 11, 42, 10)
    assert read(archive([("a", b"")], 0)).infolist()[0].date_time == (1980, 1, 1, 0, 0, 0)
    assert read(archive([("a", b"")], 5_000_000_000_000)).infolist()[0].date_time[0] == 2107


def test_a_file_is_stored_as_it_is_and_belongs_to_nobody_special() -> None:
    [found] = read(archive([("lighthouse-0.png", b"pixels" * 100)])).infolist()

    assert (found.compress_type, found.compress_size, found.file_size) == (zipfile.ZIP_STORED, 600, 600)
    assert found.external_attr >> 16 == 0o100644


@pytest.mark.skipif(which("unzip") is None, reason="there is no unzip here")
def test_another_program_reads_it_too(tmp_path: Path) -> None:
    path = tmp_path / "some.zip"
    path.write_bytes(archive([("Küste – hero-0.png", b"pixels"), ("MISSING.txt", b"none\r\n")]))

    ran = run(["unzip", "-tqq", path], capture_output=True, text=True, check=False)

    assert (ran.returncode, ran.stdout) == (0, "")


def test_many_files_take_little_memory_and_come_back() -> None:
    """More than 65,535 need ZIP64's count."""
    writer = ZipWriter()
    parts = [writer.begin_file(f"{number:06}-a lighthouse at dusk-0.png", 0, 0, AT) for number in range(66_000)]
    assert sum(map(len, writer._packed)) < 1_000_000
    pieces = list(writer.end())

    assert max(map(len, pieces)) <= 64 * 1024
    assert len(read(b"".join((*parts, *pieces))).infolist()) == 66_000


class _Sparse(io.RawIOBase):
    """A file of long runs of nothing between some bytes."""

    def __init__(self) -> None:
        self.at = 0
        self.runs: list[tuple[int, bytes]] = []
        self.size = 0

    def add(self, content: bytes) -> None:
        self.runs.append((self.size, content))
        self.size += len(content)

    def skip(self, size: int) -> None:
        self.size += size

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.at

    def seek(self, offset: int, whence: int = 0) -> int:
        self.at = offset + (0, self.at, self.size)[whence]
        return self.at

    def readinto(self, into: Any, /) -> int:
        size = max(0, min(len(into), self.size - self.at))
        window = bytearray(size)
        for start, content in self.runs:
            for place in range(max(start, self.at), min(start + len(content), self.at + size)):
                window[place - self.at] = content[place - start]
        into[:size] = window
        self.at += size
        return size


@pytest.mark.parametrize("sizes", [[5 * GB, 7], [3 * GB, 3 * GB, 7], [0xFFFF_FFFF, 7], [0xFFFF_FFFE, 7]])
def test_what_is_larger_than_four_gigabytes_has_its_place(sizes: list[int]) -> None:
    """A large file, a file behind such a distance, and both just at the limit."""
    writer, sparse = ZipWriter(), _Sparse()
    for number, size in enumerate(sizes):
        crc = zlib.crc32(bytes(7)) if size == 7 else 0  # of the others only the beginning is read
        sparse.add(writer.begin_file(f"{number}.png", size, crc, AT))
        sparse.skip(size)
    for piece in writer.end():
        sparse.add(piece)

    opened = zipfile.ZipFile(io.BufferedReader(sparse))
    assert [it.file_size for it in opened.infolist()] == sizes
    for it in opened.infolist():
        with opened.open(it) as file:
            assert file.read(1) == b"\0"
    assert sparse.size == zip_size((f"{number}.png", size) for number, size in enumerate(sizes))


def test_an_empty_archive_is_one() -> None:
    content = archive([])

    assert read(content).infolist() == []
    assert struct.unpack("<4s", content[:4]) == (b"PK\5\6",)
