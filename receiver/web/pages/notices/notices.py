"""`/notices`: who was told what, what is still owed, and what was given up, with ways to send or discard that.

`Send all … again` acts on the filter, never on the page. A test goes out at once, and its answer stays on the page for
a while.
"""

from collections import Counter

from msgspec import Struct
from starlette.responses import Response
from starlette.routing import Route

from receiver.client.schemas import TrialView
from receiver.core.errors import RequestRefused
from receiver.core.sanitize import one_line
from receiver.core.types import Notice, NoticeState
from receiver.notify.redrive import REDRIVE_TURN, change_in_turns, redrive_notices
from receiver.notify.senders.remedies import find_advice, find_remedy
from receiver.store.tables.hours import HourKind
from receiver.store.tables.standing import COUNTED_MOST, TargetStanding
from receiver.tokens import is_ref
from receiver.web.api.requests import parse_row_id
from receiver.web.api.sample import TargetTester
from receiver.web.pages.list_filters import Chip, ListFilter, show_count, with_query
from receiver.web.pages.notices.notice_rows import (
    ERROR_MOST,
    NAME_MOST,
    NoticeRow,
    TargetCard,
    TargetFacts,
    curl,
    describe_error,
    describe_messages,
    describe_notice,
    describe_target,
    describe_trial,
)
from receiver.web.pages.page import PageError, PageFrame, PageRequest, redirect
from receiver.web.pages.sentences import Sentence, say, task_title

PAGE_ROWS = 50
TARGETS_MOST = 50
CHOSEN_MOST = 200
ASKED_MOST = 3  # targets that get a button of their own without a filter
TEST_SHOWN_MS = 15 * 60_000
_WEEK_MS = 7 * 86_400_000
_WAITING = "waiting"
_STATES = {"": "All", "dead": "Given up", _WAITING: "Waiting", "sent": "Sent"}


class Filter(ListFilter, frozen=True):
    """Which notices are listed. `nonsense`: nothing can match it."""

    state: str = ""
    target: str = ""
    ref: str = ""
    before: str = ""
    nonsense: bool = False
    bad_page: bool = False


class SendAll(Struct, frozen=True):
    """The question before all that was given up to a target, or of a task, is sent again."""

    name: str
    count: int
    target: str
    first: int | None = None
    last: int | None = None
    messages: str = ""
    advice: str = ""
    error: str = ""
    others: tuple[str, ...] = ()  # of a target that is gone: where it may go instead


class Tested(Struct, frozen=True):
    """What came of a test."""

    at: int
    result: TrialView | None = None
    refused: str = ""


