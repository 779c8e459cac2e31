"""A final block, or one that a vote made durable, as its rows hold it: header, wtxids and bodies."""

from __future__ import annotations

from dataclasses import dataclass

from primitives.block import BlockHeader, decode_header
from storage.layout import ContentRow, after, bodies_key, content_key, read_row, unpack_chunk
from storage.leveldb import Reader


@dataclass(frozen=True, slots=True)
class StoredBlock:
    """A block as stored: header, wtxids and encoded transactions, in order."""

    header: BlockHeader
    wtxids: tuple[bytes, ...]
    transactions: tuple[bytes, ...]


def read_block(reader: Reader, height: int, block: bytes) -> StoredBlock | None:
    """A stored block; None when this reader has not all of it. Raises `StorageFailure` (STORAGE_CORRUPT)."""
    row = reader.get(content_key(height, block))
    if row is None:
        return None
    content = read_row(row, ContentRow, f"the content row of block {height}")
    ids = content.wtxids
    wtxids = tuple(ids[start : start + 32] for start in range(0, len(ids), 32))
    start_key = bodies_key(height, block, 0)[:-4]
    bodies = [raw for _, value in reader.scan(start_key, after(start_key)) for raw in unpack_chunk(value)]
    if len(bodies) != len(wtxids):
        return None
    return StoredBlock(decode_header(bytes(content.header)), wtxids, tuple(bodies))
