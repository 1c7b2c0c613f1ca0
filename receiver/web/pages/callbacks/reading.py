"""Reads what the pages of callbacks show: the rows of a list, and all about one callback. Every read is bounded."""

import asyncio
import logging
from collections.abc import Sequence

import msgspec
from msgspec import Struct

from receiver.core.decide import wants_task
from receiver.core.hints import next_id
from receiver.core.types import Ending, NoticeEvent, NoticeState, Outcome, PollResult, Task, Verdict
from receiver.notify.messages.media_words import count_media
from receiver.providers.registry import default_adapter
from receiver.service.wiring import ServiceParts
from receiver.store.tables.callbacks import StoredCallback
from receiver.web.pages.callbacks.bodies import BodyKind, ShownBody, kind_of_body, media_type_of, show_body, show_text
from receiver.web.pages.callbacks.comparisons import ComparedRow, compare
from receiver.web.pages.callbacks.verdicts import (
    Asked,
    Case,
    Explanation,
    describe_row,
    explain_verdict,
    mark_of,
    may_believe,
)
from receiver.web.pages.sentences import outside, task_title

ROW_BODY_MOST = 64 * 1024  # bytes; a larger body is not read for a list
ROWS_BODIES_MOST = 1 << 20  # of all bodies of a list
POLLS_MOST = 100
_HEADERS_MOST = 60
_ENDS = (NoticeEvent.COMPLETED, NoticeEvent.FAILED)

log = logging.getLogger(__name__)
_headers = msgspec.json.Decoder(dict[str, str])


class CallbackRow(Struct, frozen=True):
    """A callback in a list."""

    id: int
    verdict: str
    mark: str
    title: str
    at: int
    says: str
    size: int
    media_type: str  # of one that nobody could read
    replay_of: int | None


class ShownCallback(Struct, frozen=True):
    """All about a callback. `body` is without the provider's key; what can be done is said by `may_…`."""

    kept: StoredCallback
    task: Task | None
    title: str
    mark: str
    explanation: Explanation
    compared: list[ComparedRow]
    body: ShownBody
    headers: list[tuple[str, str]]
    media_type: str
    digest: str
    counted: int  # callbacks of its task that were not stored
    replay: int | None
    may_replay: bool
    may_believe: bool
    may_ask: bool
    becomes: str  # what its task becomes if it is believed
    tells: tuple[str, ...]  # whom that is told


