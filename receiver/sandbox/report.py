"""What the sandbox says about itself: a line for each submission and each callback, in words. Pure.

No line holds a key, a prompt or a callback's token.
"""

from urllib.parse import urlsplit

from receiver.sandbox.fates import Fate
from receiver.sandbox.tasks import SandboxTask

_REFUSALS = {
    Fate.BAD_KEY: "refused, as for a wrong key",
    Fate.BAD_PROMPT: "refused for its prompt",
    Fate.BUSY: "not taken: too many at once",
    Fate.UNAVAILABLE: "not taken: the service is unavailable",
    Fate.REFUSED: "refused, without an id",
}
_ANSWERS = {
    Fate.CUT: "but the answer is a proxy's 502",
    Fate.GATEWAY: "but the answer is a gateway's 503",
    Fate.SLOW: "but the answer hangs",
    Fate.CREATED: "with 201 instead of 200",
}
_ENDS = {
    Fate.STALLS: "it never ends",
    Fate.FAILS: "it will fail",
    Fate.DROPPED: "its callback is lost",
    Fate.DUPLICATED: "its callback comes twice",
    Fate.EARLY: "its callback comes before this answer",
    Fate.REORDERED: "its callback is overtaken",
}


def submission_line(number: int, status: int, outcome: SandboxTask | Fate | str) -> str:
    """A line on submission `number` (1: the first) and its answer: the task, or why it was not taken."""
    if isinstance(outcome, SandboxTask):
        words = [f"task {outcome.id} taken", *_words(_ANSWERS, outcome.fate), *_words(_ENDS, outcome.fate)]
        if outcome.callback is None:
            words.append("it names no callback")
        text = ", ".join(words)
    elif isinstance(outcome, Fate):
        text = next(iter(_words(_REFUSALS, outcome)), "not taken")
    else:
        text = outcome
    return f"submission {number}: {status}, {text}"


def callback_line(task: SandboxTask, text: str) -> str:
    """A line on a callback of `task`."""
    return f"callback of {task.id} to {_origin(task.callback)}: {text}"


def failure_text(status: int, problem: str, gap_s: float | None) -> str:
    """Why a callback was not delivered, from the answer's status or else from what went wrong; and what follows."""
    if 300 <= status < 400:
        why = f"answered {status}, a redirect, which is not followed"
    elif status == 404:
        why = "answered 404: the receiver does not know this URL (was it made with other SECRET_KEYS?)"
    elif status:
        why = f"answered {status}"
    else:
        why = problem
    return f"not delivered, {why}; {'given up' if gap_s is None else f'tried again in {gap_s:g} s'}"


def _words(texts: dict[Fate, str], fate: Fate) -> list[str]:
    return [text for flag, text in texts.items() if flag in fate]


def _origin(url: str | None) -> str:
    try:
        parts = urlsplit(url or "")
        host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
        text = f"{parts.scheme}://{host or ''}{f':{parts.port}' if parts.port else ''}"
    except ValueError:
        text = "an invalid URL"
    return ascii(text)[1:-1][:200]
