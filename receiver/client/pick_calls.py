"""The client's calls about picks. Of several that pick at once, one does, and the others are told 409 `picked`."""

from collections.abc import Sequence

from receiver.client.chain_schemas import PickedView, PickRequest
from receiver.client.connection import ApiConnection, join_path
from receiver.client.schemas import TaskView


class PickCalls(ApiConnection):
    """The calls of `Client` about picks."""

    def pick_picture(self, ref: str, image_nos: int | Sequence[int], *, job_id: str | None = None) -> list[TaskView]:
        """Let a task, or all that wait for a pick of its pictures, go on from these pictures; the tasks that do."""
        numbers = image_nos if isinstance(image_nos, int) else tuple(image_nos)
        asked = PickRequest(numbers, job_id)
        return self._call_api("POST", join_path("tasks", ref, "pick"), PickedView, body=asked).tasks

    def release_children(self, ref: str) -> TaskView:
        """Let what waits for a task go on, though no poll has confirmed its end; the task."""
        return self._call_api("POST", join_path("tasks", ref, "release"), TaskView)
