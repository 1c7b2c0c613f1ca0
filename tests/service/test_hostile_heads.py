"""Heads and bodies that are cut, crumbled or absurd: what is stored is what was sent, or nothing is."""

from pathlib import Path

import pytest

from kit.fakes import a_ref
from kit.web import callback_path, served, taken, wired
from receiver.web.http.connection_limits import TINY_CHUNKS_MOST

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("cut", [1, 2, 3, 4])
async def test_a_head_that_comes_in_pieces_leaves_its_body_as_it_is(tmp_path: Path, cut: int) -> None:
    """What looks like a header in a body is no header: changed there, it would be another body, and a request more."""
    body = b"hello\nUpgrade: aaaaaaaaaa\nUpgrade: b\n0123456789ABCDEFGHIJ"
    async with served(tmp_path) as web, wired(web.port) as wire:
        path = callback_path(web.parts, a_ref())
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nUpgrade: h2c\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        wire.writer.write(head[:-cut])
        await taken(web.port)
        wire.writer.write(head[-cut:] + body)
        assert (await wire.answer())[0] == 200
        [kept] = await web.parts.store.callbacks.get([1])
        assert kept.body == body


async def test_a_body_in_crumbs_is_cut(tmp_path: Path) -> None:
    """Each chunk costs the loop its time, however small it is; a body that is sent so has no honest sender."""
    async with served(tmp_path) as web, wired(web.port) as wire:
        head = f"POST {callback_path(web.parts, a_ref())} HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
        wire.writer.write(head + b"1\r\n1\r\n" * TINY_CHUNKS_MOST + b"0\r\n\r\n")
        assert (await wire.answer())[0] == 200, "so many are let in"
        wire.writer.write(head + b"1\r\n1\r\n" * (TINY_CHUNKS_MOST + 1))
        assert (await wire.answer())[0] == 400
        assert await wire.closed()


async def test_a_length_of_five_thousand_digits_is_an_answer_of_its_own(tmp_path: Path) -> None:
    """Python takes no number of more than 4,300 digits, and says so by an error."""
    async with served(tmp_path) as web, wired(web.port) as wire:
        path = callback_path(web.parts, a_ref())
        wire.writer.write(f"POST {path} HTTP/1.1\r\nContent-Length: {'0' * 5000}2\r\n\r\n".encode())
        await taken(web.port)
        wire.writer.write(b"{}")
        assert (await wire.answer())[0] in (200, 400)
