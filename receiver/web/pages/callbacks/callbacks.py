"""`/callbacks` and `/callbacks/{id}`: what the provider sent, what became of it, and what a person can do about that.

Two panes from 1100 px on: the list, and the callback that is opened. The filter stays in every address.
"""

import asyncio
from collections import Counter
from collections.abc import Mapping
from urllib.parse import urlencode

from msgspec import Struct
from starlette.responses import Response
from starlette.routing import Route

from receiver.core.errors import RequestRefused, StoreUnavailable
from receiver.core.types import Verdict
from receiver.store.tables.callbacks import StoredCallback
from receiver.tokens import is_ref
from receiver.web.api.requests import parse_row_id
from receiver.web.pages.callbacks.bodies import BodyKind, kind_of_body
from receiver.web.pages.callbacks.reading import CallbackReader
from receiver.web.pages.list_filters import Chip, ListFilter, show_count
from receiver.web.pages.page import HEADERS, PageError, PageFrame, PageRequest, redirect
from receiver.web.pages.sentences import task_title

PAGE_ROWS = 50
ROWS_MOST = 60  # that the script may ask for at once
COUNTED_MOST = 1_000
REPLAY_MOST = 1_000  # in one act
REPLAYED_AT_ONCE = 8
_CHIPS = (Verdict.ACCEPTED, Verdict.HINT, Verdict.DUPLICATE, Verdict.LATE, Verdict.CONFLICT, Verdict.UNPARSED)
_COUNTED = (Verdict.HINT, Verdict.CONFLICT, Verdict.UNPARSED)
"""The verdicts that a replay may change, and whose number says something."""
_NO_CALLBACK = PageError(
    404,
    "There is no such callback",
    "There is no such callback. It may have been removed by retention.",
    ("/callbacks", "All callbacks"),
)
_REPLAYED = {
    Verdict.ACCEPTED: "Replayed: this time it was accepted.",
    Verdict.DUPLICATE: "Replayed: it says what is known already, so nothing was changed.",
    Verdict.LATE: "Replayed: the task has ended, so nothing was changed.",
    Verdict.CONFLICT: "Replayed: it contradicts how the task ended, so nothing was changed.",
    Verdict.HINT: "Replayed: it is still not believed; the provider is asked.",
    Verdict.UNPARSED: "Replayed: it still cannot be read.",
}
_BELIEVED = {
    Verdict.ACCEPTED: "It is believed: the task goes by what it says.",
    Verdict.DUPLICATE: "It is believed: the task had ended like this already, and that is certain now.",
}
_NOT_BELIEVED = "Nothing was changed: the task has ended, and an end that is certain is final."
_ASKED = "The provider is asked now. What it says stands on the task’s page in a moment."
_REFUSED = {
    "no_key": "The provider was not asked: there is no key for it. Set PROVIDER_KEY where the service runs.",
    "settled": "The provider was not asked: the task has ended.",
    "no_task_id": "The provider was not asked: its id of the task is not known.",
    "not_found": "Nothing was done: what it is about was removed by retention.",
    "no_body": "Nothing was done: the bytes of this callback were not kept.",
    "unparsed": "Nothing was done: it cannot be read, so there is nothing to believe.",
    "no_room": "Nothing was done: too many callbacks wait, or its task has too many. Try again in a minute.",
}
_EXTENSIONS = {BodyKind.JSON: "json", BodyKind.TEXT: "txt", BodyKind.BROKEN: "txt"}


class Filter(ListFilter, frozen=True):
    """Which callbacks are listed. `nonsense`: nothing can match it."""

    verdict: str = ""
    ref: str = ""
    before: str = ""
    nonsense: bool = False
    bad_page: bool = False


