"""What needs a person, in the words of the page that shows it: what it is, and what to do about it. Pure.

`receiver doctor` says the same of these things (`doctor.work`) with the commands for a terminal; what a ping said
stands as it was said.
"""

from collections.abc import Callable, Collection, Sequence
from enum import StrEnum
from urllib.parse import quote, urlencode

from msgspec import Struct

from receiver.core.queue_waits import QueueReason, describe_reason, resume_command
from receiver.core.sanitize import one_line
from receiver.core.types import PauseCause, QueueLane, Task
from receiver.notify.messages.cause_words import CAUSE_WORDS
from receiver.providers.models import short_model_name
from receiver.store.tables.standing import COUNTED_MOST, GivenUp, Raised
from receiver.upkeep.doctor.findings import CheckResult, Finding
from receiver.upkeep.doctor.work import STOPPED

NAMED_MOST = 3  # of one kind; of more, one item tells how many
LOOKED_MOST = 100  # tasks of one kind
_NAME_MOST = 48
_BUTTON_MOST = 20  # characters of a name on a button
_ERROR_MOST = 240
_TEXT_MOST = 600
_WAITING_PATH = "/?show=underway"
_NEEDS_PATH = "/?show=needs"


class NeedKind(StrEnum):
    """What kind of thing needs a person; in the order in which they are shown."""

    STOPPED = "stopped"
    DISK = "disk"
    CALLBACKS = "callbacks"
    KEY = "key"
    GIVEN_UP = "given_up"
    RESTS = "rests"
    BATCH = "batch"
    HELD = "held"
    UNSURE = "unsure"
    UNPARSED = "unparsed"
    ASKED = "asked"  # a ping called for a person
    PICK = "pick"


class Need(Struct, frozen=True):
    """One thing that needs a person: `about` what (a name from outside, or nothing), what is the matter, perhaps
    `until` when, what to do, and where. `mark` is the state that its line shows: bad, warn or hold. `joint` stands
    before the time."""

    kind: NeedKind
    mark: str
    title: str
    text: str
    about: str = ""
    until: int | None = None
    joint: str = " until"
    link: tuple[str, str] | None = None  # path, words


def name_task(task: Task) -> str:
    """What a task is called."""
    return one_line(task.label or task.prompt or "", _NAME_MOST) or short_model_name(task.model or "a task")


def need_given_up(found: GivenUp, targets: Collection[str], rests_until: int | None = None) -> Need:
    """Notices to a target that were given up, and until when it rests as well. `targets` are those of the settings."""
    title = f"{count_text(found.count, 'notice')} to {found.target} {'was' if found.count == 1 else 'were'} given up"
    path = f"/notices?{urlencode({'state': 'dead', 'target': found.target})}"
    if found.target not in targets:
        text = "This target is no longer in receiver.toml. Send them to another one, or discard them."
    else:
        error = as_sentence(one_line(found.error or "", _ERROR_MOST))
        text = f"{error} {_remedy(found.error)} Then send {'it' if found.count == 1 else 'them'} again.".strip()
    link = (path, "Look at it" if found.count == 1 else "Look at them")
    return Need(NeedKind.GIVEN_UP, "bad", title, text, until=rests_until, joint="; the target rests until", link=link)


def need_rest(target: str, failures: int, until: int, waiting: int) -> Need:
    """A target that is not tried for a while, because it failed several times in a row."""
    waits = "1 notice waits and is" if waiting == 1 else f"{count_text(waiting, 'notice')} wait and are"
    text = f"It failed {failures} times in a row. {waits} tried again by itself; see what it answers."
    if waiting != 1:
        text = text.replace("by itself", "by themselves")
    path = f"/notices?{urlencode({'target': target})}"
    return Need(NeedKind.RESTS, "hold", f"{target} rests after failures", text, until=until, link=(path, "See why"))


