"""The client's calls about chains."""

from receiver.client.chain_schemas import ChainView
from receiver.client.connection import ApiConnection, join_path
from receiver.client.schemas import TaskView


class ChainCalls(ApiConnection):
    """The calls of `Client` about tasks that go on from one another."""

    def get_chain(self, ref: str) -> ChainView:
        """The chain of a task, as a tree."""
        return self._call_api("GET", join_path("tasks", ref, "chain"), ChainView)

    def cancel_children(self, ref: str) -> TaskView:
        """Withdraw all that waits for the task, and not the task itself."""
        return self._call_api("POST", join_path("tasks", ref, "cancel"), TaskView, query={"children": "true"})
