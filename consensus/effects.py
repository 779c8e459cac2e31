"""Everything the engine can ask of its host. Effects run in order; durable ones stand first in a step's list.

Each effect says what the host must do and which input answers it. An effect without an answer is fire and
forget: if it fails (a peer is gone, a queue is full) the protocol recovers by its timers.
"""

from __future__ import annotations

import msgspec

from consensus.evidence import ConflictProof, Evidence
from consensus.inputs import PeerId, Timer, TimerKind
from consensus.journal import VoteRecord
from primitives.block import BlockHeader
from primitives.certificate import CommitCertificate


class _Value(msgspec.Struct, frozen=True, gc=False):
    """A frozen value: cheap to make, compared by its fields."""


class StoreBlock(_Value, frozen=True):
    """Make header, wtxid list and all bodies with witnesses durable under the block id, before what follows.

    Stands before the `Persist` of the COMMIT that locks this block. The host holds the bodies: it said OK.
    The finalizer need not write them again, and they are kept until the height is decided. A failure is a
    `StorageFailure`: halt. No answer.
    """

    header: BlockHeader
    wtxids: tuple[bytes, ...]


class Persist(_Value, frozen=True):
    """Make a vote durable, then sign it. Strictly in order of emission, never reordered:

    1. a record at the watermark's position with the same payload hash is signed again without writing;
       one at or below it with another is refused: `SigningFailed`;
    2. append `record.encode()` to the journal, fsync;
    3. raise the watermark with `record.without_attachment()`, fsync;
    4. sign `record.payload_hash` (32 bytes);
    5. answer `VoteSigned(token, signature)`, or `SigningFailed(token, reason)`.

    The host need not wait: a queue to one signing thread keeps the order, the rest of the list goes on.
    Nothing is sent by the host: the `Broadcast` follows as an effect of `VoteSigned`.
    """

    token: int
    record: VoteRecord


class Broadcast(_Value, frozen=True):
    """Send these message bytes to every other validator. The engine has already counted its own copy."""

    data: bytes


class SendTo(_Value, frozen=True):
    """Send these message bytes to one peer."""

    peer: PeerId
    data: bytes


class SetTimer(_Value, frozen=True):
    """Start the timer of `timer.kind` anew; answer `TimerExpired(timer)` after `delay_ms` (> 0)."""

    timer: Timer
    delay_ms: int


class CancelTimer(_Value, frozen=True):
    """Stop the timer of this kind, if one runs. A late expiry is ignored by the engine."""

    kind: TimerKind


class BuildBlock(_Value, frozen=True):
    """Build a block on `parent_id` from the pool (an empty one if need be), execute it, answer `BlockBuilt`.

    The timestamp is max(now, parent + 1). Never refused: a proposer always has the empty block. A build for
    an earlier round or height may be dropped as soon as this one arrives.
    """

    height: int
    round: int
    parent_id: bytes


class ValidateProposal(_Value, frozen=True):
    """Get the bodies, execute the block dry, answer `Verdict(ref, …)`.

    Missing bodies are asked from `sources` in order (and from later `BodySource`s). `fresh` is False for a
    block proposed again: its timestamp is exempt from the clock checks. A newer one for another block may
    replace it. A block id already executed is answered from the cache.
    """

    ref: int
    height: int
    round: int
    header: BlockHeader
    wtxids: tuple[bytes, ...]
    sources: tuple[PeerId, ...]
    fresh: bool


class BodySource(_Value, frozen=True):
    """`peer` delivered a PREPARE for the block under validation `ref`, so its author holds the bodies."""

    ref: int
    peer: PeerId


class FetchBlock(_Value, frozen=True):
    """Get the wtxid list and the bodies of a block prepared earlier, for proposing it again.

    The list must match the header (count and root). Sources in order: the authors of ROUND_CHANGEs that
    carry it. Answer `BlockFetched(ref, wtxids or None)`; give up when the height or the round is over.
    """

    ref: int
    header: BlockHeader
    sources: tuple[PeerId, ...]


class Decide(_Value, frozen=True):
    """The block is final: fetch what is missing, execute, store block and certificate, then `StartHeight`.

    Exactly one per height. `wtxids` comes from a proposal and is a hint: when it does not match the header
    the host asks peers for the block. A certified block that fails execution is an `InvariantViolation`.
    """

    header: BlockHeader
    wtxids: tuple[bytes, ...]
    certificate: CommitCertificate


class RequestSync(_Value, frozen=True):
    """`peer` seems to hold every block below `height`, which is above what this node has decided.

    Fetch what is missing from it or others: a block of the current height goes to the engine as
    `BlockSynced`. May be repeated; the host limits the pace.
    """

    height: int
    peer: PeerId


class PushPool(_Value, frozen=True):
    """Send the own pool's waiting bodies to one validator (its public key) or, for None, to all."""

    recipient: bytes | None


class Reject(_Value, frozen=True):
    """Something `peer` delivered broke a rule; score it. `reason` is a stable code, `detail` for people."""

    peer: PeerId
    reason: str
    detail: str


class EvidenceFound(_Value, frozen=True):
    """A validator signed two payloads for one step: keep it for ever, gossip it, show it."""

    evidence: Evidence


class Halt(_Value, frozen=True):
    """Two conflicting certificates exist: stop the node, keep the proof and show it. The engine is dead."""

    proof: ConflictProof


class QuarantineLifted(_Value, frozen=True):
    """The height that ends the quarantine is decided: create a new watermark. Stands before the first
    `Persist`: queue it to the same thread."""

    height: int


DURABLE_EFFECTS = (StoreBlock, Persist, QuarantineLifted)

Effect = (
    StoreBlock
    | Persist
    | Broadcast
    | SendTo
    | SetTimer
    | CancelTimer
    | BuildBlock
    | ValidateProposal
    | BodySource
    | FetchBlock
    | Decide
    | RequestSync
    | PushPool
    | Reject
    | EvidenceFound
    | Halt
    | QuarantineLifted
)
