"""A node of its own process, for tests: `peer_process.py NUMBER PORT OTHER ADDRESS [PERMITTED …]`.

Permits and dials OTHER, sends back every consensus message, answers `big` with as many letters, and
subscribes to heads.
"""

from __future__ import annotations

import sys

import trio

from p2p.host import open_host
from p2p.identity import PeerId
from p2p.transport import Channel, Topic, Verdict
from tests.p2p.support import NETWORK, seed


async def big(peer: PeerId, payload: bytes) -> bytes:
    return b"x" * int(payload)


async def main(number: int, port: int, other: PeerId, address: str, *permitted: str) -> None:
    listen = [f"/ip4/127.0.0.1/tcp/{port}"]
    async with open_host(seed=seed(number), network=NETWORK, listen=listen) as host:
        host.register_handler("big", big)
        host.subscribe(Topic.HEADS, lambda peer, payload: Verdict.ACCEPT)
        host.set_permitted({other: [address], **{PeerId(peer): () for peer in permitted}})
        host.add_persistent(other)
        while True:
            for message in await host.inbox(Channel.CONSENSUS).receive():
                host.send(message.peer, Channel.CONSENSUS, message.payload)


if __name__ == "__main__":
    trio.run(main, int(sys.argv[1]), int(sys.argv[2]), PeerId(sys.argv[3]), *sys.argv[4:])
