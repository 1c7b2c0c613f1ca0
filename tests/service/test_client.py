"""The client: errors that say what to do, retries that cannot pay twice, a stream that mends itself."""

import contextlib
import gzip
import json
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from kit.commands import TASK as REF
from kit.commands import Answers, serving, task, told
from kit.live_service import free_port
from receiver.client import connection
from receiver.client.client import Client
from receiver.client.schemas import NewTask, TaskPage
from receiver.core.errors import ApiError

TOKEN = "a-token-that-nobody-should-see"
OUTPAINT = NewTask(model="midjourney_outpaint", params={"jobId": "a-job", "imageNo": 0, "scale": 1.5})


@contextlib.contextmanager
def asking(pause: Callable[[float], None] = lambda span: None) -> Iterator[tuple[Client, Answers]]:
    """A client of a service that answers as told."""
    answers = Answers()
    server = serving(answers)
    with server, Client(f"http://127.0.0.1:{server.server_address[1]}", TOKEN, pause=pause) as client:
        try:
            yield client, answers
        finally:
            server.shutdown()


def test_a_task_is_created_with_the_token_and_a_key_of_its_own() -> None:
    with asking() as (client, answers):
        answers.then(202, task())
        answers.then(202, task())

        assert client.create_task(OUTPAINT).ref == REF
        client.create_task(OUTPAINT)

    (method, path, headers, body), (_, _, again, _) = answers.seen
    assert (method, path) == ("POST", "/api/v1/tasks")
    assert headers["authorization"] == f"Bearer {TOKEN}"
    assert headers["idempotency-key"] != again["idempotency-key"]
    assert json.loads(body) == {"model": OUTPAINT.model, "params": OUTPAINT.params}


def test_each_task_of_a_batch_has_a_key() -> None:
    with asking() as (client, answers):
        answers.then(200, [{"status": 202, "task": task()}, {"status": 422, "error": {"code": "x", "message": "y"}}])

        first, second = client.create_batch([OUTPAINT, OUTPAINT])

    assert first.task is not None
    assert second.error is not None
    one, other = json.loads(answers.seen[0][3])["tasks"]
    assert one["idempotency_key"] != other["idempotency_key"]


def test_a_request_that_could_not_connect_is_tried_again() -> None:
    """The service comes up while the client pauses."""
    answers, port, servers = Answers(), free_port(), []
    answers.then(202, task())
    with contextlib.ExitStack() as stack:

        def pause(span_s: float) -> None:
            server = serving(answers, port)
            servers.append(server)
            stack.callback(server.server_close)
            stack.callback(server.shutdown)

        with Client(f"http://127.0.0.1:{port}", TOKEN, pause=pause) as client:
            assert client.create_task(OUTPAINT).ref == REF
    assert len(answers.seen) == 1


def test_a_service_that_is_not_there_is_given_up_with_a_remedy() -> None:
    pauses: list[float] = []
    with (
        Client(f"http://127.0.0.1:{free_port()}", TOKEN, pause=pauses.append) as client,
        pytest.raises(ApiError, match=r"cannot connect to .*`receiver serve`.*RECEIVER_SERVER") as caught,
    ):
        client.create_task(OUTPAINT)
    assert caught.value.status == 0
    assert len(pauses) == 2


