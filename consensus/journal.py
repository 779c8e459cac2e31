"""The record that makes a vote durable before it is signed.

Storage treats a record as `(height, round, step, payload_hash, bytes)` and understands nothing else of it:

    journal    appends `record.encode()` and fsyncs;
    watermark  then keeps `record.without_attachment()` (a few KiB, it holds the lock with its certificate)
               and fsyncs;
    signer     only then signs `record.payload_hash`.

Positions (height, round, step) only grow. The same position may be signed again only for the same
`payload_hash`. Layout: docs/encodings-consensus.md, "Vote record".
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import structs

from consensus.messages import Hash, Height, PreparedCertificate, Proposal, Round, decode_message
from primitives.block import check_header_shape
from primitives.codec import Record, decode, encode
from primitives.errors import DecodeError
from primitives.limits import CONSENSUS_MAX_RECORD_BYTES

RECORD_VERSION = 1

Position = tuple[int, int, int]


class VoteRecord(Record, frozen=True):
    """`[version, validators_hash, height, round, step, payload_hash, block_id, lock, attachment]`.

    `step` is ROUND_CHANGE=0, PROPOSAL=1, PREPARE=2, COMMIT=3. `payload_hash` is the 32-byte sighash.
    `block_id` is the block voted for (None for a ROUND_CHANGE). `lock` is the prepared certificate held at
    that moment, for a COMMIT the one it rests on. `attachment` is a PROPOSAL's whole message without its
    signature (zero bytes in its place), empty for other steps.
    """

    version: int
    validators_hash: Hash
    height: Height
    round: Round
    step: int
    payload_hash: Hash
    block_id: Hash | None
    lock: PreparedCertificate | None
    attachment: bytes

    @property
    def position(self) -> Position:
        """(height, round, step): what may only grow."""
        return (self.height, self.round, self.step)

    def encode(self) -> bytes:
        """The bytes of the journal."""
        return encode(self)

    def without_attachment(self) -> VoteRecord:
        """The record as the watermark keeps it."""
        return structs.replace(self, attachment=b"")


def decode_record(data: bytes) -> VoteRecord:
    """Read a record of the journal or of the watermark. Raises `DecodeError`."""
    record = decode(data, VoteRecord, max_bytes=CONSENSUS_MAX_RECORD_BYTES)
    if record.version != RECORD_VERSION or not 0 <= record.step <= 3:
        raise DecodeError("a vote record of an unknown version or step", code="VOTE_RECORD_MALFORMED")
    if record.lock is not None and record.lock.header is not None:
        check_header_shape(record.lock.header)
    if record.attachment and not isinstance(decode_message(record.attachment), Proposal):
        raise DecodeError("a vote record's attachment is no proposal", code="VOTE_RECORD_MALFORMED")
    return record


def last_record(records: Iterable[VoteRecord]) -> VoteRecord | None:
    """The record of the highest position (journal and watermark together), or None."""
    return max(records, key=lambda record: record.position, default=None)


def lock_of(records: Iterable[VoteRecord], height: int) -> PreparedCertificate | None:
    """The lock held at `height`: of the highest prepared round, a complete one before a merely named one."""
    locks = [record.lock for record in records if record.height == height and record.lock is not None]
    return max(locks, key=lambda lock: (lock.round, lock.is_complete), default=None)
