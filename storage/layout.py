"""Where everything lies in LevelDB: one byte of kind, then fixed-width big-endian fields, so that ranges are
contiguous and in order. The table with the values is in docs/storage.md.

Changing anything here means a new `SCHEMA_VERSION` and a step in storage/migrations.py.
"""

from __future__ import annotations

from typing import TypeVar

from msgspec import Raw

from primitives.codec import Record, decode_typed, encode
from primitives.errors import DecodeError, StorageFailure
from primitives.limits import BODIES_PER_CHUNK, MAX_ENCODED_BLOCK_BYTES

T = TypeVar("T")

SCHEMA_VERSION = 4

BODIES = b"t"  # + height(8) + block id(32) + chunk(4) -> [transaction, …], at most BODIES_PER_CHUNK
BOOK = b"k"  # + asset name                          -> sum of its unspent outputs(16)
CERTIFICATE = b"c"  # + height(8)                    -> commit certificate
CONTENT = b"w"  # + height(8) + block id(32)         -> header and the list of wtxids
EDITS = b"e"  # + height(8) + number(4)              -> edits of the state tree that some saved page lacks
HEADER = b"h"  # + height(8)                         -> header of the decided block
HEIGHT_OF_BLOCK = b"i"  # + block id(32)             -> height(8)
HISTORY = b"y"  # + lock(32) + height(8) + position(4) -> txid(32)
OVERRIDE = b"o"  # + height(8)                       -> recovery override of the set after this height
META = b"m"  # + name                                -> schema, chain, tip, …
PAGE = b"n"  # + page key of the state tree          -> page
PART = b"p"  # + part of the buckets(2)               -> height(8) of the part's saved pages
REFERENCE = b"r"  # + length(1) + asset + length(1) + reference + height(8) + position(4) -> txid(32)
STATE = b"s"  # + state key                          -> state value
TRANSACTION = b"x"  # + txid(32)                     -> height(8) + position(4)
VALIDATOR_SET = b"v"  # + height(8)                  -> [epoch, keys] that decide from this height on
UNSPENT = b"u"  # + lock(32) + length(1) + asset + txid(32) + index(4) -> empty

KINDS = (
    BODIES,
    BOOK,
    CERTIFICATE,
    CONTENT,
    EDITS,
    HEADER,
    HEIGHT_OF_BLOCK,
    HISTORY,
    META,
    OVERRIDE,
    PAGE,
    PART,
    REFERENCE,
    STATE,
    TRANSACTION,
    UNSPENT,
    VALIDATOR_SET,
)

META_SCHEMA = META + b"schema"
META_CHAIN = META + b"chain"
META_TIP = META + b"tip"
META_BASE = META + b"base"  # a chain restored from a snapshot: no block below this height(8), but hand-overs
META_PRUNED = META + b"pruned"  # blocks below this height(8) have lost their bodies

LOCATION_BYTES = 12


class TipRow(Record, frozen=True):
    """The last committed block; written in the same batch as everything it brings."""

    height: int
    block_id: bytes
    state_root: bytes


class ContentRow(Record, frozen=True):
    """A stored block without its bodies. `wtxids` are 32-byte ids one after another."""

    header: Raw
    wtxids: bytes


def height_key(kind: bytes, height: int) -> bytes:
    """`kind` + height(8)."""
    return kind + height.to_bytes(8, "big")


def content_key(height: int, block_id: bytes) -> bytes:
    """Key of a stored block's header and wtxids, decided or only locked on."""
    return CONTENT + height.to_bytes(8, "big") + block_id


def bodies_key(height: int, block_id: bytes, chunk: int) -> bytes:
    """Key of one chunk of a stored block's bodies."""
    return BODIES + height.to_bytes(8, "big") + block_id + chunk.to_bytes(4, "big")


def location(height: int, position: int) -> bytes:
    """height(8) + position(4): where a transaction lies."""
    return height.to_bytes(8, "big") + position.to_bytes(4, "big")


def read_location(value: bytes) -> tuple[int, int]:
    """(height, position) of a transaction."""
    return int.from_bytes(value[-12:-4], "big"), int.from_bytes(value[-4:], "big")


def unspent_prefix(lock: bytes, asset: str | None = None) -> bytes:
    """Start of the rows of a lock's unspent outputs, of one asset or of all."""
    prefix = UNSPENT + lock
    if asset is None:
        return prefix
    name = asset.encode()
    return prefix + bytes((len(name),)) + name


def reference_prefix(asset: str, reference: bytes) -> bytes:
    """Start of the rows of the transactions that carry `reference` and touch `asset`."""
    name = asset.encode()
    return REFERENCE + bytes((len(name),)) + name + bytes((len(reference),)) + reference


def after(prefix: bytes) -> bytes:
    """The first key past every key that begins with `prefix` (which is not all 0xff)."""
    stripped = prefix.rstrip(b"\xff")
    return stripped[:-1] + bytes((stripped[-1] + 1,))


def pack_chunks(transactions: list[bytes]) -> list[bytes]:
    """Split encoded transactions into the values of `BODIES` rows."""
    starts = range(0, len(transactions), BODIES_PER_CHUNK)
    return [encode([Raw(raw) for raw in transactions[start : start + BODIES_PER_CHUNK]]) for start in starts]


def unpack_chunk(value: bytes) -> list[bytes]:
    """The encoded transactions of one `BODIES` row. Raises `StorageFailure` (STORAGE_CORRUPT)."""
    return [bytes(raw) for raw in read_row(value, list[Raw], "a chunk of block bodies")]


def read_row(value: bytes, row_type: type[T], what: str) -> T:
    """Decode a row this program wrote. Raises `StorageFailure` (STORAGE_CORRUPT)."""
    try:
        return decode_typed(value, row_type, max_bytes=MAX_ENCODED_BLOCK_BYTES)
    except DecodeError as error:
        raise damaged_row(f"{what} cannot be read ({error.message})") from error


def damaged_row(what: str) -> StorageFailure:
    """The failure of a row that is missing or makes no sense, though the files' checksums hold."""
    message = f"the database is damaged: {what}; run `drexnode verify`, then `drexnode repair`"
    return StorageFailure("STORAGE_CORRUPT", message)
