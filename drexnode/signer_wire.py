"""What a node and its signer process say to each other over a Unix socket, one answer to each request.

A frame is `length:4 ‖ payload`, big-endian; the payload is canonical MessagePack and never longer than
`MAX_FRAME_BYTES`, which is checked before a byte of it is read. Whatever does not decode ends the
connection; neither side keeps anything of it.

    request  [version, verb, height, body]      verb: HELLO body = chain id · SIGN body = vote record
                                                DECIDED height · LEAVE · STATUS ·
                                                VOTE body = a VALIDATOR_VOTE transaction without witness
    answer   [code, message, body]              code "" is success; body by verb: encoded Hello, signature,
                                                nothing, nothing, encoded SignerStatus, signature
"""

from __future__ import annotations

from consensus.journal import VoteRecord
from primitives.codec import Record, decode
from primitives.errors import DecodeError
from primitives.limits import CONSENSUS_MAX_RECORD_BYTES, MIB

SIGNER_WIRE_VERSION = 1
HEAD_BYTES = 4
MAX_FRAME_BYTES = 4 * CONSENSUS_MAX_RECORD_BYTES + MIB

HELLO, SIGN, DECIDED, LEAVE, STATUS, VOTE = range(6)


class Request(Record, frozen=True):
    """`[version, verb, height, body]`."""

    version: int
    verb: int
    height: int
    body: bytes


class Answer(Record, frozen=True):
    """`[code, message, body]`; code is empty on success."""

    code: str
    message: str
    body: bytes


class Hello(Record, frozen=True):
    """What a node learns when it begins: whose key it is and what is known of its votes.

    `last` is the highest durable record, `watermark` the newest slot's. In quarantine nothing is signed.
    """

    chain_id: bytes
    public_key: bytes
    in_quarantine: bool
    records: tuple[VoteRecord, ...]
    watermark: VoteRecord | None
    last: VoteRecord | None
    note: str


class SignerStatus(Record, frozen=True):
    """What `signer status` shows of a running signer. `last` is (height, round, step) or None."""

    chain_id: bytes
    public_key: bytes
    in_quarantine: bool
    last: tuple[int, int, int] | None
    node_pid: int | None
    signed: int
    refused: int


def frame(payload: bytes) -> bytes:
    """Length and payload. Raises `DecodeError` for one that no reader would take."""
    if len(payload) > MAX_FRAME_BYTES:
        raise DecodeError(f"a frame of {len(payload)} bytes is larger than {MAX_FRAME_BYTES}")
    return len(payload).to_bytes(HEAD_BYTES, "big") + payload


def frame_size(head: bytes) -> int:
    """The payload's length that a head announces. Raises `DecodeError` for one above the bound."""
    size = int.from_bytes(head, "big")
    if len(head) != HEAD_BYTES or size > MAX_FRAME_BYTES:
        raise DecodeError(f"a frame of {size} bytes is larger than {MAX_FRAME_BYTES}")
    return size


def decode_request(payload: bytes) -> Request:
    """Raises `DecodeError`."""
    request = decode(payload, Request, max_bytes=MAX_FRAME_BYTES)
    if request.version != SIGNER_WIRE_VERSION or not 0 <= request.verb <= VOTE or request.height < 0:
        raise DecodeError("a request of an unknown version or verb")
    return request


def decode_answer(payload: bytes) -> Answer:
    """Raises `DecodeError`."""
    return decode(payload, Answer, max_bytes=MAX_FRAME_BYTES)
