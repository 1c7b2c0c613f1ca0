"""What stays the same while the database grows, counted in pages read, not timed; `bench.growth` has the million."""

from pathlib import Path

import pytest

from bench.growth import OPERATIONS, count_pages, count_trees, deeper_reads
from bench.history import make_history

pytestmark = pytest.mark.anyio
FEW, MANY = 1_000, 100_000


@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="this kernel does not count what a process reads")
async def test_a_hundred_times_the_tasks_cost_no_more_than_a_level_in_each_tree(tmp_path: Path) -> None:
    """A B-tree of a hundred times the rows is a level deeper, and each operation works at one place of each tree.

    Reading even the smallest index of the large tables from end to end would be more than a thousand pages.
    """
    few, many = tmp_path / "few.db", tmp_path / "many.db"
    try:
        for path, count in ((few, FEW), (many, MANY)):
            make_history(path, count)
        before, afterwards = await count_pages(few, FEW), await count_pages(many, MANY)
    finally:
        many.unlink(missing_ok=True)  # 250 MB, which pytest would keep for three runs
    assert not deeper_reads(before, afterwards, count_trees(few))
    assert set(OPERATIONS) < set(before)
    assert all(before.values()), "nothing was counted"