def need_stopped(why: QueueReason, waiting: int, until: int | None, detail: str = "") -> Need:
    """What stops the submissions; so many tasks wait for it."""
    waits = f"{count_text(waiting, 'task')} {'waits' if waiting == 1 else 'wait'}."
    remedy = STOPPED.get(why) or ("" if detail else "see `receiver costs`")
    if why is QueueReason.PAUSED:
        remedy = "`receiver queue resume` lets the queue go on"
    if detail:
        waits = f"{as_sentence(detail)} {waits}"
    mark = "hold" if why in (QueueReason.PAUSED, QueueReason.BUDGET) else "bad"
    link = (_WAITING_PATH, "Look at them" if waiting != 1 else "Look at it") if waiting else None
    title = _upper(describe_reason(why))
    joint = " until" if why is QueueReason.BUDGET else "; next try at"
    return Need(
        NeedKind.STOPPED, mark, title, f"{waits} {as_sentence(remedy)}".strip(), until=until, joint=joint, link=link
    )


def needs_of_batches(lanes: Sequence[QueueLane]) -> list[Need]:
    """Batches that are paused."""
    if len(lanes) > NAMED_MOST:
        names = one_line(", ".join(it.name for it in lanes[:NAMED_MOST]), _ERROR_MOST)
        text = f"{names} and {len(lanes) - NAMED_MOST} more. `receiver queue show` tells why."
        return [
            Need(NeedKind.BATCH, "hold", f"{len(lanes)} batches are paused", text, link=(_WAITING_PATH, "Look at them"))
        ]
    return [_need_batch(lane) for lane in lanes]


def _need_batch(lane: QueueLane) -> Need:
    by_person = "a person paused it" if lane.paused_by in (None, PauseCause.PERSON) else "it stopped by itself"
    why = as_sentence(one_line(lane.paused_why or by_person, _ERROR_MOST))
    text = f"{why} `{resume_command(lane.name, lane.paused_by)}` lets it go on."
    link = (f"/batches/{quote(lane.name, safe='')}", "Open the batch")
    return Need(NeedKind.BATCH, "hold", "is paused", text, about=one_line(lane.name, _NAME_MOST), link=link)


def needs_of_unsure(tasks: Sequence[Task]) -> list[Need]:
    """Tasks of which nobody knows whether the provider took them."""
    text = (
        "Nobody knows whether the provider took {}: no answer came. If {} not in the provider’s list, submit {} again."
    )
    one = text.format("it", "it is", "it")
    many = text.format("them", "one is", "that one")
    return _needs_of_tasks(NeedKind.UNSURE, tasks, "is unsure", "are unsure", lambda task: one, many)


def needs_of_held(tasks: Sequence[Task]) -> list[Need]:
    """Tasks that the provider did not take, again and again."""

    def explain(task: Task) -> str:
        why = as_sentence(one_line(task.why or "", _ERROR_MOST))
        return f"The provider did not take it, again and again. {why} Submit it again, or cancel it.".replace("  ", " ")

    many = "The provider did not take them, again and again. Submit them again, or cancel them."
    return _needs_of_tasks(NeedKind.HELD, tasks, "waits for you", "wait for you", explain, many)


def needs_of_picks(tasks: Sequence[Task]) -> list[Need]:
    """Tasks from whose pictures others go on, once a person has picked one."""
    one = "What goes on from it waits until you do."
    many = "What goes on from each waits until you have picked one of its pictures."
    title = "waits for your pick"
    return _needs_of_tasks(NeedKind.PICK, tasks, title, "wait for your pick", lambda task: one, many, "Pick one")


def need_unparsed(refs: Sequence[str]) -> Need:
    """Callbacks that nobody could read, of tasks that have no certain end yet."""
    count = len(refs)
    title = f"{count_text(count, 'callback', LOOKED_MOST)} could not be read"
    text = (
        "The provider may have changed its format. Where it can be asked instead, it is; "
        f"if the {'body makes' if count == 1 else 'bodies make'} sense to you, tell the authors of receiver."
    )
    link = ("/callbacks?verdict=unparsed", "Look at it" if count == 1 else "Look at them")
    return Need(NeedKind.UNPARSED, "warn", title, text, link=link)


