"""A batch as text for a terminal. Pure."""

import re
import shlex
from collections.abc import Iterator, Sequence

from receiver.cli.money_text import show_usd
from receiver.cli.output import age, format_facts, format_table, pluralize, safe_line, short_time, time_and_age
from receiver.client.batch_schemas import BatchCounts, BatchFailure, BatchView
from receiver.core.batches import CANCELLED_WHY
from receiver.core.queue_waits import QueueReason, resume_command

# what a task waits for while others are submitted, or are under way
_MOVING = (QueueReason.TURN, QueueReason.ROOM, QueueReason.PARENT, QueueReason.PICK)
PICKS_COMMAND = "receiver tasks list --waits pick"
_LINES_MOST = 5  # of a reason, that are shown
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


def is_over(batch: BatchView) -> bool:
    """Whether nothing more is awaited: it is closed, and all its tasks ended."""
    return batch.closed_at is not None and batch.counts.ended >= batch.counts.total


def is_good(batch: BatchView) -> bool:
    """Whether every task was completed, and nothing is in doubt."""
    return batch.counts.completed == batch.counts.total and not batch.counts.unsure


def is_stuck(batch: BatchView) -> bool:
    """Whether all that has not ended is unsure, so that it may take a person to go on."""
    counts = batch.counts
    return batch.closed_at is not None and 0 < counts.total - counts.ended <= counts.unsure


def is_to_pick(batch: BatchView) -> bool:
    """Whether all that is left waits for a person who picks pictures, or for what goes on from one."""
    return batch.finished_at is not None and not is_over(batch)


def is_paused(batch: BatchView) -> bool:
    """Whether it stands still until a person does something."""
    return batch.paused_at is not None and not is_over(batch)


def go_on_command(batch: BatchView) -> str:
    """What lets a paused batch go on."""
    return resume_command(safe_line(batch.name), batch.paused_by)


def state_of_batch(batch: BatchView) -> str:
    """Its state in a word."""
    if is_over(batch):
        return "cancelled" if batch.closed_why == CANCELLED_WHY and batch.counts.cancelled else "done"
    if is_paused(batch):
        return "paused"
    if is_to_pick(batch):
        return "to pick"
    return "open" if batch.closed_at is None else "running"


def format_counts(counts: BatchCounts) -> str:
    """`212 completed, 3 failed, 10 in hand, 275 queued`, without what there is none of."""
    parts = (
        (counts.completed, "completed"),
        (counts.failed, "failed"),
        (counts.cancelled, "cancelled"),
        (counts.lost, "lost"),
        (counts.submitting + counts.waiting, "in hand"),
        (counts.queued, "queued"),
    )
    text = ", ".join(f"{count:,} {word}" for count, word in parts if count) or "none yet"
    return f"{text}; {counts.unsure:,} unsure" if counts.unsure else text


def progress_text(batch: BatchView) -> str:
    """How far it is, and why it does not go on if it does not."""
    counts = batch.counts
    waits = _pause_text(batch) or (_wait_text(batch) if counts.queued and batch.waits else None)
    return "; ".join(filter(None, (format_counts(counts), waits)))


def standstill_text(batch: BatchView) -> str | None:
    """Why its queued tasks are not submitted for now; None if they are, each in its turn."""
    if not batch.counts.queued or not batch.waits or batch.waits_for in _MOVING:
        return None
    return _wait_text(batch)


def format_batches(batches: Sequence[BatchView]) -> str:
    """The table of `batch list`."""
    rows = [
        (
            safe_line(it.name),
            state_of_batch(it),
            f"{it.counts.total:,}",
            f"{it.counts.completed:,}",
            f"{it.counts.failed + it.counts.cancelled + it.counts.lost:,}",
            show_usd(it.cost) if it.cost else "–",
            age(it.created_at),
        )
        for it in batches
    ]
    heads = ("NAME", "STATE", "TASKS", "COMPLETED", "OTHER ENDS", "COST", "AGE")
    return format_table(heads, rows, shrink=(0,), right=(2, 3, 4, 5, 6))


