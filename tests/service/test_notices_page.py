"""The page of notices: the targets with their tests, the list, and what was given up sent again."""

import html
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from msgspec import Struct
from msgspec.structs import replace

from kit.fakes import HOUR, MINUTE, NOW, FakeSender, a_notice, a_ref, a_task
from kit.page_states import HOSTILE
from kit.pages import logged_in, post_form
from kit.web import Served, near
from receiver.core.types import AttemptResult, Notice, NoticeEvent, NoticeState, Report, TaskState
from receiver.store import Attempt, NewSend

pytestmark = pytest.mark.anyio

DEAD: dict[str, Any] = {"state": NoticeState.DEAD, "attempts": 3, "error": "Slack says invalid_auth"}
QUIET = '[targets.team]\nurl = "json://127.0.0.1:9/a"\nquiet = "00:00-23:59 UTC"\nquiet_except = ["failed"]\n'


class Place(Struct, eq=False):
    """A service, and a client that is logged in."""

    web: Served
    client: httpx.AsyncClient
    sender: FakeSender

    async def add(self, *notices: Notice) -> list[int]:
        """Stored notices as they are; their ids."""
        async with self.web.parts.store.write() as tx:
            await tx.notices.insert(notices)
        page = await self.web.parts.store.notices.page(limit=len(notices))
        return [it.id or 0 for it in reversed(page)]

    async def states(self, **filters: Any) -> list[str]:
        """The states of the stored notices, oldest first."""
        found = await self.web.parts.store.notices.page(limit=1_000, **filters)
        return [it.state.value for it in reversed(found)]

    async def text(self, path: str, status: int = 200) -> str:
        """What a page says, without its markup."""
        answer = await self.client.get(path)
        assert answer.status_code == status, answer.text
        main = answer.text[answer.text.index("<main") : answer.text.index("</main>")]
        return " ".join(html.unescape(re.sub(r"<[^>]*>", "", main)).split())

    async def press(self, path: str, **fields: str | list[str]) -> str:
        """Press a button; where it leads."""
        answer = await post_form(self.client, path, page="/notices", **fields)
        assert answer.status_code == 303, answer.text
        return answer.headers["location"].partition("#")[0]


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    sender = FakeSender()
    async with near(tmp_path, sender=sender) as web, logged_in(web) as client:
        yield Place(web, client, sender)


def named(label: str, target: str = "slack", **more: Any) -> Notice:
    report = Report(event=NoticeEvent.COMPLETED, ref=more.get("ref"), label=label)
    return a_notice(target=target, report=report, **more)


async def test_nobody_was_told_yet(place: Place) -> None:
    text = await place.text("/notices")
    assert "Nobody was told anything yet. Notices appear when a task ends." in text
    assert "slack not used yet" in re.sub(r"(?<=slack)(?=not)", " ", text)
    assert text.count("Send a test") == 2 + text.count("Send a test to see")


async def test_no_target_is_configured(tmp_path: Path) -> None:
    async with near(tmp_path, targets="") as web, logged_in(web) as client:
        page = (await client.get("/notices")).text
    assert "No target is configured: nobody is told. Name one in <code>receiver.toml</code>." in page


async def test_a_row_says_what_to_whom_how_it_stands_and_why(place: Place) -> None:
    task = replace(a_task(TaskState.COMPLETED), ref=a_ref())
    await place.add(
        named("hero", ref=task.ref, **DEAD),
        named("kite", state=NoticeState.HELD, due_at=NOW + HOUR),
        named("dusk", target="mail", due_at=NOW - 1),
    )
    text = await place.text("/notices")
    assert re.search(r"hero completed ?slack ?given up ?Slack says invalid_auth: its token is not accepted", text)
    assert re.search(r"kite completed ?slack ?held ?its digest, at 10:20:00", text)
    assert re.search(r"dusk completed ?mail ?waiting ?its turn", text)
    page = (await place.client.get("/notices")).text
    assert f'<a href="/tasks/{task.ref}" data-step>' in page
    assert page.count('type="checkbox" name="id"') == 1, "only what was given up can be chosen"


