"""What a person decides about a chain: from which picture it goes on, and that an unconfirmed end is right.

Each is decided in one transaction, from what is stored then: so of two people who pick at once, one does, and the other
is told that it was done.
"""

from collections.abc import Sequence

from msgspec.structs import replace

from receiver.client.schemas import IMAGE_NO_MOST, LABEL_MOST
from receiver.core import chains
from receiver.core.chains import CHAIN_MOST, CHILDREN_MOST, FillParams, Missing
from receiver.core.decide import pick_notices
from receiver.core.errors import RequestRefused
from receiver.core.types import LOW_LANE, Clock, HoldReason, Image, Policy, Step, StepKind, Task, TaskState
from receiver.store import Store, Tx
from receiver.store.insist import decide_again
from receiver.tasks.batch_ends import mute_reopened, place_again
from receiver.tasks.fill_params import ImageUrl, make_filler
from receiver.tasks.find_task import require_task, require_with_parent, unknown_task
from receiver.tasks.pick_choice import Waiting, choose, is_doubtful, name_tasks, takes_job
from receiver.tasks.pick_purposes import name_waiting
from receiver.tokens import new_ref

_TRY_OTHER = "pick another picture, or give `job_id` if the provider's task list says it"


class PickControl:
    """What a person decides about chains. `image_url` gives the public address of a file of the archive."""

    def __init__(self, store: Store, policy: Policy, clock: Clock, *, image_url: ImageUrl) -> None:
        self._store = store
        self._policy = policy
        self._clock = clock
        self._image_url = image_url

    @decide_again
    async def pick(
        self, ref: str, image_nos: Sequence[int], *, by: str = "api", job_id: str | None = None
    ) -> list[Task]:
        """Let the task `ref`, or what waits for a pick of its pictures, go on from these pictures; what goes on now.

        With several, what waits is made once more for each further one. With `job_id`, that is the picture's job, as a
        person knows it. Raises RequestRefused: 409 `picked` if somebody has done so already.
        """
        numbers = list(dict.fromkeys(image_nos))
        _check_numbers(numbers, job_id)
        changes, new, picked = list[tuple[Task, Task]](), list[Task](), list[Task]()
        async with self._store.write() as tx:
            waiting = await self._find_waiting(tx, ref, by_job=job_id is not None)
            now = self._clock()
            chosen = choose(waiting, numbers)
            if not chosen:
                raise _not_chosen(waiting, numbers)
            copies = await _copy_trees(tx, waiting, chosen, now)
            files = (await tx.copies.by_refs([waiting.parent.ref])).get(waiting.parent.ref, ())
            lanes = {child.lane for child, _ in chosen if child.lane > LOW_LANE}
            batches = await tx.lanes.get(sorted(lanes)) if lanes else {}
            fill = make_filler(waiting.parent, files, self._image_url, now, insist=True)
            for child, number in ((child, it) for child, some in chosen for it in some):
                params = _fill(fill, waiting, child, number, job_id)
                first, *below = copies.get((child.ref, number), [child])
                top = chains.pick(first, number, params, by, now)
                if top.lane > LOW_LANE:
                    top = await place_again(tx, top, now)
                picked.append(top)
                if first is child:
                    changes.append((child, top))
                else:
                    new += [top, *below]
            await tx.tasks.update(changes)
            if new:
                await tx.tasks.insert(new)
            await mute_reopened(tx, batches.values())
            await tx.steps.add([Step(it.ref, now, StepKind.PICKED, by) for it in picked])
        return picked

    @decide_again
    async def release(self, ref: str) -> Task:
        """Let what waits for the task go as if its end had been confirmed. Raises RequestRefused."""
        async with self._store.write() as tx:
            task = await require_task(tx, ref)
            now = self._clock()
            _refuse_release(task)
            if not await tx.chains.held_children([ref], 1) or await tx.chains.is_followed(ref):
                return task  # done before
            await tx.chains.add_followups([ref])
            if not task.confirmed:
                images = (await tx.tasks.images_by_ref([ref])).get(ref, ())
                asked = pick_notices(replace(task, confirmed=True), images, self._policy, now)
                await tx.notices.insert(await name_waiting(tx, asked))
        return task

    async def _find_waiting(self, tx: Tx, ref: str, *, by_job: bool) -> Waiting:
        """What `ref` stands for: itself if it waits for a picture, else those that wait for one of its pictures."""
        task, above = await require_with_parent(tx, ref)
        if not chains.is_held(task):
            above = None
        elif above is None and task.parent is not None:
            raise unknown_task(task.parent)
        named = above is not None and (chains.needs_pick(task) or is_doubtful(above))
        parent = above if above is not None and named else task
        children = [task] if named else await tx.chains.children(ref, CHAIN_MOST)
        images = (await tx.tasks.images_by_ref([parent.ref])).get(parent.ref, ())
        waiting = Waiting(parent, children, images, named, by_job)
        if not waiting.ready:
            raise _nothing_to_pick(task, parent, children)
        return waiting


def _fill(fill: FillParams, waiting: Waiting, child: Task, number: int, job_id: str | None) -> bytes:
    image = chains.find_image(waiting.images, number)
    if job_id is not None:
        image = Image(number, "", job_id=job_id) if image is None else replace(image, job_id=job_id)
    if image is None:
        raise _no_such_picture(waiting, number)
    filled = fill(child, image)
    if isinstance(filled, Missing):
        problem = f"{child.shown_name} cannot go on from it: {filled.what}"
        raise RequestRefused(409, "not_usable", problem, "image_no", remedy=_TRY_OTHER)
    return filled


