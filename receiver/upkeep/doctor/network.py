"""What has to be asked: whether the service runs, with these keys; whether the provider takes our key, and what time it
has; whether the public URL leads here."""

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
from receiver.providers.registry import PROVIDERS
from receiver.tokens import MacPurpose, Ring, new_ref
from receiver.upkeep.doctor.findings import Finding, failure, ok, skip, warning
from receiver.upkeep.doctor.http import HttpReply, NoReply, UnknownHost, is_internal_address, send_request

CLOCK_WARNING_S, CLOCK_MOST_S = 30, 300
NO_KEYS = "run the doctor on the service's machine, with its settings (--config) and its state directory"
_START = "start it with `systemctl start receiver` or `receiver serve`; its log says why it ended"
_FORWARD = "let the proxy pass every path on to HOST and PORT of the service, as in systemd/proxy"
_NOT_HERE = "see that its DNS record and the proxy in front lead to this machine"


def check_service(server: str, ring: Ring | None) -> Iterator[Finding]:
    """Whether the service at `server` runs, is ready, and signs with the keys of `ring`."""
    try:
        said = send_request("GET", f"{server}/readyz")
    except NoReply as silent:
        remedy = "set SERVER right" if isinstance(silent, UnknownHost) else _START
        yield failure(f"{server} does not answer: {silent}", remedy)
        return
    status = said.json_fields().get("status")
    if status not in ("ready", "unready"):
        yield failure(f"what answers at {server} is no receiver (HTTP {said.status})", "set PORT or SERVER right")
        return
    if status == "unready":
        yield failure(f"{server} is not ready: {said.json_fields().get('why')}", "see its log")
        return
    if ring is None:
        yield ok(f"{server} is ready")
        return
    try:
        strange = _identity_problem(send_request("GET", f"{server}/doctor/{(nonce := _new_nonce())}"), nonce, ring)
    except NoReply as silent:
        strange = (f"it stopped answering: {silent}", _START)
    if strange is None:
        yield ok(f"{server} is ready, with these secret keys")
    else:
        yield failure(f"{server} is ready, but {strange[0]}", "restart it, or give the doctor its settings (--config)")


def check_public_url(
    public_url: str, ring: Ring | None, *, max_body: int, now: int, trust: ssl.SSLContext | None = None
) -> Iterator[Finding]:
    """Whether `public_url` leads to the service that holds the keys of `ring`, and lets callbacks through as they are:
    not redirected, by POST, `max_body` bytes long. `now` is in milliseconds. Nothing is stored by this."""
    if ring is None:
        yield skip("there are no secret keys here to recognise it by", NO_KEYS)
        return
    nonce = _new_nonce()
    try:
        said = send_request("GET", f"{public_url}/doctor/{nonce}", trust=trust)
        wrong = _identity_problem(said, nonce, ring) or _check_callback_route(public_url, ring, max_body, now, trust)
    except NoReply as silent:
        yield failure(f"{public_url}: {silent}", silent.remedy)
        return
    if wrong is not None:
        yield failure(f"{public_url}: {wrong[0]}", wrong[1])
        return
    yield ok(f"{public_url} leads here, and lets callbacks through")
    host = urlsplit(public_url).hostname or ""
    near = is_internal_address(host) or host == "localhost" or host.endswith((".localhost", ".local"))
    if is_internal_address(said.address) and not near:
        text = f"{host} leads here from this machine, where it is {said.address}; from outside it was not tried"
        yield warning(text, f"open {public_url}/healthz from elsewhere; see /etc/hosts")


def _check_callback_route(
    public_url: str, ring: Ring, max_body: int, now: int, trust: ssl.SSLContext | None
) -> tuple[str, str] | None:
    """None, or what becomes of callbacks on their way, and the remedy."""
    ref = new_ref(now)
    for slash in ("", "/"):
        said = send_request("GET", f"{public_url}/callbacks/{ring.token(ref)}{slash}", trust=trust)
        if said.status != 200 or said.json_fields().get("ref") != ref:
            with_slash = " with a slash at its end" if slash else ""
            return _detour_problem(said) or (f"a callback URL{with_slash} answers HTTP {said.status}", _FORWARD)
    # The token is nobody's, so that nothing is stored; the body is as long as one may be.
    foreign = f"{public_url}/callbacks/{new_ref(now)}.{'-' * 32}"
    said = send_request("POST", foreign, content=b" " * max_body, trust=trust)
    if said.status == 404 and said.is_refusal_of_ours():
        return None
    if said.status == 413:
        return (
            f"a body of {max_body} bytes (MAX_BODY) is too large for the proxy",
            "raise client_max_body_size, or its like",
        )
    return _detour_problem(said) or (f"a POST to a callback URL answers HTTP {said.status}", _FORWARD)


