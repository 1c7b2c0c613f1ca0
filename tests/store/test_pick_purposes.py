"""The notice that a person has to pick a picture says what that is for."""

import pytest

from kit.chains import UPSCALE, ChainBench, a_child
from kit.fakes import a_task, notices
from receiver.store import Store

pytestmark = pytest.mark.anyio


async def test_the_notice_of_a_pick_says_for_which_steps_it_is(store: Store) -> None:
    bench = ChainBench(store)
    root, other = a_task(step="grid", task_id=None), a_task(task_id=None)
    waiting = [a_child(root, None, step="pan"), a_child(root, None, UPSCALE), a_child(root, None, step="pan")]
    root, *_ = await bench.plant(root, *waiting, a_child(root, 0, step="big"))
    other, _ = await bench.plant(other, a_child(other, None, step="wide"))
    await bench.end(root)
    await bench.end(other)
    for task, step, names in ((root, "grid", ("pan", "upscale")), (other, None, ("wide",))):
        [notice] = await notices(store, task.ref)
        assert (notice.report.step, set(notice.report.picks_for)) == (step, set(names))
