"""Who is ready for the next protocol version: nodes tell each other which one their program knows.

Asked once on each connection, by either side; what a peer says is a claim for people's eyes, and decides
nothing. A peer that does not answer is shown as unknown.
"""

from __future__ import annotations

import trio

from drexnode import version
from drexnode.finalizer import Finalizer
from drexnode.permits import Permits
from drexnode.rpc.upgrade_api import NodeProtocol, UpgradeStatus
from drexnode.telemetry import get_logger
from drexnode.wire import METHOD_PROGRAM, Program, decode_message, encode_message
from ledger.block import FinalizedBlock
from ledger.execute import ExecutedBlock
from ledger.registry import get_protocol
from p2p.transport import PeerId, RequestFailed, RequestRefused, Transport
from primitives.errors import DecodeError
from primitives.limits import MAX_STATUS_BYTES, STATUS_TIMEOUT_MS

LINGER_S = 15.0
_log = get_logger("upgrades")


class Upgrades:
    """One for each node. `register` before the network starts; `ask` each peer that connects."""

    def __init__(self, transport: Transport, finalizer: Finalizer, permits: Permits, own_name: str) -> None:
        self._transport = transport
        self._finalizer = finalizer
        self._permits = permits
        self._own_name = own_name
        self._programs: dict[PeerId, Program] = {}
        self._stopped = trio.Event()
        finalizer.on_final(self._on_final)

    def register(self) -> None:
        """Answer peers."""
        self._transport.register_handler(METHOD_PROGRAM, self.answer)

    def own_program(self) -> Program:
        """What this node says of itself."""
        return Program(version.PROTOCOL_VERSION, version.VERSION, self._own_name)

    async def ask(self, peer: PeerId) -> None:
        """Ask a peer that connected; keep what it says for as long as it is connected."""
        try:
            payload = await self._transport.request(
                peer,
                METHOD_PROGRAM,
                encode_message(self.own_program()),
                timeout_s=STATUS_TIMEOUT_MS / 1000,
                max_response_bytes=MAX_STATUS_BYTES,
            )
            self._keep(peer, decode_message(payload, Program))
        except (RequestFailed, DecodeError) as error:
            _log.debug("upgrade.no_program", peer=peer, reason=str(error))

    async def answer(self, peer: PeerId, payload: bytes) -> bytes:
        """A peer tells what it is and asks the same. Raises `RequestRefused`."""
        try:
            self._keep(peer, decode_message(payload, Program))
        except DecodeError as error:
            raise RequestRefused(f"not a program: {error.message}") from error
        return encode_message(self.own_program())

    def forget(self, peer: PeerId) -> None:
        """It is gone."""
        self._programs.pop(peer, None)

    async def run(self) -> None:
        """Once the next block's rules are not in this program: serve what is final for `LINGER_S`, so that
        whoever is behind gets there too, then stop the node. Raises `UpgradeNeeded`.
        """
        await self._stopped.wait()
        needed = self._finalizer.upgrade_needed
        assert needed is not None
        _log.error("upgrade.needed", reason=needed.message, stops_in_s=LINGER_S)
        await trio.sleep(LINGER_S)
        raise needed

    def _on_final(self, block: FinalizedBlock, executed: ExecutedBlock) -> None:
        if self._finalizer.upgrade_needed is not None:
            self._stopped.set()

    def _keep(self, peer: PeerId, program: Program) -> None:
        if self._transport.is_connected(peer):
            self._programs[peer] = program

    def status(self) -> UpgradeStatus:
        """Which version holds and comes, and which registered nodes know it."""
        head = self._finalizer.head
        record = get_protocol(self._finalizer.state)
        is_ahead = record.height > head.height
        own, validators = self._transport.peer_id, head.validators
        programs = {**self._programs, own: self.own_program()}
        nodes = [
            NodeProtocol(
                peer_id=peer,
                name=programs[peer].name if peer in programs else "",
                role=node.role.name.lower(),
                decides=node.validator_key in validators.keys,
                program=programs[peer].version if peer in programs else None,
                protocol=programs[peer].protocol if peer in programs else None,
            )
            for peer, node in self._permits.registered()
        ]
        return UpgradeStatus(
            height=head.height,
            version=record.at(head.height),
            next_version=record.next_version if is_ahead else None,
            next_height=record.height if is_ahead else None,
            supported=version.PROTOCOL_VERSION,
            quorum=validators.quorum,
            nodes=tuple(nodes),
        )
