"""Vote records for tests: a plausible run of one validator's votes."""

from __future__ import annotations

from consensus.journal import VoteRecord
from consensus.messages import PreparedCertificate, round_change_sighash
from primitives.block import BlockHeader, block_id
from primitives.certificate import (
    STEP_COMMIT,
    STEP_PREPARE,
    STEP_PROPOSAL,
    STEP_ROUND_CHANGE,
    vote_domain,
    vote_sighash,
)
from primitives.hashing import tagged_hash

CHAIN = bytes(range(32))
KEY = bytes(range(32, 64))
VALIDATORS_HASH = bytes(32)


def header(height: int) -> BlockHeader:
    """The header that this run prepares at `height`."""
    empty = bytes(32)
    return BlockHeader(1, height, empty, 1000 * height + 1, KEY, 0, empty, empty, VALIDATORS_HASH, empty)


def lock(height: int, round: int = 0) -> PreparedCertificate:
    """A complete lock at `height`, prepared in `round` by three validators."""
    prepares = tuple((index, bytes((index,)) * 64) for index in range(3))
    return PreparedCertificate(round, block_id(header(height)), header(height), prepares)


def vote(
    height: int, round: int, step: int, held: PreparedCertificate | None = None, variant: int = 0
) -> VoteRecord:
    """A vote; another `variant` is another payload for the same step (no vote that a signer would sign)."""
    domain = vote_domain(CHAIN, VALIDATORS_HASH)
    if step == STEP_ROUND_CHANGE:
        target = None
        payload = round_change_sighash(
            domain, height, round, None if held is None else (held.round, held.block_id)
        )
    else:
        target = block_id(header(height))
        payload = vote_sighash(domain, step, height, round, target)
    if variant:
        payload = tagged_hash("drex/qbft", bytes((height, round, step, variant)))
    return VoteRecord(1, VALIDATORS_HASH, height, round, step, payload, target, held, b"")


def run_of_votes() -> list[VoteRecord]:
    """Two heights: one decided at once, one that prepares, locks, and changes rounds with its lock."""
    held = lock(2)
    return [
        vote(1, 0, STEP_PREPARE),
        vote(1, 0, STEP_COMMIT, lock(1)),
        vote(2, 0, STEP_PROPOSAL),
        vote(2, 0, STEP_PREPARE),
        vote(2, 0, STEP_COMMIT, held),
        vote(2, 1, STEP_ROUND_CHANGE, held),
        vote(2, 2, STEP_ROUND_CHANGE, held),
    ]