def describe_batch(batch: BatchView) -> str:
    """Everything known about a batch, and what can be done."""
    return "\n".join((format_facts(_facts(batch)), *_remedies(batch)))


def _facts(batch: BatchView) -> Iterator[tuple[str, str | None]]:
    yield "name", safe_line(batch.name)
    closed = "closed" if batch.closed_at else "open: more may be sent"
    yield "state", f"{state_of_batch(batch)}, {pluralize(batch.counts.total, 'task')}, {closed}"
    yield "tasks", format_counts(batch.counts)
    yield "priority", safe_line(batch.priority)
    yield "label", batch.label and safe_line(batch.label)
    yield "cost", _cost_text(batch)
    yield "budget", batch.budget and show_usd(batch.budget)
    for failure in batch.failures:
        yield "failed", failure_text(failure)
    if batch.paused_at is not None and is_paused(batch):
        why = f": {safe_line(batch.paused_why)}" if batch.paused_why else ", by a person"
        yield "paused", f"since {short_time(batch.paused_at)}{why}"
    if batch.waits and batch.counts.queued and not _waits_for_its_pause(batch):
        yield "waits", _wait_text(batch)
    yield "created", time_and_age(batch.created_at)
    yield "finished", time_and_age(batch.finished_at) if batch.finished_at and not is_to_pick(batch) else None


def failure_text(failure: BatchFailure) -> str:
    """`2 × 004007098 generation failed (lines 17, 203)`."""
    what = " ".join(filter(None, (failure.code and safe_line(failure.code), safe_line(failure.message))))
    shown = ", ".join(map(str, failure.lines[:_LINES_MOST]))
    more = " …" if failure.count > len(failure.lines[:_LINES_MOST]) else ""
    where = f" ({'line' if failure.count == 1 else 'lines'} {shown}{more})" if shown else ""
    return f"{failure.count:,} × {what}{where}"


def _cost_text(batch: BatchView) -> str | None:
    if batch.cost is None and batch.estimate is None:
        return None
    about = f"of about {show_usd(batch.estimate)}" if batch.estimate and not is_over(batch) else None
    unknown = f"; the cost of {pluralize(batch.unknown, 'task')} is not known (a failed one may be billed or not)"
    cost = f"{show_usd(batch.cost or '0')}{'' if is_over(batch) else ' so far'}"
    if batch.earlier:
        about = f"{f'{about}, ' if about else ''}with {pluralize(batch.earlier, 'earlier try', 'earlier tries')}"
    return f"{' '.join(filter(None, (cost, about)))}{unknown if batch.unknown else ''}"


def _pause_text(batch: BatchView) -> str | None:
    if not is_paused(batch):
        return None
    why = f": {safe_line(batch.paused_why)}" if batch.paused_why else " by a person"
    return f"paused{why}"


def _waits_for_its_pause(batch: BatchView) -> bool:
    """Whether what it waits for is only its own pause, which is said already."""
    return is_paused(batch) and batch.waits_for == "paused" and batch.name in (batch.waits or "")


def _wait_text(batch: BatchView) -> str:
    if batch.waits_for == QueueReason.PARENT:
        return "steps of chains wait for the tasks that they go on from"
    until = f", until {short_time(batch.waits_until)}" if batch.waits_until else ""
    text = _TIME.sub(lambda found: short_time(found[0]), safe_line(batch.waits))
    return text if not until or "until" in text else f"{text}{until}"


def _remedies(batch: BatchView) -> Iterator[str]:
    name = shlex.quote(safe_line(batch.name))
    if is_paused(batch):
        yield f"to go on: {go_on_command(batch)}"
    if is_to_pick(batch):
        yield f"to see what waits for a pick: {PICKS_COMMAND}"
    if batch.counts.failed or batch.counts.cancelled:
        yield f"to try again what failed or was cancelled: receiver batch retry {name}"
    if batch.counts.unsure or batch.counts.lost:
        yield "what is unsure or lost may have been paid for: see `receiver tasks show REF` before you send it again"
    if batch.counts.ended:
        yield f"what became of each row: receiver batch results {name}"
        if batch.counts.completed:
            yield f"to save the pictures here: receiver batch pictures {name}"
