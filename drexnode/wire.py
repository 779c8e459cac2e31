"""What nodes say to each other outside consensus (docs/node.md, "Payloads between nodes").

Guarantees: payloads are canonical MessagePack arrays; a decoder accepts only the one encoding of its message,
allocates no more than a constant times its bytes, checks every bound before anything is used, and raises
nothing but `DecodeError`. Raw transactions travel as `bin`, so that a relay does not touch them. Nothing here
says that a message is *true*: certificates, signatures and ids are checked by whoever uses them.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias, TypeVar

import msgspec

from consensus.evidence import MAX_EVIDENCE_BYTES
from primitives.block import BlockHeader, BlockId, block_id, check_header_shape
from primitives.certificate import CommitCertificate, check_certificate_shape
from primitives.codec import Record, decode, encode
from primitives.errors import DecodeError
from primitives.limits import (
    EVIDENCE_IN_OFFER,
    MAX_BATCH_BYTES,
    MAX_BATCH_TRANSACTIONS,
    MAX_BLOCK_TRANSACTIONS,
    MAX_BLOCKS_A_RESPONSE,
    MAX_BODIES_A_REQUEST,
    MAX_HEAD_BYTES,
    MAX_HEADERS_A_RESPONSE,
    MAX_HEIGHT,
    MAX_NODE_NAME_BYTES,
    MAX_OVERRIDE_BYTES,
    MAX_OVERRIDES,
    MAX_REQUEST_BYTES,
    MAX_RESPONSE_BYTES,
    MAX_STATUS_BYTES,
    MAX_TRANSACTION_BYTES,
)

# Methods of `Transport.request`; the name is the one on the wire.
METHOD_STATUS = "status"
METHOD_BODIES = "bodies"
METHOD_BLOCKS = "blocks"
METHOD_HEADERS = "headers"
METHOD_PROPOSAL = "proposal"
METHOD_OVERRIDES = "overrides"
METHOD_EVIDENCE = "evidence"
METHOD_PROGRAM = "program"

WIRE_VERSION = 1

Meta = msgspec.Meta
Hash32: TypeAlias = Annotated[bytes, Meta(min_length=32, max_length=32)]
Height: TypeAlias = Annotated[int, Meta(ge=0, le=MAX_HEIGHT)]
RawTransaction: TypeAlias = Annotated[bytes, Meta(min_length=1, max_length=MAX_TRANSACTION_BYTES)]
BlockIndex: TypeAlias = Annotated[int, Meta(ge=0, le=MAX_BLOCK_TRANSACTIONS)]
BlockCount: TypeAlias = Annotated[int, Meta(ge=1, le=MAX_BLOCKS_A_RESPONSE)]
HeaderCount: TypeAlias = Annotated[int, Meta(ge=1, le=MAX_HEADERS_A_RESPONSE)]
ByteCount: TypeAlias = Annotated[int, Meta(ge=1, le=MAX_RESPONSE_BYTES)]
Role: TypeAlias = Literal["validator", "full", "observer"]


class TransactionBatch(Record, frozen=True):
    """On `Channel.TRANSACTIONS` and `Topic.TRANSACTIONS`: raw `[body, witness]` bytes, first come first.

    `relay` asks the receiver to pass what it admits on to the validators, because the sender reaches only
    some of them. A validator does not do so for another validator.
    """

    relay: bool
    transactions: Annotated[tuple[RawTransaction, ...], Meta(min_length=1, max_length=MAX_BATCH_TRANSACTIONS)]


class HeadAnnouncement(Record, frozen=True):
    """On `Topic.HEADS`: the sender's highest final block. The certificate lets anyone check it at once; it is
    None for the genesis block only."""

    header: BlockHeader
    certificate: CommitCertificate | None

    @property
    def height(self) -> int:
        return self.header.height

    @property
    def block_id(self) -> BlockId:
        return block_id(self.header)


class Status(Record, frozen=True):
    """Request and response of `status`: each side tells the other where it stands. Asked on every connection.

    `lowest_height` is the first block this node can serve. `name` and `role` are claims for people's eyes.
    """

    version: Annotated[int, Meta(ge=1, le=WIRE_VERSION)]
    chain_id: Hash32
    height: Height
    block_id: Hash32
    lowest_height: Height
    role: Role
    name: Annotated[str, Meta(max_length=MAX_NODE_NAME_BYTES)]


class BodiesRequest(Record, frozen=True):
    """Request of `bodies`: the transactions with these wtxids."""

    wtxids: Annotated[tuple[Hash32, ...], Meta(min_length=1, max_length=MAX_BODIES_A_REQUEST)]


class BodiesResponse(Record, frozen=True):
    """Raw transactions in the order asked for; what the server does not hold, or what would no longer fit
    into the response, is left out. The asker tells them apart by hashing them."""

    transactions: Annotated[tuple[RawTransaction, ...], Meta(max_length=MAX_BODIES_A_REQUEST)]


class BlocksRequest(Record, frozen=True):
    """Request of `blocks`: up to `count` blocks from `first_height` on, the first one from its transaction
    `first_index` on, in at most `max_bytes` of response."""

    first_height: Height
    first_index: BlockIndex
    count: BlockCount
    max_bytes: ByteCount


class BlockPart(Record, frozen=True):
    """A final block, or the run of its transactions that fits: those from `first_index` on.

    The block is whole once `first_index + len(transactions) == header.tx_count`.
    """

    header: BlockHeader
    certificate: CommitCertificate
    first_index: BlockIndex
    transactions: Annotated[tuple[RawTransaction, ...], Meta(max_length=MAX_BLOCK_TRANSACTIONS)]

    @property
    def next_index(self) -> int:
        """The index to ask for next; `header.tx_count` when the block is whole."""
        return self.first_index + len(self.transactions)


class BlocksResponse(Record, frozen=True):
    """Blocks ascending without a gap from the height asked for. Only the last may be cut, and only because
    the response is full. Empty when the server holds none of them."""

    blocks: Annotated[tuple[BlockPart, ...], Meta(max_length=MAX_BLOCKS_A_RESPONSE)]


class HeadersRequest(Record, frozen=True):
    """Request of `headers`: up to `count` headers from `first_height` on, with their certificates."""

    first_height: Height
    count: HeaderCount


class HeadersResponse(Record, frozen=True):
    """Certified headers ascending without a gap from the height asked for; fewer if the response is full."""

    headers: Annotated[tuple[HeadAnnouncement, ...], Meta(max_length=MAX_HEADERS_A_RESPONSE)]


class ProposalRequest(Record, frozen=True):
    """Request of `proposal`: header and wtxids of a block that was proposed or decided."""

    block_id: Hash32


class ProposalResponse(Record, frozen=True):
    """What the block consists of. Refused (`RequestRefused`) by a server that does not hold it."""

    header: BlockHeader
    wtxids: Annotated[tuple[Hash32, ...], Meta(max_length=MAX_BLOCK_TRANSACTIONS)]


class OverridesRequest(Record, frozen=True):
    """Request of `overrides`: the recovery overrides that name blocks from `first_height` on."""

    first_height: Height


class OverridesResponse(Record, frozen=True):
    """Encoded overrides ascending by height; fewer when the response is full."""

    overrides: Annotated[
        tuple[Annotated[bytes, Meta(min_length=1, max_length=MAX_OVERRIDE_BYTES)], ...],
        Meta(max_length=MAX_OVERRIDES),
    ]


class EvidenceOffer(Record, frozen=True):
    """Request of `evidence`: encoded proofs of double signing; the answer is empty."""

    evidence: Annotated[
        tuple[Annotated[bytes, Meta(min_length=1, max_length=MAX_EVIDENCE_BYTES)], ...],
        Meta(min_length=1, max_length=EVIDENCE_IN_OFFER),
    ]


class Program(Record, frozen=True):
    """Request and response of `program`: the highest protocol version a node's program knows, the program's
    own version, and the node's name. Claims for people's eyes.
    """

    protocol: Annotated[int, Meta(ge=1, le=2**31 - 1)]
    version: Annotated[str, Meta(max_length=MAX_NODE_NAME_BYTES)]
    name: Annotated[str, Meta(max_length=MAX_NODE_NAME_BYTES)]


M = TypeVar("M", bound=Record)

_MAX_BYTES: dict[type[Record], int] = {
    TransactionBatch: MAX_BATCH_BYTES,
    HeadAnnouncement: MAX_HEAD_BYTES,
    Status: MAX_STATUS_BYTES,
    Program: MAX_STATUS_BYTES,
    BodiesRequest: MAX_REQUEST_BYTES,
    BlocksRequest: MAX_REQUEST_BYTES,
    HeadersRequest: MAX_REQUEST_BYTES,
    ProposalRequest: MAX_REQUEST_BYTES,
    BodiesResponse: MAX_RESPONSE_BYTES,
    BlocksResponse: MAX_RESPONSE_BYTES,
    HeadersResponse: MAX_RESPONSE_BYTES,
    ProposalResponse: MAX_RESPONSE_BYTES,
    OverridesRequest: MAX_REQUEST_BYTES,
    OverridesResponse: MAX_RESPONSE_BYTES,
    EvidenceOffer: MAX_REQUEST_BYTES,
}


def encode_message(message: Record) -> bytes:
    """The bytes of one message. Its fields are the caller's: a message out of bounds is refused by others."""
    return encode(message)


