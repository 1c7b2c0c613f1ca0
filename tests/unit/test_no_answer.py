"""Why a service does not answer: only if nothing listens is a person told to start it."""

import socket
import ssl

import pytest

from receiver.client.no_answer import explain_no_connection, explain_redirect

SERVER = "https://receiver.example"


def tls_error(reason: str) -> ssl.SSLError:
    error = ssl.SSLError(1, f"[SSL: {reason}] text")
    error.reason = reason
    return error


def certificate_error(message: str) -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, "text")
    error.verify_message = message
    return error


@pytest.mark.parametrize(
    ("cause", "why", "then"),
    [
        (ConnectionRefusedError(), "nothing listens there", "start the service with `receiver serve`, or set"),
        (socket.gaierror(), "its host name is not known", "check RECEIVER_SERVER, and this machine's network"),
        (TimeoutError(), "no answer in time", "check RECEIVER_SERVER, and that no firewall is in between"),
        (certificate_error("expired"), "its certificate is not accepted (expired)", "check the host name in"),
        (tls_error("WRONG_VERSION_NUMBER"), "what listens there does not speak TLS", "write http:// in RECEIVER_"),
        (tls_error("TLSV1_ALERT"), "no TLS connection could be made", "check RECEIVER_SERVER"),
    ],
)
def test_a_connection_that_fails_is_explained_by_its_cause(cause: Exception, why: str, then: str) -> None:
    error = RuntimeError("as httpx wraps it")
    error.__cause__ = RuntimeError()
    error.__cause__.__context__ = cause
    problem, remedy = explain_no_connection(SERVER, error)
    assert problem == f"cannot connect to {SERVER}: {why}"
    assert remedy.startswith(then)
    assert ("start the service" in remedy) is isinstance(cause, ConnectionRefusedError)


def test_a_cause_that_nobody_knows_is_not_explained() -> None:
    assert explain_no_connection(SERVER, OSError())[0] == f"cannot connect to {SERVER}"


@pytest.mark.parametrize(
    ("location", "where"),
    [
        ("https://other.example/login?next=secret", "https://other.example"),
        ("/login", "another path"),
        ("", "another path"),
    ],
)
def test_a_redirect_is_named_by_its_host_alone(location: str, where: str) -> None:
    problem, remedy = explain_redirect("http://receiver.example", location)
    assert problem == f"http://receiver.example redirects to {where}"
    assert remedy == "set RECEIVER_SERVER to the final address"
