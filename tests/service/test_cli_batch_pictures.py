"""`receiver batch pictures` saves the pictures of all rows, named by line and label."""

from pathlib import Path

import pytest
from msgspec.structs import replace

from kit.fakes import NOW, a_ref
from kit.web import command, served
from receiver.client.batch_schemas import NewBatch
from receiver.core.types import ArchiveState, Image, ImageCopy, Task, TaskState

pytestmark = pytest.mark.anyio

ROW = Task(
    ref=a_ref(),
    created_at=NOW,
    provider="vtrix",
    model="midjourney_outpaint",
    state=TaskState.COMPLETED,
    submitted_at=NOW,
    settled_at=NOW,
    archive=ArchiveState.DONE,
)


async def test_the_pictures_of_a_batch_are_named_by_line_and_label(tmp_path: Path) -> None:
    async with served(tmp_path) as web:
        lane = await web.parts.batches.open(NewBatch(name="posters"))
        labels = ("hero 1", "../../etc/pässwd", None)
        rows = [
            replace(ROW, ref=a_ref(), lane=lane.id, turn=line, row_key=bytes([line]), label=label)
            for line, label in enumerate(labels, 2)
        ]
        step = replace(rows[0], ref=a_ref(), turn=5, row_key=b"5", label="hero", step="wide")
        rows.append(step)
        kept = [rows[0], rows[1], step]
        failed = replace(rows[0], ref=a_ref(), turn=9, row_key=b"9", state=TaskState.FAILED, archive=None)
        async with web.parts.store.write() as tx:
            await tx.tasks.insert([*rows, failed])
            await tx.tasks.add_images([(row.ref, Image(0, "https://pics.example/0.png")) for row in rows])
            await tx.copies.upsert(
                [(row.ref, ImageCopy(0, file="0.png", size=4, media_type="image/png")) for row in kept]
                + [(rows[2].ref, ImageCopy(0, error="HTTP 404"))]
            )
        for row in kept:
            await web.parts.files.save_file(row.ref, "0.png", b"\x89PNG")
        folder = tmp_path / "out"
        saved = await command(web, "batch", "pictures", "posters", str(folder))
        again = await command(web, "batch", "pictures", "posters", str(folder))
        wrong = await command(web, "batch", "pictures", "poster", str(tmp_path / "none"))

    names = ["0002-hero-1-0.png", "0003-etc-pässwd-0.png", f"0005-hero-wide-{step.ref[-6:]}-0.png"]
    assert sorted(path.name for path in folder.iterdir()) == names
    assert saved.stdout.splitlines() == [str(folder / name) for name in names]
    assert "line 4, picture 0: not kept" in saved.stderr
    assert "3 pictures of 4 completed rows" in saved.stderr
    assert (saved.exit_code, again.exit_code, wrong.exit_code) == (1, 1, 1)
    assert not (tmp_path / "none").exists()
