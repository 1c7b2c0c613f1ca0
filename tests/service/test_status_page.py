"""The status page: how things stand now, what the last days were like, and what is shown while there is nothing."""

import html
import re
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

import pytest
from msgspec.structs import replace

from kit.fakes import DAY, HOUR, MINUTE, NOW, Clock, a_notice, a_ref, a_task, owe, put
from kit.pages import logged_in
from kit.submit_loop import put_state
from kit.web import near
from receiver.core.money import NANO
from receiver.core.proven_limit import ProvenLimit
from receiver.core.types import NoticeState, OutcomeSource, Task, TaskState, Usage
from receiver.store import Attempt, NewSend, Store
from receiver.web.pages.status.plots import SettledDay
from receiver.web.pages.status.status import describe_cost, describe_settled, describe_wait, scale_money

pytestmark = pytest.mark.anyio

TODAY = "2025-12-29"
_FIGURE = re.compile(r"<b>(.*?)</b>(.*?)<p[^>]*>(.*?)</p>")


def ended(number: int, took_ms: int = 58_000, *, days_ago: int = 0, by: OutcomeSource = OutcomeSource.CALLBACK) -> Task:
    """A task that completed so many days ago and cost five cents."""
    at = NOW - days_ago * DAY
    return replace(
        a_task(TaskState.COMPLETED, task_id=f"{days_ago}-{number}-{by}", spend_day=f"2025-12-{29 - days_ago}"),
        submitted_at=at - took_ms,
        settled_at=at,
        settled_by=by,
        confirmed=True,
        usage=Usage(Decimal("0.05")),
    )


async def show(folder: Path, tasks: Sequence[Task] = (), clock: Clock | None = None, **settings: str) -> str:
    async with near(folder, clock=clock or Clock(), sender=None, **settings) as web, logged_in(web) as client:
        await put(web.parts.store, *tasks)
        answer = await client.get("/status")
        assert answer.status_code == 200
        return answer.text


def figures(page: str) -> dict[str, tuple[str, str]]:
    return {what: (value, note) for value, what, note in _FIGURE.findall(page)}


def section(page: str, name: str) -> str:
    found = re.search(rf'<section [^>]*aria-labelledby="{name}">(.*?)</section>', page, re.DOTALL)
    assert found is not None
    return found[1]


