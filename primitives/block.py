"""The block header: everything validators agree on, in 10 fields. It holds no round and no seals, so a
block that is proposed again in a later round keeps its id.

Field bounds (fixed widths are checked by `check_header_shape`): docs/encodings.md, "Block header".
"""

from __future__ import annotations

from typing import NewType

from primitives.codec import Record, decode, encode
from primitives.errors import DecodeError
from primitives.hashing import HASH_BYTES, tagged_hasher
from primitives.keys import PUBLIC_KEY_BYTES
from primitives.limits import MAX_BLOCK_TRANSACTIONS, MAX_HEADER_BYTES, MAX_HEIGHT, MAX_TIMESTAMP_MS

BlockId = NewType("BlockId", bytes)

HEADER_VERSION = 1
_hash_block = tagged_hasher("drex/block")


class BlockHeader(Record, frozen=True):
    """What a block is. `state_root` is the state after the block; `proposer` is who built it."""

    version: int
    height: int
    parent_id: bytes
    timestamp_ms: int
    proposer: bytes
    tx_count: int
    tx_root: bytes
    state_root: bytes
    validators_hash: bytes
    next_validators_hash: bytes


def block_id(header: BlockHeader) -> BlockId:
    """H("drex/block", header), 32 bytes."""
    return BlockId(_hash_block(encode(header)))


def decode_header(data: bytes) -> BlockHeader:
    """Read a canonical header. Raises `DecodeError`."""
    header = decode(data, BlockHeader, max_bytes=MAX_HEADER_BYTES)
    check_header_shape(header)
    return header


def check_header_shape(header: BlockHeader) -> None:
    """Refuse a header whose fields are out of range, whatever the chain. Raises `DecodeError`."""
    numbers_fit = (
        header.version == HEADER_VERSION
        and 0 <= header.height <= MAX_HEIGHT
        and 0 <= header.timestamp_ms <= MAX_TIMESTAMP_MS
        and 0 <= header.tx_count <= MAX_BLOCK_TRANSACTIONS
    )
    hashes = (
        header.parent_id,
        header.tx_root,
        header.state_root,
        header.validators_hash,
        header.next_validators_hash,
    )
    widths_fit = len(header.proposer) == PUBLIC_KEY_BYTES and all(len(item) == HASH_BYTES for item in hashes)
    if not (numbers_fit and widths_fit):
        raise DecodeError("a header field is out of range", code="HEADER_MALFORMED", height=header.height)
