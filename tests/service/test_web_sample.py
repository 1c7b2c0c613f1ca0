"""`receiver notices test`: a real sample, with a picture, to real doubles; and what it says when that goes wrong."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from kit.chat_services import Double, slack, slack_faults
from kit.fakes import FakeSender
from kit.live_service import PATIENCE_S
from kit.smtp_server import mailbox
from kit.web import Served, command, near, problem, served
from receiver.core.types import AttemptResult
from receiver.notify.senders.sender import AppriseSender
from receiver.pictures.files import SAMPLE, SHEET

pytestmark = [
    pytest.mark.anyio,
    # Apprise's PGP module imports it on Python < 3.13, when all plugins are loaded; nothing of ours does.
    pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning"),
]

SLACK = '[targets.team]\nurl = "slack://T0KENA/T0KENB/T0KENC"\n'
PUBLIC = "https://pings.example"


@pytest.fixture
def slack_there(monkeypatch: pytest.MonkeyPatch) -> Iterator[Double]:
    with slack(monkeypatch) as there:
        yield there


async def tried(web: Served, target: str) -> Any:
    answer = await web.client.post("/api/v1/notices/test", json={"target": target}, timeout=PATIENCE_S)
    assert answer.status_code == 200, answer.text
    return answer.json()


@asynccontextmanager
async def serving(directory: Path, targets: str, *, public_url: str = "") -> AsyncIterator[Served]:
    sender = AppriseSender(timeout_s=20)
    async with served(directory, sender=sender, targets=targets, public_url=public_url) as web:
        yield web


async def test_slack_gets_a_sample_with_a_picture_that_it_can_fetch(slack_there: Double, tmp_path: Path) -> None:
    async with serving(tmp_path, SLACK, public_url=PUBLIC) as web:
        said = await command(web, "notices", "test", "--target", "team")

        [request] = slack_there.requests
        payload = request.json()
        assert slack_faults(payload) == []
        [picture] = [it for it in payload["attachments"][0]["blocks"] if it["type"] == "image"]
        seen = await web.client.get(picture["image_url"].removeprefix(PUBLIC), headers={"Authorization": ""})
        assert seen.headers["content-type"] == "image/jpeg"
        assert seen.content.startswith(b"\xff\xd8\xff")
    assert (said.exit_code, said.stderr) == (0, "")
    assert said.stdout.startswith("team accepted it in ")
    assert "with a picture, linked" in said.stdout


async def test_slack_that_cannot_reach_us_gets_no_picture_and_the_sample_says_why(
    slack_there: Double, tmp_path: Path
) -> None:
    async with serving(tmp_path, SLACK) as web:
        said = await command(web, "notices", "test", "--target", "team")

    [request] = slack_there.requests
    assert b'"image' not in request.body
    assert said.exit_code == 0
    assert "without a picture: Slack would load it from PUBLIC_URL, which it cannot reach" in said.stdout


async def test_a_failed_sample_is_not_said_to_be_tried_again(slack_there: Double, tmp_path: Path) -> None:
    """A ping would be; this one a person repeats."""
    slack_there.answer((500, b"rollup_error"))
    async with serving(tmp_path, SLACK) as web:
        said = await command(web, "notices", "test", "--target", "team")

    assert said.exit_code == 1
    assert "the fault is on its side: try again later; a ping is tried again by itself" in said.stderr


async def test_a_wrong_slack_token_says_what_to_do(slack_there: Double, tmp_path: Path) -> None:
    slack_there.answer((403, b"invalid_token"))
    async with serving(tmp_path, SLACK) as web:
        said = await command(web, "notices", "test", "--target", "team")

    assert said.exit_code == 1
    assert len(said.stderr.splitlines()) == 1
    assert "invalid_token" in said.stderr
    assert "make a new one there, and put it into the target's URL" in said.stderr
    assert "T0KEN" not in said.stderr


async def test_an_unknown_host_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = socket.getaddrinfo

    def getaddrinfo(host: Any, *args: Any, **named: Any) -> Any:
        if host == "nobody.invalid":
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return known(host, *args, **named)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    async with serving(tmp_path, '[targets.hook]\nurl = "json://nobody.invalid/x"\n') as web:
        said = await command(web, "notices", "test", "--target", "hook")

    assert said.exit_code == 1
    assert "its host name is not known" in said.stderr
    assert "check the host name in the target's URL, and this machine's DNS" in said.stderr


async def test_a_refused_recipient_says_what_to_do(tmp_path: Path) -> None:
    async with mailbox() as (box, target):
        box.refused = {"ann@example.com", "bob@example.com"}
        async with serving(tmp_path, f'[targets.mail]\nurl = "{target.url}"\n') as web:
            said = await command(web, "notices", "test", "--target", "mail")

    assert said.exit_code == 1
    assert "550 5.1.1 no such user" in said.stderr
    assert "check the address" in said.stderr


async def test_a_mail_shows_the_sample_s_picture_inside(tmp_path: Path) -> None:
    async with mailbox() as (box, target), serving(tmp_path, f'[targets.mail]\nurl = "{target.url}"\n') as web:
        told = await tried(web, "mail")
        sheet = web.parts.files.find_file(SAMPLE, SHEET)

    assert (told["ok"], told["error"], told["picture"]) == (True, None, "attached")
    [mail] = box.mails
    markup = mail.get_body(("html",))
    assert markup is not None
    assert "cid:sheet.jpg" in markup.get_content()
    [picture] = [part for part in mail.walk() if part.get_content_type() == "image/jpeg"]
    assert sheet is not None
    assert picture.get_payload(decode=True) == sheet.read_bytes()


async def test_a_sample_goes_past_the_outbox(tmp_path: Path) -> None:
    async with near(tmp_path) as web:
        told = await tried(web, "slack")

        assert told == {
            "target": "slack",
            "ok": True,
            "error": None,
            "duration_ms": 7,
            "advice": None,
            "picture": None,
            "no_picture": None,
            "note": None,
        }
        assert (await web.client.get("/api/v1/notices")).json()["notices"] == []


async def test_an_unknown_target_is_refused_with_those_there_are(tmp_path: Path) -> None:
    async with near(tmp_path) as web:
        answer = await web.client.post("/api/v1/notices/test", json={"target": "slock"})

        assert problem(answer) == (404, "not_found", "target")
        assert answer.json()["error"]["message"] == "unknown target 'slock' (did you mean slack?)"


async def test_one_target_is_tried_at_a_time(tmp_path: Path) -> None:
    sender = FakeSender()
    sender.gate = asyncio.Event()
    async with near(tmp_path, sender=sender) as web:
        first = asyncio.create_task(tried(web, "slack"))
        await sender.begun.wait()

        second = await web.client.post("/api/v1/notices/test", json={"target": "mail"})

        assert problem(second) == (409, "busy", None)
        sender.gate.set()
        assert (await first)["ok"]
        assert (await tried(web, "mail"))["ok"]


async def test_a_failure_of_the_target_is_an_answer_not_an_error(tmp_path: Path) -> None:
    sender = FakeSender()
    sender.results.append(
        AttemptResult(error="Failed to send JSON notification: error=404", permanent=True, duration_ms=3)
    )
    async with near(tmp_path, sender=sender) as web:
        told = await tried(web, "slack")

    assert (told["ok"], told["error"], told["duration_ms"]) == (
        False,
        "Failed to send JSON notification: error=404",
        3,
    )
    assert "check the URL" in told["advice"]


async def test_a_picture_that_cannot_be_kept_costs_no_trial(tmp_path: Path) -> None:
    (tmp_path / "images").write_text("in the way")
    async with mailbox() as (box, target), serving(tmp_path, f'[targets.mail]\nurl = "{target.url}"\n') as web:
        told = await tried(web, "mail")

    assert (told["ok"], told["picture"]) == (True, None)
    assert "could not be drawn or stored" in told["no_picture"]
    assert len(box.mails) == 1


@pytest.mark.parametrize(
    ("event", "says", "shown"),
    [
        (
            "completed",
            "hook accepted it in 7 ms, without a picture: a target of its kind takes none; check",
            "✓ a test — 4 pictures",
        ),
        ("failed", "hook accepted it in 7 ms; check", "✗ a test: failed — this is only a test, nothing failed"),
        ("lost", "hook accepted it in 7 ms; check", "? a test: lost — no result before its deadline"),
        ("attention", "hook accepted it in 7 ms; check", "! a test: we do not know whether the provider accepted it"),
        ("digest", "hook accepted it in 7 ms, without a picture", "✗ 4 tasks: 1 failed, 1 needs you, 2 done"),
    ],
)
async def test_every_kind_of_message_can_be_tried(tmp_path: Path, event: str, says: str, shown: str) -> None:
    sender = FakeSender()
    async with served(tmp_path, sender=sender, targets='[targets.hook]\nurl = "json://hook.invalid/x"\n') as web:
        said = await command(web, "notices", "test", "--target", "hook", "--event", event)

    assert (said.exit_code, said.stderr) == (0, "")
    assert said.stdout.startswith(says)
    [(_, message)] = sender.sent
    assert message.title == shown


async def test_a_sample_of_what_the_target_is_not_notified_of_says_so(tmp_path: Path) -> None:
    targets = '[targets.hook]\nurl = "json://hook.invalid/x"\non = ["failed", "lost"]\n'
    async with served(tmp_path, sender=FakeSender(), targets=targets) as web:
        said = await command(web, "notices", "test", "--target", "hook", "--event", "completed")
        asked = await command(web, "notices", "test", "--target", "hook", "--event", "lost")

    assert said.exit_code == 0
    assert said.stderr == "only a sample: hook is not notified of completed, since its `on` is failed, lost\n"
    assert asked.stderr == ""


async def test_an_unknown_event_is_refused(tmp_path: Path) -> None:
    async with near(tmp_path) as web:
        answer = await web.client.post("/api/v1/notices/test", json={"target": "slack", "event": "done"})

    assert answer.status_code == 422


async def test_the_only_target_need_not_be_named(tmp_path: Path) -> None:
    async with served(tmp_path, sender=FakeSender(), targets='[targets.hook]\nurl = "json://hook.invalid/x"\n') as web:
        said = await command(web, "notices", "test", "--event", "failed")

    assert (said.exit_code, said.stdout) == (0, "hook accepted it in 7 ms; check that it arrived\n")


@pytest.mark.parametrize(
    ("names", "problem"),
    [((), "there are none"), (("blog", "art"), "name one of the targets: art, blog")],
)
async def test_one_of_several_targets_has_to_be_named(tmp_path: Path, names: tuple[str, ...], problem: str) -> None:
    targets = "".join(f'[targets.{name}]\nurl = "json://{name}.invalid/x"\n' for name in names)
    sender = FakeSender()
    async with served(tmp_path, sender=sender, targets=targets) as web:
        said = await command(web, "notices", "test")

    assert (said.exit_code, said.stdout, said.stderr) == (1, "", f"receiver: no target is named; {problem}\n")
    assert not sender.sent
