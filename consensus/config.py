"""What one engine is told once: the chain's constants from the genesis, and who it is."""

from __future__ import annotations

import msgspec

from consensus.evidence import Verify
from primitives.limits import MAX_ROUND_TIMEOUT_MS

LAGGARD_PERIOD_MS = 1000
_MAX_DOUBLINGS = 32


class QbftConfig(msgspec.Struct, frozen=True, gc=False):
    """Times are milliseconds. `public_key` is None on a node that never votes.

    `verify(public_key, message, signature)` is the one signature rule (`primitives.keys.verify`).
    """

    chain_id: bytes
    public_key: bytes | None
    verify: Verify
    base_timeout_ms: int = 1000
    max_timeout_ms: int = 16_000
    min_block_interval_ms: int = 0
    empty_block_period_ms: int = 10_000
    resend_interval_ms: int = 500

    def round_timeout_ms(self, round: int) -> int:
        """base * 2^round up to the cap: always positive, whatever the round."""
        cap = min(self.max_timeout_ms, MAX_ROUND_TIMEOUT_MS)
        return max(1, min(self.base_timeout_ms << min(round, _MAX_DOUBLINGS), cap))