async def test_tries_open(place: Place) -> None:
    store = place.web.parts.store
    await place.add(named("hero"))
    async with store.write() as tx:
        [send] = await tx.sends.open_sends([NewSend("slack", NOW)], "me", NOW, NOW + MINUTE)
        await tx.sends.add_attempt(Attempt(send.id, NOW, 212, "Slack says invalid_auth"))
        await tx.sends.add_attempt(Attempt(send.id, NOW + 5_000, 198, HOSTILE))
        await tx.sends.bury_send(send, "Slack says invalid_auth", tried=True)
    text = await place.text("/notices")
    assert "2 tries" in text
    assert "09:20:00, 212 ms: Slack says invalid_auth" in text
    assert "<script>alert(1)</script>" in text
    assert "<script>" not in (await place.client.get("/notices")).text.partition("<main")[2]


async def test_what_was_sent_and_how_fast(place: Place) -> None:
    store = place.web.parts.store
    await place.add(named("hero"))
    async with store.write() as tx:
        [send] = await tx.sends.open_sends([NewSend("slack", NOW)], "me", NOW, NOW + MINUTE)
        await tx.sends.add_attempt(Attempt(send.id, NOW, 1_100, None))
        await tx.sends.record_sent(send, NOW)
    text = await place.text("/notices")
    assert "works · 1 sent in 7 days" in text
    assert "Last: 09:20:00, in 1.1 s" in text
    assert re.search(r"sent ?at 09:20:00", text)


async def test_quiet_hours_and_a_rest(tmp_path: Path) -> None:
    async with near(tmp_path, targets=QUIET) as web, logged_in(web) as client:
        place = Place(web, client, FakeSender())
        await place.add(named("hero", target="team", state=NoticeState.HELD, due_at=NOW + 14 * HOUR + 39 * MINUTE))
        async with web.parts.store.write() as tx:
            await tx.sends.count_failure("team", NOW)
            await tx.sends.rest_target("team", NOW + 4 * MINUTE)
        text = await place.text("/notices")
    assert "rests after failures until 09:24:00 · quiet until 23:59:00 · 1 held" in text
    assert "They come as one message then. Failures come at once." in text
    assert re.search(r"held ?quiet hours, until 23:59:00", text)


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("state=nonsense", "Nothing matches."),
        ("state=%00", "Nothing matches."),
        ("ref=nonsense", "Nothing matches."),
        ("target=nobody", "Nothing matches."),
        ("target=%3Cscript%3Ealert(1)%3C/script%3E", "Nothing matches."),
        ("before=nonsense", "This page of the list is no longer there."),
        ("before=1", "This page of the list is no longer there."),
        ("before=99999999999999999999999999", "This page of the list is no longer there."),
        ("state=sent", "No notice was sent."),
        ("state=waiting", "No notice waits."),
        ("state=waiting&target=slack", "No notice to slack waits."),
        ("state=discarded", "Nothing matches."),
        ("target=" + "x" * 5000, "Nothing matches."),
    ],
    ids=lambda it: it[:20],
)
async def test_a_filter_that_nothing_matches(place: Place, query: str, says: str) -> None:
    await place.add(named("hero", **DEAD))
    answer = await place.client.get(f"/notices?{query}")
    assert "<script>" not in answer.text.partition("<main")[2]
    text = await place.text(f"/notices?{query}")
    assert says in text
    assert "Show all" in text or "To the newest" in text


async def test_nothing_of_a_task(place: Place) -> None:
    text = await place.text(f"/notices?ref={a_ref()}")
    assert "Nobody was told anything about this task." in text


async def test_filters(place: Place) -> None:
    ref = a_ref()
    await place.add(
        named("hero", **DEAD),
        named("kite", target="mail", ref=ref, state=NoticeState.HELD, due_at=NOW + HOUR),
        named("dusk", ref=ref),
    )
    for query, labels in (
        ("", ["dusk", "kite", "hero"]),
        ("state=dead", ["hero"]),
        ("state=waiting", ["dusk", "kite"]),
        ("target=slack", ["dusk", "hero"]),
        (f"ref={ref}", ["dusk", "kite"]),
        (f"ref={ref}&state=waiting&target=mail", ["kite"]),
    ):
        page = (await place.client.get(f"/notices?{query}")).text
        assert re.findall(r"<bdi>(\w+) completed</bdi>", page) == labels, query


