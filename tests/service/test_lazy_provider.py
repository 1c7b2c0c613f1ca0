"""The provider that is connected with its first call: wrong settings show at once, a failure loses nothing."""

import httpx
import pytest

from kit.listening import listening
from kit.provider_server import CALLBACK, KEY, NOW, TASK, Stand, http
from receiver.core.errors import SettingsError
from receiver.core.types import PollResult, SubmitResult
from receiver.providers.address import check_url_and_key
from receiver.providers.lazy import LazyProvider
from receiver.providers.registry import PROVIDERS

pytestmark = pytest.mark.anyio

WRONG = (
    "ftp://cloud.example/",
    "https:///generation",
    "cloud.example",
    "http://a..b/",
    f"http://{'a' * 64}.example/",
    "http://999.1.1.1/",
    "http://[::1/",
    "http://[nonsense]/",
    "http://cloud.example:99999/",
)


@pytest.mark.parametrize("url", WRONG)
async def test_a_wrong_url_stops_the_start_and_not_the_first_submission(url: str) -> None:
    """And the key is not told with it."""
    with pytest.raises(SettingsError, match=r"^PROVIDER_URL ") as caught:
        LazyProvider(PROVIDERS["vtrix"], url, KEY, clock=lambda: NOW)
    assert KEY not in str(caught.value)


@pytest.mark.parametrize("key", ["", "two words", "line\n", "schlüssel"])
async def test_a_wrong_key_stops_the_start_and_is_not_told(key: str) -> None:
    """It may be the right one with a stray line break."""
    with pytest.raises(SettingsError, match=r"^PROVIDER_KEY ") as caught:
        LazyProvider(PROVIDERS["vtrix"], "https://cloud.example/", key, clock=lambda: NOW)
    assert not key or key not in str(caught.value)


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/", "http://[::1]:9/a", "https://cloud.example/a/b", "http://a_b/"])
def test_what_the_check_lets_pass_the_client_takes(url: str) -> None:
    """Else a wrong URL would show with the first submission."""
    check_url_and_key(url, KEY)
    assert httpx.URL(url).host


async def test_the_first_call_connects_and_all_share_one_client(monkeypatch: pytest.MonkeyPatch) -> None:
    """Making one takes longer than the whole start, so that a start makes none."""
    opened: list[httpx.AsyncClient] = []

    def open_client() -> httpx.AsyncClient:
        opened.append(httpx.AsyncClient(trust_env=False))
        return opened[-1]

    monkeypatch.setattr("receiver.providers.http_client.open_client", open_client)
    stand = Stand(http(200, TASK))
    async with listening(stand.meet) as stand.port:
        late = LazyProvider(PROVIDERS["vtrix"], stand.url, KEY, clock=lambda: NOW)
        assert not opened
        assert (await late.submit("midjourney_outpaint", b"{}", CALLBACK)).result is SubmitResult.TAKEN
        assert (await late.poll("no such id")).result is PollResult.UNKNOWN
        await late.close()
    assert [it.is_closed for it in opened] == [True]


async def test_without_a_client_nothing_is_sent_and_the_next_call_tries_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The task is queued again: it is known that no byte of it has left."""

    def broken() -> httpx.AsyncClient:
        raise OSError(24, "Too many open files")

    stand = Stand(http(200, TASK))
    async with listening(stand.meet) as stand.port:
        late = LazyProvider(PROVIDERS["vtrix"], stand.url, KEY, clock=lambda: NOW)
        with monkeypatch.context() as patched:
            patched.setattr("receiver.providers.http_client.open_client", broken)
            answer, reply = await late.submit("m", b"{}", CALLBACK), await late.poll("d758n65e878c73cmdg20")
        assert (answer.result, reply.result) == (SubmitResult.NOT_SENT, PollResult.NOTHING)
        assert "Too many open files" in answer.text
        assert (await late.submit("m", b"{}", CALLBACK)).result is SubmitResult.TAKEN
        await late.close()


async def test_one_that_was_never_called_closes_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """A service without work ends like any other, and opens nothing for it."""
    opened: list[object] = []
    monkeypatch.setattr("receiver.providers.http_client.open_client", lambda *given, **more: opened.append(given))
    await LazyProvider(PROVIDERS["vtrix"], "https://cloud.example/", KEY, clock=lambda: NOW).close()
    assert opened == []
