"""Readers of a node's RPC, for measurements: idle WebSockets, slow ones, or calls one after the other.

    python -m scripts.bench.rpc_readers idle|slow|reads URL

Says `ready` on stdout once all are connected, then goes on until it is ended.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import httpx
import trio
from trio_websocket import open_websocket_url

if TYPE_CHECKING:
    from trio_typing import TaskStatus

IDLE, SLOW, CALLERS = 500, 50, 8
CALLS: tuple[tuple[str, list[object]], ...] = (
    ("drex_getBlockByNumber", ["latest", True]),
    ("drex_getSupply", ["BRL"]),
    ("drex_getHeaders", [0, 100]),
    ("drex_getNetworkInfo", []),
    ("drex_getParticipants", []),
)


def request(method: str, params: list[object]) -> str:
    """One call's body."""
    return json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})


async def hear(url: str, *, task_status: TaskStatus[None]) -> None:
    """A WebSocket that subscribes to alerts and hears what comes."""
    async with open_websocket_url(url) as socket:
        await socket.send_message(request("drex_subscribe", ["alerts"]))
        await socket.get_message()
        task_status.started()
        while True:
            await socket.get_message()


async def ignore(host: str, port: int, *, task_status: TaskStatus[None]) -> None:
    """A WebSocket that subscribes to blocks and reads nothing more; connects again when it is cut off."""
    told = False
    while True:
        async with await trio.open_tcp_stream(host, port) as stream:
            head = (
                f"GET /ws HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            )
            await stream.send_all(head.encode())
            await stream.receive_some(4096)
            body = request("drex_subscribe", ["blocks", None, None]).encode()
            frame = bytes([0x81, 0x80 | len(body)]) + bytes(4) + body  # masked with zeros (RFC 6455, 5.3)
            await stream.send_all(frame)
            if not told:
                task_status.started()
                told = True
            await trio.sleep(60)


async def call(url: str, *, task_status: TaskStatus[None]) -> None:
    """Calls one after the other."""
    async with httpx.AsyncClient(timeout=60) as client:
        task_status.started()
        while True:
            for method, params in CALLS:
                await client.post(url, content=request(method, params))


async def run(kind: str, url: str) -> None:
    """Connect all readers, say so, and go on."""
    parts = urlsplit(url)
    host, port = parts.hostname or "127.0.0.1", parts.port or 80
    async with trio.open_nursery() as nursery:
        if kind == "idle":
            for _ in range(IDLE):
                await nursery.start(hear, url.replace("http", "ws", 1) + "/ws")
        elif kind == "slow":
            for _ in range(SLOW):
                await nursery.start(ignore, host, port)
        else:
            for _ in range(CALLERS):
                await nursery.start(call, url)
        print("ready", flush=True)


if __name__ == "__main__":
    trio.run(run, *sys.argv[1:3])
