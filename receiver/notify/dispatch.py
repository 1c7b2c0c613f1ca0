"""The loop that sends notices: claim a send under a lease, render it, send it, record what became of it.

Every notice is sent at least once: if the process dies, the send is claimed again when its lease runs out. Only a
recorded failure uses up a try; a success counts even if another holds the claim by then. A send that ends the process
each time it begins is given up after an hour; one that was merely claimed when the process ended is not. Each target
has one send at a time, so a slow target delays no other. `core.pacing` decides what is sent when, `claims` claims it.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Sequence

from msgspec.structs import replace

from receiver.core import pacing
from receiver.core.clock_check import HOLD_MS, ClockWatch
from receiver.core.pacing import NoticeWait
from receiver.core.schedule import is_paused, notify_gap, probe_gap
from receiver.core.types import AttachedPicture, AttemptResult, Clock, Notice, Policy, Send, Target
from receiver.notify.claims import SendClaims, SendResult
from receiver.notify.gone_targets import LOOK_EVERY_MS, bury_unknown_targets
from receiver.notify.messages.message import PublicLinks
from receiver.notify.messages.render import render
from receiver.notify.senders.failure_text import blames_picture
from receiver.notify.senders.sender import MessageSender
from receiver.store import Attempt, Store, Topic
from receiver.store.insist import record_with_retries
from receiver.telemetry import logs
from receiver.telemetry.metrics import Metrics

PICTURE_MOST_S = 15.0  # to draw a digest's contact sheet; the lease has room for it
LEASE_MARGIN_MS = 30_000
WIDTH_MOST = 32
COPIES_MOST = 500  # tasks of a digest whose copies are looked up; it names fewer

log = logging.getLogger(__name__)


class NoticeDispatcher:
    """Sends what is due.

    `schedule_ms` are the gaps between tries, `timeout_ms` is how long the sender takes at most. `picture` finds or
    draws the picture for a send. `width` is how many sends this process has under way at most; without it, one to each
    target, up to `WIDTH_MOST`.
    """

    topic = Topic.NOTIFY
    grace_s = 5.0

    def __init__(
        self,
        store: Store,
        sender: MessageSender,
        policy: Policy,
        clock: Clock,
        *,
        schedule_ms: Sequence[int],
        timeout_ms: int,
        links: PublicLinks,
        metrics: Metrics,
        watch: ClockWatch,
        picture: Callable[[Send], Awaitable[AttachedPicture | None]] | None = None,
        jitter: Callable[[], float] = random.random,
        width: int | None = None,
    ) -> None:
        self._store = store
        self._sender = sender
        self._policy = policy
        self._clock = clock
        self._schedule = schedule_ms
        self._timeout_ms = timeout_ms
        self._links = links
        self._metrics = metrics
        self._watch = watch
        self._picture = picture
        self._jitter = jitter
        self._targets = {target.name: target for target in policy.targets}
        self._look_for_gone_at: int | None = 0  # None: never again
        # 1 without targets: their notices must be buried
        self.width = min(max(1, len(self._targets)), WIDTH_MOST if width is None else width)
        self._claims = SendClaims(
            store,
            policy,
            clock,
            schedule_ms=schedule_ms,
            lease_ms=timeout_ms + LEASE_MARGIN_MS,
            width=self.width,
        )

    async def claim(self) -> Send | None:
        """The next send, claimed; None while every target is busy, rests, or has nothing that may be sent now."""
        await self._bury_unknown()
        return await self._claims.claim()

    async def carry_out(self, send: Send) -> None:
        """Render, send, record."""
        logs.bind_ref(send.notices[0].ref)
        try:
            result = await self._attempt_send(send)
            if result is None:
                return
            await record_with_retries(lambda: self._claims.record_result(result))
        finally:
            self._claims.forget_send(send)
        if not result.sent.put_off:
            state = "sent" if result.sent.error is None else "failed" if result.due_at is not None else "dead"
            self._metrics.count_send(send, state, self._clock())

    async def release_send(self, send: Send) -> None:
        """Release a send that we cannot finish; a suspect need not wait for having begun."""
        async with self._store.write() as tx:
            await tx.sends.release(send, self._clock() if send.claims > pacing.SUSPECT_AFTER else None)

    async def close(self) -> None:
        """Release the sends that were claimed and will not be carried."""
        await self._claims.release_ready()

    async def next_due(self) -> int | None:
        """When the next notice or send may be due."""
        return await self._claims.next_due()

    async def find_waits(self, notices: Sequence[Notice]) -> list[NoticeWait | None]:
        """What each of these notices waits for; None if it is sent, dead, under way, or next."""
        return await self._claims.find_waits(notices)

    async def _bury_unknown(self) -> None:
        """Give up what is owed to targets that nobody has: at the start, and each hour where another process, which
        had one of them, may have gone since."""
        if self._look_for_gone_at is None or is_paused(self._look_for_gone_at, self._clock(), LOOK_EVERY_MS):
            return
        await bury_unknown_targets(self._store, self._policy, self._clock)
        self._look_for_gone_at = self._clock() + LOOK_EVERY_MS if self._store.shared else None

    async def _attempt_send(self, send: Send) -> SendResult | None:
        """Render and send; the result, which is not recorded yet. None: the lease may end before the sending does, as
        after the process stood still. Then another may be sending it, and nothing is sent or recorded here."""
        first = send.notices[0]
        if send.claims > pacing.SUSPECT_AFTER + pacing.BEGUN_MOST:
            sent = AttemptResult(error=f"tried {pacing.BEGUN_MOST} times, and the process ended each time")
            log.error("%s: gave up: %s", send.target, sent.error, extra={"action": "notice.dead", "ref": first.ref})
            return SendResult(send, sent)
        if send.claims > pacing.SUSPECT_AFTER:
            again_at = self._clock() + probe_gap(send.claims - pacing.SUSPECT_AFTER - 1)
            async with self._store.write() as tx:
                await tx.sends.count_begun(send, again_at)
        target = self._targets[send.target]
        reports = tuple(notice.report for notice in send.notices)
        try:
            picture = await self._find_picture(send, target)
            message = render(
                reports,
                target,
                links=self._links,
                picture=picture,
                kept=await self._find_copies(send),
                key=f"{send.id} {send.target} {first.created_at} {first.ref}",
                late=picture is None and self._shows_pictures(target) and not send.tries,
            )
            if message.note is not None:
                log.warning("%s", message.note, extra={"action": "notice.template", "ref": first.ref})
            if not self._claims.may_begin(send, self._timeout_ms):
                log.warning("%s: its time is over; it is sent again", send.target, extra={"action": "notice.late"})
                await self.release_send(send)  # if nobody else has it yet
                return None
            started = self._clock()
            sent = await self._sender.send(target, replace(message, send_id=send.id, delivered=send.delivered))
        except asyncio.CancelledError:  # stopping: it may have arrived, and is sent again
            await self.release_send(send)
            raise
        extra = {"action": "notice.failed" if sent.error else "notice.sent", "ref": first.ref}
        log.log(
            logging.WARNING if sent.error else logging.INFO,
            "%s%s: %s",
            send.target,
            f", {len(send.notices)} together" if len(send.notices) > 1 else "",
            sent.error or "sent",
            extra=extra,
        )
        now = self._clock()
        if sent.put_off:
            self._claims.pause_target(send.target, now + pacing.PUT_OFF_MS)
            return SendResult(send, sent, due_at=now + pacing.PUT_OFF_MS)
        result = SendResult(send, sent, Attempt(send.id, started, sent.duration_ms, sent.error))
        if sent.error is not None and not sent.permanent:
            gap = notify_gap(self._schedule, send.tries + 1, jitter=self._jitter())
            if gap is None and not self._watch.trusts(now):  # the clock leapt: the tries may have come too soon
                gap = self._schedule[-1] if self._schedule else HOLD_MS
            if gap is not None:
                result.due_at = now + max(gap, min(sent.retry_after_ms or 0, pacing.RETRY_AFTER_MOST))
        if sent.error is not None and result.due_at is None:
            log.error("%s: gave up: %s", send.target, sent.error, extra={**extra, "action": "notice.dead"})
        return result

    async def _find_picture(self, send: Send, target: Target) -> AttachedPicture | None:
        """The picture for a send; None if the target shows none, or a picture caused an earlier failure."""
        if self._picture is None or not target.shows_pictures:
            return None
        if send.tries:
            tried = await self._store.notices.send_attempts([send.id])
            if any(blames_picture(attempt.error) for attempt in tried if attempt.error):
                return None
        try:
            async with asyncio.timeout(PICTURE_MOST_S):
                return await self._picture(send)
        except Exception as error:  # whatever it is, the text is sent without a picture
            why = "drawing it took too long" if isinstance(error, TimeoutError) else repr(error)
            log.warning("%s: sent without its picture: %s", target.name, why, extra={"action": "notice.picture"})
            return None

    def _shows_pictures(self, target: Target) -> bool:
        return self._picture is not None and target.shows_pictures

    async def _find_copies(self, send: Send) -> dict[str, dict[int, str]]:
        """The archive's files of the send's tasks: ref, then number of the image, then file."""
        refs = [it.ref for it in send.notices if it.ref and it.report.images][:COPIES_MOST]
        if not refs:
            return {}
        copies = await self._store.copies.by_refs(refs)
        return {ref: {copy.image_no: copy.file for copy in each if copy.file} for ref, each in copies.items()}
