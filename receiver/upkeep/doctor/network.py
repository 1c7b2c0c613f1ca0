"""Checks over the network: whether the service runs with these keys, whether the provider accepts our key and what its
clock says, and whether the public URL leads to this service."""

import asyncio
import secrets
import socket
import ssl
import time
from collections.abc import Iterator, Sequence
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

from receiver.core.errors import SettingsError
from receiver.core.types import PollReply, PollResult
from receiver.providers.registry import default_adapter
from receiver.tokens import MacPurpose, Ring, new_ref
from receiver.upkeep.doctor.findings import SEE_SERVICE, Finding, failure, ok, skip, warning
from receiver.upkeep.doctor.http import (
    HttpReply,
    NoReply,
    NothingListens,
    UnknownHost,
    is_internal_address,
    send_request,
)

CLOCK_WARNING_S, CLOCK_MOST_S = 30, 300
NO_KEYS = "run the doctor on the service's machine, with its settings (--config) and its state directory"
_START = "start it with `receiver serve` or by its unit"
_FORWARD = "let the proxy forward every path to the service's HOST and PORT, as in systemd/proxy"
_NOT_HERE = "check that its DNS record and the proxy lead to this machine"


def check_service(server: str, ring: Ring | None, *, remote: bool = False, start: str = _START) -> Iterator[Finding]:
    """Check that the service at `server` runs, is ready, and signs with the keys of `ring`.

    `start` says how it is started, unless it is `remote`: on another machine, where nothing can be started from here.
    """
    try:
        reply = send_request("GET", f"{server}/readyz")
    except NoReply as error:
        yield failure(f"{server} does not answer: {error}", _remedy_without_reply(error, None if remote else start))
        return
    if wrong := _service_problem(server, reply):
        yield failure(*wrong)
        return
    if ring is None:
        yield ok(f"{server} is ready")
        return
    try:
        problem = _identity_problem(send_request("GET", f"{server}/doctor/{(nonce := _new_nonce())}"), nonce, ring)
    except NoReply as error:
        problem = (f"it stopped answering: {error}", start)
    if problem is None:
        yield ok(f"{server} is ready, and has the same secret keys")
    else:
        yield failure(
            f"{server} is ready, but {problem[0]}", "restart it, or give the doctor the service's settings (--config)"
        )


def _remedy_without_reply(error: NoReply, start: str | None) -> str:
    """What to do about a service that does not answer: it is to be started only if nothing listens."""
    if isinstance(error, UnknownHost):
        return "correct SERVER"
    if isinstance(error, NothingListens):
        return (
            f"{start}; if it stops again, its log says why" if start else "start it on that machine, or correct SERVER"
        )
    return f"{error.remedy}, or correct SERVER"


def _service_problem(server: str, reply: HttpReply) -> tuple[str, str] | None:
    """What is wrong with an answer to /readyz, and the remedy."""
    fields = reply.json_fields()
    if fields.get("status") == "ready":
        return None
    if fields.get("status") == "unready":
        return f"{server} is not ready: {fields.get('why')}", "see the service's log"
    if detour := _detour_problem(reply, "SERVER"):
        return f"{server}: {detour[0]}", detour[1]
    return f"what answers at {server} does not look like a receiver (HTTP {reply.status})", "correct PORT or SERVER"


