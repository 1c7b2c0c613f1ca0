"""What to do about a task that failed or was lost, and what may come after one that completed."""


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


def again_command(ref: str) -> str:
    """How a failed task is submitted once more. `ref` is clean."""
    return f"To submit it again: `receiver submit again {ref}`"


def next_commands(ref: str, image_no: int, *, extend: bool) -> tuple[str, ...]:
    """What may come after a completed task; `extend`: picture `image_no` can be extended. `ref` is clean."""
    save = f"To save the pictures: `receiver tasks pictures {ref}`"
    if not extend:
        return (save,)
    return save, f"To extend one: `receiver submit outpaint --from {ref} --image-no {image_no} --scale 1.5`"
