"""What to do about a task that failed or was lost, in a sentence or two each."""


def unknown_failure_advice(ref: str) -> str:
    """What to do about a failure that we know nothing about. `ref` is clean."""
    return f"Run `receiver tasks show {ref}` to see what arrived, then submit it again, or ask the provider."


def lost_task_advice(ref: str, task_id: str) -> str:
    """What to do about a lost task. Both are clean; `task_id` is empty if it is unknown."""
    if not task_id:
        return (
            "What to do: Look for the task in the provider's own list; we do not know its id, so we cannot poll it. "
            "Submit it again only if it is not there, or you may pay twice."
        )
    return f"What to do: Poll it once more with `receiver tasks poll {ref}`, or look for {task_id} at the provider."