class NoticePages:
    """The page of notices."""

    def __init__(self, frame: PageFrame) -> None:
        self._frame = frame
        self._parts = frame.parts
        self._store = frame.parts.store
        self._tester = TargetTester(frame.parts)
        self._targets = {it.name: it for it in frame.parts.policy.targets}
        self._tested: dict[str, Tested] = {}  # the last test of each target

    def routes(self) -> list[Route]:
        """The routes to it."""
        return [
            self._frame.get("/notices", self.show),
            self._frame.post("/notices/again", self.send_again),
            self._frame.post("/notices/discard", self.discard),
            self._frame.post("/notices/test", self.send_test),
        ]

    async def show(self, asked: PageRequest) -> Response:
        """The targets and the list."""
        now = self._parts.clock()
        wanted = _read_filter(asked)
        empty = wanted.nonsense or wanted.bad_page
        found = [] if empty else await self._find_page(wanted)
        known = await self._store.notices.target_names(TARGETS_MOST)
        names = list(dict.fromkeys((*self._targets, *known)))[:TARGETS_MOST]
        standing = {it.name: it for it in await self._store.standing.of_targets(names)} if names else {}
        cards = await self._make_cards(standing, now)
        dead, waiting = _sum_up(standing, wanted)
        task = (await self._store.tasks.get([wanted.ref])).get(wanted.ref) if wanted.ref and not empty else None
        tested = self._tested.get(asked.query("tested"))
        return await self._frame.render(
            asked,
            "notices.html",
            title="Notices",
            page="notices",
            filter=wanted,
            target_title=one_line(wanted.target, NAME_MOST) or "?",
            cards=cards,
            tested=asked.query("tested") if tested is not None and now - tested.at <= TEST_SHOWN_MS else "",
            test=tested,
            test_words=describe_trial(tested.result) if tested is not None and tested.result is not None else "",
            test_error=_describe_failure(tested),
            chips=_make_chips(wanted, dead, waiting),
            rows=await self._make_rows(found[:PAGE_ROWS]),
            older=wanted.link("/notices", before=str(found[PAGE_ROWS - 1].id)) if len(found) > PAGE_ROWS else "",
            empty=_describe_empty(wanted, anything=bool(known)) if not found else "",
            task_title=task_title(task) if task is not None else wanted.ref,
            send_all=[] if empty else await self._make_send_all(wanted, standing),
            configured=bool(self._targets),
            gone_filter=wanted.target not in self._targets,
            counted_most=COUNTED_MOST,
            done=_describe_done(asked),
        )

    async def send_again(self, asked: PageRequest) -> Response:
        """Put what was given up back to due: the chosen ones, or all of a target or a task."""
        wanted, form = _read_filter(asked), asked.form
        ids: list[int] | None = None
        target = to = None
        if form.one("all"):
            target = form.one("target") or None
            to = form.one("to") or None
            if to is not None and to not in self._targets:
                raise PageError(422, "That did not work", "Nothing was sent: this target is not configured.", _LINK)
            if target is None:
                ids = await self._dead_of_task(form.one("ref"))
            elif target not in self._targets and to is None:
                raise PageError(422, "That did not work", "Nothing was sent: this target is gone.", _LINK)
        else:
            ids = [it for it in map(parse_row_id, form.all("id")[:CHOSEN_MOST]) if it is not None]
            if not ids:
                return self._back(wanted, "none", 0, 0)
        count = await redrive_notices(self._store, self._parts.policy, self._parts.clock, target=target, ids=ids, to=to)
        return self._back(wanted, "again", count, max(0, len(set(ids)) - count) if ids is not None else 0)

    async def discard(self, asked: PageRequest) -> Response:
        """Discard the chosen ones of those that were given up: nobody is told of them any more."""
        wanted = _read_filter(asked)
        ids = [it for it in map(parse_row_id, asked.form.all("id")[:CHOSEN_MOST]) if it is not None]
        if not ids:
            return self._back(wanted, "none", 0, 0)
        count = await change_in_turns(self._store, lambda tx: tx.notices.discard(ids=ids, limit=REDRIVE_TURN))
        return self._back(wanted, "discarded", count, max(0, len(set(ids)) - count))

    async def send_test(self, asked: PageRequest) -> Response:
        """Send a sample to a target now."""
        name = asked.form.one("target")
        if name not in self._targets:
            raise PageError(422, "That did not work", "Nothing was sent: this target is not configured.", _LINK)
        try:
            result = await self._tester.send_sample(name)
            self._tested[name] = Tested(self._parts.clock(), result)
        except RequestRefused as refused:
            self._tested[name] = Tested(self._parts.clock(), refused=str(refused))
        return redirect(f"{with_query('/notices', {'tested': name})}#done")

    def _back(self, wanted: Filter, done: str, count: int, left: int) -> Response:
        kept = Filter() if wanted.nonsense or wanted.bad_page else wanted
        path = kept.link("/notices", done=done, n=str(count), left=str(left) if left else "")
        return redirect(f"{path}#done")

    async def _find_page(self, wanted: Filter) -> list[Notice]:
        filters = {"target": wanted.target or None, "ref": wanted.ref or None}
        before = parse_row_id(wanted.before)
        if wanted.state == _WAITING:
            return await self._store.notices.open_page(**filters, before=before, limit=PAGE_ROWS + 1)
        return await self._store.notices.page(state=wanted.state or None, **filters, before=before, limit=PAGE_ROWS + 1)

    async def _make_rows(self, notices: list[Notice]) -> list[NoticeRow]:
        if not notices:
            return []
        tries = await self._store.notices.attempt_history([it.id for it in notices if it.id is not None])
        waits = await self._parts.notify.find_waits(notices)
        rows, said = [], set[tuple[str, str | None]]()
        for it, wait in zip(notices, waits, strict=True):
            new = (it.target, it.error) not in said
            said.add((it.target, it.error))
            rows.append(describe_notice(it, tries.get(it.id or 0, []), wait, remedy=new))
        return rows

    async def _make_cards(self, standing: dict[str, TargetStanding], now: int) -> list[TargetCard]:
        sent: Counter[str] = Counter()
        for hour in await self._store.hours.counts_since(HourKind.SENT, now - _WEEK_MS):
            sent[hour.name] += hour.count
        here = [name for name in standing if name in self._targets]
        queues = {it.name: it for it in await self._store.sends.target_queues(here)} if here else {}
        cards = []
        for name, it in standing.items():
            last = await self._store.notices.last_sent(name)
            tries = (await self._store.notices.attempt_history([last.id])).get(last.id, []) if last and last.id else []
            facts = TargetFacts(
                name=name,
                target=self._targets.get(name),
                now=now,
                given_up=it.given_up,
                waiting=it.waiting,
                sent=sent[name],
                queue=queues.get(name),
                last_error=await self._store.notices.last_failure(name),
                last_sent=last.sent_at if last is not None else None,
                last_span_ms=next((each.duration_ms for each in reversed(tries) if each.error is None), None),
            )
            cards.append(describe_target(facts))
        return cards

    async def _make_send_all(self, wanted: Filter, standing: dict[str, TargetStanding]) -> list[SendAll]:
        if wanted.state not in ("", NoticeState.DEAD.value) or wanted.before:
            return []
        if wanted.ref:
            dead = await self._store.notices.page(
                state="dead", ref=wanted.ref, target=wanted.target or None, limit=CHOSEN_MOST
            )
            reachable = [it for it in dead if it.target in self._targets]
            return [SendAll("", len(reachable), "")] if reachable else []
        names = [wanted.target] if wanted.target else [name for name, it in standing.items() if it.given_up]
        asked = []
        for name in names if wanted.target or len(names) <= ASKED_MOST else []:
            it = standing.get(name)
            span = await self._store.notices.dead_span(name)
            if it is None or not it.given_up or span is None:
                continue
            target = self._targets.get(name)
            error = await self._store.notices.last_failure(name)
            asked.append(
                SendAll(
                    name=one_line(name, NAME_MOST) or "?",
                    count=it.given_up,
                    target=name,
                    first=span[0],
                    last=span[1],
                    messages=describe_messages(it.given_up, target),
                    advice=_advise(error) if error and target is not None else "",
                    error=one_line(error, ERROR_MOST) if error and target is not None else "",
                    others=() if target is not None else tuple(self._targets)[:TARGETS_MOST],
                )
            )
        return [it for it in asked if it.others or it.target in self._targets]

    async def _dead_of_task(self, ref: str) -> list[int]:
        if not is_ref(ref):
            return []
        found = await self._store.notices.page(state="dead", ref=ref, limit=CHOSEN_MOST)
        return [it.id for it in found if it.id is not None]


