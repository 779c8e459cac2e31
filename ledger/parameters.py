"""The numbers of one network, fixed by its genesis document for as long as the chain lives.

Nothing here is state: every node reads them from the document whose hash is the chain's id.
"""

from __future__ import annotations

from primitives.codec import Record


class BlockLimits(Record, frozen=True):
    """What one block may hold at most. A validity rule, not a hint."""

    max_bytes: int  # of all transactions, encoded
    max_transactions: int
    max_signatures: int


class ChainParameters(Record, frozen=True):
    """Limits, pace and delays. Heights count blocks, times are milliseconds."""

    limits: BlockLimits
    min_block_interval_ms: int  # pace under load: local, no validity rule
    empty_block_period_ms: int  # an empty block after this long without anything to propose
    base_timeout_ms: int  # round timer of round 0
    max_timeout_ms: int  # cap of the round timer
    max_clock_skew_ms: int  # how far a fresh proposal's time may lie from a validator's clock
    replay_window_blocks: int  # how far ahead valid_until of a kind without inputs may lie
    recovery_delay_blocks: int  # from a recovery's announcement to its effect
    min_validators: int  # no vote shrinks the set below
    bucket_count: int  # buckets of the state tree: 16, 256, 4096, 65536 or 1048576
