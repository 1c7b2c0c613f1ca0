"""What to do about a task that failed or was lost, in a sentence each."""


def unknown_failure_advice(ref: str) -> str:
    """What to do about a failure of which nothing is known. `ref` is clean."""
    return f"`receiver tasks show {ref}` shows all that came; then submit it again, or ask the provider."


def lost_task_advice(ref: str, task_id: str) -> str:
    """What to do about a lost task. Both are clean; `task_id` is empty while it is not known."""
    if not task_id:
        return (
            "What to do: the provider's id for it is not known, so it cannot be polled. Look for it in the provider's "
            "own list, and submit it again only if it is not there: it may be paid twice."
        )
    return f"What to do: ask once more with `receiver tasks poll {ref}`, or look at the provider for {task_id}."
