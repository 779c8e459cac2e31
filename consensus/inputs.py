"""Everything that can happen to the engine. One value is given to `QbftCore.step` at a time.

The host's duties in one paragraph. Give every input to the same engine, one after another; carry out the
effects of a step in their order before (or queued ahead of) those of the next step. Name peers by the id
the transport authenticated. Never invent an input: an answer (`VoteSigned`, `Verdict`, `BlockBuilt`,
`BlockFetched`) belongs to exactly one effect and may come late, the engine knows which ones still matter.
Timer inputs must never be dropped, whatever queue is full.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NewType

import msgspec

from consensus.journal import VoteRecord
from primitives.block import BlockHeader
from primitives.certificate import CommitCertificate
from primitives.validators import ValidatorSet

# The transport's authenticated name of the peer that delivered something. Opaque.
PeerId = NewType("PeerId", str)


class _Value(msgspec.Struct, frozen=True, gc=False):
    """A frozen value: cheap to make, compared by its fields."""


class TimerKind(IntEnum):
    """What a timer is for. At most one of each kind runs; setting it again replaces it."""

    BLOCK_INTERVAL = 0  # the shortest pause after the parent is over
    EMPTY_BLOCK = 1  # long enough without work: an empty block is due
    ROUND = 2  # the round failed
    RESEND = 3  # send the ROUND_CHANGE again
    REVALIDATE = 4  # ask again for the verdict on a block from the near future
    SYNC = 5  # peers were seen at a higher height and still are
    LAGGARD = 6  # laggards may be answered again


class Timer(_Value, frozen=True):
    """A timer's name. `height` and `round` are those it was set in; a stale one is ignored."""

    kind: TimerKind
    height: int
    round: int


class Recovered(_Value, frozen=True):
    """What a restart found. Give it with the first `StartHeight`, never again.

    `records` are all records the journal still holds, oldest first (a torn last one dropped); `watermark` is
    the good slot's record or None. The host has already brought the watermark up to the journal.
    `lock_wtxids` is the list stored by `StoreBlock` for the block of
    `consensus.journal.lock_of(records + watermark, height)`, or None when there is no lock or no such block.
    """

    records: tuple[VoteRecord, ...] = ()
    watermark: VoteRecord | None = None
    lock_wtxids: tuple[bytes, ...] | None = None


class StartHeight(_Value, frozen=True):
    """The parent is final and stored: work on `height` now. Heights only grow; they may leap after a sync.

    `parent` and `parent_certificate` are the tip (None certificate only for genesis). `validators` is the
    set of `height`; `proposers` are all its keys in the ledger's proposer order, so that the proposer of
    round r is `proposers[r mod n]`. `has_work` tells whether the pool holds anything executable now.
    `since_parent_ms` is how long ago the parent was proposed, 0 if that is not known: what is left of
    `min_block_interval_ms` is waited for.
    """

    height: int
    parent: BlockHeader
    parent_certificate: CommitCertificate | None
    validators: ValidatorSet
    proposers: tuple[bytes, ...]
    has_work: bool = False
    recovered: Recovered | None = None
    since_parent_ms: int = 0


class MessageReceived(_Value, frozen=True):
    """Bytes of one consensus message as an authenticated peer delivered them. May be any bytes."""

    peer: PeerId
    data: bytes


class PeerConnected(_Value, frozen=True):
    """A validator's connection is (again) usable: it gets this node's latest messages of the round."""

    peer: PeerId


class TimerExpired(_Value, frozen=True):
    """A timer set by `SetTimer` has run out."""

    timer: Timer


class WorkAvailable(_Value, frozen=True):
    """The own pool holds an executable transaction or vote. May be repeated at will."""


class BlockBuilt(_Value, frozen=True):
    """Answer to `BuildBlock(height, round, …)`: the block, already executed, its bodies at hand.

    `header.proposer` is this validator. A block that comes a round late is not used.
    """

    height: int
    round: int
    header: BlockHeader
    wtxids: tuple[bytes, ...]


class Outcome(IntEnum):
    """What the host found when it checked a proposed block."""

    OK = 0  # all bodies are held, and executing them gives exactly this header
    INVALID = 1  # the block can never be valid
    LATER = 2  # its timestamp is ahead of the clock: ask again in `retry_in_ms`
    WRONG_LIST = 3  # the wtxid list is not the header's (tx_count, tx_root); says nothing about the block
    UNAVAILABLE = 4  # bodies could not be fetched from anyone


class Verdict(_Value, frozen=True):
    """Answer to `ValidateProposal(ref, …)`. `reason` is a stable code for people, empty when OK."""

    ref: int
    outcome: Outcome
    reason: str = ""
    retry_in_ms: int = 0


class BlockFetched(_Value, frozen=True):
    """Answer to `FetchBlock(ref, …)`: the wtxid list that matches the header, all bodies at hand; or None."""

    ref: int
    wtxids: tuple[bytes, ...] | None


class BlockSynced(_Value, frozen=True):
    """A peer offers a block of the current height with its certificate; the bodies are at hand.

    The engine checks the certificate and answers with `Decide`, `Reject` or, when it contradicts a block
    already decided, `Halt`. (A host that catches up by many heights finalises them itself and then gives
    `StartHeight` for the next one.)
    """

    peer: PeerId
    header: BlockHeader
    wtxids: tuple[bytes, ...]
    certificate: CommitCertificate


class VoteSigned(_Value, frozen=True):
    """Answer to `Persist(token, …)`: journal and watermark are durable, and this is the signature."""

    token: int
    signature: bytes


class SigningFailed(_Value, frozen=True):
    """Answer to `Persist(token, …)`: the signer refused or is unreachable. The vote is not cast."""

    token: int
    reason: str


class TipReported(_Value, frozen=True):
    """Another validator (an authenticated peer) says its highest decided height. Used in quarantine only."""

    validator: bytes
    height: int


# What concerns the height being worked on; ignored before the first StartHeight.
HeightInput = (
    MessageReceived
    | VoteSigned
    | Verdict
    | TimerExpired
    | BlockBuilt
    | BlockFetched
    | BlockSynced
    | WorkAvailable
    | PeerConnected
    | SigningFailed
    | TipReported
)

Input = HeightInput | StartHeight
