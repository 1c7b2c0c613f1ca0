"""Every method of the tables, called in every form that changes its SQL."""

from itertools import product
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from kit.fakes import HOUR, MINUTE, MODEL, NOW, PICTURES, a_notice, a_task
from receiver.core.budgets import PeriodKind
from receiver.core.pacing import LatestTimes
from receiver.core.types import (
    Callback,
    ImageCopy,
    LanePriority,
    NoticeEvent,
    QueueLane,
    Send,
    Step,
    StepKind,
    TaskState,
    Verdict,
)
from receiver.store import Attempt, NewSend
from receiver.store.tables.hours import HourKind
from receiver.store.tables.spend import BudgetPeriod


class Call(Struct, frozen=True):
    """One call of a method of the tables."""

    table: str
    method: str
    args: tuple[Any, ...] = ()
    more: dict[str, Any] = {}


def with_each(table: str, method: str, **filters: object) -> list[Call]:
    """The calls with every subset of `filters`."""
    subsets = product((False, True), repeat=len(filters))
    return [
        Call(
            table, method, (), {name: it for (name, it), wanted in zip(filters.items(), subset, strict=True) if wanted}
        )
        for subset in subsets
    ]


WAITING = a_task(task_id=None)
SETTLED = replace(WAITING, state=TaskState.COMPLETED, poll_at=None, place_until=None, settled_at=NOW, task_id="job-2")
MANY = [a_task(task_id=f"many-{number}") for number in range(70)]  # enough for the statements of many rows
CALLBACK = Callback(ref=WAITING.ref, received_at=NOW, body=b"{}", digest=b"d")
DUE = a_notice(ref=WAITING.ref)
SEND = Send(id=1, target="slack", claim=1, claims=1, tries=0, notices=(DUE,))
REFS = [WAITING.ref, MANY[0].ref]
BATCH = QueueLane(id=4, name="rows", batch=True, priority=LanePriority.LOW, created_at=NOW)
TOUR = [
    Call("tasks", "insert", ([WAITING, *MANY],)),
    Call("tasks", "update", ([(WAITING, SETTLED)],)),
    Call("tasks", "update", ([(it, replace(it, state=TaskState.LOST)) for it in MANY],)),
    Call("tasks", "get", (REFS,)),
    Call("tasks", "states", (REFS,)),
    Call("tasks", "by_task_id", ("vtrix", ["job-1", "job-2"])),
    *[
        call
        for state in TaskState
        for call in with_each("tasks", "page", state=state.value, label="l", model=MODEL, lane=4, before=WAITING.ref)
    ],
    Call("tasks", "find_refs", ("hero", "0199ab", ("hero", "big")), {"limit": 5, "looked": 100}),
    *[Call("tasks", "newest_labels", (before, 100)) for before in (None, WAITING.ref)],
    Call("tasks", "add_images", ([(it.ref, image) for it in MANY for image in PICTURES],)),
    Call("tasks", "images_by_ref", (REFS,)),
    Call("tasks", "refused"),
    Call("tasks", "queue_heads", (NOW,), {"limit": 5}),
    Call("tasks", "lock_due", (WAITING, NOW)),
    *[Call("tasks", name, (NOW,)) for name in ("next_queued", "in_hand", "next_due", "release_paused", "places_taken")],
    *[Call("tasks", name, (NOW,)) for name in ("next_place", "overdue_answers", "next_lease", "next_overdue")],
    *[Call("tasks", name, (NOW,)) for name in ("next_poll", "forget_keys")],
    *[Call("tasks", name) for name in ("void_leases", "count_by_state", "count_to_archive", "open_keys")],
    Call("tasks", "pull_in", (NOW,), {"lease_ms": MINUTE, "due_ms": HOUR, "poll_ms": HOUR, "archive_ms": HOUR}),
    Call("tasks", "due_for_archive", (NOW,)),
    Call("tasks", "due_for_archive", (NOW,), {"first_only": True, "single_only": True}),
    Call("tasks", "next_archive", (NOW,)),
    Call("tasks", "recent_durations", (MODEL, 500)),
    Call("tasks", "last_callback", (MODEL,)),
    Call("tasks", "add_poll", (WAITING.ref, NOW, "nothing", "503", None)),
    Call("tasks", "remember_keys", ([("key", b"digest", WAITING.ref)], NOW)),
    Call("tasks", "find_keys", (["key", "other"],)),
    Call("tasks", "by_row_key", (4, [b"a", b"b"])),
    *[Call("batch_rows", name, (4,)) for name in ("any_open", "any_pick", "awaits_pictures")],
    *[Call("batch_rows", name, (4,)) for name in ("count_picks", "count_states", "count_unsure", "count_repeatable")],
    Call("batch_rows", "states_by_lane", ([4, 5],)),
    Call("batch_rows", "completed_rows", (4, 100)),
    Call("batch_rows", "failures", (4, 100)),
    Call("batch_rows", "spent", (4, NOW)),
    Call("batch_rows", "in_states", (4, [TaskState.FAILED]), {"limit": 100}),
    Call("batch_rows", "in_states", (4, list(TaskState), (7, "ref")), {"limit": 100}),
    Call("batch_rows", "refs_repeated", (REFS,)),
    Call("batch_rows", "find_elsewhere", (4, [(b"a", MODEL, b"{}"), (b"b", MODEL, b"{}")])),
    *[Call("chains", name, (REFS,)) for name in ("add_followups", "remove_followups", "repeated_by", "count")],
    *[Call("chains", name, (20, "a")) for name in ("next_followups", "claim_followups")],
    Call("chains", "lock_ended", ([*REFS, "gone"],)),
    Call("chains", "with_parent", (WAITING.ref,)),
    Call("chains", "held_children", (REFS, 50)),
    *[Call("chains", name, ("a", 50)) for name in ("children", "tasks_of", "unreported_picks")],
    *[Call("chains", "open_picks", (50, before)) for before in (None, "a")],
    Call("chains", "is_followed", ("a",)),
    *[Call("chains", name) for name in ("count_picks", "count_held")],
    *[Call("lanes", name, (BATCH,)) for name in ("insert", "update")],
    Call("lanes", "by_name", (["rows"],)),
    Call("lanes", "find_batch", ("rows",)),
    *[Call("lanes", name, ([2, 4],)) for name in ("get", "look")],
    *[Call("lanes", name) for name in ("paused", "queued", "count_unfinished", "closed_unfinished", "last_restore")],
    Call("lanes", "page", (None, 50)),
    Call("lanes", "batches_named", ("ro", 5)),
    *[
        call
        for show in ("all", "underway", "needs", "failed", "completed")
        for call in with_each("gallery", "page", show=show, words="a", model=MODEL, label="l", before="r", now=NOW)
        if {"show", "now"} <= call.more.keys()
    ],
    Call("gallery", "batch_cards", (NOW,)),
    Call("gallery", "batch_news", ([BATCH],)),
    *[Call("gallery", "tasks_of_batch", (4, list(TaskState), before, 50)) for before in (None, WAITING.ref)],
    Call("gallery", "neighbours", (WAITING.ref,)),
    Call("gallery", "polls", (WAITING.ref, 50)),
    Call("gallery", "counts", (NOW,)),
    Call("steps", "add", ([Step(it.ref, NOW, StepKind.KEPT, "4 of 4") for it in MANY],)),
    Call("steps", "of", (WAITING.ref,)),
    Call("copies", "upsert", ([(it.ref, ImageCopy(0, "0.png")) for it in MANY],)),
    Call("copies", "by_refs", (REFS,)),
    Call("copies", "forget_missing", (REFS[0],)),
    Call("copies", "remove", ("a",)),
    Call("tasks", "remove_images", ("a",)),
    Call("callbacks", "insert", ([(CALLBACK, True)] * 70,)),
    Call("callbacks", "count_only", ([CALLBACK] * 70,)),
    *[Call("callbacks", name, (WAITING.ref,)) for name in ("overflow_count", "hints_of")],
    *[Call("callbacks", name, (REFS,)) for name in ("body_digests", "ids_by_digest")],
    *[Call("callbacks", name, ([1, 2],)) for name in ("get", "digests")],
    Call("callbacks", "count_verdicts", (["hint", "unparsed"], 1000)),
    Call("callbacks", "newest_replay", (1, WAITING.ref)),
    *with_each("callbacks", "to_replay", verdict="unparsed", ref=WAITING.ref, before=9)[4:],
    *[
        call
        for verdict in Verdict
        for call in with_each("callbacks", "page", ref=WAITING.ref, verdict=verdict.value, before=1)
    ],
    Call("notices", "insert", ([DUE] * 70,)),
    Call("notices", "by_refs", (REFS,)),
    *[
        call
        for state in ("due", "sending", "held", "sent", "dead", "discarded")
        for call in with_each("notices", "page", state=state, target="slack", ref=WAITING.ref, before=9)
    ],
    Call("sends", "add_targets", (["slack", "mail"],)),
    *[Call("sends", "lock_targets", (["slack", "mail"],), {"wait": wait}) for wait in (False, True)],
    Call("sends", "record_times", ({"slack": [NOW]},)),
    Call("sends", "call_senders"),
    Call("sends", "target_queues", (["slack", "mail"],)),
    Call("sends", "next_send", ("slack", NOW)),
    Call("sends", "pull_in", (NOW, [LatestTimes("slack", (NOW, NOW), NOW, NOW, NOW)])),
    *[
        Call("sends", "hold_notices", ("slack", NOW + HOUR, NOW), {"but": but, "again": again})
        for but in ([], [NoticeEvent.FAILED])
        for again in (False, True)
    ],
    *[Call("sends", "postpone_sends", ("slack", NOW + HOUR, NOW), {"but": but}) for but in ([], [NoticeEvent.FAILED])],
    Call("notices", "insert", ([DUE],)),
    *[
        Call("sends", "open_sends", ([NewSend("slack", NOW + HOUR, digest=digest)], "me", NOW, NOW + MINUTE))
        for digest in (False, True)
    ],
    Call("sends", "open_window", ("slack", NOW + HOUR)),
    Call("notices", "make_due_now", (WAITING.ref, NOW)),
    Call("notices", "make_batch_due_now", (4, NOW)),
    Call("sends", "claim", ([1], "me", NOW, NOW + MINUTE)),
    Call("sends", "find_suspect", ([1, 2],)),
    Call("sends", "count_begun", (SEND, NOW)),
    Call("sends", "void_leases"),
    Call("sends", "add_attempt", (Attempt(1, NOW, 5, None),)),
    *[Call("notices", name, ([1, 2],)) for name in ("send_attempts", "attempt_history")],
    *with_each("notices", "open_page", target="slack", ref=WAITING.ref, before=9),
    *[Call("notices", name, ("slack",)) for name in ("dead_span", "last_sent", "last_failure")],
    Call("notices", "target_names", (50,)),
    Call("sends", "record_retry", (SEND, NOW, "503")),
    Call("sends", "count_failure", ("slack", NOW)),
    Call("sends", "rest_target", ("slack", NOW + HOUR)),
    Call("sends", "claim", ([1], "me", NOW, NOW + MINUTE)),
    Call("sends", "release", (replace(SEND, claim=3),)),
    Call("sends", "claim", ([1], "me", NOW, NOW + MINUTE)),
    Call("sends", "bury_send", (replace(SEND, claim=4), "410"), {"tried": True}),
    *with_each("notices", "discard", target="slack", ids=[1, 2]),
    *with_each("notices", "redrive", now=NOW, targets=["slack", "mail"], ids=[1, 2], to="mail"),
    Call("sends", "record_sent", (SEND, NOW)),
    *[Call("notices", name, (["nobody"],)) for name in ("count_without_target", "count_owed", "bury_targets")],
    Call("notices", "raise_attention", ("cause", "text", NOW, HOUR)),
    Call("notices", "count_causes", ("unparsed", 0, NOW)),
    Call("notices", "count_by_state"),
    *[Call("pruning", name, ("", 50)) for name in ("aged_tasks", "tasks_with_copies", "aged_overflow")],
    *[Call("pruning", name, (0, 50)) for name in ("aged_callbacks", "aged_notices")],
    Call("pruning", "closed_tasks", (REFS, NOW)),
    Call("pruning", "files_by_task", (REFS,)),
    *[Call("pruning", name, (NOW, 50)) for name in ("drop_polls", "drop_attention")],
    *[Call("pruning", name, ([1, 2],)) for name in ("existing_sends", "drop_callbacks", "drop_notices")],
    Call("pruning", "drop_overflow", (REFS,)),
    Call("pruning", "drop_copies", (REFS, "old")),
    Call("pruning", "drop_tasks", ([WAITING.ref, *(it.ref for it in MANY)], NOW, 1000)),
    Call("hours", "counts_since", (HourKind.SETTLED, NOW)),
    Call("hours", "forget", (NOW,)),
    *[Call("standing", name) for name in ("given_up", "oldest_queued", "waiting_by_key")],
    Call("standing", "raised_at", ("clock",)),
    Call("standing", "of_targets", (["slack", "mail"],)),
    Call("standing", "send_durations", ("slack", 20)),
    *[Call("standing", name, (NOW, 50)) for name in ("raised_since", "unparsed_open")],
    *[Call("standing", name, (50,)) for name in ("unsure", "held_for_person", "common_models")],
    Call("standing", "daily_costs", (["2025-12-29", "2025-12-30"],)),
    Call("spend", "recent_costs", (MODEL, 20)),
    *[Call("spend", name, (kind, "2025-12-29")) for name in ("committed", "get_period") for kind in PeriodKind],
    Call("spend", "committed_by", (["lane 4"],)),
    Call("spend", "model_costs", (MODEL,)),
    *[Call("spend", name) for name in ("last_day", "reserved")],
    *[
        Call("spend", "sum_by", (it, "2025-12-01", "2025-12-31", 50))
        for it in ("day", "month", "model", "label", "batch")
    ],
    Call("spend", "sum_all", ("2025-12-01", "2025-12-31")),
    Call("spend", "put_period", (BudgetPeriod(PeriodKind.DAY, "2025-12-29"),)),
    Call("pruning", "page_counts"),
    Call("pruning", "vacuum_pages", (1,)),
]