@pytest.mark.parametrize("state", ["", "state=waiting&"])
async def test_pages(place: Place, state: str) -> None:
    ids = await place.add(*(named("hero", state=NoticeState.HELD, due_at=NOW + HOUR) for _ in range(120)))
    seen, path = list[str](), f"/notices?{state}target=slack"
    while path:
        page = (await place.client.get(path)).text
        seen += re.findall(r'<tr data-ref="(\d+)"', page)
        older = re.search(r'href="([^"]*)">Older', page)
        path = html.unescape(older[1]) if older else ""
    assert seen == [str(it) for it in reversed(ids)]


async def test_the_chosen_are_sent_again(place: Place) -> None:
    first, second, sent = await place.add(named("a", **DEAD), named("b", **DEAD), named("c", state=NoticeState.SENT))
    led = await place.press("/notices/again?state=dead", id=[str(first), str(sent), "x", "-1"])
    assert led == "/notices?state=dead&done=again&n=1&left=1"
    assert await place.states() == ["due", "dead", "sent"]
    assert "1 is sent again. 1 is not: no longer given up, or the target is gone." in await place.text(led)
    again = await place.press("/notices/again", id=[str(first)])
    assert "Nothing was sent again" in await place.text(again)
    assert "Nothing was chosen, so nothing was changed." in await place.text(await place.press("/notices/again"))
    assert second


async def test_all_of_a_target_are_sent_again_not_only_those_of_the_page(place: Place) -> None:
    await place.add(
        *(named("hero", created_at=NOW - it * MINUTE, **DEAD) for it in range(260)), named("kite", "mail", **DEAD)
    )
    text = await place.text("/notices")
    assert "Send all 260 of slack again" in text
    assert "Send the one of mail again" in text
    assert "They were made between 29 December, 05:01:00 and 29 December, 09:20:00." in text
    assert "slack gets them as 260 messages, one after the other." in text
    assert (
        "Fix the target first: it last answered Slack says invalid_auth. Its token is not accepted: make a new" in text
    )
    assert "Given up 261" in text

    led = await place.press("/notices/again?target=slack", all="1", target="slack")
    assert "260 are sent again." in await place.text(led)
    assert set(await place.states(target="slack")) == {"due"}
    assert await place.states(target="mail") == ["dead"]


async def test_the_number_at_the_top_is_right_after_an_act(place: Place) -> None:
    first, second = await place.add(named("a", **DEAD), named("b", **DEAD))
    badge = '<span class="badge">{}<span class="visually-hidden"> given up'
    assert badge.format(2) in (await place.client.get("/notices")).text
    led = await place.press("/notices/again", id=[str(first)])
    shown = (await place.client.get(led)).text
    assert badge.format(1) in shown
    assert '<a href="/notices?state=waiting">See what waits</a>' in shown
    led = await place.press("/notices/discard", id=[str(second)])
    assert "given up" not in re.sub(r"<main.*?</main>", "", (await place.client.get(led)).text, flags=re.DOTALL)


async def test_what_was_given_up_is_discarded_if_it_was_chosen(place: Place) -> None:
    first, second, sent = await place.add(
        named("a", "gone", **DEAD), named("b", **DEAD), named("c", state=NoticeState.SENT)
    )
    page = (await place.client.get("/notices?state=dead")).text
    assert page.index("Send the chosen again") < page.index('formaction="/notices/discard?state=dead"'), "Enter sends"
    led = await place.press("/notices/discard?state=dead", id=[str(first), str(sent), "x"])
    assert led == "/notices?state=dead&done=discarded&n=1&left=1"
    assert await place.states() == ["discarded", "dead", "sent"]
    text = await place.text(led)
    assert "1 is discarded: nobody is told of it. 1 is not: no longer given up." in text
    assert "Nothing was chosen, so nothing was changed." in await place.text(await place.press("/notices/discard"))
    again = await place.press("/notices/discard", id=[str(first)])
    assert "Nothing was discarded: none of them is given up any more." in await place.text(again)
    assert second