def decode_message(payload: bytes, message_type: type[M]) -> M:
    """Read one message of `message_type`. Raises `DecodeError` and nothing else."""
    message = decode(payload, message_type, max_bytes=_MAX_BYTES[message_type])
    _check_shape(message)
    return message


def _check_shape(message: Record) -> None:
    """What types can't say: shapes of nested headers and certificates, and that they belong together."""
    match message:
        case HeadAnnouncement():
            _check_certified(message.header, message.certificate)
        case BlocksResponse():
            _check_blocks(message)
        case HeadersResponse():
            for item in message.headers:
                _check_certified(item.header, item.certificate)
            _check_ascending([item.height for item in message.headers])
        case ProposalResponse():
            check_header_shape(message.header)
            if len(message.wtxids) != message.header.tx_count:
                raise DecodeError("a proposal lists as many wtxids as its header counts", code="WIRE_COUNT")


def _check_blocks(message: BlocksResponse) -> None:
    for place, part in enumerate(message.blocks):
        _check_certified(part.header, part.certificate)
        if part.next_index > part.header.tx_count:
            raise DecodeError("a block holds as many transactions as its header counts", code="WIRE_COUNT")
        if place and part.first_index:
            raise DecodeError("only the first block of a response starts inside", code="WIRE_COUNT")
        if part is not message.blocks[-1] and part.next_index < part.header.tx_count:
            raise DecodeError("only the last block of a response is cut", code="WIRE_COUNT")
    _check_ascending([part.header.height for part in message.blocks])


def _check_certified(header: BlockHeader, certificate: CommitCertificate | None) -> None:
    check_header_shape(header)
    if certificate is None:
        if header.height:
            raise DecodeError("only the genesis block has no certificate", code="WIRE_UNCERTIFIED")
        return
    check_certificate_shape(certificate)
    if certificate.height != header.height:
        raise DecodeError("header and certificate name different heights", code="WIRE_UNCERTIFIED")


def _check_ascending(heights: list[int]) -> None:
    if heights and heights != list(range(heights[0], heights[0] + len(heights))):
        raise DecodeError("heights ascend one by one", code="WIRE_DISORDER")
