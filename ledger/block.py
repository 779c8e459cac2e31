"""Blocks: header and transactions, their encodings, and every check that needs no state.

    block           = [header, [transaction, …]]        a transaction is [body, witness]
    finalized block = [block, certificate]

Promises: decoding is canonical and bounded and raises `DecodeError` alone; a checked block has exactly the
transactions its header commits to and lies within the network's limits. Whether its transactions may be
applied is for ledger/execute.py, whether its certificate holds for primitives/certificate.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import msgspec

from ledger.parameters import BlockLimits
from ledger.slices import Slices, finish
from ledger.transaction import Transaction, decode_transaction
from primitives.block import BlockHeader, BlockId, block_id, check_header_shape
from primitives.certificate import CommitCertificate, decode_certificate
from primitives.codec import Record, decode, encode
from primitives.errors import DecodeError, InvalidBlock
from primitives.limits import (
    MAX_BLOCK_TRANSACTIONS,
    MAX_CERTIFICATE_BYTES,
    MAX_ENCODED_BLOCK_BYTES,
    MERKLE_LEAVES_PER_SLICE,
    TRANSACTIONS_PER_SLICE,
)
from primitives.merkle import join_roots, merkle_root
from primitives.validators import ValidatorSet


class _BlockParts(Record, frozen=True):
    header: BlockHeader
    transactions: list[msgspec.Raw]


class _FinalizedParts(Record, frozen=True):
    block: msgspec.Raw
    certificate: msgspec.Raw


@dataclass(frozen=True)
class Block:
    """A header and the transactions it commits to, in order."""

    header: BlockHeader
    transactions: tuple[Transaction, ...]

    @cached_property
    def block_id(self) -> BlockId:
        """H("drex/block", header)."""
        return block_id(self.header)

    @property
    def height(self) -> int:
        """The header's height."""
        return self.header.height

    @cached_property
    def wtxids(self) -> list[bytes]:
        """The wtxids in order: the leaves of `tx_root`. Never changed."""
        return [transaction.wtxid for transaction in self.transactions]


@dataclass(frozen=True, slots=True)
class FinalizedBlock:
    """A block and the certificate that makes it final."""

    block: Block
    certificate: CommitCertificate

    @property
    def header(self) -> BlockHeader:
        """The block's header."""
        return self.block.header

    @property
    def height(self) -> int:
        """The block's height."""
        return self.block.header.height


def tx_root(transactions: Sequence[Transaction]) -> bytes:
    """Merkle root over the wtxids in order: what a header commits to, witnesses included."""
    return finish(tx_root_in_slices(transactions))


def tx_root_in_slices(transactions: Sequence[Transaction]) -> Slices[bytes]:
    """`tx_root` that yields every `MERKLE_LEAVES_PER_SLICE` transactions."""
    roots: list[bytes] = []
    for start in range(0, len(transactions), MERKLE_LEAVES_PER_SLICE):
        part = transactions[start : start + MERKLE_LEAVES_PER_SLICE]
        roots.append(merkle_root([transaction.wtxid for transaction in part]))
        yield
    return join_roots(roots)


def signature_count(transactions: Iterable[Transaction]) -> int:
    """How many signatures the transactions carry together."""
    return sum(len(transaction.witness.signatures) for transaction in transactions)


def encode_block(block: Block) -> bytes:
    """`[header, [transaction, …]]`, canonical; transactions as they were received."""
    return encode(_BlockParts(block.header, [msgspec.Raw(tx.raw) for tx in block.transactions]))


def decode_block(data: bytes, chain_id: bytes) -> Block:
    """Read a block of the chain `chain_id`. Raises `DecodeError`."""
    return finish(decode_block_in_slices(data, chain_id))


def decode_block_in_slices(data: bytes, chain_id: bytes) -> Slices[Block]:
    """`decode_block` that yields every few transactions, so that an event loop can breathe."""
    parts = decode(data, _BlockParts, max_bytes=MAX_ENCODED_BLOCK_BYTES)
    check_header_shape(parts.header)
    if len(parts.transactions) > MAX_BLOCK_TRANSACTIONS:
        raise DecodeError(f"{len(parts.transactions)} transactions in a block", code="BLOCK_TOO_LARGE")
    transactions: list[Transaction] = []
    for raw in parts.transactions:
        transactions.append(decode_transaction(bytes(raw), chain_id))
        if len(transactions) % TRANSACTIONS_PER_SLICE == 0:
            yield
    return Block(parts.header, tuple(transactions))


def encode_finalized(finalized: FinalizedBlock) -> bytes:
    """`[block, certificate]`, canonical."""
    block, certificate = encode_block(finalized.block), encode(finalized.certificate)
    return encode(_FinalizedParts(msgspec.Raw(block), msgspec.Raw(certificate)))


def decode_finalized(data: bytes, chain_id: bytes) -> FinalizedBlock:
    """Read a block and its certificate. Raises `DecodeError`; verifies no signature."""
    return finish(decode_finalized_in_slices(data, chain_id))


def decode_finalized_in_slices(data: bytes, chain_id: bytes) -> Slices[FinalizedBlock]:
    """`decode_finalized` that yields every few transactions."""
    parts = decode(data, _FinalizedParts, max_bytes=MAX_ENCODED_BLOCK_BYTES + MAX_CERTIFICATE_BYTES + 1)
    certificate = decode_certificate(bytes(parts.certificate))
    block = yield from decode_block_in_slices(bytes(parts.block), chain_id)
    return FinalizedBlock(block, certificate)


def check_header(header: BlockHeader, parent: BlockHeader, validators: ValidatorSet) -> None:
    """Check a header against its parent and the set that decides its height. Raises `InvalidBlock`."""
    expected: Sequence[tuple[str, bool, str]] = (
        ("BLOCK_HEIGHT", header.height == parent.height + 1, f"height {parent.height + 1} is expected"),
        ("BLOCK_PARENT", header.parent_id == block_id(parent), "it does not continue this chain"),
        (
            "BLOCK_TIMESTAMP",
            header.timestamp_ms > parent.timestamp_ms,
            f"time {header.timestamp_ms} is not after its parent's {parent.timestamp_ms}",
        ),
        ("BLOCK_VALIDATORS", header.validators_hash == validators.hash, "it names another validator set"),
        ("BLOCK_PROPOSER", header.proposer in validators, "its proposer is not a validator"),
    )
    for code, holds, message in expected:
        if not holds:
            raise InvalidBlock(code, message, height=header.height)


def check_transactions(header: BlockHeader, transactions: Sequence[Transaction], limits: BlockLimits) -> None:
    """Check that a header commits to exactly `transactions` and that they fit. Raises `InvalidBlock`."""
    finish(check_transactions_in_slices(header, transactions, limits))


def check_transactions_in_slices(
    header: BlockHeader, transactions: Sequence[Transaction], limits: BlockLimits
) -> Slices[None]:
    """`check_transactions` that yields now and then."""
    root = yield from tx_root_in_slices(transactions)
    if header.tx_count != len(transactions) or header.tx_root != root:
        raise InvalidBlock("BLOCK_TX_ROOT", "it commits to other transactions", height=header.height)
    found = (sum(tx.size for tx in transactions), len(transactions), signature_count(transactions))
    allowed = (limits.max_bytes, limits.max_transactions, limits.max_signatures)
    for what, count, limit in zip(("bytes", "transactions", "signatures"), found, allowed, strict=True):
        if count > limit:
            raise InvalidBlock("BLOCK_TOO_LARGE", f"{count} {what}, at most {limit}", height=header.height)
