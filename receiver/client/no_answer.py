"""Why a service did not answer, in words, judged by what the connection failed of. Pure."""

import socket
import ssl
from collections.abc import Iterator

_START = "start the service with `receiver serve`, or set RECEIVER_SERVER to where it runs"
_NOT_TLS = {
    "WRONG_VERSION_NUMBER",
    "RECORD_LAYER_FAILURE",
    "UNKNOWN_PROTOCOL",
    "HTTP_REQUEST",
    "PACKET_LENGTH_TOO_LONG",
}


def explain_no_connection(server: str, error: BaseException) -> tuple[str, str]:
    """The problem and the remedy of a connection to `server` that could not be made."""
    for cause in _causes(error):
        match cause:
            case socket.gaierror():
                problem = f"cannot connect to {server}: its host name is not known"
                return problem, "check RECEIVER_SERVER, and this machine's network"
            case ssl.SSLCertVerificationError():
                problem = f"cannot connect to {server}: its certificate is not accepted ({cause.verify_message})"
                return problem, "check the host name in RECEIVER_SERVER, and the certificate of the proxy there"
            case ssl.SSLError() if cause.reason in _NOT_TLS:
                problem = f"cannot connect to {server}: what listens there does not speak TLS"
                return problem, "write http:// in RECEIVER_SERVER, or the port of the proxy that terminates HTTPS"
            case ssl.SSLError():
                return f"cannot connect to {server}: no TLS connection could be made", "check RECEIVER_SERVER"
            case ConnectionRefusedError():
                return f"cannot connect to {server}: nothing listens there", _START
            case TimeoutError():
                remedy = "check RECEIVER_SERVER, and that no firewall is in between"
                return f"cannot connect to {server}: no answer in time", remedy
    return f"cannot connect to {server}", "check RECEIVER_SERVER, and this machine's network"


def explain_redirect(server: str, location: str) -> tuple[str, str]:
    """The problem and the remedy of an answer that sends us elsewhere: the token is not sent there."""
    scheme, _, rest = location.partition("://")
    where = f"{scheme}://{rest.partition('/')[0]}" if rest else "another path"
    return f"{server} redirects to {where}", "set RECEIVER_SERVER to the final address"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
