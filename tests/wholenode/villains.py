"""Validators that do not play fair, named by what they do. One of four may."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import structs

from drexnode.node import Node
from drexnode.wire import BlocksResponse, decode_message, encode_message
from ledger.transaction import Transaction, decode_transaction
from p2p.transport import PeerId
from primitives.block import block_id


def hide_transactions(node: Node) -> None:
    """Propose empty blocks only: what was submitted must become final through others."""
    node._admission.candidates = lambda: iter(())  # type: ignore[method-assign]


def propose_false_witnesses(node: Node) -> None:
    """Propose each body under its txid, with a witness that does not verify."""
    honest, chain_id = node._admission.candidates, node._finalizer.chain_id

    def candidates() -> Iterator[Transaction]:
        for transaction in honest():
            false = with_false_signature(transaction, chain_id)
            node._admission.remember((false,))  # to serve it to who asks
            yield false

    node._admission.candidates = candidates  # type: ignore[method-assign]


def serve_false_blocks(node: Node) -> None:
    """Serve the last asked block with another time, under the seals of the true one."""
    honest = node._server.blocks

    async def lying(peer: PeerId, payload: bytes) -> bytes:
        parts = list(decode_message(await honest(peer, payload), BlocksResponse).blocks)
        if parts:
            last = parts[-1]
            header = structs.replace(last.header, timestamp_ms=last.header.timestamp_ms + 1)
            certificate = structs.replace(last.certificate, block_id=block_id(header))
            parts[-1] = structs.replace(last, header=header, certificate=certificate)
        return encode_message(BlocksResponse(tuple(parts)))

    node._server.blocks = lying  # type: ignore[method-assign]


def with_false_signature(transaction: Transaction, chain_id: bytes) -> Transaction:
    """The same body, another witness: the same txid, another wtxid, a signature that does not verify."""
    signature = transaction.witness.signatures[0][1]
    raw = bytearray(transaction.raw)
    raw[transaction.raw.index(signature)] ^= 1
    return decode_transaction(bytes(raw), chain_id)
