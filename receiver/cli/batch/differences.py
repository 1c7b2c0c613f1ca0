"""Tells where a batch's file differs from what was sent for its rows."""

import msgspec

from receiver.cli.batch.rows import Row
from receiver.cli.output import pluralize, safe_line
from receiver.cli.streams import note
from receiver.client.schemas import TaskView

_SHOWN_MOST = 5


class Differences:
    """Tells that rows differ from what was sent for them: a task stays as it is."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._count = 0

    def compare(self, row: Row, task: TaskView) -> None:
        """Tell if the row is not what was sent."""
        label = row.task.label
        if label is not None and not _is_called(task, label):
            self._tell(row, f"its label differs from what was sent, {safe_line(task.label)}")
        elif row.key is not None and not _is_same(row, task):
            self._tell(row, "its parameters differ from what was sent under its key, which is not sent again")

    def _tell(self, row: Row, text: str) -> None:
        self._count += 1
        if self._count <= _SHOWN_MOST:
            note(f"{self._name}:{row.line}: {text}")

    def close(self) -> None:
        """Say how many were not shown."""
        if (more := self._count - _SHOWN_MOST) > 0:
            note(f"receiver: {pluralize(more, 'more row')} {'differs' if more == 1 else 'differ'} from what was sent")


def _is_called(task: TaskView, label: str) -> bool:
    """Whether that is its label; one for each of several pictures has the number of the picture behind it."""
    return task.label == label or (bool(task.siblings) and (task.label or "").startswith(f"{label[:190]}"))


def _is_same(row: Row, task: TaskView) -> bool:
    params = msgspec.json.decode(row.params)
    if row.task.wait_for is not None:  # the service fills the others
        return task.model == row.task.model and params.items() <= task.params.items()
    return task.model == row.task.model and params == task.params
