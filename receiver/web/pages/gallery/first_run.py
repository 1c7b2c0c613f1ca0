"""What the gallery says before the first task: what is in place, and what is still missing. Pure."""

from collections.abc import Sequence

from msgspec import Struct

from receiver.core.sanitize import one_line
from receiver.web.pages.sentences import as_sentence

_NAMES_MOST = 3  # of targets that are named
_TEXT_MOST = 400
COMMAND = 'receiver submit diffusion --prompt "a house by the sea" --label first'


class Step(Struct, frozen=True):
    """One step: done, or with a text that says what is missing and a `hint` with a command."""

    title: str
    kind: str  # of its mark
    word: str  # the same for who does not see the mark
    text: str = ""
    hint: str = ""  # a sentence after its command
    command: str = ""


def find_steps(*, has_key: bool, unreachable: str | None, targets: Sequence[str], version: str) -> tuple[Step, ...]:
    """The steps before the first submission, by what the service knows without asking anybody."""
    return (
        Step("The service runs", "good", "done", f"receiver {version}"),
        Step("The provider’s key is set", "good", "done")
        if has_key
        else Step(
            "No provider key",
            "bad",
            "missing",
            "Without one nothing can be submitted. Set PROVIDER_KEY in the service’s settings, and restart it.",
            "shows which settings are read, and from where.",
            "receiver config",
        ),
        Step("The provider can reach us", "good", "done")
        if unreachable is None
        else Step(
            "The provider cannot reach us",
            "warn",
            "open",
            f"{as_sentence(one_line(unreachable, _TEXT_MOST))} Results are then found by polling alone. "
            "Put a proxy in front of the service, "
            "and set PUBLIC_URL to its address.",
            "says whether it leads here.",
            "receiver doctor",
        ),
        Step(f"{_join(targets)} {'is' if len(targets) == 1 else 'are'} told", "good", "done")
        if targets
        else Step(
            "Nobody is told",
            "off",
            "open",
            "Name a target in receiver.toml; the URL of your Slack webhook will do as it is.",
        ),
    )


def _join(targets: Sequence[str]) -> str:
    names = [one_line(it, 40) for it in targets[:_NAMES_MOST]]
    if len(targets) > _NAMES_MOST:
        names.append(f"{len(targets) - _NAMES_MOST} more")
    return " and ".join((", ".join(names[:-1]), names[-1])) if len(names) > 1 else names[0]
