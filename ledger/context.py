"""What a transaction's rules need to know besides the state: the network's parameters and the block."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ledger.transaction import OutPoint
from primitives.validators import ValidatorSet

FindSpender = Callable[[OutPoint], tuple[bytes, int] | None]


@dataclass(frozen=True, slots=True)
class LedgerParameters:
    """What the genesis fixes for the rules of transactions. `bcb` is the Banco Central's ispb."""

    bcb: str
    replay_window_blocks: int
    recovery_delay_blocks: int


@dataclass(frozen=True, slots=True)
class BlockContext:
    """The candidate block that would hold the transaction.

    `height` and `timestamp_ms` (ms since 1970, UTC) are the block's; `validators` decide at that height.
    `find_spender` answers, from an index beside the state, which transaction spent an outpoint and at what
    height: it only makes a refusal more precise (TX_DOUBLE_SPEND), never changes whether one is refused.
    """

    height: int
    timestamp_ms: int
    parameters: LedgerParameters
    validators: ValidatorSet
    find_spender: FindSpender | None = None