class CallbackPages:
    """The pages of callbacks."""

    def __init__(self, frame: PageFrame) -> None:
        self._frame = frame
        self._parts = frame.parts
        self._store = frame.parts.store
        self._reader = CallbackReader(frame.parts)

    def routes(self) -> list[Route]:
        """The routes to them."""
        get, post = self._frame.get, self._frame.post
        return [
            get("/callbacks", self.show_list),
            get("/callbacks/rows", self.show_rows),
            post("/callbacks/replay", self.replay_all),
            get("/callbacks/{id}", self.show_one),
            get("/callbacks/{id}/body", self.send_body),
            post("/callbacks/{id}/replay", self.replay),
            post("/callbacks/{id}/believe", self.believe),
            post("/callbacks/{id}/ask", self.ask_provider),
        ]

    async def show_list(self, asked: PageRequest) -> Response:
        """The list, with nothing opened."""
        return await self._show(asked, None)

    async def show_one(self, asked: PageRequest) -> Response:
        """A callback beside the list."""
        return await self._show(asked, await self._find(asked))

    async def show_rows(self, asked: PageRequest) -> Response:
        """Rows of the list as a piece of HTML: those whose ids are given as `ref`, else those of a page."""
        given = asked.http.query_params.getlist("ref")[:ROWS_MOST]
        ids = [it for it in map(parse_row_id, given) if it is not None]
        wanted = _read_filter(asked)
        if ids:
            found = sorted(await self._store.callbacks.get(ids), key=lambda it: -it.id)
        else:
            found = [] if wanted.nonsense or wanted.bad_page else (await self._find_page(wanted))[:PAGE_ROWS]
        rows = await self._reader.rows(found)
        return self._frame.piece(asked, "_callback_rows.html", rows=rows, query="" if ids else wanted.query, open=None)

    async def send_body(self, asked: PageRequest) -> Response:
        """The body as a file: as it came, except that the provider's key is not in it."""
        kept = await self._find(asked)
        if kept.body is None:
            raise PageError(404, "It is not here", "The bytes of this callback were not kept.", _link_to(kept.id))
        body = self._parts.echoes.redact_shown(kept.body)
        name = f"callback-{kept.id}.{_EXTENSIONS.get(kind_of_body(body), 'bin')}"
        headers = HEADERS | {
            "Content-Disposition": f'attachment; filename="{name}"',
            "Content-Security-Policy": "sandbox; default-src 'none'",
        }
        return Response(body, media_type="application/octet-stream", headers=headers)

    async def replay(self, asked: PageRequest) -> Response:
        """Parse it again, by the rules of today."""
        return await self._judge_again(asked, "replayed", accept=False)

    async def believe(self, asked: PageRequest) -> Response:
        """Take what it says as true, because a person says so."""
        return await self._judge_again(asked, "believed", accept=True)

    async def _judge_again(self, asked: PageRequest, done: str, *, accept: bool) -> Response:
        kept = await self._find(asked)
        try:
            verdict = await self._parts.ingest.replay(kept.id, accept=accept)
        except (RequestRefused, StoreUnavailable) as refused:
            return _back(asked, kept.id, _code_of(refused))
        return _back(asked, kept.id, f"{done}-{verdict.value}")

    async def ask_provider(self, asked: PageRequest) -> Response:
        """Poll the callback's task now."""
        kept = await self._find(asked)
        try:
            await self._parts.intake.request_poll(kept.ref)
        except RequestRefused as refused:
            return _back(asked, kept.id, _code_of(refused))
        return _back(asked, kept.id, "asked")

    async def replay_all(self, asked: PageRequest) -> Response:
        """Replay all that a filter has, newest first, up to `REPLAY_MOST`; the answer says how many and what came."""
        form = asked.form
        wanted = Filter(form.one("verdict"), form.one("ref"), "")
        before = parse_row_id(form.one("before")) if form.one("before") else None
        if wanted.verdict not in {it.value for it in _COUNTED} or (wanted.ref and not is_ref(wanted.ref)):
            raise PageError(422, "That did not work", "Nothing was replayed: the form was changed.", _link_to())
        ids = await self._store.callbacks.to_replay(
            wanted.verdict, ref=wanted.ref or None, before=before, limit=REPLAY_MOST + 1
        )
        chosen = ids[:REPLAY_MOST]
        came, stopped = await self._replay_many(chosen)
        done = sum(came.values())
        counts = {verdict.value: str(count) for verdict, count in came.items()}
        rest = stopped if stopped is not None else chosen[-1] if len(ids) > len(chosen) else None
        more = {"done": "all", "n": str(done), **counts, **({"rest": str(rest)} if rest is not None else {})}
        return redirect(f"{wanted.link('/callbacks')}&{urlencode(more)}#done")

    async def _replay_many(self, ids: list[int]) -> tuple[Counter[Verdict], int | None]:
        """Replay these; how many got each verdict, and the id before which to go on if the store could take no more."""
        came: Counter[Verdict] = Counter()
        for start in range(0, len(ids), REPLAYED_AT_ONCE):
            some = ids[start : start + REPLAYED_AT_ONCE]
            replays = (self._parts.ingest.replay(it, accept=False) for it in some)
            results = await asyncio.gather(*replays, return_exceptions=True)
            for result in results:
                if isinstance(result, Verdict):
                    came[result] += 1
                elif not isinstance(result, RequestRefused | StoreUnavailable):
                    raise result
            if any(isinstance(it, StoreUnavailable) for it in results) and not any(
                isinstance(it, Verdict) for it in results
            ):
                return came, some[0] + 1
        return came, None

    async def _show(self, asked: PageRequest, kept: StoredCallback | None) -> Response:
        wanted = _read_filter(asked)
        empty = wanted.nonsense or wanted.bad_page
        found = [] if empty else await self._find_page(wanted)
        shown = await self._reader.show(kept) if kept is not None else None
        counts = await self._store.callbacks.count_verdicts([it.value for it in _COUNTED], COUNTED_MOST)
        rows = await self._reader.rows(found[:PAGE_ROWS])
        task = (await self._store.tasks.get([wanted.ref])).get(wanted.ref) if wanted.ref and not empty else None
        done, refused = _describe_done(asked.query("done"))
        return await self._frame.render(
            asked,
            "callbacks.html",
            title=f"Callback {kept.id}" if kept is not None else "Callbacks",
            page="callbacks",
            filter=wanted,
            query=wanted.query,
            chips=_make_chips(wanted, counts),
            rows=rows,
            open=kept.id if kept is not None else None,
            it=shown,
            older=wanted.link("/callbacks", before=str(rows[-1].id)) if rows and len(found) > PAGE_ROWS else "",
            empty=_describe_empty(wanted) if not rows else "",
            task_title=task_title(task) if task is not None else wanted.ref,
            counted=await self._store.callbacks.overflow_count(wanted.ref) if wanted.ref and not empty else 0,
            keep_days=self._parts.prune.keep.callbacks,
            to_replay=await self._count_to_replay(wanted) if kept is None and rows else 0,
            replay_most=REPLAY_MOST,
            replayed=_read_replayed(asked) if asked.query("done") == "all" else None,
            done=done,
            refused=refused,
        )

    async def _find(self, asked: PageRequest) -> StoredCallback:
        number = parse_row_id(asked.path("id"))
        kept = await self._reader.find(number) if number is not None else None
        if kept is None:
            raise _NO_CALLBACK
        return kept

    async def _find_page(self, wanted: Filter) -> list[StoredCallback]:
        return await self._store.callbacks.page(
            ref=wanted.ref or None,
            verdict=wanted.verdict or None,
            before=parse_row_id(wanted.before),
            limit=PAGE_ROWS + 1,
        )

    async def _count_to_replay(self, wanted: Filter) -> int:
        if wanted.verdict not in {it.value for it in _COUNTED}:
            return 0
        ids = await self._store.callbacks.to_replay(wanted.verdict, ref=wanted.ref or None, limit=REPLAY_MOST + 1)
        return len(ids)