def _identity_problem(said: HttpReply, nonce: str, ring: Ring) -> tuple[str, str] | None:
    """None if the answer to a nonce was signed with our keys; else what it is, and the remedy."""
    fields = said.json_fields()
    mac = fields.get("mac")
    if said.status == 200 and isinstance(mac, str) and fields.get("nonce") == nonce:
        good = ring.verify(MacPurpose.DOCTOR, nonce, mac)
        return None if good else ("a receiver answers that has other secret keys", _NOT_HERE)
    if other := _detour_problem(said):
        return other
    if said.status == 404 and said.is_refusal_of_ours():
        return "what answers is an older version of receiver", "restart the service, so that the installed version runs"
    return f"something else answers (HTTP {said.status})", _NOT_HERE if said.status in (200, 404) else _FORWARD


def _detour_problem(said: HttpReply) -> tuple[str, str] | None:
    """What stands in the way, where that can be told by the status alone."""
    if 300 <= said.status < 400:
        target = urlsplit(said.location)
        where = f"{target.scheme}://{target.netloc}" if target.netloc else "another path"
        return (
            f"it redirects to {where}, and a redirected callback is lost",
            "set PUBLIC_URL to where it ends, or end that",
        )
    if said.status in (401, 403, 407):
        return (
            f"it wants a login, or forbids it (HTTP {said.status})",
            "let /callbacks/ and /doctor/ through without one",
        )
    if said.status in (502, 503, 504):
        return f"the proxy does not reach the service (HTTP {said.status})", _FORWARD
    return None


def check_provider(url: str, key: str | None, dates: list[tuple[float, float]]) -> Iterator[Finding]:
    """Whether the provider at `url` takes `key`. Adds to `dates` pairs of its time and ours, in seconds."""
    if key is None:
        yield warning("there is no PROVIDER_KEY: nothing can be submitted or polled", "set RECEIVER_PROVIDER_KEY")
        return
    host = urlsplit(url).hostname or ""
    try:
        socket.getaddrinfo(host, None)  # here, where a resolver that hangs keeps nobody from exiting
        reply = asyncio.run(_poll_missing_task(url, key, dates))
    except (OSError, UnicodeError):
        yield failure(f"the name {host} is not known", "check PROVIDER_URL, and this machine's DNS (/etc/resolv.conf)")
    except SettingsError as error:
        yield failure(str(error), "set PROVIDER_URL and PROVIDER_KEY right")
    else:
        yield _judge_reply(reply)


def _judge_reply(reply: PollReply) -> Finding:
    """What the reply to a poll for a task that does not exist says of the key. Pure."""
    if reply.result is PollResult.UNKNOWN:
        if HttpReply(404, reply.body or b"").json_fields():
            return ok("the provider takes the key")
        return warning("HTTP 404, but not in the provider's words", "see whether PROVIDER_URL is right")
    if reply.result is PollResult.UNAUTHORIZED:
        return failure(
            f"the provider refuses the key ({reply.text})", "set PROVIDER_KEY to one that is valid and has credit"
        )
    if reply.result is PollResult.BUSY:
        return warning(f"the provider is busy ({reply.text})", "try again later; the service does so by itself")
    if reply.text.startswith("no answer"):
        return failure(
            f"the provider does not answer ({reply.text})", "check PROVIDER_URL, and that HTTPS gets out of here"
        )
    return failure(f"it does not answer as the provider does ({reply.text})", "see whether PROVIDER_URL is right")


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
        connected = PROVIDERS["vtrix"].connect(client, url, key, clock=lambda: time.time_ns() // 1_000_000)
        return await connected.poll(f"doctor-{secrets.token_hex(8)}")


def check_clock(dates: Sequence[tuple[float, float]]) -> Iterator[Finding]:
    """Whether this machine's clock agrees with the provider's; `dates` are what `provider` noted."""
    if not dates:
        yield skip("the provider told no time")
        return
    theirs, ours = dates[-1]
    off = abs(ours - theirs)
    text = f"this machine's clock is {_format_span(off)} {'ahead of' if ours > theirs else 'behind'} the provider's"
    remedy = "set it, and keep it by `timedatectl set-ntp true`"
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
