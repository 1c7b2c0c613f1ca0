"""What the doctor asks: each way in which service, provider and public URL can be wrong is told, with its remedy."""

import contextlib
import shutil
import socket
import ssl
import time
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path

import pytest

from kit.fakes import NOW
from kit.live_service import free_port
from kit.loopback_site import OTHERS, REFUSAL, RING, Answer, Site, on_loopback
from kit.reverse_proxies import certificate, expired
from receiver.tokens import Ring
from receiver.upkeep.doctor import http, network
from receiver.upkeep.doctor.findings import CheckResult, Finding

MOST = 262_144
KEY = "a-provider-key-0123456789"
FOUND = (302, {"Location": "https://elsewhere.example/login?next=1"}, b"")


@pytest.fixture
def site() -> Iterator[Site]:
    """A site that answers as the service does."""
    with on_loopback(Site()) as it:
        yield it


def public(url: str, ring: Ring | None = RING, trust: ssl.SSLContext | None = None) -> list[Finding]:
    return list(network.check_public_url(url, ring, max_body=MOST, now=NOW, trust=trust))


def only(findings: list[Finding], result: CheckResult = CheckResult.FAILED) -> str:
    """Text and remedy of the one finding there is."""
    [found] = findings
    assert found.result is result
    assert result is CheckResult.OK or found.remedy
    return f"{found.text}: {found.remedy}"


# -- the public URL --


def test_a_public_url_that_leads_here_is_well_and_is_asked_nothing_that_is_stored(site: Site) -> None:
    """Nonce, callback URL with and without its slash, and a POST to a token that is nobody's."""
    assert "leads to this service" in only(public(site.url), CheckResult.OK)
    assert [method for method, _, _ in site.asked] == ["GET", "GET", "GET", "POST"]
    assert RING.open(site.asked[3][1].split("/")[2]) is None
    assert site.asked[3][2] == MOST


@pytest.mark.parametrize(
    ("begin", "answer", "said", "remedy"),
    [
        ("GET /doctor", FOUND, "redirects to https://elsewhere.example,", "set PUBLIC_URL"),
        ("GET /doctor", (308, {"Location": "/x"}, b""), "redirects to another path", "set PUBLIC_URL"),
        ("GET /doctor", (401, {}, b"who are you"), "asks for a login", "let /callbacks/ and /doctor/ through"),
        ("GET /doctor", (403, {}, b""), "forbids access (HTTP 403)", "let /callbacks/ and /doctor/ through"),
        ("GET /doctor", (502, {}, b""), "does not reach the service (HTTP 502)", "systemd/proxy"),
        ("GET /doctor", (200, {}, b"<h1>It works!</h1>"), "something else answers (HTTP 200)", "DNS record"),
        ("GET /doctor", (200, {}, {"nonce": "another", "mac": "x"}), "something else answers", "DNS record"),
        ("GET /doctor", (404, {}, b"nothing here"), "something else answers (HTTP 404)", "DNS record"),
        ("GET /doctor", (404, {}, REFUSAL), "an older version", "restart the service"),
        ("GET /doctor", (500, {}, b""), "something else answers (HTTP 500)", "systemd/proxy"),
        ("GET /doctor", (200, {}, b"x" * 200_000), "something else answers", "DNS record"),
        ("GET /doctor", None, "closes the connection without an answer", "see the log"),
        ("GET /callbacks", FOUND, "a redirected callback is lost", "set PUBLIC_URL"),
        ("GET /callbacks", (404, {}, b""), "a callback URL answers HTTP 404", "systemd/proxy"),
        ("POST /callbacks", FOUND, "a redirected callback is lost", "set PUBLIC_URL"),
        ("POST /callbacks", (405, {}, b""), "a POST to a callback URL answers HTTP 405", "systemd/proxy"),
        ("POST /callbacks", (403, {}, b""), "forbids access (HTTP 403)", "let /callbacks/"),
        ("POST /callbacks", (413, {}, b""), "262144 bytes (MAX_BODY) is too large", "client_max_body_size"),
    ],
)
def test_each_thing_that_keeps_callbacks_away_is_told(
    site: Site, begin: str, answer: Answer | None, said: str, remedy: str
) -> None:
    site.overrides[begin] = answer
    text = only(public(site.url))
    assert said in text
    assert remedy in text


