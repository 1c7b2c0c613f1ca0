"""One HTTP request, and an explanation for a person of whatever goes wrong with it."""

import contextlib
import ipaddress
import socket
import ssl
from collections.abc import Iterator

import httpx
import msgspec
from msgspec import Struct

from receiver import __version__

ANSWER_MOST = 64 * 1024  # bytes of a reply that are read
CONNECT_S, TIMEOUT_S = 4.0, 8.0
_EXPIRED, _NAME = 10, 62  # X509_V_ERR_CERT_HAS_EXPIRED, X509_V_ERR_HOSTNAME_MISMATCH
_NOT_TLS = {
    "WRONG_VERSION_NUMBER",
    "RECORD_LAYER_FAILURE",
    "UNKNOWN_PROTOCOL",
    "HTTP_REQUEST",
    "PACKET_LENGTH_TOO_LONG",
}
_NOT_YET = 9  # X509_V_ERR_CERT_NOT_YET_VALID


class HttpReply(Struct, frozen=True):
    """A reply: its status, the beginning of its body, where it redirects to, and the address that sent it."""

    status: int
    body: bytes
    location: str = ""
    address: str = ""

    def json_fields(self) -> dict[str, object]:
        """The body as a JSON object; empty if it is not one."""
        try:
            return msgspec.json.decode(self.body, type=dict[str, object])
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return {}

    def is_refusal_of_ours(self) -> bool:
        """Whether it has the shape of our API's errors."""
        error = self.json_fields().get("error")
        return isinstance(error, dict) and isinstance(error.get("code"), str)


class NoReply(Exception):
    """There was no reply; the text says why, `remedy` what to do."""

    def __init__(self, text: str, remedy: str) -> None:
        super().__init__(text)
        self.remedy = remedy


class UnknownHost(NoReply):
    """There was no reply because the host name does not resolve."""


class NothingListens(NoReply):
    """There was no reply because the connection was refused."""


def send_request(
    method: str, url: str, *, content: bytes | None = None, trust: ssl.SSLContext | None = None
) -> HttpReply:
    """The reply of `url`; redirects are not followed. `trust` replaces the public authorities. Raises NoReply."""
    address = ""
    with (
        _translate_errors(url),
        httpx.Client(trust_env=False, verify=trust or True, timeout=_request_timeout()) as client,
    ):
        headers = {"User-Agent": f"receiver-doctor/{__version__}", "Accept-Encoding": "identity"}
        with client.stream(method, url, content=content, headers=headers) as answer:
            with contextlib.suppress(Exception):  # the address only serves a warning
                address = str(answer.extensions["network_stream"].get_extra_info("server_addr")[0])
            body = b""
            for chunk in answer.iter_raw():
                body += chunk
                if len(body) > ANSWER_MOST:
                    break
            return HttpReply(answer.status_code, body[:ANSWER_MOST], answer.headers.get("location", ""), address)


def is_internal_address(address: str) -> bool:
    """Whether an address belongs to this machine or a private network."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    return not (getattr(found, "ipv4_mapped", None) or found).is_global


def _request_timeout() -> httpx.Timeout:
    return httpx.Timeout(TIMEOUT_S, connect=CONNECT_S)


@contextlib.contextmanager
def _translate_errors(url: str) -> Iterator[None]:
    try:
        yield
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        raise _explain_error(error, httpx.URL(url)) from error


def _explain_error(error: BaseException, url: httpx.URL) -> NoReply:
    """What an error means, judged by its causes."""
    port = url.port or {"https": 443}.get(url.scheme, 80)
    place = f"{url.host} port {port}"
    causes = list(_cause_chain(error))
    for cause in causes:
        match cause:
            case socket.gaierror():
                return UnknownHost(f"the host name {url.host} does not resolve", "add an A or AAAA record for it")
            case ssl.SSLCertVerificationError():
                return _explain_bad_certificate(cause, url.host)
            case ssl.SSLError() if cause.reason in _NOT_TLS:
                remedy = "check that a proxy terminates HTTPS there; if it should not, the URL begins with http://"
                return NoReply(f"{place} does not speak TLS", remedy)
            case ssl.SSLError():
                why = f"no TLS connection to {place} could be made ({cause.reason or 'no reason given'})"
                return NoReply(why, "check the TLS settings of what listens there")
            case ConnectionRefusedError():
                return NothingListens(f"nothing listens at {place}", "start the proxy there, or correct PUBLIC_URL")
    if any(isinstance(cause, httpx.TimeoutException | TimeoutError) for cause in causes):
        remedy = f"open port {port} in every firewall, including the hosting company's"
        return NoReply(f"no answer from {place} in time", remedy)
    if any(isinstance(cause, httpx.ConnectError) for cause in causes):
        return NoReply(f"{place} cannot be reached", "check its address, and that it is routed to this machine")
    remedy = "see the log of what listens there"
    if url.scheme == "http":
        remedy += "; if that speaks TLS, the URL begins with https://"
    return NoReply(f"{place} closes the connection without an answer", remedy)


def _explain_bad_certificate(error: ssl.SSLCertVerificationError, host: str) -> NoReply:
    if error.verify_code in (_EXPIRED, _NOT_YET):
        remedy = "renew it (the proxy should do so by itself), and check this machine's clock"
        return NoReply(f"the certificate of {host} has expired or is not valid yet", remedy)
    if error.verify_code == _NAME:
        return NoReply(f"its certificate is for other names than {host}", f"get a certificate for {host}")
    return NoReply(
        f"the certificate of {host} is not trusted ({error.verify_message})",
        "use one from a public authority, as Caddy and certbot get them, with its whole chain",
    )


def _cause_chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