def need_callbacks(by_callback: int, by_sweep: int) -> Need:
    """Callbacks no longer arrive; so many of today's tasks were settled by each way."""
    both = by_callback + by_sweep
    share = f"The sweep found {percent(by_sweep, both)} of today’s tasks. " if both else ""
    text = f"{share}Run `receiver doctor`, and check from outside that PUBLIC_URL/healthz answers 200."
    link = ("/callbacks", "See the last ones")
    return Need(NeedKind.CALLBACKS, "bad", _upper(CAUSE_WORDS["callbacks-stopped"]), text, link=link)


def need_key(key: str, waiting: int) -> Need:
    """Open tasks whose callback URLs were signed with a key that is gone."""
    title = f"A secret key was removed, and {count_text(waiting, 'task')} {'waits' if waiting == 1 else 'wait'} on it"
    theirs = "Its callbacks are" if waiting == 1 else "Their callbacks are"
    text = f"{theirs} refused. Add the key {one_line(key, _NAME_MOST)} to SECRET_KEYS again, after the first one."
    return Need(
        NeedKind.KEY, "bad", title, text, link=(_WAITING_PATH, "Look at it" if waiting == 1 else "Look at them")
    )


def need_disk(found: Finding) -> Need | None:
    """A disk that is nearly full, as the doctor finds it."""
    if found.result not in (CheckResult.WARNING, CheckResult.FAILED):
        return None
    bad = found.result is CheckResult.FAILED
    text = f"{as_sentence(one_line(found.text, _ERROR_MOST))} {as_sentence(found.remedy or '')}".strip()
    return Need(NeedKind.DISK, "bad" if bad else "warn", "The disk is full" if bad else "The disk is nearly full", text)


def need_asked(task: Task, raised: Raised) -> Need:
    """An open task about which a ping called for a person; `raised` is what it said."""
    kind = raised.cause.partition(":")[0]
    words = CAUSE_WORDS.get(kind, "look at it").format("").strip()
    text = one_line(raised.text, _TEXT_MOST)
    link = (f"/tasks/{task.ref}", _open_words(name_task(task)))
    return Need(NeedKind.ASKED, "warn", f"needs you: {words}", text, about=name_task(task), link=link)


def count_text(number: int, what: str, most: int = COUNTED_MOST) -> str:
    """`14 notices`, `1 notice`, `10,000 or more notices`."""
    more = " or more" if number >= most else ""
    return f"{number:,}{more} {what}{'' if number == 1 else 's'}"


def percent(part: int, whole: int) -> str:
    """A share: `31 %`, `99.2 %`; what is not all is never rounded to all, and what is something never to nothing."""
    share = 100 * part / whole if whole else 0.0
    if part in (0, whole) or 10 <= share <= 90:
        return f"{share:.0f} %"
    return f"{min(max(round(share, 1), 0.1), 99.9):.1f} %"


def as_sentence(text: str) -> str:
    """`text` with a capital and a full stop; nothing stays nothing."""
    text = text.strip()
    return f"{_upper(text)}{'' if text.endswith(('.', '!', '?', '…')) else '.'}" if text else ""


def _needs_of_tasks(
    kind: NeedKind,
    tasks: Sequence[Task],
    title: str,
    title_of_many: str,
    explain: Callable[[Task], str],
    text_of_many: str,
    do: str = "",
) -> list[Need]:
    """An item for each of a few tasks; one for all if there are more."""
    if len(tasks) > NAMED_MOST:
        words = f"{count_text(len(tasks), 'task', LOOKED_MOST)} {title_of_many}"
        return [Need(kind, "warn", words, text_of_many, link=(_NEEDS_PATH, "Look at them"))]
    needs = []
    for task in tasks:
        name = name_task(task)
        link = (f"/tasks/{task.ref}", do or _open_words(name))
        needs.append(Need(kind, "warn", title, explain(task), about=name, link=link))
    return needs


def _open_words(name: str) -> str:
    return f"Open {name if len(name) <= _BUTTON_MOST else 'it'}"


def _remedy(error: str | None) -> str:
    from receiver.notify.senders.remedies import find_advice  # its patterns are needed with an error only

    return f"{find_advice(error or '').rstrip('.')}."


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]
