"""The calls with which a person lets a chain go on: from a picture, or from an end that nothing confirms."""

from receiver.client.chain_schemas import PickedView, PickRequest
from receiver.client.schemas import TaskView
from receiver.core.types import Task
from receiver.service.wiring import ServiceParts
from receiver.web.api.operations import ApiRequest, Operation
from receiver.web.api.present import task_views


class PickOperations:
    """The calls of the table below; `ApiCalls` has them too."""

    _parts: ServiceParts

    async def pick_picture(self, asked: ApiRequest) -> object:
        which: PickRequest = asked.body
        picked = await self._parts.picks.pick(asked.path["ref"], which.numbers, by="api", job_id=which.job_id)
        return PickedView(await self._show(picked))

    async def release_children(self, asked: ApiRequest) -> object:
        [view] = await self._show([await self._parts.picks.release(asked.path["ref"])])
        return view

    async def _show(self, tasks: list[Task]) -> list[TaskView]:
        return await task_views(self._parts.store, tasks, self._parts.submit.queue.find_waits)


# fmt: off
PICK_OPERATIONS: tuple[Operation, ...] = (
    Operation(method="POST", path="/tasks/{ref}/pick", run=PickOperations.pick_picture, body=PickRequest,
              summary="Pick the picture that a task, or all that wait for a pick of its pictures, goes on from",
              answer=PickedView, refusals=(404, 409)),
    Operation(method="POST", path="/tasks/{ref}/release", run=PickOperations.release_children, answer=TaskView,
              summary="Let what waits for a task go on, though no poll has confirmed its end", refusals=(404, 409)),
)
# fmt: on
