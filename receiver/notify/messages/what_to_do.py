"""What to do about a task that failed or was lost, and what may come after one that completed."""

import re
import shlex
from collections.abc import Mapping

from receiver.providers.models import MODELS, full_model_name
from receiver.providers.vtrix.follow_rules import Answer, derive_traits, judge_follow

_STEPS: Mapping[str, tuple[str, str]] = {
    "outpaint": ("To extend {}", "--image-no {} --scale 1.5"),
    "extend-video": ("To let {} go on", "--video-no {}"),
}
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-([0-9a-f]{12})")


def short_handle(ref: str) -> str:
    """The last part of a ref, which is random and which the commands take for all of it."""
    found = _UUID.fullmatch(ref)
    return found[1] if found else ref


def unknown_failure_advice(ref: str) -> str:
    """What to do about a failure that we know nothing about. `ref` is clean."""
    return (
        f"Run `receiver tasks show {short_handle(ref)}` to see what arrived, then submit it again, or ask the provider."
    )


def unconfirmed_failure_advice(ref: str) -> str:
    """What to do about a failure that nobody could confirm: it may be made up. `ref` is clean."""
    return (
        "Look for the task in the provider's own list before you submit it again, or you may pay twice; "
        f"`receiver tasks show {short_handle(ref)}` shows what arrived."
    )


def lost_task_advice(ref: str, task_id: str) -> str:
    """What to do about a lost task. Both are clean; `task_id` is empty if it is unknown."""
    if not task_id:
        return (
            "What to do: Look for the task in the provider's own list; we do not know its id, so we cannot poll it. "
            "Submit it again only if it is not there, or you may pay twice."
        )
    poll = f"`receiver tasks poll {short_handle(ref)}`"
    return f"What to do: Poll it once more with {poll}, or look for {task_id} at the provider."


def waiting_words(count: int) -> str:
    """That so many tasks wait for a lost one; empty if none does."""
    waits = "1 task waits" if count == 1 else f"{count} tasks wait"
    return f"{waits} for its result, and will go on if it arrives." if count > 0 else ""


def again_command(ref: str, advice: str, waited: int = 0) -> str:
    """How a failed task is submitted once more, below `advice`, which may have said so; with the tasks that `waited`
    for it and were cancelled with it. `ref` is clean."""
    command = f"receiver submit again {short_handle(ref)}"
    if waited > 0:
        went = "1 task that waited for it was" if waited == 1 else f"{waited} tasks that waited for it were"
        rest = "it" if waited == 1 else "them"
        how = f"`{command} --with-children` submits it, {rest} and what follows again"
        return f"{went} cancelled with it: {how}"
    return f"`{command}`" if "submit it again" in advice.lower() else f"To submit it again: `{command}`"


def batch_commands(name: str, *, failed: bool, completed: bool, picks: bool = False) -> tuple[str, ...]:
    """What may come after a batch of which some `failed`, some `completed`, and some wait for `picks`. `name` is
    clean."""
    pick = "To pick pictures: `receiver tasks list --waits pick` lists what waits, `receiver tasks pick REF N` picks"
    quoted = shlex.quote(name)
    again = f"To try again what did not complete: `receiver batch retry {quoted}`"
    save = f"To save the pictures: `receiver batch pictures {quoted}`"
    results = f"To list what came of each row: `receiver batch results {quoted}`"
    return (*((pick,) if picks else ()), *((save,) if completed else ()), results, *((again,) if failed else ()))


def next_step(model: str, prompt: str | None) -> str:
    """The command that a completed task of this model is most often followed by; empty if none comes to mind.

    Pictures are extended and videos go on, unless Midjourney would probably refuse that.
    """
    declared = MODELS.get(model)
    if declared is None:
        return "outpaint"
    params = {declared.prompt_param: prompt} if declared.prompt_param else {}
    traits = derive_traits(model, params, None)
    step = "extend-video" if traits.video else "outpaint"
    return step if judge_follow(traits, full_model_name(step)).answer is Answer.OK else ""


def next_commands(ref: str, image_no: int, noun: str, step: str, *, several: bool) -> tuple[str, ...]:
    """What may come after a completed task, which made `several` results, or one; `noun` says what they are. `step` is
    a command that goes on from one of them, if there is one. `ref` is clean."""
    handle = short_handle(ref)
    save = f"To save the {noun}{'s' if several else ''}: `receiver tasks pictures {handle}`"
    words, options = _STEPS.get(step, ("", ""))
    if not words:
        return (save,)
    which = "one" if several else "it"
    return save, f"{words.format(which)}: `receiver submit {step} --from {handle} {options.format(image_no)}`"
