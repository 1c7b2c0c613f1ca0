"""What a message calls a task: a UUID says nothing to a reader."""

from receiver.core.sanitize import one_line
from receiver.core.types import Report
from receiver.notify.messages.shorten import first_words

NAME_MOST = 80  # characters, as all of these
PROMPT_MOST = 300
NAME_FROM_PROMPT_MOST = 40
NAMELESS = "a task"


def task_name(report: Report) -> str:
    """The task's own name, else its model."""
    model = one_line(report.model or "", NAME_MOST)
    return own_name(report) or (f"a {model} task" if model else NAMELESS)


def own_name(report: Report) -> str:
    """The label, else the prompt's first words in quotes, and the step of a chain; empty if there is nothing of it."""
    label = one_line(report.label or "", NAME_MOST)
    words = first_words(one_line(report.prompt or "", PROMPT_MOST), NAME_FROM_PROMPT_MOST)
    step = one_line(report.step or "", NAME_MOST)
    return " · ".join(filter(None, (label or (words and f"“{words}”"), step)))
