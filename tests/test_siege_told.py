"""What an attacker found on the way out: echoed credentials, labels that are links, hosts that send crumbs."""

import asyncio
import base64
from pathlib import Path

import pytest
from archive_rig import LOOPBACK, png

from receiver.core.errors import NotFetched
from receiver.core.types import Event, Image, Report, Style, Target
from receiver.notify.messages.render import render
from receiver.notify.senders import failure_text
from receiver.pictures.fetch import CRUMBS_MOST, Fetch
from receiver.pictures.files import Files

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("user", ["alice:s3cret-word", "alice:s3cret%21word"])
def test_an_echoed_authorization_is_masked_too(user: str) -> None:
    header = base64.b64encode(user.replace("%21", "!").encode()).decode()
    failed = failure_text.failure(
        [failure_text.Line(f"json said: Authorization: Basic {header} is wrong")], f"json://{user}@h/p"
    )
    assert failed.error is not None
    assert header.rstrip("=") not in failed.error
    assert "is wrong" in failed.error


@pytest.mark.parametrize(
    "text", ["[Sign in again](https://evil.example)", "![x](https://evil.example/x.png)", "[a][b]"]
)
def test_a_label_is_no_link_in_services_that_read_markdown(text: str) -> None:
    report = Report(
        event=Event.COMPLETED, ref="r", label=text, prompt=text, images=(Image(0, "https://p.example/0.png"),)
    )
    message = render((report,), Target(name="t", url="mmost://h/t", style=Style.TEXT))
    for words in (message.title, message.body):
        assert "](" not in words
        assert "][" not in words
        assert "]\u200b" in words


async def test_a_picture_in_crumbs_is_refused_and_holds_up_nobody(tmp_path: Path) -> None:
    """Each chunk costs as much as a thousand bytes; a host chooses how many there are."""

    async def crumble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        picture = png(0, 300_000)
        try:
            for at in range(0, len(picture), 1000):
                writer.write(b"".join(b"1\r\n%c\r\n" % byte for byte in picture[at : at + 1000]))
                await writer.drain()
        except ConnectionError:
            pass
        writer.close()

    async with await asyncio.start_server(crumble, "127.0.0.1", 0) as host:
        port = host.sockets[0].getsockname()[1]
        fetch, files = Fetch(LOOPBACK, most=1 << 20, total_s=20, idle_s=20), Files(tmp_path)
        turns = 0

        async def others() -> None:
            nonlocal turns
            while True:
                await asyncio.sleep(0)
                turns += 1

        watching = asyncio.create_task(others())
        with pytest.raises(NotFetched, match="in crumbs") as refused:
            async with files.part() as part:
                await fetch.get(f"http://127.0.0.1:{port}/0.png", part)
        watching.cancel()
        await fetch.close()
    assert refused.value.permanent
    assert turns > CRUMBS_MOST / 32