def rows(page: str) -> list[list[str]]:
    cells = (re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", it) for it in re.findall(r"<tr>(.*?)</tr>", page))
    return [[html.unescape(re.sub(r"<[^>]*>", "", cell)) for cell in row] for row in cells]


async def test_nobody_sees_it_without_a_login(tmp_path: Path) -> None:
    async with near(tmp_path) as web, logged_in(web) as client:
        assert (await client.get("/status", headers={"Cookie": ""})).headers["location"] == "/login?next=%2Fstatus"


async def test_a_service_that_has_done_nothing_says_so(tmp_path: Path) -> None:
    page = await show(tmp_path)

    assert figures(page) == {
        "queued": ("0", "nothing waits"),
        "in hand": ("0 of 10", "10 places are free"),
        "settled by callback": ("–", "nothing was settled today"),
        "cost today": ("$0.00", "no daily budget is set"),
        "usual wait": ("–", "not enough yet: 0 of 3 results"),
    }
    assert "Nothing was spent in the last 14 days." in section(page, "costs")
    assert "No task was settled in the last 14 days." in section(page, "settled")
    assert "Not enough yet: 0 of 20 results." in section(page, "durations")
    assert "<svg" not in page
    assert rows(section(page, "notices")) == [
        ["target", "sent", "waiting", "given up", "usually in"],
        ["slack", "0", "0", "0", "–"],
        ["mail", "0", "0", "0", "–"],
    ]
    assert re.findall(r"<h[12][^>]*>(.*?)</h[12]>", page)[:7] == [
        *(
            "Status",
            "Needs you",
            "Now",
            "Cost a day",
            "Settled a day",
            "From submission to result",
            "Notices in 7 days",
        ),
    ]


async def test_a_service_without_targets_tells_nobody(tmp_path: Path) -> None:
    page = await show(tmp_path, targets="")
    assert "No target is configured: nobody is told. Name one in receiver.toml." in section(page, "notices")


async def test_how_things_stand_now(tmp_path: Path) -> None:
    queued = [a_task(TaskState.QUEUED, ref=a_ref(NOW - 33 * MINUTE), created_at=NOW - 33 * MINUTE, task_id=None)]
    queued += [a_task(TaskState.QUEUED, task_id=None) for _ in range(2)]
    waiting = [a_task(task_id=f"w-{number}") for number in range(9)]
    done = [ended(number) for number in range(39)]
    swept = ended(1, by=OutcomeSource.POLL)

    page = await show(tmp_path, [*queued, *waiting, *done, swept], budget_day="40")

    assert figures(page) == {
        "queued": ("3", "the oldest for 33 min"),
        "in hand": ("9 of 10", "1 place is free"),
        "settled by callback": ("97.5 %", "1 of 40 today by sweep"),
        "cost today": ("$2.00", "budget $40 a day"),
        "usual wait": ("58 s", "outpaint, half of the last 20 were quicker"),
    }


async def test_the_last_days_are_drawn_and_said(tmp_path: Path) -> None:
    tasks = [
        ended(number, 1000 * (40 + number), days_ago=day) for day, count in ((0, 20), (3, 7)) for number in range(count)
    ]
    tasks += [ended(number, days_ago=3, by=OutcomeSource.POLL) for number in range(3)]

    page = await show(tmp_path, tasks)

    costs, settled, durations = section(page, "costs"), section(page, "settled"), section(page, "durations")
    assert 'aria-label="Cost a day over 7 days: from $0.00 to $1.00, today $1.00."' in costs
    assert "23 to 29 December 2025, in USD" in costs
    assert "<dt>26 December</dt><dd>$0.50</dd>" in costs
    assert costs.count('<rect class="bar"') == 2
    assert "The sweep found 30 percent of them on 26 December, on other days none." in settled
    assert "<dt>26 December</dt><dd>7 by callback, 3 by sweep</dd>" in settled
    assert settled.count('<rect class="bar"') == 2
    assert settled.count('<rect class="bar-two"') == 1
    assert "30\u202f%</text>" in settled
    assert 'aria-label="outpaint: half within 50 s, nine in ten within 57 s."' in durations
    assert page.count('role="img"') == page.count("<summary>As figures</summary>") == 3


async def test_days_before_the_last_fourteen_are_not_shown(tmp_path: Path) -> None:
    page = await show(tmp_path, [ended(1, days_ago=14)])
    assert "No task was settled in the last 14 days." in page
    assert "Nothing was spent in the last 14 days." in page
    assert "<svg" in await show_fresh(tmp_path, [ended(1, days_ago=13)])


async def show_fresh(folder: Path, tasks: Sequence[Task]) -> str:
    (folder / "other").mkdir()
    return await show(folder / "other", tasks)


async def test_days_are_those_of_the_budget(tmp_path: Path) -> None:
    """Half past midnight in Auckland is still yesterday in UTC."""
    clock = Clock(NOW - NOW % DAY + 11 * HOUR + HOUR // 2)
    task = replace(ended(1), settled_at=clock.now, submitted_at=clock.now - MINUTE, spend_day="2025-12-30")
    page = await show(tmp_path, [task], clock, budget_day="1 Pacific/Auckland")
    assert "<dt>30 December</dt><dd>1 by callback, 0 by sweep</dd>" in section(page, "settled")
    assert "days of Pacific/Auckland" in section(page, "costs")
    assert figures(page)["cost today"] == ("$0.05", "budget $1 a day")


async def test_too_few_results_are_counted(tmp_path: Path) -> None:
    page = await show(tmp_path, [ended(number) for number in range(3)])
    assert "Not enough yet: 3 of 20 results." in section(page, "durations")
    assert figures(page)["usual wait"] == ("58 s", "outpaint, half of the last 3 were quicker")


async def deliver(store: Store, target: str, count: int, took_ms: int) -> None:
    await owe(store, *(a_notice(target, due_at=NOW) for _ in range(count)))
    async with store.write() as tx:
        [send] = await tx.sends.open_sends([NewSend(target, NOW, digest=True)], "me", NOW, NOW + HOUR)
    async with store.write() as tx:
        await tx.sends.add_attempt(Attempt(send.id, NOW, 9_999, "no answer in time"))
        await tx.sends.add_attempt(Attempt(send.id, NOW, took_ms, None))
        await tx.sends.record_sent(send, NOW)


async def test_what_was_sent_to_each_target(tmp_path: Path) -> None:
    clock = Clock()
    async with near(tmp_path, clock=clock) as web, logged_in(web) as client:
        store = web.parts.store
        await deliver(store, "slack", 3, 600)
        await owe(store, a_notice("mail"), a_notice("mail", state=NoticeState.HELD))
        await owe(store, a_notice("mail", due_at=NOW + HOUR), a_notice("mail", state=NoticeState.DISCARDED))
        await owe(store, *(a_notice("gone <i>", state=NoticeState.DEAD) for _ in range(2)))

        async def targets() -> list[list[str]]:
            return rows(section((await client.get("/status")).text, "notices"))[1:]

        assert await targets() == [
            ["slack", "3", "0", "0", "600 ms"],
            ["mail", "0", "3", "0", "–"],
            ["gone <i> (gone)", "0", "0", "2", "–"],
        ]
        clock.forward(7 * DAY - HOUR)
        assert (await targets())[0][1] == "3"
        clock.forward(2 * HOUR)
        assert (await targets())[0] == ["slack", "0", "0", "0", "600 ms"]


async def test_nothing_on_the_page_needs_a_style_or_a_script_of_its_own(tmp_path: Path) -> None:
    page = await show(tmp_path, [ended(number, days_ago=day) for day in range(14) for number in range(20)])
    assert "style=" not in page
    assert not re.search(r"\son\w+=", page)
    assert not re.search(r"<script(?! src=)", page)
    assert len(page.encode()) < 16_000


async def test_a_limit_that_the_provider_lowered(tmp_path: Path) -> None:
    async with near(tmp_path) as web, logged_in(web) as client:
        await put_state(web.parts.store, limit=ProvenLimit(10, ceiling=4, probe_at=NOW + MINUTE))
        await put(web.parts.store, a_task())
        found = figures((await client.get("/status")).text)
    assert found["in hand"] == ("1 of 4", "the provider takes no more; 10 are set")


def test_what_today_was_settled_by() -> None:
    assert describe_settled(SettledDay(TODAY, 640, 0)).note == "all 640 of today"
    assert describe_settled(SettledDay(TODAY, 9_999, 1)).value == "99.9 %"
    assert describe_settled(SettledDay(TODAY, 1, 9_999)).value == "0.1 %"
    assert describe_settled(SettledDay(TODAY, 0, 3, 9)).value == "0 %"
    assert describe_settled(SettledDay(TODAY, 0, 0, 9)).value == "–"


def test_the_usual_wait_is_that_of_the_first_model_that_is_known() -> None:
    assert describe_wait([("a", [1000] * 2), ("b", [60_000] * 13)]).note == "b, half of the last 13 were quicker"
    assert describe_wait([("b", [60_000] * 20)]).value == "1 min"


@pytest.mark.parametrize(
    ("amount", "words"),
    [(0, "$0"), (24 * NANO, "$24"), (NANO // 2, "$0.50"), (37 * NANO // 1000, "$0.037"), (12_000 * NANO, "$12k")],
)
def test_money_on_a_scale_is_short(amount: int, words: str) -> None:
    assert scale_money(amount) == words
    assert describe_cost(0, amount).note == f"budget {words} a day"
