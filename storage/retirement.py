"""The mark of a sign watermark whose key has moved to another machine: it never signs again.

Promises: the mark takes the place of both slots, so no later start can take the directory for a usable or for
a damaged watermark; it names the machine that may continue, and it is durable before anything leaves this
one. `sequence` goes on counting over every move of the key, so an older mark is known from a newer one.

Layout, in a slot file of 32 KiB: `magic:8 ‖ length:4 ‖ checksum:32 ‖ payload ‖ zeros`, big-endian,
payload = [version, chain_id, public_key, sequence, record | nil, heir],
checksum = H("drex/retired", payload).
"""

from __future__ import annotations

from consensus.journal import VoteRecord, decode_record
from primitives.codec import Record, decode, encode
from primitives.errors import DecodeError, StorageFailure
from primitives.hashing import tagged_hasher
from primitives.limits import WATERMARK_SLOT_BYTES

RETIREMENT_VERSION = 1

_MAGIC = b"DREXRT\x00\x01"
_HEAD = len(_MAGIC) + 4 + 32
_hash_mark = tagged_hasher("drex/retired")


class Retirement(Record, frozen=True):
    """`heir` is the public peer key of the machine that continues; `record` the last vote signed here."""

    version: int
    chain_id: bytes
    public_key: bytes
    sequence: int
    record: VoteRecord | None
    heir: bytes


def encode_retirement(mark: Retirement) -> bytes:
    """The whole slot file. Raises `StorageFailure` when the record does not fit."""
    payload = encode(mark)
    data = _MAGIC + len(payload).to_bytes(4, "big") + _hash_mark(payload) + payload
    if len(data) > WATERMARK_SLOT_BYTES:
        raise StorageFailure("WATERMARK_TOO_LARGE", f"a record of {len(payload)} bytes does not fit a slot")
    return data + bytes(WATERMARK_SLOT_BYTES - len(data))


def is_marked(data: bytes | None) -> bool:
    """True for a slot file that was ever retired, also when its content was damaged since."""
    return data is not None and data[: len(_MAGIC)] == _MAGIC


def parse_retirement(data: bytes | None) -> Retirement | None:
    """Read a slot file; None for anything that is no whole mark. Pure; never raises."""
    if data is None or not is_marked(data) or len(data) < _HEAD:
        return None
    length = int.from_bytes(data[len(_MAGIC) : len(_MAGIC) + 4], "big")
    payload = data[_HEAD : _HEAD + length]
    if len(payload) != length or _hash_mark(payload) != data[len(_MAGIC) + 4 : _HEAD]:
        return None
    try:
        mark = decode(payload, Retirement, max_bytes=WATERMARK_SLOT_BYTES)
        if mark.record is not None:
            decode_record(mark.record.encode())
    except DecodeError:
        return None
    return mark if mark.version == RETIREMENT_VERSION else None


def refuse_retired(directory: str, mark: Retirement | None) -> StorageFailure:
    """What everyone is told who would sign with a retired watermark."""
    message = f"{directory} was retired for good: its key moved to another machine and never signs here again"
    heir = "unreadable" if mark is None else mark.heir.hex()
    return StorageFailure("SIGNER_RETIRED", message, path=directory, heir=heir)
