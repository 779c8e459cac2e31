"""Peers as the operator's business: who is registered, who is banned, whom to keep connected, and how far the
way to one of them goes (`drexnode.rpc.peering_api.PeeringApi`).

Promises: nothing here changes who is permitted, which is the ledger's to say; a validator never drops another
validator by hand; what is added or removed holds until the node stops, the configuration holds for ever.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import cast

from drexnode.config import NodeConfig
from drexnode.home import read_genesis
from drexnode.keystore import read_plain_key
from drexnode.permits import Permits
from drexnode.rpc.peering_api import BannedPeer, RegisteredNode, TestStep
from drexnode.wire import METHOD_STATUS, WIRE_VERSION, Role, Status, decode_message, encode_message
from ledger.genesis import chain_id_of, make_genesis_state
from ledger.state_tree import StateTree
from p2p.addresses import Address, parse_address
from p2p.host import open_host
from p2p.identity import PeerId, parse_peer_id
from p2p.transport import RequestFailed, Transport
from primitives.errors import DecodeError, DrexError
from primitives.limits import MAX_ADDED_PEERS, MAX_STATUS_BYTES, STATUS_TIMEOUT_MS
from storage.verify import RamPages

_STEPS = ("name", "tcp", "noise", "identity", "permission", "chain", "height")


class Peering:
    """The peers of one running node."""

    def __init__(
        self,
        transport: Transport,
        permits: Permits,
        *,
        own_status: Callable[[], Status],
        configured: frozenset[PeerId],
    ) -> None:
        """`configured` peers are kept connected by the configuration already."""
        self._transport = transport
        self._permits = permits
        self._own_status = own_status
        self._configured = configured
        self._added: dict[PeerId, str] = {}
        self._tests: set[PeerId] = set()

    # --- what is known

    def nodes(self) -> list[RegisteredNode]:
        """See `PeeringApi`."""
        return [
            RegisteredNode(
                peer_id=peer,
                role=node.role.name.lower(),
                ispb=node.ispb,
                addresses=node.addresses,
                validator_key=node.validator_key or None,
                connected=self._transport.is_connected(peer),
            )
            for peer, node in self._permits.registered()
        ]

    def bans(self) -> list[BannedPeer]:
        """See `PeeringApi`."""
        return [BannedPeer(ban.peer, ban.until_ms, ban.reason) for ban in self._transport.bans()]

    # --- what is asked

    def unban(self, peer_id: str) -> bool:
        """See `PeeringApi`. Raises `DrexError` PEER_INVALID."""
        return self._transport.lift_ban(_peer(peer_id))

    def add(self, address: str) -> bool:
        """See `PeeringApi`. Raises `DrexError`."""
        peer = _read(address)[1]
        if peer == self._transport.peer_id:
            raise DrexError("PEER_INVALID", "that is this node itself", peer=peer)
        if peer not in self._permits.permitted():
            message = f"{peer} is not registered, so nobody may connect to it"
            raise DrexError("PEER_NOT_PERMITTED", message, peer=peer)
        if peer not in self._added and len(self._added) >= MAX_ADDED_PEERS:
            raise DrexError("PEER_TOO_MANY", f"at most {MAX_ADDED_PEERS} peers are added by hand")
        is_new = peer not in self._added and peer not in self._configured
        self._added[peer] = address
        self._transport.add_persistent(peer, (address,))
        return is_new

    def remove(self, peer_id: str, ban_ms: int) -> bool:
        """See `PeeringApi`. Raises `DrexError`."""
        peer = _peer(peer_id)
        both_vote = peer in self._permits.other_validators() and self._permits.validator_key_of(
            self._transport.peer_id
        )
        if both_vote:
            message = f"{peer} speaks for a validator, and so does this node: they must stay connected"
            raise DrexError("PEER_IS_VALIDATOR", message, peer=peer)
        known = peer in self._added or self._transport.is_connected(peer) or peer in self._configured
        self._added.pop(peer, None)
        self._transport.remove_persistent(peer)
        if ban_ms:
            self._transport.ban(peer, ban_ms, "by the operator")
        self._transport.disconnect(peer)
        return known

    async def test(self, address: str) -> list[TestStep]:
        """See `PeeringApi`. Raises `DrexError`."""
        text, peer = _read(address)
        if peer in self._tests:
            raise DrexError("PEER_TEST_RUNNING", f"{peer} is being tested already", peer=peer)
        was_connected = self._transport.is_connected(peer)
        self._tests.add(peer)
        try:
            return await walk_to_tip(self._transport, str(text), self._own_status())
        finally:
            self._tests.discard(peer)
            if not was_connected and peer not in self._added and peer not in self._configured:
                self._transport.disconnect(peer)


async def walk_to_tip(transport: Transport, address: str, own: Status) -> list[TestStep]:
    """Name, TCP, Noise, identity, permission, chain and height of the peer at an address, as far as it goes.

    Raises `DecodeError` for an address of another form.
    """
    peer = _read(address)[1]
    found = await transport.probe(address)
    steps = [
        TestStep(step.stage.value, "ok" if step.ok else "failed", step.detail, step.elapsed_ms)
        for step in found
    ]
    if not found[-1].ok:
        return [*steps, *_skipped(steps)]
    started = time.monotonic()
    try:
        answer = await transport.request(
            peer,
            METHOD_STATUS,
            encode_message(own),
            timeout_s=STATUS_TIMEOUT_MS / 1000,
            max_response_bytes=MAX_STATUS_BYTES,
        )
        status = decode_message(answer, Status)
    except (RequestFailed, DecodeError) as error:
        steps.append(TestStep("chain", "failed", error.message, _since(started)))
        return [*steps, *_skipped(steps)]
    if status.chain_id != own.chain_id:
        detail = f"it is of the chain {status.chain_id.hex()}, this node of {own.chain_id.hex()}"
        steps.append(TestStep("chain", "failed", detail, _since(started)))
        return [*steps, *_skipped(steps)]
    steps.append(TestStep("chain", "ok", status.chain_id.hex(), _since(started)))
    behind = f", this node at {own.height}" if own.height else ""
    detail = f"{status.role} {status.name!r} is at block {status.height}{behind}"
    return [*steps, TestStep("height", "ok", detail)]


async def walk_as_stopped_node(config: NodeConfig, address: str) -> list[TestStep]:
    """The same by a process of its own, with the key of a home whose node does not run, standing at genesis.

    Raises `ConfigError`, `KeyFailure`, `DrexError` PEER_INVALID.
    """
    peer = _read(address)[1]
    document = read_genesis(config.genesis_path)
    genesis = make_genesis_state(document, StateTree(document.parameters.bucket_count, RamPages()))
    chain_id = chain_id_of(document)
    own = Status(
        WIRE_VERSION, chain_id, 0, genesis.block_id, 1, cast(Role, config.node.role), config.node.name
    )
    seed = read_plain_key(config.peer_key_path).seed
    async with open_host(seed=seed, network="test", listen=()) as host:
        host.set_permitted({peer: ()})
        return await walk_to_tip(host, address, own)


def _skipped(steps: list[TestStep]) -> list[TestStep]:
    known = {step.name for step in steps}
    return [TestStep(name, "skipped", "") for name in _STEPS if name not in known]


def _since(started: float) -> int:
    return round((time.monotonic() - started) * 1000)


def _peer(text: str) -> PeerId:
    try:
        return parse_peer_id(text)
    except DecodeError as error:
        raise DrexError("PEER_INVALID", f"{text[:80]!r}: {error.message}") from None


def _read(text: str) -> tuple[Address, PeerId]:
    try:
        address = parse_address(text)
    except DecodeError as error:
        raise DrexError("PEER_INVALID", f"{text[:80]!r}: {error.message}") from None
    if address.peer is None:
        message = f"{text[:80]!r} does not end in /p2p/<peer id>: who should answer there?"
        raise DrexError("PEER_INVALID", message)
    return address, address.peer