def check_public_url(
    public_url: str,
    ring: Ring | None,
    *,
    max_body: int,
    now: int,
    server: str | None = None,
    trust: ssl.SSLContext | None = None,
) -> Iterator[Finding]:
    """Check that `public_url` leads to the service with the keys of `ring`, and that callbacks get through.

    That is by POST, not redirected, and `max_body` bytes long. `now` is in milliseconds, `server` the service's own
    URL. Stores nothing.
    """
    if ring is None:
        yield skip("without its secret keys, the doctor cannot recognise the service", NO_KEYS)
        return
    nonce = _new_nonce()
    try:
        reply = send_request("GET", f"{public_url}/doctor/{nonce}", trust=trust)
        wrong = _identity_problem(reply, nonce, ring) or _check_callback_route(public_url, ring, max_body, now, trust)
    except NoReply as error:
        if isinstance(error, NothingListens) and public_url == server:  # no proxy is to be looked for
            yield skip(f"{public_url} is the service's own address, and it does not answer", SEE_SERVICE)
        else:
            yield failure(f"{public_url}: {error}", error.remedy)
        return
    if wrong is not None:
        yield failure(f"{public_url}: {wrong[0]}", wrong[1])
        return
    yield ok(f"{public_url} leads to this service, and callbacks get through")
    host = urlsplit(public_url).hostname or ""
    near = is_internal_address(host) or host == "localhost" or host.endswith((".localhost", ".local"))
    if is_internal_address(reply.address) and not near:
        text = f"on this machine, {host} is {reply.address}, so this does not test whether it works from outside"
        yield warning(text, f"open {public_url}/healthz from another machine; see /etc/hosts")


def _check_callback_route(
    public_url: str, ring: Ring, max_body: int, now: int, trust: ssl.SSLContext | None
) -> tuple[str, str] | None:
    """What goes wrong with callbacks on their way, and the remedy; None if nothing."""
    ref = new_ref(now)
    for slash in ("", "/"):
        reply = send_request("GET", f"{public_url}/callbacks/{ring.token(ref)}{slash}", trust=trust)
        if reply.status != 200 or reply.json_fields().get("ref") != ref:
            with_slash = " with a slash at its end" if slash else ""
            return _detour_problem(reply) or (f"a callback URL{with_slash} answers HTTP {reply.status}", _FORWARD)
    # The token is not valid, so that nothing is stored; the body is as long as allowed.
    foreign = f"{public_url}/callbacks/{new_ref(now)}.{'-' * 32}"
    reply = send_request("POST", foreign, content=b" " * max_body, trust=trust)
    if reply.status == 404 and reply.is_refusal_of_ours():
        return None
    if reply.status == 413:
        return (
            f"a body of {max_body} bytes (MAX_BODY) is too large for the proxy",
            "raise its limit, such as client_max_body_size in nginx",
        )
    return _detour_problem(reply) or (f"a POST to a callback URL answers HTTP {reply.status}", _FORWARD)


def _identity_problem(reply: HttpReply, nonce: str, ring: Ring) -> tuple[str, str] | None:
    """None if the answer to a nonce was signed with our keys; else what is wrong, and the remedy."""
    fields = reply.json_fields()
    mac = fields.get("mac")
    if reply.status == 200 and isinstance(mac, str) and fields.get("nonce") == nonce:
        good = ring.verify(MacPurpose.DOCTOR, nonce, mac)
        return None if good else ("the receiver that answers has other secret keys", _NOT_HERE)
    if other := _detour_problem(reply):
        return other
    if reply.status == 404 and reply.is_refusal_of_ours():
        return "an older version of receiver answers", "restart the service, so that the installed version runs"
    return f"something else answers (HTTP {reply.status})", _NOT_HERE if reply.status in (200, 404) else _FORWARD


def _detour_problem(reply: HttpReply, setting: str = "PUBLIC_URL") -> tuple[str, str] | None:
    """What is in the way, if the reply alone shows it; and the remedy. `setting` named the URL."""
    if 300 <= reply.status < 400:
        target = urlsplit(reply.location)
        where = f"{target.scheme}://{target.netloc}" if target.netloc else "another path"
        lost = ", and a redirected callback is lost" if setting == "PUBLIC_URL" else ""
        return f"it redirects to {where}{lost}", f"set {setting} to the final address, or remove the redirect"
    if reply.status == 400 and b"HTTPS" in reply.body:  # as nginx, Caddy and Apache say it
        return "it speaks TLS, and the URL begins with http://", f"write https:// in {setting}"
    if reply.status in (401, 403, 407):
        return (
            f"it asks for a login or forbids access (HTTP {reply.status})",
            "let /callbacks/ and /doctor/ through without a login",
        )
    if reply.status in (502, 503, 504):
        return f"the proxy does not reach the service (HTTP {reply.status})", _FORWARD
    return None