def test_a_name_that_is_not_known_is_not_taken_for_a_service_that_is_down(monkeypatch: pytest.MonkeyPatch) -> None:
    def getaddrinfo(*args: Any, **named: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    with (
        Client("https://receiver.example.invalid", TOKEN, pause=lambda span_s: None) as client,
        pytest.raises(ApiError, match=r"host name is not known; check RECEIVER_SERVER") as caught,
    ):
        client.list_tasks()
    assert "serve" not in (caught.value.remedy or "")


def test_a_picture_is_fetched_from_the_service_itself_with_the_token() -> None:
    with asking() as (client, answers):
        answers.then(200, b"\x89PNG", "image/png")
        with client.open_picture(REF, "0.png") as pieces:
            assert b"".join(pieces) == b"\x89PNG"
        answers.then(404, {"error": {"code": "not_found", "message": "there is no such picture"}})
        with pytest.raises(ApiError, match="no such picture"), client.open_picture(REF, "../0.png"):
            pass
    assert [path for _, path, _, _ in answers.seen] == [f"/images/{REF}/0.png", f"/images/{REF}/..%2F0.png"]
    assert answers.seen[0][2]["authorization"] == f"Bearer {TOKEN}"


def test_a_request_that_was_sent_is_not_repeated() -> None:
    with asking() as (client, answers):
        answers.then(0)
        with pytest.raises(ApiError, match="no answer") as caught:
            client.resubmit_task(REF)
    assert caught.value.status == 0
    assert len(answers.seen) == 1


def test_a_refusal_keeps_its_status_code_and_field() -> None:
    with asking() as (client, answers):
        answers.then(422, {"error": {"code": "004007005", "message": "scale is out of range", "field": "scale"}})
        with pytest.raises(ApiError, match="scale is out of range") as caught:
            client.create_task(OUTPAINT)
    assert (caught.value.status, caught.value.code, caught.value.field) == (422, "004007005", "scale")


def test_a_token_that_is_not_taken_is_named_by_its_setting_and_never_shown() -> None:
    with asking() as (client, answers):
        answers.then(401, {"error": {"code": "unauthorized", "message": "no"}})
        with pytest.raises(ApiError, match="RECEIVER_API_TOKEN") as caught:
            client.list_tasks()
    assert TOKEN not in str(caught.value)
    assert TOKEN not in repr(client)


def test_that_no_token_was_sent_is_not_called_a_wrong_one() -> None:
    with asking() as (client, answers), Client(client.server, None) as nobody:
        answers.then(401, {"error": {"code": "unauthorized", "message": "no"}})
        with pytest.raises(ApiError, match="needs an API token; set RECEIVER_API_TOKEN"):
            nobody.list_tasks()


@pytest.mark.parametrize(
    ("status", "body"), [(502, b"<html>Bad Gateway</html>"), (200, b"<html>Hello</html>"), (200, b"\xff")]
)
def test_a_server_that_is_no_receiver_is_recognised(status: int, body: bytes) -> None:
    with asking() as (client, answers):
        answers.then(status, body, "text/html")
        with pytest.raises(ApiError, match="does not look like a receiver"):
            client.list_tasks()


def test_a_redirect_does_not_take_the_token_along() -> None:
    with asking() as (client, answers):
        answers.then(302, b"")
        with pytest.raises(ApiError):
            client.get_task(REF)
    assert len(answers.seen) == 1


def test_what_is_asked_for_goes_into_the_query() -> None:
    with asking() as (client, answers):
        answers.then(200, TaskPage([task()], None))
        client.list_tasks(state="waiting", label="a&b")
    assert answers.seen[0][1] == "/api/v1/tasks?state=waiting&label=a%26b"


def test_a_ref_stays_one_segment_of_the_path() -> None:
    with asking() as (client, answers):
        answers.then(404, {"error": {"code": "not_found", "message": "there is no task"}})
        with pytest.raises(ApiError):
            client.cancel_task("a/../b?c")
    assert answers.seen[0][1] == "/api/v1/tasks/a%2F..%2Fb%3Fc/cancel"


@pytest.mark.parametrize(
    ("call", "method", "path", "body", "answer"),
    [
        (lambda c: c.poll_task(REF), "POST", f"tasks/{REF}/poll", b"", task()),
        (lambda c: c.set_task_id(REF, "d1"), "PATCH", f"tasks/{REF}", b'{"task_id":"d1"}', task()),
        (
            lambda c: c.mint_url(label="a"),
            "POST",
            "callback-urls",
            b'{"label":"a"}',
            {"ref": REF, "callback_url": "http://a/callbacks/b"},
        ),
        (lambda c: c.list_callbacks(ref=REF), "GET", f"callbacks?ref={REF}", b"", {"callbacks": [], "next": None}),
        (
            lambda c: c.replay_callback(7, accept=True),
            "POST",
            "callbacks/7/replay",
            b'{"accept":true}',
            {"verdict": "accepted"},
        ),
        (
            lambda c: c.test_target("slack"),
            "POST",
            "notices/test",
            b'{"target":"slack"}',
            {"target": "slack", "ok": True, "error": None, "duration_ms": 7},
        ),
        (lambda c: c.list_notices(state="dead"), "GET", "notices?state=dead", b"", {"notices": [], "next": None}),
        (lambda c: c.redrive_notices(ids=[1, 2]), "POST", "notices/redrive", b'{"ids":[1,2]}', {"redriven": 2}),
        (lambda c: c.discard_notices(target="gone"), "POST", "notices/discard", b'{"target":"gone"}', {"discarded": 2}),
        (lambda c: c.start_pruning(), "POST", "prune", b"", {"begun": True}),
    ],
)
def test_each_call_speaks_as_the_contract_says(
    call: Callable[[Client], Any], method: str, path: str, body: bytes, answer: object
) -> None:
    with asking() as (client, answers):
        answers.then(200, answer)
        call(client)
    assert (answers.seen[0][0], answers.seen[0][1], answers.seen[0][3]) == (method, f"/api/v1/{path}", body)


def test_a_stream_that_breaks_is_opened_again_and_says_that_it_missed_something() -> None:
    with asking() as (client, answers):
        answers.then(200, told(task("waiting")), "text/event-stream")
        answers.then(200, told(task("completed")), "text/event-stream")
        stream = client.stream_changes()
        heard = [next(stream) for _ in range(4)]
    assert [view and view.state for view in heard] == [None, "waiting", None, "completed"]


def test_a_connection_that_stays_lost_is_told_once() -> None:
    losses: list[str] = []
    with asking() as (client, answers):
        answers.then(200, told(), "text/event-stream")
        answers.then(0)
        answers.then(0)
        answers.then(200, told(task("completed")), "text/event-stream")
        answers.then(0)
        answers.then(200, told(), "text/event-stream")
        stream = client.stream_changes(lost=lambda: losses.append("lost"))
        heard = [(view and view.state, len(losses)) for _, view in zip(range(4), stream, strict=False)]
    assert heard == [(None, 0), (None, 1), ("completed", 1), (None, 2)]


def test_a_task_is_followed_to_its_end_even_if_the_stream_missed_it() -> None:
    with asking() as (client, answers):
        answers.then(200, told(task("submitting"), task("completed", ref=REF.replace("1", "2"))), "text/event-stream")
        answers.then(200, task("queued"))
        answers.then(503, {"error": {"code": "too_many_streams", "message": "later"}})
        answers.then(200, task("completed"))
        states = [view.state for view in client.follow_task(REF)]
    assert states == ["queued", "submitting", "completed"]


def test_following_outlives_a_restart_of_the_service() -> None:
    """It was met once, then nobody answers, then it is back."""
    with asking() as (client, answers):
        answers.then(200, told(), "text/event-stream")
        answers.then(200, task("waiting"))
        answers.then(0)
        answers.then(200, told(), "text/event-stream")
        answers.then(0)  # gone again when it is asked
        answers.then(200, told(task("completed")), "text/event-stream")
        answers.then(200, task("waiting"))
        states = [view.state for view in client.follow_task(REF)]
    assert states == ["waiting", "waiting", "completed"]


def test_a_stream_that_was_never_met_is_an_error_at_once() -> None:
    with (
        Client(f"http://127.0.0.1:{free_port()}", TOKEN, pause=lambda span_s: None) as client,
        pytest.raises(ApiError, match="cannot connect"),
    ):
        next(client.stream_changes())


# -- a server that is broken, or hostile --


@contextlib.contextmanager
def speaking(head: bytes, more: bytes) -> Iterator[str]:
    """The address of a server that answers each request with `head`, then with `more` for as long as it can."""

    def speak(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.recv(65_536)
            connection.sendall(head)
            while not ended.wait(0.001):
                connection.sendall(more)

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=speak, args=(listener.accept()[0],), daemon=True).start()

    ended = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            ended.set()
            listener.shutdown(socket.SHUT_RDWR)


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n"


@pytest.mark.parametrize("status", [200, 500])
def test_what_is_nested_without_an_end_is_no_receivers(status: int) -> None:
    """Deep JSON ends in a line that says what to do, not in a RecursionError."""
    with asking() as (client, answers):
        answers.then(status, b'{"error":{"code":"a","message":"b","x":' + b"[" * 100_000)
        with pytest.raises(ApiError, match="does not look like a receiver"):
            client.list_tasks()


def test_nothing_packed_is_asked_for_or_unpacked() -> None:
    """A kilobyte that would become a megabyte stays one."""
    packed = gzip.compress(b" " * (1 << 20))
    with (
        speaking(HEAD[:-2] + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed) + packed, b"") as at,
        Client(at, TOKEN) as client,
        pytest.raises(ApiError, match="does not look like a receiver"),
    ):
        client.list_tasks()
    with asking() as (client, answers):
        answers.then(200, TaskPage([], None))
        client.list_tasks()
    assert answers.seen[0][2]["accept-encoding"] == "identity"


def test_an_answer_without_an_end_is_broken_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "ANSWER_MOST", 1 << 20)
    with (
        speaking(HEAD, b" " * 65_536) as server,
        Client(server, TOKEN) as client,
        pytest.raises(ApiError, match=r"more than 1 MiB.*RECEIVER_SERVER"),
    ):
        client.list_tasks()
