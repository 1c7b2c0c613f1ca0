"""The sandbox's callbacks: their bodies in each shape, and the courier that posts them, and reports what came of it.

The courier does as good webhook senders do: it waits five seconds for an answer, tries again three times unless that is
2xx, and follows no redirects. On command it drops, duplicates, delays and reorders callbacks.
"""

import asyncio
import gzip
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from urllib.parse import urlencode

import httpx
import msgspec
from msgspec import Struct

from receiver.providers.models import short_model_name
from receiver.sandbox.fates import CallbackBody, Fate
from receiver.sandbox.report import callback_line, failure_text
from receiver.sandbox.tasks import SandboxTask, task_object

_TIMEOUT_S = 5.0
_AT_ONCE = 32  # connections to the receiver


_JSON = "application/json"


class CallbackContent(Struct, frozen=True):
    """The body of a callback, and its headers."""

    body: bytes
    headers: Mapping[str, str]


def build_callback(task: SandboxTask, now: float) -> CallbackContent:
    """A callback about `task` as it is at `now`, in the shape that the task has drawn."""
    shapes = {
        CallbackBody.JOB: _job_body,
        CallbackBody.WRAPPED: _wrapped_body,
        CallbackBody.TEXT: _text_body,
        CallbackBody.UNKNOWN: _unknown_body,
    }
    body = msgspec.json.encode(shapes.get(task.body, task_object)(task, now))
    if task.body is CallbackBody.FORM:
        form = urlencode({"payload": body.decode()}).encode()
        return CallbackContent(form, {"Content-Type": "application/x-www-form-urlencoded"})
    if task.body is CallbackBody.GZIP:
        return CallbackContent(gzip.compress(body, mtime=0), {"Content-Type": _JSON, "Content-Encoding": "gzip"})
    return CallbackContent(body, {"Content-Type": _JSON})


class Courier:
    """Posts callbacks. Closes its client when its context ends. `report` takes a line for each."""

    def __init__(
        self, client: httpx.AsyncClient, retry_s: tuple[float, ...], hold_s: float, report: Callable[[str], None]
    ) -> None:
        self._client = client
        self._report = report
        self._retry_s = retry_s
        self._hold_s = hold_s
        self._places = asyncio.Semaphore(_AT_ONCE)
        self._overtaken: asyncio.Event | None = None  # set when another callback has overtaken the delayed one
        self.posted = 0  # requests sent, retries included

    async def __aenter__(self) -> "Courier":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()

    async def post_callbacks(self, task: SandboxTask, now: float) -> None:
        """Post the callbacks of a finished task as its fate says. Returns when they were answered or given up."""
        if task.callback is None:
            return
        if Fate.DROPPED in task.fate:
            self._report(callback_line(task, "not delivered, lost on purpose"))
            return
        held, self._overtaken = self._overtaken, None
        if Fate.REORDERED in task.fate and held is None:
            await self._wait_to_be_overtaken()
        await self._post_with_retries(task, build_callback(task, now))
        if held is not None:
            held.set()
        if Fate.DUPLICATED in task.fate:
            await self._post_with_retries(task, build_callback(task, now))
        if Fate.REORDERED in task.fate:  # reports progress after the end
            await self._post_with_retries(
                task, build_callback(msgspec.structs.replace(task, ended_at=None), task.created_at)
            )

    async def post_once(self, url: str, content: CallbackContent) -> tuple[int, str]:
        """Post once. Returns the status of the answer, or 0 and what went wrong."""
        async with self._places:
            self.posted += 1
            try:
                async with asyncio.timeout(_TIMEOUT_S):
                    answer = await self._client.post(url, content=content.body, headers=dict(content.headers))
            except (TimeoutError, httpx.TimeoutException):
                return 0, f"no answer within {_TIMEOUT_S:g} s"
            except httpx.ConnectError:
                return 0, "no connection"
            except (httpx.InvalidURL, ValueError):  # ValueError: an invalid host name
                return 0, "its URL is invalid"
            except httpx.HTTPError as error:
                return 0, f"the connection broke ({type(error).__name__})"
            return answer.status_code, ""

    async def _post_with_retries(self, task: SandboxTask, content: CallbackContent) -> None:
        assert task.callback is not None  # noqa: S101 - post_callbacks has checked
        for place, gap_s in enumerate((0.0, *self._retry_s)):
            await asyncio.sleep(gap_s)
            status, problem = await self.post_once(task.callback, content)
            if 200 <= status < 300:
                self._report(callback_line(task, f"delivered, answered {status}"))
                return
            following = self._retry_s[place] if place < len(self._retry_s) else None
            self._report(callback_line(task, failure_text(status, problem, following)))

    async def _wait_to_be_overtaken(self) -> None:
        self._overtaken = overtaken = asyncio.Event()
        try:
            await asyncio.wait_for(overtaken.wait(), self._hold_s)
        except TimeoutError:  # no other callback came
            if self._overtaken is overtaken:
                self._overtaken = None


def new_client() -> httpx.AsyncClient:
    """The HTTP client for callbacks: without proxies from the environment, without redirects."""
    return httpx.AsyncClient(trust_env=False, follow_redirects=False, timeout=_TIMEOUT_S)


def _job_body(task: SandboxTask, now: float) -> dict[str, object]:
    """The upstream's job object: its own id, and status 1 running, 2 success, 3 failed."""
    job_id = task.job_id if task.names_job else task.id
    if task.ended_at is None:
        return {"id": job_id, "status": 1, "comment": "JobStatusRunning", "urls": []}
    if task.has_failed:
        return {"id": job_id, "status": 3, "comment": "JobStatusFail", "urls": []}
    return {"id": job_id, "status": 2, "comment": "JobStatusSuccess", "urls": task.picture_urls}


def _text_body(task: SandboxTask, now: float) -> dict[str, object]:
    """A task object whose output is a link as plain text, as some hosts of models send it."""
    shown = task_object(task, now)
    return shown | {"output": next(iter(task.picture_urls), "")} if "output" in shown else shown


def _unknown_body(task: SandboxTask, now: float) -> dict[str, object]:
    """A task object whose status is a word that the provider has never documented."""
    return task_object(task, now) | {"status": "in_progress" if task.ended_at is None else "archived"}


def _wrapped_body(task: SandboxTask, now: float) -> dict[str, object]:
    """A job in an envelope, as another reseller of the same upstream posts it. A success has an error of code 0."""
    done = task.ended_at is not None and not task.has_failed
    error = {"code": 0, "raw_message": "", "message": "", "detail": None}
    if task.ended_at is not None and task.has_failed:
        error |= {"code": 10000, "raw_message": "generation failed", "message": "generation failed"}
    listed = "video_urls" if task.media == "video" else "image_urls"
    data = {
        "job_id": task.job_id if task.names_job else "",
        "model": "midjourney",
        "task_type": short_model_name(task.model.name),
        "status": "completed" if done else "processing" if task.ended_at is None else "failed",
        # The grid of all four is not served, since it should not be shown as a picture.
        "output": {
            "image_url": f"{task.base}/pictures/{task.id}/grid.png" if done else "",
            listed: task.picture_urls if done else [],
        },
        "meta": {
            "created_at": _format_time(task.created_at),
            "started_at": _format_time(task.created_at),
            "ended_at": _format_time(task.ended_at),
        },
        "error": error,
    }
    return {"timestamp": int(now), "data": data}


def _format_time(at: float | None) -> str:
    """RFC 3339; a time that is not set is in year 1."""
    return "0001-01-01T00:00:00Z" if at is None else datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
