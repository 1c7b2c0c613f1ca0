"""What a backup leaves out of the pictures: the sample's, which are drawn anew, and what is not whole."""

import shutil
from pathlib import Path

import pytest

from kit.state_folder import TASK, Place
from receiver.pictures.files import SAMPLE, SHEET, ArchiveFiles
from receiver.upkeep.backup_pictures import ImagesMode

pytestmark = pytest.mark.anyio


def files_in(root: Path) -> list[str]:
    return [str(it.relative_to(root)) for it in root.rglob("*") if it.is_file()]


@pytest.mark.parametrize("images", [ImagesMode.LINK, ImagesMode.COPY])
async def test_the_sample_is_no_picture_of_anybodys(tmp_path: Path, images: ImagesMode) -> None:
    """It is neither counted nor copied, nor put back from a backup of an earlier version, which has it."""
    place = Place(tmp_path)
    await place.filled()
    for name in ("0.png", SHEET):
        await ArchiveFiles(place.images).save_file(SAMPLE, name, b"a sample")
    half = place.images / "ab" / TASK / "1.png.part"
    half.write_bytes(b"half of one, from a restore that was killed")
    assert place.back_up(images).images == 1
    kept = Path(f"{place.file}.images")
    assert files_in(kept) == [f"ab/{TASK}/0.png"]
    shutil.rmtree(place.images)
    await ArchiveFiles(kept).save_file(SAMPLE, SHEET, b"a sample")
    assert place.restore().images == 1
    assert ArchiveFiles(place.images).find_file(SAMPLE, SHEET) is None