def check_provider(url: str, key: str | None, dates: list[tuple[float, float]]) -> Iterator[Finding]:
    """Check that the provider at `url` accepts `key`. Adds pairs of its time and ours, in seconds, to `dates`."""
    if key is None:
        yield warning("PROVIDER_KEY is not set, so nothing can be submitted or polled", "set RECEIVER_PROVIDER_KEY")
        return
    host = urlsplit(url).hostname or ""
    try:
        socket.getaddrinfo(host, None)  # here in the thread, where a resolver that hangs cannot keep us from exiting
        reply = asyncio.run(_poll_missing_task(url, key, dates))
    except (OSError, UnicodeError):
        yield failure(
            f"the host name {host} does not resolve", "check PROVIDER_URL and this machine's DNS (/etc/resolv.conf)"
        )
    except SettingsError as error:
        yield failure(error.problem, error.remedy or "correct PROVIDER_URL and PROVIDER_KEY")
    else:
        yield _judge_reply(reply, url)


def _judge_reply(reply: PollReply, url: str) -> Finding:
    """What the reply to a poll for a task that does not exist says about the key. Pure."""
    if reply.result is PollResult.UNKNOWN:
        if HttpReply(404, reply.body or b"").json_fields():
            return ok("the provider accepts the key")
        return warning("HTTP 404, but not in the provider's format", "check PROVIDER_URL")
    if reply.result is PollResult.UNAUTHORIZED:
        return failure(
            f"the provider refuses the key ({reply.text})", "set PROVIDER_KEY to a key that is valid and has credit"
        )
    if reply.result is PollResult.BUSY:
        return warning(f"the provider is busy ({reply.text})", "try again later; the service retries by itself")
    if reply.text.startswith("no answer"):
        return failure(
            f"the provider at {url} does not answer ({reply.text.removeprefix('no answer: ')})",
            "check PROVIDER_URL, and that this machine may connect there",
        )
    return failure(f"this does not look like the provider's answer ({reply.text})", "check PROVIDER_URL")


async def _poll_missing_task(url: str, key: str, dates: list[tuple[float, float]]) -> PollReply:
    """The reply to a poll for a task that does not exist."""
    from receiver.providers.http_client import open_client

    async with open_client() as client:

        async def note_date(response: object) -> None:
            text = getattr(response, "headers", {}).get("date", "")
            try:
                dates.append((parsedate_to_datetime(text).timestamp(), time.time()))
            except (ValueError, TypeError, OverflowError):
                return

        client.event_hooks = {"response": [note_date]}
        connected = default_adapter().connect(client, url, key, clock=lambda: time.time_ns() // 1_000_000)
        return await connected.poll(f"doctor-{secrets.token_hex(8)}")


def check_clock(dates: Sequence[tuple[float, float]]) -> Iterator[Finding]:
    """Check this machine's clock against the provider's; `check_provider` collected the `dates`."""
    if not dates:
        yield skip("the provider gave no date to compare with")
        return
    theirs, ours = dates[-1]
    off = abs(ours - theirs)
    text = f"this machine's clock is {_format_span(off)} {'ahead of' if ours > theirs else 'behind'} the provider's"
    remedy = "set it, and keep it right with `timedatectl set-ntp true`"
    if off >= CLOCK_MOST_S:
        yield failure(text, remedy)
    elif off >= CLOCK_WARNING_S:
        yield warning(text, remedy)
    else:
        yield ok("it agrees with the provider's")


def _format_span(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def _new_nonce() -> str:
    return secrets.token_hex(16)