class Done(Struct, frozen=True):
    """What an act came to: how many are sent again or discarded, and how many are not."""

    word: str
    count: int
    left: int


_LINK = ("/notices", "Notices")


def _read_filter(asked: PageRequest) -> Filter:
    state, target, ref, before = (asked.query(name) for name in ("state", "target", "ref", "before"))
    nonsense = state not in ("", _WAITING, *(it.value for it in NoticeState)) or (ref != "" and not is_ref(ref))
    return Filter(state, target, ref, before, nonsense, before != "" and parse_row_id(before) is None)


def _sum_up(standing: dict[str, TargetStanding], wanted: Filter) -> tuple[int, int]:
    """How many were given up and how many wait, of the targets that the filter has; zeros if it names a task."""
    if wanted.ref:
        return 0, 0
    some = [it for it in standing.values() if wanted.target in ("", it.name)]
    return sum(it.given_up for it in some), sum(it.waiting for it in some)


def _make_chips(wanted: Filter, dead: int, waiting: int) -> list[Chip]:
    counts = {"dead": show_count(dead, COUNTED_MOST), _WAITING: show_count(waiting, COUNTED_MOST)}
    return [
        Chip(word, wanted.link("/notices", state=state, before=""), wanted.state == state, counts.get(state, ""))
        for state, word in _STATES.items()
    ]


def _advise(error: str) -> str:
    """What to do about an error, as a sentence without its full stop; empty if nobody knows."""
    return curl(find_advice(error)) if find_remedy(error) else ""


def _describe_failure(tested: Tested | None) -> Sentence:
    if tested is None:
        return ()
    if tested.refused:
        return say(f"{tested.refused[:1].upper()}{tested.refused[1:]}")
    if tested.result is not None and tested.result.error:
        return describe_error(tested.result.error)
    return ()


def _describe_empty(wanted: Filter, *, anything: bool) -> str:
    """Which text an empty list has."""
    if wanted.nonsense:
        return "nonsense"
    if wanted.before:
        return "gone"
    if wanted.ref:
        return "ref"
    if not anything:
        return "none"
    return {"dead": "dead", _WAITING: "waiting", "sent": "sent"}.get(wanted.state, "nonsense")


def _describe_done(asked: PageRequest) -> Done | None:
    word, count = asked.query("done"), parse_row_id(asked.query("n"))
    if word not in ("again", "discarded", "none") or count is None or count > 10_000_000:
        return None
    return Done(word, count, min(parse_row_id(asked.query("left")) or 0, CHOSEN_MOST))