class Replayed(Struct, frozen=True):
    """What came of replaying many. `rest` is the id before which to go on, if some are left."""

    count: int
    words: str
    rest: int | None


def _read_filter(asked: PageRequest) -> Filter:
    verdict, ref, before = asked.query("verdict"), asked.query("ref"), asked.query("before")
    nonsense = (verdict != "" and verdict not in {it.value for it in Verdict}) or (ref != "" and not is_ref(ref))
    return Filter(verdict, ref, before, nonsense, before != "" and parse_row_id(before) is None)


def _make_chips(wanted: Filter, counts: Mapping[str, int]) -> list[Chip]:
    every = Chip("All", wanted.link("/callbacks", verdict="", before=""), not wanted.verdict)
    return [
        every,
        *(
            Chip(it.value, wanted.link("/callbacks", verdict=it.value, before=""), wanted.verdict == it.value,
                 show_count(counts.get(it.value, 0), COUNTED_MOST))
            for it in _CHIPS
        ),
    ]  # fmt: skip


def _describe_empty(wanted: Filter) -> str:
    """Which text an empty list has."""
    if wanted.nonsense:
        return "nonsense"
    if wanted.before:
        return "gone"
    if wanted.verdict:
        return "verdict"
    return "ref" if wanted.ref else "none"


def _describe_done(word: str) -> tuple[str, str]:
    """The line that says what was done, and the one that says why nothing was."""
    kind, _, verdict = word.partition("-")
    if word == "asked":
        return _ASKED, ""
    if kind in ("replayed", "believed") and verdict in {it.value for it in Verdict}:
        if kind == "replayed":
            return _REPLAYED[Verdict(verdict)], ""
        believed = _BELIEVED.get(Verdict(verdict), "")
        return believed, "" if believed else _NOT_BELIEVED
    return "", _REFUSED.get(word, "")


def _read_replayed(asked: PageRequest) -> Replayed | None:
    counts = {it: parse_row_id(asked.query(it.value)) or 0 for it in Verdict}
    total = parse_row_id(asked.query("n"))
    if total is None or total > REPLAY_MOST:
        return None
    words = ", ".join(f"{count:,} {verdict.value}" for verdict, count in counts.items() if 0 < count <= total)
    return Replayed(total, words, parse_row_id(asked.query("rest")))


def _code_of(refused: RequestRefused | StoreUnavailable) -> str:
    return refused.code if isinstance(refused, RequestRefused) else "no_room"


def _back(asked: PageRequest, callback_id: int, done: str) -> Response:
    """To the page of the callback, with the filter as it was."""
    wanted = _read_filter(asked)
    kept = wanted if not (wanted.nonsense or wanted.bad_page) else Filter()
    path = kept.link(f"/callbacks/{callback_id}")
    return redirect(f"{path}{'&' if '?' in path else '?'}done={done}#done")


def _link_to(callback_id: int | None = None) -> tuple[str, str]:
    return ("/callbacks", "All callbacks") if callback_id is None else (f"/callbacks/{callback_id}", "The callback")