async def _copy_trees(
    tx: Tx, waiting: Waiting, chosen: Sequence[tuple[Task, Sequence[int]]], now: int
) -> dict[tuple[str, int], list[Task]]:
    """Of each child, and of what waits below it, another one for each further picture. Raises RequestRefused."""
    further = [(child, number) for child, numbers in chosen for number in numbers[1:]]
    if not further:
        return {}
    tasks = await tx.chains.tasks_of(waiting.parent.root or waiting.parent.ref, CHAIN_MOST)
    copies = {
        (child.ref, number): chains.copy_subtree(
            child, chains.order_subtree(child.ref, tasks), lambda: new_ref(now), f"#{number}", now
        )
        for child, number in further
    }
    if (size := len(tasks) + sum(map(len, copies.values()))) > CHAIN_MOST:
        problem = f"a chain may have {CHAIN_MOST} tasks, and this one would have {size}"
        raise RequestRefused(422, "chain_too_large", problem, "image_no", remedy="pick fewer pictures")
    return copies


def _check_numbers(numbers: Sequence[int], job_id: str | None) -> None:
    if not numbers or len(numbers) > CHILDREN_MOST or not all(0 <= it <= IMAGE_NO_MOST for it in numbers):
        problem = f"image_no must be a picture's number, or 1 to {CHILDREN_MOST} of them"
        raise RequestRefused(422, "invalid_parameter", problem, "image_no")
    if job_id is not None and (job_id.split() != [job_id] or len(job_id) > LABEL_MOST):
        problem = f"job_id must be 1 to {LABEL_MOST} characters without blanks"
        raise RequestRefused(
            422, "invalid_parameter", problem, "job_id", remedy="copy it from the provider's task list"
        )
    if job_id is not None and len(numbers) > 1:
        raise RequestRefused(422, "invalid_parameter", "job_id is of one picture, so pick one", "job_id")


def _nothing_to_pick(task: Task, parent: Task, children: Sequence[Task]) -> RequestRefused:
    """Why there is nothing to pick for `task`: it was done, it is too early, or nothing ever waited for it."""
    if is_doubtful(parent) and any(map(chains.is_held, children)):
        remedy = f"give the picture's `job_id` too, or run `receiver tasks release {parent.ref}` if its end is right"
        if parent.state is TaskState.LOST:
            remedy = "give the picture's `job_id` too, as the provider's task list says it"
        how = "is lost" if parent.state is TaskState.LOST else "ended unconfirmed"
        return RequestRefused(
            409, "not_ended", f"{parent.shown_name} {how}, so its pictures are not certain", remedy=remedy
        )
    if any(map(chains.needs_pick, children)):
        if not parent.state.is_final:
            return RequestRefused(409, "not_ended", f"{parent.shown_name} has no pictures yet: it is {parent.state}")
        if parent.state is TaskState.COMPLETED:
            return RequestRefused(409, "not_ended", f"{parent.shown_name} ended just now", remedy="try it again")
    family = [task, *children] if task is parent else children
    if picked := sorted({it.parent_image for it in family if it.picked_by and it.parent_image is not None}):
        return _picked(picked)
    return RequestRefused(409, "nothing_to_pick", f"nothing waits for a pick of a picture of {task.shown_name}")


def _not_chosen(waiting: Waiting, numbers: Sequence[int]) -> RequestRefused:
    """Why these pictures let none of those go on that wait for a pick."""
    own = [it for it in waiting.ready if it.parent_image is not None and not takes_job(it)]
    stuck = [it for it in own if it.parent_image not in numbers]
    if not stuck:
        return _picked(sorted(numbers))
    problem = f"what waits for {waiting.parent.shown_name} wants pictures of its own: {name_tasks(stuck)}"
    remedy = f"run `receiver tasks pick {stuck[0].ref} N`, and likewise for each of them"
    if waiting.by_job:
        remedy = f"run `receiver tasks pick {stuck[0].ref} N --job-id ID`, and likewise for each of them"
    return RequestRefused(409, "nothing_to_pick", problem, "image_no", remedy=remedy)


def _picked(numbers: Sequence[int]) -> RequestRefused:
    words = " and ".join(map(str, numbers))
    return RequestRefused(
        409, "picked", f"picture{f's {words} were' if len(numbers) > 1 else f' {words} was'} picked already"
    )


def _no_such_picture(waiting: Waiting, number: int) -> RequestRefused:
    came = ", ".join(str(it.image_no) for it in waiting.images)
    problem = f"there is no picture {number} of {waiting.parent.shown_name}: " + (
        f"it came with {came}" if came else "it came without any"
    )
    return RequestRefused(422, "no_picture", problem, "image_no", remedy=_TRY_OTHER)


def _refuse_release(task: Task) -> None:
    if chains.is_held(task):
        remedy = f"`receiver tasks release {task.parent}`, if its end is right"
        problem = f"{task.shown_name} waits for {task.parent}, and that is the one to release from"
        if task.held_by is HoldReason.PICK:
            problem, remedy = f"{task.shown_name} waits for a pick", f"run `receiver tasks pick {task.ref} N`"
        raise RequestRefused(409, "not_ended", problem, remedy=remedy)
    if not task.children:
        raise RequestRefused(409, "nothing_waits", f"nothing waits for {task.shown_name}")
    if task.state is TaskState.LOST:
        command = f"receiver tasks pick {task.ref} N --job-id ID"
        remedy = f"run `{command}` if you know the id of its job; or wait for its callback"
        raise RequestRefused(409, "not_ended", "the task is lost: there is no result to go on from", remedy=remedy)
    if not task.state.is_final:
        problem = f"the task is {task.state}: what waits for it goes on by itself once it has ended"
        raise RequestRefused(409, "not_ended", problem)
