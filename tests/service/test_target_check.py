"""Targets are loaded once in a process of its own: what cannot work is told at once, with its reason and its remedy."""

import asyncio
import logging
import os
import sys
from pathlib import Path

import pytest
from apprise.plugins import simplepush
from apprise.plugins.mqtt import NotifyMQTT

from kit.live_service import serving, until
from receiver.apprise_schemes import SCHEMES
from receiver.core.types import Target
from receiver.notify.senders.sender import check_target
from receiver.notify.senders.target_check import process as target_check
from receiver.notify.senders.target_check.process import warn_of_unusable

SENTINEL = "s3ntinelNeverShown0123456789"

pytestmark = pytest.mark.anyio


def fault(url: str) -> tuple[str, str]:
    found = check_target(Target(name="team", url=url))
    assert found is not None
    assert SENTINEL not in str(found)
    return found.problem, found.remedy or ""


@pytest.mark.parametrize(
    ("url", "problem", "remedy"),
    [
        (
            f"discord://{SENTINEL}",
            "Apprise cannot use this discord:// URL: An invalid Discord Webhook Token (None) was specified",
            "https://appriseit.com/services/discord/ shows how its URL is written",
        ),
        (
            f"matrixs://u:p@h/{SENTINEL}?mode={SENTINEL}",
            "Apprise cannot use this matrixs:// URL: The *** specified (***) is invalid",
            "https://appriseit.com/services/matrix/ shows how its URL is written",
        ),
        (
            f"https://127.0.0.1/{SENTINEL}",
            "no service has webhooks at this https:// address, or a part of it is missing",
            "copy it again; for a webhook of your own write jsons://HOST/PATH; https://appriseit.com/services/ shows "
            "the URLs of each service",
        ),
        (
            f"https://hooks.slack.com/services/{SENTINEL}",
            "no service has webhooks at this https:// address, or a part of it is missing",
            "copy it again; for a webhook",
        ),
        (
            "windows://",
            "windows:// does not work on this machine: A local Microsoft Windows environment is required",
            "use another service",
        ),
        (
            f"signal://127.0.0.1/11111111111/{SENTINEL[:3]}/",
            "its URL names no recipient that the service accepts",
            "https://appriseit.com/services/signal/ shows how to name one",
        ),
        (f"json://a/{SENTINEL},json://b", "it holds several URLs", "give each its own target"),
    ],
)
def test_a_url_that_apprise_refuses_is_told_with_apprises_reason(url: str, problem: str, remedy: str) -> None:
    told, then = fault(url)
    assert told == problem
    assert then.startswith(remedy)


@pytest.mark.parametrize("scheme", sorted(SCHEMES))
def test_no_service_is_one_whose_url_cannot_be_judged(scheme: str) -> None:
    """Whatever its module holds beside the plugin."""
    found = check_target(Target(name="team", url=f"{scheme}://u:{SENTINEL}@127.0.0.1/a/b"))
    assert found is None or (found.remedy and SENTINEL not in str(found))


def test_a_service_whose_package_is_missing_is_told_with_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(NotifyMQTT, "enabled", False)
    monkeypatch.setattr(NotifyMQTT, "requirements", {"packages_required": ["paho-mqtt >= 2.1.0", "other"]})
    problem, remedy = fault(f"mqtt://u:{SENTINEL}@h/t")
    assert problem == "mqtt:// needs the packages paho-mqtt >= 2.1.0 and other, which this program does not have"
    assert remedy == (f"run `{sys.executable} -m pip install 'paho-mqtt>=2.1.0' 'other'`, then restart the service")


def test_a_package_that_only_this_url_needs_is_told_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simplepush, "NOTIFY_SIMPLEPUSH_ENCRYPTION", False)
    problem, remedy = fault(f"spush://{SENTINEL}@{SENTINEL}/alerts")
    assert problem.endswith("Encrypted Simplepush sends require PyNaCl to be installed")
    assert remedy == f"run `{sys.executable} -m pip install PyNaCl`, then restart the service"


async def warned(
    caplog: pytest.LogCaptureFixture, *urls: str, child: tuple[str, ...] = target_check.CHILD
) -> list[str]:
    """What is logged for targets a, b, c…"""
    caplog.clear()
    caplog.set_level(logging.INFO)
    targets = [Target(name=name, url=url) for name, url in zip("abcdef", urls, strict=False)]
    await warn_of_unusable(targets, child=child)
    return [record.getMessage() for record in caplog.records]


async def test_a_service_warns_of_it_once_it_listens(tmp_path: Path) -> None:
    urls = f"json://127.0.0.1:9/ discord://{SENTINEL}"
    async with serving(tmp_path, "http://127.0.0.1:9/generation", NOTIFY_URLS=urls):

        async def warned_of() -> list[str]:
            lines = (tmp_path / "service.log").read_text().splitlines()
            return [line for line in lines if "target.unusable" in line]

        [line] = await until(warned_of)
    assert "Apprise cannot use this discord:// URL: An invalid Discord Webhook Token" in line
    assert SENTINEL not in (tmp_path / "service.log").read_text()


async def test_each_target_that_cannot_work_is_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    lines = await warned(caplog, "json://127.0.0.1", f"discord://{SENTINEL}", "windows://", "json://127.0.0.2")
    assert [line.partition(":")[0] for line in lines] == [f"no message can be sent to {name}" for name in "bc"]
    assert {record.levelname for record in caplog.records} == {"WARNING"}
    assert SENTINEL not in str(lines)
    assert await warned(caplog, "json://127.0.0.1") == []
    assert await warned(caplog) == []


def child_that(code: str) -> tuple[str, ...]:
    """A child that does this with the list `urls`, line by line."""
    head = (
        "import json,os,sys,time\nurls=json.loads(sys.stdin.read())\nsay=lambda it:print(json.dumps(it),flush=True)\n"
    )
    return (sys.executable, "-c", head + code)


async def test_a_target_at_which_the_child_dies_or_hangs_costs_only_its_own_check(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(target_check, "EACH_S", 3.0)
    hanging = child_that(
        "for url in urls:\n"
        " if url == 'dies': os.abort()\n"
        " if url == 'hangs': time.sleep(600)\n"
        " if url == 'babbles': print('x' * 100_000)\n"
        " say(None if url == 'good' else [url, None])"
    )
    lines = await warned(caplog, "good", "dies", "bad", "babbles", "hangs", "bad", child=hanging)
    assert lines == [
        "no message can be sent to c: bad",
        "no message can be sent to f: bad",
        "3 targets could not be checked",
    ]


async def test_a_child_that_cannot_be_started_is_no_fault_of_the_service(caplog: pytest.LogCaptureFixture) -> None:
    assert await warned(caplog, "json://a", child=("/nowhere/python",)) == ["1 target could not be checked"]


async def test_a_stop_ends_the_child(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    slow = child_that(f"open({str(note)!r}, 'w').write(str(os.getpid()))\ntime.sleep(600)")
    check = asyncio.create_task(warn_of_unusable([Target(name="a", url="x")], child=slow))

    async def started() -> bool:
        return note.exists() and bool(note.read_text())

    await until(started)
    check.cancel()
    with pytest.raises(asyncio.CancelledError):
        await check
    with pytest.raises(ProcessLookupError):
        os.kill(int(note.read_text()), 0)
