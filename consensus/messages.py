"""The messages of consensus and their one encoding.

Each message is a canonical MessagePack array whose first element is its kind. A validator is named by its
index in the height's validator set; the signed payload holds, through its domain, the chain and the set, so
an index from another set never verifies. Byte by byte: docs/encodings-consensus.md.

`decode_message` guarantees shapes, widths and bounds and raises `DecodeError` only. It says nothing about
signatures or justifications: see `consensus.justification`.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, structs

from primitives.block import BlockHeader, block_id, check_header_shape
from primitives.certificate import (
    STEP_COMMIT,
    STEP_PREPARE,
    STEP_PROPOSAL,
    STEP_ROUND_CHANGE,
    CommitCertificate,
    commit_sighash,
    vote_sighash,
)
from primitives.codec import Record, decode, encode
from primitives.limits import (
    MAX_BLOCK_TRANSACTIONS,
    MAX_CONSENSUS_MESSAGE_BYTES,
    MAX_HEIGHT,
    MAX_ROUND,
    MAX_VALIDATORS,
)

MESSAGE_DECIDED = 4

Height = Annotated[int, Meta(ge=1, le=MAX_HEIGHT)]
Round = Annotated[int, Meta(ge=0, le=MAX_ROUND)]
Index = Annotated[int, Meta(ge=0, lt=MAX_VALIDATORS)]
Hash = Annotated[bytes, Meta(min_length=32, max_length=32)]
SignatureBytes = Annotated[bytes, Meta(min_length=64, max_length=64)]

# One validator's signature beside its index; the signed payload follows from where it stands.
Seal = tuple[Index, SignatureBytes]
Seals = Annotated[tuple[Seal, ...], Meta(max_length=MAX_VALIDATORS)]
Wtxids = Annotated[tuple[Hash, ...], Meta(max_length=MAX_BLOCK_TRANSACTIONS)]
# What a ROUND_CHANGE claims to have prepared: (round, block id).
Claim = tuple[Round, Hash]

NO_SIGNATURE = bytes(64)


class SignedRoundChange(Record, frozen=True):
    """A ROUND_CHANGE's signed payload as a PROPOSAL carries it; height and round are the proposal's own."""

    signer: Index
    signature: SignatureBytes
    prepared: Claim | None


class PreparedCertificate(Record, frozen=True):
    """A quorum of PREPAREs for one block: what a validator locks on and carries in every ROUND_CHANGE.

    `header` is None and `prepares` is empty when only the name of a lock survived (see `is_complete`).
    """

    round: Round
    block_id: Hash
    header: BlockHeader | None
    prepares: Seals

    @property
    def is_complete(self) -> bool:
        """True when it proves itself; a lock that is merely named must not be claimed in a ROUND_CHANGE."""
        return self.header is not None and bool(self.prepares)


class RoundChange(Record, frozen=True, tag=STEP_ROUND_CHANGE):
    """`[0, height, round, signer, signature, prepared, header, prepares]`: `signer` wants to enter `round`.

    Signed: height, round and, when it prepared, the prepared round and block id. Beside it travel the
    prepared header and its quorum of PREPAREs (both absent when nothing was prepared).
    """

    height: Height
    round: Round
    signer: Index
    signature: SignatureBytes
    prepared: Claim | None
    header: BlockHeader | None
    prepares: Seals


class Proposal(Record, frozen=True, tag=STEP_PROPOSAL):
    """`[1, height, round, signer, signature, header, wtxids, round_changes, prepares]`.

    Signed: height, round, block id (which follows from `header`). Beside it travel the list of wtxids and,
    above round 0, a quorum of ROUND_CHANGE payloads and the PREPAREs of the highest prepared one.
    """

    height: Height
    round: Round
    signer: Index
    signature: SignatureBytes
    header: BlockHeader
    wtxids: Wtxids
    round_changes: Annotated[tuple[SignedRoundChange, ...], Meta(max_length=MAX_VALIDATORS)]
    prepares: Seals


class Prepare(Record, frozen=True, tag=STEP_PREPARE):
    """`[2, height, round, signer, signature, block_id]`: `signer` holds and has executed the block."""

    height: Height
    round: Round
    signer: Index
    signature: SignatureBytes
    block_id: Hash


class Commit(Record, frozen=True, tag=STEP_COMMIT):
    """`[3, height, round, signer, signature, block_id]`: this signature is a seal of the certificate."""

    height: Height
    round: Round
    signer: Index
    signature: SignatureBytes
    block_id: Hash


class Decided(Record, frozen=True, tag=MESSAGE_DECIDED):
    """`[4, height, header, certificate]`: the answer to a peer that still works at a decided height."""

    height: Height
    header: BlockHeader
    certificate: CommitCertificate


Message = RoundChange | Proposal | Prepare | Commit | Decided
Vote = RoundChange | Proposal | Prepare | Commit


def encode_message(message: Message) -> bytes:
    """The canonical bytes of `message`."""
    return encode(message)


def decode_message(data: bytes) -> Message:
    """Read one message. Raises `DecodeError` for anything that is not exactly one well-formed message."""
    message: Message = decode(data, Message, max_bytes=MAX_CONSENSUS_MESSAGE_BYTES)  # type: ignore[arg-type]
    header = getattr(message, "header", None)
    if header is not None:
        check_header_shape(header)
    return message


def with_signature(message: Vote, signature: bytes) -> Vote:
    """The same message carrying `signature`."""
    return structs.replace(message, signature=signature)


def signed_block_id(message: Proposal | Prepare | Commit) -> bytes:
    """The block id that the signature of `message` covers."""
    return block_id(message.header) if isinstance(message, Proposal) else message.block_id


def round_change_sighash(domain: bytes, height: int, round: int, prepared: Claim | None) -> bytes:
    """The 32 bytes a ROUND_CHANGE signs: the claim's two fields are appended when there is a claim."""
    return vote_sighash(domain, STEP_ROUND_CHANGE, height, round, *(prepared or ()))


def proposal_sighash(domain: bytes, height: int, round: int, block_id: bytes) -> bytes:
    """The 32 bytes a PROPOSAL signs."""
    return vote_sighash(domain, STEP_PROPOSAL, height, round, block_id)


def vote_payload_hash(domain: bytes, vote: Vote) -> bytes:
    """The 32 bytes the author of any vote signs."""
    if isinstance(vote, RoundChange):
        return round_change_sighash(domain, vote.height, vote.round, vote.prepared)
    if isinstance(vote, Proposal):
        return proposal_sighash(domain, vote.height, vote.round, block_id(vote.header))
    if isinstance(vote, Prepare):
        return prepare_sighash(domain, vote.height, vote.round, vote.block_id)
    return commit_sighash(domain, vote.height, vote.round, vote.block_id)


def prepare_sighash(domain: bytes, height: int, round: int, block_id: bytes) -> bytes:
    """The 32 bytes a PREPARE signs."""
    return vote_sighash(domain, STEP_PREPARE, height, round, block_id)
