"""Validators that do not play fair, named by what they do. One of four may."""

from __future__ import annotations

from collections.abc import Iterator

from drexnode.node import Node
from ledger.transaction import Transaction, decode_transaction


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


def with_false_signature(transaction: Transaction, chain_id: bytes) -> Transaction:
    """The same body, another witness: the same txid, another wtxid, a signature that does not verify."""
    signature = transaction.witness.signatures[0][1]
    raw = bytearray(transaction.raw)
    raw[transaction.raw.index(signature)] ^= 1
    return decode_transaction(bytes(raw), chain_id)
