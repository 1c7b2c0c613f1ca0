"""The client's calls about submitting as a whole."""

from receiver.client.connection import ApiConnection, join_path
from receiver.client.queue_schemas import QueueView
from receiver.client.schemas import TaskView


class QueueCalls(ApiConnection):
    """The calls of `Client` about the queue."""

    def show_queue(self) -> QueueView:
        """How submitting stands."""
        return self._call_api("GET", "queue", QueueView)

    def pause_queue(self) -> QueueView:
        """Submit nothing from now on."""
        return self._call_api("POST", "queue/pause", QueueView)

    def resume_queue(self) -> QueueView:
        """Submit again."""
        return self._call_api("POST", "queue/resume", QueueView)

    def put_first(self, ref: str) -> TaskView:
        """Put a queued task in front of all others."""
        return self._call_api("POST", join_path("tasks", ref, "first"), TaskView)
