"""What a villain knows of the node that it attacks, and the connections that it makes."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import msgspec
import trio

from drexnode.client import Client, block, block_number, headers, network_info, validators
from drexnode.home import read_genesis
from ledger.genesis import chain_id_of
from ledger.genesis_records import GenesisDocument
from p2p.addresses import parse_address
from p2p.identity import PeerId
from p2p.libp2p_gossip import GOSSIP_PROTOCOL
from p2p.libp2p_upgrade import HandshakeFailed
from p2p.yamux import ChannelClosed, YamuxSession
from p2p.yamux_stream import StreamClosed
from primitives.block import BlockHeader
from tests.p2p.villains import session_to

GONE = (HandshakeFailed, ChannelClosed, StreamClosed, OSError, AssertionError, trio.BrokenResourceError)
RECONNECT_S = 0.1


@dataclass
class Target:
    """One node: where it listens, its RPC (which the villain only reads), and whose keys the villain has.

    `seed` is a permitted full node's identity; `validator_seed` and `validator_peer_seed` are those of a
    validator that was taken over. `blows` counts what was done to the target, `cuts` how often it hung up.
    """

    address: str
    rpc_url: str
    genesis: str
    seed: str
    validator_seed: str = ""
    validator_peer_seed: str = ""
    blows: int = 0
    cuts: int = 0
    extras: dict[str, object] = field(default_factory=lambda: {GOSSIP_PROTOCOL: None})

    @classmethod
    def from_stdin(cls) -> Target:
        """Secrets come by a pipe, never by an argument."""
        return cls(**json.load(sys.stdin))

    @property
    def peer_id(self) -> PeerId:
        peer = parse_address(self.address).peer
        assert peer is not None
        return peer

    @property
    def listen_addresses(self) -> tuple[str, ...]:
        return (self.address,)

    @property
    def own_seed(self) -> bytes:
        return bytes.fromhex(self.seed)

    @cached_property
    def document(self) -> GenesisDocument:
        return read_genesis(Path(self.genesis))

    @cached_property
    def chain_id(self) -> bytes:
        return chain_id_of(self.document)

    @cached_property
    def client(self) -> Client:
        return Client(self.rpc_url)

    def tip(self) -> BlockHeader:
        """The header of the network's tip."""
        height = self.client.run(block_number())
        row = dict(self.client.run(headers(height, height))[0])
        values = [row[name] for name in BlockHeader.__struct_fields__]
        fields = [bytes.fromhex(value) if isinstance(value, str) else value for value in values]
        return msgspec.convert(fields, BlockHeader)

    def keys(self) -> list[bytes]:
        """The validators of the next block, ascending."""
        return [bytes.fromhex(key) for key in self.client.run(validators())]

    def deciding(self) -> tuple[int, int]:
        """Height and round being decided."""
        consensus = self.client.run(network_info())["consensus"]
        return consensus["height"], consensus["round"]

    def final_transactions(self, count: int) -> list[bytes]:
        """Raw transactions of the last blocks."""
        raws: list[bytes] = []
        height = self.client.run(block_number())
        while len(raws) < count and height > 0:
            found = self.client.run(block(height, full=True))
            assert found is not None
            raws += [bytes.fromhex(item["raw"]) for item in found["transactions"]]
            height -= 1
        return raws[:count]

    @asynccontextmanager
    async def session(self) -> AsyncIterator[YamuxSession]:
        """A connection as the permitted peer."""
        async with session_to(self, self.own_seed) as session:
            yield session

    async def again_and_again(self, attack: object) -> None:
        """Carry an attack out on one connection after another, as long as the target lets it in."""
        while True:
            try:
                async with self.session() as session:
                    await attack(session)  # type: ignore[operator]
            except* GONE:
                self.cuts += 1
            await trio.sleep(RECONNECT_S)
