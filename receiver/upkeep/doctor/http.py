"""One HTTP request that may go wrong in every way, and why it did in words for a person."""

import contextlib
import ipaddress
import socket
import ssl
from collections.abc import Iterator

import httpx
import msgspec
from msgspec import Struct

from receiver import __version__

ANSWER_MOST = 64 * 1024  # bytes of an answer that are read
CONNECT_S, TIMEOUT_S = 4.0, 8.0
_EXPIRED, _NAME = 10, 62  # X509_V_ERR_CERT_HAS_EXPIRED, X509_V_ERR_HOSTNAME_MISMATCH
_NOT_YET = 9  # X509_V_ERR_CERT_NOT_YET_VALID


class Said(Struct, frozen=True):
    """An answer: its status, the beginning of its body, where it redirects to, and the address that gave it."""

    status: int
    body: bytes
    location: str = ""
    address: str = ""

    def fields(self) -> dict[str, object]:
        """The body as a JSON object; nothing if it is none."""
        try:
            return msgspec.json.decode(self.body, type=dict[str, object])
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return {}

    def is_refusal_of_ours(self) -> bool:
        """Whether it has the shape of every error of our API."""
        error = self.fields().get("error")
        return isinstance(error, dict) and isinstance(error.get("code"), str)


class Silent(Exception):
    """There was no answer; the text says why, `remedy` what to do."""

    def __init__(self, text: str, remedy: str) -> None:
        super().__init__(text)
        self.remedy = remedy


class Unknown(Silent):
    """Nor is it known where to ask: its name is none."""


def ask(method: str, url: str, *, content: bytes | None = None, trust: ssl.SSLContext | None = None) -> Said:
    """The answer of `url`; redirects are not followed. `trust` replaces the public authorities. Raises Silent."""
    address = ""
    with _told(url), httpx.Client(trust_env=False, verify=trust or True, timeout=_timeout()) as client:
        headers = {"User-Agent": f"receiver-doctor/{__version__}", "Accept-Encoding": "identity"}
        with client.stream(method, url, content=content, headers=headers) as answer:
            with contextlib.suppress(Exception):  # as it is only to warn
                address = str(answer.extensions["network_stream"].get_extra_info("server_addr")[0])
            body = b""
            for chunk in answer.iter_raw():
                body += chunk
                if len(body) > ANSWER_MOST:
                    break
            return Said(answer.status_code, body[:ANSWER_MOST], answer.headers.get("location", ""), address)


def is_inside(address: str) -> bool:
    """Whether an address is of this machine or of a private network."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    return not (getattr(found, "ipv4_mapped", None) or found).is_global


def _timeout() -> httpx.Timeout:
    return httpx.Timeout(TIMEOUT_S, connect=CONNECT_S)


@contextlib.contextmanager
def _told(url: str) -> Iterator[None]:
    try:
        yield
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        raise _silent(error, httpx.URL(url)) from error


def _silent(error: BaseException, url: httpx.URL) -> Silent:
    """What an error means, by what it was caused by."""
    port = url.port or {"https": 443}.get(url.scheme, 80)
    place = f"{url.host} port {port}"
    causes = list(_causes(error))
    for cause in causes:
        match cause:
            case socket.gaierror():
                return Unknown(f"the name {url.host} is not known", "give it an A or AAAA record, of this server")
            case ssl.SSLCertVerificationError():
                return _distrusted(cause, url.host)
            case ssl.SSLError():
                return Silent(f"{place} does not speak TLS", "see that a proxy terminates HTTPS there")
            case ConnectionRefusedError():
                return Silent(f"nothing listens at {place}", "start the proxy there, or set PUBLIC_URL right")
    if any(isinstance(cause, httpx.TimeoutException | TimeoutError) for cause in causes):
        return Silent(f"no answer from {place} in time", f"let port {port} through the firewalls, also the hoster's")
    if any(isinstance(cause, httpx.ConnectError) for cause in causes):
        return Silent(f"{place} cannot be reached", "see whether its address is right, and routed to here")
    return Silent(f"{place} ends the connection without an answer", "see the log of what listens there")


def _distrusted(error: ssl.SSLCertVerificationError, host: str) -> Silent:
    if error.verify_code in (_EXPIRED, _NOT_YET):
        return Silent(f"the certificate of {host} is not valid now", "renew it, as the proxy should; check the clock")
    if error.verify_code == _NAME:
        return Silent(f"its certificate is for other names than {host}", f"have one issued for {host}")
    return Silent(
        f"nobody trusts the certificate of {host} ({error.verify_message})",
        "use one of a public authority, as Caddy and certbot get them, with its whole chain",
    )


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