def test_a_redirect_that_only_takes_a_slash_away_is_told(site: Site) -> None:
    """Where /x/ and /x are two paths, the provider may call either."""

    def with_slash(method: str, path: str) -> Answer | None:
        return (301, {"Location": path.rstrip("/")}, b"") if path.endswith("/") else plain(method, path)

    plain, site.answer = site.answer, with_slash  # type: ignore[method-assign]
    assert "a redirected callback is lost" in only(public(site.url))


def test_another_receiver_is_not_taken_for_this_one(site: Site) -> None:
    assert "other secret keys" in only(public(site.url, OTHERS))


def test_without_keys_nobody_can_be_recognised(site: Site) -> None:
    assert "on the service's machine" in only(public(site.url, None), CheckResult.SKIPPED)
    assert site.asked == []


@pytest.fixture
def no_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """A resolver that knows none, so that no question leaves this machine."""

    def unknown(*args: object, **named: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr("socket.getaddrinfo", unknown)


@pytest.mark.usefixtures("no_names")
def test_a_name_that_nobody_knows_is_told() -> None:
    assert "receiver.invalid does not resolve: add an A or AAAA record" in only(public("https://receiver.invalid"))


def test_a_port_where_nobody_listens_is_told() -> None:
    port = free_port()
    assert f"nothing listens at localhost port {port}: start the proxy" in only(public(f"http://localhost:{port}"))


def test_silence_is_told_as_what_a_firewall_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "TIMEOUT_S", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        text = only(public(f"http://127.0.0.1:{silent.getsockname()[1]}"))
    assert "in time: open port" in text
    assert "firewall" in text


needs_openssl = pytest.mark.skipif(not shutil.which("openssl"), reason="openssl is not on this machine")


@contextlib.contextmanager
def by_tls(tmp_path: Path, *more: str, name: str = "localhost") -> Iterator[tuple[Site, ssl.SSLContext]]:
    """A site with a certificate for `name`, and what trusts it."""
    cert, key = certificate(tmp_path, name, *more)
    with on_loopback(Site(), (cert, key)) as site:
        yield site, ssl.create_default_context(cafile=str(cert))


@needs_openssl
def test_a_certificate_that_the_public_does_not_trust_is_told(tmp_path: Path) -> None:
    """Nor does the provider."""
    with by_tls(tmp_path) as (site, trust):
        assert "the certificate of localhost is not trusted" in only(public(site.url))
        assert "leads to this service" in only(public(site.url, trust=trust), CheckResult.OK)


@needs_openssl
def test_a_certificate_that_has_expired_is_told(tmp_path: Path) -> None:
    with on_loopback(Site(), expired(tmp_path)) as site:
        trust = ssl.create_default_context(cafile=str(tmp_path / "localhost.pem"))
        assert "has expired or is not valid yet: renew it" in only(public(site.url, trust=trust))


@needs_openssl
def test_a_certificate_for_another_name_is_told(tmp_path: Path) -> None:
    with by_tls(tmp_path, name="other.example") as (site, trust):
        assert "for other names than localhost: get a certificate" in only(public(site.url, trust=trust))


def test_https_where_http_is_spoken_is_told(site: Site) -> None:
    text = only(public(site.url.replace("http://", "https://")))
    assert "does not speak TLS: check that a proxy terminates HTTPS there" in text


def test_a_name_that_only_this_machine_takes_for_itself_is_warned_of(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Debian's /etc/hosts does: what the provider reaches by it was not tried."""
    find = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, *more, **named: find("127.0.0.1", *more, **named))
    url = site.url.replace("localhost", "receiver.example.org")
    well, warned = public(url)
    assert (well.result, warned.result) == (CheckResult.OK, CheckResult.WARNING)
    assert "is 127.0.0.1, so this does not test whether it works from outside" in warned.text


# -- the service --


def service(url: str, ring: Ring | None = RING) -> list[Finding]:
    return list(network.check_service(url, ring))


def test_a_service_that_is_ready_with_our_keys_is_well(site: Site) -> None:
    assert "is ready, and has the same secret keys" in only(service(site.url), CheckResult.OK)
    assert "is ready" in only(service(site.url, None), CheckResult.OK)


def test_a_service_whose_name_nobody_knows_is_not_told_to_be_started() -> None:
    told = only(list(network.check_service("https://receiver.invalid", RING)))
    assert (
        told
        == "https://receiver.invalid does not answer: the host name receiver.invalid does not resolve: correct SERVER"
    )


def test_only_a_service_that_nobody_listens_for_is_told_to_be_started(site: Site) -> None:
    """Not one that is elsewhere, hangs, or speaks otherwise."""
    told = only(service(site.url.replace("http://", "https://")))
    assert (
        "does not speak TLS: check that a proxy terminates HTTPS there; if it should not, the URL begins with" in told
    )
    assert told.endswith("http://, or correct SERVER")
    assert "start" not in told
    elsewhere = list(network.check_service(f"http://127.0.0.1:{free_port()}", None, remote=True))
    assert only(elsewhere).endswith(": start it on that machine, or correct SERVER")


def test_a_service_that_redirects_or_speaks_tls_is_told_so(site: Site) -> None:
    site.overrides["GET /readyz"] = (301, {"Location": "https://other.example/readyz"}, b"")
    assert "it redirects to https://other.example: set SERVER to the final address" in only(service(site.url))
    site.overrides["GET /readyz"] = (400, {}, b"The plain HTTP request was sent to HTTPS port")
    assert "it speaks TLS, and the URL begins with http://: write https:// in SERVER" in only(service(site.url))


def test_a_service_that_does_not_run_is_told() -> None:
    assert "does not answer: nothing listens at" in (text := only(service(f"http://127.0.0.1:{free_port()}")))
    assert "start it with `receiver serve` or by its unit; if it stops again" in text


def test_where_public_url_is_the_service_itself_no_proxy_is_looked_for() -> None:
    own = f"http://127.0.0.1:{free_port()}"
    [found] = network.check_public_url(own, RING, max_body=MOST, now=NOW, server=own)
    assert (found.result, found.remedy) == ("skipped", "see the finding `service` above")
    [found] = network.check_public_url(own, RING, max_body=MOST, now=NOW, server="http://127.0.0.1:8000")
    assert (found.result, str(found.remedy)[:15]) == ("failed", "start the proxy")


def test_a_provider_that_nothing_answers_for_is_named_once() -> None:
    url = f"http://127.0.0.1:{free_port()}/generation"
    [found] = network.check_provider(url, KEY, [])
    assert found.text == f"the provider at {url} does not answer (ConnectError: All connection attempts failed)"


@pytest.mark.parametrize(
    ("begin", "answer", "said"),
    [
        ("GET /readyz", (200, {}, b"hello"), "does not look like a receiver (HTTP 200): correct PORT or SERVER"),
        (
            "GET /readyz",
            (503, {}, {"status": "unready", "why": "the disk is full"}),
            "not ready: the disk is full: see",
        ),
        ("GET /doctor", (404, {}, REFUSAL), "an older version of receiver answers: restart it"),
        ("GET /doctor", None, "stopped answering"),
    ],
)
def test_a_service_that_is_not_as_it_should_be_is_told(site: Site, begin: str, answer: Answer, said: str) -> None:
    site.overrides[begin] = answer
    assert said in only(service(site.url))


def test_a_service_with_other_keys_is_told(site: Site) -> None:
    """It was not restarted, or runs with other settings than these."""
    assert "has other secret keys: restart it, or give the doctor the service's settings" in only(
        service(site.url, OTHERS)
    )


# -- the provider and its clock --


def provider(site: Site, key: str | None = KEY, dates: list[tuple[float, float]] | None = None) -> list[Finding]:
    return list(network.check_provider(f"{site.url}/generation", key, [] if dates is None else dates))


def test_a_key_that_is_taken_is_told_by_the_404_of_a_task_that_does_not_exist(site: Site) -> None:
    assert "accepts the key" in only(provider(site), CheckResult.OK)
    [(method, path, _)] = site.asked
    assert (method, path.rpartition("/")[0]) == ("GET", "/generation/task")


@pytest.mark.parametrize(
    ("answer", "result", "said"),
    [
        ((401, {}, {"message": "invalid key"}), CheckResult.FAILED, "refuses the key (HTTP 401"),
        ((402, {}, {"message": "no credit"}), CheckResult.FAILED, "refuses the key (HTTP 402"),
        ((403, {}, {"message": f"{KEY} is barred"}), CheckResult.FAILED, "refuses the key (HTTP 403"),
        (
            (404, {}, b"<h1>Not found</h1>"),
            CheckResult.WARNING,
            "not in the provider's format: check PROVIDER_URL",
        ),
        ((429, {}, {"message": "slow down"}), CheckResult.WARNING, "is busy"),
        ((200, {}, b"<h1>It works!</h1>"), CheckResult.FAILED, "this does not look like the provider's answer"),
        ((301, {"Location": "/x"}, b""), CheckResult.FAILED, "this does not look like the provider's answer"),
        ((500, {}, b""), CheckResult.FAILED, "this does not look like the provider's answer"),
        (None, CheckResult.FAILED, "does not answer (RemoteProtocolError: "),
    ],
)
def test_what_the_provider_says_to_the_key_is_told_without_the_key(
    site: Site, answer: Answer | None, result: CheckResult, said: str
) -> None:
    site.overrides["GET /generation"] = answer
    text = only(provider(site), result)
    assert said in text
    assert KEY not in text


@pytest.mark.usefixtures("no_names")
def test_a_provider_that_cannot_be_found_is_told() -> None:
    [found] = network.check_provider("https://provider.invalid/generation", KEY, [])
    assert (found.result, found.text) == (CheckResult.FAILED, "the host name provider.invalid does not resolve")


def test_a_key_that_cannot_stand_in_a_header_is_told(site: Site) -> None:
    assert "printable ASCII" in only(provider(site, "a key"))


def test_no_key_is_a_warning(site: Site) -> None:
    assert "nothing can be submitted or polled: set RECEIVER_PROVIDER_KEY" in only(
        provider(site, None), CheckResult.WARNING
    )


@pytest.mark.parametrize(
    ("off_s", "result", "said"),
    [
        (0, CheckResult.OK, "agrees"),
        (-3600, CheckResult.FAILED, "60 min ahead of the provider's: set it"),
        (3600, CheckResult.FAILED, "60 min behind the provider's: set it"),
        (-90, CheckResult.WARNING, "s ahead of the provider's"),
    ],
)
def test_a_clock_that_is_off_is_told(site: Site, off_s: int, result: CheckResult, said: str) -> None:
    """By the date of the provider's answer, which was asked for its key anyway."""
    dates: list[tuple[float, float]] = []
    site.overrides["GET /generation"] = (404, {"Date": formatdate(time.time() + off_s, usegmt=True)}, REFUSAL)
    provider(site, dates=dates)
    assert said in only(list(network.check_clock(dates)), result)


@pytest.mark.parametrize("date", ["", "yesterday", "Mon, 99 Jan 2026 00:00:00 GMT"])
def test_a_date_that_is_none_tells_nothing(site: Site, date: str) -> None:
    dates: list[tuple[float, float]] = []
    site.overrides["GET /generation"] = (404, {"Date": date}, REFUSAL)
    assert "accepts the key" in only(provider(site, dates=dates), CheckResult.OK)
    [found] = network.check_clock(dates)
    assert found.result is CheckResult.SKIPPED