async def test_all_of_a_task_are_sent_again(place: Place) -> None:
    ref = a_ref()
    await place.add(named("a", ref=ref, **DEAD), named("a", "mail", ref=ref, **DEAD), named("b", **DEAD))
    page = f"/notices?ref={ref}"
    assert "Send all 2 again" in await place.text(page)
    led = await place.press(f"/notices/again?ref={ref}", all="1", target="", ref=ref)
    assert "2 are sent again." in await place.text(led)
    assert await place.states() == ["due", "due", "dead"]


async def test_a_target_that_is_gone(place: Place) -> None:
    await place.add(named("hero", "old <b>target</b>", **DEAD))
    text = await place.text("/notices?target=old+%3Cb%3Etarget%3C/b%3E")
    assert "gone from receiver.toml · 1 given up" in text
    assert "The target is gone from receiver.toml: they go to another." in text
    gone = "old <b>target</b>"
    for fields in ({"target": gone}, {"target": gone, "to": "nobody"}):
        assert (await post_form(place.client, "/notices/again", all="1", **fields)).status_code == 422
    led = await place.press("/notices/again", all="1", target=gone, to="mail")
    assert "1 is sent again." in await place.text(led)
    assert await place.states(target="mail") == ["due"]


async def test_a_test_says_what_came_of_it(place: Place) -> None:
    led = await place.press("/notices/test", target="slack")
    assert led == "/notices?tested=slack"
    assert "slack took it in 7 ms. Check that it arrived." in re.sub(
        r" It came without the picture: [^.]*\.", "", await place.text(led)
    )
    assert [name for name, _ in place.sender.sent] == ["slack"]
    place.sender.results.append(AttemptResult(error=f"invalid_auth {HOSTILE}"))
    text = await place.text(await place.press("/notices/test", target="slack"))
    assert "slack did not take it: invalid_auth <script>" in text
    assert "its token is not accepted" in text
    place.web.parts.clock.now += 16 * MINUTE  # type: ignore[attr-defined]
    assert "did not take it" not in await place.text("/notices?tested=slack")


@pytest.mark.parametrize("name", ["nobody", "", HOSTILE])
async def test_no_test_of_an_unknown_target(place: Place, name: str) -> None:
    assert (await post_form(place.client, "/notices/test", target=name)).status_code == 422
    assert place.sender.sent == []


@pytest.mark.parametrize("query", ["tested=%3Cscript%3E", "done=again&n=x", "done=again&n=1&left=x", "done=x&n=1"])
async def test_what_was_done_is_never_text_from_the_address(place: Place, query: str) -> None:
    answer = await place.client.get(f"/notices?{query}")
    assert answer.status_code == 200
    assert "<script>" not in answer.text.partition("<main")[2]


@pytest.mark.parametrize("act", ["again", "discard", "test"])
async def test_no_act_without_the_forms_token(place: Place, act: str) -> None:
    await place.add(named("hero", **DEAD))
    refused = await place.client.post(f"/notices/{act}", data={"target": "slack", "all": "1"})
    assert refused.status_code == 403
    assert (await place.states(), place.sender.sent) == (["dead"], [])


async def test_strangers_see_nothing(place: Place) -> None:
    async with httpx.AsyncClient(transport=place.web.client._transport, base_url="http://receiver") as stranger:
        assert (await stranger.get("/notices")).status_code == 303


async def test_hostile_words_are_text(place: Place) -> None:
    reports = [Report(event=event, label=HOSTILE, text=HOSTILE, batch=HOSTILE, cause=HOSTILE) for event in NoticeEvent]
    await place.add(
        *(
            a_notice(target=target, report=it, event=it.event, state=NoticeState.DEAD, error=HOSTILE)
            for target in ("slack", HOSTILE)
            for it in reports
        )
    )
    page = await place.client.get("/notices")
    assert page.status_code == 200
    shown = re.sub(r'<input type="hidden"[^>]*>', "", page.text.partition("<main")[2])
    assert not re.search(r"<script>|<img|\x07|\u202e", shown)
