"""How long a connection may be silent: between two requests, within a head, and how an answer leaves."""

from __future__ import annotations

from contextlib import suppress

import pytest
import trio

from drexnode.rpc import server
from drexnode.rpc.connections import BoundedStream
from tests.drexnode.memory_chain import MemoryChain
from tests.drexnode.serving import serving

CALL = b'{"jsonrpc":"2.0","id":1,"method":"drex_blockNumber"}'
REQUEST = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s" % (len(CALL), CALL)
PATIENCE_S = 60.0  # of the test itself: the machine may be busy


async def open_stream(url: str) -> trio.SocketStream:
    return await trio.open_tcp_stream("127.0.0.1", int(url.rpartition(":")[2]))


async def read_answer(stream: trio.SocketStream) -> bytes:
    """One answer: it ends with the body's closing brace."""
    received = b""
    while not received.endswith(b"}"):
        piece = await stream.receive_some()
        assert piece, "the connection ended"
        received += piece
    return received


async def test_a_connection_without_a_request_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "KEEP_ALIVE_S", 0.2)
    async with serving(MemoryChain()) as url:
        with trio.fail_after(PATIENCE_S):
            async with await open_stream(url) as stream:
                assert await stream.receive_some() == b""


async def test_a_connection_is_closed_some_time_after_its_last_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(server, "KEEP_ALIVE_S", 0.5)
    async with serving(MemoryChain()) as url:
        with trio.fail_after(PATIENCE_S):
            async with await open_stream(url) as stream:
                await stream.send_all(REQUEST)
                assert b"result" in await read_answer(stream)
                assert await stream.receive_some() == b""


async def test_a_head_that_comes_byte_by_byte_does_not_prolong_the_pause(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(server, "KEEP_ALIVE_S", 0.3)
    async with serving(MemoryChain()) as url:
        with trio.fail_after(PATIENCE_S):
            async with await open_stream(url) as stream:
                with suppress(trio.BrokenResourceError):
                    while True:  # until the node has closed it
                        await stream.send_all(b"G")
                        await trio.sleep(0.05)


async def test_bytes_that_stop_within_a_body_end_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "READ_TIMEOUT_S", 0.2)
    async with serving(MemoryChain()) as url:
        with trio.fail_after(PATIENCE_S):
            async with await open_stream(url) as stream:
                await stream.send_all(REQUEST[:-10])
                received = b"".join([piece async for piece in stream])  # ends when the node closes it
    assert b"result" not in received


async def test_a_call_that_waits_longer_than_the_pause_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "KEEP_ALIVE_S", 0.1)
    chain = MemoryChain()
    call = b'{"jsonrpc":"2.0","id":1,"method":"drex_waitTransaction","params":["%s",500]}' % (b"00" * 32)
    request = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s" % (len(call), call)
    async with serving(chain) as url:
        with trio.fail_after(PATIENCE_S):
            async with await open_stream(url) as stream:
                await stream.send_all(request)
                assert b"UNKNOWN" in await read_answer(stream)


async def test_requests_sent_together_are_answered_in_order() -> None:
    async with serving(MemoryChain()) as url:
        with trio.fail_after(PATIENCE_S):
            async with await open_stream(url) as stream:
                second = REQUEST.replace(b'"id":1', b'"id":2')
                await stream.send_all(REQUEST + second)
                received = b""
                while b'"id":2' not in received:
                    received += await stream.receive_some()
                assert received.index(b'"id":1') < received.index(b'"id":2')
                assert received.count(b"HTTP/1.1 200") == 2


async def test_head_and_body_of_an_answer_leave_in_one_write(monkeypatch: pytest.MonkeyPatch) -> None:
    writes: list[bytes] = []
    send_all = BoundedStream.send_all

    async def remember(stream: BoundedStream, data: bytes) -> None:
        writes.append(bytes(data))
        await send_all(stream, data)

    monkeypatch.setattr(BoundedStream, "send_all", remember)
    async with serving(MemoryChain()) as url:
        with trio.fail_after(PATIENCE_S):
            async with await open_stream(url) as stream:
                await stream.send_all(REQUEST)
                answer = await read_answer(stream)
    assert writes == [answer]