class CallbackReader:
    """Reads callbacks with what their bodies say and how their tasks stand."""

    def __init__(self, parts: ServiceParts) -> None:
        self._parts = parts
        self._store = parts.store
        self._parse = parts.echoes.wrap_parser(default_adapter().parse)

    async def rows(self, found: Sequence[StoredCallback]) -> list[CallbackRow]:
        """The rows of a list. Of bodies that are large, or of too many, it is not said what they say."""
        tasks = await self._store.tasks.get(list({it.ref for it in found})) if found else {}
        bodies = await self._small_bodies(found)
        rows = []
        for it in found:
            body, task = bodies.get(it.id), tasks.get(it.ref)
            outcome = await self._read_outcome(it.ref, body)
            kind = kind_of_body(body) if it.verdict is Verdict.UNPARSED or not it.size else _kind_if_read(body)
            rows.append(
                CallbackRow(
                    id=it.id,
                    verdict=it.verdict.value,
                    mark=mark_of(it.verdict, task),
                    title=task_title(task) if task else it.ref,
                    at=it.received_at,
                    says=describe_row(it, outcome, task, kind=kind),
                    size=it.size,
                    media_type=media_type_of(self._decode_headers(it)) if it.verdict is Verdict.UNPARSED else "",
                    replay_of=it.replay_of,
                )
            )
        return rows

    async def find(self, callback_id: int) -> StoredCallback | None:
        """A callback with its bytes, which may have the provider's key."""
        found = await self._store.callbacks.get([callback_id])
        return found[0] if found else None

    async def show(self, kept: StoredCallback) -> ShownCallback:
        """All about a callback."""
        parts, store = self._parts, self._store
        task = (await store.tasks.get([kept.ref])).get(kept.ref)
        outcome = await self._read_outcome(kept.ref, kept.body)
        body = None if kept.body is None else parts.echoes.redact_shown(kept.body)
        headers = self._decode_headers(kept)
        media_type = media_type_of(headers)
        pictures = len((await store.tasks.images_by_ref([kept.ref])).get(kept.ref, ()))
        digest = (await store.callbacks.digests([kept.id])).get(kept.id, b"")
        case = Case(
            kept=kept,
            outcome=outcome,
            kind=kind_of_body(body),
            media_type=media_type,
            task=task,
            policy=parts.policy,
            now=parts.clock(),
            asked=await self._read_asked(kept),
            earlier=(await store.callbacks.ids_by_digest([kept.ref])).get((kept.ref, digest)),
            settling=await self._find_settling(kept),
            told=await self._read_told(kept.ref),
        )
        ended = task is not None and task.state.is_final and task.confirmed
        return ShownCallback(
            kept=kept,
            task=task,
            title=task_title(task) if task else kept.ref,
            mark=mark_of(kept.verdict, task),
            explanation=explain_verdict(case),
            compared=compare(outcome, task, pictures),
            body=await asyncio.to_thread(show_body, body),
            headers=[(show_text(name), outside(value, 2_000).text) for name, value in headers.items()],
            media_type=media_type,
            digest=digest.hex(),
            counted=await store.callbacks.overflow_count(kept.ref),
            replay=await store.callbacks.newest_replay(kept.id, kept.ref),
            may_replay=kept.body is not None,
            may_believe=may_believe(kept, outcome, task),
            may_ask=parts.policy.can_poll and task is not None and not ended and next_id(task) is not None,
            becomes=_describe_end(outcome),
            tells=self._who_is_told(task, outcome),
        )

    async def _small_bodies(self, found: Sequence[StoredCallback]) -> dict[int, bytes]:
        wanted, left = [], ROWS_BODIES_MOST
        for it in found:
            if it.size <= min(ROW_BODY_MOST, left):
                wanted.append(it.id)
                left -= it.size
        kept = await self._store.callbacks.get(wanted) if wanted else []
        return {it.id: it.body for it in kept if it.body is not None}

    async def _read_outcome(self, ref: str, body: bytes | None) -> Outcome | None:
        if body is None:
            return None
        await asyncio.sleep(0)  # it may be large
        try:
            return self._parse(body)
        except Exception:
            log.exception("the parser failed on a stored callback", extra={"action": "page.parse", "ref": ref})
            return None

    async def _read_asked(self, kept: StoredCallback) -> Asked:
        polls = [it for it in await self._store.gallery.polls(kept.ref, POLLS_MOST) if it.at >= kept.received_at]
        if not polls:
            return Asked()
        try:
            last = PollResult(polls[0].heard)
        except ValueError:  # of a later version
            last = PollResult.NOTHING
        return Asked(len(polls), last, polls[0].text)

    async def _find_settling(self, kept: StoredCallback) -> int | None:
        found = await self._store.callbacks.page(ref=kept.ref, verdict=Verdict.ACCEPTED.value, before=kept.id, limit=1)
        return found[0].id if found else None

    async def _read_told(self, ref: str) -> tuple[str, ...]:
        """The targets that were sent how the task ended."""
        notices = (await self._store.notices.by_refs([ref])).get(ref, [])
        names = dict.fromkeys(it.target for it in notices if it.event in _ENDS and it.state is NoticeState.SENT)
        return tuple(names)[:8]

    def _who_is_told(self, task: Task | None, outcome: Outcome | None) -> tuple[str, ...]:
        if task is None or outcome is None or task.quiet:
            return ()
        event = NoticeEvent.COMPLETED if _completes(outcome) else NoticeEvent.FAILED
        return tuple(it.name for it in self._parts.policy.targets if event in it.on and wants_task(task, it))[:8]

    def _decode_headers(self, kept: StoredCallback) -> dict[str, str]:
        try:
            found = _headers.decode(self._parts.echoes.redact(kept.headers))
        except msgspec.DecodeError:
            return {}
        return dict(list(found.items())[:_HEADERS_MOST])


def _describe_end(outcome: Outcome | None) -> str:
    """What a task becomes with this end."""
    if outcome is None or not _completes(outcome):
        return outcome.ending.value if outcome is not None else ""
    counted = count_media([it.type for it in outcome.images])
    if not outcome.images:
        return "completed without a picture"
    return f"completed with {f'these {counted}' if len(outcome.images) > 1 else counted.replace('1', 'this', 1)}"


def _completes(outcome: Outcome) -> bool:
    return outcome.ending is Ending.COMPLETED


def _kind_if_read(body: bytes | None) -> BodyKind:
    return BodyKind.UNKNOWN if body is None else BodyKind.JSON
