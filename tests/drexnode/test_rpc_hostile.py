"""Bytes that a stranger may send: they end their own connection at most, never the node or another's."""

from __future__ import annotations

import base64
import zlib

import httpx
import pytest
import trio
from hypercorn.protocol.h11 import H11Protocol

from drexnode.rpc import app
from tests.drexnode.memory_chain import MemoryChain
from tests.drexnode.serving import COOKIE, serving

CALL = b'{"jsonrpc":"2.0","id":1,"method":"drex_blockNumber"}'


def handshake(*headers: bytes) -> bytes:
    """The request that opens a WebSocket."""
    lines = [
        b"GET /ws HTTP/1.1", b"Host: localhost", b"Upgrade: websocket", b"Connection: Upgrade",
        b"Sec-WebSocket-Version: 13", b"Sec-WebSocket-Key: " + base64.b64encode(bytes(16)), *headers,
    ]  # fmt: skip
    return b"\r\n".join(lines) + b"\r\n\r\n"


async def send(url: str, sent: bytes, after: bytes = b"", *, seconds: float = 1.0) -> bytes:
    """What comes back within some seconds, or until the connection ends; `after` is sent once it began."""
    received = b""
    async with await trio.open_tcp_stream("127.0.0.1", int(url.rpartition(":")[2])) as stream:
        try:
            await stream.send_all(sent)
            with trio.move_on_after(seconds):
                if after:
                    received += await stream.receive_some()
                    await stream.send_all(after)
                async for data in stream:
                    received += data
        except trio.BrokenResourceError:
            pass
    return received


async def answers(url: str) -> bool:
    async with httpx.AsyncClient() as client:
        answer: httpx.Response = await client.post(url, content=CALL)
        return "result" in answer.json()


HOSTILE: dict[str, tuple[bytes, ...]] = {
    "a window size that is no number": (
        handshake(b"Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=abc"),
    ),
    "a window size out of range": (
        handshake(b"Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=0"),
    ),
    "an extension that is no text": (handshake(b"Sec-WebSocket-Extensions: \xff"),),
    "a subprotocol that is no text": (handshake(b"Sec-WebSocket-Protocol: \xff"),),
    "a key that is no text": (handshake(b"Sec-WebSocket-Key: \xff"),),
    "a frame of reserved bits": (
        handshake(),
        b"\xff" * 100,
    ),
    "text that is no UTF-8": (
        handshake(),
        b"\x81\x82\0\0\0\0\xff\xff",
    ),
    "a frame longer than 2^62 bytes": (
        handshake(),
        b"\x82\xff\x7f" + b"\xff" * 7 + bytes(4),
    ),
    "a close of one byte": (
        handshake(),
        b"\x88\x81\0\0\0\0\x03",
    ),
    "a close with a reserved code": (
        handshake(),
        b"\x88\x82\0\0\0\0\x03\xed",
    ),
    "a fragment of nothing": (
        handshake(),
        b"\x80\x80\0\0\0\0",
    ),
    "a frame without a mask": (
        handshake(),
        b"\x81\x05hello",
    ),
    "a WebSocket elsewhere": (handshake().replace(b"/ws", b"/v1/height"),),
    "a path that is no text": (handshake().replace(b"/ws", b"/%ff%fe"),),
    "bytes before the answer": (handshake() + b"\x81\x85\0\0\0\0hello",),
    "HTTP/2 from the start": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\x04\0\0\0\0\0",),
    "settings that are no base64": (
        b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade, HTTP2-Settings\r\n"
        b"Upgrade: h2c\r\nHTTP2-Settings: !\r\n\r\n",
    ),
    "a method of another world": (b"CONNECT evil:80 HTTP/1.1\r\nHost: localhost\r\n\r\n",),
    "two lengths": (b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",),
    "a length that is no digit": (b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: \xb2\r\n\r\n",),
    "a chunk without an end": (
        b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffff\r\n",
    ),
    "a header without an end": (b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 70_000,),
    "bytes of no protocol": (bytes(range(256)) * 100,),
}


@pytest.mark.parametrize("sent", HOSTILE.values(), ids=HOSTILE.keys())
async def test_hostile_bytes_end_their_own_connection_at_most(sent: tuple[bytes, ...]) -> None:
    async with serving(MemoryChain()) as url:
        await send(url, *sent)
        assert await answers(url)


async def test_a_fault_in_serving_a_connection_ends_it_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(MemoryChain()) as url:

        async def fails(self: H11Protocol, event: object) -> None:
            raise ValueError("as a fault in a library would")

        with monkeypatch.context() as patched:
            patched.setattr(H11Protocol, "handle", fails)
            assert await send(url, b"GET / HTTP/1.1\r\n\r\n", seconds=10) == b""
        assert await answers(url)


async def test_no_other_protocol_is_spoken_than_http_1_and_websocket() -> None:
    upgrade = (
        b"GET /v1/height HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade, HTTP2-Settings\r\n"
        b"Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n"
    )
    async with serving(MemoryChain()) as url:
        assert (await send(url, upgrade)).startswith(b"HTTP/1.1 200")
        assert await send(url, *HOSTILE["HTTP/2 from the start"], seconds=10) == b""


async def test_a_compressed_message_is_never_unpacked() -> None:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = packer.compress(bytes(50 << 20)) + packer.flush(zlib.Z_SYNC_FLUSH)
    frame = b"\xc2\xff" + len(packed).to_bytes(8, "big") + bytes(4) + packed
    offer = handshake(b"Sec-WebSocket-Extensions: permessage-deflate")
    async with serving(MemoryChain()) as url:
        with trio.fail_after(9):  # it ends: a reserved bit without its extension (RFC 6455, 5.2)
            answer = await send(url, offer, frame, seconds=10)
        assert answer.startswith(b"HTTP/1.1 101")
        assert b"permessage-deflate" not in answer
        assert await answers(url)


async def test_a_body_that_comes_byte_by_byte_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "BODY_TIMEOUT_S", 0.5)
    head = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{"
    async with serving(MemoryChain()) as url:
        answer = await send(url, head, seconds=20)
        assert answer.startswith(b"HTTP/1.1 408")
        assert b"RPC_TOO_SLOW" in answer


@pytest.mark.parametrize(
    ("path", "method"), [("/metrics", "drex_getMetrics"), ("/openapi.json", "rpc.discover")]
)
async def test_a_page_is_as_open_as_the_method_that_says_the_same(path: str, method: str) -> None:
    admin = {"authorization": f"Bearer {COOKIE}"}
    async with serving(MemoryChain(), public=("drex_chainId",)) as url, httpx.AsyncClient() as client:
        assert (await client.get(url + path)).status_code == 401
        assert (await client.get(url + path, headers=admin)).status_code == 200
    async with serving(MemoryChain(), public=(method,)) as url, httpx.AsyncClient() as client:
        assert (await client.get(url + path)).status_code == 200
        assert (await client.get(url + path, headers={"origin": "https://bad.example"})).status_code == 403
    async with serving(MemoryChain(), rate_per_second=1, rate_burst=20) as url, httpx.AsyncClient() as client:
        statuses = [(await client.get(url + path)).status_code for _ in range(5)]
        assert statuses[0] == 200
        assert 429 in statuses
